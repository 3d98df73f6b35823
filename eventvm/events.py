"""Facts, in the past tense: what the log keeps. Tags are written out and never change.

Each event is one msgspec struct whose tag stands in its JSON as ``type``. A field may be added with a
default; a default, a tag or a meaning never changes - then a new schema version and an upcaster are
due. The docstrings are written for operators: they become the published schema.
"""

from collections.abc import Callable
from typing import Any, Literal, TypeVar, overload

import msgspec
from msgspec import Struct

from eventvm.commands import Command
from eventvm.errors import LogDamaged, WrongData
from eventvm.observation import End, Evidence, Instant, Liveness
from eventvm.spec import Restart, Spec

SCHEMA = 1
"""The schema version that this release writes into every record."""

Outcome = Literal["succeeded", "failed"]


class Fault(Struct, frozen=True, gc=False, omit_defaults=True):
    """What went wrong, in the provider's own words, shortened to what a record may hold."""

    kind: str
    message: str = ""


class Happened(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, tag_field="type"):
    """What every event carries."""

    at: Instant
    """When it was so. The record beside it says when that was learned."""
    reason: str = ""
    """Why, verbatim."""
    evidence: Evidence | None = None
    """The witness, where the fact was seen rather than done."""


class Failure(Happened, frozen=True, gc=False):
    """What every recorded failure carries."""

    fault: Fault


# --- intents -----------------------------------------------------------------------------------------


class Requested(Happened, frozen=True, gc=False, tag="machine.requested"):
    """A command that touches the world was accepted; what it leads to is recorded by later events."""

    command: Command
    effect: str
    """The name of the steps in the lifecycle that will carry it out."""
    host: str
    """The place that carries it out."""
    owner: str
    """The engine that carries it out."""
    deadline: int
    """Wall time in nanoseconds after which another may take it over."""


class Abandoned(Happened, frozen=True, gc=False, tag="machine.abandoned"):
    """An open request was given up; whatever its effect still does is no longer waited for."""

    request: int
    """The position of the request."""


class Noted(Happened, frozen=True, gc=False, tag="machine.noted"):
    """One step of an effect failed and was passed over, because the lifecycle says that it may."""

    call: str
    fault: Fault


class Unchanged(Happened, frozen=True, gc=False, tag="machine.unchanged"):
    """A command with a key found nothing to do; the record keeps its key."""

    command: Command


# --- a life ------------------------------------------------------------------------------------------


class Created(Happened, frozen=True, gc=False, tag="machine.created"):
    """The machine exists. It names the definition that it lives under, by its digest."""

    name: str
    lifecycle: str
    spec: Spec = Spec()
    phase: str = ""
    """The phase that it was imported in, when it is not the one that creation leads to."""


class CreateFailed(Failure, frozen=True, gc=False, tag="machine.create_failed"):
    """The machine could not be created; nothing of it is left and its name is free."""


class Cloned(Happened, frozen=True, gc=False, tag="machine.cloned"):
    """The machine runs as a copy of another machine's snapshot."""

    source: str
    snapshot: str
    incarnation: int


class Started(Happened, frozen=True, gc=False, tag="machine.started"):
    """The machine runs."""

    incarnation: int
    """Counts its boots and restores."""


class StartFailed(Failure, frozen=True, gc=False, tag="machine.start_failed"):
    """The machine could not be started."""


class Stopped(Happened, frozen=True, gc=False, tag="machine.stopped"):
    """The machine was stopped on somebody's wish."""

    end: End | None = None
    """How its process ended; none where the process stays."""


class StopFailed(Failure, frozen=True, gc=False, tag="machine.stop_failed"):
    """The stop failed; the machine may still be alive, and its usage goes on being counted."""


class Paused(Happened, frozen=True, gc=False, tag="machine.paused"):
    """The machine is held still; its process stays."""


class PauseFailed(Failure, frozen=True, gc=False, tag="machine.pause_failed"):
    """The machine could not be held still and goes on as before."""


class Resumed(Happened, frozen=True, gc=False, tag="machine.resumed"):
    """The machine goes on after a pause."""


class ResumeFailed(Failure, frozen=True, gc=False, tag="machine.resume_failed"):
    """The machine could not be resumed and is still held."""


class Snapshotted(Happened, frozen=True, gc=False, tag="machine.snapshotted"):
    """A snapshot is durable and its storage is counted from now on."""

    snapshot: str
    size: int = 0
    """Bytes."""


class SnapshotFailed(Failure, frozen=True, gc=False, tag="machine.snapshot_failed"):
    """The snapshot could not be taken; there is none of this name."""

    snapshot: str


class SnapshotDeleted(Happened, frozen=True, gc=False, tag="machine.snapshot_deleted"):
    """The snapshot is gone and its storage is no longer counted."""

    snapshot: str


