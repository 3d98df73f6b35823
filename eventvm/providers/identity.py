"""Which process is meant: a pid with the time of its start and the boot, which a recycled pid cannot fake."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from eventvm.clock import boot_id

DEAD = "ZX"
"""States of a process that has ended, even though its pid still answers to signals."""


class Identity(Struct, frozen=True, gc=False):
    """One process of one boot."""

    pid: int
    started: int
    """Clock ticks from the boot to its start: field 22 of /proc/PID/stat."""
    boot_id: str

    def state(self) -> str:
        """Give the letter that the kernel has for its state; empty where the process is no more."""
        seen = _stat(self.pid)
        if seen is None or seen.started != self.started or self.boot_id != boot_id():
            return ""
        return seen.state

    def lives(self) -> bool:
        """Say whether it still runs; one that nobody has reaped yet does not."""
        return self.state() not in ("", *DEAD)

    def open(self) -> int | None:
        """Open a pidfd of it, to signal it or to await its end; None where it is gone.

        The identity is checked after the pidfd is open: from there on no other process can be meant.
        """
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        if self.lives():
            return descriptor
        os.close(descriptor)
        return None

    def signal(self, number: int) -> None:
        """Send it a signal; one that is gone is left alone, and so is whoever has its pid now."""
        if (descriptor := self.open()) is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
            os.close(descriptor)

    async def ended(self) -> None:
        """Wait until it has ended, however long that takes."""
        descriptor = self.open()
        if descriptor is None:
            return
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        loop.add_reader(descriptor, over.set)
        try:
            await over.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    async def ended_within(self, seconds: float) -> bool:
        """Wait for its end for a while, and say whether it came."""
        try:
            async with asyncio.timeout(seconds):
                await self.ended()
        except TimeoutError:
            return not self.lives()
        return True


class _Stat(NamedTuple):
    state: str
    started: int


def identify(pid: int) -> Identity | None:
    """Say which process has this pid now."""
    seen = _stat(pid)
    return None if seen is None else Identity(pid, seen.started, boot_id())


def carrying(mark: bytes) -> list[Identity]:
    """Find the processes that were started with these words in their environment, or by one that was."""
    pids = (int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit())
    found = (identify(pid) for pid in pids if mark in _environment(pid))
    return [one for one in found if one is not None]


def _environment(pid: int) -> bytes:
    """Read what a process was started with; nothing of one that has ended, or is another user's."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _stat(pid: int) -> _Stat | None:
    """Read what the kernel says of a process; its name may hold blanks and brackets."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return _Stat(fields[0], int(fields[19]))
