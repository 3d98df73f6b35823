"""Recovery: whatever dies, and whenever, the log and a look tell what happened, and nothing is done twice."""
# a mutant is made from within

import asyncio

import pytest
from specs import NEW, SPEC

from eventvm.engine import cells as cells_module
from eventvm.engine.effects import Effects
from eventvm.errors import EventvmError, OutcomeUnknown
from eventvm.lifecycles import LIFECYCLES
from eventvm.observation import Evidence, Observation
from eventvm.spec import RestoreFrom, Spec
from eventvm.testing import World


async def stopped(vm):
    await vm.start()
    await vm.stop()


async def paused(vm):
    await vm.start()
    await vm.pause()


async def snapped(vm):
    await vm.start()
    await vm.snapshot("s1")


async def nothing(vm):
    pass


async def started(vm):
    await vm.start()


def restored(resume):
    async def create(world, name):
        source = await world.engine.machine("web")
        begin = RestoreFrom(source.id, "s1", resume_immediately=resume)
        spec = Spec(provider="simulated", restore_from=begin)
        return await world.engine.create(name, spec, lifecycle="microvm")

    return create


EFFECTS = {
    ("vm", "create"): None,
    ("vm", "clone"): (snapped, lambda vm: vm.clone("copy", "s1")),
    ("vm", "launch"): (nothing, lambda vm: vm.start()),
    ("vm", "kill"): (started, lambda vm: vm.stop()),
    ("vm", "pause"): (started, lambda vm: vm.pause()),
    ("vm", "resume"): (paused, lambda vm: vm.resume()),
    ("vm", "capture"): (started, lambda vm: vm.snapshot("s2")),
    ("vm", "hibernate"): (started, lambda vm: vm.hibernate("s2")),
    ("vm", "restore"): (snapped, lambda vm: vm.restore("s1", NEW)),
    ("vm", "forget"): (snapped, lambda vm: vm.delete_snapshot("s1")),
    ("vm", "remove"): (stopped, lambda vm: vm.destroy()),
    ("vm", "kill_and_remove"): (started, lambda vm: vm.destroy(force=True)),
    ("hcsshim", "create"): None,
    ("hcsshim", "launch"): (nothing, lambda vm: vm.start()),
    ("hcsshim", "close"): (nothing, lambda vm: vm.destroy()),
    ("hcsshim", "terminate"): (started, lambda vm: vm.destroy()),
    ("microvm", "create"): None,
    ("microvm", "create_restored"): (snapped, lambda vm: restored(resume=False)(vm.world, "copy")),
    ("microvm", "create_resumed"): (snapped, lambda vm: restored(resume=True)(vm.world, "copy")),
    ("microvm", "launch"): (nothing, lambda vm: vm.start()),
    ("microvm", "pause"): (started, lambda vm: vm.stop()),
    ("microvm", "resume"): (stopped, lambda vm: vm.start()),
    ("microvm", "capture"): (started, lambda vm: vm.snapshot("s2")),
    ("microvm", "forget"): (snapped, lambda vm: vm.delete_snapshot("s1")),
    ("microvm", "rename"): (started, lambda vm: vm.rename("web-2")),
    ("microvm", "remove"): (started, lambda vm: vm.destroy()),
    ("cell", "create"): None,
    ("cell", "boot"): (nothing, lambda vm: vm.start()),
    ("cell", "end"): (started, lambda vm: vm.destroy()),
}


def test_every_effect_of_every_profile_is_crashed():
    assert set(EFFECTS) == {(name, effect) for name, one in LIFECYCLES.items() for effect in one.effects}


async def prepared(world, lifecycle, effect):
    """Bring a machine to where the effect is taken; give the wish."""
    if EFFECTS[lifecycle, effect] is None:
        await world.engine.create("first", SPEC, lifecycle=lifecycle)  # so that the lifecycle is defined
        return lambda: world.engine.create("web", SPEC, lifecycle=lifecycle)
    before, wish = EFFECTS[lifecycle, effect]
    vm = await world.engine.create("web", SPEC, lifecycle=lifecycle)
    vm.world = world
    await before(vm)
    return lambda: wish(vm)


async def crashed_in(world, lifecycle, effect, when, commits):
    """Let the power fail around one of the commits of an effect; say whether it did."""
    wish = await prepared(world, lifecycle, effect)
    mark = len(world.simulated.calls), world.size
    world.log.die(when, commits)
    task = asyncio.create_task(wish())
    died = asyncio.create_task(world.log.died.wait())
    await asyncio.wait([task, died], return_when=asyncio.FIRST_COMPLETED)
    failed = world.log.dead
    task.cancel()
    died.cancel()
    await world.crash()
    return failed, mark


