"""A lifecycle is data: tables that say what each phase makes of each command, event and observation.

Rules of this module:

* A definition holds no callables and encodes to JSON; the log records it, and replay uses the recorded one.
* ``rows`` answer commands, ``arrows`` follow events, ``found`` answers what was seen unasked. The row ``*``
  stands for every phase that is not terminal and does not answer for itself.
* Different consequences have different event tags, so an arrow never looks into a payload. Only the moves of
  an application (``machine.transitioned``, ``machine.forced``) name their goal, and ``moves`` holds them.
* A definition that contradicts itself cannot be built: it is checked here, and the row is named.

The interpreters of these tables are in machine.py.
"""

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from itertools import pairwise

import msgspec
from msgspec import Struct

from eventvm import limits
from eventvm.errors import REFUSALS, BadInput, DefinitionRefused, IllegalEvent
from eventvm.events import EVENTS
from eventvm.retry import Backoff, Deadline, Recovery
from eventvm.tables import (
    ANY,
    CALLS,
    MOVED,
    NAMING,
    NEUTRAL,
    QUESTIONS,
    SIGNS,
    SNAPSHOT_STORAGE,
    VERBS,
    Answer,
    Arrow,
    Arrows,
    Effect,
    Fact,
    Meter,
    Nothing,
    Refuse,
    Rows,
    Step,
    closes,
    ensures,
    keeps,
    leaves,
    questions,
)

# --- the definition ------------------------------------------------------------------------------------


