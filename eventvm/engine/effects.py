"""Effects: what touches the world, step by step, each request and each outcome durable in its turn."""

from msgspec.structs import replace

from eventvm import commands, events
from eventvm.clock import Clock
from eventvm.decisions import Outcome, conclude, decide, recover, shows
from eventvm.engine.receipt import receipt_of
from eventvm.engine.scribe import Scribe
from eventvm.engine.turn import Turn
from eventvm.engine.world import World
from eventvm.errors import OutcomeUnknown
from eventvm.machine import evolve, steps
from eventvm.observation import End, Observation
from eventvm.tables import Effect, Look, Step


class Effects:
    """Carries requests out, and concludes those that were interrupted by what can be seen of them."""

    def __init__(self, scribe: Scribe, world: World, clock: Clock, *, host: str, owner: str) -> None:
        self._scribe = scribe
        self._world = world
        self._clock = clock
        self._host = host
        self._owner = owner

    async def carry_out(self, turn: Turn, effect: Effect) -> None:
        """Make the request durable, then the calls, each outcome durable before the next call begins."""
        machine, command = turn.cell.machine, turn.command
        assert command is not None
        told = machine.rules.definition.effects[effect.name]
        self._world.check(machine, command, told)
        await self._world.lanes.enter(turn)
        at = self._clock.now()
        requested = events.Requested(
            at=at, reason=command.reason, command=command, effect=effect.name, host=self._host,
            owner=self._owner, deadline=self._world.deadline(at.wall, machine, command, told),
        )  # fmt: skip
        await self._scribe.appended(turn, requested, keyed=True)
        turn.asked = turn.cell.machine.position
        if not turn.wait:
            turn.answer(receipt_of(turn.cell.machine, "requested"))
        await self._steps(turn)

    async def _steps(self, turn: Turn) -> None:
        """Carry out what is left of the open request, up to the first fault that ends it."""
        end: End | None = None
        for step in steps(turn.cell.machine):
            machine = turn.cell.machine
            assert machine.request is not None
            outcome = await self._world.call(machine, step, machine.request.command)
            if outcome.unclear:
                outcome = await self._seen(turn, step, outcome)
            if outcome.end is None and end is not None:  # an earlier step saw the end that this one tells
                outcome = replace(outcome, end=end, evidence=None)
            end = outcome.end
            event = conclude(machine, step, outcome)
            turn.fault = outcome.fault if step.failed is not None else None
            if event is not None:
                await self._scribe.appended(turn, event, cause=turn.asked)
            if turn.fault is not None:
                return

    async def _seen(self, turn: Turn, step: Step, outcome: Outcome) -> Outcome:
        """Look whether a step without a clear outcome happened; raise while nobody can tell."""
        if step.failed is None:
            return outcome
        seen = await self.probe(turn)
        machine = turn.cell.machine
        shown = shows(machine, step, seen)
        if shown is None:
            assert outcome.fault is not None
            raise OutcomeUnknown(receipt_of(machine, "requested"), outcome.fault.message)
        evident = replace(outcome, at=self._clock.now(), evidence=seen.evidence, unclear=False)
        return replace(evident, fault=None, end=seen.end) if shown else evident

    async def resume(self, turn: Turn) -> None:
        """Conclude an open request that nobody works on by what can be seen, or abandon it.

        What tells of the machine without touching it needs no answer from the world, and leaves it open.
        """
        if isinstance(turn.command, commands.Attest | commands.Amend):
            return
        if turn.intrusive:
            await self._abandon(turn)
            return
        seen = await self.probe(turn)
        await self.recover(turn, seen)
        request = turn.cell.machine.request
        if request is not None and turn.command is not None and self._clock.wall() > request.deadline:
            await self._abandon(turn)
        elif request is not None:
            problem = f"{request.command.verb}, requested at {request.position}: {seen.detail or 'no answer'}"
            raise OutcomeUnknown(receipt_of(turn.cell.machine, "requested"), problem)

    async def recover(self, turn: Turn, seen: Observation) -> None:
        while (machine := turn.cell.machine).request is not None:
            event = recover(machine, seen, Outcome(self._clock.now()))
            if event is None:
                return
            turn.how = "reconciled"
            await self._scribe.appended(turn, event, cause=machine.request.position)

    async def _abandon(self, turn: Turn) -> None:
        """Give the open request up, unless the command would be refused even then."""
        machine, command = turn.cell.machine, turn.command
        assert machine.request is not None
        assert command is not None
        reason = command.reason or f"{command.row} was asked for"
        abandoned = events.Abandoned(at=self._clock.now(), reason=reason, request=machine.request.position)
        after = evolve(machine, abandoned, machine.position + 1)
        if isinstance(decide(after, command), Look):
            decide(after, command, await self.probe(turn))
        await self._scribe.appended(turn, abandoned)

    async def probe(self, turn: Turn) -> Observation:
        await self._world.lanes.enter(turn)
        cell = turn.cell
        turn.observation = cell.seen = await self._world.probe(cell.machine)
        return turn.observation
