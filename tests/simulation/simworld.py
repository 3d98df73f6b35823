"""A world in virtual time: a disk that can die, a provider that stays, engines that come and go."""
# ruff: noqa: SLF001  # a crash reaches into what it kills

import asyncio
from contextlib import contextmanager

import msgspec

from eventvm import errors
from eventvm.engine import Engine
from eventvm.events import LogRestored, Requested
from eventvm.log import RESTORED, Append, Replay, last_of
from eventvm.logs.memory import MemoryLog, Store
from eventvm.machine import evolve
from eventvm.observation import Instant
from eventvm.providers.simulated import Simulated
from eventvm.spec import Spec
from eventvm.testing import VirtualClock
from eventvm.views import Definitions, Fleet, counted, defined, first, of_machine

SPEC = Spec(provider="simulated", cpus=2, memory=4 << 30, storage=10 << 30)
NEW = Spec(provider="simulated", cpus=8, memory=16 << 30, storage=40 << 30)
LIFECYCLES = ("vm", "hcsshim", "plugin", "microvm", "cell")
OPTIONS = {"deadline_seconds": 60.0, "probe_seconds": 5.0, "grace_seconds": 1.0}


LATER = Instant(1 << 62, 1 << 62, "after all boots")
"""An instant that lies after every other, whatever the clocks were set to."""


class Disk(MemoryLog):
    """A memory log whose machine can lose its power around a commit, and whose commits can fail."""

    def __init__(self, store, clock):
        super().__init__(store, clock)
        self.dead = False
        self.commits = 0
        self.dies = None
        """(`before` or `after`, how many commits from now)."""
        self.died = asyncio.Event()
        self.faults = []
        """What the next commits come to: None, or an error class; CommitUnknown is raised after the deed."""
        self.seconds = 0.0

    def die(self, when, commits=1):
        self.dies = (when, self.commits + commits)

    async def commit(self, batch):
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

    async def _lives(self, when):
        self.dead = self.dead or self.dies == (when, self.commits)
        if self.dead:
            self.died.set()
            await asyncio.get_running_loop().create_future()

    async def keep(self, view, tree, parts):
        if not self.dead:
            await super().keep(view, tree, parts)


class Witness(Simulated):
    """A simulated world that refuses to be touched without a durable request for just that."""

    def __init__(self, clock, store):
        super().__init__(clock)
        self.store = store
        self.probes = []
        self.answered = set()
        self.violations = []

    async def _act(self, call, target, deed):
        if (asked := self._asked(call, target)) is None:
            self.violations.append(f"{call} of {target.name} without a durable request for it")
        elif (asked, call) in self.answered:
            self.violations.append(f"{call} of {target.name} twice for the request at {asked}")
        self.answered.add((asked, call))
        await super()._act(call, target, deed)

    def _asked(self, call, target):
        """Give the position of the open request that asks for a call."""
        if target.id not in self.store.streams:
            return None
        machine = folded(self.store, target.id)
        if machine.request is None:
            return None
        steps = machine.rules.definition.effects[machine.request.effect][machine.request.step :]
        return machine.request.position if call in {step.call for step in steps} else None

    async def probe(self, target):
        self.probes.append(target.name)
        return await super().probe(target)


def folded(store, id_):
    """Fold one machine from what is durable, by nothing but the pure core."""
    definitions, machine = Definitions(), None
    for name, records in store.streams.items():
        if name.startswith("lifecycle/"):
            for record in records:
                definitions.add(record.event.digest, defined(record.event))
    for record in store.streams.get(id_, ()):
        machine = evolve(machine or first(record, definitions), record.event, record.position)
    assert machine is not None, f"nothing is known of {id_}"
    return machine


