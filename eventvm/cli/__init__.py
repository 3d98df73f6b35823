"""The command line: it parses, calls and shows."""

import argparse
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn, TextIO

import anyio

from eventvm.cli.paper import Paper
from eventvm.errors import EventvmError, plain

VERBS = {
    "demo": ("demo",),
    "run": ("run",),
    "acting": (
        "create", "start", "stop", "pause", "resume", "snapshot", "delete-snapshot", "hibernate", "rename",
        "complete", "force", "restore", "clone", "destroy", "transition", "attest", "amend", "label", "retry",
        "reconcile",
    ),
    "waiting": ("wait",),
    "machines": ("list", "show", "history", "explain"),
    "picture": ("picture",),
    "events": ("events",),
    "ledger": ("ledger",),
    "discover": ("discover",),
    "lifecycle": ("lifecycle",),
    "log": ("log",),
    "keys": ("keys",),
    "doctor": ("doctor",),
    "completion": ("completion",),
}  # fmt: skip
"""The modules, each with the verbs that it describes, in the order of the help."""
ALONE = "--version"
"""What needs none of them."""
TELLS_OF_ALL = "completion"
"""The verb that needs all of them."""


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


class Version(argparse.Action):
    """Prints the version, which takes longer to find than most verbs take to begin."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        version = import_module("importlib.metadata").version("eventvm")
        parser.exit(message=f"eventvm {version}\n")


def parser(first: str = "") -> argparse.ArgumentParser:
    """Describe every verb and its options; where it is said what comes first, only what that needs."""
    top = Parser(
        prog="eventvm",
        description="A control engine and flight recorder for machines.",
        epilog="example: eventvm demo",
    )
    top.add_argument("--version", action=Version, nargs=0, help="show the version of eventvm and exit")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for module in _needed(first):
        import_module(f"eventvm.cli.{module}").describe(verbs)
    return top


def _needed(first: str) -> Iterable[str]:
    """Name the modules that a command line needs by its first word: all, where that is no verb."""
    if first in (ALONE, TELLS_OF_ALL):
        return () if first == ALONE else VERBS
    return [module for module, verbs in VERBS.items() if first in verbs] or VERBS


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its code; an error is one sentence and a hint, never a traceback."""
    words = sys.argv[1:] if arguments is None else arguments
    options = parser(*words[:1]).parse_args(words)
    try:
        with _interruptible(), _shown() as out:
            code = anyio.run(options.run, options, Paper(out, colour=_coloured(out)))
        sys.exit(code)
    except EventvmError as problem:
        hint = f"\nhint: {plain(problem.hint)}" if problem.hint else ""
        _say(f"{problem}{hint}")
        sys.exit(problem.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let an interrupt end in good order what is under way, unless whoever started this wants none."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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
