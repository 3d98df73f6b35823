"""Turns: how a command goes through, one at a time for each machine, and all machines side by side.

Rules:

* `submit` is synchronous up to the ticket of the log. A turn belongs to its command, not to its caller:
  it ends when the ticket or the effect is decided, whatever becomes of whoever awaits it.
* A cell moves in `_learn` alone, when the log has made a record durable; everything else reads.
* A decision that needs the world (a look, an effect, an interrupted request) goes to a worker task that the
  engine owns. A worker that is cancelled leaves its request open, and whoever comes next probes.
* Force, a forced destroy and an attestation do not queue behind an effect: they abandon it, unless they
  would be refused or repeat a key.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from hashlib import sha256
from typing import Any

import msgspec
from msgspec.structs import replace

from eventvm import commands, events
from eventvm.clock import Clock
from eventvm.commands import Command
from eventvm.decisions import Outcome, conclude, decide, fact, plan, recover, shows
from eventvm.engine.cells import Cell, Cells
from eventvm.engine.receipt import How, Receipt, receipt_of
from eventvm.engine.waiting import notice
from eventvm.engine.world import World
from eventvm.errors import (
    AlreadyExists,
    Closed,
    EffectFailed,
    EventvmError,
    Inconclusive,
    KeyConflict,
    KeyTaken,
    NameTaken,
    NotFound,
    OperationInProgress,
    OutcomeUnknown,
    Refused,
)
from eventvm.events import TAGS, Event, Failure, Fault, Unknown
from eventvm.ledger import Ledger
from eventvm.log import Append, EventLog, Ticket
from eventvm.machine import ATTESTED, Machine, evolve, steps
from eventvm.observation import End, Evidence, Observation
from eventvm.record import Record
from eventvm.tables import Effect, Fact, Look, Nothing, Step
from eventvm.views import first, tag

NAMING = (
    events.Requested, events.Created, events.CreateFailed, events.Abandoned, events.Renamed,
    events.RenameFailed,
)  # fmt: skip
"""Events that may claim or release a name wherever they stand."""

SEEN = ("machine.reconciled", "machine.exited")
"""Facts that a command may come to by looking, and their reasons when the command gives none."""
WHY = {"machine.reconciled": "found alive", "machine.exited": "unexpected-exit"}

_encode = msgspec.json.Encoder(order="deterministic").encode


class Turn:
    """One command on its way through."""

    __slots__ = (
        "actor", "asked", "breaks", "cell", "command", "digest", "ended", "fault", "future", "how", "key",
        "observation", "pending", "wait", "worker",
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


Then = Callable[[Turn, Exception | None], None]
"""Hears of an append: with None when it is durable, with the problem when nothing was written."""


class Turns:
    """Carries commands through: decides, appends, lets the world be touched, and learns what is durable."""

    def __init__(
        self, log: EventLog, cells: Cells, world: World, clock: Clock, *, host: str, owner: str
    ) -> None:
        self._log = log
        self._cells = cells
        self._world = world
        self._clock = clock
        self._host = host
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self.workers: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Let no further turn begin."""
        self._closed = True

    # --- a turn begins and ends

    def submit(self, turn: Turn, *, queue: bool = True) -> asyncio.Future[Receipt]:
        """Let a command take its turn; its future is the caller's and may be cancelled at any time."""
        cell = turn.cell
        if cell.turn is None:
            self._line_up(turn)
        elif turn.intrusive and turn.key is None and _taken(turn):
            self._break_in(turn)
        elif turn.intrusive and turn.key is not None and turn.key != cell.turn.key:
            self._start(self._break_in_unless_used(turn))
        elif queue:
            self._line_up(turn)
        else:
            under_way = cell.turn.command
            verb = under_way.verb if under_way is not None else "reconcile"
            raise OperationInProgress(cell.machine.name, verb, cell.turn.asked or cell.machine.position)
        return turn.future

    def _break_in(self, turn: Turn) -> None:
        """Stand before the queue, behind others who did, and end the effect that is in the way."""
        cell = turn.cell
        cell.queue = cell.queue or deque()
        turn.breaks = True
        cell.queue.insert(sum(one.breaks for one in cell.queue), turn)
        under_way = cell.turn
        if under_way is not None and under_way.worker is not None and _yields(under_way):
            under_way.worker.cancel()

    async def _break_in_unless_used(self, turn: Turn) -> None:
        """Break in with a key: one that was used before abandons nothing, it only asks again."""
        try:
            used = await self._log.recall(turn.key or "") is not None
        except EventvmError as problem:
            turn.fail(problem)
            return
        if used or turn.cell.turn is None or not _taken(turn):
            self._line_up(turn)
        else:
            self._break_in(turn)

    def _line_up(self, turn: Turn) -> None:
        cell = turn.cell
        if cell.turn is None:
            cell.turn = turn
            self._begin(turn)
        else:
            cell.queue = cell.queue or deque()
            cell.queue.append(turn)

    def _begin(self, turn: Turn) -> None:
        machine = turn.cell.machine
        if self._closed:
            self._end(turn, Closed("this engine was left; open the log again"))
        elif turn.command is None or turn.key is not None or machine.request is not None:
            self._employ(turn, self._work(turn))
        else:
            self._decide(turn)

    def _decide(self, turn: Turn, seen: Observation | None = None) -> None:
        """Take the next step without awaiting anything: end, append, or employ a worker."""
        assert turn.command is not None
        machine = turn.cell.machine
        try:
            decision = decide(machine, turn.command, seen)
            if isinstance(decision, Fact):
                self._tell(turn, decision)
            elif isinstance(decision, Nothing):
                self._nothing(turn)
            else:
                work = self._look(turn) if isinstance(decision, Look) else self._carry_out(turn, decision)
                self._employ(turn, work)
        except EventvmError as problem:
            self._end(turn, problem)

    def _nothing(self, turn: Turn) -> None:
        turn.how = "nothing" if turn.how == "done" else turn.how
        if turn.key is None or not turn.cell.machine.exists:
            self._end(turn)
        else:
            assert turn.command is not None
            unchanged = events.Unchanged(at=self._clock.now(), command=turn.command)
            self._append(turn, (unchanged,), self._told, keyed=True)

    def _tell(self, turn: Turn, decision: Fact) -> None:
        """Append the fact that a command comes to; nothing but creation begins a stream."""
        machine = turn.cell.machine
        if not machine.exists and not isinstance(turn.command, commands.Create):
            assert turn.command is not None
            title = machine.rules.definition.title(machine.phase)
            raise NotFound(machine=machine.name, phase=title, command=turn.command.verb)
        if isinstance(turn.command, commands.Attest):
            self._append(turn, self._attested(turn), self._told, keyed=True)
        elif isinstance(turn.command, commands.Correct):
            self._employ(turn, self._correct(turn))
        else:
            if decision.event in SEEN:
                turn.how = "reconciled"
            told = self._told_more if decision.again else self._told
            self._append(turn, (self._fact(turn, decision.event),), told, keyed=not decision.again)

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
            self._end(turn, problem)

    def _told_more(self, turn: Turn, problem: Exception | None) -> None:
        """Ask the phase that the fact has led to; what was seen before still holds."""
        if problem is not None:
            self._end(turn, problem)
        else:
            self._decide(turn, turn.observation)

    def _end(self, turn: Turn, problem: BaseException | None = None, receipt: Receipt | None = None) -> None:
        """End a turn: answer its caller, and let the next one begin."""
        if turn.ended:
            return
        turn.ended = True
        cell = turn.cell
        if problem is not None:
            turn.fail(problem)
        else:
            turn.answer(receipt or receipt_of(cell.machine, turn.how))
        cell.turn = None
        if cell.queue:
            cell.turn = cell.queue.popleft()
            self._loop.call_soon(self._begin, cell.turn)
        notice(cell)

    # --- workers

    def _employ(self, turn: Turn, work: Coroutine[Any, Any, None]) -> None:
        """Give a turn to a worker; one that it had before is at its end."""
        turn.worker = worker = self._start(self._worked(turn, work))
        worker.add_done_callback(partial(self._left, turn, work))
        queue = turn.cell.queue
        if queue and queue[0].breaks and _yields(turn):
            worker.cancel()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        worker = self._loop.create_task(work)
        self.workers.add(worker)
        worker.add_done_callback(self.workers.discard)
        return worker

    async def _worked(self, turn: Turn, work: Coroutine[Any, Any, None]) -> None:
        try:
            try:
                await work
            except KeyTaken:
                await self._work(turn)
        except EventvmError as problem:
            self._end(turn, problem)
        except Exception as bug:
            self._end(turn, bug)
            raise

    def _left(self, turn: Turn, work: Coroutine[Any, Any, None], worker: asyncio.Task[None]) -> None:
        """Take leave of a worker; one that was cancelled may never have begun."""
        work.close()
        if worker.cancelled():
            self._interrupted(turn)

    def _interrupted(self, turn: Turn) -> None:
        """End the turn of a cancelled worker, once nothing of it is on its way to the log.

        A request that it made stays open, and whoever comes next looks what became of it.
        """
        machine = turn.cell.machine
        if turn.pending is not None:
            return
        if machine.request is not None:
            self._end(turn, OutcomeUnknown(receipt_of(machine, "requested"), "it was interrupted"))
        elif turn.asked:
            self._finish(turn)
        else:
            phase = machine.rules.definition.title(machine.phase)
            verb = turn.command.verb if turn.command else "reconcile"
            hint = "it was interrupted before it touched anything"
            self._end(turn, Inconclusive(machine=machine.name, phase=phase, command=verb, hint=hint))

    async def _work(self, turn: Turn) -> None:
        """Begin a turn that has to look at the log or the world first."""
        cell = turn.cell
        if turn.key is not None and (record := await self._log.recall(turn.key)) is not None:
            await self._repeat(turn, record)
            return
        if cell.machine.request is not None:
            await self._resume(turn)
        if turn.command is None:
            await self._reconcile(turn)
        else:
            self._decide(turn)

    async def _look(self, turn: Turn) -> None:
        self._decide(turn, await self._probe(turn))

    async def _probe(self, turn: Turn) -> Observation:
        cell = turn.cell
        turn.observation = cell.seen = await self._world.probe(cell.machine)
        return turn.observation

    # --- an effect

    async def _carry_out(self, turn: Turn, effect: Effect) -> None:
        """Make the request durable, then the calls, each outcome durable before the next call begins."""
        machine, command = turn.cell.machine, turn.command
        assert command is not None
        told = machine.rules.definition.effects[effect.name]
        self._world.check(machine, command, told)
        at = self._clock.now()
        requested = events.Requested(
            at=at, reason=command.reason, command=command, effect=effect.name, host=self._host,
            owner=self._owner, deadline=self._world.deadline(at.wall, len(told)),
        )  # fmt: skip
        await self._appended(turn, requested, keyed=True)
        turn.asked = turn.cell.machine.position
        if not turn.wait:
            turn.answer(receipt_of(turn.cell.machine, "requested"))
        await self._steps(turn)
        self._finish(turn)

    def _finish(self, turn: Turn) -> None:
        """Say that the request is closed, or name the fault that ended it early."""
        receipt = receipt_of(turn.cell.machine, "done")
        self._end(turn, EffectFailed(receipt, turn.fault.message) if turn.fault is not None else None)

    async def _steps(self, turn: Turn) -> None:
        """Carry out what is left of the open request, up to the first fault that ends it."""
        end: End | None = None
        for step in steps(turn.cell.machine):
            machine = turn.cell.machine
            assert machine.request is not None
            outcome = await self._world.call(machine, step, machine.request.command)
            if outcome.unclear:
                outcome = await self._seen(turn, step, outcome)
            end = outcome.end or end  # a step without an event may have seen the end that a later one tells
            outcome = replace(outcome, end=end)
            event = conclude(machine, step, outcome)
            turn.fault = outcome.fault if step.failed is not None else None
            if event is not None:
                await self._appended(turn, event, cause=turn.asked)
            if turn.fault is not None:
                return

    async def _seen(self, turn: Turn, step: Step, outcome: Outcome) -> Outcome:
        """Look whether a step without a clear outcome happened; raise while nobody can tell."""
        if step.failed is None:
            return outcome
        seen = await self._probe(turn)
        machine = turn.cell.machine
        shown = shows(machine, step, seen)
        if shown is None:
            assert outcome.fault is not None
            raise OutcomeUnknown(receipt_of(machine, "requested"), outcome.fault.message)
        evident = replace(outcome, at=self._clock.now(), evidence=seen.evidence, unclear=False)
        return replace(evident, fault=None, end=seen.end) if shown else evident

    async def _resume(self, turn: Turn) -> None:
        """Conclude an open request that nobody works on by what can be seen, or abandon it."""
        if isinstance(turn.command, commands.Attest):
            return
        if turn.intrusive:
            await self._abandon(turn)
            return
        seen = await self._probe(turn)
        await self._recover(turn, seen)
        request = turn.cell.machine.request
        if request is not None and turn.command is not None and self._clock.wall() > request.deadline:
            await self._abandon(turn)
        elif request is not None:
            problem = f"{request.command.verb}, requested at {request.position}: {seen.detail or 'no answer'}"
            raise OutcomeUnknown(receipt_of(turn.cell.machine, "requested"), problem)

    async def _recover(self, turn: Turn, seen: Observation) -> None:
        while (machine := turn.cell.machine).request is not None:
            event = recover(machine, seen, Outcome(self._clock.now()))
            if event is None:
                return
            turn.how = "reconciled"
            await self._appended(turn, event, cause=machine.request.position)

    async def _abandon(self, turn: Turn) -> None:
        """Give the open request up, unless the command would be refused even then."""
        machine, command = turn.cell.machine, turn.command
        assert machine.request is not None
        assert command is not None
        reason = command.reason or f"{command.row} was asked for"
        abandoned = events.Abandoned(at=self._clock.now(), reason=reason, request=machine.request.position)
        after = evolve(machine, abandoned, machine.position + 1)
        if isinstance(decide(after, command), Look):
            decide(after, command, await self._probe(turn))
        await self._appended(turn, abandoned)

    # --- reconciliation, attestation, correction

    async def _reconcile(self, turn: Turn) -> None:
        """Look at the machine unasked and append what that means, if it means anything."""
        if turn.cell.machine.over or not turn.cell.machine.spec.provider and turn.observation is None:
            turn.how = "nothing" if turn.how == "done" else turn.how
            self._end(turn)
            return
        seen = turn.observation or await self._probe(turn)
        turn.cell.seen = seen
        event = plan(turn.cell.machine, seen, self._clock.now())
        if event is not None:
            turn.how = "reconciled"
            await self._appended(turn, event)
        elif seen.liveness == "unknown":
            machine = turn.cell.machine
            title = machine.rules.definition.title(machine.phase)
            raise Inconclusive(machine=machine.name, phase=title, command="reconcile", hint=seen.detail)
        turn.how = "nothing" if turn.how == "done" else turn.how
        self._end(turn)

    def _attested(self, turn: Turn) -> tuple[Event, ...]:
        """Tell an attestation and all that follows from it, as one append."""
        command, machine = turn.command, turn.cell.machine
        assert isinstance(command, commands.Attest)
        at, alive = command.at or self._clock.now(), command.liveness == "alive"
        evidence = Evidence(ATTESTED, incarnation=machine.incarnation, when=at)
        seen = Observation(command.liveness, evidence, exists=alive, detail=command.reason)
        made: list[Event] = [
            events.Attested(at=at, reason=command.reason, evidence=evidence, liveness=command.liveness)
        ]
        machine = evolve(machine, made[0], 0)
        while machine.request is not None:
            told = recover(machine, seen, Outcome(at, reason=command.reason)) or events.Abandoned(
                at=at, reason=command.reason, request=machine.request.position
            )
            made.append(told)
            machine = evolve(machine, told, 0)
        if (found := plan(machine, seen, at)) is not None:
            made.append(found)
        return tuple(made)

    async def _correct(self, turn: Turn) -> None:
        """Check a correction against the whole ledger of the machine before it is told."""
        machine: Machine | None = None
        ledger, after, end = Ledger(), 0, False
        while not end:
            page = await self._log.read(stream=turn.cell.machine.id, after=after)
            for record in page.records:
                machine = machine or first(record, self._cells.definitions)
                ledger.add(machine, record)
                machine = evolve(machine, record.event, record.position)
            after, end = page.position, page.end
        event = self._fact(turn, "ledger.corrected")
        assert isinstance(event, events.Corrected)
        ledger.check(turn.cell.machine.name, event)
        await self._appended(turn, event, keyed=True)
        self._end(turn)

    # --- keys

    async def _repeat(self, turn: Turn, record: Record) -> None:
        """Give the receipt, or the error, that the earlier use of a key led to."""
        assert turn.key is not None
        cell = await self._cells.cell(record.stream)
        if record.digest not in (turn.digest, await self._digest_then(turn, record)):
            raise KeyConflict(turn.key, record.position)
        if cell is not turn.cell:
            self._move(turn, cell)
            return
        request = cell.machine.request
        if request is not None and request.position == record.position:
            await self._recover(turn, await self._probe(turn))
        if cell.machine.request is not None and cell.machine.request.position == record.position:
            raise OutcomeUnknown(receipt_of(cell.machine, "repeated"), "its request is still open")
        machine, closing = await self._outcome(record)
        receipt = receipt_of(machine, "repeated")
        self._end(turn, _failure(receipt, machine, record, closing), receipt)

    async def _digest_then(self, turn: Turn, record: Record) -> bytes:
        """Digest the command under the name that the machine had when the key was used."""
        if record.version == 1 or record.stream != turn.cell.machine.id:
            return turn.digest
        before = await self._cells.read(record.stream, until=record.position - 1)
        return _digest(before.name, turn.command, before.rules.name)

    def _move(self, turn: Turn, cell: Cell) -> None:
        """Wait for the turn of the machine in whose stream the key is."""
        moved = Turn(cell, turn.command, turn.future)
        moved.key, moved.digest, moved.actor, moved.wait = turn.key, turn.digest, turn.actor, turn.wait
        turn.future = self._loop.create_future()
        self._end(turn)
        self.submit(moved)

    async def _outcome(self, asked: Record) -> tuple[Machine, Record]:
        """Fold a stream up to the record that closed what a key asked for, with all that was told with it."""
        machine: Machine | None = None
        after, last, closed, end = 0, asked, False, False
        while not end:
            page = await self._log.read(stream=asked.stream, after=after)
            for record in page.records:
                if closed and not _belongs(record, last, asked):
                    end = True
                    break
                machine = machine or first(record, self._cells.definitions)
                machine = evolve(machine, record.event, record.position)
                closed = record.position >= asked.position and _closed(machine, asked)
                last = record
            after, end = page.position, end or page.end
        assert machine is not None
        return machine, last

    # --- appending and learning

    def _append(
        self, turn: Turn, told: tuple[Event, ...], then: Then, *, cause: int = 0, keyed: bool = False
    ) -> None:
        """Queue events for the machine whose turn it is; `then` hears of it when the log has decided."""
        machine = turn.cell.machine
        reserves, claims, releases = self._names(machine, told)
        key, digest = (turn.key, turn.digest) if keyed else (None, b"")
        turn.pending = self._log.append(
            Append(
                machine.id, told, machine.version, turn.actor, key, digest, cause, reserves, claims, releases
            )  # fmt: skip
        )
        turn.pending.then(partial(self._settled, turn, then))

    def _settled(self, turn: Turn, then: Then, ticket: Ticket) -> None:
        turn.pending = None
        for record in ticket.records:
            self._learn(turn.cell, record)
        then(turn, self._translated(turn, ticket.error) if ticket.error else None)

    async def _appended(self, turn: Turn, event: Event, *, cause: int = 0, keyed: bool = False) -> None:
        """Append one event and go on when it is durable; whoever cancels this cancels only the waiting."""
        decided: asyncio.Future[None] = self._loop.create_future()
        self._append(turn, (event,), partial(self._decided, decided), cause=cause, keyed=keyed)
        await decided

    def _decided(self, decided: asyncio.Future[None], turn: Turn, problem: Exception | None) -> None:
        if decided.cancelled():
            self._interrupted(turn)
        elif problem is not None:
            decided.set_exception(problem)
        else:
            decided.set_result(None)

    def _names(self, machine: Machine, told: tuple[Event, ...]) -> tuple[tuple[str, ...], ...]:
        """Say which names events reserve, claim and release; the common ones touch none and cost nothing."""
        frees = machine.rules.definition.frees
        if len(told) == 1 and machine.phase not in frees and not self._renames(machine, told[0]):
            return (), (), ()
        after = machine
        for event in told:
            after = evolve(after, event, machine.position + 1)
        reserves = (after.claims,) if after.claims and after.claims != machine.claims else ()
        claims = tuple(name for name in after.names if name not in machine.names)
        left = {*machine.names, machine.claims} - {*after.names, after.claims, ""}
        return reserves, claims, tuple(left)

    @staticmethod
    def _renames(machine: Machine, event: Event) -> bool:
        to = getattr(event, "to", None) or machine.rules.arrow(machine.phase, TAGS[type(event)]).to
        return isinstance(event, NAMING) or to in machine.rules.definition.frees

    def _translated(self, turn: Turn, problem: Exception) -> Exception:
        """Say in the words of machines what the log has refused."""
        if isinstance(problem, NameTaken) and turn.command is not None:
            return AlreadyExists(machine=problem.name, phase="held by another", command=turn.command.verb)
        return problem

    def _learn(self, cell: Cell, record: Record) -> None:
        """Move the cell, because a record is durable, and tell whoever waits for that."""
        before = cell.machine
        cell.machine = after = evolve(before, record.event, record.position)
        if before.version == 0 or after.terminal != before.terminal:
            self._cells.place(cell)
        if isinstance(record.event, NAMING):
            self._cells.announce(before.names, after.names)
        notice(cell)

    # --- what the engine asks for

    def turn(self, cell: Cell, command: Command | None, *, actor: str = "") -> Turn:
        """Make a turn; it begins when it is submitted."""
        turn = Turn(cell, command, self._loop.create_future())
        turn.actor = actor
        return turn

    def check(self, machine: Machine, command: Command) -> None:
        """Refuse what would be refused, before anything at all is written for it."""
        decision = decide(machine, command)
        if isinstance(decision, Effect):
            self._world.check(machine, command, machine.rules.definition.effects[decision.name])

    def keyed(self, turn: Turn, key: str, name: str) -> Turn:
        """Give a turn its key, and the digest of what it is used for."""
        turn.key = key
        turn.digest = _digest(name, turn.command, turn.cell.machine.rules.name)
        return turn


