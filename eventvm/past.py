"""The past: machines as they were at an instant, with what had led to it, by what the log knew; pure.

Two questions are kept apart. What was known is a prefix of the log: whoever folds gives no records beyond it.
What was so at an instant is cut here, machine by machine: a machine is what its records make of it up to the
last change of phase that was so by then, and what followed that by then. So news of an exit that came late
counts from when it was so. Wall clocks go back: what follows a change of phase that had not come yet had not
come either, whatever its own time says.
"""

from collections.abc import Iterable, Iterator

from eventvm import commands, events
from eventvm.errors import NoSuchMachine
from eventvm.events import Unknown
from eventvm.ledger import Ledger
from eventvm.machine import Machine, evolve
from eventvm.record import Record
from eventvm.views import Definitions, Transition, defined, first, of_machine, transition

Labels = dict[str, str]


class Past:
    """One machine as it was at an instant, or at the end of what is known."""

    __slots__ = (
        "_at", "_brief", "_following", "_over", "asked", "came", "changes", "ended", "faults", "folded",
        "held", "labelled", "ledger", "machine", "seen",
    )  # fmt: skip

    def __init__(self, machine: Machine, at: int | None = None, *, brief: bool = False) -> None:
        self._at = at
        self._brief = brief
        self.machine = machine
        self.folded = machine
        """What it is at the end of what is known."""
        self._following = True
        """Whether what followed the last change of phase had followed by then."""
        self._over = False
        self.ledger = Ledger()
        """All its entries: they have a cut of their own; none of them in brief."""
        self.changes: list[Transition] = []
        """Its changes of phase; in brief none."""
        self.faults: dict[int, str] = {}
        """What went wrong with those that a failure led to, by position; in brief none."""
        self.came: Record | None = None
        """The record that brought it into its phase."""
        self.asked: Record | None = None
        """The record of its last request, open or not."""
        self.seen: Record | None = None
        """The last record that a sight of it has led to."""
        self.ended = 0
        """The position of the record that told of its last end."""
        self.held: dict[str, int] = {}
        """For each name that it had: the position at which it last took it."""
        self.labelled: list[tuple[int, Labels]] = []
        """Its labels, each time with the wall time that they are so from; never cut, and in brief none."""

    def apply(self, record: Record) -> None:
        """Fold one more of its records in."""
        before = self.folded
        after = self.folded = evolve(before, record.event, record.position)
        at = when(record)
        if not self._brief:
            self.ledger.add(before, record)
            if not self.labelled or after.spec.labels != before.spec.labels:
                since = max(at, self.labelled[-1][0]) if self.labelled else at
                self.labelled.append((since, after.spec.labels))
        if after.generation != before.generation:
            self._following = not (self._over or self._beyond(at))
            self._over = not self._following
        else:
            self._following = self._following and not self._beyond(at)
        if self._following:
            self._count(before, record, after)

    def _beyond(self, at: int) -> bool:
        return self._at is not None and at > self._at

    def _count(self, before: Machine, record: Record, after: Machine) -> None:
        self.machine = after
        if after.generation != before.generation:
            self.came = record
            if not self._brief and (change := transition(before, record, after)) is not None:
                self._enter(change)
        if isinstance(record.event, events.Requested):
            self.asked = record
        if after.end is not None and after.end is not before.end:
            self.ended = record.position
        if not isinstance(record.event, Unknown) and record.event.evidence is not None:
            self.seen = record
        if after.holds and (not before.holds or after.name != before.name):
            self.held[after.name] = record.position

    def _enter(self, change: Transition) -> None:
        self.changes.append(change)
        if fault := self.fault:
            self.faults[change.position] = fault

    @property
    def fault(self) -> str:
        """What went wrong when it came into its phase; empty where nothing did."""
        event = None if self.came is None else self.came.event
        return "" if event is None or isinstance(event, Unknown) else events.wrong(event)

    @property
    def last_change(self) -> int:
        """The wall time of its last change of phase."""
        return 0 if self.came is None else when(self.came)

    @property
    def was(self) -> bool:
        """Whether it existed by then, or was about to."""
        return self.machine.exists


class Pasts:
    """All machines as they were at an instant; it stops at what it cannot apply."""

    def __init__(
        self, at: int | None = None, *, brief: bool = False, definitions: Definitions | None = None
    ) -> None:
        self.at = at
        self.brief = brief
        """Whether only what they are is wanted, without the history and the ledger that led there."""
        self.definitions = definitions or Definitions()
        self.machines: dict[str, Past] = {}
        self.position = 0

    def apply(self, record: Record) -> Past | None:
        """Fold one record in, and give the machine that it happened to."""
        self.position = record.position
        if isinstance(record.event, events.LifecycleDefined):
            self.definitions.add(record.event.digest, defined(record.event))
        if not of_machine(record.stream):
            return None
        if (past := self.machines.get(record.stream)) is None:
            past = self.machines[record.stream] = Past(
                first(record, self.definitions), self.at, brief=self.brief
            )
        past.apply(record)
        return past

    def __iter__(self) -> Iterator[Past]:
        """Give the machines that were, in the order of their ids."""
        return (past for _, past in sorted(self.machines.items()) if past.was)

    def named(self, name: str) -> Past:
        """Give the machine that held a name by then, else the one that held it last."""
        ones = [past for past in self.machines.values() if name in past.held]
        if not ones:
            raise NoSuchMachine(name)
        return max(ones, key=lambda past: past.held[name])

    def known(self, id: str) -> Past:  # noqa: A002  # the word of the domain
        """Give the machine of an id."""
        past = self.machines.get(id)
        if past is None or not past.was:
            raise NoSuchMachine(id)
        return past


class Naming:
    """What each machine is called, record by record; what is no machine's is called as its stream."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def __contains__(self, stream: str) -> bool:
        return stream in self._names or not of_machine(stream)

    def name(self, record: Record) -> str:
        """Take a record in, and say what its machine is called from it on."""
        event = record.event
        command = event.command if isinstance(event, events.Requested) else None
        if isinstance(event, events.Created | events.Renamed):
            self._names[record.stream] = event.name
        elif isinstance(command, commands.Create | commands.Clone):
            self._names[record.stream] = command.name
        return self._names.get(record.stream, record.stream)


def when(record: Record) -> int:
    """Say when it was so, by the wall; of an event that nobody knows, when it was recorded."""
    return record.recorded_at if isinstance(record.event, Unknown) else record.event.at.wall


def periods(labelled: Iterable[tuple[int, Labels]]) -> Iterator[tuple[int | None, int | None, Labels]]:
    """Give the labels of a machine, each with the time that they were so; the ends are open."""
    begun = list(labelled)
    for at, (since, labels) in enumerate(begun):
        until = begun[at + 1][0] if at + 1 < len(begun) else None
        yield since if at else None, until, labels
