"""Observing: a callback for each transition, in order, at the observer's own pace."""

import logging
from collections.abc import Awaitable, Callable

from eventvm.engine.cells import Cells
from eventvm.engine.handle import Handle
from eventvm.errors import EventvmError
from eventvm.machine import Machine, evolve
from eventvm.subscription import Subscription
from eventvm.views import Transition, of_machine, transition

logger = logging.getLogger("eventvm")

Observer = Callable[[Handle, Transition], Awaitable[None] | None]


async def observe(
    cells: Cells, records: Subscription, observer: Observer, handle_of: Callable[[str], Awaitable[Handle]]
) -> None:
    """Call an observer for each transition that the records tell of, until it is cancelled.

    What it has folded is its own: it may fall behind, and the engine does not know.
    """
    machines: dict[str, Machine] = {}
    try:
        async for record in records:
            if not of_machine(record.stream):
                continue
            before = machines.get(record.stream) or await cells.before(record)
            machine = machines[record.stream] = evolve(before, record.event, record.position)
            if (change := transition(before, record, machine)) is not None:
                await _call(observer, await handle_of(record.stream), change)
            if machine.terminal:
                del machines[record.stream]
    except EventvmError as problem:
        logger.warning("an observer hears no more, because the log cannot be read on: %s", problem)


async def _call(observer: Observer, machine: Handle, change: Transition) -> None:
    try:
        called = observer(machine, change)
        if called is not None:
            await called
    except Exception:
        logger.exception(
            "an observer failed at position %d and is called again for the next", change.position
        )
