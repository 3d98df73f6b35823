"""Restoring: a backup becomes a log again, one that knows that the world may have gone on without it."""

import asyncio
import stat
import time
from functools import partial
from pathlib import Path

from eventvm.clock import Clock
from eventvm.errors import BadInput, NotALog
from eventvm.events import LogRestored
from eventvm.headway import Headway, untold
from eventvm.log import RESTORED, Append, Backup, last_of
from eventvm.logs.filesystem import file_at, refuse_network
from eventvm.logs.lock import FileLock
from eventvm.logs.part import Stopped, apart, refuse_taken, written
from eventvm.logs.sqlite import SqliteLog
from eventvm.logs.sqlite_reader import SqliteReader, checked, vacuum
from eventvm.merkle import Tree
from eventvm.signing.keys import named

ORIGIN = "SELECT origin FROM tree"


async def restore(
    source: str | Path, destination: str | Path, *, clock: Clock | None = None, headway: Headway = untold
) -> Backup:
    """Make a log of a backup, verified whole, in a file that does not exist yet.

    It keeps its origin, and one record more says that it was restored.
    """
    whence, path = file_at(source), file_at(destination)
    refuse_network(path)
    origin = await _origin(whence)
    return await apart(partial(_restored, whence, path, origin, clock or Clock(), headway=headway))


async def _origin(source: Path) -> str:
    """Name the log that a backup was made of; what is none is refused."""
    log = SqliteReader(source)
    try:
        if not await log.holds_log():
            raise NotALog(f"{source} does not exist or is empty: there is nothing to restore")
        ((origin,),) = await log.ask(ORIGIN)
        return str(origin)
    finally:
        await log.close()


def _restored(
    source: Path, destination: Path, origin: str, clock: Clock, stopped: Stopped, *, headway: Headway
) -> Backup:
    began = time.monotonic()
    refuse_taken(destination)
    lock = FileLock.take(destination)
    try:
        _refuse_other(lock, destination, origin)
        with written(destination, stat.S_IMODE(source.stat().st_mode)) as part:
            vacuum(source, part, stopped, headway)
            tree = asyncio.run(_marked(part, origin, clock, stopped, headway))
            size = part.stat().st_size
        lock.mark(origin)
    finally:
        lock.release()
    return Backup(str(destination), tree.size, size, tree.root, time.monotonic() - began)


def _refuse_other(lock: FileLock, destination: Path, origin: str) -> None:
    if lock.origin not in ("", origin):
        raise BadInput(
            f"{lock.path} says that another log, {lock.origin}, lived at {destination}; the backup is of "
            f"{origin}. Restore it to another path, or delete the lock file if that log is lost for good"
        )


async def _marked(part: Path, origin: str, clock: Clock, stopped: Stopped, headway: Headway) -> Tree:
    """Verify the copy whole, take what was folded from it away, and have it say that it was restored."""
    log = await SqliteLog.open(part, clock=clock.wall, spare=False, signing=named())
    try:
        await checked(log, stopped, headway)
        await log.forget()
        log.begin()
        before = await last_of(log, RESTORED)
        event = LogRestored(
            at=clock.now(), reason=f"from a backup that ends at position {log.tree.size}", origin=origin
        )
        await log.append(Append(RESTORED, (event,), before.version if before else 0, "restore"))
        return log.tree
    finally:
        await log.close()
