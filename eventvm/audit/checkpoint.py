"""Checkpoints as claims on a log, and the anchor: a file of them, out of the reach of whoever writes the log.

An anchor is lines of JSON, one checkpoint each, and is only added to. Whoever cuts the log off, puts an old
copy of it back or writes it anew cannot bring the anchor along.
"""

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from eventvm.errors import BadInput, LogDamaged, LogUnavailable
from eventvm.logs.signed import signed_by
from eventvm.signing.keys import Keys
from eventvm.signing.note import ORIGIN, Checkpoint, Note, read_note

NOTE_BYTES = 1 << 16
BEGINNING = f'"{ORIGIN}'
"""How each line of an anchor begins."""


class Claim(Struct, frozen=True):
    """What a log has to be at one size, and who says so."""

    size: int
    root: bytes
    by: str
    outside: bool = False
    """Whether it was kept outside the file, where who can write the file cannot write."""


def claimed(note: Note, by: str, *, outside: bool) -> Claim:
    """Take a checkpoint as a claim."""
    return Claim(note.checkpoint.size, note.checkpoint.root, by, outside)


def check_origin(notes: Iterable[Note], origin: str, by: str) -> None:
    """Refuse the checkpoints of another log."""
    for note in notes:
        if note.checkpoint.origin != origin:
            raise LogDamaged(f"{by} speaks of the log {note.checkpoint.origin}, this is {origin}")


def check_signed(notes: Iterable[Note], keys: Keys, by: str) -> None:
    """Refuse checkpoints that others have signed; one that nobody has is worth what its place is worth."""
    for note in notes:
        if keys and note.signatures and signed_by(note, keys) is None:
            raise LogDamaged(
                f"{by} holds a checkpoint at {note.checkpoint.size} that none of the keys has signed"
            )


# --- files -----------------------------------------------------------------------------------------------


def read_checkpoint(path: Path) -> Note:
    """Read a file that holds one checkpoint."""
    try:
        return read_note(_text(path)[:NOTE_BYTES])
    except BadInput as problem:
        raise BadInput(f"{path}: {problem}") from None


def write_checkpoint(path: Path, note: str) -> None:
    """Write a file that holds one checkpoint, whole or not at all."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w") as file:
            file.write(note)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except (OSError, ValueError) as problem:
        raise _unwritten(path, problem) from problem


def read_anchor(path: Path) -> list[Note]:
    """Read the checkpoints in an anchor; a last line that was cut short was never acknowledged."""
    notes = []
    for number, line in enumerate(_whole(_text(path)).splitlines(), start=1):
        try:
            notes.append(read_note(msgspec.json.decode(line, type=str)))
        except (BadInput, msgspec.MsgspecError) as problem:
            raise BadInput(f"{path}, line {number}: {problem}") from None
    return notes


def anchor(path: Path, note: Note) -> bool:
    """Add a checkpoint to an anchor, synced before this returns; False: it is the last one there already.

    One that goes back, or contradicts the last, is refused: that is what an anchor is for.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            return _add(path, file.fileno(), note)
    except (OSError, ValueError) as problem:
        if isinstance(problem, BadInput):
            raise
        raise _unwritten(path, problem) from problem


def _unwritten(path: Path, problem: Exception) -> LogUnavailable:
    return LogUnavailable(f"{path} cannot be written: {getattr(problem, 'strerror', None) or problem}")


def _add(path: Path, descriptor: int, note: Note) -> bool:
    notes, new = read_anchor(path), note.checkpoint
    last = notes[-1].checkpoint if notes else Checkpoint(new.origin, 0, new.root)
    if last.origin != new.origin:
        raise LogDamaged(f"{path} is the anchor of the log {last.origin}, this is {new.origin}")
    if new.size < last.size:
        raise LogDamaged(f"the log ends at {new.size}, {path} knows it at {last.size}", position=new.size + 1)
    if notes and new.size == last.size and new.root != last.root:
        raise LogDamaged(f"the log is not the one that {path} knows at {new.size}")
    if notes and note.written == notes[-1].written:
        return False
    os.ftruncate(descriptor, len(_whole(path.read_text()).encode()))
    os.lseek(descriptor, 0, os.SEEK_END)
    os.write(descriptor, msgspec.json.encode(note.written) + b"\n")
    os.fsync(descriptor)
    return True


def _whole(text: str) -> str:
    """Leave out a last line that was cut short; what never was to be a checkpoint stays."""
    end = text.rfind("\n") + 1
    return text[:end] if text[end:][: len(BEGINNING)] == BEGINNING[: len(text) - end] else text


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except UnicodeDecodeError:
        raise BadInput(f"{path} holds no checkpoint") from None
    except (OSError, ValueError) as problem:
        why = getattr(problem, "strerror", None) or problem
        raise BadInput(f"{path} cannot be read: {why}") from None
