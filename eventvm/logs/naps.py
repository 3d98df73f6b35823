"""Naps: a busy loop lets another thread of this process have the interpreter."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

NAP_SECONDS = 10e-6
"""Long enough for a thread that waits for the interpreter's lock to wake up and take it."""
EVERY_SECONDS = 500e-6


@contextmanager
def naps() -> Iterator[None]:
    """Let the loop sleep now and then while a thread works for it, at once for the first time.

    A loop that is never idle gives the lock up only for a moment, and takes it back before the thread that
    waits for it has woken: a batch would not begin before the loop has nothing left to do, or never.
    """
    loop = asyncio.get_running_loop()

    def nap() -> None:
        nonlocal coming
        time.sleep(NAP_SECONDS)
        coming = loop.call_later(EVERY_SECONDS, nap)

    coming: asyncio.Handle = loop.call_soon(nap)
    try:
        yield
    finally:
        coming.cancel()
