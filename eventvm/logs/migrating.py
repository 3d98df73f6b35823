"""Migrating: an older release's file is brought up to date in one transaction, after a copy beside it."""

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from eventvm.errors import LogDamaged, LogUnavailable
from eventvm.logs.migrations import Migration
from eventvm.logs.part import Stopped, written
from eventvm.logs.sqlite_reader import READ_ALL, beside, read_record, translated, vacuum
from eventvm.merkle import ZERO, Tree
from eventvm.record import leaf_of

Head = tuple[int, bytes]
"""Size and root of a log's tree."""


def migrate(path: Path, migrations: tuple[Migration, ...], stopped: Stopped, *, spare: bool) -> None:
    """Bring a log up to the newest format, whole or not at all; `spare`: keep it as it was, too."""
    with translated(path), closing(sqlite3.connect(path, isolation_level=None)) as connection:
        ((found,),) = connection.execute("PRAGMA user_version")
        if not 0 < found <= len(migrations):
            return
        before = _head(connection)
        if spare:
            _spare(path, beside(path, f".format-{found}.backup"), before, stopped)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            for format_, migration in enumerate(migrations[found - 1 :], start=found + 1):
                _apply(connection, migration)
                connection.execute(f"PRAGMA user_version = {format_}")
            _check(connection, before)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.rollback()


def _spare(path: Path, destination: Path, before: Head, stopped: Stopped) -> None:
    """Keep the file as it is; a copy that a migration left which was cut short is as good as a new one."""
    if destination.exists():
        if _head_of(destination) != before:
            raise LogUnavailable(f"{destination} exists already and holds another log; move it away first")
        return
    with written(destination, stat.S_IMODE(path.stat().st_mode)) as part:
        vacuum(path, part, stopped)
        if _head_of(part) != before:
            raise LogDamaged(f"{path} could not be copied before it is migrated: the copy differs")


def _head_of(path: Path) -> Head:
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    with translated(path), closing(sqlite3.connect(uri, uri=True)) as connection:
        return _head(connection)


def _head(connection: sqlite3.Connection) -> Head:
    ((size, root),) = connection.execute("SELECT size, root FROM tree")
    return size, root


def _apply(connection: sqlite3.Connection, migration: Migration) -> None:
    if callable(migration):
        migration(connection)
        return
    for statement in _statements(migration):
        connection.execute(statement)


def _statements(script: str) -> Iterator[str]:
    """Take a script apart; the module's own executescript would commit first."""
    gathered = ""
    for piece in script.strip().removesuffix(";").split(";"):
        gathered += piece + ";"
        if sqlite3.complete_statement(gathered):
            yield gathered
            gathered = ""
    assert not gathered, f"a statement has no end: {gathered}"


def _check(connection: sqlite3.Connection, before: Head) -> None:
    """See that every record still is what was hashed, and the tree over them what it was."""
    tree, above = Tree(), dict[str, bytes]()
    for record in map(read_record, connection.execute(READ_ALL, (0, -1))):
        if leaf_of(record, above.get(record.stream, ZERO)) != record.leaf:
            raise LogDamaged(
                f"the record at position {record.position} is not what was hashed", position=record.position
            )
        above[record.stream] = record.leaf
        tree.append((record.leaf,))
    if (tree.size, tree.root) != before or _head(connection) != before:
        raise LogDamaged("the records are not those that the file held before it was migrated")
