"""The ladder that a stop goes down, rung by rung; each is written down before anything is done."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress

from msgspec import Struct

from eventvm.provider import Unclear
from eventvm.providers.identity import Identity
from eventvm.providers.qemu.monitor import Declined, Unreachable, monitor
from eventvm.providers.qemu.places import Place, Run

GRACE_SECONDS = 10.0
"""How long a guest is asked whose spec does not say."""
QUIT_SECONDS = 2.0
KILL_SECONDS = 5.0
WRITTEN_SECONDS = 5.0
"""How long a bridge may take to write the end down."""
SHORTEST_SECONDS = 0.5
"""How often at most the power button is pressed."""


class Rung(Struct, frozen=True):
    """One way to ask, how long to wait for what comes of it, and how often to ask again."""

    name: str
    act: Callable[[Run], Awaitable[None]]
    seconds: float
    again_seconds: float


async def press(run: Run) -> None:
    """Press the power button; the bridge sees it, and asks the guest, which must not stand still, as well."""
    async with monitor(run.path) as qmp:
        await qmp.go_on()
        await qmp.do("system_powerdown")


async def leave(run: Run) -> None:
    """Tell QEMU to quit; that it hangs up before it answers is no failure."""
    async with monitor(run.path) as qmp:
        await qmp.do("quit")


async def kill(run: Run) -> None:
    """Kill the process that is meant, and no other that may have its pid by now."""
    vmm = run.vmm()
    descriptor = None if vmm is None else vmm.identity.open()
    if descriptor is not None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)


def rungs(grace_seconds: float) -> tuple[Rung, ...]:
    """Give the ladder from the kindest rung on; without grace nobody is asked."""
    again = max(SHORTEST_SECONDS, grace_seconds / 6)
    asked = (Rung("power button", press, grace_seconds, again),) if grace_seconds > 0 else ()
    return (*asked, Rung("quit", leave, QUIT_SECONDS, QUIT_SECONDS), KILL)


KILL = Rung("kill", kill, KILL_SECONDS, KILL_SECONDS)


async def descend(place: Place, run: Run, ladder: tuple[Rung, ...]) -> None:
    """Go down until the machine is gone and its end is written down."""
    vmm = run.vmm()
    assert vmm is not None, "only what was launched is stopped"
    for rung in ladder:
        if not vmm.identity.lives():
            break
        run.step_on(rung.name)
        if await _ends(run, vmm.identity, rung):
            break
    else:
        raise Unclear(f"QEMU {vmm.pid} does not end, though it was killed: the kernel holds it")
    try:
        await place.settled(WRITTEN_SECONDS)
    except TimeoutError:
        raise Unclear(f"the bridge of {place.id} has not written its end down yet") from None


async def _ends(run: Run, identity: Identity, rung: Rung) -> bool:
    """Act until the process is gone or the rung's time is up; a rung that cannot act is left at once."""
    left = rung.seconds
    while left > 0:
        try:
            await rung.act(run)
        except (Unreachable, Declined):
            return await gone(identity, min(left, rung.again_seconds, SHORTEST_SECONDS))
        if await gone(identity, min(left, rung.again_seconds)):
            return True
        left -= rung.again_seconds
    return False


async def gone(identity: Identity, seconds: float) -> bool:
    """Wait for the end of a process, whoever's child it is."""
    descriptor = identity.open()
    if descriptor is None:
        return True
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        async with asyncio.timeout(seconds):
            await ended.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return True
