"""What users need to test their own code: virtual time, lives without an engine, worlds that crash, laws."""

from eventvm.testing.laws import LATER, check_ledger
from eventvm.testing.life import Life
from eventvm.testing.lifecycle_laws import check_lifecycle
from eventvm.testing.loop import Deadlock, VirtualClock, VirtualLoop, loop_factory
from eventvm.testing.world import Disk, Witness, World

__all__ = [
    "LATER", "Deadlock", "Disk", "Life", "VirtualClock", "VirtualLoop", "Witness", "World", "check_ledger",
    "check_lifecycle", "loop_factory",
]  # fmt: skip
