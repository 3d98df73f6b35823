"""The laws of eventvm.provider, over the providers that come with it."""

from simulations import SimulatedWorld

from eventvm.testing.contract_provider import ProviderContract


class TestSimulated(SimulatedWorld, ProviderContract):
    pass
