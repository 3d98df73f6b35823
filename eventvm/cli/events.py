"""`eventvm events`: the records of a log or of one machine, as they were appended, or live."""

import argparse
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from eventvm import times
from eventvm.audit import streams
from eventvm.audit.cloudevents import public
from eventvm.cli import moment, reading, sheet
from eventvm.cli.paper import Paper
from eventvm.cli.progress import Progress
from eventvm.cli.sheet import Column, Row, Sheet
from eventvm.events import Unknown, why
from eventvm.headway import Headway
from eventvm.log import PAGE, EventLog
from eventvm.past import Naming, when
from eventvm.record import Record
from eventvm.subscription import Subscription
from eventvm.views import tag


def describe(verbs: Any) -> None:
    """Describe the verb and its options."""
    verb = verbs.add_parser(
        "events",
        help="list what has happened, record by record, or follow it live",
        description="The records of the whole log, or of one machine. A position that was printed is where "
        "--after goes on.",
        epilog="example: eventvm events web-1 --type 'machine.st*' -f",
    )
    verb.add_argument("name", metavar="NAME", nargs="?", help="only those of this machine")
    verb.add_argument("--id", action="store_true", help="NAME is a machine's id")
    verb.add_argument("--after", type=int, default=0, metavar="POSITION", help="only those after this one")
    verb.add_argument(
        "--since", type=moment.moment, metavar="WHEN", help="only those that were so since then"
    )
    verb.add_argument(
        "--type", action="append", default=[], metavar="TYPE", help="only these, `*` for any; repeatable"
    )
    verb.add_argument("-f", "--follow", action="store_true", help="go on with those to come")
    reading.describe(verb)
    sheet.describe(verb)
    verb.set_defaults(run=lambda options, paper: events(paper, options))


Wanted = Callable[[Record], bool]


async def events(paper: Paper, options: argparse.Namespace) -> int:
    """List records, and follow those to come."""
    async with reading.opened(options) as (log, asked):
        stream = await _stream(log, asked, options)
        since = None if options.since is None else await options.since.so(log)
        told = Told(
            log, Sheet(paper, options.output, _columns(paper)), _wanted(options.type, stream, since, asked.at)
        )
        with Progress(beside=paper) as progress:
            last = await told.past(options.after, asked.known, stream, progress.tell)
        if options.follow and not asked.past:
            await told.follow(last)
        told.sheet.end("no such record")
    return 0


async def _stream(log: EventLog, asked: reading.Asked, options: argparse.Namespace) -> str | None:
    if options.name is None:
        return None
    return (await reading.machine(log, asked, options.name, by_id=options.id, brief=True)).machine.id


def _wanted(types: list[str], stream: str | None, since: int | None, at: int | None) -> Wanted:
    def wanted(record: Record) -> bool:
        return (
            stream in (None, record.stream)
            and (not types or any(fnmatchcase(tag(record), one) for one in types))
            and (since is None or when(record) >= since)
            and (at is None or when(record) <= at)
        )

    return wanted


class Told:
    """Records on their way to whoever asked for them."""

    def __init__(self, log: EventLog, sheet: Sheet, wanted: Wanted) -> None:
        self.sheet = sheet
        self._log = log
        self._wanted = wanted
        self._naming = Naming()

    async def past(self, after: int, known: int | None, stream: str | None, headway: Headway) -> int:
        """Show what is there, a page at a time, so that no log is too long; give where it ended."""
        until, at = self._log.tree.size if known is None else known, after
        while at < until:
            page = await self._log.read(
                stream=stream, after=at, limit=PAGE if stream else min(PAGE, until - at)
            )
            records = [record for record in page.records if record.position <= until]
            await self._show(records, at)
            at = page.position
            headway("reading", at, until)
            if stream and page.end:
                break
        return max(until, after)

    async def follow(self, after: int) -> None:
        """Show what comes, as it comes."""
        async for record in Subscription(self._log, after=after):
            await self._show([record], record.position - 1)

    async def _show(self, records: Sequence[Record], after: int) -> None:
        """Show those of a page that are wanted, and look up what machines were called before it."""
        naming = self._naming
        if met := {one.stream for one in records if one.version > 1 and one.stream not in naming}:
            for record in await streams.naming(self._log, sorted(met), after):
                naming.name(record)
        for record in records:
            name = naming.name(record)
            if self._wanted(record):
                self.sheet.add(row(record, name))
        self.sheet.flush()


def row(record: Record, name: str) -> Row:
    """Write a record in plain values: its place, then what its event says."""
    event = record.event
    return {
        "position": record.position, "name": name, "stream": record.stream, "version": record.version,
        "type": tag(record), "at": times.rfc3339(when(record)),
        "recorded_at": times.rfc3339(record.recorded_at),
        "reason": "" if isinstance(event, Unknown) else why(event), "actor": record.actor,
        "key": record.key, "cause": record.cause or None, "data": public(_said(record)),
    }  # fmt: skip


def _said(record: Record) -> dict[str, Any]:
    said: dict[str, Any] = msgspec.json.decode(record.body)
    return {key: value for key, value in said.items() if key not in ("type", "at", "reason")}


def _because(row: Row) -> str:
    """Say what went wrong, else why it was asked for."""
    fault = row["data"].get("fault") or {}
    return fault.get("message") or row["reason"] or ""


def _columns(paper: Paper) -> tuple[Column, ...]:
    return (
        Column("position", lambda row: str(row["position"])),
        Column("at", lambda row: times.briefly(times.read(row["at"]))),
        Column("name", lambda row: paper.ink(row["name"], "bold"), gives=True),
        Column("type", lambda row: paper.ink(row["type"])),
        Column("actor", lambda row: paper.ink(row["actor"]), gives=True),
        Column("reason", lambda row: paper.ink(_because(row)), gives=True),
    )
