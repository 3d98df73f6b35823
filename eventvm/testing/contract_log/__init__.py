"""The contract of a log: the laws of eventvm.log, for every store.

    class TestMyLog(LogContract):
        @asynccontextmanager
        async def open(self, *, clock=time.time_ns):
            async with my_log(self.path, clock) as log:
                yield log

A log that can be damaged behind its back has `tamper`, `lose` or `assaults` as well, and is held to the laws
of damage too.
"""

from eventvm.testing.contract_log.appends import Appends
from eventvm.testing.contract_log.durability import Durability
from eventvm.testing.contract_log.following import Following
from eventvm.testing.contract_log.names import Names
from eventvm.testing.contract_log.reads import Reads
from eventvm.testing.contract_log.subject import adding, everything, said
from eventvm.testing.contract_log.tickets import Tickets


class LogContract(Appends, Tickets, Reads, Following, Names, Durability):
    """All that a log promises."""


__all__ = ["LogContract", "adding", "everything", "said"]
