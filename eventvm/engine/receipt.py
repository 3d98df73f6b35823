"""The receipt: what the caller of a command gets."""

from typing import Literal

from msgspec import Struct

from eventvm.machine import Machine

How = Literal["done", "nothing", "reconciled", "repeated", "requested", "reached"]


class Receipt(Struct, frozen=True, gc=False):
    """Where a command's outcome stands in the log, and what the machine is by then."""

    machine: str
    """The machine's id."""
    name: str
    position: int
    version: int
    generation: int
    phase: str
    how: How = "done"
    """`nothing`: it was so already. `reconciled`: the record was repaired. `repeated`: an earlier key's."""


def receipt_of(machine: Machine, how: How) -> Receipt:
    """Make the receipt of a machine as it is now."""
    return Receipt(
        machine.id, machine.name, machine.position, machine.version, machine.generation, machine.phase, how
    )
