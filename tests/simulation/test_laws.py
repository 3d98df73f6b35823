"""Laws that a review found missing: linear waiting, honest ends, own definitions, limits, ways on."""

import asyncio
import threading
from itertools import pairwise

import msgspec
import pytest
from msgspec.structs import replace
from specs import NEW, SPEC

from eventvm import lifecycle
from eventvm.engine import waiting
from eventvm.errors import (
    BadInput,
    Closed,
    DefinitionRefused,
    EffectFailed,
    OutcomeUnknown,
    StillAnswers,
    Unreachable,
    Unsupported,
    WrongLoop,
)
from eventvm.events import StartFailed
from eventvm.lifecycle import Lifecycle, Recorded
from eventvm.lifecycles import LIFECYCLES
from eventvm.observation import Clean, End, Evidence, Forced, Instant, Observation
from eventvm.provider import Unclear
from eventvm.spec import Spec
from eventvm.tables import ANY, Arrow, Fact
from eventvm.testing import check_ledger

CLEAN = End("graceful", Clean(7))
BARE = Spec(provider="bare", cpus=2)
EFFECTFUL = ("vm", "hcsshim", "microvm", "cell")


class Bare:
    """A provider with the required calls alone; it knows who lives, and nothing of how anybody ended."""

    name = "bare"

    def __init__(self):
        self.alive = set()
        self.calls = []
        self.raises = {}
        """What a call raises, each once."""
        self.then = None
        """What a probe says after a call has raised."""
        self.probed = 0
        self.liveness = None
        """What a probe says, whatever is so."""

    def _act(self, call):
        self.calls.append(call)
        if (problem := self.raises.pop(call, None)) is not None:
            self.liveness = self.then
            raise problem

    async def create(self, target):
        self._act("create")

    async def start(self, target):
        self._act("start")
        self.alive.add(target.id)

    async def stop(self, target):
        self._act("stop")
        self.alive.discard(target.id)
        return CLEAN

    async def snapshot(self, target, snapshot):
        self._act("snapshot")
        return 1 << 20

    async def delete_snapshot(self, target, snapshot):
        self._act("delete_snapshot")

    async def restore(self, target, source):
        self._act("restore")
        self.alive.add(target.id)

    async def destroy(self, target):
        self._act("destroy")
        self.alive.discard(target.id)

    async def probe(self, target):
        self.probed += 1
        liveness = self.liveness or ("alive" if target.id in self.alive else "gone")
        return Observation(
            liveness, Evidence(self.name), exists=None if self.liveness else liveness == "alive"
        )


class Vague(Unclear):
    """A provider's own way of not knowing."""


@pytest.fixture
async def bare(world):
    """Give a provider of our own, at hand in the world."""
    one = Bare()
    await world.reopen(crash=False, providers=[one])
    return one


# --- waiting ------------------------------------------------------------------------------------------


async def test_waiters_register_in_linear_work(world, monkeypatch):
    """The n-th wait judges itself and none of those before it; who leaves judges nobody."""
    vm = await world.engine.create("web", SPEC)
    judged, closures = [], []
    hopeless, closure = waiting.hopeless, lifecycle._closure  # what is counted lies within  # noqa: SLF001  # what is counted lies within

    def counted(machine, wait, **told):
        judged.append(wait)
        return hopeless(machine, wait, **told)

    def closed(*args):
        closures.append(args)
        return closure(*args)

    monkeypatch.setattr(waiting, "hopeless", counted)
    monkeypatch.setattr(lifecycle, "_closure", closed)
    handle = await world.engine.machine("web")
    waits = [asyncio.create_task(handle.wait("running")) for _ in range(2_000)]
    await world.quiet()
    assert len(judged) == len(set(map(id, judged))) == 2_000
    assert len(closures) <= 1, "and one look at the tables serves them all"
    for wait in waits[:1_000]:
        wait.cancel()
    await world.quiet()
    assert len(judged) == 2_000
    await vm.start()
    assert {(await wait).phase for wait in waits[1_000:]} == {"running"}