class Lifecycle(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One way to live, whole: phases, answers, arrows, effects, meters."""

    name: str
    initial: str
    """The phase of a machine that has no records."""
    phases: tuple[str, ...]
    settled: tuple[str, ...]
    """Phases that nothing in flight will leave."""
    ends: tuple[str, ...]
    """Where a life ends; a phase without any way on is terminal as well."""
    frees: tuple[str, ...] = ()
    """Phases in which the machine's name is free for another."""
    faulty: tuple[str, ...] = ()
    """Phases that mean that something failed."""
    active: tuple[str, ...] = ()
    """Phases in which the machine does its work."""
    titles: dict[str, str] = {}
    """How the original system writes its phases."""
    retry: Backoff = Backoff()
    """How attempts are spaced and counted."""
    recovery: Recovery = Recovery()
    """How a machine that crashed is brought back."""
    deadlines: dict[str, Deadline] = {}
    """For a phase in flight, how long it may last."""
    history: int = 0
    """How many of its last transitions the history view shows; 0 for all. The log keeps all anyway."""
    counts: dict[str, tuple[str, ...]] = {}
    """For each meter, the phases in which it counts."""
    may_count: dict[str, tuple[str, ...]] = {}
    """For each meter, the phases in which it counts if it did before."""
    effects: dict[str, tuple[Step, ...]] = {}
    rows: Rows = {}
    quarantine: dict[str, Answer] = {}
    """The row of a machine in quarantine, whatever its phase."""
    arrows: Arrows = {}
    moves: dict[str, tuple[str, ...]] = {}
    """The edges along which an application moves the machine by itself."""
    needs: dict[str, str] = {}
    """For a phase, the question that a machine has to answer with yes to be moved there."""
    found: Rows = {}
    """For a phase, what it means to see the machine `alive` or `gone` unasked."""

    def __post_init__(self) -> None:
        check(self)

    @property
    def terminal(self) -> tuple[str, ...]:
        """The ends that have no way on."""
        return tuple(end for end in self.ends if not self.moves.get(end))

    def title(self, phase: object) -> str:
        """Write a phase as its original system does; what is no phase of it reads `Unknown`."""
        return self.titles.get(phase, phase) if isinstance(phase, str) and phase in self.phases else "Unknown"

    def allows(self, phase: str, to: str) -> bool:
        """Say whether one event may lead a machine from one phase to the other; force does not count."""
        if self.moves:
            return to in self.moves.get(phase, ())
        return phase in self.phases and to in {arrow.to for arrow in arrows(self, phase).values()}


class Recorded(Lifecycle, frozen=True, kw_only=True, omit_defaults=True):
    """A definition as a log holds it: it was checked when it was built, and is believed as it stands."""

    def __post_init__(self) -> None:
        pass


encode = msgspec.json.Encoder(order="deterministic").encode


def answers(definition: Lifecycle, phase: str) -> dict[str, Answer]:
    """Give the whole row of a phase, the common row included."""
    common = {} if phase in definition.terminal else definition.rows.get(ANY, {})
    return {**common, **definition.rows.get(phase, {})}


def arrows(definition: Lifecycle, phase: str) -> dict[str, Arrow]:
    """Give all explicit arrows that leave a phase, the common ones included."""
    common = {} if phase in definition.terminal else definition.arrows.get(ANY, {})
    return {**common, **definition.arrows.get(phase, {})}


class Rules:
    """A definition with its digest and the indexes that make its interpretation fast."""

    __slots__ = (
        "_answers", "_arrows", "_keeps", "_moves", "_possible", "_reach", "definition", "digest", "metered",
        "supervised", "terminal", "titles",
    )  # fmt: skip

    def __init__(self, definition: Lifecycle, digest: str = "") -> None:
        self.definition = definition
        self.digest = digest or sha256(encode(definition)).hexdigest()[:32]
        self.terminal = frozenset(definition.terminal)
        self.titles = {phase: definition.title(phase) for phase in definition.phases}
        self.supervised = bool(definition.deadlines) or definition.recovery.policy != "never"
        """Whether the supervisor may have to do with a machine whose spec says nothing of it."""
        self._answers = {
            (phase, command): answer
            for phase in definition.phases
            for command, answer in answers(definition, phase).items()
        }
        self._arrows = {
            (phase, tag): arrow
            for phase in definition.phases
            for tag, arrow in (dict.fromkeys(NEUTRAL, Arrow()) | arrows(definition, phase)).items()
        }
        self.metered = bool(definition.counts) or any(arrow.meters for arrow in self._arrows.values())
        """Whether anything of a machine is ever counted."""
        self._keeps: dict[tuple[str, str, str | None], bool] = {}
        self._moves: dict[tuple[str, str], Arrow] = {}
        self._reach: dict[tuple[str, str], frozenset[str]] = {}
        self._possible: dict[str, frozenset[str]] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rules) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def name(self) -> str:
        """The definition's name."""
        return self.definition.name

    def answer(self, phase: str, command: str) -> Answer:
        """Say what a phase makes of a command."""
        return self._answers.get((phase, command)) or Refuse()

    def arrow(self, phase: str, tag: str) -> Arrow:
        """Say where an event leads, or that it cannot happen here."""
        try:
            return self._arrows[phase, tag]
        except KeyError:
            raise IllegalEvent(f"{tag} cannot happen to a {self.name} that is {phase}") from None

    def move(self, phase: str, to: str, *, forced: bool) -> Arrow:
        """Say what a move that names its goal does; a forced one may lead anywhere."""
        if not forced and to not in self.definition.moves.get(phase, ()):
            raise IllegalEvent(f"a {self.name} cannot move from {phase} to {to}")
        if (known := self._moves.get((phase, to))) is None:
            known = self._moves[phase, to] = Arrow(to, tuple(self._metering(to)))
        return known

    def _metering(self, to: str) -> Iterator[Meter]:
        """Let the meters of a move follow from the phase that it leads to."""
        definition = self.definition
        if to not in definition.phases:
            raise IllegalEvent(f"{to} is no phase of {self.name}")
        for meter, phases in definition.counts.items():
            if to in phases:
                yield ensures(meter)
            elif to in definition.may_count.get(meter, ()):
                yield keeps(meter)
            else:
                yield closes(meter, "stop-crash" if to in definition.faulty else "stop-user")

    def keeps_names(self, phase: str, tag: str, to: str | None) -> bool:
        """Say whether an event leaves all names as they are; `to` is the goal that it carries, if it does."""
        asked = (phase, tag, to)
        if (known := self._keeps.get(asked)) is None:
            to = to or self.arrow(phase, tag).to
            known = self._keeps[asked] = tag not in NAMING and not {phase, to} & {*self.definition.frees}
        return known

    def goal(self, command: str) -> str:
        """Name the phase that a command leads to where it is taken; empty where it leads to none."""
        for phase in self.definition.phases:
            answer = self._answers.get((phase, command), Refuse())
            for to in list(_after(self.definition, phase, answer))[::-1]:
                if to != phase and to not in self.definition.faulty:
                    return to
        return ""

    @property
    def ends_by_command(self) -> bool:
        """Whether a command can end such a machine, as its time to live asks for."""
        return any(self.ending(phase) for phase in self.definition.phases)

    def ending(self, phase: str) -> str:
        """Name the command that ends a machine in this phase by force, as far as the record can tell."""
        for command in ("destroy_forced", "destroy"):
            if any(not isinstance(final, Refuse) for final in leaves(self.answer(phase, command))):
                return command
        return ""

    @property
    def recovers(self) -> bool:
        """Whether such a machine can be brought back after it has ended by itself."""
        return bool(self.definition.recovery.phase) or any(
            isinstance(final, Effect)
            for phase in self.definition.phases
            if (exited := self._arrows.get((phase, "machine.exited"))) is not None
            for final in leaves(self.answer(exited.to or phase, "start"))
        )

    def revived(self, phase: str) -> frozenset[str]:
        """Give the phases that bringing a machine back may lead through."""
        if (known := self._reach.get((phase, "*"))) is None:
            recovery = self.definition.recovery
            begun = {recovery.gives_up, *recovery.path} if recovery.phase else set(self._started(phase))
            known = self._reach[phase, "*"] = _closure(self.definition, begun, _deaths)
        return known

    def _started(self, phase: str) -> Iterator[str]:
        return _after(self.definition, phase, self.answer(phase, "start"))

    def unasked(self, phase: str, effect: str = "") -> frozenset[str]:
        """Give the phases that can come without a further command: an effect under way, or a death."""
        if (known := self._reach.get((phase, effect))) is None:
            found = set(_after_effect(self.definition, phase, effect)) | {phase}
            known = self._reach[phase, effect] = _closure(self.definition, found, _deaths)
        return known

    def possible(self, phase: str) -> frozenset[str]:
        """Give the phases that can still come at all, whatever is commanded; force does not count."""
        if (known := self._possible.get(phase)) is None:
            known = self._possible[phase] = _closure(self.definition, {phase}, _ways)
        return known


