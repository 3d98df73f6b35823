"""The other four systems through the whole engine, and what SYSTEMS asks of every profile."""

import asyncio
import contextlib
import threading

import anyio.from_thread
import msgspec
import pytest
from specs import LIFECYCLES as NAMES
from specs import SPEC

from eventvm.engine import Engine
from eventvm.errors import (
    AlreadyExists,
    BadInput,
    EffectFailed,
    Inconclusive,
    InvalidTransition,
    NotFound,
    SnapshotAlreadyExists,
    SnapshotNotFound,
    Unsupported,
    WrongLoop,
)
from eventvm.lifecycles import LIFECYCLES
from eventvm.logs import open_log
from eventvm.observation import Absent, Clean, End, Evidence, Forced, Observation, Observed
from eventvm.providers.simulated import Script, Simulated
from eventvm.spec import RestoreFrom, Spec
from eventvm.testing import LATER

# --- hcsshim


@pytest.fixture
async def shim(world):
    return await world.engine.create("s", SPEC, lifecycle="hcsshim")


@pytest.fixture
async def invalid(world, shim):
    await shim.start()
    world.simulated.script("s", "destroy", "fail")
    with pytest.raises(EffectFailed):
        await shim.destroy()
    assert shim.phase == "invalid"
    return shim


async def test_hcsshim_a_create_that_fails_stays_not_created_and_may_be_retried(world):
    world.simulated.script("s", "create", "fail")
    with pytest.raises(EffectFailed) as failed:
        await world.engine.create("s", SPEC, lifecycle="hcsshim")
    assert failed.value.receipt.phase == "not_created"
    again = await (await world.engine.machine("s")).create(SPEC)
    assert again.phase == "created"


@pytest.mark.parametrize("ended", [False, True])
async def test_hcsshim_any_other_phase_rejects_create(world, shim, ended):
    if ended:
        await shim.destroy()
    with world.untouched(shim), pytest.raises(AlreadyExists):
        await shim.create(SPEC)


async def test_hcsshim_start_while_running_is_a_no_op_that_calls_nobody(world, shim):
    await shim.start()
    with world.untouched(shim):
        assert (await shim.start()).how == "nothing"


async def test_hcsshim_a_failed_start_is_invalid_and_only_terminate_leaves_it(world, shim):
    world.simulated.script("s", "start", "fail")
    with pytest.raises(EffectFailed):
        await shim.start()
    assert (shim.phase, shim.title) == ("invalid", "Invalid")
    for wish in (shim.start, shim.use, lambda: shim.snapshot("x"), shim.pause):
        await world.refuses(wish(), InvalidTransition, shim)
    assert (await shim.destroy()).phase == "terminated"


async def test_hcsshim_start_of_what_was_never_made_or_is_over_is_rejected(world, shim):
    nobody = await world.engine.machine("nobody", lifecycle="hcsshim")
    await world.refuses(nobody.start(), InvalidTransition)
    await shim.destroy()
    await world.refuses(shim.start(), InvalidTransition, shim)
    with world.untouched(shim):
        assert (await nobody.destroy()).how == "nothing"
        assert (await shim.destroy()).how == "nothing"


async def test_hcsshim_terminate_of_what_never_started_skips_the_providers_terminate(world, shim):
    await shim.stop()
    assert [call for call, _ in world.simulated.calls] == ["create", "disconnect", "destroy"]
    assert shim.machine.end.termination == Absent()


async def test_hcsshim_terminate_records_and_swallows_what_fails_on_the_way(world, shim):
    await shim.start()
    world.simulated.script("s", "stop", "fail")
    world.simulated.script("s", "disconnect", "fail")
    assert (await shim.stop()).phase == "terminated"
    assert [call for call, _ in world.simulated.calls][2:] == ["stop", "disconnect", "destroy"]
    assert world.tags(shim)[-3:] == ["noted", "noted", "destroyed"]


async def test_hcsshim_a_failed_close_is_invalid_and_retried_as_often_as_it_takes(world, invalid):
    world.simulated.script("s", "destroy", "fail")
    with pytest.raises(EffectFailed, match="told to fail"):
        await invalid.destroy()
    assert (invalid.phase, (await invalid.intervals())[0].stop) == ("invalid", None)
    assert (await invalid.destroy()).phase == "terminated"
    await world.check()


