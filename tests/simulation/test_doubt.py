"""Doubt: a log that is older than the world catches up by looking, and nothing is ever started twice."""

import asyncio
import logging
from contextlib import suppress

import pytest
import simfleet
from specs import SPEC

from eventvm import commands
from eventvm.engine import RECONCILE_AT_ONCE, doubt
from eventvm.errors import EventvmError, Inconclusive, LogUnavailable, OutcomeUnknown
from eventvm.events import Doubted
from eventvm.logs import group_commit
from eventvm.observation import Evidence, Observation
from eventvm.provider import Unclear
from eventvm.providers.simulated import Script
from eventvm.spec import Spec
from eventvm.testing import VirtualLoop, Witness, World, check_log

PROFILES = ("vm", "hcsshim", "microvm", "cell")


def starts(world, name):
    return [call for call in world.simulated.calls if call == ("start", name)]


async def after(world, name, happened, *, lifecycle="vm", before="start"):
    """Make a machine, take a backup, let more happen, and restore the backup; give the machine."""
    machine = await world.engine.create(name, SPEC, lifecycle=lifecycle)
    if before:
        await getattr(machine, before)()
    backup = world.store.copy()
    for act in happened:
        await act(machine)
    await world.restore(backup)
    await world.quiet(1)
    return await world.engine.machine_by_id(machine.id)


async def stop(machine):
    await machine.stop()


async def start(machine):
    await machine.start()


async def destroy(machine):
    await machine.destroy(force=machine.lifecycle.name == "vm")


async def test_a_machine_that_did_not_change_is_doubted_looked_at_and_confirmed(world):
    vm = await after(world, "web", [])
    assert (vm.phase, vm.machine.doubted) == ("running", False)
    assert world.tags(vm)[-2:] == ["doubted", "confirmed"]
    assert world.store.streams[vm.id][-1].event.evidence.source == "simulated"
    await world.check()


async def test_a_machine_that_was_stopped_after_the_backup_has_exited_at_the_time_of_its_evidence(world):
    vm = await after(world, "web", [stop])
    assert vm.phase == "stopped"
    assert world.tags(vm)[-3:] == ["doubted", "exited", "confirmed"]
    exited = world.store.streams[vm.id][-2].event
    assert exited.at == world.simulated.world[vm.id].died
    assert await world.booked(vm) == [
        "storage.start(boot)",
        "compute.start(boot)",
        "compute.stop(stop-crash)",
    ]
    await world.check()


@pytest.mark.parametrize("lifecycle", PROFILES)
async def test_a_machine_that_was_started_after_the_backup_is_not_started_again(world, lifecycle):
    machine = await after(world, "web", [start], before=None, lifecycle=lifecycle)
    assert machine.active
    word = "started" if lifecycle == "hcsshim" else "reconciled"
    assert world.tags(machine)[-3:] == ["doubted", word, "confirmed"]
    assert machine.machine.incarnation == 1
    with suppress(EventvmError):
        await machine.start()
    assert len(starts(world, "web")) == 1
    await world.check()


async def test_an_incarnation_that_the_world_has_used_is_not_used_again(world):
    vm = await after(world, "web", [stop, start])
    assert vm.machine.incarnation == 2
    await vm.stop()
    await vm.start()
    assert world.simulated.world[vm.id].incarnation == vm.machine.incarnation == 3
    await world.check()


@pytest.mark.parametrize("lifecycle", PROFILES)
@pytest.mark.parametrize("before", [None, "start"])
async def test_a_machine_that_was_destroyed_after_the_backup_comes_to_its_end(world, lifecycle, before):
    machine = await after(world, "web", [destroy], lifecycle=lifecycle, before=before)
    assert machine.terminal
    assert not machine.machine.open
    assert machine.machine.end is not None
    assert not machine.machine.doubted
    holder = await world.engine.log.find("web")
    assert holder.held is (lifecycle in ("hcsshim", "microvm"))
    await world.check()


async def test_an_end_that_nobody_told_of_is_lost(world):
    vm = await world.engine.create("web", SPEC)
    backup = world.store.copy()
    await vm.destroy()
    world.simulated.world.clear()
    await world.restore(backup)
    await world.quiet(1)
    vm = await world.engine.machine_by_id(vm.id)
    assert vm.phase == "destroyed"
    assert vm.machine.end.manner == "lost"
    assert vm.machine.reason == "it was destroyed after the backup"


