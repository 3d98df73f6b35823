"""Reading a log's SQLite file: what the writer and a read-only log have in common, and the read-only log.

Rules:

* A reading connection is ``mode=ro`` and never checkpoints.
* Every file is first looked at as ``immutable``, which takes no lock and creates nothing beside it, so that
  whatever is not a log of ours is refused untouched.
* A log that nobody has open (it has no -wal) stays ``immutable``: reading it leaves no trace, and works where
  nothing may be written. As soon as its file has changed, the reader opens it anew and follows the writer.
"""

import asyncio
import os
import sqlite3
import stat
import time
from abc import ABC, abstractmethod
from array import array
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import closing
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Self

import aiosqlite
import anyio
import msgspec

from eventvm import limits
from eventvm.errors import (
    BadInput,
    Closed,
    LogDamaged,
    LogTooNew,
    LogTooOld,
    LogUnavailable,
    NotALog,
)
from eventvm.events import decode
from eventvm.headway import Headway, untold
from eventvm.log import PAGE, Append, Backup, EventLog, Holder, Kept, Replay, Ticket, paged
from eventvm.logs.filesystem import file_at
from eventvm.logs.migrations import MIGRATIONS
from eventvm.logs.naps import Naps
from eventvm.logs.part import Stopped, apart, written
from eventvm.logs.sqlite_append import as_json
from eventvm.merkle import Tree, unpacked
from eventvm.record import Page, Record

APPLICATION_ID = 0x65766D31
"""What marks a SQLite file as a log of eventvm."""
FORMAT = 1 + len(MIGRATIONS)
POLL_SECONDS = 0.05
"""How often a reader asks whether another process has written."""

# The body is read as the bytes that were hashed: text that is no longer UTF-8 is damage, and has a position.
COLUMNS = """
    r.position, s.stream, r.version, r.recorded_at, r.actor, CAST(r.body AS BLOB), r.leaf, r.previous, r.key,
    r.digest, r.cause, r.schema
"""
READ_ALL = f"""
    SELECT {COLUMNS} FROM records r JOIN streams s ON s.id = r.stream
    WHERE r.position > ? ORDER BY r.position LIMIT ?
"""  # noqa: S608  # our own columns
# A stream from its head back to a position, from record to record: there is no index to keep for it.
BACK = """
    WITH RECURSIVE back(position, previous) AS (
        SELECT r.position, r.previous FROM heads h JOIN records r ON r.position = h.position
        WHERE h.stream = (SELECT id FROM streams WHERE stream = :stream) AND r.position > :after
        UNION ALL
        SELECT r.position, r.previous FROM back JOIN records r ON r.position = back.previous
        WHERE back.previous > :after AND back.previous < back.position
    )
"""
READ_STREAM = f"""
    {BACK}, page AS (SELECT position FROM back ORDER BY position LIMIT :limit)
    SELECT {COLUMNS} FROM page JOIN records r USING (position) JOIN streams s ON s.id = r.stream
    ORDER BY r.position
"""  # noqa: S608  # our own columns
READ_STREAMS = f"""
    WITH RECURSIVE back(place, position, previous) AS (
        SELECT wanted.key, r.position, r.previous FROM json_each(:streams) wanted
        JOIN streams s ON s.stream = wanted.value JOIN heads h ON h.stream = s.id
        JOIN records r ON r.position = h.position
        UNION ALL
        SELECT back.place, r.position, r.previous FROM back JOIN records r ON r.position = back.previous
        WHERE back.previous < back.position
    )
    SELECT {COLUMNS} FROM back JOIN records r USING (position) JOIN streams s ON s.id = r.stream
    WHERE r.position <= :until AND instr(r.body, :word) ORDER BY back.place, r.position
"""  # noqa: S608  # our own columns
READ_AT = f"""
    SELECT {COLUMNS} FROM json_each(?) wanted JOIN records r ON r.position = wanted.value
    JOIN streams s ON s.id = r.stream ORDER BY r.position
"""  # noqa: S608  # our own columns
GO_BACK = f"{BACK} SELECT json_group_array(position) FROM back"  # noqa: S608  # our own columns
LENGTHS = """
    SELECT s.stream, h.version FROM streams s JOIN heads h ON h.stream = s.id
    WHERE s.stream > ? ORDER BY s.stream LIMIT ?
"""
MENTION = """
    SELECT DISTINCT s.stream FROM records r JOIN streams s ON s.id = r.stream
    WHERE r.position <= ? AND instr(r.body, json_quote(?)) ORDER BY s.stream
"""
RECALL = f"""
    SELECT k.key, {COLUMNS} FROM json_each(?) wanted JOIN keys k ON k.key = wanted.value
    JOIN records r USING (position) JOIN streams s ON s.id = r.stream
"""  # noqa: S608  # our own columns
FIND = "SELECT stream, held, reserved FROM names WHERE name = ? AND stream <> ''"
STREAMS = "SELECT stream FROM streams WHERE stream > ? ORDER BY stream LIMIT ?"
KEPT = "SELECT part, size, digest, bytes FROM kept WHERE view = ? AND part > ? ORDER BY part LIMIT ?"
LATEST = "SELECT view FROM kept WHERE view IN (?, ?) AND part = 0 ORDER BY size DESC"
"""Under which of its two spellings a view was kept last; one that is not complete has no part 0."""
PARTS = 64
"""How many parts of a kept view are asked for at once."""
HEAD = """
    SELECT origin, size, root, frontier, (SELECT 1 + coalesce(max(id), 0) FROM streams), last.* FROM tree
    LEFT JOIN (SELECT position, recorded_at FROM records ORDER BY position DESC LIMIT 1) last
    WHERE one = 1
"""
HEAD_ROW = tuple[str, int, bytes, bytes, int, int | None, int | None]


