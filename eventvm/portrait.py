"""A machine's life as one picture: phase bands, ledger intervals and events over time, as SVG; pure.

The colours work on light and on dark pages, and the drawing needs no script and no font of its own.
"""

from collections.abc import Iterable, Iterator, Sequence
from xml.sax.saxutils import escape

from eventvm.errors import plain
from eventvm.ledger import Interval
from eventvm.views import Transition

WIDTH, LEFT, RIGHT = 960, 96, 24
TOP, BAND, GAP = 64, 34, 14

COLOURS = {
    "running": "#2da44e", "started": "#2da44e", "error": "#cf222e", "created": "#0b7285",
    "creating": "#8b949e", "stopped": "#4c6ef5", "paused": "#bf8700", "destroyed": "#6e7781",
}  # fmt: skip
OTHER = "#8250df"
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
    'font-family="system-ui, sans-serif" font-size="13" fill="#6e7781">'
)
REPAIRS = ("machine.reconciled", "machine.forced", "machine.attested")


def portrait(name: str, changes: Sequence[Transition], intervals: Iterable[Interval], until: int) -> str:
    """Draw the life of a machine, from its first change of phase to an instant."""
    rows = [one for one in intervals if not one.subject]
    meters = list(dict.fromkeys(one.meter for one in rows))
    scale = Scale(changes[0].timestamp, until)
    height = TOP + (1 + len(meters)) * (BAND + GAP) + 40
    parts = [
        SVG.format(width=WIDTH, height=height),
        f"<title>The life of {escape(plain(name))}</title>",
        *_phases(changes, scale, until),
        *_marks(changes, scale, height),
    ]
    for at, meter in enumerate(meters, start=1):
        parts.extend(_meter(meter, [one for one in rows if one.meter == meter], scale, _top(at), until))
    parts.extend(_axis(scale, height))
    return "\n".join((*parts, "</svg>\n"))


class Scale:
    """Where on the page an instant is."""

    def __init__(self, begin: int, end: int) -> None:
        self.begin = begin
        self.length = max(end - begin, 1)

    def __call__(self, wall: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (wall - self.begin) / self.length


def _top(row: int) -> int:
    return TOP + row * (BAND + GAP)


def _text(x: float, y: float, text: str, *, anchor: str = "start", fill: str = "") -> str:
    dyed = f' fill="{fill}"' if fill else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{dyed}>{escape(plain(text))}</text>'


def _band(x: float, y: float, width: float, colour: str, label: str) -> Iterator[str]:
    yield f'<rect x="{x:.1f}" y="{y}" width="{max(width, 1):.1f}" height="{BAND}" rx="4" fill="{colour}"/>'
    if width > 8 * len(label):
        yield _text(x + width / 2, y + BAND / 2 + 5, label, anchor="middle", fill="#ffffff")


def _phases(changes: Sequence[Transition], scale: Scale, until: int) -> Iterator[str]:
    yield _text(LEFT - 10, TOP + BAND / 2 + 5, "phase", anchor="end")
    ends = [*(change.timestamp for change in changes[1:]), until]
    for change, end in zip(changes, ends, strict=True):
        x = scale(change.timestamp)
        yield from _band(x, TOP, scale(end) - x, COLOURS.get(change.to, OTHER), change.to)


def _marks(changes: Sequence[Transition], scale: Scale, height: int) -> Iterator[str]:
    """Mark each event above its instant; repairs are filled, and events of one instant share a label."""
    together: dict[float, list[Transition]] = {}
    for change in changes:
        together.setdefault(scale(change.timestamp), []).append(change)
    for x, ones in together.items():
        repair = any(one.event in REPAIRS for one in ones)
        label = ", ".join(
            one.event.removeprefix("machine.") for one in ones if one.event != "machine.requested"
        )
        yield (
            f'<path d="M{x:.1f} {TOP - 12} V{height - 40}" stroke="#8b949e" stroke-dasharray="2 4"/>'
            f'<circle cx="{x:.1f}" cy="{TOP - 14}" r="5" stroke="#bf8700" '
            f'fill="{"#bf8700" if repair else "none"}" stroke-width="2"/>'
        )
        beyond = x > WIDTH - 140  # a label near the edge is written to its left
        yield _text(x + (2 if beyond else -2), TOP - 28, label, anchor="end" if beyond else "start")


def _meter(meter: str, ones: Sequence[Interval], scale: Scale, y: int, until: int) -> Iterator[str]:
    yield _text(LEFT - 10, y + BAND / 2 + 5, meter, anchor="end")
    for one in ones:
        x, end = scale(one.begin), scale(until if one.end is None else one.end)
        closed = "still open" if one.stop is None else one.stop.reason
        minutes = one.ns // 60_000_000_000
        yield from _band(
            x, y, end - x, "#57606a", f"{minutes} min ({one.start.reason} \N{RIGHTWARDS ARROW} {closed})"
        )


def _axis(scale: Scale, height: int) -> Iterator[str]:
    minutes = scale.length // 60_000_000_000
    step = max(5 * round(minutes / 40), 1)
    for minute in range(0, minutes + 1, step):
        x = scale(scale.begin + minute * 60_000_000_000)
        yield _text(x, height - 16, f"{minute} min", anchor="end" if x > WIDTH - 2 * RIGHT else "middle")
