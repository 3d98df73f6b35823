"""Doubt: after a restore the log may be behind the world, so nothing is done before somebody has looked.

Rules:

* The first record that a machine gets after `log.restored` is its `machine.doubted`: whoever has none since
  then is still to be doubted, however often the engine crashed in between.
* A command on a machine in doubt looks first. Unknown is no answer: nothing is done, and the doubt stays.
* What a person knows ends the doubt (attest). What only sets the record against the world (force), ends the
  machine whatever it is (a forced destroy) or touches nothing (amend) does not wait for a look.
"""

import asyncio

from eventvm import commands, events
from eventvm.clock import Clock
from eventvm.decisions import Outcome, fact, plan
from eventvm.engine.cells import Cell, Cells
from eventvm.engine.effects import Effects
from eventvm.engine.scribe import Scribe
from eventvm.engine.turn import Turn
from eventvm.errors import IllegalEvent, Inconclusive
from eventvm.events import Event
from eventvm.log import RESTORED, EventLog, last_of
from eventvm.machine import Machine, evolve
from eventvm.observation import LOST, Instant, Observation

# --- what a look comes to ------------------------------------------------------------------------------


def resolved(machine: Machine, seen: Observation, at: Instant) -> tuple[Event, ...]:
    """Say which events a look at a machine in doubt comes to; none while it does not tell how things are.

    What the record missed comes first, then the end of a machine of which nothing is there any more.
    """
    if seen.liveness == "unknown" or 0 < seen.evidence.incarnation < machine.incarnation:
        return ()
    told: list[Event] = []
    after = machine
    for missed in (plan, _begun, _vanished):
        if (event := missed(after, seen, at)) is not None:
            told.append(event)
            after = evolve(after, event, machine.position + len(told))
    return (*told, events.Confirmed(at=at, reason=_how(machine, seen), evidence=seen.evidence))


def _begun(machine: Machine, seen: Observation, at: Instant) -> Event | None:
    """Say that a machine was started after the backup, where nothing in its lifecycle is found alive."""
    definition = machine.rules.definition
    if (
        seen.liveness != "alive"
        or machine.request
        or machine.quarantined
        or machine.phase in definition.active
    ):
        return None
    if _leads_to(machine, "machine.started") not in definition.active:
        return None
    incarnation = seen.evidence.incarnation or machine.incarnation + 1
    return events.Started(at=at, reason="found alive", evidence=seen.evidence, incarnation=incarnation)


def _vanished(machine: Machine, seen: Observation, at: Instant) -> Event | None:
    """Say how a life ended that was ended after the backup; None where the lifecycle has no such end."""
    if machine.over or machine.request or seen.liveness != "gone" or seen.exists is not False:
        return None
    if not _leads_to(machine, "machine.destroyed"):
        return None
    outcome = Outcome(at, "it was destroyed after the backup", end=seen.end or LOST, evidence=seen.evidence)
    return fact(machine, "machine.destroyed", None, outcome)


def _leads_to(machine: Machine, tag: str) -> str:
    """Name the phase that an event leads to; empty where it cannot happen."""
    try:
        return machine.rules.arrow(machine.phase, tag).to or machine.phase
    except IllegalEvent:
        return ""


def _how(machine: Machine, seen: Observation) -> str:
    if seen.exists is False:
        return "it is not there"
    again = seen.evidence.incarnation > machine.incarnation
    return f"it is {seen.liveness}" + (", and was started again after the backup" if again else "")


# --- looking -------------------------------------------------------------------------------------------


class Doubts:
    """Raises the doubts of a log that was restored, and settles each by a look."""

    def __init__(self, log: EventLog, cells: Cells, scribe: Scribe, effects: Effects, clock: Clock) -> None:
        self._log = log
        self._cells = cells
        self._scribe = scribe
        self._effects = effects
        self._clock = clock
        self._loop = asyncio.get_running_loop()

    async def raise_all(self, actor: str) -> bool:
        """Doubt every machine that lived in the backup, before anything else happens to it.

        Say whether anything is left to be looked at since then.
        """
        restored = await last_of(self._log, RESTORED)
        living = [cell for cell in self._cells.living.values() if _can_be_seen(cell.machine)]
        if restored is None:
            return any(cell.machine.doubted for cell in living)
        behind = [cell for cell in living if cell.machine.position < restored.position]
        await asyncio.gather(*(self._raise(cell, restored.position, actor) for cell in behind))
        return self._log.tree.size == restored.position or any(cell.machine.doubted for cell in living)

    def _raise(self, cell: Cell, restored: int, actor: str) -> "asyncio.Future[None]":
        raised: asyncio.Future[None] = self._loop.create_future()
        turn = Turn(cell, None, self._loop.create_future())
        turn.actor = actor

        def told(_: Turn, problem: Exception | None) -> None:
            if problem is not None and not raised.done():
                raised.set_exception(problem)
            elif not raised.done():
                raised.set_result(None)

        doubted = events.Doubted(at=self._clock.now(), reason=f"the log was restored at position {restored}")
        self._scribe.append(turn, (doubted,), told, cause=restored)
        return raised

    async def settle(self, turn: Turn) -> None:
        """Look, conclude what is open, and record what was missed; raise while nobody can tell."""
        unseeing = turn.intrusive or isinstance(turn.command, commands.Amend)
        if not unseeing:
            await self._look(turn)
        if turn.cell.machine.request is not None:
            await self._effects.resume(turn)
        if unseeing:
            return
        assert turn.cell.machine.request is None, "what is open is concluded before the doubt is"
        told = await self._look(turn)
        turn.how = "reconciled" if len(told) > 1 else turn.how
        await self._scribe.appended(turn, *told)

    async def _look(self, turn: Turn) -> tuple[Event, ...]:
        machine = turn.cell.machine
        seen = turn.observation or await self._effects.probe(turn)
        told = resolved(machine, seen, self._clock.now())
        if not told:
            phase = machine.rules.definition.title(machine.phase)
            verb = turn.command.verb if turn.command is not None else "reconcile"
            raise Inconclusive(machine=machine.name, phase=phase, command=verb, hint=_hint(seen))
        return told


def _can_be_seen(machine: Machine) -> bool:
    return bool(machine.spec.provider) and not machine.over


def _hint(seen: Observation) -> str:
    why = f" ({seen.detail})" if seen.detail else ""
    return f"the log was restored, so somebody has to look first{why}; attest what you know with a reason"
