"""The laws of an engine and its log have each been seen to fail on one that is deliberately wrong."""

import asyncio

import pytest
from msgspec.structs import replace
from specs import SPEC

from eventvm.engine import Engine
from eventvm.errors import LogDamaged
from eventvm.ledger import Entry, Ledger
from eventvm.log import Holder
from eventvm.observation import Instant
from eventvm.provider import Target
from eventvm.spec import Shape
from eventvm.testing import VirtualClock, check_engine, check_ledger, check_log, lawful
from eventvm.testing.laws import check_counts


@pytest.fixture
async def web(world):
    """A machine that has run twice, under its second name."""
    web = await world.engine.create("web", SPEC)
    await web.start()
    await web.rename("api")
    await web.stop()
    await web.start()
    await world.engine.create("web", SPEC)
    await check_engine(world.engine)
    return web


async def broken(check, subject):
    with pytest.raises(AssertionError) as caught:
        await check(subject)
    return str(caught.value)


@pytest.mark.parametrize(
    "change",
    [{"phase": "stopped"}, {"generation": 9}, {"incarnation": 7}, {"open": ()}, {"name": "db"}],
    ids=str,
)
async def test_an_engine_that_knows_better_than_its_log_is_caught(world, web, change):
    cell = await world.engine.cells.cell(web.id)
    honest = cell.machine
    cell.machine = replace(honest, **change)
    assert "replay equals live" in await broken(check_engine, world.engine)
    cell.machine = honest


@pytest.mark.usefixtures("web")
async def test_an_engine_that_tells_another_history_is_caught(world, monkeypatch):
    async def told(*_):
        return []

    with monkeypatch.context() as patched:
        patched.setattr(Engine, "history", told)
        assert "another history" in await broken(check_engine, world.engine)


@pytest.mark.usefixtures("web")
async def test_an_engine_that_tells_another_ledger_is_caught(world, monkeypatch):
    async def told(*_):
        return Ledger()

    with monkeypatch.context() as patched:
        patched.setattr(Engine, "ledger", told)
        assert "another ledger" in await broken(check_engine, world.engine)


@pytest.mark.usefixtures("web")
async def test_a_log_whose_records_were_changed_is_caught(world):
    records, at = world.store.records, 5
    honest = records[at]
    world.log._tail.clear()  # noqa: SLF001  # it is to be read from the store
    records[at] = replace(honest, actor="somebody else")
    with pytest.raises(LogDamaged):
        await check_log(world.log)
    records[at] = honest


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize(
    "holder", [Holder("nobody", held=True), Holder("", held=False)], ids=["other", "none"]
)
async def test_a_name_that_leads_to_another_is_caught(world, holder):
    honest = world.store.holders["api"]
    world.store.holders["api"] = holder
    assert "a name has one holder: api leads to" in await broken(check_log, world.log)
    world.store.holders["api"] = honest


async def test_a_name_that_is_not_held_is_caught(world, web):
    honest = world.store.holders["api"]
    world.store.holders["api"] = Holder(web.id, held=False)
    assert "a name has one holder: api is held" in await broken(check_log, world.log)
    world.store.holders["api"] = honest


async def test_versions_and_generations_that_do_not_count_are_caught(web):
    machine = web.machine
    versions = list(range(1, machine.version + 1))
    check_counts(machine, versions, machine.generation)
    for gap in (versions[1:], [*versions, 99], [1, *versions]):
        with pytest.raises(AssertionError, match="versions are gapless"):
            check_counts(machine, gap, machine.generation)
    with pytest.raises(AssertionError, match="the generation counts the changes"):
        check_counts(machine, versions, machine.generation - 1)


def booked(*edges):
    """A ledger of these edges, each at its second, by wall and by boot time."""
    return Ledger(
        Entry(
            machine="m", subject="", meter="compute", edge=edge, reason="boot", shape=Shape(1000, 1, 1),
            at=Instant(second, second, "boot"), position=at, recorded_at=at,
        )
        for at, (edge, second) in enumerate(edges, start=1)
    )  # fmt: skip


@pytest.mark.parametrize(
    "edges",
    [(("start", 1), ("start", 2)), (("stop", 1),), (("start", 1), ("stop", 2), ("stop", 3))],
    ids=["two starts", "no start", "two stops"],
)
def test_a_ledger_whose_edges_do_not_alternate_is_caught(edges):
    with pytest.raises(AssertionError, match="every second is counted once"):
        check_ledger(booked(*edges))


class Wrong(Ledger):
    """A ledger that measures its intervals as it was told."""

    def intervals(self, **_):
        return self.told


def test_a_ledger_that_overlaps_or_counts_backwards_is_caught():
    honest = booked(("start", 1), ("stop", 5), ("start", 6), ("stop", 9))
    check_ledger(honest)
    first, second = honest.intervals(as_of=Instant(99, 99, "boot"))
    wrong = Wrong(honest.entries)
    wrong.told = (first, replace(second, begin=3))
    with pytest.raises(AssertionError, match="overlaps"):
        check_ledger(wrong)
    wrong.told = (replace(first, ns=-1), second)
    with pytest.raises(AssertionError, match="counts backwards"):
        check_ledger(wrong)


async def lived(live):
    """Live under an engine that is held to the laws when it is left."""
    async with lawful(clock=VirtualClock()) as (engine, witness):
        await live(engine, witness)


async def meddled(engine, witness):
    web = await engine.create("web", SPEC)
    await witness.start(Target(web.id, "web", 1, SPEC))


async def doubled(engine, witness):
    web = await engine.create("web", SPEC)
    witness.script("web", "start", "hang")
    await web.start(wait=False)
    await asyncio.sleep(1)
    await witness.start(Target(web.id, "web", 1, SPEC))


async def ordinary(engine, witness):
    web = await engine.create("web", SPEC)
    await web.start()
    await web.destroy(force=True)
    assert witness.calls


async def test_whoever_reaches_into_the_world_unasked_is_caught():
    with pytest.raises(AssertionError, match="intent before effect: start of web without a durable request"):
        await lived(meddled)


async def test_a_call_that_is_made_twice_for_one_request_is_caught():
    with pytest.raises(AssertionError, match="start of web twice for the request at"):
        await lived(doubled)


async def test_an_engine_that_keeps_the_laws_is_left_in_peace():
    await lived(ordinary)
