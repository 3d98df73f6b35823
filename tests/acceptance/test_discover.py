"""`eventvm discover` where another process holds the log: its engine finds, adopts and ends."""

import json
import subprocess
import sys

import pytest
from holding import holding

from eventvm.wire.guest import whoever

COMMAND = [sys.executable, "-W", "error", "-m", "eventvm"]
NOTHING = "nothing runs that the log does not know\n"


def run(*words, code=0):
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, (words, done)
    return done.stdout if code == 0 else done.stderr


def found():
    """List the ids of what runs and is not in the log."""
    return {line.split()[1] for line in run("discover").splitlines()[1:]}


@pytest.fixture
def orphans(tmp_path, monkeypatch):
    """Two processes whose log is lost."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("EVENTVM_URL", "lost.db")
    ids = set()
    for name in ("one", "two"):
        run("create", name, "--", "sleep", "600")
        ids.add(json.loads(run("start", name, "-o", "json"))["machine"])
    for path in tmp_path.glob("lost.db*"):
        path.unlink()
    monkeypatch.setenv("EVENTVM_URL", "log.db")
    return ids


@pytest.fixture
def held(orphans):
    """Another process that holds a log, and knows of neither."""
    with holding("log.db"):
        yield orphans


def events(name):
    return [json.loads(line) for line in run("events", name, "-o", "jsonl").splitlines()]


def test_what_is_found_through_another_engine_is_adopted_or_ended(held):
    """As it was made and still alive; who asked is on the record."""
    assert found() == held
    one, two = held
    assert run("discover", "--adopt", one, "--name", "found", "--reason", "lost") == "found is running\n"
    assert found() == {two}
    assert run("discover", "--destroy", two, "--reason", "nobody knows it") == f"orphan/{two} is destroyed\n"
    assert run("discover") == NOTHING
    (made,) = [event for event in events("found") if event["type"] == "machine.created"]
    assert (made["stream"], made["actor"], made["reason"]) == (one, whoever(), "lost")
    assert "nobody knows it" in {event["reason"] for event in events(f"orphan/{two}")}
    assert "found is stopped" in run("stop", "found")
    assert "found is destroyed" in run("destroy", "found")


def test_of_two_that_adopt_the_same_at_once_one_does(held):
    """The other is refused in a sentence; the log has it once."""
    one, two = held
    adopting = [
        subprocess.Popen(
            [*COMMAND, "discover", "--adopt", one, "--name", name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for name in ("mine", "yours")
    ]
    told = [child.communicate(timeout=60) for child in adopting]
    assert sorted(child.returncode == 0 for child in adopting) == [False, True], told
    assert not any(b"Traceback" in errors for _, errors in told)
    made = run("events", "--type", "machine.created", "-o", "jsonl").splitlines()
    assert [json.loads(event)["stream"] for event in made] == [one]
    run("destroy", one, "--id", "--force", "--reason", "enough")
    run("discover", "--destroy", two)


def test_what_nobody_has_is_not_adopted(held):
    """One sentence, and nothing is recorded."""
    before = run("log", "checkpoint")
    assert "no provider has nobody" in run("discover", "--adopt", "nobody", code=2)
    assert "no provider has nobody" in run("discover", "--destroy", "nobody", code=2)
    assert run("log", "checkpoint") == before
    for orphan in held:
        run("discover", "--destroy", orphan)
