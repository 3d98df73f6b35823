"""Supervision where several things come together: effects, amendments, failing logs, hosts that misbehave."""

import asyncio

import pytest
from msgspec.structs import replace
from specs import SPEC
from supervised import Loader, crash, died, started

from eventvm.errors import EffectFailed, LogUnavailable
from eventvm.lifecycles import vm
from eventvm.providers.simulated import Script, Simulated
from eventvm.tables import Effect, Look, Nothing


def starts(world):
    return world.simulated.calls.count(("start", "web"))


# --- alarms


async def test_a_restart_that_is_due_during_an_effect_waits_for_its_end(world):
    """A snapshot of the stopped machine takes longer than the backoff: no time passes in a ringing alarm."""
    web = await died(world, restart="always")
    world.simulated.script("web", "snapshot", Script(seconds=30))
    taking = asyncio.ensure_future(web.snapshot("s"))
    await world.quiet(29)
    assert web.phase == "stopped"
    await world.quiet(2)
    await taking
    assert web.phase == "running"


async def test_an_armed_recovery_that_nobody_here_can_make_is_left_alone(hosted):
    """The log is opened without the host: the moment passes, and nothing rings for ever."""
    await crash(hosted)
    await hosted.reopen()
    size = hosted.size
    await hosted.quiet(100)
    plug = await hosted.engine.machine_by_id(hosted.plug.id)
    assert (plug.phase, hosted.size) == ("Recovering", size)


async def test_ends_that_fail_are_spaced(world):
    """In an hour of failures there is about one attempt a minute, not one a second."""
    await started(world, ttl_seconds=10)
    world.simulated.always("web", "destroy", "fail")
    await world.quiet(3600)
    assert 55 <= world.simulated.calls.count(("destroy", "web")) <= 70


async def test_ends_that_are_refused_are_spaced(world):
    """So it is with looks that do not tell."""
    await world.engine.create("web", replace(SPEC, ttl_seconds=10))
    world.simulated.lie("web", "unknown")
    await world.quiet(3600)
    assert 55 <= len(world.simulated.probes) <= 70


async def test_a_time_to_live_ends_what_is_alive_although_it_reads_as_failed(world):
    """Neither stop nor destroy has worked: the record says error, the machine lives, and is ended."""
    web = await started(world, ttl_seconds=10)
    world.simulated.script("web", "stop", "fail")
    world.simulated.script("web", "destroy", "fail")
    await world.quiet(100)
    assert web.phase == "destroyed"
    assert not world.simulated.alive("web")
    await world.check()


async def test_a_start_that_finds_nothing_to_do_is_not_asked_for_without_a_pause(world):
    """A lifecycle that is content with what lives in its stopped phase: about one look a minute."""
    rows = {
        **vm.rows,
        "stopped": {**vm.rows["stopped"], "start": Look(alive=Nothing(), gone=Effect("launch"))},
    }
    world.lifecycles = (replace(vm, name="content", rows=rows),)
    await world.reopen()
    await died(world, lifecycle="content", restart="always")
    world.simulated.raise_from_the_dead("web")
    await world.quiet(3600)
    assert 55 <= len(world.simulated.probes) <= 75


# --- a log that fails


async def test_a_log_that_fails_is_not_asked_without_a_pause(hosted):
    """The disk is full when a failed reload is to be told."""
    hosted.loader.seconds = 1.0
    hosted.loader.fails = [RuntimeError("no socket")]
    await crash(hosted)
    await hosted.quiet(2.5)
    hosted.log.faults, before = [LogUnavailable] * 1000, hosted.log.commits
    await hosted.quiet(120)
    assert hosted.log.commits - before < 20
    hosted.log.faults.clear()
    await hosted.quiet(120)
    assert hosted.plug.phase == "Running"


