"""Integrity: where a log is not what was written, a program is told what is wrong on its output, too."""

import argparse
from collections.abc import Awaitable, Callable

from eventvm.cli import sheet
from eventvm.cli.paper import Paper
from eventvm.cli.sheet import Row
from eventvm.errors import EventvmError, LogDamaged

Run = Callable[[argparse.Namespace, Paper], Awaitable[int]]


def told(run: Run) -> Run:
    """Have a verb tell a program of damage in the form that was asked for, beside the sentence for people."""

    async def running(options: argparse.Namespace, paper: Paper) -> int:
        try:
            return await run(options, paper)
        except EventvmError as problem:
            if problem.exit_code == LogDamaged.exit_code and options.output != "table":
                sheet.one(paper, options.output, _finding(problem))
                paper.flush()
            raise

    return running


def _finding(problem: EventvmError) -> Row:
    return {
        "right": False,
        "finding": type(problem).__name__,
        "position": getattr(problem, "position", 0) or None,
        "line": getattr(problem, "line", None),
        "what": str(problem),
        "hint": problem.hint,
    }
