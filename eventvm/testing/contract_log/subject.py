"""The log that is judged, and what its laws have in common: what they append, and how they read."""

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar

from eventvm.events import Transitioned
from eventvm.log import PAGE, Append, EventLog
from eventvm.observation import Instant
from eventvm.record import Record
from eventvm.testing.contract import Contract

AT = Instant(1_700_000_000_000_000_000, 1_000_000_000, "boot-1")


class LogLaws(Contract):
    """A log whose store outlives it: within one test `open` always opens the same store."""

    protests: ClassVar[str] = ""
    """What a store says, as a pattern, when somebody tries to change a record."""

    def open(self, *, clock: Callable[[], int] = time.time_ns) -> AbstractAsyncContextManager[EventLog]:
        """Open the log over this test's own store; leaving the block closes it."""
        raise NotImplementedError

    def tamper(self, position: int, **changes: Any) -> None:
        """Change a field of a record behind the log's back."""
        raise NotImplementedError

    def lose(self, position: int) -> None:
        """Take a record out behind the log's back."""
        raise NotImplementedError

    def assaults(self) -> Iterable[Callable[[], object]]:
        """Give the ways in which anybody may try to change three records of the stream `a`."""
        raise NotImplementedError

    @classmethod
    def can(cls, need: str) -> bool:
        return getattr(cls, need) is not getattr(LogLaws, need)


def adding(stream: str, version: int, *marks: str, **more: Any) -> Append:
    """Make an append: a stream, the version that it must be at, and what its events say."""
    events = tuple(Transitioned(at=AT, to=mark) for mark in marks or (f"{stream}@{version}",))
    return Append(stream, events, version, **more)


async def everything(log: EventLog, *, stream: str | None = None, limit: int = PAGE) -> list[Record]:
    """Read a whole log, or a stream, page by page."""
    records: list[Record] = []
    after = 0
    while True:
        page = await log.read(stream=stream, after=after, limit=limit)
        assert len(page.records) <= limit, "a page never exceeds its limit"
        records += page.records
        after = page.position
        if page.end:
            return records


def mark(record: Record) -> str:
    """Say what an event says that these laws appended."""
    assert isinstance(record.event, Transitioned), "an event is read as it was written"
    return record.event.to


def said(records: Iterable[Record]) -> list[str]:
    """Say what the events of these records say."""
    return [mark(record) for record in records]