def made_of(world, size, effect):
    """Give the machine whose request for the effect was made after a size of the log, if it was."""
    found = [r for r in world.requests() if r.position > size and r.event.effect == effect]
    return found[0].stream if found else None


@pytest.mark.parametrize("commits", [1, 2, 3, 4])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("lifecycle", "effect"), EFFECTS)
async def test_an_effect_that_is_interrupted_anywhere_is_concluded_by_a_look_and_never_repeated(
    world, lifecycle, effect, when, commits
):
    failed, (calls, size) = await crashed_in(world, lifecycle, effect, when, commits)
    made = [call for call, _ in world.simulated.calls[calls:]]
    engine = await world.open()
    await world.quiet()
    assert [call for call, _ in world.simulated.calls[calls:]] == made, "nothing is called again"
    if (id_ := made_of(world, size, effect)) is not None:
        machine = (await engine.machine_by_id(id_)).machine
        assert machine.request is None
        told = world.tags(machine, size)
        for step in LIFECYCLES[lifecycle].effects[effect]:
            if step.ok:
                assert (step.ok.removeprefix("machine.") in told) == (step.call in made)
    else:
        assert (made, failed) == ([], True)
    await world.check()
    with_nothing_more = world.size
    await world.reopen()
    await world.quiet()
    assert world.size == with_nothing_more, "recovering twice is recovering once"


@pytest.mark.parametrize(("lifecycle", "effect"), EFFECTS)
async def test_an_interrupted_effect_that_nobody_can_see_stays_open_until_somebody_can(
    world, lifecycle, effect
):
    _, (_, size) = await crashed_in(world, lifecycle, effect, "after", 1)
    for name in ("web", "copy"):
        world.simulated.lie(name, "unknown")
    engine = await world.open()
    await world.quiet()
    machine = await engine.machine_by_id(made_of(world, size, effect))
    position = machine.machine.request.position
    await world.refuses(machine.reconcile(), OutcomeUnknown, machine)
    report = await engine.reconcile()
    assert machine.id in report.unknown
    assert machine.machine.request.position == position
    for name in ("web", "copy"):
        world.simulated.lie(name, None)
    await machine.reconcile()
    assert machine.machine.request is None
    await world.check()


@pytest.mark.parametrize(("lifecycle", "effect"), EFFECTS)
@pytest.mark.parametrize("liveness", ["alive", "gone"])
async def test_an_attestation_settles_what_no_probe_ever_will(world, lifecycle, effect, liveness):
    _, (_, size) = await crashed_in(world, lifecycle, effect, "after", 1)
    for name in ("web", "copy"):
        world.simulated.lie(name, "unknown")
    engine = await world.open()
    await world.quiet()
    machine = await engine.machine_by_id(made_of(world, size, effect))
    if machine.machine.rules.answer(machine.phase, "attest").__class__.__name__ == "Refuse":
        return  # a machine that does not exist yet is settled by a look, or by its forced end
    await machine.attest(liveness, "I went there")
    assert machine.machine.request is None
    await world.check()


@pytest.mark.parametrize("shown", [True, False])
async def test_a_half_made_machine_is_collected_or_kept_by_what_is_there(world, shown):
    world.simulated.script("web", "create", "fail_after" if shown else "hang")
    world.log.die("before", 3)
    task = asyncio.create_task(world.engine.create("web", SPEC))
    await asyncio.sleep(10)
    task.cancel()
    engine = await world.reopen()
    await world.quiet()
    vm = await engine.machine("web")
    assert vm.phase == ("created" if shown else "destroyed")
    if not shown:
        assert (await engine.create("web", SPEC)).phase == "created"


@pytest.mark.parametrize("told", [1, 2, 5])
async def test_reconciling_any_number_of_times_is_reconciling_once(world, told):
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    world.simulated.lie("web", "gone")
    receipts = [await vm.reconcile() for _ in range(told)]
    assert [one.how for one in receipts] == ["reconciled"] + ["nothing"] * (told - 1)
    for _ in range(told):
        assert (await world.engine.reconcile()).reconciled == ()


async def test_news_from_before_a_crash_does_not_conclude_what_was_asked_since(world):
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    old = Observation("gone", Evidence("shim", incarnation=1), exists=True, generation=1)
    world.simulated.script("web", "stop", "unclear")
    world.simulated.lie("web", "unknown")
    with pytest.raises(OutcomeUnknown):
        await vm.stop()
    await world.refuses(vm.tell(old), OutcomeUnknown, vm)


