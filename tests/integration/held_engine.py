"""An engine that holds a log for others, until it is killed: LOG."""

import asyncio
import sys

import eventvm


async def main(log: str) -> None:
    """Open the log, say so, and stay."""
    async with eventvm.open(log):
        sys.stdout.write("open\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
