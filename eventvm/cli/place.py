"""Where the log is that a command means: as it says, as the environment says, or this user's own file."""

import argparse
import os
from typing import Any

from eventvm.errors import BadInput
from eventvm.providers.rundir import state_directory


def describe(verb: Any) -> None:
    """Describe the option that names a log."""
    verb.add_argument(
        "--log",
        metavar="URL",
        help="which log (default: EVENTVM_URL, else eventvm.db in your state directory)",
    )


def said(options: argparse.Namespace) -> str:
    """Give the log that was named; empty where none was."""
    return str(options.log or os.environ.get("EVENTVM_URL") or "")


def named(options: argparse.Namespace) -> str:
    """Give the log that was named; it may not be there yet."""
    if url := said(options):
        return url
    directory = state_directory()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise BadInput(f"{directory} cannot be made ({problem.strerror}); name a log with --log") from problem
    return str(directory / "eventvm.db")
