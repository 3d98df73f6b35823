"""A control engine and flight recorder for machines: every change is an event in an append-only log."""

import logging
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

if sys.platform == "win32":
    raise ImportError("eventvm needs Linux or macOS: it depends on file locks that Windows does not have")

from eventvm import errors
from eventvm.clock import Clock
from eventvm.engine import Engine, Handle, Receipt, Report
from eventvm.engine.orphans import owner_of
from eventvm.errors import EventvmError
from eventvm.lifecycle import Lifecycle
from eventvm.logs import open_log
from eventvm.observation import End, Evidence, Instant, Observation
from eventvm.provider import Provider, Target, Unclear
from eventvm.providers.process import Process
from eventvm.providers.simulated import Simulated
from eventvm.record import Record
from eventvm.spec import RestoreFrom, Sandbox, Spec
from eventvm.views import Transition

__all__ = [
    "End", "Engine", "EventvmError", "Evidence", "Handle", "Instant", "Lifecycle", "Observation",
    "Process", "Provider", "Receipt", "Record", "Report", "RestoreFrom", "Sandbox", "Simulated", "Spec",
    "Target", "Transition", "Unclear", "errors", "open", "open_log",
]  # fmt: skip

logging.getLogger("eventvm").addHandler(logging.NullHandler())


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
    commit.
    """
    clock = clock or Clock()
    async with open_log(url, clock=clock.wall, signing=signing) as log:
        come: tuple[Provider, ...] = (Simulated(clock), Process(clock=clock, owner=owner_of(log)))
        given = {one.name: one for one in (*come, *providers)}
        async with Engine(log, given.values(), lifecycles, clock=clock, **options).running() as engine:
            yield engine
