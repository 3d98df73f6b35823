"""A turn: one command on its way through the engine."""

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import sha256

import msgspec
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

_encode = msgspec.json.Encoder(order="deterministic").encode


class Turn:
    """One command on its way through."""

    __slots__ = (
        "actor", "asked", "breaks", "cell", "command", "digest", "ended", "fault", "future", "how", "key",
        "observation", "pending", "wait", "work", "worker",
    )  # fmt: skip

    def __init__(self, cell: Cell, command: Command | None, future: asyncio.Future[Receipt]) -> None:
        self.cell = cell
        self.command = command
        """None for a look that nobody commands: reconciliation."""
        self.future = future
        self.key: str | None = None
        self.digest = b""
        self.actor = ""
        self.wait = True
        self.how: How = "done"
        self.asked = 0
        """The position of its request, once that is durable."""
        self.observation: Observation | None = None
        """What somebody saw, where the turn is to tell of it."""
        self.work: Work | None = None
        """What it does instead of a command or a look."""
        self.worker: asyncio.Task[None] | None = None
        self.pending: Ticket | None = None
        self.fault: Fault | None = None
        """What ended its effect early."""
        self.breaks = False
        """Whether it stands before the queue, and ends the effect that is in its way."""
        self.ended = False

    @property
    def intrusive(self) -> bool:
        """Whether it abandons an effect that is in its way."""
        command = self.command
        forced = isinstance(command, commands.Destroy) and command.force
        return forced or isinstance(command, commands.Force | commands.Attest)

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
    def yields(self) -> bool:
        """Whether it may hang on the world; what only tells of it is never broken off."""
        return not isinstance(self.command, commands.Force | commands.Attest)


Work = Callable[[Turn], Awaitable[None]]
"""Something that the engine does in a machine's turn."""

Then = Callable[[Turn, Exception | None], None]
"""Hears of an append: with None when it is durable, with the problem when nothing was written."""


def digest(name: str, command: Command | None, lifecycle: str) -> bytes:
    """Digest what a key is used for, as its caller said it: a lifecycle by its name, whatever its tables."""
    if isinstance(command, commands.Create | commands.Clone):
        command = replace(command, lifecycle=lifecycle)
    return sha256(_encode([name, command])).digest()
