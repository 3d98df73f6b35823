"""Supervision: crashes, backoffs, budgets, times to live and deadlines, across restarts, in virtual time."""

import asyncio

import pytest
from msgspec.structs import replace
from specs import SPEC
from supervised import RUN, again, crash, died, phases, running, started

from eventvm.errors import BadInput, EffectFailed, OutcomeUnknown, Unreachable, Unsupported
from eventvm.observation import Evidence, Observation
from eventvm.plugins import Found, PluginHost
from eventvm.providers.simulated import Script
from eventvm.spec import Spec

# --- crash recovery of plugins


@pytest.mark.parametrize("phase", ["Running", "Degraded"])
async def test_a_crash_is_recovered_after_its_backoff(hosted, phase):
    """It waits two seconds in Recovering, is reloaded once, and goes Validating, Starting, Running."""
    if phase == "Degraded":
        plug = await hosted.engine.create("slow", lifecycle="plugin")
        for to in (*RUN[:-1], "Degraded"):
            await plug.transition_to(to)
    else:
        plug = hosted.plug
    crashed = hosted.size
    await crash(hosted, plug)
    assert plug.phase == "Recovering"
    await hosted.quiet(1.9)
    assert (plug.phase, hosted.loader.loads) == ("Recovering", 0)
    await hosted.quiet(0.2)
    assert (plug.phase, hosted.loader.loads) == ("Running", 1)
    assert await phases(plug, crashed) == ["Recovering", "Validating", "Starting", "Running"]
    assert hosted.tags(plug, crashed) == [
        "exited", "restart_armed", "restart_begun", "transitioned", "transitioned", "transitioned",
    ]  # fmt: skip
    await hosted.check()


async def test_the_usage_of_a_plugin_stops_with_its_crash_and_goes_on_with_its_recovery(hosted):
    """The interval ends at the crash, and another begins when it runs again."""
    await crash(hosted)
    await hosted.quiet(3)
    assert await hosted.booked(hosted.plug) == [
        "compute.start(boot)", "compute.stop(stop-crash)", "compute.start(restart)",
    ]  # fmt: skip


@pytest.mark.parametrize(("phase", "to"), [("Stopping", "Stopped"), ("Starting", "Failed")])
async def test_a_death_elsewhere_is_no_crash_to_recover(hosted, phase, to):
    """What was being stopped is stopped, what was on its way has failed; nothing is reloaded."""
    plug = await hosted.engine.create("other", lifecycle="plugin")
    for step in RUN[:4] if phase == "Starting" else (*RUN, "Stopping"):
        await plug.transition_to(step)
    await crash(hosted, plug)
    await hosted.quiet(100)
    assert (plug.phase, hosted.loader.loads) == (to, 0)


async def test_two_notices_of_one_crash_are_one_crash(hosted):
    """Told twice, in the backoff too, it is recovered once."""
    await asyncio.gather(crash(hosted), crash(hosted))
    await crash(hosted)
    await hosted.quiet(1)
    await crash(hosted)
    await hosted.quiet(3)
    assert hosted.loader.loads == 1
    assert hosted.tags(hosted.plug).count("exited") == 1


async def test_a_failed_reload_keeps_the_phase_and_the_next_waits_twice_as_long(hosted):
    """Backoffs of 2, 4 and 8 seconds; the third success goes on to Running."""
    hosted.loader.fails = [RuntimeError("no socket"), RuntimeError("no socket")]
    await crash(hosted)
    await hosted.plug.wait("Running", after=hosted.size, timeout=60)
    tags = [
        tag for tag in hosted.tags(hosted.plug) if tag in ("restart_armed", "restart_begun", "reload_failed")
    ]
    assert tags == ["restart_armed", "restart_begun", "reload_failed"] * 2 + [
        "restart_armed",
        "restart_begun",
    ]
    waits = [
        record.event.at.until(record.event.due) // 1_000_000_000
        for record in hosted.store.streams[hosted.plug.id]
        if type(record.event).__name__ == "RestartArmed"
    ]
    assert waits == [2, 4, 8]
    await hosted.check()


