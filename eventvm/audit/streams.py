"""Streams: machines folded one after the other, each from its own records, so that one is held at a time."""

from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from eventvm.events import LifecycleDefined
from eventvm.log import PAGE, EventLog
from eventvm.logs.sqlite_reader import SqliteReader
from eventvm.past import Pasts
from eventvm.record import Record
from eventvm.views import Definitions, of_machine

TOGETHER = 2 * PAGE
"""Records that short streams are read together up to."""


class Fold(Protocol):
    """What takes the records of one machine."""

    def apply(self, record: Record, /) -> object:
        """Take one more."""


Kind = TypeVar("Kind", bound=Fold)


def brief(found: Definitions) -> Pasts:
    """Begin the fold of a machine of which the last that is so is wanted, and not all that led to it."""
    return Pasts(brief=True, definitions=found)


class Twice:
    """One machine as the log knew it at two positions."""

    def __init__(
        self, known: Sequence[int], at: int | None = None, *, brief: bool = False,
        definitions: Definitions | None = None,
    ) -> None:  # fmt: skip
        self.then = tuple((one, Pasts(at, brief=brief, definitions=definitions)) for one in known)
        """For each of the positions, what was known."""

    def apply(self, record: Record) -> None:
        """Let those know the record that had it by then."""
        for known, pasts in self.then:
            if record.position <= known or isinstance(record.event, LifecycleDefined):
                pasts.apply(record)


async def records_of(log: EventLog, stream: str) -> AsyncIterator[Record]:
    """Read one stream to its end."""
    after, end = 0, False
    while not end:
        page = await log.read(stream=stream, after=after)
        for record in page.records:
            yield record
        after, end = page.position, page.end


async def naming(log: EventLog, streams: Sequence[str], until: int) -> tuple[Record, ...]:
    """Give the records of some streams up to a position that tell of a name, stream by stream."""
    assert isinstance(log, SqliteReader), "only a file is opened read-only"
    return await log.load_streams(streams, until, word='"name"')


async def lifecycles(log: EventLog) -> list[str]:
    """List the streams of the lifecycles."""
    found = await log.streams(after="lifecycle/", limit=PAGE)
    return [stream for stream in found if stream.startswith("lifecycle/")]


async def definitions(log: EventLog) -> Definitions:
    """Take in the lifecycles that the log holds."""
    known = Pasts()
    for stream in await lifecycles(log):
        async for record in records_of(log, stream):
            known.apply(record)
    return known.definitions


async def each(
    log: EventLog,
    until: int,
    begin: Callable[[Definitions], Kind],
    reach: Callable[[int], object] | None = None,
) -> AsyncIterator[Kind]:
    """Fold what each machine's records up to a position come to, in the order of the machines' ids.

    `reach` is told page by page how many records were read.
    """
    known, fold, stream, done = await definitions(log), None, "", 0
    async for page in _pages(log, until):
        for record in page:
            if fold is None or record.stream != stream:
                if fold is not None:
                    yield fold
                fold, stream = begin(known), record.stream
            fold.apply(record)
        done += len(page)
        if reach is not None:
            reach(done)
    if fold is not None:
        yield fold


async def _pages(log: EventLog, until: int) -> AsyncIterator[Sequence[Record]]:
    """Give the records of all machines, one machine after the other."""
    assert isinstance(log, SqliteReader), "only a file is opened read-only"
    after = ""
    while lengths := await log.lengths(after, PAGE):
        for streams in _together(lengths):
            if streams[1:]:
                yield await log.load_streams(streams, until)
            else:
                positions = await log.positions(streams[0])
                known = positions[: bisect_right(positions, until)]
                for at in range(0, len(known), PAGE):
                    yield await log.load_at(known[at : at + PAGE])
        after = lengths[-1][0]


def _together(lengths: Iterable[tuple[str, int]]) -> Iterator[list[str]]:
    """Put the machines together that are read at once; one with very many records stands alone."""
    streams: list[str] = []
    count = 0
    for stream, length in lengths:
        if of_machine(stream):
            if streams and count + length > TOGETHER:
                yield streams
                streams, count = [], 0
            streams.append(stream)
            count += length
    if streams:
        yield streams