# --- which phases follow -------------------------------------------------------------------------------


Ways = Callable[[Lifecycle, str], Iterable[str]]
"""Lists the phases next to one."""


def _closure(definition: Lifecycle, phases: set[str], ways: Ways) -> frozenset[str]:
    todo, seen = list(phases), set(phases)
    while todo:
        for phase in ways(definition, todo.pop()):
            if phase not in seen:
                seen.add(phase)
                todo.append(phase)
    return frozenset(seen)


def _target(definition: Lifecycle, phase: str, tag: str) -> str:
    arrow = arrows(definition, phase).get(tag)
    return phase if arrow is None or arrow.to is None else arrow.to


def _after_effect(definition: Lifecycle, phase: str, effect: str) -> Iterator[str]:
    for step in definition.effects.get(effect, ()):
        if step.failed:
            yield _target(definition, phase, step.failed)
        if step.ok:
            phase = _target(definition, phase, step.ok)
            yield phase


def _after(definition: Lifecycle, phase: str, answer: Answer) -> Iterator[str]:
    for final in leaves(answer):
        if isinstance(final, Fact):
            yield _target(definition, phase, final.event)
        elif isinstance(final, Effect):
            asked = _target(definition, phase, "machine.requested")
            yield asked
            yield from _after_effect(definition, asked, final.name)


def _sightings(definition: Lifecycle, phase: str) -> Iterator[str]:
    for answer in definition.found.get(phase, {}).values():
        yield from _after(definition, phase, answer)


def _deaths(definition: Lifecycle, phase: str) -> Iterator[str]:
    if (answer := definition.found.get(phase, {}).get("gone")) is not None:
        yield from _after(definition, phase, answer)


def _ways(definition: Lifecycle, phase: str) -> Iterator[str]:
    for command, answer in answers(definition, phase).items():
        if command != "force":
            yield from _after(definition, phase, answer)
    yield from definition.moves.get(phase, ())
    yield from _sightings(definition, phase)


