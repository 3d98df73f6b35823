"""A subscription: a position and a page. It never misses, doubles or reorders, however slow its reader is."""

from collections import deque

from eventvm.log import PAGE, EventLog
from eventvm.record import Record


class Subscription:
    """An endless iterator over the records after a position: those that are there, then the live ones.

    It holds one page at most, so a slow reader costs a bounded amount of memory and delays nobody; when it
    is dropped nothing has to be closed. When the log is closed it raises Closed.
    """

    def __init__(self, log: EventLog, *, after: int = 0, stream: str | None = None) -> None:
        self._log = log
        self._stream = stream
        self._page: deque[Record] = deque()
        self._read = after
        self.position = after
        """The position of the last record that was given out: go on from here."""

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Record:
        while not self._page:
            page = await self._log.read(stream=self._stream, after=self._read, limit=PAGE)
            self._read = page.position
            self._page.extend(page.records)
            if not page.records:
                await self._log.wait(self._read)
        record = self._page.popleft()
        self.position = record.position
        return record
