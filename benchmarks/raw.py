"""The floors: the smallest programs over sqlite3 and aiosqlite that store, or read, the same rows.

They know no machine, no hash and no refusal. Their table has the columns of a log, the integer ids and the
settings that eventvm found best, and a UNIQUE(machine, version), which is what refuses a stale writer.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aiosqlite

from benchmarks.harness import Room
from benchmarks.load import REASON, other
from eventvm.clock import Clock
from eventvm.events import Transitioned, decode, encode
from eventvm.merkle import leaf

SETTINGS = (
    "PRAGMA page_size = 8192",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 4000",
)
TABLE = """
    CREATE TABLE records(
        position INTEGER PRIMARY KEY, machine INTEGER NOT NULL, version INTEGER NOT NULL,
        previous INTEGER NOT NULL, recorded_at INTEGER NOT NULL, actor TEXT NOT NULL, key TEXT,
        digest BLOB NOT NULL, cause INTEGER NOT NULL, schema INTEGER NOT NULL, body TEXT NOT NULL,
        leaf BLOB NOT NULL, UNIQUE(machine, version)) STRICT
"""
INSERT = "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
SELECT = "SELECT * FROM records ORDER BY position"

Row = tuple[Any, ...]


def rows(count: int, machines: int) -> Iterator[Row]:
    """Make the rows that as many commands in turn leave behind; the machines take turns."""
    clock, phase = Clock(), "off"
    for at in range(count):
        if at % machines == 0:
            phase = other(phase)
        body = encode(Transitioned(at=clock.now(), reason=REASON, to=phase))
        machine, version, before = at % machines + 1, at // machines + 1, max(at + 1 - machines, 0)
        yield (
            at + 1, machine, version, before, time.time_ns(), "engine", None, b"", 0, 1,
            body.decode(), leaf(body),
        )  # fmt: skip


def in_one_transaction(room: Room, *, machines: int, count: int) -> float:
    """Give rows per second, inserted by one executemany in one transaction."""
    return _inserted(room, machines=machines, count=count, insert=_at_once)


def row_by_row(room: Room, *, machines: int, count: int) -> float:
    """Give rows per second, a transaction for each."""
    return _inserted(room, machines=machines, count=count, insert=_each)


def _inserted(
    room: Room, *, machines: int, count: int, insert: Callable[[sqlite3.Connection, list[Row]], None]
) -> float:
    made = list(rows(count, machines))
    with room.files() as directory, closing(_table(directory / "raw.db")) as connection:
        with room.timing(lasting=True) as timing:
            insert(connection, made)
        return count / timing.seconds


def _table(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in (*SETTINGS, TABLE):
        connection.execute(statement)
    return connection


def _at_once(connection: sqlite3.Connection, made: list[Row]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(INSERT, made)
    connection.execute("COMMIT")


def _each(connection: sqlite3.Connection, made: list[Row]) -> None:
    for row in made:
        connection.execute(INSERT, row)


async def one_by_one(room: Room, *, machines: int, callers: int, count: int) -> float:
    """Give rows per second through aiosqlite, each executed and committed; callers take turns at a lock."""
    left = iter(list(rows(count, machines)))
    with room.files() as directory:
        async with aiosqlite.connect(directory / "raw.db", isolation_level=None) as connection:
            for statement in (*SETTINGS, TABLE):
                await connection.execute(statement)
            lock = asyncio.Lock()

            async def caller() -> None:
                for row in left:
                    async with lock:  # the log's order is that of the positions
                        await connection.execute(INSERT, row)

            with room.timing(lasting=True) as timing:
                await asyncio.gather(*(caller() for _ in range(callers)))
            return count / timing.seconds


def selected(room: Room, path: Path) -> float:
    """Give records per second of a log, selected in order with all their columns, and iterated."""
    return _read(room, path, lambda _: None)


def selected_and_decoded(room: Room, path: Path) -> float:
    """Give records per second of a log, selected in order with all their columns, each body decoded."""
    return _read(room, path, lambda row: decode(row[BODY]))


BODY = 10
"""Where the body stands among the columns of a log's records."""


def _read(room: Room, path: Path, use: Callable[[Row], object]) -> float:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        count = 0
        with room.timing() as timing:
            for row in connection.execute(SELECT):
                use(row)
                count += 1
        return count / timing.seconds
