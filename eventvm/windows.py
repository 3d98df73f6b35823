"""Windows of time, half open, and what of an interval lies in them: months, days and shares; pure.

A window is cut by wall time. What of an interval lies in a window is its share: the part of the interval's
length that its wall time has there. So the shares of windows that meet sum up to the length, to the
nanosecond, also where the wall clock was set while the interval was measured by boot time.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from eventvm.ledger import Interval
from eventvm.times import EPOCH
from eventvm.times import wall_of as wall

EVER = 1 << 64
"""Beyond every instant."""
Unit = Literal["day", "month"]


class Window(Struct, frozen=True):
    """A stretch of wall time in nanoseconds, half open; None where it has no end."""

    begin: int | None = None
    end: int | None = None
    name: str = ""

    def meets(self, other: "Window") -> "Window | None":
        """Give what two windows have in common, under the first one's name, if they have anything."""
        begins = [one for one in (self.begin, other.begin) if one is not None]
        ends = [one for one in (self.end, other.end) if one is not None]
        begin, end = max(begins, default=None), min(ends, default=None)
        if begin is not None and end is not None and begin >= end:
            return None
        return Window(begin, end, self.name)

    def holds(self, at: int) -> bool:
        """Say whether an instant lies in it."""
        return (self.begin is None or self.begin <= at) and (self.end is None or at < self.end)


def overlapping(windows: Sequence[Window], begin: int | None, end: int | None) -> Iterator[int]:
    """Give the places of those among some windows that a stretch may meet; they follow one another."""
    place = 0 if begin is None else bisect_right(windows, begin, key=_end)
    while place < len(windows) and (end is None or _begin(windows[place]) <= end):
        yield place
        place += 1


def _begin(window: Window) -> int:
    return -EVER if window.begin is None else window.begin


def _end(window: Window) -> int:
    return EVER if window.end is None else window.end


class Share(Struct, frozen=True, gc=False):
    """What of an interval lies in a window."""

    interval: Interval
    begin: int
    end: int | None
    """None while the interval is open and the window goes on."""
    ns: int


def share(interval: Interval, window: Window, until: int) -> Share | None:
    """Cut an interval to a window; an open one was measured up to the wall time that is given last.

    One that lasted no wall time, because the clock was set back, lies where it began.
    """
    end = max(until, interval.begin) if interval.end is None else interval.end
    low = interval.begin if window.begin is None else min(max(interval.begin, window.begin), end)
    high = end if window.end is None else min(max(interval.begin, window.end), end)
    if interval.begin == end:
        return Share(interval, interval.begin, interval.end, interval.ns) if window.holds(end) else None
    if low >= high:
        return None
    ns = _passed(interval, end, high) - _passed(interval, end, low)
    goes_on = interval.end is None and high == end
    return Share(interval, low, None if goes_on else high, ns)


def _passed(interval: Interval, end: int, at: int) -> int:
    """Say how much of an interval's length had passed at an instant within it."""
    return interval.ns * (at - interval.begin) // (end - interval.begin)


# --- the calendar ---------------------------------------------------------------------------------------


def month(year: int, number: int, zone: tzinfo) -> Window:
    """Give a calendar month of a zone: from its first midnight to the next one's, however long that is."""
    return _named("month", date(year, number, 1), zone)


def calendar(unit: Unit, whole: Window, zone: tzinfo) -> Iterator[Window]:
    """Cut a window with two ends into the days or months of a zone that it meets."""
    assert whole.begin is not None
    assert whole.end is not None
    local = (EPOCH + timedelta(microseconds=whole.begin // 1000)).astimezone(zone)
    begin = date(local.year, local.month, 1 if unit == "month" else local.day)
    while (one := _named(unit, begin, zone)).begin < whole.end:  # type: ignore[operator]  # a day has two ends
        if (met := one.meets(whole)) is not None:
            yield met
        begin = _next(begin, unit)


@lru_cache(maxsize=4096)
def _named(unit: Unit, begin: date, zone: tzinfo) -> Window:
    """Give a day or month with its name; one that many machines are billed by is worked out once."""
    name = begin.isoformat()[: len("2026-03") if unit == "month" else None]
    return Window(_midnight(begin, zone), _midnight(_next(begin, unit), zone), name)


def _midnight(day: date, zone: tzinfo) -> int:
    return wall(datetime(day.year, day.month, day.day, tzinfo=zone))


def _next(begin: date, unit: Unit) -> date:
    if unit == "month":
        return begin.replace(year=begin.year + begin.month // 12, month=begin.month % 12 + 1)
    return begin + timedelta(days=1)  # the zone's own clock: the day of a change has 23 or 25 hours
