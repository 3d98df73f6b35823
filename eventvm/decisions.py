"""What a life consists of: six pure functions over a machine and its lifecycle's tables.

``decide``    what a command comes to: a refusal, nothing, a look at the world, a fact, an effect
``conclude``  which event the outcome of a step is
``recover``   which event an interrupted effect is, by what can be seen of it
``plan``      which event an unasked observation is
``attest``    which events follow from believing a person
``reachable`` which phases can come without a further command

None of them reads a clock, draws a number or calls anybody: time comes in as an argument.
"""

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from eventvm import commands, events
from eventvm.commands import Command
from eventvm.errors import (
    REFUSALS,
    Refused,
    SnapshotAlreadyExists,
    SnapshotNotFound,
)
from eventvm.events import Event, Fault
from eventvm.lifecycle import answers
from eventvm.limits import wishes
from eventvm.machine import ATTESTED, Machine, amended, evolve, says, steps
from eventvm.observation import KILLED, LOST, NEVER_RAN, Clean, End, Evidence, Forced, Instant, Observation
from eventvm.spec import reshaped
from eventvm.supervision import coming_back, impossible
from eventvm.tables import (
    Answer,
    Ask,
    Effect,
    Fact,
    Look,
    Nothing,
    Refuse,
    Step,
    leaves,
)

# --- decide --------------------------------------------------------------------------------------------

Decision = Nothing | Look | Fact | Effect


_OPEN = (Ask, Look)
"""Answers that ask back."""
MOVE = Fact("machine.transitioned")


def decide(machine: Machine, command: Command, observation: Observation | None = None) -> Decision:
    """Say what a command comes to, or refuse it; a refusal has changed nothing."""
    if type(command) is commands.Transition:  # as nearly all that only tell: nothing else can matter to it
        return _moved(machine, command)
    answer = _answer(machine, command)
    while isinstance(answer, _OPEN):
        if isinstance(answer, Ask):
            answer = answer.yes if says(machine, answer.question) else answer.no
        elif observation is None:
            return answer
        else:
            answer = getattr(answer, observation.liveness)
    if isinstance(answer, Refuse):
        raise refusal(machine, command, answer)
    _check_snapshot(machine, command)
    if type(command) is commands.Rename and command.name == machine.name:
        return Nothing()
    if isinstance(answer, Nothing) and isinstance(command, commands.Stop) and coming_back(machine):
        return Fact("machine.restart_given_up")
    return answer


def _answer(machine: Machine, command: Command) -> Answer:
    # On the way of every command: its class has no subclasses, and isinstance takes longer.
    if type(command) is commands.Amend:
        return _amendment(machine, command)
    if type(command) is commands.Attest and machine.request is not None:
        return Fact("machine.attested")
    if machine.quarantined:
        return machine.rules.definition.quarantine.get(command.row) or Refuse("quarantined")
    return _row(machine, command)


def _row(machine: Machine, command: Command) -> Answer:
    rules = machine.rules
    wanted = _wanted(command)
    if wanted not in ("", *rules.definition.phases):
        return Refuse(to="Unknown")
    answer = rules.answer(machine.phase, command.row)
    if wanted and isinstance(answer, Effect):
        return Refuse("unsupported", to=f"only what nobody has to make can be imported as {wanted}")
    return answer


def _amendment(machine: Machine, command: commands.Amend) -> Answer:
    """Take an amendment in any phase of a life; one that changes nothing is fulfilled already."""
    if machine.over or not machine.exists:
        return Refuse("not_found")
    if why := impossible(machine.rules, command.restart, command.ttl_seconds):
        return Refuse("unsupported", to=why)
    spec = machine.spec
    said = ("restart", "dev", "disabled")
    changes = (
        _relabelled(machine, command)
        or any(getattr(command, field) not in (None, getattr(spec, field)) for field in said)
        or bool(command.ttl_seconds)  # the same again lasts anew, from now on
        or (command.ttl_seconds == 0 and machine.expires is not None)
    )
    return Fact("machine.amended") if changes else Nothing()


def _relabelled(machine: Machine, command: commands.Amend) -> bool:
    """Say whether an amendment changes the labels; it may not make them too many."""
    before = machine.spec.labels
    after = amended(before, command.labels)
    wishes.room_for_labels(before, after)
    return after != before


def _wanted(command: Command) -> str:
    """Name the phase that a command asks for by name; empty when it asks for none."""
    if isinstance(command, commands.Force):
        return command.to
    return command.phase if isinstance(command, commands.Create) else ""


