"""Which process is meant: a pid with the time of its start and the boot, which a recycled pid cannot fake."""

import os
from pathlib import Path

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
        alive = seen is not None and seen[1] == self.started and self.boot_id == boot_id()
        return seen[0] if alive and seen is not None else ""

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


def identify(pid: int) -> Identity | None:
    """Say which process has this pid now."""
    seen = _stat(pid)
    return None if seen is None else Identity(pid, seen[1], boot_id())


def _stat(pid: int) -> tuple[str, int] | None:
    """Read the state and the start of a process; its name may hold blanks and brackets."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], int(fields[19])
