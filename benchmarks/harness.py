"""The harness: claims as data, measured in pairs, judged by their medians.

Rules:

* A claim is a ratio of two figures that were measured one right after the other. What else this machine is
  doing slows both, so the ratio of a pair says more than either figure.
* Pairs are repeated, ours and theirs in turn. A claim is judged by the median of its pairs' ratios, and the
  smallest and the largest stand beside it.
* Each claim runs in a process of its own: none pays for the heap, the threads or the imports of another, and
  one that hangs or grows without bound is ended, and counts as broken.
"""

import gc
import multiprocessing
import os
import resource
import shutil
import signal
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, TypeVar

from msgspec import Struct

from benchmarks.durability import durable, witnessed

ROUNDS, QUICK_ROUNDS = 3, 1
LIMIT_SECONDS, FULL_LIMIT_SECONDS = 600, 3600
"""How long one claim may take."""
LIMIT_BYTES = 8 << 30
"""How much memory one claim may take."""

T = TypeVar("T")
Mode = Literal["quick", "usual", "full"]
Verdict = Literal["ok", "SHORT", "BROKEN", "skipped"]


class InMemory(Exception):
    """A directory in which nothing is durable was named for measuring."""


class Size(Struct, frozen=True):
    """How much a claim does: usually, in a smoke test, and at full length."""

    usual: int
    quick: int
    full: int | None = None

    def at(self, mode: Mode) -> int:
        """Give the size for a mode."""
        return {"quick": self.quick, "usual": self.usual, "full": self.full or self.usual}[mode]


class Timing(Struct):
    """A stretch of time that was measured."""

    seconds: float = 0.0


class Room:
    """Where a claim is measured: its sizes, its files and its stopwatch."""

    def __init__(self, directory: Path, cache: Path | None = None, mode: Mode = "usual") -> None:
        self.directory = directory
        self.cache = cache or directory
        self.mode = mode
        self.during: Callable[[], Any] | None = None
        """What goes on beside each measured stretch: a profiler, if anything."""
        self._shared: dict[Any, Any] = {}

    def size(self, size: Size) -> int:
        """Give a size as this run has it."""
        return size.at(self.mode)

    @contextmanager
    def files(self) -> Iterator[Path]:
        """Lend a directory that is empty before and gone after."""
        with tempfile.TemporaryDirectory(dir=self.directory) as directory:
            yield Path(directory)

    def once(self, make: Callable[["Room"], T]) -> T:
        """Give what both sides of a pair share, made by the first that asks in each round."""
        if make not in self._shared:
            self._shared[make] = make(self)
        shared: T = self._shared[make]
        return shared

    @contextmanager
    def timing(self, *, lasting: bool = False) -> Iterator[Timing]:
        """Measure a stretch; where it is to be durable, each connection is asked whether it was."""
        timing = Timing()
        gc.collect()
        with self.during() if self.during else nullcontext():
            begun = time.perf_counter()
            yield timing
            timing.seconds = time.perf_counter() - begun
        if lasting:
            durable()

    def measured(self, bench: "Bench") -> float:
        """Measure one figure, with every SQLite connection watched."""
        with witnessed():
            return bench(self)

    def next_round(self) -> None:
        """Forget what the last pair shared."""
        self._shared.clear()


Bench = Callable[[Room], float]
"""Measures one figure."""


class Claim(Struct, frozen=True):
    """One line of the table: what is compared, by what, and what must come of it at least."""

    name: str
    sentence: str
    """What it says; {0}, {1} stand for the sizes as this run has them."""
    target: float
    ours: Bench
    theirs: Bench | None = None
    """Without it, our figure itself is held against the target."""
    sides: tuple[str, str] = ("eventvm", "raw SQLite")
    better: Literal["higher", "lower"] = "higher"
    unit: str = "/s"
    sizes: tuple[Size, ...] = ()
    needs: tuple[str, ...] = ()
    """Modules of a peer without which it cannot be measured."""
    beside: dict[str, Bench] = {}
    """Figures that are told and not judged."""
    full: bool = False
    """Whether it is too long for any run but a full one."""
    absent: Callable[[], str] | None = None
    """Why it cannot be measured yet, if it cannot."""


class Result(Struct):
    """What became of a claim."""

    name: str
    sentence: str
    target: float
    better: str
    unit: str
    sides: tuple[str, str]
    verdict: Verdict = "skipped"
    why: str = ""
    measured: float | None = None
    """The median of the pairs' ratios; of our own figures, where there is nobody to compare with."""
    lowest: float | None = None
    highest: float | None = None
    ours: float | None = None
    theirs: float | None = None
    pairs: list[tuple[float, float | None]] = []
    beside: dict[str, float] = {}

    @property
    def short(self) -> bool:
        """Whether a run with this in it has failed."""
        return self.verdict in ("SHORT", "BROKEN")