async def test_a_reload_that_worked_is_told_as_soon_as_the_log_takes_it(hosted):
    """It is not made a second time because the disk was full when it was done."""
    hosted.loader.seconds = 1.0
    await crash(hosted)
    await hosted.quiet(2.5)
    hosted.log.faults = [LogUnavailable] * 3
    await hosted.quiet(60)
    assert (hosted.plug.phase, hosted.loader.loads) == ("Running", 1)
    assert "reload_failed" not in hosted.tags(hosted.plug)


async def test_a_start_that_the_log_did_not_take_is_no_failed_attempt(world):
    """The request could not be written: it is asked for anew."""
    web = await died(world, restart="always")
    await world.quiet(0.5)
    world.log.faults = [None] + [LogUnavailable] * 3
    await world.quiet(60)
    assert (web.phase, starts(world)) == ("running", 2)
    assert "reload_failed" not in world.tags(web)


# --- hosts, and who interferes with them


async def test_a_reload_that_is_cancelled_from_within_is_a_failed_attempt(hosted):
    """Something that the loader waited for was cancelled: the next attempt is made."""
    hosted.loader.fails = [asyncio.CancelledError()]
    await crash(hosted)
    await hosted.quiet(60)
    assert (hosted.plug.phase, hosted.loader.loads) == ("Running", 2)


async def test_a_reset_during_a_reload_does_not_forget_the_reload(hosted):
    """Attempts and crashes are forgotten, what is under way is not; it counts as the first."""
    hosted.loader.fails, hosted.loader.seconds = [RuntimeError("no socket")], 5.0
    await crash(hosted)
    await hosted.quiet(12)
    assert hosted.plug.machine.upkeep.attempt == 2
    await hosted.plug.reset_retry()
    assert hosted.plug.machine.upkeep.attempt == 1
    await hosted.quiet(60)
    assert (hosted.plug.phase, hosted.loader.loads) == ("Running", 2)


async def test_who_moves_a_plugin_on_during_its_reload_replaces_it(hosted):
    """The loader is cancelled, and the supervisor says no more of it."""
    hosted.loader.hangs = True
    await crash(hosted)
    await hosted.quiet(3)
    await hosted.plug.transition_to("Validating", "by hand")
    await hosted.quiet(200)
    assert (hosted.plug.phase, hosted.loader.loads, hosted.loader.cancelled) == ("Validating", 1, 1)
    assert hosted.tags(hosted.plug)[-2:] == ["restart_begun", "transitioned"]
    await hosted.quiet(200)
    assert hosted.plug.machine.reason == "Validating lasted longer than 300 s"


async def test_a_retry_during_a_reload_replaces_it(hosted):
    """The first loader is cancelled; the person's load is the one that counts."""
    hosted.loader.hangs = True
    await crash(hosted)
    await hosted.quiet(3)
    hosted.loader.hangs = False
    await hosted.loader.host.retry(hosted.plug)
    await hosted.quiet(60)
    assert (hosted.plug.phase, hosted.loader.loads, hosted.loader.cancelled) == ("Running", 2, 1)
    await hosted.check()


async def test_an_engine_that_begins_leaves_what_is_being_validated_by_hand(hosted):
    """The phases after Recovering are the person's who went on by hand, across a kill too."""
    hosted.loader.hangs = True
    await crash(hosted)
    await hosted.quiet(3)
    await hosted.plug.transition_to("Validating", "by hand")
    size = hosted.size
    await hosted.reopen(reloads=hosted.reloads)
    await hosted.quiet(100)
    assert hosted.size == size


async def test_what_dies_while_its_recovery_is_being_recorded_is_recovered_again(hosted):
    """The load was over, the move to Running on its way to the disk: the crash is not lost."""
    await crash(hosted)
    hosted.log.seconds = 1.0
    await hosted.quiet(3.6)
    assert (hosted.plug.phase, hosted.loader.loads) == ("Recovering", 1)
    await crash(hosted)
    hosted.log.seconds = 0.0
    await hosted.quiet(60)
    assert (hosted.plug.phase, hosted.loader.loads) == ("Running", 2)


