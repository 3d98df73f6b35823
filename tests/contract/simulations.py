"""Simulated worlds for the contract of a provider, in virtual time."""

from contextlib import asynccontextmanager
from functools import cached_property

from eventvm.providers.simulated import Simulated
from eventvm.spec import Spec
from eventvm.testing import VirtualClock, VirtualLoop


class SimulatedWorld:
    spec = Spec(provider="simulated")
    kind = Simulated

    def loop(self):
        return VirtualLoop()

    @cached_property
    def world(self):
        return {}

    @asynccontextmanager
    async def open(self):
        provider = self.kind(VirtualClock())
        provider.world = self.world
        yield provider

    async def die(self, provider, target):
        provider.die(target.name)

    async def blind(self, provider, target):
        provider.script(target.name, "probe", "fail")
