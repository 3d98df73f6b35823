"""Deliberately wrong providers: each law of the contract has been seen to fail on one of them."""

import asyncio

import pytest
from msgspec.structs import replace
from simulations import SimulatedWorld

from eventvm.errors import EventvmError
from eventvm.observation import Clean, End, Evidence, Observation
from eventvm.providers.simulated import Simulated
from eventvm.testing.contract import failures, laws
from eventvm.testing.contract_provider import ProviderContract


class Nameless(Simulated):
    name = ""


class Unpausable(Simulated):
    """Cannot pause, and does not say so."""

    pause = property()


class Inventive(Simulated):
    """Makes whatever it is asked about."""

    async def probe(self, target):
        self._of(target).exists = True
        return await super().probe(target)


class Eager(Simulated):
    """Runs what was only to be made."""

    async def create_with_spec(self, target, spec):
        await super().create_with_spec(target, spec)
        await super().start(target)


class Anonymous(Simulated):
    """Does not tell which incarnation it sees."""

    async def probe(self, target):
        seen = await super().probe(target)
        return replace(seen, evidence=Evidence(seen.evidence.source))


class Meddling(Simulated):
    """Toggles what it looks at."""

    async def probe(self, target):
        seen = await super().probe(target)
        machine = self._of(target)
        machine.paused = not machine.paused
        return seen


class Named(Simulated):
    """Finds a machine by its name."""

    async def probe(self, target):
        seen = await super().probe(target)
        return seen if seen.name == target.name else Observation("gone", Evidence(self.name), exists=False)


class Raising(Simulated):
    """Raises where it should say that it cannot tell."""

    async def probe(self, target):
        seen = await super().probe(target)
        if seen.liveness == "unknown":
            raise EventvmError("no answer")
        return seen


class Relaunching(Simulated):
    """Starts again what runs already."""

    async def start(self, target):
        self._of(target).alive = False
        await super().start(target)


class Stale(Simulated):
    """Tells of the end before after a start."""

    async def start(self, target):
        end = self._of(target).end
        await super().start(target)
        self._of(target).end = end


class Strict(Simulated):
    """Fails to stop what is gone already."""

    async def stop(self, target):
        if not self._of(target).alive:
            raise EventvmError("it is not running")
        return await super().stop(target)


class StrictEver(Simulated):
    """Fails to stop what never ran."""

    async def stop(self, target):
        if not self._of(target).incarnation:
            raise EventvmError("it never ran")
        return await super().stop(target)


class Sweeping(Simulated):
    """Stops all machines with one."""

    async def stop(self, target):
        for machine in self.world.values():
            machine.alive = False
        return await super().stop(target)


class Runaway(Simulated):
    """Goes on with a start that was cancelled."""

    async def start(self, target):
        self.late = asyncio.ensure_future(self.later(target))
        await asyncio.shield(self.late)

    async def later(self, target):
        await asyncio.sleep(0.1)  # noqa: TID251  # in virtual time
        await super().start(target)


class Flattering(Simulated):
    """Tells of a code that nobody has verified."""

    async def probe(self, target):
        seen = await super().probe(target)
        if seen.liveness == "alive":
            return seen
        return replace(seen, end=End("graceful", Clean(0)), evidence=replace(seen.evidence, verified=False))


class Loyal(Simulated):
    """Takes a machine that died for one that lives."""

    async def probe(self, target):
        seen = await super().probe(target)
        died = seen.end is not None and seen.end.manner == "crashed"
        return replace(seen, liveness="alive") if died else seen


class Silent(Simulated):
    """Never hints at anything."""

    def _hint(self, id_):
        pass


class Leaving(Simulated):
    """Leaves a machine behind that it should destroy."""

    async def destroy(self, target):
        return await self.stop(target)


class Listing(Simulated):
    """Lists what is long gone, and what is there twice."""

    async def discover(self):
        for id_ in self.world:
            yield id_
            yield id_


class Restless(Simulated):
    """Says that it pauses, and does not."""

    async def pause(self, target):
        pass


class Careless(Simulated):
    """Destroys the snapshots with their machine."""

    async def destroy(self, target):
        self._of(target).snapshots.clear()
        return await super().destroy(target)


class Picky(Simulated):
    """Fails to delete a snapshot that is gone already."""

    async def delete_snapshot(self, target, snapshot):
        if snapshot not in self._of(target).snapshots:
            raise EventvmError("no such snapshot")
        await super().delete_snapshot(target, snapshot)