@pytest.mark.parametrize("from_invalid", [False, True])
async def test_hcsshim_an_exit_by_itself_terminates(world, shim, from_invalid):
    await shim.start()
    if from_invalid:
        world.simulated.script("s", "destroy", "fail")
        world.simulated.script("s", "stop", "fail")
        with pytest.raises(EffectFailed):
            await shim.destroy()
    world.simulated.die("s")
    await world.quiet()
    assert shim.phase == "terminated"
    assert (await world.booked(shim))[2:] == ["compute.stop(stop-crash)", "storage.stop(vm-rm)"]


@pytest.mark.parametrize("anyio_backend", range(20), indirect=True)
async def test_hcsshim_an_exit_that_races_with_terminate_is_one_transition(world):
    shim = await world.engine.create("s", SPEC, lifecycle="hcsshim")
    await shim.start()
    task = asyncio.create_task(shim.destroy())
    await asyncio.sleep(0)
    world.simulated.die("s")
    await task
    await world.quiet()
    assert [one.to for one in await shim.history()] == ["Created", "Running", "Terminated"]


async def test_hcsshim_use_is_a_guard_only(world, shim):
    await world.refuses(shim.use("exec"), InvalidTransition, shim)
    await shim.start()
    with world.untouched(shim):
        await shim.use("stats")


async def test_hcsshim_a_name_is_not_free_again_after_the_end(world, shim):
    await shim.destroy()
    await world.refuses(world.engine.create("s", SPEC, lifecycle="hcsshim"), AlreadyExists, shim)


# --- plugin

MOVES = LIFECYCLES["plugin"].moves
EDGES = {(from_, to) for from_, goals in MOVES.items() for to in goals}


async def plugin_in(world, phase="Uninstalled", **spec):
    return await world.engine.create("p", Spec(dev=True, **spec), lifecycle="plugin", phase=phase)


def test_plugin_has_fourteen_phases_and_41_edges():
    assert (len(MOVES), len(EDGES)) == (14, 41)


@pytest.mark.parametrize("from_", MOVES)
async def test_plugin_an_edge_is_moved_along_and_every_other_pair_is_refused(world, from_):
    for to in MOVES:
        plugin = await world.engine.create(f"{from_}-{to}", Spec(dev=True), lifecycle="plugin", phase=from_)
        if (from_, to) in EDGES:
            assert (await plugin.transition_to(to, "why")).phase == to
        else:
            refused = await world.refuses(plugin.transition_to(to), InvalidTransition, plugin)
            assert "invalid transition" in str(refused)
            assert (refused.machine, refused.from_, refused.to) == (plugin.name, from_, to)
        assert LIFECYCLES["plugin"].allows(from_, to) == ((from_, to) in EDGES)


async def test_plugin_builds_only_where_it_is_marked_dev(world):
    plugin = await world.engine.create("p", lifecycle="plugin", phase="Installed")
    await world.refuses(plugin.transition_to("Building"), InvalidTransition, plugin)


async def test_plugin_force_goes_anywhere_even_to_the_same_phase_and_is_marked(world):
    plugin = await plugin_in(world)
    for to in ("Running", "Running", "Failed"):
        await plugin.force_phase(to, "reconciled at start")
    last = (await plugin.history())[-1]
    assert (last.reason, last.forced, last.to) == ("force: reconciled at start", True, "Failed")
    assert plugin.generation == 4
    await world.check()
    with pytest.raises(BadInput):
        await plugin.force_phase("Running", "")
    await world.refuses(plugin.force_phase("Nowhere", "why"), InvalidTransition, plugin)


async def test_plugin_history_shows_the_last_fifty_and_the_log_keeps_all(world):
    plugin = await plugin_in(world, "Stopped")
    for _ in range(30):
        await plugin.transition_to("Validating")
        await plugin.transition_to("Installed")
        await plugin.transition_to("Stopped")
    shown = await plugin.history()
    assert len(shown) == 50
    assert len(await plugin.history(1000)) == 91
    shown.clear()
    assert len(await plugin.history()) == 50, "what is handed out is a copy"


