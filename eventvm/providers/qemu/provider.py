"""QEMU guests as machines: launched with a bridge beside them, asked over QMP, found again by their id."""

import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from msgspec.structs import replace

from eventvm.errors import BadInput, EventvmError
from eventvm.observation import End, Evidence, Observation, unknown
from eventvm.provider import Source, Target, Unclear
from eventvm.providers.qemu import arguments, ladder
from eventvm.providers.qemu.accelerator import accelerator
from eventvm.providers.qemu.ends import end_of
from eventvm.providers.qemu.hints import Hints
from eventvm.providers.qemu.launch import NotLaunched, attach, launch
from eventvm.providers.qemu.monitor import BROKEN, Gone, Unreachable, monitor
from eventvm.providers.qemu.places import Made, Place, Run, machines
from eventvm.providers.rundir import belongs_elsewhere, state_directory, take
from eventvm.providers.secret import SecretMissing, values
from eventvm.spec import Spec

SETTLE_SECONDS = 1.0
"""How long a probe waits for a launch, or for an end, that somebody is at work on."""
LAUNCH_SECONDS = 30.0
"""How long a command waits for the same."""


class Qemu:
    """Machines that are QEMU guests of this user on this host."""

    name = "qemu"
    honours: ClassVar[tuple[str, ...]] = (
        "kernel", "initrd", "rootfs", "boot_args", "network", "drives", "vsock", "rate_limits",
        "restore_from", "secrets", "stop_grace_seconds", "bounded",
    )  # fmt: skip

    console_bytes = 4 << 20
    """How much of what a guest writes on its console is in one of the two files that are kept of it."""

    def __init__(self, root: Path | str | None = None, *, accelerator: str = "") -> None:
        """Keep machines below a root directory, under an accelerator: without one, KVM where it is proven."""
        self.root = Path(root or state_directory() / "qemu").absolute()
        self._accelerator = accelerator
        self._owner = ""
        self._hints = Hints()

    def belongs_to(self, owner: str) -> None:
        self._owner = owner

    def refuses(self, spec: Spec) -> str:
        return "; ".join(arguments.objections(spec))

    def _place(self, target: Target) -> Place:
        return Place(self.root, target.id)

    # --- making and removing

    async def create(self, target: Target) -> None:
        await self.create_with_spec(target, target.spec)

    async def create_with_spec(self, target: Target, spec: Spec) -> None:
        if why := self.refuses(spec):
            raise BadInput(f"{target.name} cannot be made: {why}")
        place = self._place(target)
        source = self._source(spec)
        made = Made(target.name, spec if source is None else self._from(spec, source), self._owner)
        place.make(made)
        if source is not None:
            assert spec.restore_from is not None
            try:
                await self._run(target, made, source, paused=not spec.restore_from.resume_immediately)
            except (NotLaunched, SecretMissing):
                place.remove()
                raise

    async def destroy(self, target: Target) -> End | None:
        place = self._place(target)
        if place.made() is None:
            return None
        end = await self._end(target, (ladder.KILL,))
        lock = take(place.lock)
        if lock is None:
            raise Unclear(f"somebody else is at work on {target.name}")
        try:
            place.remove()
        finally:
            os.close(lock)
        return end

    async def rename(self, target: Target, name: str) -> None:
        self._place(target).amend(replace(self._made(target), name=name))

    # --- running

    async def start(self, target: Target) -> None:
        made = self._made(target)
        place = self._place(target)
        run = await self._settled(target)
        if run is None or not _lives(run):
            await self._run(target, made, None)
        elif not place.attended():
            await attach(place, run, console_bytes=self.console_bytes)

    async def stop(self, target: Target) -> End | None:
        grace = target.spec.stop_grace_seconds
        return await self._end(target, ladder.rungs(ladder.GRACE_SECONDS if grace is None else grace))

    async def pause(self, target: Target) -> None:
        async with monitor(self._alive(target).path) as qmp:
            await qmp.do("stop")

    async def resume(self, target: Target) -> None:
        async with monitor(self._alive(target).path) as qmp:
            await qmp.do("cont")

    async def _run(self, target: Target, made: Made, source: Path | None, *, paused: bool = False) -> None:
        """Run an incarnation from the beginning, or from what a snapshot holds."""
        ram = None if source is None else source / "ram"
        warm = ram is not None and ram.exists()
        argv = arguments.argv(target.id, made.spec, self._accelerator or await accelerator(), incoming=warm)
        plan: dict[str, Any] = {
            "secrets": values(made.spec.secrets),
            "ram": str(ram) if warm else "",
            "paused": paused,
        }
        plan["console_bytes"] = self.console_bytes
        await launch(self._place(target), target.incarnation, argv, plan)
        self._hints.watch(self._place(target))

    async def _end(self, target: Target, rungs: tuple[ladder.Rung, ...]) -> End | None:
        """Bring a machine to its end and say how it ended; None where it never ran."""
        place = self._place(target)
        run = await self._settled(target)
        if run is None:
            return None
        if _lives(run):
            if not place.attended() and rungs[0] is not ladder.KILL:
                with suppress(Unclear):  # without a bridge its code is not heard, yet it is stopped
                    await attach(place, run, console_bytes=self.console_bytes)
            await ladder.descend(place, run, rungs)
        return end_of(run)[0]

    # --- snapshots

    async def snapshot(self, target: Target, snapshot: str) -> int:
        place, made = self._place(target), self._made(target)
        run = await self._settled(target)
        warm = run is not None and _lives(run)
        if drives := ", ".join(arguments.writable(made.spec)):
            raise EventvmError(f"a snapshot holds memory alone, and the guest may write to {drives}")
        begun = place.begin_capture(snapshot)
        if warm:
            assert run is not None
            await self._capture(run, begun / "ram")
        return place.keep_capture(snapshot, begun, made)

    async def _capture(self, run: Run, file: Path) -> None:
        """Write the memory of a guest durably; the bridge lets the guest go on."""
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            async with monitor(run.path) as qmp:
                before = (await qmp.do("query-status"))["running"]
                await qmp.capture(descriptor)
                os.fsync(descriptor)
                if before:
                    await qmp.go_on()
        finally:
            os.close(descriptor)

    async def restore(self, target: Target, source: Source) -> None:
        kept = Place(self.root, source.machine)
        captured = kept.captured(source.snapshot)
        if captured is None:
            raise EventvmError(f"there is no snapshot {source.snapshot!r} of {source.machine}")
        run = await self._settled(target)
        if run is not None and _lives(run):
            raise EventvmError(f"{target.name} runs: stop it before it is restored")
        made = replace(self._made(target), name=target.name, spec=captured.spec)
        if why := _misfit(target.spec, captured.spec):
            raise EventvmError(why)
        self._place(target).amend(made)
        await self._run(target, made, kept.capture(source.snapshot))

    async def delete_snapshot(self, target: Target, snapshot: str) -> None:
        self._place(target).forget(snapshot)

    def _source(self, spec: Spec) -> Path | None:
        """Find the snapshot that a creation begins from."""
        begin = spec.restore_from
        if begin is None:
            return None
        place = Place(self.root, begin.machine)
        if place.captured(begin.snapshot) is None:
            raise EventvmError(f"restore_from: there is no snapshot {begin.snapshot!r} of {begin.machine}")
        return place.capture(begin.snapshot)

    def _from(self, spec: Spec, source: Path) -> Spec:
        """Give the spec that a machine boots by which began from a snapshot: the snapshot's own."""
        begin = spec.restore_from
        assert begin is not None
        captured = Place(self.root, begin.machine).captured(begin.snapshot)
        assert captured is not None
        network = begin.network_overrides or captured.spec.network
        return replace(captured.spec, network=network, secrets=spec.secrets or captured.spec.secrets)

    # --- looking

    async def probe(self, target: Target) -> Observation:
        place = self._place(target)
        snapshots, made = place.snapshots(), place.made()
        if made is None:
            return Observation("gone", Evidence("qemu process"), exists=False, snapshots=snapshots)
        try:
            seen = await self._seen(target, place, await place.settled(SETTLE_SECONDS))
        except TimeoutError:
            return unknown("qemu process", "it is being launched, or its end is being written down")
        return replace(seen, exists=True, name=made.name, snapshots=snapshots)

    async def _seen(self, target: Target, place: Place, run: Run | None) -> Observation:
        """See how the newest incarnation is."""
        if run is None:
            return Observation("gone", Evidence("qemu process"), detail="it never ran")
        if not _lives(run):
            return _over(run)
        try:
            return await self._asked(target, place, run)
        except Gone:
            return await self._went(place, run)
        except Unreachable as problem:
            return unknown("qemu monitor", f"QEMU runs, yet {problem}")

    async def _went(self, place: Place, run: Run) -> Observation:
        """See what became of a QEMU that hung up while it was asked."""
        vmm = run.vmm()
        if vmm is not None and not await ladder.gone(vmm.identity, SETTLE_SECONDS):
            return unknown("qemu monitor", "QEMU runs, yet nobody answers its monitor")
        await place.settled(SETTLE_SECONDS)
        return _over(run)

    async def _asked(self, target: Target, place: Place, run: Run) -> Observation:
        """Ask QEMU itself how it is."""
        async with monitor(run.path, "probe") as qmp:
            status = (await qmp.do("query-status"))["status"]
            uuid = (await qmp.do("query-uuid"))["UUID"]
        if uuid != arguments.uuid_of(target.id):
            return unknown("qemu monitor", f"what answers is another machine: {uuid}")
        paused, detail = as_seen(status)
        detail += "" if place.attended() else ", and no bridge hears its guest"
        evidence = Evidence("qemu monitor", incarnation=run.incarnation)
        return Observation("alive", evidence, paused=paused, detail=detail)

    async def events(self) -> AsyncIterator[str]:
        async for id_ in self._hints.follow(Place(self.root, id_) for id_ in machines(self.root).ids()):
            yield id_

    async def discover(self) -> AsyncIterator[str]:
        for id_ in machines(self.root).ids():
            if not belongs_elsewhere(self._owner_of(id_), self._owner):
                yield id_

    def _owner_of(self, id_: str) -> str:
        """Name the log that a machine belongs to; empty where that cannot be read."""
        try:
            made = Place(self.root, id_).made()
        except (OSError, ValueError):
            return ""
        return made.owner if made is not None else ""

    async def recall(self, id: str) -> Spec | None:  # noqa: A002  # the word of the domain
        made = Place(self.root, id).made()
        return made.spec if made is not None else None

    # --- what a call begins with

    def _made(self, target: Target) -> Made:
        made = self._place(target).made()
        if made is None:
            raise EventvmError(f"there is no machine {target.name} below {self.root}")
        return made

    async def _settled(self, target: Target) -> Run | None:
        """Give the newest incarnation once nobody else is at work on it."""
        try:
            return await self._place(target).settled(LAUNCH_SECONDS)
        except TimeoutError:
            raise Unclear(f"somebody else is at work on {target.name}") from None

    def _alive(self, target: Target) -> Run:
        run = self._place(target).last()
        if run is None or not _lives(run):
            raise EventvmError(f"{target.name} does not run")
        return run


HELD = ("paused", "postmigrate", "prelaunch", "save-vm", "suspended")
"""What QEMU calls a guest that stands still and can go on."""


def as_seen(status: str) -> tuple[bool, str]:
    """Say whether a guest stands still and can go on, and what there is to know of it."""
    return status in HELD, f"QEMU says {status}" + (", and its guest can never go on" * (status in BROKEN))


def _over(run: Run) -> Observation:
    end, evidence, told = end_of(run)
    return Observation("gone", evidence, end=end, detail=told)


def _lives(run: Run) -> bool:
    vmm = run.vmm()
    return vmm is not None and run.ended() is None and vmm.identity.lives()


def _misfit(spec: Spec, captured: Spec) -> str:
    """Say in which field a machine is to be of another shape than its snapshot."""
    for field in ("cpus", "memory"):
        if getattr(spec, field) != getattr(captured, field):
            return f"{field}: a snapshot is restored in its own shape, which is {getattr(captured, field)}"
    return ""
