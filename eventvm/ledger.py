"""The usage ledger, folded from the same records: entries, intervals, totals; pure.

An entry says that a meter was turned on or off: when it was so (`at`), when that was learned
(`recorded_at`, `position`), and from which record it follows. Intervals pair the entries of one subject and
meter. Two questions can be asked of every answer: what was true at an instant (`as_of`), and what was known
at a position of the log (`known_at`).

Every second is counted once. Wall clocks go back, so the instants of a subject are clamped to the order of
its records; a length is measured by boot time where both ends lie in one boot, by wall time otherwise, and
each interval says which.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from eventvm import commands, events
from eventvm.errors import CorrectionRefused
from eventvm.events import TAGS
from eventvm.machine import Machine, arrow_of, switches
from eventvm.observation import Instant
from eventvm.record import Record
from eventvm.spec import Shape

Edge = Literal["start", "stop"]
Basis = Literal["boot", "wall", "clamped"]


class Entry(Struct, frozen=True, gc=False, kw_only=True):
    """One meter turned on or off."""

    machine: str
    subject: str
    """The snapshot's name, empty for the machine itself."""
    meter: str
    edge: Edge
    reason: str
    shape: Shape
    at: Instant
    """When it was so."""
    position: int
    """The record that it follows from."""
    recorded_at: int
    """When that was learned."""
    source: str = ""
    """The snapshot that it came from, where there is one."""
    corrected_by: int = 0
    """The position of the correction that moved it, 0 when none did."""


class Interval(Struct, frozen=True, gc=False, kw_only=True):
    """A stretch of time in which a meter counted; half open, and still open without a stop."""

    machine: str
    subject: str
    meter: str
    shape: Shape
    start: Entry
    stop: Entry | None
    begin: int
    """Wall time in nanoseconds, never before the end of the interval before it."""
    end: int | None
    ns: int
    """Its length; of an open one up to the instant that was asked for."""
    basis: Basis
    """The clock that measured the length: `boot`, `wall`, or `clamped`: wall time that had gone back."""


class Total(Struct, frozen=True, gc=False, kw_only=True):
    """What one meter of one machine comes to."""

    machine: str
    meter: str
    ns: int
    milli_cpu_ns: int
    """Thousandths of a CPU, times nanoseconds."""
    memory_byte_ns: int
    storage_byte_ns: int


def entries(machine: Machine, record: Record) -> tuple[Entry, ...]:
    """Give what a record does to the ledger of the machine that it happens to (as it was before)."""
    event = record.event
    if isinstance(event, events.Unknown) or not machine.rules.metered:
        return ()
    arrow = arrow_of(machine, event, TAGS[type(event)])
    if not arrow.meters:
        return ()
    source = getattr(event, "snapshot", "")
    return tuple(
        Entry(
            machine=machine.id, subject=switch.subject, meter=switch.meter, edge=switch.edge,  # type: ignore[arg-type]
            reason=switch.reason, shape=switch.shape, at=event.at, position=record.position,
            recorded_at=record.recorded_at, source=source or _cloned_from(machine),
        )
        for switch in switches(machine, event, arrow)
    )  # fmt: skip


def _cloned_from(machine: Machine) -> str:
    command = machine.request.command if machine.request is not None else None
    return command.snapshot if isinstance(command, commands.Clone) else ""


class Ledger:
    """The entries of one machine, and the corrections that were made to them."""

    __slots__ = ("corrections", "entries")

    def __init__(self, entries: Iterable[Entry] = (), corrections: Iterable[Record] = ()) -> None:
        self.entries = list(entries)
        self.corrections = list(corrections)

    def add(self, machine: Machine, record: Record) -> None:
        """Take one more record of the machine, which is given as it was before it."""
        if isinstance(record.event, events.Corrected):
            self.corrections.append(record)
        else:
            self.entries.extend(entries(machine, record))

    def known(self, known_at: int | None = None) -> list[Entry]:
        """Give the entries as they were known at a position, corrections applied."""
        by_name: dict[tuple[int, str, str, str], Record] = {}
        for record in self.corrections:
            if known_at is None or record.position <= known_at:
                event = record.event
                assert isinstance(event, events.Corrected)
                by_name[event.position, event.meter, event.subject, event.edge] = record
        return [
            _moved(entry, by_name.get((entry.position, entry.meter, entry.subject, entry.edge)))
            for entry in self.entries
            if known_at is None or entry.position <= known_at
        ]

    def intervals(self, *, as_of: Instant, known_at: int | None = None) -> tuple[Interval, ...]:
        """Pair what was true at an instant of what was known at a position."""
        return tuple(pair(self.known(known_at), as_of))

    def until(self, now: Instant, *, known_at: int | None = None) -> tuple[Interval, ...]:
        """Pair all that was known at a position, and measure what is open up to now."""
        return tuple(pair(self.known(known_at), now, cut=False))

    def check(self, machine: str, correction: events.Corrected) -> None:
        """Refuse a correction that names no entry, or that would count a second twice."""
        known = self.known()
        named = [
            entry
            for entry in known
            if (entry.position, entry.meter, entry.subject, entry.edge)
            == (correction.position, correction.meter, correction.subject, correction.edge)
        ]
        if not named:
            raise _refused(machine, f"position {correction.position} has no such {correction.edge}")
        same = [
            entry for entry in known if (entry.meter, entry.subject) == (correction.meter, correction.subject)
        ]
        place = same.index(named[0])
        before, after = same[:place][-1:], same[place + 1 :][:1]
        if any(later(entry.at, correction.truly) for entry in before) or any(
            later(correction.truly, entry.at) for entry in after
        ):
            raise _refused(machine, "it would overlap the entry before or after it")


