"""Orphans: what runs and is not in the log is listed, and adopted or ended by an event; nothing by itself."""

import asyncio

import pytest
from specs import SPEC

from eventvm.engine.orphans import Orphan
from eventvm.errors import AlreadyExists, BadInput
from eventvm.provider import Target

ID = "0199c82c-c7d0-7f01-a8c3-8d48a7448dc7"
LIFECYCLES = ("vm", "hcsshim", "microvm", "cell")


@pytest.fixture
async def orphan(world):
    """A machine that somebody else made and started."""
    target = Target(ID, "stray", 3, SPEC)
    world.simulated._made(target)  # noqa: SLF001  # the world does what no engine asked for
    world.simulated._launched(target)  # noqa: SLF001
    return Orphan("simulated", ID)


async def test_what_the_log_does_not_know_is_listed_and_left_alone(world, orphan):
    """Listed each time, and neither a record nor a call comes of it."""
    mine = await world.engine.create("mine", SPEC)
    size, calls = world.size, list(world.simulated.calls)
    assert await world.engine.orphans() == (orphan,)
    await world.reopen()
    assert await world.engine.orphans() == (orphan,)
    assert (world.size, world.simulated.calls) == (size, calls)
    assert mine.id != orphan.id


@pytest.mark.parametrize("lifecycle", LIFECYCLES)
async def test_an_orphan_that_is_adopted_is_what_it_was_seen_to_be(world, orphan, lifecycle):
    """It runs under its name, counted from now on, and is neither created nor started again."""
    stray = await world.engine.adopt(orphan, "stray", SPEC, lifecycle=lifecycle)
    assert stray.id == ID
    assert stray.active
    assert (stray.machine.incarnation, stray.machine.doubted) == (3, False)
    assert world.simulated.calls == []
    assert await world.engine.orphans() == ()
    assert (await world.engine.machine("stray")).id == ID
    await world.check()


async def test_an_adopted_machine_is_stopped_and_started_like_any_other(world, orphan):
    """Its next incarnation is none that the world has used."""
    stray = await world.engine.adopt(orphan, "stray", SPEC)
    await stray.stop()
    await stray.start()
    assert stray.machine.incarnation == 4
    assert world.simulated.calls == [("stop", "stray"), ("start", "stray")]
    await world.check()


async def test_an_orphan_is_ended_by_adopting_and_destroying_it(world, orphan):
    """Its end is in the log, with who wanted it and why."""
    stray = await world.engine.adopt(orphan, "stray", SPEC, reason="nobody knows it")
    await stray.destroy(force=True, reason="nobody knows it")
    assert not world.simulated.alive("stray")
    assert stray.phase == "destroyed"
    await world.check()


async def test_an_orphan_that_nobody_can_look_at_stays_in_doubt(world, orphan):
    """It is in the log; a command looks first, and settles it once somebody can tell."""
    world.simulated.lie("stray", "unknown")
    stray = await world.engine.adopt(orphan, "stray", SPEC)
    assert stray.machine.doubted
    world.simulated.lie("stray", None)
    assert (await stray.start()).how in ("nothing", "reconciled")
    assert (stray.phase, stray.machine.doubted) == ("running", False)
    assert world.simulated.calls == []


async def test_what_is_no_orphan_is_not_adopted(world, orphan):
    """Unknown to the provider, known to the log, or under a name that is held: refused, nothing written."""
    mine = await world.engine.create("mine", SPEC)
    engine = world.engine
    other = Orphan("simulated", ID.replace("0199", "0198"))
    await world.refuses(engine.adopt(other, "x", SPEC), BadInput)
    await world.refuses(engine.adopt(Orphan("simulated", mine.id), "x", SPEC), BadInput)
    await world.refuses(engine.adopt(Orphan("nobody", ID), "x", SPEC), BadInput)
    await world.refuses(engine.adopt(orphan, "mine", SPEC), AlreadyExists)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("commit", [1, 2, 3])
async def test_a_kill_in_an_adoption_leaves_it_whole_or_not_begun(world, orphan, when, commit):
    """Its records are one append: with them the next engine looks, without them it is still an orphan."""
    world.log.die(when, commit)
    adopting = asyncio.ensure_future(world.engine.adopt(orphan, "stray", SPEC))
    await world.log.died.wait()
    await world.crash()
    adopting.cancel()
    await world.open()
    await world.quiet()
    for left in await world.engine.orphans():
        await world.engine.adopt(left, "stray", SPEC)
    stray = await world.engine.machine("stray")
    assert (stray.phase, stray.machine.doubted) == ("running", False)
    assert world.simulated.calls == []
    await world.check()
