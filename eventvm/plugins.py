"""A host of plugins: builds, validates and loads them along the phases of `plugin`, recovers what crashed.

The three callables are the host's own; here is only in which order they are called, and what is recorded
when. Give ``reload`` to ``eventvm.open(reloads={"plugin": host.reload})``, and the supervisor calls it after
each backoff, across restarts. At the start of a host ``reconcile`` brings the records to what is on disk.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from msgspec import Struct

from eventvm.engine import Engine, Handle
from eventvm.errors import EventvmError
from eventvm.observation import LOST, Evidence, Instant, Observation
from eventvm.spec import Spec

Deed = Callable[[Handle], Awaitable[None]]
"""Something that a host does for a plugin; it raises when it fails."""

LIFECYCLE = "plugin"


class Found(Struct, frozen=True):
    """A plugin as it lies on disk."""

    name: str
    binary: bool = True
    """Whether it is built."""
    dev: bool = False
    """Whether it is adopted as one under development; what is recorded already keeps its own mark."""


class Died(EventvmError):
    """The plugin died while it was being loaded."""


async def nothing(_: Handle) -> None:
    """Do nothing, well."""


class PluginHost:
    """Plugins that one application runs."""

    def __init__(
        self, *, load: Deed, validate: Deed = nothing, build: Deed = nothing, unload: Deed = nothing
    ) -> None:
        self._load = load
        self._validate = validate
        self._build = build
        self._unload = unload
        self._loading: dict[str, asyncio.Future[None]] = {}
        """For plugins that are being loaded: resolved when one dies meanwhile."""

    # --- a person's wishes

    async def install(
        self, engine: Engine, name: str, spec: Spec | None = None, *, fetch: Deed = nothing
    ) -> Handle:
        """Begin the life of a plugin, and have it fetched."""
        plugin = await engine.create(name, spec, lifecycle=LIFECYCLE)
        await plugin.transition_to("Installing", "install")
        await self._step(plugin, fetch, "Installed", "fetched")
        return plugin

    async def load(self, plugin: Handle) -> None:
        """Build what is under development, validate, and run; a failure is recorded and raised."""
        if plugin.phase == "Building" or (plugin.machine.spec.dev and plugin.phase != "Stopped"):
            if plugin.phase != "Building":
                await plugin.transition_to("Building", "load")
            await self._step(plugin, self._build, "Validating", "built", failed="BuildFailed")
        else:
            await plugin.transition_to("Validating", "load")
        await self._step(plugin, self._validate, "Starting", "valid")
        await self._step(plugin, self._alive(self._load), "Running", "loaded")

    async def unload(self, plugin: Handle) -> None:
        """Stop a plugin that runs."""
        await plugin.transition_to("Stopping", "unload")
        await self._step(plugin, self._unload, "Stopped", "unloaded")

    async def retry(self, plugin: Handle) -> None:
        """Load it anew because a person asks for it: attempts and crashes are forgotten."""
        await plugin.reset_retry(reason="a person's retry")
        await self.load(plugin)

    async def uninstall(self, plugin: Handle, *, remove: Deed = nothing) -> None:
        """End a plugin's life from wherever it is; a recovery ends with it, and nothing is loaded after."""
        if plugin.active:
            await self.unload(plugin)
        elif plugin.phase == "Recovering":
            await plugin.transition_to("Failed", "uninstall")
        await plugin.transition_to("Uninstalling", "uninstall")
        await self._step(plugin, remove, "Uninstalled", "removed")

    async def _step(
        self, plugin: Handle, deed: Deed, done: str, reason: str, *, failed: str = "Failed"
    ) -> None:
        """Do one thing, and move to where that leads."""
        try:
            await deed(plugin)
        except Exception as problem:
            await plugin.transition_to(failed, str(problem) or type(problem).__name__)
            raise
        await plugin.transition_to(done, reason)

    # --- crashes

    async def crashed(self, plugin: Handle, *, at: Instant | None = None) -> None:
        """Tell that a plugin's process is gone; told twice, it is one crash."""
        loading = self._loading.get(plugin.id)
        if loading is not None:
            if not loading.done():
                loading.set_result(None)
            return
        evidence = Evidence("host", when=at)
        generation = plugin.generation if plugin.active else 0  # its recovery may be on its way to the log
        await plugin.tell(Observation("gone", evidence, exists=True, end=LOST, generation=generation))

    async def reload(self, plugin: Handle) -> None:
        """Bring a plugin back that crashed; the supervisor calls this, and records what comes of it."""
        await self._validate(plugin)
        await self._alive(self._load)(plugin)

    def _alive(self, load: Deed) -> Deed:
        """Give a load that fails when the plugin dies before it is over."""

        async def loaded(plugin: Handle) -> None:
            died: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._loading[plugin.id] = died
            loading = asyncio.ensure_future(load(plugin))
            try:
                await asyncio.wait({loading, died}, return_when=asyncio.FIRST_COMPLETED)
                if loading.done():
                    await loading
                if died.done():
                    raise Died(f"{plugin.name} died while it was loaded")
            finally:
                loading.cancel()
                if self._loading.get(plugin.id) is died:
                    del self._loading[plugin.id]

        return loaded

    # --- the start of a host

    async def reconcile(self, engine: Engine, found: Iterable[Found]) -> list[Handle]:
        """Bring the records of all plugins to what is on disk, and give those that are installed."""
        on_disk = {one.name: one for one in found}
        recorded = engine.every(lifecycle=LIFECYCLE, ended=False)
        plugins = {plugin.name: plugin async for plugin in recorded}
        for name, ghost in plugins.items():
            if name not in on_disk:
                await ghost.force_phase("Uninstalled", "ghost: in the records, and not on disk")
        return [
            await self._settle(plugins.get(name) or await self._adopt(engine, one), one)
            for name, one in on_disk.items()
        ]

    @staticmethod
    async def _adopt(engine: Engine, found: Found) -> Handle:
        plugin = await engine.create(found.name, Spec(dev=found.dev), lifecycle=LIFECYCLE)
        await plugin.force_phase("Installed", "adopted: on disk, and not in the records")
        return plugin

    @staticmethod
    async def _settle(plugin: Handle, found: Found) -> Handle:
        to, reason = _settled(plugin.machine.spec, found)
        if plugin.phase != to:
            await plugin.force_phase(to, reason)
        return plugin


def _settled(spec: Spec, found: Found) -> tuple[str, str]:
    """Say in which phase a host begins with a plugin that is installed, and why."""
    if spec.disabled:
        return "Stopped", "disabled"
    if found.binary:
        return "Installed", "on disk when its host began"
    return ("Building" if spec.dev else "Failed"), "its binary is missing"
