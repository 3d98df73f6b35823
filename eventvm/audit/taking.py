"""Taking an export in: read one line at a time, held against what was hashed, and believed in nothing.

What we wrote has to be what we would write again, line by line; what is not (a line that was cut, a letter
that was changed, one that is missing) raises BadExport with its number. CloudEvents of others cannot be
checked so: they are taken as what they are, somebody's word. Nothing is written here: whoever does so has to
throw away what he has when that happens.
"""

import json
from abc import ABC, abstractmethod
from base64 import b64decode
from codecs import getincrementaldecoder
from collections.abc import Iterator
from itertools import chain
from typing import Any, BinaryIO, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from eventvm import limits, times
from eventvm.audit.cloudevents import imported
from eventvm.audit.forms import EXPORTED, VERSION, CloudEvents, Form, Lines, Scope
from eventvm.errors import BadExport, BadInput, EventvmError
from eventvm.events import Imported, decode
from eventvm.log import hashes
from eventvm.merkle import ZERO, Tree
from eventvm.observation import Instant
from eventvm.record import Record

LINE_BYTES = 8 * limits.EVENT_BYTES
"""The longest line that is read: an event stands in it at most twice, and has limits of its own."""
CHUNK_BYTES = 65_536
T = TypeVar("T")

Numbered = tuple[int, bytes]
"""The number of a line, and the value that begins on it."""


# --- values out of a file -------------------------------------------------------------------------------


def values(file: BinaryIO) -> Iterator[Numbered]:
    """Read JSON values: one on each line, or the elements of one array, whatever lines that has."""
    first = file.readline(LINE_BYTES + 1)
    if not first:
        raise BadExport(1, "the file is empty")
    yield from _elements(first, file) if first.lstrip()[:1] == b"[" else _lines(first, file)


def _lines(line: bytes, file: BinaryIO) -> Iterator[Numbered]:
    number = 1
    while line:
        if not line.endswith(b"\n"):
            raise BadExport(number, "it is cut short" if len(line) <= LINE_BYTES else "it is too long")
        yield number, line
        line, number = file.readline(LINE_BYTES + 1), number + 1


def _elements(begun: bytes, file: BinaryIO) -> Iterator[Numbered]:
    """Read an array piece by piece; only one element is held at a time."""
    text = Text(begun, file)
    text.expect("[")
    while text.next() != "]":
        yield text.line, text.element()
        if text.next() == "]":
            break
        text.expect(",")
    text.expect("]")
    if text.next():
        raise BadExport(text.line, "it goes on after its end")


class Text:
    """A file that is read as text, as far ahead as one value needs."""

    def __init__(self, begun: bytes, file: BinaryIO) -> None:
        self._file = file
        self._decode = getincrementaldecoder("utf-8")()
        self._held = ""
        self.line = 1
        self._decoder = json.JSONDecoder()
        self._take(begun)

    def _take(self, data: bytes) -> bool:
        try:
            self._held += self._decode.decode(data, final=not data)
        except UnicodeDecodeError:
            raise BadExport(self.line, "it is no UTF-8") from None
        return bool(data)

    def _more(self) -> bool:
        if len(self._held) > LINE_BYTES:
            raise BadExport(self.line, "what begins on it is too long")
        return self._take(self._file.read(CHUNK_BYTES))

    def _drop(self, count: int) -> str:
        taken, self._held = self._held[:count], self._held[count:]
        self.line += taken.count("\n")
        return taken

    def next(self) -> str:
        """Pass white space, and look at the letter that follows; empty at the end of the file."""
        while True:
            self._drop(len(self._held) - len(self._held.lstrip(" \t\r\n")))
            if self._held or not self._more():
                return self._held[:1]

    def expect(self, letter: str) -> None:
        """Take a letter, or say that it is not there."""
        if (found := self.next()) != letter:
            what = limits.shown(found) if found else "the end"
            raise BadExport(self.line, f"{letter} was to come, and it is {what}")
        self._drop(1)

    def element(self) -> bytes:
        """Take one value."""
        while True:
            try:
                _, end = self._decoder.raw_decode(self._held)
            except (ValueError, RecursionError):
                if not self._more():
                    raise BadExport(self.line, "it is no JSON, or cut short") from None
            else:
                return self._drop(end).encode()


# --- what the values are --------------------------------------------------------------------------------


class Lined(Struct, forbid_unknown_fields=True):
    """A record as JSON lines have it."""

    position: int
    stream: str
    version: int
    recorded_at: str
    actor: str
    key: str | None
    digest: str
    cause: int
    schema: int
    leaf: str
    event: msgspec.Raw

    def record(self) -> Record:
        """Make the record; what it follows is not known yet."""
        body = bytes(self.event)
        return Record(
            self.position, self.stream, self.version, times.read(self.recorded_at), self.actor,
            decode(body, self.schema), body, bytes.fromhex(self.leaf), 0, self.key,
            bytes.fromhex(self.digest), self.cause, self.schema,
        )  # fmt: skip


