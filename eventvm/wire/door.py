"""The door: where other processes of the same user reach the engine that holds a log's file.

Rules:

* It is bound, mode 0600, by who holds the log's lock, and removed before that is let go. Who comes while the
  engine still loads waits; who comes while it leaves is told Closed.
* What a caller has asked for is the engine's from then on: a caller that goes away cancels nothing.
* Lines, requests under way and callers are bounded. One that sends garbage, or is slow, harms itself alone.
"""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw

from eventvm import limits
from eventvm.address import bound, owner, remove, socket_of, trusted
from eventvm.commands import Create
from eventvm.engine import Engine, Handle
from eventvm.engine.orphans import owner_of
from eventvm.errors import BadInput, EventvmError
from eventvm.lifecycle import encode
from eventvm.lifecycles import LIFECYCLES
from eventvm.log import EventLog
from eventvm.provider import Provider
from eventvm.shelter import sheltered
from eventvm.wire import words
from eventvm.wire.terms import check, completed
from eventvm.wire.words import (
    Adopt,
    Answer,
    Begin,
    Discover,
    Hello,
    Look,
    LookAtAll,
    Refusal,
    Send,
    Terms,
    Welcome,
)

logger = logging.getLogger("eventvm")

HELLO_SECONDS = 10.0
"""How long somebody may stay who does not say who it is."""
FAREWELL_SECONDS = 1.0
"""How long the last answers may take, once the engine has left."""


class Door:
    """The socket beside a log, and who has come through it."""

    def __init__(self, listening: socket.socket | None, terms: Terms) -> None:
        self._socket = listening
        """None where nobody can come, because the log is in memory or its directory takes no socket."""
        self._terms = terms
        self._server: asyncio.Server | None = None
        self._callers: set[Caller] = set()

    async def open(self, engine: Engine) -> None:
        """Let in who has come, and who will."""
        if self._socket is None:
            return

        def enter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            caller = Caller(engine, self._terms, reader, writer)
            caller.staying = asyncio.ensure_future(caller.stay(others=len(self._callers)))
            caller.staying.add_done_callback(lambda _: self._callers.discard(caller))
            self._callers.add(caller)

        self._server = await asyncio.start_unix_server(
            enter, sock=self._socket, limit=limits.REQUEST_BYTES - 1
        )

    async def close(self) -> None:
        """Let nobody in any more, and give who is there the answers that there are."""
        if self._server is not None:
            self._server.close()
        elif self._socket is not None:
            self._socket.close()
        if self._callers:
            await asyncio.wait([asyncio.ensure_future(one.see_off()) for one in self._callers])


@asynccontextmanager
async def doored(log: EventLog, terms: Terms, providers: Iterable[Provider]) -> AsyncIterator[Door]:
    """Have a door beside a log for as long as the block; who has come meanwhile hears its last answers."""
    path = socket_of(file) if (file := owner_of(log)) else None
    door = Door(_listening(path), completed(terms, log, providers))
    try:
        yield door
    finally:
        if path is not None:
            remove(path)
        await sheltered(door.close())


def _listening(path: Path | None) -> socket.socket | None:
    try:
        return None if path is None else bound(path)
    except OSError as problem:
        logger.warning("no other process can act through this engine: %s: %s", path, problem)
        return None


