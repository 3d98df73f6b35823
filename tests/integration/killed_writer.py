"""A program that forks writers on request, kills them at random moments, and says what it heard.

A request is JSON {path, name, acks, microseconds, early, suicide}; the answer is the lines that the writer
wrote to its pipe: "tried NAME SIZE" before an append, "acked NAME" after its await has returned.
"""

import asyncio
import json
import os
import random
import select
import signal
import sys

from eventvm.events import Transitioned
from eventvm.log import Append
from eventvm.logs import open_log
from eventvm.observation import Instant

CALLERS = 8
AT = Instant(1_700_000_000_000_000_000, 1_000_000_000, "boot-1")


class Writer:
    """The one that is killed."""

    def __init__(self, request: dict, pipe: int) -> None:
        self.request = request
        self.pipe = pipe
        self.acks = 0

    def tell(self, line: str) -> None:
        os.write(self.pipe, f"{line}\n".encode())

    def ack(self, name: str) -> None:
        self.tell(f"acked {name}")
        self.acks += 1
        if self.request["suicide"] and self.acks == self.request["acks"]:
            os.kill(os.getpid(), signal.SIGKILL)

    async def write(self) -> None:
        async with open_log(self.request["path"]) as log:
            await asyncio.gather(*(self.call(log, caller) for caller in range(CALLERS)))

    async def call(self, log, caller: int) -> None:
        """Append without end, one to four events at a time; the mutant acknowledges too early."""
        stream, chance, version = f"{self.request['name']}.{caller}", random.Random(caller), 0
        while True:
            size = chance.randint(1, 4)
            name = f"{stream}@{version}"
            self.tell(f"tried {name} {size}")
            events = tuple(Transitioned(at=AT, to=f"{name}/{at}") for at in range(size))
            ticket = log.append(Append(stream, events, version))
            if self.request["early"]:
                self.ack(name)
                await ticket
            else:
                await ticket
                self.ack(name)
            version += size


def killed(request: dict) -> list[str]:
    """Fork a writer, kill it a moment after it has acknowledged so much, and give what it told."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        asyncio.run(Writer(request, writing).write())
        os._exit(0)
    os.close(writing)
    heard = bytearray()
    while heard.count(b"acked") < request["acks"] and (more := os.read(reading, 65536)):
        heard += more
    select.select([], [], [], request["microseconds"] / 1e6)
    os.kill(child, signal.SIGKILL)
    while more := os.read(reading, 65536):
        heard += more
    os.close(reading)
    os.waitpid(child, 0)
    return heard.decode().splitlines()


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(json.dumps(killed(json.loads(line))) + "\n")
        sys.stdout.flush()
