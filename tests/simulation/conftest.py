"""Every test here runs in virtual time; `world` is a host whose engine can crash and come back."""

import sys
from pathlib import Path

import pytest

from eventvm.testing import World, loop_factory

sys.path.insert(0, str(Path(__file__).parent))

SEED = 0


@pytest.fixture
def anyio_backend(request):
    return ("asyncio", {"loop_factory": loop_factory(getattr(request, "param", SEED))})


@pytest.fixture
async def world():
    one = World()
    await one.open()
    yield one
    await one.leave()
    assert not one.simulated.violations