class World:
    """One host in virtual time; it outlives every engine that is opened on it."""

    def __init__(self, provider=Witness, disk=Disk):
        self._disk = disk
        self.clock = VirtualClock()
        self.store = Store()
        self.simulated = provider(self.clock, self.store)
        self.engine = None
        self.log = None
        self.lifecycles = ()
        self._open = None
        self._abandoned = []
        """Engines that crashed: held, so that nothing of them ends cleanly later."""

    async def open(self, **options):
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

    async def leave(self):
        """Leave the engine as its users do."""
        if self._open is not None:
            left, self._open = self._open, None
            await left.__aexit__(None, None, None)
            await self.log.close()

    async def crash(self):
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

    async def reopen(self, *, crash=True, **options):
        await (self.crash() if crash else self.leave())
        return await self.open(**options)

    async def restored(self, backup):
        """Let the host lose its log to an older backup, as `log restore` does; the world stays as it is."""
        await self.crash()
        self.store = self.simulated.store = backup.copy()
        self.simulated.answered.clear()
        log = MemoryLog(self.store, self.clock.wall)
        log.begin()
        before = await last_of(log, RESTORED)
        event = LogRestored(at=self.clock.now(), origin="simulated")
        await log.append(Append(RESTORED, (event,), before.version if before else 0))
        await log.close()

    async def restore(self, backup, **options):
        await self.restored(backup)
        return await self.open(**options)

    def _tasks(self, engine):
        """List all that runs for an engine, in one order in every process."""
        tasks = (self.log._writer, *engine._tasks, *engine._turns.workers, *engine._supervisor.close())
        return sorted(tasks, key=lambda task: (len(task.get_name()), task.get_name()))

    async def deafen(self):
        """Let nobody hear the hints of the world any more."""
        for task in list(self.engine._tasks):
            task.cancel()
        await self.quiet()

    async def quiet(self, seconds=0.001):
        """Let everything run that can."""
        await asyncio.sleep(seconds)

    # --- what tests read

    @property
    def size(self):
        return len(self.store.records)

    def tags(self, handle, after=0):
        return [
            type(record.event).__struct_config__.tag.removeprefix("machine.")
            for record in self.store.streams.get(handle.id, ())
            if record.position > after
        ]

    def requests(self):
        return [record for record in self.store.records if isinstance(record.event, Requested)]

    async def booked(self, handle, after=0):
        return [
            f"{entry.subject and 'snap.'}{entry.meter}.{entry.edge}({entry.reason})"
            for entry in await handle.entries()
            if entry.position > after
        ]

    @contextmanager
    def untouched(self, handle=None):
        """Nothing at all may change: no phase, ledger, generation, history, log or provider."""
        before = (self.size, self.store.tree.root, list(self.simulated.calls), _frozen(handle))
        yield
        assert (self.size, self.store.tree.root, list(self.simulated.calls), _frozen(handle)) == before

    async def refuses(self, wish, error, handle=None):
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

    async def replayed(self):
        """Replay the log from position 1, each leaf checked."""
        fleet = Fleet()
        async for records in Replay(self.log):
            for record in records:
                fleet.apply(record)
        return fleet

    async def check(self):
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

    async def _check_live(self, fleet):
        for id_, machine in fleet.machines.items():
            live = (await self.engine.cells.cell(id_)).machine
            assert _frozen_machine(live) == _frozen_machine(machine)
            assert await self.engine.history(id_) == fleet.histories.get(id_, [])
            assert (await self.engine.ledger(id_)).entries == fleet.ledgers[id_].entries
        held = {name: holder.stream for name, holder in self.store.holders.items() if holder.held}
        kept = {name: holder.reserved for name, holder in self.store.holders.items() if holder.reserved}
        assert held == {name: m.id for m in fleet.machines.values() for name in m.names}
        assert kept == {m.claims: m.id for m in fleet.machines.values() if m.claims}
        assert self.engine.counts() == counted(fleet.machines.values())
        assert set(fleet.machines) == {name for name in self.store.streams if of_machine(name)}


def _sets_phase(fleet, id_, record):
    return any(change.position == record.position for change in fleet.histories.get(id_, ()))


def _frozen(handle):
    return None if handle is None else _frozen_machine(handle.machine)


def _frozen_machine(machine):
    fields = msgspec.structs.asdict(machine)
    return {**fields, "rules": machine.rules.digest}


def check_ledger(ledger, as_of):
    """Every second is counted once: starts and stops alternate, and intervals never overlap."""
    edges, ends = {}, {}
    for entry in ledger.entries:
        key = (entry.meter, entry.subject)
        assert entry.edge != edges.get(key, "stop"), f"two {entry.edge}s of {key}"
        edges[key] = entry.edge
    for interval in sorted(ledger.intervals(as_of=as_of), key=lambda one: one.start.position):
        key = (interval.meter, interval.subject)
        assert interval.ns >= 0
        assert interval.begin >= ends.get(key, interval.begin), f"{key} overlaps"
        ends[key] = interval.end if interval.end is not None else interval.begin