# --- the check -----------------------------------------------------------------------------------------


def check(definition: Lifecycle) -> None:
    """Refuse a definition that contradicts itself, and name the row that has to be mended."""
    for row, why in complaints(definition):
        raise DefinitionRefused(definition.name, row, why)


def complaints(definition: Lifecycle) -> Iterator[tuple[str, str]]:
    """Name each row in which a definition contradicts itself, and say how."""
    yield from _beyond_limits(definition)
    yield from _unknown_phases(definition)
    yield from _bad_effects(definition)
    yield from _bad_answers(definition)
    yield from _bad_arrows(definition)
    yield from _forgotten_meters(definition)
    yield from _bad_supervision(definition)
    for phase in definition.phases:
        if not set(definition.ends) & _closure(definition, {phase}, _ways):
            yield f"phase {phase}", "no way leads from it to an end"


def _beyond_limits(definition: Lifecycle) -> Iterator[tuple[str, str]]:
    words = (*definition.titles.values(), *definition.counts, *definition.effects)
    try:
        limits.definition(definition.name, definition.phases, words, encode(definition))
    except (BadInput, TypeError, RecursionError, UnicodeEncodeError) as problem:
        yield "as a whole", str(problem)


def _mentioned(definition: Lifecycle) -> Iterator[tuple[str, Iterable[str]]]:
    yield "initial", (definition.initial,)
    for field in ("settled", "ends", "frees", "faulty", "active", "titles", "needs"):
        yield field, getattr(definition, field)
    for field in ("counts", "may_count"):
        for meter, phases in getattr(definition, field).items():
            yield f"{field} {meter}", phases
    for field in ("rows", "arrows"):
        yield field, (phase for phase in getattr(definition, field) if phase != ANY)
    yield "found", definition.found
    for phase, goals in definition.moves.items():
        yield f"moves of {phase}", (phase, *goals)
    recovery = definition.recovery
    yield "recovery", filter(None, (recovery.phase, recovery.gives_up, *recovery.path))
    for phase, row in definition.arrows.items():
        for tag, arrow in row.items():
            yield f"arrow {phase}, {tag}", () if arrow.to is None else (arrow.to,)


def _unknown_phases(definition: Lifecycle) -> Iterator[tuple[str, str]]:
    if len(set(definition.phases)) != len(definition.phases):
        yield "phases", "a phase is listed twice"
    for row, phases in _mentioned(definition):
        for phase in phases:
            if phase not in definition.phases:
                yield row, f"unknown phase {phase!r}"


def _bad_effects(definition: Lifecycle) -> Iterator[tuple[str, str]]:
    for name, steps in definition.effects.items():
        facts = [step.ok for step in steps if step.ok]
        if not steps or not (steps[-1].ok and steps[-1].failed):
            yield (
                f"effect {name}",
                "the last step must say which events tell that it worked, and that it failed",
            )
        if len(set(facts)) != len(facts):
            yield f"effect {name}", "two steps lead to the same event, so nobody could tell how far it came"
        for step in steps:
            yield from ((f"effect {name}", why) for why in _bad_step(step))


def _bad_step(step: Step) -> Iterator[str]:
    if step.call not in CALLS:
        yield f"no provider knows the call {step.call!r}"
    if step.shows not in SIGNS:
        yield f"no observation shows {step.shows!r}"
    for tag in filter(None, (step.ok, step.failed)):
        if tag not in EVENTS:
            yield f"unknown event type {tag!r}"


def _bad_answers(definition: Lifecycle) -> Iterator[tuple[str, str]]:
    every = (arrow for row in definition.arrows.values() for arrow in row.values())
    quarantined = {arrow.to for arrow in every if arrow.quarantine}
    for phase in definition.phases:
        yield from _bad_row(definition, phase, "row", answers(definition, phase), VERBS)
        yield from _bad_row(definition, phase, "found", definition.found.get(phase, {}), ("alive", "gone"))
        if phase in quarantined:
            yield from _bad_row(definition, phase, "quarantine", definition.quarantine, VERBS)


