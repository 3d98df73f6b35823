"""Turns: how a command goes through, one at a time for each machine, and all machines side by side.

Rules:

* `submit` is synchronous up to the ticket of the log. A turn belongs to its command, not to its caller:
  it ends when the ticket or the effect is decided, whatever becomes of whoever awaits it.
* A cell moves in `_learn` alone, when the log has made a record durable; everything else reads.
* A decision that needs the world (a look, an effect, an interrupted request) goes to a worker task that the
  engine owns. A worker that is cancelled leaves its request open, and whoever comes next probes.
* Force, a forced destroy and an attestation do not queue behind an effect: they abandon it.
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
from eventvm.engine.cells import Cell, Cells
from eventvm.engine.receipt import How, Receipt, receipt_of
from eventvm.engine.waiting import notice
from eventvm.engine.world import World
from eventvm.errors import (
    AlreadyExists,
    EffectFailed,
    EventvmError,
    Inconclusive,
    KeyConflict,
    KeyTaken,
    NameTaken,
    OperationInProgress,
    OutcomeUnknown,
)
from eventvm.events import TAGS, Event, Failure, Fault
from eventvm.ledger import Ledger
from eventvm.log import Append, EventLog, Ticket
from eventvm.decisions import Outcome, conclude, decide, fact, plan, recover, shows
from eventvm.machine import ATTESTED, Machine, evolve, steps
from eventvm.observation import Evidence, Instant, Observation
from eventvm.record import Record
from eventvm.tables import Effect, Fact, Look, Nothing, Step
from eventvm.views import first

NAMING = (
    events.Requested, events.Created, events.CreateFailed, events.Abandoned, events.Renamed, events.RenameFailed,
)  # fmt: skip
"""Events that may claim or release a name wherever they stand."""

SEEN = ("machine.reconciled", "machine.exited")
"""Facts that a command may come to by looking, and their reasons when the command gives none."""
WHY = {"machine.reconciled": "found alive", "machine.exited": "unexpected-exit"}

_encode = msgspec.json.Encoder(order="deterministic").encode


class Turn:
    """One command on its way through."""

    __slots__ = (
        "actor", "asked", "cell", "command", "digest", "ended", "future", "how", "key", "observation",
        "pending", "wait", "worker",
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

    def __init__(self, log: EventLog, cells: Cells, world: World, clock: Clock, *, host: str, owner: str) -> None:
        self._log = log
        self._cells = cells
        self._world = world
        self._clock = clock
        self._host = host
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self.workers: set[asyncio.Task[None]] = set()

    # --- a turn begins and ends

    def submit(self, turn: Turn, *, queue: bool = True) -> asyncio.Future[Receipt]:
        """Let a command take its turn; its future is the caller's and may be cancelled at any time."""
        cell = turn.cell
        if cell.turn is None:
            cell.turn = turn
            self._begin(turn)
        elif turn.intrusive and cell.turn.worker is not None:
            cell.queue = cell.queue or deque()
            cell.queue.appendleft(turn)
            cell.turn.worker.cancel()
        elif queue:
            cell.queue = cell.queue or deque()
            cell.queue.append(turn)
        else:
            under_way = cell.turn.command
            verb = under_way.verb if under_way is not None else "reconcile"
            raise OperationInProgress(cell.machine.name, verb, cell.turn.asked or cell.machine.position)
        return turn.future

    def _begin(self, turn: Turn) -> None:
        machine = turn.cell.machine
        if turn.command is None or turn.key is not None or machine.request is not None:
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
        if turn.key is None:
            self._end(turn)
        else:
            assert turn.command is not None
            unchanged = events.Unchanged(at=self._clock.now(), command=turn.command)
            self._append(turn, (unchanged,), self._told, keyed=True)

    def _tell(self, turn: Turn, decision: Fact) -> None:
        """Append the fact that a command comes to."""
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
            outcome = Outcome(when or outcome.at, command.reason or WHY[tag], end=seen.end, evidence=seen.evidence)
        return fact(turn.cell.machine, tag, command, outcome)

    def _told(self, turn: Turn, problem: Exception | None) -> None:
        """The fact is durable, or refused by the log: the turn is over."""
        if isinstance(problem, KeyTaken):
            self._employ(turn, self._work(turn))
        else:
            self._end(turn, problem)

    def _told_more(self, turn: Turn, problem: Exception | None) -> None:
        """The fact is durable: ask the phase that it has led to; what was seen before still holds."""
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
        """Give a turn to a worker; it may have had one before, which then is at its end."""
        worker = self._loop.create_task(self._worked(turn, work))
        turn.worker = worker
        self.workers.add(worker)
        worker.add_done_callback(self.workers.discard)

    async def _worked(self, turn: Turn, work: Coroutine[Any, Any, None]) -> None:
        try:
            try:
                await work
            except KeyTaken:
                await self._work(turn)
        except EventvmError as problem:
            self._end(turn, problem)
        except asyncio.CancelledError:
            self._interrupted(turn)
            raise
        except BaseException as bug:
            self._end(turn, bug)
            raise

    def _interrupted(self, turn: Turn) -> None:
        """The worker was cancelled; once nothing of it is on its way to the log, the turn is over.

        A request that it made stays open, and whoever comes next looks what became of it.
        """
        if turn.pending is None:
            machine = turn.cell.machine
            phase = machine.rules.definition.title(machine.phase)
            verb = turn.command.verb if turn.command else "reconcile"
            problem: EventvmError = OutcomeUnknown(receipt_of(machine, "requested"), "it was interrupted")
            if machine.request is None:
                hint = "it was interrupted before it touched anything"
                problem = Inconclusive(machine=machine.name, phase=phase, command=verb, hint=hint)
            self._end(turn, problem)

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
        self._world.check(machine, command, machine.rules.definition.effects[effect.name])
        at = self._clock.now()
        requested = events.Requested(
            at=at, reason=command.reason, command=command, effect=effect.name, host=self._host,
            owner=self._owner, deadline=at.wall + self._world.deadline_ns,
        )  # fmt: skip
        await self._appended(turn, requested, keyed=True)
        turn.asked = turn.cell.machine.position
        if not turn.wait:
            turn.answer(receipt_of(turn.cell.machine, "requested"))
        fault = await self._steps(turn)
        self._end(turn, EffectFailed(receipt_of(turn.cell.machine, "done"), fault.message) if fault else None)

    async def _steps(self, turn: Turn) -> Fault | None:
        """Carry out what is left of the open request; give the fault that ended it early."""
        for step in steps(turn.cell.machine):
            machine = turn.cell.machine
            assert machine.request is not None
            outcome = await self._world.call(machine, step, machine.request.command)
            if outcome.fault is not None and outcome.fault.kind in UNCLEAR:
                outcome = await self._seen(turn, step, outcome)
            event = conclude(machine, step, outcome)
            if event is not None:
                await self._appended(turn, event, cause=turn.asked)
            if outcome.fault is not None and step.failed is not None:
                return outcome.fault
        return None

    async def _seen(self, turn: Turn, step: Step, outcome: Outcome) -> Outcome:
        """A call has no clear outcome: look, and say whether the step happened; raise while nobody can tell."""
        if step.failed is None:
            return outcome
        seen = await self._probe(turn)
        machine = turn.cell.machine
        shown = shows(machine, step, seen)
        if shown is None:
            assert outcome.fault is not None
            raise OutcomeUnknown(receipt_of(machine, "requested"), outcome.fault.message)
        evident = replace(outcome, at=self._clock.now(), evidence=seen.evidence)
        return replace(evident, fault=None, end=seen.end) if shown else evident

    async def _resume(self, turn: Turn) -> None:
        """A request is open that nobody works on: conclude it by what can be seen, or abandon it."""
        if turn.intrusive and not isinstance(turn.command, commands.Attest):
            await self._abandon(turn)
        elif not isinstance(turn.command, commands.Attest):
            seen = turn.observation or await self._probe(turn)
            await self._recover(turn, seen)
            if (request := turn.cell.machine.request) is not None:
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
        request = turn.cell.machine.request
        assert request is not None and turn.command is not None
        reason = turn.command.reason or f"{turn.command.row} was asked for"
        await self._appended(turn, events.Abandoned(at=self._clock.now(), reason=reason, request=request.position))

    # --- reconciliation, attestation, correction

    async def _reconcile(self, turn: Turn) -> None:
        """Look at the machine unasked and append what that means, if it means anything."""
        if turn.cell.machine.terminal:
            turn.how = "nothing"
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
        """An attestation and all that follows from it, as one append: what was open is concluded by it."""
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
            event = recover(machine, seen, Outcome(at, reason=command.reason)) or events.Abandoned(
                at=at, reason=command.reason, request=machine.request.position
            )
            made.append(event)
            machine = evolve(machine, event, 0)
        if (event := plan(machine, seen, at)) is not None:
            made.append(event)
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
        """This key was used before: give the receipt that it led to, or the error."""
        assert turn.key is not None
        if record.digest != turn.digest:
            raise KeyConflict(turn.key, record.position)
        cell = await self._cells.cell(record.stream)
        if cell is not turn.cell:
            self._move(turn, cell)
            return
        request = cell.machine.request
        if request is not None and request.position == record.position:
            await self._recover(turn, await self._probe(turn))
        if cell.machine.request is not None and cell.machine.request.position == record.position:
            raise OutcomeUnknown(receipt_of(cell.machine, "repeated"), "its request is still open")
        machine, closing = await self._outcome(record)
        receipt = replace(receipt_of(machine, "repeated"), position=closing.position)
        failure = isinstance(closing.event, Failure)
        self._end(turn, EffectFailed(receipt, closing.event.fault.message) if failure else None, receipt)  # type: ignore[union-attr]

    def _move(self, turn: Turn, cell: Cell) -> None:
        """The key belongs to another machine's stream: wait there for that machine's turn."""
        moved = Turn(cell, turn.command, turn.future)
        moved.key, moved.digest, moved.actor, moved.wait = turn.key, turn.digest, turn.actor, turn.wait
        turn.future = self._loop.create_future()
        self._end(turn)
        self.submit(moved)

    async def _outcome(self, asked: Record) -> tuple[Machine, Record]:
        """Fold a stream up to the record that closed what a key asked for."""
        machine: Machine | None = None
        after, last = 0, asked
        while True:
            page = await self._log.read(stream=asked.stream, after=after)
            for record in page.records:
                machine = evolve(machine or first(record, self._cells.definitions), record.event, record.position)
                last = record
                if record.position >= asked.position and _closed(machine, asked):
                    return machine, record
            after = page.position
            if page.end:
                assert machine is not None
                return machine, last

    # --- appending and learning

    def _append(
        self, turn: Turn, told: tuple[Event, ...], then: Then, *, cause: int = 0, keyed: bool = False
    ) -> None:
        """Queue events for the machine whose turn it is; `then` hears of it when the log has decided."""
        machine = turn.cell.machine
        claims, releases = self._names(machine, told)
        key, digest = (turn.key, turn.digest) if keyed else (None, b"")
        turn.pending = self._log.append(
            Append(machine.id, told, machine.version, turn.actor, key, digest, cause, claims, releases)
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

    def _names(self, machine: Machine, told: tuple[Event, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Say which names events claim and release; the common ones touch none and cost nothing."""
        frees = machine.rules.definition.frees
        if machine.phase not in frees and not any(
            isinstance(event, NAMING) or self._frees(machine, event) for event in told
        ):
            return (), ()
        after = machine
        for event in told:
            after = evolve(after, event, machine.position + 1)
        before_names, after_names = machine.names, after.names
        return (
            tuple(name for name in after_names if name not in before_names),
            tuple(name for name in before_names if name not in after_names),
        )

    @staticmethod
    def _frees(machine: Machine, event: Event) -> bool:
        to = getattr(event, "to", None) or machine.rules.arrow(machine.phase, TAGS[type(event)]).to
        return to in machine.rules.definition.frees

    def _translated(self, turn: Turn, problem: Exception) -> Exception:
        """Say in the words of machines what the log has refused."""
        machine, command = turn.cell.machine, turn.command
        if isinstance(problem, NameTaken) and command is not None:
            return AlreadyExists(machine=problem.name, phase="held by another", command=command.verb)
        return problem

    def _learn(self, cell: Cell, record: Record) -> None:
        """A record is durable: the cell moves, and whoever waits for that is told."""
        before = cell.machine
        cell.machine = after = evolve(before, record.event, record.position)
        cell.last = record
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

    def keyed(self, turn: Turn, key: str, name: str) -> Turn:
        """Give a turn its key, and the digest of what it is used for."""
        turn.key = key
        turn.digest = sha256(_encode([name, turn.command])).digest()
        return turn


UNCLEAR = ("TimeoutError", "Unclear")
"""Faults that leave open whether the step happened."""


def _closed(machine: Machine, asked: Record) -> bool:
    return machine.request is None or machine.request.position != asked.position
