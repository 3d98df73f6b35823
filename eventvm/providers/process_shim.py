"""The shim: owns one process for as long as it lives, and writes down how it ended.

Run as `python -I -S process_shim.py DIRECTORY LOCK`, LOCK being the open lock of the directory, with the
order on its standard input. It imports little of the standard library and nothing else, because there is one
for each machine.

* It leaves the session, the process group and the parent that it was started from.
* It holds the lock as long as anything of the machine runs, and does what the control pipe says.
* The process dies with it: whatever kills the shim leaves no process that nobody owns.
* When the process ends, what is left of its group and all its orphans are killed; then its end is written.
* A process in a sandbox is asked, and tells how it ended, through the first process of the sandbox.
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
PARENT, STARTED = 1, 19
"""Where the kernel tells of a process who its parent is, and at which tick of the boot it was started."""
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


class Inside:
    """The way into a sandbox: its first process runs the command, and tells how that goes."""

    def __init__(self) -> None:
        self.told, self.tell = os.pipe()
        self.known, self.know = os.pipe()
        self.first: int | None = None
        for end in (self.told, self.known):
            os.set_blocking(end, False)

    def argv(self, order: dict[str, Any], failed: int) -> list[str]:
        """Complete the sandbox's command line by what is inherited, and by the command."""
        for end in (failed, self.tell, self.know):
            os.set_inheritable(end, True)  # noqa: FBT003  # the name of the standard library
        program, *rest = order["sandbox"]
        ends = [str(failed), str(self.tell)]
        return [program, "--json-status-fd", str(self.know), *rest, *ends, *order["argv"]]

    def came_up(self, parent: int) -> bool:
        """Say whether the sandbox has run its first process, and take hold of that if it still lives."""
        os.close(self.tell)
        os.close(self.know)
        self.heard = read(self.told)
        if not self.heard:
            return False
        pid = json.loads(read(self.known).splitlines()[0])["child-pid"]
        with suppress(OSError):
            first = os.pidfd_open(pid)
            if field(pid, PARENT) == parent:
                self.first = first
        return True

    def ask(self) -> None:
        """Ask the command to end."""
        if self.first is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.first, signal.SIGTERM)

    def ended(self) -> dict[str, Any]:
        """Say how the command ended; with a sandbox that went without a word, it was killed."""
        _, _, waited = (self.heard + read(self.told)).partition(b" ")
        return status(int(waited)) if waited else {"signal": "SIGKILL"}


class Shim:
    """One life of one machine."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.life = {"nonce": order["nonce"], "incarnation": order["incarnation"]}
        self.asked = ""
        self.until = 0.0
        self.inside = Inside() if order["sandbox"] else None
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
        argv = self.inside.argv(self.order, failed) if self.inside else self.order["argv"]
        self.pid = os.fork()
        if self.pid == 0:
            become(self.order, argv, parent, failed, [log.given for log in self.logs])
        for end in (failed, *(log.given for log in self.logs)):
            os.close(end)
        del self.order["env"]
        with open(failing, "rb") as file:  # noqa: PTH123
            problem = file.read().decode(errors="replace")
        if self.inside and not self.inside.came_up(self.pid) and not problem:
            problem = self.complaint()
        if problem:
            self.unbound()
            raise OSError(problem)
        try:
            shim, process = self.identity(parent), self.identity(self.pid)
            put("started.json", {**self.life, "shim": shim, "process": process})
        except OSError:
            sweep()
            raise

    def complaint(self) -> str:
        """Give what the sandbox has said instead of running anything."""
        os.waitpid(self.pid, 0)
        said = read(self.logs[1].source).decode(errors="replace").strip()
        return said.removeprefix("bwrap: ") or "the sandbox did not come up"

    def identity(self, pid: int) -> dict[str, Any]:
        return {"pid": pid, "started": field(pid, STARTED), "boot_id": self.order["boot_id"]}

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
                self.ask()
                strike(os.killpg, self.pid, signal.SIGCONT)
            case "kill":
                self.asked, self.until = "killed", float("inf")
                strike(os.killpg, self.pid, signal.SIGKILL)
            case "pause":
                strike(os.killpg, self.pid, signal.SIGSTOP)
            case "resume":
                strike(os.killpg, self.pid, signal.SIGCONT)

    def ask(self) -> None:
        if self.inside:
            self.inside.ask()
        else:
            strike(os.kill, self.pid, signal.SIGTERM)

    def end(self) -> None:
        """Kill what is left, then write how the process ended, and when."""
        at = {"wall": time.time_ns(), "boot": time.clock_gettime_ns(BOOT_CLOCK)}
        asked = self.asked if time.monotonic() < self.until else ""
        strike(os.killpg, self.pid, signal.SIGKILL)
        how = status(os.waitpid(self.pid, 0)[1])
        if self.inside:
            how = self.inside.ended()
        left = sweep()
        out_of_memory = self.unbound()
        for log in self.logs:
            while log.pump():
                pass
        lost = sum(log.lost for log in self.logs)
        at["boot_id"] = self.order["boot_id"]
        rest = {"asked": asked, "at": at, "left": left, "lost": lost, "out_of_memory": out_of_memory}
        put("exit.json", {**self.life, **how, **rest})

    def unbound(self) -> bool:
        """Remove the control groups, and say whether the kernel killed in them because memory was over."""
        killed = any(kills(file) for file in self.order["told_of_memory"])
        for group in self.order["groups"]:
            with suppress(OSError):
                os.rmdir(group)  # noqa: PTH106  # as above
        return killed


def status(waited: int) -> dict[str, Any]:
    """Say how a process ended: by a code, or by a signal's name."""
    code = os.waitstatus_to_exitcode(waited)
    if code >= 0:
        return {"code": code}
    try:
        return {"signal": signal.Signals(-code).name}
    except ValueError:
        return {"signal": f"SIGRTMIN+{-code - signal.SIGRTMIN}"}


def become(
    order: dict[str, Any], argv: list[str], parent: int, failed: int, streams: list[int]
) -> NoReturn:  # fmt: skip
    """Turn into the process; where that fails, the reason goes down the pipe."""
    try:
        for group in order["groups"]:
            with open(f"{group}/cgroup.procs", "w") as file:  # noqa: PTH123
                file.write("0")
        os.setsid()
        prctl(SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(126)
        for number, stream in enumerate([os.open(os.devnull, os.O_RDONLY), *streams]):
            os.dup2(stream, number)
        forget_signals()
        os.umask(order["umask"])
        os.chdir(order["directory"])
        os.execvpe(argv[0], argv, order["env"])  # noqa: S606  # a command is no shell's line
    except Exception as problem:  # noqa: BLE001  # whatever it is, this copy of the shim must not go on
        why = getattr(problem, "strerror", None) or str(problem)
        os.write(failed, f"cannot run {argv[0]}: {why}".encode(errors="replace"))
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


def field(pid: int, at: int) -> int:
    """Give what the kernel says of a process, by the place after its name."""
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
        return int(file.read().rpartition(")")[2].split()[at])


def read(pipe: int) -> bytes:
    """Take what there is in a pipe, and wait for nothing."""
    try:
        return os.read(pipe, CHUNK)
    except BlockingIOError:
        return b""


def kills(file: str) -> bool:
    """Say whether a control group's file counts any process that was killed because memory was over."""
    try:
        with open(file) as told:  # noqa: PTH123
            return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in told)
    except OSError:
        return False


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
