"""Where a command's time goes: the loop's thread is looked at 2,000 times a second, and told by stages.

A sample belongs to the innermost Python frame: what C does for a line counts as that line's. Python looks for
signals after calls, where functions begin and where loops go round, so the share of one line is rough and
that of a stage is not. A profiler that hooks each call would make short functions look expensive instead.
"""

import gc
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from benchmarks.harness import Claim, Room

EVERY_SECONDS = 0.0005
FUNCTIONS, LINES = 30, 20
"""How many of the hottest are told."""
ROOT = Path(__file__).parents[1]

STAGES = {
    "selectors.py": "idle: waiting for SQLite's thread, or for the GIL",
    "benchmarks/stages.py": "collecting garbage",  # what is called at its end is where it is seen
    "benchmarks/": "the callers",
    "eventvm/engine/handle.py": "the handle",
    "eventvm/commands.py": "the handle",
    "eventvm/engine/": "the engine: turns and the scribe",
    "eventvm/decisions.py": "decide",
    "eventvm/lifecycle.py": "decide",
    "eventvm/tables.py": "decide",
    "eventvm/clock.py": "the clock",
    "eventvm/machine.py": "evolve",
    "eventvm/views.py": "the views",
    "eventvm/ledger.py": "the ledger",
    "eventvm/audit/": "the views",
    "eventvm/log.py": "the ticket",
    "eventvm/logs/group_commit.py": "group commit: queue, check, records, settling",
    "eventvm/events.py": "encode and decode",
    "eventvm/record.py": "hash",
    "eventvm/merkle.py": "hash",
    "eventvm/logs/sqlite.py": "rows for SQLite",
    "aiosqlite/": "the hop to SQLite's thread",
    "asyncio/": "asyncio",
}
"""Where a file's time is counted; the first that its path contains."""


Place = tuple[str, str, int, int]
"""A file, a function, the line that it begins at, and the line in it."""


class Sampler:
    """Counts where the loop's thread is, and what each thread burns, while something is measured."""

    def __init__(self) -> None:
        self.places: Counter[Place] = Counter()
        self.burned: Counter[str] = Counter()
        self.seconds = 0.0

    @contextmanager
    def during(self) -> Iterator[None]:
        """Look, for as long as this block takes."""
        before = _burned()
        begun = time.perf_counter()
        former = signal.signal(signal.SIGALRM, self._look)
        signal.siginterrupt(signal.SIGALRM, False)  # noqa: FBT003  # SQLite is to see no interrupted call
        signal.setitimer(signal.ITIMER_REAL, EVERY_SECONDS, EVERY_SECONDS)
        gc.callbacks.append(self._collected)
        try:
            yield
        finally:
            gc.callbacks.remove(self._collected)
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, former)
            self.seconds += time.perf_counter() - begun
            self.burned.update(_burned())
            self.burned.subtract(before)

    def _look(self, _: int, frame: FrameType | None) -> None:
        if frame is not None:
            code = frame.f_code
            self.places[code.co_filename, code.co_name, code.co_firstlineno, frame.f_lineno] += 1

    def _collected(self, *_: object) -> None:
        """Be called when garbage was collected, so that the time of that does not count as some line's."""


def _burned() -> dict[str, float]:
    """Give the processor seconds of each thread."""
    main = threading.main_thread()
    return {
        "the loop" if one is main else one.name: time.clock_gettime(time.pthread_getcpuclockid(one.ident))
        for one in threading.enumerate()
        if one.ident is not None
    }


def profiled(claim: Claim, room: Room) -> str:
    """Measure our side of a claim once, and tell of its stages in microseconds for each command."""
    sampler = Sampler()
    room.during = sampler.during
    figure = room.measured(claim.ours)
    each = 1e6 / figure if claim.unit == "/s" else sampler.seconds * 1e6
    whole = max(sum(sampler.places.values()), 1)
    parts = [
        f"# {claim.name}: {claim.sides[0]} {figure:,.0f}{claim.unit}, {each:.2f} us each, {whole} samples",
        "# microseconds of the loop's thread for each, by stage",
        *_table(_counted(sampler, _stage), each / whole),
        "# by function",
        *_table(_counted(sampler, _function), each / whole, FUNCTIONS),
        "# by line",
        *_table(_counted(sampler, _line), each / whole, LINES),
        "# processor time of each thread",
        *_table(sampler.burned, each / sampler.seconds),
    ]
    return "\n".join(parts)


def _table(counted: Counter[str], scale: float, rows: int | None = None) -> Iterator[str]:
    for name, count in counted.most_common(rows):
        yield f"{count * scale:8.2f}  {name}"


def _counted(sampler: Sampler, named: Callable[[Place], str]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for place, count in sampler.places.items():
        counted[named(place)] += count
    return counted


def _stage(place: Place) -> str:
    return next((stage for part, stage in STAGES.items() if part in place[0]), "other")


def _function(place: Place) -> str:
    path, name, first, _ = place
    return f"{_short(path)}:{first} {name}"


def _line(place: Place) -> str:
    path, name, _, line = place
    return f"{_short(path)}:{line} {name}"


def _short(path: str) -> str:
    """Name a file as people know it: by its place in the project, or in its package."""
    whole = Path(path)
    return (
        str(whole.relative_to(ROOT)) if whole.is_relative_to(ROOT / "eventvm") else "/".join(whole.parts[-2:])
    )