async def test_after_three_attempts_it_is_forced_to_failed(hosted):
    """The fourth is never made, and the reason says why."""
    hosted.loader.fails = [RuntimeError("no socket")] * 9
    await crash(hosted)
    await hosted.quiet(200)
    assert (hosted.plug.phase, hosted.loader.loads) == ("Failed", 3)
    last = (await hosted.plug.history())[-1]
    assert (last.reason, last.forced) == ("force: max crash recovery attempts reached", True)
    await hosted.check()


async def test_the_sixth_crash_in_a_window_exhausts_the_budget_without_a_reload(hosted):
    """Five in five minutes are recovered; the sixth is not, and says so."""
    for _ in range(5):
        await crash(hosted)
        await hosted.quiet(10)
        assert hosted.plug.phase == "Running"
    await crash(hosted)
    await hosted.quiet(100)
    assert (hosted.plug.phase, hosted.loader.loads) == ("Failed", 5)
    assert hosted.plug.machine.reason == "crash budget exhausted"


async def test_the_window_of_crashes_slides(hosted):
    """Six crashes in more than five minutes are six recoveries."""
    for _ in range(6):
        await crash(hosted)
        await hosted.quiet(61)
    assert (hosted.plug.phase, hosted.loader.loads) == ("Running", 6)


async def test_a_persons_retry_resets_the_budget_and_a_reload_never_does(hosted):
    """After five crashes and a retry there is room for five more."""
    for _ in range(6):
        await crash(hosted)
        await hosted.quiet(10)
    assert hosted.plug.phase == "Failed"
    await hosted.loader.host.retry(hosted.plug)
    loads = hosted.loader.loads
    for _ in range(5):
        await crash(hosted)
        await hosted.quiet(10)
    assert (hosted.plug.phase, hosted.loader.loads - loads) == ("Running", 5)
    await crash(hosted)
    await hosted.quiet(10)
    assert hosted.plug.phase == "Failed"


async def test_a_reset_makes_room_for_five_more_crashes(hosted):
    """Attempts and crashes are forgotten, also of a plugin that runs."""
    for at in range(10):
        if at == 5:
            await hosted.plug.reset_retry()
        await crash(hosted)
        await hosted.quiet(10)
    assert hosted.plug.phase == "Running"


async def test_an_uninstall_in_the_backoff_wakes_the_sleeper_and_nothing_is_reloaded(hosted):
    """It goes Recovering, Failed, Uninstalling, Uninstalled at once."""
    await crash(hosted)
    before, at = hosted.size, hosted.clock.wall()
    await hosted.loader.host.uninstall(hosted.plug)
    assert await phases(hosted.plug, before) == ["Failed", "Uninstalling", "Uninstalled"]
    assert hosted.clock.wall() == at
    size = hosted.size
    await hosted.quiet(500)
    assert (hosted.loader.loads, hosted.size) == (0, size)


async def test_an_uninstall_ends_a_reload_that_is_under_way(hosted):
    """The loader is cancelled, and what it might still have said is not recorded."""
    hosted.loader.hangs = True
    await crash(hosted)
    await hosted.quiet(3)
    assert hosted.loader.loads == 1
    await hosted.loader.host.uninstall(hosted.plug)
    await hosted.quiet()
    assert hosted.loader.cancelled == 1
    size = hosted.size
    await hosted.quiet(500)
    assert (hosted.plug.phase, hosted.size) == ("Uninstalled", size)


async def test_a_reload_that_ends_while_somebody_decides_otherwise_is_not_recorded(hosted):
    """The move to Failed is on its way to the disk when the loader is done: the move holds."""
    hosted.loader.seconds = 1.0
    await crash(hosted)
    await hosted.quiet(2.5)
    hosted.log.seconds = 1.0
    await hosted.plug.transition_to("Failed", "enough")
    hosted.log.seconds = 0.0
    await hosted.quiet(100)
    assert hosted.loader.loads == 1
    assert (hosted.plug.phase, hosted.plug.machine.reason) == ("Failed", "enough")


