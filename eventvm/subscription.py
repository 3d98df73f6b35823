"""A subscription: a position and a page. It never misses, doubles or reorders, however slow its reader is."""

import asyncio
from collections import deque
from collections.abc import Callable

from eventvm.log import PAGE, EventLog
from eventvm.record import Record


def _anywhere() -> None:
    """Let whoever holds the log read it."""


class Subscription:
    """An endless iterator over the records after a position: those that are there, then the live ones.

    It holds one page at most, so a slow reader costs a bounded amount of memory and delays nobody; when it
    is dropped nothing has to be closed. When the log is closed, or the engine left, it raises Closed.
    """

    def __init__(
        self, log: EventLog, *, after: int = 0, stream: str | None = None,
        check: Callable[[], None] = _anywhere,
    ) -> None:  # fmt: skip
        self._log = log
        self._stream = stream
        self._check = check
        self._page: deque[Record] = deque()
        self._read = after
        self._waiting: asyncio.Task[None] | None = None
        self._ended = False
        self.position = after
        """The position of the last record that was given out: go on from here."""

    def __aiter__(self) -> "Subscription":
        self._check()
        return self

    async def __anext__(self) -> Record:
        self._check()
        while not self._page:
            page = await self._log.read(stream=self._stream, after=self._read, limit=PAGE)
            self._read = page.position
            self._page.extend(page.records)
            if not page.records:
                await self._wait()
        record = self._page.popleft()
        self.position = record.position
        return record

    async def _wait(self) -> None:
        """Wait for the log, unless the engine is left meanwhile."""
        self._check()
        self._waiting = waiting = asyncio.ensure_future(self._log.wait(self._read))
        try:
            await waiting
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._ended or task is None or task.cancelling():
                raise
        self._check()

    def end(self) -> None:
        """Have its reader hear at once that there is no more; what it reads on from is its position."""
        self._ended = True
        if self._waiting is not None:
            self._waiting.cancel()
