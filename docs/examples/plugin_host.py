"""A host of plugins: programs in a directory, run as child processes, brought back when they crash.

The host says what loading and unloading mean; `PluginHost` calls it along the phases, and the engine records
each step, waits out the backoffs and keeps the budgets. Run it: `python docs/examples/plugin_host.py`
"""

import asyncio
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path

import eventvm
from eventvm import Engine, Handle, Transition
from eventvm.plugins import Found, PluginHost

PLUGINS = {
    "clock": "print('ready', flush=True); input()",
    "fragile": "print('ready', flush=True); input(); raise SystemExit('lost its temper')",
    "broken": "raise SystemExit('no such library')",
}
"""Each says when it is ready, and ends when it is told to."""


class Processes:
    """The plugins of one directory as child processes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.host = PluginHost(load=self.load, validate=self.validate, unload=self.unload)
        self.running: dict[str, Process] = {}
        self.watching: set[asyncio.Task[None]] = set()

    def found(self) -> list[Found]:
        """List what is on disk."""
        return [Found(path.stem) for path in sorted(self.directory.glob("*.py"))]

    async def validate(self, plugin: Handle) -> None:
        """Refuse a program that is none."""
        compile((self.directory / f"{plugin.name}.py").read_text(), plugin.name, "exec")

    async def load(self, plugin: Handle) -> None:
        """Start a plugin, and be done when it says that it is ready."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(self.directory / f"{plugin.name}.py"),
            stdin=PIPE, stdout=PIPE, stderr=DEVNULL,
        )  # fmt: skip
        assert process.stdout is not None
        if await process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"it ended with code {await process.wait()}")
        self.running[plugin.name] = process
        watching = asyncio.create_task(self.watch(plugin, process))
        self.watching.add(watching)
        watching.add_done_callback(self.watching.discard)

    async def watch(self, plugin: Handle, process: Process) -> None:
        """Tell of a crash; what is unloaded ends on purpose."""
        await process.wait()
        if self.running.get(plugin.name) is process:
            del self.running[plugin.name]
            await self.host.crashed(plugin)

    async def unload(self, plugin: Handle) -> None:
        """End a plugin and wait until it has."""
        process = self.running.pop(plugin.name)
        process.kill()
        await process.wait()

    def provoke(self, name: str) -> None:
        """Say something to a plugin; some cannot stand that."""
        stdin = self.running[name].stdin
        assert stdin is not None
        stdin.write(b"hello\n")


def tell(plugin: Handle, change: Transition) -> None:
    """Print each step of each plugin."""
    print(f"  {plugin.name:8} {change.from_:>12} -> {change.to:12} {change.reason}")


async def serve(engine: Engine, processes: Processes) -> None:
    """Load what is there, lose one plugin, and see it come back."""
    forget = engine.observe(tell)
    for plugin in await processes.host.reconcile(engine, processes.found()):
        try:
            await processes.host.load(plugin)
        except RuntimeError as problem:
            print(f"{plugin.name} cannot be loaded: {problem}")
    fragile = await engine.machine("fragile", lifecycle="plugin")
    crashed = fragile.machine.position
    processes.provoke("fragile")
    await fragile.wait("Recovering", after=crashed, timeout=10)
    print("fragile has crashed, and is brought back in two seconds")
    await fragile.wait("Running", after=crashed + 1, timeout=10)
    for name in list(processes.running):
        await processes.host.unload(await engine.machine(name, lifecycle="plugin"))
    print(f"phases: {engine.counts().phases['plugin']}")
    forget()


async def main() -> None:
    """Put some plugins into a directory, and host them."""
    with tempfile.TemporaryDirectory() as directory:
        for name, program in PLUGINS.items():
            (Path(directory) / f"{name}.py").write_text(program)
        processes = Processes(Path(directory))
        reloads = {"plugin": processes.host.reload}
        async with eventvm.open(Path(directory) / "host.db", reloads=reloads) as engine:
            await serve(engine, processes)


asyncio.run(main())