class Unborn(Simulated):
    """Restores a machine as the incarnation that it was."""

    async def restore(self, target, source):
        await super().restore(target, source)
        self._of(target).incarnation -= 1


class Forgetting(Simulated):
    """Says that it renames, and keeps the name."""

    async def rename(self, target, name):
        pass


CAUGHT = {
    "test_it_has_a_name_and_every_required_call": Nameless,
    "test_it_has_every_other_call_that_it_is_not_said_to_lack": Unpausable,
    "test_a_probe_of_what_is_not_there_says_so_and_makes_nothing": Inventive,
    "test_a_probe_after_create_sees_what_does_not_run_yet": Eager,
    "test_a_probe_after_start_sees_it_and_tells_its_incarnation": Anonymous,
    "test_a_probe_changes_nothing": Meddling,
    "test_another_engine_finds_the_machine_by_its_id_alone": Named,
    "test_a_probe_that_cannot_tell_says_unknown_and_does_not_raise": Raising,
    "test_start_leaves_alone_what_runs_already": Relaunching,
    "test_a_start_after_a_stop_is_another_incarnation": Stale,
    "test_stop_twice_is_stop": Strict,
    "test_stop_of_what_never_ran_is_a_success": StrictEver,
    "test_machines_do_not_share_a_fate": Sweeping,
    "test_a_cancelled_start_leaves_what_the_next_probe_describes_truly": Runaway,
    "test_a_code_of_an_end_is_told_by_verified_evidence_alone": Flattering,
    "test_a_death_is_seen_and_a_start_brings_it_back": Loyal,
    "test_a_death_is_hinted_at": Silent,
    "test_destroy_twice_is_destroy_and_nothing_is_left": Leaving,
    "test_discover_lists_each_machine_once_from_its_making_to_its_end": Listing,
    "test_a_paused_machine_is_alive_and_seen_to_be_paused": Restless,
    "test_a_snapshot_is_listed_and_outlives_its_machine": Careless,
    "test_a_snapshot_that_is_deleted_twice_is_gone": Picky,
    "test_a_restore_runs_the_machine_as_another_incarnation": Unborn,
    "test_a_renamed_machine_is_the_same_under_another_name": Forgetting,
}


def judged(mutant):
    """Make the contract of a wrong provider."""
    return type("Judged", (SimulatedWorld, ProviderContract), {"kind": mutant})


@pytest.mark.parametrize(
    ("law", "mutant"), CAUGHT.items(), ids=[mutant.__name__ for mutant in CAUGHT.values()]
)
def test_a_wrong_provider_is_caught_by_the_law_that_it_breaks(law, mutant):
    assert failures(judged(mutant), law).keys() == {law}


def test_every_law_of_the_contract_has_been_seen_to_fail():
    assert set(laws(judged(Simulated))) == set(CAUGHT)
    assert failures(judged(Simulated)) == {}


def test_a_probe_that_takes_too_long_is_caught():
    class Slow(Simulated):
        async def probe(self, target):
            await asyncio.sleep(60)  # noqa: TID251  # in virtual time
            return await super().probe(target)

    law = "test_a_probe_after_start_sees_it_and_tells_its_incarnation"
    assert "more than 5 s" in str(failures(judged(Slow), law)[law])


def test_a_law_that_would_never_end_is_broken():
    class Stuck(Simulated):
        async def stop(self, target):
            await asyncio.get_running_loop().create_future()

    law = "test_stop_twice_is_stop"
    assert f"{law} did not come to its end within 60 s" in str(failures(judged(Stuck), law)[law])


def test_what_a_provider_lacks_is_no_law_for_it():
    lacking = type("Lacking", (SimulatedWorld, ProviderContract), {"lacks": ("pause", "resume", "events")})
    assert set(laws(judged(Simulated))) - set(laws(lacking)) == {
        "test_a_paused_machine_is_alive_and_seen_to_be_paused",
        "test_a_death_is_hinted_at",
    }


def test_what_a_better_provider_can_do_is_a_law_again():
    lacking = type("Lacking", (SimulatedWorld, ProviderContract), {"lacks": ("pause", "resume")})
    better = type("Better", (lacking,), {"lacks": ()})
    assert laws(better) == laws(judged(Simulated))
