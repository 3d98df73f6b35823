"""`eventvm run`: the whole life of one machine, in the foreground."""

import argparse
import asyncio
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from eventvm import limits
from eventvm.cli import place, shape
from eventvm.cli.seat import Seat, seated
from eventvm.engine import Engine, Handle, Receipt
from eventvm.errors import EffectFailed, EventvmError, plain
from eventvm.observation import Clean, End, Observed
from eventvm.spec import Secret, Spec
from eventvm.wire.guest import whoever

TIMED_OUT = 124
NOT_STARTED = 127
ENDED = ("stopped", "error", "destroyed")


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
        "--timeout", type=shape.seconds, metavar="T", help="stop it after T (90, 90s, 5m, 2h): exit code 124"
    )
    shape.describe_process(verb)
    verb.add_argument(
        "--keep", action="store_true", help="leave the machine there when its command has ended"
    )
    place.describe(verb)
    verb.add_argument("command", nargs="+", metavar="COMMAND", help="what to run, after `--`")
    verb.set_defaults(run=lambda options, _: run(options))


async def run(options: argparse.Namespace) -> int:
    """Live one life, and give the exit code of its command."""
    async with seated(options) as seat:
        with environment(seat.shared) as secrets:
            return await Life(seat, options).live(_spec(options, secrets))


def _spec(options: argparse.Namespace, secrets: dict[str, Secret]) -> Spec:
    """Describe a process; the environment is named and not copied, so that no value of it is recorded."""
    command, walls = tuple(options.command), shape.walls(options)
    if options.provider != "process":
        return Spec(provider=options.provider, command=command, sandbox=walls)
    return Spec(
        provider="process", command=command, directory=str(Path.cwd()), secrets=secrets,
        stop_grace_seconds=options.grace, sandbox=walls,
    )  # fmt: skip


@contextmanager
def environment(shared: bool) -> Iterator[dict[str, Secret]]:  # noqa: FBT001  # named where it comes from
    """Say where this environment is: here, or in private files where another process starts the command."""
    names = [name for name in os.environ if name.isprintable() and len(name) <= limits.WORD_CHARACTERS]
    if not shared:
        yield {name: Secret(env=name) for name in names[: limits.VARIABLES]}
        return
    with TemporaryDirectory(prefix="eventvm-environment-") as kept:
        files = {name: Path(kept) / str(at) for at, name in enumerate(filter(_told, names))}
        for name, file in files.items():
            file.write_text(f"{os.environ[name]}\n")
        yield {name: Secret(file=str(files[name])) for name in list(files)[: limits.VARIABLES]}


def _told(name: str) -> bool:
    """Say whether a file gives a variable back as it was."""
    value = os.environ[name]
    return "\r" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)


class Life:
    """One machine in the foreground."""

    def __init__(self, seat: Seat, options: argparse.Namespace) -> None:
        self._seat = seat
        self._options = options
        self._machine: Handle
        """As the engine knows it that was asked last."""
        self._hand: Any = None
        self._interrupts = 0
        self._ending: asyncio.Task[None] | None = None

    async def live(self, spec: Spec) -> int:
        """Start, pass on what is written, wait for the end, and clear up."""
        await self._seat.do(lambda engine: self._begin(engine, spec))
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
            await self._with(
                lambda machine: machine.destroy(force=True, reason="its command has ended", actor=whoever())
            )
        return code

    async def _begin(self, engine: Engine, spec: Spec) -> None:
        name = self._options.name or _name(engine, self._options.command[0])
        self._machine = await engine.create(name, spec, actor=whoever())
        self._hand = engine.provider(spec.provider)

    async def _with(self, act: Callable[[Handle], Awaitable[Receipt]]) -> Receipt:
        """Do something with the machine, whoever holds the log by now."""

        async def acted(engine: Engine) -> Receipt:
            self._machine = await engine.machine_by_id(self._machine.id)
            return await act(self._machine)

        return await self._seat.do(acted)

    async def _lived(self) -> int:
        try:
            started = await self._with(lambda machine: machine.start(actor=whoever()))
        except EffectFailed as problem:
            sys.stderr.write(f"eventvm: {plain(problem.fault)}\n")
            return NOT_STARTED
        passing = [asyncio.ensure_future(one) for one in self._streams()]
        timed_out = False
        try:
            async with asyncio.timeout(self._options.timeout):
                await self._with(lambda machine: machine.wait(*ENDED, after=started.position))
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
        async for data in self._hand.follow(self._machine.id, stream):
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
            await self._with(lambda machine: machine.stop(reason=reason, actor=whoever()))
        except EventvmError as problem:
            if self._interrupts < 2:  # noqa: PLR2004  # the second interrupt breaks the first one's stop off
                sys.stderr.write(f"eventvm: {problem}\n")

    async def _force(self) -> None:
        with suppress(EventvmError):
            await self._with(
                lambda machine: machine.destroy(force=True, reason="interrupted twice", actor=whoever())
            )


def _name(engine: Engine, program: str) -> str:
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(program).name)[:64].strip("-.") or "run"
    return f"{stem}-{engine.clock.id()[-12:]}"


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
