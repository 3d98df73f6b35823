"""What programs are told of a log as a whole, and what a terminal is shown meanwhile."""

import asyncio
import io
import json
import os
import pty
import shutil
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace
from tampering import goes_on, lived, opened

from eventvm.audit.checkpoint import write_checkpoint
from eventvm.audit.verify import file_verified
from eventvm.cli import main, progress
from eventvm.lifecycle import encode
from eventvm.lifecycles import LIFECYCLES
from eventvm.logs import sqlite_reader
from eventvm.signing.keys import SIGNING_KEY, generate, load, trusted

PAGE = Path(__file__).parents[2] / "docs" / "tamper.md"
LOG = ("--log", "log.db")
VERBS = {
    "log verify": ("log", "verify", *LOG, "--key", "ops.key.pub"),
    "log checkpoint": ("log", "checkpoint", *LOG),
    "log anchor": ("log", "anchor", "new.anchor", *LOG),
    "log sign": ("log", "sign", *LOG, "--signing", "ops.key"),
    "log prove": ("log", "prove", "9", *LOG),
    "log backup": ("log", "backup", "copy.db", *LOG),
    "log restore": ("log", "restore", "log.db", "again.db"),
    "log export --to": ("log", "export", "--to", "new.jsonl", *LOG),
    "log import": ("log", "import", "told.jsonl", "again.db"),
    "log replay": ("log", "replay", *LOG),
    "log diff": ("log", "diff", "0", "10", *LOG),
    "log shadow": ("log", "shadow", "--lifecycle", "other.json", *LOG),
    "keys generate": ("keys", "generate", "--key", "new.key"),
    "keys rotate": ("keys", "rotate", "--key", "ops.key"),
    "keys show": ("keys", "show", "--key", "ops.key"),
    "doctor": ("doctor", *LOG),
}
FOUND = {"log diff": 1, "log shadow": 1}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A signed log, how it was before, its export and a log of that, a damaged one, another lifecycle."""
    place = tmp_path_factory.mktemp("shelf")
    generate(place / "ops.key", "ops")
    asyncio.run(lived(place / "log.db", place / "ops.key"))
    write_checkpoint(place / "old.note", asyncio.run(file_verified(place / "log.db")).note)
    shutil.copy(place / "log.db", place / "old.db")
    asyncio.run(goes_on(place / "log.db", place / "ops.key"))
    with pytest.MonkeyPatch.context() as there:
        there.chdir(place)
        assert ended("log", "export", "--to", "told.jsonl", *LOG) == 0
        assert ended("log", "import", "told.jsonl", "bare.db") == 0
    shutil.copy(place / "log.db", place / "bad.db")
    with opened(place / "bad.db") as connection:
        connection.execute("UPDATE records SET actor = 'eve' WHERE position = 9")
    told = (place / "told.jsonl").read_text()
    (place / "bad.jsonl").write_text(told.replace('"actor":"', '"actor":"eve ', 1))
    other = replace(LIFECYCLES["microvm"], name="vm")
    (place / "other.json").write_bytes(encode(other))
    return place


@pytest.fixture(autouse=True)
def place(shelf, tmp_path, monkeypatch):
    shutil.copytree(shelf, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(SIGNING_KEY, "ops.key")
    return tmp_path


def ended(*order):
    """Run a command in this process, and give its exit code."""
    with pytest.raises(SystemExit) as left:
        main(order)
    return left.value.code


def fields():
    """Read from the page which fields each verb has."""
    lines = PAGE.read_text().partition("## For programs")[2].partition("|---|---|\n")[2].splitlines()
    rows = [line.split("|")[1:3] for line in lines[: lines.index("")]]
    return {
        verb.strip(" `"): told.replace("`", "").split()
        for verbs, told in rows
        for verb in verbs.removesuffix(", rows ").split(",")
    }


FIELDS = fields()


def test_every_verb_is_on_the_page():
    """With its fields."""
    assert FIELDS.keys() == {*VERBS, "whatever exits with 7"}


@pytest.mark.parametrize("form", ["json", "jsonl"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_program_is_told_what_the_page_says(capsys, verb, form):
    """In these fields and no others; the exit code is that of the table."""
    assert ended(*VERBS[verb], "-o", form) == FOUND.get(verb, 0)
    told, error = capsys.readouterr()
    assert error == ""
    rows = json.loads(told) if form == "json" else list(map(json.loads, told.splitlines()))
    assert rows
    for row in rows if isinstance(rows, list) else [rows]:
        assert list(row) == FIELDS[verb]


@pytest.mark.parametrize("verb", VERBS)
def test_a_person_is_told_the_same_and_no_json(capsys, verb):
    """The exit code says the rest."""
    assert ended(*VERBS[verb]) == FOUND.get(verb, 0)
    told, _ = capsys.readouterr()
    assert told.strip()
    assert '":' not in told


def told(capsys, *order):
    """Run a command, and give its code with what it tells a program."""
    code = ended(*order, "-o", "json")
    return code, json.loads(capsys.readouterr().out)


def test_what_is_told_is_so(capsys):
    """Of a log, its checkpoint and its keys: each place says the same."""
    (key,) = trusted("ops.key.pub")
    _, right = told(capsys, *VERBS["log verify"])
    assert (right["right"], right["size"], right["records"], right["machines"]) == (True, 27, 27, 2)
    assert right["signed_by"] == key.title
    for verb in ("log checkpoint", "log anchor", "log sign", "log export --to"):
        _, same = told(capsys, *VERBS[verb])
        assert [same[field] for field in ("origin", "size", "root")] == [
            right[field] for field in ("origin", "size", "root")
        ]
        assert same.get("signed_by", key.title) == key.title
    assert told(capsys, *VERBS["log anchor"])[1]["added"] is False
    assert told(capsys, "log", "verify", *LOG, "--since", "old.note")[1]["since"] == 25
    assert told(capsys, "log", "prove", "--since", "old.note", *LOG)[1]["position"] is None
    _, second = told(capsys, *VERBS["keys rotate"])
    assert (second["follows"], second["key"]) == (1, str(load(Path("ops.key")).key.public))
    assert [row["key"] for row in told(capsys, *VERBS["keys show"])[1]] == [str(key), second["key"]]


BAD = ("--log", "bad.db")
WRONG = {
    "verify": (("log", "verify", *BAD), "LogDamaged", 9, None),
    "verify a part": (("log", "verify", *BAD, "--since", "old.note"), "LogDamaged", 9, None),
    "verify what nobody has signed": (("log", "verify", "--log", "bare.db"), "NotSigned", 1, None),
    "prove": (("log", "prove", "9", *BAD), "LogDamaged", 9, None),
    "sign": (("log", "sign", *BAD), "LogDamaged", 9, None),
    "backup": (("log", "backup", "new.db", *BAD), "LogDamaged", 9, None),
    "restore": (("log", "restore", "bad.db", "new.db"), "LogDamaged", 9, None),
    "replay": (("log", "replay", *BAD), "LogDamaged", 9, None),
    "export": (("log", "export", "--to", "new", *BAD), "LogDamaged", 9, None),
    "import": (("log", "import", "bad.jsonl", "new.db"), "BadExport", None, 2),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_damage_is_told_to_programs_and_people(place, capsys, case):
    """On the output as an object, on stderr as a sentence; the exit code is 7, and nothing is written."""
    order, kind, position, line = WRONG[case]
    before = {one: one.read_bytes() for one in place.iterdir() if one.suffix != ".lock"}
    assert ended(*order, "-o", "json") == 7
    out, error = capsys.readouterr()
    row = json.loads(out)
    assert list(row) == FIELDS["whatever exits with 7"]
    assert (row["right"], row["finding"], row["position"], row["line"]) == (False, kind, position, line)
    assert error.splitlines()[0] == f"eventvm: {row['what']}"
    assert {one: one.read_bytes() for one in place.iterdir() if one.suffix != ".lock"} == before
    assert ended(*order) == 7
    assert capsys.readouterr().out == ""


def test_an_export_that_is_shown_leaves_no_room_for_what_is_told_of_it(capsys):
    """It would stand in the middle of it."""
    assert ended("log", "export", *LOG, "-o", "json") == 2
    assert "--to" in capsys.readouterr().err


# --- bars -----------------------------------------------------------------------------------------------

BARS = {
    "log verify": ("verifying",),
    "log verify --since": ("reading leaves", "verifying"),
    "log sign": ("verifying",),
    "log prove": ("reading leaves",),
    "log backup": ("copying bytes", "reading back"),
    "log restore": ("copying bytes", "reading back"),
    "log export --to": ("exporting",),
    "log import": ("importing bytes", "reading back"),
    "log replay": ("replaying", "comparing keys", "comparing names"),
    "log replay of what nobody has kept": ("replaying", "opening"),
    "log diff": ("reading",),
    "log diff of files": ("comparing", "reading"),
    "log shadow": ("replaying",),
    "doctor": ("examining",),
    "list": ("reading",),
    "ledger totals": ("reading",),
    "events": ("reading",),
}
LONG = VERBS | {
    "log verify --since": ("log", "verify", *LOG, "--since", "old.note"),
    "log replay of what nobody has kept": ("log", "replay", "--log", "bare.db"),
    "log diff of files": ("log", "diff", "log.db", "bare.db"),
    "list": ("list", "--all", *LOG),
    "ledger totals": ("ledger", "totals", *LOG),
    "events": ("events", *LOG),
}
ERASED = b"\r\x1b[K"


class Terminal:
    """A pseudo terminal, and what it has shown."""

    def __init__(self):
        ours, theirs = pty.openpty()
        self.file = io.TextIOWrapper(io.FileIO(theirs, "w"), write_through=True)
        self._ours = ours
        self._shown = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for some in iter(partial(os.read, self._ours, 65536), b""):
            self._shown.append(some)
            if some.endswith(b"\x04"):
                return

    @property
    def shown(self):
        """All that was shown, once nothing more is written."""
        self.file.write("\x04")
        self._reader.join()
        self.file.close()
        os.close(self._ours)
        return b"".join(self._shown)[:-1]


@pytest.fixture
def at_once(monkeypatch):
    """Nobody waits for a second before a work is long."""
    monkeypatch.setattr(progress, "WAIT_SECONDS", 0)
    monkeypatch.setattr(sqlite_reader, "OPCODES", 10)


@pytest.mark.parametrize("verb", BARS)
@pytest.mark.usefixtures("at_once")
def test_a_long_work_shows_on_a_terminal_how_far_it_has_come(monkeypatch, capsys, verb):
    """Nothing of that is left at the end, and nothing is in the output."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal.file)
    code = ended(*LONG[verb])
    shown = terminal.shown
    assert code == FOUND.get(verb, 0), shown
    for what in BARS[verb]:
        assert f"\r{what} [".encode() in shown
    assert shown.endswith(ERASED)
    assert "\r" not in capsys.readouterr().out


