"""Real files, real processes: what the tests of both share."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from eventvm import Process
from eventvm.log import EventLog, Replay
from eventvm.logs import open_log
from eventvm.record import Record
from eventvm.testing import contract_log

sys.path.insert(0, str(Path(__file__).parent))  # tests are no package: what they share is found so

from process_world import destroyed, inside, open_still, running_with

PREAMBLE = """
import asyncio, json, os, resource, signal, sqlite3, sys
from eventvm.errors import *
from eventvm.events import Transitioned
from eventvm.log import Append
from eventvm.logs import open_log
from eventvm.observation import Instant

path = sys.argv[1]

def adding(stream, version, *marks, **more):
    events = tuple(Transitioned(at=Instant(1, 1, "boot"), to=mark) for mark in marks or ("x",))
    return Append(stream, events, version, **more)

def say(**what):
    print(json.dumps(what), flush=True)

async def told():
    return (await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)).strip()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.db"


@pytest.fixture
def directory(tmp_path):
    """Where the processes of a test are kept."""
    return tmp_path / "run"


@pytest.fixture
def provider(directory):
    return Process(directory)


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A directory with the demo's log and one that is empty, which are only read."""
    where = tmp_path_factory.mktemp("place")
    subprocess.run(
        [sys.executable, "-m", "eventvm", "demo", "--file", "demo.db"],
        cwd=where,
        check=True,
        capture_output=True,
    )

    async def begin():
        async with open_log(where / "empty.db"):
            pass

    asyncio.run(begin())
    return where


@pytest.fixture
def nothing_is_left(directory, tmp_path, monkeypatch):
    """Whatever a test did: no process, no directory, no lock and no descriptor of ours outlives it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # what every process of this test inherits
    yield
    asyncio.run(destroyed(directory))
    marked = os.fsencode(tmp_path)
    assert [*running_with(marked, "cmdline"), *running_with(marked, "environ")] == []
    assert inside(directory) == []
    assert open_still(directory) == []


@pytest.fixture
def adding():
    """Make an append: a stream, the version that it must be at, and what its events say."""
    return contract_log.adding


@pytest.fixture
def raw(path) -> Callable[..., list]:
    """Run statements on the file with the sqlite3 module, as anybody could; gives the rows of the last."""

    def run(*statements: str, writable: bool = False) -> list:
        mode = "rwc" if writable else "ro"
        with closing(
            sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, isolation_level=None)
        ) as connection:
            for statement in statements[:-1]:
                connection.execute(statement)
            return connection.execute(statements[-1]).fetchall()

    return run


@pytest.fixture
def replayed() -> Callable:
    """Every record of a log, each leaf and the root verified."""

    async def replay(log: EventLog) -> list[Record]:
        return [record async for page in Replay(log) for record in page]

    return replay


@pytest.fixture
def elsewhere(path):
    """Run code in another process: it says JSON lines and is told lines."""

    @asynccontextmanager
    async def run(code: str) -> AsyncIterator["Elsewhere"]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-c", PREAMBLE + code, str(path),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            yield Elsewhere(process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    return run


class Elsewhere:
    """A conversation with another process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def says(self) -> dict:
        line = await self.process.stdout.readline()
        assert line, "the other process has ended; see its stderr"
        return json.loads(line)

    async def tell(self, line: str = "") -> None:
        self.process.stdin.write(f"{line}\n".encode())
        await self.process.stdin.drain()
