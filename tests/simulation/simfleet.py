"""A small fleet under random commands, faults, deaths, lies and crashes; one seed, one history."""
# ruff: noqa: SLF001  # it looks for what is left behind

import asyncio
import random
import sys
from contextlib import suppress
from functools import partial

from msgspec.structs import replace
from specs import LIFECYCLES, NEW, SPEC

from eventvm.engine.receipt import receipt_of
from eventvm.errors import Closed, CommitUnknown, EffectFailed, EventvmError, LogUnavailable
from eventvm.lifecycles import plugin
from eventvm.observation import Evidence, Observation
from eventvm.providers.simulated import Script
from eventvm.spec import Spec
from eventvm.supervision import expired, supervise, under_way
from eventvm.tables import Refuse
from eventvm.testing import Disk, VirtualLoop, World

VERBS = (
    "start", "stop", "pause", "resume", "use", "advance_retry", "reset_retry", "hibernate", "snapshot",
    "delete_snapshot", "restore", "clone", "rename", "destroy", "attest", "complete", "force_phase",
    "transition_to", "wait", "history", "reconcile", "amend",
)  # fmt: skip
UNKEYED = ("use", "reconcile", "history", "wait")
CALLS = (
    "create", "start", "stop", "pause", "resume", "snapshot", "delete_snapshot", "restore", "rename",
    "destroy", "disconnect", "probe",
)  # fmt: skip
ACTS = (
    "fail",
    "hang",
    "lost",
    "fail_after",
    "pretend",
    "unclear",
    Script(seconds=3),
    Script("fail", seconds=90),
)
STUCK_SECONDS = 100_000
CARE_SECONDS = 1000
"""Longer than any recovery takes: all its backoffs, and all its attempts up to their deadlines."""
POLICIES = ("", "never", "on-failure", "always")


