"""The bridge: a program beside QEMU that launches it, hears its guest, and writes down how it ended.

It outlives the engine, runs by the standard library alone, and knows one incarnation of one machine, in whose
directory it works:

* It holds the machine's lock from before QEMU is there until all is written down.
* Nobody is told of a guest before `vmm.json` is durable; a launch that nobody awaits by then leaves nothing.
* An exit code is durable in `exit.json` before the guest is told so; only one that verifies is written.
* `end.json` is written last, once QEMU is gone.
* A guest that was captured goes on, whether or not somebody still waits for the snapshot.
"""

import hmac
import json
import os
import re
import select
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

LAUNCH_SECONDS = 30.0
"""How long QEMU may take until it answers, and until it has loaded a snapshot."""
ATTACH_SECONDS = 5.0
LINE_BYTES = 256
MESSAGE_BYTES = 1 << 20
SOCKETS = ("qmp", "probe", "watch", "line", "console")
"""The monitors of the engine, of its probes and of this program, and the guest's serial ports."""
EXIT = re.compile(rb"EVENTVM1 EXIT ([0-9]{1,10}) ([a-z]{1,16}) ([0-9a-f]{64})")


# --- what is shared with the engine -----------------------------------------------------------------------


def mac_of(key: str, nonce: str, code: int, via: str) -> str:
    """Authenticate an exit code as the guest does."""
    text = f"eventvm-bridge-1 exit {nonce} {code} {via}"
    return hmac.new(bytes.fromhex(key), text.encode(), "sha256").hexdigest()


