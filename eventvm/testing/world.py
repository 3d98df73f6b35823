"""A world in virtual time: a disk that can die, a provider that stays, engines that come and go."""
# ruff: noqa: SLF001  # a crash reaches into what it kills

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Literal

from eventvm import errors
from eventvm.audit.replay import replayed
from eventvm.clock import Clock
from eventvm.engine import Engine, Handle
from eventvm.events import LifecycleDefined, Requested
from eventvm.lifecycle import Lifecycle
from eventvm.logs.group_commit import Batch
from eventvm.logs.memory import MemoryLog, Store
from eventvm.machine import Machine, evolve
from eventvm.merkle import Tree
from eventvm.observation import Observation
from eventvm.provider import Target
from eventvm.providers.simulated import Simulated
from eventvm.record import Record
from eventvm.testing.laws import LATER, check_ledger, frozen
from eventvm.testing.loop import VirtualClock
from eventvm.views import Definitions, Fleet, defined, first, of_machine, tag

OPTIONS = {"deadline_seconds": 60.0, "probe_seconds": 5.0, "grace_seconds": 1.0}

When = Literal["before", "after"]


class Disk(MemoryLog):
    """A memory log whose machine can lose its power around a commit, and whose commits can fail."""

    def __init__(self, store: Store, clock: Callable[[], int]) -> None:
        super().__init__(store, clock)
        self.dead = False
        self.commits = 0
        self.dies: tuple[When, int] | None = None
        """On which side of which commit its power fails."""
        self.died = asyncio.Event()
        self.faults: list[type[errors.EventvmError] | None] = []
        """What the next commits come to: None, or an error class; CommitUnknown is raised after the deed."""
        self.seconds = 0.0

    def die(self, when: When, commits: int = 1) -> None:
        """Lose power before or after a commit, so many commits from now."""
        self.dies = (when, self.commits + commits)

    async def commit(self, batch: Batch) -> None:
        self.commits += 1
        if self.seconds:
            await asyncio.sleep(self.seconds)
        await self._lives("before")
        fault = self.faults.pop(0) if self.faults else None
        if fault is errors.LogUnavailable:
            raise fault("the disk is full")
        await super().commit(batch)
        await self._lives("after")
        if fault is not None:
            raise fault("nobody can tell")

    async def _lives(self, when: When) -> None:
        self.dead = self.dead or self.dies == (when, self.commits)
        if self.dead:
            self.died.set()
            await asyncio.get_running_loop().create_future()

    async def keep(self, view: str, tree: Tree, parts: Sequence[bytes]) -> None:
        if not self.dead:
            await super().keep(view, tree, parts)


class Witness(Simulated):
    """A simulated world that refuses to be touched without a durable request for just that."""

    def __init__(self, clock: Clock, store: Store) -> None:
        super().__init__(clock)
        self.store = store
        self.probes: list[str] = []
        """The name of each machine that was probed."""
        self.answered: set[tuple[int | None, str]] = set()
        """The calls that were made, each with the position of the request that asked for it."""
        self.violations: list[str] = []
        """The calls that nobody had asked for, or that were made twice."""

    async def _act(self, call: str, target: Target, deed: Callable[[], object]) -> None:
        if (asked := self._asked(call, target)) is None:
            self.violations.append(f"{call} of {target.name} without a durable request for it")
        elif (asked, call) in self.answered:
            self.violations.append(f"{call} of {target.name} twice for the request at {asked}")
        self.answered.add((asked, call))
        await super()._act(call, target, deed)

    def _asked(self, call: str, target: Target) -> int | None:
        """Give the position of the open request that asks for a call."""
        if target.id not in self.store.streams:
            return None
        machine = folded(self.store, target.id)
        if machine.request is None:
            return None
        steps = machine.rules.definition.effects[machine.request.effect][machine.request.step :]
        return machine.request.position if call in {step.call for step in steps} else None

    async def probe(self, target: Target) -> Observation:
        self.probes.append(target.name)
        return await super().probe(target)


def folded(store: Store, id_: str) -> Machine:
    """Fold one machine from what is durable, by nothing but the pure core."""
    definitions = Definitions()
    for name, records in store.streams.items():
        if name.startswith("lifecycle/"):
            for record in records:
                assert isinstance(record.event, LifecycleDefined)
                definitions.add(record.event.digest, defined(record.event))
    machine: Machine | None = None
    for record in store.streams.get(id_, ()):
        machine = evolve(machine or first(record, definitions), record.event, record.position)
    assert machine is not None, f"nothing is known of {id_}"
    return machine


