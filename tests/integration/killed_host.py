"""A host whose plugin crashes again and again, until the host itself is killed: PATH JOURNAL.

It prints a line at each step, and notes each load in the journal before it does it.
"""

import asyncio
import sys
from pathlib import Path

from msgspec.structs import replace

import eventvm
from eventvm.lifecycles import plugin
from eventvm.observation import Evidence, Observation
from eventvm.retry import Backoff

NAME = "quick"
QUICK = replace(
    plugin, name=NAME,
    recovery=replace(plugin.recovery, crashes=1000, backoff=Backoff(0.01, 0.05, 100)),
)  # fmt: skip
"""`plugin`, with a backoff that a test can wait for."""


def say(word: str) -> None:
    """Tell whoever is about to kill us how far we are."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


class Host:
    """Loads a plugin; some loads fail, and some hang until their deadline, or until the host is killed."""

    def __init__(self, journal: str) -> None:
        self.journal = Path(journal)

    async def load(self, plug: eventvm.Handle) -> None:
        upkeep = plug.machine.upkeep
        assert upkeep is not None
        with self.journal.open("a") as journal:
            journal.write(f"{len(upkeep.crashes)}.{upkeep.attempt}.{plug.machine.since}\n")
        say("load")
        match (len(upkeep.crashes) + upkeep.attempt) % 3:
            case 0:
                raise RuntimeError("no socket")
            case 1:
                await asyncio.get_running_loop().create_future()
            case _:
                pass

    async def run(self, path: str) -> None:
        """Crash for ever."""
        async with eventvm.open(
            path, lifecycles=[QUICK], reloads={NAME: self.load}, deadline_seconds=0.1
        ) as engine:
            plug = await engine.machine("plug", lifecycle=NAME)
            if not plug.id:
                plug = await engine.create("plug", lifecycle=NAME, phase="Running")
            while True:
                await plug.wait("Running", after=plug.machine.position - 1)
                say("running")
                await plug.tell(Observation("gone", Evidence("host")))
                say("crashed")


if __name__ == "__main__":
    asyncio.run(Host(sys.argv[2]).run(sys.argv[1]))
