#!/usr/bin/env python3
"""Draw docs/life.svg: a real guest under QEMU lives, is captured, killed, restored, and asked to end.

Nothing in it is made up: the guest runs, SIGKILL is sent to its QEMU, and the picture is drawn from the log.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio

import eventvm
from eventvm import Spec, events
from eventvm.engine import Engine, Handle
from eventvm.observation import Clean, End
from eventvm.portrait import Mark, portrait
from eventvm.providers.qemu import TINY, Qemu
from eventvm.providers.qemu.places import Place
from eventvm.record import Record

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
    records = (await engine.log.read(stream=web.id, limit=engine.log.tree.size)).records
    marks = [mark for record in records for mark in marked(record)]
    until = marks[-1].at + (marks[-1].at - marks[0].at) // 24
    return portrait("web-1", await web.history(), await web.intervals(), until, marks)


def marked(record: Record) -> Iterator[Mark]:
    """Say what of a record is written above the picture."""
    match record.event:
        case events.Exited(at=at, end=End() as end):
            yield Mark(at.wall, f"kill -9: {told(end)}", full=True)
        case events.Stopped(at=at, end=End() as end):
            yield Mark(at.wall, f"{end.rung}: {told(end)}", full=True)
        case events.Snapshotted(at=at, snapshot=snapshot):
            yield Mark(at.wall, f"snapshot {snapshot!r}")
        case events.Restored(at=at, incarnation=incarnation):
            yield Mark(at.wall, f"restored, incarnation {incarnation}")
        case events.Created(at=at) | events.Started(at=at) | events.Destroyed(at=at):
            yield Mark(at.wall, type(record.event).__name__.lower())
        case _:
            return


def told(end: End) -> str:
    """Say how an end is known."""
    if isinstance(end.termination, Clean):
        return f"exit code {end.termination.code}, authenticated"
    return f"{end.terminal_state}, no exit code"


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
