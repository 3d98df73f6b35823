"""Lives as one picture: phase bands, ledger intervals and events over time, as SVG; pure.

It brings its own ground, light or dark as the reader's page is, light on paper, and needs no script and no
font of its own. What stands out by its colour stands out by its shape as well.
"""

import html
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from unicodedata import east_asian_width

from eventvm.errors import plain
from eventvm.picture import (
    KINDS,
    Band,
    Bar,
    Kind,
    Life,
    Mark,
    Pending,
    Picture,
    asked,
    headline,
    notable,
    rows,
    said,
    seen,
    span,
    summary,
    ticks,
    why,
)
from eventvm.times import length

escape = partial(html.escape, quote=False)

WIDTH, RIGHT = 960, 32
LEFT_LEAST, LEFT_MOST = 104, 240
HEAD, BAND, GAP, LEVEL, FOOT, THIN = 62, 34, 12, 22, 66, 5
LETTER = 7.0
"""How wide a letter is at most, on the average; of these and those in capitals each is wider."""
BROAD = "mwMW@%"
FAULT_LEAST = 2.5
"""How wide a faulty phase is at least: it is seen however short it was."""
LABEL = 60 * LETTER
"""How wide a label is at most: it finds room on one of the two sides of its mark."""
HEADLINE = 800.0
"""How wide the headline is at most, by the letters of all else; its own are larger."""
STRIPE = 6.0
LEVELS = 7
"""How many lines of labels stand above one life; what finds no room there is a mark without words."""

LOOKS = {"work": "at work", "rest": "at rest", "flight": "under way", "fault": "faulty", "gone": "not there"}
MARKS: dict[Kind, str] = {
    "event": "event",
    "repair": "repaired",
    "failure": "failed",
    "forced": "forced end or phase",
}
SHAPES: dict[Kind, str] = {
    "event": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z",
    "repair": "M0 -6L6 0L0 6L-6 0Z",
    "failure": "M0 -6L6 5L-6 5Z",
    "forced": "M-5 -5L5 5M5 -5L-5 5",
}
STYLE = """\
.eventvm .ground { fill: #ffffff; stroke: #d0d7de }
.eventvm .text { fill: #1f2328 } .eventvm .dim { fill: #59636e }
.eventvm .over { stroke: #ffffff; stroke-width: 6; paint-order: stroke; stroke-linejoin: round }
.eventvm .head { font-size: 16px; font-weight: 600 }
.eventvm .grid { stroke: #d8dee4 } .eventvm .lead { stroke: #818b98; stroke-dasharray: 2 3 }
.eventvm .work { fill: #1a7f37 } .eventvm .rest { fill: #3654c8 } .eventvm .flight { fill: #8a6100 }
.eventvm .fault { fill: #c21c2c } .eventvm .gone { fill: #848d97 } .eventvm .bar { fill: #57606a }
.eventvm .on { fill: #ffffff; font-weight: 600 }
.eventvm .stripes { stroke: #ffffff; stroke-opacity: .22; stroke-dasharray: 3 6; fill: none }
.eventvm .request { fill: none; stroke: #8a6100; stroke-width: 2; stroke-dasharray: 6 4 }
.eventvm .mark { stroke: #57606a; fill: #ffffff; stroke-width: 2 }
.eventvm .mark.repair { stroke: #0a5c96; fill: #54aeff }
.eventvm .mark.failure { stroke: #a40e26; fill: #ffb3ad }
.eventvm .mark.forced { stroke: #a40e26; stroke-width: 3; fill: none }
@media screen and (prefers-color-scheme: dark) {
.eventvm .ground { fill: #0d1117; stroke: #3d444d }
.eventvm .text { fill: #f0f6fc } .eventvm .dim { fill: #9198a1 } .eventvm .over { stroke: #0d1117 }
.eventvm .grid { stroke: #262c36 } .eventvm .lead { stroke: #656c76 }
.eventvm .work { fill: #238636 } .eventvm .rest { fill: #4263eb } .eventvm .flight { fill: #9e6a03 }
.eventvm .fault { fill: #da3633 } .eventvm .gone { fill: #565e67 } .eventvm .bar { fill: #656c76 }
.eventvm .request { stroke: #d29922 } .eventvm .mark { stroke: #b1bac4; fill: #0d1117 }
.eventvm .mark.repair { stroke: #79c0ff; fill: #1158c7 }
.eventvm .mark.failure { stroke: #ff7b72; fill: #5d0f12 }
.eventvm .mark.forced { stroke: #ff7b72 }
}"""
"""Dark on a dark screen alone: paper is white."""
OPENING = """\
<svg xmlns="http://www.w3.org/2000/svg" class="eventvm" viewBox="0 0 {width} {height}" role="img" \
font-family="system-ui, 'Segoe UI', Helvetica, Arial, sans-serif" font-size="13">
<title>{title}</title>
<desc>{told}</desc>
<style>
{style}
</style>
<rect class="ground" x="0.5" y="0.5" width="{inner}" height="{tall}" rx="8"/>"""


