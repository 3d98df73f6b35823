"""What supervision is tried with: a host of plugins whose misfortunes a test scripts, and a web that dies."""

import asyncio

from msgspec.structs import replace
from specs import SPEC

from eventvm.plugins import PluginHost

RUN = ("Installing", "Installed", "Validating", "Starting", "Running")


class Loader:
    """The callables of a host, whose misfortunes a test scripts."""

    def __init__(self):
        self.calls = []
        self.fails = []
        """What the next loads raise; None for nothing."""
        self.hangs = False
        self.seconds = 0.0
        self.cancelled = 0
        self.host = PluginHost(load=self.load, validate=self.validate, build=self.build, unload=self.unload)

    async def validate(self, plugin):
        self.calls.append("validate")

    async def build(self, plugin):
        self.calls.append("build")

    async def unload(self, plugin):
        self.calls.append("unload")

    async def load(self, plugin):
        self.calls.append("load")
        await asyncio.sleep(self.seconds)
        if self.hangs:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.cancelled += 1
        if (problem := self.fails.pop(0) if self.fails else None) is not None:
            raise problem

    @property
    def loads(self):
        return self.calls.count("load")


async def running(world, name="plug"):
    plug = await world.engine.create(name, lifecycle="plugin")
    for phase in RUN:
        await plug.transition_to(phase)
    return plug


async def crash(world, plug=None):
    plug = plug or world.plug
    await world.loader.host.crashed(plug)
    await world.quiet()


async def again(world, **options):
    """Open another engine, which recovers plugins as the one before did."""
    await world.reopen(reloads=world.reloads, **options)
    world.plug = await world.engine.machine_by_id(world.plug.id)


async def phases(machine, after=0):
    return [change.to for change in await machine.history() if change.position > after]


async def started(world, lifecycle="vm", **said):
    """Create a machine of which this is said, and start it."""
    web = await world.engine.create("web", replace(SPEC, **said), lifecycle=lifecycle)
    await web.start()
    return web


async def died(world, lifecycle="vm", **said):
    """The same, and it ends by itself."""
    web = await started(world, lifecycle, **said)
    world.simulated.die("web")
    await world.quiet()
    return web