class Enveloped(Struct):
    """A record as our CloudEvents have it."""

    sequence: str
    stream: str
    streamversion: str
    recordedtime: str
    eventbody: str
    eventschema: str
    leaf: str
    actor: str = ""
    keydigest: str = ""
    correlationid: str | None = None
    causationid: str = "0"

    def record(self) -> Record:
        """Make the record; what it follows is not known yet."""
        body, schema = b64decode(self.eventbody, validate=True), int(self.eventschema)
        return Record(
            int(self.sequence), self.stream, int(self.streamversion), times.read(self.recordedtime),
            self.actor, decode(body, schema), body, bytes.fromhex(self.leaf), 0, self.correlationid,
            bytes.fromhex(self.keydigest), int(self.causationid), schema,
        )  # fmt: skip


class Opening(Scope, frozen=True, kw_only=True):
    """The first of the JSON lines."""

    eventvm: str
    form: int


class Closing(Scope, frozen=True, kw_only=True):
    """What the last of the CloudEvents says."""

    records: int


def taken(file: BinaryIO) -> "Ours | Others":
    """Begin to read an export: our own, or the CloudEvents of another system."""
    numbered = values(file)
    line, value = next(numbered, (1, b"[]"))
    if value == b"[]":
        raise BadExport(1, "nothing is in it")
    first = _object(line, value)
    if "eventvm" in first:
        return OurLines(line, value, numbered)
    again = chain([(line, value)], numbered)
    if "eventbody" in first or (first.get("type") == EXPORTED and _told(line, first, Scope).whole):
        return OurEvents(str(first.get("source")).removeprefix("/eventvm/"), again)
    return Others(again)


def _object(line: int, value: bytes) -> dict[str, Any]:
    return _read(line, value, dict[str, Any])  # type: ignore[no-any-return]


