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

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiosqlite
import anyio
import msgspec

from eventvm.errors import CommitUnknown, LogDamaged, LogError, LogTooNew, LogUnavailable, NotALog
from eventvm.events import decode
from eventvm.log import PAGE, Holder, Kept
from eventvm.logs.group_commit import Batch, GroupCommit, Head, Known
from eventvm.logs.lock import FileLock
from eventvm.merkle import Tree, unpacked
from eventvm.record import Record

APPLICATION_ID = 0x65766D31
"""What marks a SQLite file as a log of eventvm."""
FORMAT = 1
PAGE_BYTES = 8192
CHECKPOINT_PAGES = 4000
"""The shortest p99 of a commit; the automatic 1000 has the shortest p99.9."""

SCHEMA = files("eventvm.logs").joinpath("sqlite.sql").read_text()

INSERT = "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
COLUMNS = """
    r.position, s.stream, r.version, r.recorded_at, r.actor, r.body, r.leaf, r.previous, r.key, r.digest,
    r.cause, r.schema
"""
READ_ALL = f"""
    SELECT {COLUMNS} FROM records r JOIN streams s ON s.id = r.stream
    WHERE r.position > ? ORDER BY r.position LIMIT ?
"""  # noqa: S608  # our own columns
READ_STREAM = f"""
    WITH RECURSIVE back(position, previous) AS (
        SELECT r.position, r.previous FROM heads h JOIN records r ON r.position = h.position
        WHERE h.stream = (SELECT id FROM streams WHERE stream = :stream) AND r.position > :after
        UNION ALL
        SELECT r.position, r.previous FROM back JOIN records r ON r.position = back.previous
        WHERE back.previous > :after
    ), page AS (SELECT position FROM back ORDER BY position LIMIT :limit)
    SELECT {COLUMNS} FROM page JOIN records r USING (position) JOIN streams s ON s.id = r.stream
    ORDER BY r.position
"""  # noqa: S608  # our own columns
RECALL = f"""
    SELECT {COLUMNS} FROM keys k JOIN records r USING (position) JOIN streams s ON s.id = r.stream
    WHERE k.key = ?
"""  # noqa: S608  # our own columns
FIND = "SELECT s.stream, n.held FROM names n JOIN streams s ON s.id = n.stream WHERE n.name = ?"
STREAMS = "SELECT stream FROM streams WHERE stream > ? ORDER BY stream LIMIT ?"
HEADS = """
    SELECT s.stream, s.id, h.version, h.position, r.leaf FROM json_each(?) wanted
    JOIN streams s ON s.stream = wanted.value JOIN heads h ON h.stream = s.id
    JOIN records r ON r.position = h.position
"""
HOLDERS = """
    SELECT n.name, s.stream FROM json_each(?) wanted JOIN names n ON n.name = wanted.value AND n.held = 1
    JOIN streams s ON s.id = n.stream
"""
KEYS = "SELECT k.key FROM json_each(?) wanted JOIN keys k ON k.key = wanted.value"


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
    many(INSERT, work.records)
    many("INSERT INTO keys VALUES (?, ?)", work.keys)
    many("INSERT INTO names VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET stream = excluded.stream, "
         "held = excluded.held", work.names)  # fmt: skip
    moved = one("UPDATE tree SET size = ?, root = ?, frontier = ? WHERE size = ?", work.tree)
    if moved.rowcount != 1:
        raise sqlite3.IntegrityError("somebody else has written to this log")


def _keep(many: Many, one: One, work: tuple[str, list[tuple[Any, ...]]]) -> None:
    view, rows = work
    one("DELETE FROM kept WHERE view = ?", (view,))
    many("INSERT INTO kept VALUES (?, ?, ?, ?, ?)", rows)


TRANSACTIONS: dict[str, Callable[[Many, One, Any], None]] = {"append": _append, "keep": _keep}


class Rows(msgspec.Struct, frozen=True):
    """A batch as SQLite takes it."""

    streams: list[tuple[int, str]]
    records: list[tuple[Any, ...]]
    keys: list[tuple[str, int]]
    names: list[tuple[str, int, int]]
    tree: tuple[int, bytes, bytes, int]


