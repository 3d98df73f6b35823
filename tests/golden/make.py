"""Write the golden log of this release: `python tests/golden/make.py 0.1.0` makes 0.1.0.db and 0.1.0.json.

It is run once for each release, and what it wrote is never changed: every later release must read the file
and come to the same views. The log holds every type of event that this release can write.
"""

import random
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import msgspec

import eventvm
from eventvm import Spec
from eventvm.audit.replay import replayed
from eventvm.clock import Clock
from eventvm.events import EVENTS
from eventvm.logs import open_log
from eventvm.observation import Instant
from eventvm.providers.simulated import Simulated
from eventvm.spec import RestoreFrom
from eventvm.views import Fleet, tag

HERE = Path(__file__).parent
SECOND_NS = 1_000_000_000
SIMULATED = Spec(provider="simulated", cpus=2, memory=1 << 30, storage=10 << 30, labels={"team": "a"})


class GoldenClock(Clock):
    """A clock that ticks once each time it is read, so that every run writes the same file."""

    def __init__(self):
        self.ticks = 0
        self._chance = random.Random("golden")
        self.boot_id = "00000000000000a1"

    def wall(self):
        self.ticks += 1
        return 1_760_000_000 * SECOND_NS + self.ticks * SECOND_NS

    def now(self):
        return Instant(self.wall(), self.ticks * SECOND_NS, self.boot_id)

    def random(self, count):
        return self._chance.randbytes(count)


ROUND = (
    "Installing", "Installed", "Building", "Validating", "Starting", "Running", "Degraded", "Recovering",
)  # fmt: skip


async def lives(engine, world):
    """Live every lifecycle, through every event that there is."""
    await ordinary(engine)
    await misfortunes(engine, world)
    await moves(engine)
    await strict(engine, world)


async def ordinary(engine):
    web = await engine.create("web-1", SIMULATED, key="golden/create", reason="asked for")
    await web.start(key="golden/start")
    await web.start(key="golden/start-again")
    await web.pause()
    await web.resume()
    await web.snapshot("first")
    await web.restore("first", Spec(provider="simulated", cpus=4, memory=2 << 30))
    await web.rename("web-2")
    twin = await web.clone("web-3", "first")
    await twin.hibernate("asleep")
    await twin.destroy()
    await twin.delete_snapshot("asleep")
    await web.stop()
    stop = [entry for entry in await web.entries() if entry.meter == "compute"][-1]
    earlier = Instant(stop.at.wall - SECOND_NS, stop.at.boot - SECOND_NS, stop.at.boot_id)
    await web.correct(stop, earlier, "it was noticed late")
    await web.destroy(reason="no longer needed")


async def misfortunes(engine, world):
    box = await engine.create("box", SIMULATED)
    world.script("box", "start", "fail")
    world.script("box", "stop", "fail")
    world.script("box", "snapshot", "fail")
    world.script("box", "pause", "fail")
    world.script("box", "resume", "fail")
    world.script("box", "restore", "fail")
    for ask in (box.start, box.start, box.stop, box.start, box.pause):
        with suppress(eventvm.EventvmError):
            await ask()
    with suppress(eventvm.EventvmError):
        await box.snapshot("never")
    await box.pause()
    with suppress(eventvm.EventvmError):
        await box.resume()
    await box.resume()
    await box.snapshot("kept")
    world.script("box", "delete_snapshot", "fail")
    with suppress(eventvm.EventvmError):
        await box.delete_snapshot("kept")
    world.script("box", "stop", "fail")
    for _ in range(2):
        with suppress(eventvm.EventvmError):
            await box.restore("kept")
    await box.restore("kept")
    world.die("box")
    await box.wait("stopped")
    world.always("box", "probe", "fail")
    await box.attest("gone", "the host burnt down")
    world.always("box", "probe", None)
    world.script("box", "destroy", "fail")
    with suppress(eventvm.EventvmError):
        await box.destroy()
    await box.destroy()
    never = "never"
    world.script(never, "create", "fail")
    with suppress(eventvm.EventvmError):
        await engine.create(never, SIMULATED)
    stuck = await engine.create("stuck", SIMULATED)
    await stuck.start()
    world.script("stuck", "stop", "unclear")
    world.always("stuck", "probe", "fail")
    with suppress(eventvm.EventvmError):
        await stuck.stop()
    world.script("stuck", "stop", "fail")
    await stuck.destroy(force=True, reason="it does not answer")


