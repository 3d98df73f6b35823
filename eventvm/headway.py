"""Headway: how far a long work has come, told to whoever shows it to a person."""

from collections.abc import Callable

Headway = Callable[[str, int, int], object]
"""Told what is being done, how much of it is done, and of how much; often, and by the thread that does it."""


def untold(what: str, done: int, whole: int) -> None:
    """Tell nobody."""
