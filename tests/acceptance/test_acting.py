"""The verbs that act: through who holds the log and alone, and the codes that they exit with."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from holding import holding

from eventvm.cli import main

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-W", "error", "-m", "eventvm"]
BLOCKS = re.findall(
    r"^```sh\n(.*?)^```", (ROOT / "docs" / "command-line.md").read_text(), re.MULTILINE | re.DOTALL
)
EXAMPLES = [line for block in BLOCKS for line in block.splitlines()]

ACTING = {
    "start": (), "stop": (), "pause": (), "resume": (), "snapshot": ("s",), "delete-snapshot": ("s",),
    "hibernate": ("s",), "restore": ("s",), "clone": ("new", "s"), "rename": ("new",), "complete": ("0",),
    "destroy": (), "transition": ("Installing",), "force": ("Installed", "--reason", "r"),
    "attest": ("gone", "--reason", "r"), "amend": ("--dev",), "label": ("a=b",), "retry advance": (),
    "retry reset": (), "reconcile": (),
}  # fmt: skip
TERMINAL = """
import os, shlex, sys
from eventvm.cli import acting, events, machines, main, waiting
for line in sys.stdin:
    words = shlex.split(line, comments=True)
    if words[0] != "eventvm":
        os.system(line)
    elif child := os.fork():
        if code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            sys.exit(f"{code}: {line}")
    else:
        main(words[1:])
"""
"""Runs each line as a process of its own, which need not import everything again."""

WITHOUT_ENGINE = """
import sys, anyio
from eventvm import open_log
async def main():
    async with open_log("fleet.db"):
        print(flush=True)
        sys.stdin.read()
anyio.run(main)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory with a log of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVENTVM_URL", "fleet.db")
    return tmp_path


@pytest.fixture
def held(place):
    """Another process that holds the log."""
    assert list(place.iterdir()) == []
    with holding("fleet.db") as one:
        yield one


