"""What a bridge hears: lines over sockets, QEMU's monitor, and the logs that it keeps of what is said."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

MESSAGE_BYTES = 1 << 20
WORDS = "qemu.fifo"
"""What QEMU's own messages go through: whoever is the bridge reads them, and nobody holds QEMU up."""
WORDS_BYTES = 1 << 18
CHUNK = 1 << 16


class Broken(Exception):
    """QEMU did not come up."""


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


class Kept:
    """A log of two files of a bounded size, the newer one open for more."""

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit

    def keep(self, data: bytes) -> None:
        """Keep what was said; a disk that is full loses it, and holds nobody up."""
        with suppress(OSError):
            descriptor = os.open(self._name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(descriptor, data)
                full = os.fstat(descriptor).st_size >= self._limit
            finally:
                os.close(descriptor)
            if full:
                Path(self._name).rename(f"{self._name}.1")


class Console:
    """What the guest writes on its first serial port."""

    def __init__(self, limit: int) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect("console.sock")
        self._kept = Kept("console.log", limit)

    def pump(self) -> bool:
        """Keep a chunk of what there is; say whether there may be more."""
        try:
            data = self.socket.recv(CHUNK)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        self._kept.keep(data)
        return bool(data)


class Words:
    """What QEMU itself has to say, which a guest can bring about."""

    def __init__(self) -> None:
        with suppress(FileExistsError):
            os.mkfifo(WORDS, 0o600)
        self.source = os.open(WORDS, os.O_RDONLY | os.O_NONBLOCK)
        self._kept = Kept("qemu.log", WORDS_BYTES)

    def pump(self) -> bool:
        """Keep a chunk of what there is; say whether there may be more."""
        try:
            data = os.read(self.source, CHUNK)
        except BlockingIOError:
            return True
        self._kept.keep(data)
        return bool(data)

    def last(self) -> str:
        """Give the last line that was said, once QEMU is gone."""
        while self.pump():
            pass
        log = Path("qemu.log")
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return lines[-1][-300:] if lines else ""
