"""Turns: how a command goes through, one at a time for each machine, and all machines side by side.

Rules:

* `submit` is synchronous up to the ticket of the log. A turn belongs to its command, not to its caller:
  it ends when the ticket or the effect is decided, whatever becomes of whoever awaits it.
* A cell moves in the scribe alone, when the log has made a record durable; everything else reads.
* A decision that needs the world (a look, an effect, an interrupted request) goes to a worker task that the
  engine owns. A worker that is cancelled leaves its request open, and whoever comes next probes.
* Force, a forced destroy and an attestation do not queue behind an effect: they abandon it, unless they
  would be refused or repeat a key.
* What reaches into the world first takes a place at its provider (lanes.py), and gives it back at its end.
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import cast

from eventvm import commands, events, limits
from eventvm.clock import Clock
from eventvm.commands import Command
from eventvm.decisions import MOVE, WHY, Outcome, attest, decide, fact, moved, plan
from eventvm.engine.cells import Cell, Cells
from eventvm.engine.doubt import Doubts
from eventvm.engine.effects import Effects
from eventvm.engine.keys import digest_then, failure, outcome
from eventvm.engine.orphans import Orphan, adopted
from eventvm.engine.receipt import Receipt, receipt_of
from eventvm.engine.scribe import Scribe
from eventvm.engine.supervisor import Supervisor
from eventvm.engine.turn import Further, Then, Turn, digest
from eventvm.engine.waiting import notice
from eventvm.engine.world import World
from eventvm.errors import (
    Closed,
    EffectFailed,
    EventvmError,
    Inconclusive,
    KeyConflict,
    KeyTaken,
    NotFound,
    OperationInProgress,
    OutcomeUnknown,
)
from eventvm.events import Event
from eventvm.log import EventLog
from eventvm.machine import Machine
from eventvm.observation import Observation
from eventvm.record import Record
from eventvm.tables import Effect, Fact, Look, Nothing

SEEN = ("machine.reconciled", "machine.exited")
"""Facts that a command may come to by looking."""


class Turns:
    """Carries commands through: decides, has it written, and lets the world be touched."""

    def __init__(
        self, log: EventLog, cells: Cells, world: World, clock: Clock, supervisor: Supervisor, *,
        host: str, owner: str,
    ) -> None:  # fmt: skip
        self._log = log
        self._cells = cells
        self._world = world
        self._clock = clock
        self._supervisor = supervisor
        self._scribe = Scribe(log, cells, self._interrupted, supervisor.attend)
        self._effects = Effects(self._scribe, world, clock, host=host, owner=owner)
        self.doubts = Doubts(log, cells, self._scribe, self._effects, clock)
        self._loop = asyncio.get_running_loop()
        self._closed = False
        supervisor.turns = self
        self.workers: dict[asyncio.Task[None], Turn | None] = {}
        """Each with the turn that it carries; None: it only asks if a key was used."""
        self._hear: Then = self._told  # these two are bound once, not for each command
        self._dismiss = self._left

    def close(self) -> None:
        """Let no further turn begin."""
        self._closed = True

    # --- a turn begins and ends

    def check_room(self, cell: Cell) -> None:
        """Refuse one more command where too many wait for their turn."""
        if (queue := self._cells.queues.get(cell)) is not None:
            limits.room(len(queue), limits.TURNS_QUEUED, f"commands that wait for {cell.machine.name}")

    def looks(self, cell: Cell) -> bool:
        """Say whether a look at a machine is on its way already."""
        under_way = self._cells.turns.get(cell)
        queued = self._cells.queues.get(cell, ())
        return under_way is not None and any(turn.command is None for turn in (under_way, *queued))

    def submit(self, turn: Turn, *, queue: bool = True) -> asyncio.Future[Receipt]:
        """Let a command take its turn; its future is the caller's and may be cancelled at any time."""
        cell = turn.cell
        under_way = self._cells.turns.get(cell)
        if under_way is None:
            self._take(turn)
        elif turn.intrusive and turn.key is None and turn.taken:
            self._break_in(turn, under_way)
        elif turn.intrusive and turn.key is not None and turn.key != under_way.key:
            self._start(self._break_in_unless_used(turn))
        elif queue:
            self._line_up(turn)
        else:
            verb = under_way.command.verb if under_way.command is not None else "reconcile"
            raise OperationInProgress(cell.machine.name, verb, under_way.asked or cell.machine.position)
        return turn.future

    def _break_in(self, turn: Turn, under_way: Turn) -> None:
        """Stand before the queue, behind others who did, and end the effect that is in the way."""
        queue = self._cells.queues.setdefault(turn.cell, deque())
        turn.breaks = True
        queue.insert(sum(one.breaks for one in queue), turn)
        if under_way.worker is not None and under_way.yields:
            under_way.worker.cancel()

    async def _break_in_unless_used(self, turn: Turn) -> None:
        """Break in with a key: one that was used before abandons nothing, it only asks again."""
        try:
            used = await self._log.recall(turn.key or "") is not None
        except EventvmError as problem:
            turn.fail(problem)
            return
        under_way = self._cells.turns.get(turn.cell)
        if used or under_way is None or not turn.taken:
            self._line_up(turn)
        else:
            self._break_in(turn, under_way)

    def _line_up(self, turn: Turn) -> None:
        if turn.cell in self._cells.turns:
            self._cells.queues.setdefault(turn.cell, deque()).append(turn)
        else:
            self._take(turn)

    def _take(self, turn: Turn) -> None:
        self._cells.turns[turn.cell] = turn
        self._begin(turn)

    def _begin(self, turn: Turn) -> None:
        machine = turn.cell.machine
        if self._closed:
            self.end(turn, Closed())
        elif turn.command is None or machine.request is not None or machine.doubted:
            self._employ(turn, self._work(turn))
        elif turn.key is None or turn.tells:
            if (further := self._decide(turn)) is not None:
                self._employ(turn, further)
        else:  # an earlier use of its key holds, whatever is so by now
            self._employ(turn, self._work(turn))

    def _decide(self, turn: Turn, seen: Observation | None = None) -> Further | None:
        """Take the next step without awaiting anything: end, append, or say what has to be awaited."""
        assert turn.command is not None
        machine = turn.cell.machine
        try:
            decision = decide(machine, turn.command, seen)
            if decision is MOVE and machine.version:
                told = moved(cast("commands.Transition", turn.command), self._clock.now())
                self._scribe.append(turn, (told,), self._hear, keyed=True)
            elif isinstance(decision, Fact):
                return self._tell(turn, decision)
            elif isinstance(decision, Nothing):
                self._nothing(turn)
            else:
                return self._look(turn) if isinstance(decision, Look) else self._carry_out(turn, decision)
        except EventvmError as problem:
            self.end(turn, problem)
        return None

    def _nothing(self, turn: Turn) -> None:
        turn.how = "nothing" if turn.how == "done" else turn.how
        if turn.key is None or not turn.cell.machine.exists:
            self.end(turn)
        else:
            assert turn.command is not None
            unchanged = events.Unchanged(at=self._clock.now(), command=turn.command)
            self._scribe.append(turn, (unchanged,), self._told, keyed=True)

    def _tell(self, turn: Turn, decision: Fact) -> Further | None:
        """Append the fact that a command comes to; nothing but creation begins a stream."""
        machine, kind = turn.cell.machine, type(turn.command)
        if machine.version == 0 and kind is not commands.Create:
            assert turn.command is not None
            title = machine.rules.definition.title(machine.phase)
            raise NotFound(machine=machine.name, phase=title, command=turn.command.verb)
        if kind is commands.Attest:
            told = attest(machine, cast("commands.Attest", turn.command), self._clock.now())
            self._scribe.append(turn, told, self._told, keyed=True)
        elif kind is commands.Correct:
            return self._correct(turn)
        else:
            if decision.event in SEEN:
                turn.how = "reconciled"
            then = self._told_more if decision.again else self._told
            self._scribe.append(turn, (self._fact(turn, decision.event),), then, keyed=not decision.again)
        return None

    def _fact(self, turn: Turn, tag: str) -> Event:
        command, seen = turn.command, turn.observation
        assert command is not None
        outcome = Outcome(self._clock.now(), reason=command.reason)
        if seen is not None and tag in SEEN:
            when = seen.evidence.when if tag == "machine.exited" else None
            reason = command.reason or WHY[tag]
            outcome = Outcome(when or outcome.at, reason, end=seen.end, evidence=seen.evidence)
        return fact(turn.cell.machine, tag, command, outcome)

    def _told(self, turn: Turn, problem: Exception | None) -> None:
        """End the turn: its fact is durable, or refused by the log."""
        if isinstance(problem, KeyTaken):
            self._employ(turn, self._work(turn))
        else:
            self.end(turn, problem)

    def _told_more(self, turn: Turn, problem: Exception | None) -> None:
        """Ask the phase that the fact has led to; what was seen before still holds."""
        if problem is not None:
            self.end(turn, problem)
        elif (further := self._decide(turn, turn.observation)) is not None:
            self._employ(turn, further)

    def end(self, turn: Turn, problem: BaseException | None = None, receipt: Receipt | None = None) -> None:
        """End a turn: answer its caller, and let the next one begin."""
        if turn.ended:
            return
        turn.ended = True
        cell = turn.cell
        if turn.place is not None:
            turn.leave()
        if problem is not None:
            turn.fail(problem)
        else:
            turn.answer(receipt or receipt_of(cell.machine, turn.how))
        cells = self._cells
        if cells.queues and cell in cells.queues:
            self._call_next(cell)
        else:
            del cells.turns[cell]
            if cell.machine.request is not None:
                self._supervisor.look_again(cell)
        if cells.waits:
            notice(cells, cell)

    def _call_next(self, cell: Cell) -> None:
        """Give the turn to who has waited for it longest."""
        queue = self._cells.queues[cell]
        self._cells.turns[cell] = turn = queue.popleft()
        if not queue:
            del self._cells.queues[cell]
        self._loop.call_soon(self._begin, turn)

    # --- workers

    def _employ(self, turn: Turn, work: Further) -> None:
        """Give a turn to a worker; one that it had before is at its end."""
        turn.further = work
        turn.worker = worker = self._start(self._worked(turn), turn)
        queue = self._cells.queues.get(turn.cell)
        if queue and queue[0].breaks and turn.yields:
            worker.cancel()

    def _start(self, work: Further, turn: Turn | None = None) -> asyncio.Task[None]:
        worker = self._loop.create_task(work)
        self.workers[worker] = turn
        worker.add_done_callback(self._dismiss)
        return worker

    async def _worked(self, turn: Turn) -> None:
        assert turn.further is not None
        try:
            try:
                await turn.further
            except KeyTaken:
                await self._work(turn)
        except EventvmError as problem:
            self.end(turn, problem)
        except Exception as bug:
            self.end(turn, bug)
            raise

    def _left(self, worker: asyncio.Task[None]) -> None:
        """Take leave of a worker; one that was cancelled may never have begun."""
        turn = self.workers.pop(worker)
        if turn is not None and turn.further is not None and worker.cancelled():
            turn.further.close()
            self._interrupted(turn)

    def _interrupted(self, turn: Turn) -> None:
        """End the turn of a cancelled worker, once nothing of it is on its way to the log.

        A request that it made stays open, and whoever comes next looks what became of it.
        """
        machine = turn.cell.machine
        if turn.pending is not None:
            return
        if machine.request is not None:
            self.end(turn, OutcomeUnknown(receipt_of(machine, "requested"), "it was interrupted"))
        elif turn.asked:
            self._finish(turn)
        else:
            phase = machine.rules.definition.title(machine.phase)
            verb = turn.command.verb if turn.command else "reconcile"
            hint = "it was interrupted before it touched anything"
            self.end(turn, Inconclusive(machine=machine.name, phase=phase, command=verb, hint=hint))

    async def _work(self, turn: Turn) -> None:
        """Begin a turn that has to look at the log or the world first."""
        cell = turn.cell
        if turn.key is not None and (record := await self._log.recall(turn.key)) is not None:
            await self._repeat(turn, record)
            return
        if cell.machine.doubted and not cell.machine.over:
            await self.doubts.settle(turn)
        elif cell.machine.request is not None:
            await self._effects.resume(turn)
        if turn.work is not None:
            await turn.work(turn)
        elif turn.command is None:
            await self._reconcile(turn)
        else:
            await self.go_on(turn)

    async def _look(self, turn: Turn) -> None:
        await self.go_on(turn, await self._effects.probe(turn))

    async def go_on(self, turn: Turn, seen: Observation | None = None) -> None:
        """Take the next step, and whatever that asks for, in the worker that the turn has."""
        if (further := self._decide(turn, seen)) is not None:
            await further

    async def _carry_out(self, turn: Turn, effect: Effect) -> None:
        await self._effects.carry_out(turn, effect)
        self._finish(turn)

    def _finish(self, turn: Turn) -> None:
        """Say that the request is closed, or name the fault that ended it early."""
        receipt = receipt_of(turn.cell.machine, "done")
        self.end(turn, EffectFailed(receipt, turn.fault.message) if turn.fault is not None else None)

    # --- reconciliation and correction

    async def _reconcile(self, turn: Turn) -> None:
        """Look at the machine unasked and append what that means, if it means anything."""
        machine = turn.cell.machine
        if machine.over or not (machine.spec.provider or turn.observation):
            turn.how = "nothing" if turn.how == "done" else turn.how
            self.end(turn)
            return
        seen = turn.observation or await self._effects.probe(turn)
        turn.cell.seen = seen
        event = plan(turn.cell.machine, seen, self._clock.now())
        if event is not None:
            turn.how = "reconciled"
            await self._scribe.appended(turn, event)
        elif seen.liveness == "unknown":
            machine = turn.cell.machine
            title = machine.rules.definition.title(machine.phase)
            raise Inconclusive(machine=machine.name, phase=title, command="reconcile", hint=seen.detail)
        turn.how = "nothing" if turn.how == "done" else turn.how
        self.end(turn)

    async def _correct(self, turn: Turn) -> None:
        """Check a correction against the whole ledger of the machine before it is told."""
        ledger = await self._cells.ledger(turn.cell.machine.id)
        event = self._fact(turn, "ledger.corrected")
        assert isinstance(event, events.Corrected)
        ledger.check(turn.cell.machine.name, event)
        await self._scribe.appended(turn, event, keyed=True)
        self.end(turn)

    # --- keys

    async def _repeat(self, turn: Turn, record: Record) -> None:
        """Give the receipt, or the error, that the earlier use of a key led to."""
        assert turn.key is not None
        cell = await self._cells.cell(record.stream)
        if record.digest not in (turn.digest, await digest_then(self._cells, turn, record)):
            raise KeyConflict(turn.key, record.position)
        if cell is not turn.cell:
            self._move(turn, cell)
            return
        request = cell.machine.request
        if request is not None and request.position == record.position:
            await self._effects.recover(turn, await self._effects.probe(turn))
        if cell.machine.request is not None and cell.machine.request.position == record.position:
            raise OutcomeUnknown(receipt_of(cell.machine, "repeated"), "its request is still open")
        machine, closing = await outcome(self._cells, record)
        receipt = receipt_of(machine, "repeated")
        self.end(turn, failure(receipt, machine, record, closing), receipt)

    def _move(self, turn: Turn, cell: Cell) -> None:
        """Wait for the turn of the machine in whose stream the key is."""
        moved = Turn(cell, turn.command, turn.future)
        moved.key, moved.digest, moved.actor, moved.wait = turn.key, turn.digest, turn.actor, turn.wait
        turn.future = self._loop.create_future()
        self.end(turn)
        self.submit(moved)

    # --- what the engine asks for

    async def appended(self, turn: Turn, *told: Event) -> None:
        """Append what a turn of the engine's own has decided."""
        await self._scribe.appended(turn, *told)

    def turn(self, cell: Cell, command: Command | None, *, actor: str = "") -> Turn:
        """Make a turn; it begins when it is submitted."""
        turn = Turn(cell, command, self._loop.create_future())
        turn.actor = actor
        return turn

    def adopt(
        self, cell: Cell, command: commands.Create, orphan: Orphan, *, actor: str
    ) -> asyncio.Future[Receipt]:
        """Let a machine that somebody else made enter the log, and look at it in the same turn."""

        async def work(turn: Turn) -> None:
            await self._scribe.appended(turn, *adopted(cell.machine, command, orphan, self._clock.now()))
            with suppress(Inconclusive):
                await self.doubts.settle(turn)
            self.end(turn)

        turn = self.turn(cell, None, actor=actor)
        turn.work = work
        return self.submit(turn)

    def check(self, machine: Machine, command: Command) -> None:
        """Refuse what would be refused, before anything at all is written for it."""
        decision = decide(machine, command)
        if isinstance(decision, Effect):
            self._world.check(machine, command, machine.rules.definition.effects[decision.name])

    def keyed(self, turn: Turn, key: str, name: str) -> Turn:
        """Give a turn its key, and the digest of what it is used for."""
        turn.key = key
        turn.digest = digest(name, turn.command, turn.cell.machine.rules.name)
        return turn
