"""For tests: a virtual-time event loop with a seed, and a clock that follows it.

In this loop no time passes while anything can run; when nothing can, time jumps to the next timer. Which of
the ready tasks runs first is drawn from the seed, so one seed is one history and another seed another.
"""

import asyncio
import math
import random
import selectors
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn

from eventvm.clock import Clock
from eventvm.observation import Instant

EPOCH_NS = 1_700_000_000_000_000_000
"""The wall time at which every simulation begins."""


class Deadlock(AssertionError):
    """Every task waits for another, and no timer is set."""


class _Selector(selectors.DefaultSelector):
    """A selector that lets virtual time pass instead of waiting."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            waiting = ", ".join(sorted(task.get_name() for task in asyncio.all_tasks(self.loop)))
            raise Deadlock(f"seed {self.loop.seed}: nothing can ever run again; waiting: {waiting}")
        self.loop.pass_by(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time whose choices come from a seed."""

    def __init__(self, seed: int = 0) -> None:
        self.now = 0.0
        self.seed = seed
        self.random = random.Random(seed)
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        """Let time pass; asyncio must still tell now from a moment later, or no timer would ever be due."""
        self.now += max(seconds, 0.0)
        self._clock_resolution = max(1e-9, 2 * math.ulp(self.now))

    def run_in_executor(self, *_: Any) -> NoReturn:  # type: ignore[override]
        """Refuse: a thread would bring real time and chance in."""
        raise RuntimeError("no threads in virtual time")

    def _run_once(self) -> None:
        self._shuffle()
        super()._run_once()  # type: ignore[misc]

    def _shuffle(self) -> None:
        """Draw the order of the ready tasks; callbacks stay in the order that asyncio promises."""
        ready: deque[Any] = self._ready  # type: ignore[attr-defined]
        places = [at for at, handle in enumerate(ready) if _is_step(handle)]
        if len(places) < 2:  # noqa: PLR2004  # one task has no order
            return
        steps = [ready[at] for at in places]
        self.random.shuffle(steps)
        for at, handle in zip(places, steps, strict=True):
            ready[at] = handle


def _is_step(handle: Any) -> bool:
    owner = getattr(handle._callback, "__self__", None)  # noqa: SLF001  # asyncio has no public name for it
    return isinstance(owner, asyncio.Task)


class VirtualClock(Clock):
    """A clock that follows a virtual loop; its wall time can be set back, and its host rebooted."""

    def __init__(self, loop: VirtualLoop | None = None) -> None:
        running = loop or asyncio.get_running_loop()
        assert isinstance(running, VirtualLoop), (
            "this clock belongs to a VirtualLoop: let the fixture anyio_backend return virtual()"
        )
        self._loop = running
        self._random = random.Random(f"ids of {running.seed}")
        self._booted = 0.0
        self._boots = 1
        self.jumped_ns = 0
        self.boot_id = f"{running.seed:012x}{self._boots:04x}"

    def wall(self) -> int:
        return EPOCH_NS + int(self._loop.now * 1e9) + self.jumped_ns

    def now(self) -> Instant:
        return Instant(self.wall(), int((self._loop.now - self._booted) * 1e9), self.boot_id)

    def random(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back; boot time knows nothing of it."""
        self.jumped_ns += int(seconds * 1e9)

    def reboot(self) -> None:
        """Begin another boot."""
        self._booted = self._loop.now
        self._boots += 1
        self.boot_id = f"{self._loop.seed:012x}{self._boots:04x}"


def virtual(seed: int = 0) -> tuple[str, dict[str, Any]]:
    """Give what a suite's fixture `anyio_backend` returns to run its tests in virtual time."""
    return "asyncio", {"loop_factory": loop_factory(seed)}


def loop_factory(seed: int = 0) -> Callable[[], VirtualLoop]:
    """Give what makes loops of one seed, as anyio's backend takes it: `{"loop_factory": ...}`."""
    return lambda: VirtualLoop(seed)
