"""Where logs are: one function that opens the log that a URL names."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from eventvm.errors import BadInput
from eventvm.logs.group_commit import GroupCommit
from eventvm.logs.memory import MemoryLog
from eventvm.logs.sqlite import SqliteLog


@asynccontextmanager
async def open_log(url: str | Path, *, clock: Callable[[], int] = time.time_ns) -> AsyncIterator[GroupCommit]:
    """Open the log at a path, `sqlite:PATH` or `memory:`, and close it at the end of the block."""
    log = await _opened(str(url), clock)
    try:
        log.begin()
        yield log
    finally:
        with anyio.CancelScope(shield=True):
            await log.close()


async def _opened(url: str, clock: Callable[[], int]) -> GroupCommit:
    scheme, colon, rest = url.partition(":")
    if url == "memory:":
        return MemoryLog(clock=clock)
    if colon and scheme == "sqlite":
        return await SqliteLog.open(_path(rest, url), clock=clock)
    if colon and "/" not in scheme and "." not in scheme:
        raise BadInput(f"no log knows {scheme!r} (in {url!r}); use a path, sqlite:PATH or memory:")
    return await SqliteLog.open(_path(url, url), clock=clock)


def _path(text: str, url: str) -> Path:
    path = Path("/" + text.lstrip("/") if text.startswith("//") else text)
    if not text or path.is_dir():
        raise BadInput(f"{url!r} names no file")
    if not path.parent.is_dir():
        raise BadInput(f"the directory {path.parent} does not exist; create it first")
    return path
