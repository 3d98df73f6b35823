"""Measure every claim about eventvm's speed, and print one line for each; exit 1 if any is short."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import gettempdir

from benchmarks.claims import CLAIMS
from benchmarks.harness import (
    QUICK_ROUNDS,
    ROUNDS,
    Claim,
    InMemory,
    Mode,
    Result,
    Room,
    blank,
    missing,
    room_at,
    settled,
)
from benchmarks.plot import drawn
from benchmarks.report import Report, line, listed, machine, versions, written
from benchmarks.stages import profiled

INSTALL = "pip install 'eventvm[bench]', or from its repository: pip install --editable '.[bench]'"


def arguments(names: Sequence[str], given: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", metavar="NAME", action="append", choices=names, help="measure this one; repeatable"
    )
    parser.add_argument("--list", action="store_true", help="say what is claimed, and measure nothing")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="small sizes: a smoke test, not a measurement")
    length.add_argument("--full", action="store_true", help="10 million events and a million machines, too")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"pairs of each claim ({ROUNDS})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw a picture here")
    parser.add_argument("--profile", metavar="NAME", choices=names, help="say where one's time goes instead")
    parser.add_argument(
        "--directory", type=Path, default=Path(gettempdir()), help="where to measure: on a real disk"
    )
    parser.add_argument("--cache", type=Path, help="keep long logs here from run to run")
    options = parser.parse_args(given)
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds is at least 1")
    return options


def main(given: Sequence[str] | None = None, claims: Sequence[Claim] = tuple(CLAIMS)) -> int:
    """Measure, print, and say by the exit code whether all claims hold."""
    options = arguments([claim.name for claim in claims], given)
    wanted = [options.profile] if options.profile else options.only
    chosen = [claim for claim in claims if not wanted or claim.name in wanted]
    mode: Mode = "quick" if options.quick else "full" if options.full else "usual"
    if options.list:
        for claim in chosen:
            say(listed(blank(claim, mode)))
        return 0
    if absent := missing(chosen):
        complain(f"{', '.join(absent)}: not installed, so nothing was measured; {INSTALL}")
        return 1
    try:
        with room_at(options.directory, options.cache, mode) as room:
            if options.profile:
                say(profiled(chosen[0], room))
                return 0
            return measured(chosen, room, options)
    except InMemory as refused:
        complain(str(refused))
        return 2


def measured(chosen: list[Claim], room: Room, options: argparse.Namespace) -> int:
    """Measure what was chosen, and report it."""
    told = machine(room.directory)
    say(f"# {told}\n# {versions(chosen)}".removesuffix("\n# "))
    results: list[Result] = []
    for claim in chosen:
        rounds = options.rounds or (QUICK_ROUNDS if room.mode == "quick" else ROUNDS)
        results.append(settled(claim, room, rounds))
        say(line(results[-1]))
    if options.json:
        options.json.write_bytes(written(Report(told, results)))
    if options.plot:
        options.plot.write_text(drawn(results), encoding="utf-8")
    return int(any(result.short for result in results))


def say(text: str) -> None:
    """Tell whoever runs this, at once."""
    print(text, flush=True)  # noqa: T201  # its purpose


def complain(text: str) -> None:
    """Tell whoever runs this why it cannot be done."""
    print(text, file=sys.stderr)  # noqa: T201  # its purpose


if __name__ == "__main__":
    sys.exit(main())
