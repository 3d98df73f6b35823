"""An engine that starts one machine and waits to be killed: LOG DIRECTORY COMMAND..."""

import asyncio
import sys

import eventvm
from eventvm import Process, Spec


async def main(log: str, directory: str, *command: str) -> None:
    """Start it, say so, and stay."""
    async with eventvm.open(log, providers=[Process(directory)]) as engine:
        machine = await engine.create("job", Spec(provider="process", command=command))
        await machine.start()
        sys.stdout.write(f"{machine.id}\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
