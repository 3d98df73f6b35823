"""Listing: pages in the order of making, that nobody falls out of whatever happens between them."""

import asyncio
import random

import pytest
from specs import SPEC

from eventvm.engine.cells import VIEW, Cells
from eventvm.errors import BadInput, EffectFailed, EventvmError
from eventvm.log import PAGE, Kept
from eventvm.providers.simulated import Script
from eventvm.spec import Spec
from eventvm.views import counted


def names(machines):
    return [one.name for one in machines]


async def fleet(world):
    """Make five machines, of which one is over, and give them in the order of making."""
    engine = world.engine
    a = await engine.create("web/1", Spec(provider="simulated", labels={"team": "a", "rack": "7"}))
    b = await engine.create("web/2", Spec(provider="simulated", labels={"team": "b"}))
    p = await engine.create("plug", Spec(labels={"team": "a"}), lifecycle="plugin")
    c = await engine.create("db/1", SPEC, lifecycle="cell")
    d = await engine.create("web/3", SPEC)
    await a.start()
    await d.destroy()
    return a, b, p, c, d


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, ["web/1", "web/2", "plug", "db/1", "web/3"]),
        ({"ended": False}, ["web/1", "web/2", "plug", "db/1"]),
        ({"phase": "running"}, ["web/1"]),
        ({"phase": "destroyed"}, ["web/3"]),
        ({"phase": "destroyed", "ended": False}, []),
        ({"lifecycle": "cell"}, ["db/1"]),
        ({"prefix": "web/"}, ["web/1", "web/2", "web/3"]),
        ({"label": "team"}, ["web/1", "web/2", "plug"]),
        ({"label": "team=a"}, ["web/1", "plug"]),
        ({"label": "team="}, []),
        ({"label": ("team=a", "rack")}, ["web/1"]),
        ({"label": ("team=a", "team=b")}, []),
        ({"label": "team=a", "lifecycle": "vm", "phase": "running", "prefix": "w"}, ["web/1"]),
    ],
)
async def test_machines_are_found_by_what_they_are(world, filters, found):
    """By phase, lifecycle, label and name, all of them at once; the same one by one, and after a restart."""
    await fleet(world)
    for _ in range(2):
        assert names(await world.engine.machines(**filters)) == found
        assert names([one async for one in world.engine.every(**filters)]) == found
        await world.reopen()


async def test_a_phase_is_found_by_its_title_too(world):
    """As the original system writes it."""
    one = await world.engine.create("c1", SPEC, lifecycle="hcsshim")
    assert one.title != one.phase
    assert names(await world.engine.machines(phase=one.title)) == ["c1"]
    assert names(await world.engine.machines(phase=one.phase)) == ["c1"]


@pytest.mark.parametrize("ended", [True, False])
async def test_pages_follow_each_other_to_the_end(world, ended):
    """After an id or a handle; the last page says that it is the last."""
    made = [await world.engine.create(f"m{at}", lifecycle="plugin") for at in range(5)]
    first = await world.engine.machines(limit=2, ended=ended)
    second = await world.engine.machines(limit=2, ended=ended, after=first.after)
    third = await world.engine.machines(limit=2, ended=ended, after=second[-1])
    assert [one.id for page in (first, second, third) for one in page] == [one.id for one in made]
    assert (second.after, third.after) == (made[3].id, None)


@pytest.mark.parametrize(
    "asked",
    [
        {"limit": 0}, {"limit": PAGE + 1}, {"after": "web-1"}, {"phase": "runing"}, {"lifecycle": "vn"},
        {"lifecycle": "plugin", "phase": "paused"}, {"label": ""}, {"label": "=a"},
    ],
)  # fmt: skip
async def test_what_nothing_can_be_the_answer_to_is_refused(world, asked):
    """A page beyond the limit, a name for an id, a phase or lifecycle that nobody knows, half a label."""
    await fleet(world)
    with pytest.raises(BadInput):
        await world.engine.machines(**asked)
    assert len(await world.engine.machines(limit=PAGE)) == 5


async def test_a_machine_that_does_not_exist_is_no_place_to_go_on_after(world):
    """It has no id."""
    nobody = await world.engine.machine("nobody")
    with pytest.raises(BadInput):
        await world.engine.machines(after=nobody)


async def test_machines_are_in_the_order_of_making_also_within_a_millisecond(world):
    """And when the clock is set back between them."""
    made = []
    for at in range(40):
        made.append(await world.engine.create(f"m{at}", lifecycle="plugin"))
        if at == 20:
            world.clock.jump(-3600)
    assert names(await world.engine.machines()) == names(made)
    assert names(await world.engine.machines(ended=False)) == names(made)


async def test_the_living_are_found_without_reading_the_log(world, monkeypatch):
    """No stream is listed, read or folded for them."""
    await fleet(world)

    def forbidden(*_, **__):
        raise AssertionError("the log was read")

    monkeypatch.setattr(world.log, "read", forbidden)
    monkeypatch.setattr(world.log, "streams", forbidden)
    assert len(await world.engine.machines(ended=False)) == 4


