"""A guest: the face of an engine in a process that does not hold the file.

What it shows it has folded from the log itself, which it reads and follows like anybody; what it is asked to
do it asks of the engine that holds the file. An answer is given out only once the log has been read up to it,
so that whoever has a receipt sees what it tells. It waits by its own fold, because a wait is a predicate over
the log. When the holder leaves, the guest is closed: who opens the log again first holds it then.
"""

import asyncio
import getpass
import logging
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, Unpack

import msgspec

from eventvm import commands, limits
from eventvm.commands import Command
from eventvm.engine import Engine, Handle, Receipt, Report
from eventvm.engine.cells import Cell, Cells
from eventvm.engine.gate import admitted
from eventvm.engine.listing import Filters, Machines
from eventvm.engine.orphans import Orphan
from eventvm.engine.receipt import receipt_of
from eventvm.engine.turn import Turn
from eventvm.engine.waiting import give_up, notice
from eventvm.errors import Closed, EventvmError, OutcomeUnknown
from eventvm.events import LifecycleDefined
from eventvm.lifecycle import Lifecycle, Recorded
from eventvm.lifecycles import DEFAULT
from eventvm.limits import wishes
from eventvm.log import PAGE, EventLog
from eventvm.observation import Observation
from eventvm.provider import Provider
from eventvm.record import Record
from eventvm.shelter import sheltered
from eventvm.spec import Spec
from eventvm.views import defined, of_machine
from eventvm.wire.line import Line, Lost
from eventvm.wire.words import Adopt, Ask, Begin, Discover, Look, LookAtAll, Send

logger = logging.getLogger("eventvm")

GONE = "the engine that held the log has left; open the log again"


