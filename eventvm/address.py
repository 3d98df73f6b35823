"""Where the socket of a log's engine is, and who is at its other end."""

import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

ADDRESS_BYTES = 100
"""What surely fits into a socket's address; Linux takes 107 bytes, macOS 103."""
NAME_BYTES = 64
"""The name of a socket that fits behind the descriptor of its directory."""
SUFFIX = ".socket"
LINUX = sys.platform == "linux"
_UCRED = struct.Struct("3i")


def socket_of(log: str | Path) -> Path:
    """Name the socket beside a log; a long name is shortened to its hash."""
    log = Path(log).absolute()
    name = log.name + SUFFIX
    if len(os.fsencode(name)) > NAME_BYTES:
        name = sha256(os.fsencode(name)).hexdigest()[:32] + SUFFIX
    return log.with_name(name)


@contextmanager
def reached(path: Path) -> Iterator[str]:
    """Give an address for a path; one that is too long is reached through its directory's descriptor."""
    if len(os.fsencode(path)) <= ADDRESS_BYTES:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def bound(path: Path) -> socket.socket:
    """Listen at a path that only its user may reach; the socket of an engine that was killed is replaced."""
    remove(path)
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if LINUX:  # the file is made with the mode that the socket has
            os.fchmod(one.fileno(), stat.S_IRUSR | stat.S_IWUSR)
        with reached(path) as address:
            one.bind(address)
        if not LINUX:
            path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        one.listen(socket.SOMAXCONN)
        one.setblocking(False)  # noqa: FBT003  # its only argument
    except BaseException:
        one.close()
        raise
    return one


def remove(path: Path) -> None:
    """Remove a socket, and nothing but a socket; only who holds the log's lock may."""
    try:
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    except FileNotFoundError:
        return


def owner(one: socket.socket) -> int:
    """Say which user is at the other end; where the kernel does not tell, the file's mode has seen to it."""
    if not LINUX:
        return os.geteuid()
    _, uid, _ = _UCRED.unpack(one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return int(uid)


def trusted(uid: int, *users: int) -> bool:
    """Say whether a user may come in: one of those who are named, or root."""
    return uid in {0, *users}