async def test_a_page_of_ended_machines_folds_a_bounded_number_of_them(world, monkeypatch):
    """It may then be empty and not the last; `every` goes on to the one that is wanted."""
    await world.engine.create("first", lifecycle="plugin")
    for at in range(PAGE + 5):
        machine = await world.engine.create(f"m{at}", lifecycle="plugin")
        await machine.force_phase("Uninstalled", "over")
    del machine
    await world.engine.create("last", lifecycle="plugin")
    folded, honest = [], Cells.read

    async def reading(self, id, **until):  # noqa: A002  # the word of the domain
        folded.append(id)
        return await honest(self, id, **until)

    monkeypatch.setattr(Cells, "read", reading)
    page = await world.engine.machines(prefix="last")
    assert (page, page.after is None) == ([], False)
    assert PAGE - 5 < len(folded) < PAGE
    assert names([one async for one in world.engine.every(prefix="last")]) == ["last"]


async def test_what_is_just_being_born_gets_no_second_cell(world):
    """A reader of the log may see a first record before the engine has learned of it."""
    one = await world.engine.create("web", SPEC)
    learned = world.engine.cells.living.pop(one.id)
    assert await world.engine.machines() == []
    assert one.id not in world.engine.cells.living
    world.engine.cells.living[one.id] = learned
    assert names(await world.engine.machines()) == ["web"]


class Churn:
    """Changes a fleet at random while somebody pages through it."""

    def __init__(self, world, seed):
        self.world = world
        self.chance = random.Random(seed)
        self.steady = []
        """Those that nobody touches."""
        self.fickle = []

    async def begin(self):
        for at in range(60):
            one = await self.make(f"all/{at}")
            (self.steady if at % 3 == 0 else self.fickle).append(one)

    async def make(self, name):
        return await self.world.engine.create(name, Spec(labels={"team": "a"}), lifecycle="plugin")

    async def step(self):
        one = self.chance.choice(self.fickle)
        act = self.chance.choice((self.born, self.ended, self.relabelled, self.jumped))
        try:
            await act(one)
        except EventvmError:
            self.fickle.remove(one)

    async def born(self, _):
        self.fickle.append(await self.make(f"all/x{self.chance.random()}"))

    async def ended(self, one):
        await one.force_phase("Uninstalled", "over")

    async def relabelled(self, one):
        await one.label(team=self.chance.choice("ab"))

    async def jumped(self, _):
        self.world.clock.jump(self.chance.uniform(-500, 500))


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("seed", range(20))
async def test_whoever_matches_all_the_while_is_listed_exactly_once(world, seed, ended):
    """Between any two pages machines are born, end and are relabelled, and the engine may crash."""
    churn = Churn(world, seed)
    await churn.begin()
    listed, after = [], ""
    while after is not None:
        page = await world.engine.machines(
            label="team=a", prefix="all/", after=after, limit=churn.chance.randint(1, 9), ended=ended
        )
        listed += [one.id for one in page]
        after = page.after
        for _ in range(churn.chance.randrange(6)):
            await churn.step()
    assert len(listed) == len(set(listed))
    assert listed == sorted(listed)
    assert {one.id for one in churn.steady} <= set(listed)
    await world.check()


async def test_whoever_is_renamed_between_two_pages_is_neither_lost_nor_doubled(world):
    """The order is that of making, which a name has no part in."""
    made = [await world.engine.create(f"m{at}", SPEC) for at in range(6)]
    first = await world.engine.machines(limit=3)
    await made[0].rename("z")
    await made[5].rename("a")
    rest = await world.engine.machines(after=first.after)
    assert [one.id for one in (*first, *rest)] == [one.id for one in made]


async def test_counts_follow_every_move(world):
    """Creation, start, relabelling, rename and end; and after a crash, and from what was kept."""
    a, _, p, _, d = await fleet(world)
    expected = {"vm": {"running": 1, "created": 1}, "plugin": {"Uninstalled": 1}, "cell": {"pending": 1}}
    assert world.engine.counts().phases == expected
    assert world.engine.counts().labels == {"team": {"a": 2, "b": 1}, "rack": {"7": 1}}
    assert (world.engine.counts().living, d.phase) == (4, "destroyed")
    await a.label(team=None)
    await a.rename("other")
    await p.transition_to("Installing", "it is there")
    before = world.engine.counts()
    assert before.phases == {**expected, "plugin": {"Installing": 1}}
    assert before.labels == {"team": {"a": 1, "b": 1}, "rack": {"7": 1}}
    for crash in (True, False, True):
        await world.reopen(crash=crash)
        assert world.engine.counts() == before
        await world.check()


async def test_a_kept_view_that_breaks_off_is_counted_once(world):
    """What was taken from it before it broke is forgotten, and the log is folded from its beginning."""
    await fleet(world)
    before = world.engine.counts()
    await world.leave()
    kept = world.store.kept[VIEW]
    world.store.kept[VIEW] = Kept(kept.tree, (*kept.parts, b"\xc1"))
    await world.open()
    assert world.engine.counts() == before
    assert len(await world.engine.machines(ended=False)) == before.living
    await world.check()


@pytest.mark.parametrize("lifecycle", ["vm", "hcsshim", "microvm", "cell"])
async def test_what_could_not_be_made_is_not_counted(world, lifecycle):
    """While it is being made it is, and not after that."""
    world.simulated.script("web", "create", Script("fail", seconds=5))
    making = asyncio.create_task(world.engine.create("web", SPEC, lifecycle=lifecycle))
    await world.quiet()
    assert world.engine.counts().living == len(await world.engine.machines(ended=False)) == 1
    with pytest.raises(EffectFailed):
        await making
    assert world.engine.counts() == counted(())
