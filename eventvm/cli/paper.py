"""Paper: what a terminal or a pipe shows, in colour or plain."""

import re
import shutil
from collections.abc import Iterable, Sequence
from typing import TextIO

from eventvm import lettering
from eventvm.errors import plain

COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}
PHASES = {
    "running": "green", "Running": "green", "started": "green", "created": "cyan", "stopped": "blue",
    "Stopped": "blue", "completed": "blue", "error": "red", "Failed": "red", "invalid": "red",
    "Recovering": "yellow", "Degraded": "yellow", "paused": "yellow", "destroyed": "dim",
}  # fmt: skip

PIPED_COLUMNS = 100
NARROWEST = 10
"""A column is not cut below this: a terminal that is narrower yet wraps its lines."""
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
ANSI = re.compile("\x1b\\[[0-9;]*m")


class Paper:
    """Where output goes."""

    def __init__(self, out: TextIO, *, colour: bool) -> None:
        self._out = out
        self._colour = colour

    def ink(self, text: object, *styles: str) -> str:
        """Dye a text, where there is colour."""
        codes = ";".join(COLOURS[style] for style in styles if style in COLOURS)
        words = plain(text)
        return f"\x1b[{codes}m{words}\x1b[0m" if self._colour and codes and words else words

    def takes(self, letters: str) -> bool:
        """Say whether these letters can be shown as they are."""
        try:
            letters.encode(getattr(self._out, "encoding", None) or "ascii")
        except (UnicodeError, LookupError):
            return False
        return True

    @property
    def seen(self) -> bool:
        """Whether somebody looks at it, and not a pipe."""
        return self._out.isatty()

    @property
    def columns(self) -> int:
        """How wide a line may be: as the terminal, or what fits into most reports."""
        return shutil.get_terminal_size((PIPED_COLUMNS, 24)).columns if self.seen else PIPED_COLUMNS

    def phase(self, phase: str) -> str:
        """Write a phase in its colour."""
        return self.ink(phase, PHASES.get(phase, ""))

    def text(self, text: str) -> None:
        """Write lines to the byte, as a program wants them; a terminal is shown them plain."""
        if self.seen:
            text = "".join(f"{plain(line)}\n" for line in text.split("\n")[:-1])
        self._out.write(text)

    def line(self, text: str = "") -> None:
        """Write one line."""
        self._out.write(text + "\n")

    def pairs(self, told: Iterable[tuple[str, str]]) -> None:
        """Write names with their values, one below the other; what has no value is left out."""
        for name, value in told:
            if value:
                self.line(f"{self.ink(f'{name:<12}', 'dim')} {value}")

    def clear(self) -> None:
        """Begin a new page: an empty screen, or an empty line where there is no screen."""
        self._out.write("\x1b[H\x1b[J" if self.seen else "\n")

    def flush(self) -> None:
        """Let what is written be seen at once."""
        self._out.flush()

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[str]], *, indent: int = 4) -> None:
        """Write aligned columns; cells may be dyed."""
        cells = [[self.ink(head, "dim") for head in heads], *map(list, rows)]
        self.rows(cells, widths(cells), indent=indent)

    def rows(self, cells: Iterable[Sequence[str]], widths: Sequence[int], *, indent: int = 0) -> None:
        """Write rows in columns of these widths; what is wider is cut."""
        mark = ELLIPSIS if self.takes(ELLIPSIS) else "~"
        for row in cells:
            set_ = (_set(cell, width, mark) for cell, width in zip(row, widths, strict=True))
            self.line(" " * indent + "  ".join(set_).rstrip())

    def fitted(self, widths: Sequence[int], gives: Sequence[bool]) -> list[int]:
        """Narrow columns that give to what a terminal has room for; a pipe has room for all."""
        if not self.seen:
            return list(widths)
        return lettering.fitted(widths, gives, self.columns - 2 * (len(widths) - 1), NARROWEST)


def widths(cells: Iterable[Sequence[str]]) -> list[int]:
    """Say how wide each column has to be."""
    return [max(map(width, column)) for column in zip(*cells, strict=True)]


def width(cell: str) -> int:
    """Say how many columns a cell takes, however it is dyed."""
    return lettering.columns(_undyed(cell))


def _undyed(cell: str) -> str:
    return ANSI.sub("", cell) if "\x1b" in cell else cell


def _set(cell: str, width: int, mark: str) -> str:
    """Fill a cell up to its width, or cut it to that and keep its dye."""
    words = _undyed(cell)
    kept = lettering.cut(words, width, mark)
    return (cell if kept == words else cell.replace(words, kept)) + " " * (width - lettering.columns(kept))
