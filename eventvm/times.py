"""Times in words: RFC 3339 to the nanosecond, there and back, and lengths as people say them; pure."""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache

from eventvm.errors import BadInput

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND_NS = 1_000_000_000
_STAMP = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)"
    r"(?:[Tt ](?P<time>\d\d:\d\d(?::\d\d)?)(?:\.(?P<part>\d{1,9}))?(?P<zone>[Zz]|[+-]\d\d:\d\d)?)?",
    re.ASCII,
)


def rfc3339(wall: int) -> str:
    """Write nanoseconds since 1970 as RFC 3339, to the nanosecond."""
    seconds, ns = divmod(wall, SECOND_NS)
    return f"{_to_the_second(seconds)}.{ns:09d}Z"


@lru_cache(maxsize=1024)
def _to_the_second(seconds: int) -> str:
    """Write a second; what a record tells of lies mostly within one."""
    return (EPOCH + timedelta(seconds=seconds)).isoformat()[:19]


def briefly(wall: int) -> str:
    """Write it for people: to the millisecond, and to the second where that is exact."""
    return f"{rfc3339(wall)[:-7].removesuffix('.000')}Z"


def wall_of(moment: datetime) -> int:
    """Give the nanoseconds since 1970 of a moment that knows its zone."""
    passed = moment.astimezone(UTC) - EPOCH
    return (passed.days * 86_400 + passed.seconds) * SECOND_NS + passed.microseconds * 1000


def read(text: str, zone: tzinfo | None = None) -> int:
    """Read RFC 3339; with a zone, a time that names none is that zone's, and a date is its midnight."""
    told = _STAMP.fullmatch(text)
    try:
        assert told is not None
        moment = datetime.fromisoformat(f"{told['date']}T{told['time'] or '00:00'}")
        return wall_of(moment.replace(tzinfo=_zone(told["zone"], zone))) + int(
            (told["part"] or "").ljust(9, "0")
        )
    except (AssertionError, ValueError, OverflowError):
        wanted = "2026-03-29T12:00:00Z" + (", or 2026-03-29" if zone else "")
        raise BadInput(f"{text[:40]!r} is no time; {wanted} is one") from None


def _zone(told: str | None, other: tzinfo | None) -> tzinfo:
    if told is None:
        assert other is not None
        return other
    if told in "Zz":
        return UTC
    hours, minutes = int(told[1:3]), int(told[4:6])
    if hours > 23 or minutes > 59:  # noqa: PLR2004  # a clock's
        raise ValueError(told)
    return timezone((-1 if told[0] == "-" else 1) * timedelta(hours=hours, minutes=minutes))


def exactly(ns: int) -> str:
    """Say how long so many nanoseconds are, to the last of them."""
    seconds, rest = divmod(ns, SECOND_NS)
    words = []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        count, seconds = divmod(seconds, size)
        words += [f"{count}{unit}"] if count else []
    parts = f"{seconds}.{rest:09d}".rstrip("0").rstrip(".")
    return " ".join([*words, f"{parts}s"] if seconds or rest or not words else words)


def length(ns: int) -> str:
    """Say how long so many nanoseconds are, in at most two units; from a minute on to the nearest second."""
    if ns < 0:
        return f"-{length(-ns)}"
    seconds, rest = divmod(ns, SECOND_NS)
    if seconds >= 60:  # noqa: PLR2004  # a minute's
        seconds += 2 * rest >= SECOND_NS
    else:
        tenths = f"{ns / SECOND_NS:.3f}".rstrip("0").rstrip(".") if rest else str(seconds)
        return f"{tenths}s"
    units = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
    words = []
    for unit, size in units:
        count, seconds = divmod(seconds, size)
        words.append((count, unit))
    first = next(at for at, (count, _) in enumerate(words) if count)
    return " ".join(f"{count}{unit}" for count, unit in words[first : first + 2] if count)
