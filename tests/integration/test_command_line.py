"""The command line under attack: one sentence, the exit code of its class, and nothing left."""

import asyncio
import os
import resource
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from eventvm.errors import LogUnavailable
from eventvm.logs import open_log

LONG = "x" * 300
HALF = os.fsdecode(b"a\xff.db")
ORDERS = {
    "a directory": (2, "backup", ".", "--log", "log.db"),
    "nothing": (2, "backup", "", "--log", "log.db"),
    "the root": (2, "backup", "/", "--log", "log.db"),
    "a line's end": (2, "backup", "a\nb.db", "--log", "log.db"),
    "an escape": (2, "backup", "a\x1b[31m.db", "--log", "log.db"),
    "half a character": (2, "backup", HALF, "--log", "log.db"),
    "a long name": (1, "backup", LONG, "--log", "log.db"),
    "a long path": (2, "backup", LONG * 20, "--log", "log.db"),
    "a long log": (1, "backup", "new.db", "--log", LONG),
    "a log in a file": (2, "backup", "new.db", "--log", "log.db/x"),
    "restored nowhere": (2, "restore", "log.db", ""),
    "restored from nowhere": (2, "restore", "", "new.db"),
    "restored from a directory": (2, "restore", ".", "new.db"),
    "restored to half a character": (2, "restore", "log.db", HALF),
    "restored to a long name": (1, "restore", "log.db", LONG),
    "restored from a long name": (1, "restore", LONG, "new.db"),
    "restored onto itself": (2, "restore", "log.db", "log.db"),
}


@pytest.fixture
def place(tmp_path, adding):
    """A directory with a log that nobody writes."""

    async def write():
        async with open_log(tmp_path / "log.db") as log:
            await log.append(adding("a", 0, "x", "y", "z"))

    asyncio.run(write())
    return tmp_path


def ordered(place, *order, **options):
    return subprocess.run(
        [sys.executable, "-m", "eventvm", *order],
        **{"capture_output": True, "cwd": place, "text": True, "timeout": 60} | options,
        check=False,
    )


def says_one_sentence(done, code):
    """The first line is the sentence; a second one may be the hint."""
    lines = done.stderr.splitlines()
    assert done.returncode == code, done.stderr
    assert lines[0].startswith("eventvm: ")
    assert [line[:6] for line in lines[1:]] in ([], ["hint: "])
    assert "\x1b" not in done.stderr
    return lines[0]


@pytest.mark.parametrize("order", ORDERS)
def test_a_path_that_leads_nowhere_is_refused_in_one_sentence(place, order):
    """Whatever it is made of; the directory is as it was."""
    before = sorted(place.iterdir())
    code, *words = ORDERS[order]
    says_one_sentence(ordered(place, "log", *words), code)
    assert sorted(place.iterdir()) == before


def test_the_demo_says_in_one_sentence_that_a_name_is_too_long(place):
    """It looks whether the file is there before it opens it."""
    says_one_sentence(ordered(place, "demo", "--file", LONG), 1)


@pytest.mark.parametrize("room", [0, 10_000])
@pytest.mark.parametrize("verb", [("backup", "new.db", "--log", "log.db"), ("restore", "log.db", "new.db")])
def test_a_full_disk_leaves_nothing(place, verb, room):
    """Neither a part of the copy, nor the lock of a log that did not come to be."""
    before = sorted(place.iterdir())
    full = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (room, room))
    says_one_sentence(ordered(place, "log", *verb, preexec_fn=full), 1)
    assert sorted(place.iterdir()) == before


def test_a_damaged_backup_leaves_no_lock(place):
    """A lock that names no log says nothing to anybody."""
    with closing(sqlite3.connect(place / "log.db")) as raw:
        raw.executescript("DROP TRIGGER records_are_not_updated; UPDATE records SET actor = 'eve'")
    before = sorted(place.iterdir())
    says_one_sentence(ordered(place, "log", "restore", "log.db", "new.db"), 7)
    assert sorted(place.iterdir()) == before


@pytest.mark.parametrize("format_", [0, -3])
def test_a_format_that_no_release_wrote_is_damage(place, format_):
    """It is neither older nor newer."""
    with closing(sqlite3.connect(place / "log.db")) as raw:
        raw.execute(f"PRAGMA user_version = {format_}")
    said = says_one_sentence(ordered(place, "log", "restore", "log.db", "new.db"), 7)
    assert f"format {format_}" in said
    says_one_sentence(ordered(place, "log", "backup", "new.db", "--log", "log.db"), 7)


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("order", [("log", "--\x1b[31m"), ("demo", "\x1b[31m"), ("\x1b[31m",)])
def test_a_word_that_no_verb_knows_steers_no_terminal(tmp_path, order):
    """It is shown plain, like all that is quoted."""
    done = ordered(tmp_path, *order)
    assert done.returncode == 2
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("origin", ["\x1b[31m", "a\nb", "", "x" * 5000])
def test_an_origin_that_no_log_has_is_damage(place, origin):
    """No hash covers it, and it goes into the lock beside the log."""
    with closing(sqlite3.connect(place / "log.db")) as raw, raw:
        raw.execute("UPDATE tree SET origin = ?", (origin,))
    says_one_sentence(ordered(place, "log", "restore", "log.db", "new.db"), 7)
    says_one_sentence(ordered(place, "log", "backup", "new.db", "--log", "log.db"), 7)


async def test_a_lock_that_cannot_be_written_is_said_in_one_sentence(tmp_path):
    """A pipe in its place, for one; no descriptor stays open."""
    os.mkfifo(tmp_path / "new.db.lock")
    opened = open_files()
    with pytest.raises(LogUnavailable, match=r"new\.db cannot be locked"):
        async with open_log(tmp_path / "new.db"):
            pass
    assert open_files() == opened


def test_what_cannot_be_shown_is_said_in_one_sentence(place):
    """What was done is done: the backup is there."""
    with Path("/dev/full").open("w") as full:
        done = ordered(
            place, "log", "backup", "new.db", "--log", "log.db",
            capture_output=False, stdout=full, stderr=subprocess.PIPE,
        )  # fmt: skip
    assert "No space left" in says_one_sentence(done, 1)
    assert (place / "new.db").exists()


def test_a_terminal_that_has_no_such_letter_is_shown_an_escape(place):
    """The path of a backup may hold what the terminal cannot show."""
    done = ordered(
        place, "log", "backup", "é.db", "--log", "log.db", env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("\\xe9.db: 3 records")


def test_nobody_has_to_listen(place):
    """Without an output the deed is the same."""
    done = ordered(
        place, "log", "backup", "new.db", "--log", "log.db",
        capture_output=False, stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert (place / "new.db").exists()
