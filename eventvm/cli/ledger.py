"""`eventvm ledger`: what was counted, for whom and when, as it was known at any moment."""

import argparse
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC
from functools import partial
from typing import Any

from msgspec.structs import replace

from eventvm import limits, times
from eventvm.audit import moments, streams
from eventvm.audit.changes import Billed, rebilled
from eventvm.bill import KEYS, Asked, Line, Part, Sum, parts, totals
from eventvm.cli import moment, place, reading, sheet
from eventvm.cli.paper import Paper
from eventvm.cli.shape import sized
from eventvm.cli.sheet import Column, Row, Sheet
from eventvm.errors import BadInput, NoSuchMachine
from eventvm.events import Unknown, why
from eventvm.ledger import Entry
from eventvm.log import EventLog
from eventvm.past import Past
from eventvm.spec import Shape
from eventvm.times import briefly, length, rfc3339
from eventvm.views import tag
from eventvm.windows import Share, Window, month

MACHINES = ("machine", "meter", "subject")
AMOUNTS = ("ns", "milli_cpu_ns", "memory_byte_ns", "storage_byte_ns")
YEARS = range(1970, 2116)
"""Those that an instant of ours may lie in."""
HOUR_NS = 3_600_000_000_000


def describe(verbs: Any) -> None:
    """Describe the group's verbs and their options."""
    group = verbs.add_parser(
        "ledger",
        help="bills, second by second: entries, intervals, sums, and what changed",
        description="Usage, counted from the same records that tell the phases: every second once.",
        epilog="example: eventvm ledger totals --month 2026-03 --zone Europe/Berlin --by label:team",
    )
    asked = group.add_subparsers(dest="ledger_verb", metavar="VERB", required=True)
    _verb(
        asked,
        "show",
        entries,
        "list the entries: what turned a meter on or off, when, and since when that is known",
    )
    _verb(asked, "intervals", intervals, "list the stretches of time in which a meter counted")
    summing = _verb(asked, "totals", summed, "add them up, by machine, label, meter, shape, day or month")
    summing.add_argument(
        "--by", type=lambda text: tuple(text.split(",")), default=MACHINES, metavar="KEYS",
        help=f"what is told apart: {', '.join(KEYS)}, label:KEY; with commas (default: {','.join(MACHINES)})",
    )  # fmt: skip
    compared = _verb(
        asked, "diff", diff, "say which lines changed between two moments of knowing, and by which event"
    )
    compared.epilog = (
        "example: eventvm ledger diff --month 2026-03 --known-at 2026-04-01T00:00:00Z --known-at now"
    )


def _verb(verbs: Any, name: str, run: Any, does: str) -> Any:
    verb = verbs.add_parser(
        name, help=does, description=f"{does[0].upper()}{does[1:]}.",
        epilog=f"example: eventvm ledger {name} web-1 --month 2026-03 --zone Europe/Berlin -o csv",
    )  # fmt: skip
    verb.add_argument("names", metavar="NAME", nargs="*", help="only these machines (default: all)")
    verb.add_argument("--id", action="store_true", help="each NAME is a machine's id")
    if name in ("intervals", "totals"):
        verb.add_argument(
            "--label",
            action="append",
            default=[],
            metavar="KEY[=VALUE]",
            help="only while it had it; repeatable",
        )
    verb.add_argument("--meter", help="only this meter")
    verb.add_argument("--from", dest="begin", metavar="TIME", help="from then on")
    verb.add_argument("--to", dest="end", metavar="TIME", help="up to then, that instant not included")
    verb.add_argument("--month", type=_month, metavar="YYYY-MM", help="a calendar month of the zone")
    verb.add_argument(
        "--zone", type=moment.zone, default=UTC, metavar="ZONE", help="an IANA time zone (default: UTC)"
    )
    place.describe(verb)
    verb.add_argument("--at", type=moment.moment, metavar="WHEN", help=f"as it was then: {moment.WANTED}")
    verb.add_argument(
        "--known-at", type=moment.moment, metavar="WHEN", action="append" if name == "diff" else "store",
        help="as the log knew it then, nothing that came later" + (" (twice)" if name == "diff" else ""),
    )  # fmt: skip
    sheet.describe(verb)
    verb.set_defaults(run=lambda options, paper: run(paper, options))
    return verb


def _month(text: str) -> tuple[int, int]:
    told = re.fullmatch(r"(\d{4})-(\d\d)", text, re.ASCII)
    if told is None or int(told[1]) not in YEARS or int(told[2]) not in range(1, 13):
        raise argparse.ArgumentTypeError(f"a month is 2026-03, not {limits.shown(text)}")
    return int(told[1]), int(told[2])


