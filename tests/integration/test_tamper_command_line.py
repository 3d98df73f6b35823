"""The verbs that verify, prove, anchor and sign, each as a process: what they say, and how they end."""

import asyncio
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tampering import goes_on, lived

from eventvm.audit import offline
from eventvm.logs import open_log
from eventvm.signing.keys import SIGNING_KEY, generate

LONG = "x" * 300


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A signed log, one that nobody has signed, an empty one, a damaged one, and what is none at all."""
    place = tmp_path_factory.mktemp("shelf")

    async def write():
        await lived(place / "log.db", place / "ops.key")
        await lived(place / "bare.db", None)
        async with open_log(place / "empty.db"):
            pass

    generate(place / "ops.key", "ops")
    asyncio.run(write())
    shutil.copy(place / "log.db", place / "bad.db")
    with closing(sqlite3.connect(place / "bad.db")) as raw:
        raw.executescript(
            "DROP TRIGGER records_are_not_updated; UPDATE records SET actor = 'eve' WHERE position = 9"
        )
    (place / "text").write_text("a letter to my aunt")
    return place


@pytest.fixture
def place(shelf, tmp_path):
    shutil.copytree(shelf, tmp_path, dirs_exist_ok=True)
    return tmp_path


def ordered(place, *order, **environment):
    """Run the command as anybody does, without a key in the environment unless it is given."""
    known = {name: value for name, value in os.environ.items() if name != SIGNING_KEY}
    return subprocess.run(
        [sys.executable, "-m", "eventvm", *order], capture_output=True, cwd=place, text=True, timeout=60,
        check=False, env=known | {"XDG_STATE_HOME": str(place / "state")} | environment,
    )  # fmt: skip


def said(place, *order, **environment):
    """Run a command that succeeds, and give what it says."""
    done = ordered(place, *order, **environment)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def refused(place, code, *order, **environment):
    """Run a command that fails, and give the one sentence that it says."""
    done = ordered(place, *order, **environment)
    assert done.returncode == code, done.stderr + done.stdout
    lines = done.stderr.splitlines()
    assert re.match(r"eventvm( [a-z]+)*: ", lines[0]), lines[0]
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr
    return lines[0] if lines[0].startswith("eventvm: ") else lines[-1]


def test_a_log_is_verified_anchored_and_proven_from_its_birth_on(tmp_path):
    """The whole story of docs/tamper.md, told by processes alone; the last of them does not know eventvm."""
    key = said(tmp_path, "keys", "generate", "--key", "ops.key", "--name", "ops.example.com").splitlines()[2]
    signing = {SIGNING_KEY: str(tmp_path / "ops.key")}
    asyncio.run(lived(tmp_path / "log.db", tmp_path / "ops.key"))
    log = ("--log", "log.db")
    assert f"signed to its end by {'+'.join(key.split('+')[:2])}" in said(
        tmp_path, "log", "verify", *log, "--key", key
    )
    (tmp_path / "old.note").write_text(said(tmp_path, "log", "checkpoint", *log))
    assert "now knows the log at" in said(tmp_path, "log", "anchor", "anchor", *log)
    assert "knew already" in said(tmp_path, "log", "anchor", "anchor", *log)
    assert "ops.key.pub" in said(tmp_path, "keys", "rotate", **signing)
    assert len(said(tmp_path, "keys", "show", **signing).splitlines()) == 2
    assert "has not signed yet" in refused(tmp_path, 7, "log", "verify", *log, **signing)
    assert "signed up to" in said(tmp_path, "log", "sign", *log, **signing)
    asyncio.run(goes_on(tmp_path / "log.db", tmp_path / "ops.key"))
    for since in ("", "since position"):
        out = said(tmp_path, "log", "verify", *log, "--anchor", "anchor", "--since", "last", **signing)
        assert since in out
    (tmp_path / "9.tlog-proof").write_text(said(tmp_path, "log", "prove", "9", *log))
    (tmp_path / "grown.proof").write_text(said(tmp_path, "log", "prove", "--since", "old.note", *log))
    elsewhere = shutil.copy(offline.__file__, tmp_path / "verifier.py")
    check = [sys.executable, "-I", elsewhere, "ops.key.pub", "9.tlog-proof", "grown.proof"]
    done = subprocess.run(check, capture_output=True, cwd=tmp_path, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "9.tlog-proof: position 9 of eventvm/" in done.stdout
    (tmp_path / "grown.proof").write_text((tmp_path / "grown.proof").read_text().replace("\n2", "\n3"))
    done = subprocess.run(check, capture_output=True, cwd=tmp_path, text=True, timeout=60, check=False)
    assert (done.returncode, "grown.proof: WRONG" in done.stdout) == (1, True)


ORDERS = {
    "a log that is not there": (2, "log", "verify", "--log", "nope.db"),
    "what is no log": (2, "log", "verify", "--log", "text"),
    "a log in memory": (2, "log", "verify", "--log", "memory:"),
    "a log with a long name": (1, "log", "verify", "--log", LONG),
    "a key that is not there": (2, "log", "verify", "--log", "log.db", "--key", "nope"),
    "a key that is none": (2, "log", "verify", "--log", "log.db", "--key", "ops+x+y"),
    "a key in a text": (2, "log", "verify", "--log", "log.db", "--key", "text"),
    "an anchor that is not there": (2, "log", "verify", "--log", "log.db", "--anchor", "nope"),
    "an anchor in a database": (2, "log", "verify", "--log", "log.db", "--anchor", "log.db"),
    "a checkpoint that is none": (2, "log", "verify", "--log", "log.db", "--since", "text"),
    "a damaged log": (7, "log", "verify", "--log", "bad.db"),
    "a log that nobody has signed": (7, "log", "verify", "--log", "bare.db", "--key", "ops.key.pub"),
    "a proof of nothing": (2, "log", "prove", "--log", "log.db"),
    "a proof of a word": (2, "log", "prove", "nine", "--log", "log.db"),
    "a proof of position 0": (2, "log", "prove", "0", "--log", "log.db"),
    "a proof of what is beyond": (2, "log", "prove", "999", "--log", "log.db"),
    "a proof of a damaged record": (7, "log", "prove", "9", "--log", "bad.db"),
    "a proof of an unsigned log": (2, "log", "prove", "9", "--log", "bare.db"),
    "a proof of an empty log": (2, "log", "prove", "1", "--log", "empty.db"),
    "a proof since a text": (2, "log", "prove", "--since", "text", "--log", "log.db"),
    "a proof from no log": (2, "log", "prove", "9", "--log", "nope.db"),
    "a checkpoint of no log": (2, "log", "checkpoint", "--log", "nope.db"),
    "an anchor for no log": (2, "log", "anchor", "new", "--log", "nope.db"),
    "an anchor that is a directory": (1, "log", "anchor", ".", "--log", "log.db"),
    "an anchor that is a text": (2, "log", "anchor", "text", "--log", "log.db"),
    "nothing to sign with": (2, "log", "sign", "--log", "bare.db"),
    "a signature for no log": (2, "log", "sign", "--log", "nope.db", "--signing", "ops.key"),
    "a signature for a damaged log": (7, "log", "sign", "--log", "bad.db", "--signing", "ops.key"),
    "a signature with a text": (2, "log", "sign", "--log", "bare.db", "--signing", "text"),
    "a key where one is": (2, "keys", "generate", "--key", "ops.key"),
    "a key in no directory": (2, "keys", "generate", "--key", "nope/ops.key"),
    "a key with a blank": (2, "keys", "generate", "--key", "new.key", "--name", "a b"),
    "a rotation of no key": (2, "keys", "rotate", "--key", "nope"),
    "a rotation of a text": (2, "keys", "rotate", "--key", "text"),
    "a key to be shown that is not there": (2, "keys", "show", "--key", "nope"),
    "no verb": (2, "keys"),
}  # fmt: skip


SOME = list(ORDERS)[:: 1 if os.environ.get("EVENTVM_THOROUGH") == "1" else 3]
"""Each takes a process of its own; all are tried in a thorough run."""


@pytest.mark.parametrize("order", SOME)
def test_what_cannot_be_done_is_said_in_one_sentence(place, order):
    """With the exit code of its class; nothing is written, and nothing is left."""
    code, *words = ORDERS[order]
    before = {one: one.read_bytes() for one in place.iterdir() if one.is_file()}
    refused(place, code, *words)
    assert {one: one.read_bytes() for one in place.iterdir() if one.is_file()} == before


def test_a_damaged_log_is_told_by_its_first_bad_position(place):
    """In the sentence itself."""
    assert "position 9 " in refused(place, 7, "log", "verify", "--log", "bad.db")


def test_a_damaged_log_is_told_to_a_program_as_well(place):
    """On the output, in the form that it asked for; the exit code is the same."""
    done = ordered(place, "log", "verify", "--log", "bad.db", "-o", "jsonl")
    assert done.returncode == 7
    row = json.loads(done.stdout)
    assert (row["right"], row["position"]) == (False, 9)
    assert row["what"] in done.stderr


def test_an_empty_log_is_right_and_can_be_anchored_and_signed(place):
    """There is nothing in it that could be wrong."""
    log = ("--log", "empty.db")
    assert "at 0" in said(place, "log", "anchor", "anchor", *log)
    assert "signed up to 0 by ops+" in said(place, "log", "sign", *log, "--signing", "ops.key")
    assert "signed to its end" in said(
        place, "log", "verify", *log, "--key", "ops.key.pub", "--anchor", "anchor"
    )


def test_a_key_without_a_place_is_this_users_own(tmp_path):
    """In the state directory, which only they can read."""
    said(tmp_path, "keys", "generate")
    (key,) = (tmp_path / "state").rglob("signing.key")
    assert Path(key).stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700
