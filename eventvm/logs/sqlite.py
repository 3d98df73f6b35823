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
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiosqlite
import anyio
import msgspec

from eventvm.errors import Closed, CommitUnknown, EventvmError, LogDamaged, LogError, LogUnavailable
from eventvm.logs.group_commit import HEADS, Batch, GroupCommit, Head, Known
from eventvm.logs.lock import FileLock
from eventvm.logs.migrating import migrate
from eventvm.logs.migrations import MIGRATIONS, Migration
from eventvm.logs.part import apart
from eventvm.logs.sqlite_reader import (
    APPLICATION_ID,
    FORMAT,
    SqliteReading,
    connect_reader,
    connected,
    is_log,
    pragma,
    read_head,
    read_holder,
    refuse_untouched,
    seal,
    shut,
    translated,
)
from eventvm.merkle import Tree

PAGE_BYTES = 8192
CHECKPOINT_PAGES = 4000
"""The shortest p99 of a commit; the automatic 1000 has the shortest p99.9."""
PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": 2,
    "fullfsync": 1,  # macOS alone heeds it: there an fsync is none without it
    "wal_autocheckpoint": CHECKPOINT_PAGES,
}
"""What durability depends on."""

SCHEMA = files("eventvm.logs").joinpath("sqlite.sql").read_text()

ROW = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
INSERTS = {size: "INSERT INTO records VALUES " + ", ".join([ROW] * size) for size in (128, 16, 1)}  # noqa: S608  # our own words
"""One statement for many rows runs without the interpreter's lock, which executemany takes for each row."""
HEADS_OF = """
    SELECT s.stream, s.id, h.version, h.position, r.leaf FROM json_each(?) wanted
    JOIN streams s ON s.stream = wanted.value JOIN heads h ON h.stream = s.id
    JOIN records r ON r.position = h.position
"""
HOLDERS_OF = """
    SELECT n.name, n.stream, n.held, n.reserved FROM json_each(?) wanted JOIN names n ON n.name = wanted.value
"""
UNSYNCED = frozenset({sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC})
KEYS_OF = "SELECT k.key FROM json_each(?) wanted JOIN keys k ON k.key = wanted.value"


class Writer(sqlite3.Connection):
    """The writing connection: its executemany carries one whole transaction in one call."""

    def executemany(self, name: str, work: Any, /) -> sqlite3.Cursor:
        """Run one of the transactions below, all or nothing."""
        self.execute("BEGIN IMMEDIATE")
        try:
            TRANSACTIONS[name](super().executemany, self.execute, work)
            return self.execute("COMMIT")
        finally:
            if self.in_transaction:
                self.rollback()


Many = Callable[[str, Iterable[Any]], sqlite3.Cursor]
One = Callable[..., sqlite3.Cursor]


def _append(many: Many, one: One, work: "Rows") -> None:
    many("INSERT INTO streams VALUES (?, ?)", work.streams)
    at = 0
    for size, insert in INSERTS.items():
        while len(work.records) - at >= size:
            one(insert, tuple(chain.from_iterable(work.records[at : at + size])))
            at += size
    many("INSERT INTO keys VALUES (?, ?)", work.keys)
    many("INSERT OR REPLACE INTO names VALUES (?, ?, ?, ?)", work.names)
    moved = one("UPDATE tree SET size = ?, root = ?, frontier = ? WHERE size = ?", work.tree)
    if moved.rowcount != 1:
        raise sqlite3.IntegrityError("somebody else has written to this log")


def _keep(many: Many, one: One, work: tuple[str, int, Sequence[bytes]]) -> None:
    """Hash a view here and not on the loop: it may have hundreds of megabytes."""
    view, size, parts = work
    digest = seal(view, size, parts)
    one("DELETE FROM kept WHERE view = ?", (view,))
    rows = ((view, at, size, digest, part) for at, part in enumerate(parts))
    many("INSERT INTO kept VALUES (?, ?, ?, ?, ?)", rows)


