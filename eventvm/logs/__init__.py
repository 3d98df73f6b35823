"""Where logs are: one function that opens the log that a URL names."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from eventvm.errors import BadInput, NotSigned
from eventvm.log import EventLog
from eventvm.logs.filesystem import file_at, refuse_network
from eventvm.logs.memory import MemoryLog
from eventvm.logs.restoring import restore
from eventvm.logs.signed import notes
from eventvm.logs.sqlite import SqliteLog
from eventvm.logs.sqlite_reader import SqliteReader
from eventvm.shelter import sheltered
from eventvm.signing.keys import named

__all__ = ["file_of", "located", "open_log", "restore"]

MEMORY = "memory:"


@asynccontextmanager
async def open_log(
    url: str | Path, *, clock: Callable[[], int] = time.time_ns, read_only: bool = False,
    signing: str | Path | None = None,
) -> AsyncIterator[EventLog]:  # fmt: skip
    """Open the log at a path, `sqlite:PATH` or `memory:`, and close it at the end of the block.

    Read-only it takes no lock, follows whoever writes, and refuses every append. With the file of a key, from
    `signing` or EVENTVM_SIGNING_KEY, each commit carries a signed checkpoint.
    """
    log = await (_opened_to_read(str(url)) if read_only else _opened(str(url), clock, signing))
    try:
        yield log
    finally:
        await sheltered(log.close())


async def _opened(url: str, clock: Callable[[], int], signing: str | Path | None) -> EventLog:
    log = _in_memory(clock, signing) if url == MEMORY else await _in_file(url, clock, signing)
    log.begin()
    return log


def _in_memory(clock: Callable[[], int], signing: str | Path | None) -> MemoryLog:
    if signing is not None:
        raise BadInput("a log in memory is not signed: it goes with its process")
    return MemoryLog(clock=clock)


async def _in_file(url: str, clock: Callable[[], int], signing: str | Path | None) -> SqliteLog:
    log = await SqliteLog.open(file_of(url), clock=clock, signing=named(signing))
    try:
        await _refuse_keyless(log)
    except BaseException:
        await sheltered(log.close())
        raise
    return log


async def _refuse_keyless(log: SqliteLog) -> None:
    """Refuse to write to a signed log without a key: what came after would look like a forgery."""
    if log.signing is None and await notes(log.ask):
        raise NotSigned(
            f"{log.path} is signed, and what is written without a key would not be",
            position=log.tree.size + 1,
            hint="name the key's file with `signing` or in EVENTVM_SIGNING_KEY, or open the log read-only",
        )


async def _opened_to_read(url: str) -> EventLog:
    if url == MEMORY:
        raise BadInput("a log in memory cannot be opened read-only: nobody else could write it")
    return await SqliteReader.open(file_of(url))


def file_of(url: str) -> Path:
    """Say in which file a log is that a URL names; one on another host's disk is refused."""
    path = located(url)
    refuse_network(path)
    return path


def located(url: str) -> Path:
    """Say in which file a log is that a URL names, wherever that lies."""
    scheme, colon, rest = url.partition(":")
    if colon and scheme == "sqlite":
        return file_at("/" + rest.lstrip("/") if rest.startswith("//") else rest)
    if colon and "/" not in scheme and "." not in scheme:
        raise BadInput(f"no log knows {scheme!r} (in {url!r}); use a path, sqlite:PATH or memory:")
    return file_at(url)
