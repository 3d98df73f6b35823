"""Turns: one machine does one thing at a time, machines go side by side, and callers own nothing."""

import asyncio

import pytest
from specs import SPEC

from eventvm.errors import (
    Closed,
    CommitUnknown,
    EffectFailed,
    Inconclusive,
    LogUnavailable,
    NotFound,
    OperationInProgress,
    OutcomeUnknown,
)
from eventvm.providers.simulated import Script

SLOW = Script(seconds=10)


async def test_fifty_commands_on_one_machine_are_carried_out_one_after_the_other(world):
    vm = await world.engine.create("web", SPEC)
    world.simulated.always("web", "start", Script(seconds=1))
    world.simulated.always("web", "stop", Script(seconds=1))
    began = world.clock.wall()
    receipts = await asyncio.gather(*(vm.stop() if at % 2 else vm.start() for at in range(50)))
    calls = [call for call, _ in world.simulated.calls[1:]]
    assert calls == (["start", "stop"] * 25)[: len(calls)]
    assert world.clock.wall() - began == len(calls) * 1_000_000_000, "no two at a time"
    done = [receipt.position for receipt in receipts if receipt.how == "done"]
    assert len(set(done)) == len(done) == len(calls)
    await world.check()


async def test_a_hung_call_on_one_machine_delays_no_other(world):
    hung, other = await world.engine.create("hung", SPEC), await world.engine.create("other", SPEC)
    world.simulated.script("hung", "start", "hang")
    task = asyncio.create_task(hung.start())
    began = world.clock.wall()
    for _ in range(20):
        await other.start()
        await other.stop()
    assert world.clock.wall() == began, "no virtual time has passed"
    assert not task.done()
    with pytest.raises(EffectFailed):
        await task


async def test_machines_start_side_by_side(world):
    vms = [await world.engine.create(f"m{at}", SPEC) for at in range(20)]
    world.simulated.always("*", "start", Script(seconds=5))
    began = world.clock.wall()
    await asyncio.gather(*(vm.start() for vm in vms))
    assert world.clock.wall() - began == 5_000_000_000


async def test_cancelling_the_caller_cancels_nothing_in_the_world(world):
    vm = await world.engine.create("web", SPEC)
    world.simulated.script("web", "start", SLOW)
    caller = asyncio.create_task(vm.start())
    await asyncio.sleep(5)
    caller.cancel()
    await asyncio.sleep(10)
    assert vm.phase == "running"
    assert world.simulated.alive("web")


async def test_cancelling_the_caller_of_a_queued_command_does_not_take_the_command_back(world):
    vm = await world.engine.create("web", SPEC)
    world.simulated.script("web", "start", SLOW)
    first, second = asyncio.create_task(vm.start()), asyncio.create_task(vm.stop())
    await asyncio.sleep(1)
    second.cancel()
    assert (await first).phase == "running"
    await world.quiet()
    assert vm.phase == "stopped"


async def test_a_command_that_need_not_wait_returns_once_its_request_is_durable(world):
    vm = await world.engine.create("web", SPEC)
    world.simulated.script("web", "start", SLOW)
    receipt = await vm.start(wait=False)
    assert (receipt.how, receipt.phase) == ("requested", "created")
    assert world.tags(vm)[-1] == "requested"
    assert vm.describe()["request"]["command"] == "start"
    assert (await vm.wait("running")).position > receipt.position


async def test_a_create_that_need_not_wait_gives_a_handle_while_the_machine_is_made(world):
    world.simulated.script("web", "create", SLOW)
    vm = await world.engine.create("web", SPEC, wait=False)
    assert vm.phase == "creating"
    await vm.wait("created")


async def test_a_command_that_may_not_queue_is_told_what_is_under_way(world):
    vm = await world.engine.create("web", SPEC)
    world.simulated.script("web", "start", SLOW)
    start = asyncio.create_task(vm.start())
    await asyncio.sleep(1)
    refused = await world.refuses(vm.stop(queue=False), OperationInProgress, vm)
    assert (refused.request, refused.position) == ("start", vm.machine.request.position)
    await start
    assert (await vm.stop(queue=False)).phase == "stopped"


async def test_a_stop_that_times_out_with_the_process_alive_is_a_failed_stop(world):
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    world.simulated.script("web", "stop", "hang")
    began = world.clock.wall()
    with pytest.raises(EffectFailed) as failed:
        await vm.stop()
    assert world.clock.wall() - began == 60_000_000_000
    assert failed.value.receipt.phase == vm.phase == "error"
    assert world.tags(vm)[-1] == "stop_failed"
    receipt = await vm.start()
    assert (receipt.how, receipt.phase) == ("reconciled", "running"), "never a silent no-op"


async def test_a_call_that_times_out_although_it_was_done_is_a_success(world):
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    world.simulated.script("web", "stop", "lost")
    assert (await vm.stop()).phase == "stopped"
    assert world.tags(vm)[-1] == "stopped"


async def test_an_unclear_outcome_that_no_probe_settles_leaves_the_request_open(world):
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    world.simulated.script("web", "stop", "unclear")
    world.simulated.lie("web", "unknown")
    with pytest.raises(OutcomeUnknown):
        await vm.stop()
    assert vm.machine.request is not None
    assert (vm.phase, world.tags(vm)[-1]) == ("running", "requested")
    await world.refuses(vm.pause(), OutcomeUnknown, vm)
    world.simulated.lie("web", None)
    probed = len(world.simulated.probes)
    receipt = await vm.stop()
    assert len(world.simulated.probes) > probed, "the next command probes first"
    assert receipt.phase == "stopped"
    assert world.tags(vm)[-4:] == ["requested", "stop_failed", "requested", "stopped"]


