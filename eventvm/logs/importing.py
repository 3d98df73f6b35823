"""Importing: what another log held becomes a log of the same bytes, positions, hashes, names and keys.

The file comes into being whole or not at all, and is read back and verified before it takes its place.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from eventvm.clock import Clock
from eventvm.errors import BadExport, BadInput, LogUnavailable
from eventvm.events import Imported, LifecycleDefined
from eventvm.headway import Headway, untold
from eventvm.log import Append, Backup, Holder
from eventvm.logs.filesystem import file_at, refuse_network
from eventvm.logs.group_commit import BATCH_RECORDS, NOBODY, Batch, Head
from eventvm.logs.lock import FileLock
from eventvm.logs.part import Stopped, apart, refuse_taken, written
from eventvm.logs.sqlite import SqliteLog
from eventvm.logs.sqlite_reader import checked
from eventvm.machine import Machine, evolve
from eventvm.merkle import Tree
from eventvm.observation import Instant
from eventvm.record import Record
from eventvm.views import Alike, Definitions, defined, first, of_machine

MODE = 0o600
FOREIGN = "foreign/"
"""What the streams of other systems' events begin with."""
T = TypeVar("T")


class Source(Protocol):
    """A log as it was exported; it raises while it is read if it is not as it was."""

    origin: str

    def records(self) -> Iterator[Record]:
        """Give all its records."""


class Claims(Protocol):
    """Events of another system, each with the line that it stands on."""

    def events(self, now: Instant) -> Iterator[tuple[int, Imported]]:
        """Give them in their order."""


class Made(Struct, frozen=True):
    """A log that was filled and read back: its tree, and what it is called for ever."""

    tree: Tree
    origin: str


Fill = Callable[[SqliteLog, Stopped], Awaitable[None]]


async def import_log(source: Source, destination: str | Path, headway: Headway = untold) -> Backup:
    """Make a log of what was exported of one, the same in everything; the file must not exist yet."""
    return await _made(destination, source.origin, partial(_copied, source), headway)


async def import_events(
    claims: Claims, destination: str | Path, actor: str = "import", headway: Headway = untold
) -> Backup:
    """Make a log of other systems' events, one stream for each source; the file must not exist yet."""
    return await _made(destination, "", partial(_claimed, claims, actor), headway)


async def _made(destination: str | Path, origin: str, fill: Fill, headway: Headway) -> Backup:
    path = file_at(destination)
    refuse_network(path)
    return await apart(partial(_written, path, origin, fill, headway))


def _written(path: Path, origin: str, fill: Fill, headway: Headway, stopped: Stopped) -> Backup:
    began = time.monotonic()
    refuse_taken(path)
    lock = FileLock.take(path)
    try:
        if lock.origin not in ("", origin):
            raise BadInput(
                f"{lock.path} says that another log, {lock.origin}, lived at {path}; name another path"
            )
        with written(path, MODE) as part:
            made = asyncio.run(_filled(part, origin, fill, stopped, headway))
            size = part.stat().st_size
        lock.mark(made.origin)
    finally:
        lock.release()
    return Backup(str(path), made.tree.size, size, made.tree.root, time.monotonic() - began)


async def _filled(part: Path, origin: str, fill: Fill, stopped: Stopped, headway: Headway) -> Made:
    log = await SqliteLog.open(part, spare=False)
    try:
        log.begin()
        if origin:
            await log.be(origin)
        await fill(log, stopped)
        return Made(await checked(log, stopped, headway), origin or log.lock.origin)
    finally:
        await log.close()


# --- a log of ours --------------------------------------------------------------------------------------


async def _copied(source: Source, log: SqliteLog, stopped: Stopped) -> None:
    names = Names()
    for records in _batches(source.records(), BATCH_RECORDS):
        _go_on(log, stopped)
        batch = Batch(log.tree.copy(), records[-1].recorded_at)
        batch.records = records
        batch.tree.append(record.leaf for record in records)
        batch.heads = {one.stream: Head(one.version, one.position, one.leaf) for one in records}
        batch.keys = {one.key: one.position for one in records if one.key is not None}
        batch.names = names.follow(records)
        await log.take(batch)


def _go_on(log: SqliteLog, stopped: Stopped) -> None:
    """Give up what nobody waits for any more."""
    if stopped():
        raise LogUnavailable(f"{log.url} was given up while it was imported")


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


class Names:
    """Whose each name is, as the records of the machines tell; it moves them as an engine has them moved."""

    def __init__(self) -> None:
        self._definitions = Definitions()
        self._machines: dict[str, Machine] = {}
        self._holders: dict[str, Holder] = {}
        self._specs = Alike()

    def follow(self, records: Iterable[Record]) -> dict[str, Holder]:
        """Fold records in, and give the names that moved."""
        touched: dict[str, None] = {}
        for record in records:
            for name in self._moved(record):
                touched[name] = None
        return {name: self._holders[name] for name in touched}

    def _moved(self, record: Record) -> Iterator[str]:
        if isinstance(record.event, LifecycleDefined):
            self._definitions.add(record.event.digest, defined(record.event))
        if not of_machine(record.stream):
            return
        before = self._machines.get(record.stream) or first(record, self._definitions)
        after = evolve(before, record.event, record.position)
        self._machines[record.stream] = after if after.spec is before.spec else self._specs.share(after)
        if (before.name, before.holds, before.claims) != (after.name, after.holds, after.claims):
            yield from self._place(before, after)

    def _place(self, before: Machine, after: Machine) -> Iterator[str]:
        """Reserve, claim, then release, as the log does."""
        if after.claims and after.claims != before.claims:
            self._holders[after.claims] = replace(self._holder(after.claims), reserved=after.id)
            yield after.claims
        for name in after.names:
            if name not in before.names:
                self._holders[name] = Holder(after.id, held=True)
                yield name
        for name in {*before.names, before.claims} - {*after.names, after.claims, ""}:
            self._holders[name] = _released(self._holder(name), after.id)
            yield name

    def _holder(self, name: str) -> Holder:
        return self._holders.get(name, NOBODY)


def _released(holder: Holder, stream: str) -> Holder:
    if holder.reserved == stream:
        return replace(holder, reserved="")
    return replace(holder, held=False) if holder.stream == stream else holder


# --- events of others -----------------------------------------------------------------------------------


async def _claimed(claims: Claims, actor: str, log: SqliteLog, stopped: Stopped) -> None:
    versions: dict[str, int] = {}
    for told in _batches(claims.events(Clock().now()), BATCH_RECORDS):
        _go_on(log, stopped)
        tickets = [(line, log.append(_append(event, versions, actor))) for line, event in told]
        for line, ticket in tickets:
            try:
                await ticket
            except BadInput as problem:
                raise BadExport(line, str(problem)) from None


def _append(event: Imported, versions: dict[str, int], actor: str) -> Append:
    stream = f"{FOREIGN}{event.source}"
    version = versions.get(stream, 0)
    versions[stream] = version + 1
    return Append(stream, (event,), version, actor)
