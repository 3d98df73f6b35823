"""The rebuild: what the records say of all that is stored beside them, and whether each was allowed to.

It holds the machines that live, one place for each stream, and the names; a machine whose life is over is
folded again from its stream if there is more to say of it. So a log of any length is checked in the memory
that its machines need.
"""

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from eventvm.engine.cells import Cells
from eventvm.errors import CorrectionRefused, EventvmError, IllegalEvent
from eventvm.events import Corrected, LifecycleDefined
from eventvm.ledger import Entry, Ledger, entries
from eventvm.lifecycle import Rules
from eventvm.log import EventLog, Holder
from eventvm.machine import Machine, evolve
from eventvm.record import Record
from eventvm.views import Alike, defined, of_machine, tag

LIFECYCLES = "lifecycle/"
"""How the streams begin that hold definitions."""
NOBODY = Holder("", held=False)
SOMEBODY = Holder("?", held=False)
"""Whoever let a name go before the first record that was read, if anybody did."""
Counted = set[tuple[str, str]]
"""The meters that count, each with its subject."""


class Rebuild:
    """A fold that believes nothing: what is illegal stops it, at its position."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._cells = Cells(log)
        self.living: dict[str, Machine] = {}
        """The machines whose lives are not over."""
        self.heads: dict[str, tuple[int, int]] = {}
        """Version and position of the last record of each stream."""
        self.names: dict[str, Holder] = {}
        self.named: dict[str, int] = {}
        """The position at which each of these names last moved."""
        self.before = NOBODY
        """Whose a name was that no record here tells of."""
        self.keyed = 0
        """How many records have a key."""
        self._counted: dict[str, Counted] = {}
        self._ledgers: dict[str, Ledger] = {}
        """Of the machines that were corrected: who corrects once corrects again."""
        self._recorded_at = 0
        self._specs = Alike()

    async def take(self, record: Record) -> None:
        """Fold one record in."""
        try:
            self._place(record)
            if isinstance(record.event, LifecycleDefined):
                self._define(record.event)
            elif of_machine(record.stream):
                await self._live(record)
        except IllegalEvent as problem:
            raise (
                problem if problem.position else IllegalEvent(str(problem), position=record.position)
            ) from None
        except EventvmError:
            raise
        except Exception as problem:  # a forged record fails in any way it likes
            why = f"{tag(record)} cannot be folded: {problem!r}"
            raise IllegalEvent(why, position=record.position) from problem

    def _place(self, record: Record) -> None:
        if record.recorded_at < self._recorded_at:
            raise IllegalEvent("it was recorded before the record that it follows")
        if not 0 <= record.cause < record.position:
            raise IllegalEvent(f"it follows from position {record.cause}, which is not before it")
        if record.key is None and record.digest:
            raise IllegalEvent("it holds the digest of a command without a key")
        self._recorded_at = record.recorded_at
        self.keyed += record.key is not None
        self.heads[record.stream] = (record.version, record.position)

    def _define(self, event: LifecycleDefined) -> None:
        definition = defined(event)
        if Rules(definition).digest != event.digest:
            raise IllegalEvent(f"the lifecycle {definition.name} is not the one that its digest names")
        self._cells.definitions.add(event.digest, definition)

    async def define(self) -> None:
        """Read all definitions, where the records that hold them are passed over."""
        stream = LIFECYCLES
        while streams := await self._log.streams(after=stream, limit=1):
            (stream,) = streams
            if not stream.startswith(LIFECYCLES):
                return
            await self._defined(stream)

    async def _defined(self, stream: str) -> None:
        after, end = 0, False
        while not end:
            page = await self._log.read(stream=stream, after=after)
            for record in page.records:
                assert isinstance(record.event, LifecycleDefined), (
                    "the stream of a lifecycle holds definitions"
                )
                self._define(record.event)
            after, end = page.position, page.end

    async def _live(self, record: Record) -> None:
        before = self.living.get(record.stream) or await self._met(record)
        after = evolve(before, record.event, record.position)
        if after.over and after.request is None:
            self.living.pop(after.id, None)
        else:
            self.living[after.id] = after if after.spec is before.spec else self._specs.share(after)
        if before.open is not after.open:
            self._count(before, after, entries(before, record))
        if isinstance(record.event, Corrected):
            await self._correct(after, record.event, record.position)
        if (ledger := self._ledgers.get(after.id)) is not None:
            ledger.add(before, record)
        if (before.name, before.holds, before.claims) != (after.name, after.holds, after.claims):
            self._name(before, after)

    async def _met(self, record: Record) -> Machine:
        """Fold a machine as it was before a record; the names that it has are its own."""
        machine = await self._cells.before(record)
        for name in machine.names:
            self.names.setdefault(name, Holder(machine.id, held=True))
        return machine

    # --- the ledger

    def _count(self, before: Machine, after: Machine, entered: Iterable[Entry]) -> None:
        """Check that each start follows a stop, and that the machine counts what its ledger says."""
        counted = self._counted.get(before.id) or _open(before)
        for entry in entered:
            one = (entry.meter, entry.subject)
            if (one in counted) is (entry.edge == "start"):
                twice = "started" if entry.edge == "start" else "stopped"
                raise IllegalEvent(f"the meter {entry.meter} is {twice} twice")
            counted ^= {one}
        if counted != _open(after):
            raise IllegalEvent("the machine counts other meters than its ledger")
        if counted:
            self._counted[before.id] = counted
        else:
            self._counted.pop(before.id, None)

    async def _correct(self, machine: Machine, event: Corrected, position: int) -> None:
        if (ledger := self._ledgers.get(machine.id)) is None:
            ledger = self._ledgers[machine.id] = await self._cells.ledger(machine.id, until=position - 1)
        try:
            ledger.check(machine.name, event)
        except CorrectionRefused as problem:
            raise IllegalEvent(str(problem), position=position) from problem

    # --- names

    def _name(self, before: Machine, after: Machine) -> None:
        """Follow the names that a machine reserves, takes and lets go, as the log does."""
        if after.claims and after.claims != before.claims:
            self._hold(after.claims, after, reserved=after.id)
        for name in after.names:
            if name not in before.names:
                self._hold(name, after, stream=after.id, held=True, reserved="")
        for name in {*before.names, before.claims} - {*after.names, after.claims, ""}:
            holder = self.names.get(name) or replace(self.before, reserved=before.id)
            if holder.reserved == after.id:
                self._lead(name, replace(holder, reserved=""), after.position)
            elif holder.stream == after.id:
                self._lead(name, replace(holder, held=False), after.position)

    def _hold(self, name: str, machine: Machine, **changes: Any) -> None:
        holder = self.names.get(name, self.before)
        taker = holder.stream if holder.held and holder.stream != machine.id else holder.reserved
        if taker not in {"", machine.id}:
            raise IllegalEvent(f"the name {name!r} is taken while {taker} holds it")
        self._lead(name, replace(holder, **changes), machine.position)

    def _lead(self, name: str, holder: Holder, position: int) -> None:
        self.names[name], self.named[name] = holder, position


def _open(machine: Machine) -> Counted:
    return {(one.meter, one.subject) for one in machine.open}
