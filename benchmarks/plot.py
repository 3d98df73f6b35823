"""The picture of a run, as SVG: how fast durable commands are, and each claim against its target.

Pure: figures in, text out. The colours follow the page, light or dark; there is no script and no font of its
own.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from xml.sax.saxutils import escape

from benchmarks.harness import Result
from benchmarks.report import amount

WIDTH, LEFT, RIGHT = 960, 250, 110
ROW, TOP, GAP = 26, 76, 70
STYLE = """<style>
svg { background: #ffffff; font-family: system-ui, sans-serif; font-size: 13px }
text { fill: #424a53 } .title { font-size: 17px; font-weight: 600; fill: #1f2328 } .ours { fill: #1a7f5a }
.theirs { fill: #8c959f } .short { fill: #cf222e } .line { stroke: #d0d7de } .target { stroke: #57606a }
.reach { stroke: #1a7f5a; stroke-width: 2 } .miss { stroke: #cf222e; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
svg { background: #0d1117 } text { fill: #9198a1 } .title { fill: #f0f6fc } .ours { fill: #3fb984 }
.theirs { fill: #656c76 } .short { fill: #f85149 } .line { stroke: #2a313c } .target { stroke: #9198a1 }
.reach { stroke: #3fb984 } .miss { stroke: #f85149 }
}
</style>"""
OURS = ("commands-256", "eventvm, 256 callers")
THEIRS = {
    "commands-256": "raw SQLite, one transaction",
    "umadb": "umadb, 64 callers",
    "eventsourcing-256": "eventsourcing, 256 at once",
    "transitions": "transitions, in memory only",
    "python-statemachine": "python-statemachine, in memory only",
    "commands-1": "raw SQLite, a transaction each",
    "one-by-one": "aiosqlite, a commit each",
    "eventsourcing": "eventsourcing, a save each",
    "eventsource-py": "eventsource-py, a save each",
    "dbos": "dbos, a workflow each",
}
"""What stands beside us in the first half, and from which claim."""
FURTHEST = 16.0
"""How far from its target, as a factor, a claim is still drawn where it is."""

Bar = tuple[str, float, bool]


def drawn(results: Sequence[Result]) -> str:
    """Draw what was measured; what was not is left out."""
    bars = sorted(_bars(results), key=lambda bar: -bar[1])
    judged = [one for one in results if one.measured]
    below = TOP + len(bars) * ROW + (GAP if bars else 0)
    height = below + len(judged) * ROW + 56
    return "\n".join((
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>How fast eventvm is</title>", STYLE,
        *_speeds(bars), *_verdicts(judged, below), "</svg>\n",
    ))  # fmt: skip


def _bars(results: Iterable[Result]) -> Iterator[Bar]:
    for one in results:
        if one.name == OURS[0] and one.ours:
            yield OURS[1], one.ours, True
        if one.name in THEIRS and one.theirs:
            yield THEIRS[one.name], one.theirs, False


def _speeds(bars: Sequence[Bar]) -> Iterator[str]:
    """Draw commands per second, each further step of the same width ten times as many."""
    if not bars:
        return
    yield _text(24, 34, "Durable commands per second", kind="title")
    yield _text(24, 54, "one event each, on one disk, one after the other; the scale is logarithmic")
    floor = 10 ** math.floor(math.log10(min(rate for _, rate, _ in bars)))
    decades = math.log10(max(rate for _, rate, _ in bars) / floor)
    for at, (name, rate, ours) in enumerate(bars):
        y, kind = TOP + at * ROW, "ours" if ours else "theirs"
        width = max((WIDTH - LEFT - RIGHT) * math.log10(rate / floor) / decades, 2) if decades else 2
        yield _text(LEFT - 12, y + 15, name, anchor="end")
        yield f'<rect class="{kind}" x="{LEFT}" y="{y + 3}" width="{width:.1f}" height="{ROW - 8}" rx="3"/>'
        yield _text(LEFT + width + 8, y + 15, amount(rate, ""))


def _verdicts(results: Sequence[Result], top: int) -> Iterator[str]:
    """Draw each claim as a point, right of its target if it is better, with its spread."""
    if not results:
        return
    middle = _place(1.0)
    end = top + len(results) * ROW
    yield _text(24, top - 24, "Each claim against its target", kind="title")
    yield _text(middle, top - 6, "target", anchor="middle")
    yield f'<path class="target" d="M{middle:.1f} {top} V{end}" stroke-dasharray="3 3"/>'
    for at, one in enumerate(results):
        yield from _verdict(one, top + at * ROW + ROW / 2)
    for factor, word in ((1 / FURTHEST, "16 times short of it"), (FURTHEST, "16 times better")):
        yield _text(_place(factor), end + 20, word, anchor="middle")


def _verdict(one: Result, y: float) -> Iterator[str]:
    low, here, high = (_place(_beyond(one, value)) for value in (one.lowest, one.measured, one.highest))
    dot, bar = ("short", "miss") if one.short else ("ours", "reach")
    scale = one.unit if one.theirs is None else "x"
    yield f'<path class="line" d="M{LEFT} {y} H{WIDTH - RIGHT}"/>'
    yield _text(LEFT - 12, y + 5, one.name, anchor="end")
    yield f'<path class="{bar}" d="M{low:.1f} {y} H{high:.1f}"/>'
    yield f'<circle class="{dot}" cx="{here:.1f}" cy="{y}" r="6"/>'
    yield _text(WIDTH - RIGHT + 14, y + 5, amount(one.measured, scale))


def _beyond(one: Result, value: float | None) -> float:
    """Say by which factor a figure is better than the target."""
    value = max(value or 0.0, 1e-9)
    return value / one.target if one.better == "higher" else one.target / value


def _place(factor: float) -> float:
    """Say where on the page a factor is; what is out of its range stands at the edge."""
    part = math.log(min(max(factor, 1 / FURTHEST), FURTHEST), FURTHEST)
    return LEFT + (WIDTH - LEFT - RIGHT) * (part + 1) / 2


def _text(x: float, y: float, text: str, *, anchor: str = "start", kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}>{escape(text)}</text>'
