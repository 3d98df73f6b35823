"""The supervisor: does what the records call for that nobody commands.

Rules:

* What is due is said by supervision.py, from the record alone; here are the clock, the alarms and the hands.
* Each decision is made in the machine's own turn and appended before anything comes of it; whatever somebody
  else decided in the meantime holds.
* All alarms are one heap and one timer. A cell has at most one alarm that counts, the earliest: when it
  rings, the machine is looked after, and the next alarm is set.
"""

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from eventvm import events
from eventvm.clock import Clock
from eventvm.engine.cells import Cell, Cells
from eventvm.engine.receipt import Receipt
from eventvm.engine.turn import Turn
from eventvm.engine.world import fault_of
from eventvm.errors import Closed, EffectFailed, EventvmError, OutcomeUnknown
from eventvm.events import Fault
from eventvm.retry import Backoff
from eventvm.supervision import alarm, brought_back, ending, expired, failed, supervise

if TYPE_CHECKING:
    from eventvm.engine.handle import Handle
    from eventvm.engine.turns import Turns

logger = logging.getLogger("eventvm")

Reload = Callable[["Handle"], Awaitable[None]]
"""Brings a machine back that crashed, where its host does that and not a start; raises when it cannot."""

ACTOR = "supervisor"
LONGEST_SLEEP_SECONDS = 60.0
"""A suspended host and a clock that was set are noticed after this, though no timer knows of them."""
AGAIN = Backoff(first_seconds=1.0, cap_seconds=60.0)
"""How looks at an open request, and ends that failed, are spaced."""


