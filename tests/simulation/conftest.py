"""Every test here runs in virtual time; `world` is a host whose engine can crash and come back."""

import sys
from pathlib import Path

import pytest

from eventvm.testing import virtual

sys.path.insert(0, str(Path(__file__).parent))

from supervised import Loader, running

SEED = 0


@pytest.fixture
def anyio_backend(request):
    return virtual(getattr(request, "param", SEED))


@pytest.fixture
def world(eventvm_world):
    return eventvm_world


@pytest.fixture
async def hosted(world):
    """A world whose engine recovers plugins, and one that runs."""
    world.loader = Loader()
    world.reloads = {"plugin": world.loader.host.reload}
    await world.reopen(crash=False, reloads=world.reloads)
    world.plug = await running(world)
    return world
