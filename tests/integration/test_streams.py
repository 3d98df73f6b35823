"""Machines that are read one after the other are those of the whole log, however long their streams are."""

import asyncio

import pytest
from msgspec.structs import replace

from benchmarks.fleets import fleet_at
from eventvm.audit import streams
from eventvm.events import Imported
from eventvm.log import PAGE, Append
from eventvm.logs import open_log
from eventvm.observation import Instant
from eventvm.past import Pasts

SHAPES = {"many short": (PAGE + 100, 4_000), "few long": (2, 6_000)}


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def path(request, tmp_path_factory):
    """A log of many machines with short streams, then one of two with long ones."""
    machines, records = SHAPES[request.param]
    path = tmp_path_factory.mktemp("streams") / "fleet.db"
    fleet_at(path, machines=machines, records=records)
    return path


def told(past):
    machine = past.folded
    same = replace(machine, rules=machine.rules.digest)
    return same, past.ledger.entries, [one.position for one in past.ledger.corrections], past.changes


@pytest.mark.parametrize("part", [1, 0.4, 0], ids=["whole", "as it was known", "before all"])
async def test_machines_read_one_by_one_are_those_of_the_whole_log(path, part):
    """Each has all that was known of it, and they come in the order of their ids."""
    async with open_log(path, read_only=True) as log:
        until, whole = int(log.tree.size * part), Pasts()
        while whole.position < until:
            limit = min(PAGE, until - whole.position)
            for record in (await log.read(after=whole.position, limit=limit)).records:
                whole.apply(record)
        ones = [one async for one in streams.each(log, until, lambda known: Pasts(definitions=known))]
    apart = [told(past) for one in ones for past in one]
    assert apart == [told(past) for past in whole]
    assert bool(apart) is bool(until)
    assert all(len(one.machines) == 1 for one in ones)


async def grow(log, version, count):
    """Append to two streams in turn."""
    events = tuple(Imported(at=Instant(0, 0, ""), id="1", source="s", kind="k") for _ in range(100))
    for begin in range(version, version + count, 100):
        await asyncio.gather(*(log.append(Append(one, events, begin)) for one in ("foreign/a", "foreign/b")))


async def test_a_long_stream_is_read_page_by_page_while_it_grows(tmp_path):
    """It is gone back over once, and what was appended since is there too: no version is missing or twice."""
    path, size = tmp_path / "log.db", 3 * PAGE + 500
    async with open_log(path) as log:
        await grow(log, 0, size)
        async with open_log(path, read_only=True) as reader:
            versions, after, end = [], 0, False
            while not end:
                page = await reader.read(stream="foreign/b", after=after)
                assert {record.stream for record in page.records} == {"foreign/b"}
                versions += [record.version for record in page.records]
                after, end = page.position, page.end
                if len(versions) == 2 * PAGE:
                    await grow(log, size, 200)
                if len(versions) == PAGE:
                    other = await reader.read(stream="foreign/a", after=after)
                    assert {record.stream for record in other.records} == {"foreign/a"}
    assert versions == list(range(1, size + 201))
