"""A batch as SQLite takes it: one row for a view, in one statement, which is its own transaction."""

from importlib.resources import files
from typing import Any

import msgspec

from eventvm.logs.group_commit import Batch

APPENDING = files("eventvm.logs").joinpath("sqlite_append.sql").read_text()
"""What the writing connection has to know before it can append."""
APPEND = "INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def row(batch: Batch, ids: dict[str, int], new: list[str]) -> tuple[Any, ...]:
    """Write a batch as one row, with the id of each of its streams; some of these are new."""
    digests = [one.digest for one in batch.records if one.digest]
    begins = iter(range(1, 32 * len(digests) + 1, 32))
    records = [
        (
            ids[one.stream], one.version, one.previous, one.recorded_at, one.actor, one.key, one.cause,
            one.schema, one.body.decode(), next(begins) if one.digest else None,
        )
        for one in batch.records
    ]  # fmt: skip
    streams = [(ids[stream], stream) for stream in new]
    names = [(name, one.stream, int(one.held), one.reserved) for name, one in batch.names.items()]
    leaves = b"".join([one.leaf for one in batch.records])
    tree = batch.tree
    return (
        batch.before, as_json(streams), as_json(records), leaves, b"".join(digests),
        as_json(list(batch.keys.items())), as_json(names), tree.size, tree.root, tree.packed,
    )  # fmt: skip


def as_json(rows: Any) -> str:
    """Write rows as SQLite reads them."""
    return msgspec.json.encode(rows).decode()
