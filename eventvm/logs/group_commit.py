"""The group commit that all logs share: callers hold tickets, one writer commits whatever has gathered.

Rules:

* Nothing but the writer task commits, and only one commit is under way. Callers queue and hold tickets;
  cancelling a caller reaches no further than its own await.
* A batch is checked in memory against the heads of its streams; a member that is refused is left out and
  takes no other with it. The rest is one transaction.
* Hardly any key is used twice, so nothing is looked up for keys alone: the store refuses a batch for one that
  was used before. Then, and as long as such keys come, they are looked up first.
* Nothing moves in memory before the commit has returned, so nothing is ever rolled back in memory; and
  nobody hears of the batch before, not even by being refused for what is in it.
* A commit that raised is looked up by the store before it answers: LogUnavailable means that nothing of
  it is in the log, CommitUnknown that nobody can tell, and then this log takes no more.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from eventvm import limits
from eventvm.errors import (
    BadInput,
    Closed,
    CommitUnknown,
    EventvmError,
    KeyTaken,
    LogError,
    LogUnavailable,
    NameTaken,
    Overloaded,
    StaleVersion,
)
from eventvm.events import SCHEMA, decode, encode
from eventvm.log import PAGE, Append, Holder, Ticket, paged
from eventvm.merkle import ZERO, Tree
from eventvm.record import Page, Record, leaf

BATCH_RECORDS = 512
"""The most records of one commit: more would hold the loop longer than they save."""
CROWD = 32
"""Callers who are so many that two batches of a half each take turns."""
TAIL_RECORDS = 4096
"""How many of the last records are kept in memory for live readers."""
HEADS = 65_536
"""How many heads of streams are remembered; the others are looked up again."""


NOBODY = Holder("", held=False)
"""Whose a name is that was never taken."""


class Head(Struct, frozen=True, gc=False):
    """The last record of a stream."""

    version: int = 0
    position: int = 0
    leaf: bytes = ZERO


class Known(Struct, frozen=True, gc=False):
    """What the store knows of the streams, names and keys that a batch touches."""

    heads: dict[str, Head]
    holders: dict[str, Holder]
    keys: set[str]


class KeyUsed(LogUnavailable):
    """Some key of a batch was used before, so nothing of the batch is in the log."""

    def __init__(self) -> None:
        """Say what is known; which key it is has to be looked up."""
        super().__init__("a key of the batch was used before")


Verdict = tuple[Record, ...] | EventvmError
"""What becomes of an append: its records, or why it is refused."""


class Batch:
    """One transaction: the records of all its members, what else they change, and what each will hear."""

    __slots__ = (
        "_known",
        "_remembered",
        "heads",
        "keys",
        "members",
        "names",
        "recorded_at",
        "records",
        "tree",
        "verdicts",
    )

    def __init__(
        self, tree: Tree, recorded_at: int, remembered: Mapping[str, Head] | None = None,
        known: Known | None = None,
    ) -> None:  # fmt: skip
        self.tree = tree
        """As it will be when the batch is complete; until then, as it was before."""
        self.recorded_at = recorded_at
        self._remembered = remembered or {}
        self._known = known or Known({}, {}, set())
        self.members: list[Ticket] = []
        self.verdicts: list[Verdict] = []
        """What each member will hear."""
        self.records: list[Record] = []
        self.heads: dict[str, Head] = {}
        self.names: dict[str, Holder] = {}
        """For each name that moves: whose it is afterwards."""
        self.keys: dict[str, int] = {}

    @property
    def before(self) -> int:
        """The size of the log that the batch, once it is complete, was made for."""
        return self.tree.size - len(self.records)

    def admit(self, ticket: Ticket) -> None:
        """Take a member in whole, or refuse it whole."""
        self.members.append(ticket)
        append = ticket.append
        stream = append.stream
        head = self.heads.get(stream) or self._remembered.get(stream) or self._known.heads[stream]
        plain = append.plain
        stale = append.expected_version != head.version
        if (stale or not plain) and (refused := self._refused(append, head)):
            self.verdicts.append(refused)
            return
        try:
            records = self._records(ticket, head)
        except Exception as problem:  # noqa: BLE001  # what cannot be read back fails in any way it likes
            self.verdicts.append(_unwritten(append, problem))
            return
        last = records[-1]
        self.heads[stream] = Head(last.version, last.position, last.leaf)
        self.records += records
        if not plain:
            self._move_names(append)
            if append.key is not None:
                self.keys[append.key] = records[0].position
        self.verdicts.append(records)

    def complete(self) -> None:
        """Let the tree grow by what was taken in."""
        self.tree.append([record.leaf for record in self.records])

    def _refused(self, append: Append, head: Head) -> LogError | None:
        if append.expected_version != head.version:
            return StaleVersion(append.stream, append.expected_version, head.version)
        if append.key is not None and (append.key in self._known.keys or append.key in self.keys):
            return KeyTaken(append.key)
        for name in (*append.claims, *append.reserves):
            holder = self._holder(name)
            taker = holder.stream if holder.held and holder.stream != append.stream else holder.reserved
            if taker not in ("", append.stream):
                return NameTaken(name, taker)
        return None

    def _holder(self, name: str) -> Holder:
        return self.names.get(name) or self._known.holders.get(name) or NOBODY

    def _move_names(self, append: Append) -> None:
        """Reserve, claim, then release; what another stream holds is not this one's to release."""
        stream = append.stream
        for name in append.reserves:
            self.names[name] = replace(self._holder(name), reserved=stream)
        self.names.update((name, Holder(stream, held=True)) for name in append.claims)
        for name in append.releases:
            holder = self._holder(name)
            if holder.reserved == stream:
                self.names[name] = replace(holder, reserved="")
            elif holder.stream == stream:
                self.names[name] = replace(holder, held=False)

    def _records(self, ticket: Ticket, head: Head) -> tuple[Record, ...]:
        """Make the records, each with its event as it will be read: what cannot be read is never written."""
        append = ticket.append
        stream, actor, cause, recorded_at = append.stream, append.actor, append.cause, self.recorded_at
        position = self.tree.size + len(self.records)
        version, previous, above = head.version, head.position, head.leaf
        key, digest = append.key, append.digest
        made = []
        for body in ticket.bodies:
            position += 1
            version += 1
            hashed = leaf(
                position, stream, version, recorded_at, actor, body,
                key=key, digest=digest, cause=cause, schema=SCHEMA, previous=above,
            )  # fmt: skip
            made.append(
                Record(
                    position, stream, version, recorded_at, actor, decode(body), body, hashed, previous, key,
                    digest, cause,
                )
            )  # fmt: skip
            previous, above, key, digest = position, hashed, None, b""
        return tuple(made)


