"""Lives in letters: the picture of portrait.py for a terminal, as wide as that is; pure.

What stands out by its colour stands out by its letter as well: without colour the same lines are shown.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from msgspec import Struct

from eventvm import lettering
from eventvm.errors import plain
from eventvm.picture import (
    Band,
    Bar,
    Kind,
    Life,
    Look,
    Mark,
    Picture,
    asked,
    headline,
    most_notable,
    notable,
    rows,
    said,
    seen,
    span,
    ticks,
    why,
)
from eventvm.times import briefly, length

LEAST_WIDTH = 40
NAME_LEAST, NAME_MOST = 10, 28
LISTED = 24
"""How many marks of one life are listed below it."""


class Letters(Struct, frozen=True):
    """What a picture is written with."""

    looks: dict[Look, str]
    bar: str
    kinds: dict[Kind, str]
    request: str
    tick: str
    arrow: str
    cut: str


UNICODE = Letters(
    looks={"work": "█", "rest": "▒", "flight": "░", "fault": "▓", "gone": "·"},
    bar="━", kinds={"event": "●", "repair": "◆", "failure": "▲", "forced": "✖"},
    request="┄", tick="╵", arrow="→", cut="…",
)  # fmt: skip
ASCII = Letters(
    looks={"work": "=", "rest": "-", "flight": "~", "fault": "%", "gone": "."},
    bar="=", kinds={"event": "o", "repair": "+", "failure": "!", "forced": "X"},
    request="~", tick="'", arrow="->", cut="~",
)  # fmt: skip
WORDS = {"work": "at work", "rest": "at rest", "flight": "under way", "fault": "faulty", "gone": "not there"}
MEANT = {"event": "event", "repair": "repaired", "failure": "failed", "forced": "forced"}
INKS = {"work": "green", "rest": "blue", "flight": "yellow", "fault": "red", "gone": "dim"}
DYES = {"event": "dim", "repair": "cyan", "failure": "red", "forced": "red"}


class Ink(Protocol):
    """Dyes a text, where there is colour, and keeps it from steering a terminal."""

    def __call__(self, text: object, /, *styles: str) -> str: ...


def undyed(text: object, /, *_: str) -> str:
    """Keep a text from steering a terminal, and leave it without colour."""
    return plain(text)


def sketch(shown: Picture, width: int, letters: Letters = UNICODE, ink: Ink = undyed) -> Iterator[str]:
    """Write lives, line by line: one of them with all that is known of it, several as rows."""
    page = Page(shown, max(width, LEAST_WIDTH), letters, ink)
    yield page.written(headline(shown), "bold")
    yield page.written(span(shown), "dim")
    yield from page.axis()
    if len(shown.lives) == 1:
        yield from _alone(shown.lives[0], page)
    else:
        yield from (page.row(life.name, _phases(life, page, marked=True), "bold") for life in shown.lives)
    yield ""
    yield from _legend(shown, page)
    if len(shown.lives) == 1:
        yield from _listed(shown.lives[0], page)
    else:
        yield from (_under_way(life, page) for life in shown.lives if life.pending is not None)


class Page:
    """How instants fall into columns."""

    def __init__(self, shown: Picture, width: int, letters: Letters, ink: Ink) -> None:
        alone = len(shown.lives) == 1
        words = (word for life in shown.lives for word in (rows(life) if alone else [life.name]))
        self.gutter = min(max(map(lettering.columns, words), default=0), NAME_MOST, width // 3)
        self.gutter = max(self.gutter, NAME_LEAST)
        self.width = width
        self.columns = width - self.gutter - 2
        self.begin, self.end = shown.begin, shown.end
        self.letters, self.ink = letters, ink

    def column(self, wall: int) -> int:
        """Say into which column an instant falls."""
        return min(max((wall - self.begin) * self.columns // (self.end - self.begin), 0), self.columns - 1)

    def edges(self, column: int) -> tuple[int, int]:
        """Say which time a column stands for."""
        long = self.end - self.begin
        return self.begin + column * long // self.columns, self.begin + (column + 1) * long // self.columns

    def row(self, name: str, cells: str, *styles: str) -> str:
        """Write a row under its name; the cells are dyed already."""
        named = self.ink(lettering.pad(self.cut(name, self.gutter), self.gutter), *(styles or ("dim",)))
        return f"{named}  {cells}".rstrip()

    def cut(self, words: str, most: int) -> str:
        """Shorten what is too long."""
        words = plain(words)
        if self.letters.cut.isascii():
            words = words.replace("\N{RIGHTWARDS ARROW}", self.letters.arrow)
            words = words.encode("ascii", "backslashreplace").decode()
        return lettering.cut(words, most, self.letters.cut)

    def written(self, words: str, *styles: str, indent: int = 0) -> str:
        """Write a line, or what follows its indent, no wider than the page."""
        return self.ink(self.cut(words, self.width - indent), *styles)

    def axis(self) -> Iterator[str]:
        """Write round instants, each at its column."""
        line, marks = "", ""
        for at, label in ticks(self.begin, self.end, max(self.columns // 12, 2)):
            column = self.column(at)
            if column >= len(line) + (2 if line else 0) and column + len(label) <= self.columns:
                line = line.ljust(column) + label
                marks = marks.ljust(column) + self.letters.tick
        yield self.row("", self.ink(line, "dim"))
        yield self.row("", self.ink(marks, "dim"))


# --- rows -----------------------------------------------------------------------------------------------


def _alone(life: Life, page: Page) -> Iterator[str]:
    yield page.row("phase", _phases(life, page))
    yield page.row("", _marks(life.marks, page))
    for title, bars in rows(life).items():
        yield page.row(title, _bars(bars, page))
    if (pending := life.pending) is not None:
        since = page.column(pending.begin)
        open_for = page.letters.request * (page.columns - since)
        yield page.row("under way", " " * since + page.ink(open_for, "yellow"))


def _phases(life: Life, page: Page, *, marked: bool = False) -> str:
    """Write the phases of a life, each by its name where there is room, and on them what must be seen."""
    shown = [_shown(life.bands, *page.edges(column)) for column in range(page.columns)]
    marks = _columns(notable(life), page) if marked else {}
    return "".join(_runs(shown, {column: most_notable(ones) for column, ones in marks.items()}, page))


def _columns(marks: Iterable[Mark], page: Page) -> dict[int, list[Mark]]:
    """Gather marks by the column that they fall into."""
    columns: dict[int, list[Mark]] = {}
    for mark in marks:
        columns.setdefault(page.column(mark.at), []).append(mark)
    return columns


def _shown(bands: Sequence[Band], begin: int, end: int) -> Band | None:
    """Choose what a column shows: a fault, else what lasted longest of it."""
    ones = [one for one in bands if one.begin < max(end, begin + 1) and one.end > begin]
    return max(
        ones, key=lambda one: (one.look == "fault", min(one.end, end) - max(one.begin, begin)), default=None
    )


def _runs(shown: Sequence[Band | None], noted: dict[int, Mark], page: Page) -> Iterator[str]:
    begin = 0
    while begin < len(shown):
        band = shown[begin]
        end = next((at for at in range(begin, len(shown)) if shown[at] is not band), len(shown))
        yield _run(band, begin, end, noted, page)
        begin = end


def _run(band: Band | None, begin: int, end: int, noted: dict[int, Mark], page: Page) -> str:
    """Write the columns of one band."""
    if band is None:
        return " " * (end - begin)
    fill, name = page.letters.looks[band.look], page.cut(band.phase, page.width)
    room = next((at for at in range(begin, end) if at in noted), end) - begin
    told = f"{fill} {name} " if len(name) + 3 <= room else ""
    text = f"{told:{fill}<{end - begin}}"
    return "".join(_dyed(text, begin, band, noted, page))


def _dyed(text: str, begin: int, band: Band, noted: dict[int, Mark], page: Page) -> Iterator[str]:
    after = 0
    for column in sorted(one for one in noted if begin <= one < begin + len(text)):
        at, mark = column - begin, noted[column]
        yield page.ink(text[after:at], INKS[band.look]) if at > after else ""
        yield page.ink(page.letters.kinds[mark.kind], DYES[mark.kind], "bold")
        after = at + 1
    yield page.ink(text[after:], INKS[band.look]) if after < len(text) else ""


def _marks(marks: Iterable[Mark], page: Page) -> str:
    """Write what happened below the phases; of several in one column, what must be seen."""
    line, last = "", 0
    for column, ones in sorted(_columns(marks, page).items()):
        kind = most_notable(ones).kind
        line += " " * (column - last) + page.ink(page.letters.kinds[kind], DYES[kind])
        last = column + 1
    return line


def _bars(bars: Iterable[Bar], page: Page) -> str:
    """Write when a meter counted, and how long where there is room."""
    line, last = "", 0
    for bar in bars:
        begin, end = max(page.column(bar.begin), last), page.column(bar.end - 1) + 1
        if end > begin:
            long = page.cut(length(bar.ns // 10**9 * 10**9), page.columns)
            told = f"{page.letters.bar * 2} {long} "
            text = (
                f"{told:{page.letters.bar}<{end - begin}}"
                if len(told) < end - begin
                else page.letters.bar * (end - begin)
            )
            line += " " * (begin - last) + page.ink(text, "cyan")
            last = end
    return line


# --- below ----------------------------------------------------------------------------------------------


def _legend(shown: Picture, page: Page) -> Iterator[str]:
    """Say what the letters of this picture mean."""
    looks = {band.look for life in shown.lives for band in life.bands}
    kinds = {mark.kind for mark in seen(shown)}
    told = [
        (page.letters.looks[look], WORDS[look], INKS[look]) for look in page.letters.looks if look in looks
    ]
    told += [
        (page.letters.kinds[kind], MEANT[kind], DYES[kind]) for kind in page.letters.kinds if kind in kinds
    ]
    yield from _wrapped([(f"{letter} {word}", page.ink(letter, ink) + page.ink(f" {word}", "dim"))
                         for letter, word, ink in told], page.width)  # fmt: skip


def _wrapped(told: Iterable[tuple[str, str]], width: int) -> Iterator[str]:
    """Write words, each given plain and dyed, on as many lines as they need."""
    line, long = "", 0
    for words, dyed in told:
        if long and long + 3 + len(words) > width:
            yield line
            line, long = "", 0
        line, long = (f"{line}   {dyed}", long + 3 + len(words)) if long else (dyed, len(words))
    if line:
        yield line


def _listed(life: Life, page: Page) -> Iterator[str]:
    """List what happened, and where each second of the meters comes from."""
    yield ""
    earlier = len(life.marks) - LISTED
    if earlier > 0:
        yield page.written(f"  {earlier} earlier are not listed", "dim")
    for mark in life.marks[max(earlier, 0) :]:
        letter = page.ink(page.letters.kinds[mark.kind], DYES[mark.kind])
        yield f"  {letter} {page.written(f'{briefly(mark.at)}  #{mark.position}  {said(mark)}', indent=4)}"
    for title, bars in rows(life).items():
        for bar in bars[-LISTED:]:
            yield f"  {page.ink(page.letters.bar, 'cyan')} {page.written(f'{title}: {why(bar)}', indent=4)}"
    if life.pending is not None:
        yield _under_way(life, page)


def _under_way(life: Life, page: Page) -> str:
    assert life.pending is not None
    return page.written(f"  {page.letters.request} {life.name}: {asked(life.pending)}", "yellow")
