"""A seat: an engine for as long as a command runs, be it this process's own or that of who holds the log."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Self, TypeVar

import eventvm
from eventvm.cli import place
from eventvm.engine import Engine
from eventvm.errors import Closed, NoSuchMachine
from eventvm.logs import MEMORY, file_of
from eventvm.logs.sqlite_reader import holds_anything
from eventvm.wire.guest import Guest

Given = TypeVar("Given")
GRACE_SECONDS = 60.0
"""How long a command that did not wait for its effect stays until it has ended, where it is the engine."""


class Seat:
    """Takes the next engine when the one it was at has left: what that one refused, it has not begun."""

    def __init__(self, url: str, *, patient: bool = False) -> None:
        self._url = url
        self._options: dict[str, Any] = {"grace_seconds": GRACE_SECONDS} if patient else {}
        self._stack = AsyncExitStack()
        self._taking = asyncio.Lock()
        self._engine: Engine | None = None

    async def __aenter__(self) -> Self:
        await self._take(None)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _take(self, left: Engine | None) -> None:
        async with self._taking:
            if self._engine is left:
                await self._stack.aclose()
                opening = eventvm.open(self._url, **self._options)
                self._engine = await self._stack.enter_async_context(opening)

    @property
    def shared(self) -> bool:
        """Whether another process does what is asked for."""
        return isinstance(self._engine, Guest)

    async def do(self, act: Callable[[Engine], Awaitable[Given]]) -> Given:
        """Do something with an engine; if it has left meanwhile and nothing was done, with the next."""
        while True:
            engine = self._engine
            assert engine is not None
            try:
                return await act(engine)
            except Closed:
                await self._take(engine)


def seated(options: argparse.Namespace, name: str = "") -> Seat:
    """Take a seat at the log that was named; a machine that has to be there is in no log that is not."""
    url = place.named(options)
    if name and not there(url):
        raise NoSuchMachine(name)
    return Seat(url, patient=not getattr(options, "wait", True))


def there(url: str) -> bool:
    """Say whether there is a log at all."""
    return url != MEMORY and holds_anything(file_of(url))
