"""Backoff, recovery and deadlines as values: how long to wait, how often to try, when to give up."""

from typing import Literal

from msgspec import Struct

Policy = Literal["never", "on-failure", "always"]
"""When a machine that ended by itself is brought back."""


class Backoff(Struct, frozen=True, gc=False):
    """How attempts are spaced: the first wait, doubled each time, up to a cap."""

    first_seconds: float = 1.0
    cap_seconds: float = 60.0
    attempts: int = 5

    def seconds(self, tried: int) -> float:
        """Say how long to wait after so many attempts."""
        return min(self.first_seconds * 2.0 ** min(tried, 64), self.cap_seconds)

    def can_retry(self, tried: int) -> bool:
        """Say whether another attempt is within the limit."""
        return tried < self.attempts


class Recovery(Struct, frozen=True, gc=False, omit_defaults=True):
    """How a machine that crashed is brought back: by a start, or by its host along a path of phases."""

    policy: Policy = "never"
    """What holds where a spec says nothing."""
    backoff: Backoff = Backoff()
    crashes: int = 5
    """How many crashes a window has room for; with one more the machine is given up at once."""
    window_seconds: float = 300.0
    phase: str = ""
    """The phase in which its host brings it back; empty where a start does."""
    path: tuple[str, ...] = ()
    """The phases that it goes through when its host has brought it back."""
    gives_up: str = ""
    """The phase in which it is given up; empty where it stays as it is."""


class Deadline(Struct, frozen=True, gc=False):
    """How long a phase in flight may last, and where it leads when that is over."""

    seconds: float
    to: str