class LogHead(NamedTuple):
    """The end of a log as its file tells it."""

    origin: str
    tree: Tree
    recorded_at: int
    next_id: int
    """The id of the next new stream."""


class Ahead(NamedTuple):
    """Where the records of one stream are that its reader has not come to yet."""

    stream: str = ""
    positions: Sequence[int] = ()

    def page(self, stream: str, after: int, limit: int) -> Sequence[int]:
        """Give the positions of a whole page; none if it may end here, or is of another stream."""
        begin = bisect_right(self.positions, after) if stream == self.stream else len(self.positions)
        page = self.positions[begin : begin + limit]
        return page if begin and len(page) == limit else ()


class Recalled:
    """What one question finds out about all keys that came together while the one before was answered."""

    __slots__ = ("keys", "rows")

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.rows: dict[str, Sequence[Any]] | None = None


class SqliteReading(ABC):
    """The half of a SQLite log that reads."""

    path: Path
    _tree: Tree
    _naps: Naps
    _ahead = Ahead()

    def __init__(self) -> None:
        self._recalled = Recalled()
        """For whoever comes next."""
        self._recalling = asyncio.Lock()

    @property
    def url(self) -> str:
        return f"sqlite:{self.path}"

    @abstractmethod
    async def ask(self, sql: str, arguments: Any = ()) -> list[Any]:
        """Run one query on the reading connection."""

    async def load(self, stream: str | None, after: int, limit: int) -> tuple[Record, ...]:
        """Read a page of records."""
        if stream is None:
            rows = await self.ask(READ_ALL, (after, limit))
        elif positions := self._ahead.page(stream, after, limit):
            return await self.load_at(positions)
        else:
            rows = await self.ask(READ_STREAM, {"stream": stream, "after": after, "limit": limit})
            if len(rows) == limit >= PAGE:
                await self._look_ahead(stream, rows[-1][0])
        return tuple(map(read_record, rows))

    async def _look_ahead(self, stream: str, after: int) -> None:
        """Go back over a long stream once, and not again for each of its pages."""
        self._ahead = Ahead(stream, array("q", [after, *await self.positions(stream, after)]))

    async def positions(self, stream: str, after: int = 0) -> Sequence[int]:
        """Say where the records of a stream are."""
        ((positions,),) = await self.ask(GO_BACK, {"stream": stream, "after": after})
        return array("q", sorted(msgspec.json.decode(positions)))

    async def load_at(self, positions: Sequence[int]) -> tuple[Record, ...]:
        """Read the records at some positions, in the order of these."""
        return tuple(map(read_record, await self.ask(READ_AT, (as_json(list(positions)),))))

    async def load_streams(self, streams: Sequence[str], until: int, word: str = "") -> tuple[Record, ...]:
        """Read the records up to a position that hold a word, stream by stream; they should be few."""
        rows = await self.ask(READ_STREAMS, {"streams": as_json(streams), "until": until, "word": word})
        return tuple(map(read_record, rows))

    async def mentioning(self, word: str, until: int) -> list[str]:
        """List the streams that hold a word, up to a position: all that may ever have had it as a name."""
        return [stream for (stream,) in await self.ask(MENTION, (until, word))]

    async def lengths(self, after: str, limit: int) -> list[tuple[str, int]]:
        """List the streams after one of them, each with the number of its records."""
        return [(stream, version) for stream, version in await self.ask(LENGTHS, (after, limit))]

    async def find(self, name: str) -> Holder | None:
        rows = await self.ask(FIND, (name,))
        return read_holder(*rows[0]) if rows else None

    async def recall(self, key: str) -> Record | None:
        recalled = self._recalled if key.isprintable() else Recalled()  # what is odd could fail its company
        recalled.keys.add(key)
        async with self._recalling:
            if recalled.rows is None:
                self._recalled = Recalled()
                with translated(self.path):
                    wanted = as_json(sorted(recalled.keys))
                recalled.rows = {used: row for used, *row in await self.ask(RECALL, (wanted,))}
        row = recalled.rows.get(key)
        return None if row is None else read_record(row)

    async def streams(self, *, after: str = "", limit: int = PAGE) -> tuple[str, ...]:
        limits.page(0, limit)
        return tuple(stream for (stream,) in await self.ask(STREAMS, (after, limit)))

    async def kept(self, view: str, read: Callable[[bytes], Any] = bytes) -> Kept | None:
        for (spelling,) in await self.ask(LATEST, spellings(view)):
            if (kept := await self.kept_as(spelling, read)) is not None:
                return kept
        return None

    async def kept_as(self, spelling: str, read: Callable[[bytes], Any] = bytes) -> Kept | None:
        """Give a view back under one of its two names, if it is whole.

        It is gone through twice: so no part is read before all are known to be whole, and never are all of
        them in memory as they were written.
        """
        if (tree := await self._whole(spelling)) is None:
            return None
        parts = []
        async for number, size, _, part in self._parts(spelling):
            if size != tree.size:
                return None  # another one was kept meanwhile
            if number:
                parts.append(read(part))
                await anyio.lowlevel.checkpoint()
        return Kept(tree, tuple(parts))

    async def _whole(self, spelling: str) -> Tree | None:
        """Give the tree of a view, if nothing of it is missing or was changed."""
        seal = None
        async for number, size, digest, part in self._parts(spelling):
            if not isinstance(part, bytes):
                return None
            if seal is None:
                seal, said, frontier, expected = Seal(spelling, size, ()), digest, part, (0, size, digest)
            if (number, size, digest) != expected:
                return None
            seal.add((part,))
            expected = (number + 1, size, b"")
        if seal is None or seal.digest() != said or size > self._tree.size:
            return None
        return unpacked(size, frontier)

    async def _parts(self, view: str) -> AsyncIterator[Any]:
        """Read the rows of a kept view until there are no more.

        aiosqlite holds on to what it gave last, so what it gives last must not be a whole view.
        """
        last = -1
        while rows := await self.ask(KEPT, (view, last, PARTS)):
            for row in rows:
                yield row
            last = rows[-1][0]

    async def backup(self, destination: Path, headway: Headway = untold) -> Backup:
        mode = stat.S_IMODE(self.path.stat().st_mode)
        return await backed_up(partial(vacuum, self.path, headway=headway), destination, mode, headway)


