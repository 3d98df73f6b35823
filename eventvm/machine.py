"""The machine as the log tells it, and the five pure functions that a life consists of.

``decide``   what a command comes to: a refusal, nothing, a look at the world, a fact, an effect
``conclude`` which event an outcome is
``recover``  which events an interrupted effect is, by what can be seen of it
``plan``     which event an unasked observation is
``evolve``   the machine after an event

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
    IllegalEvent,
    Refused,
    SnapshotAlreadyExists,
    SnapshotNotFound,
    UnknownEvent,
)
from eventvm.events import TAGS, Event, Fault, Unknown
from eventvm.lifecycle import (
    MOVED,
    SNAPSHOT_STORAGE,
    Answer,
    Arrow,
    Ask,
    Effect,
    Fact,
    Look,
    Meter,
    Nothing,
    Refuse,
    Rules,
    Step,
)
from eventvm.observation import KILLED, LOST, NEVER_RAN, End, Evidence, Instant, Observation
from eventvm.spec import Shape, Spec


class Open(Struct, frozen=True, gc=False):
    """An interval that is being counted."""

    meter: str
    subject: str
    """The snapshot's name, empty for the machine itself."""
    since: Instant
    shape: Shape
    position: int


class Request(Struct, frozen=True, gc=False):
    """An effect that is under way, and how far it is known to have come."""

    position: int
    command: Command
    effect: str
    host: str
    owner: str
    deadline: int
    step: int = 0


class Machine(Struct, frozen=True, gc=False):
    """One life, folded from its records."""

    id: str
    rules: Rules
    phase: str
    name: str = ""
    holds: bool = False
    """Whether it holds its name, or is only its last holder."""
    claims: str = ""
    """The name that a rename under way has claimed."""
    generation: int = 0
    version: int = 0
    position: int = 0
    """The position of its last record."""
    since: int = 0
    """The position of the record that set its phase."""
    reason: str = ""
    """The reason of that record."""
    spec: Spec = Spec()
    incarnation: int = 0
    booted: bool = False
    open: tuple[Open, ...] = ()
    snapshots: dict[str, int] = {}
    """Name and size, in the order of creation."""
    request: Request | None = None
    quarantined: bool = False
    failed: bool = False
    """Whether a phase of this life failed."""
    end: End | None = None
    """How the last incarnation ended."""
    attested: str = ""
    """What a person said last, until something else sets the phase."""
    attempts: int = 0

    @property
    def settled(self) -> bool:
        """Whether nothing in flight will leave the phase."""
        return self.request is None and self.phase in self.rules.definition.settled

    @property
    def terminal(self) -> bool:
        """Whether there is no way on."""
        return self.phase in self.rules.terminal

    @property
    def exists(self) -> bool:
        """Whether any record tells of it."""
        return self.version > 0

    @property
    def names(self) -> tuple[str, ...]:
        """The names that nobody else may take."""
        own = (self.name,) if self.holds else ()
        return (*own, self.claims) if self.claims else own

    def counted(self, meter: str, subject: str = "") -> Open | None:
        """Give the open interval of a meter, if it is being counted."""
        for one in self.open:
            if one.meter == meter and one.subject == subject:
                return one
        return None


def blank(id: str, rules: Rules, name: str = "") -> Machine:  # noqa: A002  # the word of the domain
    """Make the machine that has no records yet; it reads as its lifecycle's initial phase."""
    return Machine(id, rules, rules.definition.initial, name)


# --- decide --------------------------------------------------------------------------------------------

Decision = Nothing | Look | Fact | Effect


def decide(machine: Machine, command: Command, observation: Observation | None = None) -> Decision:
    """Say what a command comes to, or refuse it; a refusal has changed nothing."""
    answer = _answer(machine, command)
    while isinstance(answer, Ask | Look):
        if isinstance(answer, Ask):
            answer = answer.yes if says(machine, answer.question) else answer.no
        elif observation is None:
            return answer
        else:
            answer = getattr(answer, observation.liveness)
    if isinstance(answer, Refuse):
        raise refusal(machine, command, answer)
    _check_snapshot(machine, command)
    if isinstance(command, commands.Rename) and command.name == machine.name:
        return Nothing()
    return answer


def _answer(machine: Machine, command: Command) -> Answer:
    rules = machine.rules
    if machine.quarantined:
        return rules.definition.quarantine.get(command.row) or Refuse("quarantined")
    if isinstance(command, commands.Transition):
        return _move(machine, command)
    if isinstance(command, commands.Force) and command.to not in rules.definition.phases:
        return Refuse(to="Unknown")
    return rules.answer(machine.phase, command.row)


