"""Waiting: for what was, is or can still come; a waiter holds no power."""
# ruff: noqa: SLF001  # who waits is seen from within

import asyncio

import pytest
from specs import SPEC

from eventvm.errors import BadInput, Closed, EffectFailed, InvalidTransition, Unreachable, WaitTimeout
from eventvm.providers.simulated import Script


async def test_a_phase_that_was_passed_through_counts(world):
    vm = await world.engine.create("web", SPEC)
    created = vm.receipt
    other = await world.engine.machine("web")
    started = await other.start()
    await other.stop()
    assert (await vm.wait("running")).position == started.position
    assert (await vm.wait("created", after=created.position)).phase == "created"


async def test_a_wait_may_begin_before_the_machine_exists(world):
    web = await world.engine.machine("web")
    assert (web.phase, web.id) == ("absent", "")
    wait = asyncio.create_task(web.wait("running", timeout=100))
    await asyncio.sleep(5)
    assert not wait.done()
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    receipt = await wait
    assert (receipt.machine, web.id) == (vm.id, vm.id)


@pytest.mark.parametrize("anyio_backend", range(10), indirect=True)
@pytest.mark.parametrize("goal", ["creating", "created", "running"])
async def test_a_wait_before_the_machine_exists_misses_no_phase_that_it_passes(world, goal):
    web = await world.engine.machine("web")
    wait = asyncio.create_task(web.wait(goal, timeout=100))
    await world.quiet()
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    await vm.destroy(force=True)
    assert (await wait).phase == goal


async def test_a_wait_takes_any_of_several_phases(world):
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    world.simulated.script("web", "stop", "fail")
    await vm.stop(wait=False)
    met, lost = (asyncio.create_task(vm.wait("paused", goal)) for goal in ("error", "created"))
    assert (await met).phase == "error"
    with pytest.raises(Unreachable):
        await lost


async def test_a_wait_for_settled_ends_when_nothing_is_under_way(world):
    vm = await world.engine.create("web", SPEC)
    world.simulated.script("web", "start", Script(seconds=5))
    await vm.start(wait=False)
    assert (await vm.wait("settled")).phase == "running"
    assert (await vm.wait("settled")).phase == "running"


async def test_a_wait_for_terminal_ends_with_the_life(world):
    vm = await world.engine.create("web", SPEC)
    wait = asyncio.create_task((await world.engine.machine("web")).wait("terminal"))
    await vm.start()
    await world.quiet()
    assert not wait.done()
    await vm.destroy(force=True)
    assert (await wait).phase == "destroyed"


async def test_a_wait_without_hope_names_phase_reason_and_the_record_that_ended_it(world):
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    world.simulated.script("web", "pause", Script("fail", seconds=5))
    asked = await vm.pause(wait=False, reason="deploy 42")
    began = world.clock.wall()
    with pytest.raises(Unreachable) as lost:
        await vm.wait("paused", timeout=100)
    assert world.clock.wall() - began == 5_000_000_000, "as soon as the effect has failed"
    assert (lost.value.phase, lost.value.goals) == ("running", ("paused",))
    assert (lost.value.record.position, lost.value.reason) == (asked.position + 1, "deploy 42")


async def test_the_record_that_ended_the_hope_is_not_the_last_record(world):
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    world.simulated.script("web", "pause", "fail")
    asked = await vm.pause(wait=False)
    await world.quiet()
    await vm.rename("web-2")
    with pytest.raises(Unreachable) as lost:
        await vm.wait("paused", after=asked.position)
    assert lost.value.record.position == asked.position + 1


async def test_a_failed_start_leaves_no_hope_of_running(world):
    vm = await world.engine.create("web", SPEC)
    world.simulated.script("web", "start", "fail")
    with pytest.raises(EffectFailed):
        await vm.start()
    with pytest.raises(Unreachable):
        await vm.wait("running", timeout=100, after=vm.machine.position)


async def test_a_machine_that_can_still_die_by_itself_gives_hope(world):
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    wait = asyncio.create_task(vm.wait("stopped"))
    await asyncio.sleep(10)
    world.simulated.die("web")
    assert (await wait).phase == "stopped"


async def test_a_wait_without_a_receipt_goes_on_because_somebody_may_still_send_a_command(world):
    vm = await world.engine.create("web", SPEC)
    world.simulated.script("web", "start", "fail")
    other = await world.engine.machine("web")
    wait = asyncio.create_task(other.wait("running"))
    with pytest.raises(EffectFailed):
        await vm.start()
    await asyncio.sleep(10)
    assert not wait.done()
    await vm.start()
    assert (await wait).phase == "running"


async def test_a_wait_without_a_receipt_ends_when_the_lifecycle_can_never_get_there(world):
    vm = await world.engine.create("web", SPEC)
    other = await world.engine.machine("web")
    wait = asyncio.create_task(other.wait("running"))
    await world.quiet()
    await vm.destroy()
    with pytest.raises(Unreachable) as lost:
        await wait
    assert lost.value.record.position == vm.machine.since


