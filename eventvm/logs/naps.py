"""Naps: a busy loop lets another thread of this process have the interpreter."""

import asyncio
import time

NAP_SECONDS = 10e-6
"""Long enough for a thread that waits for the interpreter's lock to wake up and take it."""
EVERY_SECONDS = 1e-3


class Naps:
    """Lets the loop sleep now and then while a thread works for it, at once for the first time.

    A loop that is never idle gives the lock up only for a moment, and takes it back before the thread that
    waits for it has woken: a batch would not begin before the loop has nothing left to do, or never.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._next: asyncio.Handle

    def __enter__(self) -> None:
        self._next = self._loop.call_soon(self._nap)

    def __exit__(self, *_: object) -> None:
        self._next.cancel()

    def _nap(self) -> None:
        time.sleep(NAP_SECONDS)
        self._next = self._loop.call_later(EVERY_SECONDS, self._nap)
