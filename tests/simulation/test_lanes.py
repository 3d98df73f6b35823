"""Lanes: a provider is asked for so much at once and no more, and nobody starves or is stuck for it."""

import asyncio
import gc
import weakref
from collections import Counter

import pytest
from specs import SPEC

from eventvm import commands
from eventvm.engine import Handle
from eventvm.engine.cells import Cell
from eventvm.engine.lanes import Lanes
from eventvm.engine.turn import Turn
from eventvm.engine.waiting import Wait
from eventvm.errors import BadInput, Inconclusive, OutcomeUnknown
from eventvm.providers.simulated import Script, Simulated
from eventvm.testing import Witness, World
from eventvm.views import counted

MANY = 2_000
SLOW = Script(seconds=10)


class Crowded(Witness):
    """A world that counts how many are in it at once."""

    def __init__(self, clock, durable):
        super().__init__(clock, durable)
        self.acting = self.looking = self.most_acting = self.most_looking = 0
        self.stays_seconds = 0.001

    async def _act(self, call, target, deed):
        self.acting += 1
        self.most_acting = max(self.most_acting, self.acting)
        try:
            await asyncio.sleep(self.stays_seconds)
            await super()._act(call, target, deed)
        finally:
            self.acting -= 1

    async def probe(self, target):
        self.looking += 1
        self.most_looking = max(self.most_looking, self.looking)
        try:
            await asyncio.sleep(self.stays_seconds)
            return await super().probe(target)
        finally:
            self.looking -= 1


@pytest.fixture
async def crowded():
    one = World(Crowded)
    await one.open(effects_at_once=2, probes_at_once=3)
    yield one
    await one.leave()
    assert not one.simulated.violations


@pytest.fixture
async def plain():
    """Give a world that nobody watches."""
    one = World(lambda clock, _: Simulated(clock))
    await one.open()
    yield one
    await one.leave()


async def several(world, count):
    return [await world.engine.create(f"m{at}", SPEC) for at in range(count)]


async def test_two_thousand_creations_at_once_reach_the_provider_64_at_a_time(crowded):
    """All are made in the end, in the log as in the world, and the counts say so."""
    await crowded.reopen(effects_at_once=64)
    made = await asyncio.gather(*(crowded.engine.create(f"m{at}", SPEC) for at in range(MANY)))
    assert crowded.simulated.most_acting == 64
    await asyncio.gather(*(one.start() for one in made))
    assert (crowded.simulated.most_acting, crowded.simulated.most_looking) == (64, 64)
    assert crowded.engine.counts().phases == {"vm": {"running": MANY}}
    assert sum(simulation.alive for simulation in crowded.simulated.world.values()) == MANY


async def test_a_provider_may_say_how_much_it_bears_by_itself(crowded):
    """Its own word counts, whatever the engine was opened with."""
    crowded.simulated.at_once = 5
    await crowded.reopen(effects_at_once=64)
    await asyncio.gather(*(crowded.engine.create(f"m{at}", SPEC) for at in range(20)))
    assert crowded.simulated.most_acting == 5


@pytest.mark.parametrize("bound", [0, -1, 1.5, True, None])
def test_a_bound_that_would_stop_everything_is_refused(bound):
    """With the name of what is wrong."""
    proud = Witness.__new__(Witness)
    proud.at_once = bound
    with pytest.raises(BadInput, match="effects_at_once"):
        Lanes({}, effects=bound, probes=1)
    with pytest.raises(BadInput, match="probes_at_once"):
        Lanes({}, effects=1, probes=bound)
    with pytest.raises(BadInput, match="at_once of provider proud"):
        Lanes({"proud": proud}, effects=1, probes=1)


