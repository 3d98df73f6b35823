"""`eventvm discover`: what runs and is not in the log; it can be adopted or ended, each by a record."""

import argparse
from typing import Any

import eventvm
from eventvm.cli import place
from eventvm.cli.paper import Paper
from eventvm.engine import Engine, Handle
from eventvm.engine.orphans import Orphan
from eventvm.errors import BadInput


def describe(verbs: Any) -> None:
    """Describe the verb and its options."""
    verb = verbs.add_parser(
        "discover",
        help="list what runs and is not in the log",
        description="Nothing is done to what is found unless you say so: --adopt takes it into the log under "
        "a name, --destroy adopts it and ends it.",
        epilog="example: eventvm discover --adopt 0199c82c-c7d0-7f01-a8c3-8d48a7448dc7 --name web-1",
    )
    choice = verb.add_mutually_exclusive_group()
    choice.add_argument("--adopt", metavar="ID", help="take this one into the log")
    choice.add_argument("--destroy", metavar="ID", help="take this one into the log, and end it")
    verb.add_argument("--name", help="what it is called from now on (default: orphan/ and its id)")
    verb.add_argument("--reason", default="found without a record", help="why, for the record")
    place.describe(verb)
    verb.set_defaults(run=lambda options, paper: discover(paper, options))


async def discover(paper: Paper, options: argparse.Namespace) -> int:
    """List orphans, or do to one what was asked for."""
    async with eventvm.open(place.named(options)) as engine:
        orphans = await engine.orphans()
        wanted = options.adopt or options.destroy
        if wanted is None:
            _list(paper, orphans)
            return 0
        machine = await _adopted(engine, orphans, wanted, options)
        if options.destroy:
            await machine.destroy(force=True, reason=options.reason)
        paper.line(f"{machine.name} is {machine.title}")
    return 0


async def _adopted(
    engine: Engine, orphans: tuple[Orphan, ...], wanted: str, options: argparse.Namespace
) -> Handle:
    found = [one for one in orphans if one.id == wanted]
    if not found:
        raise BadInput(
            f"no provider has {wanted} without the log knowing it; `eventvm discover` lists what there is"
        )
    return await engine.adopt(found[0], options.name or f"orphan/{wanted}", reason=options.reason)


def _list(paper: Paper, orphans: tuple[Orphan, ...]) -> None:
    if orphans:
        paper.table(
            ("provider", "id"), [(paper.ink(one.provider), paper.ink(one.id)) for one in orphans], indent=0
        )
    else:
        paper.line("nothing runs that the log does not know")