async def test_a_view_that_is_kept_while_machines_move_is_of_one_moment(world, monkeypatch):
    """Machines that move, begin and end meanwhile are in it as they were; a second keeping is left out."""
    monkeypatch.setattr(cells_module, "PART", 1)
    create, cells = world.engine.create, world.engine.cells
    plugins = [await create(f"plugin-{at}", lifecycle="plugin", phase="Running") for at in range(100)]
    boxes = [await create(f"cell-{at}", SPEC, lifecycle="cell") for at in range(5)]
    await cells.keep()
    at_rest = world.store.kept[cells_module.VIEW]
    keeping = asyncio.ensure_future(cells.keep())
    await asyncio.sleep(0)
    for one in (plugins[0], plugins[-1]):
        await one.transition_to("Degraded")
    await plugins[-1].force_phase("Running", "as it was")
    await boxes[-1].destroy()
    await create("late", lifecycle="plugin", phase="Running")
    await cells.keep()
    assert not keeping.done()
    await keeping
    kept = world.store.kept[cells_module.VIEW]
    assert (kept.parts, kept.tree.root) == (at_rest.parts, at_rest.tree.root)
    await cells.keep()
    assert world.store.kept[cells_module.VIEW].parts != at_rest.parts


@pytest.mark.parametrize("crash", [True, False])
async def test_a_kept_view_and_the_tail_are_a_full_replay(world, crash):
    handles = [
        await world.engine.create(f"{name}-{at}", SPEC, lifecycle=name)
        for name in ("vm", "hcsshim", "microvm", "cell")
        for at in range(3)
    ]
    for handle in handles[::2]:
        await handle.start()
    plugin = await world.engine.create("plugin", lifecycle="plugin", phase="Running")
    await world.engine.cells.keep()
    for handle in handles[::3]:
        if handle.phase != "running":
            await handle.destroy()
    await plugin.transition_to("Degraded")
    kept = world.store.kept
    assert kept
    await world.reopen(crash=crash)
    await world.check()
    assert len(world.engine.cells.living) == sum(
        not one.terminal for one in (await world.replayed()).machines.values()
    )
    kept.clear()
    await world.reopen()
    await world.check()


async def test_a_kept_view_that_does_not_fit_is_left_aside(world):
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    await world.leave()
    name, kept = world.store.kept.popitem()
    definitions, *machines = kept.parts
    broken = (*kept.parts[:-1], b"\x91\x01")
    for parts in ((), (b"nonsense",), broken, (definitions, definitions), (*machines, definitions)):
        world.store.kept[name] = type(kept)(kept.tree, parts)
        await world.open()
        await world.check()
        await world.leave()
    await world.open()


async def test_a_mutant_that_calls_before_its_request_is_durable_is_caught(monkeypatch):
    honest = Effects.carry_out

    async def hasty(self, turn, effect):
        machine = turn.cell.machine
        step = machine.rules.definition.effects[effect.name][0]
        if machine.exists:
            await self._world.call(machine, step, turn.command)
        await honest(self, turn, effect)

    monkeypatch.setattr(Effects, "carry_out", hasty)
    world = World()
    await world.open()
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    assert world.simulated.violations
    await world.leave()


async def test_an_engine_that_crashes_while_recovering_recovers_again(world):
    vm = await world.engine.create("web", SPEC)
    world.log.die("after", 1)
    task = asyncio.create_task(vm.hibernate("s1") if vm.phase == "running" else vm.start())
    await world.log.died.wait()
    task.cancel()
    for when in ("before", "after"):
        await world.crash()
        opening = asyncio.create_task(world.open())
        await asyncio.wait([opening], timeout=0)
        await opening
        world.log.die(when, 1)
        await world.quiet()
    await world.reopen()
    await world.quiet()
    assert (await world.engine.machine("web")).machine.request is None
    await world.check()


async def test_a_fault_while_recovering_is_no_end(world):
    vm = await world.engine.create("web", SPEC)
    world.log.die("after", 1)
    task = asyncio.create_task(vm.start())
    await world.log.died.wait()
    task.cancel()
    world.simulated.always("*", "probe", "fail")
    engine = await world.reopen()
    await world.quiet()
    vm = await engine.machine("web")
    with pytest.raises(EventvmError):
        await vm.start()
    world.simulated.always("*", "probe", None)
    assert (await vm.start()).phase == "running"
