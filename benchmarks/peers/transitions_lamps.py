"""transitions, AsyncMachine: lamps in memory, without any history."""

from typing import Any

from transitions.extensions.asyncio import AsyncMachine

from benchmarks.harness import Room


class Lamp:
    """A model, as its machines take them."""

    switch: Any


async def switched(room: Room, *, machines: int, count: int) -> float:
    """Give commands per second, the lamps in turn; more callers make it no faster."""
    lamps = [Lamp() for _ in range(machines)]
    AsyncMachine(
        lamps,
        states=["off", "on"],
        transitions=[["switch", "off", "on"], ["switch", "on", "off"]],
        initial="off",
        auto_transitions=False,
    )
    with room.timing() as timing:
        for at in range(count):
            await lamps[at % machines].switch()
    return count / timing.seconds
