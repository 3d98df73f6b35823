"""Reading a log: opened read-only and live, also while an engine holds it, and folded as it was asked for."""

import argparse
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from msgspec import Struct

from eventvm.audit import streams
from eventvm.audit.streams import Kind
from eventvm.cli import moment, place
from eventvm.cli.paper import Paper
from eventvm.cli.progress import Progress
from eventvm.clock import Clock
from eventvm.errors import NoSuchMachine
from eventvm.ledger import Interval, Ledger
from eventvm.log import PAGE, EventLog
from eventvm.logs import open_log
from eventvm.logs.sqlite_reader import SqliteReader
from eventvm.observation import Instant
from eventvm.past import Past, Pasts
from eventvm.record import Record
from eventvm.views import Definitions, of_machine


class Asked(Struct, frozen=True):
    """The moments that were asked for, as the log knows them."""

    at: int | None
    """The wall time of `--at`."""
    known: int | None
    """The position of `--known-at`."""
    now: Instant
    """What lengths and ages are measured up to."""

    @property
    def past(self) -> bool:
        """Whether anything but the present was asked for."""
        return self.at is not None or self.known is not None

    @property
    def as_of(self) -> Instant:
        """Give the instant that was asked for; a wall time alone belongs to no boot."""
        return self.now if self.at is None else Instant(self.at, 0, "")


def present() -> Asked:
    """Ask for the present."""
    return Asked(None, None, Clock().now())


def describe(verb: Any) -> None:
    """Describe the options that say which log, and when."""
    place.describe(verb)
    moment.describe(verb)


@asynccontextmanager
async def opened(options: argparse.Namespace) -> AsyncIterator[tuple[EventLog, Asked]]:
    """Open the log that was named, to read it."""
    async with open_log(place.named(options), read_only=True) as log:
        at: moment.Moment | None = getattr(options, "at", None)
        known: moment.Moment | None = getattr(options, "known_at", None)
        yield (
            log,
            Asked(
                at=None if at is None else await at.so(log),
                known=None if known is None else await known.known(log),
                now=Clock().now(),
            ),
        )


async def read(
    log: EventLog, take: Callable[[Record], object], *, after: int = 0, until: int | None = None,
    what: str = "reading",
) -> int:  # fmt: skip
    """Hand on every record after a position, up to another or the end as it is now; give the last one."""
    until = log.tree.size if until is None else until
    with Progress(what, until - after) as progress:
        begun = after
        while after < until:
            page = await log.read(after=after, limit=min(PAGE, until - after))
            for record in page.records:
                take(record)
            after = page.position
            progress.reach(after - begun)
    return after


async def folded(log: EventLog, asked: Asked, *, brief: bool = False) -> Pasts:
    """Fold all machines, as they were and as the log knew them."""
    pasts = Pasts(asked.at, brief=brief)
    await read(log, pasts.apply, until=asked.known)
    return pasts


async def each(
    log: EventLog, asked: Asked, *, brief: bool = False, beside: Paper | None = None
) -> AsyncIterator[Past]:
    """Fold the machines as they were and as the log knew them, one after the other by their ids."""
    until = log.tree.size if asked.known is None else asked.known
    async for pasts in folds(
        log, until, lambda found: Pasts(asked.at, brief=brief, definitions=found), beside=beside
    ):
        for past in pasts:
            yield past


async def folds(
    log: EventLog, until: int, begin: Callable[[Definitions], Kind], what: str = "reading",
    *, beside: Paper | None = None,
) -> AsyncIterator[Kind]:  # fmt: skip
    """Fold what each machine's records up to a position come to, one after the other by their ids."""
    with Progress(what, until, beside=beside) as progress:
        async for fold in streams.each(log, until, begin, progress.reach):
            yield fold


async def machine(log: EventLog, asked: Asked, name: str, *, by_id: bool, brief: bool = False) -> Past:
    """Fold the machine that a name led to then; in brief without its history and its ledger."""
    stream = await stream_of(log, asked, name, by_id=by_id)
    return (await alone(log, asked, stream, name, brief=brief)).known(stream)


async def stream_of(log: EventLog, asked: Asked, name: str, *, by_id: bool) -> str:
    """Give the stream that a name led to then; empty where it leads nowhere now."""
    if by_id:
        return name
    if asked.past:
        return await _held_then(log, asked, name)
    holder = await log.find(name)
    return holder.stream if holder is not None else ""


async def _held_then(log: EventLog, asked: Asked, name: str) -> str:
    """Fold each machine that may have had a name, and give the one that had it last."""
    assert isinstance(log, SqliteReader), "only a file is opened read-only"
    until = log.tree.size if asked.known is None else asked.known
    last, found = 0, ""
    for stream in filter(of_machine, await log.mentioning(name, until)):
        for past in (await alone(log, asked, stream, name, brief=True)).machines.values():
            if past.held.get(name, 0) > last:
                last, found = past.held[name], stream
    if not found:
        problem = NoSuchMachine(name)
        problem.hint = "a name leads to whoever held it by then; `--id` takes an id, which no rename changes"
        raise problem
    return found


async def alone(log: EventLog, asked: Asked, stream: str, name: str, *, brief: bool = False) -> Pasts:
    """Fold one machine from its own stream, and the definitions that the log holds."""
    pasts = Pasts(asked.at, brief=brief)
    await apart(log, asked, {name: stream}, pasts.apply)
    return pasts


async def apart(log: EventLog, asked: Asked, of: Mapping[str, str], take: Callable[[Record], object]) -> None:
    """Hand on what the log knew of some machines, each stream given by its name, and of the definitions."""
    for name, stream in of.items():
        if not stream or not of_machine(stream):
            raise NoSuchMachine(name)
    for one in (*await streams.lifecycles(log), *dict.fromkeys(of.values())):
        async for record in streams.records_of(log, one):
            if asked.known is None or record.position <= asked.known:
                take(record)


def intervals(ledger: Ledger, asked: Asked) -> tuple[Interval, ...]:
    """Pair what was so at the moment that was asked for; what is open now is measured up to now."""
    return ledger.until(asked.now) if asked.at is None else ledger.intervals(as_of=asked.as_of)