async def test_a_failed_start_is_unreachable_at_once_and_names_the_failure(world):
    """No time passes, and the record is the one that tells of the fault."""
    vm = await world.engine.create("web", SPEC)
    created = vm.receipt.position
    world.simulated.script("web", "start", "fail")
    with pytest.raises(EffectFailed) as failed:
        await vm.start()
    began = world.clock.wall()
    with pytest.raises(Unreachable) as lost:
        await vm.wait("running", timeout=100)
    assert world.clock.wall() == began
    assert isinstance(lost.value.record.event, StartFailed)
    assert lost.value.record.position == failed.value.receipt.position
    await vm.attest("gone", "it stays down")
    with pytest.raises(Unreachable) as lost:
        await vm.wait("running", after=created)
    assert lost.value.record.position == failed.value.receipt.position, "and not what was told since"


READS = {
    "wait": lambda handle: handle.wait("running"),
    "history": lambda handle: handle.history(),
    "entries": lambda handle: handle.entries(),
    "intervals": lambda handle: handle.intervals(),
}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("born", [True, False])
async def test_a_handle_of_an_engine_that_was_left_says_so(world, read, born):
    """It neither waits for ever nor reads a log that is closed."""
    await world.engine.create("web", SPEC)
    handle = await world.engine.machine("web" if born else "nobody")
    await world.leave()
    with pytest.raises(Closed):
        await asyncio.wait_for(READS[read](handle), 10)


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("born", [True, False])
async def test_a_handle_is_of_no_use_in_another_loop(world, read, born):
    """Its futures could never be heard there."""
    await world.engine.create("web", SPEC)
    handle = await world.engine.machine("web" if born else "nobody")
    raised = []

    async def use():
        try:
            await asyncio.wait_for(READS[read](handle), 1)
        except Exception as problem:  # whatever it is, it is looked at below  # noqa: BLE001  # whatever it is, it is looked at below
            raised.append(problem)

    thread = threading.Thread(target=lambda: asyncio.run(use()))
    thread.start()
    thread.join()
    assert [type(one) for one in raised] == [WrongLoop]


# --- the ledger ---------------------------------------------------------------------------------------


def shifted(at, seconds):
    nanoseconds = round(seconds * 1e9)
    return Instant(at.wall + nanoseconds, max(at.boot + nanoseconds, 0), at.boot_id)


@pytest.mark.parametrize("back", [5, 60, 3_600, 100_000])
async def test_a_clock_set_back_over_a_reboot_counts_no_second_twice(world, back):
    """Asked as of before, between and after its entries, the ledger answers and nothing overlaps."""
    vm = await world.engine.create("web", SPEC)
    await asyncio.sleep(10)
    await vm.start()
    await asyncio.sleep(100)
    await vm.stop()
    world.clock.jump(-back)
    world.clock.reboot()
    await vm.start()
    await asyncio.sleep(100)
    await vm.stop()
    await vm.start()
    await asyncio.sleep(10)
    instants = [entry.at for entry in await vm.entries()] + [world.clock.now()]
    ledger = await world.engine.ledger(vm.id)
    for at in instants:
        for seconds in (-100_000, -30, 0, 30, 100_000):
            as_of = shifted(at, seconds)
            check_ledger(ledger, as_of)
            computed = [one for one in await vm.intervals(as_of=as_of) if one.meter == "compute"]
            assert all(one.stop is not None for one in computed[:-1]), "two are open at once"
            assert all(one.end <= other.begin for one, other in pairwise(computed))


@pytest.mark.parametrize("seconds", [0.000_000_001, 60])
async def test_nobody_can_have_seen_the_future(world, seconds):
    """An attestation and a correction speak of what was; now is the last instant that they take."""
    vm = await world.engine.create("web", SPEC)
    await asyncio.sleep(10)
    (entry,) = await vm.entries()
    wishes = (lambda at: vm.attest("gone", "I looked", at=at), lambda at: vm.correct(entry, at, "wrong"))
    for boot_id in (world.clock.boot_id, "another boot"):
        for wish in wishes:
            at = shifted(world.clock.now(), seconds)
            await world.refuses(wish(replace(at, boot_id=boot_id)), BadInput, vm)
    now = world.clock.now()
    assert (await vm.attest("alive", "I looked", at=now)).how == "done"
    assert (await vm.correct(entry, now, "later")).how == "done"