def _moved(machine: Machine, command: commands.Transition) -> Fact:
    """Take a move along one of the edges that the lifecycle has, unless its goal asks for what is not so."""
    definition = machine.rules.definition
    if machine.quarantined:
        raise refusal(machine, command, Refuse("quarantined"))
    question = definition.needs.get(command.to)
    if command.to not in definition.moves.get(machine.phase, ()) or (
        question and not says(machine, question)
    ):
        raise refusal(machine, command, Refuse(to=definition.title(command.to)))
    return MOVE


def refusal(machine: Machine, command: Command, answer: Refuse) -> Refused:
    """Make the exception of a refusal; it names the machine, from and to."""
    title = machine.rules.definition.title
    goal = _goal(machine, command)
    refused = REFUSALS[answer.error]
    return refused(
        machine=machine.name or machine.id, phase=title(machine.phase), command=command.verb,
        to=answer.to or (title(goal) if goal else ""),
        hint=refused.hint or f"it takes: {', '.join(taken(machine)) or 'nothing any more'}",
    )  # fmt: skip


def taken(machine: Machine) -> Iterator[str]:
    """Name the commands that a machine may take as it stands; some of them look at the world first."""
    if machine.living:
        yield "amend"
    if machine.quarantined:
        yield from machine.rules.definition.quarantine
        return
    for command, answer in answers(machine.rules.definition, machine.phase).items():
        if any(not isinstance(final, Refuse) for final in leaves(answer)):
            yield command
    yield from (f"transition {to}" for to in machine.rules.definition.moves.get(machine.phase, ()))


def _goal(machine: Machine, command: Command) -> str:
    """Name the phase that a command would have led to."""
    if isinstance(command, commands.Transition | commands.Force):
        return command.to
    return machine.rules.goal(command.row)


def _check_snapshot(machine: Machine, command: Command) -> None:
    """Refuse to take a snapshot twice, or to use one that is not there."""
    makes = type(command) in _MAKE_SNAPSHOTS
    if not makes and type(command) not in _USE_SNAPSHOTS:
        return
    name: str = command.snapshot  # type: ignore[union-attr]  # those have one
    if makes is (name in machine.snapshots):
        refused = SnapshotAlreadyExists if makes else SnapshotNotFound
        phase = machine.rules.definition.title(machine.phase)
        raise refused(machine=machine.name, phase=phase, command=command.verb, to=name)


_MAKE_SNAPSHOTS = frozenset({commands.Snapshot, commands.Hibernate})
_USE_SNAPSHOTS = frozenset({commands.Restore, commands.DeleteSnapshot})


# --- facts ---------------------------------------------------------------------------------------------


class Outcome(Struct, frozen=True, gc=False):
    """What is known of the act or the sight that a fact is made from."""

    at: Instant
    reason: str = ""
    fault: Fault | None = None
    unclear: bool = False
    """Whether the fault leaves open what became of the deed."""
    end: End | None = None
    size: int = 0
    evidence: Evidence | None = None


def moved(command: commands.Transition, at: Instant) -> Event:
    """Make the event of a move, which says no more than the command."""
    return events.Transitioned(at=at, to=command.to, data=command.data, reason=command.reason)


def fact(machine: Machine, tag: str, command: Any, outcome: Outcome) -> Event:
    """Make the event of this tag from the machine, the command that led to it, and its outcome."""
    if tag == MOVE.event:
        return moved(command, outcome.at)
    fields = _FIELDS.get(tag)
    if outcome.end is not None:
        outcome = replace(outcome, end=_honest(outcome.end, outcome.evidence))
    made = fields(machine, command, outcome) if fields else {}
    if outcome.fault is not None and tag in _FAULTS:
        made["fault"] = outcome.fault
    kind: Any = events.EVENTS[tag]
    return kind(at=outcome.at, reason=outcome.reason, evidence=outcome.evidence, **made)  # type: ignore[no-any-return]


def _honest(end: End, evidence: Evidence | None) -> End:
    """Give the end that may be recorded: an exit code that was only seen, and not verified, is none."""
    if evidence is None or evidence.verified or not isinstance(end.termination, Clean):
        return end
    return replace(end, termination=Forced())


_FAULTS = {tag for tag, kind in events.EVENTS.items() if issubclass(kind, events.Failure)}


def _ending(machine: Machine, outcome: Outcome) -> dict[str, Any]:
    failed = machine.failed or outcome.fault is not None
    return {
        "end": outcome.end or machine.end or _presumed(machine),
        "outcome": "failed" if failed else "succeeded",
    }


def _presumed(machine: Machine) -> End:
    """Say how a machine ended that nobody saw end: never run, lost before we came, or killed by us."""
    if not machine.booted:
        return NEVER_RAN
    definition = machine.rules.definition
    told = definition.effects.get(machine.request.effect, ()) if machine.request is not None else ()
    lost = machine.phase in definition.faulty and "stop" not in {step.call for step in told}
    return LOST if lost else KILLED


