"""The laws of eventvm.log, over every store that comes with it."""

import pytest
from stores import Memory, Sqlite

from eventvm.testing.contract_log import LogContract


class TestMemory(Memory, LogContract):
    pass


class TestSqlite(Sqlite, LogContract):
    @pytest.fixture(autouse=True)
    def place(self, tmp_path):
        self.path = tmp_path / "log.db"
