"""The program: it launches QEMU, or finds one that a former bridge has left, and serves until it is gone."""

import json
import os
import select
import selectors
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from .beside import Bridge
from .notes import boot, written
from .vmm import Vmm
from .wires import Broken, Monitor, Words

LAUNCH_SECONDS = 30.0
"""How long QEMU may take until it answers, and until it has loaded a snapshot."""
ATTACH_SECONDS = 5.0
SOCKETS = ("qmp", "probe", "watch", "line", "console")
"""The monitors of the engine, of its probes and of this program, and the guest's serial ports."""


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
    words = Words()
    vmm = Vmm.spawned(arguments(plan))
    try:
        bridge = Bridge(vmm, words, plan, LAUNCH_SECONDS)
        if plan["ram"]:
            _load(bridge.monitor, ram)
        _awaited(control)
        written("vmm.json", {"pid": vmm.pid, "start": vmm.start, "boot": boot(), "bridge": os.getpid()})
        _begin(bridge, plan)
    except (OSError, ValueError, Broken) as problem:
        vmm.kill()
        vmm.ended()
        Path("vmm.json").unlink(missing_ok=True)
        raise Broken(words.last() or str(problem)) from problem
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


def attached(plan: dict[str, Any]) -> Bridge:
    """Take the place of a bridge that was killed."""
    bridge = Bridge(Vmm.found(), Words(), plan, ATTACH_SECONDS)
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
