"""Hints: which processes have ended, heard from the kernel and not by looking again and again."""

import asyncio
import os
from collections.abc import AsyncIterator

from eventvm.providers.process_files import look
from eventvm.providers.rundir import RunDirectories


class Hints:
    """One stream of hints, with one descriptor for each machine that runs."""

    def __init__(self, directories: RunDirectories) -> None:
        self._directories = directories
        self._watched: dict[str, int] = {}
        self._ended: dict[str, None] = {}
        self._news = asyncio.Event()

    async def follow(self) -> AsyncIterator[str]:
        """Give each machine that has ended, once for each end; those at first that run no more."""
        for id_ in self._directories.ids():
            self.watch(id_)
        while True:
            await self._news.wait()
            self._news.clear()
            while self._ended:
                id_ = next(iter(self._ended))
                del self._ended[id_]
                yield id_

    def watch(self, id_: str) -> None:
        """Await the end of what runs; what has ended already is hinted at, and what never ran is not."""
        self._let_go(id_)
        try:
            life = look(self._directories.of(id_)).life
        except (OSError, ValueError):
            return
        if life is None:
            return
        descriptor = life.shim.open()
        if descriptor is None:
            self._tell(id_)
        else:
            self._watched[id_] = descriptor
            asyncio.get_running_loop().add_reader(descriptor, self._over, id_)

    def close(self) -> None:
        """Watch nothing any more."""
        for id_ in list(self._watched):
            self._let_go(id_)

    def _over(self, id_: str) -> None:
        self._let_go(id_)
        self._tell(id_)

    def _tell(self, id_: str) -> None:
        self._ended[id_] = None
        self._news.set()

    def _let_go(self, id_: str) -> None:
        descriptor = self._watched.pop(id_, None)
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)
