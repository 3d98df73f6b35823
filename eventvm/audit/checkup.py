"""A log's surroundings examined: versions, SQLite, the file and what lies beside it; nothing is changed.

Only what can be seen without a lock is looked at: an engine may hold the file, and may open it meanwhile.
"""

import os
import platform
import shutil
import socket
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from eventvm.address import reached, socket_of
from eventvm.audit.finding import Finding, note, well, wrong
from eventvm.errors import BadEntryPoint
from eventvm.installed import LIFECYCLES, PROVIDERS, Installed
from eventvm.logs.filesystem import INSIST, MOUNTS, REMOTE, kind_of
from eventvm.logs.lock import Note
from eventvm.logs.sqlite import CHECKPOINT_PAGES, PAGE_BYTES, PRAGMAS
from eventvm.logs.sqlite_reader import beside

OLDEST_SQLITE = (3, 37, 0)
"""The first that has STRICT tables."""
RESET_MENDED = (3, 51, 3)
"""The first without the WAL-reset bug: two connections that write or checkpoint at once may lose pages."""
LARGE_WAL_BYTES = 8 * CHECKPOINT_PAGES * PAGE_BYTES
LITTLE_BYTES = 64 << 20
"""With less room than this, the next commits may fail."""
PASSING = frozenset({"tmpfs", "ramfs", "overlay"})
"""File systems that may not outlive the host or its container."""
WAL_HEADER = b"\x02\x02"
EXTRAS = ("cryptography", "qemu.qmp")


def checkup(path: Path) -> Iterator[Finding]:
    """Examine the host, and the file of a log with what lies beside it, without opening it as a log."""
    yield from _versions()
    yield _sqlite()
    yield from _settings(path)
    yield from _packages()
    yield from _filesystem(path)
    yield from _file(path)
    yield from _sizes(path)
    held = holder(path)
    yield _lock(path, held=held)
    yield from _socket(path, held=held)


# --- the host -------------------------------------------------------------------------------------------


def _versions() -> Iterator[Finding]:
    host = f"{platform.system()} {platform.release()}"
    told = f"eventvm {version('eventvm')}, Python {platform.python_version()}, {host}"
    extras = ", ".join(f"{name} {found}" if (found := _version(name)) else f"no {name}" for name in EXTRAS)
    yield well("versions", f"{told}; {extras}")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _sqlite() -> Finding:
    what = f"SQLite {sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        return wrong(
            "sqlite", f"{what} has no STRICT tables", "use a Python that is linked with 3.37 or newer"
        )
    if sqlite3.sqlite_version_info < RESET_MENDED:
        return note(
            "sqlite",
            f"{what} has the WAL-reset bug (mended in 3.51.3); the engine avoids it: one connection "
            "writes and checkpoints",
            "let no other program write or checkpoint the file: open it with `sqlite3 -readonly`",
        )
    return well("sqlite", what)


def _settings(path: Path) -> Iterator[Finding]:
    """Set on a database of our own what durability depends on, and believe what is read back."""
    with closing(sqlite3.connect("")) as scratch:
        for name, value in PRAGMAS.items():
            if name != "journal_mode":
                scratch.execute(f"PRAGMA {name} = {value}")
                ((kept,),) = scratch.execute(f"PRAGMA {name}")
                if kept != value:
                    yield wrong(
                        "settings", f"this SQLite keeps {name} at {kept}, eventvm needs {value}",
                        "use a Python with an SQLite of its own, as python.org's is",
                    )  # fmt: skip
    header = _header(path)
    if header and header[18:20] != WAL_HEADER:
        yield wrong(
            "settings",
            "the file is not in WAL mode",
            "open it once with eventvm, and with nothing else that writes",
        )
    else:
        told = ", ".join(f"{name} {value}" for name, value in PRAGMAS.items())
        yield well("settings", f"read back: {told}" if header else f"can be set: {told}")


def _header(path: Path) -> bytes:
    """Read what SQLite says at the file's beginning; no connection is open whose locks that could drop."""
    with suppress(OSError), path.open("rb") as file:
        return file.read(100)
    return b""


def _packages() -> Iterator[Finding]:
    """Load what installed packages offer: what is broken is better found today."""
    installed = Installed()
    for group, load in ((PROVIDERS, installed.provider), (LIFECYCLES, installed.lifecycle)):
        for name in sorted(installed.names(group)):
            try:
                load(name)
            except BadEntryPoint as problem:
                yield note("packages", str(problem), problem.hint)


# --- the file -------------------------------------------------------------------------------------------


def _filesystem(path: Path) -> Iterator[Finding]:
    try:
        kind = kind_of(path.resolve(), MOUNTS.read_text(errors="surrogateescape"))
    except OSError:
        kind = ""
    if kind in REMOTE:
        insisted = f"; {INSIST} insists" if os.environ.get(INSIST) == "allow" else ""
        yield wrong(
            "file system",
            f"{path} lies on {kind}, on another host's disk{insisted}",
            "move it to a local disk",
        )
    elif kind in PASSING:
        yield note(
            "file system",
            f"{path} lies on {kind}, which may go with the host or the container",
            "keep backups elsewhere, or move it",
        )
    else:
        yield well("file system", f"{kind or 'of a kind that nobody tells'}, {path.parent}")
    yield from _room(path)