async def test_plugin_transitions_in_json_have_the_originals_names(world):
    plugin = await plugin_in(world)
    await plugin.transition_to("Installing", "from disk")
    told = msgspec.to_builtins((await plugin.history())[-1])
    assert (told["from"], told["to"], told["reason"]) == ("Uninstalled", "Installing", "from disk")
    assert told["timestamp"] == world.clock.wall()


@pytest.mark.parametrize("manners", ["slow", "failing", "reentrant"])
async def test_plugin_observers_are_called_once_per_transition_in_order_and_harm_nobody(world, manners):
    plugin = await plugin_in(world, "Running")
    seen, bad = [], []

    async def misbehave(machine, change):
        bad.append(change.to)
        if manners == "slow":
            await asyncio.sleep(1000)
        if manners == "failing":
            raise RuntimeError("the observer is broken")
        if machine.phase == "Degraded":
            await machine.transition_to("Stopping", "from within an observer")

    world.engine.observe(misbehave)
    world.engine.observe(lambda _, change: seen.append((change.from_, change.to)))
    await world.quiet()
    began = world.clock.wall()
    await plugin.transition_to("Degraded")
    await world.refuses(plugin.transition_to("Running"), InvalidTransition)
    await world.quiet()
    assert world.clock.wall() - began < 1_000_000_000
    moves = [(change.from_, change.to) for change in await plugin.history()][1:]
    assert seen == moves
    assert bad == [to for _, to in moves][: len(bad)]
    if manners == "reentrant":
        assert plugin.phase == "Stopping"


async def test_plugin_an_observer_that_is_ended_hears_no_more(world):
    plugin, seen = await plugin_in(world), []
    end = world.engine.observe(lambda _, change: seen.append(change.to), machine=plugin.id)
    await world.engine.create("other", lifecycle="plugin")
    await plugin.transition_to("Installing")
    await world.quiet()
    end()
    await plugin.transition_to("Installed")
    await world.quiet()
    assert seen == ["Installing"]


async def test_plugin_attempts_survive_a_restart(world):
    plugin = await plugin_in(world)
    for _ in range(5):
        await plugin.advance_retry()
    plugin = await (await world.reopen()).machine("p")
    assert plugin.machine.attempts == 5
    await plugin.reset_retry()
    assert plugin.machine.attempts == 0


async def test_plugin_its_end_may_be_left_again_and_frees_the_name(world):
    plugin = await plugin_in(world, "Uninstalling")
    await plugin.transition_to("Uninstalled")
    other = await world.engine.create("p", lifecycle="plugin")
    with world.untouched(plugin), pytest.raises(AlreadyExists):
        await plugin.transition_to("Installing")
    await other.force_phase("Uninstalled", "gone from disk")
    assert (await plugin.transition_to("Installing")).phase == "Installing"
    await world.check()


@pytest.mark.parametrize(
    ("phase", "then"),
    [("Running", "Recovering"), ("Degraded", "Recovering"), ("Stopping", "Stopped"), ("Starting", "Failed")],
)
async def test_plugin_a_death_leads_on_from_where_it_was(world, phase, then):
    plugin = await plugin_in(world, phase)
    receipt = await plugin.tell(Observation("gone", Evidence("supervisor")))
    assert (receipt.how, plugin.phase) == ("reconciled", then)
    assert all(one.stop for one in await plugin.intervals())


async def test_plugin_known_state_is_imported_and_recorded(world):
    plugin = await plugin_in(world, "Running")
    assert (plugin.phase, plugin.active, plugin.resting) == ("Running", True, True)
    assert world.store.streams[plugin.id][0].event.phase == "Running"
    assert await world.booked(plugin) == ["compute.start(boot)"]
    await world.check()


# --- microvm

ROWS = {
    "created": ("running", None, "created", "destroyed", "created"),
    "running": (None, "stopped", "running", "destroyed", "running"),
    "stopped": ("running", None, "stopped", "destroyed", "stopped"),
    "destroyed": (None, None, None, None, None),
}
WISHES = {
    "start": lambda vm: vm.start(),
    "stop": lambda vm: vm.stop(),
    "snapshot": lambda vm: vm.snapshot("s1"),
    "destroy": lambda vm: vm.destroy(),
    "rename": lambda vm: vm.rename("m2"),
}
TABLE = {phase: dict(zip(WISHES, row, strict=True)) for phase, row in ROWS.items()}
CALLS = {"stop": "pause", "start": {"created": "start", "stopped": "resume"}}


