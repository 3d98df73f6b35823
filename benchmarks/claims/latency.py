"""How long one command takes beside others, and beside whoever does not let go of the loop."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import eventvm
from benchmarks.claims.throughput import COMMANDS, MACHINES
from benchmarks.harness import Claim, Room, Size
from benchmarks.load import LAMP, fleet, latencies, looped, percentile, switch
from benchmarks.logs import copied

SPIN_SECONDS = 200e-6
BESIDE_SECONDS = Size(5, quick=2)
BESIDE_CALLERS = 16


def at_256(room: Room) -> list[float]:
    """Give the milliseconds that each command took with 256 callers, shortest first."""
    machines = room.size(MACHINES)
    with copied(room, machines=machines) as log:
        return looped(latencies(room, log, callers=256, machines=machines, count=room.size(COMMANDS)))


def p99(room: Room) -> float:
    """Give what 99 of 100 commands do not exceed."""
    return percentile(room.once(at_256), 0.99)


def p50(room: Room) -> float:
    """Give what half of the commands do not exceed, in the same run."""
    return percentile(room.once(at_256), 0.5)


def beside_a_spinner(room: Room) -> float:
    """Give the p99 in milliseconds while a task works 200 us, yields, and works again, for ever."""
    with copied(room, machines=BESIDE_CALLERS) as log:
        return percentile(looped(_beside(room, log, room.size(BESIDE_SECONDS))), 0.99)


async def _beside(room: Room, log: Path, seconds: float) -> list[float]:
    took: list[float] = []
    async with eventvm.open(log, lifecycles=[LAMP]) as engine:
        lamps = await fleet(engine, BESIDE_CALLERS)
        with room.timing(lasting=True):
            spinner = asyncio.create_task(_spin())
            callers = [asyncio.create_task(_send(lamp, took)) for lamp in lamps]
            await asyncio.sleep(seconds)  # noqa: TID251  # how long it is watched
            for task in (spinner, *callers):
                task.cancel()
            await asyncio.wait((spinner, *callers))
    return sorted(took)


async def _spin() -> None:
    while True:
        until = time.perf_counter() + SPIN_SECONDS
        while time.perf_counter() < until:
            pass
        await asyncio.sleep(0)  # noqa: TID251  # it yields


async def _send(lamp: eventvm.Handle, took: list[float]) -> None:
    """Send commands until cancelled; one that is unanswered by then counts with the time it has waited."""
    with suppress(asyncio.CancelledError):
        while True:
            begun = time.perf_counter()
            try:
                await switch(lamp)
            finally:
                took.append((time.perf_counter() - begun) * 1e3)


CLAIMS = [
    Claim(
        "tail",
        "p99 latency at 256 callers against its own p50",
        4, p99, p50, sides=("p99", "p50"), better="lower", unit="ms",
    ),
    Claim(
        "beside-a-spinner",
        "p99 of 16 callers beside a task that works 200 us and yields, for ever",
        50, beside_a_spinner, sides=("p99", ""), better="lower", unit="ms",
    ),
]  # fmt: skip
