"""`vm` through the whole engine: the rows of SYSTEMS with their ledger, a test each."""

import asyncio

import pytest
from specs import NEW, SPEC

from eventvm.errors import (
    AlreadyExists,
    EffectFailed,
    ForceRequired,
    Inconclusive,
    InvalidTransition,
    NotFound,
    Quarantined,
    SnapshotAlreadyExists,
    SnapshotNotFound,
    StillAnswers,
    Unsupported,
)
from eventvm.observation import Clean, Evidence, Forced, Observation
from eventvm.spec import Shape

BOOT = ["storage.start(boot)", "compute.start(boot)"]


@pytest.fixture
async def vm(world):
    return await world.engine.create("web", SPEC)


@pytest.fixture
async def running(vm):
    await vm.start()
    return vm


@pytest.fixture
async def error(world, running):
    """A machine whose stop has failed: error, alive, its interval open."""
    world.simulated.script("web", "stop", "fail")
    with pytest.raises(EffectFailed):
        await running.stop()
    return running


async def reach(world, phase):
    if phase == "absent":
        return await world.engine.machine("web")
    if phase == "creating":
        world.simulated.script("web", "create", "unclear")
        world.simulated.lie("web", "unknown")
        with pytest.raises(Exception, match="unknown"):
            await world.engine.create("web", SPEC)
        return await world.engine.machine("web")
    vm = await world.engine.create("web", SPEC)
    await vm.snapshot("s1")
    if phase in ("running", "paused", "stopped", "error"):
        await vm.start()
    if phase == "paused":
        await vm.pause()
    if phase == "stopped":
        await vm.stop()
    if phase == "error":
        world.simulated.script("web", "stop", "fail")
        with pytest.raises(EffectFailed):
            await vm.stop()
    if phase == "destroyed":
        await vm.destroy()
    assert vm.phase == phase
    return vm


# --- what a phase takes

WISHES = {
    "start": lambda vm: vm.start(),
    "stop": lambda vm: vm.stop(),
    "pause": lambda vm: vm.pause(),
    "resume": lambda vm: vm.resume(),
    "hibernate": lambda vm: vm.hibernate("s2"),
    "snapshot": lambda vm: vm.snapshot("s2"),
    "restore": lambda vm: vm.restore("s1"),
    "rename": lambda vm: vm.rename("web-2"),
    "destroy": lambda vm: vm.destroy(),
    "use": lambda vm: vm.use(),
    "complete": lambda vm: vm.complete(0),
}
TAKEN = {
    "created": {"start", "stop", "snapshot", "rename", "destroy"},
    "running": {"start", "stop", "pause", "hibernate", "snapshot", "restore", "rename", "use"},
    "paused": {"resume", "stop", "snapshot"},
    "stopped": {"start", "stop", "snapshot", "restore", "rename", "destroy"},
    "error": {"start", "stop", "restore"},
    "destroyed": set(),
}


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("phase", TAKEN)
async def test_a_phase_takes_what_its_row_says_and_a_refusal_changes_nothing(world, phase, wish):
    vm = await reach(world, phase)
    if wish in TAKEN[phase]:
        await WISHES[wish](vm)
    else:
        error = InvalidTransition
        if phase == "destroyed" and wish != "complete":
            error = NotFound
        if phase in ("running", "paused") and wish == "destroy":
            error = ForceRequired
        if phase == "error" and wish == "destroy":
            error = StillAnswers
        refused = await world.refuses(WISHES[wish](vm), error, vm)
        assert (refused.machine, refused.phase) == ("web", phase)
    await world.check()


@pytest.mark.parametrize("wish", ["start", "stop", "snapshot", "restore", "destroy"])
async def test_a_machine_that_does_not_exist_is_not_found(world, wish):
    vm = await reach(world, "absent")
    await world.refuses(WISHES[wish](vm), NotFound)
    await world.refuses(vm.attest("gone", "never was"), NotFound)


# --- the ledger's table


async def test_create_opens_storage(world, vm):
    assert (vm.phase, await world.booked(vm)) == ("created", ["storage.start(boot)"])
    (entry,) = await vm.entries()
    assert entry.shape == Shape(2000, 4 << 30, 10 << 30)