async def microvm_in(world, phase, name="m"):
    vm = await world.engine.create(name, SPEC, lifecycle="microvm")
    if phase in ("running", "stopped"):
        await vm.start()
    if phase == "stopped":
        await vm.stop()
    if phase == "destroyed":
        await vm.destroy()
    return vm


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("phase", TABLE)
async def test_microvm_the_table(world, phase, wish):
    vm, to = await microvm_in(world, phase), TABLE[phase][wish]
    if to is None:
        refused = await world.refuses(WISHES[wish](vm), InvalidTransition, vm)
        assert (refused.machine, refused.from_) == ("m", phase)
        assert refused.to == {"rename": "renamed"}.get(wish, refused.to)
    else:
        assert (await WISHES[wish](vm)).phase == vm.phase == to
        call = CALLS.get(wish, wish)
        call = call if isinstance(call, str) else call[phase]
        assert world.simulated.calls[-1][0] == call
    await world.check()


@pytest.mark.parametrize("phase", TABLE)
async def test_microvm_a_name_in_use_is_refused_for_ever(world, phase):
    vm = await microvm_in(world, phase)
    refused = await world.refuses(world.engine.create("m", SPEC, lifecycle="microvm"), AlreadyExists, vm)
    assert (refused.machine, refused.phase) == ("m", phase)


@pytest.mark.parametrize("wish", WISHES)
async def test_microvm_an_unknown_id_is_not_found(world, wish):
    await world.refuses(WISHES[wish](await world.engine.machine("m", lifecycle="microvm")), NotFound)


@pytest.mark.parametrize(
    ("wish", "phase"), [(w, p) for p, row in TABLE.items() for w, to in row.items() if to]
)
async def test_microvm_a_failed_call_leaves_the_phase_unchanged(world, wish, phase):
    vm = await microvm_in(world, phase)
    booked, call = await world.booked(vm), CALLS.get(wish, wish)
    world.simulated.script("m", call if isinstance(call, str) else call[phase], "fail")
    with pytest.raises(EffectFailed):
        await WISHES[wish](vm)
    assert (vm.phase, vm.name, vm.snapshots, await world.booked(vm)) == (phase, "m", {}, booked)
    await world.check()


async def test_microvm_a_failed_create_leaves_nothing(world):
    world.simulated.script("m", "create", "fail")
    with pytest.raises(EffectFailed):
        await world.engine.create("m", SPEC, lifecycle="microvm")
    assert (await world.engine.create("m", SPEC, lifecycle="microvm")).phase == "created"


async def test_microvm_snapshots_are_unique_listed_in_order_and_outlive_the_machine(world):
    vm = await microvm_in(world, "running")
    for name in ("zeta", "alpha", "mid"):
        await vm.snapshot(name)
    refused = await world.refuses(vm.snapshot("alpha"), SnapshotAlreadyExists, vm)
    assert refused.to == "alpha"
    await world.refuses(vm.delete_snapshot("nope"), SnapshotNotFound, vm)
    await vm.destroy()
    assert list(vm.snapshots) == ["zeta", "alpha", "mid"]
    (listed,) = await world.engine.machines()
    assert (listed.phase, list(listed.snapshots)) == ("destroyed", ["zeta", "alpha", "mid"])


@pytest.mark.parametrize(("resume", "phase"), [(True, "running"), (False, "stopped")])
async def test_microvm_created_from_a_snapshot(world, resume, phase):
    source = await microvm_in(world, "running")
    await source.snapshot("s1")
    begin = RestoreFrom(source.id, "s1", resume_immediately=resume)
    spec = Spec(provider="simulated", kernel="ignored", restore_from=begin)
    vm = await world.engine.create("m2", spec, lifecycle="microvm")
    assert (vm.phase, world.simulated.alive("m2")) == (phase, True)
    assert vm.machine.counted("compute") is not None
    await world.check()


async def test_microvm_a_snapshot_that_nobody_took_cannot_be_begun_from(world):
    source = await microvm_in(world, "running")
    for machine, error in ((source.id, SnapshotNotFound), ("nobody", NotFound)):
        spec = Spec(provider="simulated", restore_from=RestoreFrom(machine, "s1"))
        await world.refuses(world.engine.create("m2", spec, lifecycle="microvm"), error, source)