class SqliteLog(GroupCommit):
    """A log in one file, opened by `SqliteLog.open`."""

    def __init__(self, path: Path, lock: FileLock, clock: Callable[[], int]) -> None:
        super().__init__(clock)
        self.path = path
        self.lock = lock
        self._ids: dict[str, int] = {}
        self._next_id = 1
        self._writing: aiosqlite.Connection
        self._reading: aiosqlite.Connection

    @property
    def url(self) -> str:
        return f"sqlite:{self.path}"

    @classmethod
    async def open(cls, path: Path, *, clock: Callable[[], int] = time.time_ns) -> "SqliteLog":
        """Open the log in this file, or make a new one; whatever is not a log is refused untouched."""
        lock = FileLock.take(path)
        log = cls(path, lock, clock)
        try:
            await log._connect()
            await log._load_head()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await log._disconnect()
            lock.release()
            raise
        return log

    # --- connections

    async def _connect(self) -> None:
        with translated(self.path):
            self._writing = await aiosqlite.connect(
                self.path, factory=Writer, isolation_level=None, cached_statements=256
            )
            if not await self._is_log():
                await self._create()
            await self._set_pragmas()
            self._reading = await connect_reader(self.path)

    async def _is_log(self) -> bool:
        """Say whether the file is a log already; False for one that is new and empty."""
        application = await self._pragma("application_id")
        version = await self._pragma("user_version")
        ((tables,),) = await self._writing.execute_fetchall("SELECT count(*) FROM sqlite_schema")
        if application == APPLICATION_ID:
            if version > FORMAT:
                raise LogTooNew(f"{self.path} has format {version}; this release knows {FORMAT}")
            return True
        if tables or application:
            raise NotALog(f"{self.path} is a SQLite database, but not a log of eventvm; choose another file")
        if self.lock.origin:
            raise LogDamaged(
                f"{self.path} is empty, but {self.lock.path.name} says that the log {self.lock.origin} lived here: "
                "its -wal may be lost. Restore a backup, or delete the lock file to begin anew"
            )
        return False

    async def _create(self) -> None:
        await self._writing.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        await self._writing.execute("PRAGMA journal_mode = WAL")
        await self._writing.execute("PRAGMA synchronous = FULL")
        origin, empty = str(uuid4()), Tree()
        await self._writing.executescript(
            f"BEGIN IMMEDIATE; {SCHEMA}"
            f"INSERT INTO tree VALUES (1, '{origin}', 0, x'{empty.root.hex()}', x'');"
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; COMMIT;"
        )

    async def _set_pragmas(self) -> None:
        """Set what durability depends on, and believe only what is read back."""
        for name, value in (
            ("journal_mode", "wal"),
            ("synchronous", 2),
            ("wal_autocheckpoint", CHECKPOINT_PAGES),
        ):
            await self._writing.execute(f"PRAGMA {name} = {value}")
            if (is_set := await self._pragma(name)) != value:
                raise LogUnavailable(f"{self.path}: SQLite keeps {name} at {is_set}, eventvm needs {value}")

    async def _pragma(self, name: str) -> Any:
        ((value,),) = await self._writing.execute_fetchall(f"PRAGMA {name}")
        return value

    async def _disconnect(self) -> None:
        for name in ("_reading", "_writing"):
            connection: aiosqlite.Connection | None = self.__dict__.pop(name, None)
            if connection is not None:
                await connection.close()

    async def _load_head(self) -> None:
        with translated(self.path):
            ((origin, size, root, frontier),) = await self._writing.execute_fetchall(
                "SELECT origin, size, root, frontier FROM tree"
            )
            ((last, recorded_at),) = await self._writing.execute_fetchall(
                "SELECT count(position), coalesce(max(recorded_at), 0) FROM "
                "(SELECT position, recorded_at FROM records ORDER BY position DESC LIMIT 1)"
            )
            ((end,),) = await self._writing.execute_fetchall("SELECT coalesce(max(position), 0) FROM records")
            ((self._next_id,),) = await self._writing.execute_fetchall(
                "SELECT 1 + coalesce(max(id), 0) FROM streams"
            )
        tree = unpacked(size, frontier) if len(frontier) == 32 * size.bit_count() else Tree()
        if end != size or tree.root != root:
            raise LogDamaged(f"{self.path} holds {end} records, but its tree says {size}", position=min(end, size))
        assert bool(last) == bool(size)
        self._tree, self._recorded_at = tree, recorded_at
        self.lock.mark(origin)

    # --- what the group commit asks for

    async def look(self, streams: set[str], names: set[str], keys: set[str]) -> Known:
        known = Known(dict.fromkeys(streams, Head()), {}, set())
        with translated(self.path):
            if streams:
                for stream, id_, *head in await self._writing.execute_fetchall(HEADS, _wanted(streams)):
                    self._ids[stream] = id_
                    known.heads[stream] = Head(*head)
            if names:
                known.holders.update(await self._writing.execute_fetchall(HOLDERS, _wanted(names)))  # type: ignore[arg-type]
            if keys:
                known.keys.update(key for (key,) in await self._writing.execute_fetchall(KEYS, _wanted(keys)))
        return known

    async def commit(self, batch: Batch) -> None:
        before = self._tree.size
        rows = self._rows(batch, before)
        try:
            await self._writing.executemany("append", rows)  # type: ignore[arg-type]
        except sqlite3.Error as problem:
            await self._settle(batch, before, problem)
        for id_, stream in rows.streams:
            self._ids[stream] = id_
        self._next_id += len(rows.streams)
        self._forget(batch)

    def _rows(self, batch: Batch, before: int) -> Rows:
        ids = {stream: self._ids.get(stream, 0) for stream in batch.heads}
        new = [stream for stream, id_ in ids.items() if not id_]
        ids.update((stream, id_) for id_, stream in enumerate(new, start=self._next_id))
        return Rows(
            streams=[(ids[stream], stream) for stream in new],
            records=[
                (r.position, ids[r.stream], r.version, r.previous, r.recorded_at, r.actor, r.key, r.digest,
                 r.cause, r.schema, r.body.decode(), r.leaf)
                for r in batch.records
            ],
            keys=list(batch.keys.items()),
            names=[(name, ids[stream], int(held)) for name, (stream, held) in batch.names.items()],
            tree=(batch.tree.size, batch.tree.root, batch.tree.packed, before),
        )  # fmt: skip

    def _forget(self, batch: Batch) -> None:
        """Remember the ids of only those streams whose heads are remembered."""
        for stream in [one for one in self._ids if one not in self._heads and one not in batch.heads][:1024]:
            del self._ids[stream]

    async def _settle(self, batch: Batch, before: int, problem: sqlite3.Error) -> None:
        """A commit has raised: look at the log itself, and return only if it is in there."""
        try:
            await self._disconnect()
            await self._connect()
            ((size, root),) = await self._writing.execute_fetchall("SELECT size, root FROM tree")
        except (sqlite3.Error, LogError, OSError) as lost:
            raise CommitUnknown(f"{self.path}: {problem}; and it could not be reopened: {lost}") from problem
        if (size, root) == (batch.tree.size, batch.tree.root):
            return
        if size != before:
            raise CommitUnknown(f"{self.path} was at {before} and is now at {size}: {problem}") from problem
        raise LogUnavailable(f"{self.path} could not be written: {problem}") from problem

    async def load(self, stream: str | None, after: int, limit: int) -> tuple[Record, ...]:
        return await load(self._reading, self.path, stream, after, limit)

    # --- the rest of the port

    async def find(self, name: str) -> Holder | None:
        rows = await self._ask(FIND, (name,))
        return Holder(rows[0][0], bool(rows[0][1])) if rows else None

    async def recall(self, key: str) -> Record | None:
        rows = await self._ask(RECALL, (key,))
        return read_record(rows[0]) if rows else None

    async def streams(self, *, after: str = "", limit: int = PAGE) -> tuple[str, ...]:
        return tuple(stream for (stream,) in await self._ask(STREAMS, (after, limit)))

    async def _ask(self, sql: str, arguments: tuple[Any, ...]) -> list[Any]:
        with translated(self.path):
            return list(await self._reading.execute_fetchall(sql, arguments))

    async def keep(self, view: str, tree: Tree, parts: Sequence[bytes]) -> None:
        whole = (tree.packed, *parts)
        rows = [(view, at, tree.size, sha256(part).digest(), part) for at, part in enumerate(whole)]
        with translated(self.path):
            await self._writing.executemany("keep", (view, rows))  # type: ignore[arg-type]

    async def kept(self, view: str) -> Kept | None:
        rows = await self._ask("SELECT size, digest, bytes FROM kept WHERE view = ? ORDER BY part", (view,))
        if not rows or any(sha256(part).digest() != digest for _, digest, part in rows):
            return None
        size, _, frontier = rows[0]
        if size > self._tree.size or len(frontier) != 32 * size.bit_count():
            return None
        return Kept(unpacked(size, frontier), tuple(part for _, __, part in rows[1:]))

    async def close(self) -> None:
        await self.finish()
        if "_writing" in self.__dict__:
            try:
                await self._writing.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error:
                pass  # the checkpoint is a courtesy: the WAL holds all that was committed
            await self._disconnect()
        self.lock.release()


