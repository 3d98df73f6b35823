"""Replay: fold the whole log again from position 1, and say where the living state differs."""

from collections.abc import AsyncIterator, Iterable

from eventvm.headway import Headway, untold
from eventvm.log import EventLog, Replay
from eventvm.machine import Machine
from eventvm.views import Fleet

PAGE = 4000
"""Records that a plain fold asks for at once."""


async def folded(log: EventLog) -> Fleet:
    """Rebuild every view from position 1, and believe the store that the records are what was written."""
    fleet, until = Fleet(), log.tree.size
    while fleet.position < until:
        for record in (await log.read(after=fleet.position, limit=PAGE)).records:
            fleet.apply(record)
    return fleet


async def replayed(log: EventLog) -> Fleet:
    """Rebuild every view from position 1, each hash checked on the way."""
    fleet = Fleet()
    async for records in Replay(log):
        for record in records:
            fleet.apply(record)
    return fleet


def differences(fleet: Fleet, living: Iterable[Machine]) -> list[str]:
    """Name each field in which a living machine is not what the log says."""
    found = []
    for machine in living:
        told = fleet.machines.get(machine.id)
        if told is None:
            found.append(f"{machine.id} has no records")
            continue
        found.extend(
            f"{machine.name}: {field} is {getattr(machine, field)!r}, the log says {getattr(told, field)!r}"
            for field in machine.__struct_fields__
            if getattr(machine, field) != getattr(told, field)
        )
    return found


async def wrong_names(log: EventLog, fleet: Fleet, headway: Headway = untold) -> AsyncIterator[str]:
    """Name each name that leads to another machine than the log says."""
    for done, (name, stream) in enumerate(fleet.names.items()):
        headway("comparing names", done, len(fleet.names))
        holder = await log.find(name)
        if holder is None or holder.stream != stream:
            yield name
