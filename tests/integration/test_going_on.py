"""A wait from a terminal goes on at another engine, and misses nothing meanwhile."""

import argparse
import asyncio

import pytest

import eventvm
from eventvm import Spec
from eventvm.cli.waiting import ENDED_OTHERWISE, Waiting
from eventvm.errors import Closed


def waiting(*goals):
    return Waiting(
        argparse.Namespace(goals=goals, after=None, timeout=None, id=False, machine="web-1", lifecycle=None)
    )


async def begun(path, wait):
    """Begin a wait at an engine that leaves; nothing has come of it."""
    async with eventvm.open(path) as engine:
        web = await engine.create("web-1", Spec(provider="simulated"))
        await web.start()
        await web.pause()
        await web.resume()
        at_it = asyncio.ensure_future(wait.waited(engine))
        await web.wait("running")
        await web.label(team="a")  # the wait had its turn
    with pytest.raises(Closed):
        await at_it


async def test_what_was_passed_through_between_two_engines_counts(path):
    """The phase was there while nobody could be asked."""
    wait = waiting("stopped")
    await begun(path, wait)
    async with eventvm.open(path) as engine:
        web = await engine.machine("web-1")
        stopped = await web.stop()
        await web.destroy()
        reached = await wait.waited(engine)
        assert (reached.how, reached.position, reached.phase) == ("reached", stopped.position, "stopped")
        assert await waiting("stopped").waited(engine) == ENDED_OTHERWISE


async def test_what_was_before_the_wait_does_not_count_and_hope_stays(path):
    """Somebody may still send a command."""
    wait = waiting("paused")
    await begun(path, wait)
    async with eventvm.open(path) as engine:
        web = await engine.machine("web-1")
        at_it = asyncio.ensure_future(wait.waited(engine))
        await web.stop()
        await web.label(team="b")
        assert not at_it.done()
        await web.destroy()
        assert await at_it == ENDED_OTHERWISE
