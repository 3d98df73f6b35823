"""A bill: what was counted in a window, cut and added up line by line; pure.

A bill is asked for by window, meter and label, and may tell apart machines, meters, snapshots, shapes,
labels, days and months. A second is billed under the labels that the machine had at that second.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, tzinfo

from msgspec import Struct

from eventvm.errors import BadInput
from eventvm.ledger import Basis, Interval
from eventvm.limits import shown
from eventvm.observation import Instant
from eventvm.past import Past, periods
from eventvm.spec import Shape
from eventvm.windows import Share, Unit, Window, calendar, overlapping, share

KEYS = ("machine", "meter", "subject", "shape", "day", "month")
LABEL = "label:"
"""What a key begins with that tells the values of a label apart."""


class Asked(Struct, frozen=True, kw_only=True):
    """What a bill is asked for by."""

    as_of: Instant
    """What is so by then; what is still open is measured up to it."""
    cut: bool = False
    """Whether `as_of` lies in the past, so that what came later is left out."""
    window: Window = Window()
    meter: str = ""
    """Empty for all."""
    labels: tuple[str, ...] = ()
    """`team` or `team=a`: only while a machine had all of them."""
    keys: tuple[str, ...] = ("machine", "meter")
    """What is told apart."""
    zone: tzinfo = UTC
    """Whose days and months."""

    def __post_init__(self) -> None:
        for key in self.keys:
            if key not in KEYS and not (key.startswith(LABEL) and len(key) > len(LABEL)):
                raise BadInput(f"a bill cannot tell {shown(key)} apart; it can: {', '.join(KEYS)}, label:KEY")

    @property
    def by_label(self) -> bool:
        """Whether it matters which labels a machine had when."""
        return bool(self.labels) or any(key.startswith(LABEL) for key in self.keys)


class Part(Struct, frozen=True):
    """A piece of an interval, and whose it is: of which machine, in which window, under which labels."""

    past: Past
    share: Share
    window: Window
    labels: dict[str, str]


class Line(Struct, frozen=True):
    """What a sum is of; what was not to be told apart is empty."""

    window: str = ""
    machine: str = ""
    meter: str = ""
    subject: str = ""
    shape: Shape | None = None
    labels: tuple[str, ...] = ()


class Sum(Struct, frozen=True):
    """What the parts of one line come to, and the clocks that measured them."""

    ns: int = 0
    milli_cpu_ns: int = 0
    """Thousandths of a CPU, times nanoseconds."""
    memory_byte_ns: int = 0
    storage_byte_ns: int = 0
    clocks: frozenset[Basis] = frozenset()

    def plus(self, share: Share) -> "Sum":
        """Add one share."""
        ns, shape = share.ns, share.interval.shape
        return Sum(
            self.ns + ns, self.milli_cpu_ns + ns * shape.milli_cpus, self.memory_byte_ns + ns * shape.memory,
            self.storage_byte_ns + ns * shape.storage, self.clocks | {share.interval.basis},
        )  # fmt: skip


def counted(past: Past, asked: Asked) -> tuple[Interval, ...]:
    """Give all that was counted of a machine, as it was by then."""
    ledger = past.ledger
    return ledger.intervals(as_of=asked.as_of) if asked.cut else ledger.until(asked.as_of)


def parts(pasts: Iterable[Past], asked: Asked) -> Iterator[Part]:
    """Cut what was counted to the window, to its days or months, and to the time that a label was had."""
    for past in pasts:
        intervals = counted(past, asked)
        pieces = list(_pieces(past, list(_windows(intervals, asked)), asked))
        cuts = [met for met, _, _ in pieces]
        for interval in intervals:
            if asked.meter in ("", interval.meter):
                for place in overlapping(cuts, interval.begin, _end(interval, asked)):
                    met, window, labels = pieces[place]
                    if (found := share(interval, met, asked.as_of.wall)) is not None:
                        yield Part(past, found, window, labels)


Piece = tuple[Window, Window, dict[str, str]]
"""What a window and the time of some labels have in common, that window, and these labels."""


def _pieces(past: Past, windows: Iterable[Window], asked: Asked) -> Iterator[Piece]:
    """Cut each window to the times in which the machine had the same labels."""
    labelled = list(_labelled(past, asked))
    periods = [period for period, _ in labelled]
    for window in windows:
        for place in overlapping(periods, window.begin, window.end):
            period, labels = labelled[place]
            if (met := window.meets(period)) is not None:
                yield met, window, labels


def _labelled(past: Past, asked: Asked) -> Iterator[tuple[Window, dict[str, str]]]:
    if not asked.by_label:
        yield Window(), past.machine.spec.labels
        return
    for begin, end, labels in periods(past.labelled):
        if all(has(labels, label) for label in asked.labels):
            yield Window(begin, end), labels


def has(labels: dict[str, str], wanted: str) -> bool:
    """Say whether labels have one that is wanted, `team` or `team=a`."""
    key, said, value = wanted.partition("=")
    return key in labels and (not said or labels[key] == value)


def _windows(intervals: Iterable[Interval], asked: Asked) -> Iterator[Window]:
    """Give the windows that are told apart, as far as a machine was counted in them."""
    unit: Unit | None = "day" if "day" in asked.keys else "month" if "month" in asked.keys else None
    if unit is None:
        yield asked.window
        return
    spans = [(one.begin, _end(one, asked)) for one in intervals]
    if not spans:
        return
    whole = Window(min(begin for begin, _ in spans), max(end for _, end in spans) + 1)
    if (extent := asked.window.meets(whole)) is not None:
        yield from calendar(unit, extent, asked.zone)


def _end(one: Interval, asked: Asked) -> int:
    """Give the end of an interval, where it is open that of what is asked for."""
    return max(asked.as_of.wall, one.begin) if one.end is None else one.end


def totals(pasts: Iterable[Past], asked: Asked, sums: dict[Line, Sum] | None = None) -> dict[Line, Sum]:
    """Add up the parts of each line, on top of what was added up before."""
    sums = {} if sums is None else sums
    for part in parts(pasts, asked):
        line = _line(part, asked.keys)
        sums[line] = sums.get(line, Sum()).plus(part.share)
    return sums


def _line(part: Part, keys: tuple[str, ...]) -> Line:
    one = part.share.interval
    return Line(
        window=part.window.name,
        machine=one.machine if "machine" in keys else "",
        meter=one.meter if "meter" in keys else "",
        subject=one.subject if "subject" in keys else "",
        shape=one.shape if "shape" in keys else None,
        labels=tuple(part.labels.get(key.removeprefix(LABEL), "") for key in keys if key.startswith(LABEL)),
    )
