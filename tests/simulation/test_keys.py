"""Keys: the same key and command give the same receipt for ever; another command is a conflict."""

import asyncio

import pytest
from msgspec.structs import replace
from specs import SPEC

from eventvm.errors import (
    AlreadyExists,
    EffectFailed,
    InvalidTransition,
    KeyConflict,
    NotFound,
    OutcomeUnknown,
    SnapshotNotFound,
)
from eventvm.providers.simulated import Script

REPEATED = "repeated"


def same(receipt, repeated):
    assert repeated.how == REPEATED
    assert replace(repeated, how="done") == replace(receipt, how="done")


async def test_the_same_key_gives_the_same_receipt_whatever_happened_since(world):
    vm = await world.engine.create("web", SPEC)
    receipt = await vm.start(key="k")
    await vm.stop()
    size = world.size
    same(receipt, await vm.start(key="k"))
    assert (vm.phase, world.size) == ("stopped", size)
    assert [call for call, _ in world.simulated.calls] == ["create", "start", "stop"]


async def test_the_same_key_gives_the_same_receipt_after_a_restart(world):
    vm = await world.engine.create("web", SPEC)
    receipt = await vm.start(key="k")
    for crash in (False, True):
        engine = await world.reopen(crash=crash)
        same(receipt, await (await engine.machine("web")).start(key="k"))


async def test_the_same_key_gives_the_same_failure(world):
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    world.simulated.script("web", "stop", "fail")
    with pytest.raises(EffectFailed) as first:
        await vm.stop(key="k")
    await vm.stop()
    engine = await world.reopen()
    with pytest.raises(EffectFailed) as again:
        await (await engine.machine("web")).stop(key="k")
    same(first.value.receipt, again.value.receipt)
    assert again.value.fault == first.value.fault


async def test_a_failure_that_ends_the_life_is_a_failure_on_its_repeated_key_too(world):
    cell = await world.engine.create("cell-1", SPEC, lifecycle="cell")
    world.simulated.script("cell-1", "start", "fail")
    with pytest.raises(EffectFailed) as first:
        await cell.start(key="k")
    with pytest.raises(EffectFailed) as again:
        await cell.start(key="k")
    same(first.value.receipt, again.value.receipt)


@pytest.mark.parametrize("anyio_backend", range(10), indirect=True)
async def test_a_key_that_is_used_twice_at_once_is_carried_out_once(world):
    vm = await world.engine.create("web", SPEC)
    world.simulated.script("web", "start", Script(seconds=3))
    receipts = await asyncio.gather(*(vm.start(key="k") for _ in range(10)))
    assert {receipt.position for receipt in receipts} == {vm.machine.position}
    assert [receipt.how for receipt in receipts].count("done") == 1
    assert world.simulated.calls.count(("start", "web")) == 1


@pytest.mark.parametrize("anyio_backend", range(10), indirect=True)
async def test_a_machine_that_is_created_twice_at_once_with_one_key_is_created_once(world):
    world.simulated.always("*", "create", Script(seconds=3))
    handles = await asyncio.gather(*(world.engine.create("web", SPEC, key="k") for _ in range(5)))
    assert len({handle.id for handle in handles}) == 1
    assert world.simulated.calls == [("create", "web")]
    plugins = await asyncio.gather(*(world.engine.create("p", lifecycle="plugin", key="q") for _ in range(5)))
    assert len({handle.id for handle in plugins}) == 1
    await world.check()


async def test_a_key_is_answered_while_its_effect_is_in_flight(world):
    vm = await world.engine.create("web", SPEC)
    world.simulated.script("web", "start", Script(seconds=3))
    first = asyncio.create_task(vm.start(key="k"))
    await asyncio.sleep(1)
    same(await vm.start(key="k"), (await vm.start(key="k")))
    assert (await first).how == "done"


async def test_a_key_whose_create_failed_fails_again_and_another_key_may_try(world):
    world.simulated.script("web", "create", "fail")
    for _ in range(2):
        with pytest.raises(EffectFailed):
            await world.engine.create("web", SPEC, key="k")
    vm = await world.engine.create("web", SPEC, key="k2")
    assert vm.phase == "created"
    assert world.simulated.calls == [("create", "web")] * 2


async def test_a_key_belongs_to_one_command_for_ever(world):
    vm, other = await world.engine.create("web", SPEC), await world.engine.create("db", SPEC)
    await vm.start(key="k")
    for wish in (
        lambda: vm.stop(key="k"),
        lambda: vm.start(key="k", reason="other"),
        lambda: other.start(key="k"),
    ):
        conflict = await world.refuses(wish(), KeyConflict, vm)
        assert conflict.key == "k"
        assert world.store.records[conflict.position - 1].key == "k"
    await world.refuses(world.engine.create("new", SPEC, key="k"), KeyConflict)


