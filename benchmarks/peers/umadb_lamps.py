"""umadb: its own server in a process beside us, and its Python client, a thread for each caller.

Its client blocks, so a caller is a thread. Each append has the condition that the lamp has no later event,
which is what an expected version says here. The server has no setting for durability: it syncs each commit.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from socket import create_server
from threading import Event

import umadb

from benchmarks.harness import Room
from benchmarks.load import other
from benchmarks.raw import rows

START_SECONDS = 10
SERVE = "import sys, umadb; umadb.run_server_from_args(['umadb', *sys.argv[1:]])"


@contextmanager
def server(path: Path) -> Iterator[str]:
    """Run a server on a free port of this host, and give its address."""
    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ("--listen", f"127.0.0.1:{port}", "--db-path", str(path))
    command = [sys.executable, "-c", SERVE, *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603  # our own words
    try:
        url = f"http://127.0.0.1:{port}"
        _await(url)
        yield url
    finally:
        process.terminate()
        process.wait()


def _await(url: str) -> None:
    """Wait until the server answers."""
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            umadb.Client(url).head()
        except umadb.TransportError:
            if time.monotonic() > until:
                raise
            Event().wait(0.05)
        else:
            return


def appended_each(room: Room, *, callers: int, count: int) -> float:
    """Give events per second, one in each append, each caller with a lamp of its own."""
    body = next(rows(1, 1))[10].encode()
    with room.files() as directory, server(directory / "uma") as url:
        clients = [umadb.Client(url) for _ in range(callers)]
        with ThreadPoolExecutor(callers) as threads, room.timing() as timing:
            each = [count // callers] * callers
            list(threads.map(_switch, clients, range(callers), each, [body] * callers))
        return count // callers * callers / timing.seconds


def _switch(client: umadb.Client, caller: int, count: int, body: bytes) -> None:
    tag, after, phase = f"lamp-{caller}", None, "off"
    lamp = umadb.Query(items=[umadb.QueryItem(tags=[tag])])
    for _ in range(count):
        phase = other(phase)
        event = umadb.Event(event_type=f"lamp.{phase}", tags=[tag], data=body)
        after = client.append([event], umadb.AppendCondition(fail_if_events_match=lamp, after=after))
