"""How far a long work has come: a bar on a terminal once it lasts longer than a second, nothing in a pipe."""

import sys
import time
from types import TracebackType
from typing import Self

from eventvm.cli.paper import Paper

WAIT_SECONDS = 1.0
WIDTH = 30


class Progress:
    """Tells on stderr how far something has come."""

    def __init__(self, what: str = "", total: int = 0, *, beside: Paper | None = None) -> None:
        """Begin; beside a paper on which something is shown meanwhile, a terminal has no room for a bar."""
        self._what = what
        self._total = max(total, 1)
        shows = beside is not None and beside.seen
        self._tells = sys.stderr is not None and sys.stderr.isatty() and not shows
        self._due = time.monotonic() + WAIT_SECONDS
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def tell(self, what: str, done: int, whole: int) -> None:
        """Say what is being done, and how far that has come: this is how a work tells of its headway."""
        self._what, self._total = what, max(whole, 1)
        self.reach(done)

    def reach(self, done: int) -> None:
        """Say that so much is done; what is said too often is not shown."""
        if self._tells and (now := time.monotonic()) >= self._due:
            self._due, self._shown = now + WAIT_SECONDS / 10, True
            full = WIDTH * min(done, self._total) // self._total
            bar = "#" * full + "." * (WIDTH - full)
            sys.stderr.write(f"\r{self._what} [{bar}] {done:,} of {self._total:,}\x1b[K")
            sys.stderr.flush()

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