def blank(claim: Claim, mode: Mode) -> Result:
    """Say what a claim says before anything is measured."""
    sizes = [in_words(size.at(mode)) for size in claim.sizes]
    sides = tuple(side.format(*sizes) for side in claim.sides)
    return Result(
        claim.name, claim.sentence.format(*sizes), claim.target, claim.better, claim.unit,
        (sides[0], sides[1]),
    )  # fmt: skip


def in_words(count: int) -> str:
    """Write a size as people say it."""
    for size, word in ((1_000_000, "M"), (1000, "k")):
        if count >= size and count % (size // 10) == 0:
            return f"{count / size:g}{word}"
    return str(count)


def measure(claim: Claim, room: Room, rounds: int) -> Result:
    """Measure a claim in pairs, ours and theirs in turn, and judge it."""
    result = blank(claim, room.mode)
    for _ in range(rounds):
        room.next_round()
        ours = room.measured(claim.ours)
        theirs = room.measured(claim.theirs) if claim.theirs is not None else None
        result.pairs.append((ours, theirs))
    room.next_round()
    for name, bench in claim.beside.items():
        result.beside[name] = room.measured(bench)
    return judged(result)


def judged(result: Result) -> Result:
    """Take the medians, and say whether they reach the target."""
    ratios = [ours if theirs is None else ours / theirs for ours, theirs in result.pairs]
    result.measured = statistics.median(ratios)
    result.lowest, result.highest = min(ratios), max(ratios)
    result.ours = statistics.median(ours for ours, _ in result.pairs)
    others = [theirs for _, theirs in result.pairs if theirs is not None]
    result.theirs = statistics.median(others) if others else None
    reached = (
        result.measured >= result.target if result.better == "higher" else result.measured <= result.target
    )
    result.verdict = "ok" if reached else "SHORT"
    return result


def missing(claims: list[Claim]) -> list[str]:
    """Name the modules that these claims need and that are not installed."""
    needed = {module for claim in claims for module in claim.needs}
    return sorted(module for module in needed if find_spec(module) is None)


def settled(claim: Claim, room: Room, rounds: int, seconds: float | None = None) -> Result:
    """Measure a claim in a process of its own, and say what became of it, whatever that was."""
    result = blank(claim, room.mode)
    if claim.full and room.mode != "full":
        result.why = "too long for this run: --full"
    elif claim.absent is not None and (why := claim.absent()):
        result.why = why
    else:
        limit = seconds or (FULL_LIMIT_SECONDS if room.mode == "full" else LIMIT_SECONDS)
        told = apart(lambda: measure(claim, room, rounds), limit)
        if isinstance(told, Result):
            return told
        result.verdict, result.why = "BROKEN", told
    return result


def apart(work: Callable[[], Result], seconds: float) -> Result | str:
    """Work in a child of ours, and give what came of it, or why nothing did."""
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe(duplex=False)
    child = fork.Process(target=_told, args=(there, work))
    child.start()
    there.close()
    try:
        return here.recv() if here.poll(seconds) else f"took more than {seconds:g} s and was ended"
    except EOFError:
        return "its process died"
    finally:
        _end(child)


def _told(there: Connection, work: Callable[[], Result]) -> None:
    """Work, and tell of it, as the head of a group of processes that can be ended together."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_BYTES, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    try:
        there.send(work())
    except Exception as problem:  # noqa: BLE001  # whatever it was, the line of the claim says it
        traceback.print_exc(limit=-3)  # where it happened; how it got there is the same each time
        there.send(f"{type(problem).__name__}: {problem}")


def _end(child: Any) -> None:
    """End a child and whatever it started: a peer may have left threads and servers behind."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.join()


@contextmanager
def room_at(parent: Path, cache: Path | None, mode: Mode) -> Iterator[Room]:
    """Lend a room on a disk; everything in it but a cache is gone at the end."""
    if (kind := filesystem(parent)) in ("tmpfs", "ramfs"):
        raise InMemory(
            f"{parent} is in memory ({kind}), where durability costs nothing; --directory takes another"
        )
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="eventvm-bench-", dir=parent))
    try:
        yield Room(directory, cache, mode)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def filesystem(path: Path) -> str:
    """Name the kind of file system that a path is on, where the host can tell."""
    try:
        lines = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return "unknown"
    mounts = {Path(line[1]): line[2] for line in lines}
    here = path.resolve()
    return next((mounts[one] for one in (here, *here.parents) if one in mounts), "unknown")
