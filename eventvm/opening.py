"""Opening a log: with an engine of one's own, or through the engine that holds it."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from eventvm.clock import Clock
from eventvm.engine import Engine
from eventvm.engine.orphans import owner_of
from eventvm.lifecycle import Lifecycle
from eventvm.provider import Provider
from eventvm.providers.process import Process
from eventvm.providers.simulated import Simulated
from eventvm.wire import taken
from eventvm.wire.door import doored
from eventvm.wire.guest import Guest
from eventvm.wire.terms import terms


@asynccontextmanager
async def open(  # the name that users expect
    url: str | Path,
    *,
    providers: Iterable[Provider] = (),
    lifecycles: Iterable[Lifecycle] = (),
    clock: Clock | None = None,
    signing: str | Path | None = None,
    **options: Any,
) -> AsyncIterator[Engine]:
    """Open the log at a path, `sqlite:PATH` or `memory:`, recover, and serve until the block is left.

    Machines that run go on running. The providers `simulated` and `process` are there, unless others of
    these names are given. `signing` (else EVENTVM_SIGNING_KEY) names the file of a key that signs each
    commit. Where another process holds the file already, this one acts through its engine.
    """
    providers, lifecycles, watch = tuple(providers), tuple(lifecycles), clock or Clock()
    asked = terms(options, providers, lifecycles, clock, signing)
    async with taken(url, asked, clock=watch, signing=signing) as (log, line):
        come: tuple[Provider, ...] = (Simulated(watch), Process(clock=watch, owner=owner_of(log)))
        given = {one.name: one for one in (*come, *providers)}.values()
        if line is not None:
            guest = Guest(log, given, lifecycles, line=line, clock=watch, **options)
            async with guest.running() as engine:
                yield engine
        else:
            holder = Engine(log, given, lifecycles, clock=watch, **options)
            async with doored(log, asked, given) as door, holder.running() as engine:
                await door.open(engine)
                yield engine
