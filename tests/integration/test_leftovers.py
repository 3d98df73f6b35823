"""The check of the whole run sees what it is there to see: each kind of thing that a machine could leave."""

from contextlib import asynccontextmanager

import leftovers
import pytest
from leftovers import left
from process_world import made, target
from qemu_world import Guests, needs_qemu

from eventvm import Process


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """What is there is not waited for."""
    monkeypatch.setattr(leftovers, "SECONDS", 0.0)


@asynccontextmanager
async def process(root):
    provider = Process(root / "run")
    job = await made(provider, target("job"))
    try:
        yield
    finally:
        await provider.destroy(job)


@asynccontextmanager
async def guest(root):
    guests = Guests(root / "qemu")
    try:
        async with guests.running():
            yield
    finally:
        await guests.clear()


@asynccontextmanager
async def stranger(root):
    """A machine that was made and never started, as a creator that was killed leaves it."""
    provider = Process(root / "run")
    job = await made(provider, target("job"), running=False)
    try:
        yield
    finally:
        await provider.destroy(job)


@pytest.mark.parametrize(
    ("world", "kinds"),
    [
        (process, {"process", "pipe", "lock", "directory"}),
        pytest.param(guest, {"process", "pipe", "lock", "directory", "socket"}, marks=needs_qemu),
        (stranger, {"directory"}),
    ],
)
async def test_what_a_machine_leaves_is_seen_and_nothing_once_it_is_destroyed(world, kinds, tmp_path):
    """So a run that is silent has left nothing."""
    async with world(tmp_path):
        assert {each.split()[0] for each in left(tmp_path)} == kinds
    assert left(tmp_path) == []
