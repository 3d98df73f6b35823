"""Real guests for tests: what they are made of, what they leave behind, and how one waits for their end."""

import asyncio
import shutil
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import pytest
from msgspec.structs import replace

from eventvm.observation import Observation
from eventvm.provider import Target
from eventvm.providers.qemu import TINY, Qemu
from eventvm.providers.qemu.ladder import gone
from eventvm.providers.qemu.places import Place, Run, machines
from eventvm.spec import Spec

NEEDED = "QEMU is missing: apt install qemu-system-x86, and pip install 'eventvm[qemu]'"
THERE = shutil.which("qemu-system-x86_64") is not None and find_spec("qemu") is not None
needs_qemu = pytest.mark.skipif(not THERE, reason=NEEDED)

SECONDS = 10.0


def tiny(boot_args: str = "", **more) -> Spec:
    """Give the spec of a tiny guest that does as it is told."""
    return replace(Spec(provider="qemu", kernel=str(TINY), memory=8 << 20), boot_args=boot_args, **more)


class Guests:
    """The guests of one test, below one root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.provider = Qemu(root, accelerator="tcg")

    @asynccontextmanager
    async def made(self, boot_args: str = "", **more):
        """Make a guest of its own; gives its target."""
        target = Target(str(uuid4()), "guest", 1, tiny(boot_args, **more))
        await self.provider.create_with_spec(target, target.spec)
        yield target

    @asynccontextmanager
    async def running(self, boot_args: str = "", **more):
        """Run a guest of its own; gives its target."""
        async with self.made(boot_args, **more) as target:
            await self.provider.start(target)
            yield target

    def place(self, target: Target) -> Place:
        return Place(self.root, target.id)

    def run(self, target: Target) -> Run:
        run = self.place(target).last()
        assert run is not None, "it was never launched"
        return run

    def pid(self, target: Target) -> int:
        return self.run(target).vmm().pid

    async def over(self, target: Target) -> Observation:
        """Wait until the process of a guest is gone, and look."""
        assert await gone(self.run(target).vmm().identity, SECONDS), "it does not end"
        return await self.provider.probe(target)

    async def heard(self, target: Target, what: str) -> None:
        """Wait until a guest has written something on its console."""
        console = self.run(target).path / "console.log"
        await self.until(target, lambda _: console.exists() and what in console.read_text())

    async def until(self, target: Target, holds) -> None:
        """Look again and again until what is seen holds, for a bounded time."""
        async with asyncio.timeout(SECONDS):
            while not holds(await self.provider.probe(target)):
                pass

    async def clear(self) -> None:
        """Destroy what the test has left, so that nothing is left but what should not be there."""
        for id_ in machines(self.root).ids():
            await self.provider.destroy(Target(id_, "guest", 1, Spec(provider="qemu")))
        shutil.rmtree(self.root / "snapshots", ignore_errors=True)

    def left(self) -> list[str]:
        """Name the processes that work below the root, and the files there."""
        files = [str(path) for path in self.root.rglob("*") if path != self.root / "machines"]
        return [*processes(self.root), *files]


def processes(root: Path) -> list[str]:
    """Name the living processes whose working directory lies below a root, removed or not."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(root):
                found.append(f"{process.name}: {(process / 'cmdline').read_text()[:200]}")
        except OSError:
            continue
    return found