def _wanted(values: set[str]) -> tuple[str]:
    return (msgspec.json.encode(sorted(values)).decode(),)


async def connect_reader(path: Path) -> aiosqlite.Connection:
    """Open a connection that reads and does nothing else."""
    connection = await aiosqlite.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
    await connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection


async def load(
    connection: aiosqlite.Connection, path: Path, stream: str | None, after: int, limit: int
) -> tuple[Record, ...]:
    """Read a page of records through a connection."""
    with translated(path):
        if stream is None:
            rows = await connection.execute_fetchall(READ_ALL, (after, limit))
        else:
            rows = await connection.execute_fetchall(
                READ_STREAM, {"stream": stream, "after": after, "limit": limit}
            )
    return tuple(map(read_record, rows))


def read_record(row: Any) -> Record:
    """Make a record of a row of COLUMNS."""
    position, stream, version, recorded_at, actor, body, leaf, previous, key, digest, cause, schema = row
    try:
        event = decode(body, schema)
    except (LogDamaged, msgspec.MsgspecError) as problem:
        raise LogDamaged(f"position {position}: {problem}", position=position) from problem
    return Record(
        position, stream, version, recorded_at, actor, event, body.encode(), leaf, previous, key, digest,
        cause, schema,
    )  # fmt: skip


class translated:  # noqa: N801  # reads as a word in `with translated(path)`
    """Turn SQLite's errors into ours, once, at the edge."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> None:
        if not isinstance(problem, sqlite3.Error):
            return
        code = getattr(problem, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_NOTADB:
            raise NotALog(f"{self.path} is not a SQLite database; choose another file") from problem
        if code == sqlite3.SQLITE_CORRUPT:
            raise LogDamaged(f"{self.path} is damaged: {problem}") from problem
        raise LogUnavailable(f"{self.path}: {problem}") from problem
