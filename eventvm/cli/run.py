"""`eventvm run`: the whole life of one machine, in the foreground."""

import argparse
import asyncio
import os
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import eventvm
from eventvm import limits
from eventvm.cli import place
from eventvm.engine import Engine, Handle
from eventvm.errors import EffectFailed, EventvmError, plain
from eventvm.observation import Clean, End, Observed
from eventvm.spec import Sandbox, Secret, Spec

TIMED_OUT = 124
NOT_STARTED = 127
ENDED = ("stopped", "error", "destroyed")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def describe(verbs: Any) -> None:
    """Describe the verb and its options."""
    verb = verbs.add_parser(
        "run",
        help="run a command as a machine, from its creation to its end",
        description="The command's output and its exit code pass through. Ctrl-C stops it, a second one ends "
        "it by force. What happened stays in the log, with its usage.",
        epilog="example: eventvm run --timeout 5m -- make test",
    )
    verb.add_argument("--name", help="what the machine is called (default: after its command)")
    verb.add_argument("--provider", default="process", help="who runs it (default: process)")
    verb.add_argument(
        "--timeout", type=seconds, metavar="T", help="stop it after T (90, 90s, 5m, 2h): exit code 124"
    )
    verb.add_argument("--grace", type=seconds, metavar="T", help="how long a stop asks before it kills")
    verb.add_argument(
        "--sandbox", action="store_true",
        help="it may read the files here, write below the current directory alone, and reach no network",
    )  # fmt: skip
    verb.add_argument(
        "--keep", action="store_true", help="leave the machine there when its command has ended"
    )
    place.describe(verb)
    verb.add_argument("command", nargs="+", metavar="COMMAND", help="what to run, after `--`")
    verb.set_defaults(run=lambda options, _: run(options))


def seconds(text: str) -> float:
    """Read a length of time."""
    if (told := re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)) is None:
        raise argparse.ArgumentTypeError(f"a length of time is 90, 90s, 5m or 2h, not {text!r}")
    return float(told[1]) * _SECONDS[told[2]]


async def run(options: argparse.Namespace) -> int:
    """Live one life, and give the exit code of its command."""
    async with eventvm.open(place.named(options)) as engine:
        name = options.name or _name(engine, options.command[0])
        machine = await engine.create(name, _spec(options))
        return await Life(engine, machine, options).live()


def _name(engine: Engine, program: str) -> str:
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(program).name)[:64].strip("-.") or "run"
    return f"{stem}-{engine.clock.id()[-12:]}"


def _spec(options: argparse.Namespace) -> Spec:
    """Describe a process; the environment is named and not copied, so that no value of it is recorded."""
    walls = Sandbox(writable=(str(Path.cwd()),)) if options.sandbox else None
    if options.provider != "process":
        return Spec(provider=options.provider, command=tuple(options.command), sandbox=walls)
    names = [name for name in os.environ if name.isprintable() and len(name) <= limits.WORD_CHARACTERS]
    return Spec(
        provider="process", command=tuple(options.command), directory=str(Path.cwd()),
        secrets={name: Secret(env=name) for name in names[: limits.VARIABLES]},
        stop_grace_seconds=options.grace, sandbox=walls,
    )  # fmt: skip


class Life:
    """One machine in the foreground."""

    def __init__(self, engine: Engine, machine: Handle, options: argparse.Namespace) -> None:
        self._machine = machine
        self._options = options
        self._hand = engine.provider(machine.machine.spec.provider)
        self._interrupts = 0
        self._ending: asyncio.Task[None] | None = None

    async def live(self) -> int:
        """Start, pass on what is written, wait for the end, and clear up."""
        loop = asyncio.get_running_loop()
        for one in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(one, self._interrupt)
        try:
            code = await self._lived()
            if self._ending is not None:
                await self._ending
        finally:
            for one in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(one)
        if not self._options.keep and not self._machine.terminal:
            await self._machine.destroy(force=True, reason="its command has ended")
        return code

    async def _lived(self) -> int:
        try:
            started = await self._machine.start()
        except EffectFailed as problem:
            sys.stderr.write(f"eventvm: {plain(problem.fault)}\n")
            return NOT_STARTED
        passing = [asyncio.ensure_future(one) for one in self._streams()]
        timed_out = False
        try:
            async with asyncio.timeout(self._options.timeout):
                await self._machine.wait(*ENDED, after=started.position)
        except TimeoutError:
            timed_out = True
            await self._stop("its time was over")
        if passing:
            await asyncio.wait(passing)
        return TIMED_OUT if timed_out else exit_code(self._machine.machine.end)

    def _streams(self) -> list[Any]:
        """Pass on what the machine writes, where its provider lets it be followed."""
        if not hasattr(self._hand, "follow"):
            return []
        pairs: tuple[tuple[str, BinaryIO], ...] = (
            ("stdout", sys.stdout.buffer),
            ("stderr", sys.stderr.buffer),
        )
        return [self._passed(stream, out) for stream, out in pairs]

    async def _passed(self, stream: str, out: BinaryIO) -> None:
        follow: Any = self._hand
        async for data in follow.follow(self._machine.id, stream):
            out.write(data)
            out.flush()

    # --- ending it

    def _interrupt(self) -> None:
        """Stop at the first interrupt, end by force at the second."""
        self._interrupts += 1
        ending = self._stop("interrupted") if self._interrupts == 1 else self._force()
        self._ending = asyncio.ensure_future(ending)

    async def _stop(self, reason: str) -> None:
        try:
            await self._machine.stop(reason=reason)
        except EventvmError as problem:
            if self._interrupts < 2:  # noqa: PLR2004  # the second interrupt breaks the first one's stop off
                sys.stderr.write(f"eventvm: {problem}\n")

    async def _force(self) -> None:
        with suppress(EventvmError):
            await self._machine.destroy(force=True, reason="interrupted twice")


def exit_code(end: End | None) -> int:
    """Give the code that a shell would see: the command's own, or 128 and the signal that ended it."""
    match end.termination if end is not None else None:
        case Clean(code=code):
            return code
        case Observed(code=int() as code):
            return code
        case Observed(signal=str() as name):
            return 128 + signal.Signals[name].value
        case _:
            return 1