async def test_a_create_that_fails_ends_destroyed_and_frees_the_name(world):
    world.simulated.script("web", "create", "fail")
    with pytest.raises(EffectFailed):
        await world.engine.create("web", SPEC)
    failed = await world.engine.machine("web")
    assert (failed.phase, await world.booked(failed)) == ("destroyed", [])
    assert (await world.engine.create("web", SPEC)).id != failed.id


async def test_start_opens_compute_as_a_boot_and_later_as_a_restart(world, running):
    assert await world.booked(running) == BOOT
    await running.stop()
    await running.start()
    assert (await world.booked(running))[2:] == ["compute.stop(stop-user)", "compute.start(restart)"]


async def test_start_while_running_is_no_event(world, running):
    with world.untouched(running):
        assert (await running.start()).how == "nothing"


async def test_stop_of_what_is_dead_already_closes_as_the_users_stop(world, running):
    await world.deafen()
    world.simulated.die("web")
    await running.stop()
    assert (running.phase, (await world.booked(running))[2:]) == ("stopped", ["compute.stop(stop-user)"])


async def test_a_failed_stop_is_an_error_and_its_interval_stays_open(world, error):
    assert (error.phase, await world.booked(error)) == ("error", BOOT)
    assert error.machine.counted("compute") is not None
    assert error.describe()["counting"] == ["storage", "compute"]


async def test_the_seed_case_alive_with_its_interval_open_is_one_compensating_event(world, error):
    size, calls = world.size, list(world.simulated.calls)
    receipt = await error.start()
    assert (receipt.how, error.phase, world.size) == ("reconciled", "running", size + 1)
    assert world.simulated.calls == calls, "the provider was not asked to launch"
    assert await world.booked(error) == BOOT


async def test_start_of_what_is_alive_without_an_interval_opens_one(world, vm):
    world.simulated.script("web", "start", "fail_after")
    with pytest.raises(EffectFailed):
        await vm.start()
    receipt = await vm.start()
    assert (receipt.how, receipt.phase, await world.booked(vm)) == ("reconciled", "running", BOOT)


async def test_start_of_what_died_with_its_interval_open_closes_it_at_the_evidences_time(world, error):
    await world.deafen()
    world.simulated.die("web")
    died = world.clock.now()
    await asyncio.sleep(600)
    await error.start()
    assert world.tags(error)[-3:] == ["exited", "requested", "started"]
    booked = (await error.entries())[2:]
    assert [(one.reason, one.at) for one in booked] == [
        ("stop-crash", died), ("restart", world.clock.now()),
    ]  # fmt: skip
    await world.check()


async def test_an_inconclusive_probe_fails_closed(world, vm):
    world.simulated.lie("web", "unknown")
    await world.refuses(vm.start(), Inconclusive, vm)


async def test_a_launch_that_fails_is_an_error_that_counts_nothing_and_may_start_again(world, vm):
    world.simulated.script("web", "start", "fail")
    with pytest.raises(EffectFailed) as failed:
        await vm.start()
    assert (failed.value.receipt.phase, await world.booked(vm)) == ("error", ["storage.start(boot)"])
    assert (await vm.start()).phase == "running"


async def test_a_clone_runs_at_once_and_names_its_snapshot(world, vm):
    await vm.snapshot("s1")
    copy = await vm.clone("copy", "s1")
    assert (copy.phase, await world.booked(copy)) == (
        "running",
        ["storage.start(clone)", "compute.start(clone)"],
    )
    assert {entry.source for entry in await copy.entries()} == {"s1"}
    assert world.simulated.alive("copy")
    await world.refuses(vm.clone("copy", "s1"), AlreadyExists, copy)
    await world.refuses(vm.clone("copy-2", "s2"), SnapshotNotFound, vm)


async def test_a_restore_to_a_new_shape_closes_the_old_one_and_opens_the_new(world, running):
    await running.snapshot("s1")
    mark = world.size
    await running.restore("s1", NEW)
    entries = [entry for entry in await running.entries() if entry.position > mark]
    assert [(one.meter, one.edge, one.reason, one.shape.milli_cpus) for one in entries] == [
        ("compute", "stop", "restore", 2000), ("compute", "start", "restore", 8000),
        ("storage", "stop", "restore", 2000), ("storage", "start", "restore", 8000),
    ]  # fmt: skip
    assert (running.phase, running.machine.spec) == ("running", NEW)


