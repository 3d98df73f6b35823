"""Hints: a process that ends is heard of at once, whoever's child it is."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable

from eventvm.providers.qemu.places import Place

HINTS = 1024
"""How many hints a slow reader may leave unread; a hint more is lost, as hints may be."""


class Hints:
    """Who listens, and which processes are watched for them."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[str]] = set()
        self._watched: dict[int, asyncio.AbstractEventLoop] = {}

    async def follow(self, places: Iterable[Place]) -> AsyncIterator[str]:
        """Give the ids of machines whose process has ended: of those that run now, and of all later ones."""
        listener: asyncio.Queue[str] = asyncio.Queue(HINTS)
        self._listeners.add(listener)
        try:
            for place in places:
                self._watch(place)
            while True:
                yield await listener.get()
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                self._forget()

    def watch(self, place: Place) -> None:
        """Watch the process of a machine that was launched; one that has ended by now is told of at once."""
        if self._listeners and not self._watch(place):
            self._tell(place.id)

    def _watch(self, place: Place) -> bool:
        """Watch the process of a machine; say whether there is any."""
        run = place.last()
        vmm = None if run is None else run.vmm()
        descriptor = None if vmm is None else vmm.identity.open()
        if descriptor is None:
            return False
        loop = asyncio.get_running_loop()
        self._watched[descriptor] = loop
        loop.add_reader(descriptor, self._ended, descriptor, place.id)
        return True

    def _ended(self, descriptor: int, id_: str) -> None:
        self._close(descriptor)
        self._tell(id_)

    def _tell(self, id_: str) -> None:
        for listener in self._listeners:
            if not listener.full():
                listener.put_nowait(id_)

    def _forget(self) -> None:
        for descriptor in list(self._watched):
            self._close(descriptor)

    def _close(self, descriptor: int) -> None:
        self._watched.pop(descriptor).remove_reader(descriptor)
        os.close(descriptor)
