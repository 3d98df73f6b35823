"""`eventvm log shadow`: the log replayed under another definition, for whoever is about to change one."""

import argparse
from typing import Any

from eventvm.audit.shadow import Illegal, Shadow, Stuck
from eventvm.cli import place, reading, sheet
from eventvm.cli.input import definition
from eventvm.cli.paper import Paper
from eventvm.cli.sheet import Column, Row
from eventvm.lifecycle import Lifecycle
from eventvm.record import Record


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
    """Replay, and list what would not have been."""
    shadowed = Shadow(definition(options.lifecycle, Lifecycle))
    illegal: list[Illegal] = []

    def take(record: Record) -> None:
        if (found := shadowed.apply(record)) is not None:
            illegal.append(found)

    async with reading.opened(options) as (log, _):
        await reading.read(log, take, what="replaying")
    rows = [*map(_illegal, illegal), *map(_stuck, shadowed.stuck())]
    nothing = (
        f"all {shadowed.records:,} records of {shadowed.rules.name} are legal under it, and nobody is stuck"
    )
    sheet.shown(paper, options.output, _columns(paper), rows, nothing)
    return 1 if rows else 0


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