class SqliteReader(SqliteReading):
    """A log that somebody else may be writing: it follows, takes no lock, and appends nothing."""

    def __init__(self, path: Path, newest: int = FORMAT) -> None:
        super().__init__()
        self.path = path
        self.format = 0
        """0: there is nothing yet."""
        self._newest = newest
        self._naps = Naps()
        self._tree = Tree()
        self._reading: aiosqlite.Connection | None = None
        self._mark: Mark | None = None
        """What the file was like when it was opened as immutable; None when it was not."""
        self._connecting = asyncio.Lock()
        self._holding = False

    @property
    def tree(self) -> Tree:
        return self._tree

    @classmethod
    async def open(cls, path: Path, newest: int = FORMAT) -> Self:
        """Open the log in this file to read it; whatever is not a log is refused untouched."""
        log = cls(path, newest)
        try:
            await log._refuse_unread()
        except BaseException:
            await log.close()
            raise
        return log

    async def _refuse_unread(self) -> None:
        if not await self.holds_log():
            raise NotALog(f"{self.path} does not exist or is empty: there is nothing to read")
        if self.format < self._newest:
            raise LogTooOld(f"{self.path} has format {self.format}; this release reads {self._newest}")

    async def holds_log(self) -> bool:
        """Refuse what is foreign, newer or damaged; False: there is nothing yet."""
        if not (await _refuse_foreign(self.path, self._newest) and await self._connect()):
            return False
        if self.format == self._newest:
            await self._refresh()
        return True

    async def _connect(self) -> bool:
        with translated(self.path), self._naps:
            mark = _marked(self.path)
            self._mark = mark if mark.unused else None
            self._reading = await connect_reader(self.path, immutable=mark.unused)
            there = await is_log(self._reading, self.path, self._newest)
            self.format = await pragma(self._reading, "user_version") if there else 0
            return there

    async def hold(self) -> None:
        """Stand still: read the log from now on as it is at this moment, until it is closed."""
        await self.ask("BEGIN")
        await self._refresh()
        self._holding = True

    async def release(self) -> None:
        """Follow the log again."""
        self._holding = False
        await self.ask("COMMIT")

    async def _reconnect(self, stale: aiosqlite.Connection) -> None:
        if self._holding:
            raise LogUnavailable(f"{self.path} began to be written while it was read; read it again")
        async with self._connecting:
            if self._reading is stale:
                try:
                    await self._connect()
                finally:
                    if self._reading is not stale:
                        await shut(stale)

    @property
    def _outdated(self) -> bool:
        return self._mark is not None and self._mark != _marked(self.path)

    async def ask(self, sql: str, arguments: Any = ()) -> list[Any]:
        while True:
            reading = self._reading
            if reading is None:
                raise Closed("the log is closed; open it again")
            with translated(self.path), self._naps:
                try:
                    rows = await reading.execute_fetchall(sql, arguments)
                except sqlite3.Error:
                    if not self._outdated:
                        raise
                else:
                    if not self._outdated:
                        return list(rows)
                await self._reconnect(reading)

    async def _refresh(self) -> None:
        self._tree = (await read_head(self)).tree

    async def read(self, *, stream: str | None = None, after: int = 0, limit: int = PAGE) -> Page:
        limits.page(after, limit)
        if stream is not None or after + limit > self._tree.size:
            await self._refresh()
        until = self._tree.size
        records = await self.load(stream, after, limit)
        return paged(records, whole=stream is None, after=after, limit=limit, until=until)

    async def wait(self, after: int) -> None:
        seen = None
        while True:
            ((version,),) = await self.ask("PRAGMA data_version")
            if (mark := (version, self._reading)) != seen:
                await self._refresh()
                if self._tree.size > after:
                    return
                seen = mark
            await asyncio.sleep(POLL_SECONDS)

    def append(self, append: Append, /) -> Ticket:
        ticket = Ticket(append)
        ticket.settle(
            LogUnavailable(f"{self.path} is open read-only; append through the engine that holds it")
        )
        return ticket

    async def kept(self, view: str, read: Callable[[bytes], Any] = bytes) -> Kept | None:
        await self._refresh()
        return await super().kept(view, read)

    async def keep(self, view: str, tree: Tree, parts: Sequence[bytes]) -> None:
        """Drop it at once, as a log may."""

    async def close(self) -> None:
        async with self._connecting:
            reading, self._reading = self._reading, None
            if reading is not None:
                await shut(reading)


