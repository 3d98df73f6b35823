"""A signed log: each commit carries a checkpoint of the tree, signed in the same transaction.

The tree moves by one UPDATE in each commit. A temporary trigger of the writing connection follows it, calls
back into the signing key, and puts the note beside the log: on the writer's thread, once for a whole batch,
and with nothing that a commit could forget. A log that has no key has no trigger, and pays nothing.

Only the last checkpoint of each key is kept. An earlier one would help nobody but whoever wants to cut the
log off just there.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiosqlite

from eventvm.errors import BadInput, LogDamaged, NotSigned
from eventvm.logs.sqlite_reader import translated
from eventvm.signing.keys import Keys, Signer
from eventvm.signing.note import Checkpoint, Note, PublicKey, read_note, signer

LAYOUT = """
    CREATE TABLE IF NOT EXISTS checkpoints(
        key TEXT PRIMARY KEY,             -- the id of a public key, in hex
        note TEXT NOT NULL                -- the last checkpoint that it has signed
    ) STRICT
"""
SIGN = (
    "INSERT OR REPLACE INTO checkpoints SELECT {key}, eventvm_signed({tree}.origin, {tree}.size, {tree}.root)"
)
FOLLOW = "CREATE TEMP TRIGGER commits_are_signed AFTER UPDATE ON main.tree BEGIN {sign}; END"
LAID_OUT = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'checkpoints'"
NOTES = "SELECT key, note FROM checkpoints ORDER BY key"
HEAD = "SELECT origin, size, root FROM tree"

Ask = Callable[[str], Awaitable[Any]]


async def begin_signing(connection: aiosqlite.Connection, path: Path, signing: Signer, vouched: int) -> None:
    """Have every commit of a connection signed; what nobody has signed so far is refused.

    `vouched` is the size up to which whoever opens the log vouches for what is there.
    """
    ask = connection.execute_fetchall
    with translated(path):
        ((origin, size, root),) = await ask(HEAD)
        head = Checkpoint(origin, size, root)
        if size != vouched:
            refuse_unsigned(head, await notes(ask), signing.keys)
        await connection.create_function("eventvm_signed", 3, _signing(signing))
        sign = SIGN.replace("{key}", f"'{signing.key.public.id.hex()}'")
        await connection.execute(LAYOUT)
        await connection.execute(f"{sign.replace('{tree}', 'tree')} FROM tree")
        await connection.execute(FOLLOW.replace("{sign}", sign.replace("{tree}", "NEW")))


def _signing(signing: Signer) -> Callable[[str, int, bytes], str]:
    signed = signing.key.signed
    return lambda origin, size, root: signed(Checkpoint(origin, size, root))


async def notes(ask: Ask) -> list[Note]:
    """Read the checkpoints beside a log, none of them believed; there are none where it was never signed."""
    if not await ask(LAID_OUT):
        return []
    return [_read(key, note) for key, note in await ask(NOTES)]


def _read(key: str, written: Any) -> Note:
    if not isinstance(written, str):
        raise LogDamaged(f"the checkpoint of the key {key} is no text")
    try:
        note = read_note(written)
    except BadInput as problem:
        raise LogDamaged(f"the checkpoint of the key {key} cannot be read: {problem}") from problem
    if [one.id.hex() for one in note.signatures] != [key]:
        raise LogDamaged(f"what is kept as the checkpoint of the key {key} is not signed by it")
    return note


def refuse_unsigned(head: Checkpoint, kept: list[Note], keys: Keys) -> PublicKey | None:
    """Give the newest of these keys that has signed a log to its end; None: it is empty, and nobody has."""
    signed = [(by, note.checkpoint) for note in kept if (by := signed_by(note, keys)) is not None]
    for by, checkpoint in signed:
        _compare(head, checkpoint, by)
    if to_the_end := [by for by, checkpoint in signed if checkpoint == head]:
        return max(to_the_end, key=keys.index)
    if not head.size:
        return None
    last = max((checkpoint.size for _, checkpoint in signed), default=0)
    raise NotSigned(f"what follows position {last} is not signed by {keys[-1].title}", position=last + 1)


def _compare(head: Checkpoint, signed: Checkpoint, by: PublicKey) -> None:
    """Refuse a head that cannot be a later one of the log that was signed."""
    if signed.origin != head.origin or (signed.size == head.size and signed.root != head.root):
        raise LogDamaged(f"the tree is not the one that {by.title} has signed at {signed.size}")
    if signed.size > head.size:
        raise LogDamaged(
            f"the log ends at {head.size}, and was signed at {signed.size}: its end is lost",
            position=head.size + 1,
        )


def signed_by(note: Note, keys: Keys) -> PublicKey | None:
    """Give the newest of these keys that has signed; a forged signature is damage."""
    try:
        return signer(note, keys)
    except BadInput as problem:
        raise LogDamaged(f"a checkpoint at {note.checkpoint.size} is forged: {problem}") from problem
