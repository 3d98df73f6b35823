"""A turn: one command on its way through the engine."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from eventvm import commands
from eventvm.commands import Command
from eventvm.decisions import decide
from eventvm.engine.cells import Cell
from eventvm.engine.receipt import How, Receipt
from eventvm.errors import Refused
from eventvm.events import Fault
from eventvm.log import Ticket
from eventvm.observation import Observation
from eventvm.tables import Fact

_encode = msgspec.json.Encoder(order="deterministic").encode


class Turn(Struct, eq=False):
    """One command on its way through."""

    cell: Cell
    command: Command | None
    """None for a look that nobody commands: reconciliation."""
    future: asyncio.Future[Receipt]
    key: str | None = None
    digest: bytes = b""
    actor: str = ""
    wait: bool = True
    how: How = "done"
    asked: int = 0
    """The position of its request, once that is durable."""
    observation: Observation | None = None
    """What somebody saw, where the turn is to tell of it."""
    place: asyncio.Semaphore | None = None
    """The lane in which it holds a place, from its first reach into the world to its end."""
    work: "Work | None" = None
    """What it does instead of a command or a look."""
    worker: asyncio.Task[None] | None = None
    further: "Further | None" = None
    """What its worker awaits."""
    pending: Ticket | None = None
    then: "Then | None" = None
    """Hears of what is pending."""
    decided: asyncio.Future[None] | None = None
    """What its worker awaits while something is pending."""
    fault: Fault | None = None
    """What ended its effect early."""
    breaks: bool = False
    """Whether it stands before the queue, and ends the effect that is in its way."""
    ended: bool = False

    @property
    def intrusive(self) -> bool:
        """Whether it abandons an effect that is in its way."""
        command = self.command
        forced = isinstance(command, commands.Destroy) and command.force
        return forced or isinstance(command, commands.Force | commands.Attest)

    def leave(self) -> None:
        """Give its place back, if it has one."""
        if self.place is not None:
            self.place.release()
            self.place = None

    def answer(self, receipt: Receipt) -> None:
        """Tell the caller, if there still is one."""
        if not self.future.done():
            self.future.set_result(receipt)

    def fail(self, problem: BaseException) -> None:
        """Tell the caller of an error, if there still is one."""
        if not self.future.done():
            self.future.set_exception(problem)

    @property
    def taken(self) -> bool:
        """Whether it would be taken, as far as the record alone can tell."""
        assert self.command is not None
        try:
            decide(self.cell.machine, self.command)
        except Refused:
            return False
        return True

    @property
    def tells(self) -> bool:
        """Whether it comes to a fact at once, so that the log itself says if its key was used before."""
        assert self.command is not None
        machine = self.cell.machine
        try:
            decision = decide(machine, self.command)
        except Refused:
            return False
        alone = isinstance(decision, Fact) and not decision.again
        return alone and machine.exists and type(self.command) is not commands.Correct

    @property
    def yields(self) -> bool:
        """Whether it may hang on the world; what only tells of it is never broken off."""
        return not isinstance(self.command, commands.Force | commands.Attest)


Further = Coroutine[Any, Any, None]
"""What is left to be done for a turn and has to be awaited."""

Work = Callable[[Turn], Awaitable[None]]
"""Something that the engine does in a machine's turn."""

Then = Callable[[Turn, Exception | None], None]
"""Hears of an append: with None when it is durable, with the problem when nothing was written."""


def digest(name: str, command: Command | None, lifecycle: str) -> bytes:
    """Digest what a key is used for, as its caller said it: a lifecycle by its name, whatever its tables."""
    if isinstance(command, commands.Create | commands.Clone):
        command = replace(command, lifecycle=lifecycle)
    return sha256(_encode([name, command])).digest()
