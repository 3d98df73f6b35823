"""Waiting: a predicate over positions of the log, not over the present."""

import asyncio

from eventvm import errors
from eventvm.engine.cells import Cell, Cells
from eventvm.engine.receipt import Receipt, receipt_of
from eventvm.errors import BadInput, Unreachable
from eventvm.log import EventLog
from eventvm.decisions import reachable
from eventvm.machine import Machine, evolve
from eventvm.record import Record
from eventvm.views import first

SETTLED, TERMINAL = "settled", "terminal"


class Wait:
    """Somebody who waits for one of several goals."""

    __slots__ = ("future", "goals", "hopeful")

    def __init__(self, goals: tuple[str, ...], future: asyncio.Future[Receipt], *, hopeful: bool) -> None:
        self.goals = goals
        self.future = future
        self.hopeful = hopeful
        """Whether it goes on when nothing is under way, because somebody may still send a command."""


def meets(machine: Machine, goals: tuple[str, ...]) -> bool:
    """Say whether a machine is at one of the goals."""
    return (
        machine.phase in goals
        or (SETTLED in goals and machine.settled)
        or (TERMINAL in goals and machine.terminal)
    )


def hopeless(machine: Machine, wait: Wait, *, busy: bool) -> bool:
    """Say whether nothing that is under way, or for a hopeful wait nothing at all, leads to a goal."""
    if busy:
        return False
    rules = machine.rules
    coming = rules.possible(machine.phase) if wait.hopeful else reachable(machine)
    definition = rules.definition
    groups = {SETTLED: set(definition.settled), TERMINAL: set(rules.terminal)}
    return not any(groups.get(goal, {goal}) & coming for goal in wait.goals)


def check_goals(machine: Machine, goals: tuple[str, ...]) -> None:
    """Refuse a goal that the lifecycle does not have."""
    known = (*machine.rules.definition.phases, SETTLED, TERMINAL)
    for goal in goals or ("",):
        if goal not in known:
            raise BadInput(f"{machine.rules.name} has no phase {goal!r}; wait for one of {', '.join(known)}")


def notice(cell: Cell) -> None:
    """The machine has moved, or its turn has ended: settle the waits that this decides."""
    if not cell.waits:
        return
    machine, busy = cell.machine, cell.turn is not None
    left = []
    for wait in cell.waits:
        if wait.future.done():
            continue
        if meets(machine, wait.goals):
            wait.future.set_result(receipt_of(machine, "reached"))
        elif hopeless(machine, wait, busy=busy):
            wait.future.set_exception(unreachable(machine, wait.goals, cell.last))
        else:
            left.append(wait)
    cell.waits = left or None


def unreachable(machine: Machine, goals: tuple[str, ...], record: Record | None) -> Unreachable:
    """Make the error that ends a wait without hope."""
    title = machine.rules.definition.title
    return errors.Unreachable(
        machine=machine.name or machine.id, phase=title(machine.phase), goals=goals, record=record
    )


async def wait_for(
    log: EventLog, cells: Cells, cell: Cell, goals: tuple[str, ...], after: int | None
) -> Receipt:
    """Wait until the machine is at a goal, or was at one since `after`; raise Unreachable without hope."""
    check_goals(cell.machine, goals)
    if after is not None and cell.machine.position > after:
        passed = await _passed(log, cells, cell.machine.id, goals, after)
        if passed is not None:
            return passed
    wait = Wait(goals, asyncio.get_running_loop().create_future(), hopeful=after is None)
    if cell.last is None and cell.machine.exists:
        cell.last = await _record_at(log, cell.machine.position)
    cell.waits = [*(cell.waits or ()), wait]
    notice(cell)
    try:
        return await wait.future
    finally:
        if cell.waits and wait in cell.waits:
            cell.waits.remove(wait)


async def _passed(
    log: EventLog, cells: Cells, stream: str, goals: tuple[str, ...], after: int
) -> Receipt | None:
    """Look for a goal among the phases that the machine has been in since a position."""
    machine: Machine | None = None
    read = 0
    while True:
        page = await log.read(stream=stream, after=read)
        for record in page.records:
            before = machine
            if record.position > after and before is not None and meets(before, goals):
                return receipt_of(before, "reached")
            machine = evolve(before or first(record, cells.definitions), record.event, record.position)
        read = page.position
        if page.end:
            return receipt_of(machine, "reached") if machine is not None and meets(machine, goals) else None


async def _record_at(log: EventLog, position: int) -> Record | None:
    page = await log.read(after=position - 1, limit=1)
    return page.records[0] if page.records else None
