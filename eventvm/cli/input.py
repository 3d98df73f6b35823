"""Input: a file that is read from its beginning to its end, or what is piped in, with its progress."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import msgspec

from eventvm.cli.progress import Progress
from eventvm.errors import BadInput, DefinitionRefused, plain
from eventvm.lifecycle import Lifecycle

Kind = TypeVar("Kind", bound=Lifecycle)


class Counted(io.RawIOBase):
    """A file that tells how much of it was read."""

    def __init__(self, file: BinaryIO, progress: Progress) -> None:
        self._file = file
        self._progress = progress
        self._read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._read += len(data)
        self._progress.reach(self._read)
        return len(data)


@contextmanager
def begun(source: str) -> Iterator[BinaryIO]:
    """Open what is to be read; `-` is what is piped in."""
    try:
        with _opened(source) as file, Progress("importing bytes", _size(source)) as progress:
            yield cast("BinaryIO", io.BufferedReader(Counted(file, progress)))
    except OSError as problem:
        if problem.filename is None or str(problem.filename) != source:
            raise
        raise BadInput(f"{plain(source)} cannot be read: {problem.strerror}") from problem


@contextmanager
def _opened(source: str) -> Iterator[BinaryIO]:
    if source == "-":
        yield sys.stdin.buffer
    else:
        with Path(source).open("rb") as file:
            yield file


def _size(source: str) -> int:
    return 0 if source == "-" else Path(source).stat().st_size


def definition(source: str, kind: type[Kind]) -> Kind:
    """Read a lifecycle from a file of JSON; as `Recorded` it may contradict itself."""
    with begun(source) as file:
        text = file.read()
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as problem:
        if isinstance(problem.__cause__, DefinitionRefused):
            raise problem.__cause__ from None
        raise BadInput(f"{plain(source)} is no lifecycle: {problem}") from None
    except (msgspec.MsgspecError, UnicodeError) as problem:
        raise BadInput(f"{plain(source)} is no JSON: {problem}") from None
