"""Lettering: how many columns of a terminal words take, and where they are cut; pure."""

from collections.abc import Iterable
from itertools import accumulate
from unicodedata import category, east_asian_width


def columns(words: str) -> int:
    """Say how many columns words take: two for a wide letter, none for a mark above or below one."""
    return len(words) if words.isascii() else sum(map(_column, words))


def _column(letter: str) -> int:
    if category(letter) in ("Mn", "Me"):
        return 0
    return 2 if east_asian_width(letter) in ("W", "F") else 1


def cut(words: str, most: int, mark: str) -> str:
    """Shorten what is too wide, and mark where."""
    if columns(words) <= most:
        return words
    room = most - columns(mark)
    return words[: sum(width <= room for width in accumulate(map(_column, words)))] + mark


def pad(words: str, width: int) -> str:
    """Fill words up to a width."""
    return words + " " * (width - columns(words))


def fitted(widths: Iterable[int], gives: Iterable[bool], room: int, least: int) -> list[int]:
    """Make columns as narrow as they must be: of those that give the widest first, and none below `least`."""
    pairs = list(zip(widths, gives, strict=True))

    def down_to(level: int) -> list[int]:
        return [min(width, level) if yields else width for width, yields in pairs]

    widest = max((width for width, yields in pairs if yields), default=least)
    return next(
        (found for level in range(widest, least, -1) if sum(found := down_to(level)) <= room), down_to(least)
    )