# --- what calls a restart off


@pytest.mark.parametrize("said", [{"restart": "never"}, {"disabled": True}])
async def test_an_amendment_in_a_backoff_calls_the_restart_off(world, said):
    """What is armed is given up at once, and the reason says why; nobody waits for it any more."""
    web = await died(world, restart="always")
    await web.amend(**said)
    await world.quiet(100)
    assert (web.phase, starts(world)) == ("stopped", 1)
    assert world.tags(web)[-2:] == ["amended", "restart_given_up"]
    assert world.store.records[-1].event.reason == "restart is never"


async def test_a_stop_in_a_backoff_calls_the_restart_off(world):
    """Somebody wants it down; a second stop has nothing to do."""
    web = await died(world, restart="always")
    stopped = await web.stop(reason="maintenance")
    assert (stopped.how, world.tags(web)[-1]) == ("done", "restart_given_up")
    assert world.store.records[-1].event.reason == "maintenance"
    assert (await web.stop()).how == "nothing"
    await world.quiet(100)
    assert (web.phase, starts(world)) == ("stopped", 1)


# --- across restarts


@pytest.mark.parametrize(("policy", "again"), [("always", 1), ("on-failure", 1), ("never", 0), ("", 0)])
async def test_what_died_while_no_engine_ran_is_brought_back_by_the_next(world, policy, again):
    """Nobody was there to hear of it: the next engine looks at what it would have to restart."""
    await started(world, restart=policy)
    await world.crash()
    world.simulated.die("web")
    await world.open()
    await world.quiet(10)
    assert starts(world) == 1 + again
    assert world.simulated.alive("web") == bool(again)


async def test_a_plugin_that_is_installed_again_has_its_deadlines_again(hosted):
    """An alarm of its former life rang while it was over; the one of the new life rings too."""
    await hosted.loader.host.uninstall(hosted.plug)
    await hosted.quiet(1000)
    await hosted.plug.transition_to("Installing")
    await hosted.quiet(599)
    assert hosted.plug.phase == "Installing"
    await hosted.quiet(2)
    assert hosted.plug.phase == "Failed"


async def test_a_reload_for_what_a_start_brings_back_is_not_called(world):
    """Only a lifecycle with a phase for it is brought back by its host."""
    loader = Loader()
    await world.reopen(reloads={"vm": loader.host.reload})
    web = await died(world, restart="always")
    await world.quiet(10)
    assert (web.phase, starts(world), loader.calls) == ("running", 2, [])


async def test_leaving_ends_a_reload_that_is_under_way(hosted, caplog):
    """The loader is cancelled, nothing is waited for, and the next engine goes on with the next attempt."""
    hosted.loader.hangs = True
    await crash(hosted)
    await hosted.quiet(3)
    at = hosted.clock.wall()
    await hosted.leave()
    assert (hosted.loader.cancelled, hosted.clock.wall()) == (1, at)
    assert "do not end" not in caplog.text
    hosted.loader.hangs = False
    await hosted.open(reloads=hosted.reloads)
    await hosted.quiet(10)
    assert (await hosted.engine.machine_by_id(hosted.plug.id)).phase == "Running"


# --- who waits


async def test_a_wait_goes_on_although_the_log_did_not_take_the_restart(world):
    """The disk was full when the restart was to be armed; it is armed a second later."""
    web = await world.engine.create("web", replace(SPEC, restart="always"))
    started = await web.start()
    waiting = asyncio.ensure_future(web.wait("stopped", after=started.position))
    world.log.faults = [None, LogUnavailable]
    world.simulated.die("web")
    stopped = await waiting
    await web.wait("running", after=stopped.position, timeout=60)


async def test_a_plugin_that_crashes_and_is_disabled_in_its_backoff_fails_at_once(hosted):
    """Nobody reloads what is disabled; the reason says why."""
    await crash(hosted)
    await hosted.plug.amend(disabled=True)
    await hosted.quiet(100)
    assert (hosted.plug.phase, hosted.plug.machine.reason) == ("Failed", "restart is never")
    assert hosted.loader.loads == 0


