"""The laws of a log and of the engine over it, as functions that anybody can call at any moment."""

from typing import Any

import msgspec

from eventvm.audit.replay import differences, replayed
from eventvm.engine import Engine
from eventvm.ledger import Ledger
from eventvm.log import EventLog
from eventvm.machine import Machine
from eventvm.observation import Instant
from eventvm.testing.witness import stream
from eventvm.views import Fleet, counted

LATER = Instant(1 << 62, 1 << 62, "after all boots")
"""An instant that lies after every other, whatever the clocks were set to."""


async def check_engine(engine: Engine) -> Fleet:
    """Hold an engine to the laws: what it knows is what a replay gives, and the log is lawful in itself.

    An engine that writes on meanwhile is looked at again, until it has stood still for one look.
    """
    while True:
        fleet = await check_log(engine.log)
        broken = [problem for id_ in fleet.machines for problem in await _unlike(engine, fleet, id_)]
        if engine.log.tree.size == fleet.position:
            assert not broken, f"replay equals live: {'; '.join(broken)}"
            assert engine.counts() == counted(fleet.machines.values()), "the counts are those of a recount"
            return fleet


async def check_log(log: EventLog) -> Fleet:
    """Replay a log from position 1, each hash and place checked, and hold what it tells to the laws."""
    fleet = await replayed(log)
    for ledger in fleet.ledgers.values():
        check_ledger(ledger)
    for id_, machine in fleet.machines.items():
        versions = [record.version async for record in stream(log, id_)]
        check_counts(machine, versions, len(fleet.histories.get(id_, ())))
    await check_names(log, fleet)
    return fleet


def check_ledger(ledger: Ledger, as_of: Instant = LATER) -> None:
    """See that every second is counted once: starts and stops alternate, and intervals never overlap."""
    edges: dict[tuple[str, str], str] = {}
    ends: dict[tuple[str, str], int] = {}
    for entry in ledger.entries:
        key = (entry.meter, entry.subject)
        assert entry.edge != edges.get(key, "stop"), (
            f"every second is counted once: two {entry.edge}s of {key}"
        )
        edges[key] = entry.edge
    for interval in sorted(ledger.intervals(as_of=as_of), key=lambda one: one.start.position):
        key = (interval.meter, interval.subject)
        assert interval.ns >= 0, f"every second is counted once: {key} counts backwards"
        assert interval.begin >= ends.get(key, interval.begin), (
            f"every second is counted once: {key} overlaps"
        )
        ends[key] = interval.end if interval.end is not None else interval.begin


def check_counts(machine: Machine, versions: list[int], changes: int) -> None:
    """See that the version counts a machine's records without a gap, and the generation its changes."""
    assert versions == list(range(1, machine.version + 1)), (
        f"versions are gapless: {machine.name}: {versions}"
    )
    counted = f"{machine.name} has had {changes}, its generation is {machine.generation}"
    assert machine.generation == changes, f"the generation counts the changes of phase: {counted}"


async def check_names(log: EventLog, fleet: Fleet) -> None:
    """Let a name lead to its holder, else to its last holder; nobody else holds it."""
    for name, id_ in fleet.names.items():
        holder = await log.find(name)
        assert holder is not None, f"a name has one holder: {name} leads to nobody"
        assert holder.stream == id_, f"a name has one holder: {name} leads to {holder.stream}, not to {id_}"
        held = name in fleet.machines[id_].names
        assert holder.held == held, f"a name has one holder: {name} is {'held' if held else 'free'}"


async def _unlike(engine: Engine, fleet: Fleet, id_: str) -> list[str]:
    """Say where what lives is not what was replayed."""
    live = (await engine.cells.cell(id_)).machine
    found = differences(fleet, [live])
    if await engine.history(id_) != fleet.histories.get(id_, []):
        found.append(f"{live.name}: another history")
    if (await engine.ledger(id_)).entries != fleet.ledgers[id_].entries:
        found.append(f"{live.name}: another ledger")
    return found


def frozen(machine: Machine) -> dict[str, Any]:
    """Give all that is known of a machine, to be compared later."""
    return {**msgspec.structs.asdict(machine), "rules": machine.rules.digest}
