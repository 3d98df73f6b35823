"""A machine's life as one picture: phase bands, ledger intervals and events over time, as SVG; pure.

It brings its own ground, light or dark as the reader's page is, and needs no script and no font of its own.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from eventvm.errors import plain
from eventvm.ledger import Interval
from eventvm.views import Transition

WIDTH, LEFT, RIGHT = 960, 104, 32
BAND, GAP, LEVEL, FOOT = 38, 12, 24, 48
LETTER = 7.0
"""How wide a letter is at most, on the average."""
SECOND_NS = 1_000_000_000
TICKS = 12
STEPS = (1, 2, 5, 10, 30, 60, 300, 600, 1800, 3600, 86_400, 604_800)
"""Seconds between two ticks of the axis: the first that needs no more than so many ticks."""

COLOURS = {
    "running": "#1f883d", "started": "#1f883d", "error": "#cf222e", "created": "#0b7285",
    "creating": "#8b949e", "stopped": "#4c6ef5", "paused": "#9a6700", "destroyed": "#6e7781",
}  # fmt: skip
OTHER = "#8250df"
SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" \
font-family="system-ui, 'Segoe UI', Helvetica, Arial, sans-serif" font-size="13">
<style>
.ground {{ fill: #ffffff; stroke: #d0d7de }}
.text {{ fill: #1f2328; stroke: #ffffff; stroke-width: 5; paint-order: stroke }}
.dim {{ fill: #59636e }}
.line {{ stroke: #afb8c1 }} .meter {{ fill: #57606a }} .on {{ fill: #ffffff; font-weight: 600 }}
.mark {{ stroke: #bc4c00; fill: #ffffff }} .mark.full {{ fill: #bc4c00 }}
@media (prefers-color-scheme: dark) {{
.ground {{ fill: #0d1117; stroke: #30363d }} .text {{ fill: #e6edf3; stroke: #0d1117 }}
.dim {{ fill: #9198a1 }}
.line {{ stroke: #484f58 }} .mark {{ stroke: #f0883e; fill: #0d1117 }} .mark.full {{ fill: #f0883e }}
}}
</style>
<rect class="ground" x="0.5" y="0.5" width="{inner}" height="{tall}" rx="8"/>"""
REPAIRS = ("machine.reconciled", "machine.forced", "machine.attested")


class Mark(NamedTuple):
    """One instant of the life, and what is written above it."""

    at: int
    text: str
    full: bool = False
    """Whether it stands out."""


def portrait(
    name: str, changes: Sequence[Transition], intervals: Iterable[Interval], until: int,
    marks: Sequence[Mark] = (),
) -> str:  # fmt: skip
    """Draw the life of a machine, from its first change of phase to an instant.

    Marks are what else happened; without them each change of phase is one.
    """
    rows: dict[str, list[Interval]] = {}
    for one in intervals:
        rows.setdefault("snapshot" if one.subject else one.meter, []).append(one)
    scale = Scale(changes[0].timestamp, until)
    labels = list(_levels([(scale(mark.at), mark) for mark in marks or _marked(changes)]))
    top = 34 + LEVEL * (1 + max(level for _, _, level in labels))
    height = top + (1 + len(rows)) * (BAND + GAP) + FOOT
    parts = [
        SVG.format(width=WIDTH, height=height, inner=WIDTH - 1, tall=height - 1),
        f"<title>The life of {escape(plain(name))}</title>",
        *_lines(labels, top, height),
        *_phases(changes, scale, until, top),
    ]
    for at, (title, ones) in enumerate(rows.items(), start=1):
        parts.extend(_meter(title, ones, scale, top + at * (BAND + GAP), until))
    return "\n".join((*parts, *_axis(scale, height), *_written(labels, top), "</svg>\n"))


