"""The laws of a log and of the engine over it, as functions that anybody can call at any moment."""

from typing import Any

import msgspec

from eventvm.ledger import Ledger
from eventvm.machine import Machine
from eventvm.observation import Instant

LATER = Instant(1 << 62, 1 << 62, "after all boots")
"""An instant that lies after every other, whatever the clocks were set to."""


def check_ledger(ledger: Ledger, as_of: Instant = LATER) -> None:
    """Every second is counted once: starts and stops alternate, and intervals never overlap."""
    edges: dict[tuple[str, str], str] = {}
    ends: dict[tuple[str, str], int] = {}
    for entry in ledger.entries:
        key = (entry.meter, entry.subject)
        assert entry.edge != edges.get(key, "stop"), f"two {entry.edge}s of {key}"
        edges[key] = entry.edge
    for interval in sorted(ledger.intervals(as_of=as_of), key=lambda one: one.start.position):
        key = (interval.meter, interval.subject)
        assert interval.ns >= 0
        assert interval.begin >= ends.get(key, interval.begin), f"{key} overlaps"
        ends[key] = interval.end if interval.end is not None else interval.begin


def frozen(machine: Machine) -> dict[str, Any]:
    """Give all that is known of a machine, to be compared later."""
    return {**msgspec.structs.asdict(machine), "rules": machine.rules.digest}
