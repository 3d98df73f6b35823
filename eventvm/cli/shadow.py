"""`eventvm log shadow`: the log replayed under another definition, for whoever is about to change one."""

import argparse
from operator import attrgetter
from typing import Any

from eventvm.audit.shadow import Illegal, Shadow, Stuck
from eventvm.cli import place, reading, sheet
from eventvm.cli.input import definition
from eventvm.cli.paper import Paper
from eventvm.cli.sheet import Column, Row
from eventvm.lifecycle import Lifecycle, Rules
from eventvm.record import Record
from eventvm.views import Definitions


def describe(verbs: Any) -> None:
    """Describe the verb and its options."""
    verb = verbs.add_parser(
        "shadow",
        help="replay the log under a changed lifecycle, and list what would have been illegal",
        description="Every record of every machine that lives under the lifecycle of this name is tried "
        "against the definition. Listed are the records that it forbids, and the living machines that would "
        "have no way on: 0 there are none, 1 there are some.",
        epilog="example: eventvm log shadow --lifecycle vm-next.json --log fleet.db",
    )
    verb.add_argument(
        "--lifecycle", required=True, metavar="FILE", help="the definition, as JSON; `-` for the input"
    )
    place.describe(verb)
    sheet.describe(verb)
    verb.set_defaults(run=lambda options, paper: shadow(paper, options))


async def shadow(paper: Paper, options: argparse.Namespace) -> int:
    """Replay machine by machine, and list what would not have been in the order in which it was."""
    rules = Rules(definition(options.lifecycle, Lifecycle))
    illegal: list[Illegal] = []
    stuck: list[Stuck] = []
    records = 0
    async with reading.opened(options) as (log, _):
        shadows = reading.folds(log, log.tree.size, lambda found: Tried(rules, found), "replaying")
        async for tried in shadows:
            illegal += tried.illegal
            stuck += tried.shadow.stuck()
            records += tried.shadow.records
    illegal.sort(key=attrgetter("position"))
    rows = [*map(_illegal, illegal), *map(_stuck, stuck)]
    nothing = f"all {records:,} records of {rules.name} are legal under it, and nobody is stuck"
    sheet.shown(paper, options.output, _columns(paper), rows, nothing)
    return 1 if rows else 0


class Tried:
    """One machine under the definition, and those of its records that would have been illegal."""

    def __init__(self, rules: Rules, definitions: Definitions) -> None:
        self.shadow = Shadow(rules, definitions)
        self.illegal: list[Illegal] = []

    def apply(self, record: Record) -> None:
        """Try one more of its records."""
        if (found := self.shadow.apply(record)) is not None:
            self.illegal.append(found)


def _illegal(one: Illegal) -> Row:
    return {"finding": "illegal", "position": one.position, "machine": one.machine, "name": one.name,
            "phase": one.phase, "event": one.event, "why": one.why}  # fmt: skip


def _stuck(one: Stuck) -> Row:
    return {"finding": "stuck", "position": None, "machine": one.machine, "name": one.name,
            "phase": one.phase, "event": "", "why": one.why}  # fmt: skip


def _columns(paper: Paper) -> tuple[Column, ...]:
    return (
        Column("finding", lambda row: paper.ink(row["finding"], "red")),
        Column("position", lambda row: str(row["position"] or "")),
        Column("machine", lambda row: paper.ink(row["name"], "bold")),
        Column("phase", lambda row: paper.phase(row["phase"])),
        Column("event", lambda row: paper.ink(row["event"])),
        Column("why", lambda row: paper.ink(row["why"])),
    )