async def test_a_reload_that_hangs_fails_at_its_deadline(hosted):
    """After a minute the attempt has failed, and the next is armed."""
    hosted.loader.hangs = True
    await crash(hosted)
    await hosted.quiet(63)
    assert "reload_failed" in hosted.tags(hosted.plug)
    hosted.loader.hangs = False
    await hosted.quiet(5)
    assert hosted.plug.phase == "Running"


async def test_what_dies_while_it_is_reloaded_has_failed_its_attempt(hosted):
    """The newer crash ends the older recovery's attempt; the next is made."""
    hosted.loader.hangs = True
    await crash(hosted)
    await hosted.quiet(3)
    hosted.loader.hangs = False
    await crash(hosted)
    assert hosted.tags(hosted.plug)[-2:] == ["reload_failed", "restart_armed"]
    await hosted.quiet(5)
    assert hosted.plug.phase == "Running"


async def test_a_newer_crash_replaces_the_older_recovery(hosted):
    """A crash right after a reload begins anew with the first backoff."""
    hosted.loader.fails = [RuntimeError("once")]
    await crash(hosted)
    await hosted.plug.wait("Running", after=hosted.size, timeout=60)
    await crash(hosted)
    assert (hosted.plug.machine.upkeep.attempt, len(hosted.plug.machine.upkeep.crashes)) == (1, 2)
    await hosted.quiet(2.1)
    assert hosted.plug.phase == "Running"


async def test_without_a_host_a_crashed_plugin_is_left_to_its_application(world):
    """Nobody is here to bring it back: it stays in Recovering, and the application moves it."""
    plug = await running(world)
    await plug.tell(Observation("gone", Evidence("host")))
    size = world.size
    await world.quiet(1000)
    assert (plug.phase, world.size) == ("Recovering", size)
    await plug.transition_to("Validating")


async def test_a_plugin_that_is_never_to_be_restarted_fails(hosted):
    """`restart="never"`, and `disabled` likewise: the crash leads to Failed, and the reason says why."""
    for name, spec in (("a", Spec(restart="never")), ("b", Spec(disabled=True))):
        plug = await hosted.engine.create(name, spec, lifecycle="plugin")
        for phase in RUN:
            await plug.transition_to(phase)
        await crash(hosted, plug)
        assert (plug.phase, plug.machine.reason) == ("Failed", "restart is never")


async def test_a_reload_for_a_lifecycle_that_nobody_knows_is_refused(world):
    """A misspelt name would bring nothing back, and nobody would notice."""
    await world.leave()
    with pytest.raises(BadInput, match="no lifecycle 'plugins'"):
        await world.open(reloads={"plugins": PluginHost(load=nothing).reload})


async def nothing(plugin):
    pass


# --- across restarts


@pytest.mark.parametrize("killed", [True, False])
async def test_a_restart_in_a_backoff_goes_on_where_it_was(hosted, killed):
    """Half of it has passed; the other half is waited for, and the attempt counts once."""
    await crash(hosted)
    await hosted.quiet(1)
    await again(hosted, crash=killed)
    await hosted.quiet(0.9)
    assert hosted.loader.loads == 0
    await hosted.quiet(0.2)
    assert (hosted.plug.phase, hosted.loader.loads) == ("Running", 1)
    assert hosted.tags(hosted.plug).count("restart_armed") == 1