async def test_microvm_a_rename_to_the_same_name_is_no_event(world):
    vm = await microvm_in(world, "running")
    with world.untouched(vm):
        assert (await vm.rename("m")).how == "nothing"


async def test_microvm_a_rename_checks_its_target_first(world):
    vm, other = await microvm_in(world, "running"), await microvm_in(world, "created", "m2")
    await world.refuses(vm.rename("m2"), AlreadyExists, vm)
    await vm.destroy()
    await world.refuses(vm.rename("m2"), AlreadyExists, vm)
    nobody = await world.engine.machine("nobody", lifecycle="microvm")
    await world.refuses(nobody.rename("m2"), AlreadyExists)
    await world.refuses(nobody.rename("m3"), NotFound)
    refused = await world.refuses(vm.rename("m3"), InvalidTransition, vm)
    assert (refused.from_, refused.to) == ("destroyed", "renamed")
    assert other.name == "m2"


@pytest.mark.parametrize("act", ["fail", "hang"])
async def test_microvm_a_rename_that_fails_half_way_leaves_both_names_as_before(world, act):
    vm = await microvm_in(world, "running")
    world.simulated.script("m", "rename", act)
    with pytest.raises(EffectFailed):
        await vm.rename("m2")
    assert (vm.name, (await world.engine.machine("m")).id) == ("m", vm.id)
    assert (await world.engine.create("m2", SPEC, lifecycle="microvm")).phase == "created"
    await world.refuses(world.engine.create("m", SPEC, lifecycle="microvm"), AlreadyExists)
    await world.check()


async def test_microvm_both_names_are_held_while_a_rename_is_under_way(world):
    vm = await microvm_in(world, "running")
    world.simulated.script("m", "rename", Script(seconds=5))
    await vm.rename("m2", wait=False)
    for name in ("m", "m2"):
        with pytest.raises(AlreadyExists):
            await world.engine.create(name, SPEC, lifecycle="microvm")
    await vm.wait("settled")
    assert (await world.engine.create("m", SPEC, lifecycle="microvm")).phase == "created"
    await world.check()


async def test_microvm_snapshots_history_and_usage_move_along_with_a_rename(world):
    vm = await microvm_in(world, "running")
    await vm.snapshot("s1")
    before, entries = await vm.history(), await vm.entries()
    await vm.rename("m2")
    assert (list(vm.snapshots), await vm.history(), await vm.entries()) == (["s1"], before, entries)
    again = await world.engine.create("m", SPEC, lifecycle="microvm")
    assert (again.snapshots, (await world.engine.machine("m2")).id) == ({}, vm.id)


class Plain:
    """A provider that has what is required and no more."""

    name = "plain"

    def __init__(self, hand):
        for call in ("create", "start", "stop", "snapshot", "destroy", "probe"):
            setattr(self, call, getattr(hand, call))


async def test_microvm_a_provider_without_a_call_is_unsupported_and_nothing_is_written(world):
    engine = await world.reopen(crash=False, providers=[Plain(world.simulated)])
    vm = await engine.create("m", Spec(provider="plain"), lifecycle="microvm")
    await vm.start()
    refused = await world.refuses(vm.rename("m2"), Unsupported, vm)
    assert "rename" in str(refused)
    await world.refuses(vm.stop(), Unsupported, vm)
    spec = Spec(provider="plain", kernel="vmlinux")
    refused = await world.refuses(engine.create("m3", spec, lifecycle="microvm"), Unsupported)
    assert "kernel" in str(refused)


@pytest.mark.parametrize("phase", ["running", "stopped"])
async def test_microvm_its_own_exit_is_recorded_and_keeps_snapshots(world, phase):
    vm = await microvm_in(world, phase)
    await vm.snapshot("s1")
    world.simulated.die("m", manner="already_exited")
    await world.quiet()
    event = world.store.streams[vm.id][-1].event
    assert (vm.phase, event.end.manner, list(vm.snapshots)) == ("destroyed", "already_exited", ["s1"])
    assert (await world.booked(vm))[-2:] == ["compute.stop(stop-crash)", "storage.stop(vm-rm)"]


