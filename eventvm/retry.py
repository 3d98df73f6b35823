"""Backoff as a value: how often something was tried and how long to wait before the next attempt."""

from msgspec import Struct


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
