"""The QEMU process, as the bridge owns it or has found it."""

import json
import os
import select
import signal
from pathlib import Path

from .notes import begun, boot
from .wires import WORDS, Broken


class Vmm:
    """The QEMU process: a child, or one that a former bridge has left."""

    def __init__(self, pid: int, *, child: bool) -> None:
        self.pid = pid
        self.child = child
        self.pidfd = os.pidfd_open(pid)
        self.start = begun(pid)

    @classmethod
    def spawned(cls, argv: list[str]) -> "Vmm":
        """Run QEMU in a session of its own; what nobody reads of its words is lost, and holds nobody up."""
        words = (os.POSIX_SPAWN_OPEN, 1, WORDS, os.O_WRONLY | os.O_NONBLOCK, 0)
        streams = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), words, (os.POSIX_SPAWN_DUP2, 1, 2)]
        return cls(os.posix_spawn(argv[0], argv, os.environ, file_actions=streams, setsid=True), child=True)

    @classmethod
    def found(cls) -> "Vmm":
        """Find the process that a former bridge has launched, and no other."""
        note = json.loads(Path("vmm.json").read_text())
        try:
            vmm = cls(note["pid"], child=False)
        except ProcessLookupError:
            raise Broken("QEMU is gone") from None
        if (note["boot"], note["start"]) != (boot(), vmm.start):
            raise Broken("QEMU is gone")
        return vmm

    def kill(self) -> None:
        try:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            return

    def ended(self) -> int | None:
        """Wait for its end, and give its exit status where this process may know it: below zero, a signal."""
        select.select([self.pidfd], [], [])
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]) if self.child else None
