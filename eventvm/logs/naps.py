"""Naps: a busy loop lets the threads of its log have the interpreter."""

import asyncio
import time

NAP_SECONDS = 10e-6
"""Long enough for a thread that waits for the interpreter's lock to wake up and take it."""
EVERY_SECONDS = 1e-3


class Naps:
    """Lets the loop sleep for a moment now and then, as long as anybody waits for another thread.

    A loop that is never idle gives the lock up only for an instant, and takes it back before the thread that
    waits for it has woken: the thread would not go on before the loop has nothing left to do, or never.
    """

    def __init__(self) -> None:
        self._waiting = 0
        self._next: asyncio.Handle | None = None

    def __enter__(self) -> None:
        self._waiting += 1
        if self._next is None:
            self._next = asyncio.get_running_loop().call_later(EVERY_SECONDS, self._nap)

    def __exit__(self, *_: object) -> None:
        self._waiting -= 1
        if not self._waiting and self._next is not None:
            self._next.cancel()
            self._next = None

    def soon(self) -> None:
        """Nap once what is to be done is handed over, so that it begins while the loop does other work."""
        asyncio.get_running_loop().call_soon(time.sleep, NAP_SECONDS)

    def _nap(self) -> None:
        time.sleep(NAP_SECONDS)
        self._next = asyncio.get_running_loop().call_later(EVERY_SECONDS, self._nap)
