"""A user's file, never run: mypy --strict must accept every line of it."""

from typing import assert_type

import eventvm
from eventvm import Engine, Handle, Receipt, Report, Spec
from eventvm.ledger import Entry, Interval
from eventvm.record import Record
from eventvm.views import Transition


async def use() -> None:
    async with eventvm.open("fleet.db") as engine:
        assert_type(engine, Engine)
        web = await engine.create("web-1", Spec(provider="simulated", cpus=2), key="make/web-1")
        assert_type(web, Handle)
        assert_type(await web.start(key="deploy-42/web-1"), Receipt)
        await web.stop(reaso="x")  # type: ignore[call-arg]  # a typo in an option is found by the type checker
        assert_type(await web.wait("running", "error", timeout=30), Receipt)
        assert_type(await web.history(), list[Transition])
        assert_type(await web.entries(), list[Entry])
        assert_type(await web.intervals(), tuple[Interval, ...])
        assert_type(await engine.reconcile(), Report)
        assert_type((await engine.machines(phase="running"))[0], Handle)
        async for record in engine.events(after=3):
            assert_type(record, Record)
        forget = engine.observe(seen)
        forget()


def seen(machine: Handle, change: Transition) -> None:
    assert_type(change.to, str)
    assert_type(machine.phase, str)
