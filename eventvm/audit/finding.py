"""What an examination finds: one thing that was looked at, how it is, and what to do about it."""

from typing import Literal

from msgspec import Struct

Level = Literal["well", "note", "wrong"]


class Finding(Struct, frozen=True):
    """One thing that was looked at."""

    about: str
    level: Level
    """`wrong` needs a person, a `note` is worth knowing."""
    what: str
    do: str = ""
    """What to do; empty where all is well."""


def well(about: str, what: str) -> Finding:
    """Say that something is as it should be."""
    return Finding(about, "well", what)


def note(about: str, what: str, do: str = "") -> Finding:
    """Say something that is worth knowing."""
    return Finding(about, "note", what, do)


def wrong(about: str, what: str, do: str) -> Finding:
    """Say that something needs a person, and what that person can do."""
    return Finding(about, "wrong", what, do)