async def test_a_wall_clock_that_was_set_back_over_a_reboot_does_not_hold_a_restart_up(world):
    """The host believes an earlier year; a backoff of seconds does not become one of years."""
    web = await died(world, restart="always")
    assert web.machine.upkeep.due is not None
    await world.crash()
    world.clock.reboot()
    world.clock.jump(-365 * 86_400)
    await world.open()
    await world.quiet(200)
    assert (await world.engine.machine_by_id(web.id)).phase == "running"


async def test_a_machine_whose_provider_is_missing_is_given_up_and_ended_when_it_is_back(world):
    """Without a hand nothing is done, and not over and over; with one again, the end comes."""
    web = await died(world, restart="always", ttl_seconds=1000)
    simulated, world.simulated = world.simulated, Simulated(world.clock)
    world.simulated.name = "other"
    await world.reopen()
    size = world.size
    await world.quiet(3600)
    assert world.size - size < 30
    assert (await world.engine.machine_by_id(web.id)).phase == "stopped"
    world.simulated = simulated
    await world.reopen()
    await world.quiet(60)
    assert (await world.engine.machine_by_id(web.id)).phase == "destroyed"


async def test_a_machine_in_quarantine_that_has_outlived_its_time_is_ended(world):
    """Its restore was lost; the row of its quarantine is the one that ends it."""
    web = await started(world, ttl_seconds=100)
    await web.snapshot("s")
    world.simulated.script("web", "restore", "fail")
    with pytest.raises(EffectFailed):
        await web.restore("s")
    assert web.machine.quarantined
    await world.quiet(200)
    assert web.phase == "destroyed"
    await world.check()


async def test_with_one_lane_of_one_place_ends_and_restarts_do_not_wait_for_each_other_for_ever(world):
    """One effect at a time, ten machines that crash, five of them past their time."""
    await world.reopen(effects_at_once=1, probes_at_once=1)
    many = [
        await world.engine.create(f"m{n}", replace(SPEC, restart="always", ttl_seconds=(n % 2) * 20))
        for n in range(10)
    ]
    for one in many:
        await one.start()
        world.simulated.script(one.name, "start", "hang")
    world.simulated.script("m1", "destroy", "hang")
    for one in many:
        world.simulated.die(one.name)
    await world.quiet(3000)
    assert {one.phase for one in many[::2]} == {"running"}
    assert {one.phase for one in many[1::2]} == {"destroyed"}
    await world.check()


async def test_what_cannot_be_seen_at_the_start_is_looked_at_until_it_can(world):
    """The provider comes up after the engine: the looks are spaced, and the machine is brought back."""
    await started(world, restart="always")
    await world.crash()
    world.simulated.die("web")
    world.simulated.lie("web", "unknown")
    world.simulated.probes.clear()
    await world.open()
    await world.quiet(3600)
    assert 55 <= len(world.simulated.probes) <= 75
    world.simulated.lie("web", None)
    await world.quiet(70)
    assert (starts(world), world.simulated.alive("web")) == (2, True)
    await world.check()


async def test_a_time_to_live_ends_what_is_alive_with_a_request_that_a_killed_engine_left_open(world):
    """The forced end is refused because it answers: the look that would settle things is let through."""
    web = await world.engine.create("web", replace(SPEC, ttl_seconds=100))
    world.simulated.script("web", "snapshot", "hang")
    taking = asyncio.ensure_future(web.snapshot("s"))
    await world.quiet(1)
    await world.crash()
    taking.cancel()
    world.simulated.raise_from_the_dead("web")
    await world.quiet(200)
    await world.open()
    await world.quiet(200)
    assert (await world.engine.machine_by_id(web.id)).phase == "destroyed"
    assert not world.simulated.alive("web")
    await world.check()
