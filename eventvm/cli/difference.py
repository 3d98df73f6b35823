"""`eventvm log diff`: what changed between two positions or times of a log, or between two files."""

import argparse
from collections.abc import AsyncIterator, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from eventvm.audit import streams
from eventvm.audit.changes import Change, changed, parted
from eventvm.audit.cloudevents import public
from eventvm.cli import moment, place, reading, sheet
from eventvm.cli.paper import Paper
from eventvm.cli.progress import Progress
from eventvm.cli.sheet import Column, Row, Sheet
from eventvm.errors import BadInput
from eventvm.log import EventLog
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
    shown = Shown(paper, options.output)
    async with reading.opened(options) as (log, _):
        known = await one.known(log), await other.known(log)
        if known[0] != known[1]:
            shown.add([_log("records", *known)])
        async for twice in reading.folds(
            log,
            max(known),
            lambda found: streams.Twice(known, brief=True, definitions=found),
            beside=sheet.meanwhile(paper, options.output),
        ):
            (_, before), (_, after) = twice.then
            shown.add(changed(before, after))
    return shown.end()


async def _files(paper: Paper, options: argparse.Namespace) -> int:
    shown = Shown(paper, options.output)
    async with open_log(options.one, read_only=True) as one, open_log(options.other, read_only=True) as other:
        with Progress() as progress:
            at = await parted(one, other, progress.tell)
        if at:
            shown.add([_log("records", one.tree.size, other.tree.size), _log("parts at", at, at)])
        async for before, after in _machines(one, other, sheet.meanwhile(paper, options.output)):
            shown.add(changed(before, after))
    return shown.end()


async def _machines(
    one: EventLog, other: EventLog, beside: Paper | None
) -> AsyncIterator[tuple[Pasts, Pasts]]:
    """Fold the machines of two logs side by side; one bar tells how far both have come."""
    read = [0, 0]
    with Progress("reading", one.tree.size + other.tree.size, beside=beside) as progress:

        def reach(side: int, done: int) -> None:
            read[side] = done
            progress.reach(sum(read))

        sides = [
            streams.each(log, log.tree.size, streams.brief, partial(reach, side))
            for side, log in enumerate((one, other))
        ]
        async for pair in _paired(*sides):
            yield pair


async def _paired(
    one: AsyncIterator[Pasts], other: AsyncIterator[Pasts]
) -> AsyncIterator[tuple[Pasts, Pasts]]:
    """Bring together what two logs have of each machine; both have them in the order of their ids."""
    nobody = Pasts()
    left, right = await anext(one, nobody), await anext(other, nobody)
    while left is not nobody or right is not nobody:
        first = min((*left.machines, *right.machines))
        before = left if first in left.machines else nobody
        after = right if first in right.machines else nobody
        yield before, after
        if before is left:
            left = await anext(one, nobody)
        if after is right:
            right = await anext(other, nobody)


def _log(what: str, before: int, after: int) -> Change:
    return Change("", "(the log)", what, before, after)


class Shown:
    """Changes as they are found, and whether there were any."""

    def __init__(self, paper: Paper, form: str) -> None:
        columns = (
            Column("machine", lambda row: paper.ink(row["name"], "bold")),
            Column("what", lambda row: paper.ink(row["what"])),
            Column("before", lambda row: paper.ink(_said(row["before"]), "red")),
            Column("after", lambda row: paper.ink(_said(row["after"]), "green")),
        )
        self._sheet = Sheet(paper, form, columns)
        self._any = 0

    def add(self, changes: Iterable[Change]) -> None:
        """Show some changes."""
        for change in changes:
            self._sheet.add(_row(change))
            self._any = 1

    def end(self) -> int:
        """Show the rest, and say whether anything differs: 0 or 1."""
        self._sheet.end("nothing differs")
        return self._any


def _row(change: Change) -> Row:
    told: Row = public(msgspec.to_builtins(change))
    return told


def _said(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
