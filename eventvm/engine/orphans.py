"""Orphans: what a provider has and the log does not know, and how one is taken into the log.

Nothing is done to an orphan by itself. Whoever adopts one gets a machine that is in doubt from its first
records on, so that it is looked at before anything else; whoever wants it gone adopts and destroys it.
"""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import aclosing

from msgspec import Struct

from eventvm import commands, events
from eventvm.decisions import Outcome, decide, fact
from eventvm.errors import BadInput
from eventvm.events import Event
from eventvm.log import EventLog
from eventvm.machine import Machine
from eventvm.observation import Evidence, Instant
from eventvm.provider import Provider, Unclear
from eventvm.spec import Spec
from eventvm.tables import Effect

logger = logging.getLogger("eventvm")

NAMED = 3
"""How many orphans the warning names."""


def owner_of(log: EventLog) -> str:
    """Name a log as the owner of machines: by its file; empty where it is in memory."""
    file = getattr(log, "path", None)
    return str(file.absolute()) if file else ""


class Orphan(Struct, frozen=True, order=True):
    """A machine that a provider has and the log does not know."""

    provider: str
    id: str


def adopted(machine: Machine, command: commands.Create, orphan: Orphan, at: Instant) -> tuple[Event, ...]:
    """Say which events begin a life that somebody else has begun: it exists, and the record is in doubt."""
    evidence = Evidence(orphan.provider)
    seen = Outcome(at, reason=command.reason, evidence=evidence)
    told: list[Event] = []
    decision = decide(machine, command)
    if isinstance(decision, Effect):
        told.append(
            events.Requested(
                at=at, reason=command.reason, command=command, effect=decision.name, host="", owner="",
                deadline=at.wall,
            )
        )  # fmt: skip
    created = fact(machine, "machine.created", command, seen)
    return (*told, created, events.Doubted(at=at, reason=command.reason, evidence=evidence))


async def remembered(provider: Provider, id_: str) -> Spec:
    """Ask a provider as what it made a machine; whoever adopts may have to say it for one that forgot."""
    recall = getattr(provider, "recall", None)
    spec: Spec | None = await recall(id_) if recall is not None else None
    return spec or Spec(provider=provider.name)


def checked_orphan(orphan: Orphan, there: tuple[Orphan, ...]) -> Orphan:
    """Refuse what no provider has, or what the log knows already."""
    if orphan not in there:
        raise BadInput(f"provider {orphan.provider} has no {orphan.id} that the log does not know")
    return orphan


async def orphans(log: EventLog, providers: Iterable[Provider], seconds: float) -> tuple[Orphan, ...]:
    """List what providers have and the log does not know; one that does not answer in time raises Unclear."""
    found = []
    for one in tuple(providers):  # more may be met meanwhile
        try:
            async with asyncio.timeout(seconds):
                there = await _discovered(one)
        except Exception as problem:
            raise Unclear(f"provider {one.name} does not say what it has: {problem!r}") from problem
        found.extend([Orphan(one.name, id_) for id_ in there if not await _known(log, id_)])
    return tuple(sorted(found))


async def _discovered(provider: Provider) -> list[str]:
    if not hasattr(provider, "discover"):
        return []
    async with aclosing(provider.discover()) as found:
        return [id_ async for id_ in found]


async def _known(log: EventLog, id_: str) -> bool:
    return bool((await log.read(stream=id_, limit=1)).records)


async def warn_of_orphans(log: EventLog, providers: Iterable[Provider], seconds: float) -> None:
    """Say in the program's log, once, what was made after the backup."""
    try:
        if left := await orphans(log, providers, seconds):
            named = ", ".join(one.id for one in left[:NAMED])
            more = ", ..." if len(left) > NAMED else ""
            logger.warning(
                "the log was restored: the world has what it does not know: %d (%s%s)", len(left), named, more
            )
    except Unclear as problem:
        logger.warning("the log was restored, and nobody knows what was made after the backup: %s", problem)
