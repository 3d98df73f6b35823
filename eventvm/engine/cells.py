"""What the engine holds in memory: a cell for each living machine, loaded from the log and kept beside it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import anyio
import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr

from eventvm import limits
from eventvm.engine.roll import Roll
from eventvm.errors import EventvmError
from eventvm.events import LifecycleDefined
from eventvm.ledger import Ledger
from eventvm.lifecycle import Recorded, Rules
from eventvm.log import EventLog, Replay
from eventvm.machine import Machine, blank, evolve
from eventvm.observation import Observation
from eventvm.record import Record
from eventvm.views import Definitions, defined, first, of_machine

if TYPE_CHECKING:
    from eventvm.engine.turn import Turn
    from eventvm.engine.waiting import Wait

VIEW = "machines.2"
"""The kept view of all living machines; another number when what it holds changes."""
PART = 256
"""Machines in one part of it: few enough that encoding one does not hold the loop."""


Part = dict[str, Recorded] | list[Machine]
"""What a part of the kept view says: one the definitions, the others the machines."""
Life = tuple[Machine, Record, Machine]
"""A record of a machine, between what the machine was before it and what it was after."""


class Cell(Struct, eq=False, weakref=True):
    """One machine in memory.

    It leads to nothing that leads back to it, so a garbage collection passes it over, however many there are:
    what happens to a machine just now, and who waits for it, stands in the Cells.
    """

    machine: Machine
    seen: Observation | None = None
    """The last look at it; memory only, for people."""


class Cells:
    """All cells: the living ones for as long as they live, the ended ones while somebody holds them."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.definitions = Definitions()
        self.living: dict[str, Cell] = {}
        self.roll = Roll()
        self._ended: WeakValueDictionary[str, Cell] = WeakValueDictionary()
        self.turns: dict[Cell, Turn] = {}
        """Whose turn it is, at those machines at which it is anybody's."""
        self.queues: dict[Cell, deque[Turn]] = {}
        """Who waits for a turn."""
        self.waits: dict[Cell, dict[Wait, None]] = {}
        """Who waits for what, in the order of asking."""
        self.named: dict[str, asyncio.Future[None]] = {}
        """For names that somebody waits for: resolved when a machine takes the name."""
        self.waiting = 0
        self.folded = 0
        """Up to which position loading has folded the log."""
        self._moved: dict[str, Machine] | None = None
        """While the living are being kept: those that moved since that began, as they were then."""
        self.left = False
        """Whether nothing will be noticed any more."""

    @contextmanager
    def waited_for(self) -> Iterator[None]:
        """Count one who waits, if there is room."""
        limits.room(self.waiting, limits.WAITERS, "waits")
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    # --- loading

    async def load(self) -> None:
        """Fold the log, from what was kept if that is whole; a kept view that does not fit is left aside."""
        try:
            await self._fold(await self._log.kept(VIEW, self.reading()))
        except (EventvmError, msgspec.MsgspecError, ValueError):
            self.definitions, self.living, self.roll = Definitions(), {}, Roll()
            await self._fold(None)

    async def _fold(self, kept: Any) -> None:
        if kept is not None:
            await self.unpack(kept.parts)
        replay = Replay(self._log, kept.tree if kept else None)
        async for records in replay:
            for record in records:
                await self._apply(record)
        self.folded = replay.until

    async def _apply(self, record: Record) -> None:
        if isinstance(record.event, LifecycleDefined):
            self.definitions.add(record.event.digest, defined(record.event))
        elif of_machine(record.stream):
            cell = self.living.get(record.stream) or Cell(await self.before(record))
            self.move(cell, evolve(cell.machine, record.event, record.position))

    async def before(self, record: Record) -> Machine:
        """Fold the machine that a record happens to from its stream, as it was before it."""
        if record.version == 1:
            return first(record, self.definitions)
        return await self.read(record.stream, until=record.position - 1)

    async def read(self, id: str, *, until: int | None = None) -> Machine:  # noqa: A002  # the word of the domain
        """Fold one machine from its stream alone, up to a position."""
        machine: Machine | None = None
        async for *_, after in self.lived(id, until=until):
            machine = after
        assert machine is not None, f"{id} has no records"
        return machine

    async def ledger(self, id: str, *, until: int | None = None) -> Ledger:  # noqa: A002  # the word of the domain
        """Fold the ledger of one machine from its stream alone, up to a position."""
        ledger = Ledger()
        async for before, record, _ in self.lived(id, until=until):
            ledger.add(before, record)
        return ledger

    async def lived(self, stream: str, *, until: int | None = None) -> AsyncIterator[Life]:
        """Fold a stream, and give each record between the machine before it and the one after."""
        machine: Machine | None = None
        position, end = 0, False
        while not end:
            page = await self._log.read(stream=stream, after=position)
            for record in page.records:
                if until is not None and record.position > until:
                    return
                before = machine or first(record, self.definitions)
                machine = evolve(before, record.event, record.position)
                yield before, record, machine
            position, end = page.position, page.end

    def move(self, cell: Cell, after: Machine) -> None:
        """Let a cell be what a durable record makes of its machine; most records alter nothing else."""
        before, cell.machine = cell.machine, after
        if self._moved is not None:
            self._moved.setdefault(before.id, before)
        terminal = after.rules.terminal
        plain = (  # whoever holds a name lives, unless its phase is an end
            before.holds and after.holds and before.spec is after.spec
            and before.phase not in terminal and after.phase not in terminal
        )  # fmt: skip
        if not plain:
            if not self.roll.follow(before, after):
                self._place(cell)
        elif before.phase != after.phase:
            self.roll.shift(before, after.phase)

    def learn(self, cell: Cell, record: Record) -> Machine:
        """Move a cell, because a record is durable, and wake whoever waits for the name that it takes."""
        before, after = cell.machine, evolve(cell.machine, record.event, record.position)
        self.move(cell, after)
        if after.holds and (before.name != after.name or not before.holds):
            self.announce(after.name)
        return after

    def _place(self, cell: Cell) -> None:
        """Hold a cell for as long as something of it is under way, and weakly afterwards."""
        machine = cell.machine
        if machine.over and machine.request is None:
            self.living.pop(machine.id, None)
            self._ended[machine.id] = cell
        else:
            self.living[machine.id] = cell

    async def cell(self, id: str) -> Cell:  # noqa: A002  # the word of the domain
        """Give the cell of a machine that has records."""
        if (cell := self.held(id)) is not None:
            return cell
        machine = await self.read(id)
        return self.held(id) or self._placed(machine)

    async def ended(self, id: str) -> Cell | None:  # noqa: A002  # the word of the domain
        """Give the cell of a machine that is over; None for one that is just being born."""
        machine = await self.read(id)
        return self.held(id) or (self._placed(machine) if machine.over else None)

    def held(self, id: str) -> Cell | None:  # noqa: A002  # the word of the domain
        """Give a cell that is in memory."""
        return self.living.get(id) or self._ended.get(id)

    def _placed(self, machine: Machine) -> Cell:
        cell = Cell(machine)
        self._place(cell)
        return cell

    # --- keeping

    async def keep(self) -> None:
        """Keep all living machines beside the log, as they are at its present end; once at a time."""
        if self._moved is None:
            self._moved = {}
            try:
                tree, ids = self._log.tree.copy(), tuple(self.living)
                await self._log.keep(VIEW, tree, await self._packed(ids, self._moved))
            finally:
                self._moved = None

    async def _packed(self, ids: Iterable[str], moved: dict[str, Machine]) -> list[bytes]:
        """Encode machines in steps between which others run, each as it was when that began."""
        parts = [msgspec.msgpack.encode({rules.digest: rules.definition for rules in self.definitions})]
        left = iter(ids)
        while some := list(islice(left, PART)):
            machines = [moved.get(id_) or self.living[id_].machine for id_ in some]
            parts.append(_ENCODER.encode([machine for machine in machines if machine.exists]))
            await anyio.lowlevel.checkpoint()
        return parts

    def reading(self) -> Callable[[bytes], Part]:
        """Give what reads a part of what was kept: first the definitions, by which the others are read."""
        decode = msgspec.msgpack.Decoder(Part, dec_hook=self._rules).decode

        def read(part: bytes) -> Part:
            told: Part = decode(part)
            if isinstance(told, list):
                return _alike(told)
            for digest, definition in told.items():
                self.definitions.add(digest, definition)
            return told

        return read

    async def unpack(self, parts: Iterable[Part]) -> None:
        """Take in the living machines as they were kept, each part as it was read."""
        definitions, *machines = parts
        if isinstance(definitions, list):
            raise ValueError("a kept view begins with its definitions")  # noqa: TRY004  # it is no type of ours
        for part in machines:
            if isinstance(part, dict):
                raise ValueError("a kept view has definitions twice")  # noqa: TRY004
            for machine in part:
                self.living[machine.id] = Cell(machine)
                if machine.living:
                    self.roll.enter(machine)
            await anyio.lowlevel.checkpoint()

    def _rules(self, kind: type, digest: Any) -> Rules:
        assert kind is Rules
        return self.definitions[digest]

    # --- names

    def unborn(self, id: str, rules: Rules, name: str) -> Cell:  # noqa: A002  # the word of the domain
        """Make the cell of a machine that has no records yet; it is placed with its first."""
        return Cell(blank(id, rules, name))

    def announce(self, name: str) -> None:
        """Wake whoever waits for a machine of this name to exist."""
        if (waiting := self.named.pop(name, None)) is not None:
            waiting.set_result(None)


def _alike(machines: list[Machine]) -> list[Machine]:
    """Let equal machines share what they are made of, before anybody has seen them.

    Each was decoded with values of its own, most of which are the same throughout a fleet.
    """
    shared: dict[object, Any] = {}
    share, nothing = shared.setdefault, dict[str, int]()
    for machine in machines:
        force_setattr(machine, "spec", share(_encode(machine.spec), machine.spec))
        force_setattr(machine, "phase", share(machine.phase, machine.phase))
        force_setattr(machine, "reason", share(machine.reason, machine.reason))
        force_setattr(machine, "since", share(machine.since, machine.since))
        force_setattr(machine, "position", share(machine.position, machine.position))
        if not machine.snapshots:
            force_setattr(machine, "snapshots", nothing)
    return machines


def _digest(value: Any) -> str:
    assert isinstance(value, Rules)
    return value.digest


_encode = msgspec.msgpack.Encoder().encode
_ENCODER = msgspec.msgpack.Encoder(enc_hook=_digest)
