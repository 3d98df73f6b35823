"""Views: pure folds of the log for people - the fleet, the history of a machine, its description."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from eventvm import commands, events
from eventvm.decisions import taken
from eventvm.errors import IllegalEvent, UnknownEvent
from eventvm.events import TAGS, Unknown, why
from eventvm.ledger import Ledger, entries
from eventvm.lifecycle import Lifecycle, Recorded, Rules
from eventvm.machine import Machine, blank, evolve
from eventvm.observation import Instant, Observation
from eventvm.record import Record
from eventvm.spec import Spec

Applied = Literal["applied", "ignored"]
ALIKE = 4096
"""How many different specs are held to be shared."""


class Transition(events.Telling, Struct, frozen=True, gc=False, rename={"from_": "from"}):
    """One change of phase."""

    from_: str
    to: str
    reason: str
    timestamp: int
    """Wall time in nanoseconds at which it was so."""
    position: int
    event: str
    forced: bool = False
    data: Any = None
    """What the application told with it; `data_as` reads it as a type."""

    def _move(self) -> str:
        return f"the move to {self.to} at position {self.position}"


class Definitions:
    """The lifecycles that a log was written under, by digest."""

    def __init__(self) -> None:
        self._rules: dict[str, Rules] = {}

    def add(self, digest: str, definition: Lifecycle) -> Rules:
        """Take a definition in, under the digest that the log names it by."""
        if digest not in self._rules:
            self._rules[digest] = Rules(definition, digest)
        return self._rules[digest]

    def __contains__(self, digest: str) -> bool:
        return digest in self._rules

    def __getitem__(self, digest: str) -> Rules:
        try:
            return self._rules[digest]
        except KeyError:
            raise IllegalEvent(f"no lifecycle {digest} was defined before it was used") from None

    def __iter__(self) -> Iterator[Rules]:
        return iter(self._rules.values())


def first(record: Record, definitions: Definitions) -> Machine:
    """Make the machine that a stream's first record begins."""
    event = record.event
    if isinstance(event, Unknown):
        raise UnknownEvent(event.tag, position=record.position)
    command = event.command if isinstance(event, events.Requested) else event
    if not isinstance(command, commands.Create | commands.Clone | events.Created):
        raise IllegalEvent(f"{record.stream} begins with {tag(record)}", position=record.position)
    return blank(record.stream, definitions[command.lifecycle])


def tag(record: Record) -> str:
    """Name the type of a record's event, known or not."""
    return record.event.tag if isinstance(record.event, Unknown) else TAGS[type(record.event)]


def of_machine(stream: str) -> bool:
    """Say whether a stream is a machine's."""
    return "/" not in stream


class Counts(Struct, frozen=True):
    """How many machines live, and where; what there is none of is not named."""

    phases: dict[str, dict[str, int]]
    """For each lifecycle and phase."""
    labels: dict[str, dict[str, int]]
    """For each label and value."""

    @property
    def living(self) -> int:
        """Count all."""
        return sum(sum(phases.values()) for phases in self.phases.values())


def counted(machines: Iterable[Machine]) -> Counts:
    """Count those of the machines that live, one by one."""
    phases: dict[str, dict[str, int]] = {}
    labels: dict[str, dict[str, int]] = {}
    for machine in machines:
        if machine.living:
            here = phases.setdefault(machine.rules.name, {})
            here[machine.phase] = here.get(machine.phase, 0) + 1
            for label, value in machine.spec.labels.items():
                alike = labels.setdefault(label, {})
                alike[value] = alike.get(value, 0) + 1
    return Counts(phases, labels)


class Fleet:
    """All machines, folded from the log: phase, history, ledger and names.

    It stops at what it cannot apply. A Fleet over the whole log is what an audit compares with.
    """

    def __init__(self) -> None:
        self.definitions = Definitions()
        self.machines: dict[str, Machine] = {}
        self.ledgers: dict[str, Ledger] = {}
        self.histories: dict[str, list[Transition]] = {}
        self.names: dict[str, str] = {}
        """For each name: the machine that holds it, or held it last."""
        self.position = 0

    def apply(self, record: Record) -> Applied:
        """Fold one record in, and say whether it concerned any machine."""
        self.position = record.position
        stream = record.stream
        if (before := self.machines.get(stream)) is None:
            if isinstance(record.event, events.LifecycleDefined):
                self.definitions.add(record.event.digest, defined(record.event))
                return "applied"
            if not of_machine(stream):
                return "ignored"
            before = first(record, self.definitions)
        self.machines[stream] = after = evolve(before, record.event, record.position)
        if after.name != before.name or not before.holds:
            self._name(after)
        self._remember(before, record, after)
        return "applied"

    def _remember(self, before: Machine, record: Record, after: Machine) -> None:
        """Keep what has led to a machine."""
        if (ledger := self.ledgers.get(after.id)) is None:
            ledger = self.ledgers[after.id] = Ledger()
            self.histories[after.id] = []
        ledger.add(before, record)
        if (change := transition(before, record, after)) is not None:
            self.histories[after.id].append(change)

    def _name(self, machine: Machine) -> None:
        if machine.holds:
            self.names[machine.name] = machine.id


