"""Following what a process writes: from its log's beginning, across full files, until it is gone."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, Literal

from eventvm.providers.process_files import look

Stream = Literal["stdout", "stderr"]

CHUNK = 1 << 16
POLL_SECONDS = 0.02
"""How old what is followed may be while more of it comes."""
QUIET_SECONDS = 0.1
"""How old the first of it may be after a silence."""


async def follow(path: Path, stream: Stream) -> AsyncIterator[bytes]:
    """Give chunks as they are written; one who is more than a file behind misses what was dropped."""
    log, file, pause = path / f"{stream}.log", None, POLL_SECONDS
    try:
        while True:
            over = _over(path)
            file = file or _open(log)
            while file is not None and (data := file.read(CHUNK)):
                pause = POLL_SECONDS
                yield data
            if file is not None and _turned(log, file):
                file.close()
                file = None
            elif over:
                return
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, QUIET_SECONDS)
    finally:
        if file is not None:
            file.close()


def _over(path: Path) -> bool:
    """Say whether nothing more can come; asked before reading, so that the last bytes are read after it."""
    sight = look(path)
    return not sight.held


def _open(log: Path) -> BinaryIO | None:
    try:
        return log.open("rb", buffering=0)
    except FileNotFoundError:
        return None


def _turned(log: Path, file: BinaryIO) -> bool:
    """Say whether the file that is read is full, and another has taken its name."""
    try:
        return log.stat().st_ino != os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False
