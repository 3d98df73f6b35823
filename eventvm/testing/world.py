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
from eventvm.events import LogRestored, Requested
from eventvm.lifecycle import Lifecycle
from eventvm.log import RESTORED, Append, last_of
from eventvm.logs.group_commit import Batch
from eventvm.logs.memory import MemoryLog, Store
from eventvm.machine import Machine
from eventvm.merkle import Tree
from eventvm.record import Record
from eventvm.testing.laws import check_engine, check_ledger, frozen
from eventvm.testing.loop import VirtualClock
from eventvm.testing.witness import Durable, Witness, durable
from eventvm.views import Fleet, of_machine, tag

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


class World:
    """One host in virtual time; it outlives every engine that is opened on it."""

    engine: Engine
    """The engine that was opened last."""
    log: Disk
    """The log that it runs on, over the store that outlives it."""

    def __init__(
        self,
        provider: Callable[[Clock, Durable], Witness] = Witness,
        disk: Callable[[Store, Callable[[], int]], Disk] = Disk,
    ) -> None:
        self._disk = disk
        self.clock = VirtualClock()
        self.store = Store()
        self.simulated = provider(self.clock, self._durable)
        self.lifecycles: tuple[Lifecycle, ...] = ()
        self._open: AbstractAsyncContextManager[Engine] | None = None
        self._abandoned: list[object] = []
        """Engines that crashed: held, so that nothing of them ends cleanly later."""

    @property
    def opened(self) -> bool:
        """Whether an engine is open that has neither crashed nor been left."""
        return self._open is not None

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
        engine._supervisor.close()
        while alive := [task for task in self._tasks(engine) if not task.done()]:
            for task in alive:
                task.cancel()
            await asyncio.wait(alive)
            await asyncio.sleep(0)

    async def reopen(self, *, crash: bool = True, **options: Any) -> Engine:
        """Open another engine once this one has crashed, or was left."""
        await (self.crash() if crash else self.leave())
        return await self.open(**options)

    async def restored(self, backup: Store) -> None:
        """Let the host lose its log to an older backup, as `log restore` does; the world stays as it is."""
        await self.crash()
        self.store = backup.copy()
        self.simulated.forget()
        log = MemoryLog(self.store, self.clock.wall)
        log.begin()
        before = await last_of(log, RESTORED)
        event = LogRestored(at=self.clock.now(), origin="simulated")
        await log.append(Append(RESTORED, (event,), before.version if before else 0))
        await log.close()

    async def restore(self, backup: Store, **options: Any) -> Engine:
        """Open an engine over an older backup."""
        await self.restored(backup)
        return await self.open(**options)

    def _tasks(self, engine: Engine) -> list[asyncio.Task[Any]]:
        """List all that runs for an engine, in one order in every process."""
        assert self.log._writer is not None
        tasks = (self.log._writer, *engine._tasks, *engine._turns.workers, *engine._supervisor.reloads)
        return sorted(tasks, key=lambda task: (len(task.get_name()), task.get_name()))

    async def deafen(self) -> None:
        """Let nobody hear the hints of the world any more."""
        for task in list(self.engine._tasks):
            task.cancel()
        await self.quiet()

    async def _durable(self, id_: str) -> Machine | None:
        """Fold what is durable of a machine, whether or not a log is open."""
        return await durable(MemoryLog(self.store), id_)

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
        assert not self.simulated.violations, self.simulated.violations
        fleet = await check_engine(self.engine)
        for ledger in fleet.ledgers.values():
            check_ledger(ledger, self.clock.now())
        self._check_store(fleet)
        return fleet

    def _check_store(self, fleet: Fleet) -> None:
        """Look whether the store holds what the log tells of, and nothing beside."""
        held = {name: holder.stream for name, holder in self.store.holders.items() if holder.held}
        kept = {name: holder.reserved for name, holder in self.store.holders.items() if holder.reserved}
        assert held == {name: m.id for m in fleet.machines.values() for name in m.names}
        assert kept == {m.claims: m.id for m in fleet.machines.values() if m.claims}
        assert set(fleet.machines) == {name for name in self.store.streams if of_machine(name)}
        for id_, machine in fleet.machines.items():
            changes = [record for record in self.store.streams[id_] if _sets_phase(fleet, id_, record)]
            assert machine.generation == len(changes) == len(fleet.histories.get(id_, ()))


def _sets_phase(fleet: Fleet, id_: str, record: Record) -> bool:
    return any(change.position == record.position for change in fleet.histories.get(id_, ()))


def _frozen(handle: Handle | None) -> dict[str, Any] | None:
    return None if handle is None else frozen(handle.machine)
