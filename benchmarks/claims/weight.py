"""What machines and events weigh, in memory and on the disk, and how long a heavy engine holds the loop."""

import asyncio
import gc
import multiprocessing
import os
import sqlite3
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import eventvm
from benchmarks.harness import Claim, Room, Size
from benchmarks.load import LAMP, fleet, looped, round_robin, spread, switch
from benchmarks.logs import copied, log_of

IDLE = Size(100_000, quick=10_000, full=1_000_000)
BUSY = 1_000
"""Of the machines that are held, those that commands are sent to meanwhile."""
CALLERS = 16
COMMANDS = Size(60_000, quick=3_000)
"""More than an engine takes before it keeps its machines again: that is within the measured stretch."""
BEAT_SECONDS = 0.001

STORED = Size(500_000, quick=20_000)
STORING = Size(5_000, quick=200)


def resident(room: Room) -> float:
    """Give the bytes that the process grew by for each machine, as the operating system counts them."""
    return _weighed_apart(room, "resident")


def allocated(room: Room) -> float:
    """Give the bytes that Python has allocated for each machine, and not let go."""
    return _weighed_apart(room, "allocated")


def _weighed_apart(room: Room, scale: str) -> float:
    """Weigh in a process that begins empty: memory that was let go before would be taken again unseen."""
    machines = room.size(IDLE)
    log, small = log_of(room, machines=machines), log_of(room, machines=1)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
        return fresh.submit(_grown, log, small, scale).result() / machines


def _grown(log: Path, small: Path, scale: str) -> int:
    """Open a small log first, so that what any engine needs is there before."""
    if scale == "allocated":
        tracemalloc.start()
    looped(_weighed(small, SCALES[scale]))
    before = SCALES[scale]()
    return looped(_weighed(log, SCALES[scale])) - before


async def _weighed(log: Path, weigh: Callable[[], int]) -> int:
    """Weigh this process while an engine holds a log."""
    async with eventvm.open(log, lifecycles=[LAMP]):
        gc.collect()
        return weigh()


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


SCALES: dict[str, Callable[[], int]] = {
    "resident": _resident_bytes,
    "allocated": lambda: tracemalloc.get_traced_memory()[0],
}


def longest_pause(room: Room) -> float:
    """Give the longest time in milliseconds for which the loop did not come round."""
    with copied(room, machines=room.size(IDLE)) as log:
        return looped(_paused(room, log, room.size(COMMANDS)))


async def _paused(room: Room, log: Path, count: int) -> float:
    async with eventvm.open(log, lifecycles=[LAMP]) as engine:
        lamps = await fleet(engine, BUSY)
        beats = [0.0]
        with room.timing():
            heart = asyncio.create_task(_beat(beats))
            await spread(CALLERS, round_robin(lamps, count), switch)
            heart.cancel()
            await asyncio.wait([heart])
    return max(beats) * 1e3


async def _beat(beats: list[float]) -> None:
    """Note each time by how much a short sleep was too long."""
    while True:
        begun = time.perf_counter()
        await asyncio.sleep(BEAT_SECONDS)  # noqa: TID251  # the heart beats
        late = time.perf_counter() - begun - BEAT_SECONDS
        beats[0] = max(beats[0], late)


def on_disk(room: Room) -> float:
    """Give the bytes of a closed log's file for each event in it, its tree and its kept view included."""
    log = log_of(room, machines=room.size(STORING), events=room.size(STORED))
    return log.stat().st_size / _told(log, "SELECT size FROM tree")


def body_on_disk(room: Room) -> float:
    """Give the bytes of an event's body alone."""
    log = log_of(room, machines=room.size(STORING), events=room.size(STORED))
    return _told(log, "SELECT avg(length(body)) FROM records WHERE version > 1")


def _told(log: Path, question: str) -> float:
    with closing(sqlite3.connect(f"file:{log}?mode=ro", uri=True)) as connection:
        return float(connection.execute(question).fetchone()[0])


CLAIMS = [
    Claim(
        "memory",
        "resident bytes of the engine for each living idle machine, {0} of them",
        600, resident, sizes=(IDLE,), sides=("grown", ""), better="lower", unit="B",
        beside={"allocated by Python": allocated},
    ),
    Claim(
        "pause",
        "longest pause of the loop while {0} machines are held and 16 callers send commands",
        20, longest_pause, sizes=(IDLE,), sides=("longest", ""), better="lower", unit="ms",
    ),
    Claim(
        "disk",
        "bytes on the disk for each event with a body of 138 bytes, tree included",
        330, on_disk, sides=("file", ""), better="lower", unit="B", beside={"of which body": body_on_disk},
    ),
]  # fmt: skip
