"""What goes over the socket: JSON lines of commands, receipts and errors, each as it is without a socket."""

from collections.abc import Iterator
from typing import Any, ClassVar

import msgspec
from msgspec import Raw, Struct

from eventvm import limits
from eventvm.commands import Clone, Command, Create
from eventvm.engine import Receipt, Report
from eventvm.engine.orphans import Orphan
from eventvm.errors import BadInput, EventvmError
from eventvm.observation import Observation
from eventvm.spec import Spec

WIRE = 1
"""The version of these words; it rises when an older side would misread them."""
TAKEN = f"an engine is told at most {limits.REQUEST_BYTES:,} bytes at a time"
"""What is said of a request that is too long."""


class Terms(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an engine was opened with, as far as it can be told to another process."""

    options: dict[str, Any] = {}
    providers: dict[str, str] = {}
    """The class of each, by name."""
    lifecycles: dict[str, str] = {}
    """The digest of each definition, by name."""
    clock: str = ""
    signing: str = ""
    """The public key."""


# --- greeting -------------------------------------------------------------------------------------------


class Hello(Struct, frozen=True, tag="hello"):
    """The first line of whoever comes."""

    wire: int
    release: str
    terms: Terms


class Welcome(Struct, frozen=True, tag="welcome"):
    """What whoever may stay is told."""

    pid: int
    lifecycles: list[dict[str, Any]]
    """The definitions that the engine knows and who came does not."""


class Refusal(Struct, frozen=True, tag="refusal"):
    """Why somebody cannot stay, or stays no longer."""

    failure: "Failure"


# --- requests -------------------------------------------------------------------------------------------


class Ask(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A wish of another process."""

    gives: ClassVar[Any] = Receipt


class Act(Ask, frozen=True, kw_only=True, omit_defaults=True):
    """What each command carries with it."""

    key: str | None = None
    actor: str = ""
    wait: bool = True


class Send(Act, frozen=True, kw_only=True, tag="send"):
    """A command to a machine."""

    machine: str
    """Its id; empty for one that does not exist yet."""
    name: str
    lifecycle: str
    command: Command
    queue: bool = True


class Begin(Act, frozen=True, kw_only=True, tag="begin"):
    """The beginning of a life; its lifecycle is named, as a caller names it."""

    command: Create | Clone


class Adopt(Act, frozen=True, kw_only=True, tag="adopt"):
    """Take a machine into the log that it does not know."""

    orphan: Orphan
    name: str
    spec: Spec | None
    lifecycle: str
    reason: str


class Look(Ask, frozen=True, kw_only=True, tag="look"):
    """Look at one machine, or take what somebody has seen of it."""

    machine: str
    observation: Observation | None = None


class LookAtAll(Ask, frozen=True, tag="look_at_all"):
    """Look at every living machine."""

    gives = Report


class Discover(Ask, frozen=True, tag="discover"):
    """Say what the world has and the log does not know."""

    gives = tuple[Orphan, ...]


Request = Send | Begin | Adopt | Look | LookAtAll | Discover


class Asked(Struct, frozen=True):
    """A request with the number that its answer will carry."""

    id: int
    request: Raw


class Answer(Struct, frozen=True, omit_defaults=True, tag="answer"):
    """What became of a request."""

    id: int
    answer: Raw = Raw(b"null")
    failure: "Failure | None" = None


# --- errors ---------------------------------------------------------------------------------------------


class Failure(Struct, frozen=True, omit_defaults=True):
    """An error on its way: its class, its words, and its fields."""

    kind: str
    message: str
    fields: dict[str, Any] = {}

    def raised(self) -> EventvmError:
        """Make the error that was raised elsewhere."""
        kind = _kinds().get(self.kind, EventvmError)
        problem = kind.__new__(kind)
        problem.args = (self.message,)
        for field, value in self.fields.items():
            setattr(problem, field, msgspec.convert(value, _TYPED.get(field, Any)))
        return problem


_TYPED: dict[str, Any] = {"receipt": Receipt, "goals": tuple[str, ...]}
"""The fields of errors that are more than JSON."""

_LEFT = ("record",)
"""What is left behind: the record that ended a hope, which who waits reads from the log itself."""


def failure(problem: BaseException) -> Failure:
    """Put an error into words; what is none of ours is told as what it is, a failure of the engine."""
    if not isinstance(problem, EventvmError):
        return Failure(named(EventvmError), f"the engine that holds the log failed: {problem!r}")
    known = _kinds()
    kind = next(name for one in type(problem).__mro__ if known.get(name := named(one)) is one)
    fields = {field: None if field in _LEFT else value for field, value in vars(problem).items()}
    return Failure(kind, str(problem.args[0]) if problem.args else "", msgspec.to_builtins(fields))


def _kinds() -> dict[str, type[EventvmError]]:
    kinds: list[type[EventvmError]] = [EventvmError, *_below(EventvmError)]
    return {named(kind): kind for kind in kinds}


def named(kind: type) -> str:
    """Name a class as only one is named: packages have errors of their own."""
    return f"{kind.__module__}.{kind.__qualname__}"


def _below(kind: type[EventvmError]) -> Iterator[type[EventvmError]]:
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)


# --- lines ----------------------------------------------------------------------------------------------


encode = msgspec.json.encode
read_hello = msgspec.json.Decoder(Hello).decode
read_asked = msgspec.json.Decoder(Asked).decode
read_request = msgspec.json.Decoder(Request).decode
read_answer = msgspec.json.Decoder(Answer).decode


def line(said: Struct) -> bytes:
    """Write one line."""
    return encode(said) + b"\n"


def asked(number: int, request: Ask) -> bytes:
    """Write a request; what no log could hold either is refused here."""
    try:
        written = line(Asked(number, Raw(encode(request))))
    except (TypeError, ValueError, OverflowError) as problem:
        raise BadInput(f"it cannot be written: {problem}") from problem
    if len(written) > limits.REQUEST_BYTES:
        raise BadInput(f"the request takes {len(written):,} bytes; {TAKEN}")
    return written


def answered(answer: Answer) -> bytes:
    """Write an answer; of one that is too long only that is told."""
    written = line(answer)
    if len(written) <= limits.ANSWER_BYTES:
        return written
    problem = EventvmError(
        f"it was done, and the answer takes {len(written):,} bytes; another process is told at most "
        f"{limits.ANSWER_BYTES:,} at a time, and the log all of it"
    )
    return line(Answer(answer.id, failure=failure(problem)))
