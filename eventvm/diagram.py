"""A lifecycle as one picture: its phases, and beside each the events that lead on; as SVG, pure.

What leads down runs on the right, what leads up on the left. All that leads to one phase on one side runs
together in a lane of that phase's colour.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from eventvm.drawing import edges, short
from eventvm.lifecycle import Lifecycle
from eventvm.picture import look
from eventvm.portrait import STYLE, opened, text

BOX, LINE, GAP, HEAD, LANE, MARGIN = 150, 20, 16, 60, 12, 24
LETTER = 6.6
PADDING = 14
"""Above the lines of a box, where the ways that lead to it come in."""
LANES = """
.eventvm .way { fill: none; stroke-width: 1.5 } .eventvm .tip { stroke: none }
.eventvm .work.way { stroke: #1a7f37; fill: none } .eventvm .rest.way { stroke: #3654c8; fill: none }
.eventvm .flight.way { stroke: #8a6100; fill: none } .eventvm .fault.way { stroke: #c21c2c; fill: none }
.eventvm .gone.way { stroke: #848d97; fill: none } .eventvm .end { fill: none; stroke: #ffffff }
@media screen and (prefers-color-scheme: dark) {
.eventvm .work.way { stroke: #3fb950 } .eventvm .rest.way { stroke: #748ffc }
.eventvm .flight.way { stroke: #d29922 } .eventvm .fault.way { stroke: #ff7b72 }
.eventvm .gone.way { stroke: #9198a1 }
}"""


class Edge(NamedTuple):
    """What leads from one phase to another."""

    source: int
    target: int
    words: str
    """The events, and where they lead."""

    @property
    def down(self) -> bool:
        """Whether it leads to a later phase, or back to its own."""
        return self.target >= self.source


class Lane(NamedTuple):
    """What leads to one phase on one side."""

    target: int
    ys: tuple[float, ...]
    """Where its edges come in."""


def diagram(lifecycle: Lifecycle) -> str:
    """Draw every arrow and every move that sets the phase."""
    plan = Plan(lifecycle)
    told = "; ".join(f"{lifecycle.title(plan.phases[edge.source])}: {edge.words}" for edge in plan.edges)
    title = f"The lifecycle {lifecycle.name}"
    lanes = (part for down in (True, False) for part in _lanes(plan, down=down))
    boxes = (part for at in range(len(plan.phases)) for part in _box(plan, at))
    ways = (part for edge in plan.edges for part in _edge(plan, edge))
    head = (opened(plan.size, title, told, STYLE + LANES), text(MARGIN, 34, title, "text head"))
    return "\n".join((*head, *lanes, *ways, *boxes, "</svg>\n"))


def _words(tags: Iterable[str], to: str) -> str:
    return f"{', '.join(map(short, tags))} \N{RIGHTWARDS ARROW} {to}"


class Plan:
    """Where everything stands."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self.lifecycle = lifecycle
        self.phases = lifecycle.phases
        order = {phase: at for at, phase in enumerate(self.phases)}
        self.edges = [
            Edge(order[phase], order[to], _words(tags, lifecycle.title(to)))
            for (phase, to), tags in edges(lifecycle).items()
        ]
        self.tops, bottom = self._stacked()
        self.packed = {down: _packed(self._gathered(down=down)) for down in (True, False)}
        rooms = {
            down: self._longest(down=down) + LANE * (2 + len(self.packed[down])) for down in (True, False)
        }
        self.x = MARGIN + rooms[False]
        self.size = (self.x + BOX + rooms[True] + MARGIN, bottom + MARGIN)

    def _stacked(self) -> tuple[list[float], float]:
        """Stack the boxes, each as high as its edges need."""
        tops, y = [], float(HEAD)
        for at in range(len(self.phases)):
            tops.append(y)
            y += self.height(at) + GAP
        return tops, y - GAP

    def height(self, at: int) -> float:
        """Say how high a box is."""
        down = [one.down for one in self.edges if one.source == at]
        return LINE * max(1, down.count(True), down.count(False)) + PADDING + 4

    def y(self, edge: Edge) -> float:
        """Say at which height an edge leaves its box."""
        beside = [one for one in self.edges if one.source == edge.source and one.down is edge.down]
        return self.tops[edge.source] + PADDING + LINE * (beside.index(edge) + 1) - 2

    def port(self, target: int) -> float:
        """Say at which height edges reach a box."""
        return self.tops[target] + 7

    def _gathered(self, *, down: bool) -> Iterator[Lane]:
        for target in range(len(self.phases)):
            if ys := tuple(self.y(one) for one in self.edges if one.target == target and one.down is down):
                yield Lane(target, (self.port(target), *ys))

    def _longest(self, *, down: bool) -> float:
        return LETTER * max((len(one.words) for one in self.edges if one.down is down), default=0) + 12

    def lane(self, target: int, *, down: bool) -> float:
        """Say how far out the lane to a phase runs."""
        targets = [[one.target for one in lanes] for lanes in self.packed[down]]
        at = next(at for at, ones in enumerate(targets) if target in ones)
        out = self._longest(down=down) + LANE * (at + 1)
        return self.x + BOX + out if down else self.x - out


def _packed(lanes: Iterable[Lane]) -> list[list[Lane]]:
    """Put lanes as close to the boxes as they have room, the shortest first."""
    packed: list[list[Lane]] = []
    for lane in sorted(lanes, key=lambda one: max(one.ys) - min(one.ys)):
        free = (
            ones
            for ones in packed
            if all(max(lane.ys) < min(one.ys) - 2 or max(one.ys) < min(lane.ys) - 2 for one in ones)
        )
        if (ones := next(free, None)) is None:
            packed.append([lane])
        else:
            ones.append(lane)
    return packed


def _lanes(plan: Plan, *, down: bool) -> Iterator[str]:
    for lane in (one for ones in plan.packed[down] for one in ones):
        x, kind = plan.lane(lane.target, down=down), look(plan.lifecycle, plan.phases[lane.target])
        edge, out = (plan.x + BOX, 1) if down else (plan.x, -1)
        port = plan.port(lane.target)
        way = f"M{x:.1f} {min(lane.ys):.1f}V{max(lane.ys):.1f}M{x:.1f} {port:.1f}H{edge + 6 * out:.1f}"
        yield f'<path class="way {kind}" d="{way}"/>'
        yield f'<path class="tip {kind}" d="M{edge:.1f} {port:.1f}l{8 * out} -4v8Z"/>'


def _edge(plan: Plan, edge: Edge) -> Iterator[str]:
    kind = look(plan.lifecycle, plan.phases[edge.target])
    y, x = plan.y(edge), plan.lane(edge.target, down=edge.down)
    begin = plan.x + BOX if edge.down else plan.x
    yield f'<path class="way {kind}" d="M{begin:.1f} {y:.1f}H{x:.1f}"/>'
    yield text(begin + (8 if edge.down else -8), y - 4, edge.words, "dim", "start" if edge.down else "end")


def _box(plan: Plan, at: int) -> Iterator[str]:
    lifecycle, phase = plan.lifecycle, plan.phases[at]
    y, height = plan.tops[at], plan.height(at)
    place = f'x="{plan.x:.1f}" y="{y:.1f}" width="{BOX}" height="{height:g}" rx="6"'
    yield f'<rect class="{look(lifecycle, phase)}" {place}/>'
    if phase in lifecycle.ends:
        yield (
            f'<rect class="end" x="{plan.x + 3:.1f}" y="{y + 3:.1f}" width="{BOX - 6}" '
            f'height="{height - 6:g}" rx="4"/>'
        )
    yield text(plan.x + BOX / 2, y + height / 2 + 4.5, lifecycle.title(phase), "on", "middle")
    if phase == lifecycle.initial:
        yield f'<path class="mark" d="M{plan.x + BOX / 2:.1f} {y - 12:.1f}v6"/>'
        yield f'<circle class="mark" cx="{plan.x + BOX / 2:.1f}" cy="{y - 15:.1f}" r="4"/>'