def run(*order, code=0):
    done = subprocess.run([*COMMAND, *order], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, (order, done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


def called(capsys, *order):
    """Run a command in this process: its code, and what it says."""
    with pytest.raises(SystemExit) as ended:
        main(order)
    said = capsys.readouterr()
    lines = said.err.splitlines()
    if ended.value.code:
        assert lines[0].startswith("eventvm"), said
        assert [line[:6] for line in lines[1:]] in ([], ["hint: "])
        assert said.out == ""
    return ended.value.code, said.out


@pytest.mark.usefixtures("held")
def test_every_example_of_the_page_works_through_who_holds_the_log():
    """As printed, in its order; each verb that acts has one."""
    shown = {" ".join(line.split()[1:3]) for line in EXAMPLES} | {line.split()[1] for line in EXAMPLES}
    assert {*ACTING, "create", "wait"} - shown == set()
    typed = "\n".join(EXAMPLES)
    done = subprocess.run(
        [sys.executable, "-c", TERMINAL], input=typed, text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    events = run("events", "web-2", "-o", "jsonl").stdout.splitlines()
    actors = {json.loads(event)["actor"] for event in events}
    assert len(actors) == 1
    assert "@" in actors.pop()


def test_a_life_without_an_engine_is_the_same(place):
    """Each command is the engine for as long as it runs; the machine stays alive between them."""
    run("create", "web", "--", "sleep", "600")
    pid = json.loads(run("start", "web", "-o", "json").stdout)
    assert (pid["phase"], pid["how"]) == ("running", "done")
    assert "nothing to do" in run("start", "web").stdout
    assert "web is running" in run("reconcile", "web").stdout
    assert run("destroy", "web", code=5).stderr.startswith("eventvm: web is running: destroy needs force")
    assert "web is destroyed" in run("destroy", "web", "--force", "--reason", "enough").stdout
    assert sorted(one.name for one in place.iterdir() if "socket" in one.name) == []


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("verb", [one for one in ACTING if one != "reconcile"])
def test_an_id_that_no_machine_has_is_told(capsys, verb):
    """As a name that leads nowhere."""
    assert called(capsys, "reconcile") == (0, "looked at 0, repaired 0\n")
    assert called(capsys, *verb.split(), "--id", "web", *ACTING[verb])[0] in {2, 6}


@pytest.mark.parametrize("verb", ["start", "stop", "destroy"])
def test_a_refusal_makes_no_log(place, capsys, verb):
    """Where the file is empty, and where the log would be in memory."""
    (place / "fleet.db").touch()
    for log in ("fleet.db", "memory:"):
        assert called(capsys, verb, "web", "--log", log)[0] == 6
    assert [(one.name, one.stat().st_size) for one in place.iterdir()] == [("fleet.db", 0)]


@pytest.mark.usefixtures("place")
def test_who_has_everything_looked_at_is_told_what_was_repaired(capsys):
    """By name, with the phase that it is in now."""
    assert called(capsys, "create", "web", "--provider", "simulated")[0] == 0
    assert called(capsys, "start", "web")[0] == 0
    assert called(capsys, "reconcile") == (0, "looked at 1, repaired 1\nweb is stopped\n")


@pytest.mark.usefixtures("place")
def test_the_exit_codes_are_those_of_the_page(capsys):
    """Reached, failed, wrong, ended otherwise, hopeless, in conflict, missing, late."""
    assert called(capsys, "create", "p", "--lifecycle", "plugin", "--key", "k")[0] == 0
    assert called(capsys, "create", "p", "--lifecycle", "plugin", "--key", "k")[0] == 0
    assert called(capsys, "create", "q", "--lifecycle", "plugin", "--key", "k")[0] == 5
    assert called(capsys, "create", "p", "--lifecycle", "plugin")[0] == 5
    assert called(capsys, "transition", "p", "Running")[0] == 5
    assert called(capsys, "wait", "p", "--for", "phase=nothing")[0] == 2
    assert called(capsys, "wait", "p", "--for", "phase=Running", "--timeout", "0.01")[0] == 124
    assert called(capsys, "wait", "nobody", "--for", "phase=running", "--timeout", "0.01")[0] == 124
    assert called(capsys, "wait", "p", "--for", "phase=Running", "--after", "0")[0] == 4
    assert called(capsys, "create", "w", "--", "/nothing/here")[0] == 0
    assert called(capsys, "start", "w")[0] == 1
    assert called(capsys, "destroy", "w")[0] == 0
    assert called(capsys, "wait", "w", "--for", "phase=running")[0] == 3
    assert called(capsys, "start", "w")[0] == 6


@pytest.mark.usefixtures("place")
def test_run_in_one_terminal_and_stop_in_another():
    """The first ends with the code of its command; a run that used its engine goes on without it."""
    with (
        subprocess.Popen(
            [*COMMAND, "run", "--name", "one", "--", "sh", "-c", "echo up; exec sleep 600"],
            stdout=subprocess.PIPE,
        ) as one,
    ):
        assert one.stdout.readline() == b"up\n"
        environment = {**os.environ, "ONLY_HERE": "yes"}
        with subprocess.Popen(
            [*COMMAND, "run", "--name", "two", "--", "sh", "-c", "echo $ONLY_HERE; exec sleep 600"],
            stdout=subprocess.PIPE, env=environment,
        ) as two:  # fmt: skip
            assert two.stdout.readline() == b"yes\n"
            assert "one is stopped" in run("stop", "one").stdout
            assert one.wait(30) == 143
            assert "two is running" in run("start", "two").stdout
            two.send_signal(signal.SIGINT)
            assert two.wait(30) == 143
    assert [line.split()[1] for line in run("list", "--all").stdout.splitlines()[1:]] == ["destroyed"] * 2


@pytest.mark.usefixtures("place")
def test_a_log_that_is_held_without_an_engine_names_its_holder(monkeypatch, capsys):
    """As while something is imported into it."""
    monkeypatch.setattr("eventvm.wire.PATIENCE_SECONDS", 0.1)
    with subprocess.Popen(
        [sys.executable, "-c", WITHOUT_ENGINE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        holder.stdout.readline()
        assert called(capsys, "create", "web", "--lifecycle", "plugin")[0] == 1
        holder.stdin.close()
