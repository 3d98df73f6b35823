"""The smallest program with the same promises: what a durable command costs before there is an engine.

It knows one kind of machine and nothing else: no refusal, no names, keys or limits, no readers, no recovery.
It keeps what makes the promises: a future for each caller, the group commit, the file format with its guards,
the body as JSON, the leaf of each record and the tree. And what its statements cost without the program.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import aiosqlite
from msgspec import Struct

from benchmarks.harness import Room
from benchmarks.load import REASON, other, spread
from eventvm.clock import Clock
from eventvm.events import SCHEMA, Transitioned, encode
from eventvm.logs import open_log
from eventvm.logs.sqlite import PRAGMAS
from eventvm.logs.sqlite_append import APPEND, APPENDING, as_json
from eventvm.merkle import ZERO, Tree
from eventvm.record import leaf

SETUP = "".join(f"PRAGMA {name} = {value};" for name, value in PRAGMAS.items()) + APPENDING
"""What a connection needs before it can append."""


class Lamp(Struct):
    """A machine, and the end of its stream."""

    id: int
    phase: str = "off"
    version: int = 0
    position: int = 0
    leaf: bytes = ZERO


Wish = tuple[Lamp, bytes, str, asyncio.Future[int]]


class Taken:
    """In the place of a connection: takes down what would be written."""

    def __init__(self) -> None:
        self.works: list[tuple[Any, ...]] = []

    async def execute(self, _: str, work: tuple[Any, ...]) -> None:
        """Take down what one statement would write."""
        self.works.append(work)


class Smallest:
    """Lamps over one file."""

    def __init__(self, connection: aiosqlite.Connection | Taken) -> None:
        self._connection = connection
        self._clock = Clock()
        self._tree = Tree()
        self._queue: list[Wish] = []
        self._gathered = asyncio.Event()

    async def switch(self, lamp: Lamp) -> int:
        """Move a lamp, and give the position of the record that says so once it is durable."""
        phase = other(lamp.phase)
        body = encode(Transitioned(at=self._clock.now(), reason=REASON, to=phase))
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.append((lamp, body, phase, answer))
        self._gathered.set()
        return await answer

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Commit whatever has gathered, until this is left."""
        writing = asyncio.create_task(self._write())
        yield
        writing.cancel()
        await asyncio.wait({writing})

    async def _write(self) -> None:
        while True:
            await self._gathered.wait()
            self._gathered.clear()
            batch, self._queue = self._queue, []
            await self._commit(batch)

    async def _commit(self, batch: list[Wish]) -> None:
        before, now = self._tree.size, time.time_ns()
        rows, leaves = [], []
        for position, (lamp, body, _, _) in enumerate(batch, start=before + 1):
            name, version = str(lamp.id), lamp.version + 1
            hashed = leaf(
                position, name, version, now, "engine", body,
                key=None, digest=b"", cause=0, schema=SCHEMA, previous=lamp.leaf,
            )  # fmt: skip
            leaves.append(hashed)
            rows.append(
                (lamp.id, version, lamp.position, now, "engine", None, 0, SCHEMA, body.decode(), None)
            )
        self._tree.append(leaves)
        streams = [(lamp.id, str(lamp.id)) for lamp, *_ in batch if not lamp.version]
        tree = (self._tree.size, self._tree.root, self._tree.packed)
        work = (before, as_json(streams), as_json(rows), b"".join(leaves), b"", "[]", "[]", *tree)
        await self._connection.execute(APPEND, work)
        for position, ((lamp, _, phase, answer), hashed) in enumerate(
            zip(batch, leaves, strict=True), before + 1
        ):
            lamp.phase, lamp.version, lamp.position, lamp.leaf = phase, lamp.version + 1, position, hashed
            answer.set_result(position)


async def smallest(room: Room, path: Path, *, callers: int, machines: int, count: int) -> float:
    """Give its commands per second, round robin over its lamps, each of which was switched before."""
    await _made(path)
    async with aiosqlite.connect(path, isolation_level=None) as connection:
        await connection.executescript(SETUP)
        program = Smallest(connection)
        lamps = [Lamp(id_) for id_ in range(1, machines + 1)]
        async with program.at_work():
            await spread(callers, lamps, program.switch)
            with room.timing(lasting=True) as timing:
                await spread(callers, islice(cycle(lamps), count), program.switch)
        return count / timing.seconds


async def statements(room: Room, path: Path, *, callers: int, machines: int, count: int) -> float:
    """Give the records per second of what the program would write, taken down before the clock starts."""
    await _made(path)
    taken, lamps = Taken(), [Lamp(id_) for id_ in range(1, machines + 1)]
    program = Smallest(taken)
    async with program.at_work():
        await spread(callers, islice(cycle(lamps), count), program.switch)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(SETUP)
        with room.timing(lasting=True) as timing:
            for work in taken.works:
                connection.execute(APPEND, work)
        return count / timing.seconds


Program = Callable[..., Coroutine[Any, Any, float]]
"""One of these two."""


async def _made(path: Path) -> None:
    async with open_log(path):
        pass
