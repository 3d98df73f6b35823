"""What the tests of logs have in common: each store by itself, what is appended, and how it is read."""

import sys
from pathlib import Path

import pytest

from eventvm.testing import contract_log

sys.path.insert(0, str(Path(__file__).parent))

from stores import Memory, Sqlite  # found by the line above: tests are no package


@pytest.fixture(params=[Memory, Sqlite], ids=["memory", "sqlite"])
def store(request, tmp_path):
    one = request.param()
    one.path = tmp_path / "log.db"
    return one


@pytest.fixture
async def log(store):
    async with store.open() as log:
        yield log


@pytest.fixture
def adding():
    """Make an append: a stream, the version that it must be at, and what its events say."""
    return contract_log.adding


@pytest.fixture
def everything():
    """Read a whole log, or a stream, page by page."""
    return contract_log.everything


@pytest.fixture
def said():
    """What the events of these records say."""
    return contract_log.said