class GroupCommit(ABC):
    """The half of a log that does not depend on its store."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._queue: deque[Ticket] = deque()
        self._queued_bytes = 0
        self._tree = Tree()
        self._untold: deque[Batch] = deque()
        """What is durable, and whoever waits for it has not heard yet."""
        self._recorded_at = 0
        self._heads: dict[str, Head] = {}
        self._tail: deque[Record] = deque(maxlen=TAIL_RECORDS)
        self._waiters: dict[asyncio.Future[None], None] = {}  # in order: one seed must stay one history
        self._gathered = asyncio.Event()
        self._wary = False
        """Whether a key was met that was used before, so that others are looked up first."""
        self._halted: EventvmError | None = None
        self._writer: asyncio.Task[None] | None = None

    # --- what a store provides

    @abstractmethod
    async def look(self, streams: set[str], names: set[str], keys: set[str]) -> Known:
        """Look up the heads, holders and keys that a batch needs."""

    @abstractmethod
    async def commit(self, batch: Batch) -> None:
        """Make a batch durable, or raise LogUnavailable when nothing of it is, else CommitUnknown.

        KeyUsed where nothing of it is because a key was used before.
        """

    @abstractmethod
    async def load(self, stream: str | None, after: int, limit: int) -> tuple[Record, ...]:
        """Read records that are no longer in memory."""

    @abstractmethod
    async def close(self) -> None:
        """Close, as the port has it."""

    # --- the port

    @property
    def tree(self) -> Tree:
        return self._tree

    def append(self, append: Append, /) -> Ticket:
        assert append.events, "an append has at least one event"
        ticket = Ticket(append)
        try:
            if self._halted is not None:
                raise self._halted
            _check_words(append)
            _encode(ticket)
            self._queue_up(ticket)
        except EventvmError as refused:
            ticket.settle(refused)
        return ticket

    def _queue_up(self, ticket: Ticket) -> None:
        """Take a ticket, unless there is no room; the outcome of what is under way always has some."""
        size = self._queued_bytes + ticket.size
        if (
            len(self._queue) >= limits.QUEUE_TICKETS or size > limits.QUEUE_BYTES
        ) and not ticket.append.cause:
            raise Overloaded(
                f"{limits.QUEUE_TICKETS:,} appends of {limits.QUEUE_BYTES:,} bytes that wait to be written"
            )
        if not self._queue:
            self._gathered.set()
        self._queue.append(ticket)
        self._queued_bytes = size

    async def read(self, *, stream: str | None = None, after: int = 0, limit: int = PAGE) -> Page:
        limits.page(after, limit)
        until = self._tree.size
        records = self._recent(after, limit) if stream is None else None
        if records is None:
            records = await self.load(stream, after, limit)
        return paged(records, whole=stream is None, after=after, limit=limit, until=until)

    def _recent(self, after: int, limit: int) -> tuple[Record, ...] | None:
        """Serve a live reader from memory; None when it has fallen further behind."""
        if after >= self._tree.size:
            return ()
        if not self._tail or after + 1 < self._tail[0].position:
            return None
        begin = after + 1 - self._tail[0].position
        return tuple(self._tail[at] for at in range(begin, min(begin + limit, len(self._tail))))

    async def wait(self, after: int) -> None:
        if self._tree.size > after:
            return
        if self._halted is not None:
            raise self._halted.with_traceback(None)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = None
        try:
            await waiter
        finally:
            self._waiters.pop(waiter, None)

    # --- the writer

    def begin(self) -> None:
        """Start the writer; it ends with `finish`."""
        self._writer = asyncio.get_running_loop().create_task(self._write(), name="eventvm log writer")

    async def finish(self) -> None:
        """Commit what is queued, end the writer, and refuse whatever comes later."""
        self._halted = self._halted or Closed("the log is closed; open it again")
        self._gathered.set()
        if self._writer is not None:
            await asyncio.wait({self._writer})  # awaiting the task itself would pass a cancellation on to it
            if not self._writer.cancelled() and (bug := self._writer.exception()) is not None:
                raise bug
        self._wake()

    async def _write(self) -> None:
        try:
            while True:
                await self._gathered.wait()
                self._gathered.clear()
                while self._queue:
                    await self._commit_gathered()
                if self._halted is not None:
                    return
        finally:
            self._halt(self._halted or Closed("the log's writer has ended; open the log again"))

    def _halt(self, error: EventvmError) -> None:
        self._halted = error
        while self._queue:
            self._queue.popleft().settle(error)
        self._wake()

    async def _commit_gathered(self) -> None:
        tickets = self._take()
        try:
            try:
                batch = await self._written(tickets)
            except KeyUsed:
                self._wary = True
                batch = await self._written(tickets)
            self._move(batch)
        except CommitUnknown as problem:
            self._fail(tickets, problem)
            self._halt(problem)
        except LogError as problem:
            self._fail(tickets, problem)
        except BaseException as problem:
            self._fail(tickets, CommitUnknown(f"the log's writer was stopped in a commit: {problem!r}"))
            raise

    async def _written(self, tickets: Iterable[Ticket]) -> Batch:
        batch = await self._checked(tickets)
        if batch.records:
            await self.commit(batch)
        return batch

    def _take(self) -> list[Ticket]:
        """Take what has gathered; of a crowd only a half, so that the others decide while it is written."""
        most = BATCH_RECORDS
        if not self._untold and len(self._queue) >= CROWD:
            most = min(most, len(self._queue) // 2)
        taken, records = [], 0
        while self._queue and records < most:
            ticket = self._queue.popleft()
            records += len(ticket.bodies)
            self._queued_bytes -= ticket.size
            taken.append(ticket)
        return taken

    async def _checked(self, tickets: Iterable[Ticket]) -> Batch:
        """Make the batch, with what the store knows of all that is not remembered here."""
        streams: set[str] = set()
        names: set[str] = set()
        keys: set[str] = set()
        for append in [ticket.append for ticket in tickets]:
            if append.stream not in self._heads:
                streams.add(append.stream)
            if not append.plain:
                names.update(append.reserves, append.claims, append.releases)
                keys.update((append.key,) if append.key is not None else ())
        known = None
        if streams or names or (keys and self._wary):
            known = await self.look(streams, names, keys)
            self._wary = bool(known.keys)
        grown = self._untold[-1].tree if self._untold else self._tree
        batch = Batch(grown.copy(), max(self._clock(), self._recorded_at), self._heads, known)
        for ticket in tickets:
            batch.admit(ticket)
        batch.complete()
        return batch

    def _fail(self, tickets: Iterable[Ticket], problem: EventvmError) -> None:
        """Tell those of a batch that has failed, after those who stand before it in the log."""
        self._tell()
        for ticket in tickets:
            if not ticket.settled:
                ticket.settle(problem)

    def _move(self, batch: Batch) -> None:
        """Build on a batch that is durable; who waits for it hears while the next one is being written."""
        self._recorded_at = batch.recorded_at
        self._heads.update(batch.heads)
        if len(self._heads) > HEADS:  # half at once: dropping one at a time searches for the first again
            self._heads = dict(islice(self._heads.items(), HEADS // 2, None))
        self._untold.append(batch)
        if self._queue:
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._tell)  # the next batch is handed over first
        else:
            self._tell()

    def _tell(self) -> None:
        """Let memory, and anybody waiting, learn of what is durable."""
        while self._untold:
            batch = self._untold.popleft()
            self._tree = batch.tree
            self._tail.extend(batch.records)
            for ticket, verdict in zip(batch.members, batch.verdicts, strict=True):
                ticket.settle(verdict)
            self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


def _check_words(append: Append) -> None:
    """Refuse words that a store could not tell apart or not encode, before they reach others' batch."""
    words = append.stream + append.actor
    if not append.plain:
        words = "".join((words, append.key or "", *append.reserves, *append.claims, *append.releases))
    if "\0" in words or not (words.isascii() or _encodes(words)):
        raise BadInput(f"an append to {append.stream!r} is refused: its words hold a NUL or half a character")
    if len(words) > limits.WORDS_CHARACTERS or len(append.events) > limits.EVENTS_APPENDED:
        raise BadInput(
            f"an append has at most {limits.EVENTS_APPENDED} events, and words of at most "
            f"{limits.WORDS_CHARACTERS} characters"
        )


def _encode(ticket: Ticket) -> None:
    """Write events down; a value that has no bytes fails in any way it likes."""
    append, size = ticket.append, 0
    try:
        ticket.bodies = bodies = [encode(event) for event in append.events]
    except Exception as problem:
        raise _unwritten(append, problem) from problem
    for body in bodies:
        size += len(body)
    ticket.size = size
    if size > limits.EVENT_BYTES < max(map(len, bodies)):
        raise BadInput(f"an event for {append.stream} is refused: it has over {limits.EVENT_BYTES:,} bytes")


def _unwritten(append: Append, problem: Exception) -> BadInput:
    return BadInput(f"an event for {append.stream} cannot be written: {problem!r}")


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
