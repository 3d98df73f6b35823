"""Given, when, then: a row of a lifecycle's tables told as one line, and tried without an engine.

    given(vm, Start()).when(Stop(), stop="fail").then("machine.stop_failed").then_phase("error")

A story begins with a machine that was created; what is given happened and went well. `when` says what
happens next, and how each call to the provider comes out where it does not go well: `fail`, or `unknown`.
`then` compares the facts that followed, requests left out, or the refusal, which none follows.
"""

from typing import Any, Self

from eventvm import commands, events, limits
from eventvm.commands import Command
from eventvm.drawing import answer_in_words
from eventvm.errors import BadInput, Refused
from eventvm.events import TAGS, Event
from eventvm.lifecycle import Lifecycle, Rules
from eventvm.limits import wishes
from eventvm.observation import End, Liveness, Observation
from eventvm.spec import Spec
from eventvm.tables import CALLS
from eventvm.testing.life import Life, observed

Expected = str | type[events.Happened] | type[Refused]
"""A fact by its type's tag or class, or the class of a refusal."""
BEGINNINGS = (commands.Create, commands.Clone, events.Created, events.Requested)


def given(
    lifecycle: Lifecycle | str, *past: Command | Event, phase: str = "",
    seen: Observation | Liveness = "gone", spec: Spec | None = None, name: str = "web-1",
) -> "Story":  # fmt: skip
    """Begin with a machine and its past: commands that went well, and events, in their order.

    It is created first, unless its past says how it began; `phase` imports one whose application moves it.
    """
    story = absent(lifecycle, seen=seen, spec=spec, name=name)
    if not (past and isinstance(past[0], BEGINNINGS)):
        phases = story.life.rules.definition.phases
        story.life.create(**({"phase": limits.choice(phase, "phase", phases)} if phase else {}))
    for each in past:
        story.life.append(each) if isinstance(each, events.Happened) else story.life.send(
            wishes.command(each)
        )
    return story.begun()


def absent(
    lifecycle: Lifecycle | str, *, seen: Observation | Liveness = "gone", spec: Spec | None = None,
    name: str = "web-1",
) -> "Story":  # fmt: skip
    """Begin with a machine that was never created."""
    life = Life(lifecycle, spec, name)
    life.probe = seen
    return Story(life)