# --- how it ended -------------------------------------------------------------------------------------


@pytest.mark.parametrize("lifecycle", ["cell", "hcsshim", "vm"])
async def test_the_end_that_the_stop_told_survives_a_destroy_that_tells_none(world, bare, lifecycle):
    """The provider forgets as soon as it has answered; the record does not."""
    vm = await world.engine.create("web", BARE, lifecycle=lifecycle)
    await vm.start()
    await vm.destroy(force=lifecycle == "vm")
    assert bare.calls[-2:] == ["stop", "destroy"]
    assert (vm.terminal, vm.machine.end) == (True, CLEAN)
    assert (await world.replayed()).machines[vm.id].end == CLEAN


@pytest.mark.parametrize("lifecycle", ["cell", "hcsshim", "vm"])
async def test_the_end_that_the_stop_told_survives_a_destroy_that_only_a_look_confirms(
    world, bare, lifecycle
):
    """The look vouches for the removal; it says nothing against what the stop has seen."""
    vm = await world.engine.create("web", BARE, lifecycle=lifecycle)
    await vm.start()
    bare.raises["destroy"] = Vague("the connection broke")
    await vm.destroy(force=lifecycle == "vm")
    assert (vm.terminal, vm.machine.end) == (True, CLEAN)


@pytest.mark.parametrize("lifecycle", EFFECTFUL)
@pytest.mark.parametrize(("verified", "ended"), [(False, Forced()), (True, Clean(7))])
async def test_an_exit_code_by_hearsay_is_a_forced_end(world, lifecycle, verified, ended):
    """What a teller cannot verify is not recorded as clean."""
    vm = await world.engine.create("web", SPEC, lifecycle=lifecycle)
    await vm.start()
    await vm.tell(Observation("gone", Evidence("shim", verified=verified), end=CLEAN))
    assert vm.machine.end == End("graceful", ended)


async def test_a_living_machine_in_quarantine_ends_by_force(world):
    """What must not be used can still be got rid of."""
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    await vm.snapshot("s1")
    world.simulated.script("web", "restore", "fail")
    with pytest.raises(EffectFailed):
        await vm.restore("s1")
    world.simulated.raise_from_the_dead("web")
    assert vm.machine.quarantined
    await world.refuses(vm.destroy(), StillAnswers, vm)
    await vm.destroy(force=True)
    assert (vm.phase, world.simulated.alive("web")) == ("destroyed", False)
    await world.check()


# --- unclear outcomes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("liveness", ["alive", "gone", "unknown"])
async def test_a_providers_own_kind_of_unclear_is_decided_by_a_probe(world, bare, liveness):
    """A subclass says no more and no less than its parent."""
    vm = await world.engine.create("web", BARE)
    bare.raises["start"], bare.then = Vague("the connection broke"), liveness
    (outcome,) = await asyncio.gather(vm.start(), return_exceptions=True)
    expected = {"alive": "running", "gone": EffectFailed, "unknown": OutcomeUnknown}[liveness]
    assert getattr(outcome, "phase", type(outcome)) == expected
    assert (vm.machine.request is not None) == (liveness == "unknown")


@pytest.mark.parametrize("problem", [TimeoutError("no route"), TimeoutError(), ValueError("no route")])
async def test_a_timeout_of_the_providers_own_is_a_failure_and_claims_no_deadline(world, bare, problem):
    """It was raised at once: the call has failed, and nobody has to look."""
    vm = await world.engine.create("web", BARE)
    bare.raises["start"] = problem
    began = world.clock.wall()
    with pytest.raises(EffectFailed) as failed:
        await vm.start()
    assert world.clock.wall() == began
    assert bare.probed == 1, "before the call, and not after it"
    fault = (await world.engine.log.read(after=failed.value.receipt.position - 1)).records[0].event.fault
    assert fault.kind == type(problem).__name__
    assert "did not end within" not in fault.message