async def test_machines_of_no_provider_and_ended_ones_are_not_doubted(world):
    plugin = await world.engine.create("search", lifecycle="plugin")
    vm = await world.engine.create("web", SPEC)
    await vm.destroy()
    await world.restore(world.store.copy())
    await world.quiet(1)
    assert not [one for one in world.store.records if isinstance(one.event, Doubted)]
    assert (await world.engine.machine_by_id(plugin.id)).phase == "Uninstalled"


@pytest.mark.parametrize("verb", ["start", "stop", "destroy", "pause"])
async def test_while_the_world_is_silent_nothing_is_done_and_nothing_written(world, verb):
    vm = await world.engine.create("web", SPEC)
    backup = world.store.copy()
    await vm.start()
    world.simulated.lie("web", "unknown")
    await world.restore(backup)
    await world.quiet(1)
    vm = await world.engine.machine_by_id(vm.id)
    assert vm.describe()["doubted"]
    assert vm.describe()["next"] == "reconcile"
    refused = await world.refuses(getattr(vm, verb)(), Inconclusive, vm)
    assert "the log was restored" in refused.hint
    world.simulated.lie("web", None)
    assert (await vm.start()).how in ("reconciled", "nothing")
    assert not vm.describe()["doubted"]
    assert len(starts(world, "web")) == 1
    await world.check()


async def test_a_look_that_speaks_of_an_earlier_incarnation_ends_no_doubt(world):
    vm = await world.engine.create("web", SPEC)
    for act in (vm.start, vm.stop, vm.start):
        await act()
    world.simulated.world[vm.id].incarnation = 1
    world.simulated.world[vm.id].alive = False
    await world.restore(world.store.copy())
    await world.quiet(1)
    vm = await world.engine.machine_by_id(vm.id)
    assert (vm.phase, vm.machine.doubted) == ("running", True)


@pytest.mark.parametrize(("liveness", "phase"), [("alive", "running"), ("gone", "stopped")])
async def test_an_attestation_ends_the_doubt(world, liveness, phase):
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    world.simulated.lie("web", "unknown")
    await world.restore(world.store.copy())
    await world.quiet(1)
    vm = await world.engine.machine_by_id(vm.id)
    await vm.attest(liveness, "I was there")
    assert (vm.phase, vm.machine.doubted) == (phase, False)
    assert world.tags(vm)[-1] == "confirmed"
    await world.check()


async def test_a_forced_destroy_does_not_wait_for_a_look(world):
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    world.simulated.lie("web", "unknown")
    await world.restore(world.store.copy())
    await world.quiet(1)
    vm = await world.engine.machine_by_id(vm.id)
    await vm.destroy(force=True)
    assert (vm.phase, vm.machine.doubted) == ("destroyed", False)
    await world.check()


async def test_a_forced_phase_leaves_the_doubt(world):
    plugin = await world.engine.create("search", Spec(provider="simulated"), lifecycle="plugin")
    await plugin.transition_to("Installing")
    world.simulated.lie("search", "unknown")
    await world.restore(world.store.copy())
    await world.quiet(1)
    plugin = await world.engine.machine_by_id(plugin.id)
    await plugin.force_phase("Stopped", "its files are gone")
    assert (plugin.phase, plugin.machine.doubted) == ("Stopped", True)
    await world.refuses(plugin.transition_to("Starting"), Inconclusive, plugin)


async def test_an_ended_machine_is_not_doubted_for_what_is_still_being_done_about_it(world):
    vm = await world.engine.create("web", SPEC)
    await vm.start()
    await vm.snapshot("s1")
    await vm.destroy(force=True)
    world.simulated.script("web", "delete_snapshot", "lost")
    await vm.delete_snapshot("s1", wait=False)
    backup = world.store.copy()
    await world.quiet()
    await world.restore(backup)
    await world.quiet(1)
    assert world.tags(vm)[-2:] == ["requested", "snapshot_deleted"]
    await world.check()


# --- requests that were open in the backup


async def asked(world, call, ask, lifecycle="vm"):
    """Take a backup between a request and its outcome, and let the deed be done."""
    vm = await world.engine.create("web", SPEC, lifecycle=lifecycle)
    world.simulated.script("web", call, "lost")
    await ask(vm)
    backup = world.store.copy()
    await world.quiet()
    return vm, backup


async def test_a_request_whose_outcome_came_after_the_backup_is_concluded_by_what_is_seen(world):
    vm, backup = await asked(world, "start", lambda vm: vm.start(wait=False))
    await world.restore(backup)
    await world.quiet(1)
    vm = await world.engine.machine_by_id(vm.id)
    assert vm.phase == "running"
    assert world.tags(vm)[-3:] == ["doubted", "started", "confirmed"]
    assert len(starts(world, "web")) == 1
    await world.check()


