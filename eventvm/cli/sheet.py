"""Sheets: rows of plain values, shown as a table for people, or as JSON, JSON lines or CSV for programs."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BytesIO, StringIO
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple

from msgspec import json

from eventvm.cli.paper import Paper, width
from eventvm.errors import plain

Row = dict[str, Any]
FORMS = ("table", "json", "jsonl", "csv")
PLAIN = ("table", "json", "jsonl")
"""The forms of what is one thing."""
MEMORY_BYTES = 4 << 20
"""How much of a table waits in memory until it is shown."""


class Column(NamedTuple):
    """A column of the table: its head, and how a row fills it."""

    head: str
    cell: Callable[[Row], str]
    gives: bool = False
    """Whether it may be cut where a terminal has no room for it."""


def describe(verb: Any, *forms: str) -> None:
    """Describe the option that chooses the form."""
    verb.add_argument(
        "-o", "--output", choices=forms or FORMS, default="table", help="how it is shown (default: table)"
    )


def meanwhile(paper: Paper, form: str) -> Paper | None:
    """Give the paper if rows of this form are shown on it as they come; a table waits for its end."""
    return None if form == "table" else paper


class Waiting:
    """Rows of a table until its widths are known; those that are too many for memory wait on the disk."""

    def __init__(self) -> None:
        self._file: IO[bytes] = BytesIO()
        self.widths: list[int] = []
        """How wide the columns are by now."""

    def add(self, cells: Sequence[str]) -> None:
        """Take one more row."""
        wide = [width(cell) for cell in cells]
        self.widths = list(map(max, self.widths or wide, wide))
        if isinstance(self._file, BytesIO) and self._file.tell() > MEMORY_BYTES:
            gathered, self._file = self._file, TemporaryFile()  # noqa: SIM115  # as long as the sheet
            self._file.write(gathered.getbuffer())
        self._file.write(json.encode(cells) + b"\n")

    def taken(self) -> Iterator[Sequence[str]]:
        """Give all rows, and keep none."""
        self._file.seek(0)
        for line in self._file:
            yield json.decode(line)
        self._file.seek(0)
        self._file.truncate()

    def close(self) -> None:
        """Let the disk have its room back."""
        self._file.close()


class Sheet:
    """Rows on their way out, in the form that was asked for; only a table waits for its end."""

    def __init__(self, paper: Paper, form: str, columns: Sequence[Column]) -> None:
        self._paper = paper
        self._form = form
        self._columns = columns
        self._rows = Waiting()
        self._count = 0

    def add(self, row: Row) -> None:
        """Show a row, or keep it until the table's widths are known."""
        match self._form:
            case "table":
                if not self._count:
                    self._rows.add([self._paper.ink(column.head, "dim") for column in self._columns])
                self._rows.add([column.cell(row) for column in self._columns])
            case "json":
                self._paper.line(f"{',' if self._count else '['}{_text(row)}")
            case "jsonl":
                self._paper.line(_text(row))
            case _:
                self._paper.line(("" if self._count else _record(row) + "\n") + _record(row.values()))
        self._count += 1

    def flush(self) -> None:
        """Show what has come by now."""
        if widths := self._rows.widths:
            gives = [column.gives for column in self._columns]
            self._paper.rows(self._rows.taken(), self._paper.fitted(widths, gives))
        self._paper.flush()

    def end(self, nothing: str = "") -> None:
        """Show the rest; people are told where there was nothing, programs get an empty list."""
        if self._form == "table" and not self._count and nothing:
            self._paper.line(nothing)
        if self._form == "json":
            self._paper.line("]" if self._count else "[]")
        self.flush()
        self._rows.close()


def shown(paper: Paper, form: str, columns: Sequence[Column], rows: Iterable[Row], nothing: str = "") -> None:
    """Show a whole sheet."""
    sheet = Sheet(paper, form, columns)
    for row in rows:
        sheet.add(row)
    sheet.end(nothing)


def one(paper: Paper, form: str, row: Row) -> None:
    """Show a single thing to a program."""
    if form == "csv":
        shown(paper, form, (), [row])
    else:
        paper.line(_text(row) if form == "jsonl" else json.format(_text(row), indent=2))


def _text(row: Row) -> str:
    """Write a row as JSON that steers no terminal: what cannot be printed is escaped, and reads back."""
    text = json.encode(row).decode()
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(letter: str) -> str:
    units = letter.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _record(values: Iterable[object]) -> str:
    out = StringIO()
    csv.writer(out, lineterminator="").writerow(map(_flat, values))
    return out.getvalue()


def _flat(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return plain(json.encode(value).decode() if isinstance(value, dict | list | tuple) else value)
