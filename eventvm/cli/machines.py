"""`eventvm list`, `show`, `history`, `explain`: machines as they are, or as they were at any moment."""

import argparse
import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress
from operator import itemgetter
from typing import Any

from msgspec import json

from eventvm import times
from eventvm.bill import has
from eventvm.cli import reading, sheet
from eventvm.cli.paper import Paper
from eventvm.cli.shape import sized
from eventvm.cli.sheet import Column, Row
from eventvm.explanation import Sentence, account, explained, order
from eventvm.log import EventLog
from eventvm.machine import Machine
from eventvm.past import Past
from eventvm.picture import told
from eventvm.spec import Shape
from eventvm.times import SECOND_NS, length

STALE_SECONDS = 10.0
"""How old the ages may be that a list on a screen shows."""
VERBS = {
    "destroy_forced": "destroy --force", "delete_snapshot": "delete-snapshot",
    "advance_retry": "retry advance", "reset_retry": "retry reset", "use": "", "correct": "", "create": "",
}  # fmt: skip
"""What commands are called here, where they are called otherwise; empty where no verb sends them."""


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
    """Fold the machines one by one, and keep of each that is shown what is shown, as text."""
    kept, ended = [], 0
    async for past in reading.each(log, asked, brief=True):
        if _wanted(past.machine, options):
            if options.all or past.machine.living:
                kept.append((past.machine.name, json.encode(_row(past, asked))))
            else:
                ended += 1
    kept.sort(key=itemgetter(0))
    _show(paper, options, (json.decode(text) for _, text in kept), ended)


async def _watch(paper: Paper, options: argparse.Namespace, log: EventLog) -> None:
    """Show the list whenever the log has gone on; many changes at once are shown once.

    What is read off a screen has to be true by then: there the ages are brought up to date meanwhile.
    """
    now = reading.present()
    pasts = await reading.folded(log, now, brief=True)
    while True:
        asked_for = [past for past in pasts if _wanted(past.machine, options)]
        wanted = [past for past in asked_for if options.all or past.machine.living]
        wanted.sort(key=lambda past: past.machine.name)
        _show(paper, options, (_row(past, now) for past in wanted), len(asked_for) - len(wanted))
        with suppress(TimeoutError):
            async with asyncio.timeout(STALE_SECONDS if paper.seen else None):
                await log.wait(pasts.position)
        await reading.read(log, pasts.apply, after=pasts.position)
        paper.clear()
        now = reading.present()


def _show(paper: Paper, options: argparse.Namespace, rows: Iterable[Row], ended: int) -> None:
    sheet.shown(paper, options.output, _columns(paper), rows, _nothing(ended))


def _nothing(ended: int) -> str:
    """Say that there is no machine to show; if there were some once, how they are shown."""
    if not ended:
        return "no machines"
    return f"no living machines; {ended:,} {'has' if ended == 1 else 'have'} ended: --all shows them"


def _row(past: Past, asked: reading.Asked) -> Row:
    """Describe a machine; what was the next command once is none now."""
    row = account(past, asked.as_of)
    return {**row, "next": ""} if asked.past else row


def _wanted(machine: Machine, options: argparse.Namespace) -> bool:
    definition = machine.rules.definition
    return (
        options.phase in (None, machine.phase, definition.title(machine.phase))
        and options.lifecycle in (None, machine.rules.name)
        and machine.name.startswith(options.prefix)
        and all(has(machine.spec.labels, label) for label in options.label)
    )


def _columns(paper: Paper) -> tuple[Column, ...]:
    return (
        Column("name", lambda row: paper.ink(row["name"], "bold"), gives=True),
        Column("phase", lambda row: paper.phase(row["phase"])),
        Column("for", lambda row: "" if row["since"] is None else length(row["since_seconds"] * SECOND_NS)),
        Column("because of", lambda row: paper.ink(_because(row), "dim"), gives=True),
        Column("under way", lambda row: paper.ink(_asked(row), "yellow"), gives=True),
        Column("last seen", _seen_ago),
        Column("next", lambda row: paper.ink(row["next"], "cyan")),
    )


def _stamp(text: str | None) -> str:
    return times.briefly(times.read(text)) if text else ""


def _because(row: Row) -> str:
    came = row["came_by"]
    if came is None:
        return ""
    why = came["fault"] or came["reason"]
    return f"#{came['position']} {came['event'].removeprefix('machine.')}{f': {why}' if why else ''}"


def _under_way(row: Row) -> str:
    request = row["request"]
    if request is None:
        return ""
    left = request["seconds_left"]
    until = f"{length(left * SECOND_NS)} left" if left >= 0 else f"overdue by {length(-left * SECOND_NS)}"
    asked = f" by {request['actor']}" if request["actor"] else ""
    return f"{request['command']} requested{asked}, {until}"