class Scale:
    """Where on the page an instant is."""

    def __init__(self, begin: int, end: int) -> None:
        self.begin = begin
        self.length = max(end - begin, 1)

    def __call__(self, wall: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (wall - self.begin) / self.length


Label = tuple[float, Mark, int]
"""Where on the page, what, and how high above the bands."""


def _marked(changes: Sequence[Transition]) -> list[Mark]:
    """Make a mark of each change of phase; repairs stand out, and changes of one instant share a mark."""
    together: dict[int, list[Transition]] = {}
    for change in changes:
        together.setdefault(change.timestamp, []).append(change)
    return [
        Mark(at, _named(ones), any(one.event in REPAIRS for one in ones)) for at, ones in together.items()
    ]


def _named(ones: Sequence[Transition]) -> str:
    told = (one.event.removeprefix("machine.") for one in ones if one.event != "machine.requested")
    return ", ".join(told)


def _levels(marks: Iterable[tuple[float, Mark]]) -> Iterator[Label]:
    """Write each label as low as it can stand without touching the one before it."""
    ends: list[float] = []
    for x, mark in marks:
        begin, end = _extent(x, mark.text)
        level = next((at for at, taken in enumerate(ends) if taken < begin), len(ends))
        ends[level : level + 1] = [end + 2 * LETTER]
        yield x, mark, level


def _extent(x: float, text: str) -> tuple[float, float]:
    """Say from where to where a label goes: to the right of its mark, or to the left near the edge."""
    long = LETTER * len(text)
    return (x - long, x) if _leans(x, text) else (x, x + long)


def _leans(x: float, text: str) -> bool:
    return x + LETTER * len(text) > WIDTH - RIGHT / 2


def _lines(labels: Iterable[Label], top: int, height: int) -> Iterator[str]:
    for x, _, level in labels:
        begin = top - 22 - LEVEL * level
        yield f'<path class="line" d="M{x:.1f} {begin} V{height - FOOT + 8}" stroke-dasharray="2 4"/>'


def _written(labels: Iterable[Label], top: int) -> Iterator[str]:
    for x, mark, level in labels:
        y, leans = top - 22 - LEVEL * level, _leans(x, mark.text)
        full = " full" * mark.full
        yield f'<circle class="mark{full}" cx="{x:.1f}" cy="{y}" r="4.5" stroke-width="2"/>'
        yield _text(x + (-10 if leans else 10), y + 4.5, mark.text, "text", "end" if leans else "start")


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(plain(text))}</text>'


def _band(x: float, y: float, width: float, look: str, labels: Iterable[str]) -> Iterator[str]:
    """Draw a band, and on it the first of its labels that has room there."""
    yield f'<rect x="{x:.1f}" y="{y}" width="{max(width, 1):.1f}" height="{BAND}" rx="4" {look}/>'
    for label in labels:
        if width > LETTER * (len(label) + 2):
            yield _text(x + width / 2, y + BAND / 2 + 4.5, label, "on", "middle")
            return


def _phases(changes: Sequence[Transition], scale: Scale, until: int, top: int) -> Iterator[str]:
    yield _text(LEFT - 12, top + BAND / 2 + 4.5, "phase", "dim", "end")
    ends = [*(change.timestamp for change in changes[1:]), until]
    for change, end in zip(changes, ends, strict=True):
        x = scale(change.timestamp)
        look = f'fill="{COLOURS.get(change.to, OTHER)}"'
        yield from _band(x, top, scale(end) - x, look, (change.to,))


def _meter(title: str, ones: Sequence[Interval], scale: Scale, y: int, until: int) -> Iterator[str]:
    yield _text(LEFT - 12, y + BAND / 2 + 4.5, title, "dim", "end")
    for one in ones:
        x, end = scale(one.begin), scale(until if one.end is None else one.end)
        closed = "still open" if one.stop is None else one.stop.reason
        long = _length(one.ns)
        whole = f"{long} ({one.start.reason} \N{RIGHTWARDS ARROW} {closed})"
        yield from _band(x, y, end - x, 'class="meter"', (whole, long))


def _length(ns: int) -> str:
    """Say how long, in the unit that people would."""
    seconds = ns / SECOND_NS
    return f"{seconds:.1f} s" if seconds < 120 else f"{int(seconds // 60)} min"  # noqa: PLR2004  # two minutes


def _axis(scale: Scale, height: int) -> Iterator[str]:
    seconds = scale.length // SECOND_NS
    step = next((one for one in STEPS if seconds // one <= TICKS), seconds // TICKS or 1)
    for second in range(0, seconds + 1, step):
        x = scale(scale.begin + second * SECOND_NS)
        label = f"{second // 60} min" if step >= 60 else f"{second} s"  # noqa: PLR2004  # a minute
        yield _text(x, height - 20, label, "dim", "middle")
