"""The bridge at work: it answers the guest, follows QEMU's events, and writes down how both ended."""

import hmac
import json
import re
import select
import selectors
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .notes import mac_of, now, written
from .vmm import Vmm
from .wires import Console, Lines, Monitor, Words

LINE_BYTES = 256
EXIT = re.compile(rb"EVENTVM1 EXIT ([0-9]{1,10}) ([a-z]{1,16}) ([0-9a-f]{64})")


class Bridge:
    """One incarnation, from the launch to the end."""

    def __init__(self, vmm: Vmm, words: Words, plan: dict[str, Any], seconds: float) -> None:
        self.vmm = vmm
        self.words = words
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
        selector.register(self.words.source, selectors.EVENT_READ, self.words.pump)
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
        rest: tuple[tuple[Any, Callable[[], bool]], ...] = (
            (self.words.source, self.words.pump),
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
