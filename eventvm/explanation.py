"""Explaining: why a machine is in its phase, and where each second of its bill comes from, in sentences.

Every sentence names the positions that it follows from, so that it can be checked record by record.
"""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import msgspec
from msgspec import Struct

from eventvm import events
from eventvm.decisions import taken
from eventvm.events import why
from eventvm.ledger import Entry, Interval
from eventvm.machine import Machine
from eventvm.observation import Instant
from eventvm.past import Past, when
from eventvm.picture import told
from eventvm.record import Record
from eventvm.times import SECOND_NS, briefly, exactly, length, rfc3339
from eventvm.views import Transition, described, tag

BY_CLOCK = {
    "boot": "by the host's boot clock",
    "wall": "by the wall clock",
    "clamped": "by the wall clock, which had gone back",
}


class Sentence(Struct, frozen=True):
    """One thing that is so, and the records that say it."""

    text: str
    positions: tuple[int, ...]


def advice(machine: Machine) -> str:
    """Name the next safe command: one that destroys nothing, and leads on or at least shows where it stands.

    Empty where nothing is called for.
    """
    if machine.quarantined:
        return f"restore {list(machine.snapshots)[-1]}" if machine.snapshots else ""
    if machine.terminal or not machine.exists:
        return ""
    onward = "" if machine.phase in machine.rules.definition.active else _onward(machine)
    counts = any(one.meter != "storage" for one in machine.open)  # it may run although something went wrong
    lost = machine.phase in machine.rules.definition.faulty and (counts or not onward)
    if machine.spec.provider and (lost or machine.request is not None or machine.doubted):
        return "reconcile"
    return onward


def _onward(machine: Machine) -> str:
    """Name the command that runs a machine which rests, or the move that its application may report next."""
    ways = [one for one in taken(machine) if one in ("resume", "start") or one.startswith("transition ")]
    return ways[0] if ways else ""


def order(machine: Machine, log: str = "") -> str:
    """Write the next safe command as a shell takes it, for the log that was named; empty where none is."""
    verb, _, word = advice(machine).partition(" ")
    words = [machine.name, word] if word else [machine.name]
    bar = ["--"] if any(one.startswith("-") for one in words) else []
    where = ["--log", log] if log else []
    return shlex.join(["eventvm", verb, *where, *bar, *words]) if verb else ""


# --- at a glance ----------------------------------------------------------------------------------------


def account(past: Past, as_of: Instant) -> dict[str, Any]:
    """Describe a machine as it was, in plain values that every JSON reader reads right."""
    machine = past.machine
    return {
        **described(machine, as_of),
        "since": rfc3339(past.last_change) if past.came else None,
        "since_seconds": _age(past.last_change, as_of) if past.came else None,
        "came_by": None if past.came is None else {**_named(past.came), "fault": past.fault},
        "provider": machine.spec.provider,
        "shape": {key: str(value) for key, value in msgspec.to_builtins(machine.spec.shape).items()},
        "snapshots": {name: str(size) for name, size in machine.snapshots.items()},
        "end": None if machine.end is None else msgspec.to_builtins(machine.end),
        "request": _request(past, as_of),
        "observation": None if past.seen is None else _observation(past.seen, as_of),
        "next": advice(machine),
    }


def _named(record: Record) -> dict[str, Any]:
    event: Any = record.event
    return {
        "position": record.position, "event": tag(record), "reason": why(event), "actor": record.actor,
        "at": rfc3339(event.at.wall), "recorded_at": rfc3339(record.recorded_at),
    }  # fmt: skip


def _request(past: Past, as_of: Instant) -> dict[str, Any] | None:
    request, asked = past.machine.request, past.asked
    if request is None or asked is None:
        return None
    return {
        "command": request.command.verb, "position": request.position, "actor": asked.actor,
        "owner": request.owner, "since": rfc3339(when(asked)), "deadline": rfc3339(request.deadline),
        "seconds_left": (request.deadline - as_of.wall) // SECOND_NS,
    }  # fmt: skip


def _observation(seen: Record, as_of: Instant) -> dict[str, Any]:
    event: Any = seen.event
    at = event.evidence.when or event.at
    return {
        "position": seen.position, "event": tag(seen), "source": event.evidence.source,
        "verified": event.evidence.verified, "at": rfc3339(at.wall),
        "age_seconds": _age(at.wall, as_of),
    }  # fmt: skip


def _age(wall: int, as_of: Instant) -> int:
    return max(0, as_of.wall - wall) // SECOND_NS


# --- in sentences ---------------------------------------------------------------------------------------


def explained(past: Past, intervals: Iterable[Interval], as_of: Instant) -> Iterator[Sentence]:
    """Explain a machine as it was at an instant, its bill measured up to then."""
    yield from _beginning(past)
    yield from (_change(change, past.faults.get(change.position, "")) for change in past.changes)
    yield from _standing(past, as_of)
    for _, ones in groupby(sorted(intervals, key=_by_meter), key=_what):
        yield from _metered(list(ones))