_FIELDS: dict[str, Callable[[Machine, Any, Outcome], dict[str, Any]]] = {
    "machine.created": lambda m, c, _: {
        "name": c.name, "lifecycle": c.lifecycle, "spec": m.spec if m.request else c.spec,
        "phase": getattr(c, "phase", ""),
    },
    "machine.cloned": lambda m, c, _: {
        "source": _origin(c), "snapshot": _source(c), "incarnation": m.incarnation + 1,
    },
    "machine.started": lambda m, _, __: {"incarnation": m.incarnation + 1},
    "machine.stopped": lambda _, __, o: {"end": o.end},
    "machine.exited": lambda _, __, o: {"end": o.end or LOST},
    "machine.destroyed": lambda m, _, o: _ending(m, o),
    "machine.snapshotted": lambda _, c, o: {"snapshot": c.snapshot, "size": o.size},
    "machine.snapshot_failed": lambda _, c, __: {"snapshot": c.snapshot},
    "machine.snapshot_deleted": lambda _, c, __: {"snapshot": c.snapshot},
    "machine.snapshot_delete_failed": lambda _, c, __: {"snapshot": c.snapshot},
    "machine.restored": lambda m, c, _: _restored(m, c),
    "machine.restore_failed": lambda _, c, __: {"snapshot": _source(c)},
    "machine.restore_lost": lambda _, c, __: {"snapshot": _source(c)},
    "machine.renamed": lambda _, c, __: {"name": c.name},
    "machine.rename_failed": lambda _, c, __: {"name": c.name},
    "machine.completed": lambda _, c, __: {"code": c.code},
    "machine.forced": lambda _, c, __: {"to": c.to},
    "machine.attested": lambda _, c, __: {"liveness": c.liveness},
    "machine.amended": lambda _, c, __: {
        "labels": c.labels, "restart": c.restart, "ttl_seconds": c.ttl_seconds, "dev": c.dev,
        "disabled": c.disabled,
    },
    "ledger.corrected": lambda _, c, __: {
        "position": c.position, "meter": c.meter, "edge": c.edge, "subject": c.subject, "truly": c.at,
    },
}  # fmt: skip
"""For each event that says more than that it happened: the fields that it says it with."""


def _source(command: Any) -> str:
    """Name the snapshot that a restore, a clone or a creation begins from."""
    named: str = _begun(command).snapshot
    return named


def _origin(command: Any) -> str:
    """Name the machine that the snapshot was taken of."""
    begun = _begun(command)
    origin: str = begun.source if isinstance(begun, commands.Clone) else begun.machine
    return origin


def _begun(command: Any) -> Any:
    """Give what names the snapshot: the command itself, or what its spec is restored from."""
    return command.spec.restore_from if isinstance(command, commands.Create) else command


def _restored(machine: Machine, command: Any) -> dict[str, Any]:
    shape = command.spec if isinstance(command, commands.Restore) else None
    spec = None if shape is None else reshaped(machine.spec, shape)
    return {"snapshot": _source(command), "incarnation": machine.incarnation + 1, "spec": spec}


# --- conclude, recover, plan ---------------------------------------------------------------------------


def conclude(machine: Machine, step: Step, outcome: Outcome) -> Event | None:
    """Say which event the outcome of a step is; None when it leads to the next step without one."""
    assert machine.request is not None
    command = machine.request.command
    outcome = replace(outcome, reason=outcome.reason or command.reason)
    if outcome.fault is None:
        return None if step.ok is None else fact(machine, step.ok, command, outcome)
    if step.failed is None:
        return events.Noted(at=outcome.at, reason=outcome.reason, call=step.call, fault=outcome.fault)
    if step.failed not in _FAULTS:
        outcome = replace(outcome, reason=outcome.fault.message)
    return fact(machine, step.failed, command, outcome)


INTERRUPTED = Fault("Interrupted", "the call did not end, and its effect cannot be seen")


def recover(machine: Machine, seen: Observation, outcome: Outcome) -> Event | None:
    """Say which event comes next for a request whose calls were interrupted; None while nobody can tell.

    A step counts as done when the observation shows it, or when it says nothing of its own and a later
    step shows. Nothing is ever called again.
    """
    left = steps(machine)
    shown = [shows(machine, step, seen) for step in left]
    for at, step in enumerate(left):
        further = shown[at + 1 :] if step.ok is None else []
        if shown[at] or True in further:
            if step.ok:
                return conclude(machine, step, replace(outcome, end=seen.end, evidence=seen.evidence))
        elif step.failed is None:
            continue
        elif shown[at] is None or None in further:
            return None
        else:
            failed = replace(outcome, fault=outcome.fault or INTERRUPTED, evidence=seen.evidence)
            return conclude(machine, step, failed)
    return None