async def test_what_became_due_while_nobody_was_there_is_done_at_once(hosted):
    """The engine comes back after the backoff: the attempt begins without another wait."""
    await crash(hosted)
    await hosted.crash()
    await hosted.quiet(60)
    await hosted.open(reloads=hosted.reloads)
    await hosted.quiet()
    assert hosted.loader.loads == 1


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("commit", [1, 2, 3, 4])
async def test_a_kill_around_any_commit_neither_loses_nor_doubles_an_attempt(hosted, when, commit):
    """The crash, the arming, the beginning, the end: the attempts are counted 1, 2, ... without a gap."""
    hosted.log.die(when, commit)
    telling = asyncio.ensure_future(hosted.loader.host.crashed(hosted.plug))
    await asyncio.wait({asyncio.ensure_future(hosted.log.died.wait())}, timeout=20)
    assert hosted.log.died.is_set()
    await hosted.crash()
    telling.cancel()
    await again_after_crash(hosted)
    if hosted.plug.phase != "Running" or not attempts(hosted, "RestartBegun"):
        await crash(hosted)
    await hosted.quiet(30)
    assert hosted.plug.phase == "Running"
    armed, begun = attempts(hosted, "RestartArmed"), attempts(hosted, "RestartBegun")
    assert armed == begun == list(range(1, len(armed) + 1))
    assert hosted.loader.loads in (len(begun), len(begun) - 1)
    assert hosted.tags(hosted.plug).count("exited") == 1
    await hosted.check()


async def again_after_crash(world):
    await world.open(reloads=world.reloads)
    world.plug = await world.engine.machine_by_id(world.plug.id)


def attempts(world, kind):
    return [
        record.event.attempt
        for record in world.store.streams[world.plug.id]
        if type(record.event).__name__ == kind
    ]


async def test_an_attempt_that_a_kill_interrupted_has_failed(hosted):
    """Nobody knows how far it came: it counts, and the next is armed with its own backoff."""
    hosted.loader.hangs = True
    await crash(hosted)
    await hosted.quiet(3)
    hosted.loader.hangs = False
    await again(hosted)
    await hosted.quiet()
    assert hosted.tags(hosted.plug)[-3:] == ["restart_begun", "reload_failed", "restart_armed"]
    await hosted.quiet(4.1)
    assert (hosted.plug.phase, attempts(hosted, "RestartBegun")) == ("Running", [1, 2])


# --- the start of a host


async def test_a_host_that_begins_brings_the_records_to_what_is_on_disk(hosted):
    """Adopted, ghost, disabled, without a binary with and without dev, and the rest: each by force."""
    engine, host = hosted.engine, hosted.loader.host
    made = {}
    for name, spec in (
        ("ghost", Spec()), ("off", Spec(disabled=True)), ("source", Spec(dev=True)), ("broken", Spec()),
        ("well", Spec()),
    ):  # fmt: skip
        made[name] = await engine.create(name, spec, lifecycle="plugin")
        for phase in RUN:
            await made[name].transition_to(phase)
    await host.uninstall(hosted.plug)
    found = [
        Found("new"),
        Found("off"),
        Found("source", binary=False),
        Found("broken", binary=False),
        Found("well"),
    ]
    installed = {plugin.name: plugin for plugin in await host.reconcile(engine, found)}
    assert {name: plugin.phase for name, plugin in installed.items()} == {
        "new": "Installed", "off": "Stopped", "source": "Building", "broken": "Failed", "well": "Installed",
    }  # fmt: skip
    assert made["ghost"].phase == "Uninstalled"
    for plugin in (*installed.values(), made["ghost"]):
        assert (await plugin.history())[-1].forced
    size = hosted.size
    await host.reconcile(engine, found)
    assert hosted.size == size, "a second pass finds nothing to do"
    await hosted.check()


async def test_a_plugin_lives_from_its_installation_to_its_end(hosted):
    """Install, load, unload, uninstall; one under development is built first, a failure is recorded."""
    host = hosted.loader.host
    plug = await host.install(hosted.engine, "whole", Spec(dev=True))
    await host.load(plug)
    assert hosted.loader.calls == ["build", "validate", "load"]
    await host.unload(plug)
    hosted.loader.fails = [RuntimeError("no port")]
    with pytest.raises(RuntimeError, match="no port"):
        await host.load(plug)
    assert (plug.phase, plug.machine.reason) == ("Failed", "no port")
    await host.retry(plug)
    await host.uninstall(plug)
    assert plug.phase == "Uninstalled"