async def test_a_restore_that_fails_before_the_kill_changes_nothing_else(world, running):
    await running.snapshot("s1")
    world.simulated.script("web", "stop", "fail")
    booked = await world.booked(running)
    with pytest.raises(EffectFailed):
        await running.restore("s1", NEW)
    assert (running.phase, running.machine.spec, await world.booked(running)) == ("running", SPEC, booked)


@pytest.fixture
async def quarantined(world, running):
    await running.snapshot("s1")
    world.simulated.script("web", "restore", "fail")
    with pytest.raises(EffectFailed):
        await running.restore("s1", NEW)
    return running


async def test_a_restore_that_fails_after_the_kill_is_quarantined(world, quarantined):
    assert (quarantined.phase, quarantined.machine.quarantined) == ("error", True)
    assert (await world.booked(quarantined))[-1] == "compute.stop(restore)"


@pytest.mark.parametrize("wish", ["start", "stop", "pause", "snapshot", "rename", "hibernate"])
async def test_quarantine_takes_only_reconcile_attest_restore_and_destroy(world, quarantined, wish):
    await world.refuses(WISHES[wish](quarantined), Quarantined, quarantined)
    with world.untouched(quarantined):
        assert (await quarantined.reconcile()).how == "nothing"


@pytest.mark.parametrize("way", ["restore", "destroy", "attest"])
async def test_there_is_a_way_out_of_quarantine(world, quarantined, way):
    if way == "restore":
        assert (await quarantined.restore("s1", NEW)).phase == "running"
        assert not quarantined.machine.quarantined
    elif way == "destroy":
        assert (await quarantined.destroy()).phase == "destroyed"
    else:
        await quarantined.attest("gone", "it is off")
    await world.check()


@pytest.mark.parametrize("phase", ["running", "stopped", "error"])
async def test_restore_is_allowed_from(world, phase):
    vm = await reach(world, phase)
    assert (await vm.restore("s1")).phase == "running"


async def test_hibernate_makes_the_snapshot_durable_before_the_kill(world, running):
    await running.hibernate("s1")
    assert (running.phase, list(running.snapshots)) == ("stopped", ["s1"])
    assert [call for call, _ in world.simulated.calls[-2:]] == ["snapshot", "stop"]
    assert world.tags(running)[-3:] == ["requested", "snapshotted", "stopped"]
    assert (await world.booked(running))[-1] == "compute.stop(stop-user)"


async def test_hibernate_whose_snapshot_fails_goes_on_running_without_it(world, running):
    world.simulated.script("web", "snapshot", "fail")
    with pytest.raises(EffectFailed):
        await running.hibernate("s1")
    assert (running.phase, running.snapshots, await world.booked(running)) == ("running", {}, BOOT)
    assert world.simulated.alive("web")


async def test_hibernate_whose_kill_fails_is_an_error_with_its_snapshot(world, running):
    world.simulated.script("web", "stop", "fail")
    with pytest.raises(EffectFailed):
        await running.hibernate("s1")
    assert (running.phase, list(running.snapshots)) == ("error", ["s1"])
    assert "compute.stop(stop-user)" not in await world.booked(running)


async def test_removing_what_runs_needs_force(world, running):
    await world.refuses(running.destroy(), ForceRequired, running)


async def test_a_forced_removal_closes_both_meters(world, running):
    await running.destroy(force=True, reason="end of lease")
    assert (running.phase, (await world.booked(running))[2:]) == (
        "destroyed", ["compute.stop(stop-user)", "storage.stop(vm-rm)"],
    )  # fmt: skip


async def test_removing_what_is_stopped_closes_storage(world, running):
    await running.stop()
    await running.destroy()
    assert (await world.booked(running))[3:] == ["storage.stop(vm-rm)"]


async def test_removing_an_error_that_is_dead_closes_its_interval_as_a_crash(world, error):
    await world.deafen()
    world.simulated.die("web")
    await error.destroy()
    assert (await world.booked(error))[2:] == ["compute.stop(stop-crash)", "storage.stop(vm-rm)"]


@pytest.mark.parametrize(("says", "refusal"), [("alive", StillAnswers), ("unknown", Inconclusive)])
@pytest.mark.parametrize("force", [False, True])
async def test_removing_what_still_answers_or_cannot_be_seen_is_refused(world, running, says, refusal, force):
    await running.stop()
    world.simulated.lie("web", says)
    await world.refuses(running.destroy(force=force), refusal, running)


