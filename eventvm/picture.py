"""What a picture of lives shows: phases, meters, marks and open requests, cut to a window; pure.

portrait.py draws it as SVG and sketch.py in letters: what is shown where is decided here, once.

Wall clocks go back, and a picture cannot: no band begins before the one before it.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from operator import itemgetter
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from eventvm import events
from eventvm.errors import plain
from eventvm.events import Event, Unknown
from eventvm.ledger import Interval
from eventvm.lifecycle import Lifecycle
from eventvm.observation import Clean, End, Forced, Instant, Observed
from eventvm.past import Past, Pasts, when
from eventvm.record import Record
from eventvm.times import SECOND_NS, briefly, length, rfc3339
from eventvm.views import Definitions, tag

Look = Literal["work", "rest", "flight", "fault", "gone"]
Kind = Literal["event", "repair", "failure", "forced"]
KINDS: tuple[Kind, ...] = ("event", "repair", "failure", "forced")
"""The kinds of marks; a later one stands out more."""
MARGIN = 24
"""Behind a life that is over so much of its length is shown."""
TICKS = 8
STEPS = tuple(
    one * unit
    for unit, ones in (
        (1_000_000, (1, 2, 5, 10, 20, 50, 100, 200, 500)),
        (SECOND_NS, (1, 2, 5, 10, 20, 30)),
        (60 * SECOND_NS, (1, 2, 5, 10, 20, 30)),
        (3600 * SECOND_NS, (1, 2, 3, 6, 12)),
        (86_400 * SECOND_NS, (1, 2, 7, 14, 28, 91, 182, 364)),
    )
    for one in ones
)
"""Lengths between two ticks."""


class Band(Struct, frozen=True):
    """A stretch of time in one phase."""

    phase: str
    look: Look
    begin: int
    end: int
    position: int


class Bar(Struct, frozen=True):
    """A stretch of time in which a meter counted."""

    row: str
    begin: int
    end: int
    ns: int
    """How long it counted in all; the window does not cut this."""
    opened: str
    closed: str
    """Why it ended; empty while it is being counted."""
    incarnation: int = 0
    """The boot that it belongs to; 0 where it belongs to none."""


class Mark(Struct, frozen=True):
    """One instant of a life."""

    at: int
    text: str
    kind: Kind
    position: int
    reason: str = ""


class Pending(Struct, frozen=True):
    """A request without an outcome."""

    verb: str
    actor: str
    position: int
    begin: int
    deadline: int


class Life(Struct, frozen=True):
    """What is drawn of one machine."""

    name: str
    id: str
    lifecycle: str
    phase: str
    """The one that it is in at the end."""
    bands: tuple[Band, ...]
    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...]
    pending: Pending | None
    over: bool


class Picture(Struct, frozen=True):
    """Lives in a window of time, half open."""

    lives: tuple[Life, ...]
    begin: int
    end: int


# --- from records to lives ------------------------------------------------------------------------------


class Lives:
    """All machines as they were at an instant, with what is marked in their pictures."""

    def __init__(self, at: int | None = None, *, definitions: Definitions | None = None) -> None:
        self.pasts = Pasts(at, definitions=definitions)
        self._marks: dict[str, list[Mark]] = {}
        self.latest = 0
        """The wall time of the latest that is known; a clock that was put back lies before it."""
        self._begun: dict[str, int] = {}
        """For each machine: the wall time of its first record."""
        self._boots: dict[str, list[tuple[int, int]]] = {}
        """For each machine: its incarnations, each with the position of the record that began it."""

    def apply(self, record: Record) -> None:
        """Fold one record in."""
        past = self.pasts.apply(record)
        if past is None:
            return
        self.latest = max(self.latest, when(record))
        self._begun.setdefault(record.stream, when(record))
        boots = self._boots.setdefault(record.stream, [(0, 0)])
        if past.folded.incarnation != boots[-1][1]:
            boots.append((record.position, past.folded.incarnation))
        if past.machine.position == record.position and (mark := marked(record)) is not None:
            self._marks.setdefault(record.stream, []).append(mark)

    def life(self, past: Past, now: Instant) -> Life:
        """Give what is drawn of a machine, up to the instant that was asked for or else up to now."""
        at, machine = self.pasts.at, past.machine
        until = max(now.wall, self.latest) if at is None else at
        ledger = past.ledger
        intervals = ledger.until(now) if at is None else ledger.intervals(as_of=Instant(at, 0, ""))
        return Life(
            name=machine.name, id=machine.id, lifecycle=machine.rules.name, phase=_title(past),
            bands=tuple(_bands(past, self._begun[machine.id], until)),
            bars=tuple(_bar(one, self._incarnation(one), until) for one in intervals),
            marks=tuple(self._marks.get(machine.id, ())),
            pending=_pending(past), over=machine.terminal,
        )  # fmt: skip

    def _incarnation(self, one: Interval) -> int:
        """Say to which boot an interval belongs; what is kept beside the machine belongs to none."""
        if one.subject:
            return 0
        boots = self._boots[one.machine]
        return boots[bisect_right(boots, one.start.position, key=itemgetter(0)) - 1][1]


def _title(past: Past) -> str:
    return past.machine.rules.definition.title(past.machine.phase)


def _bands(past: Past, begun: int, until: int) -> Iterator[Band]:
    """Tile the life, from its first change of phase on; while that has not come, from its first record on."""
    looks = dict(_looks(past.machine.rules.definition))
    phases = [(change.to, change.timestamp, change.position) for change in past.changes]
    phases = phases or [(_title(past), begun, past.machine.position)]
    begins = accumulate((at for _, at, _ in phases), max)
    for (begin, end), (phase, _, position) in zip(pairwise((*begins, until)), phases, strict=True):
        yield Band(phase, looks.get(phase, "flight"), begin, max(begin, end), position)


def _looks(definition: Lifecycle) -> Iterator[tuple[str, Look]]:
    for phase in definition.phases:
        yield definition.title(phase), look(definition, phase)


def look(definition: Lifecycle, phase: str) -> Look:
    """Say what it means to be in a phase."""
    if phase in definition.ends:
        return "gone"
    if phase in definition.faulty:
        return "fault"
    if phase in definition.active:
        return "work"
    return "rest" if phase in definition.settled else "flight"


def _bar(one: Interval, incarnation: int, until: int) -> Bar:
    row = f"snapshot {one.subject}" if one.subject else one.meter
    end = max(one.begin, until) if one.end is None else one.end
    closed = one.stop.reason if one.stop is not None else ""
    return Bar(row, one.begin, end, one.ns, one.start.reason, closed, incarnation)


def _pending(past: Past) -> Pending | None:
    request, asked = past.machine.request, past.asked
    if request is None or asked is None:
        return None
    return Pending(request.command.verb, asked.actor, request.position, when(asked), request.deadline)


# --- marks ----------------------------------------------------------------------------------------------

SILENT = (events.Requested, events.Abandoned, events.Noted, events.Unchanged, events.LifecycleDefined)
"""What a picture shows otherwise, or not at all."""
REPAIRS = (events.Reconciled, events.Attested, events.Corrected, events.Confirmed)


def marked(record: Record) -> Mark | None:
    """Say how a record is marked; None where it is not."""
    event = record.event
    if isinstance(event, SILENT):
        return None
    if isinstance(event, Unknown):
        return Mark(when(record), f"{event.tag}, unknown to this release", "failure", record.position)
    words = " ".join((tag(record).removeprefix("machine."), *_details(event)))
    return Mark(event.at.wall, words, _kind(event), record.position, events.wrong(event) or event.reason)


def _kind(event: Event) -> Kind:
    end = getattr(event, "end", None)
    if isinstance(event, events.ForcedPhase) or (end is not None and isinstance(end.termination, Forced)):
        return "forced"
    if isinstance(event, events.Failure | events.RestartGivenUp | events.Doubted):
        return "failure"
    return "repair" if isinstance(event, REPAIRS) else "event"


def _details(event: Event) -> Iterator[str]:
    """Name what tells this event from others of its type."""
    anything: Any = event
    match event:
        case events.ForcedPhase(to=to) | events.Transitioned(to=to):
            yield f"to {to}"
        case events.Started() | events.Restored() | events.Cloned():
            yield f"(incarnation {anything.incarnation})"
        case events.Created(name=name) | events.Renamed(name=name):
            yield f"as {name}"
        case events.Snapshotted(snapshot=snapshot) | events.SnapshotDeleted(snapshot=snapshot):
            yield repr(snapshot)
        case _:
            pass
    if isinstance(end := getattr(event, "end", None), End):
        yield f"({told(end)})"


def told(end: End) -> str:
    """Say how an end came, and how it is known."""
    return f"{end.rung}: {_known(end)}" if end.rung else _known(end)


def _known(end: End) -> str:
    match end.termination:
        case Clean(code=code):
            return f"exit code {code}, authenticated"
        case Observed(code=int() as code):
            return f"exit code {code}"
        case Observed(signal=str() as name):
            return f"ended by {name}"
        case Forced():
            return f"{end.manner}, forced, no exit code"
        case _:
            return end.manner


# --- the window -----------------------------------------------------------------------------------------


def picture(lives: Iterable[Life], begin: int | None, end: int | None) -> Picture:
    """Cut lives to a window; what is not said of it follows from them."""
    ones = [one for one in lives if one.bands]
    begin = min((one.bands[0].begin for one in ones), default=0) if begin is None else begin
    end = max((_shown_until(one) for one in ones), default=begin) if end is None else end
    end = max(end, begin + 1)
    return Picture(tuple(filter(None, (_cut(one, begin, end) for one in ones))), begin, end)


def _shown_until(life: Life) -> int:
    """Show a life that is over up to its end, and a little of what came after."""
    last, first = life.bands[-1], life.bands[0]
    return min(last.end, last.begin + 1 + (last.begin - first.begin) // MARGIN) if life.over else last.end


def _cut(life: Life, begin: int, end: int) -> Life | None:
    """Leave out what lies beyond a window; None where nothing is left."""
    bands = tuple(
        replace(one, begin=max(one.begin, begin), end=min(one.end, end))
        for one in life.bands
        if one.begin < min(one.end, end) and one.end > begin
    )
    if not bands:
        return None
    bars = tuple(
        replace(one, begin=max(one.begin, begin), end=min(one.end, end))
        for one in life.bars
        if one.begin < min(one.end, end) and one.end > begin
    )
    pending = life.pending if life.pending is not None and life.pending.begin <= end else None
    marks = tuple(one for one in life.marks if begin <= one.at <= end)
    return replace(life, bands=bands, bars=bars, marks=marks, pending=pending)


def rows(life: Life) -> dict[str, list[Bar]]:
    """Group the bars of a life by the row that they stand in."""
    found: dict[str, list[Bar]] = {}
    for bar in life.bars:
        found.setdefault(bar.row, []).append(bar)
    return found


def ticks(begin: int, end: int, most: int = TICKS) -> Iterator[tuple[int, str]]:
    """Give round instants of a window with their labels, so many at most."""
    step = next(
        (one for one in STEPS if (end - begin) // one < most),
        STEPS[-1] * (1 + (end - begin) // STEPS[-1] // most),
    )
    for at in range(-(-begin // step) * step, end + 1, step):
        yield at, _clock(at, step)


def _clock(wall: int, step: int) -> str:
    stamp = rfc3339(wall)
    if step < SECOND_NS:
        return stamp[14:23]
    if step < 60 * SECOND_NS:
        return stamp[11:19]
    return stamp[11:16] if step < 86_400 * SECOND_NS else stamp[:10]


# --- in words -------------------------------------------------------------------------------------------


def headline(shown: Picture) -> str:
    """Name what is shown."""
    if len(shown.lives) == 1:
        return f"The life of {plain(shown.lives[0].name)}"
    return f"The lives of {len(shown.lives)} machines"


def span(shown: Picture) -> str:
    """Say which time is shown."""
    return f"{briefly(shown.begin)} to {briefly(shown.end)} ({length(shown.end - shown.begin)})"


def summary(shown: Picture) -> str:
    """Tell the picture to those who cannot see it."""
    return " ".join((f"{span(shown)}.", *map(_told, shown.lives)))


def _told(life: Life) -> str:
    phases = ", ".join(f"{band.phase} {length(band.end - band.begin)}" for band in life.bands[:TICKS])
    more = f" and {len(life.bands) - TICKS} more" if len(life.bands) > TICKS else ""
    texts = [mark.text for mark in notable(life)]
    marks = f" Marked: {', '.join(texts[:TICKS])}." if texts else ""
    under_way = f" {asked(life.pending)}." if life.pending is not None else ""
    return plain(f"{life.name} ({life.lifecycle}): {phases}{more}.{marks}{under_way}")


def asked(pending: Pending) -> str:
    """Say what is under way."""
    by = f" by {pending.actor}" if pending.actor else ""
    return f"{pending.verb} requested{by} at {briefly(pending.begin)}, deadline {briefly(pending.deadline)}"


def said(mark: Mark) -> str:
    """Say what happened, and why."""
    return f"{mark.text}: {mark.reason}" if mark.reason else mark.text


def why(bar: Bar) -> str:
    """Say how long a bar is, and what its ends follow from."""
    boot = f", incarnation {bar.incarnation}" if bar.incarnation > 1 else ""
    return f"{length(rounded(bar.ns))} ({bar.opened} \N{RIGHTWARDS ARROW} {bar.closed or 'counting'}{boot})"


def rounded(ns: int) -> int:
    """Leave out of a length what nobody reads: from ten seconds on, the parts of one."""
    unit = SECOND_NS if ns >= 10 * SECOND_NS else SECOND_NS // 10 if ns >= SECOND_NS else SECOND_NS // 1000
    return ns // unit * unit


def notable(life: Life) -> Iterator[Mark]:
    """Give the marks that must be seen, also on a row among others."""
    return (mark for mark in life.marks if mark.kind != "event")


def seen(shown: Picture) -> Iterator[Mark]:
    """Give the marks that a picture shows: all of one life, of several those that must be seen."""
    for life in shown.lives:
        yield from life.marks if len(shown.lives) == 1 else notable(life)


def most_notable(marks: Sequence[Mark]) -> Mark:
    """Give the one of several marks that must be seen."""
    return max(marks, key=lambda mark: KINDS.index(mark.kind))
