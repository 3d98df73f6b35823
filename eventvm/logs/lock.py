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

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._held = False
        self._note = Note()

    @property
    def origin(self) -> str:
        """The log that was last seen behind this lock."""
        return self._note.origin

    @classmethod
    def take(cls, log: Path) -> "FileLock":
        """Take the lock of a log, or say who holds it."""
        path = log.with_name(log.name + ".lock")
        try:
            lock = cls(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            try:
                lock._hold(log)
            except BaseException:
                lock.release()
                raise
        except OSError as problem:
            raise LogUnavailable(f"{log} cannot be locked: {problem.strerror} ({path.parent})") from problem
        return lock

    def _hold(self, log: Path) -> None:
        self._held = locked(self.path, self._descriptor)
        note = _read(self._descriptor)
        if not self._held:
            raise LogHeld(str(log), f"process {note.pid} on {note.host} since {note.since}")
        since = datetime.now(UTC).isoformat(timespec="seconds")
        self._note = Note(os.getpid(), socket.gethostname(), since, note.origin)
        self.mark(note.origin)

    def mark(self, origin: str) -> None:
        """Note which log lives here, so that its loss would be noticed."""
        self._note.origin = origin
        os.pwrite(self._descriptor, msgspec.json.encode(self._note).ljust(NOTE_BYTES), 0)

    def release(self) -> None:
        """Let go; a file that tells which log lives here stays and goes on telling it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        if self._held and not self.origin:
            self.path.unlink(missing_ok=True)
        os.close(descriptor)


def locked(path: Path, descriptor: int) -> bool:
    """Lock the file, and see that it still is the one at the path: who had it may have moved it away."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except (BlockingIOError, FileNotFoundError):
        return False


def _read(descriptor: int) -> Note:
    try:
        return msgspec.json.decode(os.pread(descriptor, NOTE_BYTES, 0), type=Note)
    except msgspec.DecodeError:
        return Note()
