"""The contract of a provider: what the engine relies on, tried on a real world of the provider's own.

    class TestMyProvider(ProviderContract):
        spec = Spec(provider="mine")
        lacks = ("pause", "resume", "restore")

        @asynccontextmanager
        async def open(self):
            yield MyProvider(self.directory)

What the provider lacks is no test. One that can be made to fail on purpose has `die` or `blind` as well, and
is held to the laws of misfortune too. Every machine that a law makes, it destroys.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, ClassVar
from uuid import uuid4

from msgspec.structs import replace

from eventvm.commands import Restore
from eventvm.observation import Clean, End, Observation
from eventvm.provider import OPTIONAL, Provider, Target, call
from eventvm.spec import Spec
from eventvm.testing.contract import Contract, law

TOLD = ("discover", "events")
"""What a provider may tell beside."""


class ProviderContract(Contract):
    """A provider whose world outlives it: within one test `open` always opens the same world."""

    spec: ClassVar[Spec] = Spec()
    """What the machines of these laws are made of: small, and quick to start."""
    lacks: ClassVar[tuple[str, ...]] = ()
    """The calls that the provider cannot do."""
    probe_seconds: ClassVar[float] = 5.0
    """How long a probe may take."""
    settle_seconds: ClassVar[float] = 0.2
    """How long what was cancelled may still be at work unseen."""

    def open(self) -> AbstractAsyncContextManager[Any]:
        """Open the provider over this test's own world; machines outlive the block."""
        raise NotImplementedError

    async def die(self, provider: Any, target: Target) -> None:
        """Let a running machine end by itself."""
        raise NotImplementedError

    async def blind(self, provider: Any, target: Target) -> None:
        """Take away whatever the next probe of a machine would see it by."""
        raise NotImplementedError

    @classmethod
    def can(cls, need: str) -> bool:
        return all(cls._has(one) for one in need.split())

    @classmethod
    def _has(cls, need: str) -> bool:
        if need in ("die", "blind"):
            return getattr(cls, need) is not getattr(ProviderContract, need)
        return need not in cls.lacks

    # --- what a law begins with

    def target(self, name: str = "") -> Target:
        """Name a machine that nobody has made yet."""
        id_ = str(uuid4())
        return Target(id_, name or f"contract-{id_[:8]}", 1, self.spec)

    @asynccontextmanager
    async def made(self, *, running: bool = False) -> AsyncIterator[tuple[Any, Target]]:
        """Make a machine that does not outlive the block."""
        async with self.open() as provider:
            target = self.target()
            try:
                await call(provider, "create", target, None)
                if running:
                    await provider.start(target)
                yield provider, target
            finally:
                await provider.destroy(target)

    async def seen(self, provider: Any, target: Target) -> Observation:
        """Probe, within the time that a probe may take."""
        try:
            async with asyncio.timeout(self.probe_seconds):
                observation: Observation = await provider.probe(target)
        except TimeoutError:
            raise AssertionError(f"a probe took more than {self.probe_seconds:g} s") from None
        return observation

    # --- what it is

    @law()
    async def test_it_has_a_name_and_every_required_call(self) -> None:
        async with self.open() as provider:
            assert isinstance(provider, Provider), "a provider has a name and the required calls"
            assert provider.name, "a provider has a name"

    @law()
    async def test_it_has_every_other_call_that_it_is_not_said_to_lack(self) -> None:
        async with self.open() as provider:
            for each in (*OPTIONAL, *TOLD):
                assert hasattr(provider, each) == (each not in self.lacks), each

    # --- what a probe sees

    @law()
    async def test_a_probe_of_what_is_not_there_says_so_and_makes_nothing(self) -> None:
        async with self.open() as provider:
            target = self.target()
            for _ in range(2):
                seen = await self.seen(provider, target)
                assert seen.liveness != "alive", "nothing lives that was never started"
                assert not seen.exists, "nothing exists that was never made"

    @law()
    async def test_a_probe_after_create_sees_what_does_not_run_yet(self) -> None:
        async with self.made() as (provider, target):
            seen = await self.seen(provider, target)
            assert (seen.liveness, seen.exists) == ("gone", True)

    @law()
    async def test_a_probe_after_start_sees_it_and_tells_its_incarnation(self) -> None:
        async with self.made(running=True) as (provider, target):
            seen = await self.seen(provider, target)
            assert (seen.liveness, seen.exists) == ("alive", True)
            assert seen.evidence.incarnation == target.incarnation
            assert seen.evidence.source, "evidence names its source"

    @law(running=[False, True])
    async def test_a_probe_changes_nothing(self, running: bool) -> None:
        async with self.made(running=running) as (provider, target):
            first = plain(await self.seen(provider, target))
            for _ in range(3):
                assert plain(await self.seen(provider, target)) == first

    @law()
    async def test_another_engine_finds_the_machine_by_its_id_alone(self) -> None:
        async with self.made(running=True) as (_, target), self.open() as other:
            seen = await self.seen(other, replace(target, name="another name"))
            assert (seen.liveness, seen.evidence.incarnation) == ("alive", target.incarnation)

    @law(needs="blind")
    async def test_a_probe_that_cannot_tell_says_unknown_and_does_not_raise(self) -> None:
        async with self.made(running=True) as (provider, target):
            await self.blind(provider, target)
            assert (await self.seen(provider, target)).liveness == "unknown"

    # --- starting and stopping

    @law()
    async def test_start_leaves_alone_what_runs_already(self) -> None:
        """By the machine's id: whoever asks again, for whichever incarnation, gets the one that is there."""
        async with self.made(running=True) as (provider, target):
            await provider.start(target)
            await provider.start(replace(target, incarnation=2))
            seen = await self.seen(provider, target)
            assert (seen.liveness, seen.evidence.incarnation) == ("alive", 1)

    @law()
    async def test_a_start_after_a_stop_is_another_incarnation(self) -> None:
        async with self.made(running=True) as (provider, target):
            await provider.stop(target)
            await provider.start(replace(target, incarnation=2))
            seen = await self.seen(provider, target)
            assert (seen.liveness, seen.evidence.incarnation) == ("alive", 2)
            assert seen.end is None, "what is alive has not ended"

    @law()
    async def test_stop_twice_is_stop(self) -> None:
        async with self.made(running=True) as (provider, target):
            for _ in range(2):
                end = await provider.stop(target)
                assert end is None or isinstance(end, End)
                seen = await self.seen(provider, target)
                assert (seen.liveness, seen.exists) == ("gone", True)

    @law()
    async def test_stop_of_what_never_ran_is_a_success(self) -> None:
        async with self.made() as (provider, target):
            await provider.stop(target)
            assert (await self.seen(provider, target)).liveness == "gone"

    @law()
    async def test_machines_do_not_share_a_fate(self) -> None:
        async with (
            self.made(running=True) as (provider, one),
            self.made(running=True) as (_, other),
        ):
            await provider.stop(one)
            assert (await self.seen(provider, other)).liveness == "alive"
            await provider.destroy(one)
            assert (await self.seen(provider, other)).liveness == "alive"

    @law(ticks=[0, 1, 2, 3, 5, 8, 13, 50, 200])
    async def test_a_cancelled_start_leaves_what_the_next_probe_describes_truly(self, ticks: int) -> None:
        """What it calls gone does not come to life later; what it calls alive can be stopped."""
        async with self.made() as (provider, target):
            starting = asyncio.ensure_future(provider.start(target))
            for _ in range(ticks):
                await asyncio.sleep(0)
            starting.cancel()
            await asyncio.wait({starting})
            seen = await self.seen(provider, target)
            await asyncio.sleep(self.settle_seconds)
            if seen.liveness != "unknown":
                assert (await self.seen(provider, target)).liveness == seen.liveness
            await provider.stop(target)
            assert (await self.seen(provider, target)).liveness == "gone"
            await provider.start(replace(target, incarnation=2))
            assert (await self.seen(provider, target)).liveness == "alive"

    # --- ends

    @law()
    async def test_a_code_of_an_end_is_told_by_verified_evidence_alone(self) -> None:
        async with self.made(running=True) as (provider, target):
            await provider.stop(target)
            seen = await self.seen(provider, target)
            clean = seen.end is not None and isinstance(seen.end.termination, Clean)
            assert seen.evidence.verified or not clean, "a forced end has no exit code"

    @law(needs="die")
    async def test_a_death_is_seen_and_a_start_brings_it_back(self) -> None:
        async with self.made(running=True) as (provider, target):
            await self.die(provider, target)
            seen = await self.seen(provider, target)
            assert (seen.liveness, seen.exists, seen.evidence.incarnation) == ("gone", True, 1)
            await provider.start(replace(target, incarnation=2))
            assert (await self.seen(provider, target)).liveness == "alive"

    @law(needs="die events")
    async def test_a_death_is_hinted_at(self) -> None:
        async with self.made(running=True) as (provider, target):
            hints = provider.events()
            hint = asyncio.ensure_future(anext(hints))
            await asyncio.sleep(self.settle_seconds)
            await self.die(provider, target)
            assert await hint == target.id
            await hints.aclose()

    @law(running=[False, True])
    async def test_destroy_twice_is_destroy_and_nothing_is_left(self, running: bool) -> None:
        async with self.made(running=running) as (provider, target):
            for _ in range(2):
                await provider.destroy(target)
                seen = await self.seen(provider, target)
                assert seen.liveness == "gone", "what is destroyed does not run"
                assert seen.exists is False, "what is destroyed does not exist"

    @law(needs="discover")
    async def test_discover_lists_each_machine_once_from_its_making_to_its_end(self) -> None:
        async with self.made(running=True) as (provider, target):
            assert [id_ async for id_ in provider.discover()].count(target.id) == 1
            await provider.destroy(target)
            assert target.id not in [id_ async for id_ in provider.discover()]

    # --- what a provider may do beside

    @law(needs="pause resume")
    async def test_a_paused_machine_is_alive_and_seen_to_be_paused(self) -> None:
        async with self.made(running=True) as (provider, target):
            for hold, paused in ((provider.pause, True), (provider.resume, False)):
                await hold(target)
                seen = await self.seen(provider, target)
                assert (seen.liveness, seen.paused) == ("alive", paused)

    @law(needs="snapshot")
    async def test_a_snapshot_is_listed_and_outlives_its_machine(self) -> None:
        async with self.made(running=True) as (provider, target):
            assert await provider.snapshot(target, "s1") >= 0
            await provider.snapshot(target, "s2")
            assert set((await self.seen(provider, target)).snapshots or ()) == {"s1", "s2"}
            await provider.destroy(target)
            assert set((await self.seen(provider, target)).snapshots or ()) == {"s1", "s2"}
            await self._forgotten(provider, target)

    @law(needs="snapshot delete_snapshot")
    async def test_a_snapshot_that_is_deleted_twice_is_gone(self) -> None:
        async with self.made() as (provider, target):
            await provider.snapshot(target, "s1")
            await provider.snapshot(target, "s2")
            for _ in range(2):
                await provider.delete_snapshot(target, "s1")
                assert (await self.seen(provider, target)).snapshots == ("s2",)
            await self._forgotten(provider, target)

    @law(needs="snapshot restore")
    async def test_a_restore_runs_the_machine_as_another_incarnation(self) -> None:
        async with self.made(running=True) as (provider, target):
            await provider.snapshot(target, "s1")
            await provider.stop(target)
            await call(provider, "restore", replace(target, incarnation=2), Restore(snapshot="s1"))
            seen = await self.seen(provider, target)
            assert (seen.liveness, seen.evidence.incarnation) == ("alive", 2)
            await self._forgotten(provider, target)

    @law(needs="rename")
    async def test_a_renamed_machine_is_the_same_under_another_name(self) -> None:
        async with self.made(running=True) as (provider, target):
            await provider.rename(target, "another-name")
            seen = await self.seen(provider, replace(target, name="another-name"))
            assert (seen.liveness, seen.name) == ("alive", "another-name")

    async def _forgotten(self, provider: Any, target: Target) -> None:
        """Delete the snapshots of a law, where that can be done."""
        if hasattr(provider, "delete_snapshot"):
            for snapshot in ("s1", "s2"):
                await provider.delete_snapshot(target, snapshot)


def plain(seen: Observation) -> Observation:
    """Give an observation without what may differ from look to look: its instant and its sentence."""
    return replace(seen, evidence=replace(seen.evidence, when=None), detail="")


__all__ = ["ProviderContract"]
