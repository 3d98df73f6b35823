"""The engine's socket: who finds a file taken acts through the engine that holds it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from eventvm.clock import Clock
from eventvm.errors import Closed, LogHeld
from eventvm.log import EventLog
from eventvm.logs import file_of, open_log
from eventvm.wire.line import Line
from eventvm.wire.words import Terms

PATIENCE_SECONDS = 2.0
"""How long somebody may hold the file and not listen, because it has just come or is about to leave."""
LEAVING_SECONDS = 60.0
"""How long an engine may take to leave, having said that it does, before LogHeld."""
NAP_SECONDS = 0.02


@asynccontextmanager
async def taken(
    url: str | Path, terms: Terms, *, clock: Clock, signing: str | Path | None
) -> AsyncIterator[tuple[EventLog, Line | None]]:
    """Take a log, or open it to read and reach the engine that holds it.

    Who holds it without an engine that listens, such as an import, is waited for a moment: then LogHeld.
    """
    until = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    async with AsyncExitStack() as stack:
        while True:
            try:
                log = await stack.enter_async_context(open_log(url, clock=clock.wall, signing=signing))
            except LogHeld as held:
                line = await _reached(file_of(str(url)), terms, held, until)
            else:
                yield log, None
                return
            if line is not None:
                stack.push_async_callback(line.hang_up)
                yield await stack.enter_async_context(open_log(url, read_only=True)), line
                return


async def _reached(log: Path, terms: Terms, held: LogHeld, until: float) -> Line | None:
    """Reach the engine that holds a log; None where it is to be tried again."""
    try:
        return await Line.dial(log, terms)
    except Closed:
        until += LEAVING_SECONDS
    except (OSError, EOFError):
        pass
    if asyncio.get_running_loop().time() > until:
        raise held
    await asyncio.sleep(NAP_SECONDS)
    return None
