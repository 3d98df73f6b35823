"""The stores that the laws of a log are tried on, and what can be done to them."""

import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import cached_property, partial
from pathlib import Path

import msgspec

from eventvm.log import EventLog
from eventvm.logs import open_log
from eventvm.logs.memory import MemoryLog, Store
from eventvm.record import Record

REST = "recorded_at, actor, NULL, digest, cause, schema, body, leaf FROM records"


class Memory:
    """A log in memory, whose store outlives it."""

    protests = "immutable"
    kind = MemoryLog

    @cached_property
    def store(self) -> Store:
        return Store()

    @asynccontextmanager
    async def open(self, *, clock=time.time_ns) -> AsyncIterator[EventLog]:
        log = self.kind(self.store, clock)
        log.begin()
        try:
            yield log
        finally:
            await log.close()

    def tamper(self, position: int, **changes) -> None:
        """Change a record behind the log's back."""
        self.store.records[position - 1] = msgspec.structs.replace(
            self.store.records[position - 1], **changes
        )

    def lose(self, position: int) -> None:
        """Take a record out behind the log's back."""
        del self.store.records[position - 1]

    def assaults(self) -> Iterator[Callable[[], object]]:
        """Try to change the log by the means that anybody has."""
        for field in Record.__struct_fields__:
            yield partial(setattr, self.store.records[0], field, getattr(self.store.records[1], field))
            yield partial(delattr, self.store.records[0], field)


class Sqlite:
    """A log in a file."""

    protests = r"never|moved on|read-only"

    path: Path

    def open(self, **options):
        return open_log(self.path, **options)

    @contextmanager
    def raw(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            yield connection

    def tamper(self, position: int, **changes) -> None:
        ((column, value),) = changes.items()
        value = value.decode() if column == "body" else value
        with self.raw() as connection:
            connection.execute("DROP TRIGGER records_are_not_updated")
            connection.execute(f"UPDATE records SET {column} = ? WHERE position = ?", (value, position))

    def lose(self, position: int) -> None:
        with self.raw() as connection:
            connection.execute("DROP TRIGGER records_are_not_deleted")
            connection.execute("DELETE FROM records WHERE position = ?", (position,))

    def assaults(self) -> Iterator[Callable[[], object]]:
        with self.raw() as connection:
            for statement in (
                "UPDATE records SET actor = 'nobody' WHERE position = 1",
                "UPDATE records SET position = 77 WHERE position = 1",
                "DELETE FROM records WHERE position = 2",
                "DELETE FROM records",
                "UPDATE streams SET stream = 'b' WHERE id = 1",
                "DELETE FROM streams",
                "INSERT OR REPLACE INTO records SELECT * FROM records WHERE position = 1",
                f"INSERT OR REPLACE INTO records SELECT 3, stream, 4, 3, {REST} WHERE position = 3",
                f"INSERT INTO records SELECT 4, stream, 7, 3, {REST} WHERE position = 3",
                f"INSERT INTO records SELECT 4, stream, 4, 2, {REST} WHERE position = 3",
                f"INSERT INTO records SELECT 5, stream, 4, 3, {REST} WHERE position = 3",
                "INSERT OR REPLACE INTO streams VALUES (1, 'b')",
                "INSERT OR REPLACE INTO streams VALUES (2, 'a')",
            ):
                yield partial(connection.execute, statement)