def boot() -> str:
    """Name this boot of the host."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", "")[:16]


def begun(pid: int) -> int | None:
    """Say at which tick of this boot a process began; None where none runs, zombies included."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def written(name: str, content: dict[str, Any]) -> None:
    """Write a file of this directory, durable and whole or not at all."""
    descriptor = os.open(f".{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(descriptor)
    Path(f".{name}").rename(name)
    directory = os.open(".", os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def now() -> dict[str, Any]:
    """Read this moment off all clocks, as an Instant has them."""
    return {"wall": time.time_ns(), "boot": time.clock_gettime_ns(time.CLOCK_BOOTTIME), "boot_id": boot()}


# --- QEMU ---------------------------------------------------------------------------------------------------


class Broken(Exception):
    """QEMU did not come up."""


class Vmm:
    """The QEMU process: a child, or one that a former bridge has left."""

    def __init__(self, pid: int, *, child: bool) -> None:
        self.pid = pid
        self.child = child
        self.pidfd = os.pidfd_open(pid)
        self.start = begun(pid)

    @classmethod
    def spawned(cls, argv: list[str]) -> "Vmm":
        """Run QEMU in a session of its own; what it has to say goes to `qemu.log`."""
        log = (os.POSIX_SPAWN_OPEN, 1, "qemu.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        streams = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), log, (os.POSIX_SPAWN_DUP2, 1, 2)]
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


class Lines:
    """A socket that carries lines; one that is too long is dropped."""

    def __init__(self, name: str, limit: int, seconds: float) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(seconds)
        self.socket.connect(name)
        self._limit = limit
        self._rest = b""

    def read(self) -> Iterator[bytes] | None:
        """Give the lines that have come; None at the end of the connection."""
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return iter(())
        except ConnectionError:
            data = b""
        if not data:
            return None
        *whole, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-self._limit :]
        return (line.strip(b"\r") for line in whole if len(line) <= self._limit)

    def say(self, line: str) -> None:
        """Send a line, unless nobody takes what was sent before."""
        try:
            self.socket.sendall(f"{line}\n".encode())
        except (BlockingIOError, ConnectionError):
            return


class Monitor(Lines):
    """A QMP connection: commands at first, one after the other; later events, whenever they come."""

    def __init__(self, seconds: float) -> None:
        super().__init__("watch.sock", MESSAGE_BYTES, seconds)
        self._waiting: list[dict[str, Any]] = []
        self.next(lambda message: "QMP" in message)
        self.command("qmp_capabilities")

    def command(self, name: str, **arguments: Any) -> Any:
        self.send(name, **arguments)
        reply = self.next(lambda message: "return" in message or "error" in message)
        if "error" in reply:
            raise Broken(f"{name}: {reply['error']['desc']}")
        return reply["return"]

    def send(self, name: str, **arguments: Any) -> None:
        self.say(json.dumps({"execute": name, "arguments": arguments}))

    def next(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for a message; all others stay for later."""
        seen = 0
        while True:
            for at, message in enumerate(self._waiting[seen:], seen):
                if wanted(message):
                    return self._waiting.pop(at)
            seen = len(self._waiting)
            self._waiting += self.messages()

    def messages(self) -> list[dict[str, Any]]:
        lines = self.read()
        if lines is None:
            raise Broken("QEMU has closed its monitor")
        return [json.loads(line) for line in lines]

    def kept(self) -> list[dict[str, Any]]:
        kept, self._waiting = self._waiting, []
        return kept


class Console:
    """What the guest writes on its first serial port: two files of a bounded size, the newer one open."""

    def __init__(self, limit: int) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect("console.sock")
        self._limit = limit

    def pump(self) -> bool:
        """Keep a chunk of what there is; a disk that is full loses it, and holds nobody up."""
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        with suppress(OSError):
            self._keep(data)
        return bool(data)

    def _keep(self, data: bytes) -> None:
        descriptor = os.open("console.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, data)
            full = os.fstat(descriptor).st_size >= self._limit
        finally:
            os.close(descriptor)
        if full:
            Path("console.log").rename("console.log.1")


# --- the bridge ---------------------------------------------------------------------------------------------


class Bridge:
    """One incarnation, from the launch to the end."""

    def __init__(self, vmm: Vmm, plan: dict[str, Any], seconds: float) -> None:
        self.vmm = vmm
        self.incarnation = plan["incarnation"]
        self.monitor = Monitor(seconds)
        self.line = Lines("line.sock", LINE_BYTES, seconds)
        self.console = Console(plan["console_bytes"])
        secret = json.loads(Path("key").read_text())
        self.key, self.nonce = secret["key"], secret["nonce"]
        self.reason = ""
        self.asked = False
        self.held = False
        self._goes_on = False

    # --- the guest

    def heard(self, line: bytes) -> None:
        """Answer what the guest says; an exit that does not verify makes it begin under its key again."""
        if line == b"EVENTVM1 HELLO":
            self.rekey()
        elif line == b"EVENTVM1 READY" and self.asked:
            self.line.say("STOP")
        elif (told := EXIT.fullmatch(line)) is not None:
            code, via, mac = int(told[1]), told[2].decode(), told[3].decode()
            if hmac.compare_digest(mac, mac_of(self.key, self.nonce, code, via)):
                self._exited(code, via, mac)
                self.line.say("ACK")
            else:
                self.rekey()

    def rekey(self) -> None:
        """Give the guest the key of this incarnation; the empty line ends whatever was half heard."""
        self.line.say(f"\nRUN {self.key} {self.nonce}")

    def _exited(self, code: int, via: str, mac: str) -> None:
        """Keep the first exit code for good, however often it is told."""
        if not Path("exit.json").exists():
            told = {
                "incarnation": self.incarnation,
                "code": code,
                "via": via,
                "nonce": self.nonce,
                "mac": mac,
            }
            written("exit.json", {**told, "at": now()})

    # --- QEMU

    def happened(self, event: dict[str, Any]) -> None:
        """Take an event of QEMU's."""
        match event.get("event"):
            case "SHUTDOWN":
                self.reason = event["data"]["reason"]
            case "POWERDOWN":
                self.asked = True
                self.line.say("STOP")
            case "STOP" | "RESUME" as turn:
                self.held = turn == "STOP"
            case "MIGRATION":
                self._captured(event["data"]["status"])
            case None if "error" in event:
                self._again()

    def _captured(self, status: str) -> None:
        """Let a guest go on that ran when its capture began."""
        if status == "setup":
            self._goes_on = not self.held
        elif status == "completed":
            self._again()

    def _again(self) -> None:
        """Ask until it goes on: QEMU says that a capture is complete before it has let go of it."""
        if self._goes_on and self.held:
            self.monitor.send("cont")

    def run(self, selector: selectors.BaseSelector) -> None:
        """Serve until QEMU is gone."""
        for one in (self.monitor, self.line, self.console):
            one.socket.setblocking(False)  # noqa: FBT003  # the name of the standard library
        for event in self.monitor.kept():
            self.happened(event)
        selector.register(self.vmm.pidfd, selectors.EVENT_READ)
        selector.register(self.monitor.socket, selectors.EVENT_READ, self._monitor_speaks)
        selector.register(self.line.socket, selectors.EVENT_READ, self._guest_speaks)
        selector.register(self.console.socket, selectors.EVENT_READ, self.console.pump)
        alive = True
        while alive:
            for key, _ in selector.select():
                if key.data is None:
                    alive = False
                elif not key.data():
                    selector.unregister(key.fileobj)

    def _monitor_speaks(self) -> bool:
        lines = self.monitor.read()
        for line in lines or ():
            self.happened(json.loads(line))
        return lines is not None

    def _guest_speaks(self) -> bool:
        lines = self.line.read()
        for line in lines or ():
            self.heard(line)
        return lines is not None

    def finish(self) -> None:
        """Hear what was said last, and write the end down."""
        rest = (
            (self.monitor.socket, self._monitor_speaks),
            (self.line.socket, self._guest_speaks),
            (self.console.socket, self.console.pump),
        )
        for end_of, speaks in rest:
            while select.select([end_of], [], [], 0)[0] and speaks():
                pass
        status = self.vmm.ended()
        end = {"reason": self.reason, "status": status, "at": now()}
        written("end.json", end)


# --- the program --------------------------------------------------------------------------------------------


def inherited(descriptor: int) -> int:
    """Let QEMU have a descriptor."""
    os.set_inheritable(descriptor, True)  # noqa: FBT003  # the name of the standard library
    return descriptor


def listening(name: str) -> int:
    """Make a socket that QEMU is to accept on, so that one may connect at once."""
    path = f"{name}.sock"
    Path(path).unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(8)
    return inherited(server.detach())


def memory_of(name: str, content: str) -> int:
    """Put a secret where QEMU can read it: in memory, under no name in any directory."""
    descriptor = os.memfd_create(name)
    os.write(descriptor, content.encode())
    return inherited(descriptor)


def arguments(plan: dict[str, Any]) -> list[str]:
    """Complete QEMU's arguments by what it inherits."""
    more: list[str] = []
    for name in SOCKETS:
        more += ["-chardev", f"socket,id={name},fd={listening(name)},server=on,wait=off"]
    for name, content in plan["secrets"].items():
        file = f"/proc/self/fd/{memory_of(name, content)}"
        more += ["-fw_cfg", f"name=opt/org.eventvm/secrets/{name},file={file}"]
    return [*plan["argv"], *more]


def launched(plan: dict[str, Any], control: socket.socket) -> Bridge:
    """Launch QEMU up to the moment before its guest runs, and begin, unless nobody wants it any more."""
    written("key", {"key": os.urandom(32).hex(), "nonce": os.urandom(16).hex()})
    ram = inherited(os.open(plan["ram"], os.O_RDONLY)) if plan["ram"] else -1
    vmm = Vmm.spawned(arguments(plan))
    try:
        bridge = Bridge(vmm, plan, LAUNCH_SECONDS)
        if plan["ram"]:
            _load(bridge.monitor, ram)
        _awaited(control)
        written("vmm.json", {"pid": vmm.pid, "start": vmm.start, "boot": boot(), "bridge": os.getpid()})
        _begin(bridge, plan)
    except (OSError, ValueError, Broken) as problem:
        vmm.kill()
        vmm.ended()
        Path("vmm.json").unlink(missing_ok=True)
        raise Broken(_last_words() or str(problem)) from problem
    return bridge


def _awaited(control: socket.socket) -> None:
    """Go no further where the engine has given up, or is gone: it would have nothing more to say."""
    if select.select([control], [], [], 0)[0]:
        raise Broken("nobody waits for it any more")


def _load(monitor: Monitor, ram: int) -> None:
    """Load the memory of a captured guest."""
    monitor.command("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
    monitor.command("migrate-incoming", uri=f"fd:{ram}")
    monitor.next(
        lambda message: message.get("event") == "MIGRATION" and message["data"]["status"] == "completed"
    )
    os.close(ram)


def _begin(bridge: Bridge, plan: dict[str, Any]) -> None:
    bridge.held = plan["paused"]
    if plan["ram"]:
        bridge.monitor.kept()
        bridge.rekey()
    if not plan["paused"]:
        bridge.monitor.command("cont")


def _last_words() -> str:
    """Give the last line that QEMU has said."""
    lines = Path("qemu.log").read_text(errors="replace").splitlines() if Path("qemu.log").exists() else []
    return lines[-1][-300:] if lines else ""


def attached(plan: dict[str, Any]) -> Bridge:
    """Take the place of a bridge that was killed."""
    bridge = Bridge(Vmm.found(), plan, ATTACH_SECONDS)
    bridge.held = not bridge.monitor.command("query-status")["running"]
    return bridge


def main() -> None:
    """Take the plan from the engine, answer it once, and serve; the lock is let go with the process."""
    control = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(int(sys.argv[2]), False)  # noqa: FBT003  # the lock is this process's alone
    os.set_inheritable(control.fileno(), False)  # noqa: FBT003  # the name of the standard library
    told = control.makefile("r").readline()
    if not told.endswith("\n"):
        return
    plan = json.loads(told)
    try:
        bridge = attached(plan) if plan["attach"] else launched(plan, control)
    except (OSError, ValueError, Broken) as problem:
        control.sendall(json.dumps({"failed": str(problem)}).encode() + b"\n")
        return
    plan = {}
    answer = json.dumps({"pid": bridge.vmm.pid}).encode() + b"\n"
    with suppress(ConnectionError):
        control.sendall(answer)
    control.close()
    with selectors.DefaultSelector() as selector:
        bridge.run(selector)
    bridge.finish()
    for name in SOCKETS:
        Path(f"{name}.sock").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
