"""`eventvm lifecycle`: which there are, what each of their phases answers, and new ones checked."""

import argparse
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Struct

from eventvm import events
from eventvm.audit import streams
from eventvm.cli import place, reading, sheet
from eventvm.cli.input import definition
from eventvm.cli.paper import Paper
from eventvm.cli.picture import write
from eventvm.cli.sheet import Column, Row
from eventvm.diagram import diagram
from eventvm.drawing import answer_in_words, arrow_in_words, counted, mermaid, roles, row_rank, short, table
from eventvm.errors import BadEntryPoint, BadInput, NoSuchLifecycle, NotALog
from eventvm.installed import LIFECYCLES as OFFERED
from eventvm.installed import Installed
from eventvm.lifecycle import Lifecycle, Recorded, Rules, answers, arrows, complaints
from eventvm.lifecycle_laws import LAWS, broken
from eventvm.lifecycles import LIFECYCLES
from eventvm.tables import Answer, Effect, Look, Refuse, leaves
from eventvm.views import defined

DIGITS = 6
"""From so many digits on a digest may be named by how it begins."""


class Found(Struct, frozen=True):
    """A lifecycle, and where it was found."""

    rules: Rules
    origin: str
    position: int = 0
    """The record that defined it; 0 where none has."""


def describe(verbs: Any) -> None:
    """Describe the group's verbs and their options."""
    group = verbs.add_parser(
        "lifecycle",
        help="list, show, draw and check lifecycles",
        description="A lifecycle is data: tables that say what each phase makes of each command and event.",
        epilog="example: eventvm lifecycle show vm --phase running",
    )
    asked = group.add_subparsers(dest="lifecycle_verb", metavar="VERB", required=True)
    _list(asked)
    _show(asked)
    _diagram(asked)
    _check(asked)


def _list(verbs: Any) -> None:
    verb = verbs.add_parser(
        "list",
        help="list the lifecycles: built in, installed, and recorded in a log",
        description="One that a log has recorded stays as it was written there, whatever this release has.",
        epilog="example: eventvm lifecycle list --log fleet.db",
    )
    place.describe(verb)
    sheet.describe(verb)
    verb.set_defaults(run=lambda options, paper: listed(paper, options))


def _named(verb: Any) -> None:
    verb.add_argument(
        "name", metavar="NAME", help="a lifecycle; a recorded one also by the beginning of its digest"
    )
    place.describe(verb)


def _show(verbs: Any) -> None:
    verb = verbs.add_parser(
        "show",
        help="show what each phase of a lifecycle answers, and where each event leads",
        description="What a phase does not list, it refuses. -o markdown writes the tables for a document, "
        "-o json the definition itself: what `check` and `log shadow` read.",
        epilog="example: eventvm lifecycle show vm --phase running",
    )
    _named(verb)
    verb.add_argument("--phase", help="only this one")
    sheet.describe(verb, "table", "markdown", "json")
    verb.set_defaults(run=lambda options, paper: shown(paper, options))


def _diagram(verbs: Any) -> None:
    verb = verbs.add_parser(
        "diagram",
        help="draw a lifecycle, as Mermaid or as SVG",
        description="Drawn from the very tables that the engine interprets.",
        epilog="example: eventvm lifecycle diagram vm --svg vm.svg",
    )
    _named(verb)
    choice = verb.add_mutually_exclusive_group()
    choice.add_argument("--mermaid", action="store_true", help="as Mermaid, to the output (the default)")
    choice.add_argument("--svg", metavar="FILE", help="as SVG, into this file; `-`: to the output")
    verb.set_defaults(run=lambda options, paper: drawn(paper, options))


