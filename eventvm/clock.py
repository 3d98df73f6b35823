"""The time and the ids of this host; a simulation brings its own."""

import os
import time
from pathlib import Path
from uuid import UUID

from eventvm.observation import Instant

BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_id() -> str:
    """Name this boot; where the kernel does not, each process counts as a boot of its own."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", "")[:16]
    except OSError:
        return os.urandom(8).hex()


class Clock:
    """What this host's clocks say, and ids that sort by the time of their making."""

    _tick = 0
    """Milliseconds and counter of the last id."""

    def __init__(self) -> None:
        self.boot_id = boot_id()

    def wall(self) -> int:
        """Give the nanoseconds since 1970."""
        return time.time_ns()

    def now(self) -> Instant:
        """Read this moment off all clocks."""
        return Instant(time.time_ns(), time.clock_gettime_ns(BOOT_CLOCK), self.boot_id)

    def random(self, count: int) -> bytes:
        """Draw bytes that nobody can guess."""
        return os.urandom(count)

    def id(self) -> str:
        """Make a UUIDv7, later than all that it has made: milliseconds, 12 bits of counter, 62 of chance.

        Where the counter is full, or the wall clock was set back, the milliseconds are those to come.
        """
        self._tick = max((self.wall() // 1_000_000) << 12, self._tick + 1)
        drawn = int.from_bytes(self.random(8), "big") >> 2
        milliseconds, counter = self._tick >> 12, self._tick & 0xFFF
        return str(UUID(int=milliseconds << 80 | 0x7 << 76 | counter << 64 | 0x2 << 62 | drawn))
