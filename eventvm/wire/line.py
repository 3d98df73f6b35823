"""The line: one connection to the engine that holds a file, with any number of requests under way."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from eventvm import limits
from eventvm.address import owner, reached, socket_of, trusted
from eventvm.errors import BadInput, Closed
from eventvm.wire import words
from eventvm.wire.words import WIRE, Ask, Hello, Terms, Welcome

WELCOME_SECONDS = 60.0
"""How long an engine may take to load its log before it answers."""


class Lost(Exception):
    """The engine at the other end has gone, and nobody will answer."""


class Line:
    """A connection; requests are written at once, and answered in any order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._count = 0
        self._asked: dict[int, tuple[Any, asyncio.Future[Any]]] = {}
        self._hearing: asyncio.Task[None] | None = None
        self.lost = False
        self.pid = 0
        self.lifecycles: list[dict[str, Any]] = []

    @classmethod
    async def dial(cls, log: Path, terms: Terms) -> "Line":
        """Reach the engine that holds a log; OSError or EOFError where there is none that answers."""
        with reached(socket_of(log)) as address:
            reader, writer = await asyncio.open_unix_connection(address, limit=limits.ANSWER_BYTES)
        line = cls(reader, writer)
        try:
            _refuse_stranger(writer, log)
            await line._greet(terms)
        except BaseException:
            await line.hang_up()
            raise
        return line

    async def _greet(self, terms: Terms) -> None:
        self._writer.write(words.line(Hello(WIRE, version("eventvm"), terms)))
        async with asyncio.timeout(WELCOME_SECONDS):
            said = await self._reader.readline()
        if not said:
            raise EOFError
        welcome = msgspec.json.decode(said, type=Welcome | words.Refusal)
        if isinstance(welcome, words.Refusal):
            raise welcome.failure.raised()
        self.pid, self.lifecycles = welcome.pid, welcome.lifecycles

    def listen(self, lost: Callable[[], None]) -> None:
        """Hear the answers from now on, and tell when there will be no more."""
        self._hearing = asyncio.ensure_future(self._hear())
        self._hearing.add_done_callback(lambda _: lost())

    def ask(self, request: Ask) -> asyncio.Future[Any]:
        """Send a request at once, and give its answer to come; Lost where none will."""
        if self.lost:
            raise Closed
        limits.room(len(self._asked), limits.REQUESTS_ASKED, "requests to the engine that holds the log")
        self._count += 1
        written = words.asked(self._count, request)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[self._count] = request.gives, answer
        self._writer.write(written)
        return answer

    async def _hear(self) -> None:
        try:
            while said := await self._reader.readline():
                self._take(words.read_answer(said))
        except (OSError, ValueError, msgspec.MsgspecError):
            pass  # what nobody can read is no answer
        finally:
            self.lost = True
            for _, answer in self._asked.values():
                if not answer.done():
                    answer.set_exception(Lost())
                    answer.exception()  # who asked may be gone
            self._asked.clear()

    def _take(self, said: words.Answer) -> None:
        gives, answer = self._asked.pop(said.id)
        if answer.done():
            return
        if said.failure is not None:
            answer.set_exception(said.failure.raised())
            answer.exception()
        else:
            answer.set_result(msgspec.json.decode(said.answer, type=gives))

    async def hang_up(self) -> None:
        """End the connection; what was asked for goes on."""
        self._writer.close()
        if self._hearing is not None:
            self._hearing.cancel()
            await asyncio.wait([self._hearing])
        with suppress(OSError):
            await self._writer.wait_closed()


def _refuse_stranger(writer: asyncio.StreamWriter, log: Path) -> None:
    if not trusted(owner(writer.get_extra_info("socket")), os.geteuid(), log.stat().st_uid):
        raise BadInput(f"the socket beside {log} is another user's")
