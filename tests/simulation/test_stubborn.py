"""Leaving has a deadline, whatever a provider makes of its cancellation."""

import asyncio

import pytest
from specs import SPEC

from eventvm.engine import UNWIND_SECONDS
from eventvm.testing import Witness, World
from eventvm.testing.world import OPTIONS


class Stubborn(Witness):
    """A world whose starts do not end when they are cancelled, for some time."""

    async def start(self, target):
        until = asyncio.get_running_loop().time() + 30
        while asyncio.get_running_loop().time() < until:
            try:
                await asyncio.sleep(1)
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
    took = asyncio.get_running_loop().time() - began
    assert took == pytest.approx(OPTIONS["grace_seconds"] + UNWIND_SECONDS)
    assert "do not end although they were cancelled" in caplog.text
    starting.cancel()
    await world.open()
    await world.engine.reconcile()
    assert (await world.engine.machine("web")).machine.request is None
    await asyncio.sleep(60)
    await world.leave()