async def test_the_deadline_of_a_request_counts_the_work_and_not_the_queue(crowded):
    """A request is written when its place is taken, one step's time before its deadline."""
    made = await several(crowded, 3)
    crowded.simulated.always("*", "start", Script(seconds=50))
    await asyncio.gather(*(one.start() for one in made))
    asked = crowded.requests()[-3:]
    begun = [record.event.at.wall for record in asked]
    assert begun[2] - begun[0] >= 50_000_000_000, "the third waited for a place"
    assert {record.event.deadline - record.event.at.wall for record in asked} == {65_000_000_000}
    assert [one.phase for one in made] == ["running"] * 3


async def test_what_waits_for_a_place_has_written_nothing_and_looks_only_then(crowded):
    """A look before the queue would be old when it is acted on."""
    made = await several(crowded, 3)
    crowded.simulated.always("*", "start", SLOW)
    starts = [asyncio.create_task(one.start()) for one in made[:2]]
    await crowded.quiet(1)
    crowded.simulated.probes.clear()
    size, third = crowded.size, asyncio.create_task(made[2].start())
    await crowded.quiet(1)
    assert (crowded.size, crowded.simulated.probes) == (size, [])
    crowded.simulated.raise_from_the_dead("m2")
    await asyncio.gather(*starts)
    assert (await third).how == "reconciled"
    assert crowded.tags(made[2])[-1] == "reconciled"


async def test_first_come_is_first_served(crowded):
    """Places are given in the order of asking."""
    made = await several(crowded, 8)
    crowded.simulated.always("*", "start", SLOW)
    crowded.simulated.calls.clear()
    starts = []
    for one in made:
        starts.append(asyncio.create_task(one.start()))
        await crowded.quiet(0.1)
    await asyncio.gather(*starts)
    assert [name for _, name in crowded.simulated.calls] == [one.name for one in made]


async def test_a_machine_that_is_hammered_does_not_starve_the_others(crowded):
    """First come first served: between two of its commands everybody else has one."""
    hammered, *others = await several(crowded, 5)
    await crowded.reopen(effects_at_once=1)
    hammered, *others = [await crowded.engine.machine(one.name) for one in (hammered, *others)]
    crowded.simulated.calls.clear()
    commands = [hammered.stop() if at % 2 else hammered.start() for at in range(20)]
    for one in others:
        commands += [one.start(), one.stop()]
    await asyncio.gather(*commands)
    served = [name for _, name in crowded.simulated.calls]
    assert max(served.index(one.name) for one in others) < 5
    assert max(at for at, name in enumerate(served) if name != hammered.name) < 10


@pytest.mark.parametrize("stuck", ["queue", "call"])
async def test_a_forced_destroy_does_not_wait_behind_commands_that_hang(crowded, stuck):
    """Neither that of a machine whose own call hangs, nor that of one that waits for a place."""
    made = await several(crowded, 3)
    await crowded.engine.reconcile()
    crowded.simulated.always("*", "start", "hang")
    starts = [asyncio.create_task(one.start()) for one in made]
    await crowded.quiet(1)
    at_work = {name for call, name in crowded.simulated.calls if call == "start"}
    doomed = next(one for one in made if (one.name in at_work) == (stuck == "call"))
    began = crowded.clock.wall()
    await doomed.destroy(force=True)
    assert doomed.phase == "destroyed"
    assert crowded.clock.wall() - began < 1_000_000_000
    crowded.simulated.always("*", "start", None)
    await asyncio.gather(*starts, return_exceptions=True)
    await crowded.check()


async def test_force_and_attestation_do_not_wait_for_a_place(crowded):
    """They touch nothing of the world."""
    made = await several(crowded, 3)
    crowded.simulated.always("*", "start", "hang")
    starts = [asyncio.create_task(one.start()) for one in made]
    await crowded.quiet(1)
    began = crowded.clock.wall()
    for one in made:
        await one.attest("gone", "seen by eye")
    assert crowded.clock.wall() - began < 1_000_000_000
    await asyncio.gather(*starts, return_exceptions=True)