class SnapshotDeleteFailed(Failure, frozen=True, gc=False, tag="machine.snapshot_delete_failed"):
    """The snapshot could not be deleted; it is still there as far as anybody knows."""

    snapshot: str


class Restored(Happened, frozen=True, gc=False, tag="machine.restored"):
    """The machine is back at a snapshot, in the shape that the event names."""

    snapshot: str
    incarnation: int
    spec: Spec | None = None
    """What it is from now on, where that changed."""


class RestoreFailed(Failure, frozen=True, gc=False, tag="machine.restore_failed"):
    """The restore failed before it touched the machine, which is as it was."""

    snapshot: str


class RestoreLost(Failure, frozen=True, gc=False, tag="machine.restore_lost"):
    """The restore failed after the old process was ended; what is left is quarantined."""

    snapshot: str


class Renamed(Happened, frozen=True, gc=False, tag="machine.renamed"):
    """The machine has another name; the old one is free."""

    name: str


class RenameFailed(Failure, frozen=True, gc=False, tag="machine.rename_failed"):
    """The rename failed; both names are as before."""

    name: str


class Completed(Happened, frozen=True, gc=False, tag="machine.completed"):
    """The command inside the machine ended with an authenticated exit code; the machine lives on."""

    code: int


class Exited(Happened, frozen=True, gc=False, tag="machine.exited"):
    """The machine ended without anybody's wish; the time is the one that the evidence supports."""

    end: End


class Reconciled(Happened, frozen=True, gc=False, tag="machine.reconciled"):
    """The machine was seen alive though the record said otherwise; the record is repaired."""


class Destroyed(Happened, frozen=True, gc=False, tag="machine.destroyed"):
    """The machine's life is over."""

    end: End
    outcome: Outcome
    """`failed` when a phase of this life failed, whatever the exit code; else `succeeded`."""
    claim: str = ""
    """What a foreign record claimed of the end: untrusted text, never an exit code."""


class DestroyFailed(Failure, frozen=True, gc=False, tag="machine.destroy_failed"):
    """The machine could not be destroyed; something of it may still be there."""


# --- moves that an application reports -----------------------------------------------------------------


Kind = TypeVar("Kind")


class Telling:
    """What an application has told with a move, and the typed way back to it."""

    __slots__ = ()
    to: str
    data: Any

    @overload
    def data_as(self, kind: type[Kind]) -> Kind | None: ...
    @overload
    def data_as(self, kind: Any) -> Any: ...
    def data_as(self, kind: Any) -> Any:
        """Read the data as a type of the application's own; None where nothing was told."""
        if self.data is None:
            return None
        try:
            return msgspec.convert(self.data, kind)
        except msgspec.ValidationError as problem:
            raise WrongData(self._move(), getattr(kind, "__name__", str(kind)), str(problem)) from problem

    def _move(self) -> str:
        return f"the move to {self.to}"


class Transitioned(Telling, Happened, frozen=True, gc=False, tag="machine.transitioned"):
    """The application moved the machine along one of its lifecycle's edges."""

    to: str
    data: Any = None
    """What the application wants kept with the move."""


class ForcedPhase(Happened, frozen=True, gc=False, tag="machine.forced"):
    """Somebody set the phase against the lifecycle's edges and said why."""

    to: str


class Attested(Happened, frozen=True, gc=False, tag="machine.attested"):
    """A person says what became of the machine; unverified, and the actor is on the record."""

    liveness: Liveness


class RetryAdvanced(Happened, frozen=True, gc=False, tag="machine.retry_advanced"):
    """One more attempt was counted."""


class RetryReset(Happened, frozen=True, gc=False, tag="machine.retry_reset"):
    """The attempts were forgotten."""


class Amended(Happened, frozen=True, gc=False, tag="machine.amended"):
    """What is said of the machine beside its shape was changed; what is not named stays as it was."""

    labels: dict[str, str | None] = {}
    """Labels that were set, and with null those that were taken away."""
    restart: Restart | None = None
    ttl_seconds: int | None = None
    """How long it may live from this event on; 0: for ever."""
    dev: bool | None = None
    disabled: bool | None = None


# --- supervision ---------------------------------------------------------------------------------------


class RestartArmed(Happened, frozen=True, gc=False, tag="machine.restart_armed"):
    """The supervisor will bring the machine back when it is due, unless somebody decides otherwise first."""

    attempt: int
    """Counts the attempts since the machine last did its work, from 1."""
    due: Instant


class RestartBegun(Happened, frozen=True, gc=False, tag="machine.restart_begun"):
    """The supervisor has begun an attempt to bring the machine back."""

    attempt: int


class ReloadFailed(Failure, frozen=True, gc=False, tag="machine.reload_failed"):
    """An attempt to bring the machine back failed; its phase is as before."""

    attempt: int


