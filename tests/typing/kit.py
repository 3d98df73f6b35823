"""A user's own tests, never run: what they are written with is typed."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from eventvm import Engine, Simulated, Spec
from eventvm.commands import Start
from eventvm.errors import InvalidTransition
from eventvm.lifecycles import vm
from eventvm.log import EventLog
from eventvm.logs import open_log
from eventvm.testing import Story, Witness, World, absent, check_lifecycle, given, lawful, virtual
from eventvm.testing.contract_log import LogContract
from eventvm.testing.contract_provider import ProviderContract


def anyio_backend() -> object:
    return virtual(seed=7)


def test_a_row() -> None:
    check_lifecycle(vm)
    story: Story = given(vm, Start()).when(Start(), seen="alive").then().then_phase("running")
    absent(vm).when(Start(), start="fail").then(InvalidTransition)
    phase: str = story.life.phase
    assert phase


async def test_an_engine(eventvm_engine: Engine, eventvm_simulated: Witness, eventvm_world: World) -> None:
    web = await eventvm_engine.create("web", Spec(provider="simulated"))
    eventvm_simulated.script("web", "start", "fail")
    await eventvm_world.crash()
    async with lawful() as (engine, _):
        assert await engine.history(web.id) == []


class TestMyLog(LogContract):
    @asynccontextmanager
    async def open(self, *, clock: Callable[[], int] = time.time_ns) -> AsyncIterator[EventLog]:
        async with open_log("memory:", clock=clock) as log:
            yield log


class TestMyProvider(ProviderContract):
    lacks = ("pause",)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Simulated]:
        yield Simulated()
