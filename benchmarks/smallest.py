"""The smallest program with the same promises: what a durable command costs before there is an engine.

It knows one kind of machine and nothing else: no refusal, no names, keys or limits, no readers, no recovery.
It keeps what makes the promises: a future for each caller, the group commit, the file format with its guards,
the body as JSON, the leaf of each record and the tree. And what its statements alone cost, made beforehand.
"""

import asyncio
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
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


class Lamp(Struct):
    """A machine, and the end of its stream."""

    id: int
    phase: str = "off"
    version: int = 0
    position: int = 0
    leaf: bytes = ZERO

    def move(self, phase: str, position: int, hashed: bytes) -> None:
        """Be what a durable record says."""
        self.phase, self.version, self.position, self.leaf = phase, self.version + 1, position, hashed


def said(clock: Clock, phase: str) -> bytes:
    """Write down that a lamp moves."""
    return encode(Transitioned(at=clock.now(), reason=REASON, to=phase))


Wish = tuple[Lamp, bytes, str, asyncio.Future[int]]
Written = tuple[Lamp, bytes]
"""A lamp, and what the log is told of it."""


def row(tree: Tree, written: Sequence[Written]) -> tuple[list[bytes], tuple[Any, ...]]:
    """Give the leaves of a batch, by which the tree grows, and the batch as SQLite takes it."""
    before, now = tree.size, time.time_ns()
    rows, leaves = [], []
    for position, (lamp, body) in enumerate(written, start=before + 1):
        name, version = str(lamp.id), lamp.version + 1
        hashed = leaf(
            position, name, version, now, "engine", body,
            key=None, digest=b"", cause=0, schema=SCHEMA, previous=lamp.leaf,
        )  # fmt: skip
        leaves.append(hashed)
        rows.append((lamp.id, version, lamp.position, now, "engine", None, 0, SCHEMA, body.decode(), None))
    tree.append(leaves)
    streams = [(lamp.id, str(lamp.id)) for lamp, _ in written if not lamp.version]
    head = (tree.size, tree.root, tree.packed)
    return leaves, (before, as_json(streams), as_json(rows), b"".join(leaves), b"", "[]", "[]", *head)


class Smallest:
    """Lamps over one file."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self._clock = Clock()
        self._tree = Tree()
        self._queue: list[Wish] = []
        self._gathered = asyncio.Event()

    async def switch(self, lamp: Lamp) -> int:
        """Move a lamp, and give the position of the record that says so once it is durable."""
        phase = other(lamp.phase)
        body = said(self._clock, phase)
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.append((lamp, body, phase, answer))
        self._gathered.set()
        return await answer

    async def write(self) -> None:
        """Commit whatever has gathered, for ever."""
        while True:
            await self._gathered.wait()
            self._gathered.clear()
            batch, self._queue = self._queue, []
            await self._commit(batch)

    async def _commit(self, batch: list[Wish]) -> None:
        before = self._tree.size
        leaves, work = row(self._tree, [(lamp, body) for lamp, body, *_ in batch])
        await self._connection.execute(APPEND, work)
        for position, ((lamp, _, phase, answer), hashed) in enumerate(
            zip(batch, leaves, strict=True), before + 1
        ):
            lamp.move(phase, position, hashed)
            answer.set_result(position)


async def smallest(room: Room, path: Path, *, callers: int, machines: int, count: int) -> float:
    """Give its commands per second, round robin over its lamps, each of which was switched before."""
    await _made(path)
    async with aiosqlite.connect(path, isolation_level=None) as connection:
        for name, value in PRAGMAS.items():
            await connection.execute(f"PRAGMA {name} = {value}")
        await connection.executescript(APPENDING)
        program = Smallest(connection)
        writing = asyncio.create_task(program.write())
        lamps = [Lamp(id_) for id_ in range(1, machines + 1)]
        await spread(callers, lamps, program.switch)
        with room.timing(lasting=True) as timing:
            await spread(callers, (lamps[at % machines] for at in range(count)), program.switch)
        writing.cancel()
        await asyncio.wait({writing})
        return count / timing.seconds


def statements(room: Room, path: Path, *, batch: int, machines: int, count: int) -> float:
    """Give the rows per second of the statement that appends, so many in each, with nothing around it."""
    asyncio.run(_made(path))
    lamps = [Lamp(id_) for id_ in range(1, machines + 1)]
    works = list(_works(lamps, batch, count))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for name, value in PRAGMAS.items():
            connection.execute(f"PRAGMA {name} = {value}")
        connection.executescript(APPENDING)
        with room.timing(lasting=True) as timing:
            for work in works:
                connection.execute(APPEND, work)
        return count / timing.seconds


async def _made(path: Path) -> None:
    async with open_log(path):
        pass


def _works(lamps: list[Lamp], batch: int, count: int) -> Iterator[tuple[Any, ...]]:
    clock, tree = Clock(), Tree()
    left = islice(cycle(lamps), count)
    while some := list(islice(left, batch)):
        before, phases = tree.size, [other(lamp.phase) for lamp in some]
        leaves, work = row(
            tree, [(lamp, said(clock, phase)) for lamp, phase in zip(some, phases, strict=True)]
        )
        for position, (lamp, phase, hashed) in enumerate(zip(some, phases, leaves, strict=True), before + 1):
            lamp.move(phase, position, hashed)
        yield work
