"""eventvm with a provider: machines that are started and stopped in a simulated world that costs nothing."""

from pathlib import Path

import eventvm
from benchmarks.harness import Room
from benchmarks.load import round_robin, spread
from eventvm import Simulated, Spec

MACHINES = 512
"""Twice the callers: no machine is asked for anything while it is at work."""


async def effected(room: Room, *, callers: int, count: int, at_once: int) -> float:
    """Give commands per second, each with its request and its outcome, both durable, so many at a time."""
    with room.files() as directory:
        async with eventvm.open(
            Path(directory) / "vms.db", providers=[Simulated()], effects_at_once=at_once
        ) as engine:
            machines: list[eventvm.Handle] = []

            async def create(name: int) -> None:
                machines.append(await engine.create(f"vm-{name}", Spec(provider="simulated")))

            await spread(callers, range(MACHINES), create)
            with room.timing(lasting=True) as timing:
                await spread(callers, round_robin(machines, count), _toggle)
            return count / timing.seconds


async def _toggle(machine: eventvm.Handle) -> object:
    return await (machine.stop() if machine.phase == "running" else machine.start())