# --- what is asked for ----------------------------------------------------------------------------------


def _bill(options: argparse.Namespace, asked: reading.Asked) -> Asked:
    return Asked(
        as_of=asked.as_of, cut=asked.at is not None, window=_window(options), meter=options.meter or "",
        labels=tuple(getattr(options, "label", ())), keys=getattr(options, "by", MACHINES), zone=options.zone,
    )  # fmt: skip


def _window(options: argparse.Namespace) -> Window:
    """Give the window that was asked for; times without an offset, and months, are the zone's."""
    zone = options.zone
    if options.month is not None:
        if options.begin or options.end:
            raise BadInput("give --month, or --from and --to, and not both")
        year, number = options.month
        return month(year, number, zone)
    try:
        begin = None if options.begin is None else moment.wall(options.begin, zone)
        end = None if options.end is None else moment.wall(options.end, zone)
    except argparse.ArgumentTypeError as problem:
        raise BadInput(str(problem)) from None
    if begin is not None and end is not None and begin >= end:
        raise BadInput("--from has to lie before --to")
    return Window(begin, end)


@asynccontextmanager
async def _machines(
    paper: Paper, options: argparse.Namespace
) -> AsyncIterator[tuple[Asked, AsyncIterator[Past]]]:
    """Give the machines that were named, else all, each only once the one before it is done with."""
    async with reading.opened(options) as (log, asked):
        chosen = await _chosen(log, options, asked)
        pasts = _each(log, asked, chosen if options.names else None, sheet.meanwhile(paper, options.output))
        yield _bill(options, asked), pasts


async def _chosen(log: EventLog, options: argparse.Namespace, asked: reading.Asked) -> list[str]:
    """Give the ids of the machines that were named."""
    names = dict.fromkeys(options.names)
    found = [await reading.machine(log, asked, name, by_id=options.id, brief=True) for name in names]
    return [past.machine.id for past in found]


async def _each(
    log: EventLog, asked: reading.Asked, chosen: list[str] | None, beside: Paper | None
) -> AsyncIterator[Past]:
    if chosen is None:
        async for past in reading.each(log, asked, beside=beside):
            yield past
    else:
        for id_ in chosen:
            yield await reading.machine(log, asked, id_, by_id=True)


# --- show -----------------------------------------------------------------------------------------------


async def entries(paper: Paper, options: argparse.Namespace) -> int:
    """List entries."""
    columns = (
        Column("position", lambda row: str(row["position"])),
        Column("machine", lambda row: paper.ink(row["name"], "bold"), gives=True),
        Column("meter", lambda row: paper.ink(_meter(row)), gives=True),
        Column("edge", lambda row: paper.ink(row["edge"], "green" if row["edge"] == "start" else "blue")),
        Column("reason", lambda row: paper.ink(row["reason"])),
        Column("at", lambda row: _stamp(row["at"])),
        Column("recorded", lambda row: _stamp(row["recorded_at"])),
        Column("corrected by", lambda row: f"#{row['corrected_by']}" if row["corrected_by"] else ""),
    )
    shown = Sheet(paper, options.output, columns)
    async with _machines(paper, options) as (asked, pasts):
        async for past in pasts:
            for one in past.ledger.known():
                if _asked_for(asked, one):
                    shown.add(_entry(past, one))
    shown.end("no entries")
    return 0


def _asked_for(asked: Asked, one: Entry) -> bool:
    by_then = not asked.cut or one.at.wall <= asked.as_of.wall
    return asked.meter in ("", one.meter) and by_then and asked.window.holds(one.at.wall)


def _entry(past: Past, one: Entry) -> Row:
    return {
        "position": one.position, **_named(past), "meter": one.meter, "subject": one.subject,
        "edge": one.edge,
        "reason": one.reason, "at": rfc3339(one.at.wall), "recorded_at": rfc3339(one.recorded_at),
        "corrected_by": one.corrected_by or None, "source": one.source, **_shape(one.shape),
    }  # fmt: skip


def _named(past: Past) -> Row:
    return {"machine": past.machine.id, "name": past.machine.name}


def _shape(shape: Shape) -> Row:
    return {"milli_cpus": str(shape.milli_cpus), "memory": str(shape.memory), "storage": str(shape.storage)}


def _meter(row: Row) -> str:
    return f"{row['meter']} of {row['subject']}" if row["subject"] else str(row["meter"])


def _stamp(text: str | None) -> str:
    return briefly(times.read(text)) if text else ""


# --- intervals ------------------------------------------------------------------------------------------


