"""`eventvm keys`: the keys that sign logs."""

import argparse
import os
import socket
from pathlib import Path
from typing import Any

from eventvm.cli import integrity, sheet
from eventvm.cli.paper import Paper
from eventvm.cli.sheet import Row
from eventvm.errors import BadInput
from eventvm.providers.rundir import state_directory
from eventvm.signing import keys
from eventvm.signing.keys import SIGNING_KEY, Keys, public_file, trusted
from eventvm.signing.note import PublicKey

FILE = "signing.key"


def describe(verbs: Any) -> None:
    """Describe the group's verbs and their options."""
    group = verbs.add_parser(
        "keys",
        help="make, change and show the keys that sign a log",
        description="A key signs each commit of a log. It is kept in a file, and never in the log.",
        epilog="example: eventvm keys generate --key ops.key",
    )
    asked = group.add_subparsers(dest="keys_verb", metavar="VERB", required=True)
    for name, (help_, description, example, run) in VERBS.items():
        verb = asked.add_parser(name, help=help_, description=description, epilog=f"example: {example}")
        verb.add_argument(
            "--key", metavar="FILE", type=Path, help=f"which key (default: what {SIGNING_KEY} says)"
        )
        sheet.describe(verb, *(sheet.FORMS if run is _show else sheet.PLAIN))
        verb.set_defaults(run=integrity.told(run), name="")
        if run is not _show:
            verb.add_argument(
                "--name", default="", help="what signatures say who signed, such as ops.example.com"
            )


async def _generate(options: argparse.Namespace, paper: Paper) -> int:
    path = _file(options)
    known = keys.generate(path, options.name or f"{socket.gethostname()}/eventvm")
    _tell(paper, options.output, path, known)
    if options.output == "table":
        paper.line(f"sign with it: export {SIGNING_KEY}={paper.ink(path.absolute())}")
    return 0


async def _rotate(options: argparse.Namespace, paper: Paper) -> int:
    path = _file(options)
    _tell(paper, options.output, path, keys.rotate(path, options.name))
    return 0


async def _show(options: argparse.Namespace, paper: Paper) -> int:
    path = _file(options)
    known = trusted(path if path.suffix == ".pub" else public_file(path))
    if options.output == "table":
        for key in known:
            paper.line(paper.ink(key))
    else:
        sheet.shown(paper, options.output, (), map(_key, known))
    return 0


def _key(key: PublicKey) -> Row:
    return {"key": str(key), "name": key.name, "id": key.id.hex()}


def _tell(paper: Paper, form: str, path: Path, known: Keys) -> None:
    if form != "table":
        row = {"private": str(path), "public": str(public_file(path)), "follows": len(known) - 1}
        sheet.one(paper, form, row | _key(known[-1]))
        return
    paper.line(f"{paper.ink(path)}: the private key, which nobody but you can read")
    paper.line(f"{paper.ink(public_file(path))}: the public key, for whoever verifies")
    paper.line(paper.ink(known[-1]))


def _file(options: argparse.Namespace) -> Path:
    """Give the file that was named, or this user's own."""
    if named := options.key or os.environ.get(SIGNING_KEY):
        return Path(named)
    directory = state_directory()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise BadInput(
            f"{directory} cannot be made ({problem.strerror}); name a file with --key"
        ) from problem
    return directory / FILE


MAKING = (
    "The private key goes into a file that only you can read, its public key into FILE.pub beside it. Give "
    "the public key to whoever is to verify your logs now: later they could not tell whose it is."
)
CHANGING = (
    "The old key signs that the new one follows it, and is gone: what it has signed still verifies. Do this "
    "while no engine uses the key; the next that opens a log signs with the new one."
)
VERBS = {
    "generate": (
        "make a key",
        MAKING,
        f"eventvm keys generate --key ops.key && export {SIGNING_KEY}=$PWD/ops.key",
        _generate,
    ),
    "rotate": (
        "put a new key in the place of the old one",
        CHANGING,
        "eventvm keys rotate --key ops.key",
        _rotate,
    ),
    "show": (
        "show the public keys, from the first to the one in use",
        "The private key is never shown.",
        "eventvm keys show --key ops.key",
        _show,
    ),
}
