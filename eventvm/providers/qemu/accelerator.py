"""Which accelerator a guest may have: KVM only once a guest has run under it, for a device proves nothing."""

import asyncio
import os
import subprocess
from pathlib import Path

from eventvm.providers.qemu.arguments import BINARY

PROOF_SECONDS = 1.0
"""How long the tiny guest may take until it speaks; a KVM that works takes a tenth of it."""
TINY = Path(__file__).with_name("guest") / "tiny.elf"
"""A guest of a few kilobytes; what it does is said at the top of its source."""

_proven: dict[str, str] = {}


async def accelerator() -> str:
    """Say `kvm` where a guest has proven within this process that it runs under it, else `tcg`."""
    if "here" not in _proven:
        usable = os.access("/dev/kvm", os.R_OK | os.W_OK)
        _proven["here"] = "kvm" if usable and await runs("kvm") else "tcg"
    return _proven["here"]


async def runs(accelerator: str) -> bool:
    """Run the tiny guest until it speaks."""
    process = await asyncio.create_subprocess_exec(
        BINARY, "-machine", "q35", "-accel", accelerator, "-cpu", "qemu64", "-m", "8", "-nodefaults",
        "-no-user-config", "-display", "none", "-no-reboot", "-kernel", str(TINY),
        "-serial", "null", "-serial", "stdio",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PROOF_SECONDS):
            return await process.stdout.readline() == b"EVENTVM1 HELLO\n"
    except TimeoutError:
        return False
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
