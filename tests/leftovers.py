"""What a test run leaves behind, which is nothing: processes, sockets, pipes, locks, directories, groups."""

import errno
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from eventvm.address import SUFFIX, reached
from eventvm.providers.qemu.bridge.wires import WORDS
from eventvm.providers.rundir import LOCK, taken

SECONDS = 5.0
"""How long what is on its way out may take."""
MADE = "machine.json"
PIPES = ("control", WORDS)
GROUPS = Path("/sys/fs/cgroup")


def left(root: Path) -> list[str]:
    """Name what is still there of machines that were made below a directory, once what is going has gone."""
    until = time.monotonic() + SECONDS
    while (found := [*processes(root), *files(root), *groups()]) and time.monotonic() < until:
        os.sched_yield()
    return found


def processes(root: Path) -> Iterator[str]:
    """Name the processes that work below the directory, or know of it by arguments or environment."""
    mark = os.fsencode(root)
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            told, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
            if int(entry.name) != os.getpid() and mark in told + environment + _place(entry):
                yield f"process {entry.name}: {told.replace(bytes(1), b' ').decode(errors='replace')[:200]}"
        except OSError:
            continue


def _place(entry: Path) -> bytes:
    return os.fsencode((entry / "cwd").readlink())


def files(root: Path) -> Iterator[str]:
    """Name sockets, pipes, locks that somebody holds, and directories of machines."""
    for directory, _, names in os.walk(root):
        for path in (Path(directory) / name for name in names):
            if what := _kind(path):
                yield f"{what} {path}"


def _kind(path: Path) -> str:
    try:
        mode = path.lstat().st_mode
        if stat.S_ISSOCK(mode):  # an engine that was killed leaves its own, and the next one replaces it
            return "" if path.name.endswith(SUFFIX) and _deserted(path) else "socket"
        if stat.S_ISFIFO(mode) and path.name in PIPES:
            return "pipe"
        if path.name == MADE:
            return "directory of a machine:"
        return "lock" if path.name == LOCK and taken(path) else ""
    except OSError:
        return ""


def _deserted(path: Path) -> bool:
    """Say whether nobody listens behind a socket."""
    with socket.socket(socket.AF_UNIX) as caller, reached(path) as address:
        return caller.connect_ex(address) == errno.ECONNREFUSED


def groups() -> Iterator[str]:
    """Name the control groups of machines, whoever has made them."""
    for directory, _, _ in os.walk(GROUPS):
        if Path(directory).name.startswith("eventvm-"):
            yield f"control group {directory}"
