"""What changed: two moments of a log, or two logs, compared machine by machine and line by line."""

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct

from eventvm.headway import Headway, untold
from eventvm.ledger import Entry
from eventvm.log import PAGE, EventLog
from eventvm.machine import Machine
from eventvm.past import Pasts
from eventvm.windows import Share

FIELDS = ("name", "phase", "generation", "incarnation", "quarantined", "doubted", "snapshots", "version")


class Change(Struct, frozen=True):
    """One thing of one machine that is not the same on both sides."""

    machine: str
    name: str
    what: str
    before: Any
    after: Any


def changed(one: Pasts, other: Pasts) -> Iterator[Change]:
    """Name what differs between two moments; a machine that is on one side alone is one change."""
    for id_ in sorted(one.machines.keys() | other.machines.keys()):
        before, after = _machine(one, id_), _machine(other, id_)
        if before is not None and after is not None:
            told, tells = _told(before), _told(after)
            differing = (what for what in told if told[what] != tells[what])
            yield from (Change(id_, after.name, what, told[what], tells[what]) for what in differing)
        elif (there := before or after) is not None:
            yield Change(id_, there.name, "phase", before and _title(before), after and _title(after))


def _title(machine: Machine) -> str:
    return machine.rules.definition.title(machine.phase)


def _machine(pasts: Pasts, id: str) -> Machine | None:  # noqa: A002  # the word of the domain
    past = pasts.machines.get(id)
    return past.machine if past is not None and past.was else None


def _told(machine: Machine) -> dict[str, Any]:
    request = machine.request
    told = {field: getattr(machine, field) for field in FIELDS}
    told["phase"] = _title(machine)
    told["request"] = None if request is None else request.command.verb
    told["labels"] = machine.spec.labels
    told["cpus"], told["memory"], told["storage"] = (
        machine.spec.cpus,
        machine.spec.memory,
        machine.spec.storage,
    )
    told["counting"] = [f"{one.meter} {one.subject}".strip() for one in machine.open]
    return told


async def parted(one: EventLog, other: EventLog, headway: Headway = untold) -> int:
    """Give the first position at which two logs do not hold the same record; 0: they hold the same.

    Where one of them only goes on, that is the first position beyond the shorter one.
    """
    after = 0
    sizes = one.tree.size, other.tree.size
    while after < min(sizes):
        limit = min(PAGE, min(sizes) - after)
        left = (await one.read(after=after, limit=limit)).records
        right = (await other.read(after=after, limit=limit)).records
        for mine, theirs in zip(left, right, strict=True):
            if mine.leaf != theirs.leaf:
                return mine.position
        after += limit
        headway("comparing", after, min(sizes))
    return 0 if sizes[0] == sizes[1] else min(sizes) + 1


# --- bills ----------------------------------------------------------------------------------------------


class Billed(Struct, frozen=True):
    """One line of two bills, and the records behind what changed."""

    machine: str
    meter: str
    subject: str
    before: Share | None
    after: Share | None
    positions: tuple[int, ...]


Key = tuple[str, str, str, int]


def rebilled(before: Iterable[Share], after: Iterable[Share], known: tuple[int, int]) -> Iterator[Billed]:
    """Name each line that is not the same on both bills, with the records that came between them.

    Where none of these is the line's own, it was moved by its neighbours: then theirs are named.
    """
    old, new = _keyed(before), _keyed(after)
    for key in sorted(old.keys() | new.keys()):
        was, now = old.get(key), new.get(key)
        if _amounts(was) != _amounts(now):
            own = _behind([was, now], known)
            yield Billed(*key[:3], was, now, own or _behind(_kin(key, old, new), known))


def _kin(key: Key, *bills: dict[Key, Share]) -> Iterator[Share]:
    """Give the lines of the same meter: each is clamped to those before it."""
    return (one for bill in bills for other, one in bill.items() if other[:3] == key[:3])


def _keyed(shares: Iterable[Share]) -> dict[Key, Share]:
    ones = ((share.interval, share) for share in shares)
    return {(one.machine, one.meter, one.subject, one.start.position): share for one, share in ones}


def _amounts(one: Share | None) -> object:
    return None if one is None else (one.ns, one.begin, one.end, one.interval.shape, one.interval.end)


def _behind(ones: Iterable[Share | None], known: tuple[int, int]) -> tuple[int, ...]:
    low, high = min(known), max(known)
    edges: list[Entry] = []
    for one in ones:
        if one is not None:
            edges += [entry for entry in (one.interval.start, one.interval.stop) if entry is not None]
    named = {position for entry in edges for position in (entry.position, entry.corrected_by)}
    return tuple(sorted(position for position in named if low < position <= high))