async def test_forced_destroys_are_bounded_too(crowded):
    """Their lane is their own, and no wider."""
    made = await several(crowded, 12)
    await asyncio.gather(*(one.start() for one in made))
    crowded.simulated.most_acting = 0
    await asyncio.gather(*(one.destroy(force=True) for one in made))
    assert crowded.simulated.most_acting == 2
    assert crowded.engine.counts().living == 0


async def test_whoever_is_broken_off_while_it_waits_gives_its_place_back(crowded):
    """After any number of them as many as before are at work, and nobody is stuck."""
    made = await several(crowded, 30)
    crowded.simulated.always("*", "start", SLOW)
    starts = [asyncio.create_task(one.start()) for one in made]
    await crowded.quiet(1)
    ends = await asyncio.gather(*(one.destroy(force=True) for one in made[::2]))
    assert {receipt.phase for receipt in ends} == {"destroyed"}
    told = await asyncio.gather(*starts, return_exceptions=True)
    assert {type(one) for one in told[::2]} >= {Inconclusive}
    assert [one.phase for one in told[1::2]] == ["running"] * 15
    crowded.simulated.most_acting = 0
    await asyncio.gather(*(one.stop() for one in made[1::2]))
    assert crowded.simulated.most_acting == 2
    await crowded.check()


async def test_a_caller_that_leaves_takes_no_place_with_it(crowded):
    """Its command goes on, and gives the place to the next."""
    made = await several(crowded, 6)
    crowded.simulated.always("*", "start", SLOW)
    starts = [asyncio.create_task(one.start()) for one in made]
    await crowded.quiet(1)
    for start in starts:
        start.cancel()
    await crowded.quiet(100)
    assert [one.phase for one in made] == ["running"] * 6


async def test_a_look_at_the_whole_fleet_is_bounded(crowded):
    """Reconciliation and hints take their places, beside the commands."""
    made = await several(crowded, 20)
    await asyncio.gather(*(one.start() for one in made))
    crowded.simulated.most_looking = 0
    for one in made[:10]:
        crowded.simulated.die(one.name)
    assert (await crowded.engine.reconcile()).looked == 20
    await crowded.quiet(1)
    assert crowded.simulated.most_looking == 3
    assert crowded.engine.counts().phases == {"vm": {"running": 10, "stopped": 10}}


async def test_recovery_looks_at_no_more_at_once_than_it_may(crowded):
    """Twenty requests were left open; all are concluded."""
    await crowded.reopen(effects_at_once=64)
    made = await several(crowded, 20)
    crowded.simulated.always("*", "start", "lost")
    starts = [asyncio.create_task(one.start()) for one in made]
    await crowded.quiet(1)
    await crowded.crash()
    for start in starts:
        start.cancel()
    crowded.simulated.most_looking = 0
    await crowded.open(probes_at_once=3)
    await crowded.quiet(1)
    assert crowded.simulated.most_looking == 3
    assert crowded.engine.counts().phases == {"vm": {"running": 20}}


async def test_looks_that_hang_hold_no_command_up(crowded):
    """And commands that hang hold no look up."""
    made = await several(crowded, 8)
    for one in made[:4]:
        crowded.simulated.script(one.name, "probe", "hang")
    looks = [asyncio.create_task(one.reconcile()) for one in made[:4]]
    await crowded.quiet(1)
    began = crowded.clock.wall()
    await made[7].start()
    assert crowded.clock.wall() - began < 1_000_000_000
    await asyncio.gather(*looks, return_exceptions=True)
    crowded.simulated.always("*", "start", "hang")
    starts = [asyncio.create_task(one.start()) for one in made[:3]]
    await crowded.quiet(1)
    began = crowded.clock.wall()
    await made[7].reconcile()
    assert crowded.clock.wall() - began < 1_000_000_000
    crowded.simulated.always("*", "start", None)
    await asyncio.gather(*starts, return_exceptions=True)