TRANSACTIONS: dict[str, Callable[[Many, One, Any], None]] = {"append": _append, "keep": _keep}


class Rows(msgspec.Struct, frozen=True):
    """A batch as SQLite takes it."""

    streams: list[tuple[int, str]]
    records: list[tuple[Any, ...]]
    keys: list[tuple[str, int]]
    names: list[tuple[str, str, int, str]]
    tree: tuple[int, bytes, bytes, int]


class SqliteLog(SqliteReading, GroupCommit):
    """A log in one file, opened by `SqliteLog.open`."""

    def __init__(self, path: Path, lock: FileLock, clock: Callable[[], int], newest: int = FORMAT) -> None:
        super().__init__(clock)
        self.path = path
        self.lock = lock
        self._newest = newest
        self._ids: dict[str, int] = {}
        self._next_id = 1
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
    ) -> "SqliteLog":  # fmt: skip
        """Open the log in this file, or make a new one; whatever is not a log is refused untouched.

        The file of an older release is migrated, and unless `spare` is false kept beside as it was.
        """
        newest = 1 + len(migrations)
        found = await refuse_untouched(path, newest)
        log = cls(path, FileLock.take(path), clock, newest)
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
        with translated(self.path):
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
            self._reading = await self._opened(connect_reader(self.path))
        self._connected.set()

    async def _opened(self, connecting: Awaitable[aiosqlite.Connection]) -> aiosqlite.Connection:
        connection = await connecting
        self._connections.push_async_callback(shut, connection)
        return connection

    async def _disconnect(self) -> None:
        self._connected.clear()
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
        with translated(self.path):
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
        before = self._tree.size
        rows = self._rows(batch, before)
        try:
            await self._writing.executemany("append", rows)
        except Exception as problem:  # noqa: BLE001  # whatever was raised, the file knows
            await self._settle(batch, before, problem)
        self._ids.update((stream, id_) for id_, stream in rows.streams)
        self._next_id += len(rows.streams)
        self._forget(batch)

    def _rows(self, batch: Batch, before: int) -> Rows:
        ids = {stream: self._ids.get(stream, 0) for stream in batch.heads}
        new = [stream for stream, id_ in ids.items() if not id_]
        ids.update((stream, id_) for id_, stream in enumerate(new, start=self._next_id))
        return Rows(
            streams=[(ids[stream], stream) for stream in new],
            records=[
                (r.position, ids[r.stream], r.version, r.previous, r.recorded_at, r.actor, r.key,
                 r.digest, r.cause, r.schema, r.body.decode(), r.leaf)
                for r in batch.records
            ],
            keys=list(batch.keys.items()),
            names=[(name, one.stream, int(one.held), one.reserved) for name, one in batch.names.items()],
            tree=(batch.tree.size, batch.tree.root, batch.tree.packed, before),
        )  # fmt: skip

    def _forget(self, batch: Batch) -> None:
        """Remember the ids of only those streams whose heads are remembered; now and then is enough."""
        if len(self._ids) > 2 * HEADS:
            self._ids = {stream: self._ids[stream] for stream in self._heads.keys() | batch.heads.keys()}

    async def _settle(self, batch: Batch, before: int, problem: Exception) -> None:
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
        if head.tree.size != before:
            moved = f"{self.path} was at {before} and is now at {head.tree.size}: {problem}"
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
        with translated(self.path):
            return list(await self._reading.execute_fetchall(sql, arguments))

    async def _connection(self) -> None:
        """Wait while the log is being reopened."""
        await self._connected.wait()
        if self._gone is not None:
            raise self._gone.with_traceback(None)

    async def keep(self, view: str, tree: Tree, parts: Sequence[bytes]) -> None:
        work = (view, tree.size, (tree.packed, *parts))
        await self._connection()
        with translated(self.path):
            await self._writing.executemany("keep", work)

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
    return (msgspec.json.encode(sorted(values)).decode(),)