class Run:
    """One seed's history."""

    def __init__(self, seed, steps, disk=Disk):
        self.random = random.Random(seed)
        self.steps = steps
        self.world = World(disk=disk)
        self.machines = []
        """The ids of all machines that were ever acknowledged."""
        self.tasks = []
        self.receipts = []
        self.keyed = {}
        """For each key that was answered: the wish, and the receipt or the failure that it led to."""
        self.leaves = []
        self.keys = 0
        self.seen = []

    async def live(self):
        """Live through all steps, then let everything come to rest; give the tree's root."""
        await self.open()
        for name in LIFECYCLES:
            self.wish(partial(self.create, f"{name}-0", name))
        for _ in range(self.steps):
            await self.step()
            await asyncio.sleep(self.random.choice((0, 0, 0.001, 1, 5)))
        await self.rest()
        return self.world.store.tree.root.hex()

    async def open(self):
        at_once = self.random.choice((1, 64))
        hosts = {"plugin": self.reload} if self.random.random() < 0.8 else {}
        await self.world.open(actor="sim", effects_at_once=at_once, probes_at_once=at_once, reloads=hosts)
        self.world.log.seconds = self.random.choice((0, 0.001))
        self.hosted = bool(hosts)
        self.world.engine.observe(lambda _, change: self.seen.append(change.position))

    async def reload(self, plugin):
        """Bring a plugin back as a host might: it takes its time, fails, hangs, meddles, or dies of it."""
        fate = self.random.choice(("", "", "", "fail", "hang", "cancelled", "move", "crash"))
        await asyncio.sleep(self.random.choice((0, 0.001, 3)))
        if fate == "fail":
            raise RuntimeError(fate)
        if fate == "hang":
            await asyncio.get_running_loop().create_future()
        if fate == "cancelled":
            raise asyncio.CancelledError
        if fate == "move":
            self.wish(partial(self.send, plugin.id, "transition_to", ("Validating",), {}, None))
        if fate == "crash":
            self.wish(partial(self.crashed, plugin.id))

    async def step(self):
        act = self.random.choices(
            (
                self.command, self.fault, self.mischief, self.clock, self.reconcile, self.cancel,
                self.restart, self.again, self.crash,
            ),
            (70, 16, 5, 2, 2, 2, 2, 4, 5),
        )[0]  # fmt: skip
        await act()

    # --- what may happen

    async def command(self):
        if len(self.machines) < 5 or self.random.random() < 0.08:
            lifecycle = self.random.choice(LIFECYCLES)
            self.wish(partial(self.create, f"{lifecycle}-{self.random.randrange(2)}", lifecycle))
            return
        id_ = self.random.choice(self.machines[-8:])
        verb, args, options = self.drawn(id_)
        key = None
        if self.random.random() < 0.4 and verb not in UNKEYED:
            self.keys += 1
            key = options["key"] = f"k{self.keys}"
        self.wish(partial(self.send, id_, verb, args, options, key))

    def drawn(self, id_):
        """Draw a verb with its arguments and options: mostly one that the machine takes now."""
        choice = self.random.choice
        options = choice(({}, {}, {}, {"wait": False}))
        cell = self.world.engine.cells.living.get(id_)  # what is dead may be collected at any time
        taken = self.taken(cell.machine) if cell is not None and self.random.random() < 0.85 else ()
        verb = choice(taken or VERBS)
        return verb, self.arguments(verb, cell), self.optioned(verb, options)

    def taken(self, machine):
        """List what the machine's phase takes, what ends it only now and then."""
        rows = {verb for verb in VERBS if not isinstance(machine.rules.answer(machine.phase, verb), Refuse)}
        if self.random.random() < 0.7:
            rows -= {"destroy", "attest", "force_phase", "advance_retry", "reset_retry"}
        rows.add("amend")
        if machine.snapshots and machine.rules.name == "vm":
            rows.add("clone")
        if machine.rules.definition.moves:
            rows.add("transition_to")
        return sorted(rows)

    def arguments(self, verb, cell):  # noqa: C901, PLR0911  # one case for each verb
        choice = self.random.choice
        snapshots = tuple(cell.machine.snapshots) if cell is not None else ()
        goals = cell.machine.rules.definition.moves.get(cell.machine.phase) if cell is not None else None
        snapshot = choice(snapshots or ("s1", "s2"))
        match verb:
            case "transition_to" | "force_phase":
                phase = choice(goals or plugin.phases)
                return (phase,) if verb == "transition_to" else (phase, "because")
            case "snapshot" | "hibernate":
                return (choice(("s1", "s2", "s3")),)
            case "restore":
                return choice(((snapshot,), (snapshot, NEW)))
            case "delete_snapshot":
                return (snapshot,)
            case "clone":
                return (f"vm-{self.random.randrange(3)}", snapshot)
            case "rename":
                return (f"other-{self.random.randrange(3)}",)
            case "attest":
                return (choice(("alive", "gone")), "seen")
            case "complete":
                return (0,)
            case "wait":
                return (choice(("running", "stopped", "settled", "terminal")),)
            case _:
                return ()

    def optioned(self, verb, options):
        if verb == "amend":
            labels = {self.random.choice("ab"): self.random.choice(("1", "2", None))}
            return {**options, "labels": labels, **self.drawn_care()}
        if verb in UNKEYED:
            return {"timeout": 50} if verb == "wait" else {}
        return {**options, "force": True} if verb == "destroy" and self.random.random() < 0.6 else {**options}

    def drawn_care(self):
        """Draw what the supervisor is asked for."""
        choice = self.random.choice
        drawn = {"restart": choice((None, *POLICIES)), "ttl_seconds": choice((None, None, None, 0, 1, 50))}
        return {field: value for field, value in drawn.items() if value is not None}

    async def create(self, name, lifecycle):
        spec = replace(Spec(dev=True) if lifecycle == "plugin" else SPEC, **self.drawn_care())
        handle = await self.world.engine.create(name, spec, lifecycle=lifecycle)
        self.learn(handle.receipt)

    async def send(self, id_, verb, args, options, key):
        handle = await self.world.engine.machine_by_id(id_)
        try:
            outcome = await getattr(handle, verb)(*args, **options)
        except EffectFailed as failed:
            self.answered(key, (id_, verb, args, options), failed.receipt)
            raise
        outcome = getattr(outcome, "receipt", outcome)
        if hasattr(outcome, "position"):
            self.learn(outcome)
            if outcome.how != "requested":
                self.answered(key, (id_, verb, args, options), outcome)

    def learn(self, receipt):
        self.receipts.append(receipt)
        if receipt.machine not in self.machines and receipt.version:
            self.machines.append(receipt.machine)

    def answered(self, key, wish, receipt):
        """The same key has the same receipt, whenever and however often it is sent."""
        if key is None or not receipt.version:
            return
        before = self.keyed.setdefault(key, (wish, receipt))[1]
        assert replace(before, how="done") == replace(receipt, how="done"), key

    async def again(self):
        if self.keyed:
            key = self.random.choice(list(self.keyed))
            self.wish(partial(self.send, *self.keyed[key][0], key))

    def wish(self, send):
        self.tasks.append(asyncio.create_task(self.guarded(send)))

    async def guarded(self, send):
        with suppress(EventvmError):
            await send()

    async def fault(self):
        if self.random.random() < 0.2:
            self.world.log.faults.append(LogUnavailable)
            return
        call, act = self.random.choice(CALLS), self.random.choice(ACTS)
        self.world.simulated.script(self.name(), call, act)

    def name(self):
        held = [name for name, holder in self.world.store.holders.items() if holder.held]
        return self.random.choice(held or ["nobody"])

    async def mischief(self):
        simulated, name = self.world.simulated, self.name()
        act = self.random.choice((simulated.die, simulated.raise_from_the_dead, simulated.lie, simulated.lie))
        if act == simulated.lie:
            simulated.lie(name, self.random.choice(("alive", "gone", "unknown", None, None)))
        else:
            act(name)

    async def crash(self):
        """Let a plugin do its work, and tell of its death."""
        plugins = [id_ for id_ in self.machines if self.rules(id_) == "plugin"]
        if plugins:
            self.wish(partial(self.crashed, self.random.choice(plugins[-3:])))

    def rules(self, id_):
        cell = self.world.engine.cells.living.get(id_)
        return "" if cell is None else cell.machine.rules.name

    async def crashed(self, id_):
        plugin = await self.world.engine.machine_by_id(id_)
        if not plugin.active:
            await plugin.force_phase("Running", "so that it can crash")
        gone = Observation("gone", Evidence("host"), exists=True, generation=plugin.generation)
        await plugin.tell(gone)

    async def clock(self):
        if self.random.random() < 0.3:
            self.world.clock.reboot()
        else:
            self.world.clock.jump(self.random.uniform(-100, 100))

    async def reconcile(self):
        self.wish(self.world.engine.reconcile)

    async def cancel(self):
        for task in self.tasks[-3:]:
            if self.random.random() < 0.5:
                task.cancel()

    async def restart(self):
        log, way = self.world.log, self.random.choice(("leave", "crash", "before", "after", "unknown"))
        if way == "unknown":
            log.faults.append(CommitUnknown)
        if way in ("before", "after"):
            log.die(way, self.random.randrange(1, 4))
        if way in ("before", "after", "unknown"):
            with suppress(TimeoutError):
                await asyncio.wait_for(log.died.wait(), 1)
        await self.gone(crash=way != "leave")
        await self.open()
        await self.world.check()
        self.check()

    async def gone(self, *, crash):
        if crash:
            await self.world.crash()
        else:
            with suppress(Closed):
                await self.world.leave()
        for task in self.tasks:
            task.cancel()
        await self.done()

    async def done(self):
        """Wait for all that was sent: nobody is stuck."""
        tasks, self.tasks = self.tasks, []
        if tasks:
            await asyncio.wait(tasks, timeout=STUCK_SECONDS)
        for task in tasks:
            assert task.done(), "somebody is stuck"
            if not task.cancelled() and (broken := task.exception()) is not None:
                raise broken

    # --- the laws

    async def rest(self):
        """Lift every fault; then nobody is stuck, and a restart finds the same fleet."""
        self.world.simulated.__dict__["_scripts"].clear()
        self.world.simulated.__dict__["_lies"].clear()
        self.world.log.faults.clear()
        await self.done()
        assert not self.world.engine.cells.waits, "nobody waits any more"
        await self.world.check()
        self.check()
        await self.gone(crash=self.random.random() < 0.5)
        await self.open()
        async with asyncio.timeout(STUCK_SECONDS):
            await self.world.engine.reconcile()
        await self.world.quiet(CARE_SECONDS)
        await self.world.check()
        self.check()
        self.cared_for()
        await self.world.leave()

    def cared_for(self):
        """In a world without faults nobody is left half way: not restarted, not ended, not failed."""
        engine, now = self.world.engine, self.world.clock.now()
        for cell in engine.cells.living.values():
            machine = cell.machine
            hosted = self.hosted and machine.rules.name == "plugin"
            assert machine.request is None, machine
            assert not expired(machine, now), machine
            assert machine.quarantined or supervise(machine, now, hosted=hosted) is None, machine
            assert not under_way(machine) or (machine.rules.name == "plugin" and not hosted), machine
        cells = engine.cells
        assert (cells.turns, cells.queues) == ({}, {})
        assert not engine._supervisor._under_care
        assert engine._supervisor._tries.keys() <= cells.living.keys()
        assert len(engine._supervisor._alarms) <= 10 * len(self.machines) + 10

    def check(self):
        """No acknowledged receipt is missing, and no record has changed."""
        records = self.world.store.records
        for receipt in self.receipts:
            if receipt.version:
                record = records[receipt.position - 1]
                assert (record.stream, record.version) == (receipt.machine, receipt.version), receipt
        leaves = [record.leaf for record in records]
        assert leaves[: len(self.leaves)] == self.leaves
        self.leaves = leaves
        assert self.seen == sorted(set(self.seen)), "an observer is called once for each transition, in order"


def early(machine):
    """Make the receipt of a record that is not durable yet, for a mutant."""
    return replace(receipt_of(machine, "done"), position=machine.position + 1, version=machine.version + 1)


def run(seed, steps=100, disk=Disk):
    """Live one seed's history, and give the root of its tree."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(seed)) as runner:
        return runner.run(_live(seed, steps, disk))


async def _live(seed, steps, disk):
    return await Run(seed, steps, disk).live()


if __name__ == "__main__":
    for one in sys.argv[1:]:
        print(one, run(int(one)))  # noqa: T201  # this is what the other process reads
