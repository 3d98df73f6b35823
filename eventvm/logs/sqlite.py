"""A log in one SQLite file: durable before anybody hears of it, readable by anyone with a shell.

Rules:

* One connection writes and checkpoints; all others are ``mode=ro`` and never checkpoint.
* WAL with synchronous=FULL, set and read back at each open: a commit that returned survives a power cut.
* A whole batch is one call to the writing connection's thread, from BEGIN IMMEDIATE to COMMIT, so no
  transaction is ever held across an await and no cancellation can reach into one.
* A lock beside the file is held for life: one file has one engine. Its own process never opens the
  database, its -wal or its -shm in any other way, because closing them would drop SQLite's own locks.
* A commit that raised has an unknown outcome: close, reopen, look at the tree, then answer.
"""

import asyncio
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiosqlite
import anyio

from eventvm.errors import Closed, CommitUnknown, EventvmError, LogDamaged, LogError, LogUnavailable
from eventvm.logs.group_commit import HEADS, Batch, GroupCommit, Head, KeyUsed, Known
from eventvm.logs.lock import FileLock
from eventvm.logs.migrating import migrate
from eventvm.logs.migrations import MIGRATIONS, Migration
from eventvm.logs.naps import Naps
from eventvm.logs.part import apart
from eventvm.logs.signed import begin_signing
from eventvm.logs.sqlite_append import APPEND, APPENDING, as_json, row
from eventvm.logs.sqlite_reader import (
    APPLICATION_ID,
    FORMAT,
    LATEST,
    Seal,
    SqliteReading,
    connect_reader,
    connected,
    is_log,
    pragma,
    read_head,
    read_holder,
    refuse_untouched,
    shut,
    spellings,
    translated,
)
from eventvm.merkle import Tree
from eventvm.signing.keys import Signer

PAGE_BYTES = 8192
CHECKPOINT_PAGES = 1500
"""A checkpoint holds up whoever waits, the longer the more pages it has."""
PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": 2,
    "fullfsync": 1,  # macOS alone heeds it: there an fsync is none without it
    "wal_autocheckpoint": CHECKPOINT_PAGES,
}
"""What durability depends on."""

SCHEMA = files("eventvm.logs").joinpath("sqlite.sql").read_text()

HEADS_OF = """
    SELECT s.stream, s.id, h.version, h.position, r.leaf FROM json_each(?) wanted
    JOIN streams s ON s.stream = wanted.value JOIN heads h ON h.stream = s.id
    JOIN records r ON r.position = h.position
"""
HOLDERS_OF = """
    SELECT n.name, n.stream, n.held, n.reserved FROM json_each(?) wanted JOIN names n ON n.name = wanted.value
"""
SLICE_PARTS = 4
"""Parts of a kept view that are written at once: few, since commands wait meanwhile."""
UNSYNCED = frozenset({sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC})
KEYS_OF = "SELECT k.key FROM json_each(?) wanted JOIN keys k ON k.key = wanted.value"


class Writer(sqlite3.Connection):
    """The writing connection: its executemany carries one whole transaction in one call."""

    def executemany(self, name: str, work: Any, /) -> sqlite3.Cursor:
        """Run one of the transactions below, all or nothing."""
        return TRANSACTIONS[name](self, work)

    def insert(self, sql: str, rows: Iterable[Any]) -> None:
        """Execute a statement for each row."""
        super().executemany(sql, rows)


def _append(connection: Writer, batch: tuple[Any, ...]) -> sqlite3.Cursor:
    return connection.execute(APPEND, batch)


def _keep(connection: Writer, work: tuple[str, int, int, list[tuple[Any, ...]]]) -> sqlite3.Cursor:
    """Put a slice of a kept view in the place of what is there from one part to another."""
    *replaced, rows = work
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("DELETE FROM kept WHERE view = ? AND part BETWEEN ? AND ?", replaced)
        connection.insert("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?, ?)", rows)
        return connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.rollback()


TRANSACTIONS: dict[str, Callable[[Writer, Any], sqlite3.Cursor]] = {"append": _append, "keep": _keep}


