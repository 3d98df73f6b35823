"""Proofs as text: that a record is in a log, and that an older log begins a newer one.

Whoever has the public key checks them offline; audit/offline.py is the one file that it takes. A proof is
made by letting all leaves pass by once: there is no index of nodes beside the log.
"""

from collections.abc import Iterable
from struct import Struct as Layout

from eventvm.audit.standing import Standing
from eventvm.errors import BadInput, LogDamaged
from eventvm.headway import Headway, untold
from eventvm.logs.signed import notes
from eventvm.merkle import ZERO, Nodes, consistency, inclusion, leaf
from eventvm.record import FORMAT, Record
from eventvm.signing.note import Note, encoded

INCLUSION = "c2sp.org/tlog-proof@v1"
CONSISTENCY = "eventvm/consistency@v1"
LEAVES = "SELECT position, leaf FROM records WHERE position > ? AND position <= ? ORDER BY position LIMIT ?"
LEAVES_AT_ONCE = 10_000
FIXED = Layout(">BQQQQI32sIIIII")
"""The canonical bytes of a record up to its words: docs/log-format.md."""


async def inclusion_proof(log: Standing, position: int, headway: Headway = untold) -> str:
    """Prove that a record is in a log, as C2SP writes it; its canonical bytes come along as the extra."""
    note = await _signed(log)
    size = note.checkpoint.size
    if not 0 < position <= size:
        raise BadInput(f"there is no position {position} to prove: the log is signed from 1 to {size}")
    bytes_ = await _bytes(log, position)
    nodes = await _nodes(log, note, inclusion(position - 1, size), headway)
    head = (INCLUSION, f"extra {encoded(bytes_)}", f"index {position - 1}", *map(encoded, nodes))
    return "\n".join((*head, "", note.written))


async def consistency_proof(log: Standing, older: Note, headway: Headway = untold) -> str:
    """Prove that the log that an older checkpoint was taken of begins this one."""
    note, old = await _signed(log), older.checkpoint
    if not older.signatures:
        raise BadInput("the older checkpoint is not signed: nobody could check the proof offline")
    if old.origin != note.checkpoint.origin:
        raise LogDamaged(f"the older checkpoint is of the log {old.origin}, this is {note.checkpoint.origin}")
    if old.size > note.checkpoint.size:
        end = note.checkpoint.size
        raise LogDamaged(f"the log is signed up to {end}, it was at {old.size}", position=end + 1)
    ranges = consistency(old.size, note.checkpoint.size)
    root, *nodes = await _nodes(log, note, [range(old.size), *ranges], headway)
    if root != old.root:
        raise LogDamaged(f"the log is not the one that was signed at {old.size}", position=1)
    return "\n".join((CONSISTENCY, *map(encoded, nodes), "", older.written, note.written))


async def _signed(log: Standing) -> Note:
    """Give the checkpoint that reaches furthest."""
    kept = await notes(log.ask)
    if not kept:
        raise BadInput(
            "this log is not signed, so nothing of it can be proven: open it with a key, `eventvm keys`"
        )
    return max(kept, key=lambda note: note.checkpoint.size)


async def _bytes(log: Standing, position: int) -> bytes:
    """Give the canonical bytes of a record, which its leaf has to be the hash of."""
    record = await _record(log, position)
    above = (await _record(log, record.previous)).leaf if record.previous else ZERO
    written = canonical(record, above)
    if leaf(written) != record.leaf:
        raise LogDamaged(f"the record at position {position} is not what was hashed", position=position)
    return written


def canonical(record: Record, above: bytes) -> bytes:
    """Write the bytes of a record that are hashed; `above` is the leaf of its stream's record before."""
    words = (
        record.stream.encode(), record.actor.encode(), (record.key or "").encode(), record.digest,
        record.body,
    )  # fmt: skip
    return FIXED.pack(
        FORMAT, record.position, record.version, record.recorded_at, record.cause, record.schema,
        above, *map(len, words),
    ) + b"".join(words)  # fmt: skip


async def _record(log: Standing, position: int) -> Record:
    (record,) = (await log.read(after=position - 1, limit=1)).records
    return record


async def _nodes(log: Standing, note: Note, ranges: Iterable[range], headway: Headway) -> list[bytes]:
    """Fold nodes of the tree that a checkpoint is of, and see that it is of this log's."""
    size = note.checkpoint.size
    nodes = Nodes([range(size), *ranges])
    while nodes.size < size:
        rows = await log.ask(LEAVES, (nodes.size, size, LEAVES_AT_ONCE))
        if not rows:
            raise LogDamaged(
                f"the log ends at {nodes.size}, it was signed at {size}", position=nodes.size + 1
            )
        nodes.take([hashed for _, hashed in rows])
        headway("reading leaves", nodes.size, size)
    root, *wanted = nodes.roots
    if root != note.checkpoint.root:
        raise LogDamaged(f"the log is not the one that was signed at {size}; `eventvm log verify` says where")
    return wanted