class RestartGivenUp(Happened, frozen=True, gc=False, tag="machine.restart_given_up"):
    """The machine is not brought back any more: the supervisor gave it up, or somebody stopped it."""


class Doubted(Happened, frozen=True, gc=False, tag="machine.doubted"):
    """The record may be behind the world: before anything else is done, somebody has to look."""


class Confirmed(Happened, frozen=True, gc=False, tag="machine.confirmed"):
    """Somebody looked at a machine that was in doubt, and what the record says of it holds again."""


# --- the ledger, the definitions, the log itself -------------------------------------------------------


class Corrected(Happened, frozen=True, gc=False, tag="ledger.corrected"):
    """An entry of this machine's ledger was wrong; the entry stays, and this one says what was true."""

    position: int
    """The position of the record that the corrected entry follows from."""
    meter: str
    edge: Literal["start", "stop"]
    truly: Instant
    """When it truly was."""
    subject: str = ""
    """The snapshot's name, empty for the machine itself."""


class LifecycleDefined(Happened, frozen=True, gc=False, tag="lifecycle.defined"):
    """A lifecycle's definition, whole, so that replay never depends on today's code."""

    digest: str
    definition: Any


class LogRestored(Happened, frozen=True, gc=False, tag="log.restored"):
    """The log was restored from a backup: the world may have moved on since its last record before this."""

    origin: str
    """The log that the backup was made of."""


class Imported(Happened, frozen=True, gc=False, tag="log.imported"):
    """An event of another system, taken in as it was told, at its own time; no machine follows from it."""

    id: str
    """What its source calls it."""
    source: str
    kind: str
    """Its type."""
    subject: str = ""
    data: Any = None
    """What it said, but for how something ended."""
    end: End | None = None
    """How something ended, if it said so."""
    claim: str = ""
    """What it claimed of an end beyond what can be believed: untrusted text, never an exit code."""
    extensions: dict[str, Any] = {}
    """Its further attributes."""


Event = (
    Requested | Abandoned | Noted | Unchanged
    | Created | CreateFailed | Cloned | Started | StartFailed | Stopped | StopFailed
    | Paused | PauseFailed | Resumed | ResumeFailed
    | Snapshotted | SnapshotFailed | SnapshotDeleted | SnapshotDeleteFailed
    | Restored | RestoreFailed | RestoreLost | Renamed | RenameFailed
    | Completed | Exited | Reconciled | Destroyed | DestroyFailed
    | Transitioned | ForcedPhase | Attested | RetryAdvanced | RetryReset
    | Amended | RestartArmed | RestartBegun | ReloadFailed | RestartGivenUp | Doubted | Confirmed
    | Corrected | LifecycleDefined | LogRestored | Imported
)  # fmt: skip


class Unknown(Struct, frozen=True, gc=False):
    """A type that this release does not know: a view may pass it, a fold must stop at it."""

    tag: str
    body: bytes


TAGS: dict[type, str] = {event: event.__struct_config__.tag for event in Event.__args__}
"""The tag of each event class."""
EVENTS: dict[str, type[Happened]] = {tag: event for event, tag in TAGS.items()}

UPCASTERS: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""For (tag, schema version): how a body of that version reads in the next one."""


def why(event: Event) -> str:
    """Give an event's reason; a failure without one has its fault."""
    return event.reason or (event.fault.message if isinstance(event, Failure) else "")


def wrong(event: Event) -> str:
    """Say what went wrong, in the provider's words; empty where nothing did."""
    return event.fault.message or event.fault.kind if isinstance(event, Failure) else ""


encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(Event).decode


class _Tagged(Struct):
    type: str


def decode(body: bytes | str, schema: int = SCHEMA) -> "Event | Unknown":
    """Read a body of any schema version that this release knows; an unknown type reads as Unknown."""
    try:
        return _decode(body) if schema == SCHEMA else _upcast(body, schema)
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        tag = _tag(body)
        if tag in EVENTS and schema <= SCHEMA:
            raise LogDamaged(f"a {tag} that its type forbids: {problem}") from problem
        return Unknown(tag, body.encode() if isinstance(body, str) else body)


def _tag(body: bytes | str) -> str:
    try:
        return msgspec.json.decode(body, type=_Tagged).type
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise LogDamaged(f"a body that is no event at all: {problem}") from problem


def _upcast(body: bytes | str, schema: int) -> Event:
    fields: dict[str, Any] = msgspec.json.decode(body)
    if schema > SCHEMA:
        raise msgspec.ValidationError(f"schema {schema} is newer than {SCHEMA}")
    for version in range(schema, SCHEMA):
        upcast = UPCASTERS.get((fields["type"], version))
        fields = upcast(fields) if upcast else fields
    upcasted: Event = msgspec.convert(fields, Event)
    return upcasted