async def test_a_wait_times_out_and_harms_nothing(world):
    vm = await world.engine.create("web", SPEC)
    other = await world.engine.machine("web")
    with world.untouched(vm), pytest.raises(WaitTimeout, match="after 5 s"):
        await other.wait("running", timeout=5)
    assert not world.engine.cells.waits


async def test_cancelling_one_of_many_waiters_harms_nobody(world):
    vm = await world.engine.create("web", SPEC)
    other = await world.engine.machine("web")
    waits = [asyncio.create_task(other.wait("running")) for _ in range(50)]
    await world.quiet()
    for wait in waits[::2]:
        wait.cancel()
    await vm.start()
    assert {receipt.position for receipt in await asyncio.gather(*waits[1::2])} == {vm.machine.position}


async def test_a_wait_on_one_machine_is_not_woken_by_another(world):
    vm, other = await world.engine.create("a", SPEC), await world.engine.create("b", SPEC)
    wait = asyncio.create_task((await world.engine.machine("a")).wait("running"))
    await world.quiet()
    (asked,) = world.engine.cells.waits[vm._cell]
    for _ in range(10):
        await other.start()
        await other.stop()
    assert list(world.engine.cells.waits[vm._cell]) == [asked]
    assert not asked.future.done()
    await vm.start()
    await wait


async def test_a_wait_is_stated_again_from_its_position_after_a_restart(world):
    vm = await world.engine.create("web", SPEC)
    receipt = await vm.start()
    await vm.stop()
    engine = await world.reopen()
    again = await engine.machine("web")
    assert (await again.wait("running", after=receipt.position)).position == receipt.position
    with pytest.raises(Unreachable) as lost:
        await again.wait("paused", after=receipt.position)
    assert lost.value.record.position == receipt.position


async def test_a_goal_that_is_no_phase_is_refused_at_once(world):
    vm = await world.engine.create("web", SPEC)
    for goals in (("runing",), ()):
        with pytest.raises(BadInput):
            await vm.wait(*goals)


async def test_leaving_the_engine_tells_those_who_wait(world):
    vm = await world.engine.create("web", SPEC)
    waits = [
        asyncio.create_task((await world.engine.machine("web")).wait("running")),
        asyncio.create_task((await world.engine.machine("nobody")).wait("running")),
    ]
    await world.quiet()
    await world.leave()
    for wait in waits:
        with pytest.raises(Closed):
            await wait
    assert vm.phase == "created"


async def test_a_wait_for_the_exit_is_answered_for_any_number_before_and_after(world):
    shim = await world.engine.create("s", SPEC, lifecycle="hcsshim")
    await shim.start()
    waits = [asyncio.create_task(shim.wait_exit()) for _ in range(10)]
    with pytest.raises(InvalidTransition):
        await shim.exit_status()
    await asyncio.sleep(3)
    world.simulated.die("s")
    died = world.clock.now()
    statuses = {await wait for wait in waits} | {await shim.wait_exit(), await shim.exit_status()}
    assert len(statuses) == 1
    (status,) = statuses
    assert status.stopped_at == died
    assert "crashed" in status.error


async def test_the_exit_of_what_was_never_created_cannot_be_waited_for(world):
    shim = await world.engine.machine("s", lifecycle="hcsshim")
    await world.refuses(shim.wait_exit(), InvalidTransition)
    await world.refuses(shim.exit_status(), InvalidTransition)


async def test_a_terminated_machine_has_a_clean_exit_status(world):
    shim = await world.engine.create("s", SPEC, lifecycle="hcsshim")
    await shim.start()
    await shim.destroy()
    assert (await shim.exit_status()).error == ""


async def test_events_are_followed_from_any_position_without_gap_double_or_reorder(world):
    seen, late = [], []

    async def follow(into, after):
        async for record in world.engine.events(after=after):
            into.append(record.position)

    tasks = [asyncio.create_task(follow(seen, 0))]
    vm = await world.engine.create("web", SPEC)
    for _ in range(5):
        await vm.start()
        await vm.stop()
    tasks.append(asyncio.create_task(follow(late, 7)))
    await vm.start()
    await world.quiet()
    assert seen == list(range(1, world.size + 1))
    assert late == list(range(8, world.size + 1))
    for task in tasks:
        task.cancel()


async def test_a_slow_reader_delays_nobody_and_misses_nothing(world):
    seen = []

    async def follow():
        async for record in world.engine.events(after=0):
            await asyncio.sleep(1)
            seen.append(record.position)

    task = asyncio.create_task(follow())
    vm = await world.engine.create("web", SPEC)
    began = world.clock.wall()
    for _ in range(10):
        await vm.start()
        await vm.stop()
    assert world.clock.wall() == began
    await asyncio.sleep(100)
    assert seen == list(range(1, world.size + 1))
    task.cancel()