def portrait(shown: Picture) -> str:
    """Draw lives: one of them with all that is known of it, several as rows."""
    page = Page(shown)
    parts = list(_alone(shown.lives[0], page) if len(shown.lives) == 1 else _together(shown.lives, page))
    height = page.y + FOOT
    opening = opened((WIDTH, height), headline(shown), summary(shown))
    head = [
        text(24, 30, _short(headline(shown), HEADLINE), "text head"),
        text(24, 49, f"{span(shown)}, UTC", "dim"),
    ]
    return "\n".join((opening, *head, *_grid(page), *parts, *_legend(shown, height), "</svg>\n"))


def opened(size: tuple[float, float], title: str, told: str, style: str = STYLE) -> str:
    """Begin a drawing on its own ground."""
    width, height = size
    return OPENING.format(
        width=f"{width:g}", height=f"{height:g}", inner=f"{width - 1:g}", tall=f"{height - 1:g}",
        title=escape(plain(title)), told=escape(plain(told)), style=style,
    )  # fmt: skip


class Page:
    """Where on the page an instant is, and how far down it is filled."""

    def __init__(self, shown: Picture) -> None:
        alone = len(shown.lives) == 1
        words = (word for life in shown.lives for word in (rows(life) if alone else [life.name]))
        longest = max(map(wide, words), default=0.0)
        self.left = min(max(LEFT_LEAST, longest + 40), LEFT_MOST)
        self.begin, self.end = shown.begin, shown.end
        self.top = self.y = float(HEAD)

    def __call__(self, wall: int) -> float:
        return self.left + (WIDTH - self.left - RIGHT) * (wall - self.begin) / (self.end - self.begin)

    def name(self, word: str, y: float, kind: str = "dim") -> str:
        """Write what a row is called, shortened to the room that it has."""
        return text(self.left - 12, y, _short(plain(word), self.left - 36), kind, "end")


def wide(words: str) -> float:
    """Say how wide words are at most, on the average."""
    return sum(map(_wide, words))


def _wide(letter: str) -> float:
    if letter in BROAD or east_asian_width(letter) in ("W", "F"):
        return 2 * LETTER
    return 1.4 * LETTER if letter.isupper() else LETTER


def text(x: float, y: float, words: str, kind: str, anchor: str = "start") -> str:
    """Write words."""
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(plain(words))}</text>'
    )


# --- one life -------------------------------------------------------------------------------------------


