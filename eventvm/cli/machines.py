"""`eventvm list`, `show`, `history`, `explain`: machines as they are, or as they were at any moment."""

import argparse
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any

from msgspec import json

from eventvm import times
from eventvm.bill import has
from eventvm.cli import reading, sheet
from eventvm.cli.paper import Paper
from eventvm.cli.sheet import Column, Row
from eventvm.explanation import account, explained
from eventvm.log import EventLog
from eventvm.machine import Machine
from eventvm.past import Past
from eventvm.times import SECOND_NS, length


def describe(verbs: Any) -> None:
    """Describe the verbs and their options."""
    _list(verbs)
    named = {
        "show": (show, "show one machine: its phase and how that came about, and what to do next", "web-1"),
        "history": (
            history,
            "list a machine's changes of phase, with the reason of each",
            "web-1 --at '2 hours ago'",
        ),
        "explain": (
            explain,
            "say why a machine is in its phase, and where each billed second comes from",
            "web-1",
        ),
    }
    for verb, (run, does, example) in named.items():
        _named(verbs, verb, does, f"example: eventvm {verb} {example}", run)


def _list(verbs: Any) -> None:
    verb = verbs.add_parser(
        "list",
        help="list the machines, with what is under way",
        description="Those that live, unless --all asks for the ended ones too. -w goes on showing them "
        "whenever something changes.",
        epilog="example: eventvm list --phase running --label team=a --known-at '2 hours ago'",
    )
    verb.add_argument("--all", action="store_true", help="those whose life is over, too")
    verb.add_argument("--phase", help="only those in this phase")
    verb.add_argument("--lifecycle", help="only those that live under this one")
    verb.add_argument(
        "--label", action="append", default=[], metavar="KEY[=VALUE]", help="only those with it; repeatable"
    )
    verb.add_argument("--prefix", default="", help="only those whose name begins so")
    verb.add_argument("-w", "--watch", action="store_true", help="show them again at every change")
    reading.describe(verb)
    sheet.describe(verb)
    verb.set_defaults(run=lambda options, paper: listed(paper, options))


def _named(verbs: Any, name: str, does: str, example: str, run: Any) -> None:
    verb = verbs.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.", epilog=example)
    verb.add_argument("name", metavar="NAME", help="the machine that holds this name, else the last that did")
    verb.add_argument("--id", action="store_true", help="NAME is a machine's id")
    reading.describe(verb)
    sheet.describe(verb)
    verb.set_defaults(run=lambda options, paper: run(paper, options))


# --- list -----------------------------------------------------------------------------------------------


async def listed(paper: Paper, options: argparse.Namespace) -> int:
    """List machines, once or at every change."""
    async with reading.opened(options) as (log, asked):
        if options.watch and not asked.past:
            await _watch(paper, options, log)
        else:
            await _list_once(paper, options, log, asked)
    return 0


async def _list_once(paper: Paper, options: argparse.Namespace, log: EventLog, asked: reading.Asked) -> None:
    """Fold the machines one by one, and keep of each that is wanted what is shown, as text."""
    kept = [
        (past.machine.name, json.encode(account(past, asked.as_of)))
        async for past in reading.each(log, asked, brief=True)
        if _wanted(past.machine, options)
    ]
    kept.sort(key=itemgetter(0))
    _show(paper, options, (json.decode(text) for _, text in kept))


async def _watch(paper: Paper, options: argparse.Namespace, log: EventLog) -> None:
    """Show the list whenever the log has gone on; many changes at once are shown once."""
    now = reading.present()
    pasts = await reading.folded(log, now, brief=True)
    while True:
        wanted = [past for past in pasts if _wanted(past.machine, options)]
        wanted.sort(key=lambda past: past.machine.name)
        _show(paper, options, (account(past, now.as_of) for past in wanted))
        await log.wait(pasts.position)
        await reading.read(log, pasts.apply, after=pasts.position)
        paper.clear()
        now = reading.present()


def _show(paper: Paper, options: argparse.Namespace, rows: Iterable[Row]) -> None:
    sheet.shown(paper, options.output, _columns(paper), rows, "no machines")


def _wanted(machine: Machine, options: argparse.Namespace) -> bool:
    definition = machine.rules.definition
    return (
        (options.all or machine.living)
        and options.phase in (None, machine.phase, definition.title(machine.phase))
        and options.lifecycle in (None, machine.rules.name)
        and machine.name.startswith(options.prefix)
        and all(has(machine.spec.labels, label) for label in options.label)
    )


def _columns(paper: Paper) -> tuple[Column, ...]:
    return (
        Column("name", lambda row: paper.ink(row["name"], "bold")),
        Column("phase", lambda row: paper.phase(row["phase"])),
        Column("since", lambda row: _stamp(row["since"])),
        Column("because of", lambda row: paper.ink(_because(row), "dim")),
        Column("under way", lambda row: paper.ink(_under_way(row), "yellow")),
        Column("last seen", lambda row: paper.ink(_seen(row))),
        Column("next", lambda row: paper.ink(row["next"], "cyan")),
    )


