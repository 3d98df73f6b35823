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
from eventvm.cli import integrity, place, sheet
from eventvm.cli.paper import Paper
from eventvm.cli.progress import Progress
from eventvm.cli.sheet import Row
from eventvm.errors import BadInput
from eventvm.logs import MEMORY, file_of
from eventvm.logs.signed import HEAD, notes
from eventvm.logs.sqlite import SqliteLog
from eventvm.signing.keys import SIGNING_KEY, Keys, named, public_file, trusted
from eventvm.signing.note import Checkpoint, Note, read_note, unsigned


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
        _asked(verb, run)


def _asked(verb: Any, run: integrity.Run) -> None:
    place.describe(verb)
    sheet.describe(verb, *sheet.PLAIN)
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
    _asked(verb, _verified)


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
    _asked(verb, _proven)


async def _verified(options: argparse.Namespace, paper: Paper) -> int:
    since = options.since and options.since.exists() and checkpoint.read_checkpoint(options.since)
    anchored = checkpoint.read_anchor(options.anchor) if options.anchor else ()
    path, keys = _path(options), _keys(options)
    with Progress() as progress:
        verdict = await file_verified(
            path, keys=keys, anchored=anchored, since=since or None, headway=progress.tell
        )
    if options.since:
        checkpoint.write_checkpoint(options.since, verdict.note)
    if options.output == "table":
        _say(paper, path, verdict, anchored=bool(anchored))
    else:
        sheet.one(paper, options.output, _verdict(path, verdict))
    return 0


def _say(paper: Paper, path: Path, verdict: Verdict, *, anchored: bool) -> None:
    head = verdict.checkpoint
    read = f"{head.size - verdict.since:,} records, machines: {verdict.machines:,}"
    since = f", since position {verdict.since:,}" if verdict.since else ""
    paper.line(f"{paper.ink(path)} is right: {read}{since}")
    paper.line(f"root {head.root.hex()} at {head.size}")
    if verdict.signed_by:
        paper.line(f"signed to its end by {paper.ink(verdict.signed_by)}")
    elif anchored:
        paper.line("it begins as the anchor says; no signature was checked of what came after")
    else:
        paper.line("no signature was checked: whoever can write the file could have written it anew")


def _verdict(path: Path, verdict: Verdict) -> Row:
    head = verdict.checkpoint
    return {
        "right": True, **_head(path, head), "records": head.size - verdict.since, "since": verdict.since,
        "machines": verdict.machines, "signed_by": verdict.signed_by or None, "checkpoint": verdict.note,
    }  # fmt: skip


def _head(path: Path, head: Checkpoint) -> Row:
    """Say what a log is."""
    return {"log": str(path), "origin": head.origin, "size": head.size, "root": head.root.hex()}


def _noted(path: Path, note: Note) -> Row:
    """Say what a log is, and who is said to have signed that."""
    by = [f"{one.name}+{one.id.hex()}" for one in note.signatures]
    return _head(path, note.checkpoint) | {"signed_by": by[-1] if by else None, "checkpoint": note.written}


async def _proven(options: argparse.Namespace, paper: Paper) -> int:
    since = checkpoint.read_checkpoint(options.since) if options.since else None
    with Progress() as progress:
        async with _reading(options) as log:
            if since is not None:
                proof = await consistency_proof(log, since, progress.tell)
            else:
                proof = await inclusion_proof(log, options.position, progress.tell)
    if options.output == "table":
        paper.line(proof.removesuffix("\n"))
    else:
        size = None if since is None else since.checkpoint.size
        sheet.one(paper, options.output, {"position": options.position, "since": size, "proof": proof})
    return 0


async def _checkpoint(options: argparse.Namespace, paper: Paper) -> int:
    async with _reading(options) as log:
        note = await _present(log)
    if options.output == "table":
        paper.line(note.written.removesuffix("\n"))
    else:
        sheet.one(paper, options.output, _noted(_path(options), note))
    return 0


async def _anchor(options: argparse.Namespace, paper: Paper) -> int:
    async with _reading(options) as log:
        note = await _present(log)
    added = checkpoint.anchor(options.file, note)
    if options.output == "table":
        what = "now knows" if added else "knew already"
        paper.line(f"{paper.ink(options.file)} {what} the log at {note.checkpoint.size}")
    else:
        told = {"anchor": str(options.file), "added": added}
        sheet.one(paper, options.output, told | _noted(_path(options), note))
    return 0


async def _sign(options: argparse.Namespace, paper: Paper) -> int:
    signing, path = named(options.signing), _path(options)
    if signing is None:
        raise BadInput(f"which key? Name its file with --signing, or in {SIGNING_KEY}")
    with Progress() as progress:
        head = (await file_verified(path, headway=progress.tell)).checkpoint
    log = await SqliteLog.open(path, signing=signing, vouched=head.size)
    await log.close()
    title = signing.key.public.title
    if options.output == "table":
        paper.line(f"{paper.ink(path)}: signed up to {head.size} by {title}")
    else:
        sheet.one(paper, options.output, _head(path, head) | {"signed_by": title})
    return 0


async def _present(log: Standing) -> Note:
    """Write what a log is now, signed if it is signed to its end."""
    ((origin, size, root),) = await log.ask(HEAD)
    head = Checkpoint(origin, size, root)
    signed = [note for note in await notes(log.ask) if note.checkpoint == head]
    return signed[-1] if signed else read_note(unsigned(head))


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