class Caller:
    """Another process, as the engine meets it."""

    def __init__(
        self, engine: Engine, terms: Terms, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._engine = engine
        self._terms = terms
        self._reader = reader
        self._writer = writer
        self._room = asyncio.Semaphore(limits.CALLER_REQUESTS)
        self._answering: set[asyncio.Task[None]] = set()
        self.staying: asyncio.Task[None]
        """Its task, which ends when it goes away or is sent away."""

    async def stay(self, *, others: int) -> None:
        """Listen until it goes away or says what nobody understands."""
        try:
            self._admit(others)
            await self._greet()
            while line := await self._heard():
                await self._take(line)
        except (EventvmError, msgspec.MsgspecError, ValueError, TimeoutError) as problem:
            await self._refuse(problem)
        except OSError:
            logger.debug("a caller has gone away")
        finally:
            self._writer.close()

    def _admit(self, others: int) -> None:
        if not trusted(owner(self._writer.get_extra_info("socket")), os.geteuid()):
            raise BadInput("the log belongs to another user")
        limits.room(others, limits.CALLERS, "processes that use this engine")

    async def _greet(self) -> None:
        async with asyncio.timeout(HELLO_SECONDS):
            line = await self._reader.readline()
        if not line:
            return
        hello = words.read_hello(line)
        if hello.wire != words.WIRE:
            raise BadInput(
                f"eventvm {version('eventvm')} holds the log, not {hello.release}: use the same release"
            )
        self._engine.check_open()
        check(hello.terms, self._terms, self._engine)
        await self._say(words.line(self._welcome(hello)))

    async def _heard(self) -> bytes:
        try:
            return await self._reader.readline()
        except ValueError:
            raise BadInput(f"the request has no end; {words.TAKEN}") from None

    def _welcome(self, hello: Hello) -> Welcome:
        """Tell it the definitions that it cannot know: those that were given here, or of another release."""
        same = hello.release == version("eventvm")
        there = self._engine.lifecycles()
        new = [one for one in there if not (same and LIFECYCLES.get(one.name) is one)]
        return Welcome(os.getpid(), [msgspec.json.decode(encode(one)) for one in new])

    async def _refuse(self, problem: Exception) -> None:
        """Say why it cannot stay."""
        why = problem if isinstance(problem, EventvmError) else BadInput(f"this is no request: {problem}")
        await self._say(words.line(Refusal(words.failure(why))))

    async def _take(self, line: bytes) -> None:
        """Begin what it asks for; what was asked earlier begins earlier."""
        asked = words.read_asked(line)
        await self._room.acquire()
        task = asyncio.ensure_future(self._answer(asked))
        self._answering.add(task)
        task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._answering.discard(task)
        self._room.release()

    async def _answer(self, asked: words.Asked) -> None:
        try:
            done = await self._done(words.read_request(asked.request))
            said = Answer(asked.id, Raw(words.encode(done)))
        except msgspec.MsgspecError as problem:
            said = Answer(asked.id, failure=words.failure(BadInput(f"this is no request: {problem}")))
        except Exception as problem:
            if not isinstance(problem, EventvmError):
                logger.exception("a request of another process failed")
            said = Answer(asked.id, failure=words.failure(problem))
        await self._say(words.answered(said))

    async def _say(self, line: bytes) -> None:
        with suppress(OSError):
            self._writer.write(line)
            await self._writer.drain()

    async def see_off(self) -> None:
        """Give it the answers that there are, then let it go, though it may not listen."""
        if self._answering:
            await asyncio.wait(tuple(self._answering), timeout=FAREWELL_SECONDS)
        for task in tuple(self._answering):
            task.cancel()
        self.staying.cancel()
        self._writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self._writer.wait_closed()
        self._writer.transport.abort()
        await asyncio.wait([self.staying])

    # --- what is asked for

    def _done(self, request: words.Request) -> Coroutine[Any, Any, Any]:
        match request:
            case Send():
                return self._send(request)
            case Begin():
                return self._begin(request)
            case Adopt():
                return self._adopt(request)
            case Look():
                return self._look(request)
            case LookAtAll():
                return self._engine.reconcile()
            case Discover():
                return self._engine.orphans()

    async def _handle(self, id_: str, name: str) -> Handle:
        if self._engine.cells.held(id_) is None:
            await self._engine.machine_by_id(id_)
        cell = await self._engine.cells.cell(id_)
        return Handle(self._engine, name, cell.machine.rules, cell)

    async def _send(self, asked: Send) -> Any:
        if asked.machine:
            handle = await self._handle(asked.machine, asked.name)
        else:
            handle = Handle(self._engine, asked.name, self._engine.rules(asked.lifecycle), None)
        return await handle.send(
            asked.command, key=asked.key, actor=asked.actor, wait=asked.wait, queue=asked.queue
        )

    async def _begin(self, asked: Begin) -> Any:
        wish = asked.command
        if isinstance(wish, Create):
            made = await self._engine.create(
                wish.name, wish.spec, lifecycle=wish.lifecycle, phase=wish.phase, reason=wish.reason,
                key=asked.key, actor=asked.actor, wait=asked.wait,
            )  # fmt: skip
        else:
            source = await self._handle(wish.source, "")
            made = await self._engine.clone(
                source, wish.name, wish.snapshot, wish.spec, reason=wish.reason,
                key=asked.key, actor=asked.actor, wait=asked.wait,
            )  # fmt: skip
        return made.receipt

    async def _adopt(self, asked: Adopt) -> Any:
        made = await self._engine.adopt(
            asked.orphan, asked.name, asked.spec, lifecycle=asked.lifecycle, reason=asked.reason,
            actor=asked.actor,
        )  # fmt: skip
        return made.receipt

    async def _look(self, asked: Look) -> Any:
        handle = await self._handle(asked.machine, "")
        if asked.observation is None:
            return await handle.reconcile()
        return await handle.tell(asked.observation)