@pytest.mark.usefixtures("at_once")
def test_a_work_that_fails_takes_its_bar_along(monkeypatch):
    """The sentence stands on an empty line."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal.file)
    assert ended("log", "backup", "new.db", *BAD) == 7
    bar, _, sentence = terminal.shown.rpartition(ERASED)
    assert b"copying bytes [" in bar
    assert sentence.startswith(b"eventvm: the record at position 9")


@pytest.mark.usefixtures("at_once")
def test_nothing_is_shown_in_a_pipe(capsys):
    """However long it lasts."""
    for verb in ("log verify", "log backup", "log export --to", "log replay"):
        assert ended(*LONG[verb]) == 0
        assert capsys.readouterr().err == ""


def test_what_is_done_within_a_second_shows_nothing(monkeypatch):
    """A bar that only flashes is in the way."""
    monkeypatch.setattr(progress, "WAIT_SECONDS", 600)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal.file)
    assert ended(*LONG["log verify"]) == 0
    assert terminal.shown == b""


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("order", "line"),
    [
        (("events", *LOG), b"machine.started"),
        (("log", "export", *LOG), b"machine.started"),
        (("ledger", "show", "-o", "jsonl", *LOG), b'"meter":"compute"'),
        (("ledger", "diff", "--known-at", "0", "--known-at", "now", "-o", "jsonl", *LOG), b'"after_ns"'),
        (("log", "diff", "0", "now", "-o", "jsonl", *LOG), b'"before":null'),
        (("log", "diff", "old.db", "log.db", "-o", "jsonl"), b'"after":27'),
    ],
)
def test_what_is_shown_meanwhile_has_the_terminal_for_itself(monkeypatch, order, line):
    """A bar between its lines would tear them apart."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal.file)
    monkeypatch.setattr(sys, "stdout", terminal.file)
    assert ended(*order) in (0, 1)
    shown = terminal.shown
    assert line in shown
    assert b"reading [" not in shown
    assert b"exporting [" not in shown
