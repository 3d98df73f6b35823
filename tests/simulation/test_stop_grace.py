"""The grace of a stop lies beside the deadline of a call: neither cuts the other short."""

import pytest
from msgspec.structs import replace
from specs import SPEC

from eventvm import events
from eventvm.errors import OutcomeUnknown
from eventvm.providers.simulated import Script

DEADLINE_SECONDS = 60.0
"""The engine's own, where nobody says another."""


async def asked(world, grace, seconds):
    """Run a machine with a grace, whose stop takes so long."""
    web = await world.engine.create("web", replace(SPEC, stop_grace_seconds=grace))
    await web.start()
    world.simulated.script("web", "stop", Script(seconds=seconds))
    return web


@pytest.mark.parametrize("grace", [0.0, 59.0, 60.0, 600.0])
async def test_a_stop_has_its_grace_and_a_whole_deadline_for_what_comes_after_it(world, grace):
    """A grace of a minute and more is no shorter than it says, and a kill has time after it."""
    web = await asked(world, grace, grace + DEADLINE_SECONDS - 1)
    await web.stop()
    assert web.phase == "stopped"


async def test_a_stop_that_takes_longer_than_both_is_unknown_and_says_how_long_it_was(world):
    web = await asked(world, 90.0, 10_000)
    world.simulated.lie("web", "unknown")
    with pytest.raises(OutcomeUnknown, match="stop did not end within 150 s"):
        await web.stop()


async def test_another_engine_does_not_take_a_stop_over_within_its_grace(world):
    """The deadline that is recorded with the request has the grace in it, and every other call has not."""
    web = await asked(world, 3600.0, 1)
    await web.stop()
    limits = {
        type(record.event.command).__name__: (record.event.deadline - record.event.at.wall) / 1e9
        for record in world.store.streams[web.id]
        if isinstance(record.event, events.Requested)
    }
    assert limits["Stop"] == limits["Start"] + 3600


async def test_a_destroy_has_no_grace_and_waits_for_none(world):
    web = await asked(world, 3600.0, 1)
    await web.destroy(force=True)
    (request,) = (
        record.event
        for record in world.store.streams[web.id]
        if isinstance(record.event, events.Requested) and type(record.event.command).__name__ == "Destroy"
    )
    assert (request.deadline - request.at.wall) / 1e9 < 3600
