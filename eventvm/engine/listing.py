"""Listing: the fleet in pages that stay true while machines are made, ended, renamed and relabelled."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TypedDict
from uuid import UUID

import anyio
from msgspec import Struct

from eventvm import limits
from eventvm.engine.cells import Cell, Cells
from eventvm.engine.handle import Handle
from eventvm.errors import BadInput
from eventvm.lifecycle import Lifecycle
from eventvm.log import PAGE, EventLog
from eventvm.machine import Machine
from eventvm.views import of_machine

STRIDE = 100
"""Machines that `every` takes at a time: few enough that the last of them is still news."""


class Filters(TypedDict, total=False):
    """Which machines are wanted; what is not said does not matter."""

    phase: str | None
    """A phase, or its title."""
    lifecycle: str | None
    label: str | tuple[str, ...] | None
    """`team` or `team=a`; of several, all."""
    prefix: str
    """What the name begins with."""


class Machines(list[Handle]):
    """A page of the fleet: a list, and where the next page begins."""

    after: str | None = None
    """The id to go on after; None at the end. A page may be short, or empty, and not be the last."""


class Wanted(Struct, frozen=True):
    """A filter, as it is asked of each machine."""

    phase: str | None
    lifecycle: str | None
    labels: tuple[tuple[str, str | None], ...]
    """Each with its value, or with None for any."""
    prefix: str

    def __call__(self, machine: Machine) -> bool:
        definition = machine.rules.definition
        return (
            machine.name.startswith(self.prefix)
            and self.lifecycle in (None, definition.name)
            and self.phase in (None, machine.phase, definition.titles.get(machine.phase))
            and (not self.labels or all(_labelled(machine, *label) for label in self.labels))
        )


def _labelled(machine: Machine, label: str, value: str | None) -> bool:
    has = machine.spec.labels.get(label)
    return has is not None and value in (None, has)


def wanted(lifecycles: Iterable[Lifecycle], filters: Filters) -> Wanted:
    """Make the filter, or refuse one that nothing could ever pass because a word of it is unknown."""
    phase, lifecycle, prefix = filters.get("phase"), filters.get("lifecycle"), filters.get("prefix", "")
    labels = _several(filters.get("label"))
    for asked in (phase or "", lifecycle or "", prefix, *labels):
        limits.word(asked, "filter", limits.PATH_CHARACTERS)
    possible = [one for one in lifecycles if lifecycle in (None, one.name)]
    if not possible:
        raise BadInput(f"no lifecycle {lifecycle!r} was ever known here")
    if phase is not None and not any(phase in _phases(one) for one in possible):
        raise BadInput(f"{phase!r} is no phase of {lifecycle or 'any lifecycle that is known here'}")
    return Wanted(phase, lifecycle, tuple(map(_label, labels)), prefix)


def _phases(definition: Lifecycle) -> Iterable[str]:
    return (*definition.phases, *definition.titles.values())


def _several(label: str | tuple[str, ...] | None) -> tuple[str, ...]:
    if label is None:
        return ()
    return label if isinstance(label, tuple) else (label,)


def _label(asked: str) -> tuple[str, str | None]:
    key, said, value = asked.partition("=")
    if not key:
        raise BadInput(f"a label is asked for as `team` or `team=a`, not as {asked!r}")
    return key, value if said else None


class Listing:
    """Reads the fleet page by page: the living from memory, the ended from the log."""

    def __init__(self, cells: Cells, log: EventLog, give: Callable[[Cell], Handle]) -> None:
        self._cells = cells
        self._log = log
        self._give = give

    async def page(self, wanted: Wanted, after: str | Handle, limit: int, *, ended: bool) -> Machines:
        """Give the next machines that are wanted, at most so many."""
        limits.amount(limit, "limit", limits.MACHINES_LISTED, 1)
        begin = _id_of(after)
        return await (self._of_all(wanted, begin, limit) if ended else self._of_living(wanted, begin, limit))

    async def _of_living(self, wanted: Wanted, after: str, limit: int) -> Machines:
        """Walk the roll in steps between which others run."""
        page = Machines()
        while ids := self._cells.roll.after(after, PAGE):
            for id_ in ids:
                cell = self._cells.living[id_]
                if wanted(cell.machine):
                    page.append(self._give(cell))
                    if len(page) == limit:
                        page.after = id_
                        return page
            after = ids[-1]
            await anyio.lowlevel.checkpoint()
        return page

    async def _of_all(self, wanted: Wanted, after: str, limit: int) -> Machines:
        """Read one page of streams, and fold those among them that have ended: that much a call may cost."""
        page = Machines()
        streams = await self._log.streams(after=after, limit=PAGE)
        for stream in streams:
            cell = await self._cell(stream) if of_machine(stream) else None
            if cell is not None and wanted(cell.machine):
                page.append(self._give(cell))
                if len(page) == limit:
                    page.after = stream
                    return page
        if len(streams) == PAGE:
            page.after = streams[-1]
        return page

    async def _cell(self, stream: str) -> Cell | None:
        """Give the cell of a machine that lives or has lived; none of what could not be made."""
        cell = self._cells.held(stream) or await self._cells.ended(stream)
        return None if cell is None or _never_was(cell.machine) else cell


def _id_of(after: str | Handle) -> str:
    """Refuse a name in the place of an id: the page after it would be any."""
    if after == "":
        return ""
    given = after.id if isinstance(after, Handle) else after
    try:
        return str(UUID(given))
    except (AttributeError, TypeError, ValueError):
        wanted = limits.shown(given)
        raise BadInput(f"a page begins after the id of a machine, and {wanted} is none") from None


def _never_was(machine: Machine) -> bool:
    """Say whether a machine's creation failed, so that nothing of it ever was."""
    return machine.over and not machine.terminal and machine.generation == 0


class Every:
    """Machines one by one, for `async for`; it holds one short page and needs no closing."""

    def __init__(self, pages: Callable[[str, int], Awaitable[Machines]]) -> None:
        self._pages = pages
        self._after: str | None = ""
        self._left: deque[Handle] = deque()

    def __aiter__(self) -> "Every":
        return self

    async def __anext__(self) -> Handle:
        while not self._left:
            if self._after is None:
                raise StopAsyncIteration
            page = await self._pages(self._after, STRIDE)
            self._left.extend(page)
            self._after = page.after
        return self._left.popleft()