async def test_microvm_the_process_stays_alive_and_counts_while_it_is_stopped(world):
    vm = await microvm_in(world, "stopped")
    assert world.simulated.alive("m")
    assert (await world.booked(vm)) == ["storage.start(boot)", "compute.start(boot)"]


# --- cell


async def cell_in(world, phase):
    cell = await world.engine.create("c", SPEC, lifecycle="cell")
    if phase in ("started", "completed"):
        await cell.start()
    if phase == "completed":
        await cell.complete(0)
    return cell


async def test_cell_lives_once(world):
    cell = await cell_in(world, "completed")
    assert (cell.phase, world.tags(cell)[-1]) == ("completed", "completed")
    assert world.simulated.alive("c"), "completion does not end the cell"
    await cell.destroy(reason="ttl_exceeded")
    event = world.store.streams[cell.id][-1].event
    assert (cell.phase, event.outcome, event.reason) == ("destroyed", "succeeded", "ttl_exceeded")
    for wish in (cell.destroy, cell.start, lambda: cell.complete(1)):
        await world.refuses(wish(), InvalidTransition, cell)
    assert await world.booked(cell) == ["compute.start(boot)", "compute.stop(stop-user)"]


async def test_cell_a_failed_boot_is_destroyed_with_a_failed_outcome(world):
    cell = await cell_in(world, "pending")
    world.simulated.script("c", "start", Script("fail", message="kernel_cannot_mount_root"))
    with pytest.raises(EffectFailed):
        await cell.start()
    event = world.store.streams[cell.id][-1].event
    assert (cell.phase, event.outcome, event.reason) == ("destroyed", "failed", "kernel_cannot_mount_root")


@pytest.mark.parametrize("phase", ["started", "completed"])
async def test_cell_a_forced_end_carries_no_code_and_may_have_succeeded(world, phase):
    cell = await cell_in(world, phase)
    world.simulated.die("c", manner="killed")
    await world.quiet()
    event = world.store.streams[cell.id][-1].event
    assert (event.end, event.outcome) == (End("killed", Forced()), "succeeded")
    assert b'"code"' not in world.store.streams[cell.id][-1].body


async def test_cell_a_new_life_has_a_new_id(world):
    cell = await cell_in(world, "started")
    await cell.destroy()
    again = await world.engine.create("c", SPEC, lifecycle="cell")
    assert again.id != cell.id


# --- how an end is recorded

ENDS = [
    (End("already_exited", Clean(7)), "clean"),
    (End("graceful", Forced()), "forced"),
    (End("crashed", Forced()), "forced"),
    (End("crashed", Observed(code=3)), None),
    (End("killed", Observed(signal="SIGKILL")), None),
    (End("lost", Absent()), None),
]


@pytest.mark.parametrize(("end", "state"), ENDS)
@pytest.mark.parametrize("lifecycle", ["vm", "hcsshim", "microvm", "cell"])
async def test_an_end_is_recorded_as_it_was_seen(world, lifecycle, end, state):
    machine = await world.engine.create("m", SPEC, lifecycle=lifecycle)
    await machine.start()
    await machine.tell(Observation("gone", Evidence("shim", verified=True), end=end))
    event = world.store.streams[machine.id][-1].event
    assert (event.end, event.end.terminal_state) == (end, state)


async def test_a_code_that_nobody_authenticated_is_no_clean_end(world):
    cell = await cell_in(world, "started")
    await cell.tell(Observation("gone", Evidence("hearsay"), end=End("graceful", Clean(0))))
    assert world.store.streams[cell.id][-1].event.end.termination == Forced()


@pytest.mark.parametrize("lifecycle", ["vm", "hcsshim", "microvm", "cell"])
async def test_found_gone_without_evidence_is_lost_and_forced(world, lifecycle):
    machine = await world.engine.create("m", SPEC, lifecycle=lifecycle)
    await machine.start()
    world.simulated.lie("m", "gone")
    await machine.reconcile()
    assert world.store.streams[machine.id][-1].event.end == End("lost", Forced())


@pytest.mark.parametrize("lifecycle", ["vm", "microvm", "cell"])
async def test_a_code_from_inside_is_clean(world, lifecycle):
    machine = await world.engine.create("m", SPEC, lifecycle=lifecycle)
    await machine.start()
    world.simulated.die("m", code=3, manner="graceful")
    await world.quiet()
    assert machine.machine.end == End("graceful", Clean(3))


