"""A life without an engine: the pure functions, a list of records, a told clock and a scripted world."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, assert_never

import msgspec

from eventvm import commands, events
from eventvm.decisions import Outcome, conclude, decide, fact, plan, recover
from eventvm.errors import BadInput, EventvmError
from eventvm.ledger import Entry, Interval, Ledger
from eventvm.lifecycle import Lifecycle, Rules
from eventvm.lifecycles import LIFECYCLES
from eventvm.machine import ATTESTED, blank, evolve, steps
from eventvm.observation import End, Evidence, Instant, Liveness, Observation
from eventvm.record import Record
from eventvm.spec import Spec
from eventvm.tables import Effect, Fact, Look, Nothing
from eventvm.views import tag

SECOND = 1_000_000_000
NOON = 1_700_000_000 * SECOND


def observed(seen: Observation | Liveness) -> Observation:
    """Make the observation of a probe that tells nothing but whether the machine is alive."""
    return seen if isinstance(seen, Observation) else Observation(seen, Evidence("probe"))


def _definition(given: Lifecycle | str) -> Lifecycle:
    if isinstance(given, Lifecycle):
        return given
    if given not in LIFECYCLES:
        raise BadInput(f"no lifecycle {given!r}; there is {', '.join(sorted(LIFECYCLES))}")
    return LIFECYCLES[given]


class Life:
    """One machine, driven as an engine drives it, without a single await."""

    def __init__(self, definition: Lifecycle | str, spec: Spec | None = None, name: str = "web-1") -> None:
        self.rules = Rules(_definition(definition))
        self.machine = blank("machine/1", self.rules, name)
        self.spec = spec or Spec(cpus=2, memory=4 << 30, storage=10 << 30)
        self.records: list[Record] = []
        self.ledger = Ledger()
        self.now = Instant(NOON, 100 * SECOND, "boot-1")
        self.world: dict[str, str] = {}
        """What a call comes to: ok (also when it is not named), fail, or unknown."""
        self.probe: Observation | Liveness = "unknown"
        """What a look sees."""
        self.end: End | None = None
        """What the provider tells of an end that it brings about."""
        self.size = 0
        """What the provider tells of a snapshot's size."""
        self.calls: list[str] = []
        self.probes = 0

    # --- what a test reads

    @property
    def phase(self) -> str:
        """The phase that it is in."""
        return self.machine.phase

    @property
    def tags(self) -> list[str]:
        """The types of its events."""
        return [tag(record) for record in self.records]

    @property
    def last(self) -> Any:
        """Its last event."""
        return self.records[-1].event

    @property
    def entries(self) -> list[Entry]:
        """What was booked."""
        return self.ledger.entries

    @property
    def booked(self) -> list[str]:
        """The entries, each as the ledger's tables write it: meter.edge(reason)."""
        return [
            f"{entry.subject and 'snap.'}{entry.meter}.{entry.edge}({entry.reason})" for entry in self.entries
        ]

    def since(self, mark: int) -> list[str]:
        """Give what was booked after so many entries."""
        return self.booked[mark:]

    def counted(self, meter: str, subject: str = "") -> bool:
        """Say whether a meter is being counted."""
        return self.machine.counted(meter, subject) is not None

    def intervals(self, **asked: Any) -> tuple[Interval, ...]:
        """Give what was counted, as of now unless another instant is asked for."""
        return self.ledger.intervals(**{"as_of": self.now, **asked})

    # --- the clock

    def tick(self, seconds: float = 1) -> Instant:
        """Let both clocks go on."""
        nanoseconds = int(seconds * SECOND)
        self.now = Instant(self.now.wall + nanoseconds, self.now.boot + nanoseconds, self.now.boot_id)
        return self.now

    def set_wall(self, seconds: float) -> Instant:
        """Let somebody set the wall clock by so many seconds, forwards or backwards."""
        self.now = Instant(self.now.wall + int(seconds * SECOND), self.now.boot, self.now.boot_id)
        return self.now

    def reboot(self, boot_id: str) -> Instant:
        """Let the host boot again: its boot clock begins anew."""
        self.now = Instant(self.now.wall, SECOND, boot_id)
        return self.now

    # --- what an engine does

    def append(self, event: events.Event, actor: str = "alice") -> Record:
        """Record an event, whoever tells of it."""
        position = len(self.records) + 1
        record = Record(
            position,
            self.machine.id,
            self.machine.version + 1,
            self.now.wall,
            actor,
            event,
            events.encode(event),
            b"",
        )
        after = evolve(self.machine, event, position)
        self.ledger.add(self.machine, record)
        self.machine = after
        self.records.append(record)
        return record

    def look(self) -> Observation:
        """Probe the world, as a command asks for."""
        self.probes += 1
        return observed(self.probe)

    def send(self, command: commands.Command) -> str:
        """Carry a command as far as it goes, and say what it came to."""
        assert self.machine.request is None or isinstance(command, commands.Attest), "one thing at a time"
        seen = None
        while True:
            match decide(self.machine, command, seen):
                case Look():
                    seen = self.look()
                case Fact(event=tag, again=again):
                    self.append(self.made(tag, command, seen))
                    if not again:
                        self.attested(command)
                        return "fact"
                case Effect(name=name):
                    self.request(command, name)
                    return self.carry_out()
                case Nothing():
                    return "nothing"
                case never:
                    assert_never(never)

    def made(self, tag: str, command: commands.Command, seen: Observation | None) -> events.Event:
        """Make the fact that a command comes to, with the instant and the end that were seen."""
        if isinstance(command, commands.Correct):
            outcome = Outcome(self.now, reason=command.reason)
            correction = fact(self.machine, tag, command, outcome)
            assert isinstance(correction, events.Corrected)
            self.ledger.check(self.machine.name, correction)
            return correction
        at, reason = getattr(command, "at", None) or self.now, command.reason
        if seen is None:
            return fact(self.machine, tag, command, Outcome(at, reason=reason))
        if seen.liveness == "gone" and seen.evidence.when is not None:
            at = seen.evidence.when
        return fact(
            self.machine, tag, command, Outcome(at, reason=reason, end=seen.end, evidence=seen.evidence)
        )

    def attested(self, command: commands.Command) -> None:
        """Settle by a person's word what nothing else can settle."""
        if isinstance(command, commands.Attest):
            when = command.at or self.now
            seen = Observation(command.liveness, Evidence(ATTESTED, when=when), detail=command.reason)
            event = self.recovered(seen) if self.machine.request else plan(self.machine, seen, self.now)
            if event is not None:
                self.append(event)

    def request(self, command: commands.Command, effect: str) -> None:
        """Record the intent of an effect."""
        deadline = self.now.wall + 30 * SECOND
        self.append(
            events.Requested(
                at=self.now, reason=command.reason, command=command, effect=effect,
                host="host-1", owner="engine-1", deadline=deadline,
            )
        )  # fmt: skip

    def carry_out(self) -> str:
        """Call the world step by step, and append what each step came to."""
        for step in steps(self.machine):
            self.calls.append(step.call)
            result = self.world.get(step.call, "ok")
            if result == "unknown":
                return "unknown"
            fault = None if result == "ok" else events.Fault("Broken", f"{step.call} broke")
            end = self.end if step.call in ("stop", "destroy") and fault is None else None
            event = conclude(self.machine, step, Outcome(self.now, fault=fault, end=end, size=self.size))
            if event is not None:
                self.append(event)
            if self.machine.request is None:
                return "done" if fault is None else "failed"
        raise AssertionError("the last step closes the request")

    def see(self, seen: Observation | Liveness) -> events.Event | None:
        """Take an observation that nobody asked for."""
        event = plan(self.machine, observed(seen), self.now)
        if event is not None:
            self.append(event)
        return event

    def recovered(self, seen: Observation) -> events.Event | None:
        """Say which event the open request comes to by what can be seen of it."""
        return recover(self.machine, seen, Outcome(seen.evidence.when or self.now))

    def recover(self, seen: Observation) -> events.Event | None:
        """Conclude the open request by what can be seen of it, as far as that goes."""
        event = None
        while self.machine.request and (found := self.recovered(seen)) is not None:
            event = found
            self.append(event)
        return event

    # --- what a test says often

    def create(self, **fields: Any) -> str:
        """Send the command that begins it."""
        wish = {"name": self.machine.name, "lifecycle": self.rules.digest, "spec": self.spec, **fields}
        return self.send(commands.Create(**wish))

    def stage(self, *wishes: commands.Command, **world: str) -> "Life":
        """Go through some commands in a world of their own, then forget the calls."""
        self.world, kept = world, self.world
        for wish in wishes:
            self.send(wish)
        self.world, self.calls, self.probes = kept, [], 0
        return self

    def refuses(self, command: commands.Command, error: type[EventvmError]) -> EventvmError:
        """Send a command that must be refused, and see that nothing at all has changed."""
        with self.untouched():
            try:
                self.send(command)
            except EventvmError as caught:
                refused = caught
            else:
                raise AssertionError(f"{command.verb} was taken, and not refused as {error.__name__}")
        assert type(refused) is error, repr(refused)
        return refused

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """See that nothing at all changes: no phase, record, ledger entry or call."""
        machine, records, entries, calls = (
            self.machine,
            list(self.records),
            list(self.entries),
            list(self.calls),
        )
        before = msgspec.structs.asdict(machine)
        yield
        assert self.machine is machine
        assert msgspec.structs.asdict(self.machine) == before
        assert (self.records, self.entries, self.calls) == (records, entries, calls)