def _move(machine: Machine, command: commands.Transition) -> Answer:
    definition = machine.rules.definition
    if not definition.allows(machine.phase, command.to):
        return Refuse(to=definition.title(command.to))
    if (question := definition.needs.get(command.to)) and not says(machine, question):
        return Refuse(to=definition.title(command.to))
    return Fact("machine.transitioned")


def says(machine: Machine, question: str) -> bool:
    """Answer a table's question from the record itself."""
    match question:
        case "compute_open":
            return machine.counted("compute") is not None
        case "attested_gone":
            return machine.attested == "gone"
        case _:
            assert question == "dev", question
            return machine.spec.dev


def refusal(machine: Machine, command: Command, answer: Refuse) -> Refused:
    """Make the exception of a refusal; it names the machine, from and to."""
    title = machine.rules.definition.title
    to = answer.to or (command.to if isinstance(command, commands.Transition | commands.Force) else "")
    return REFUSALS[answer.error](
        machine=machine.name or machine.id,
        phase=title(machine.phase),
        command=command.verb,
        to=to or command.verb,
    )


def _check_snapshot(machine: Machine, command: Command) -> None:
    refused: type[Refused] | None = None
    match command:
        case commands.Snapshot(snapshot=name) | commands.Hibernate(snapshot=name):
            refused = SnapshotAlreadyExists if name in machine.snapshots else None
        case commands.Restore(snapshot=name) | commands.DeleteSnapshot(snapshot=name):
            refused = None if name in machine.snapshots else SnapshotNotFound
        case _:
            name = ""
    if refused is not None:
        phase = machine.rules.definition.title(machine.phase)
        raise refused(machine=machine.name, phase=phase, command=command.verb, to=name)


# --- facts ---------------------------------------------------------------------------------------------


class Outcome(Struct, frozen=True, gc=False):
    """What is known of the act or the sight that a fact is made from."""

    at: Instant
    reason: str = ""
    fault: Fault | None = None
    end: End | None = None
    size: int = 0
    evidence: Evidence | None = None


def fact(machine: Machine, tag: str, command: Any, outcome: Outcome) -> Event:
    """Make the event of this tag from the machine, the command that led to it, and its outcome."""
    fields = _FIELDS.get(tag)
    made = fields(machine, command, outcome) if fields else {}
    if outcome.fault is not None and tag in _FAULTS:
        made["fault"] = outcome.fault
    kind: Any = events.EVENTS[tag]
    return kind(at=outcome.at, reason=outcome.reason, evidence=outcome.evidence, **made)  # type: ignore[no-any-return]


_FAULTS = {tag for tag, kind in events.EVENTS.items() if issubclass(kind, events.Failure)}


def _ending(machine: Machine, outcome: Outcome) -> dict[str, Any]:
    default = KILLED if machine.booted else NEVER_RAN
    failed = machine.failed or outcome.fault is not None
    return {
        "end": outcome.end or machine.end or default,
        "outcome": "failed" if failed else "succeeded",
    }


