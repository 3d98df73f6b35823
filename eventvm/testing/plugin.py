"""Fixtures for pytest: load them by `pytest_plugins = ["eventvm.testing.plugin"]` in your conftest.

We register no entry point, because it would be imported into every test run of every project that has
eventvm installed, whether or not it tests with it; the price is this one line. The fixtures are
asynchronous and run under anyio's own plugin: mark the tests with `pytest.mark.anyio`, or set
`anyio_mode = auto`. Which loop they run in is the suite's to say, by anyio's fixture `anyio_backend`.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from eventvm.engine import Engine
from eventvm.testing.lawful import lawful
from eventvm.testing.witness import Witness
from eventvm.testing.world import World

pytest.register_assert_rewrite("eventvm.testing.contract_log", "eventvm.testing.contract_provider")


@pytest.fixture
def eventvm_url() -> str:
    """Name the log that each test begins; override it, for example with a path in `tmp_path`."""
    return "memory:"


@pytest.fixture
def eventvm_options() -> dict[str, Any]:
    """Give what `eventvm.open` is given beside the log: `providers`, `lifecycles` and the like."""
    return {}


@pytest.fixture
async def eventvm_opened(
    eventvm_url: str, eventvm_options: dict[str, Any]
) -> AsyncIterator[tuple[Engine, Witness]]:
    """Open an engine with its simulated world, and check the laws at the end of the test."""
    async with lawful(eventvm_url, **eventvm_options) as opened:
        yield opened


@pytest.fixture
async def eventvm_engine(eventvm_opened: tuple[Engine, Witness]) -> Engine:
    """Give an engine on a fresh log; at the end of the test the laws are checked."""
    return eventvm_opened[0]


@pytest.fixture
async def eventvm_simulated(eventvm_opened: tuple[Engine, Witness]) -> Witness:
    """Give the simulated world of `eventvm_engine`, to script its misfortunes."""
    return eventvm_opened[1]


@pytest.fixture
async def eventvm_world(eventvm_options: dict[str, Any]) -> AsyncIterator[World]:
    """Give a host in virtual time whose engine can crash and come back; its laws are checked at the end."""
    world = World()
    world.lifecycles = tuple(eventvm_options.get("lifecycles", ()))
    await world.open(**{name: value for name, value in eventvm_options.items() if name != "lifecycles"})
    yield world
    if world.opened:
        await world.check()
    await world.leave()
    assert not world.simulated.violations, world.simulated.violations