def _bad_row(
    definition: Lifecycle, phase: str, kind: str, row: dict[str, Answer], known: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    for asked, answer in row.items():
        where = f"{kind} {phase}, {asked}"
        if asked not in known:
            yield where, f"{asked!r} is none of {', '.join(known)}"
        for question in questions(answer):
            if question not in QUESTIONS:
                yield where, f"unknown question {question!r}"
        for final in leaves(answer):
            if kind == "found" and not isinstance(final, Fact | Nothing):
                yield where, "what is seen unasked can only be a fact or nothing"
            yield from ((where, why) for why in _contradictions(definition, phase, final))


def _contradictions(definition: Lifecycle, phase: str, final: Answer) -> Iterator[str]:
    """Whatever is decided must be able to happen."""
    match final:
        case Refuse(error=error) if error not in REFUSALS:
            yield f"unknown refusal {error!r}"
        case Fact(event=tag, again=again):
            if tag not in (*NEUTRAL, *MOVED, *arrows(definition, phase)):
                yield f"no arrow for {tag}"
            elif again and _target(definition, phase, tag) == phase:
                yield f"{tag} keeps the phase, which would be asked again for ever"
        case Effect(name=name) if name not in definition.effects:
            yield f"unknown effect {name!r}"
        case Effect(name=name):
            yield from _impossible_steps(definition, phase, name)
        case _:
            pass


def _impossible_steps(definition: Lifecycle, phase: str, effect: str) -> Iterator[str]:
    phase = _target(definition, phase, "machine.requested")
    for step in definition.effects[effect]:
        for tag in filter(None, (step.ok, step.failed)):
            if tag not in arrows(definition, phase):
                yield f"effect {effect}: no arrow for {tag} from {phase}"
        phase = _target(definition, phase, step.ok) if step.ok else phase


def _bad_arrows(definition: Lifecycle) -> Iterator[tuple[str, str]]:
    for phase, row in definition.arrows.items():
        for tag, arrow in row.items():
            yield from ((f"arrow {phase}, {tag}", why) for why in _bad_arrow(definition, tag, arrow))
    for phase, question in definition.needs.items():
        if question not in QUESTIONS:
            yield f"needs {phase}", f"unknown question {question!r}"


def _bad_arrow(definition: Lifecycle, tag: str, arrow: Arrow) -> Iterator[str]:
    if tag not in EVENTS:
        yield "unknown event type"
    if tag in MOVED:
        yield "a move names its own goal: list it under moves"
    for one in arrow.meters:
        if one.meter not in (*definition.counts, SNAPSHOT_STORAGE):
            yield f"the meter {one.meter!r} counts in no phase"


def _bad_supervision(definition: Lifecycle) -> Iterator[tuple[str, str]]:
    for phase, deadline in definition.deadlines.items():
        if deadline.to not in definition.moves.get(phase, ()):
            yield f"deadline of {phase}", f"no move leads from it to {deadline.to}"
    recovery = definition.recovery
    for phase, to in pairwise(filter(None, (recovery.phase, *recovery.path))):
        if to not in definition.moves.get(phase, ()):
            yield "recovery", f"no move leads from {phase} to {to}"
    if bool(recovery.phase) != bool(recovery.path) or bool(recovery.phase) != bool(recovery.gives_up):
        yield "recovery", "a phase of recovery needs a path out of it, and a phase to give up in"


def _forgotten_meters(definition: Lifecycle) -> Iterator[tuple[str, str]]:
    """Every arrow out of a phase that counts says what becomes of the meter, and so does every one into it.

    Only an arrow into a faulty phase may be silent: what fails does not begin to count by that.
    """
    for meter, phases in definition.counts.items():
        counting = {*phases, *definition.may_count.get(meter, ())}
        begun = counting.difference(definition.faulty)
        for phase in definition.phases:
            for tag, arrow in arrows(definition, phase).items():
                concerned = arrow.to is not None if phase in counting else arrow.to in begun
                if concerned and meter not in {one.meter for one in arrow.meters}:
                    yield f"arrow {phase}, {tag}", f"it does not say what becomes of the meter {meter}"