async def test_a_forced_destroy_abandons_the_effect_in_its_way(world):
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    world.simulated.script("web", "stop", "hang")
    stop = asyncio.create_task(vm.stop())
    await asyncio.sleep(1)
    assert (await vm.destroy(force=True, reason="it hangs")).phase == "destroyed"
    with pytest.raises(OutcomeUnknown):
        await stop
    assert world.tags(vm)[-4:] == ["requested", "abandoned", "requested", "destroyed"]
    assert not world.simulated.alive("web")


async def test_a_forced_phase_abandons_nothing_where_nothing_is_under_way(world):
    plugin = await world.engine.create("p", lifecycle="plugin")
    await plugin.force_phase("Running", "imported")
    assert world.tags(plugin) == ["created", "forced"]


async def test_an_attestation_settles_an_effect_that_hangs(world):
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    world.simulated.script("web", "stop", "hang")
    stop = asyncio.create_task(vm.stop())
    await asyncio.sleep(1)
    receipt = await vm.attest("gone", "I pulled the plug", actor="op")
    assert receipt.phase == vm.phase == "stopped"
    assert vm.machine.request is None
    with pytest.raises(OutcomeUnknown):
        await stop


async def test_a_forced_destroy_that_is_refused_abandons_nothing(world):
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    await vm.stop()
    world.simulated.script("web", "snapshot", SLOW)
    shot = asyncio.create_task(vm.snapshot("s1"))
    await asyncio.sleep(1)
    other = await world.engine.machine("nobody")
    with pytest.raises(NotFound):
        await other.destroy(force=True)
    with pytest.raises(Exception, match="invalid transition"):
        await vm.force_phase("running", "a vm has no force")
    assert (await shot).how == "done"


async def test_a_worker_that_never_began_ends_its_turn_when_it_is_abandoned(world):
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    stop, destroy = asyncio.create_task(vm.stop()), asyncio.create_task(vm.destroy(force=True, reason="now"))
    outcomes = await asyncio.gather(stop, destroy, return_exceptions=True)
    assert isinstance(outcomes[0], Inconclusive | OutcomeUnknown) or outcomes[0].phase == "stopped"
    assert outcomes[1].phase == "destroyed"
    await world.check()


@pytest.mark.parametrize("anyio_backend", range(20), indirect=True)
async def test_attestations_and_forced_ends_keep_their_order_and_harm_no_record(world):
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    world.simulated.script("web", "stop", "hang")
    wishes = [
        vm.stop(), vm.snapshot("s1"), vm.attest("alive", "I see it"), vm.attest("gone", "I do not"),
        vm.destroy(force=True, reason="enough"), vm.start(),
    ]  # fmt: skip
    outcomes = await asyncio.gather(*wishes, return_exceptions=True)
    assert all(not isinstance(one, AssertionError) for one in outcomes)
    attested = [r.event.liveness for r in world.store.streams[vm.id] if hasattr(r.event, "liveness")]
    assert attested in (["alive", "gone"], ["gone", "alive"], ["alive"], ["gone"])
    await world.check()


async def test_a_request_that_the_log_could_not_take_was_never_carried_out(world):
    vm = await world.engine.create("web", SPEC)
    world.log.faults = [LogUnavailable]
    with world.untouched(vm), pytest.raises(LogUnavailable):
        await vm.start()
    assert (await vm.start()).phase == "running"


async def test_an_outcome_that_the_log_could_not_take_is_found_by_the_next_command(world):
    vm = await world.engine.create("web", SPEC)
    world.log.faults = [None, LogUnavailable]
    with pytest.raises(LogUnavailable):
        await vm.start()
    assert vm.phase == "created"
    assert (await vm.start()).phase == "running"
    assert [call for call, _ in world.simulated.calls] == ["create", "start"], "it was not started twice"


async def test_a_lost_acknowledgement_is_no_success_and_a_reopened_log_knows(world):
    vm = await world.engine.create("web", SPEC)
    world.log.faults = [CommitUnknown]
    with pytest.raises(CommitUnknown):
        await vm.start(key="k")
    assert ("start", "web") not in world.simulated.calls
    assert vm.phase == "created"
    engine = await world.reopen()
    vm = await engine.machine("web")
    with pytest.raises(EffectFailed):
        await vm.start(key="k")
    assert (await vm.start(key="k2")).phase == "running"


async def test_leaving_the_engine_leaves_machines_alive(world):
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    await world.leave()
    assert world.simulated.alive("web")
    with pytest.raises(Closed):
        await vm.stop()


async def test_leaving_the_engine_lets_an_effect_end_within_the_time_of_grace(world):
    vm = await world.engine.create("web", SPEC)
    world.simulated.script("web", "start", Script(seconds=0.5))
    await vm.start(wait=False)
    await world.leave()
    assert world.tags(vm)[-1] == "started"


async def test_leaving_the_engine_breaks_a_hung_effect_off_and_begins_no_other(world):
    vm = await world.engine.create("web", SPEC)
    world.simulated.script("web", "start", "hang")
    tasks = [asyncio.create_task(wish) for wish in (vm.start(), vm.snapshot("s1"), vm.stop())]
    await asyncio.sleep(1)
    await world.leave()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in outcomes] == [OutcomeUnknown, Closed, Closed]
    assert world.tags(vm)[-1] == "requested"
    assert world.simulated.calls[-1] == ("start", "web")
