"""Lifecycles drawn from their tables: a state diagram in Mermaid, and the tables in words, as Markdown.

Both depend on what a definition says and not on how its tables were typed: one that was read back from a
log is drawn to the same byte.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, assert_never, get_args

from eventvm.commands import Command
from eventvm.errors import plain
from eventvm.events import EVENTS
from eventvm.lifecycle import Lifecycle, answers, arrows
from eventvm.tables import Answer, Arrow, Ask, Effect, Fact, Look, Meter, Nothing, Refuse, Step

T = TypeVar("T")
Grouped = Iterator[tuple[str, T, list[str]]]
"""A name, one of its consequences, and the phases in which it has it."""

_TAGS = tuple(EVENTS)
_VERBS = tuple(command.verb for command in get_args(Command))


def short(tag: str) -> str:
    """Write an event's tag as people say it, without `machine.`."""
    return tag.removeprefix("machine.")


# --- the diagram ---------------------------------------------------------------------------------------


def mermaid(lifecycle: Lifecycle) -> str:
    """Draw every arrow and every move that sets the phase, as a Mermaid state diagram."""
    return "\n    ".join(("stateDiagram-v2", *_lines(lifecycle))) + "\n"


def _lines(lifecycle: Lifecycle) -> Iterator[str]:
    for phase in lifecycle.phases:
        if lifecycle.title(phase) != _id(phase):
            yield f'state "{_label(lifecycle.title(phase))}" as {_id(phase)}'
    yield f"[*] --> {_id(lifecycle.initial)}"
    for (phase, to), tags in edges(lifecycle).items():
        yield f"{_id(phase)} --> {_id(to)}: {', '.join(map(short, tags))}"
    for end in lifecycle.ends:
        yield f"{_id(end)} --> [*]"


def _id(phase: str) -> str:
    """Name a phase as Mermaid can read it."""
    return re.sub(r"\W", lambda odd: f"_{ord(odd[0]):x}_", phase)


def _label(title: str) -> str:
    """Write a title so that it stays within its quotation marks."""
    return re.sub(r"""["'<>#;`&\\]""", lambda odd: f"#{ord(odd[0])};", plain(title))


def edges(lifecycle: Lifecycle) -> dict[tuple[str, str], list[str]]:
    """Give the events that lead from one phase to another, for each pair that they lead along."""
    found: dict[tuple[str, str], list[str]] = {}
    for phase in lifecycle.phases:
        for tag, arrow in sorted(arrows(lifecycle, phase).items(), key=lambda row: _TAGS.index(row[0])):
            if arrow.to is not None:
                found.setdefault((phase, arrow.to), []).append(tag)
        for to in lifecycle.moves.get(phase, ()):
            found.setdefault((phase, to), []).append("machine.transitioned")
    return found


# --- the words -----------------------------------------------------------------------------------------


def answer_in_words(answer: Answer) -> str:
    """Say what a phase makes of a command."""
    match answer:
        case Refuse(error=error, to=to):
            return f"refused: {error} (to {to})" if to else f"refused: {error}"
        case Nothing():
            return "nothing"
        case Fact(event=tag, again=again):
            return f"{short(tag)}, then asked again" if again else short(tag)
        case Effect(name=name):
            return f"effect {name}"
        case Look(alive=alive, gone=gone, unknown=unknown):
            return f"look: {_branches(alive=alive, gone=gone, unknown=unknown)}"
        case Ask(question=question, yes=yes, no=no):
            return f"{question}? {_branches(yes=yes, no=no)}"
        case _:
            assert_never(answer)


def _branches(**branches: Answer) -> str:
    return "; ".join(f"{case} -> {_branch(answer)}" for case, answer in branches.items())


def _branch(answer: Answer) -> str:
    words = answer_in_words(answer)
    return f"({words})" if isinstance(answer, Look | Ask) else words


def _meter(meter: Meter) -> str:
    words = f"{meter.do}s {meter.meter}"
    return f"{words} ({meter.reason})" if meter.reason else words


def arrow_in_words(arrow: Arrow) -> str:
    """Say what an arrow does beside leading somewhere."""
    words = [_meter(meter) for meter in arrow.meters]
    return ", ".join((*words, "quarantines")) if arrow.quarantine else ", ".join(words)


def phases_in_words(lifecycle: Lifecycle, phases: Iterable[str]) -> str:
    """List phases, or name the one that is missing where the list would be nearly whole."""
    listed = set(phases)
    missing = [phase for phase in lifecycle.phases if phase not in listed]
    if not missing:
        return "every phase"
    if len(missing) == 1 and len(listed) > 2:  # noqa: PLR2004  # two phases are listed as quickly
        return f"every phase but {missing[0]}"
    return ", ".join(phase for phase in lifecycle.phases if phase in listed)


# --- the tables ----------------------------------------------------------------------------------------


def table(lifecycle: Lifecycle) -> str:
    """Write the whole definition as Markdown: one section for each of its tables."""
    return "\n".join(section for write in _SECTIONS for section in write(lifecycle))


