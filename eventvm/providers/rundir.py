"""Run directories: what a provider keeps of its machines on disk, found again from a machine's id alone.

A directory appears whole and goes whole. Whoever holds its lock owns the machine: the lock is taken before
anything is launched, is inherited by what is launched, and falls with the last process that has it open.
"""

import fcntl
import os
import re
import secrets
import shutil
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from eventvm.durable import sync_directory
from eventvm.errors import BadInput

LOCK = "lock"
"""The name of the lock in each run directory."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_FLOCK = struct.Struct("hhqqi4x")


def state_directory() -> Path:
    """Say where this user's programs keep what should outlive them."""
    told = os.environ.get("XDG_STATE_HOME", "")
    return (Path(told) if os.path.isabs(told) else Path.home() / ".local/state") / "eventvm"  # noqa: PTH117


class RunDirectories:
    """One directory for each machine below a root that only its user may enter."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def of(self, id: str) -> Path:  # noqa: A002  # the word of the domain
        """Name the directory of a machine; an id that could lead elsewhere is refused."""
        if not _ID.fullmatch(id):
            raise BadInput(f"{id!r} cannot name a run directory: letters, digits, - and _ are taken")
        return self.root / id

    def ids(self) -> Iterator[str]:
        """Give the machines that have a directory, those half made or half removed left out."""
        with suppress(FileNotFoundError), os.scandir(self.root) as entries:
            yield from sorted(entry.name for entry in entries if _ID.fullmatch(entry.name))

    def make(self, id: str, files: Mapping[str, bytes]) -> Path:  # noqa: A002
        """Make a machine's directory with all its first files, durably; one that is there already stays."""
        path = self.of(id)
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self.root / f".new-{id}-{secrets.token_hex(4)}"
        fresh.mkdir(mode=0o700)
        try:
            for name, data in files.items():
                write_durably(fresh / name, data)
            fresh.rename(path)
        except BaseException as problem:
            shutil.rmtree(fresh, ignore_errors=True)
            if not (isinstance(problem, OSError) and path.is_dir()):
                raise
        sync_directory(self.root)
        return path

    def remove(self, id: str) -> None:  # noqa: A002
        """Remove a machine's directory with all that is in it; doing it twice is a success."""
        path = self.of(id)
        gone = self.root / f".gone-{id}"
        shutil.rmtree(gone, ignore_errors=True)
        try:
            path.rename(gone)
        except FileNotFoundError:
            return
        sync_directory(self.root)
        shutil.rmtree(gone, ignore_errors=True)


def belongs_elsewhere(owner: str, own: str) -> bool:
    """Say whether a machine belongs to another log than one's own, which is still there to know it."""
    return owner not in ("", own) and Path(owner).exists()


def write_durably(path: Path, data: bytes) -> None:
    """Put a file in place whole or not at all; it is on the disk when this returns."""
    fresh = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def take(path: Path) -> int | None:
    """Take a lock and give its descriptor, or None where somebody holds it.

    The lock belongs to the open file, not to this process: pass the descriptor to what is launched, close
    it here, and the lock lives exactly as long as the launched process keeps it open.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def taken(path: Path) -> bool:
    """Say whether somebody holds a lock, without touching it."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind: int = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked))[0]
        return kind != fcntl.F_UNLCK
    finally:
        os.close(descriptor)
