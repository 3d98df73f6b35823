"""A process in a sandbox: bubblewrap's command line, and what keeps one from being had here."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from eventvm.spec import Sandbox

BINARY = "bwrap"
INNER = Path(__file__).with_name("process_inner.py")
INSIDE = "/run/eventvm.py"
"""Where the first process of a sandbox finds its own program."""
PRIVATE = ("/tmp", "/run")  # noqa: S108  # these are the sandbox's own
"""What each sandbox has for itself: here are the sockets and pipes of the host, which no mount guards."""
RESOLVER = "/run/systemd/resolve"
PROOF_SECONDS = 5.0

BARE = ("--unshare-all", "--die-with-parent", "--cap-drop", "ALL", "--ro-bind", "/", "/")


def objection(sandbox: Sandbox) -> str:
    """Say why this host cannot give such a sandbox; empty where it can."""
    for path in (*sandbox.writable, *sandbox.hidden):
        if not (os.path.isabs(path) and Path(path).exists()):  # noqa: PTH117
            return f"sandbox: {path} is no absolute path of what is there"
    return _unusable(shutil.which(BINARY))


@cache
def _unusable(program: str | None) -> str:
    """Say why no sandbox can be had at all: a program that is there proves nothing, so one is tried."""
    if program is None:
        return f"sandbox: {BINARY} is missing: apt install bubblewrap"
    try:
        tried = subprocess.run(  # noqa: S603  # the arguments are this module's own
            [program, *BARE, "--", "true"], capture_output=True, text=True, timeout=PROOF_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"sandbox: {BINARY} does not work here: it did nothing for {PROOF_SECONDS:g} s"
    said = tried.stderr.strip().removeprefix("bwrap: ") or f"it ended with {tried.returncode}"
    return "" if tried.returncode == 0 else f"sandbox: {BINARY} does not work here: {said}"


def argv(sandbox: Sandbox, directory: str, kept: Path) -> list[str]:
    """Give the command line up to the descriptors and the command; what is `kept` of machines is hidden."""
    python = os.path.realpath(sys.executable)
    return [
        shutil.which(BINARY) or BINARY, *BARE, *_devices(sandbox),
        *_hidden((*PRIVATE, *sandbox.hidden)), *_resolver(sandbox), *_interpreter(sandbox),
        *_writable(sandbox), *_hidden((str(kept),)),
        "--ro-bind", str(INNER), INSIDE, "--chdir", directory, "--as-pid-1",
        "--", python, "-I", "-S", INSIDE,
    ]  # fmt: skip


def _devices(sandbox: Sandbox) -> Iterator[str]:
    yield from ("--dev", "/dev", "--proc", "/proc")
    if sandbox.network:
        yield "--share-net"


def _hidden(paths: tuple[str, ...]) -> Iterator[str]:
    for path in paths:
        yield from ("--tmpfs", path)


def _resolver(sandbox: Sandbox) -> Iterator[str]:
    """Let names be resolved where there is a network: the host's own file may point to here."""
    if sandbox.network:
        yield from ("--ro-bind-try", RESOLVER, RESOLVER)


def _interpreter(sandbox: Sandbox) -> Iterator[str]:
    """Show the interpreter that the first process runs by, where its place is hidden."""
    place = Path(sys.base_prefix)
    if any(place.is_relative_to(one) for one in (*PRIVATE, *sandbox.hidden)):
        yield from ("--ro-bind", str(place), str(place))


def _writable(sandbox: Sandbox) -> Iterator[str]:
    for path in sandbox.writable:
        yield from ("--bind", path, path)