async def test_found_dead_closes_at_the_observed_time(world, running):
    world.simulated.die("web")
    died = world.clock.now()
    await world.quiet()
    assert (running.phase, running.machine.reason) == ("stopped", "unexpected-exit")
    (entry,) = (await running.entries())[2:]
    assert (entry.reason, entry.at) == ("stop-crash", died)


@pytest.mark.parametrize("how", ["generation", "incarnation", "twice"])
async def test_news_that_is_stale_or_told_twice_changes_nothing(world, running, how):
    gone = Observation("gone", Evidence("shim", incarnation=1), generation=running.generation)
    if how == "generation":
        await running.pause()
        await running.resume()
    elif how == "incarnation":
        await running.stop()
        await running.start()
        gone = Observation("gone", Evidence("shim", incarnation=1))
    else:
        assert (await running.tell(gone)).how == "reconciled"
    with world.untouched(running):
        assert (await running.tell(gone)).how == "nothing"


async def test_a_snapshot_is_counted_by_name_and_size_until_it_is_deleted(world, vm):
    await vm.snapshot("s1")
    assert (await world.booked(vm))[1:] == ["snap.storage.start(snapshot)"]
    assert (await vm.entries())[1].shape.storage == vm.snapshots["s1"] == 4 << 30
    await vm.delete_snapshot("s1")
    assert (await world.booked(vm))[2:] == ["snap.storage.stop(snap-rm)"]
    await world.refuses(vm.delete_snapshot("s1"), SnapshotNotFound, vm)


async def test_a_capture_that_fails_leaves_no_snapshot(world, vm):
    world.simulated.script("web", "snapshot", "fail")
    with pytest.raises(EffectFailed):
        await vm.snapshot("s1")
    assert (vm.snapshots, await world.booked(vm)) == ({}, ["storage.start(boot)"])
    await vm.snapshot("s1")
    await world.refuses(vm.snapshot("s1"), SnapshotAlreadyExists, vm)


async def test_an_interrupted_delete_never_stops_twice(world, vm):
    await vm.snapshot("s1")
    world.log.die("before", 2)
    task = asyncio.create_task(vm.delete_snapshot("s1"))
    await world.log.died.wait()
    task.cancel()
    engine = await world.reopen()
    await world.quiet()
    vm = await engine.machine("web")
    assert vm.snapshots == {}
    await world.refuses(vm.delete_snapshot("s1"), SnapshotNotFound, vm)
    assert (await world.booked(vm)).count("snap.storage.stop(snap-rm)") == 1


async def test_pause_and_resume_leave_the_meters_going(world, running):
    await running.pause()
    assert running.phase == "paused"
    await running.resume()
    assert (running.phase, await world.booked(running)) == ("running", BOOT)


async def test_snapshots_outlive_the_machine_and_stop_one_by_one(world, vm):
    await vm.snapshot("s1")
    await vm.snapshot("s2")
    await vm.destroy()
    assert [one.subject for one in await vm.intervals() if one.stop is None] == ["s1", "s2"]
    await vm.delete_snapshot("s1")
    engine = await world.reopen()
    vm = await engine.machine("web")
    await vm.delete_snapshot("s2")
    assert all(one.stop for one in await vm.intervals())
    assert {one.machine for one in await vm.entries()} == {vm.id}


# --- destroying, repairing


async def test_destroyed_twice_is_not_found_and_its_history_stays_readable(world, running):
    await running.destroy(force=True)
    await world.refuses(running.destroy(), NotFound, running)
    assert [one.to for one in await running.history()][-1] == "destroyed"
    again = await world.engine.create("web", SPEC)
    assert again.id != running.id
    assert (await world.engine.machine("web")).id == again.id
    assert (await world.engine.machine_by_id(running.id)).phase == "destroyed"


async def test_a_graceful_stop_is_a_clean_end_and_a_kill_carries_no_code(world, running):
    await running.stop()
    assert running.machine.end.termination == Clean(0)
    await running.start()
    world.simulated.always("web", "stop", "fail")
    await running.destroy(force=True, reason="now")
    event = world.store.streams[running.id][-1].event
    assert (event.end.manner, event.end.termination, event.outcome) == ("killed", Forced(), "succeeded")