def _check(verbs: Any) -> None:
    verb = verbs.add_parser(
        "check",
        help="check a definition before anything lives under it",
        description="Each row that contradicts another is named; then the laws are tried that every "
        "lifecycle owes to those who live under it. 0: it is lawful, 1: it is not.",
        epilog="example: eventvm lifecycle check cell-next.json --doomed completed",
    )
    verb.add_argument("file", metavar="FILE", help="the definition, as JSON; `-` for the input")
    verb.add_argument(
        "--doomed", action="append", default=[], metavar="PHASE",
        help="a phase that may be alive and that only the end follows, on purpose; repeatable",
    )  # fmt: skip
    sheet.describe(verb)
    verb.set_defaults(run=lambda options, paper: checked(paper, options))


# --- which there are ------------------------------------------------------------------------------------


async def listed(paper: Paper, options: argparse.Namespace) -> int:
    """List all lifecycles."""
    columns = (
        Column("name", lambda row: paper.ink(row["name"], "bold")),
        Column("digest", lambda row: paper.ink(row["digest"], "dim")),
        Column("from", lambda row: paper.ink(row["from"])),
        Column("phases", lambda row: str(len(row["phases"]))),
        Column("ends in", lambda row: paper.ink(", ".join(row["ends"]))),
    )
    sheet.shown(paper, options.output, columns, map(_row, await _all(options)))
    return 0


def _row(found: Found) -> Row:
    one = found.rules.definition
    return {
        "name": one.name, "digest": found.rules.digest, "from": found.origin,
        "position": found.position or None, "phases": list(one.phases), "ends": list(one.ends),
    }  # fmt: skip


async def _all(options: argparse.Namespace) -> list[Found]:
    """Gather what is built in, what packages offer, and what the log has recorded besides."""
    found = [Found(Rules(one), "built in") for one in LIFECYCLES.values()]
    found += _installed()
    known = {one.rules.digest: at for at, one in enumerate(found)}
    for one in await _recorded(options):
        if (at := known.get(one.rules.digest)) is None:
            found.append(one)
        else:
            there = found[at]
            found[at] = Found(there.rules, f"{there.origin}, {one.origin}", one.position)
    return found


def _installed() -> Iterator[Found]:
    installed = Installed()
    for name in sorted(installed.names(OFFERED) - LIFECYCLES.keys()):
        with suppress(BadEntryPoint):  # `doctor` tells of it
            if (one := installed.lifecycle(name)) is not None:
                yield Found(Rules(one), "installed")


async def _recorded(options: argparse.Namespace) -> list[Found]:
    """Give what the log has recorded; where none was named, there need not be one."""
    try:
        async with reading.opened(options) as (log, _):
            defining = await streams.lifecycles(log)
            records = [record for one in defining async for record in streams.records_of(log, one)]
    except NotALog:
        if options.log:
            raise
        return []
    return [
        Found(
            Rules(defined(record.event), record.event.digest),
            f"recorded at position {record.position}",
            record.position,
        )
        for record in records
        if isinstance(record.event, events.LifecycleDefined)
    ]


async def _one(options: argparse.Namespace) -> Lifecycle:
    """Find a lifecycle by its name, then the last that was recorded under it, then by its digest."""
    found, name = await _all(options), options.name
    named = [one for one in found if one.rules.name == name]
    digested = [one for one in found if len(name) >= DIGITS and one.rules.digest.startswith(name)]
    for one in (*named[:1], *digested):
        return one.rules.definition
    raise NoSuchLifecycle(name)


# --- one of them ----------------------------------------------------------------------------------------


async def shown(paper: Paper, options: argparse.Namespace) -> int:
    """Show the tables of a lifecycle, phase by phase."""
    one = await _one(options)
    if options.output == "markdown":
        paper.text(f"# {one.name}\n\n{table(one)}")
    elif options.output == "json":
        sheet.one(paper, "json", msgspec.to_builtins(one))
    else:
        for phase in _chosen(one, options.phase):
            _phase(paper, one, phase)
        _effects(paper, one, _used(one, _chosen(one, options.phase)))
    return 0


