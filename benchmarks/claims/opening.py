"""What a long log costs: to open it, and to append to it."""

from functools import partial
from pathlib import Path
from statistics import median

import eventvm
from benchmarks.harness import Claim, Room, Size
from benchmarks.load import LAMP, looped, switched
from benchmarks.logs import copied, log_of
from eventvm.audit.replay import replayed
from eventvm.logs import open_log

MACHINES = Size(10_000, quick=500)
SHORT = Size(100_000, quick=5_000)
LONG = Size(1_000_000, quick=30_000)
LONGEST = Size(10_000_000, quick=100_000)
OPENINGS = 5
"""It takes some milliseconds only, and a single one is at the mercy of the disk."""
COMMANDS = Size(50_000, quick=4_000)


def opening(room: Room, *, events: Size) -> float:
    """Give the seconds from nothing to an engine that serves, the median of several in one process."""
    log = log_of(room, machines=room.size(MACHINES), events=room.size(events))
    return median(looped(_opening(room, log)) for _ in range(OPENINGS))


async def _opening(room: Room, log: Path) -> float:
    with room.timing() as timing:
        opened = eventvm.open(log, lifecycles=[LAMP])
        await opened.__aenter__()
    await opened.__aexit__(None, None, None)
    return timing.seconds


def replaying(room: Room) -> float:
    """Give the seconds of a full replay."""
    return looped(_replaying(room, log_of(room, machines=room.size(MACHINES), events=room.size(LONG))))


async def _replaying(room: Room, path: Path) -> float:
    async with open_log(path) as log:
        with room.timing() as timing:
            await replayed(log)
        return timing.seconds


def appending(room: Room, *, events: Size) -> float:
    """Give commands per second for 256 callers, on a log that is so long already."""
    machines = room.size(MACHINES)
    with copied(room, machines=machines, events=room.size(events)) as log:
        return looped(switched(room, log, callers=256, machines=machines, count=room.size(COMMANDS)))


CLAIMS = [
    Claim(
        "open",
        "opening a log of {0} events with {1} living machines against a full replay of it",
        0.05, partial(opening, events=LONG), replaying, sizes=(LONG, MACHINES),
        sides=("opening", "replay"), better="lower", unit="s",
    ),
    Claim(
        "open-longer",
        "opening a log of {0} events against opening one of {1}",
        1.3, partial(opening, events=LONG), partial(opening, events=SHORT), sizes=(LONG, SHORT),
        sides=("{0}", "{1}"), better="lower", unit="s",
    ),
    Claim(
        "open-longest",
        "opening a log of {0} events against opening one of {1}",
        1.3, partial(opening, events=LONGEST), partial(opening, events=LONG), sizes=(LONGEST, LONG),
        sides=("{0}", "{1}"), better="lower", unit="s", full=True,
    ),
    Claim(
        "append-long",
        "append rate with {0} events in the log against with {1}",
        0.85, partial(appending, events=LONG), partial(appending, events=SHORT), sizes=(LONG, SHORT),
        sides=("{0}", "{1}"),
    ),
    Claim(
        "append-longest",
        "append rate with {0} events in the log against with {1}",
        0.85, partial(appending, events=LONGEST), partial(appending, events=SHORT), sizes=(LONGEST, SHORT),
        sides=("{0}", "{1}"), full=True,
    ),
]  # fmt: skip
