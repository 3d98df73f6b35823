"""What could come next on a command line: run by a shell at every Tab, so it imports nothing of ours.

It is started as a file, with the words so far as its arguments and the table of `eventvm completion` as its
input, and answers in some 30 ms where the whole program would take ten times that. What it prints are words,
each with a tab and what it means; nothing where files are wanted.
"""

import json
import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

MOST = 500
NAMES = (
    "SELECT name FROM names WHERE stream <> '' AND substr(name, 1, length(?1)) = ?1 ORDER BY name LIMIT ?2"
)
DEFINED = """
    SELECT CAST(r.body AS TEXT) FROM streams s JOIN heads h ON h.stream = s.id
    JOIN records r ON r.position = h.position WHERE s.stream >= 'lifecycle/' AND s.stream < 'lifecycle0'
"""
Table = dict[str, Any]
Word = tuple[str, str]
"""A word, and what it means."""


def candidates(table: Table, words: list[str]) -> Iterator[Word]:
    """Give what the last word, which may be empty, could be."""
    *before, word = _whole(words)
    verb, last, options = _walked(table, before)
    here = table[verb]
    if word.startswith("--") and "=" in word:
        last, _, word = word.partition("=")
        yield from (
            (f"{last}={one}", told) for one, told in _values(table, here["options"], last, word, options)
        )
    elif last:
        yield from _values(table, here["options"], last, word, options)
    elif word.startswith("-"):
        yield from ((option, told) for option, (told, _) in here["options"].items())
    elif here["verbs"]:
        yield from here["verbs"].items()
    else:
        yield from _of(table, here["takes"], word, options)


def _whole(words: list[str]) -> list[str]:
    """Undo what bash does to `--option=value`, which it gives as three words."""
    whole: list[str] = []
    for word in words:
        if word == "=" and whole and whole[-1].startswith("--"):
            whole[-1] += "="
        elif whole and whole[-1].endswith("=") and whole[-1].startswith("--"):
            whole[-1] += word
        else:
            whole.append(word)
    return whole


def _walked(table: Table, words: Iterable[str]) -> tuple[str, str, dict[str, str]]:
    """Say which verb was named, which option waits for its value, and what options have been given."""
    verb, last = "", ""
    given: dict[str, str] = {}
    for word in words:
        if last:
            given[last], last = word, ""
        elif word.startswith("-"):
            option, equals, value = word.partition("=")
            given[option] = value
            last = option if not equals and table[verb]["options"].get(option, ("", ""))[1] else ""
        elif word in table[verb]["verbs"]:
            verb = f"{verb} {word}".strip()
    return verb, last, given


def _values(table: Table, options: Table, option: str, word: str, given: dict[str, str]) -> Iterator[Word]:
    _, takes = options.get(option, ("", ""))
    yield from _of(table, takes, word, given)


def _of(table: Table, takes: str | list[str], word: str, given: dict[str, str]) -> Iterator[Word]:
    """Give the words of a kind: some that stand in the table, some that stand in the log."""
    if isinstance(takes, list):
        yield from ((one, "") for one in takes)
    elif takes == "machine":
        yield from ((name, "") for (name,) in asked(given, NAMES, (word, MOST)))
    elif takes in ("phase", "lifecycle"):
        known = dict.fromkeys(table[""][takes])
        for (body,) in asked(given, DEFINED, ()):
            definition = json.loads(body)["definition"]
            known.update(
                dict.fromkeys([definition["name"]] if takes == "lifecycle" else definition["phases"])
            )
        yield from ((one, "") for one in known)


def asked(given: dict[str, str], sql: str, arguments: tuple[object, ...]) -> list[Any]:
    """Ask the log that is meant, as a reader that leaves no trace; where there is none, nothing is known."""
    path = _file(given.get("--log") or os.environ.get("EVENTVM_URL", ""))
    immutable = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro{immutable}", uri=True)) as log:
            log.execute("PRAGMA wal_autocheckpoint = 0")
            return log.execute(sql, arguments).fetchall()
    except (sqlite3.Error, ValueError):
        return []


def _file(url: str) -> Path:
    if url:
        return Path(url.removeprefix("sqlite:")).expanduser()
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if state.startswith("/") else Path.home() / ".local/state") / "eventvm/eventvm.db"


def main() -> None:
    """Print what could come next."""
    words = sys.argv[1:] or [""]
    for word, told in sorted(set(candidates(json.load(sys.stdin), words))):
        if word.startswith(_whole(words)[-1]) and word.isprintable():
            sys.stdout.write(f"{word}\t{told}\n" if told else f"{word}\n")


if __name__ == "__main__":
    main()