# --- every profile


@pytest.mark.parametrize("lifecycle", NAMES)
async def test_a_phase_that_is_none_reads_unknown(world, lifecycle):
    machine = await world.engine.create("m", SPEC, lifecycle=lifecycle)
    assert [machine.lifecycle.title(one) for one in ("nonsense", None, 7)] == ["Unknown"] * 3
    assert machine.title != "Unknown"


@pytest.mark.parametrize("lifecycle", NAMES)
async def test_a_machine_without_records_reads_as_the_initial_phase(world, lifecycle):
    machine = await world.engine.machine("nobody", lifecycle=lifecycle)
    assert (machine.phase, machine.generation, machine.id) == (LIFECYCLES[lifecycle].initial, 0, "")
    assert await machine.history() == []


@pytest.mark.parametrize("lifecycle", NAMES)
async def test_an_inconclusive_look_changes_nothing(world, lifecycle):
    machine = await world.engine.create("m", SPEC, lifecycle=lifecycle)
    world.simulated.lie("m", "unknown")
    await world.refuses(machine.reconcile(), Inconclusive, machine)


@pytest.mark.parametrize("lifecycle", NAMES)
async def test_an_attestation_names_its_actor_and_is_unverified(world, lifecycle):
    phase = "Running" if lifecycle == "plugin" else ""
    machine = await world.engine.create("m", SPEC, lifecycle=lifecycle, phase=phase)
    if lifecycle != "plugin":
        await machine.start()
    await machine.attest("gone", "burned", actor="op")
    attested = next(r for r in world.store.streams[machine.id] if hasattr(r.event, "liveness"))
    assert (attested.actor, attested.event.evidence.verified) == ("op", False)
    assert machine.phase == {
        "vm": "stopped", "hcsshim": "terminated", "plugin": "Recovering", "microvm": "destroyed",
        "cell": "destroyed",
    }[lifecycle]  # fmt: skip
    assert all(one.stop for one in await machine.intervals() if one.meter == "compute")
    for empty in (lambda: machine.attest("gone", ""), lambda: machine.attest("unknown", "?")):
        with pytest.raises(BadInput):
            await empty()


@pytest.mark.parametrize(
    ("lifecycle", "free"), [("vm", True), ("hcsshim", False), ("microvm", False), ("cell", True)]
)
async def test_the_profile_says_whether_the_end_frees_the_name(world, lifecycle, free):
    machine = await world.engine.create("m", SPEC, lifecycle=lifecycle)
    await machine.destroy()
    if free:
        assert (await world.engine.create("m", SPEC, lifecycle=lifecycle)).id != machine.id
    else:
        await world.refuses(world.engine.create("m", SPEC, lifecycle=lifecycle), AlreadyExists, machine)


async def test_every_second_is_counted_once_when_clocks_go_back_between_boots(world):
    vm = await world.engine.create("m", SPEC)
    await vm.start()
    for seconds in (100, -100):
        world.clock.reboot()
        world.clock.jump(seconds)
        await (vm.stop() if seconds > 0 else vm.start())
    assert all(one.ns >= 0 for one in await vm.intervals()), "as of a moment that the clock says is past"
    told = await vm.intervals(as_of=LATER)
    assert [one.stop is None for one in told if one.meter == "compute"] == [False, True]
    await world.check()


def test_phases_and_histories_are_read_from_another_thread_through_the_portal():
    seen = {}

    def read(portal, plugin):
        seen["phase"] = plugin.phase
        seen["history"] = portal.call(plugin.history)
        with contextlib.suppress(WrongLoop):
            asyncio.run(plugin.transition_to("Stopping"))
            seen["wrong"] = True

    @contextlib.asynccontextmanager
    async def opened():
        async with open_log("memory:") as log, Engine(log, [Simulated()]).running() as engine:
            yield engine

    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(opened()) as engine,
    ):
        plugin = portal.call(lambda: engine.create("p", lifecycle="plugin", phase="Running"))
        thread = threading.Thread(target=read, args=(portal, plugin))
        thread.start()
        thread.join()
    assert seen["phase"] == "Running"
    assert [one.to for one in seen["history"]] == ["Running"]
    assert "wrong" not in seen
