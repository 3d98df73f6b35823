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
from eventvm.errors import Closed, EffectFailed, EventvmError, LogError, OutcomeUnknown, StillAnswers
from eventvm.events import Fault
from eventvm.retry import Backoff
from eventvm.supervision import (
    alarm,
    brought_back,
    ending,
    expired,
    failed,
    supervise,
    to_be_seen_to,
    under_way,
)

if TYPE_CHECKING:
    from eventvm.engine.handle import Handle
    from eventvm.engine.turns import Turns

logger = logging.getLogger("eventvm")

Reload = Callable[["Handle"], Awaitable[None]]
"""Brings a machine back that crashed, where its host does that and not a start; raises when it cannot.

The supervisor moves the machine through its phases: whoever else does so meanwhile replaces the attempt.
"""

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
        self._due: dict[str, float] = {}
        """For machines that have an alarm: when, by the loop's time; other alarms have been overtaken."""
        self._tries: dict[str, int] = {}
        """How often in a row something came to nothing that was tried for a machine."""
        self._timer: asyncio.TimerHandle | None = None
        self._under_care: set[str] = set()
        """Machines for which a turn of the supervisor's is on its way."""
        self._reloading: dict[str, asyncio.Task[None]] = {}
        """For machines whose attempt is under way: the one that counts."""
        self.reloads: set[asyncio.Task[None]] = set()
        """All that have not ended, those too that nobody waits for any more."""
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
        if machine.over or machine.doubted or machine.id in self._under_care:
            return
        now = self._clock.now()
        if expired(machine, now):
            self._end(cell)
        elif supervise(machine, now, hosted=self._hosts(cell)) is not None:
            if machine.id not in self._reloading:
                self._care(cell, self._supervise)
        else:
            self._rest(cell, alarm(machine, now))

    def _rest(self, cell: Cell, left: int | None) -> None:
        """Let a machine be for which nothing is due, until something is."""
        if cell.machine.request is None and not _unseen(cell):
            self._tries.pop(cell.machine.id, None)
        if left is not None:
            self._set(cell, left / 1_000_000_000)

    def look_again(self, cell: Cell) -> None:
        """Come back later to a machine whose request nobody could conclude."""
        if not self.closed:
            self._try_again(cell)

    def _hosts(self, cell: Cell) -> bool:
        rules = cell.machine.rules
        return bool(rules.definition.recovery.phase) and rules.name in self._reloads

    def _try_again(self, cell: Cell) -> None:
        """Come back to what came to nothing, later each time that it does."""
        id_ = cell.machine.id
        tries = self._tries.get(id_, 0)
        self._tries[id_] = tries + 1
        self._set(cell, AGAIN.seconds(tries))

    # --- alarms

    def _set(self, cell: Cell, seconds: float) -> None:
        """Wake up for a machine, unless that is going to happen earlier anyway."""
        when = self._loop.time() + min(seconds, LONGEST_SLEEP_SECONDS)
        id_ = cell.machine.id
        if self._due.get(id_, when + 1) <= when:
            return
        self._due[id_] = when
        heapq.heappush(self._alarms, (when, id_))
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
            if self._due.get(id_) == when:
                del self._due[id_]
                self._wake(id_)
        self._wind()

    def _wake(self, id_: str) -> None:
        cell = self._cells.held(id_)
        if cell is None or (cell.machine.over and cell.machine.request is None):
            self._tries.pop(id_, None)
        if cell is None:
            return
        if cell not in self._cells.turns and (cell.machine.request is not None or _unseen(cell)):
            self.look(cell)
        self.attend(cell, at_last=True)

    # --- turns of the supervisor's own

    def look(self, cell: Cell) -> None:
        """Look at a machine, and again later if that does not tell whether it has to be brought back."""
        turn = self.turns.turn(cell, None, actor=ACTOR)
        self.turns.submit(turn).add_done_callback(partial(self._looked, cell))

    def _looked(self, cell: Cell, future: "asyncio.Future[Receipt]") -> None:
        heard(future)
        if _unseen(cell) and not self.closed:
            self._try_again(cell)

    def _care(self, cell: Cell, work: Callable[[Turn], Awaitable[None]]) -> "asyncio.Future[Receipt]":
        turn = self.turns.turn(cell, None, actor=ACTOR)
        turn.work = work
        self._under_care.add(cell.machine.id)
        future = self.turns.submit(turn)
        future.add_done_callback(partial(self._cared, cell))
        return future

    def _cared(self, cell: Cell, future: "asyncio.Future[Receipt]") -> None:
        """Take leave of a turn: what was refused is a failed attempt; look what is due now."""
        self._under_care.discard(cell.machine.id)
        if self.closed:
            return
        problem = None if future.cancelled() else future.exception()
        if problem is None and under_way(cell.machine) and not self._hosts(cell):
            self._try_again(cell)
        elif problem is None or isinstance(problem, EffectFailed):
            self.attend(cell)
        elif not isinstance(problem, OutcomeUnknown | Closed):
            self._failed(cell, problem)

    def _failed(self, cell: Cell, problem: BaseException) -> None:
        """Count what was refused as a failed attempt; what the log did not take is decided anew, later."""
        logger.warning("%s: %s", cell.machine.name or cell.machine.id, problem)
        refused = isinstance(problem, EventvmError) and not isinstance(problem, LogError)
        if refused and under_way(cell.machine) and not self._hosts(cell):
            self._care(cell, partial(self._reloaded, fault_of(problem)))
        else:
            self._try_again(cell)

    async def _supervise(self, turn: Turn) -> None:
        """Append what is due, one decision after the other, until nothing is or somebody is at work."""
        cell = turn.cell
        while (due := supervise(cell.machine, self._clock.now(), hosted=self._hosts(cell))) is not None:
            if not isinstance(due, events.Happened):
                turn.command = due
                await self.turns.go_on(turn)
                return
            await self.turns.appended(turn, due)
            if isinstance(due, events.RestartBegun) and self._hosts(cell):
                self._begin_reload(cell)
                break
        self.turns.end(turn)

    # --- reloads: attempts of a host

    def _begin_reload(self, cell: Cell) -> None:
        id_ = cell.machine.id
        reloading = self._loop.create_task(self._reload(cell), name=f"eventvm reload {id_}")
        self._reloading[id_] = reloading
        self.reloads.add(reloading)
        reloading.add_done_callback(partial(self._reload_left, id_))

    def _reload_left(self, id_: str, reloading: "asyncio.Task[None]") -> None:
        self.reloads.discard(reloading)
        if self._reloading.get(id_) is reloading:
            del self._reloading[id_]

    def _drop_reload(self, cell: Cell) -> None:
        """End a reload that somebody has decided against, or that a newer crash replaces."""
        reloading = self._reloading.get(cell.machine.id)
        if reloading is not None and not under_way(cell.machine):
            del self._reloading[cell.machine.id]
            reloading.cancel()

    async def _reload(self, cell: Cell) -> None:
        """Let the host bring a machine back, and tell what came of it, however long the log takes."""
        fault = await self._brought_back(cell)
        while self._reloading.get(cell.machine.id) is asyncio.current_task():
            try:
                await asyncio.shield(self._care(cell, partial(self._reloaded, fault)))
            except Closed:
                return
            except EventvmError:
                await asyncio.sleep(AGAIN.seconds(self._tries.get(cell.machine.id, 0)))

    async def _brought_back(self, cell: Cell) -> Fault | None:
        """Call the host under the deadline; what is cancelled from within has failed like all else."""
        try:
            async with asyncio.timeout(self._deadline_seconds):
                await self._reloads[cell.machine.rules.name](self._handle_of(cell))
        except (Exception, asyncio.CancelledError) as problem:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return fault_of(problem)
        return None

    async def _reloaded(self, fault: Fault | None, turn: Turn) -> None:
        machine, now = turn.cell.machine, self._clock.now()
        upkeep = machine.upkeep
        if upkeep is None or not under_way(machine):
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
        """Take leave of an end that may have failed; what answers against its record is looked at first."""
        self._under_care.discard(cell.machine.id)
        heard(future)
        if self.closed or cell.machine.over:
            return
        if not future.cancelled() and isinstance(future.exception(), StillAnswers):
            self.look(cell)
        if cell.machine.request is None:
            self._try_again(cell)

    # --- leaving

    def close(self) -> None:
        """Ring no more, and cancel the reloads: what they were at stays begun."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        for reloading in self.reloads:
            reloading.cancel()


def _unseen(cell: Cell) -> bool:
    """Say whether a machine that would have to be brought back was looked at last without an answer."""
    return cell.seen is not None and cell.seen.liveness == "unknown" and to_be_seen_to(cell.machine)


def heard(future: "asyncio.Future[Receipt]") -> None:
    """Take an error that nobody asked for as no error: the machine says so itself when asked."""
    if not future.cancelled() and (problem := future.exception()) is not None:
        logger.info("%s", problem)
