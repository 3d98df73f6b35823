"""Leaving has a deadline, whatever a provider makes of its cancellation."""

import asyncio

import pytest
from simworld import OPTIONS, SPEC, Witness, World

from eventvm.engine import UNWIND_SECONDS
from eventvm.errors import OutcomeUnknown


class Stubborn(Witness):
    """A world whose starts do not end when they are cancelled."""

    def __init__(self, clock, store):
        super().__init__(clock, store)
        self.free = False

    async def start(self, target):
        while not self.free:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                continue


async def test_a_provider_that_does_not_heed_its_cancellation_is_left_behind(caplog):
    """After the time of grace and the time to end; the request stays open, and the next engine looks."""
    world = World(provider=Stubborn)
    await world.open()
    vm = await world.engine.create("web", SPEC)
    starting = asyncio.ensure_future(vm.start())
    await world.quiet()
    began = asyncio.get_running_loop().time()
    await world.leave()
    assert asyncio.get_running_loop().time() - began == OPTIONS["grace_seconds"] + UNWIND_SECONDS
    assert "do not end although they were cancelled" in caplog.text
    assert not starting.done()
    world.simulated.free = True
    await world.open()
    await world.engine.reconcile()
    assert (await world.engine.machine("web")).machine.request is None
    for task in asyncio.all_tasks():
        if task is starting or "_worked" in repr(task):
            task.cancel()
    with pytest.raises((OutcomeUnknown, asyncio.CancelledError)):
        await starting
    await world.leave()