class SqliteLog(SqliteReading, GroupCommit):
    """A log in one file, opened by `SqliteLog.open`."""

    def __init__(self, path: Path, lock: FileLock, clock: Callable[[], int], newest: int = FORMAT) -> None:
        SqliteReading.__init__(self)
        GroupCommit.__init__(self, clock)
        self.path = path
        self.lock = lock
        self._newest = newest
        self.signing: Signer | None = None
        """What signs each commit."""
        self._vouched = 0
        self._ids: dict[str, int] = {}
        self._next_id = 1
        self._naps = Naps()
        self._writing: aiosqlite.Connection
        self._reading: aiosqlite.Connection
        self._connections = AsyncExitStack()
        self._connected = asyncio.Event()
        self._gone: EventvmError | None = None
        """Why there will be no connection any more."""

    @classmethod
    async def open(
        cls, path: Path, *, clock: Callable[[], int] = time.time_ns,
        migrations: tuple[Migration, ...] = MIGRATIONS, spare: bool = True,
        signing: Signer | None = None, vouched: int = 0,
    ) -> "SqliteLog":  # fmt: skip
        """Open the log in this file, or make a new one; whatever is not a log is refused untouched.

        The file of an older release is migrated, and unless `spare` is false kept beside as it was. With a
        key each commit is signed, and a log that nobody has signed to its end is refused, unless its size is
        `vouched` for.
        """
        newest = 1 + len(migrations)
        found = await refuse_untouched(path, newest)
        log = cls(path, FileLock.take(path), clock, newest)
        log.signing, log._vouched = signing, vouched
        try:
            log._refuse_loss()
            if 0 < found < newest:
                await apart(partial(migrate, path, migrations, spare=spare))
            await log._connect()
            await log._load_head()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await log.close()
            raise
        return log

    def _refuse_loss(self) -> None:
        """Refuse before SQLite sees the file: it would delete the -wal of an empty one, the last evidence."""
        if self.lock.origin and not (self.path.exists() and self.path.stat().st_size):
            raise self._lost

    @property
    def _lost(self) -> LogDamaged:
        return LogDamaged(
            f"{self.path} is empty, but {self.lock.path.name} says that the log {self.lock.origin} lived "
            "here: its -wal may be lost. Restore a backup, or delete the lock file to begin anew"
        )

    # --- connections

    async def _connect(self) -> None:
        with translated(self.path), self._naps:
            self._writing = await self._opened(
                connected(
                    aiosqlite.connect(self.path, factory=Writer, isolation_level=None, cached_statements=256)
                )
            )
            if not await is_log(self._writing, self.path, self._newest):
                if self.lock.origin:
                    raise self._lost
                await self._create()
            await self._set_pragmas()
            await self._writing.executescript(APPENDING)
            if self.signing is not None:
                await begin_signing(self._writing, self.path, self.signing, self._vouched)
            self._reading = await self._opened(connect_reader(self.path))
        self._connected.set()

    async def _opened(self, connecting: Awaitable[aiosqlite.Connection]) -> aiosqlite.Connection:
        connection = await connecting
        self._connections.push_async_callback(shut, connection)
        return connection

    async def _disconnect(self) -> None:
        self._connected.clear()
        with self._naps:
            await self._connections.aclose()

    async def _create(self) -> None:
        await self._writing.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        await self._writing.execute("PRAGMA journal_mode = WAL")
        await self._writing.execute("PRAGMA synchronous = FULL")
        origin, empty = str(uuid4()), Tree()
        await self._writing.executescript(
            f"BEGIN IMMEDIATE; {SCHEMA}"  # noqa: S608  # our own words
            f"INSERT INTO tree VALUES (1, '{origin}', 0, x'{empty.root.hex()}', x'');"
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; COMMIT;"
        )

    async def _set_pragmas(self) -> None:
        """Believe only what is read back."""
        for name, value in PRAGMAS.items():
            await self._writing.execute(f"PRAGMA {name} = {value}")
            if (is_set := await pragma(self._writing, name)) != value:
                raise LogUnavailable(f"{self.path}: SQLite keeps {name} at {is_set}, eventvm needs {value}")

    async def _load_head(self) -> None:
        head = await read_head(self)
        self._tree, self._recorded_at, self._next_id = head.tree, head.recorded_at, head.next_id
        self.lock.mark(head.origin)

    # --- what the group commit asks for

    async def look(self, streams: set[str], names: set[str], keys: set[str]) -> Known:
        known = Known(dict.fromkeys(streams, Head()), {}, set())
        with translated(self.path), self._naps:
            if streams:
                for stream, id_, *head in await self._writing.execute_fetchall(HEADS_OF, _wanted(streams)):
                    self._ids[stream] = id_
                    known.heads[stream] = Head(*head)
            if names:
                for name, *holder in await self._writing.execute_fetchall(HOLDERS_OF, _wanted(names)):
                    known.holders[name] = read_holder(*holder)
            if keys:
                used = await self._writing.execute_fetchall(KEYS_OF, _wanted(keys))
                known.keys.update(key for (key,) in used)
        return known

    async def commit(self, batch: Batch) -> None:
        ids = {stream: self._ids.get(stream, 0) for stream in batch.heads}
        new = [stream for stream, id_ in ids.items() if not id_]
        ids.update((stream, id_) for id_, stream in enumerate(new, start=self._next_id))
        try:
            with self._naps:
                if self._untold:
                    self._naps.soon()
                await self._writing.executemany("append", row(batch, ids, new))
        except Exception as problem:  # whatever was raised, the file knows
            if isinstance(problem, sqlite3.IntegrityError) and str(problem).endswith(": keys.key"):
                raise KeyUsed from problem
            await self._settle(batch, problem)
        self._ids.update((stream, ids[stream]) for stream in new)
        self._next_id += len(new)
        self._forget(batch)

    def _forget(self, batch: Batch) -> None:
        """Remember the ids of only those streams whose heads are remembered; now and then is enough."""
        if len(self._ids) > 2 * HEADS:
            self._ids = {stream: self._ids[stream] for stream in self._heads.keys() | batch.heads.keys()}

    async def _settle(self, batch: Batch, problem: Exception) -> None:
        """Look at the log itself after a commit that raised, and return only if it is in there."""
        try:
            await self._reconnect()
            head = await read_head(self)
            await self._fence(problem)
        except (LogError, Closed) as lost:
            unknown = CommitUnknown(f"{self.path}: {problem}; and it could not be reopened: {lost}")
            self._let_go(unknown)
            raise unknown from problem
        if (head.tree.size, head.tree.root) == (batch.tree.size, batch.tree.root):
            return
        if head.tree.size != batch.before:
            moved = f"{self.path} was at {batch.before} and is now at {head.tree.size}: {problem}"
            raise CommitUnknown(moved) from problem
        raise LogUnavailable(f"{self.path} could not be written: {problem}") from problem

    async def _fence(self, problem: Exception) -> None:
        """After a sync that failed, see to it that what the file says now is what it will say after a crash.

        A batch that was written whole comes back from behind the end of the WAL, unless a later commit covers
        it: reopening looks at the disk only when no reader in another process holds the WAL's index. And what
        the kernel failed to write it may have forgotten to write: only a checkpoint writes it again.
        """
        if getattr(problem, "sqlite_errorcode", 0) not in UNSYNCED:
            return
        with translated(self.path):
            await self._writing.execute(
                f"PRAGMA user_version = {self._newest}"
            )  # says nothing new, but commits
            ((_, frames, copied),) = await self._writing.execute_fetchall("PRAGMA wal_checkpoint")
        if frames != copied:
            raise LogUnavailable("a reader keeps it from being written again")

    async def _reconnect(self) -> None:
        if self._gone is not None:
            raise self._gone
        with translated(self.path):
            await self._disconnect()
        await self._connect()

    def _let_go(self, reason: EventvmError) -> None:
        """Have whoever waits for a connection hear that there will be none."""
        self._gone = reason
        self._connected.set()

    # --- the rest of the port

    async def ask(self, sql: str, arguments: Any = ()) -> list[Any]:
        await self._connection()
        with translated(self.path), self._naps:
            return list(await self._reading.execute_fetchall(sql, arguments))

    async def _connection(self) -> None:
        """Wait while the log is being reopened."""
        await self._connected.wait()
        if self._gone is not None:
            raise self._gone.with_traceback(None)

    async def keep(self, view: str, tree: Tree, parts: Sequence[bytes]) -> None:
        """Write a view in slices between which batches are written; while it has no part 0, it is none."""
        latest = await self.ask(LATEST, spellings(view))
        spelling = next(one for one in spellings(view) if [(one,)] != latest[:1])
        await self._put(spelling, 0, 0, [])
        frontier = tree.packed
        seal = Seal(spelling, tree.size, (frontier,))
        for at in range(0, len(parts), SLICE_PARTS):
            slice_ = parts[at : at + SLICE_PARTS]
            seal.add(slice_)
            rows = [(spelling, part, tree.size, b"", one) for part, one in enumerate(slice_, start=at + 1)]
            await self._put(spelling, at + 1, at + len(rows), rows)
        whole = (spelling, 0, tree.size, seal.digest(), frontier)
        await self._put(spelling, len(parts) + 1, sys.maxsize, [whole])

    async def _put(self, *slice_: Any) -> None:
        await self._connection()
        with translated(self.path), self._naps:
            await self._writing.executemany("keep", slice_)

    async def be(self, origin: str) -> None:
        """Be known as another log, while nothing is in this one yet."""
        with translated(self.path):
            await self._writing.execute("UPDATE tree SET origin = ? WHERE size = 0", (origin,))

    async def take(self, batch: Batch) -> None:
        """Take records of another log as they are; whoever gives them has held them against their hashes."""
        await self.look({record.stream for record in batch.records if record.version > 1}, set(), set())
        await self.commit(batch)
        self._move(batch)

    async def forget(self) -> None:
        """Drop every view that was kept."""
        with translated(self.path):
            await self._writing.execute("DELETE FROM kept")

    async def close(self) -> None:
        try:
            await self.finish()
            if self._gone is None and self._connected.is_set():
                with suppress(sqlite3.Error):  # a courtesy: the WAL holds all that was committed
                    await self._writing.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            try:
                await self._disconnect()
            finally:
                self._let_go(self._gone or Closed("the log is closed; open it again"))
                self.lock.release()


def _wanted(values: set[str]) -> tuple[str]:
    return (as_json(sorted(values)),)