def shows(machine: Machine, step: Step, seen: Observation) -> bool | None:
    """Say whether an observation shows that a step happened; None when it cannot tell."""
    assert machine.request is not None
    sign = _SIGNS[step.shows]
    return sign(machine, machine.request.command, seen)


def _alive(seen: Observation) -> bool | None:
    return None if seen.liveness == "unknown" else seen.liveness == "alive"


def _not(sign: bool | None) -> bool | None:  # noqa: FBT001  # three-valued logic
    return None if sign is None else not sign


def _relaunched(machine: Machine, seen: Observation) -> bool | None:
    if seen.liveness != "alive":
        return _alive(seen)
    known = seen.evidence.incarnation
    return known > machine.incarnation if known else None


def _has_snapshot(command: Any, seen: Observation) -> bool | None:
    return None if seen.snapshots is None else command.snapshot in seen.snapshots


_SIGNS: dict[str, Callable[[Machine, Any, Observation], bool | None]] = {
    "": lambda _, __, ___: None,
    "exists": lambda _, __, seen: seen.exists,
    "absent": lambda _, __, seen: _not(seen.exists),
    "alive": lambda _, __, seen: _alive(seen),
    "gone": lambda _, __, seen: _not(_alive(seen)),
    "paused": lambda _, __, seen: seen.paused,
    "unpaused": lambda _, __, seen: _not(seen.paused),
    "relaunched": lambda machine, _, seen: _relaunched(machine, seen),
    "snapshot": lambda _, command, seen: _has_snapshot(command, seen),
    "no_snapshot": lambda _, command, seen: _not(_has_snapshot(command, seen)),
    "renamed": lambda _, command, seen: None if seen.name is None else seen.name == command.name,
}


def plan(machine: Machine, seen: Observation, at: Instant) -> Event | None:
    """Say which event an observation is that nobody's command asked for; None when it is no news.

    Late news is old news: a look that was begun at an earlier generation, or that speaks of an
    earlier incarnation, changes nothing. Unknown changes nothing.
    """
    if machine.terminal or machine.quarantined or machine.request or _stale(machine, seen):
        return None
    answer = machine.rules.definition.found.get(machine.phase, {}).get(seen.liveness)
    while isinstance(answer, Ask):
        answer = answer.yes if says(machine, answer.question) else answer.no
    if not isinstance(answer, Fact):
        return None
    when = seen.evidence.when if seen.liveness == "gone" else None
    end = seen.end or (None if seen.liveness == "alive" else LOST)
    outcome = Outcome(when or at, reason=WHY[answer.event], end=end, evidence=seen.evidence)
    return fact(machine, answer.event, None, outcome)


WHY = {
    "machine.exited": "unexpected-exit",
    "machine.destroyed": "unexpected-exit",
    "machine.reconciled": "found alive",
}


def _stale(machine: Machine, seen: Observation) -> bool:
    older = 0 < seen.evidence.incarnation < machine.incarnation
    return older or (seen.generation not in (0, machine.generation))


def attest(machine: Machine, command: commands.Attest, now: Instant) -> tuple[Event, ...]:
    """Say what an attestation comes to: the statement itself, and all that follows from believing it."""
    at = command.at or now
    evidence = Evidence(ATTESTED, incarnation=machine.incarnation, when=at)
    seen = Observation(command.liveness, evidence, exists=command.liveness == "alive", detail=command.reason)
    told: list[Event] = [
        events.Attested(at=at, reason=command.reason, evidence=evidence, liveness=command.liveness)
    ]
    after = evolve(machine, told[0], 0)
    while after.request is not None:
        concluded = recover(after, seen, Outcome(at, reason=command.reason))
        given_up = events.Abandoned(at=at, reason=command.reason, request=after.request.position)
        told.append(concluded or given_up)
        after = evolve(after, told[-1], 0)
    if (found := plan(after, seen, at)) is not None:
        told.append(found)
    if machine.doubted:
        told.append(events.Confirmed(at=at, reason=command.reason, evidence=evidence))
    return tuple(told)


# --- reachable -----------------------------------------------------------------------------------------


def reachable(machine: Machine) -> frozenset[str]:
    """Give the phases that can still come, or hold now, without a further command."""
    request, rules = machine.request, machine.rules
    coming = rules.unasked(machine.phase, request.effect if request else "")
    if coming_back(machine):
        coming |= rules.revived(machine.phase)
    if machine.overdue is not None:
        coming |= rules.unasked(rules.definition.deadlines[machine.phase].to)
    if machine.expires is not None:
        coming |= rules.terminal
    return coming
