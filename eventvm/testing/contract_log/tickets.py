"""Laws of tickets: an append is settled once, whoever awaits it."""

import asyncio
import traceback

import anyio.lowlevel

from eventvm.errors import StaleVersion
from eventvm.log import Ticket
from eventvm.record import Record
from eventvm.testing.contract import law, refused
from eventvm.testing.contract_log.subject import LogLaws, adding


class Tickets(LogLaws):
    """A ticket belongs to the log, not to whoever holds it."""

    @law()
    async def test_a_settled_ticket_can_be_awaited_many_times(self) -> None:
        async with self.open() as log:
            ticket = log.append(adding("a", 0, "x", "y"))
            first = await ticket
            assert await ticket == await ticket == first
            assert await asyncio.gather(*(one_of(ticket) for _ in range(10))) == [first] * 10

            stale = log.append(adding("a", 0))
            errors = [await refused(stale, StaleVersion) for _ in range(30)]
            assert len({id(error) for error in errors}) == 1
            frames = list(traceback.walk_tb(errors[0].__traceback__))
            assert len(frames) < 6, "a refusal grows with each who hears it"

    @law(ticks=range(6))
    async def test_a_ticket_can_be_awaited_by_many_and_left_by_some(self, ticks: int) -> None:
        async with self.open() as log:
            ticket = log.append(adding("a", 0))
            tasks = [asyncio.create_task(one_of(ticket)) for _ in range(10)]
            for _ in range(ticks):
                await anyio.lowlevel.checkpoint()
            left = [task.cancel() for task in tasks[::2]]
            results = await asyncio.gather(*tasks, return_exceptions=True)

            assert [isinstance(result, asyncio.CancelledError) for result in results[::2]] == left
            assert all(result == ticket.records for result in results[1::2])

    @law()
    async def test_a_ticket_calls_back_once_whenever_it_is_asked_to(self) -> None:
        async with self.open() as log:
            called: list[Ticket] = []
            early = log.append(adding("a", 0))
            early.then(list.append, called)
            late = log.append(adding("b", 0))
            await late
            late.then(list.append, called)
            assert called == [early, late]


async def one_of(ticket: Ticket) -> tuple[Record, ...]:
    """Await a ticket in a task of its own."""
    return await ticket
