"""The machine as the log tells it: a fold over its records, one event at a time; pure.

``evolve`` is the only thing that makes a machine, and ``switches`` says what an event does to its meters.
What commands, outcomes and sightings come to is decided in decisions.py.
"""

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from eventvm import commands, events
from eventvm.commands import Command
from eventvm.errors import (
    IllegalEvent,
    UnknownEvent,
)
from eventvm.events import TAGS, Event, Unknown, why
from eventvm.lifecycle import Rules
from eventvm.observation import End, Instant
from eventvm.spec import Shape, Spec
from eventvm.tables import (
    MOVED,
    SNAPSHOT_STORAGE,
    Arrow,
    Meter,
    Step,
)


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


class Upkeep(Struct, frozen=True, gc=False, omit_defaults=True):
    """What the supervisor has to know of a machine that has crashed."""

    crashes: tuple[int, ...] = ()
    """Wall times of its last crashes, as many as a budget counts."""
    fallen: bool = False
    """Whether it still lies where a crash, or an attempt that failed, has left it."""
    attempt: int = 0
    """Counts the attempts to bring it back since it last did its work."""
    due: Instant | None = None
    """When the attempt that is armed begins."""
    begun: bool = False
    """Whether the attempt is under way."""

    @property
    def trying(self) -> bool:
        """Whether an attempt is armed or under way; a reset makes it the first."""
        return self.begun or self.due is not None


class Machine(Struct, frozen=True, gc=False):
    """One life, folded from its records."""

    id: str
    rules: Rules
    phase: str
    name: str = ""
    holds: bool = False
    """Whether it holds its name, or is only its last holder."""
    claims: str = ""
    """The name that a rename under way will give it; reserved, and not its own yet."""
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
    doubted: bool = False
    """Whether the record may be behind the world, so that somebody has to look first."""
    expires: Instant | None = None
    """When its time to live is over."""
    overdue: Instant | None = None
    """When its phase in flight has lasted too long."""
    upkeep: Upkeep | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing in flight will leave the phase."""
        return self.request is None and self.phase in self.rules.definition.settled

    @property
    def terminal(self) -> bool:
        """Whether there is no way on."""
        return self.phase in self.rules.terminal

    @property
    def over(self) -> bool:
        """Whether its life is over, or never came to be: nothing is left to look at."""
        return self.phase in self.rules.terminal or (
            not self.holds
            and self.version > 0
            and self.phase == self.rules.definition.initial
            and self.request is None
        )

    @property
    def living(self) -> bool:
        """Whether its life has begun and is not over."""
        return self.version > 0 and not self.over

    @property
    def exists(self) -> bool:
        """Whether any record tells of it."""
        return self.version > 0

    @property
    def names(self) -> tuple[str, ...]:
        """The names that it holds: one, or none after its end."""
        return (self.name,) if self.holds else ()

    def counted(self, meter: str, subject: str = "") -> Open | None:
        """Give the open interval of a meter, if it is being counted."""
        for one in self.open:
            if one.meter == meter and one.subject == subject:
                return one
        return None


def blank(id: str, rules: Rules, name: str = "") -> Machine:  # noqa: A002  # the word of the domain
    """Make the machine that has no records yet; it reads as its lifecycle's initial phase."""
    return Machine(id, rules, rules.definition.initial, name)


def steps(machine: Machine) -> tuple[Step, ...]:
    """Give the steps of the open request that no event has told of yet."""
    request = machine.request
    assert request is not None, "only an open request has steps"
    return machine.rules.definition.effects[request.effect][request.step :]


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
    changes: dict[str, Any] = {}
    if arrow.to is None:
        after = replace(machine, version=machine.version + 1, position=position)
    else:
        after = _entered(machine, event, arrow.to, arrow, position)
        if machine.rules.supervised or machine.upkeep is not None or machine.spec.restart:
            changes |= _upheld(machine, event, tag, arrow.to)
    if arrow.meters:
        changes |= _counting(machine, event, arrow, position)
    if machine.request is not None:
        changes["request"] = _request_after(machine, event, tag)
    if (told := _TOLD.get(tag)) is not None:
        changes |= told(machine, event, position)
    return replace(after, **changes) if changes else after


def arrow_of(machine: Machine, event: Event, tag: str) -> Arrow:
    """Find the arrow that an event follows."""
    if tag in MOVED:
        return machine.rules.move(machine.phase, event.to, forced=tag == "machine.forced")  # type: ignore[union-attr]
    arrow = machine.rules.arrow(machine.phase, tag)
    if isinstance(event, events.Created) and event.phase:
        return machine.rules.move(machine.phase, event.phase, forced=True)
    return arrow


