"""The forms of an export: JSON lines to the byte, and CloudEvents, one on a line or all in one batch; pure.

Each form has an opening, a piece of text for each record, and a closing that says how much there was, so
that a file which was cut short is known by that. A whole export can be imported again: then each record
carries what is hashed of it. A part of a log is for reading.
"""

import base64
from abc import ABC, abstractmethod
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Struct

from eventvm.audit.cloudevents import PREFIX, exported
from eventvm.past import Naming
from eventvm.record import Record
from eventvm.times import rfc3339

VERSION = 1
"""The version of all three forms."""
EXPORTED = f"{PREFIX}log.exported.v{VERSION}"
"""The type of the CloudEvent that closes an export."""


class Scope(Struct, frozen=True):
    """What an export is of."""

    origin: str
    """The log's name, for ever."""
    size: int
    root: str
    """The root of the tree over all its records, in hexadecimal."""
    whole: bool
    """Whether every record is in it."""


class Form(ABC):
    """One way to write records down."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.records = 0
        self._naming = Naming()

    def take(self, record: Record, *, wanted: bool = True) -> str:
        """Write a record; those that are not wanted still tell what machines are called."""
        name = self._naming.name(record)
        if not wanted:
            return ""
        self.records += 1
        return self.text(record, name)

    def opening(self) -> str:
        """Begin."""
        return ""

    @abstractmethod
    def text(self, record: Record, name: str) -> str:
        """Write one record."""

    @abstractmethod
    def closing(self) -> str:
        """Say that all is there."""


class Lines(Form):
    """A record on each line: where it stands, and its event exactly as it is stored."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self._seal = sha256()

    def _sealed(self, value: Any) -> str:
        text = _text(value)
        self._seal.update(text.encode())
        return text

    def opening(self) -> str:
        return self._sealed({"eventvm": "log", "form": VERSION, **msgspec.to_builtins(self.scope)})

    def text(self, record: Record, name: str) -> str:
        return self._sealed(
            {
                "position": record.position, "stream": record.stream, "version": record.version,
                "recorded_at": rfc3339(record.recorded_at), "actor": record.actor, "key": record.key,
                "digest": record.digest.hex(), "cause": record.cause, "schema": record.schema,
                "leaf": record.leaf.hex(), "event": msgspec.Raw(record.body),
            }
        )  # fmt: skip

    def closing(self) -> str:
        return _text({"end": True, "records": self.records, "sha256": self._seal.hexdigest()})


class CloudEvents(Form):
    """A structured CloudEvent on each line."""

    def text(self, record: Record, name: str) -> str:
        return _text(self.event(record, name))

    def event(self, record: Record, name: str) -> dict[str, Any]:
        """Make the CloudEvent, with what is hashed of the record beside it if it may be imported again."""
        told = exported(record, source=self.source, name=name)
        if self.scope.whole:
            told |= {
                "actor": record.actor, "stream": record.stream, "streamversion": str(record.version),
                "keydigest": record.digest.hex(), "eventschema": str(record.schema),
                "leaf": record.leaf.hex(), "eventbody": base64.b64encode(record.body).decode(),
            }  # fmt: skip
        return {name: value for name, value in told.items() if value != ""}

    @property
    def source(self) -> str:
        """Name the log as CloudEvents name where they come from."""
        return f"/eventvm/{self.scope.origin}"

    def closing(self) -> str:
        return _text(self.last())

    def last(self) -> dict[str, Any]:
        """Make the CloudEvent that says that all is there."""
        return {
            "specversion": "1.0", "id": f"export/{self.scope.size}", "source": self.source, "type": EXPORTED,
            "datacontenttype": "application/json",
            "data": {**msgspec.to_builtins(self.scope), "records": self.records},
        }  # fmt: skip


class Batch(CloudEvents):
    """All CloudEvents as one JSON array, which has one of them on each line."""

    def opening(self) -> str:
        return "[\n"

    def text(self, record: Record, name: str) -> str:
        return super().text(record, name)[:-1] + ",\n"

    def closing(self) -> str:
        return super().closing() + "]\n"


FORMS: dict[str, type[Form]] = {"jsonl": Lines, "cloudevents": CloudEvents, "cloudevents-batch": Batch}


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode() + "\n"
