"""The command line: it parses, calls and shows."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

import anyio

from eventvm.cli import log
from eventvm.cli.demo import demo
from eventvm.cli.paper import Paper
from eventvm.errors import EventvmError, plain


def parser() -> argparse.ArgumentParser:
    """Describe every verb and its options."""
    top = argparse.ArgumentParser(
        prog="eventvm",
        description="A control engine and flight recorder for machines.",
        epilog="try: eventvm demo",
    )
    top.add_argument("--version", action="version", version=f"eventvm {version('eventvm')}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    told = verbs.add_parser(
        "demo",
        help="watch a small fleet live through a bad day, told from its log",
        description="A small simulated fleet lives through the stories that eventvm exists for. It writes "
        "a real log, and ends by replaying it from position 1 and comparing.",
        epilog="example: eventvm demo --file /tmp/demo.db",
    )
    told.add_argument("--file", type=Path, help="where to write the log (default: a new temporary file)")
    told.set_defaults(run=lambda options, paper: demo(paper, options.file))
    log.describe(verbs)
    return top


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its code; an error is one sentence and a hint, never a traceback."""
    options = parser().parse_args(arguments)
    paper = Paper(sys.stdout, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    try:
        sys.exit(anyio.run(options.run, options, paper))
    except EventvmError as problem:
        hint = f"\nhint: {plain(problem.hint)}" if problem.hint else ""
        sys.stderr.write(f"eventvm: {problem}{hint}\n")
        sys.exit(problem.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