@pytest.mark.parametrize("reopened", [False, True])
async def test_an_interrupted_deletion_that_nobody_can_see_is_settled_by_a_word(world, bare, reopened):
    """Also after the end of the life: the provider lists no snapshots, and the request stays open."""
    vm = await world.engine.create("web", BARE)
    await vm.snapshot("s1")
    await vm.destroy()
    bare.raises["delete_snapshot"] = Vague("the connection broke")
    with pytest.raises(OutcomeUnknown):
        await vm.delete_snapshot("s1")
    await world.refuses(vm.delete_snapshot("s1"), OutcomeUnknown, vm)
    if reopened:
        await world.reopen(providers=[bare])
        vm = await world.engine.machine("web")
    await vm.attest("gone", "I looked at the store")
    assert (vm.phase, vm.machine.request) == ("destroyed", None)
    await vm.delete_snapshot("s1")
    assert vm.snapshots == {}
    await world.check()


async def test_an_interrupted_deletion_after_the_end_is_recovered_at_opening(world):
    """A life that is over may have a request open still, and its snapshot is counted until somebody looks."""
    vm = await world.engine.create("web", SPEC)
    await vm.snapshot("s1")
    await vm.destroy()
    world.simulated.script("web", "delete_snapshot", "lost")
    deleting = asyncio.create_task(vm.delete_snapshot("s1"))
    await asyncio.sleep(1)
    deleting.cancel()
    await world.reopen()
    await world.quiet()
    machine = (await world.engine.machine("web")).machine
    assert (machine.request, machine.snapshots, machine.open) == (None, {}, ())


async def stuck(world):
    """Make a machine whose stop nobody can tell the outcome of; give its deadline."""
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    world.simulated.script("web", "stop", "unclear")
    world.simulated.lie("web", "unknown")
    with pytest.raises(OutcomeUnknown):
        await vm.stop()
    return vm, vm.machine.request.deadline


async def until(world, wall):
    await asyncio.sleep((wall - world.clock.wall()) / 1e9)


async def test_before_its_deadline_an_open_request_is_nobodys_to_abandon(world):
    """The next command looks, and is told that nobody knows."""
    vm, deadline = await stuck(world)
    await until(world, deadline - 1_000_000)
    await world.refuses(vm.stop(), OutcomeUnknown, vm)


async def test_an_open_request_past_its_deadline_gives_way_to_the_next_command(world):
    """The command abandons it and goes on."""
    vm, deadline = await stuck(world)
    await until(world, deadline + 1_000_000)
    mark = world.size
    assert (await vm.stop()).phase == "stopped"
    assert world.tags(vm, mark) == ["abandoned", "requested", "stopped"]
    await world.check()


async def test_a_look_that_nobody_commands_abandons_nothing(world):
    """Only a person's command may give up what a person has asked for."""
    vm, deadline = await stuck(world)
    await until(world, deadline + 1_000_000)
    await world.refuses(vm.reconcile(), OutcomeUnknown, vm)
    assert (await world.engine.reconcile()).unknown == (vm.id,)
    assert vm.machine.request is not None


# --- definitions --------------------------------------------------------------------------------------


def job(second, **more):
    """Make a lifecycle of an application's own whose way on is to a phase of this name."""
    return {
        "name": "job", "initial": "idle", "phases": ("idle", second, "over"), "settled": ("idle", "over"),
        "ends": ("over",), "moves": {"idle": (second, "over"), second: ("over",)},
        "rows": {"idle": {"create": Fact("machine.created")}, ANY: {"correct": Fact("ledger.corrected")}},
        "arrows": {"idle": {"machine.created": Arrow("idle")}},
    } | more  # fmt: skip


REFUSED_TODAY = {"found": {"nowhere": {}}}


@pytest.mark.parametrize("crash", [True, False])
@pytest.mark.parametrize("more", [{}, REFUSED_TODAY])
async def test_machines_keep_the_rules_that_they_were_made_under(world, crash, more):
    """Today's table of that name is for those that are made today."""
    if more:
        with pytest.raises(DefinitionRefused):
            Lifecycle(**job("working", **more))
    world.lifecycles = (Recorded(**job("working", **more)),)
    await world.reopen()
    old = await world.engine.create("old", lifecycle="job")
    world.lifecycles = (Lifecycle(**job("busy")),)
    await world.reopen(crash=crash)
    old, new = await world.engine.machine("old"), await world.engine.create("new", lifecycle="job")
    await old.transition_to("working")
    await new.transition_to("busy")
    assert (old.phase, new.phase) == ("working", "busy")
    assert {one.phase for one in (await world.replayed()).machines.values()} == {"working", "busy"}
    await world.check()