# --- restart policies of machines with a provider


POLICIES = [
    ("never", None, False), ("never", 0, False), ("on-failure", None, True), ("on-failure", 3, True),
    ("on-failure", 0, False), ("always", 0, True), ("always", None, True), ("", None, False),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "code", "restarted"), POLICIES)
async def test_a_restart_policy_says_what_is_run_again(world, policy, code, restarted):
    """never; on-failure unless it ended well; always; and nothing said is never."""
    web = await started(world, restart=policy)
    world.simulated.die("web", code=code)
    await world.quiet(5)
    assert web.phase == ("running" if restarted else "stopped")
    assert world.simulated.calls.count(("start", "web")) == 1 + restarted
    await world.check()


async def test_what_a_command_has_stopped_stays_stopped(world):
    """`always` is about ends that nobody asked for."""
    web = await started(world, restart="always")
    await web.stop()
    await world.quiet(500)
    assert web.phase == "stopped"


async def test_what_dies_after_a_stop_that_failed_stays_stopped(world):
    """Somebody wanted it down: that it went down later is no crash."""
    web = await started(world, restart="always")
    world.simulated.script("web", "stop", "fail")
    with pytest.raises(EffectFailed):
        await web.stop()
    world.simulated.die("web")
    await world.quiet(500)
    assert web.phase == "stopped"
    assert world.simulated.calls.count(("start", "web")) == 1


async def test_a_restart_says_who_why_and_which_attempt(world):
    """The request is the supervisor's, with the crash as its reason; the ledger shows a restart."""
    web = await started(world, restart="on-failure")
    world.simulated.die("web")
    await world.quiet(5)
    start = world.requests()[-1]
    assert (start.actor, start.event.reason) == ("supervisor", "unexpected-exit: attempt 1 of 5")
    compute = [entry for entry in await world.booked(web) if entry.startswith("compute")]
    assert compute == ["compute.start(boot)", "compute.stop(stop-crash)", "compute.start(restart)"]


async def test_starts_that_fail_are_spaced_and_then_given_up(world):
    """Five attempts, each later than the one before; then an event says that there is no more."""
    web = await started(world, restart="always")
    world.simulated.always("web", "start", "fail")
    world.simulated.die("web")
    await world.quiet(1000)
    assert world.simulated.calls.count(("start", "web")) == 1 + 5
    assert world.tags(web)[-1] == "restart_given_up"
    assert world.store.records[-1].event.reason == "max crash recovery attempts reached"
    with pytest.raises(Unreachable):
        await web.wait("running", after=world.size)
    world.simulated.always("web", "start", None)
    await web.start()
    assert web.machine.upkeep is None, "what a person has run begins anew"


async def test_a_wait_for_what_a_restart_may_bring_goes_on(world):
    """An armed restart is hope, also for a wait that counts from a receipt."""
    web = await started(world, restart="always")
    world.simulated.die("web")
    down = await web.wait("stopped", timeout=5)
    up = await web.wait("running", after=down.position, timeout=60)
    assert up.position > down.position


async def test_a_persons_start_in_a_backoff_replaces_the_restart(world):
    """The machine runs; nothing is started a second time when the alarm would have rung."""
    web = await died(world, restart="always")
    await web.start()
    await world.quiet(100)
    assert world.simulated.calls.count(("start", "web")) == 2
    assert web.machine.upkeep is None


async def test_a_machine_found_alive_in_its_backoff_is_not_started(world):
    """The start looks first: the record is repaired, and the provider not asked to launch."""
    web = await died(world, restart="always")
    world.simulated.raise_from_the_dead("web")
    await world.quiet(10)
    assert web.phase == "running"
    assert world.simulated.calls.count(("start", "web")) == 1


