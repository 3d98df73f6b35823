"""A user's file, never run: mypy --strict must accept every line of it."""

from typing import assert_type

import eventvm
from eventvm import Engine, Handle, Receipt, Report, Spec
from eventvm.ledger import Entry, Interval
from eventvm.record import Record
from eventvm.views import Counts, Transition


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
        page = await engine.machines(label=("team=a", "rack"), after=web, limit=10, ended=False)
        assert_type(page.after, str | None)
        await engine.machines(phse="running")  # type: ignore[call-arg]  # and so is one in a filter
        async for machine in engine.every(lifecycle="vm", prefix="web-"):
            assert_type(machine, Handle)
        assert_type(engine.counts(), Counts)
        assert_type(await web.label(team="b", old=None), Receipt)
        assert_type(await web.amend(labels={"old": None}, restart="always", key="k"), Receipt)
        async for record in engine.events(after=3):
            assert_type(record, Record)
        forget = engine.observe(seen)
        forget()


def seen(machine: Handle, change: Transition) -> None:
    assert_type(change.to, str)
    assert_type(machine.phase, str)
