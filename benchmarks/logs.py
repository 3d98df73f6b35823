"""Logs of any length, written fast: real records through the log port, many events in each append.

A log is built once, and kept in the cache if there is one. What it holds are lamps that live and are
switched off, and the kept view that an engine leaves behind when it is closed.
"""

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

import eventvm
from benchmarks.harness import Room
from benchmarks.load import LAMP, REASON, other
from eventvm.clock import Clock
from eventvm.events import Created, Event, Transitioned
from eventvm.log import Append, EventLog, Ticket
from eventvm.logs import open_log

PASS = 50
"""Events in one append; even, so that a lamp is off again after it."""
IN_FLIGHT = 3200
"""Events that are queued at once: enough for whole batches, bounded however long the log is."""


def log_of(room: Room, *, machines: int, events: int = 0) -> Path:
    """Give a log that holds so many lamps and at least so many events; it is not to be written to."""
    path = room.cache / f"lamps-{machines}-{events}.db"
    if not path.exists():
        with room.files() as directory:
            asyncio.run(_build(directory / path.name, machines, events))
            shutil.move(directory / path.name, path)
    return path


@contextmanager
def copied(room: Room, *, machines: int, events: int = 0) -> Iterator[Path]:
    """Lend a copy of such a log, on the disk before it is lent, so that nobody pays for its making."""
    source = log_of(room, machines=machines, events=events)
    with room.files() as directory:
        copy = Path(shutil.copyfile(source, directory / "fleet.db"))
        with copy.open("rb+") as file:
            os.fsync(file.fileno())
        yield copy


async def _build(path: Path, machines: int, events: int) -> None:
    async with eventvm.open(path, lifecycles=[LAMP]) as engine:
        first = await engine.create("lamp-0", lifecycle="lamp")
    async with open_log(path) as log:
        ids = [first.id, *await _born(log, first.id, machines - 1)]
        await _live(log, ids, events)
    async with eventvm.open(path, lifecycles=[LAMP]) as engine:
        assert engine.log.tree.size >= events, "the log is as long as it was asked to be"


async def _born(log: EventLog, first: str, count: int) -> list[str]:
    """Let more lamps be created as the first one was."""
    (record,) = (await log.read(stream=first)).records
    assert isinstance(record.event, Created)
    clock, ids, queue = Clock(), [], Queue(log)
    for at in range(1, count + 1):
        ids.append(clock.id())
        created: Event = replace(record.event, name=f"lamp-{at}", at=clock.now())
        await queue.put(Append(ids[-1], (created,), 0, "engine", claims=(f"lamp-{at}",)))
    await queue.end()
    return ids


async def _live(log: EventLog, ids: list[str], events: int) -> None:
    """Switch the lamps, one after the other and pass after pass, until the log is long enough."""
    queue, clock, version, size = Queue(log), Clock(), 1, log.tree.size
    while size < events:
        for id_ in ids:
            if size >= events:
                break
            await queue.put(Append(id_, tuple(_switches(clock)), version, "engine"))
            size += PASS
        version += PASS
    await queue.end()


def _switches(clock: Clock) -> Iterator[Event]:
    phase = "off"
    for _ in range(PASS):
        phase = other(phase)
        yield Transitioned(at=clock.now(), reason=REASON, to=phase)


class Queue:
    """Appends in flight, a bounded number of them."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._tickets: list[Ticket] = []
        self._events = 0

    async def put(self, append: Append) -> Ticket:
        """Queue one more, once there is room."""
        if self._events >= IN_FLIGHT:
            await self.end()
        ticket = self._log.append(append)
        self._tickets.append(ticket)
        self._events += len(append.events)
        return ticket

    async def end(self) -> None:
        """Wait until all that is queued is written."""
        for ticket in self._tickets:
            await ticket
        self._tickets.clear()
        self._events = 0
