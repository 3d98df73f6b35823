"""A program at work that is asked to end, by a signal or by a cancellation; it says what it saw.

Its lines: "acked MACHINE VERSION" for each receipt, "heard NAME" for each who waited, then its threads.
"""

import asyncio
import os
import random
import signal
import sys
import threading

import eventvm
from eventvm import Spec
from eventvm.providers.simulated import Script, Simulated

PATH, HOW, SEED = sys.argv[1], sys.argv[2], int(sys.argv[3])
CALLERS = 8


def tell(line: str) -> None:
    os.write(1, f"{line}\n".encode())


async def work(engine: eventvm.Engine, name: str) -> None:
    """Start and stop machines without end."""
    for at in range(1_000_000):
        machine = await engine.create(f"{name}-{at}", Spec(provider="simulated"))
        for wish in (machine.start, machine.stop, machine.destroy):
            receipt = await wish()
            tell(f"acked {receipt.machine} {receipt.version}")


async def stray(waiting) -> None:
    """Wait beside the block, as a part of the application that knows nothing of its end."""
    try:
        await waiting
    except eventvm.EventvmError as problem:
        tell(f"heard {type(problem).__name__}")


async def read(engine: eventvm.Engine) -> None:
    async for _ in engine.events():
        pass


def cancel_soon(task: asyncio.Task) -> None:
    """Cancel at some moment, and once more while the first time is still being heard."""
    loop, chance = asyncio.get_running_loop(), random.Random(SEED)
    first = chance.uniform(0.05, 0.3)
    loop.call_later(first, task.cancel)
    loop.call_later(first + chance.uniform(0, 0.02), task.cancel)


async def main() -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    world = Simulated()
    for call in ("create", "start", "stop", "destroy"):
        world.always("*", call, Script(seconds=0.002))
    strays = []
    try:
        async with eventvm.open(PATH, providers=[world], grace_seconds=0.1) as engine:
            nobody = await engine.machine("nobody")
            strays = [asyncio.create_task(stray(one)) for one in (read(engine), nobody.wait("running"))]
            if HOW == "cancel":
                cancel_soon(task)
            async with asyncio.TaskGroup() as tasks:
                for at in range(CALLERS):
                    tasks.create_task(work(engine, f"{SEED}-{at}"))
    finally:
        tell(f"threads {sorted(one.name for one in threading.enumerate())}")
        if strays:
            await asyncio.wait(strays)


try:
    asyncio.run(main())
except (KeyboardInterrupt, asyncio.CancelledError):
    tell("left")