async def test_a_repeated_create_key_outlives_a_change_of_the_table(world):
    """A caller names a lifecycle by its name; what its table says today is no other command."""
    first = await world.engine.create("web", SPEC, key="deploy/1")
    vm = LIFECYCLES["vm"]
    world.lifecycles = (replace(vm, history=vm.history + 7),)
    await world.reopen()
    assert world.engine.rules("vm").digest != first.machine.rules.digest
    again = await world.engine.create("web", SPEC, key="deploy/1")
    assert again.receipt == replace(first.receipt, how="repeated")
    assert (await world.engine.machine("web")).machine.rules.digest == first.machine.rules.digest


# --- creation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EFFECTFUL)
async def test_a_machine_that_has_to_be_made_is_not_imported(world, name):
    """Nothing is appended for it, not even its lifecycle's definition."""
    phase = LIFECYCLES[name].active[0]
    await world.refuses(world.engine.create("web", SPEC, lifecycle=name, phase=phase), Unsupported)
    await world.refuses(world.engine.create("web", SPEC, lifecycle=name, phase="odd"), BadInput)


async def test_a_plugin_is_imported_in_the_phase_that_it_is_in(world):
    """Its application says where it stands."""
    assert (await world.engine.create("p", lifecycle="plugin", phase="Running")).phase == "Running"


@pytest.mark.parametrize("name", ["microvm", "hcsshim"])
async def test_what_could_not_be_made_is_no_machine(world, name):
    """It is not listed, nobody looks at it, and its name is free."""
    world.simulated.script("web", "create", "fail")
    with pytest.raises(EffectFailed):
        await world.engine.create("web", SPEC, lifecycle=name)
    assert await world.engine.machines() == []
    assert await world.engine.machines(lifecycle=name, phase=LIFECYCLES[name].initial) == []
    world.simulated.probes.clear()
    assert (await world.engine.reconcile()).looked == 0
    assert world.simulated.probes == []
    made = await world.engine.create("web", SPEC, lifecycle=name)
    assert [one.id for one in await world.engine.machines()] == [made.id]


@pytest.mark.parametrize("name", ["microvm", "hcsshim"])
async def test_what_could_not_be_made_is_not_among_the_living(world, name):
    """Not now, and not after the engine has come back."""
    world.simulated.script("web", "create", "fail")
    with pytest.raises(EffectFailed):
        await world.engine.create("web", SPEC, lifecycle=name)
    for _ in range(2):
        assert await world.engine.machines(ended=False) == []
        await world.reopen()


@pytest.mark.usefixtures("bare")
async def test_a_shape_that_the_provider_would_drop_is_unsupported(world):
    """A clone and a restore are held to what a create is held to."""
    vm = await world.engine.create("web", BARE)
    await vm.start()
    await vm.snapshot("s1")
    demanding = replace(BARE, kernel="vmlinux")
    for wish in (
        world.engine.create("other", demanding),
        vm.clone("copy", "s1", demanding),
        vm.restore("s1", demanding),
    ):
        refused = await world.refuses(wish, Unsupported, vm)
        assert "kernel" in str(refused)
    await vm.restore("s1", replace(BARE, cpus=4))
    await vm.clone("copy", "s1")


@pytest.mark.usefixtures("bare")
async def test_a_restore_does_not_hand_a_machine_to_another_provider(world):
    """The new shape is for the hand that has the machine; another has nothing to restore."""
    vm = await world.engine.create("web", BARE)
    await vm.start()
    await vm.snapshot("s1")
    await world.refuses(vm.restore("s1", NEW), Unsupported, vm)


# --- providers ----------------------------------------------------------------------------------------


class Fickle(Bare):
    """A provider whose streams of hints break: at once, after a hint, and by their mere opening."""

    def __init__(self):
        super().__init__()
        self.opened = 0
        self.hints = asyncio.Queue()

    def events(self):
        self.opened += 1
        if self.opened == 1:
            message = "it cannot even be opened"
            raise RuntimeError(message)
        return self._stream()

    async def _stream(self):
        if self.opened == 2:
            message = "it broke at once"
            raise RuntimeError(message)
        while (hint := await self.hints.get()) is not None:
            yield hint
        message = "it broke after a while"
        raise RuntimeError(message)