def grid(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a Markdown table."""
    head = list(columns)
    return "".join(map(_line, (head, ["---"] * len(head), *rows)))


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(plain(cell).replace("|", r"\|").replace("<", "&lt;") for cell in cells) + " |\n"


def gathered_arrows(lifecycle: Lifecycle) -> Grouped[Arrow]:
    """Give each event with each arrow that it follows, and the phases in which it follows that one."""
    return _gathered(lifecycle, arrows, _TAGS.index)


def _gathered(
    lifecycle: Lifecycle,
    row_of: Callable[[Lifecycle, str], Mapping[str, T]],
    rank: Callable[[str], Any],
) -> Grouped[T]:
    found: dict[tuple[str, T], list[str]] = {}
    for phase in lifecycle.phases:
        for name, consequence in row_of(lifecycle, phase).items():
            found.setdefault((name, consequence), []).append(phase)
    for name, consequence in sorted(found, key=lambda key: rank(key[0])):
        yield name, consequence, found[name, consequence]


def row_rank(row: str) -> tuple[int, str]:
    """Order rows as the commands are declared, each variant after its verb."""
    ranks = (at for at, verb in enumerate(_VERBS) if row == verb or row.startswith(f"{verb}_"))
    return next(ranks, len(_VERBS)), row


def _section(title: str, lead: str, columns: str, rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """Write one section, unless it would be empty; `columns` is split at commas."""
    if lines := list(rows):
        yield f"### {title}\n\n{lead}\n\n{grid(columns.split(', '), lines)}"


def _phases(lifecycle: Lifecycle) -> Iterator[str]:
    lead = "What each phase is, and which meters count in it."
    rows = (_phase(lifecycle, phase) for phase in lifecycle.phases)
    return _section("Phases", lead, "Phase, Is, Counts", rows)


def _phase(lifecycle: Lifecycle, phase: str) -> tuple[str, str, str]:
    title = lifecycle.title(phase)
    name = f"`{phase}`" if title == phase else f"`{phase}`, written {title}"
    return name, ", ".join(roles(lifecycle, phase)), ", ".join(counted(lifecycle, phase))


def roles(lifecycle: Lifecycle, phase: str) -> Iterator[str]:
    """Say in words what a phase is."""
    yield from ["initial"] * (phase == lifecycle.initial)
    yield "settled" if phase in lifecycle.settled else "in flight"
    yield from (role for role in ("active", "faulty") if phase in getattr(lifecycle, role))
    if phase in lifecycle.ends:
        yield "terminal" if phase in lifecycle.terminal else "an end"
    yield from ["its name is free"] * (phase in lifecycle.frees)


def counted(lifecycle: Lifecycle, phase: str) -> Iterator[str]:
    """Name the meters that count in a phase."""
    yield from sorted(meter for meter, phases in lifecycle.counts.items() if phase in phases)
    for meter, phases in sorted(lifecycle.may_count.items()):
        if phase in phases:
            yield f"{meter} if it did before"


def _commands(lifecycle: Lifecycle) -> Iterator[str]:
    lead = f"What is not listed is {answer_in_words(Refuse())}."
    rows = (
        (f"`{command}`", phases_in_words(lifecycle, phases), answer_in_words(answer))
        for command, answer, phases in _gathered(lifecycle, answers, row_rank)
    )
    return _section("Commands", lead, "Command, In, Answer", rows)


def _quarantine(lifecycle: Lifecycle) -> Iterator[str]:
    lead = f"The row of a machine in quarantine, whatever its phase. What is not listed is {_QUARANTINED}."
    rows = (
        (f"`{command}`", answer_in_words(answer))
        for command, answer in sorted(lifecycle.quarantine.items(), key=lambda row: row_rank(row[0]))
    )
    return _section("Quarantine", lead, "Command, Answer", rows)


_QUARANTINED = answer_in_words(Refuse("quarantined"))


def _effects(lifecycle: Lifecycle) -> Iterator[str]:
    lead = "What each effect calls, in this order, and what in an observation shows that a call happened."
    rows = (_step(name, step) for name, steps in sorted(lifecycle.effects.items()) for step in steps)
    return _section("Effects", lead, "Effect, Call, When it succeeds, When it fails, Shown by", rows)


def _step(effect: str, step: Step) -> tuple[str, ...]:
    ok = short(step.ok) if step.ok else "the next step begins"
    failed = short(step.failed) if step.failed else "noted and passed over"
    return f"`{effect}`", step.call, ok, failed, step.shows or "nothing"


def _arrows(lifecycle: Lifecycle) -> Iterator[str]:
    lead = "Where each event leads. A phase that is named is set, also when it is the same one."
    rows = (
        (
            f"`{short(tag)}`",
            phases_in_words(lifecycle, phases),
            arrow.to or "stays",
            arrow_in_words(arrow),
        )
        for tag, arrow, phases in gathered_arrows(lifecycle)
    )
    return _section("Arrows", lead, "Event, In, Next phase, Meters", rows)


def _found(lifecycle: Lifecycle) -> Iterator[str]:
    lead = "What it means to see the machine unasked. What is not listed is no news."
    rows = (
        (f"`{sight}`", phases_in_words(lifecycle, phases), answer_in_words(answer))
        for sight, answer, phases in _gathered(lifecycle, _sights, str)
    )
    return _section("Found", lead, "Seen, In, Event", rows)


def _sights(lifecycle: Lifecycle, phase: str) -> dict[str, Answer]:
    return lifecycle.found.get(phase, {})


def _moves(lifecycle: Lifecycle) -> Iterator[str]:
    lead = "Where the application may move the machine by itself: what `transition` takes."
    rows = (
        (f"`{phase}`", ", ".join(_goal(lifecycle, to) for to in lifecycle.moves[phase]))
        for phase in lifecycle.phases
        if lifecycle.moves.get(phase)
    )
    return _section("Moves", lead, "From, To", rows)


def _goal(lifecycle: Lifecycle, to: str) -> str:
    return f"{to} (only if {lifecycle.needs[to]})" if to in lifecycle.needs else to


_SECTIONS = (_phases, _commands, _quarantine, _effects, _arrows, _found, _moves)
