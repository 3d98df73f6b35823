"""A file that comes into being whole or not at all: written beside its place, synced, then renamed."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import anyio

from eventvm.durable import sync_directory
from eventvm.errors import BadInput, LogUnavailable
from eventvm.logs.lock import locked

Stopped = Callable[[], bool]
"""Says whether nobody waits for the file any more."""
Done = TypeVar("Done")

SIDES = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a file, and would read as a part of it."""


async def apart(work: Callable[[Stopped], Done]) -> Done:
    """Run what writes a file in a thread; cancelling this stops it, and waits until it has cleared up.

    The thread clears up by itself, so that nothing is left even if nobody waits for it.
    """
    stop = threading.Event()
    running = asyncio.get_running_loop().run_in_executor(None, work, stop.is_set)
    running.add_done_callback(_heard)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        with anyio.CancelScope(shield=True):
            await asyncio.wait({running})
        raise


def _heard(done: "asyncio.Future[Done]") -> None:
    """Take note of an error whose hearer was cancelled."""
    if not done.cancelled():
        done.exception()


def refuse_taken(destination: Path) -> None:
    """Refuse to write where a file is, or where the rest of one would be read as a part of the new one."""
    for path in (destination, *_beside(destination, SIDES)):
        if os.path.lexists(path):
            raise BadInput(f"{path} exists already; name a file that does not, or move this one away first")


@contextmanager
def written(destination: Path, mode: int) -> Iterator[Path]:
    """Give the path to write to; at the block's end what was written is synced and takes its place."""
    refuse_taken(destination)
    part = destination.with_name(destination.name + ".part")
    with _said(destination), _claimed(part, mode) as descriptor:
        try:
            yield part
            os.fsync(descriptor)
            refuse_taken(destination)
            _refuse_rest(part)
            part.rename(destination)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        finally:
            _clear(part)
        sync_directory(destination.parent)


def _refuse_rest(part: Path) -> None:
    """Refuse a file of which SQLite could not bring all into one piece."""
    for rest in _beside(part, SIDES):
        if rest.exists() and rest.stat().st_size:
            raise LogUnavailable(f"{part} could not be finished: {rest.name} holds a part of it")


@contextmanager
def _said(destination: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise LogUnavailable(
            f"{destination} could not be written: {problem.strerror or problem}"
        ) from problem


@contextmanager
def _claimed(part: Path, mode: int) -> Iterator[int]:
    """Hold an empty file that nobody else writes; what a writer that was killed has left in it is gone."""
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        if not locked(part, descriptor):
            raise LogUnavailable(f"somebody else is writing {part}; wait for them")
        os.ftruncate(descriptor, 0)
        _clear(part)
        yield descriptor
    finally:
        os.close(descriptor)


def _beside(path: Path, suffixes: Iterable[str]) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in suffixes]


def _clear(part: Path) -> None:
    """Remove what stands beside a file that is being written."""
    for path in _beside(part, (*SIDES, ".lock")):
        path.unlink(missing_ok=True)