async def test_hints_that_break_off_are_followed_again(world):
    """However often a stream breaks, a later hint is heard."""
    fickle = Fickle()
    await world.reopen(providers=[fickle])
    vm = await world.engine.create("web", BARE)
    await asyncio.sleep(120)
    assert fickle.opened == 3
    for times in range(3):
        await vm.start()
        fickle.alive.clear()
        fickle.hints.put_nowait(vm.id)
        await asyncio.sleep(1)
        assert vm.phase == "stopped"
        fickle.hints.put_nowait(None)
        await asyncio.sleep(120)
        assert fickle.opened == 4 + times


async def test_a_machine_without_a_provider_has_nothing_to_be_looked_at(world):
    """To reconcile it is to do nothing, not to fail and not to wonder."""
    plugin = await world.engine.create("p", lifecycle="plugin", phase="Running")
    with world.untouched(plugin):
        assert (await plugin.reconcile()).how == "nothing"
        assert (await world.engine.reconcile()).unknown == ()


async def test_a_name_is_not_looked_up_in_another_lifecycle_while_its_holder_lives(world):
    """After its end the name stands for what may be made under it."""
    vm = await world.engine.create("web", SPEC)
    for other in ("plugin", "cell", "nonsense"):
        await world.refuses(world.engine.machine("web", lifecycle=other), BadInput, vm)
    assert (await world.engine.machine("web", lifecycle="vm")).id == vm.id
    await vm.destroy()
    assert (await world.engine.machine("web")).id == vm.id
    cell = await world.engine.machine("web", lifecycle="cell")
    assert (cell.id, cell.phase, cell.lifecycle.name) == ("", "absent", "cell")
    await cell.create(SPEC)
    assert (await world.engine.machine("web")).id == cell.id != vm.id


# --- limits -------------------------------------------------------------------------------------------


async def test_a_name_has_at_most_128_characters(world):
    """Of a machine, of a snapshot, and also when it is given later."""
    fits, long = "n" * 128, "n" * 129
    vm = await world.engine.create(fits, SPEC)
    await vm.snapshot(fits)
    for wish in (
        lambda: world.engine.create(long, SPEC), lambda: world.engine.create("", SPEC),
        lambda: world.engine.machine(long), lambda: vm.clone(long, fits), lambda: vm.rename(long),
        lambda: vm.snapshot(long), lambda: vm.hibernate(long),
    ):  # fmt: skip
        await world.refuses(wish(), BadInput, vm)
    await vm.rename("m" * 128)


async def test_a_reason_that_no_record_can_hold_is_refused(world):
    """Half a character cannot be written down, and the machine goes on without it."""
    vm = await world.engine.create("web", SPEC)
    for wish in (lambda: vm.start(reason="\ud800"), lambda: vm.start(actor="\ud800")):
        with world.untouched(vm), pytest.raises(BadInput):
            await asyncio.wait_for(wish(), 100)
    assert (await vm.start()).phase == "running"


async def test_a_reason_has_at_most_1000_characters(world):
    """Whoever has more to say says it elsewhere."""
    await world.refuses(world.engine.create("web", SPEC, reason="r" * 1_001), BadInput)
    vm = await world.engine.create("web", SPEC, reason="r" * 1_000)
    for wish in (
        lambda: vm.start(reason="r" * 1_001), lambda: vm.attest("gone", "r" * 1_001),
        lambda: vm.attest("gone", ""),
    ):  # fmt: skip
        with world.untouched(vm), pytest.raises(BadInput):
            await wish()
    await vm.start(reason="r" * 1_000)


@pytest.mark.parametrize("key", ["", "k" * 201, "k\n", "\ud800"])
async def test_a_key_that_cannot_be_kept_is_refused(world, key):
    """It has 1 to 200 characters that can be read."""
    vm = await world.engine.create("web", SPEC)
    await world.refuses(vm.start(key=key), BadInput, vm)
    await world.refuses(world.engine.create("other", SPEC, key=key), BadInput, vm)
    await vm.start(key="k" * 200)


