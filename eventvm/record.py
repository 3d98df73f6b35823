"""Record and Page: an event with its place in the log, its canonical bytes and its leaf.

The canonical bytes of a record are what is hashed, and the hash is a leaf of the log's tree. They hold
the body exactly as stored, never a re-encoding, and the leaf of the stream's previous record, which
binds the chain of a stream to the tree. docs/log-format.md is their specification.
"""

from struct import Struct as Layout

from msgspec import Struct

from eventvm import merkle
from eventvm.events import SCHEMA, Event, Unknown

FORMAT = 1
"""The version of the canonical bytes; the first byte of each."""

_HEAD = Layout(">BQQQQI32sIIIII")
"""What has a fixed length, and the lengths of what has none."""


class Record(Struct, frozen=True, gc=False):
    """An event as the log keeps it."""

    position: int
    """Place in the whole log, from 1, dense."""
    stream: str
    version: int
    """Place in its stream, from 1, gapless."""
    recorded_at: int
    """Wall time in nanoseconds at which it was appended; it never goes back."""
    actor: str
    event: Event | Unknown
    body: bytes
    """The event's JSON, exactly as stored."""
    leaf: bytes
    previous: int = 0
    """The position of its stream's record before it, 0 for the first."""
    key: str | None = None
    digest: bytes = b""
    """With a key: the SHA-256 of the name and the command that it was used for."""
    cause: int = 0
    """The position of the record that this one follows from, 0 for none."""
    schema: int = SCHEMA


def leaf(  # noqa: PLR0917  # one argument for each canonical field
    position: int, stream: str, version: int, recorded_at: int, actor: str, body: bytes,
    *, key: str | None, digest: bytes, cause: int, schema: int, previous: bytes,
) -> bytes:  # fmt: skip
    """Hash the canonical bytes of a record; `previous` is the leaf of its stream's last record."""
    names, who, what = stream.encode(), actor.encode(), (key or "").encode()
    return merkle.leaf(
        _HEAD.pack(
            FORMAT, position, version, recorded_at, cause, schema, previous,
            len(names), len(who), len(what), len(digest), len(body),
        )
        + names + who + what + digest + body
    )  # fmt: skip


def leaf_of(record: Record, previous: bytes) -> bytes:
    """Hash a record as it was read, to be compared with the leaf that it came with."""
    return leaf(
        record.position, record.stream, record.version, record.recorded_at, record.actor, record.body,
        key=record.key, digest=record.digest, cause=record.cause, schema=record.schema,
        previous=previous,
    )  # fmt: skip


class Page(Struct, frozen=True, gc=False):
    """A bounded piece of the log, oldest first."""

    records: tuple[Record, ...]
    position: int
    """Where to go on reading: after this."""
    end: bool
    """Whether the log ended here when it was read."""
