"""`eventvm log verify`, `prove`, `checkpoint`, `anchor` and `sign`: whether a log is what it was."""

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from eventvm.audit import checkpoint
from eventvm.audit.proof import consistency_proof, inclusion_proof
from eventvm.audit.standing import Standing
from eventvm.audit.verify import Verdict, file_verified
from eventvm.cli import place
from eventvm.cli.paper import Paper
from eventvm.errors import BadInput
from eventvm.logs import MEMORY, file_of
from eventvm.logs.signed import HEAD, notes
from eventvm.logs.sqlite import SqliteLog
from eventvm.signing.keys import SIGNING_KEY, Keys, named, public_file, trusted
from eventvm.signing.note import Checkpoint, read_note, unsigned


def describe(verbs: Any) -> None:
    """Describe the verbs and their options."""
    _verify(verbs)
    _prove(verbs)
    shown = verbs.add_parser(
        "checkpoint",
        help="print what the log is now: its origin, size and root, and who has signed that",
        description="Keep what it prints where nobody who writes the log can write. As long as the log "
        "begins like that, it verifies.",
        epilog="example: eventvm log checkpoint --log fleet.db > monday.note",
    )
    kept = verbs.add_parser(
        "anchor",
        help="add what the log is now to a file elsewhere",
        description="A log that was cut off, put back from an old copy or written anew contradicts it.",
        epilog="example: eventvm log anchor /mnt/elsewhere/fleet.anchor --log fleet.db",
    )
    kept.add_argument("file", metavar="FILE", type=Path, help="where checkpoints are added, one in each line")
    vouched = verbs.add_parser(
        "sign",
        help="vouch for what is in a log that is not signed to its end",
        description="The log is verified whole, then signed as it is. Needed once for a log that was begun "
        "without a key, and after it was written without one. No engine may hold it.",
        epilog="example: eventvm log sign --log fleet.db --signing ops.key",
    )
    vouched.add_argument("--signing", metavar="FILE", help=f"the key (default: what {SIGNING_KEY} says)")
    for verb, run in ((shown, _checkpoint), (kept, _anchor), (vouched, _sign)):
        place.describe(verb)
        verb.set_defaults(run=run)


def _verify(verbs: Any) -> None:
    verb = verbs.add_parser(
        "verify",
        help="check that a log is whole, lawful and signed",
        description="Every hash, position and version, what each lifecycle allows, the ledger, the names, "
        "and what is kept beside the records. It names the first position that is wrong, and exits with 7.",
        epilog="example: eventvm log verify --log fleet.db --key ops.key.pub --anchor /mnt/fleet.anchor",
    )
    verb.add_argument(
        "--key", metavar="KEY", help=f"the public key, or a file of them (default: {SIGNING_KEY} with .pub)"
    )
    verb.add_argument("--anchor", metavar="FILE", type=Path, help="checkpoints that were kept elsewhere")
    verb.add_argument(
        "--since", metavar="FILE", type=Path,
        help="check what has come since the checkpoint in FILE (at first all), and put the new one there",
    )  # fmt: skip
    place.describe(verb)
    verb.set_defaults(run=_verified)


def _prove(verbs: Any) -> None:
    verb = verbs.add_parser(
        "prove",
        help="write a proof that a record is in the log, or that the log still begins as it did",
        description="It is checked offline, with the public key and the one file eventvm/audit/offline.py.",
        epilog="example: eventvm log prove 4711 --log fleet.db > 4711.tlog-proof",
    )
    what = verb.add_mutually_exclusive_group(required=True)
    what.add_argument("position", metavar="POSITION", nargs="?", type=int, help="which record")
    what.add_argument("--since", metavar="FILE", type=Path, help="a signed checkpoint from before")
    place.describe(verb)
    verb.set_defaults(run=_proven)


async def _verified(options: argparse.Namespace, paper: Paper) -> int:
    since = options.since and options.since.exists() and checkpoint.read_checkpoint(options.since)
    verdict = await file_verified(
        _path(options), keys=_keys(options),
        anchored=checkpoint.read_anchor(options.anchor) if options.anchor else (), since=since or None,
    )  # fmt: skip
    if options.since:
        checkpoint.write_checkpoint(options.since, verdict.note)
    _say(paper, options, verdict)
    return 0


def _say(paper: Paper, options: argparse.Namespace, verdict: Verdict) -> None:
    head = verdict.checkpoint
    read = f"{head.size - verdict.since:,} records, machines: {verdict.machines:,}"
    since = f", since position {verdict.since:,}" if verdict.since else ""
    paper.line(f"{paper.ink(_path(options))} is right: {read}{since}")
    paper.line(f"root {head.root.hex()} at {head.size}")
    if verdict.signed_by:
        paper.line(f"signed to its end by {paper.ink(verdict.signed_by)}")
    elif options.anchor:
        paper.line("it begins as the anchor says; no signature was checked of what came after")
    else:
        paper.line("no signature was checked: whoever can write the file could have written it anew")


async def _proven(options: argparse.Namespace, paper: Paper) -> int:
    async with _reading(options) as log:
        if options.since:
            proof = await consistency_proof(log, checkpoint.read_checkpoint(options.since))
        else:
            proof = await inclusion_proof(log, options.position)
    paper.line(proof.removesuffix("\n"))
    return 0


async def _checkpoint(options: argparse.Namespace, paper: Paper) -> int:
    async with _reading(options) as log:
        paper.line((await _present(log)).removesuffix("\n"))
    return 0


async def _anchor(options: argparse.Namespace, paper: Paper) -> int:
    async with _reading(options) as log:
        note = read_note(await _present(log))
    added = checkpoint.anchor(options.file, note)
    what = "now knows" if added else "knew already"
    paper.line(f"{paper.ink(options.file)} {what} the log at {note.checkpoint.size}")
    return 0


async def _sign(options: argparse.Namespace, paper: Paper) -> int:
    signing, path = named(options.signing), _path(options)
    if signing is None:
        raise BadInput(f"which key? Name its file with --signing, or in {SIGNING_KEY}")
    size = (await file_verified(path)).checkpoint.size
    log = await SqliteLog.open(path, signing=signing, vouched=size)
    await log.close()
    paper.line(f"{paper.ink(path)}: signed up to {size} by {signing.key.public.title}")
    return 0


async def _present(log: Standing) -> str:
    """Write what a log is now, signed if it is signed to its end."""
    ((origin, size, root),) = await log.ask(HEAD)
    head = Checkpoint(origin, size, root)
    signed = [note.written for note in await notes(log.ask) if note.checkpoint == head]
    return signed[-1] if signed else unsigned(head)


@asynccontextmanager
async def _reading(options: argparse.Namespace) -> AsyncIterator[Standing]:
    """Open a log and let it stand still."""
    log = await Standing.open(_path(options))
    try:
        await log.hold()
        yield log
    finally:
        await log.close()


def _path(options: argparse.Namespace) -> Path:
    url = place.named(options)
    if url == MEMORY:
        raise BadInput("a log in memory is gone with its process; name a file with --log")
    return file_of(url)


def _keys(options: argparse.Namespace) -> Keys:
    if options.key:
        return trusted(options.key)
    signing = os.environ.get(SIGNING_KEY)
    return trusted(public_file(Path(signing))) if signing else ()
