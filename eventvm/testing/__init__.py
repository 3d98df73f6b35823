"""What users need to test their own code: virtual time, lives without an engine, worlds that crash, laws.

The contracts of a log and of a provider are imported from their own modules, contract_log and
contract_provider, and the fixtures are in plugin: nothing else here needs pytest.
"""

from eventvm.lifecycle_laws import check_lifecycle
from eventvm.testing.lawful import lawful
from eventvm.testing.laws import LATER, check_engine, check_ledger, check_log
from eventvm.testing.life import Life
from eventvm.testing.loop import Deadlock, VirtualClock, VirtualLoop, loop_factory, virtual
from eventvm.testing.story import Story, absent, given
from eventvm.testing.witness import Witness
from eventvm.testing.world import Disk, World

__all__ = [
    "LATER", "Deadlock", "Disk", "Life", "Story", "VirtualClock", "VirtualLoop", "Witness", "World", "absent",
    "check_engine", "check_ledger", "check_lifecycle", "check_log", "given", "lawful", "loop_factory",
    "virtual",
]  # fmt: skip
