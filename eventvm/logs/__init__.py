"""Where logs are: one function that opens the log that a URL names."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from eventvm.errors import BadInput
from eventvm.log import EventLog
from eventvm.logs.filesystem import file_at, refuse_network
from eventvm.logs.memory import MemoryLog
from eventvm.logs.restoring import restore
from eventvm.logs.sqlite import SqliteLog
from eventvm.logs.sqlite_reader import SqliteReader
from eventvm.shelter import sheltered

__all__ = ["open_log", "restore"]

MEMORY = "memory:"


@asynccontextmanager
async def open_log(
    url: str | Path, *, clock: Callable[[], int] = time.time_ns, read_only: bool = False
) -> AsyncIterator[EventLog]:
    """Open the log at a path, `sqlite:PATH` or `memory:`, and close it at the end of the block.

    Read-only it takes no lock, follows whoever writes, and refuses every append.
    """
    log = await (_opened_to_read(str(url)) if read_only else _opened(str(url), clock))
    try:
        yield log
    finally:
        await sheltered(log.close())


async def _opened(url: str, clock: Callable[[], int]) -> EventLog:
    log = MemoryLog(clock=clock) if url == MEMORY else await SqliteLog.open(_file(url), clock=clock)
    log.begin()
    return log


async def _opened_to_read(url: str) -> EventLog:
    if url == MEMORY:
        raise BadInput("a log in memory cannot be opened read-only: nobody else could write it")
    return await SqliteReader.open(_file(url))


def _file(url: str) -> Path:
    scheme, colon, rest = url.partition(":")
    if colon and scheme == "sqlite":
        return _path("/" + rest.lstrip("/") if rest.startswith("//") else rest)
    if colon and "/" not in scheme and "." not in scheme:
        raise BadInput(f"no log knows {scheme!r} (in {url!r}); use a path, sqlite:PATH or memory:")
    return _path(url)


def _path(text: str) -> Path:
    path = file_at(text)
    refuse_network(path)
    return path
