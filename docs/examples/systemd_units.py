"""A provider of your own: each machine is a transient unit of systemd, found again from its id alone.

What a unit runs is chosen by the label `program` among those that the host allows. systemd owns the
processes: they outlive this program, and systemd knows how they ended. Run it on a host with systemd:
`python docs/examples/systemd_units.py`
"""

import asyncio
import shutil
import signal
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import anyio

import eventvm
from eventvm import End, Evidence, Instant, Observation, Spec, Target, Unclear, errors
from eventvm.clock import Clock
from eventvm.observation import KILLED, Observed, unknown

SHOWN = (
    "LoadState", "ActiveState", "SubState", "Environment",
    "ExecMainCode", "ExecMainStatus", "ExecMainExitTimestampMonotonic",
)  # fmt: skip
INCARNATION = "EVENTVM_INCARNATION"


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Runner = Callable[[Sequence[str]], Awaitable[Done]]


async def run(argv: Sequence[str]) -> Done:
    """Run a command without any shell; one that is given up is killed, whatever became of its deed."""
    process = await asyncio.create_subprocess_exec(*argv, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Done(process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace"))


class Refused(Exception):
    """What systemd said when it would not."""


def unit_of(id: str) -> str:  # noqa: A002  # the word of the domain
    """Name the unit of a machine: a pure function of its id."""
    return f"eventvm-{id}.service"


class Systemd:
    """Machines as transient units."""

    name = "systemd"
    unsupported = ("snapshot",)

    def __init__(
        self, programs: Mapping[str, Sequence[str]], *,
        scope: str = "--user", run: Runner = run, clock: Clock | None = None,
    ) -> None:  # fmt: skip
        """Take the programs that units may run, and whose systemd it is: `--user` or `--system`."""
        self._programs = programs
        self._scope = scope
        self._run = run
        self._clock = clock or Clock()

    async def create(self, target: Target) -> None:
        """Check that it could run; a transient unit exists from its start on."""
        self._program(target)

    async def start(self, target: Target) -> None:
        """Run its program, unless it runs already; what is left of an earlier run is cleared away first."""
        argv = self._program(target)
        seen = await self.probe(target)
        if seen.liveness == "alive":
            return
        if seen.liveness == "unknown":
            raise Unclear(seen.detail)
        if seen.exists:
            await self._clear(target)
        done = await self._run((
            "systemd-run", self._scope, f"--unit={unit_of(target.id)}", f"--description={target.name}",
            f"--setenv={INCARNATION}={target.incarnation}",
            "--service-type=exec", "--property=RemainAfterExit=yes", *_limits(target.spec), "--", *argv,
        ))  # fmt: skip
        if done.code != 0:
            raise Refused(done.err)

    async def stop(self, target: Target) -> End | None:
        """End its processes; one that has ended by itself tells how it did."""
        seen = await self.probe(target)
        if seen.liveness == "gone":
            return seen.end
        done = await self._control("stop", target)
        if done.code == 0:
            return KILLED
        left = await self.probe(target)
        if left.liveness != "gone":
            raise (Refused if left.liveness == "alive" else Unclear)(done.err)
        return left.end

    async def snapshot(self, target: Target, snapshot: str) -> int:
        """Never asked for: it is declared as unsupported."""
        raise Refused("systemd keeps no snapshots")

    async def destroy(self, target: Target) -> End | None:
        """End it, and let systemd forget it."""
        seen = await self.probe(target)
        await self._clear(target)
        left = await self.probe(target)
        if left.exists is not False:
            raise Unclear(left.detail or f"{unit_of(target.id)} is still there")
        return KILLED if seen.liveness == "alive" else seen.end

    async def probe(self, target: Target) -> Observation:
        """Read what systemd knows of its unit."""
        asked = ("systemctl", self._scope, "show", unit_of(target.id), f"--property={','.join(SHOWN)}")
        try:
            done = await self._run(asked)
        except OSError as problem:
            return unknown(self.name, str(problem))
        if done.code != 0:
            return unknown(self.name, done.err.strip())
        return self._observed(dict(line.split("=", 1) for line in done.out.splitlines() if "=" in line))

    def _program(self, target: Target) -> Sequence[str]:
        wanted = target.spec.labels.get("program", "")
        if wanted not in self._programs:
            raise Refused(f"no program {wanted!r}; label it program= one of {', '.join(self._programs)}")
        return self._programs[wanted]

    async def _clear(self, target: Target) -> None:
        """Let systemd forget the unit; both say no where there is nothing to forget."""
        await self._control("stop", target)
        await self._control("reset-failed", target)

    async def _control(self, verb: str, target: Target) -> Done:
        return await self._run(("systemctl", self._scope, verb, unit_of(target.id)))

    def _observed(self, shown: Mapping[str, str]) -> Observation:
        """Read the properties of a unit; one that is on its way up or down is neither alive nor gone."""
        known = [pair.partition("=") for pair in shown.get("Environment", "").split()]
        incarnation = next((int(value) for key, _, value in known if key == INCARNATION), 0)
        exists = shown.get("LoadState") == "loaded"
        match shown.get("ActiveState"), shown.get("SubState"):
            case "active", "running":
                return Observation("alive", Evidence(self.name, incarnation=incarnation), exists=exists)
            case ("active", "exited") | ("failed", _):
                evidence = Evidence(self.name, incarnation=incarnation, when=self._when(shown))
                return Observation("gone", evidence, exists=exists, end=_end(shown))
            case "inactive", _:
                return Observation("gone", Evidence(self.name), exists=exists)
            case state:
                return unknown(self.name, f"its unit is {state[0]} ({state[1]})")

    def _when(self, shown: Mapping[str, str]) -> Instant | None:
        """Say when its process ended: systemd counts microseconds on this host's monotonic clock."""
        at = int(shown.get("ExecMainExitTimestampMonotonic") or 0) * 1000
        return self._clock.now().after(-(time.monotonic_ns() - at) / 1e9) if at else None


def _limits(spec: Spec) -> list[str]:
    """Hold a unit to the shape that is billed."""
    memory = [f"--property=MemoryMax={spec.memory}"] if spec.memory else []
    return [f"--property=CPUQuota={spec.cpus * 100}%", *memory]


def _end(shown: Mapping[str, str]) -> End | None:
    """Say how the process ended, as its parent saw it; None where it never began."""
    status = int(shown.get("ExecMainStatus") or 0)
    match shown.get("ExecMainCode"):
        case None | "" | "0":
            return None
        case "1":  # CLD_EXITED; otherwise the status is a signal
            return End("graceful" if status == 0 else "crashed", Observed(code=status))
        case _:
            return End("crashed", Observed(signal=signal.Signals(status).name))


def systemd() -> Systemd:
    """Make the provider that the entry point offers to every program on this host."""
    return Systemd({"sleeper": ("sleep", "3600"), "brief": ("sleep", "0.1"), "failing": ("false",)})


async def run_some(log: Path) -> None:
    """Start a unit that stays, and two that end by themselves; then leave."""
    async with eventvm.open(log, providers=[systemd()]) as engine:
        for program in ("sleeper", "brief", "failing"):
            unit = await engine.create(program, Spec(provider="systemd", labels={"program": program}))
            await unit.start()
            print(f"{unit.name} runs as {unit_of(unit.id)}")
        try:
            await unit.snapshot("first")
        except errors.Unsupported as refused:
            print(refused)


async def look_after(log: Path) -> None:
    """Open the log again, as after a restart, and find out what became of each."""
    async with eventvm.open(log, providers=[systemd()]) as engine:
        while len(await engine.machines(phase="running")) > 1:
            await engine.reconcile()
            await anyio.sleep(0.1)
        for unit in await engine.machines():
            (compute,) = [one for one in await unit.intervals() if one.meter == "compute"]
            end = unit.machine.end
            how = f"{end.manner}, {end.termination}" if end else "still counting"
            print(f"{unit.name} is {unit.phase} after {compute.ns / 1e9:.2f} s: {how}")
            await unit.stop()
            await unit.destroy()


async def main() -> None:
    """Run units, leave, come back, and ask what each came to."""
    if shutil.which("systemctl") is None:
        raise SystemExit("this host has no systemctl")
    with TemporaryDirectory() as directory:
        await run_some(Path(directory, "units.db"))
        await look_after(Path(directory, "units.db"))


if __name__ == "__main__":
    anyio.run(main)