async def test_an_amendment_touches_nothing_and_leaves_the_doubt(world):
    vm, backup = await asked(world, "start", lambda vm: vm.start(wait=False))
    world.simulated.lie("web", "unknown")
    await world.restore(backup)
    await world.quiet(1)
    vm = await world.engine.machine_by_id(vm.id)
    for lie in ("unknown", None):
        world.simulated.lie("web", lie)
        await vm.send(commands.Amend(labels={"team": str(lie)}))
        assert (vm.machine.doubted, vm.machine.request is None) == (True, False)
    await vm.reconcile()
    assert (vm.phase, vm.machine.doubted) == ("running", False)
    assert len(starts(world, "web")) == 1
    await world.check()


async def test_a_start_that_was_undone_after_the_backup_is_not_repeated(world):
    vm, backup = await asked(world, "start", lambda vm: vm.start(wait=False))
    world.simulated.die("web")
    await world.restore(backup)
    await world.quiet(1)
    vm = await world.engine.machine_by_id(vm.id)
    assert vm.phase == "error"
    assert len(starts(world, "web")) == 1
    await world.check()


@pytest.mark.parametrize("lifecycle", PROFILES)
async def test_an_open_request_in_a_silent_world_is_not_given_up_for_a_refused_command(world, lifecycle):
    vm, backup = await asked(world, "start", lambda vm: vm.start(wait=False), lifecycle)
    world.simulated.lie("web", "unknown")
    await world.restore(backup)
    await world.quiet(100_000)
    vm = await world.engine.machine_by_id(vm.id)
    await world.refuses(vm.start(), Inconclusive, vm)
    assert vm.machine.request is not None


async def test_a_request_that_a_look_cannot_conclude_stays_open_and_the_doubt_with_it(world):
    vm, backup = await asked(world, "snapshot", lambda vm: vm.snapshot("s1", wait=False))
    world.simulated.__dict__["_lies"]["web"] = Observation("gone", Evidence("simulated"), exists=True)
    await world.restore(backup)
    await world.quiet(1)
    vm = await world.engine.machine_by_id(vm.id)
    with pytest.raises(OutcomeUnknown):
        await vm.start()
    assert (vm.machine.request is None, vm.machine.doubted) == (False, True)
    await world.quiet(100_000)
    assert (await vm.start()).phase == "running"
    assert world.tags(vm)[-4:] == ["abandoned", "confirmed", "requested", "started"]


# --- crashes while doubting


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("commits", range(1, 8))
async def test_a_crash_while_doubting_neither_skips_nor_doubles(world, monkeypatch, when, commits):
    monkeypatch.setattr(group_commit, "BATCH_RECORDS", 2)
    machines = [await world.engine.create(f"web-{at}", SPEC) for at in range(6)]
    backup = world.store.copy()
    for machine in machines:
        await machine.start()
    await world.restored(backup)
    opening = asyncio.create_task(world.open())
    await asyncio.sleep(0)
    world.log.die(when, commits)
    await world.quiet(1)
    assert world.log.dead
    opening.cancel()
    await asyncio.wait({opening})
    await world.reopen()
    await world.quiet(1)
    for machine in machines:
        tags = world.tags(await world.engine.machine_by_id(machine.id))
        assert (tags.count("doubted"), tags.count("confirmed")) == (1, 1)
        assert len(starts(world, machine.name)) == 1
    await world.check()


async def test_nobody_is_served_before_everybody_is_doubted(world):
    vm = await world.engine.create("web", SPEC)
    await world.restored(world.store.copy())
    doubting = world.size + 1
    engine = await world.open()
    assert [type(one.event) for one in world.store.records[doubting - 1 :]] == [Doubted]
    await (await engine.machine_by_id(vm.id)).start()


async def test_an_engine_whose_log_cannot_be_written_does_not_open_in_doubt(world):
    await world.engine.create("web", SPEC)
    await world.restored(world.store.copy())
    opening = asyncio.create_task(world.open())
    await asyncio.sleep(0)
    world.log.faults.append(LogUnavailable)
    with pytest.raises(LogUnavailable):
        await opening
    world._open = None  # noqa: SLF001  # it never opened
    await world.log.close()
    await world.open()


async def test_a_second_restore_raises_a_second_doubt(world):
    vm = await after(world, "web", [stop])
    await world.restore(world.store.copy())
    await world.quiet(1)
    vm = await world.engine.machine_by_id(vm.id)
    assert world.tags(vm).count("doubted") == 2
    await world.reopen()
    await world.quiet(1)
    assert world.tags(vm).count("doubted") == 2
    await world.check()


