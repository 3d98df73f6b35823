"""A signed log that has lived, and what an attacker can do to its file who knows the format."""

import re
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path

import eventvm
from eventvm import Simulated, Spec
from eventvm.merkle import ZERO, Tree
from eventvm.record import leaf

SPEC = Spec(provider="simulated", cpus=2, storage=10 << 30, labels={"team": "a"})
ROW = "SELECT r.*, s.stream FROM records r JOIN streams s ON s.id = r.stream ORDER BY r.position"


async def lived(path, key, names=("api", "web")):
    """Have a fleet of two live in a log, and give the position that it ends at."""
    world = Simulated()
    async with eventvm.open(path, providers=[world], signing=key) as engine:
        for name in names:
            machine = await engine.create(name, SPEC, key=f"make-{name}")
            await machine.start(key=f"start-{name}")
            await machine.snapshot("first")
            await machine.rename(f"{name}-2")
            await machine.stop()
            await machine.start()
        await machine.destroy(force=True)
        return engine.log.tree.size


async def goes_on(path, key, verb="stop"):
    """Have the fleet's first machine do one thing more."""
    async with eventvm.open(path, signing=key) as engine:
        await getattr(await engine.machine("api-2"), verb)()
        return engine.log.tree.size


@contextmanager
def opened(path: Path):
    """Open the file as anybody can, its guards off; afterwards they stand again."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        guards = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in guards:
            connection.execute(f"DROP TRIGGER {name}")
        yield connection
        for _, sql in guards:
            connection.execute(sql)
        connection.execute("COMMIT")


@contextmanager
def lax(path: Path):
    """Open the file so that any value can be put anywhere; afterwards it says again that none can."""
    with opened(path) as connection:
        layout = connection.execute(
            "SELECT sql, name FROM sqlite_schema WHERE sql LIKE '%STRICT%'"
        ).fetchall()
        loose = [(re.sub("STRICT,?|NOT NULL|CHECK .*\\)", "", sql), name) for sql, name in layout]
        _lay_out(connection, loose)
        yield connection
        _lay_out(connection, layout)


def _lay_out(connection, layout) -> None:
    connection.execute("PRAGMA writable_schema = ON")
    connection.executemany("UPDATE sqlite_schema SET sql = ? WHERE name = ?", layout)
    connection.execute("PRAGMA writable_schema = RESET")


def rehash(connection) -> None:
    """Compute every hash anew, and all that is derived: the log then agrees with itself."""
    tree, heads = Tree(), {}
    for row in connection.execute(ROW).fetchall():
        position, id_, _, _, at, actor, key, digest, cause, schema, body, _, stream = row
        version, previous, above = heads.get(id_, (0, 0, ZERO))
        hashed = leaf(
            position, stream, version + 1, at, actor, body.encode(),
            key=key, digest=digest, cause=cause, schema=schema, previous=above,
        )  # fmt: skip
        heads[id_] = (version + 1, position, hashed)
        connection.execute(
            "UPDATE records SET version = ?, previous = ?, leaf = ? WHERE position = ?",
            (version + 1, previous, hashed, position),
        )
        tree.append([hashed])
    connection.execute("DELETE FROM heads")
    connection.executemany(
        "INSERT INTO heads VALUES (?, ?, ?)", [(id_, *head[:2]) for id_, head in heads.items()]
    )
    connection.execute("DELETE FROM keys WHERE position > ?", (tree.size,))
    connection.execute("DELETE FROM kept")
    connection.execute(
        "UPDATE tree SET size = ?, root = ?, frontier = ?", (tree.size, tree.root, tree.packed)
    )


def contents(path: Path) -> dict:
    """Read all that anybody can find in a log, piece by piece; what cannot be read is a piece too."""
    found = {}
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        connection.text_factory = bytes
        position = 0
        while (row := _read(connection, NEXT, position)) and position < LIMIT:
            found["record", position + 1] = row
            position += 1
        for name, query in QUERIES.items():
            found[name] = _read(connection, query)
    return found


NEXT = "SELECT r.*, s.stream FROM records r LEFT JOIN streams s ON s.id = r.stream WHERE position > ? LIMIT 1"
LIMIT = 500
QUERIES = {
    table: f"SELECT * FROM {table}"
    for table in ("streams", "heads", "names", "keys", "tree", "checkpoints", "sqlite_schema")
} | {
    "kept": "SELECT * FROM kept WHERE view IN (SELECT view FROM kept WHERE part = 0)",
    "types": """
        SELECT position, typeof(actor), typeof(key), typeof(digest), typeof(body), typeof(leaf) FROM records
    """,
    "application": "PRAGMA application_id",
    "format": "PRAGMA user_version",
    "pages": "PRAGMA integrity_check",
}


def _read(connection, query, *arguments) -> list:
    try:
        return connection.execute(query, arguments).fetchall()
    except (sqlite3.Error, UnicodeDecodeError) as problem:
        return [str(problem)]
