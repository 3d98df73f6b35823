"""QEMU's monitor: one bounded conversation at a time, through `qemu.qmp`."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from eventvm.errors import EventvmError

CONNECT_SECONDS = 1.0
COMMAND_SECONDS = 5.0
LOOK_AGAIN_SECONDS = 0.002
BROKEN = ("guest-panicked", "internal-error")
"""What QEMU calls a guest that stands still and can never go on."""


class Unreachable(EventvmError):
    """QEMU's monitor does not answer; whether the machine lives is not told by this."""


class Gone(Unreachable):
    """Nobody accepts on QEMU's monitor, or it closed in the middle of a conversation."""


class Declined(EventvmError):
    """QEMU has heard the command and does not carry it out."""


class Monitor:
    """A connected monitor."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def do(self, command: str, **arguments: Any) -> Any:
        """Carry out one command; what became of it is unknown when this raises Unreachable."""
        from qemu.qmp import ExecInterruptedError, ExecuteError, StateError  # noqa: PLC0415  # an extra, loaded when needed

        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                return await self._client.execute(command, arguments or None)
        except TimeoutError:
            raise Unreachable(f"QEMU did not answer {command} within {COMMAND_SECONDS:g} s") from None
        except ExecuteError as problem:
            raise Declined(f"QEMU declines {command}: {problem}") from None
        except (ExecInterruptedError, StateError, EOFError, OSError) as problem:
            raise Gone(f"QEMU closed its monitor during {command}") from problem

    async def go_on(self) -> None:
        """Let the guest go on; QEMU declines that until it has quite let go of a capture."""
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                while not (state := await self.do("query-status"))["running"]:
                    if state["status"] in BROKEN:
                        raise Declined(f"QEMU does not let a guest go on that is broken: {state['status']}")
                    with suppress(Declined):
                        await self.do("cont")
                    await asyncio.sleep(LOOK_AGAIN_SECONDS)
        except TimeoutError:
            raise Unreachable("QEMU does not let its guest go on") from None

    async def capture(self, descriptor: int) -> None:
        """Write the guest's memory into a file, and wait until it is whole."""
        self._client.send_fd_scm(descriptor)
        await self.do("getfd", fdname="capture")
        await self.do("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
        await self.do("migrate-set-parameters", **{"max-bandwidth": 1 << 40, "downtime-limit": 10_000})
        await self.do("migrate", uri="fd:capture")
        while (status := (await self.do("query-migrate")).get("status")) != "completed":
            if status in ("failed", "cancelled"):
                raise EventvmError("QEMU could not capture the guest; see qemu.log in the run directory")
            await asyncio.sleep(LOOK_AGAIN_SECONDS)


@asynccontextmanager
async def monitor(directory: Path, name: str = "qmp") -> AsyncIterator[Monitor]:
    """Converse with the QEMU of a run directory, however long the directory's path is."""
    from qemu.qmp import ConnectError, QMPClient  # noqa: PLC0415  # an extra, loaded when needed

    logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)  # it logs each refused connection as an error
    client = QMPClient(name)
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await client.connect(f"/proc/self/fd/{descriptor}/{name}.sock")
    except TimeoutError:
        raise Unreachable("QEMU does not answer its monitor") from None
    except ConnectError as problem:
        raise Gone("nobody answers QEMU's monitor") from problem
    finally:
        os.close(descriptor)
    try:
        yield Monitor(client)
    finally:
        with suppress(EOFError, OSError):  # it tells again, by design, how the connection ended
            await client.disconnect()