def _alone(life: Life, page: Page) -> Iterator[str]:
    """Draw one life: labels of what happened, its phases, a row for each meter, and what is under way."""
    labels = list(_placed(life.marks, page))
    page.y += LEVEL * (1 + max((level for _, _, level in labels), default=0))
    page.top = page.y
    bottom = page.y + BAND + (BAND + GAP) * len(rows(life))
    for x, _, level in labels:
        begin = page.y - 14 - LEVEL * max(level, 0)
        yield f'<path class="lead" d="M{x:.1f} {begin:.1f}V{bottom:.1f}"/>'
    yield page.name("phase", page.y + BAND / 2 + 4.5)
    yield from _phases(life.bands, page, BAND)
    for title, bars in rows(life).items():
        page.y += BAND + GAP
        yield page.name(title, page.y + BAND / 2 + 4.5)
        yield from _meter(bars, page)
    if life.pending is not None:
        page.y += BAND + GAP
        yield page.name("under way", page.y + BAND / 2 + 4.5)
        yield from _request(life.pending, page, BAND)
    page.y += BAND
    yield from _written(labels, page)


Label = tuple[float, Mark, int]
"""Where on the page, what, and how high above the bands; level -1 has no words."""


def _placed(marks: Iterable[Mark], page: Page) -> Iterator[Label]:
    """Write each label as low as it can stand; what must be seen chooses first."""
    taken: list[list[tuple[float, float]]] = [[] for _ in range(LEVELS)]
    ranked = sorted(marks, key=lambda mark: (-KINDS.index(mark.kind), mark.at, mark.position))
    for mark in ranked:
        x = page(mark.at)
        begin, end = _extent(x, _label(mark))
        free = (
            at for at, ones in enumerate(taken) if all(end < left or right < begin for left, right in ones)
        )
        level = next(free, -1)
        if level >= 0:
            taken[level].append((begin, end))
        yield x, mark, level


def _extent(x: float, words: str) -> tuple[float, float]:
    """Say from where to where a label goes: to the right of its mark, or to the left near the edge."""
    long = wide(words) + 18
    return (x - long, x + 8) if _leans(x, words) else (x - 8, x + long)


def _leans(x: float, words: str) -> bool:
    return x + wide(words) + 18 > WIDTH - 8


def _written(labels: Sequence[Label], page: Page) -> Iterator[str]:
    """Write the labels, and over all others the marks that must be seen."""
    for x, mark, level in reversed(labels):
        words = _label(mark)
        y, leans = page.top - 14 - LEVEL * max(level, 0), _leans(x, words)
        yield _mark(mark, x, y)
        if level >= 0:
            anchor = "end" if leans else "start"
            yield text(x + (-10 if leans else 10), y + 4.5, words, "text over", anchor)


def _label(mark: Mark) -> str:
    """Say what happened; of a failure also what went wrong."""
    return _short(plain(said(mark) if mark.kind == "failure" else mark.text), LABEL)


def _short(words: str, room: float) -> str:
    """Cut words to the room that there is for them."""
    if wide(words) <= room:
        return words
    kept = sum(width <= room - LETTER for width in accumulate(map(_wide, words)))
    return f"{words[:kept]}\N{HORIZONTAL ELLIPSIS}"


def _mark(mark: Mark, x: float, y: float) -> str:
    return _glyph(mark.kind, x, y, f"<title>{escape(plain(f'#{mark.position} {said(mark)}'))}</title>")


def _glyph(kind: Kind, x: float, y: float, inner: str = "") -> str:
    place = f'transform="translate({x:.1f} {y:.1f})"'
    return f'<path class="mark {kind}" {place} d="{SHAPES[kind]}">{inner}</path>'


def _phases(bands: Sequence[Band], page: Page, height: float) -> Iterator[str]:
    """Draw phases, and over all others the faulty ones."""
    for band in sorted(bands, key=lambda band: band.look == "fault"):
        told = f"{band.phase}, {length(band.end - band.begin)} (#{band.position})"
        yield from _strip(page, band, height, band.look, told=told, labels=(band.phase,))


def _meter(bars: Iterable[Bar], page: Page) -> Iterator[str]:
    for bar in bars:
        words = why(bar)
        yield from _strip(page, bar, BAND, "bar", told=words, labels=(words, words.split(" (")[0]))


