"""Moments: what the log knew at a position or at a time, and when a record was so."""

from eventvm.errors import BadInput
from eventvm.log import EventLog
from eventvm.past import when
from eventvm.record import Record


async def record_at(log: EventLog, position: int) -> Record:
    """Give the record at a position; one beyond the log's end is refused."""
    page = await log.read(after=position - 1, limit=1) if position > 0 else None
    if page is None or not page.records:
        raise BadInput(f"the log has no position {position}; its last is {log.tree.size}")
    return page.records[0]


async def known_by(log: EventLog, wall: int) -> int:
    """Give the last position that was recorded by a time, 0 for none; `recorded_at` never goes back."""
    low, high = 0, log.tree.size
    while low < high:
        middle = (low + high + 1) // 2
        if (await record_at(log, middle)).recorded_at <= wall:
            low = middle
        else:
            high = middle - 1
    return low


async def so_at(log: EventLog, position: int) -> int:
    """Give the wall time at which the record at a position was so."""
    return when(await record_at(log, position))
