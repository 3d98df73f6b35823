"""Guests that are broken while their QEMU lives: neither gone nor well, and a stop still ends them."""

import pytest
from qemu_world import Guests, needs_qemu

from eventvm.observation import End, Forced
from eventvm.providers.qemu.arguments import argv
from eventvm.providers.qemu.launch import launch
from eventvm.providers.qemu.monitor import Declined, monitor
from eventvm.providers.qemu.provider import as_seen

pytestmark = needs_qemu


@pytest.fixture
async def guests(tmp_path):
    guests = Guests(tmp_path / "qemu")
    yield guests
    await guests.clear()
    assert guests.left() == []


@pytest.fixture
async def panicked(guests):
    """A guest that has panicked, under a QEMU that was told to hold it still instead of ending."""
    async with guests.made("panic") as target:
        command = [*argv(target.id, target.spec, "tcg", incoming=False), "-action", "panic=pause"]
        plan = {"secrets": {}, "ram": "", "paused": False, "console_bytes": 1 << 20}
        await launch(guests.place(target), 1, command, plan)
        await guests.until(target, lambda seen: "guest-panicked" in seen.detail)
        yield target


async def test_a_panic_that_is_held_still_is_alive_and_says_that_it_can_never_go_on(guests, panicked):
    """Its process is there, so it is not gone; who looks learns what is wrong with it."""
    seen = await guests.provider.probe(panicked)
    assert (seen.liveness, seen.paused, seen.end) == ("alive", False, None)
    assert seen.detail == "QEMU says guest-panicked, and its guest can never go on"


async def test_a_stop_of_what_can_never_go_on_asks_in_vain_and_ends_it_at_once(guests, panicked):
    """The power button is not waited for: the rung that cannot act is left."""
    end = await guests.provider.stop(panicked)
    assert end == End("killed", Forced(), "quit")


async def test_what_is_broken_is_not_let_go_on(guests, panicked):
    async with monitor(guests.run(panicked).path) as qmp:
        with pytest.raises(Declined, match="guest-panicked"):
            await qmp.go_on()


async def test_of_all_that_qemu_can_say_of_a_guest_two_words_mean_that_it_never_goes_on(guests):
    """A processor that could not be emulated is one of them; it takes a KVM that is broken to see it."""
    async with guests.running() as target, monitor(guests.run(target).path) as qmp:
        schema = await qmp.do("query-qmp-schema")
    every = next(one["values"] for one in schema if {"inmigrate", "prelaunch"} <= {*one.get("values", ())})
    told = {status: as_seen(status) for status in every}
    assert {status for status, (_, words) in told.items() if "never go on" in words} == {
        "internal-error",
        "guest-panicked",
    }
    assert {status for status, (paused, _) in told.items() if paused} == {
        "paused", "postmigrate", "prelaunch", "save-vm", "suspended",
    }  # fmt: skip


async def test_a_guest_that_panics_in_silence_runs_for_ever_until_it_is_ended(guests):
    """Without the device that tells of a panic QEMU sees nothing; only what is not heeded shows it."""
    async with guests.running("hang", stop_grace_seconds=0.1) as target:
        assert (await guests.provider.probe(target)).liveness == "alive"
        assert await guests.provider.stop(target) == End("killed", Forced(), "quit")
