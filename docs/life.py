#!/usr/bin/env python3
"""Draw docs/life.svg: a real guest under QEMU lives, is captured, killed, restored, and asked to end.

Nothing in it is made up: the guest runs, SIGKILL is sent to its QEMU, and the picture is drawn from the log.
"""

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

import anyio

import eventvm
from eventvm import Spec
from eventvm.engine import Engine, Handle
from eventvm.picture import Lives, picture
from eventvm.portrait import portrait
from eventvm.providers.qemu import TINY, Qemu
from eventvm.providers.qemu.places import Place

PICTURE = Path(__file__).with_name("life.svg")
SPEC = Spec(provider="qemu", kernel=str(TINY), boot_args="code=3 count", cpus=2, memory=8 << 20)
SECONDS = 30


async def live(root: Path, pace: float) -> str:
    """Live the life, each of its waits so many times as long, and draw it."""
    async with eventvm.open(root / "log.db", providers=[Qemu(root / "qemu")]) as engine:
        web = await engine.create("web-1", SPEC)
        await anyio.sleep(pace)
        await web.start()
        await anyio.sleep(2 * pace)
        await web.snapshot("before")
        await anyio.sleep(2 * pace)
        await killed(web, root)
        await anyio.sleep(1.5 * pace)
        await web.restore("before")
        await anyio.sleep(2.5 * pace)
        await web.stop(reason="maintenance")
        await anyio.sleep(1.5 * pace)
        await web.delete_snapshot("before")
        await web.destroy()
        return await drawn(engine, web)


async def killed(web: Handle, root: Path) -> None:
    """Kill its QEMU as nothing in it could prevent, and wait until the engine has noticed by itself."""
    run = Place(root / "qemu", web.id).last()
    vmm = run.vmm() if run is not None else None
    assert vmm is not None, "it runs"
    os.kill(vmm.pid, signal.SIGKILL)
    await web.wait("stopped", timeout=SECONDS)


async def drawn(engine: Engine, web: Handle) -> str:
    """Draw what the log tells."""
    lives = Lives()
    for record in (await engine.log.read(limit=engine.log.tree.size)).records:
        lives.apply(record)
    return portrait(picture([lives.life(lives.pasts.known(web.id), engine.clock.now())], None, None))


def main() -> None:
    """Live and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pace", type=float, default=1.0, help="how many seconds a wait's second takes")
    parser.add_argument("--file", type=Path, default=PICTURE, help="where to draw (default: docs/life.svg)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        picture = anyio.run(live, Path(root), options.pace)
    options.file.write_text(picture, encoding="utf-8")
    sys.stdout.write(f"{options.file}: drawn from the log of a life\n")


if __name__ == "__main__":
    main()
