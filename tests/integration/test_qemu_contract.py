"""The laws of eventvm.provider, over real guests under QEMU."""

import asyncio
import os
import signal
from contextlib import asynccontextmanager

import pytest
from qemu_world import Guests, needs_qemu, tiny

from eventvm.testing.contract_provider import ProviderContract

pytestmark = needs_qemu


class TestQemu(ProviderContract):
    spec = tiny()

    @pytest.fixture(autouse=True)
    def guests(self, tmp_path):
        self.world = Guests(tmp_path / "qemu")
        yield
        asyncio.run(self.world.clear())
        assert self.world.left() == []

    @asynccontextmanager
    async def open(self):
        yield Guests(self.world.root).provider

    async def die(self, provider, target):
        os.kill(self.world.pid(target), signal.SIGKILL)

    async def blind(self, provider, target):
        os.kill(self.world.pid(target), signal.SIGSTOP)