class Story:
    """What was given, what happened, and what is to follow from it."""

    def __init__(self, life: Life) -> None:
        self.life = life
        """The machine with its records, ledger and clock, for whatever a story does not say."""
        self.refused: Refused | None = None
        """The refusal that the last `when` came to."""
        self.begun()

    def begun(self) -> Self:
        """Draw the line between what is given and what follows."""
        life = self.life
        self._records, self._entries, self._calls = len(life.records), len(life.entries), len(life.calls)
        self._before = life.machine
        self._asked: Command | None = None
        self._told = ""
        return self

    # --- what happens

    def when(
        self, happens: Command | Event | None = None, /, *, seen: Observation | Liveness | None = None,
        end: End | None = None, size: int = 0, **comes_to: str,
    ) -> Self:  # fmt: skip
        """Send a command, record an event, or let the world be seen unasked.

        `seen` is what a look sees, `stop="fail"` what a call comes to; `end` and `size` are what the
        provider tells of it.
        """
        self._taken()
        self.begun()
        if happens is not None and not isinstance(happens, events.Happened):
            wishes.command(happens)
        self._told = _told(happens, seen, comes_to)
        self._set_up(seen, comes_to)
        self.life.end, self.life.size = end, size
        if isinstance(happens, events.Happened):
            self.life.append(happens)
        elif happens is not None:
            self._send(happens)
        else:
            self._see(observed(self.life.probe))
        return self

    def _set_up(self, seen: Observation | Liveness | None, comes_to: dict[str, str]) -> None:
        """Prepare the world; what it does not know would prove nothing."""
        for call, result in comes_to.items():
            if call not in CALLS or result not in ("ok", "fail", "unknown"):
                raise BadInput(f"{call}={result!r}: a call is one of {', '.join(CALLS)}; ok, fail or unknown")
        self.life.world = comes_to
        self.life.probe = self.life.probe if seen is None else seen

    def after(self, seconds: float) -> Self:
        """Let the clocks go on."""
        self.life.tick(seconds)
        return self

    def _send(self, command: Command) -> None:
        self._asked = command
        try:
            self.life.send(command)
        except Refused as refused:
            self.refused = refused

    def _see(self, seen: Observation) -> None:
        """Conclude the open request by what is seen, or else take it as news."""
        if self.life.machine.request is not None:
            self.life.recover(seen)
        else:
            self.life.see(seen)

    # --- what follows

    def then(self, *expected: Expected) -> Self:
        """See that just this followed: these facts in this order, a refusal, or nothing at all."""
        facts = self.life.tags[self._records :]
        followed: list[object] = [tag for tag in facts if tag != "machine.requested"]
        refused, self.refused = self.refused, None
        if refused is not None:
            followed.append(type(refused))
        why = f" ({refused})" if refused else ""
        wanted = [TAGS.get(one, one) if isinstance(one, type) else one for one in expected]
        return self._same(wanted, followed, f"what follows{why}")

    def then_phase(self, phase: str) -> Self:
        """See which phase it is in."""
        return self._same(phase, self.life.phase, "the phase")

    def then_says(self, **fields: Any) -> Self:
        """See what the last fact says in these fields."""
        said = {name: getattr(self.life.last, name, None) for name in fields}
        return self._same(fields, said, "the fields")

    def then_booked(self, *entries: str) -> Self:
        """See what was booked, each as the ledger's tables write it: `compute.start(boot)`."""
        return self._same(list(entries), self.life.since(self._entries), "the ledger")

    def then_called(self, *calls: str) -> Self:
        """See which calls the provider was asked for, in this order."""
        return self._same(list(calls), self.life.calls[self._calls :], "the calls")

    def then_open(self, effect: str = "") -> Self:
        """See which effect is still under way, nobody knowing what became of it; empty: none."""
        request = self.life.machine.request
        return self._same(effect, request.effect if request else "", "the open request")

    def _taken(self) -> None:
        """Raise a refusal that nobody expected: what is told after it proves nothing."""
        if self.refused is not None:
            raise self.refused

    def _same(self, expected: object, actual: object, what: str) -> Self:
        self._taken()
        if expected == actual:
            return self
        before, rules = self._before, self._before.rules
        told = [
            f"{what} of {rules.name} {before.name}, {before.phase}, when {self._told or 'given'}:",
            f"  expected  {_shown(expected)}",
            f"  actual    {_shown(actual)}",
        ]
        if self._asked is not None:
            told.append(f"  row       {_row(rules, before.phase, self._asked)}")
        raise AssertionError("\n".join(told))


def _told(
    happens: Command | Event | None, seen: Observation | Liveness | None, comes_to: dict[str, str]
) -> str:
    words = (_words(happens, seen), *(f"({call}: {result})" for call, result in comes_to.items()))
    return " ".join(filter(None, words))


def _words(happens: Command | Event | None, seen: Observation | Liveness | None) -> str:
    looked = "" if seen is None else f"seen {seen.liveness if isinstance(seen, Observation) else seen}"
    if isinstance(happens, events.Happened):
        return TAGS[type(happens)]
    return looked if happens is None else f"{happens.verb} {looked}".strip()


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "nothing"
    return value.__name__ if isinstance(value, type) else str(value)


def _row(rules: Rules, phase: str, command: Command) -> str:
    if isinstance(command, commands.Transition):
        return f"moves of {phase}: {', '.join(rules.definition.moves.get(phase, ())) or 'none'}"
    return f"{phase}, {command.row}: {answer_in_words(rules.answer(phase, command.row))}"
