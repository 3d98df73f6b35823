"""Lives without an engine, by the kit that users have."""

import sys
from pathlib import Path

import pytest

from eventvm.testing import Life

sys.path.insert(0, str(Path(__file__).parent))  # tests are no package: what they share is found so


@pytest.fixture(scope="session")
def life():
    """Make lives: `life("vm")`, or of any Lifecycle."""
    return Life
