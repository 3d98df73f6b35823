"""A provider that testifies: nobody reached into its world without a durable request for just that."""

from collections.abc import AsyncIterator, Awaitable, Callable

from eventvm.clock import Clock
from eventvm.events import LifecycleDefined
from eventvm.log import EventLog
from eventvm.machine import Machine, evolve, steps
from eventvm.observation import Observation
from eventvm.provider import Target
from eventvm.providers.simulated import Simulated
from eventvm.record import Record
from eventvm.views import Definitions, defined, first

Durable = Callable[[str], Awaitable[Machine | None]]
"""Gives a machine as the durable records tell of it, or nothing if they do not."""


class Witness(Simulated):
    """A simulated world that writes down who touches it unasked; `violations` has to stay empty."""

    def __init__(self, clock: Clock, durable: Durable) -> None:
        super().__init__(clock)
        self.probes: list[str] = []
        """The name of each machine that was probed."""
        self.violations: list[str] = []
        """The calls that no durable request had asked for, and those that were made twice."""
        self._durable = durable
        self._answered: set[tuple[int, str]] = set()

    async def _act(self, call: str, target: Target, deed: Callable[[], object]) -> None:
        asked = await self._asked(call, target)
        if asked is None:
            self.violations.append(f"{call} of {target.name} without a durable request for it")
        elif (asked, call) in self._answered:
            self.violations.append(f"{call} of {target.name} twice for the request at {asked}")
        else:
            self._answered.add((asked, call))
        await super()._act(call, target, deed)

    async def _asked(self, call: str, target: Target) -> int | None:
        """Give the position of the open request that asks for a call."""
        machine = await self._durable(target.id)
        if machine is None or machine.request is None:
            return None
        return machine.request.position if call in {step.call for step in steps(machine)} else None

    def forget(self) -> None:
        """Let requests of these positions be answered once more, because the log went back."""
        self._answered.clear()

    async def probe(self, target: Target) -> Observation:
        self.probes.append(target.name)
        return await super().probe(target)


async def durable(log: EventLog, id_: str) -> Machine | None:
    """Fold one machine from a log, by nothing but the pure core."""
    definitions, machine = Definitions(), None
    for name in await log.streams(after="lifecycle/"):
        if name.startswith("lifecycle/"):
            async for record in stream(log, name):
                assert isinstance(record.event, LifecycleDefined), "such a stream holds definitions"
                definitions.add(record.event.digest, defined(record.event))
    async for record in stream(log, id_):
        machine = evolve(machine or first(record, definitions), record.event, record.position)
    return machine


async def stream(log: EventLog, name: str) -> AsyncIterator[Record]:
    """Read one stream from its first record to its last."""
    after, end = 0, False
    while not end:
        page = await log.read(stream=name, after=after)
        for record in page.records:
            yield record
        after, end = page.position, page.end
