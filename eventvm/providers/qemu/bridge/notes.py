"""What the bridge writes down, and what it shares with the engine: notes that are durable, and the MAC."""

import hmac
import json
import os
import time
from pathlib import Path
from typing import Any


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