async def test_a_restart_that_cannot_be_judged_is_a_failed_attempt(world):
    """A probe that cannot tell keeps the start from being made; it is tried again, and never doubled."""
    web = await died(world, restart="always")
    world.simulated.lie("web", "unknown")
    await world.quiet(4)
    assert world.simulated.calls.count(("start", "web")) == 1
    assert "reload_failed" in world.tags(web)
    world.simulated.lie("web", None)
    await world.quiet(60)
    assert (web.phase, world.simulated.calls.count(("start", "web"))) == ("running", 2)
    await world.check()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("commit", [1, 2, 3, 4, 5])
async def test_a_kill_around_any_commit_of_a_restart_starts_once(world, when, commit):
    """Exit, arming, beginning, request, outcome: afterwards it runs, and was launched once or seen alive."""
    web = await started(world, restart="always")
    world.log.die(when, commit)
    world.simulated.die("web")
    await asyncio.wait({asyncio.ensure_future(world.log.died.wait())}, timeout=20)
    assert world.log.died.is_set()
    await world.reopen()
    await world.engine.reconcile()
    await world.quiet(60)
    web = await world.engine.machine("web")
    assert web.phase == "running"
    assert world.simulated.calls.count(("start", "web")) == 2
    await world.check()


async def test_a_policy_that_a_lifecycle_cannot_keep_is_refused_at_creation(world):
    """It names the field; nothing is written."""
    for lifecycle in ("hcsshim", "microvm", "cell"):
        refused = await world.refuses(
            world.engine.create("web", replace(SPEC, restart="always"), lifecycle=lifecycle), Unsupported
        )
        assert "restart='always'" in str(refused)
    refused = await world.refuses(
        world.engine.create("plug", Spec(ttl_seconds=5), lifecycle="plugin"), Unsupported
    )
    assert "ttl_seconds=5" in str(refused)


async def test_a_policy_can_be_amended(world):
    """A machine that was never to be restarted is, after an amendment."""
    web = await started(world)
    await web.amend(restart="always")
    world.simulated.die("web")
    await world.quiet(5)
    assert web.phase == "running"


# --- times to live


@pytest.mark.parametrize("lifecycle", ["vm", "hcsshim", "microvm", "cell"])
async def test_a_time_to_live_ends_a_machine_across_restarts(world, lifecycle):
    """Half of it under one engine, half under the next; it ends once, with the reason ttl_exceeded."""
    web = await started(world, lifecycle, ttl_seconds=100)
    await world.quiet(50)
    await world.reopen()
    web = await world.engine.machine_by_id(web.id)
    await world.quiet(49)
    assert not web.terminal
    await world.quiet(2)
    assert web.terminal
    assert world.requests()[-1].event.reason == "ttl_exceeded"
    assert web.machine.reason == "ttl_exceeded"
    assert not world.simulated.alive("web")
    await world.check()


async def test_a_time_to_live_that_ran_out_while_nobody_was_there_ends_at_once(world):
    """The next engine ends the machine as it opens."""
    web = await started(world, ttl_seconds=100)
    await world.crash()
    await world.quiet(1000)
    await world.open()
    await world.quiet()
    assert (await world.engine.machine_by_id(web.id)).phase == "destroyed"


async def test_an_end_that_fails_is_tried_again(world):
    """The machine may not outlive its time because its provider had a bad minute."""
    web = await started(world, ttl_seconds=10)
    world.simulated.script("web", "destroy", "fail", "fail")
    await world.quiet(100)
    assert web.phase == "destroyed"
    await world.check()


async def test_a_time_to_live_breaks_into_an_effect_that_hangs(world):
    """It is a forced end, and waits for nobody."""
    web = await world.engine.create("web", replace(SPEC, ttl_seconds=10))
    world.simulated.script("web", "start", "hang")
    starting = asyncio.ensure_future(web.start())
    await world.quiet(11)
    assert web.phase == "destroyed"
    await asyncio.wait({starting})
    assert starting.exception() is not None