def _entered(machine: Machine, event: Event, to: str, arrow: Arrow, position: int) -> Machine:
    definition = machine.rules.definition
    return replace(
        machine,
        version=machine.version + 1,
        position=position,
        phase=to,
        generation=machine.generation + 1,
        since=position,
        reason=event.reason or why(event),
        quarantined=arrow.quarantine or (machine.quarantined and to == machine.phase),
        failed=machine.failed or to in definition.faulty,
        holds=to not in definition.frees,
        attested=machine.attested if machine.attested and by_attestation(event) else "",
    )


def _upheld(machine: Machine, event: Event, tag: str, to: str) -> dict[str, Any]:
    """Say what the entry into a phase means to the supervisor."""
    deadline = machine.rules.definition.deadlines.get(to)
    return {
        "overdue": None if deadline is None else event.at.after(deadline.seconds),
        "upkeep": _kept_up(machine, event, tag, to),
    }


def _kept_up(machine: Machine, event: Event, tag: str, to: str) -> Upkeep | None:
    """Follow a recovery: it begins with a crash, and ends wherever the machine is taken on purpose.

    What does its work again keeps its crashes in mind only if it was the supervisor who brought it back: what
    a person has run begins anew.
    """
    definition, known = machine.rules.definition, machine.upkeep or Upkeep()
    if _crashes(machine, tag, to):
        counted = (*known.crashes, event.at.wall)[-1 - definition.recovery.crashes :]
        return Upkeep(counted, fallen=True, attempt=known.attempt)
    if machine.upkeep is None:
        return None
    if to in definition.active:
        automatic = known.begun or isinstance(event, events.Reconciled) or machine.phase in definition.active
        return Upkeep(known.crashes) if automatic else None
    if known.begun and isinstance(event, events.Failure):
        return replace(known, begun=False)
    on_its_way = known.begun and to in definition.recovery.path
    return known if on_its_way else Upkeep(known.crashes)


def _crashes(machine: Machine, tag: str, to: str) -> bool:
    """Say whether an event is a crash: an exit that nobody had tried to bring about, or a move to recover."""
    definition = machine.rules.definition
    if definition.recovery.phase:
        return to == definition.recovery.phase != machine.phase
    return tag == "machine.exited" and machine.phase not in definition.faulty


def _restarting(machine: Machine, **changes: Any) -> dict[str, Any]:
    return {"upkeep": replace(machine.upkeep or Upkeep(), **changes)}


def _amended(machine: Machine, event: events.Amended, _: int) -> dict[str, Any]:
    spec = machine.spec
    said = {
        "labels": amended(spec.labels, event.labels), "restart": event.restart,
        "ttl_seconds": event.ttl_seconds, "dev": event.dev,
        "disabled": event.disabled,
    }  # fmt: skip
    changes: dict[str, Any] = {
        "spec": replace(spec, **{field: value for field, value in said.items() if value is not None})
    }
    if event.ttl_seconds is not None:
        changes["expires"] = expiry(event.at, event.ttl_seconds)
    return changes


def amended(labels: dict[str, str], changes: dict[str, str | None]) -> dict[str, str]:
    """Set labels, and take away those that are to be None."""
    return {key: value for key, value in {**labels, **changes}.items() if value is not None}


def expiry(begun: Instant, ttl_seconds: int) -> Instant | None:
    """Say when a time to live is over; 0 is never."""
    return begun.after(ttl_seconds) if ttl_seconds else None


def by_attestation(event: Event) -> bool:
    """Say whether an event follows from what a person said."""
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


def _requested(_: Machine, event: events.Requested, position: int) -> dict[str, Any]:
    command = event.command
    request = Request(position, command, event.effect, event.host, event.owner, event.deadline)
    changes: dict[str, Any] = {"request": request}
    if isinstance(command, commands.Create | commands.Clone):
        changes |= _born(command.name, command.spec, event.at)
    elif isinstance(command, commands.Rename):
        changes["claims"] = command.name
    return changes


def _born(name: str, spec: Spec, at: Instant) -> dict[str, Any]:
    return {"name": name, "spec": spec, "holds": True, "expires": expiry(at, spec.ttl_seconds)}


def _created(machine: Machine, event: events.Created, _: int) -> dict[str, Any]:
    """Take over what the creation says; one that was requested lives since its request."""
    requested = machine.request is not None
    return {"name": event.name, "spec": event.spec} if requested else _born(event.name, event.spec, event.at)


