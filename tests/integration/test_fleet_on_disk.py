"""A fleet on a real disk: after 2,000 lives the process holds what it held before."""

import asyncio
import gc
import tracemalloc
from pathlib import Path

import pytest

import eventvm
from eventvm import Simulated, Spec
from eventvm.audit.replay import differences, replayed

MANY = 2_000
BYTES_OF_AN_ENDED_MACHINE = 1_500
"""The head of its stream, of which the log remembers some, for as long as it is one of the last."""
SPEC = Spec(provider="simulated", restart="always", labels={"team": "a"})


def descriptors():
    """Count what this process has open, where the system can tell."""
    for directory in (Path("/proc/self/fd"), Path("/dev/fd")):
        if directory.exists():
            return len(list(directory.iterdir()))
    raise AssertionError("neither /proc/self/fd nor /dev/fd is there")


@pytest.fixture
def world():
    return Simulated()


@pytest.fixture
async def engine(path, world):
    async with eventvm.open(path, providers=[world]) as one:
        yield one


async def live(engine, world, name):
    """Be created and started, crash, be brought back, and end."""
    machine = await engine.create(name, SPEC)
    started = await machine.start()
    world.die(name)
    fell = await machine.wait("stopped", after=started.position)
    await machine.wait("running", after=fell.position)
    await machine.destroy(force=True)


async def lives(engine, world, many):
    """Live many lives side by side, and say what is held afterwards."""
    await asyncio.gather(*(live(engine, world, f"m{at}") for at in range(many)))
    world.world.clear()
    world.calls.clear()
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def test_two_thousand_machines_are_made_crash_and_recover_and_leave_nothing_behind(engine, world):
    """Each is launched twice, no more; then no cell, no count and no descriptor is left, and no memory."""
    tracemalloc.start()
    try:
        before = await lives(engine, world, MANY // 4)
        open_before = descriptors()
        after = await lives(engine, world, MANY)
    finally:
        tracemalloc.stop()
    assert descriptors() == open_before
    assert (engine.cells.living, dict(engine.cells._ended), engine.counts().living) == ({}, {}, 0)  # noqa: SLF001
    assert after - before < MANY * BYTES_OF_AN_ENDED_MACHINE
    fleet = await replayed(engine.log)
    assert {one.incarnation for one in fleet.machines.values()} == {2}
    assert {one.phase for one in fleet.machines.values()} == {"destroyed"}


async def told(engine):
    pages = [await engine.machines(ended=ended, limit=25) for ended in (True, False)]
    return [[(one.id, one.phase) for one in page] for page in pages], engine.counts()


async def test_pages_and_counts_are_the_same_when_the_log_is_opened_again(path, raw):
    """From the kept view, and without it from the log alone."""
    async with eventvm.open(path) as engine:
        for at in range(30):
            machine = await engine.create(f"web/{at}", SPEC)
            await (machine.destroy() if at % 3 == 0 else machine.label(rack=str(at % 4)))
        before = await told(engine)
    assert raw("SELECT count(*) > 1 FROM kept") == [(1,)]
    async with eventvm.open(path) as engine:
        assert await told(engine) == before
    raw("DELETE FROM kept", writable=True)
    async with eventvm.open(path) as engine:
        assert await told(engine) == before


async def test_machines_that_are_alike_share_what_they_are_made_of(path):
    """What differs stays different, and what was shared is not altered for the others."""
    async with eventvm.open(path) as engine:
        for at in range(4):
            machine = await engine.create(f"web/{at}", SPEC)
        await machine.label(rack="4")
    async with eventvm.open(path) as engine:
        first, second, third, other = [cell.machine for cell in engine.cells.living.values()]
        for field in ("spec", "phase", "reason", "snapshots"):
            assert getattr(first, field) is getattr(second, field) is getattr(third, field)
        assert other.spec.labels == {"team": "a", "rack": "4"}
        assert first.spec.labels == {"team": "a"}
        await (await engine.machine("web/0")).label(rack="0")
        assert second.spec.labels == third.spec.labels == {"team": "a"}
        fleet = await replayed(engine.log)
        assert differences(fleet, [cell.machine for cell in engine.cells.living.values()]) == []