def _stamp(text: str | None) -> str:
    return times.briefly(times.read(text)) if text else ""


def _because(row: Row) -> str:
    came = row["came_by"]
    if came is None:
        return ""
    reason = f" ({came['reason']})" if came["reason"] else ""
    return f"{came['event']}{reason} #{came['position']}"


def _under_way(row: Row) -> str:
    request = row["request"]
    if request is None:
        return ""
    left = request["seconds_left"]
    until = f"{length(left * SECOND_NS)} left" if left >= 0 else f"overdue by {length(-left * SECOND_NS)}"
    asked = f" by {request['actor']}" if request["actor"] else ""
    return f"{request['command']} requested{asked}, {until}"


def _seen(row: Row) -> str:
    seen = row["observation"]
    return "" if seen is None else f"{seen['source']}, {length(seen['age_seconds'] * SECOND_NS)} ago"


# --- show -----------------------------------------------------------------------------------------------


async def show(paper: Paper, options: argparse.Namespace) -> int:
    """Show one machine."""
    async with reading.opened(options) as (log, asked):
        past = await reading.machine(log, asked, options.name, by_id=options.id, brief=True)
        row = account(past, asked.as_of)
    if options.output == "table":
        paper.pairs(_lines(paper, row))
    else:
        sheet.one(paper, options.output, row)
    return 0


def _lines(paper: Paper, row: Row) -> Iterator[tuple[str, str]]:
    yield "name", paper.ink(row["name"], "bold")
    yield "id", paper.ink(row["id"])
    quarantined = " (in quarantine)" if row["quarantined"] else ""
    yield "phase", paper.phase(row["phase"]) + paper.ink(quarantined, "red")
    yield "since", _stamp(row["since"])
    yield "because of", paper.ink(_because(row))
    yield "recorded", paper.ink(_recorded(row))
    yield "under way", paper.ink(_under_way(row), "yellow")
    yield "last seen", paper.ink(_seen(row))
    yield "lifecycle", paper.ink(row["lifecycle"])
    yield "incarnation", str(row["incarnation"] or "")
    yield "counting", paper.ink(", ".join(row["counting"]))
    yield (
        "snapshots",
        paper.ink(", ".join(f"{name} ({size} bytes)" for name, size in row["snapshots"].items())),
    )
    yield "labels", paper.ink(", ".join(f"{key}={value}" for key, value in row["labels"].items()))
    yield "takes", paper.ink(", ".join(row["takes"]))
    yield "next", paper.ink(row["next"], "cyan")


def _recorded(row: Row) -> str:
    came = row["came_by"]
    if came is None:
        return ""
    by = f" by {came['actor']}" if came["actor"] else ""
    return f"{_stamp(came['recorded_at'])}{by}"


# --- history and explanation ----------------------------------------------------------------------------


async def history(paper: Paper, options: argparse.Namespace) -> int:
    """List the changes of phase of one machine."""
    async with reading.opened(options) as (log, asked):
        past = await reading.machine(log, asked, options.name, by_id=options.id)
    columns = (
        Column("position", lambda row: str(row["position"])),
        Column("time", lambda row: _stamp(row["timestamp"])),
        Column("from", lambda row: paper.phase(row["from"])),
        Column("to", lambda row: paper.phase(row["to"])),
        Column("because of", lambda row: paper.ink(row["event"], "dim")),
        Column("reason", lambda row: paper.ink(row["reason"])),
    )
    sheet.shown(paper, options.output, columns, _changes(past), "its phase has never changed")
    return 0


def _changes(past: Past) -> Iterator[Row]:
    for change in past.changes:
        yield {
            "from": change.from_, "to": change.to, "reason": change.reason,
            "timestamp": times.rfc3339(change.timestamp), "position": change.position,
            "event": change.event, "forced": change.forced,
        }  # fmt: skip


async def explain(paper: Paper, options: argparse.Namespace) -> int:
    """Explain one machine."""
    async with reading.opened(options) as (log, asked):
        past = await reading.machine(log, asked, options.name, by_id=options.id)
    sentences = explained(past, reading.intervals(past.ledger, asked), asked.as_of)
    if options.output == "table":
        for sentence in sentences:
            named = ", ".join(f"#{position}" for position in sentence.positions)
            paper.line(paper.ink(sentence.text) + (paper.ink(f"  [{named}]", "dim") if named else ""))
    else:
        rows = ({"text": one.text, "positions": list(one.positions)} for one in sentences)
        sheet.shown(paper, options.output, (), rows)
    return 0