def _digest(name: str, command: Command | None, lifecycle: str) -> bytes:
    """Digest what a key is used for, as its caller said it: a lifecycle by its name, whatever its tables."""
    if isinstance(command, commands.Create | commands.Clone):
        command = replace(command, lifecycle=lifecycle)
    return sha256(_encode([name, command])).digest()


def _taken(turn: Turn) -> bool:
    """Say whether a command would be taken, as far as the record alone can tell."""
    assert turn.command is not None
    try:
        decide(turn.cell.machine, turn.command)
    except Refused:
        return False
    return True


def _yields(turn: Turn) -> bool:
    """Say whether a turn may hang on the world; what only tells of it is never broken off."""
    return not isinstance(turn.command, commands.Force | commands.Attest)


def _closed(machine: Machine, asked: Record) -> bool:
    return machine.request is None or machine.request.position != asked.position


def _belongs(record: Record, last: Record, asked: Record) -> bool:
    """Say whether a record was told in one append with an attestation."""
    event = record.event
    return (
        isinstance(asked.event, events.Attested)
        and not isinstance(event, events.Attested | Unknown)
        and (record.position, record.recorded_at) == (last.position + 1, asked.recorded_at)
        and (isinstance(event, events.Abandoned) or _by_attestation(event))
    )


def _by_attestation(event: Event) -> bool:
    return event.evidence is not None and event.evidence.source == ATTESTED


def _failure(receipt: Receipt, machine: Machine, asked: Record, closing: Record) -> EventvmError | None:
    """Say again what a key's first caller was told of an outcome that was no success."""
    event = closing.event
    if isinstance(event, events.Abandoned):
        return OutcomeUnknown(receipt, f"it was abandoned: {event.reason}")
    if isinstance(event, Failure):
        return EffectFailed(receipt, event.fault.message)
    if isinstance(asked.event, events.Requested):
        effect = machine.rules.definition.effects[asked.event.effect]
        if tag(closing) in {step.failed for step in effect}:
            return EffectFailed(receipt, closing.event.reason)  # type: ignore[union-attr]
    return None