async def test_a_name_is_held_by_one_also_when_two_race_for_it(world):
    made = await asyncio.gather(*(world.engine.create("web", SPEC) for _ in range(5)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in made) == ["AlreadyExists"] * 4 + ["Handle"]
    await world.check()


async def test_a_rename_frees_the_old_name_and_moves_history_along(world, running):
    await running.rename("web-2")
    assert (running.name, (await world.engine.machine("web")).id) == ("web-2", running.id)
    after = await world.engine.create("web", SPEC)
    assert (await world.engine.machine("web")).id == after.id
    await world.refuses(running.rename("web"), AlreadyExists, running)
    with world.untouched(running):
        assert (await running.rename("web-2")).how == "nothing"


# --- reconciliation


async def test_reconciling_a_healthy_machine_appends_nothing(world, running):
    with world.untouched(running):
        for _ in range(3):
            assert (await running.reconcile()).how == "nothing"
            assert (await world.engine.reconcile()).reconciled == ()


@pytest.mark.parametrize("phase", ["created", "stopped", "error"])
async def test_alive_although_the_record_says_otherwise_is_one_compensating_event(world, phase):
    vm = await reach(world, phase)
    world.simulated.raise_from_the_dead("web")
    size = world.size
    assert (await vm.reconcile()).how == "reconciled"
    assert (vm.phase, world.size) == ("running", size + 1)
    with world.untouched(vm):
        await vm.reconcile()
    await world.check()


@pytest.mark.parametrize("phase", ["running", "paused", "error"])
async def test_found_dead_applies_from(world, phase):
    vm = await reach(world, phase)
    world.simulated.lie("web", "gone")
    report = await world.engine.reconcile()
    assert (vm.phase, report.reconciled) == ("stopped", (vm.id,))
    assert (await world.booked(vm))[-1] == "compute.stop(stop-crash)"


async def test_a_pass_over_the_fleet_restarts_nothing_and_says_what_it_could_not_see(world):
    vms = [await world.engine.create(f"m{at}", SPEC) for at in range(40)]
    for vm in vms:
        await vm.start()
    world.simulated.lie("m1", "gone")
    world.simulated.lie("m2", "unknown")
    report = await world.engine.reconcile()
    assert report == type(report)(40, (vms[1].id,), (vms[2].id,))
    assert vms[1].phase == "stopped"
    assert (vms[2].phase, world.simulated.calls.count(("start", "m1"))) == ("running", 1)


async def test_reconcile_names_what_it_could_not_see(world, running):
    world.simulated.lie("web", "unknown")
    await world.refuses(running.reconcile(), Inconclusive, running)


@pytest.mark.parametrize("creator_lives", [True, False])
async def test_a_half_made_machine_is_collected_only_when_its_creator_is_gone(world, creator_lives):
    world.simulated.script("web", "create", "hang")
    task = asyncio.create_task(world.engine.create("web", SPEC))
    await asyncio.sleep(1)
    engine = world.engine
    if not creator_lives:
        task.cancel()
        engine = await world.reopen()
    await engine.reconcile()
    await world.quiet()
    assert (await engine.machine("web")).phase == ("creating" if creator_lives else "destroyed")
    task.cancel()


# --- attestation


@pytest.mark.parametrize("phase", ["running", "paused", "error"])
async def test_attested_gone_settles_phase_and_ledger_at_the_time_that_is_attested(world, phase):
    vm = await reach(world, phase)
    world.simulated.lie("web", "unknown")
    at = world.clock.now()
    await asyncio.sleep(100)
    await vm.attest("gone", "the rack burned", at=at, actor="op")
    assert vm.phase == "stopped"
    stop = (await vm.entries())[-1]
    assert (stop.edge, stop.reason, stop.at) == ("stop", "stop-crash", at)
    told = world.store.streams[vm.id][-2]
    assert (told.actor, told.event.evidence.source, told.event.evidence.verified) == ("op", "attested", False)
    assert (await vm.destroy()).phase == "destroyed", "what was attested gone can be removed unseen"


async def test_attested_alive_repairs_and_later_evidence_corrects_it(world):
    vm = await reach(world, "stopped")
    await vm.attest("alive", "I can ping it")
    assert vm.phase == "running"
    await vm.reconcile()
    assert vm.phase == "stopped"
    await world.check()


async def test_a_provider_that_is_not_here_is_refused_before_anything_is_written(world):
    await world.refuses(world.engine.create("web"), Unsupported)