def _chosen(one: Lifecycle, wanted: str | None) -> Iterable[str]:
    phases = [phase for phase in one.phases if wanted in (None, phase, one.title(phase))]
    if not phases:
        raise BadInput(f"{one.name} has no phase {wanted!r}; it has {', '.join(one.phases)}")
    return phases


def _phase(paper: Paper, one: Lifecycle, phase: str) -> None:
    meters = ", ".join(counted(one, phase))
    told = ", ".join(roles(one, phase)) + (f"; counts {meters}" if meters else "")
    paper.line(f"{paper.phase(one.title(phase))}  {paper.ink(told, 'dim')}")
    rows = sorted(answers(one, phase).items(), key=lambda row: row_rank(row[0]))
    taken = [line for command, answer in rows for line in _answered(command, answer)]
    refused = [command for command, answer in rows if isinstance(answer, Refuse)]
    if taken:
        paper.table(("command", "comes to"), ([paper.ink(cell) for cell in row] for row in taken))
    if refused:
        paper.line(f"    {paper.ink('refuses', 'dim')}  {paper.ink(', '.join(refused))}")
    if moves := one.moves.get(phase):
        paper.line(f"    {paper.ink('moves to', 'dim')}  {paper.ink(', '.join(moves))}")
    if leads := [
        (short(tag), arrow.to or "stays", arrow_in_words(arrow)) for tag, arrow in arrows(one, phase).items()
    ]:
        paper.table(("event", "leads to", "meters"), ([paper.ink(cell) for cell in row] for row in leads))
    paper.line()


def _answered(command: str, answer: Answer) -> Iterator[tuple[str, str]]:
    """Say what a command comes to; what depends on a look stands on lines of its own."""
    if isinstance(answer, Look):
        yield command, "a look first"
        for seen in ("alive", "gone", "unknown"):
            yield "", f"{seen} -> {answer_in_words(getattr(answer, seen))}"
    elif not isinstance(answer, Refuse):
        yield command, answer_in_words(answer)


def _used(one: Lifecycle, phases: Iterable[str]) -> set[str]:
    """Name the effects that something in these phases leads to."""
    every = (answer for phase in phases for answer in answers(one, phase).values())
    return {final.name for answer in every for final in leaves(answer) if isinstance(final, Effect)}


def _effects(paper: Paper, one: Lifecycle, used: set[str]) -> None:
    """Show what effects call, in this order."""
    rows = [
        (name, step.call, short(step.ok or "the next step"), short(step.failed or "passed over"))
        for name, steps in one.effects.items()
        for step in steps
        if name in used
    ]
    if rows:
        paper.line("effects")
        paper.table(("effect", "calls", "then", "else"), ([paper.ink(cell) for cell in row] for row in rows))


async def drawn(paper: Paper, options: argparse.Namespace) -> int:
    """Draw a lifecycle."""
    one = await _one(options)
    if options.svg is None:
        paper.text(mermaid(one))
    elif options.svg == "-":
        paper.text(diagram(one))
    else:
        write(options.svg, diagram(one))
        paper.line(f"{paper.ink(options.svg)}: the lifecycle {paper.ink(one.name)}")
    return 0


# --- a new one ------------------------------------------------------------------------------------------


async def checked(paper: Paper, options: argparse.Namespace) -> int:
    """Check a definition, and name what has to be mended."""
    if not __debug__:
        raise BadInput("the laws are assertions: run it without -O and PYTHONOPTIMIZE")
    one = definition(options.file, Recorded)
    rows = [{"row": row, "why": why} for row, why in complaints(one)]
    rows = rows or [
        {"row": f"law: {law}", "why": why} for law, why in broken(one, doomed=tuple(options.doomed))
    ]
    columns = (
        Column("where", lambda row: paper.ink(row["row"], "red")),
        Column("what is wrong", lambda row: paper.ink(row["why"])),
    )
    nothing = f"{paper.ink(one.name)} is lawful: {len(one.phases)} phases, {len(LAWS) + 1} laws"
    sheet.shown(paper, options.output, columns, rows, nothing)
    return 1 if rows else 0
