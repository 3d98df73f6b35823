"""eventsource-py: aggregates saved by its repository into its SQLite store."""

import asyncio
from contextlib import aclosing
from typing import Any
from uuid import uuid4

from eventsource import AggregateRepository, AggregateRoot, DomainEvent, register_event
from eventsource.adapters.sqlite import SQLiteEventStore
from pydantic import BaseModel

from benchmarks.harness import Room
from benchmarks.load import REASON, other


@register_event
class Switched(DomainEvent):
    """A lamp is on, or off."""

    event_type: str = "Switched"
    aggregate_type: str = "Lamp"
    to: str
    reason: str


class Burning(BaseModel):
    """What is known of a lamp."""

    phase: str = "off"


class Lamp(AggregateRoot[Burning]):
    """A lamp, as its aggregates are written."""

    aggregate_type = "Lamp"

    def _get_initial_state(self) -> Burning:
        return Burning()

    def _apply(self, event: Any) -> None:
        self._state = Burning(phase=event.to)

    def switch(self) -> None:
        """Move to the other phase."""
        to = other(self.state.phase if self.state is not None else "off")
        self.apply_event(
            Switched(
                aggregate_id=self.aggregate_id, aggregate_version=self.get_next_version(), to=to,
                reason=REASON,
            )
        )  # fmt: skip


async def saved_each(room: Room, *, callers: int, count: int) -> float:
    """Give commands per second: each caller keeps its lamp's object and saves it after each."""
    with room.files() as directory:
        store = SQLiteEventStore(str(directory / "lamps.db"))
        async with aclosing(_Closing(store)):
            lamps: Any = AggregateRepository(event_store=store, aggregate_factory=Lamp, aggregate_type="Lamp")

            async def caller(lamp: Lamp) -> None:
                for _ in range(count // callers):
                    lamp.switch()
                    await lamps.save(lamp)

            mine = [lamps.create_new(uuid4()) for _ in range(callers)]
            with room.timing(lasting=True) as timing:
                await asyncio.gather(*map(caller, mine))
            return count // callers * callers / timing.seconds


class _Closing:
    def __init__(self, store: SQLiteEventStore) -> None:
        self.aclose = store.close