def whoever() -> str:
    """Name who acts from here: this user at this host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"
    return f"{user}@{socket.gethostname()}"[: limits.ACTOR_CHARACTERS]


class Mirror(Cells):
    """The cells of an engine elsewhere, as far as the log tells of them."""

    def __init__(self, log: EventLog) -> None:
        super().__init__(log)
        self._folding = asyncio.Lock()

    async def follow(self) -> None:
        """Fold what is written, for ever."""
        while True:
            await self._log.wait(self.folded)
            await self.catch_up()

    async def catch_up(self) -> None:
        """Fold the log up to its end as it is now."""
        async with self._folding:
            end = False
            while not end:
                page = await self._log.read(after=self.folded, limit=PAGE)
                for record in page.records:
                    await self._learn(record)
                    self.folded = record.position
                end = page.end

    async def _learn(self, record: Record) -> None:
        """Move the cell that a record tells of; one that was read since may be further already."""
        if isinstance(record.event, LifecycleDefined):
            self.definitions.add(record.event.digest, defined(record.event))
        elif of_machine(record.stream):
            cell = self.held(record.stream) or Cell(await self.before(record))
            if cell.machine.position < record.position:
                self.learn(cell, record)
                notice(self, cell)

    async def cell(self, id: str) -> Cell:  # noqa: A002  # the word of the domain
        await self.catch_up()
        return await super().cell(id)


class Guest(Engine):
    """An engine whose commands take their turns elsewhere."""

    def __init__(
        self, log: EventLog, providers: Iterable[Provider] = (), lifecycles: Iterable[Lifecycle] = (), *,
        line: Line, actor: str = "", **options: Any,
    ) -> None:  # fmt: skip
        there = [msgspec.convert(one, Recorded) for one in line.lifecycles]
        super().__init__(log, providers, (*there, *lifecycles), actor=actor or whoever(), **options)
        self.cells: Mirror = Mirror(log)
        self._line = line

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Engine"]:
        """Load, follow the log, and leave; the engine that holds the file goes on."""
        try:
            await self.cells.load()
            self._line.listen(self._lose)
            self._employ(self._followed())
            logger.info("using the engine of process %d, which holds %s", self._line.pid, self.log.url)
            yield self
        finally:
            await sheltered(self._leave())

    async def _followed(self) -> None:
        try:
            await self.cells.follow()
        except EventvmError as problem:
            logger.warning("the log cannot be followed any more: %s", problem)
            self._lose()

    def _lose(self) -> None:
        """End who waits and who reads: nothing will be done any more."""
        self._closed = True
        give_up(self.cells)
        for one in self._subscriptions:
            one.end()

    def _heed(self, provider: Provider) -> None:
        """Leave hints to the engine that holds the file."""

    async def _keep(self) -> None:
        """Leave what is kept to the engine that holds the file."""

    # --- acting

    async def create(  # the options of a verb
        self, name: str, spec: Spec | None = None, *, lifecycle: str = DEFAULT, phase: str = "",
        key: str | None = None, reason: str = "", actor: str = "", wait: bool = True,
    ) -> Handle:  # fmt: skip
        """Begin a life under a free name, and give its handle."""
        self.check_open()
        rules = self.rules(lifecycle)
        wish = commands.Create(
            name=name, lifecycle=lifecycle, spec=spec or Spec(), phase=phase, reason=reason
        )
        wishes.command(wish)
        begin = Begin(command=wish, key=_key(key), actor=actor or self.actor, wait=wait)
        return await self._met(self._ask(self.unborn(name, rules), begin))

    async def clone(  # the options of a verb
        self, source: Handle, name: str, snapshot: str, spec: Spec | None = None, *,
        key: str | None = None, reason: str = "", actor: str = "", wait: bool = True,
    ) -> Handle:  # fmt: skip
        """Begin a life as a copy of a snapshot, and run at once."""
        self.check_open()
        await self.cells.catch_up()
        origin = source.machine
        wish = commands.Clone(
            name=name, lifecycle=origin.rules.name, source=origin.id, snapshot=snapshot,
            spec=spec or origin.spec, reason=reason,
        )  # fmt: skip
        wishes.command(wish)
        begin = Begin(command=wish, key=_key(key), actor=actor or self.actor, wait=wait)
        return await self._met(self._ask(self.unborn(name, origin.rules), begin))

    def submit(  # the options of a verb
        self, cell: Cell, command: Command, *, key: str | None = None, name: str = "", actor: str = "",
        wait: bool = True, queue: bool = True,
    ) -> asyncio.Future[Receipt]:  # fmt: skip
        """Send a command to the engine that holds the file; cancelling its receipt cancels nothing."""
        self.check_open()
        machine = cell.machine
        send = Send(
            machine=machine.id if machine.exists else "", name=name or machine.name,
            lifecycle=machine.rules.name, command=admitted(command, self.clock), key=_key(key),
            actor=actor or self.actor, wait=wait, queue=queue,
        )  # fmt: skip
        return self._ask(cell, send)

    async def look(self, cell: Cell, observation: Observation | None = None) -> Receipt:
        """Have one machine looked at, or tell what somebody has seen of it."""
        self.check_open()
        return await self._ask(cell, Look(machine=cell.machine.id, observation=observation))

    async def reconcile(self) -> Report:
        """Have every living machine looked at, each in its own turn."""
        report: Report = await self._told(LookAtAll())
        return report

    async def orphans(self) -> tuple[Orphan, ...]:
        """List the machines that a provider of the engine has and the log does not know."""
        orphans: tuple[Orphan, ...] = await self._told(Discover())
        return orphans

    async def adopt(
        self, orphan: Orphan, name: str, spec: Spec | None = None, *, lifecycle: str = DEFAULT,
        reason: str = "found without a record", actor: str = "",
    ) -> Handle:  # fmt: skip
        """Take a machine that the log does not know into it, look at it, and record how it is."""
        self.check_open()
        adopt = Adopt(
            orphan=orphan, name=name, spec=spec, lifecycle=lifecycle, reason=reason,
            actor=actor or self.actor,
        )  # fmt: skip
        return await self._met(self._ask(self.unborn(limits.name(name), self.rules(lifecycle)), adopt))

    async def machines(
        self, *, after: str | Handle = "", limit: int = PAGE, ended: bool = True, **filters: Unpack[Filters]
    ) -> Machines:
        """Give a page of the fleet, as the log tells it by now."""
        self.check_open()
        await self.cells.catch_up()
        return await super().machines(after=after, limit=limit, ended=ended, **filters)

    # --- asking

    def _ask(self, cell: Cell, request: Ask) -> asyncio.Future[Receipt]:
        """Ask for what concerns one machine, which has a turn under way until the answer is here."""
        asked = self._line.ask(request)
        self.cells.turns[cell] = turn = Turn(
            cell, getattr(request, "command", None), self._loop.create_future()
        )
        self._employ(self._carried(turn, asked))
        return turn.future

    async def _carried(self, turn: Turn, asked: asyncio.Future[Any]) -> None:
        """Give an answer out once the log has been read up to it; unknown is never success."""
        try:
            receipt = await asked
            await self._read_on()
            turn.answer(receipt)
        except EventvmError as problem:
            await self._read_on()
            turn.fail(problem)
        except Lost:
            await self._read_on()
        finally:
            self._end(turn)

    async def _read_on(self) -> None:
        """Read what an answer tells of; a log that cannot be read takes no answer back."""
        with suppress(EventvmError):
            await self.cells.catch_up()

    def _end(self, turn: Turn) -> None:
        """End the turn; where no answer came, nobody knows what became of it."""
        cell = turn.cell
        turn.fail(OutcomeUnknown(receipt_of(cell.machine, "requested"), GONE))
        if self.cells.turns.get(cell) is turn:
            del self.cells.turns[cell]
        notice(self.cells, cell)

    async def _told(self, request: Ask) -> Any:
        """Ask for what changes no one machine."""
        self.check_open()
        try:
            answer = await self._line.ask(request)
        except Lost:
            raise Closed(GONE) from None
        await self.cells.catch_up()
        return answer

    async def _met(self, asked: asyncio.Future[Receipt]) -> Handle:
        """Give the handle of a machine whose life has begun."""
        receipt = await asked
        handle = self._handle(await self.cells.cell(receipt.machine))
        handle.take(receipt)
        return handle


def _key(key: str | None) -> str | None:
    return None if key is None else limits.key(key)
