"""The lock beside a log's file: held for life by the one engine that may write to it."""

import fcntl
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from eventvm.errors import LogHeld, LogUnavailable

NOTE_BYTES = 1024
"""A note is padded with blanks to this, so that one write replaces it and no reader meets half of it."""


class Note(Struct, omit_defaults=True):
    """What the lock's file says, for whoever finds it taken."""

    pid: int = 0
    host: str = ""
    since: str = ""
    origin: str = ""
    """The log that was last seen here; kept when the lock is let go."""


class FileLock:
    """An exclusive lock that the kernel drops with the process that holds it."""

    def __init__(self, path: Path, descriptor: int, note: Note) -> None:
        self.path = path
        self._descriptor = descriptor
        self._note = note

    @property
    def origin(self) -> str:
        """The log that was last seen behind this lock."""
        return self._note.origin

    @classmethod
    def take(cls, log: Path) -> "FileLock":
        """Take the lock of a log, or say who holds it."""
        path = log.with_name(log.name + ".lock")
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as problem:
            raise LogUnavailable(f"{log} cannot be locked: {problem.strerror} ({path.parent})") from problem
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            note = _read(descriptor)
            os.close(descriptor)
            holder = f"process {note.pid} on {note.host} since {note.since}"
            raise LogHeld(str(log), holder) from problem
        origin = _read(descriptor).origin
        since = datetime.now(UTC).isoformat(timespec="seconds")
        lock = cls(path, descriptor, Note(os.getpid(), socket.gethostname(), since, origin))
        lock.mark(origin)
        return lock

    def mark(self, origin: str) -> None:
        """Note which log lives here, so that its loss would be noticed."""
        self._note.origin = origin
        os.pwrite(self._descriptor, msgspec.json.encode(self._note).ljust(NOTE_BYTES), 0)

    def release(self) -> None:
        """Let go; the file stays and goes on telling which log lives here."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _read(descriptor: int) -> Note:
    try:
        return msgspec.json.decode(os.pread(descriptor, NOTE_BYTES, 0), type=Note)
    except msgspec.DecodeError:
        return Note()
