"""The scribe: writes events for the machine whose turn it is, and moves its cell once they are durable."""

import asyncio
from collections.abc import Callable

from eventvm import commands
from eventvm.engine.cells import Cell, Cells
from eventvm.engine.turn import Then, Turn
from eventvm.engine.waiting import notice
from eventvm.errors import AlreadyExists, NameTaken
from eventvm.events import TAGS, Event, Requested
from eventvm.log import Append, EventLog, Ticket
from eventvm.machine import Machine, evolve
from eventvm.record import Record

NONE: tuple[tuple[str, ...], ...] = ((), (), ())
"""The names that most events reserve, claim and release."""
BEARS_NAMES = frozenset({commands.Create, commands.Clone, commands.Rename})
"""Commands whose request reserves or claims a name."""


class Scribe:
    """The only way from a decision to the log, and from the log into memory."""

    def __init__(
        self, log: EventLog, cells: Cells, interrupted: Callable[[Turn], None], moved: Callable[[Cell], None]
    ) -> None:
        self._log = log
        self._cells = cells
        self._loop = asyncio.get_running_loop()
        self._interrupted = interrupted
        self._moved = moved
        self._hear = self._settled  # these two are bound once, not for each append
        self._wake: Then = self._decided

    def append(
        self, turn: Turn, told: tuple[Event, ...], then: Then, *, cause: int = 0, keyed: bool = False
    ) -> None:
        """Queue events for the machine whose turn it is; `then` hears of it when the log has decided."""
        machine = turn.cell.machine
        names = NONE if len(told) == 1 and _keeps_names(machine, told[0]) else _names(machine, told)
        key, digest = (turn.key, turn.digest) if keyed else (None, b"")
        append = Append(machine.id, told, machine.version, turn.actor, key, digest, cause, *names)
        turn.pending = ticket = self._log.append(append)
        turn.then = then
        ticket.then(self._hear, turn)

    async def appended(self, turn: Turn, *told: Event, cause: int = 0, keyed: bool = False) -> None:
        """Append events and go on when they are durable; whoever cancels this cancels only the waiting."""
        turn.decided = decided = self._loop.create_future()
        self.append(turn, told, self._wake, cause=cause, keyed=keyed)
        await decided

    def _settled(self, turn: Turn, ticket: Ticket) -> None:
        turn.pending = None
        for record in ticket.records:
            self._learn(turn.cell, record)
        assert turn.then is not None
        turn.then(turn, self._translated(turn, ticket.error) if ticket.error else None)

    def _decided(self, turn: Turn, problem: Exception | None) -> None:
        decided = turn.decided
        assert decided is not None
        if decided.cancelled():
            self._interrupted(turn)
        elif problem is not None:
            decided.set_exception(problem)
        else:
            decided.set_result(None)

    def _translated(self, turn: Turn, problem: Exception) -> Exception:
        """Say in the words of machines what the log has refused."""
        if isinstance(problem, NameTaken) and turn.command is not None:
            return AlreadyExists(machine=problem.name, phase="held by another", command=turn.command.verb)
        return problem

    def _learn(self, cell: Cell, record: Record) -> None:
        """Move the cell, because a record is durable, and tell whoever waits for that."""
        after = self._cells.learn(cell, record)
        if after.upkeep is not None or after.overdue is not None or after.expires is not None:
            self._moved(cell)
        if self._cells.waits:
            notice(self._cells, cell)


def _keeps_names(machine: Machine, event: Event) -> bool:
    """Say whether an event leaves all names as they are, as nearly all do."""
    if type(event) is Requested:
        return type(event.command) not in BEARS_NAMES
    return machine.rules.keeps_names(machine.phase, TAGS[type(event)], getattr(event, "to", None))


def _names(machine: Machine, told: tuple[Event, ...]) -> tuple[tuple[str, ...], ...]:
    """Say which names events reserve, claim and release."""
    after = machine
    for event in told:
        after = evolve(after, event, machine.position + 1)
    reserves = (after.claims,) if after.claims and after.claims != machine.claims else ()
    claims = tuple(name for name in after.names if name not in machine.names)
    left = {*machine.names, machine.claims} - {*after.names, after.claims, ""}
    return reserves, claims, tuple(left)
