"""Moments as people type them: a position, a time, `2 hours ago`; and the options that take them."""

import argparse
import re
import time
from datetime import UTC, tzinfo
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from eventvm import limits, times
from eventvm.audit import moments
from eventvm.errors import BadInput
from eventvm.log import EventLog
from eventvm.times import SECOND_NS

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s+ago", re.IGNORECASE | re.ASCII)
_UNITS = {
    "s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600,
    "d": 86_400, "day": 86_400, "w": 604_800, "week": 604_800,
}  # fmt: skip
WANTED = "a position (42), a time (2026-03-29T12:00:00Z) or an age (2 hours ago)"


class Moment(NamedTuple):
    """A place in the log or a wall time, never both."""

    position: int | None = None
    wall: int | None = None

    async def so(self, log: EventLog) -> int:
        """Give the wall time that it stands for: of a position, when its record was so."""
        if self.wall is not None:
            return self.wall
        assert self.position is not None
        return await moments.so_at(log, self.position)

    async def known(self, log: EventLog) -> int:
        """Give the position up to which the log was known then."""
        if self.position is None:
            assert self.wall is not None
            return await moments.known_by(log, self.wall)
        return 0 if self.position == 0 else (await moments.record_at(log, self.position)).position


def moment(text: str) -> Moment:
    """Read a moment."""
    if re.fullmatch(r"\d{1,18}", text, re.ASCII):
        return Moment(position=int(text))
    return Moment(wall=wall(text))


def wall(text: str, zone: tzinfo | None = None) -> int:
    """Read a time, or an age; an offset that is not said is the zone's, where there is one."""
    if abs(told := _wall(text, zone)) > limits.INSTANT_NS:
        raise argparse.ArgumentTypeError(f"{limits.shown(text)} lies further away than any instant of a log")
    return told


def _wall(text: str, zone: tzinfo | None) -> int:
    if text == "now":
        return time.time_ns()
    if told := _AGO.fullmatch(text.strip()):
        unit = told[2].lower()
        if size := _UNITS.get(unit) or _UNITS.get(unit.removesuffix("s")):
            return time.time_ns() - int(min(float(told[1]) * size * SECOND_NS, 4.0 * limits.INSTANT_NS))
    try:
        return times.read(text, zone)
    except BadInput:
        raise argparse.ArgumentTypeError(f"{limits.shown(text)} is no moment; give {WANTED}") from None


def zone(name: str) -> tzinfo:
    """Find a time zone by its IANA name."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise argparse.ArgumentTypeError(
            f"{limits.shown(name)} is no time zone that this host knows; Europe/Berlin is one"
        ) from None


def describe(verb: Any) -> None:
    """Describe the options that ask for the past."""
    verb.add_argument(
        "--at",
        type=moment,
        metavar="WHEN",
        help=f"as it was then: {WANTED}; late news counts from when it was so",
    )
    verb.add_argument(
        "--known-at", type=moment, metavar="WHEN", help="as the log knew it then, nothing that came later"
    )