def _beginning(past: Past) -> Iterator[Sentence]:
    machine = past.machine
    named = ", ".join(sorted(set(past.held) - {machine.name}))
    also = f"; it was called {named} before" if named else ""
    yield Sentence(f"{machine.name} is a {machine.rules.name} with the id {machine.id}{also}.", ())


def _change(change: Transition, fault: str) -> Sentence:
    """Tell a change of phase: what went wrong is told apart from why somebody had asked for it."""
    reason = change.reason.removeprefix("force: ") if change.forced else change.reason
    because = f", because: {reason}" if reason and reason != fault else ""
    if fault:
        because = f": {fault}" + (f"; what had failed was asked for{because}" if because else "")
    forced = " by force" if change.forced else ""
    return Sentence(
        f"At {briefly(change.timestamp)} {_moved(change)}{forced} ({change.event}){because}.",
        (change.position,),
    )


def _moved(change: Transition) -> str:
    if change.from_ != change.to:
        return f"it went from {change.from_} to {change.to}"
    return f"it {'began' if change.event == 'machine.created' else 'stayed'} {change.to}"


def _standing(past: Past, as_of: Instant) -> Iterator[Sentence]:
    machine = past.machine
    title = machine.rules.definition.title(machine.phase)
    since = (machine.since,) if machine.since else ()
    lasting = f", for {length(max(0, as_of.wall - past.last_change))}" if past.came else ""
    yield Sentence(f"So it is {title}{lasting}.", since)
    if past.came is not None:
        yield from _told_late(past.came)
    if machine.end is not None:
        yield Sentence(f"Its last end: {told(machine.end)}.", (past.ended,))
    if machine.request is not None:
        yield _open_request(past, as_of)
    if past.seen is not None:
        yield _sight(past.seen, as_of)
    if machine.quarantined:
        yield Sentence("It is in quarantine: what is left of it is not to be trusted.", since)
    if machine.doubted:
        yield Sentence("It is in doubt: the record may be behind the world, so somebody has to look.", ())


def _told_late(came: Record) -> Iterator[Sentence]:
    event = came.event
    if not isinstance(event, events.Unknown) and came.recorded_at - event.at.wall >= SECOND_NS:
        late = length(came.recorded_at - event.at.wall)
        yield Sentence(
            f"The log learned of it at {briefly(came.recorded_at)}, {late} late.", (came.position,)
        )


def _open_request(past: Past, as_of: Instant) -> Sentence:
    request = past.machine.request
    assert request is not None
    left = request.deadline - as_of.wall
    until = f"{length(left)} left" if left > 0 else f"its deadline passed {length(-left)} ago"
    asked = f" by {past.asked.actor}" if past.asked is not None and past.asked.actor else ""
    text = f"A request is open: {request.command.verb}, asked for{asked}, {until}; no outcome is recorded."
    return Sentence(text, (request.position,))


def _sight(seen: Record, as_of: Instant) -> Sentence:
    event: Any = seen.event
    evidence = event.evidence
    verified = "verified" if evidence.verified else "not verified"
    at = evidence.when or event.at
    age = length(max(0, as_of.wall - at.wall))
    text = f"It was last seen by {evidence.source} ({verified}), {age} before, as {tag(seen)} tells."
    return Sentence(text, (seen.position,))


# --- the bill -------------------------------------------------------------------------------------------


def _by_meter(one: Interval) -> tuple[str, str, int, int]:
    return one.subject, one.meter, one.begin, one.start.position


def _what(one: Interval) -> str:
    return f"{one.meter} of the snapshot {one.subject}" if one.subject else one.meter


def _metered(ones: Sequence[Interval]) -> Iterator[Sentence]:
    """Tell of each interval of a meter, and of their sum where there are several."""
    for one in ones:
        yield from _counted(one)
    if len(ones) > 1:
        whole = exactly(sum(one.ns for one in ones))
        yield Sentence(f"{_what(ones[0])}: {whole} in all.", tuple(one.start.position for one in ones))


def _counted(one: Interval) -> Iterator[Sentence]:
    begun = (
        f"{_what(one)}: {exactly(one.ns)} {BY_CLOCK[one.basis]}, "
        f"from {briefly(one.begin)} ({one.start.reason})"
    )
    if one.stop is None or one.end is None:
        yield Sentence(f"{begun}, and it is still being counted.", (one.start.position,))
    else:
        yield Sentence(f"{begun} to {briefly(one.end)} ({one.stop.reason}).",
                       (one.start.position, one.stop.position))  # fmt: skip
    for entry in (one.start, one.stop):
        if entry is not None:
            yield from _corrected(entry)


def _corrected(entry: Entry) -> Iterator[Sentence]:
    if entry.corrected_by:
        moved = f"its {entry.edge} at position {entry.position} was moved to {briefly(entry.at.wall)}"
        yield Sentence(f"{entry.meter}: {moved} by a correction.", (entry.position, entry.corrected_by))