async def test_an_amended_time_to_live_counts_from_its_amendment(world):
    """Longer, shorter, or none at all."""
    long, short, never = [await world.engine.create(name, replace(SPEC, ttl_seconds=100)) for name in "abc"]
    await world.quiet(50)
    await long.amend(ttl_seconds=100)
    await short.amend(ttl_seconds=1)
    await never.amend(ttl_seconds=0)
    await world.quiet(2)
    assert (long.phase, short.phase) == ("created", "destroyed")
    await world.quiet(60)
    assert long.phase == "created"
    await world.quiet(1000)
    assert (long.phase, never.phase) == ("destroyed", "created")


async def test_a_wall_clock_that_jumps_does_not_end_a_life_early(world):
    """Within one boot the boot clock counts; after a reboot only the wall clock is left."""
    web = await world.engine.create("web", replace(SPEC, ttl_seconds=1000))
    world.clock.jump(500_000)
    await world.quiet(500)
    assert web.phase == "created"
    world.clock.jump(-500_000)
    await world.crash()
    world.clock.reboot()
    await world.open()
    await world.quiet(400)
    web = await world.engine.machine_by_id(web.id)
    assert web.phase == "created"
    await world.quiet(200)
    assert web.phase == "destroyed"


# --- deadlines


@pytest.mark.parametrize(("phase", "seconds"), [("Installing", 600), ("Starting", 300)])
async def test_a_phase_in_flight_has_a_deadline_across_restarts(world, phase, seconds):
    """What lasts too long is failed by the supervisor, who says so; restarted in the middle, it goes on."""
    plug = await world.engine.create("plug", lifecycle="plugin")
    for step in RUN[: RUN.index(phase) + 1]:
        await plug.transition_to(step)
    await world.quiet(seconds / 2)
    await world.reopen()
    plug = await world.engine.machine_by_id(plug.id)
    await world.quiet(seconds / 2 - 1)
    assert plug.phase == phase
    await world.quiet(2)
    assert (plug.phase, plug.machine.reason) == ("Failed", f"{phase} lasted longer than {seconds} s")
    assert world.store.records[-1].actor == "supervisor"


async def test_a_phase_that_is_left_in_time_has_no_deadline_any_more(world):
    """The alarm rings for nothing, and nothing is appended."""
    await running(world)
    size = world.size
    await world.quiet(5000)
    assert world.size == size


async def left_open(world):
    """A machine whose start nobody can judge."""
    web = await world.engine.create("web", SPEC)
    world.simulated.script("web", "start", Script("unclear", seconds=1))
    starting = asyncio.ensure_future(web.start())
    await world.quiet(0.5)
    world.simulated.lie("web", "unknown")
    await asyncio.wait({starting})
    assert isinstance(starting.exception(), OutcomeUnknown)
    return web


async def test_an_open_request_is_looked_at_again_until_somebody_can_tell(world):
    """A start that nobody could judge is concluded by itself once the provider answers again."""
    web = await left_open(world)
    await world.quiet(100)
    assert web.machine.request is not None
    world.simulated.lie("web", None)
    await world.quiet(61)
    assert (web.machine.request, web.phase) == (None, "error")


async def test_looks_at_an_open_request_are_spaced(world):
    """In an hour of unknown there is about one look a minute, not a storm."""
    await left_open(world)
    world.simulated.probes.clear()
    await world.quiet(3600)
    assert 60 <= len(world.simulated.probes) <= 70


# --- many


async def test_a_thousand_crashes_at_once_are_a_thousand_recoveries(world):
    """Each machine is started once more, none twice."""
    many = [await world.engine.create(f"m{n}", replace(SPEC, restart="always")) for n in range(100)]
    await asyncio.gather(*(one.start() for one in many))
    for one in many:
        world.simulated.die(one.name)
    await world.quiet(30)
    assert {one.phase for one in many} == {"running"}
    assert all(world.simulated.calls.count(("start", one.name)) == 2 for one in many)
    await world.check()
