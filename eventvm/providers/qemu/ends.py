"""How an incarnation ended, by what its bridge has written down: an exit code is told by its MAC alone."""

import hmac

from msgspec.structs import replace

from eventvm.observation import LOST, Clean, End, Evidence, Forced, Manner
from eventvm.providers.qemu.bridge.notes import mac_of
from eventvm.providers.qemu.places import Ended, Exited, Run

MANNERS: dict[str, Manner] = {
    "guest-shutdown": "graceful",
    "guest-panic": "crashed",
    "guest-reset": "crashed",
    "host-qmp-quit": "killed",
    "host-qmp-system-reset": "killed",
    "host-signal": "killed",
}
"""What QEMU's reasons for a shutdown come to; its exit status is 0 for each of them."""

WORKS: dict[Manner, tuple[str, ...]] = {"graceful": ("power button",), "killed": ("quit", "kill")}
"""The rungs of the ladder that bring each manner about."""

KILLS = (-9, -15)
"""The exit statuses of a process that somebody has killed."""


def end_of(run: Run) -> tuple[End, Evidence, str]:
    """Say how a run that is over ended, on whose word, and in a sentence."""
    exited, ended, rung = run.exited(), run.ended(), run.rung()
    when = exited.at if exited is not None else ended.at if ended is not None else None
    after = f" after the {rung} rung" if rung else ""
    if exited is not None and verifies(run, exited):
        manner: Manner = "already_exited" if exited.via == "self" else "graceful"
        told = f"its guest told exit code {exited.code} ({exited.via}){after}"
        evidence = Evidence("qemu bridge", verified=True, incarnation=run.incarnation, when=when)
        return End(manner, Clean(exited.code), _worked(manner, rung)), evidence, told
    end, source, told = _unverified(ended, rung)
    worked = replace(end, rung=_worked(end.manner, rung))
    return worked, Evidence(source, incarnation=run.incarnation, when=when), f"{told}{after}"


def _unverified(ended: Ended | None, rung: str) -> tuple[End, str, str]:
    """Say how it ended without an exit code: by QEMU's reason, else by how the process went."""
    if ended is None:
        end = End("killed", Forced()) if rung in ("quit", "kill") else LOST
        return end, "qemu process", "it is gone, and no bridge saw it end"
    if ended.reason:
        manner = MANNERS.get(ended.reason, "lost")
        return End(manner, Forced()), "qemu monitor", f"QEMU ended: {ended.reason}"
    if ended.status in KILLS or (rung == "kill" and ended.status is None):
        return End("killed", Forced()), "qemu process", "QEMU was killed"
    if ended.status is None:
        return LOST, "qemu process", "QEMU went without a word"
    return End("crashed", Forced()), "qemu process", f"QEMU itself failed with status {ended.status}"


def _worked(manner: Manner, rung: str) -> str:
    """Give the last rung that was acted on where it explains the end; one that came too late does not."""
    return rung if rung in WORKS.get(manner, ()) else ""


def verifies(run: Run, exited: Exited) -> bool:
    """Say whether an exit code was authenticated with the key of this very incarnation."""
    secret = run.secret()
    if secret is None or exited.incarnation != run.incarnation or exited.nonce != secret.nonce:
        return False
    return hmac.compare_digest(exited.mac, mac_of(secret.key, secret.nonce, exited.code, exited.via))
