"""The words of a lifecycle's tables: what a phase answers, what an event does, what a step calls.

None of them holds a callable, and all of them encode to JSON.
"""

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

ANY = "*"
"""The row for every phase that is not terminal and has no answer of its own."""

MOVED = ("machine.transitioned", "machine.forced")
"""Events that carry their goal."""

NAMING = (
    "machine.created", "machine.create_failed", "machine.abandoned", "machine.renamed",
    "machine.rename_failed",
)  # fmt: skip
"""Outcomes that may claim or release a name wherever they stand; a request does as its command says."""

NEUTRAL = (
    "machine.requested", "machine.abandoned", "machine.noted", "machine.unchanged", "machine.attested",
    "machine.retry_advanced", "machine.retry_reset", "machine.amended", "machine.restart_armed",
    "machine.restart_begun", "machine.reload_failed", "machine.restart_given_up", "machine.doubted",
    "machine.confirmed", "ledger.corrected",
)  # fmt: skip
"""Events that may stand anywhere in a life and keep its phase, unless an arrow says otherwise."""

CALLS = (
    "create", "start", "stop", "pause", "resume", "snapshot", "delete_snapshot", "restore", "rename",
    "disconnect", "destroy",
)  # fmt: skip
"""What a step may ask of a provider."""

SIGNS = (
    "", "exists", "absent", "alive", "gone", "paused", "unpaused", "relaunched", "snapshot", "no_snapshot",
    "renamed",
)  # fmt: skip
"""What in an observation tells, after a crash, whether a step happened; empty: nothing can."""

VERBS = (
    "create", "create_restored", "create_resumed", "clone", "start", "stop", "pause", "resume", "hibernate",
    "snapshot", "delete_snapshot", "restore", "rename", "destroy", "destroy_forced", "complete", "force",
    "use", "attest", "advance_retry", "reset_retry", "correct",
)  # fmt: skip
"""The commands that a row may answer; moves are answered by `moves`."""

SNAPSHOT_STORAGE = "snapshot.storage"
"""The meter whose subject is the snapshot that the event names, not the machine."""

QUESTIONS = ("compute_open", "attested_gone", "dev")
"""What a table may ask the record itself, before it asks the world."""


# --- answers to a command -----------------------------------------------------------------------------


class Refuse(Struct, frozen=True, tag="refuse", tag_field="answer", omit_defaults=True):
    """The command is not taken; `error` names the refusal, `to` the phase that it would have led to."""

    error: str = "invalid_transition"
    to: str = ""


class Nothing(Struct, frozen=True, tag="nothing", tag_field="answer"):
    """The command is already fulfilled."""


class Fact(Struct, frozen=True, tag="fact", tag_field="answer", omit_defaults=True):
    """Append this event; with `again`, then ask the phase that it leads to."""

    event: str
    again: bool = False


class Effect(Struct, frozen=True, tag="effect", tag_field="answer"):
    """Carry out these steps of the lifecycle, once the request is durable."""

    name: str


class Look(Struct, frozen=True, tag="look", tag_field="answer"):
    """Probe first, and then answer by what was seen."""

    alive: "Answer"
    gone: "Answer"
    unknown: "Answer" = Refuse("inconclusive")


class Ask(Struct, frozen=True, tag="ask", tag_field="answer"):
    """Answer by what the record itself says."""

    question: str
    yes: "Answer"
    no: "Answer"


Answer = Refuse | Nothing | Fact | Effect | Look | Ask


class Step(Struct, frozen=True, omit_defaults=True):
    """One call to the provider, and the events that tell how it went.

    Without `ok` the next step begins at once; without `failed` a failure is noted and passed over.
    """

    call: str
    ok: str | None = None
    failed: str | None = None
    shows: str = ""


# --- what an event does -------------------------------------------------------------------------------


class Meter(Struct, frozen=True, omit_defaults=True):
    """What becomes of one meter."""

    meter: str
    do: Literal["keep", "open", "ensure", "close", "reopen"]
    reason: str = ""


class Arrow(Struct, frozen=True, omit_defaults=True):
    """Where an event leads (None: the phase stays) and what it does to the meters."""

    to: str | None = None
    meters: tuple[Meter, ...] = ()
    quarantine: bool = False


def keeps(meter: str) -> Meter:
    """Let the meter go on as it was."""
    return Meter(meter, "keep")


def opens(meter: str, reason: str = "boot") -> Meter:
    """Begin an interval; close one that is still open as a crash, at the same instant."""
    return Meter(meter, "open", reason)


def ensures(meter: str, reason: str = "boot") -> Meter:
    """Begin an interval unless one is open."""
    return Meter(meter, "ensure", reason)


def closes(meter: str, reason: str) -> Meter:
    """End the open interval, if there is one."""
    return Meter(meter, "close", reason)


def reopens(meter: str, reason: str) -> Meter:
    """End the open interval, if there is one, and begin another in the new shape."""
    return Meter(meter, "reopen", reason)


Rows = dict[str, dict[str, Answer]]
Arrows = dict[str, dict[str, Arrow]]


def leaves(answer: Answer) -> Iterator[Answer]:
    """Give the final answers that an answer may come to."""
    if isinstance(answer, Look):
        for branch in (answer.alive, answer.gone, answer.unknown):
            yield from leaves(branch)
    elif isinstance(answer, Ask):
        yield from leaves(answer.yes)
        yield from leaves(answer.no)
    else:
        yield answer


def questions(answer: Answer) -> Iterator[str]:
    """Give the questions that an answer asks of the record."""
    if isinstance(answer, Ask):
        yield answer.question
        yield from (*questions(answer.yes), *questions(answer.no))
    elif isinstance(answer, Look):
        for branch in (answer.alive, answer.gone, answer.unknown):
            yield from questions(branch)
