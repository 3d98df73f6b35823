"""Every test here runs in virtual time; `world` is a host whose engine can crash and come back."""

import sys
from pathlib import Path

import pytest

from eventvm.testing import virtual

sys.path.insert(0, str(Path(__file__).parent))

SEED = 0


@pytest.fixture
def anyio_backend(request):
    return virtual(getattr(request, "param", SEED))


@pytest.fixture
def world(eventvm_world):
    return eventvm_world
