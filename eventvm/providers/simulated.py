"""A provider whose world is a dictionary and whose misfortunes are scripted, machine by machine.

What it can be told to do, for one call or for all later ones: succeed, fail, hang, take time, do the deed
and then fail, or claim success without the deed. A machine can die by itself, lie when probed, or be
inconclusive. Tests and `eventvm demo` use nothing else, and it passes the contract that real providers do.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Literal

from msgspec import Struct

from eventvm.clock import Clock
from eventvm.observation import (
    Clean,
    End,
    Evidence,
    Forced,
    Instant,
    Manner,
    Observation,
    Termination,
    unknown,
)
from eventvm.provider import Source, Target, Unclear
from eventvm.spec import Spec

Act = Literal["succeed", "fail", "hang", "lost", "fail_after", "pretend", "unclear"]
"""What a call does. `lost` does the deed and never answers, `fail_after` does it and then fails; `pretend`
succeeds without it."""


class Script(Struct, frozen=True):
    """What one call does, and how long it takes."""

    act: Act = "succeed"
    seconds: float = 0.0
    message: str = "the simulated provider was told to fail"


class Simulation(Struct):
    """One machine of the simulated world."""

    exists: bool = True
    alive: bool = False
    paused: bool = False
    incarnation: int = 0
    name: str = ""
    snapshots: dict[str, int] = {}
    end: End | None = None
    died: Instant | None = None
    verified: bool = False


class Failed(Exception):
    """A call that was scripted to fail."""


class Simulated:
    """A world of simulated machines; it outlives the engine that drives it, as the real one does."""

    name = "simulated"

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.world: dict[str, Simulation] = {}
        self.calls: list[tuple[str, str]] = []
        """Every call that may change the world, as (call, machine's name)."""
        self._scripts: dict[tuple[str, str], deque[Script]] = {}
        self._always: dict[tuple[str, str], Script] = {}
        self._lies: dict[str, Observation] = {}
        self._hints: set[asyncio.Queue[str]] = set()

    # --- the script

    def script(self, name: str, call: str, *acts: Act | Script) -> None:
        """Say what the next calls to a machine do, one after the other; later ones succeed."""
        scripts = (act if isinstance(act, Script) else Script(act) for act in acts)
        self._scripts.setdefault((name, call), deque()).extend(scripts)

    def always(self, name: str, call: str, act: Act | Script | None) -> None:
        """Say what every call of a kind does to a machine from now on; None ends it. `*` is any machine."""
        if act is None:
            self._always.pop((name, call), None)
        else:
            self._always[name, call] = act if isinstance(act, Script) else Script(act)

    def die(
        self, name: str, *, code: int | None = None, manner: Manner = "crashed", at: Instant | None = None
    ) -> None:
        """Let a machine end by itself; with a code, the bridge authenticates it."""
        for id_, machine in self.world.items():
            if machine.name == name and machine.alive:
                machine.alive = machine.paused = False
                machine.died = at or self.clock.now()
                machine.verified = code is not None
                machine.end = End(manner, Forced() if code is None else Clean(code))
                self._hint(id_)

    def raise_from_the_dead(self, name: str) -> None:
        """Let a machine live that the record believes dead."""
        for machine in self.world.values():
            if machine.name == name:
                machine.alive, machine.end = True, None

    def lie(self, name: str, liveness: Literal["alive", "gone", "unknown"] | None) -> None:
        """Let probes of a machine say this whatever is true; None ends it."""
        if liveness is None:
            self._lies.pop(name, None)
        else:
            exists = None if liveness == "unknown" else liveness == "alive"
            self._lies[name] = Observation(liveness, Evidence(self.name), exists=exists)

    def alive(self, name: str) -> bool:
        """Say whether a machine is alive in truth."""
        return any(machine.alive for machine in self.world.values() if machine.name == name)

    # --- the port

    async def create_with_spec(self, target: Target, spec: Spec) -> None:
        await self._act("create", target, lambda: self._made(target))

    async def create(self, target: Target) -> None:
        await self.create_with_spec(target, target.spec)

    async def start(self, target: Target) -> None:
        await self._act("start", target, lambda: self._launched(target))

    async def stop(self, target: Target) -> End | None:
        await self._act("stop", target, lambda: self._ended(target, "graceful", Clean(0)))
        return self._end_of(target)

    async def snapshot(self, target: Target, snapshot: str) -> int:
        size = target.spec.memory or 1 << 20
        await self._act("snapshot", target, lambda: self._of(target).snapshots.update({snapshot: size}))
        return size

    async def destroy(self, target: Target) -> End | None:
        was = self.world.get(target.id)
        await self._act("destroy", target, lambda: self._removed(target))
        return was.end if was is not None else None

    async def probe(self, target: Target) -> Observation:
        lie = self._lies.get(target.name)
        if lie is not None:
            return lie
        script = self._scripted("probe", target)
        if script.seconds:
            await asyncio.sleep(script.seconds)
        if script.act == "hang":
            await asyncio.get_running_loop().create_future()
        if script.act != "succeed":
            return unknown(self.name, script.message)
        return self._seen(target)

    async def pause(self, target: Target) -> None:
        await self._act("pause", target, lambda: self._held(target, paused=True))

    async def resume(self, target: Target) -> None:
        await self._act("resume", target, lambda: self._held(target, paused=False))

    async def restore(self, target: Target, source: Source) -> None:
        await self._act("restore", target, lambda: self._launched(target))

    async def rename(self, target: Target, name: str) -> None:
        await self._act("rename", target, lambda: setattr(self._of(target), "name", name))

    async def delete_snapshot(self, target: Target, snapshot: str) -> None:
        await self._act("delete_snapshot", target, lambda: self._of(target).snapshots.pop(snapshot, None))

    async def disconnect(self, target: Target) -> None:
        await self._act("disconnect", target, lambda: None)

    async def events(self) -> AsyncIterator[str]:
        hints: asyncio.Queue[str] = asyncio.Queue(1024)
        self._hints.add(hints)
        try:
            while True:
                yield await hints.get()
        finally:
            self._hints.discard(hints)

    async def discover(self) -> AsyncIterator[str]:
        for id_, machine in list(self.world.items()):
            if machine.exists:
                yield id_

    # --- the world

    async def _act(self, call: str, target: Target, deed: Callable[[], object]) -> None:
        """Do what the script says; a call that hangs has done nothing, and hangs until it is cancelled."""
        self.calls.append((call, target.name))
        script = self._scripted(call, target)
        if script.seconds:
            await asyncio.sleep(script.seconds)
        if script.act in ("succeed", "lost", "fail_after"):
            deed()
        if script.act in ("hang", "lost"):
            await asyncio.get_running_loop().create_future()
        if script.act in ("fail", "fail_after"):
            raise Failed(script.message)
        if script.act == "unclear":
            raise Unclear(script.message)

    def _scripted(self, call: str, target: Target) -> Script:
        if queue := self._scripts.get((target.name, call)):
            return queue.popleft()
        return self._always.get((target.name, call)) or self._always.get(("*", call)) or Script()

    def _of(self, target: Target) -> Simulation:
        return self.world.setdefault(target.id, Simulation(exists=False, name=target.name, snapshots={}))

    def _made(self, target: Target) -> None:
        kept = self._of(target).snapshots
        self.world[target.id] = Simulation(name=target.name, snapshots=kept)
        if (begun := target.spec.restore_from) is not None:
            self._launched(target, paused=not begun.resume_immediately)

    def _launched(self, target: Target, *, paused: bool = False) -> None:
        machine = self._of(target)
        if not machine.alive:
            machine.incarnation, machine.end, machine.died = target.incarnation, None, None
        machine.exists = machine.alive = True
        machine.paused = paused

    def _ended(self, target: Target, manner: Manner, termination: Termination) -> None:
        machine = self._of(target)
        if machine.alive:
            machine.alive = machine.paused = False
            machine.end, machine.died = End(manner, termination), self.clock.now()
            machine.verified = isinstance(termination, Clean)

    def _removed(self, target: Target) -> None:
        self._ended(target, "killed", Forced())
        machine = self._of(target)
        machine.exists = False

    def _held(self, target: Target, *, paused: bool) -> None:
        machine = self._of(target)
        if not machine.alive:
            raise Failed("there is no process to hold")
        machine.paused = paused

    def _end_of(self, target: Target) -> End | None:
        machine = self.world.get(target.id)
        return machine.end if machine is not None else None

    def _seen(self, target: Target) -> Observation:
        machine = self.world.get(target.id)
        if machine is None:
            return Observation("gone", Evidence(self.name), exists=False, snapshots=())
        evidence = Evidence(self.name, machine.verified, machine.incarnation, machine.died)
        return Observation(
            "alive" if machine.alive else "gone", evidence, exists=machine.exists, paused=machine.paused,
            name=machine.name, snapshots=tuple(machine.snapshots), end=machine.end,
        )  # fmt: skip

    def _hint(self, id_: str) -> None:
        for hints in self._hints:
            if not hints.full():
                hints.put_nowait(id_)


__all__ = ["Failed", "Script", "Simulated", "Simulation"]
