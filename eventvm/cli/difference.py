"""`eventvm log diff`: what changed between two positions or times of a log, or between two files."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from eventvm.audit.changes import Change, changed, parted
from eventvm.audit.cloudevents import public
from eventvm.cli import moment, place, reading, sheet
from eventvm.cli.paper import Paper
from eventvm.cli.progress import Progress
from eventvm.cli.sheet import Column, Row
from eventvm.errors import BadInput
from eventvm.logs import open_log
from eventvm.past import Pasts


def describe(verbs: Any) -> None:
    """Describe the verb and its options."""
    verb = verbs.add_parser(
        "diff",
        help="say what changed between two positions, times or files",
        description="Two positions or times are moments of one log: what it knew then is compared. Two files "
        "are compared record by record, then machine by machine: 0 the same, 1 not.",
        epilog="example: eventvm log diff '2 hours ago' now --log fleet.db",
    )
    verb.add_argument("one", metavar="A", help="a position, a time, or a file")
    verb.add_argument("other", metavar="B", help="another of the same kind")
    place.describe(verb)
    sheet.describe(verb)
    verb.set_defaults(run=lambda options, paper: diff(paper, options))


async def diff(paper: Paper, options: argparse.Namespace) -> int:
    """Compare, and say what differs."""
    one, other = _moment(options.one), _moment(options.other)
    if one is not None and other is not None:
        return await _moments(paper, options, one, other)
    if one is not None or other is not None:
        raise BadInput(
            f"{options.one} and {options.other} are not of one kind: {moment.WANTED}, or two files"
        )
    return await _files(paper, options)


def _moment(text: str) -> moment.Moment | None:
    """Read a moment; what is none is a file."""
    if Path(text).exists() and not text.isdecimal():
        return None
    try:
        return moment.moment(text)
    except argparse.ArgumentTypeError:
        return None


async def _moments(
    paper: Paper, options: argparse.Namespace, one: moment.Moment, other: moment.Moment
) -> int:
    async with reading.opened(options) as (log, _):
        before, after = Pasts(brief=True), Pasts(brief=True)
        await reading.read(log, before.apply, until=await one.known(log))
        await reading.read(log, after.apply, until=await other.known(log))
    whole = [] if before.position == after.position else [_log("records", before.position, after.position)]
    return _show(paper, options, [*whole, *changed(before, after)])


async def _files(paper: Paper, options: argparse.Namespace) -> int:
    async with open_log(options.one, read_only=True) as one, open_log(options.other, read_only=True) as other:
        with Progress() as progress:
            at = await parted(one, other, progress.tell)
        before, after = Pasts(brief=True), Pasts(brief=True)
        await reading.read(one, before.apply)
        await reading.read(other, after.apply)
    whole = [_log("records", before.position, after.position), _log("parts at", at, at)] if at else []
    return _show(paper, options, [*whole, *changed(before, after)])


def _log(what: str, before: int, after: int) -> Change:
    return Change("", "(the log)", what, before, after)


def _show(paper: Paper, options: argparse.Namespace, changes: Iterable[Change]) -> int:
    """Show the changes, and say whether there are any: 0 or 1."""
    rows = list(map(_row, changes))
    columns = (
        Column("machine", lambda row: paper.ink(row["name"], "bold")),
        Column("what", lambda row: paper.ink(row["what"])),
        Column("before", lambda row: paper.ink(_said(row["before"]), "red")),
        Column("after", lambda row: paper.ink(_said(row["after"]), "green")),
    )
    sheet.shown(paper, options.output, columns, rows, "nothing differs")
    return 1 if rows else 0


def _row(change: Change) -> Row:
    told: Row = public(msgspec.to_builtins(change))
    return told


def _said(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