# --- the file ---------------------------------------------------------------------------------------


def beside(path: Path, suffix: str) -> Path:
    """Name a file that lies beside the log's."""
    return path.with_name(path.name + suffix)


class Mark(NamedTuple):
    """What a file is like from outside; opening and closing it would drop SQLite's locks."""

    modified: int
    size: int
    inode: int
    unused: bool
    """Whether nobody has it open, nor was killed while it was."""


def _marked(path: Path) -> Mark:
    there = path.stat()
    return Mark(there.st_mtime_ns, there.st_size, there.st_ino, not beside(path, "-wal").exists())


async def connected(connecting: aiosqlite.Connection) -> aiosqlite.Connection:
    """Open a connection whole, though the caller be cancelled: half of one can never be closed."""
    opening = asyncio.ensure_future(connecting)
    try:
        return await asyncio.shield(opening)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await asyncio.wait({opening})
        if opening.exception() is None:
            await shut(opening.result())
        connecting._thread.join()  # noqa: SLF001  # it ends at once, yet nobody else sees to it before the loop does
        raise


async def shut(connection: aiosqlite.Connection) -> None:
    """Close a connection, and its thread with it, though the caller be cancelled."""
    with anyio.CancelScope(shield=True):
        await connection.close()
    connection._thread.join()  # noqa: SLF001  # it ends at once, and nobody else waits for it


