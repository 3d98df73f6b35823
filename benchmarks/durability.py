"""The witness: every SQLite connection of a measured process is asked what it promises.

Both sides of a claim, ours and a peer's, are asked in the same way: a connection that does not write ahead,
or does not sync each commit, fails the measurement that it took part in.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from sqlite3 import dbapi2
from typing import Any

FULL = 2

_opened: list[sqlite3.Connection] = []


@contextmanager
def witnessed() -> Iterator[None]:
    """Remember each connection that is opened in this block, whoever opens it."""
    connect = sqlite3.connect

    def remembered(*arguments: Any, **options: Any) -> sqlite3.Connection:
        # So that it can be asked from here; its owner goes on using it from the thread that it chose.
        connection: sqlite3.Connection = connect(*arguments, **{**options, "check_same_thread": False})
        _opened.append(connection)
        return connection

    sqlite3.connect = dbapi2.connect = remembered  # type: ignore[assignment]  # it has many overloads
    try:
        yield
    finally:
        sqlite3.connect = dbapi2.connect = connect
        _opened.clear()


def durable() -> None:
    """Assert that there is an open connection, and that each writes ahead and syncs each commit."""
    promises = [(_pragma(one, "journal_mode"), _pragma(one, "synchronous")) for one in _opened if _open(one)]
    assert promises, "nothing that was measured has a SQLite connection: what is durable here?"
    for promise in promises:
        assert promise == ("wal", FULL), f"journal_mode and synchronous are {promise}, not WAL and FULL"


def _open(connection: sqlite3.Connection) -> bool:
    with suppress(sqlite3.ProgrammingError):
        return connection.total_changes >= 0
    return False


def _pragma(connection: sqlite3.Connection, name: str) -> Any:
    (value,) = tuple(sqlite3.Connection.execute(connection, f"PRAGMA {name}").fetchone())
    return value
