"""The EventLog port: what every log promises, whatever it is stored in.

The laws, each a test in tests/contract that every log passes:

 1. An append is all or nothing, and a refused one does not take its neighbours down.
 2. A stale writer is refused and nothing is written; of many racers one wins.
 3. Positions are dense from 1 and become visible in order; the versions of a stream are gapless.
 4. A page never exceeds its limit, and what was read once reads the same for ever.
 5. `wait` wakes a reader at the end; it is a hint and carries no data.
 6. Cancelling whoever awaits an append leaves the log whole: the append is wholly in or wholly out.
 7. A reopened log is the same log, and nothing in it can be updated or deleted.
 8. A name has one holder, also when two race for it; a key is remembered for ever.
 9. Every record is a leaf of the log's tree, whose head moves with the record.
"""

import asyncio
import struct
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from eventvm.errors import LogDamaged
from eventvm.events import Event
from eventvm.merkle import ZERO, Tree
from eventvm.record import Page, Record, leaf_of

PAGE = 1000
"""How many records a page holds unless its reader asks for fewer."""
RESTORED = "log/restored"
"""The stream that tells of each time the log was restored from a backup."""


def paged(records: tuple[Record, ...], *, whole: bool, after: int, limit: int, until: int) -> Page:
    """Make a page of what a store gave, `until` being the log's size before it was asked.

    What lies beyond `until` may be on the page already. A hole in the whole log is damage, never skipped.
    """
    assert limit > 0, "a page holds at least one record"
    end = len(records) < limit
    last = records[-1].position if records else after
    if whole and (last != after + len(records) or last < min(after + limit, until)):
        places = enumerate(records, start=after + 1)
        hole = next((place for place, record in places if record.position != place), last + 1)
        raise LogDamaged(f"position {hole} is missing", position=hole)
    return Page(records, max(last, until) if end and not whole else last, end)


