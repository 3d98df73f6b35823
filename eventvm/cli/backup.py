"""`eventvm log backup` and `restore`: a verified copy of a log, and a log that is made of one."""

import argparse
from pathlib import Path
from typing import Any

from eventvm.cli import place, sheet
from eventvm.cli.paper import Paper
from eventvm.cli.progress import Progress
from eventvm.errors import BadInput
from eventvm.log import Backup
from eventvm.logs import open_log, restore
from eventvm.logs.sqlite_reader import SqliteReader


def describe(verbs: Any) -> None:
    """Describe the verbs and their options."""
    _backup(verbs)
    _restore(verbs)


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
    sheet.describe(verb, *sheet.PLAIN)
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
    sheet.describe(verb, *sheet.PLAIN)
    verb.set_defaults(run=lambda options, paper: restored(paper, options))


async def backup(paper: Paper, options: argparse.Namespace) -> int:
    """Back a log up, and say what was written."""
    url = place.said(options)
    if not url:
        raise BadInput("which log? Name it with --log, or in EVENTVM_URL")
    async with open_log(url, read_only=True) as log:
        assert isinstance(log, SqliteReader), "only a file is opened read-only"
        with Progress() as progress:
            made = await log.backup(options.destination, progress.tell)
    say(paper, options.output, made)
    return 0


async def restored(paper: Paper, options: argparse.Namespace) -> int:
    """Restore a backup, and say what was written."""
    with Progress() as progress:
        made = await restore(options.source, options.destination, headway=progress.tell)
    say(paper, options.output, made)
    return 0


def say(paper: Paper, form: str, made: Backup) -> None:
    """Say what file was written."""
    if form != "table":
        row = {"path": str(made.path), "records": made.records, "bytes": made.size_bytes}
        sheet.one(paper, form, row | {"seconds": made.seconds, "root": made.root.hex()})
        return
    paper.line(
        f"{paper.ink(made.path)}: {made.records:,} records, {made.size_bytes:,} bytes, {made.seconds:.2f} s"
    )
    paper.line(f"root {made.root.hex()}")
