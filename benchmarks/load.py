"""eventvm under load: lamps that are switched, by so many callers over so many machines."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from itertools import cycle, islice
from pathlib import Path
from typing import Any, TypeVar

import eventvm
from benchmarks.harness import Room
from eventvm.lifecycle import Lifecycle
from eventvm.tables import ANY, Arrow, Fact

T = TypeVar("T")

LAMP = Lifecycle(
    name="lamp",
    initial="off",
    phases=("off", "on", "broken"),
    settled=("off", "on"),
    ends=("broken",),
    moves={"off": ("on", "broken"), "on": ("off", "broken")},
    rows={"off": {"create": Fact("machine.created")}, ANY: {"attest": Fact("machine.attested")}},
    arrows={"off": {"machine.created": Arrow("off")}},
)
REASON = "."
"""With it the body of an event has 138 or 139 bytes, as its phase is on or off, and 125 without."""


def other(phase: str) -> str:
    """Give the phase that a switch leads to."""
    return "off" if phase == "on" else "on"


async def fleet(engine: eventvm.Engine, machines: int) -> list[eventvm.Handle]:
    """Give so many lamps of an engine that holds at least as many."""
    lamps = [lamp async for lamp in engine.every(lifecycle="lamp")][:machines]
    assert len(lamps) == machines, f"{len(lamps)} lamps, not {machines}"
    return lamps


async def warm_fleet(engine: eventvm.Engine, machines: int) -> list[eventvm.Handle]:
    """Give so many lamps, each of which was switched since the log was opened."""
    lamps = await fleet(engine, machines)
    await spread(256, lamps, switch)
    return lamps


async def spread(callers: int, todo: Iterable[T], command: Callable[[T], Awaitable[object]]) -> None:
    """Let so many callers work through what is to be done, each with one command at a time."""
    left = iter(todo)

    async def caller() -> None:
        for one in left:
            await command(one)

    await asyncio.gather(*(caller() for _ in range(callers)))


def round_robin(lamps: list[eventvm.Handle], count: int) -> Iterable[eventvm.Handle]:
    """Name the lamps one after the other, again and again, so many times in all."""
    return islice(cycle(lamps), count)


async def switch(lamp: eventvm.Handle) -> object:
    """Send one durable one-event command."""
    return await lamp.transition_to(other(lamp.phase), REASON)


async def switched(
    room: Room, log: Path, *, callers: int, machines: int, count: int, cold: bool = False
) -> float:
    """Give commands per second, one event each, without a key; cold: the first since the log was opened."""
    async with eventvm.open(log, lifecycles=[LAMP]) as engine:
        lamps = await (fleet if cold else warm_fleet)(engine, machines)
        with room.timing(lasting=True) as timing:
            await spread(callers, round_robin(lamps, count), switch)
        return count / timing.seconds


async def switched_by_key(room: Room, log: Path, *, callers: int, machines: int, count: int) -> float:
    """Give commands per second, each with a key of its own."""
    async with eventvm.open(log, lifecycles=[LAMP]) as engine:
        lamps = await warm_fleet(engine, machines)
        keys = iter(range(count))

        async def switch_once(lamp: eventvm.Handle) -> None:
            await lamp.transition_to(other(lamp.phase), REASON, key=f"order-{next(keys)}")

        with room.timing(lasting=True) as timing:
            await spread(callers, round_robin(lamps, count), switch_once)
        return count / timing.seconds


async def latencies(room: Room, log: Path, *, callers: int, machines: int, count: int) -> list[float]:
    """Give how long each command took, in milliseconds, shortest first."""
    took: list[float] = []

    async def timed(lamp: eventvm.Handle) -> None:
        begun = time.perf_counter()
        await switch(lamp)
        took.append((time.perf_counter() - begun) * 1e3)

    async with eventvm.open(log, lifecycles=[LAMP]) as engine:
        lamps = await warm_fleet(engine, machines)
        with room.timing(lasting=True):
            await spread(callers, round_robin(lamps, count), timed)
    return sorted(took)


def percentile(ordered: list[float], part: float) -> float:
    """Give the value that so many of the ordered ones do not exceed."""
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


def looped(work: Coroutine[Any, Any, T], *, fast: bool = False) -> T:
    """Run a coroutine to its end on a loop of its own: asyncio's, or uvloop's."""
    if not fast:
        return asyncio.run(work)
    import uvloop  # noqa: PLC0415  # only where it is asked for

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