class Supervisor:
    """Restarts what crashed, ends what has lived long enough, and looks again at what is open."""

    def __init__(
        self, cells: Cells, clock: Clock, reloads: Mapping[str, Reload], *,
        handle_of: Callable[[Cell], "Handle"], deadline_seconds: float,
    ) -> None:  # fmt: skip
        self.turns: Turns
        self._cells = cells
        self._clock = clock
        self._reloads = dict(reloads)
        self._handle_of = handle_of
        self._deadline_seconds = deadline_seconds
        self._loop = asyncio.get_running_loop()
        self._alarms: list[tuple[float, str]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._tries: dict[str, int] = {}
        """For machines that something failed for, how often it did in a row."""
        self._under_care: set[str] = set()
        """Machines for which a turn of the supervisor's is on its way."""
        self._reloading: dict[str, asyncio.Task[None]] = {}
        self.closed = False

    # --- what is due

    def attend(self, cell: Cell, *, at_last: bool = False) -> None:
        """See to whatever is due for a machine, and set the alarm for what is not.

        Most moves only enter a phase in flight: its deadline is looked at when the alarm rings, `at_last`.
        """
        if self.closed:
            return
        machine = cell.machine
        if machine.upkeep is None and machine.expires is None and machine.overdue is not None and not at_last:
            self._set(cell, machine.rules.definition.deadlines[machine.phase].seconds)
            return
        self._drop_reload(cell)
        if machine.over or machine.id in self._under_care:
            return
        now = self._clock.now()
        if expired(machine, now):
            self._end(cell)
        elif supervise(machine, now, hosted=self._hosts(cell)) is not None:
            if machine.id not in self._reloading:
                self._care(cell, self._supervise)
        elif (left := alarm(machine, now)) is not None:
            self._set(cell, left / 1_000_000_000)

    def look_again(self, cell: Cell) -> None:
        """Come back later to a machine whose request nobody could conclude."""
        if not self.closed:
            self._set(cell, AGAIN.seconds(self._tried(cell)))

    def _hosts(self, cell: Cell) -> bool:
        return cell.machine.rules.name in self._reloads

    def _tried(self, cell: Cell) -> int:
        """Count one more try of something, and say how many there were before."""
        tried = self._tries.get(cell.machine.id, 0)
        self._tries[cell.machine.id] = tried + 1
        return tried

    # --- alarms

    def _set(self, cell: Cell, seconds: float) -> None:
        """Wake up for a machine, unless that is going to happen earlier anyway."""
        when = self._loop.time() + min(seconds, LONGEST_SLEEP_SECONDS)
        if cell.alarm and cell.alarm <= when:
            return
        cell.alarm = when
        heapq.heappush(self._alarms, (when, cell.machine.id))
        self._wind()

    def _wind(self) -> None:
        """Let the one timer ring for the earliest alarm."""
        first = self._alarms[0][0] if self._alarms else None
        if self._timer is not None and (first is None or self._timer.when() > first):
            self._timer.cancel()
            self._timer = None
        if first is not None and self._timer is None:
            self._timer = self._loop.call_at(first, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._alarms and self._alarms[0][0] <= now:
            when, id_ = heapq.heappop(self._alarms)
            cell = self._cells.living.get(id_)
            if cell is not None and cell.alarm == when:
                cell.alarm = 0.0
                self._wake(cell)
        self._wind()

    def _wake(self, cell: Cell) -> None:
        if cell.machine.request is None:
            self._tries.pop(cell.machine.id, None)
        elif cell.turn is None:
            self.turns.submit(self.turns.turn(cell, None, actor=ACTOR)).add_done_callback(heard)
        self.attend(cell, at_last=True)

    # --- turns of the supervisor's own

    def _care(self, cell: Cell, work: Callable[[Turn], Awaitable[None]]) -> None:
        turn = self.turns.turn(cell, None, actor=ACTOR)
        turn.work = work
        self._under_care.add(cell.machine.id)
        self.turns.submit(turn).add_done_callback(partial(self._cared, cell))

    def _cared(self, cell: Cell, future: "asyncio.Future[Receipt]") -> None:
        """Take leave of a turn: a start that came to nothing is a failed attempt; look what is due now."""
        self._under_care.discard(cell.machine.id)
        if self.closed:
            return
        problem = None if future.cancelled() else future.exception()
        if problem is None or isinstance(problem, EffectFailed):
            self._tries.pop(cell.machine.id, None)
            self.attend(cell)
        elif not isinstance(problem, OutcomeUnknown | Closed):
            self._failed(cell, problem)

    def _failed(self, cell: Cell, problem: BaseException) -> None:
        logger.warning("%s: %s", cell.machine.name or cell.machine.id, problem)
        upkeep = cell.machine.upkeep
        if isinstance(problem, EventvmError) and upkeep is not None and upkeep.begun:
            self._care(cell, partial(self._reloaded, upkeep.attempt, fault_of(problem)))
        else:
            self._set(cell, AGAIN.seconds(self._tried(cell)))

    async def _supervise(self, turn: Turn) -> None:
        """Append what is due, one decision after the other, until nothing is or somebody is at work."""
        cell = turn.cell
        while (due := supervise(cell.machine, self._clock.now(), hosted=self._hosts(cell))) is not None:
            if not isinstance(due, events.Happened):
                turn.command = due
                self.turns.decide(turn)
                return
            await self.turns.appended(turn, due)
            if isinstance(due, events.RestartBegun) and self._hosts(cell):
                self._begin_reload(cell, due.attempt)
                break
        self.turns.end(turn)

    # --- reloads: attempts of a host

    def _begin_reload(self, cell: Cell, attempt: int) -> None:
        id_ = cell.machine.id
        reloading = self._loop.create_task(self._reload(cell, attempt), name=f"eventvm reload {id_}")
        self._reloading[id_] = reloading
        reloading.add_done_callback(partial(self._reload_left, id_))

    def _reload_left(self, id_: str, reloading: "asyncio.Task[None]") -> None:
        if self._reloading.get(id_) is reloading:
            del self._reloading[id_]

    def _drop_reload(self, cell: Cell) -> None:
        """End a reload that somebody has decided against, or that a newer crash replaces."""
        upkeep = cell.machine.upkeep
        reloading = self._reloading.get(cell.machine.id)
        if reloading is not None and (upkeep is None or not upkeep.begun):
            del self._reloading[cell.machine.id]
            reloading.cancel()

    async def _reload(self, cell: Cell, attempt: int) -> None:
        """Let the host bring a machine back, and tell what came of it in the machine's turn."""
        fault = None
        try:
            async with asyncio.timeout(self._deadline_seconds):
                await self._reloads[cell.machine.rules.name](self._handle_of(cell))
        except Exception as problem:  # noqa: BLE001  # a failure of the world is an event, whatever its class
            fault = fault_of(problem)
        self._care(cell, partial(self._reloaded, attempt, fault))

    async def _reloaded(self, attempt: int, fault: Fault | None, turn: Turn) -> None:
        machine, now = turn.cell.machine, self._clock.now()
        upkeep = machine.upkeep
        if upkeep is None or not upkeep.begun or upkeep.attempt != attempt:
            self.turns.end(turn)
        elif fault is None:
            await self.turns.appended(turn, *brought_back(machine, now))
            self.turns.end(turn)
        else:
            await self.turns.appended(turn, failed(upkeep, fault, now))
            await self._supervise(turn)

    # --- the end of a time to live

    def _end(self, cell: Cell) -> None:
        command = ending(cell.machine)
        if command is None:
            self._set(cell, LONGEST_SLEEP_SECONDS)
            return
        turn = self.turns.turn(cell, command, actor=ACTOR)
        self._under_care.add(cell.machine.id)
        self.turns.submit(turn).add_done_callback(partial(self._ended, cell))

    def _ended(self, cell: Cell, future: "asyncio.Future[Receipt]") -> None:
        self._under_care.discard(cell.machine.id)
        heard(future)
        if not cell.machine.over and not self.closed:
            self._set(cell, AGAIN.seconds(self._tried(cell)))

    # --- leaving

    def close(self) -> list["asyncio.Task[None]"]:
        """Ring no more, and give the reloads that are being cancelled: what they were at stays begun."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        for reloading in (left := list(self._reloading.values())):
            reloading.cancel()
        return left


def heard(future: "asyncio.Future[Receipt]") -> None:
    """Take an error that nobody asked for as no error: the machine says so itself when asked."""
    if not future.cancelled() and (problem := future.exception()) is not None:
        logger.info("%s", problem)
