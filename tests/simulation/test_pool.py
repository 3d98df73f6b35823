"""The warm pool, row by row: keyed by what its machines share, bounded, aged, and proven on acquire."""

import asyncio
from datetime import timedelta

import pytest

from eventvm.errors import BadInput
from eventvm.pool import Depth, Mould, WarmPool
from eventvm.spec import Spec

GIB = 1 << 30
MOULD = Mould("debian", "12", 2, GIB)
SPEC = Spec(provider="simulated", cpus=2, memory=GIB)


def pool_of(world, **depth):
    return WarmPool(world.engine, MOULD, SPEC, depth=Depth(**depth))


async def test_a_pool_is_filled_to_its_minimum_and_no_further(world):
    """Filling twice starts nothing more."""
    pool = pool_of(world, minimum=3)
    assert (await pool.fill(), await pool.fill()) == (3, 0)
    assert [one.phase for one in await pool.members()] == ["running"] * 3


async def test_a_warm_machine_is_handed_over_under_its_new_name(world):
    """The oldest one first; its id, history and open interval move along, and nothing is launched."""
    pool = pool_of(world, minimum=2)
    await pool.fill()
    oldest = (await pool.members())[0]
    launches = world.simulated.calls.count(("start", oldest.name))
    given = await pool.acquire("customer-1")
    assert (given.id, given.name, given.phase) == (oldest.id, "customer-1", "running")
    assert len([call for call, _ in world.simulated.calls if call == "start"]) == 2
    assert launches == 1
    assert len(await pool.members()) == 1


async def test_pools_of_different_moulds_do_not_meet(world):
    """The key is image, version, cpus and memory."""
    await pool_of(world, minimum=1).fill()
    other = WarmPool(world.engine, Mould("debian", "13", 2, GIB), SPEC)
    assert await other.members() == []


async def test_an_empty_pool_gives_a_cold_machine(world):
    """Nobody waits for a pool to be filled."""
    given = await pool_of(world, minimum=0).acquire("customer-1")
    assert (given.name, given.phase) == ("customer-1", "running")


@pytest.mark.parametrize("liveness", ["gone", "unknown"])
async def test_a_machine_is_proven_alive_before_it_is_handed_over(world, liveness):
    """One that is dead, or that cannot be seen, is discarded and the next one given."""
    pool = pool_of(world, minimum=2)
    await pool.fill()
    first, second = await pool.members()
    world.simulated.lie(first.name, liveness)
    given = await pool.acquire("customer-1")
    assert given.id == second.id
    assert first.phase == "destroyed"


async def test_what_has_waited_too_long_is_evicted(world):
    """By age; the young ones stay."""
    pool = pool_of(world, minimum=1, age=timedelta(minutes=10))
    await pool.fill()
    await world.quiet(601)
    old = (await pool.members())[0]
    assert await pool.evict() == 1
    assert await pool.fill() == 1
    assert (old.phase, await pool.evict()) == ("destroyed", 0)


async def test_a_pool_keeps_no_more_than_its_maximum(world):
    """The oldest of too many go first."""
    await pool_of(world, minimum=4).fill()
    small = pool_of(world, minimum=0, maximum=2)
    members = await small.members()
    assert await small.evict() == 2
    assert [one.id for one in await small.members()] == [one.id for one in members[2:]]


async def test_a_machine_is_never_handed_over_twice(world):
    """Twenty ask at once for ten machines: each gets one of its own."""
    pool = pool_of(world, minimum=10, maximum=10)
    await pool.fill()
    given = await asyncio.gather(*(pool.acquire(f"customer-{at}") for at in range(20)))
    assert len({one.id for one in given}) == 20
    assert sorted(one.name for one in given) == sorted(f"customer-{at}" for at in range(20))


async def test_a_pool_is_the_same_after_a_restart(world):
    """It keeps no state of its own."""
    await pool_of(world, minimum=3).fill()
    await world.reopen()
    assert len(await pool_of(world, minimum=3).members()) == 3


def test_a_pool_that_could_never_be_is_refused():
    """Bounds and shapes that contradict each other say so."""
    with pytest.raises(BadInput):
        Depth(minimum=3, maximum=2)
    with pytest.raises(BadInput):
        WarmPool(None, MOULD, Spec(cpus=4, memory=GIB))
