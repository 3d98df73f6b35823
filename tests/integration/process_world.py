"""Real processes as machines for tests: what they are made of, and what is left of them, which is nothing."""

import asyncio
import os
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from secrets import token_hex

import pytest

from eventvm import Process, Spec, Target
from eventvm.providers.process_files import look
from eventvm.testing.contract_provider import ProviderContract

SLEEPER = ("sleep", "1000")
STUBBORN = ("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1000; done")
CANARY = f"CANARY-{token_hex(8)}"


class ProcessContract(ProviderContract):
    """The laws that every provider keeps, for real processes in the directory of the test."""

    lacks = ("snapshot", "restore", "delete_snapshot")

    @pytest.fixture(autouse=True)
    def below(self, directory):
        self.directory = directory

    @asynccontextmanager
    async def open(self):
        yield Process(self.directory)

    async def die(self, provider, target):
        life = look(provider.directories.of(target.id)).life
        life.process.signal(9)
        await life.shim.ended()


def spec(*command, **more):
    return Spec(provider="process", command=command or SLEEPER, **more)


def target(id_="m1", *command, incarnation=1, **more):
    return Target(id_, id_, incarnation, spec(*command, **more))


def running_with(words: bytes, what: str) -> list[int]:
    """Find the processes that have these words in their command line or environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and words in (entry / what).read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return sorted(set(found) - {os.getpid()})


def inside(directory):
    return list(directory.iterdir()) if directory.exists() else []


def holding(words: bytes, root: Path) -> dict[str, bool]:
    """Say of every file below a directory whether these words are in it."""
    return {path.name: words in path.read_bytes() for path in root.rglob("*") if path.is_file()}


def open_still(directory: Path) -> list[str]:
    """Name the descriptors that this process has for machines: pidfds, orders, and files of theirs."""
    links = []
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            links.append(str(each.readlink()))
    return [each for each in links if "pidfd" in each or "memfd:order" in each or str(directory) in each]


async def destroyed(directory):
    provider = Process(directory)
    async for id_ in provider.discover():
        await provider.destroy(target(id_))


async def made(provider, machine, *, running=True):
    await provider.create(machine)
    if running:
        await provider.start(machine)
    return machine


async def said(provider, id_, words, stream="stdout"):
    """Wait until a machine has written so much."""
    heard = b""
    async with asyncio.timeout(20):
        async for chunk in provider.follow(id_, stream):
            heard += chunk
            if words in heard:
                return heard
    raise AssertionError(heard)


async def ended(provider, id_):
    life = look(provider.directories.of(id_)).life
    assert await life.shim.ended_within(20)