def _abandoned(machine: Machine, _: events.Abandoned, __: int) -> dict[str, Any]:
    return {"claims": "", "holds": machine.holds and machine.phase not in machine.rules.definition.frees}


def _corrected(machine: Machine, event: events.Corrected, _: int) -> dict[str, Any]:
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
    "machine.created": _created,
    "machine.create_failed": lambda _, __, ___: {"holds": False},
    "machine.started": lambda _, e, __: {"incarnation": e.incarnation, "end": None},
    "machine.cloned": lambda _, e, __: {"incarnation": e.incarnation, "end": None},
    "machine.restored": lambda m, e, __: {
        "incarnation": e.incarnation, "spec": e.spec or m.spec, "end": None,
    },
    "machine.stopped": lambda _, e, __: {"end": e.end},
    "machine.exited": lambda _, e, __: {"end": e.end},
    "machine.destroyed": lambda _, e, __: {"end": e.end, "doubted": False},
    "machine.snapshotted": lambda m, e, _: {"snapshots": {**m.snapshots, e.snapshot: e.size}},
    "machine.snapshot_deleted": lambda m, e, _: {
        "snapshots": {name: size for name, size in m.snapshots.items() if name != e.snapshot},
    },
    "machine.renamed": lambda _, e, __: {"name": e.name, "claims": ""},
    "machine.rename_failed": lambda _, __, ___: {"claims": ""},
    "machine.attested": lambda _, e, __: {"attested": e.liveness},
    "machine.retry_advanced": lambda m, _, __: {"attempts": m.attempts + 1},
    "machine.retry_reset": lambda m, _, __: {
        "attempts": 0,
        "upkeep": m.upkeep and replace(m.upkeep, crashes=(), attempt=1 if m.upkeep.trying else 0),
    },
    "machine.amended": _amended,
    "machine.restart_armed": lambda m, e, _: _restarting(m, attempt=e.attempt, due=e.due, begun=False),
    "machine.restart_begun": lambda m, e, _: _restarting(m, attempt=e.attempt, due=None, begun=True),
    "machine.reload_failed": lambda m, _, __: _restarting(m, due=None, begun=False),
    "machine.restart_given_up": lambda m, _, __: _restarting(m, fallen=False, due=None, begun=False),
    "machine.doubted": lambda _, __, ___: {"doubted": True},
    "machine.confirmed": lambda m, e, _: {
        "doubted": False,
        "incarnation": max(m.incarnation, e.evidence.incarnation if e.evidence else 0),
    },
    "ledger.corrected": _corrected,
}  # fmt: skip
"""For each event that tells more than a phase: what it changes."""


# --- meters --------------------------------------------------------------------------------------------


class Switch(Struct, frozen=True, gc=False):
    """One meter switched on or off by one event."""

    meter: str
    subject: str
    edge: str
    reason: str
    shape: Shape


def switches(machine: Machine, event: Event, arrow: Arrow) -> Iterator[Switch]:
    """Say what an event does to the meters of the machine that it happens to."""
    for one in arrow.meters:
        yield from _switched(machine, event, one)


def _switched(machine: Machine, event: Event, one: Meter) -> Iterator[Switch]:
    meter, subject, shape = one.meter, "", machine.spec.shape
    if meter == SNAPSHOT_STORAGE:
        meter, subject = "storage", event.snapshot  # type: ignore[union-attr]
        shape = Shape(storage=getattr(event, "size", 0))
    elif isinstance(event, events.Created | events.Restored) and event.spec is not None:
        shape = event.spec.shape
    counted = machine.counted(meter, subject)
    start = Switch(meter, subject, "start", _why(machine, meter, one.reason), shape)
    if counted is not None and one.do in ("open", "close", "reopen"):
        reason = "stop-crash" if one.do == "open" else _why(machine, meter, one.reason)
        yield Switch(meter, subject, "stop", reason, counted.shape)
    if one.do in ("open", "reopen") or (one.do == "ensure" and counted is None):
        again = one.do == "open" and counted is not None
        yield Switch(meter, subject, "start", "restart", shape) if again else start


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
    for switch in switches(machine, event, arrow):
        counted = tuple(one for one in counted if (one.meter, one.subject) != (switch.meter, switch.subject))
        if switch.edge == "start":
            counted += (Open(switch.meter, switch.subject, event.at, switch.shape, position),)
            booted = booted or switch.meter != "storage"
    return {"open": counted, "booted": booted}
