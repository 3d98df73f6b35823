"""Waiting: a predicate over positions of the log, not over the present."""

import asyncio

from eventvm import limits
from eventvm.decisions import reachable
from eventvm.engine.cells import Cell, Cells
from eventvm.engine.receipt import Receipt, receipt_of
from eventvm.errors import BadInput, Closed, Unreachable
from eventvm.machine import Machine
from eventvm.record import Record

SETTLED, TERMINAL = "settled", "terminal"


class Wait:
    """Somebody who waits for one of several goals."""

    __slots__ = ("future", "goals", "hopeful")

    def __init__(
        self, goals: tuple[str, ...], future: asyncio.Future[Receipt | Machine], *, hopeful: bool
    ) -> None:
        self.goals = goals
        self.future = future
        """The receipt of a goal, or the machine as it was when there was no hope any more."""
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
    if len(goals) > limits.GOALS:
        raise BadInput(
            f"a wait has at most {limits.GOALS} goals, not {len(goals)}; `settled` is one for many"
        )
    for goal in goals or ("",):
        if goal not in known:
            wanted = limits.shown(goal)
            raise BadInput(f"{machine.rules.name} has no phase {wanted}; wait for one of {', '.join(known)}")


def notice(cells: Cells, cell: Cell) -> None:
    """Settle the waits that a move of the machine, or the end of its turn, decides."""
    for wait in tuple(cells.waits.get(cell, ())):
        if decided(wait, cell.machine, busy=cell in cells.turns):
            _forget(cells, cell, wait)


def _forget(cells: Cells, cell: Cell, wait: Wait) -> None:
    """Let nobody wait for what is decided or given up."""
    waits = cells.waits.get(cell, {})
    waits.pop(wait, None)
    if not waits:
        cells.waits.pop(cell, None)


def decided(wait: Wait, machine: Machine, *, busy: bool) -> bool:
    """Settle a wait that is at its goal or without hope, and say whether it is settled."""
    if wait.future.done():
        return True
    if meets(machine, wait.goals):
        wait.future.set_result(receipt_of(machine, "reached"))
    elif hopeless(machine, wait, busy=busy):
        wait.future.set_result(machine)
    else:
        return False
    return True


def give_up(cells: Cells) -> None:
    """Tell all who wait that nothing will be noticed any more."""
    cells.left = True
    for waits in cells.waits.values():
        for wait in waits:
            if not wait.future.done():
                wait.future.set_exception(Closed())
    for named in cells.named.values():
        if not named.done():
            named.set_result(None)


async def wait_for(
    cells: Cells, cell: Cell, goals: tuple[str, ...], *, after: int | None, hopeful: bool
) -> Receipt:  # fmt: skip
    """Wait until the machine is at a goal, or was at one since `after`; raise Unreachable without hope."""
    check_goals(cell.machine, goals)
    looked = after
    while looked is not None and cell.machine.position > looked:
        until = cell.machine.position
        if (passed := await _passed(cells, cell.machine.id, goals, looked)) is not None:
            return passed
        looked = until
    wait = Wait(goals, asyncio.get_running_loop().create_future(), hopeful=hopeful)
    if cells.left:
        raise Closed
    if not decided(wait, cell.machine, busy=cell in cells.turns):
        others = cells.waits.get(cell, {})
        limits.room(len(others), limits.WAITERS_OF_MACHINE, f"waits for {cell.machine.name}")
        cells.waits.setdefault(cell, others)[wait] = None
    try:
        outcome = await wait.future
    finally:
        _forget(cells, cell, wait)
    if isinstance(outcome, Receipt):
        return outcome
    record = await _last_hope(cells, outcome, wait, after or 0)
    title = outcome.rules.definition.title(outcome.phase)
    raise Unreachable(machine=outcome.name or outcome.id, phase=title, goals=goals, record=record)


async def _passed(cells: Cells, stream: str, goals: tuple[str, ...], after: int) -> Receipt | None:
    """Look for a goal among the phases that the machine has been in since a position."""
    last: Machine | None = None
    async for before, record, machine in cells.lived(stream):
        if record.position > after and before.exists and meets(before, goals):
            return receipt_of(before, "reached")
        last = machine
    return receipt_of(last, "reached") if last is not None and meets(last, goals) else None


async def _last_hope(cells: Cells, end: Machine, wait: Wait, after: int) -> Record | None:
    """Find the record since which a machine has been without hope, of those that the wait counts."""
    ended: Record | None = None
    async for _, record, machine in cells.lived(end.id, until=end.position):
        if not hopeless(machine, wait, busy=False):
            ended = None
        elif ended is None or record.position <= after:
            ended = record
    return ended
