"""The Provider port: the hand in the world.

A provider is any object with a `name` and the required methods; what else it has is found by name. It
must be able to find a machine again from its id alone. A call that raises has failed; one that raises
Unclear, is cancelled or runs into its deadline has an unknown outcome, and the engine probes.
"""

from collections.abc import AsyncIterator, Collection
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct

from eventvm.errors import EventvmError
from eventvm.observation import End, Observation
from eventvm.spec import Spec, demanded


class Target(Struct, frozen=True, gc=False):
    """The machine that a call is about."""

    id: str
    name: str
    incarnation: int
    """The incarnation that is alive, or the one that a start or restore begins."""
    spec: Spec


class Source(Struct, frozen=True, gc=False):
    """The snapshot that a restore begins from."""

    machine: str
    """The id of the machine that it was taken of."""
    snapshot: str


class Unclear(EventvmError):
    """The provider cannot tell what became of the call."""


@runtime_checkable
class Provider(Protocol):
    """What every provider can do."""

    name: str

    async def create(self, target: Target) -> None:
        """Make the machine without running it; leave nothing behind on failure."""

    async def start(self, target: Target) -> None:
        """Run the machine; one that runs already is left alone."""

    async def stop(self, target: Target) -> End | None:
        """End the machine's process and say how it ended; one that is gone already is a success."""

    async def snapshot(self, target: Target, snapshot: str) -> int:
        """Capture the machine durably and give the size in bytes."""

    async def destroy(self, target: Target) -> End | None:
        """Remove the machine with all that it stores but its snapshots; removing it twice is a success."""

    async def probe(self, target: Target) -> Observation:
        """Look without touching: bounded, unknown when it cannot tell, and absence is an answer."""


class Optional(Protocol):
    """What a provider may do beside; without it a command is refused before anything is written."""

    unsupported: Collection[str]
    """Calls that it has to have by name and cannot do, such as `snapshot`."""
    at_once: int
    """How many commands may reach into its world at the same time; without this the engine's own bound."""
    honours: Collection[str]
    """The fields of a spec that it carries out; without this all of them, given `create_with_spec`."""

    def refuses(self, spec: Spec) -> str:
        """Say why it cannot make a machine of this spec, naming the field; empty where it can."""

    async def create_with_spec(self, target: Target, spec: Spec) -> None:
        """Make the machine by its whole spec; without this a demanding spec is refused."""

    async def pause(self, target: Target) -> None:
        """Hold the machine still."""

    async def resume(self, target: Target) -> None:
        """Let a held machine go on."""

    async def restore(self, target: Target, source: Source) -> None:
        """Run the machine from a snapshot, as a new incarnation."""

    async def rename(self, target: Target, name: str) -> None:
        """Know the machine by another name; on failure both names are as before."""

    async def delete_snapshot(self, target: Target, snapshot: str) -> None:
        """Delete a snapshot; one that is gone already is a success."""

    async def disconnect(self, target: Target) -> None:
        """Let go of a connection to the machine; without this there is none."""

    def events(self) -> AsyncIterator[str]:
        """Give the ids of machines that something has happened to: hints, never evidence."""

    def belongs_to(self, owner: str) -> None:
        """Hear which log its machines belong to from now on, by the path of the log's file."""

    def discover(self) -> AsyncIterator[str]:
        """Give the ids of all machines that the provider has."""

    async def recall(self, id: str) -> Spec | None:  # noqa: A002  # the word of the domain
        """Say as what a machine was made, for whoever adopts it; None where that is not kept."""


OPTIONAL = ("pause", "resume", "restore", "rename", "delete_snapshot")
"""Calls that a provider may lack; `disconnect` is no loss."""


def lacks(provider: Provider, call: str) -> bool:
    """Say whether a provider cannot do this at all."""
    return call in getattr(provider, "unsupported", ()) or (call in OPTIONAL and not hasattr(provider, call))


def undone(provider: Provider, spec: Spec) -> tuple[str, ...]:
    """Name the fields of a spec that this provider would drop.

    One that declares what it `honours` is held to that; another takes all, or nothing beside the shape.
    """
    whole = spec.__struct_fields__ if hasattr(provider, "create_with_spec") else ()
    honoured = getattr(provider, "honours", whole)
    return tuple(field for field in demanded(spec) if field not in honoured)


def refusal(provider: Provider, spec: Spec) -> str:
    """Say why a provider cannot make a machine of this spec; empty where it can."""
    if fields := undone(provider, spec):
        return f"provider {provider.name} would drop {', '.join(fields)}"
    return str(provider.refuses(spec)) if hasattr(provider, "refuses") else ""


async def call(provider: Provider, step: str, target: Target, command: Any) -> tuple[End | None, int]:
    """Make one call of an effect; gives how the machine ended, and a size, where the call tells."""
    whole = step == "create" and hasattr(provider, "create_with_spec")
    hand = getattr(provider, "create_with_spec" if whole else step, None)
    if hand is None:
        return None, 0
    told = await hand(target, *((target.spec,) if whole else _particulars(step, target, command)))
    return (told, 0) if isinstance(told, End) else (None, told or 0)


def _particulars(step: str, target: Target, command: Any) -> tuple[Any, ...]:
    """Give what a call is told beside its target."""
    match step:
        case "snapshot" | "delete_snapshot":
            return (command.snapshot,)
        case "rename":
            return (command.name,)
        case "restore":
            return (source_of(target, command),)
        case _:
            return ()


def source_of(target: Target, command: Any) -> Source:
    """Find the snapshot that a clone or a restore begins from."""
    return Source(getattr(command, "source", target.id), command.snapshot)
