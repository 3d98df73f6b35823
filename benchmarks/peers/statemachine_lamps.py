"""python-statemachine, asynchronous: lamps in memory, without any history."""

from statemachine import State, StateMachine

from benchmarks.harness import Room


class Lamp(StateMachine):
    """A lamp, as its machines are written."""

    off = State(initial=True)
    on = State()
    switch = off.to(on) | on.to(off)

    async def on_switch(self) -> None:
        """Make the machine an asynchronous one."""


async def switched(room: Room, *, machines: int, count: int) -> float:
    """Give commands per second, the lamps in turn; more callers make it no faster."""
    lamps = [Lamp() for _ in range(machines)]
    for lamp in lamps:
        await lamp.activate_initial_state()
    with room.timing() as timing:
        for at in range(count):
            await lamps[at % machines].switch()
    return count / timing.seconds
