"""A fleet on a real disk: after 2,000 lives the process holds what it held before."""

import asyncio
from pathlib import Path

import pytest

import eventvm
from eventvm import Spec

MANY = 2_000
SPEC = Spec(provider="simulated", labels={"team": "a"})


def descriptors():
    """Count what this process has open, where the system can tell."""
    for directory in (Path("/proc/self/fd"), Path("/dev/fd")):
        if directory.exists():
            return len(list(directory.iterdir()))
    raise AssertionError("neither /proc/self/fd nor /dev/fd is there")


@pytest.fixture
async def engine(path):
    async with eventvm.open(path) as one:
        yield one


async def live(engine, name):
    machine = await engine.create(name, SPEC)
    await machine.start()
    await machine.destroy(force=True)


async def test_two_thousand_lives_on_one_disk_leave_nothing_open(engine):
    """No descriptor, no cell, no count; the log has them all."""
    await live(engine, "first")
    before = descriptors()
    await asyncio.gather(*(live(engine, f"m{at}") for at in range(MANY)))
    assert descriptors() == before
    assert (engine.cells.living, list(engine.cells), engine.counts().living) == ({}, [], 0)
    ended = [one.name async for one in engine.every(phase="destroyed")]
    assert sorted(ended) == sorted(["first", *(f"m{at}" for at in range(MANY))])


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
