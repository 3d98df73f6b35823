"""What many who wait and many who follow cost; on a log in memory, since the disk has no part in it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median

import eventvm
from benchmarks.harness import Claim, Room, Size
from benchmarks.load import LAMP, fleet, looped, spread, switch
from eventvm.subscription import Subscription

FEW = 100
MANY = Size(100_000, quick=3_000)
WAKES = 100
"""Wakes that are timed, with few waiting and with many."""

SUBSCRIBERS = 1_000
ONE_AFTER_ANOTHER = Size(5_000, quick=2_000)
"""Records that are delivered one at a time to one subscriber."""
TO_ALL = Size(60, quick=15)
"""Records that are delivered one at a time to all of them."""


@asynccontextmanager
async def lamps_in_memory(count: int) -> AsyncIterator[tuple[eventvm.Engine, list[eventvm.Handle]]]:
    """Lend an engine with so many lamps, without a file."""
    async with eventvm.open("memory:", lifecycles=[LAMP]) as engine:

        async def create(name: int) -> None:
            await engine.create(f"lamp-{name}", lifecycle="lamp")

        await spread(256, range(count), create)
        yield engine, await fleet(engine, count)


def waking(room: Room) -> tuple[float, float]:
    """Give the microseconds from a command to the waiter that it wakes: of many, and of few."""
    return looped(_waking(room, room.size(MANY)))


async def _waking(room: Room, many: int) -> tuple[float, float]:
    async with lamps_in_memory(many) as (_, lamps):
        waiters = await _set_waiting(lamps[:FEW])
        of_few = await _woken(room, list(zip(lamps, waiters, strict=False)))
        waiters = await _set_waiting(lamps[FEW:])
        of_many = await _woken(room, list(zip(lamps[FEW:], waiters, strict=True))[:WAKES])
        for waiter in waiters:
            waiter.cancel()
        await asyncio.wait(waiters)
        return of_many, of_few


async def _set_waiting(lamps: list[eventvm.Handle]) -> list[asyncio.Task[object]]:
    waiters: list[asyncio.Task[object]] = [asyncio.create_task(lamp.wait("on")) for lamp in lamps]
    await asyncio.sleep(0)  # noqa: TID251  # each runs up to its wait
    return waiters


async def _woken(room: Room, pairs: list[tuple[eventvm.Handle, asyncio.Task[object]]]) -> float:
    took = []
    with room.timing():
        for lamp, waiter in pairs:
            begun = time.perf_counter()
            await switch(lamp)
            await waiter
            took.append((time.perf_counter() - begun) * 1e6)
    return median(took)


def delivering(room: Room) -> tuple[float, float]:
    """Give the microseconds of one delivery, over those of the record itself: to many, and to one."""
    return looped(_delivering(room))


async def _delivering(room: Room) -> tuple[float, float]:
    async with lamps_in_memory(1) as (engine, (lamp,)):
        nobody = await _delivered(room, engine, lamp, 0, room.size(ONE_AFTER_ANOTHER))
        to_one = await _delivered(room, engine, lamp, 1, room.size(ONE_AFTER_ANOTHER))
        to_all = await _delivered(room, engine, lamp, SUBSCRIBERS, room.size(TO_ALL))
        return (to_all - nobody) / SUBSCRIBERS, max(to_one - nobody, 0.1)


async def _delivered(
    room: Room, engine: eventvm.Engine, lamp: eventvm.Handle, subscribers: int, count: int
) -> float:
    """Give the microseconds from one command to the last subscriber that has heard of it, on average."""
    heard = _Heard(subscribers)
    following = [
        asyncio.create_task(heard.follow(engine.events(after=engine.log.tree.size)))
        for _ in range(subscribers)
    ]
    await asyncio.sleep(0)  # noqa: TID251  # each runs up to its wait
    with room.timing() as timing:
        for _ in range(count):
            heard.by_all.clear()
            await switch(lamp)
            if subscribers:
                await heard.by_all.wait()
    for task in following:
        task.cancel()
    if following:
        await asyncio.wait(following)
    return timing.seconds / count * 1e6


class _Heard:
    """Counts who has heard of a record, and says when all have."""

    def __init__(self, subscribers: int) -> None:
        self._subscribers = self._left = subscribers
        self.by_all = asyncio.Event()

    async def follow(self, records: Subscription) -> None:
        async for _ in records:
            self._left -= 1
            if not self._left:
                self._left = self._subscribers
                self.by_all.set()


CLAIMS = [
    Claim(
        "wake",
        "one record waking one of {0} waiters against one of 100",
        1.5, lambda room: room.once(waking)[0], lambda room: room.once(waking)[1], sizes=(MANY,),
        sides=("of {0}", "of 100"), better="lower", unit="us",
    ),
    Claim(
        "subscribers",
        "one delivered record with 1000 live subscribers against with one",
        1.2, lambda room: room.once(delivering)[0], lambda room: room.once(delivering)[1],
        sides=("with 1000", "with 1"), better="lower", unit="us",
    ),
]  # fmt: skip