class Census(Fleet):
    """A fleet that only counts what has led to its machines."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = 0
        """Changes of phase."""
        self.entries = 0
        """Entries of the ledgers."""
        self._specs = Alike()

    def _remember(self, before: Machine, record: Record, after: Machine) -> None:
        self.changes += after.generation != before.generation
        self.entries += sum(1 for _ in entries(before, record))
        if after.spec is not before.spec:
            self.machines[after.id] = self._specs.share(after)


class Alike:
    """Specs that are the same for many machines, each of them held once; so many at most."""

    def __init__(self) -> None:
        self._specs: dict[bytes, Spec] = {}

    def share(self, machine: Machine) -> Machine:
        """Give a machine that shares its spec with those that have the same."""
        if len(self._specs) == ALIKE:
            self._specs.clear()
        written = msgspec.msgpack.encode(machine.spec)
        spec = self._specs.setdefault(written, machine.spec)
        return machine if spec is machine.spec else replace(machine, spec=spec)


def defined(event: events.LifecycleDefined) -> Lifecycle:
    """Read a recorded definition back."""
    return msgspec.convert(event.definition, Recorded)


def transition(before: Machine, record: Record, after: Machine) -> Transition | None:
    """Give the change of phase that a record is, if it is one."""
    event = record.event
    if after.generation == before.generation or isinstance(event, Unknown):
        return None
    titles, kind = before.rules.titles, type(event)
    forced = kind is events.ForcedPhase
    reason = event.reason or why(event)
    return Transition(
        titles[before.phase],
        titles[after.phase],
        f"force: {reason}" if forced else reason,
        event.at.wall,
        record.position,
        TAGS[kind],
        forced,
        getattr(event, "data", None),
    )


class Reducer:
    """A fold that passes what it does not know: it says Applied or Ignored, and its cursor always moves."""

    def __init__(self) -> None:
        self.fleet = Fleet()
        self.cursor = 0
        self._opaque: set[str] = set()
        """Streams in which something unknown has happened: what follows in them cannot be judged."""

    def apply(self, record: Record) -> Applied:
        """Fold a record in if it can be; `ignored` says that it could not, and nothing else happened."""
        self.cursor = record.position
        try:
            return self.fleet.apply(record)
        except UnknownEvent:
            self._opaque.add(record.stream)
        except IllegalEvent:
            if record.stream not in self._opaque:
                raise
        return "ignored"


class Retry(Struct, frozen=True, gc=False):
    """How a machine's attempts stand."""

    attempts: int
    can_retry: bool
    backoff_seconds: float


def _restart(machine: Machine, as_of: Instant) -> dict[str, Any] | None:
    """Describe the attempt to bring a machine back that is armed or under way."""
    upkeep = machine.upkeep
    if upkeep is None or not (upkeep.due or upkeep.begun):
        return None
    return {
        "attempt": upkeep.attempt,
        "under_way": upkeep.begun,
        "seconds_left": _seconds_left(upkeep.due, as_of),
    }


def _seconds_left(due: Instant | None, as_of: Instant) -> int | None:
    return None if due is None else max(0, as_of.until(due)) // 1_000_000_000


def described(machine: Machine, as_of: Instant, seen: Observation | None = None) -> dict[str, Any]:
    """Describe a machine in plain values, as `show` prints it; `seen` is the last look at it."""
    title = machine.rules.definition.title
    request = machine.request
    return {
        "id": machine.id,
        "name": machine.name,
        "lifecycle": machine.rules.name,
        "phase": title(machine.phase),
        "generation": machine.generation,
        "version": machine.version,
        "position": machine.position,
        "incarnation": machine.incarnation,
        "quarantined": machine.quarantined,
        "reason": machine.reason,
        "request": None if request is None else {
            "command": request.command.verb,
            "position": request.position,
            "owner": request.owner,
            "seconds_left": max(0, request.deadline - as_of.wall) // 1_000_000_000,
        },
        "counting": [f"{one.meter} of {one.subject}" if one.subject else one.meter for one in machine.open],
        "snapshots": dict(machine.snapshots),
        "labels": dict(machine.spec.labels),
        "doubted": machine.doubted,
        "restart": _restart(machine, as_of),
        "expires_in_seconds": _seconds_left(machine.expires, as_of),
        "takes": list(taken(machine)),
        "next": "reconcile" if machine.spec.provider and _to_look_at(machine) else "",
        "observation": None if seen is None else msgspec.to_builtins(seen),
    }  # fmt: skip


def _to_look_at(machine: Machine) -> bool:
    """Say whether a look is due before anything else."""
    return machine.phase in machine.rules.definition.faulty or machine.request is not None or machine.doubted
