"""`eventvm doctor`: all that can be wrong with a log, its host and its machines, each with what to do."""

import argparse
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from eventvm.audit.checkup import checkup, held_by
from eventvm.audit.finding import Finding, wrong
from eventvm.audit.rounds import rounds
from eventvm.audit.standing import Standing
from eventvm.cli import place, sheet
from eventvm.cli.paper import Paper
from eventvm.cli.progress import Progress
from eventvm.cli.sheet import Column
from eventvm.clock import Clock
from eventvm.errors import BadInput, EventvmError, NotALog
from eventvm.headway import Headway
from eventvm.logs import MEMORY, located
from eventvm.logs.sqlite_reader import holds_anything
from eventvm.providers.rundir import state_directory

SIGNS = {"well": ("ok", "green"), "note": ("note", "yellow"), "wrong": ("WRONG", "red")}


def describe(verbs: Any) -> None:
    """Describe the verb and its options."""
    verb = verbs.add_parser(
        "doctor",
        help="examine a log, its host and its machines, and say what to do",
        description="It changes nothing, and works while an engine holds the log, on a damaged one, and "
        "where there is none. 0: healthy, 1: something needs a person.",
        epilog="example: eventvm doctor --log fleet.db",
    )
    verb.add_argument("-q", "--quiet", action="store_true", help="only what is not well")
    place.describe(verb)
    sheet.describe(verb)
    verb.set_defaults(run=lambda options, paper: examined(paper, options))


async def examined(paper: Paper, options: argparse.Namespace) -> int:
    """Examine everything, and show what was found as it is found."""
    columns = (
        Column("", lambda row: paper.ink(SIGNS[row["level"]][0], SIGNS[row["level"]][1], "bold")),
        Column("about", lambda row: paper.ink(row["about"])),
        Column("what is so", lambda row: paper.ink(row["what"])),
    )
    shown = sheet.Sheet(paper, options.output, columns)
    with Progress() as progress:
        told = [one async for one in _findings(_file(options), progress.tell)]
    found = [one for one in told if not (options.quiet and one.level == "well")]
    for one in found:
        shown.add(msgspec.to_builtins(one))
    shown.end("all is well")
    if options.output == "table":
        paper.line()
        _advise(paper, found)
    return int(any(one.level == "wrong" for one in found))


def _file(options: argparse.Namespace) -> Path:
    """Name the log's file, on another host's disk too; no directory is made for it."""
    url = place.said(options)
    if url == MEMORY:
        raise BadInput("a log in memory goes with its process: there is nothing to examine")
    return located(url) if url else state_directory() / "eventvm.db"


async def _findings(path: Path, headway: Headway) -> AsyncIterator[Finding]:
    for finding in checkup(path):
        yield finding
    try:
        log = await Standing.open(path)
    except NotALog as problem:
        if holds_anything(path):
            yield wrong("log", str(problem), "name a log of eventvm with --log, or in EVENTVM_URL")
        return
    except (EventvmError, OSError) as problem:
        hint = getattr(problem, "hint", "")
        yield wrong("log", str(problem), hint or "run `eventvm log verify`, and compare with a backup")
        return
    try:
        async for finding in rounds(log, Clock().now(), held=held_by(path) is not None, headway=headway):
            yield finding
    except (EventvmError, sqlite3.Error) as problem:
        yield wrong("log", str(problem), "run `eventvm log verify`, and compare with a backup")
    finally:
        await log.close()


def _advise(paper: Paper, found: list[Finding]) -> None:
    """Say what to do, the most pressing first."""
    for level in ("wrong", "note"):
        for one in found:
            if one.level == level and one.do:
                sign, colour = SIGNS[level]
                paper.line(f"{paper.ink(sign, colour, 'bold')} {paper.ink(one.about)}: {paper.ink(one.do)}")
