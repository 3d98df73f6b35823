"""`eventvm wait`: until a machine is in a phase, or there is no hope that it will be."""

import argparse
import sys
import time
from contextlib import suppress
from typing import Any

from eventvm.cli import place, shape, sheet
from eventvm.cli.acting import shown
from eventvm.cli.paper import Paper
from eventvm.cli.seat import seated
from eventvm.engine import Engine, Handle, Receipt
from eventvm.errors import Unreachable

ENDED_OTHERWISE = 3
"""The exit code where a machine's life has ended in a phase that was not waited for."""


def describe(verbs: Any) -> None:
    """Describe the verb and its options."""
    verb = verbs.add_parser(
        "wait",
        help="wait until a machine is in a phase",
        description="It may begin before the machine exists. Exit code 0: reached; 3: its life ended in "
        "another phase; 4: nothing leads there any more; 124: not in time.",
        epilog="example: eventvm wait web-1 --for phase=running --for phase=error --timeout 5m",
    )
    verb.add_argument("machine", metavar="NAME", help="the machine that holds this name, or will")
    verb.add_argument("--id", action="store_true", help="NAME is a machine's id")
    verb.add_argument(
        "--for", dest="goals", type=_goal, action="append", required=True, metavar="GOAL",
        help="phase=NAME, `settled` or `terminal`; one of several is enough",
    )  # fmt: skip
    verb.add_argument("--after", type=int, metavar="POSITION", help="what it was after this counts too")
    verb.add_argument("--lifecycle", help="what a machine that does not exist yet will live under")
    verb.add_argument("--timeout", type=shape.seconds, metavar="T", help="at most so long (90, 90s, 5m, 2h)")
    sheet.describe(verb, "table", "json", "jsonl")
    place.describe(verb)
    verb.set_defaults(run=lambda options, paper: wait(paper, options))


def _goal(text: str) -> str:
    if text in ("settled", "terminal"):
        return text
    kind, said, phase = text.partition("=")
    if kind != "phase" or not said or not phase:
        raise argparse.ArgumentTypeError(f"it is phase=NAME, settled or terminal, not {text!r}")
    return phase


async def wait(paper: Paper, options: argparse.Namespace) -> int:
    """Wait, whoever holds the log meanwhile."""
    async with seated(options) as seat:
        outcome = await seat.do(Waiting(options).waited)
    if isinstance(outcome, int):
        return outcome
    shown(paper, options.output, outcome)
    return 0


class Waiting:
    """One wait, that may go on at another engine when the one it was at has left."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._begun: int | None = None
        """The machine's position when the wait began; none while it has not."""
        self._until = None if options.timeout is None else time.monotonic() + options.timeout

    async def waited(self, engine: Engine) -> Receipt | int:
        """Wait at this engine; what the machine passed through while no engine was there counts too."""
        machine = await self._machine(engine)
        passed, self._begun = self._begun, machine.machine.position if self._begun is None else self._begun
        try:
            if passed is not None and self._options.after is None:
                with suppress(Unreachable):
                    return await self._wait(machine, passed)
            return await self._wait(machine, self._options.after)
        except Unreachable as problem:
            if not machine.terminal:
                raise
            sys.stderr.write(f"eventvm: {problem}\n")
            return ENDED_OTHERWISE

    async def _machine(self, engine: Engine) -> Handle:
        if self._options.id:
            return await engine.machine_by_id(self._options.machine)
        return await engine.machine(self._options.machine, lifecycle=self._options.lifecycle)

    async def _wait(self, machine: Handle, after: int | None) -> Receipt:
        left = None if self._until is None else max(0.0, self._until - time.monotonic())
        return await machine.wait(*self._options.goals, after=after, timeout=left)