async def moves(engine):
    plugin = await engine.create("plugin-1", Spec(dev=True), lifecycle="plugin")
    for to in ROUND:
        await plugin.transition_to(to, f"to {to}", data={"step": to})
    await plugin.advance_retry()
    await plugin.advance_retry()
    await plugin.reset_retry()
    await plugin.force_phase("Stopped", "the reconciler says so")


async def strict(engine, world):
    vm = await engine.create("micro-1", SIMULATED, lifecycle="microvm")
    await vm.start()
    await vm.snapshot("warm")
    world.script("micro-1", "rename", "fail")
    with suppress(eventvm.EventvmError):
        await vm.rename("micro-2")
    await vm.rename("micro-2")
    again = RestoreFrom(vm.id, "warm", resume_immediately=True)
    await engine.create("micro-3", Spec(provider="simulated", restore_from=again), lifecycle="microvm")
    for name, code in (("cell-1", 0), ("cell-2", None)):
        cell = await engine.create(name, SIMULATED, lifecycle="cell")
        await cell.start()
        await cell.complete(3)
        if code is None:
            world.script(name, "stop", "fail")
            await cell.destroy(force=True, reason="ttl_exceeded")
        else:
            world.die(name, code=code, manner="graceful")
            await cell.wait("destroyed")
    shim = await engine.create("shim-1", SIMULATED, lifecycle="hcsshim")
    await shim.start()
    world.script("shim-1", "destroy", "fail")
    with suppress(eventvm.EventvmError):
        await shim.destroy()
    await shim.destroy()


def told(fleet: Fleet, log) -> dict:
    """Write every view in plain values."""
    now = Instant(1_770_000_000 * SECOND_NS, 10_000_000 * SECOND_NS, "00000000000000a1")
    return {
        "size": log.tree.size,
        "root": log.tree.root.hex(),
        "names": fleet.names,
        "histories": msgspec.to_builtins(fleet.histories),
        "entries": {id_: msgspec.to_builtins(one.known()) for id_, one in fleet.ledgers.items()},
        "intervals": {
            id_: msgspec.to_builtins(one.intervals(as_of=now)) for id_, one in fleet.ledgers.items()
        },
        "machines": {id_: machine(one) for id_, one in fleet.machines.items()},
    }


def machine(one) -> dict:
    fields = {name: getattr(one, name) for name in one.__struct_fields__ if name != "rules"}
    return msgspec.to_builtins(fields) | {"lifecycle": one.rules.digest}


@asynccontextmanager
async def opened(path, clock, world):
    options = {"deadline_seconds": 5, "grace_seconds": 0, "actor": "golden"}
    async with eventvm.open(path, providers=[world], clock=clock, **options) as engine:
        yield engine


async def make(version: str) -> None:
    path = HERE / f"{version}.db"
    assert not path.exists(), f"{path} is the golden log of a release; it is never written again"
    clock = GoldenClock()
    world = Simulated(clock)
    async with opened(path, clock, world) as engine:
        await lives(engine, world)
    async with open_log(path) as log:
        fleet = await replayed(log)
        page = await log.read(limit=log.tree.size + 1)
        missing = EVENTS.keys() - {tag(record) for record in page.records}
        assert not missing, f"no life in here writes {missing}"
        views = msgspec.json.format(msgspec.json.encode(told(fleet, log)), indent=1)
        (HERE / f"{version}.json").write_bytes(views)
    path.with_name(f"{path.name}.lock").unlink()


if __name__ == "__main__":
    anyio.run(make, sys.argv[1])
