"""Lives without an engine, by the kit that users have."""

import pytest

from eventvm.testing import Life


@pytest.fixture(scope="session")
def life():
    """Make lives: `life("vm")`, or of any Lifecycle."""
    return Life