async def connect_reader(path: Path, *, immutable: bool = False) -> aiosqlite.Connection:
    """Open a connection that reads and does nothing else."""
    connection = await connected(aiosqlite.connect(_uri(path, immutable), uri=True, isolation_level=None))
    try:
        await connection.execute("PRAGMA wal_autocheckpoint = 0")
    except BaseException:
        await shut(connection)
        raise
    return connection


def _uri(path: Path, immutable: bool) -> str:  # noqa: FBT001  # named where it comes from
    return f"{path.absolute().as_uri()}?mode=ro" + ("&immutable=1" if immutable else "")


async def _refuse_foreign(path: Path, newest: int) -> bool:
    """Refuse what is no log of ours without touching it; False: there is nothing at all."""
    with translated(path):
        if not holds_anything(path):
            return False
        connection = await connect_reader(path, immutable=True)
        try:
            await is_log(connection, path, newest)
        except sqlite3.DatabaseError as problem:
            if code_of(problem) != sqlite3.SQLITE_CORRUPT:
                raise  # a checkpoint may have been cut short: the -wal knows better than the file alone
        finally:
            await shut(connection)
    return True


def holds_anything(path: Path) -> bool:
    """Say whether there is a file, or a -wal beside it, that is not empty."""
    return any(one.exists() and one.stat().st_size for one in (path, beside(path, "-wal")))


async def refuse_untouched(path: Path, newest: int = FORMAT) -> int:
    """Refuse what a writer must not open, before anything that could change it has; give its format, or 0."""
    reader = SqliteReader(path, newest)
    try:
        await reader.holds_log()
    finally:
        await reader.close()
    return reader.format


async def is_log(connection: aiosqlite.Connection, path: Path, newest: int) -> bool:
    """Say whether the file is a log already; False for one that is new and empty."""
    application = await pragma(connection, "application_id")
    version = await pragma(connection, "user_version")
    ((tables,),) = await connection.execute_fetchall("SELECT count(*) FROM sqlite_schema")
    if application == APPLICATION_ID:
        if version > newest:
            raise LogTooNew(f"{path} has format {version}; this release knows {newest}")
        if version < 1:
            raise LogDamaged(f"{path} says that it has format {version}, which no release has written")
        return True
    if tables or application:
        raise NotALog(f"{path} is a SQLite database, but not a log of eventvm; choose another file")
    return False


async def pragma(connection: aiosqlite.Connection, name: str) -> Any:
    """Read what SQLite says of itself."""
    ((value,),) = await connection.execute_fetchall(f"PRAGMA {name}")
    return value


# --- copies -----------------------------------------------------------------------------------------

OPCODES = 10_000
"""How many of SQLite's steps pass before a copy looks whether it was stopped."""
NO_ROOM = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})


async def backed_up(
    write: Callable[[Path, Stopped], object], destination: Path, mode: int, headway: Headway = untold
) -> Backup:
    """Write a log into a new file, read it back whole, and only then let it take its place."""
    path = file_at(destination)

    def work(stopped: Stopped) -> Backup:
        began = time.monotonic()
        with written(path, mode) as part:
            write(part, stopped)
            tree = asyncio.run(verified(part, stopped, headway))
            size = part.stat().st_size
        return Backup(str(path), tree.size, size, tree.root, time.monotonic() - began)

    return await apart(work)