def _strip(
    page: Page, one: Band | Bar, height: float, look: str, *, told: str, labels: Iterable[str] = ()
) -> Iterator[str]:
    """Draw a stretch of time, and on it the first of its labels that has room there."""
    width = max(page(one.end) - page(one.begin), FAULT_LEAST if look == "fault" else 1.0)
    x, middle = min(page(one.begin), WIDTH - RIGHT - width), page.y + height / 2
    yield _box(look, (x, page.y, width, height), told)
    if look in ("fault", "flight") and width > STRIPE:
        across = f"M{x + 2:.1f} {middle:.1f}H{x + width - 2:.1f}"
        yield f'<path class="stripes" d="{across}" stroke-width="{height:g}"/>'
    fits = (label for label in labels if width > wide(label) + 2 * LETTER)
    if (label := next(fits, None)) is not None:
        yield text(x + width / 2, middle + 4.5, label, "on", "middle")


def _box(kind: str, place: tuple[float, float, float, float], told: str) -> str:
    x, y, width, height = place
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:g}" rx="3">'
        f"<title>{escape(plain(told))}</title></rect>"
    )


def _request(pending: Pending, page: Page, height: float) -> Iterator[str]:
    """Draw the time that a request has been open."""
    end = page(page.end)
    begin = min(max(page(pending.begin), page.left), end - 4)
    words = asked(pending)
    yield _box("request", (begin, page.y + 1, end - begin, height - 2), words)
    if height == BAND:
        words = _short(words, WIDTH - 2 * RIGHT)
        beside = end - begin < wide(words) < begin - RIGHT
        yield text((begin if beside else end) - 8, page.y + height / 2 + 4.5, words, "text over", "end")


# --- several --------------------------------------------------------------------------------------------

ROW = 26


def _together(lives: Iterable[Life], page: Page) -> Iterator[str]:
    """Draw several lives, a row for each: its phases, what must be seen on them, its meters below."""
    for life in lives:
        yield page.name(life.name, page.y + ROW / 2 + 4.5, "text")
        yield from _phases(life.bands, page, ROW)
        if life.pending is not None:
            yield from _request(life.pending, page, ROW)
        for mark in notable(life):
            x, y = page(mark.at), page.y + ROW / 2
            yield f'<circle class="ground" cx="{x:.1f}" cy="{y:.1f}" r="9"/>'
            yield _mark(mark, x, y)
        page.y += ROW + 2
        for bars in rows(life).values():
            for bar in bars:
                yield from _strip(page, bar, THIN, "bar", told=f"{bar.row}: {why(bar)}")
            page.y += THIN + 2
        page.y += GAP


# --- around ---------------------------------------------------------------------------------------------


def _grid(page: Page) -> Iterator[str]:
    """Draw the axis below what is drawn, and its lines through it."""
    for at, label in ticks(page.begin, page.end):
        x = page(at)
        yield f'<path class="grid" d="M{x:.1f} {page.top - 4:.1f}V{page.y + 6:.1f}"/>'
        yield text(x, page.y + 22, label, "dim", "middle")


def _legend(shown: Picture, height: float) -> Iterator[str]:
    """Say what the colours and the shapes of this picture mean."""
    x, y = 24.0, height - 16
    looks = {band.look for life in shown.lives for band in life.bands}
    for look, words in LOOKS.items():
        if look in looks:
            yield f'<rect class="{look}" x="{x:.1f}" y="{y - 10:.1f}" width="14" height="12" rx="3"/>'
            yield text(x + 20, y, words, "dim")
            x += 36 + LETTER * len(words)
    kinds = {mark.kind for mark in seen(shown)}
    for kind, words in MARKS.items():
        if kind in kinds:
            yield _glyph(kind, x + 6, y - 4)
            yield text(x + 18, y, words, "dim")
            x += 34 + LETTER * len(words)