async def intervals(paper: Paper, options: argparse.Namespace) -> int:
    """List intervals, cut to the window."""
    columns = (
        Column("machine", lambda row: paper.ink(row["name"], "bold"), gives=True),
        Column("meter", lambda row: paper.ink(_meter(row)), gives=True),
        Column("from", lambda row: _stamp(row["begin"])),
        Column("to", lambda row: _stamp(row["end"]) or paper.ink("open", "green")),
        Column("length", lambda row: length(int(row["ns"]))),
        Column("clock", lambda row: row["basis"]),
        Column("opened by", lambda row: paper.ink(f"{row['start_reason']} #{row['start_position']}")),
        Column("closed by", lambda row: paper.ink(_closed(row))),
    )
    shown = Sheet(paper, options.output, columns)
    async with _machines(paper, options) as (asked, pasts):
        async for past in pasts:
            for part in parts([past], asked):
                shown.add(_interval(part))
    shown.end("nothing was counted")
    return 0


def _closed(row: Row) -> str:
    return f"{row['stop_reason']} #{row['stop_position']}" if row["stop_position"] else ""


def _interval(part: Part) -> Row:
    one, cut = part.share.interval, part.share
    stop = one.stop
    return {
        **_named(part.past), "meter": one.meter, "subject": one.subject, "begin": rfc3339(cut.begin),
        "end": None if cut.end is None else rfc3339(cut.end), "ns": str(cut.ns), "basis": one.basis,
        **_shape(one.shape), "start_position": one.start.position, "start_reason": one.start.reason,
        "stop_position": None if stop is None else stop.position,
        "stop_reason": "" if stop is None else stop.reason,
        "corrected_by": [entry.corrected_by for entry in (one.start, stop) if entry and entry.corrected_by],
    }  # fmt: skip


# --- totals ---------------------------------------------------------------------------------------------


async def summed(paper: Paper, options: argparse.Namespace) -> int:
    """Add up what lies in the window, line by line."""
    async with _machines(paper, options) as (asked, pasts):
        shown = Sheet(paper, options.output, tuple(_total_columns(paper, asked.keys)))
        sums: dict[Line, Sum] = {}
        async for past in pasts:
            if "machine" in asked.keys:  # then no line is anybody else's
                for line, whole in totals([past], asked).items():
                    shown.add(_total(asked.keys, past, line, whole))
            else:
                totals([past], asked, sums)
    for line, whole in sums.items():
        shown.add(_total(asked.keys, None, line, whole))
    shown.end("nothing was counted")
    return 0


def _total(keys: tuple[str, ...], past: Past | None, line: Line, whole: Sum) -> Row:
    row: Row = {}
    labels = iter(line.labels)
    for key in keys:
        match key:
            case "machine":
                assert past is not None
                row |= _named(past)
            case "shape":
                assert line.shape is not None
                row |= _shape(line.shape)
            case "day" | "month":
                row[key] = line.window
            case "meter" | "subject":
                row[key] = getattr(line, key)
            case _:
                row[key] = next(labels)
    amounts = {field: str(getattr(whole, field)) for field in AMOUNTS}
    return row | amounts | {"clocks": sorted(whole.clocks)}


def _total_columns(paper: Paper, keys: tuple[str, ...]) -> Iterator[Column]:
    for key in keys:
        if key == "shape":
            yield from (
                Column(field, partial(_amount, field)) for field in ("milli_cpus", "memory", "storage")
            )
        else:
            yield Column(key, partial(_cell, paper, "name" if key == "machine" else key), gives=True)
    yield Column("time", lambda row: length(int(row["ns"])))
    yield Column("CPU hours", lambda row: _hours(row["milli_cpu_ns"], 1000))
    yield Column("memory GiB hours", lambda row: _hours(row["memory_byte_ns"], 1 << 30))
    yield Column("storage GiB hours", lambda row: _hours(row["storage_byte_ns"], 1 << 30))
    yield Column("clock", lambda row: "+".join(row["clocks"]))


def _cell(paper: Paper, field: str, row: Row) -> str:
    return paper.ink(row[field])


def _amount(field: str, row: Row) -> str:
    return row[field] if field == "milli_cpus" else sized(int(row[field]))


def _hours(amount: str, unit: int) -> str:
    """Write a product of an amount and a time in hours, for people: programs get it whole."""
    return f"{int(amount) / unit / HOUR_NS:,.4f}"


# --- diff -----------------------------------------------------------------------------------------------