_FIELDS: dict[str, Callable[[Machine, Any, Outcome], dict[str, Any]]] = {
    "machine.created": lambda _, c, __: {
        "name": c.name, "lifecycle": c.lifecycle, "spec": c.spec, "phase": getattr(c, "phase", ""),
    },
    "machine.cloned": lambda m, c, _: {
        "source": c.source, "snapshot": c.snapshot, "incarnation": m.incarnation + 1,
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
    "machine.transitioned": lambda _, c, __: {"to": c.to, "data": c.data},
    "machine.forced": lambda _, c, __: {"to": c.to},
    "machine.attested": lambda _, c, __: {"liveness": c.liveness},
    "ledger.corrected": lambda _, c, __: {
        "position": c.position, "meter": c.meter, "edge": c.edge, "subject": c.subject, "truly": c.at,
    },
}  # fmt: skip
"""For each event that says more than that it happened: the fields that it says it with."""


def _source(command: Any) -> str:
    """Name the snapshot that a restore, or a creation by restoring, begins from."""
    named: str = (
        command.snapshot if isinstance(command, commands.Restore) else command.spec.restore_from.snapshot
    )
    return named


def _restored(machine: Machine, command: Any) -> dict[str, Any]:
    spec = command.spec if isinstance(command, commands.Restore) else None
    return {"snapshot": _source(command), "incarnation": machine.incarnation + 1, "spec": spec}


# --- conclude, recover, plan ---------------------------------------------------------------------------


def steps(machine: Machine) -> tuple[Step, ...]:
    """Give the steps of the open request that no event has told of yet."""
    request = machine.request
    assert request is not None, "only an open request has steps"
    return machine.rules.definition.effects[request.effect][request.step :]


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
        if shown[at] or (step.ok is None and True in shown[at + 1 :]):
            if step.ok:
                return conclude(machine, step, replace(outcome, end=seen.end, evidence=seen.evidence))
        elif step.failed is None:
            continue
        elif shown[at] is None:
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
    alive = _alive(seen)
    return alive and seen.evidence.incarnation > machine.incarnation


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
    outcome = Outcome(when or at, reason=seen.detail or _WHY[answer.event], end=end, evidence=seen.evidence)
    return fact(machine, answer.event, None, outcome)


_WHY = {
    "machine.exited": "unexpected-exit",
    "machine.destroyed": "unexpected-exit",
    "machine.reconciled": "found alive",
}


def _stale(machine: Machine, seen: Observation) -> bool:
    older = 0 < seen.evidence.incarnation < machine.incarnation
    return older or (seen.generation not in (0, machine.generation))


# --- evolve --------------------------------------------------------------------------------------------


def evolve(machine: Machine, event: Event | Unknown, position: int) -> Machine:
    """Fold one event into the machine; what cannot happen raises, with its position."""
    tag = TAGS.get(type(event))
    if tag is None:
        raise UnknownEvent(getattr(event, "tag", type(event).__name__), position=position)
    assert not isinstance(event, Unknown)
    try:
        arrow = arrow_of(machine, event, tag)
    except IllegalEvent as problem:
        raise IllegalEvent(f"{machine.id}: {problem}", position=position) from None
    changes: dict[str, Any] = {"version": machine.version + 1, "position": position}
    if arrow.to is not None:
        changes |= _entered(machine, event, arrow.to, arrow, position)
    if arrow.meters:
        changes |= _counting(machine, event, arrow, position)
    if machine.request is not None:
        changes["request"] = _request_after(machine, event, tag)
    if (told := _TOLD.get(tag)) is not None:
        changes |= told(machine, event, position)
    return replace(machine, **changes)


def arrow_of(machine: Machine, event: Event, tag: str) -> Arrow:
    """Find the arrow that an event follows."""
    if tag in MOVED:
        return machine.rules.move(machine.phase, event.to, forced=tag == "machine.forced")  # type: ignore[union-attr]
    arrow = machine.rules.arrow(machine.phase, tag)
    if isinstance(event, events.Created) and event.phase:
        return machine.rules.move(machine.phase, event.phase, forced=True)
    return arrow


def _entered(machine: Machine, event: Event, to: str, arrow: Arrow, position: int) -> dict[str, Any]:
    definition = machine.rules.definition
    return {
        "phase": to,
        "generation": machine.generation + 1,
        "since": position,
        "reason": event.reason,
        "quarantined": arrow.quarantine,
        "failed": machine.failed or to in definition.faulty,
        "holds": to not in definition.frees,
        "attested": machine.attested if _by_attestation(event) else "",
    }


def _by_attestation(event: Event) -> bool:
    return event.evidence is not None and event.evidence.source == ATTESTED


ATTESTED = "attested"
"""The source of an observation that a person made."""


def _request_after(machine: Machine, event: Event, tag: str) -> Request | None:
    """Say how far the open request has come after an event: closed, a step further, or as before."""
    request = machine.request
    assert request is not None
    if tag == "machine.abandoned":
        return None
    for at, step in enumerate(steps(machine), start=request.step):
        last = at + 1 == len(machine.rules.definition.effects[request.effect])
        if tag == step.failed or (tag == step.ok and last):
            return None
        if tag == step.ok or (isinstance(event, events.Noted) and event.call == step.call):
            return replace(request, step=at + 1)
    return request


Told = Callable[[Machine, Any, int], dict[str, Any]]


def _requested(machine: Machine, event: events.Requested, position: int) -> dict[str, Any]:
    command = event.command
    request = Request(position, command, event.effect, event.host, event.owner, event.deadline)
    changes: dict[str, Any] = {"request": request}
    if isinstance(command, commands.Create | commands.Clone):
        changes |= {"name": command.name, "spec": command.spec, "holds": True}
    elif isinstance(command, commands.Rename):
        changes["claims"] = command.name
    return changes


def _abandoned(machine: Machine, event: events.Abandoned, position: int) -> dict[str, Any]:
    return {"claims": "", "holds": machine.holds and machine.phase not in machine.rules.definition.frees}


def _corrected(machine: Machine, event: events.Corrected, position: int) -> dict[str, Any]:
    """Move the beginning of an interval that is still being counted."""
    named = (event.position, event.meter, event.subject)
    if event.edge == "stop":
        return {}
    return {
        "open": tuple(
            replace(one, since=event.truly) if (one.position, one.meter, one.subject) == named else one
            for one in machine.open
        )
    }


_TOLD: dict[str, Told] = {
    "machine.requested": _requested,
    "machine.abandoned": _abandoned,
    "machine.created": lambda _, e, __: {"name": e.name, "spec": e.spec, "holds": True},
    "machine.create_failed": lambda _, __, ___: {"holds": False},
    "machine.started": lambda _, e, __: {"incarnation": e.incarnation, "end": None},
    "machine.cloned": lambda _, e, __: {"incarnation": e.incarnation, "end": None},
    "machine.restored": lambda m, e, __: {
        "incarnation": e.incarnation, "spec": e.spec or m.spec, "end": None,
    },
    "machine.stopped": lambda _, e, __: {"end": e.end},
    "machine.exited": lambda _, e, __: {"end": e.end},
    "machine.destroyed": lambda _, e, __: {"end": e.end},
    "machine.snapshotted": lambda m, e, _: {"snapshots": {**m.snapshots, e.snapshot: e.size}},
    "machine.snapshot_deleted": lambda m, e, _: {
        "snapshots": {name: size for name, size in m.snapshots.items() if name != e.snapshot},
    },
    "machine.renamed": lambda _, e, __: {"name": e.name, "claims": ""},
    "machine.rename_failed": lambda _, __, ___: {"claims": ""},
    "machine.attested": lambda _, e, __: {"attested": e.liveness},
    "machine.retry_advanced": lambda m, _, __: {"attempts": m.attempts + 1},
    "machine.retry_reset": lambda _, __, ___: {"attempts": 0},
    "ledger.corrected": _corrected,
}  # fmt: skip
"""For each event that tells more than a phase: what it changes."""


# --- meters --------------------------------------------------------------------------------------------


class Turn(Struct, frozen=True, gc=False):
    """One meter turned on or off by one event."""

    meter: str
    subject: str
    edge: str
    reason: str
    shape: Shape


def turns(machine: Machine, event: Event, arrow: Arrow) -> Iterator[Turn]:
    """Say what an event does to the meters of the machine that it happens to."""
    for one in arrow.meters:
        yield from _turned(machine, event, one)


def _turned(machine: Machine, event: Event, one: Meter) -> Iterator[Turn]:
    meter, subject, shape = one.meter, "", machine.spec.shape
    if meter == SNAPSHOT_STORAGE:
        meter, subject = "storage", event.snapshot  # type: ignore[union-attr]
        shape = Shape(storage=getattr(event, "size", 0))
    elif isinstance(event, events.Restored) and event.spec is not None:
        shape = event.spec.shape
    elif isinstance(event, events.Created):
        shape = event.spec.shape
    counted = machine.counted(meter, subject)
    start = Turn(meter, subject, "start", _why(machine, meter, one.reason), shape)
    if counted is not None and one.do in ("open", "close", "reopen"):
        reason = "stop-crash" if one.do == "open" else _why(machine, meter, one.reason)
        yield Turn(meter, subject, "stop", reason, counted.shape)
    if one.do in ("open", "reopen") or (one.do == "ensure" and counted is None):
        again = one.do == "open" and counted is not None
        yield Turn(meter, subject, "start", "restart", shape) if again else start


def _why(machine: Machine, meter: str, reason: str) -> str:
    """Give the ledger's word where a table leaves it to the circumstances.

    A `boot` is a clone while a clone is under way, and a restart once the machine has ever booted; a
    `stop` is the user's while a request is open, and a crash otherwise.
    """
    if reason == "stop":
        return "stop-user" if machine.request else "stop-crash"
    if reason == "boot" and machine.request and isinstance(machine.request.command, commands.Clone):
        return "clone"
    return "restart" if reason == "boot" and meter != "storage" and machine.booted else reason


def _counting(machine: Machine, event: Event, arrow: Arrow, position: int) -> dict[str, Any]:
    counted, booted = machine.open, machine.booted
    for turn in turns(machine, event, arrow):
        counted = tuple(one for one in counted if (one.meter, one.subject) != (turn.meter, turn.subject))
        if turn.edge == "start":
            counted += (Open(turn.meter, turn.subject, event.at, turn.shape, position),)
            booted = booted or turn.meter != "storage"
    return {"open": counted, "booted": booted}


# --- reachable -----------------------------------------------------------------------------------------


def reachable(machine: Machine) -> frozenset[str]:
    """Give the phases that can still come, or hold now, without a further command."""
    request = machine.request
    return machine.rules.unasked(machine.phase, request.effect if request else "")
