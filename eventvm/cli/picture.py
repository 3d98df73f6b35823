"""`eventvm picture`: the life of a machine, or of several, over time: in the terminal, or as SVG."""

import argparse
from typing import Any

from eventvm.bill import has
from eventvm.cli import moment, reading
from eventvm.cli.paper import Paper
from eventvm.errors import BadInput
from eventvm.log import EventLog
from eventvm.logs.filesystem import file_at
from eventvm.past import Past
from eventvm.picture import Life, Lives, Picture, headline, picture, span
from eventvm.portrait import portrait
from eventvm.sketch import ASCII, LEAST_WIDTH, UNICODE, sketch

MOST = 200
"""How many machines one picture holds."""


def describe(verbs: Any) -> None:
    """Describe the verb and its options."""
    verb = verbs.add_parser(
        "picture",
        help="draw a machine's life, or several, over time",
        description="Its phases, what happened, what was repaired or forced, what its meters counted, what "
        "is under way. Of several machines each has a row. Without a name: all that live.",
        epilog="example: eventvm picture web-1 --from '2 hours ago' --svg web-1.svg",
    )
    verb.add_argument("names", metavar="NAME", nargs="*", help="the machines that hold or held these names")
    verb.add_argument("--id", action="store_true", help="each NAME is a machine's id")
    verb.add_argument("--all", action="store_true", help="those whose life is over, too")
    verb.add_argument("--prefix", default="", help="only those whose name begins so")
    verb.add_argument(
        "--label", action="append", default=[], metavar="KEY[=VALUE]", help="only those with it; repeatable"
    )
    verb.add_argument(
        "--from", dest="begin", type=moment.moment, metavar="WHEN", help="where the picture begins"
    )
    verb.add_argument("--to", dest="end", type=moment.moment, metavar="WHEN", help="where it ends")
    verb.add_argument("--svg", metavar="FILE", help="draw it as SVG into this file; `-`: to the output")
    verb.add_argument("--ascii", action="store_true", help="use no letters beyond ASCII")
    verb.add_argument("--width", type=_width, metavar="COLUMNS", help="how wide (default: as the terminal)")
    reading.describe(verb)
    verb.set_defaults(run=lambda options, paper: drawn(paper, options))


def _width(text: str) -> int:
    if not (text.isascii() and text.isdigit() and LEAST_WIDTH <= int(text[:6]) <= 1000):  # noqa: PLR2004
        raise argparse.ArgumentTypeError(f"it is {LEAST_WIDTH} to 1000 columns, not {text[:20]!r}")
    return int(text)


async def drawn(paper: Paper, options: argparse.Namespace) -> int:
    """Draw the lives that were asked for."""
    if options.names and (options.all or options.prefix or options.label):
        raise BadInput("names say already which machines: --all, --prefix and --label choose among all")
    async with reading.opened(options) as (log, asked):
        begin = None if options.begin is None else await options.begin.so(log)
        end = None if options.end is None else await options.end.so(log)
        if begin is not None and end is not None and begin >= end:
            raise BadInput("--from lies after --to: such a picture shows nothing")
        lives = await _lives(log, asked, options)
    shown = picture(lives, begin, end)
    if not shown.lives:
        paper.line("no machines" if begin is None and end is None else "nothing lived in that time")
    elif options.svg:
        _draw(paper, options.svg, shown)
    else:
        _write(paper, options, shown)
    return 0


Drawn = tuple[Lives, Past]
"""A machine, and what was folded with it."""


async def _lives(log: EventLog, asked: reading.Asked, options: argparse.Namespace) -> list[Life]:
    drawn = await (_named if options.names else _wanted)(log, asked, options)
    return [lives.life(past, asked.now) for lives, past in drawn]


async def _named(log: EventLog, asked: reading.Asked, options: argparse.Namespace) -> list[Drawn]:
    """Fold the machines that names led to: names lead to streams, and each of these is read once."""
    of = {name: await reading.stream_of(log, asked, name, by_id=options.id) for name in options.names}
    lives = Lives(asked.at)
    await reading.apart(log, asked, of, lives.apply)
    return [(lives, lives.pasts.known(stream)) for stream in dict.fromkeys(of.values())]


async def _wanted(log: EventLog, asked: reading.Asked, options: argparse.Namespace) -> list[Drawn]:
    """Fold all machines one after the other, and keep those that are wanted, if one picture holds them."""
    kept: list[Drawn] = []
    count = latest = 0
    until = log.tree.size if asked.known is None else asked.known
    async for lives in reading.folds(log, until, lambda known: Lives(asked.at, definitions=known)):
        latest = max(latest, lives.latest)
        found = [(lives, past) for past in lives.pasts if _is_wanted(past, options)]
        count += len(found)
        kept += found[: MOST - len(kept)]
    if count > MOST:
        raise BadInput(f"{count:,} machines are too many for one picture; name some, or use --prefix")
    for lives, _ in kept:
        lives.latest = latest
    return sorted(kept, key=lambda one: (one[1].machine.name, one[1].machine.id))


def _is_wanted(past: Past, options: argparse.Namespace) -> bool:
    return (
        (options.all or past.machine.living)
        and past.machine.name.startswith(options.prefix)
        and all(has(past.machine.spec.labels, label) for label in options.label)
    )


def _draw(paper: Paper, file: str, shown: Picture) -> None:
    """Write the SVG, to a file or to the output."""
    drawing = portrait(shown)
    if file == "-":
        paper.text(drawing)
        return
    write(file, drawing)
    paper.line(f"{paper.ink(file)}: {headline(shown)}, {span(shown)}")


def write(file: str, text: str) -> None:
    """Write a file whole, or say why it cannot be."""
    try:
        file_at(file).write_text(text, encoding="utf-8")
    except OSError as problem:
        raise BadInput(f"{file} cannot be written: {problem.strerror}") from problem


def _write(paper: Paper, options: argparse.Namespace, shown: Picture) -> None:
    letters = ASCII if options.ascii or not paper.takes("".join(UNICODE.looks.values())) else UNICODE
    for line in sketch(shown, options.width or paper.columns, letters, paper.ink):
        paper.line(line)