def _read(line: int, value: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(value, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as problem:
        raise BadExport(line, f"it is not what is written in an export: {problem}") from None


def _told(line: int, event: dict[str, Any], kind: type[T]) -> T:
    """Read what the CloudEvent that closes an export says of it."""
    try:
        return msgspec.convert(event.get("data"), kind)
    except msgspec.ValidationError as problem:
        raise BadExport(line, f"the end of the export says nothing of it: {problem}") from None


# --- ours -----------------------------------------------------------------------------------------------


class Links:
    """The records so far, as far as the next one depends on them."""

    def __init__(self) -> None:
        self.tree = Tree()
        self._above: dict[str, tuple[int, int, bytes]] = {}
        self._recorded_at = 0

    def link(self, line: int, record: Record) -> Record:
        """Hold a record against those before it, and give it with the position that it follows."""
        previous, version, leaf = self._above.get(record.stream, (0, 0, ZERO))
        if record.position != self.tree.size + 1:
            raise BadExport(line, f"position {self.tree.size + 1} was to come, and it is {record.position}")
        if (
            record.version != version + 1
            or record.recorded_at < self._recorded_at
            or not hashes(record, leaf)
        ):
            raise BadExport(line, f"the record at position {record.position} is not what was hashed")
        self._above[record.stream] = (record.position, record.version, record.leaf)
        self._recorded_at = record.recorded_at
        self.tree.append((record.leaf,))
        return replace(record, previous=previous)

    def close(self, line: int, scope: Scope) -> None:
        """Hold all of them against what the export says of the log."""
        if (self.tree.size, self.tree.root.hex()) != (scope.size, scope.root):
            raise BadExport(line, f"the {self.tree.size} records before it are not the log that it closes")


class Ours(ABC):
    """A whole export of a log: its records, each held against what was hashed, and written again."""

    kind: type[Lined | Enveloped]

    def __init__(self, form: Form, rest: Iterator[Numbered]) -> None:
        self.origin = form.scope.origin
        self._form = form
        self._rest = rest

    def records(self) -> Iterator[Record]:
        """Give the records; whoever has taken the last one knows that all were as they had been."""
        links, line = Links(), 1
        for line, value in self._rest:
            if self.closes(line, value):
                self.close(line, value, links)
                break
            record = links.link(line, self._record(line, value))
            self.compare(line, value, self._form.take(record))
            yield record
        else:
            raise BadExport(line + 1, "the last line is missing: the file is cut short")
        for line, _ in self._rest:
            raise BadExport(line, "it goes on after its end")

    def _record(self, line: int, value: bytes) -> Record:
        told: Lined | Enveloped = _read(line, value, self.kind)
        try:
            return told.record()
        except (EventvmError, ValueError, OverflowError) as problem:
            raise BadExport(line, f"it is no record: {problem}") from None

    @abstractmethod
    def closes(self, line: int, value: bytes) -> bool:
        """Say whether it is the last line."""

    @abstractmethod
    def close(self, line: int, value: bytes, links: Links) -> None:
        """Refuse a last line that does not fit what came before it."""

    @abstractmethod
    def compare(self, line: int, value: bytes, again: str) -> None:
        """Refuse what is not what we would write again."""


class OurLines(Ours):
    """JSON lines, the same to the byte."""

    kind = Lined

    def __init__(self, line: int, value: bytes, rest: Iterator[Numbered]) -> None:
        opening: Opening = _read(line, value, Opening)
        if opening.form != VERSION:
            raise BadInput(f"the export has the form {opening.form}; this release reads {VERSION}")
        if not opening.whole:
            raise BadInput("the file holds a part of a log, which cannot be imported; export the whole")
        self._scope = Scope(opening.origin, opening.size, opening.root, opening.whole)
        super().__init__(Lines(self._scope), rest)
        self.compare(line, value, self._form.opening())

    def closes(self, line: int, value: bytes) -> bool:
        return value.startswith(b'{"end"')

    def close(self, line: int, value: bytes, links: Links) -> None:
        links.close(line, self._scope)
        self.compare(line, value, self._form.closing())

    def compare(self, line: int, value: bytes, again: str) -> None:
        if again.encode() != value:
            raise BadExport(line, "it is not what was exported: it was edited")


class OurEvents(Ours):
    """CloudEvents of ours, the same value by value: whoever passed them on may have written them anew."""

    kind = Enveloped

    def __init__(self, origin: str, rest: Iterator[Numbered]) -> None:
        super().__init__(CloudEvents(Scope(origin, 0, "", whole=True)), rest)

    def closes(self, line: int, value: bytes) -> bool:
        return EXPORTED.encode() in value and _object(line, value).get("type") == EXPORTED

    def close(self, line: int, value: bytes, links: Links) -> None:
        scope = _told(line, _object(line, value), Scope)
        links.close(line, scope)
        self._form.scope = scope
        self.compare(line, value, self._form.closing())

    def compare(self, line: int, value: bytes, again: str) -> None:
        if _object(line, value) != msgspec.json.decode(again):
            raise BadExport(line, "it is not what was exported: it was edited")


# --- of others ------------------------------------------------------------------------------------------


class Foreign(Struct):
    """A CloudEvent of anybody, as far as we read it."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str = ""
    time: str = ""
    data: Any = None


ATTRIBUTES = frozenset({*Foreign.__struct_fields__, "datacontenttype"})
ENDING = ("terminalState", "exitCode", "signal", "manner", "outcome")
"""What is read of an end; a code that nobody vouches for is kept as a claim."""


class Others:
    """CloudEvents of another system: taken in as somebody's word, at the times that they tell."""

    origin = ""

    def __init__(self, rest: Iterator[Numbered]) -> None:
        self._rest = rest

    def events(self, now: Instant) -> Iterator[tuple[int, Imported]]:
        """Give the events with their lines; one that tells no time is of now."""
        count = 0
        for line, value in self._rest:
            told = _object(line, value)
            if told.get("type") == EXPORTED:
                self._close(line, told, count)
            else:
                count += 1
                yield line, foreign(line, told, now)

    def _close(self, line: int, told: dict[str, Any], count: int) -> None:
        """Hold a part of a log of ours against what its end says."""
        said = _told(line, told, Closing)
        if said.whole or said.records != count or next(self._rest, None) is not None:
            raise BadExport(
                line, f"it closes an export of {said.records} events, and that is not what is here"
            )


def foreign(line: int, told: dict[str, Any], now: Instant) -> Imported:
    """Make the event that a CloudEvent of another system becomes."""
    try:
        event = msgspec.convert(told, Foreign)
        at = Instant(times.read(event.time), 0, "") if event.time else Instant(now.wall, 0, "")
    except (msgspec.ValidationError, BadInput) as problem:
        raise BadExport(line, f"it is no CloudEvent: {problem}") from None
    if event.specversion != "1.0" or not (event.id and event.source and event.type):
        raise BadExport(line, "it is no CloudEvent 1.0 with an id, a source and a type")
    data, ended = _ended(event.data, at)
    return Imported(
        at=at, id=event.id, source=event.source, kind=event.type, subject=event.subject, data=data, **ended,
        extensions={name: value for name, value in told.items() if name not in ATTRIBUTES},
    )  # fmt: skip


def _ended(data: Any, at: Instant) -> tuple[Any, dict[str, Any]]:
    """Take out of the data what it says of an end, as far as that can be believed."""
    if not isinstance(data, dict) or not {"terminalState", "exitCode"} & data.keys():
        return data, {}
    destroyed = imported(data, at)
    left = {name: value for name, value in data.items() if name not in ENDING}
    return left, {"end": destroyed.end, "claim": destroyed.claim}
