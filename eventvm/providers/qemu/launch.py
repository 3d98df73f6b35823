"""Launching: a bridge is set beside QEMU, and answers once the guest runs, or says why it does not."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from eventvm.errors import EventvmError
from eventvm.provider import Unclear
from eventvm.providers.qemu.places import Place, Run
from eventvm.providers.rundir import take

ANSWER_SECONDS = 45.0
BRIDGE = Path(__file__).with_name("bridge")
"""The program that works beside QEMU: a package that runs by itself."""
LOG_BYTES = 1 << 16
PASSED_ON = ("HOME", "LANG", "PATH", "TMPDIR")
"""What the bridge and QEMU get of the engine's environment, which may hold secrets."""


class NotLaunched(EventvmError):
    """QEMU did not come up; nothing runs."""


async def launch(place: Place, incarnation: int, argv: list[str], plan: dict[str, Any]) -> None:
    """Run an incarnation; a launch that is cancelled, or whose engine is killed, leaves nothing running."""
    lock = _lock(place)
    try:
        run = place.fresh(incarnation)
        whole = {"argv": argv, "incarnation": incarnation, "attach": False, **plan}
        answer = await _beside(run, lock, whole)
    finally:
        os.close(lock)
    if "failed" in answer:
        raise NotLaunched(f"QEMU did not start: {answer['failed']}")


async def attach(place: Place, run: Run, *, console_bytes: int) -> None:
    """Set a bridge beside a QEMU whose own was killed, so that its guest is heard again."""
    lock = _lock(place)
    try:
        answer = await _beside(
            run, lock, {"incarnation": run.incarnation, "attach": True, "console_bytes": console_bytes}
        )
    finally:
        os.close(lock)
    if "failed" in answer:
        raise Unclear(f"no bridge could be set beside {place.id}: {answer['failed']}")


def _lock(place: Place) -> int:
    lock = take(place.lock)
    if lock is None:
        raise Unclear(f"somebody else is at work on {place.id}")
    return lock


async def _beside(run: Run, lock: int, plan: dict[str, Any]) -> dict[str, Any]:
    """Start a bridge that holds the lock, tell it the plan, and give its answer."""
    ours, its = socket.socketpair()
    with ours:
        with its:
            _detached(run.path, its.fileno(), lock)
        ours.setblocking(False)  # noqa: FBT003  # the name of the standard library
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await _asked(ours, msgspec.json.encode(plan))
        except TimeoutError:
            raise Unclear(f"the bridge did not answer within {ANSWER_SECONDS:g} s") from None


def _detached(directory: Path, control: int, lock: int) -> None:
    """Start the bridge as nobody's child, in a session of its own; this takes a few milliseconds."""
    program = (sys.executable, "-I", "-S", str(BRIDGE), str(control), str(lock))
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    setsid = shutil.which("setsid")
    if setsid is None:
        raise EventvmError("the program setsid is missing: apt install util-linux")
    with _log(directory).open("ab") as log:
        subprocess.run(  # noqa: S603  # it forks and is gone; the arguments are this module's own
            (setsid, "--fork", *program), check=True, cwd=directory, env=environment,
            pass_fds=(control, lock), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip


def _log(directory: Path) -> Path:
    """Name the file of what bridges have to say, which is how they failed; a long one is begun again."""
    log = directory / "bridge.log"
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.unlink()
    return log


async def _asked(control: socket.socket, plan: bytes) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(control, plan + b"\n")
    answer = b""
    while not answer.endswith(b"\n"):
        told = await loop.sock_recv(control, 4096)
        if not told:
            raise Unclear("the bridge went without an answer; see bridge.log in the run directory")
        answer += told
    return msgspec.json.decode(answer, type=dict[str, Any])
