"""The command line: it parses, calls and shows."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn, TextIO

import anyio

from eventvm.cli import (
    acting,
    completion,
    demo,
    discover,
    doctor,
    events,
    keys,
    ledger,
    lifecycle,
    log,
    machines,
    picture,
    run,
    waiting,
)
from eventvm.cli.paper import Paper
from eventvm.errors import EventvmError, plain

VERBS = (
    demo,
    run,
    acting,
    waiting,
    machines,
    picture,
    events,
    ledger,
    discover,
    lifecycle,
    log,
    keys,
    doctor,
    completion,
)
"""The modules that describe verbs, in the order of the help."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are a sentence and a hint, like every other error here."""

    takes_command = False
    """Whether what follows `--` is a command, however many words came before."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Set the command aside: argparse would look for it behind the first word."""
        words = list(sys.argv[1:] if args is None else args)
        if not self.takes_command or "--" not in words:
            return super().parse_known_args(words, namespace)
        at = words.index("--")
        options, rest = super().parse_known_args(words[:at], namespace)
        options.command = words[at + 1 :]
        return options, rest

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {plain(message)}\nhint: `{self.prog} --help` tells what it takes\n")


def parser() -> argparse.ArgumentParser:
    """Describe every verb and its options."""
    top = Parser(
        prog="eventvm",
        description="A control engine and flight recorder for machines.",
        epilog="example: eventvm demo",
    )
    top.add_argument("--version", action="version", version=f"eventvm {version('eventvm')}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for module in VERBS:
        module.describe(verbs)
    return top


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its code; an error is one sentence and a hint, never a traceback."""
    options = parser().parse_args(arguments)
    try:
        with _shown() as out:
            code = anyio.run(options.run, options, Paper(out, colour=_coloured(out)))
        sys.exit(code)
    except EventvmError as problem:
        hint = f"\nhint: {plain(problem.hint)}" if problem.hint else ""
        _say(f"{problem}{hint}")
        sys.exit(problem.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _coloured(out: TextIO) -> bool:
    return out.isatty() and "NO_COLOR" not in os.environ


def _say(sentence: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"eventvm: {sentence}\n")


@contextmanager
def _shown() -> Iterator[TextIO]:
    """Give what is written to, an output that is closed or lacks a letter too; end where it takes no more."""
    out = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115  # as long as the process
    if isinstance(out, TextIOWrapper):
        out.reconfigure(errors="backslashreplace")
    try:
        yield out
        out.flush()
    except EventvmError:  # a wait that took too long is a TimeoutError, which is an OSError
        raise
    except OSError as problem:
        if not isinstance(problem, BrokenPipeError):
            _say(f"what it found cannot be shown: {problem.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        sys.exit(1)