async def diff(paper: Paper, options: argparse.Namespace) -> int:
    """Compare two states of knowledge, and name the events behind what changed: 0 the same, 1 not."""
    moments_known = options.known_at or []
    if len(moments_known) != 2:  # noqa: PLR2004  # two are compared
        raise BadInput("name two states of knowledge: --known-at A --known-at B; `now` is one")
    options.known_at = None
    columns = (
        Column("machine", lambda row: paper.ink(row["name"], "bold"), gives=True),
        Column("meter", lambda row: paper.ink(_meter(row)), gives=True),
        Column("before", lambda row: _stretch(row, "before")),
        Column("after", lambda row: _stretch(row, "after")),
        Column("difference", lambda row: paper.ink(_signed(int(row["difference_ns"])), "yellow")),
        Column("because of", lambda row: paper.ink("; ".join(map(_cause, row["because"]))), gives=True),
    )
    shown, changed = Sheet(paper, options.output, columns), False
    async with reading.opened(options) as (log, asked):
        one, other = [await known.known(log) for known in moments_known]
        beside = sheet.meanwhile(paper, options.output)
        async for past, before, after in _bills(log, options, asked, (one, other), beside):
            for line in rebilled(before, after, (one, other)):
                shown.add(await _changed(log, past, line))
                changed = True
    shown.end("no line changed")
    return int(changed)


Bills = tuple[Past, list[Share], list[Share]]
"""A machine, and its bill as it was known at two positions."""


async def _bills(
    log: EventLog, options: argparse.Namespace, asked: reading.Asked, known: tuple[int, int],
    beside: Paper | None,
) -> AsyncIterator[Bills]:  # fmt: skip
    """Draw up both bills of each machine, in the order of their ids."""
    bill = _bill(options, asked)
    if not options.names:
        async for twice in reading.folds(
            log, max(known), lambda found: streams.Twice(known, asked.at, definitions=found), beside=beside
        ):
            yield _both(twice, bill)
        return
    for id_ in await _meant(log, options, asked, known):
        twice = streams.Twice(known, asked.at)
        await reading.apart(log, replace(asked, known=max(known)), {id_: id_}, twice.apply)
        yield _both(twice, bill)


def _both(twice: streams.Twice, bill: Asked) -> Bills:
    """Draw up the bill of a machine as it was known at each position; one not known yet has no lines."""
    (_, before), (_, after) = twice.then
    (past,) = after.machines.values() or before.machines.values()
    one, other = ([part.share for part in parts(pasts, bill)] for pasts in (before, after))
    return past, one, other


async def _meant(
    log: EventLog, options: argparse.Namespace, asked: reading.Asked, known: tuple[int, int]
) -> list[str]:
    """Give the machines that were named, by what was known before or after: a name may have moved between."""
    either = [replace(asked, known=one) for one in known]
    return sorted(
        {id_ for name in options.names for id_ in await _either(log, either, name, by_id=options.id)}
    )


async def _either(log: EventLog, either: Iterable[reading.Asked], name: str, *, by_id: bool) -> set[str]:
    found = set()
    for asked in either:
        with suppress(NoSuchMachine):
            found.add((await reading.machine(log, asked, name, by_id=by_id, brief=True)).machine.id)
    if not found:
        raise NoSuchMachine(name)
    return found


async def _changed(log: EventLog, past: Past, line: Billed) -> Row:
    ns = [0 if one is None else one.ns for one in (line.before, line.after)]
    return {
        **_named(past), "meter": line.meter, "subject": line.subject,
        **_side("before", line.before), **_side("after", line.after), "difference_ns": str(ns[1] - ns[0]),
        "because": [await _event(log, position) for position in line.positions],
    }  # fmt: skip


def _side(name: str, one: Share | None) -> Row:
    return {
        f"{name}_begin": None if one is None else rfc3339(one.begin),
        f"{name}_end": None if one is None or one.end is None else rfc3339(one.end),
        f"{name}_ns": None if one is None else str(one.ns),
    }


async def _event(log: EventLog, position: int) -> Row:
    record = await moments.record_at(log, position)
    reason = "" if isinstance(record.event, Unknown) else why(record.event)
    return {"position": position, "type": tag(record), "reason": reason, "actor": record.actor,
            "recorded_at": rfc3339(record.recorded_at)}  # fmt: skip


def _stretch(row: Row, side: str) -> str:
    if row[f"{side}_ns"] is None:
        return "-"
    return f"{length(int(row[f'{side}_ns']))} to {_stamp(row[f'{side}_end']) or 'now'}"


def _signed(ns: int) -> str:
    return length(ns) if ns < 0 else f"+{length(ns)}"


def _cause(event: Row) -> str:
    reason = f" ({event['reason']})" if event["reason"] else ""
    return f"#{event['position']} {event['type']}{reason}"
