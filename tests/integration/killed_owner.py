"""An engine that starts one machine and waits to be killed: LOG DIRECTORY [--sandbox] COMMAND..."""

import asyncio
import sys

import eventvm
from eventvm import Process, Sandbox, Spec


async def main(log: str, directory: str, *command: str) -> None:
    """Start it, say so, and stay."""
    spec = Spec(provider="process", command=command)
    if command[0] == "--sandbox":
        spec = Spec(provider="process", command=command[1:], sandbox=Sandbox())
    async with eventvm.open(log, providers=[Process(directory)]) as engine:
        machine = await engine.create("job", spec)
        await machine.start()
        sys.stdout.write(f"{machine.id}\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
