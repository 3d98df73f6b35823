"""`eventvm ledger`: what was counted, for whom and when, as it was known at any moment."""

import argparse
import re
from collections.abc import Iterable, Iterator
from datetime import UTC
from functools import partial
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from eventvm import limits, times
from eventvm.audit import moments
from eventvm.audit.changes import Billed, rebilled
from eventvm.cli import moment, place, reading, sheet
from eventvm.cli.paper import Paper
from eventvm.cli.sheet import Column, Row
from eventvm.errors import BadInput, NoSuchMachine
from eventvm.events import Unknown, why
from eventvm.ledger import Entry, Interval
from eventvm.log import EventLog
from eventvm.past import Past, Pasts, periods
from eventvm.spec import Shape
from eventvm.times import briefly, length, rfc3339
from eventvm.views import tag
from eventvm.windows import Line, Share, Sum, Unit, Window, calendar, month, share, summed

KEYS = ("machine", "meter", "subject", "shape", "day", "month")
MACHINES = ("machine", "meter")
HOUR_NS = 3_600_000_000_000


def describe(verbs: Any) -> None:
    """Describe the group's verbs and their options."""
    group = verbs.add_parser(
        "ledger", help="bills, second by second: entries, intervals, sums, and what changed"
    )
    asked = group.add_subparsers(dest="ledger_verb", metavar="VERB", required=True)
    _verb(
        asked,
        "show",
        entries,
        "list the entries: what turned a meter on or off, when, and since when that is known",
    )
    _verb(asked, "intervals", intervals, "list the stretches of time in which a meter counted")
    summing = _verb(asked, "totals", totals, "add them up, by machine, label, meter, shape, day or month")
    summing.add_argument(
        "--by", type=_keys, default=MACHINES, metavar="KEYS",
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


def _keys(text: str) -> tuple[str, ...]:
    keys = tuple(text.split(","))
    for key in keys:
        if key not in KEYS and not re.fullmatch(r"label:.+", key):
            raise argparse.ArgumentTypeError(f"{limits.shown(key)} is none of {', '.join(KEYS)}, label:KEY")
    return keys


def _month(text: str) -> tuple[int, int]:
    told = re.fullmatch(r"(\d{4})-(\d\d)", text, re.ASCII)
    if told is None or not (1 <= int(told[2]) <= 12 and 1 <= int(told[1]) <= 9998):  # noqa: PLR2004  # a calendar's
        raise argparse.ArgumentTypeError(f"a month is 2026-03, not {limits.shown(text)}")
    return int(told[1]), int(told[2])


# --- what is asked for ----------------------------------------------------------------------------------


class Part(Struct, frozen=True):
    """What of a share is billed to whom: the machine, and the labels that it had then."""

    past: Past
    labels: dict[str, str]
    share: Share


class Bill:
    """The pieces of the ledger that were asked for."""

    def __init__(self, options: argparse.Namespace, asked: reading.Asked) -> None:
        self.options = options
        self.asked = asked
        self.window = _window(options)
        self.keys: tuple[str, ...] = getattr(options, "by", ())
        self.labels: list[str] = getattr(options, "label", [])
        self._by_label = self.labels or any(key.startswith("label:") for key in self.keys)

    def pasts(self, pasts: Pasts) -> list[Past]:
        """Choose the machines."""
        if not self.options.names:
            return list(pasts)
        find = pasts.known if self.options.id else pasts.named
        return [find(name) for name in dict.fromkeys(self.options.names)]

    def parts(self, pasts: Pasts, windows: Iterable[Window] = ()) -> Iterator[tuple[Window, Part]]:
        """Cut the intervals to the windows, and to the time in which a label was so."""
        cuts = list(windows) or [self.window]
        for past in self.pasts(pasts):
            for interval in reading.intervals(past.ledger, self.asked):
                if self.options.meter in (None, interval.meter):
                    for labelled, labels in self._labelled(past):
                        yield from self._cut(Part(past, labels, _whole(interval)), labelled, cuts)

    def _labelled(self, past: Past) -> Iterator[tuple[Window, dict[str, str]]]:
        if not self._by_label:
            yield Window(), past.machine.spec.labels
            return
        for begin, end, labels in periods(past.labelled):
            if all(_has(labels, *label.partition("=")) for label in self.labels):
                yield Window(begin, end), labels

    def _cut(self, part: Part, labelled: Window, cuts: list[Window]) -> Iterator[tuple[Window, Part]]:
        interval = part.share.interval
        for cut in cuts:
            met = cut.meets(labelled)
            found = None if met is None else share(interval, met, self.asked.as_of.wall)
            if found is not None:
                yield cut, Part(part.past, part.labels, found)


def _whole(interval: Interval) -> Share:
    return Share(interval, interval.begin, interval.end, interval.ns)


def _has(labels: dict[str, str], key: str, said: str, value: str) -> bool:
    return key in labels and (not said or labels[key] == value)


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


async def _folded(options: argparse.Namespace) -> tuple[Bill, Pasts]:
    async with reading.opened(options) as (log, asked):
        bill = Bill(options, asked)
        return bill, await reading.folded(log, asked)


# --- show -----------------------------------------------------------------------------------------------


async def entries(paper: Paper, options: argparse.Namespace) -> int:
    """List entries."""
    bill, pasts = await _folded(options)
    rows = (
        _entry(past, one)
        for past in bill.pasts(pasts)
        for one in past.ledger.known()
        if _asked_for(bill, one)
    )
    columns = (
        Column("position", lambda row: str(row["position"])),
        Column("machine", lambda row: paper.ink(row["name"], "bold")),
        Column("meter", lambda row: paper.ink(_meter(row))),
        Column("edge", lambda row: paper.ink(row["edge"], "green" if row["edge"] == "start" else "blue")),
        Column("reason", lambda row: paper.ink(row["reason"])),
        Column("at", lambda row: _stamp(row["at"])),
        Column("recorded", lambda row: _stamp(row["recorded_at"])),
        Column("corrected by", lambda row: f"#{row['corrected_by']}" if row["corrected_by"] else ""),
    )
    sheet.shown(paper, options.output, columns, rows, "no entries")
    return 0


def _asked_for(bill: Bill, one: Entry) -> bool:
    window, at = bill.window, bill.asked.at
    return (
        bill.options.meter in (None, one.meter)
        and (at is None or one.at.wall <= at)
        and (window.begin is None or one.at.wall >= window.begin)
        and (window.end is None or one.at.wall < window.end)
    )


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
    bill, pasts = await _folded(options)
    rows = (_interval(part) for _, part in bill.parts(pasts))
    columns = (
        Column("machine", lambda row: paper.ink(row["name"], "bold")),
        Column("meter", lambda row: paper.ink(_meter(row))),
        Column("from", lambda row: _stamp(row["begin"])),
        Column("to", lambda row: _stamp(row["end"]) or paper.ink("open", "green")),
        Column("length", lambda row: length(int(row["ns"]))),
        Column("clock", lambda row: row["basis"]),
        Column("opened by", lambda row: paper.ink(f"{row['start_reason']} #{row['start_position']}")),
        Column("closed by", lambda row: paper.ink(_closed(row))),
    )
    sheet.shown(paper, options.output, columns, rows, "nothing was counted")
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


async def totals(paper: Paper, options: argparse.Namespace) -> int:
    """Add up what lies in the window, line by line."""
    bill, pasts = await _folded(options)
    found = [(_line(bill.keys, cut, part), part) for cut, part in bill.parts(pasts, _windows(bill, pasts))]
    sums = summed((line, part.share) for line, part in found)
    bases: dict[Line, set[str]] = {}
    for line, part in found:
        bases.setdefault(line, set()).add(part.share.interval.basis)
    rows = (_total(bill.keys, pasts, line, whole, bases[line]) for line, whole in sums.items())
    sheet.shown(paper, options.output, tuple(_total_columns(paper, bill.keys)), rows, "nothing was counted")
    return 0


def _windows(bill: Bill, pasts: Pasts) -> list[Window]:
    """Cut the time that was asked for into the days or months that are told apart, if any are."""
    unit: Unit | None = "day" if "day" in bill.keys else "month" if "month" in bill.keys else None
    if unit is None:
        return []
    begin, end = bill.window.begin, bill.window.end
    ones = [part.share for _, part in bill.parts(pasts)]
    if not ones:
        return []
    begin = min(one.begin for one in ones) if begin is None else begin
    ends = (bill.asked.as_of.wall if one.end is None else one.end for one in ones)
    return list(calendar(unit, Window(begin, max(ends) + 1 if end is None else end), bill.options.zone))


def _line(keys: tuple[str, ...], cut: Window, part: Part) -> Line:
    one = part.share.interval
    return Line(
        window=cut.name if {"day", "month"} & {*keys} else "",
        machine=one.machine if "machine" in keys else "",
        meter=one.meter if "meter" in keys else "",
        subject=one.subject if "subject" in keys else "",
        shape=one.shape if "shape" in keys else None,
        labels=tuple(part.labels.get(key[6:], "") for key in keys if key.startswith("label:")),
    )


def _total(keys: tuple[str, ...], pasts: Pasts, line: Line, whole: Sum, bases: set[str]) -> Row:
    row: Row = {}
    labels = iter(line.labels)
    for key in keys:
        match key:
            case "machine":
                row |= _named(pasts.known(line.machine))
            case "shape":
                assert line.shape is not None
                row |= _shape(line.shape)
            case "day" | "month":
                row[key] = line.window
            case _:
                row[key] = next(labels) if key.startswith("label:") else getattr(line, key)
    amounts = {field: str(getattr(whole, field)) for field in Sum.__struct_fields__}
    return row | amounts | {"clocks": sorted(bases)}


def _total_columns(paper: Paper, keys: tuple[str, ...]) -> Iterator[Column]:
    for key in keys:
        if key == "shape":
            yield from (
                Column(field, partial(_cell, paper, field)) for field in ("milli_cpus", "memory", "storage")
            )
        else:
            yield Column(key, partial(_cell, paper, "name" if key == "machine" else key))
    yield Column("time", lambda row: length(int(row["ns"])))
    yield Column("CPU hours", lambda row: _hours(row["milli_cpu_ns"], 1000))
    yield Column("memory GiB hours", lambda row: _hours(row["memory_byte_ns"], 1 << 30))
    yield Column("storage GiB hours", lambda row: _hours(row["storage_byte_ns"], 1 << 30))
    yield Column("clock", lambda row: "+".join(row["clocks"]))


def _cell(paper: Paper, field: str, row: Row) -> str:
    return paper.ink(row[field])


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
    async with reading.opened(options) as (log, asked):
        one, other = [await known.known(log) for known in moments_known]
        bill = Bill(options, asked)
        before, after = [await _shares(log, bill, known) for known in (one, other)]
        found = list(rebilled(before[1], after[1], (one, other)))
        rows = [await _changed(log, (before[0], after[0]), line) for line in found]
    columns = (
        Column("machine", lambda row: paper.ink(row["name"], "bold")),
        Column("meter", lambda row: paper.ink(_meter(row))),
        Column("before", lambda row: _stretch(row, "before")),
        Column("after", lambda row: _stretch(row, "after")),
        Column("difference", lambda row: paper.ink(_signed(int(row["difference_ns"])), "yellow")),
        Column("because of", lambda row: paper.ink("; ".join(map(_cause, row["because"])))),
    )
    sheet.shown(paper, options.output, columns, rows, "no line changed")
    return 1 if rows else 0


async def _shares(log: EventLog, bill: Bill, known: int) -> tuple[Pasts, list[Share]]:
    """Draw the bill up as it was known; a machine that was not known yet has no lines."""
    asked = replace(bill.asked, known=known)
    pasts = await reading.folded(log, asked)
    drawn = Bill(bill.options, asked)
    try:
        return pasts, [part.share for _, part in drawn.parts(pasts)]
    except NoSuchMachine:
        return pasts, []


async def _changed(log: EventLog, pasts: tuple[Pasts, Pasts], line: Billed) -> Row:
    past = pasts[1].machines.get(line.machine) or pasts[0].machines[line.machine]
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