def _refused(machine: str, why: str) -> CorrectionRefused:
    return CorrectionRefused(machine=machine, phase="", command="correct", to=why)


def _moved(entry: Entry, correction: Record | None) -> Entry:
    if correction is None:
        return entry
    assert isinstance(correction.event, events.Corrected)
    return replace(entry, at=correction.event.truly, corrected_by=correction.position)


def later(one: Instant, other: Instant) -> bool:
    """Say whether an instant lies after another: by boot time within a boot, else by wall time."""
    return one.boot > other.boot if one.boot_id == other.boot_id else one.wall > other.wall


class Timeline:
    """The instants of one subject and meter, clamped to the order of their records."""

    __slots__ = ("as_of", "begun", "last", "over", "start")

    def __init__(self, as_of: Instant | None) -> None:
        self.as_of = as_of
        """Where it is cut; None for nowhere."""
        self.over = False
        self.last: Instant | None = None
        self.start: Entry | None = None
        self.begun: Instant | None = None

    def clamp(self, at: Instant) -> Instant:
        """Give an instant that lies before none of the others, on either clock."""
        last = self.last
        if last is None:
            return at
        boot = max(at.boot, last.boot) if at.boot_id == last.boot_id else at.boot
        return Instant(max(at.wall, last.wall), boot, at.boot_id)

    def turn(self, entry: Entry) -> Interval | None:
        """Take an entry; a stop gives the interval that it ends.

        What lies beyond the cut has not come yet, and nothing that follows it in the log has either.
        """
        at = self.clamp(entry.at)
        self.over = self.over or (self.as_of is not None and later(at, self.as_of))
        if self.over:
            return None
        self.last = at
        if entry.edge == "start":
            assert self.start is None, f"started twice (position {entry.position})"
            self.start, self.begun = entry, at
            return None
        start, self.start = self.start, None
        return None if start is None else self._measured(start, entry, at)

    def open(self, until: Instant) -> Interval | None:
        """Give the interval that is still open, measured up to an instant."""
        return None if self.start is None else self._measured(self.start, None, self.clamp(until))

    def _measured(self, start: Entry, stop: Entry | None, until: Instant) -> Interval:
        assert self.begun is not None
        ns, basis = span(self.begun, until)
        moved = (self.begun, until) != (start.at, stop.at) if stop is not None else self.begun != start.at
        return Interval(
            machine=start.machine, subject=start.subject, meter=start.meter, shape=start.shape,
            start=start, stop=stop, begin=self.begun.wall, end=None if stop is None else until.wall,
            ns=ns, basis="clamped" if moved and basis == "wall" else basis,
        )  # fmt: skip


def pair(known: Iterable[Entry], until: Instant, *, cut: bool = True) -> Iterator[Interval]:
    """Pair starts with stops, subject by subject, in the order of the log.

    Open intervals are measured up to an instant; with `cut`, what lies beyond it is left out.
    """
    lines: dict[tuple[str, str, str], Timeline] = {}
    for entry in known:
        line = lines.setdefault((entry.machine, entry.meter, entry.subject), Timeline(until if cut else None))
        if (interval := line.turn(entry)) is not None:
            yield interval
    for line in lines.values():
        if (interval := line.open(until)) is not None:
            yield interval


def span(begun: Instant, until: Instant) -> tuple[int, Basis]:
    """Measure from one clamped instant to a later one, and say by which clock."""
    if begun.boot_id == until.boot_id:
        return until.boot - begun.boot, "boot"
    return until.wall - begun.wall, "wall"


def totals(intervals: Iterable[Interval]) -> tuple[Total, ...]:
    """Sum intervals by machine and meter."""
    sums: dict[tuple[str, str], list[int]] = {}
    for one in intervals:
        row = sums.setdefault((one.machine, one.meter), [0, 0, 0, 0])
        row[0] += one.ns
        row[1] += one.ns * one.shape.milli_cpus
        row[2] += one.ns * one.shape.memory
        row[3] += one.ns * one.shape.storage
    return tuple(
        Total(machine=machine, meter=meter, ns=row[0], milli_cpu_ns=row[1], memory_byte_ns=row[2],
              storage_byte_ns=row[3])
        for (machine, meter), row in sums.items()
    )  # fmt: skip