def vacuum(source: Path, part: Path, stopped: Stopped, headway: Headway = untold) -> None:
    """Copy all that is committed in a file by now, at one moment; neither writer nor readers wait."""
    mark = _marked(source)

    def given_up() -> bool:
        headway("copying bytes", part.stat().st_size, source.stat().st_size)
        return stopped()

    with translated(source), closing(sqlite3.connect(_uri(source, mark.unused), uri=True)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.set_progress_handler(given_up, OPCODES)
        try:
            connection.execute("VACUUM INTO ?", (str(part.absolute()),))
        except sqlite3.OperationalError as problem:
            if code_of(problem) in NO_ROOM:
                raise LogUnavailable(f"{part} could not be written: {problem}") from problem
            raise
    if mark.unused and mark != _marked(source):  # somebody has begun to write: look through their -wal
        os.truncate(part, 0)
        vacuum(source, part, stopped, headway)


async def verified(path: Path, stopped: Stopped, headway: Headway) -> Tree:
    """Replay a log whole, each leaf checked and the tree compared, and give that tree."""
    log = await SqliteReader.open(path)
    try:
        return await checked(log, stopped, headway)
    finally:
        await log.close()


async def checked(log: EventLog, stopped: Stopped, headway: Headway) -> Tree:
    """Replay a log whole, while somebody waits for it, and give the tree that was compared."""
    replay = Replay(log)
    async for _ in replay:
        if stopped():
            raise LogUnavailable(f"{log.url} was given up while it was read back")
        headway("reading back", replay.tree.size, replay.until)
    return replay.tree


# --- rows -------------------------------------------------------------------------------------------


async def read_head(log: SqliteReading) -> LogHead:
    """Read the end of a log, and refuse one whose tree and records do not belong together."""
    rows = await log.ask(HEAD)
    if not rows:
        raise LogDamaged(f"{log.path} has lost its tree")
    try:
        origin, size, root, frontier, next_id, last, recorded_at = msgspec.convert(
            rows[0], HEAD_ROW, builtin_types=(bytes,)
        )
    except msgspec.ValidationError as problem:
        raise LogDamaged(f"{log.path} keeps a tree that is none: {problem}") from problem
    if not origin.isprintable() or not 0 < len(origin) <= limits.WORD_CHARACTERS:
        raise LogDamaged(f"{log.path} has an origin that no log has")
    last = last or 0
    if last != size:
        position = 1 + max(0, min(last, size))
        raise LogDamaged(f"{log.path} holds {last} records, its tree {size}", position=position)
    if len(frontier) != 32 * size.bit_count() or (tree := unpacked(size, frontier)).root != root:
        raise LogDamaged(f"{log.path} keeps a tree that contradicts its own root")
    return LogHead(origin, tree, recorded_at or 0, next_id)


def read_holder(stream: str, held: int, reserved: str) -> Holder:
    """Make a holder of a row of names."""
    return Holder(stream, bool(held), reserved)


def read_record(row: Sequence[Any]) -> Record:
    """Make a record of a row of COLUMNS."""
    position, stream, version, recorded_at, actor, body, leaf, previous, key, digest, cause, schema = row
    try:
        event = decode(body, schema)
    except Exception as problem:  # whatever a body does to its decoder, it is not what was written
        raise LogDamaged(f"position {position}: {problem}", position=position) from problem
    return Record(
        position, stream, version, recorded_at, actor, event, body, leaf, previous, key, digest, cause,
        schema,
    )  # fmt: skip


def spellings(view: str) -> tuple[str, str]:
    """Give the two names that a view is kept under in turn: while one is written, the other is whole."""
    return view, f"{view}/2"


class Seal:
    """The hash of a kept view as a whole, part by part, so that one that lacks a part is no view at all."""

    def __init__(self, view: str, size: int, parts: Iterable[bytes]) -> None:
        self._whole = sha256(f"{view} {size}".encode())
        self.add(parts)

    def add(self, parts: Iterable[bytes]) -> None:
        """Take the next parts."""
        for part in parts:
            self._whole.update(sha256(part).digest())

    def digest(self) -> bytes:
        """Give the hash of what was taken."""
        return self._whole.digest()


# --- errors -----------------------------------------------------------------------------------------

DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH})
"""What SQLite says of our own statements only when the file is not what it was; ERROR: a table is gone."""


def code_of(problem: sqlite3.Error) -> int:
    """Give SQLite's primary code, 0 when the error is the module's own."""
    return getattr(problem, "sqlite_errorcode", 0) & 0xFF


class translated:  # noqa: N801  # reads as a word in `with translated(path)`
    """Turn SQLite's errors into ours, once, at the edge."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> None:
        if isinstance(problem, UnicodeEncodeError):
            raise BadInput("half a character names nothing that is in a log") from problem
        if isinstance(problem, UnicodeDecodeError):  # SQLite quotes what it cannot read
            raise LogDamaged(f"{self.path} is damaged: its layout is no text") from problem
        if isinstance(problem, OSError):
            raise LogUnavailable(f"{self.path}: {problem.strerror}") from problem
        if not isinstance(problem, sqlite3.Error):
            return
        code = code_of(problem)
        if code == sqlite3.SQLITE_NOTADB:
            raise NotALog(f"{self.path} is not a SQLite database; choose another file") from problem
        if code in DAMAGED or "decode to UTF-8" in str(problem):
            raise LogDamaged(f"{self.path} is damaged: {problem}") from problem
        unread = code == sqlite3.SQLITE_CANTOPEN and self.path.is_file() and not os.access(self.path, os.R_OK)
        raise LogUnavailable(f"{self.path}: {'it is not yours to read' if unread else problem}") from problem