class World:
    """One host in virtual time; it outlives every engine that is opened on it."""

    engine: Engine
    """The engine that was opened last."""
    log: Disk
    """The log that it runs on, over the store that outlives it."""

    def __init__(
        self,
        provider: Callable[[Clock, Store], Witness] = Witness,
        disk: Callable[[Store, Callable[[], int]], Disk] = Disk,
    ) -> None:
        self._disk = disk
        self.clock = VirtualClock()
        self.store = Store()
        self.simulated = provider(self.clock, self.store)
        self.lifecycles: tuple[Lifecycle, ...] = ()
        self._open: AbstractAsyncContextManager[Engine] | None = None
        self._abandoned: list[object] = []
        """Engines that crashed: held, so that nothing of them ends cleanly later."""

    async def open(self, **options: Any) -> Engine:
        """Open an engine over what is durable; leave or crash the one before first."""
        assert self._open is None, "one log has one engine"
        self.log = self._disk(self.store, self.clock.wall)
        self.log.begin()
        self.engine = Engine(
            self.log, [self.simulated, *options.pop("providers", ())], self.lifecycles, clock=self.clock,
            **{**OPTIONS, **options},
        )  # fmt: skip
        self._open = self.engine.running()
        await self._open.__aenter__()
        return self.engine

    async def leave(self) -> None:
        """Leave the engine as its users do."""
        if self._open is not None:
            left, self._open = self._open, None
            await left.__aexit__(None, None, None)
            await self.log.close()

    async def crash(self) -> None:
        """Let the engine's process die: nothing more is written, called or kept."""
        self.log.dead = True
        self.log.dies = None
        self._abandoned.append(self._open)
        self._open, engine = None, self.engine
        while alive := [task for task in self._tasks(engine) if not task.done()]:
            for task in alive:
                task.cancel()
            await asyncio.wait(alive)
            await asyncio.sleep(0)

    async def reopen(self, *, crash: bool = True, **options: Any) -> Engine:
        """Open another engine once this one has crashed, or was left."""
        await (self.crash() if crash else self.leave())
        return await self.open(**options)

    def _tasks(self, engine: Engine) -> list[asyncio.Task[Any]]:
        """List all that runs for an engine, in one order in every process."""
        assert self.log._writer is not None
        tasks = (self.log._writer, *engine._tasks, *engine._turns.workers)
        return sorted(tasks, key=lambda task: (len(task.get_name()), task.get_name()))

    async def deafen(self) -> None:
        """Let nobody hear the hints of the world any more."""
        for task in list(self.engine._tasks):
            task.cancel()
        await self.quiet()

    async def quiet(self, seconds: float = 0.001) -> None:
        """Let everything run that can."""
        await asyncio.sleep(seconds)

    # --- what tests read

    @property
    def size(self) -> int:
        """How many records are durable."""
        return len(self.store.records)

    def tags(self, handle: Handle, after: int = 0) -> list[str]:
        """Name the events of a machine after a position, `machine.` left out."""
        return [
            tag(record).removeprefix("machine.")
            for record in self.store.streams.get(handle.id, ())
            if record.position > after
        ]

    def requests(self) -> list[Record]:
        """Give the records of all requests."""
        return [record for record in self.store.records if isinstance(record.event, Requested)]

    async def booked(self, handle: Handle, after: int = 0) -> list[str]:
        """Write what was booked after a position as the ledger's tables do: meter.edge(reason)."""
        return [
            f"{entry.subject and 'snap.'}{entry.meter}.{entry.edge}({entry.reason})"
            for entry in await handle.entries()
            if entry.position > after
        ]

    @contextmanager
    def untouched(self, handle: Handle | None = None) -> Iterator[None]:
        """Nothing at all may change: no phase, ledger, generation, history, log or provider."""
        before = (self.size, self.store.tree.root, list(self.simulated.calls), _frozen(handle))
        yield
        assert (self.size, self.store.tree.root, list(self.simulated.calls), _frozen(handle)) == before

    async def refuses(
        self, wish: Awaitable[object], error: type[errors.EventvmError], handle: Handle | None = None
    ) -> errors.EventvmError:
        """Await a command that must be refused, and see that nothing at all has changed."""
        try:
            with self.untouched(handle):
                try:
                    await wish
                except errors.EventvmError as caught:
                    refused = caught
                else:
                    raise AssertionError("it was taken")
        finally:
            await self.quiet()
        assert type(refused) is error, repr(refused)
        return refused

    async def replayed(self) -> Fleet:
        """Replay the log from position 1, each leaf checked."""
        return await replayed(self.log)

    async def check(self) -> Fleet:
        """Check the laws that hold at every moment."""
        assert not self.simulated.violations
        fleet = await self.replayed()
        await self._check_live(fleet)
        for id_, ledger in fleet.ledgers.items():
            check_ledger(ledger, LATER)
            check_ledger(ledger, self.clock.now())
            changes = [record for record in self.store.streams[id_] if _sets_phase(fleet, id_, record)]
            assert fleet.machines[id_].generation == len(changes) == len(fleet.histories.get(id_, ()))
        return fleet

    async def _check_live(self, fleet: Fleet) -> None:
        for id_, machine in fleet.machines.items():
            live = (await self.engine.cells.cell(id_)).machine
            assert frozen(live) == frozen(machine)
            assert await self.engine.history(id_) == fleet.histories.get(id_, [])
            assert (await self.engine.ledger(id_)).entries == fleet.ledgers[id_].entries
        held = {name: holder.stream for name, holder in self.store.holders.items() if holder.held}
        kept = {name: holder.reserved for name, holder in self.store.holders.items() if holder.reserved}
        assert held == {name: m.id for m in fleet.machines.values() for name in m.names}
        assert kept == {m.claims: m.id for m in fleet.machines.values() if m.claims}
        assert set(fleet.machines) == {name for name in self.store.streams if of_machine(name)}


def _sets_phase(fleet: Fleet, id_: str, record: Record) -> bool:
    return any(change.position == record.position for change in fleet.histories.get(id_, ()))


def _frozen(handle: Handle | None) -> dict[str, Any] | None:
    return None if handle is None else frozen(handle.machine)