async def test_a_no_op_with_a_key_is_recorded_and_one_without_is_not(world):
    vm = await world.engine.create("web", SPEC)
    with world.untouched(vm):
        assert (await vm.stop()).how == "nothing"
    receipt = await vm.stop(key="k")
    assert (receipt.how, world.tags(vm)[-1]) == ("nothing", "unchanged")
    await vm.start()
    same(receipt, await vm.stop(key="k"))
    assert vm.phase == "running"


async def test_a_refusal_does_not_use_the_key_up(world):
    vm = await world.engine.create("web", SPEC)
    await world.refuses(vm.pause(key="k"), InvalidTransition, vm)
    await vm.start()
    assert (await vm.pause(key="k")).how == "done"
    await world.refuses(world.engine.create("web", SPEC, key="c"), AlreadyExists)
    await vm.destroy(force=True, reason="end")
    assert (await world.engine.create("web", SPEC, key="c")).phase == "created"


async def test_a_key_for_a_machine_that_does_not_exist_begins_no_stream(world):
    ghost = await world.engine.machine("ghost", lifecycle="plugin")
    await world.refuses(ghost.transition_to("Installing", key="k"), NotFound)
    await world.refuses(ghost.force_phase("Running", "imported"), NotFound)
    await world.refuses(ghost.advance_retry(), NotFound)
    shim = await world.engine.machine("shim", lifecycle="hcsshim")
    with world.untouched():
        assert (await shim.destroy(key="k2")).how == "nothing"
    await world.reopen()


async def test_a_rename_repeated_by_either_name_is_the_same_rename(world):
    vm = await world.engine.create("web", SPEC)
    receipt = await vm.rename("web-2", key="k")
    same(receipt, await vm.rename("web-2", key="k"))
    await vm.rename("web-3")
    await world.engine.create("web-2", SPEC)
    same(receipt, await vm.rename("web-2", key="k"))


async def test_a_clone_repeated_after_its_snapshot_is_deleted_is_the_same_clone(world):
    vm = await world.engine.create("web", SPEC)
    await vm.snapshot("s1")
    copy = await vm.clone("copy", "s1", key="k")
    await vm.delete_snapshot("s1")
    assert (await vm.clone("copy", "s1", key="k")).id == copy.id
    with pytest.raises(SnapshotNotFound):
        await vm.clone("copy-2", "s1", key="k2")


async def test_an_attestation_repeated_is_the_same_attestation(world):
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    receipt = await vm.attest("gone", "I saw it", key="k")
    assert receipt.phase == "stopped"
    await vm.start()
    same(receipt, await vm.attest("gone", "I saw it", key="k"))
    assert vm.phase == "running"


async def test_an_attestation_that_settled_an_effect_repeats_with_all_that_it_settled(world):
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    world.simulated.script("web", "snapshot", "unclear")
    world.simulated.lie("web", "unknown")
    with pytest.raises(OutcomeUnknown):
        await vm.snapshot("s1", key="shot")
    receipt = await vm.attest("gone", "I saw it", key="k")
    assert world.tags(vm)[-3:] == ["attested", "abandoned", "exited"]
    same(receipt, await vm.attest("gone", "I saw it", key="k"))
    with pytest.raises(OutcomeUnknown):
        await vm.snapshot("s1", key="shot")


async def test_a_forced_destroy_repeated_while_it_is_in_flight_abandons_nothing(world):
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    world.simulated.script("web", "destroy", Script(seconds=5))
    first = asyncio.create_task(vm.destroy(force=True, key="k"))
    await asyncio.sleep(1)
    second = await vm.destroy(force=True, key="k")
    same(await first, second)
    assert "abandoned" not in world.tags(vm)


async def test_an_old_forced_destroy_repeated_abandons_nothing_of_the_names_next_holder(world):
    vm = await world.engine.create("web", SPEC)
    receipt = await vm.destroy(force=True, key="k")
    after = await world.engine.create("web", SPEC)
    world.simulated.script("web", "start", Script(seconds=5))
    start = asyncio.create_task(after.start())
    await asyncio.sleep(1)
    same(receipt, await after.destroy(force=True, key="k"))
    assert (await start).phase == after.phase == "running"


async def test_a_key_whose_request_was_abandoned_is_unknown_and_never_a_success(world):
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    world.simulated.script("web", "stop", "hang")
    stop = asyncio.create_task(vm.stop(key="k"))
    await asyncio.sleep(1)
    await vm.destroy(force=True, reason="it hangs")
    for wish in (stop, vm.stop(key="k")):
        with pytest.raises(OutcomeUnknown):
            await wish