def _room(path: Path) -> Iterator[Finding]:
    try:
        free = shutil.disk_usage(next(one for one in path.absolute().parents if one.is_dir())).free
    except OSError as problem:
        yield wrong("room", f"{path.parent}: {problem.strerror}", "name a directory that can be read")
        return
    told = f"{_bytes(free)} free"
    if free < LITTLE_BYTES:
        yield wrong("room", told, "make room: a commit that finds none is refused")
    elif free < _size(path):
        yield note("room", f"{told}, less than the log has", "make room, or keep backups on another disk")
    else:
        yield well("room", told)


def _file(path: Path) -> Iterator[Finding]:
    if not _size(path) and not _size(beside(path, "-wal")):
        origin = read_note(path).origin
        if origin:
            yield wrong(
                "file", f"{path} is empty, but the log {origin} lived here",
                "restore a backup with `eventvm log restore`; to begin anew, delete the .lock file beside it",
            )  # fmt: skip
        else:
            yield note("file", f"{path}: there is no log yet", "the first engine that opens it makes one")
        return
    loose = [one for one in _files(path) if _mode(one) & (stat.S_IWGRP | stat.S_IWOTH)]
    for one in loose:
        yield wrong("file", f"others may write to {one}", f"chmod go-w {one}")
    if not loose:
        yield well("file", f"{path}, {stat.filemode(_mode(path) | stat.S_IFREG)[1:]}")


def _files(path: Path) -> list[Path]:
    return [one for one in (path, beside(path, "-wal"), beside(path, "-shm")) if one.exists()]


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _sizes(path: Path) -> Iterator[Finding]:
    log, wal = _size(path), _size(beside(path, "-wal"))
    if not log and not wal:
        return
    told = f"log {_bytes(log)}, WAL {_bytes(wal)}"
    if wal > LARGE_WAL_BYTES:
        yield note("size", told, "a reader keeps the WAL from being cleared: end what has read it for long")
    elif wal and not held_by(path):
        yield note(
            "size", f"{told}; whoever wrote it was killed", "nothing: the next engine takes the WAL over"
        )
    else:
        yield well("size", told)


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:  # noqa: PLR2004  # of the next one
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


# --- who holds it ---------------------------------------------------------------------------------------

LOCKS = Path("/proc/locks")
KNOCK_SECONDS = 1.0


class Holder(msgspec.Struct, frozen=True):
    """Who holds a log, as far as it can be told without touching the lock."""

    pid: int
    said: Note


def read_note(path: Path) -> Note:
    """Read what the lock's file says."""
    with suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(beside(path, ".lock").read_bytes(), type=Note)
    return Note()


def held_by(path: Path) -> int | None:
    """Give the process that holds a log's lock: 0 where nobody can say which, None where nobody holds it."""
    try:
        lock, locks = beside(path, ".lock").stat(), LOCKS.read_text()
    except OSError:
        said = read_note(path)
        return said.pid if said.pid and said.host == socket.gethostname() and _lives(said.pid) else None
    place = f"{os.major(lock.st_dev):02x}:{os.minor(lock.st_dev):02x}:{lock.st_ino}"
    for line in locks.splitlines():
        fields = line.split()
        if "FLOCK" in fields and place in fields and "->" not in fields:
            return max(int(fields[fields.index(place) - 1]), 0)
    return None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def holder(path: Path) -> Holder | None:
    """Say who holds a log."""
    pid = held_by(path)
    return None if pid is None else Holder(pid, read_note(path))


def _lock(path: Path, *, held: Holder | None) -> Finding:
    if held is None:
        last = read_note(path)
        told = f"; the last was process {last.pid} on {last.host}, since {last.since}" if last.pid else ""
        return well("lock", f"no engine holds it{told}")
    said = held.said
    if held.pid in (0, said.pid):
        return well("lock", f"held by process {said.pid} on {said.host}, alive, since {said.since}")
    return note(
        "lock",
        f"held by process {held.pid}; its file says process {said.pid}",
        "a child may have inherited it",
    )


def _socket(path: Path, *, held: Holder | None) -> Iterator[Finding]:
    door = socket_of(path)
    try:
        found = door.lstat()
    except OSError:
        if held is not None:
            yield note("socket", "the engine has none: nobody can act through it from another process")
        return
    if not stat.S_ISSOCK(found.st_mode):
        yield wrong("socket", f"{door} is no socket", "move it away: it is not the engine's")
    elif stat.S_IMODE(found.st_mode) & 0o077:
        yield wrong("socket", f"others may use {door}", f"chmod 600 {door}")
    else:
        yield _asked(door, held=held)


def _asked(door: Path, *, held: Holder | None) -> Finding:
    """Knock at an engine's socket, and go away again."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as one:
        one.settimeout(KNOCK_SECONDS)
        try:
            with reached(door) as address:
                one.connect(address)
        except (ConnectionRefusedError, FileNotFoundError, TimeoutError, BlockingIOError):
            if held is None:
                told = f"{door.name} is left of an engine that was killed"
                return note("socket", told, "nothing: the next one replaces it")
            told = f"the engine does not answer at {door.name}"
            return wrong("socket", told, "look whether it hangs, or is stopped")
        except OSError as problem:
            return note("socket", f"{door.name} is there, and cannot be asked: {problem}")
    return well("socket", f"{door.name} answers")