async def test_with_a_single_place_a_turn_that_has_to_look_again_is_not_stuck(crowded):
    """Its looks, before and after the call, are made from the place that it holds."""
    made = await several(crowded, 3)
    await crowded.reopen(effects_at_once=1, probes_at_once=1)
    made = [await crowded.engine.machine(one.name) for one in made]
    for one in made:
        crowded.simulated.script(one.name, "start", "lost")
    starts = [asyncio.create_task(one.start()) for one in made]
    await asyncio.gather(*starts, crowded.engine.reconcile())
    assert [one.phase for one in made] == ["running"] * 3


async def test_leaving_ends_whoever_waits_for_a_place(crowded):
    """With what is true: nothing was touched."""
    made = await several(crowded, 4)
    crowded.simulated.always("*", "start", SLOW)
    starts = [asyncio.create_task(one.start()) for one in made]
    await crowded.quiet(0.1)
    await crowded.leave()
    told = await asyncio.gather(*starts, return_exceptions=True)
    assert Counter(type(one) for one in told) == {OutcomeUnknown: 2, Inconclusive: 2}
    await crowded.open()


def held():
    """Count what an engine holds in memory for those it works for."""
    gc.collect()
    kinds = (Turn, Handle, Wait, asyncio.Task, asyncio.Future)
    return Counter(type(one).__name__ for one in gc.get_objects() if isinstance(one, kinds))


async def test_two_thousand_lives_leave_nothing_in_memory(plain):
    """Neither a cell nor a turn, a handle, a task or an id."""
    passed = []

    async def life(at):
        one = await plain.engine.create(f"m{at}", SPEC)
        passed.append(weakref.ref(one._cell))  # noqa: SLF001  # who else holds it
        await one.start()
        await one.label(team=str(at))
        await one.destroy(force=True)

    await life(MANY)
    await plain.quiet(1)
    before = held()
    await asyncio.gather(*(life(at) for at in range(MANY)))
    await plain.quiet(1)
    assert held() == before
    assert not any(cell() for cell in passed)
    cells = plain.engine.cells
    assert (cells.turns, cells.queues, cells.waits) == ({}, {}, {})
    assert (cells.living, dict(cells._ended), len(cells.roll)) == ({}, {}, 0)  # noqa: SLF001
    assert cells.roll.after("", 10) == []
    assert cells.roll.counts() == counted(())


async def test_a_machine_at_rest_is_no_work_for_the_garbage_collector(plain):
    """However much has happened to it, and however many there are."""
    one = await plain.engine.create("m", SPEC)
    sent = [asyncio.create_task(one.stop() if at % 2 else one.start()) for at in range(5)]
    await plain.quiet()
    await asyncio.gather(one.wait("running"), *sent)
    await one.reconcile()
    assert not gc.is_tracked(one._cell)  # noqa: SLF001  # what it is about


async def test_a_fleet_that_crashed_at_once_is_restarted_within_the_bound(crowded):
    """The supervisor's starts line up like anybody's."""
    made = await several(crowded, 10)
    for one in made:
        await one.amend(restart="always")
    await asyncio.gather(*(one.start() for one in made))
    crowded.simulated.most_acting = 0
    for one in made:
        crowded.simulated.die(one.name)
    await crowded.quiet(100)
    assert {one.machine.incarnation for one in made} == {2}
    assert crowded.simulated.most_acting == 2


async def test_a_look_that_comes_to_a_command_changes_lanes(crowded):
    """It holds one place at a time, so it cannot stand in its own way."""
    (one,) = await several(crowded, 1)
    lanes = Lanes({"simulated": crowded.simulated}, effects=1, probes=1)
    turns = [Turn(Cell(one.machine), None, asyncio.get_running_loop().create_future()) for _ in range(2)]
    await lanes.enter(turns[0])
    looking = turns[0].place
    turns[0].command = commands.Start()
    await lanes.enter(turns[0])
    await lanes.enter(turns[1])
    assert turns[1].place is looking is not turns[0].place
    for turn in turns:
        turn.leave()