async def test_looks_after_a_restore_are_bounded(world):
    for at in range(60):
        vm = await world.engine.create(f"web-{at}", SPEC)
        world.simulated.script(vm.name, "start", "lost")
        await vm.start(wait=False)
    world.simulated.always("*", "probe", Script(seconds=1))
    await world.restore(world.store.copy())
    most = 0
    for _ in range(40):
        await world.quiet(0.1)
        most = max(most, len(world.engine._turns.workers))  # noqa: SLF001
    assert most == RECONCILE_AT_ONCE
    await world.quiet(10)
    assert not any(cell.machine.doubted for cell in world.engine.cells.living.values())


# --- orphans


async def test_what_was_made_after_the_backup_is_listed_and_warned_of_once(world, caplog):
    known = await world.engine.create("web", SPEC)
    backup = world.store.copy()
    later = await world.engine.create("later", SPEC)
    assert await world.engine.orphans() == ()
    with caplog.at_level(logging.WARNING, "eventvm"):
        await world.restore(backup)
        await world.quiet(1)
        await world.reopen()
        await world.quiet(1)
    assert [one.id for one in await world.engine.orphans()] == [later.id]
    assert [record.getMessage() for record in caplog.records] == [
        f"the log was restored: the world has what it does not know: 1 ({later.id})"
    ]
    assert known.id not in caplog.text


async def test_a_provider_that_does_not_say_what_it_has_is_no_provider_without_orphans(world):
    async def silent():
        await asyncio.get_running_loop().create_future()
        yield ""

    world.simulated.discover = silent
    with pytest.raises(Unclear):
        await world.engine.orphans()


# --- a fleet whose log is restored again and again


class Careful(Witness):
    """A witness that sees a machine started that runs already."""

    async def start(self, target):
        if (machine := self.world.get(target.id)) is not None and machine.alive:
            self.violations.append(f"{target.name} was started twice")
        await super().start(target)


class Drill(simfleet.Run):
    """A fleet in an honest world whose log is lost to older backups."""

    def __init__(self, seed):
        super().__init__(seed, steps=80)
        self.world = World(provider=Careful)
        self.backups = []
        self.restores = 0

    async def step(self):
        acts = (self.command, self.mischief, self.clock, self.reconcile, self.cancel, self.restart)
        more = (self.again, self.back_up, self.go_back)
        await self.random.choices((*acts, *more), (70, 6, 2, 2, 2, 2, 4, 6, 4))[0]()

    async def mischief(self):
        self.world.simulated.die(self.name())

    async def back_up(self):
        self.backups.append(self.world.store.copy())

    async def go_back(self):
        if not self.backups:
            return
        self.restores += 1
        backup = self.random.choice(self.backups)
        for task in self.tasks:
            task.cancel()
        await self.world.restored(backup)
        await self.done()
        self.forget(backup)
        await self.open()
        await self.world.check()
        self.check()

    def forget(self, backup):
        """Forget what the backup does not know, as its callers have to."""
        size = backup.tree.size
        self.backups = [one for one in self.backups if one.tree.size <= size]
        self.receipts = [one for one in self.receipts if one.position <= size]
        self.keyed = {key: told for key, told in self.keyed.items() if told[1].position <= size}
        self.machines = [id_ for id_ in self.machines if id_ in backup.streams]
        self.leaves = self.leaves[:size]
        self.seen = [position for position in self.seen if position <= size]

    async def rest(self):
        await super().rest()
        fleet = await check_log(self.world.log)
        for machine in fleet.machines.values():
            truth = self.world.simulated.world.get(machine.id)
            assert not machine.doubted or machine.over, machine
            if truth is not None and machine.rules.name != "plugin" and not machine.over:
                assert truth.alive is bool(machine.counted("compute")), (machine, truth)


def drilled(seed):
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(seed)) as runner:
        drill = runner.run(_made(seed))
        runner.run(drill.live())
        return drill.restores


async def _made(seed):
    return Drill(seed)


@pytest.mark.parametrize("seed", range(60))
def test_a_fleet_that_goes_back_in_time_again_and_again_keeps_the_laws(seed):
    drilled(seed)


def test_the_drills_do_go_back():
    assert sum(drilled(seed) for seed in range(5)) > 5


# --- mutants


def caught():
    for seed in range(20):
        try:
            drilled(seed)
        except (AssertionError, TimeoutError):
            return True
    return False


def test_an_engine_without_doubt_is_caught(monkeypatch):
    async def careless(*_):
        return False

    monkeypatch.setattr(doubt.Doubts, "raise_all", careless)
    assert caught()
