"""A shadow replay: the log under a definition that it was not written under; what would have been illegal.

A record that the other definition forbids is noted, and the shadow then goes on from where the record led in
truth: so each finding stands for itself, and none follows from the one before it.
"""

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from eventvm.decisions import taken
from eventvm.errors import IllegalEvent
from eventvm.events import Requested
from eventvm.lifecycle import Rules
from eventvm.machine import Machine, blank, evolve
from eventvm.past import Pasts
from eventvm.record import Record
from eventvm.views import Definitions, tag

ENDINGS = frozenset({"destroy", "destroy_forced", "force", "attest", "amend", "correct", "use",
                     "advance_retry", "reset_retry"})  # fmt: skip
"""Commands that are no way on: they end a machine, go round its tables, or leave it where it is."""


class Illegal(Struct, frozen=True):
    """A record that could not have happened."""

    position: int
    machine: str
    name: str
    phase: str
    event: str
    why: str


class Stuck(Struct, frozen=True):
    """A living machine that would have no way on."""

    machine: str
    name: str
    phase: str
    why: str


class Shadow:
    """A log as it would have been lived under another definition of one of its lifecycles."""

    def __init__(self, rules: Rules, definitions: Definitions | None = None) -> None:
        self.rules = rules
        self.truth = Pasts(brief=True, definitions=definitions)
        self.records = 0
        """How many records of such machines there were."""
        self._shadows: dict[str, Machine] = {}

    def apply(self, record: Record) -> Illegal | None:
        """Take one more record, and say if it would have been illegal."""
        past = self.truth.apply(record)
        if past is None or past.folded.rules.name != self.rules.name:
            return None
        self.records += 1
        shadow = self._shadows.get(record.stream) or blank(record.stream, self.rules)
        try:
            self._shadows[record.stream] = self._evolved(shadow, record)
        except IllegalEvent as problem:
            self._shadows[record.stream] = self._rejoined(past.folded)
            why = str(problem).removeprefix(f"{record.stream}: ")
            phase = shadow.rules.definition.title(shadow.phase)
            return Illegal(record.position, record.stream, past.folded.name, phase, tag(record), why)
        return None

    def _evolved(self, shadow: Machine, record: Record) -> Machine:
        event = record.event
        if isinstance(event, Requested) and event.effect not in self.rules.definition.effects:
            raise IllegalEvent(f"{event.effect} is no effect of it")
        return evolve(shadow, event, record.position)

    def _rejoined(self, truth: Machine) -> Machine:
        """Go on from where a machine is in truth; what is under way there may be nothing here."""
        request = truth.request
        known = request is not None and request.effect in self.rules.definition.effects
        return replace(truth, rules=self.rules, request=request if known else None)

    def stuck(self) -> Iterator[Stuck]:
        """Name each machine that lives in truth, and would have no way on that does not end it."""
        for id_, shadow in sorted(self._shadows.items()):
            truth = self.truth.machines[id_].folded
            if truth.living and (why := self._nowhere(shadow)):
                yield Stuck(id_, truth.name, shadow.phase, why)

    def _nowhere(self, shadow: Machine) -> str:
        if shadow.phase not in self.rules.definition.phases:
            return "its phase is no phase of it"
        if shadow.terminal:
            return "its phase is an end, and the machine lives"
        if shadow.request is None and not set(taken(shadow)) - ENDINGS:
            return "nothing leads on that does not end it"
        return ""