async def test_data_has_at_most_65536_bytes(world):
    """Two of them are the quotation marks of this text."""
    plugin = await world.engine.create("p", lifecycle="plugin")
    await world.refuses(plugin.transition_to("Installing", data="d" * 65_535), BadInput, plugin)
    await world.refuses(plugin.transition_to("Installing", data="é" * 32_768), BadInput, plugin)
    await plugin.transition_to("Installing", data="d" * 65_534)


def endless():
    ring = []
    ring.append(ring)
    return ring


NO_JSON = {
    "object": object(), "complex": 1j, "tuple key": {(1, 2): 3}, "surrogate": "\ud800", "endless": endless(),
    "not a number": float("nan"), "infinite": [float("inf")],
}  # fmt: skip


@pytest.mark.parametrize("data", NO_JSON.values(), ids=NO_JSON)
async def test_data_that_is_no_json_is_refused(world, data):
    """What would not read back as it was given is not recorded."""
    plugin = await world.engine.create("p", lifecycle="plugin")
    await world.refuses(plugin.transition_to("Installing", data=data), BadInput, plugin)


@pytest.mark.parametrize("field", ["cpus", "memory", "storage"])
@pytest.mark.parametrize("amount", [-1, 2**63])
async def test_an_amount_that_no_bill_can_count_is_refused(world, field, amount):
    """Wherever a spec is given."""
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    await vm.snapshot("s1")
    odd = replace(SPEC, **{field: amount})
    for wish in (
        lambda: world.engine.create("other", odd), lambda: vm.clone("other", "s1", odd),
        lambda: vm.restore("s1", odd),
    ):  # fmt: skip
        await world.refuses(wish(), BadInput, vm)


@pytest.mark.parametrize("field", ["cpus", "memory", "storage"])
@pytest.mark.parametrize("amount", [2**63 // 1000, 2**63 // 1000 - 1, 2**63 - 1])
async def test_an_amount_that_is_taken_can_be_counted_and_kept(world, field, amount):
    """The largest ones live like any other, or are refused; none is found out when the engine is left."""
    try:
        vm = await world.engine.create("web", replace(SPEC, **{field: amount}))
    except BadInput:
        assert (world.size, field, amount > 2**63 // 1000 - 1) == (0, "cpus", True)
        return
    await vm.start()
    await asyncio.sleep(10)
    assert len(await vm.intervals()) == 2
    await world.engine.cells.keep()
    await world.reopen(crash=False)
    await world.check()


# --- what people read ---------------------------------------------------------------------------------


async def test_a_handle_shows_how_its_attempts_stand(world):
    """A second at first, doubled each time up to a minute, and five attempts in all."""
    plugin = await world.engine.create("p", lifecycle="plugin")
    shown = []
    for _ in range(7):
        shown.append(plugin.retry)
        await plugin.advance_retry()
    assert [one.attempts for one in shown] == list(range(7))
    assert [one.can_retry for one in shown] == [True] * 5 + [False] * 2
    assert [one.backoff_seconds for one in shown] == [1, 2, 4, 8, 16, 32, 60]
    await world.reopen()
    plugin = await world.engine.machine("p")
    assert plugin.retry.attempts == 7
    await plugin.reset_retry()
    assert msgspec.structs.astuple(plugin.retry) == (0, True, 1)


async def test_a_machine_in_error_describes_what_happened_and_what_comes_next(world):
    """The fault, the commands that it takes, the safe one first, and the last look at it."""
    vm = await world.engine.create("web", SPEC)
    world.simulated.script("web", "start", "fail")
    with pytest.raises(EffectFailed) as failed:
        await vm.start()
    told = vm.describe()
    assert (told["phase"], told["next"], told["reason"]) == ("error", "reconcile", failed.value.fault)
    assert {"start", "stop", "destroy", "attest"} <= set(told["takes"])
    assert "pause" not in told["takes"]
    assert told["observation"]["liveness"] == "gone"
    world.simulated.raise_from_the_dead("web")
    await vm.reconcile()
    told = vm.describe()
    assert (told["phase"], told["next"]) == ("running", "")
    assert told["observation"]["liveness"] == "alive"