class Append(Struct, frozen=True, gc=False):
    """What is to be added to one stream, all of it or nothing."""

    stream: str
    events: tuple[Event, ...]
    expected_version: int
    """The version that the stream must be at; 0: it must not exist."""
    actor: str = ""
    key: str | None = None
    """Kept with the first of the records."""
    digest: bytes = b""
    cause: int = 0
    reserves: tuple[str, ...] = ()
    """Names that nobody else may take until this stream claims or releases them; nobody is found by them."""
    claims: tuple[str, ...] = ()
    """Names that this stream holds from now on; refused while another holds one."""
    releases: tuple[str, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether nothing but its stream matters to it: neither a name nor a key, as for most appends."""
        return self.key is None and not (self.claims or self.releases or self.reserves)


class Ticket(Struct, eq=False):
    """A place in the queue: it is settled by the log, whatever becomes of whoever awaits it."""

    append: Append
    bodies: Sequence[bytes] = ()
    """The events as they will be written; whoever gave them cannot change them any more."""
    size: int = 0
    """The bytes of these."""
    records: tuple[Record, ...] = ()
    error: Exception | None = None
    _then: "Callable[[Any, Ticket], None] | None" = None
    _about: Any = None
    _waiter: asyncio.Future[None] | None = None

    @property
    def settled(self) -> bool:
        """Whether the log has decided."""
        return bool(self.records) or self.error is not None

    def then(self, callback: Callable[[Any, "Ticket"], None], about: Any) -> None:
        """Have this called once, synchronously, when the log has decided, with what it is about.

        A closure would say the same, and be some more objects of each append for collections to visit.
        """
        assert self._then is None, "a ticket has one owner"
        if self.records or self.error is not None:
            callback(about, self)
        else:
            self._then, self._about = callback, about

    def settle(self, verdict: tuple[Record, ...] | Exception) -> None:
        """Decide; only the log calls this, and only once."""
        assert verdict, "a verdict is records or an error"
        if isinstance(verdict, tuple):
            self.records = verdict
        else:
            self.error = verdict
        if self._then is not None:
            self._then(self._about, self)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __await__(self) -> Generator[None, None, tuple[Record, ...]]:
        while not self.settled:
            if self._waiter is None or self._waiter.done():
                self._waiter = asyncio.get_running_loop().create_future()
            yield from asyncio.shield(self._waiter).__await__()
        if self.error is not None:
            raise self.error.with_traceback(None)  # many may await it: each raise would add its frames
        return self.records


class Holder(Struct, frozen=True, gc=False):
    """Whose a name is."""

    stream: str
    """The stream that holds it, or held it last; empty while nobody ever did."""
    held: bool
    reserved: str = ""
    """The stream that is about to take it, and for which it is kept free."""


class Kept(Struct, frozen=True, gc=False):
    """A folded view as it was at a position, with the tree as it was then."""

    tree: Tree
    parts: tuple[Any, ...]
    """Each as whoever asked for it reads it."""


class Backup(Struct, frozen=True, gc=False):
    """A copy of a log that was written, synced and verified."""

    path: str
    records: int
    size_bytes: int
    root: bytes
    """The root of the tree over all its records."""
    seconds: float


class EventLog(Protocol):
    """An append-only log of records."""

    @property
    def url(self) -> str:
        """Where it is, in words that open it again."""

    @property
    def tree(self) -> Tree:
        """The hash tree over all durable records; its size is the last position."""

    def append(self, append: Append, /) -> Ticket:
        """Queue an append at once, and give the ticket that can be awaited for its records.

        Raises StaleVersion, NameTaken, KeyTaken, LogUnavailable or CommitUnknown through the ticket.
        """

    async def read(self, *, stream: str | None = None, after: int = 0, limit: int = PAGE) -> Page:
        """Read the records after a position, of the whole log or of one stream."""

    async def wait(self, after: int) -> None:
        """Return once there may be a record after this position."""

    async def find(self, name: str) -> Holder | None:
        """Say which stream holds a name, or held it last."""

    async def recall(self, key: str) -> Record | None:
        """Give the record that a key was used for."""

    async def streams(self, *, after: str = "", limit: int = PAGE) -> tuple[str, ...]:
        """List the streams in the order of their names, after one of them."""

    async def keep(self, view: str, tree: Tree, parts: Sequence[bytes]) -> None:
        """Keep a folded view beside the log; it may be dropped at any time."""

    async def kept(self, view: str, read: Callable[[bytes], Any] = bytes) -> Kept | None:
        """Give a view back as it was kept, each part as it is read; or nothing, if it is not whole."""

    async def backup(self, destination: Path) -> Backup:
        """Write all that is durable by now into a new file, whole or not at all, while appends go on."""

    async def close(self) -> None:
        """Write what is queued, and let go."""


async def last_of(log: EventLog, stream: str) -> Record | None:
    """Give the last record of a stream."""
    last, after, end = None, 0, False
    while not end:
        page = await log.read(stream=stream, after=after)
        last = page.records[-1] if page.records else last
        after, end = page.position, page.end
    return last


Above = tuple[int, int, bytes]
"""Position, version and leaf of the record of the same stream before."""
NOTHING: Above = (0, 0, ZERO)


class Replay:
    """Pages from a position on, each record's leaf checked, the tree compared at the end.

    It begins at a tree that is known, usually the empty one or that of a kept view; a log that does not
    continue it raises LogDamaged with the first bad position.
    """

    def __init__(self, log: EventLog, tree: Tree | None = None, limit: int = PAGE) -> None:
        self.log = log
        self.tree = tree.copy() if tree else Tree()
        self.until = log.tree.size
        self._root = log.tree.root
        self._limit = limit
        self._above: dict[str, Above] = {}

    def __aiter__(self) -> "Replay":
        return self

    async def __anext__(self) -> tuple[Record, ...]:
        after = self.tree.size
        if after >= self.until:
            self._compare()
            raise StopAsyncIteration
        page = await self.log.read(after=after, limit=min(self._limit, self.until - after))
        if not page.records:
            raise LogDamaged(f"the log ends at {after}, its tree at {self.until}", position=after + 1)
        for place, record in enumerate(page.records, start=after + 1):
            above = self._above.get(record.stream) or await self._before(record)
            _check(record, place, above)
            self._above[record.stream] = (record.position, record.version, record.leaf)
        self.tree.append(record.leaf for record in page.records)
        return page.records

    async def _before(self, record: Record) -> Above:
        """Look up what a stream's first record here says that it follows."""
        if not record.previous or not isinstance(record.previous, int):
            return NOTHING
        page = await self.log.read(after=record.previous - 1, limit=1)
        found = page.records[0]
        return (found.position, found.version, found.leaf) if found.stream == record.stream else NOTHING

    def _compare(self) -> None:
        if self.tree.size != self.until or self.tree.root != self._root:
            raise LogDamaged("the tree over the records is not the tree that the log keeps")


def _check(record: Record, place: int, above: Above) -> None:
    if record.position != place:
        raise LogDamaged(f"position {place} is missing", position=place)
    if (record.previous, record.version) != (above[0], above[1] + 1) or not hashes(record, above[2]):
        raise LogDamaged(f"the record at position {place} is not what was hashed", position=place)


def hashes(record: Record, above: bytes) -> bool:
    """Say whether a record is what was hashed, after the leaf above it."""
    try:
        return leaf_of(record, above) == record.leaf
    except (AttributeError, TypeError, ValueError, struct.error):
        return False  # a store gave a value of another type, or one that no record could have
