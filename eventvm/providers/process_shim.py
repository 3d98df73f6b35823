"""The shim: owns one process for as long as it lives, and writes down how it ended.

Run as `python -I -S process_shim.py DIRECTORY LOCK`, LOCK being the open lock of the directory, with the
order on its standard input. It imports little of the standard library and nothing else, because there is one
for each machine.

* It leaves the session, the process group and the parent that it was started from.
* It holds the lock as long as anything of the machine runs, and does what the control pipe says.
* The process dies with it: whatever kills the shim leaves no process that nobody owns.
* When the process ends, what is left of its group and all its orphans are killed; then its end is written.
* What the process writes goes through the shim to files of a bounded size. A disk that is full or broken
  loses what was written, and does not hold the process up.
"""

import ctypes
import fcntl
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

SET_PDEATHSIG = 1
SET_CHILD_SUBREAPER = 36
BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
CHUNK = 1 << 16
SWEEP_SECONDS = 5.0
"""How long the shim waits for what it has killed; the kernel may hold a process for longer."""
OBEYED_SECONDS = 1.0
"""How long after its grace an end is still owed to the signal that asked for it."""

ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT
"""Look for a child that has ended, without reaping it."""


class Log:
    """One stream of the process: a pipe on its side, a file and the one before it on the other."""

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self.limit = limit
        self.lost = 0
        self.source, self.given = os.pipe()
        os.set_blocking(self.source, False)
        self.open()

    def open(self) -> None:
        self.file = os.open(self.name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.size = os.fstat(self.file).st_size

    def pump(self) -> bool:
        """Move a chunk of what there is; say whether there was any."""
        try:
            data = os.read(self.source, CHUNK)
        except BlockingIOError:
            return False
        written = 0
        with suppress(OSError):
            if self.size and self.size + len(data) > self.limit:
                self.turn()
            written = os.write(self.file, data)
        self.size += written
        self.lost += len(data) - written
        return bool(data)

    def turn(self) -> None:
        """Begin another file; the one before the last is dropped."""
        full = self.file
        os.rename(self.name, f"{self.name}.1")  # noqa: PTH104  # pathlib costs a third of the shim's start
        self.open()
        os.close(full)


class Shim:
    """One life of one machine."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.life = {"nonce": order["nonce"], "incarnation": order["incarnation"]}
        self.asked = ""
        self.until = 0.0
        with suppress(FileExistsError):
            os.mkfifo("control", 0o600)
        self.control = os.open("control", os.O_RDWR | os.O_NONBLOCK)
        self.logs = [Log(name, order["log_bytes"]) for name in ("stdout.log", "stderr.log")]
        self.woken, wake = os.pipe()
        for end in (self.woken, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def launch(self) -> None:
        """Run the process and write down who it is; where that fails, nothing is left running."""
        failing, failed = os.pipe()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            become(self.order, parent, failed, [log.given for log in self.logs])
        for end in (failed, *(log.given for log in self.logs)):
            os.close(end)
        del self.order["env"]
        with open(failing, "rb") as file:  # noqa: PTH123
            problem = file.read().decode(errors="replace")
        if problem:
            raise OSError(problem)
        try:
            shim, process = self.identity(parent), self.identity(self.pid)
            put("started.json", {**self.life, "shim": shim, "process": process})
        except OSError:
            sweep()
            raise

    def identity(self, pid: int) -> dict[str, Any]:
        return {"pid": pid, "started": started(pid), "boot_id": self.order["boot_id"]}

    def watch(self) -> None:
        """Serve the pipes until the process has ended; its pid stays its own until it is reaped."""
        poll = select.poll()
        serve: dict[int, Callable[[], object]] = {self.woken: self.reap, self.control: self.obey}
        serve |= {log.source: log.pump for log in self.logs}
        for source in serve:
            poll.register(source, select.POLLIN)
        while os.waitid(os.P_PID, self.pid, ENDED) is None:
            for source, _ in poll.poll():
                if serve[source]() is False:
                    poll.unregister(source)

    def reap(self) -> None:
        """Let orphans go that have ended; the process itself is left for last."""
        os.read(self.woken, CHUNK)
        while (seen := os.waitid(os.P_ALL, 0, ENDED)) is not None and seen.si_pid != self.pid:
            os.waitpid(seen.si_pid, 0)

    def obey(self) -> None:
        """Do what was said of this life; what was meant for another is dropped."""
        for line in os.read(self.control, CHUNK).decode(errors="replace").splitlines():
            verb, nonce, grace = (*line.split(), "", "", "")[:3]
            if nonce == self.life["nonce"]:
                self.act(verb, grace)

    def act(self, verb: str, grace: str) -> None:
        match verb:
            case "ask":
                self.asked, self.until = "asked", time.monotonic() + float(grace) + OBEYED_SECONDS
                strike(os.kill, self.pid, signal.SIGTERM)
                strike(os.killpg, self.pid, signal.SIGCONT)
            case "kill":
                self.asked, self.until = "killed", float("inf")
                strike(os.killpg, self.pid, signal.SIGKILL)
            case "pause":
                strike(os.killpg, self.pid, signal.SIGSTOP)
            case "resume":
                strike(os.killpg, self.pid, signal.SIGCONT)

    def end(self) -> None:
        """Kill what is left, then write how the process ended, and when."""
        at = {"wall": time.time_ns(), "boot": time.clock_gettime_ns(BOOT_CLOCK)}
        asked = self.asked if time.monotonic() < self.until else ""
        strike(os.killpg, self.pid, signal.SIGKILL)
        how = status(os.waitpid(self.pid, 0)[1])
        left = sweep()
        for log in self.logs:
            while log.pump():
                pass
        lost = sum(log.lost for log in self.logs)
        at["boot_id"] = self.order["boot_id"]
        put("exit.json", {**self.life, **how, "asked": asked, "at": at, "left": left, "lost": lost})


def status(waited: int) -> dict[str, Any]:
    """Say how a process ended: by a code, or by a signal's name."""
    code = os.waitstatus_to_exitcode(waited)
    if code >= 0:
        return {"code": code}
    try:
        return {"signal": signal.Signals(-code).name}
    except ValueError:
        return {"signal": f"SIGRTMIN+{-code - signal.SIGRTMIN}"}


def become(order: dict[str, Any], parent: int, failed: int, streams: list[int]) -> NoReturn:
    """Turn into the process; where that fails, the reason goes down the pipe."""
    try:
        os.setsid()
        prctl(SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(126)
        for number, stream in enumerate([os.open(os.devnull, os.O_RDONLY), *streams]):
            os.dup2(stream, number)
        forget_signals()
        os.umask(order["umask"])
        os.chdir(order["directory"])
        os.execvpe(order["argv"][0], order["argv"], order["env"])  # noqa: S606  # a command is no shell's line
    except Exception as problem:  # noqa: BLE001  # whatever it is, this copy of the shim must not go on
        why = getattr(problem, "strerror", None) or str(problem)
        os.write(failed, f"cannot run {order['argv'][0]}: {why}".encode(errors="replace"))
    finally:
        os._exit(127)


def forget_signals() -> None:
    """Let every signal do what it does by default; what is ignored here would stay ignored."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def strike(kill: Callable[[int, int], None], pid: int, number: int) -> None:
    """Send a signal; one that has ended, or may not be signalled by us, is left to itself."""
    with suppress(ProcessLookupError, PermissionError):
        kill(pid, number)


def sweep() -> int:
    """Kill every descendant, each as it becomes ours; give how many the kernel would not let go."""
    until = time.monotonic() + SWEEP_SECONDS
    while left := children():
        for pid in left:
            strike(os.kill, pid, signal.SIGKILL)
        if time.monotonic() > until:
            return len(left)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        select.select([], [], [], 0.001)
    return 0


def children() -> list[int]:
    """Name the processes whose parent this one is, by birth or by adoption."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:  # noqa: PTH123
        return [int(pid) for pid in file.read().split()]


def started(pid: int) -> int:
    """Give field 22 of a process: the clock ticks from the boot to its start."""
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
        return int(file.read().rpartition(")")[2].split()[19])


def put(name: str, told: dict[str, Any]) -> None:
    """Put a file in place whole or not at all; it is on the disk when this returns."""
    file = os.open(f".{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(file, json.dumps(told).encode())
    os.fsync(file)
    os.close(file)
    os.rename(f".{name}", name)  # noqa: PTH104
    directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(directory)
    os.close(directory)


def prctl(option: int, value: int) -> None:
    """Tell the kernel something about this process."""
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl refused")


def detach(lock: int) -> None:
    """Leave whoever started us: nobody waits for this process, and no terminal reaches it."""
    if os.fork() != 0:
        os._exit(0)
    os.setsid()
    fcntl.fcntl(lock, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    prctl(SET_CHILD_SUBREAPER, 1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)


def main() -> None:
    """Take the order, launch, tell how that went, and stay until the end."""
    order = json.loads(sys.stdin.buffer.read())
    order["umask"] = os.umask(0o077)
    os.chdir(sys.argv[1])
    detach(int(sys.argv[2]))
    try:
        shim = Shim(order)
        shim.launch()
    except OSError as problem:
        os.write(1, f"{problem}".encode(errors="replace"))
        return
    with suppress(OSError):  # whoever asked may be gone; the machine runs
        os.write(1, b"started")
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    shim.watch()
    shim.end()


if __name__ == "__main__":
    main()
