"""`eventvm log`: what is done to a log as a whole."""

import argparse
import os
from pathlib import Path
from typing import Any

from eventvm.cli import difference, export, replay, shadow, tamper
from eventvm.cli.paper import Paper
from eventvm.errors import BadInput
from eventvm.log import Backup
from eventvm.logs import open_log, restore

GROUP = (
    replay,
    difference,
    shadow,
    export,
    tamper,
)
"""The modules that describe further verbs of the group, in the order of the help."""


def describe(verbs: Any) -> None:
    """Describe the group's verbs and their options."""
    group = verbs.add_parser(
        "log",
        help="verify, replay, compare, export, back up: what is done to a log as a whole",
        description="What is done to a log as a whole. All but restore, import and sign leave it as it is.",
        epilog="example: eventvm log verify --log fleet.db",
    )
    asked = group.add_subparsers(dest="log_verb", metavar="VERB", required=True)
    for module in GROUP:
        module.describe(asked)
    _backup(asked)
    _restore(asked)


def _backup(verbs: Any) -> None:
    verb = verbs.add_parser(
        "backup",
        help="write a verified copy of a log, while its engine runs",
        description="The copy holds every event that was acknowledged before it began. It is read back and "
        "verified before it takes its place; whatever goes wrong leaves nothing.",
        epilog="example: eventvm log backup /backups/fleet-monday.db --log fleet.db",
    )
    verb.add_argument("destination", metavar="DST", type=Path, help="a file that does not exist yet")
    verb.add_argument("--log", metavar="URL", help="which log (default: what EVENTVM_URL says)")
    verb.set_defaults(run=lambda options, paper: backup(paper, options))


def _restore(verbs: Any) -> None:
    verb = verbs.add_parser(
        "restore",
        help="make a log of a backup",
        description="Every record of the backup is verified, and it stays as it is. The new log knows that "
        "the world may have gone on without it: the engine that opens it looks at every machine before it "
        "does anything.",
        epilog="example: eventvm log restore /backups/fleet-monday.db fleet.db",
    )
    verb.add_argument("source", metavar="SRC", type=Path, help="the backup")
    verb.add_argument("destination", metavar="DST", type=Path, help="a file that does not exist yet")
    verb.set_defaults(run=lambda options, paper: restored(paper, options))


async def backup(paper: Paper, options: argparse.Namespace) -> int:
    """Back a log up, and say what was written."""
    url = options.log or os.environ.get("EVENTVM_URL")
    if not url:
        raise BadInput("which log? Name it with --log, or in EVENTVM_URL")
    async with open_log(url, read_only=True) as log:
        _say(paper, await log.backup(options.destination))
    return 0


async def restored(paper: Paper, options: argparse.Namespace) -> int:
    """Restore a backup, and say what was written."""
    _say(paper, await restore(options.source, options.destination))
    return 0


def _say(paper: Paper, made: Backup) -> None:
    paper.line(
        f"{paper.ink(made.path)}: {made.records:,} records, {made.size_bytes:,} bytes, {made.seconds:.2f} s"
    )
    paper.line(f"root {made.root.hex()}")