def _asked(row: Row) -> str:
    """Say in short what is under way."""
    return _under_way(row).replace(" requested", "")


def _seen(row: Row) -> str:
    seen = row["observation"]
    return "" if seen is None else f"{seen['source']}, {_seen_ago(row)} (#{seen['position']})"


def _seen_ago(row: Row) -> str:
    seen = row["observation"]
    return "" if seen is None else f"{length(seen['age_seconds'] * SECOND_NS)} ago"


# --- show -----------------------------------------------------------------------------------------------


async def show(paper: Paper, options: argparse.Namespace) -> int:
    """Show one machine."""
    async with reading.opened(options) as (log, asked):
        past = await reading.machine(log, asked, options.name, by_id=options.id, brief=True)
        row = _row(past, asked)
    if options.output == "table":
        paper.pairs(_lines(paper, past, row))
        paper.pairs([("next", paper.ink(_next(past, asked, options), "cyan"))])
    else:
        sheet.one(paper, options.output, row)
    return 0


def _lines(paper: Paper, past: Past, row: Row) -> Iterator[tuple[str, str]]:
    yield "name", paper.ink(row["name"], "bold")
    yield "id", paper.ink(row["id"])
    quarantined = " (in quarantine)" if row["quarantined"] else ""
    yield "phase", paper.phase(row["phase"]) + paper.ink(quarantined, "red")
    yield "since", _stamp(row["since"])
    yield "because of", paper.ink(_because(row))
    yield "asked for", paper.ink(_asked_for(row))
    yield "recorded", paper.ink(_recorded(row))
    yield "last end", paper.ink("" if past.machine.end is None else f"{told(past.machine.end)} #{past.ended}")
    yield "under way", paper.ink(_under_way(row), "yellow")
    yield "last seen", paper.ink(_seen(row))
    yield "lifecycle", paper.ink(row["lifecycle"])
    yield "provider", paper.ink(row["provider"])
    yield "shape", _shape(past.machine.spec.shape)
    yield "incarnation", str(row["incarnation"] or "")
    yield "counting", paper.ink(", ".join(row["counting"]))
    yield (
        "snapshots",
        paper.ink(", ".join(f"{name} ({sized(int(size))})" for name, size in row["snapshots"].items())),
    )
    yield "labels", paper.ink(", ".join(f"{key}={value}" for key, value in row["labels"].items()))
    yield "takes", paper.ink(", ".join(filter(None, (VERBS.get(one, one) for one in row["takes"]))))


def _asked_for(row: Row) -> str:
    """Say why somebody had asked for what failed; of what did not fail, that is why it happened."""
    came = row["came_by"]
    return came["reason"] if came is not None and came["fault"] not in ("", came["reason"]) else ""


def _shape(shape: Shape) -> str:
    count = f"{shape.milli_cpus / 1000:g}"
    cpus = f"{count} CPU{'' if count == '1' else 's'}" if shape.milli_cpus else ""
    memory = f"{sized(shape.memory)} of memory" if shape.memory else ""
    storage = f"{sized(shape.storage)} of storage" if shape.storage else ""
    return ", ".join(filter(None, (cpus, memory, storage)))


def _next(past: Past, asked: reading.Asked, options: argparse.Namespace) -> str:
    """Write the next safe command for the log that was named; there is none for the past."""
    return "" if asked.past else order(past.machine, options.log or "")


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
        Column("reason", lambda row: paper.ink(row["fault"] or row["reason"])),
    )
    sheet.shown(paper, options.output, columns, _changes(past), "its phase has never changed")
    return 0


def _changes(past: Past) -> Iterator[Row]:
    for change in past.changes:
        yield {
            "from": change.from_, "to": change.to, "reason": change.reason,
            "timestamp": times.rfc3339(change.timestamp), "position": change.position,
            "event": change.event, "forced": change.forced, "fault": past.faults.get(change.position, ""),
        }  # fmt: skip


async def explain(paper: Paper, options: argparse.Namespace) -> int:
    """Explain one machine."""
    async with reading.opened(options) as (log, asked):
        past = await reading.machine(log, asked, options.name, by_id=options.id)
    sentences = [*explained(past, reading.intervals(past.ledger, asked), asked.as_of)]
    if next_one := _next(past, asked, options):
        sentences.append(Sentence(f"The next safe command: {next_one}", ()))
    if options.output == "table":
        for sentence in sentences:
            named = ", ".join(f"#{position}" for position in sentence.positions)
            paper.line(paper.ink(sentence.text) + (paper.ink(f"  [{named}]", "dim") if named else ""))
    else:
        rows = ({"text": one.text, "positions": list(one.positions)} for one in sentences)
        sheet.shown(paper, options.output, (), rows)
    return 0
