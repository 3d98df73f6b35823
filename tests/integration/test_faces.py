"""Pictures, lifecycles, the doctor and completion, each as a process: right, wrong, empty, missing, held."""

import asyncio
import json
import os
import pty
import shutil
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from xml.etree import ElementTree as ET

import pytest

import eventvm
from eventvm.address import socket_of
from eventvm.lifecycle import Rules, encode
from eventvm.lifecycles import LIFECYCLES

COMMAND = [sys.executable, "-W", "error", "-m", "eventvm"]


def run(place, *order, code=0, url="demo.db", **options):
    environment = {**os.environ, "EVENTVM_URL": url, "PYTHONIOENCODING": "utf-8"}
    whole = {"capture_output": True, "cwd": place, "text": True, "timeout": 60, "env": environment} | options
    done = subprocess.run([*COMMAND, *order], **whole, check=False)
    assert done.returncode == code, (order, done.returncode, done.stdout, done.stderr)
    return done


def refused(place, *order, code, url="demo.db", **options):
    """The error is one sentence, and perhaps a hint; nothing is shown."""
    done = run(place, *order, code=code, url=url, **options)
    assert done.stderr.startswith("eventvm")
    assert len(done.stderr.splitlines()) <= 2
    assert done.stdout == ""
    return done.stderr


# --- pictures -------------------------------------------------------------------------------------------


def test_a_picture_is_written_as_svg_or_shown(place, tmp_path):
    """The file holds what the output would."""
    run(place, "picture", "web-1", "--at", "10", "--svg", str(tmp_path / "web.svg"))
    told = run(place, "picture", "web-1", "--at", "10", "--svg", "-").stdout
    assert (tmp_path / "web.svg").read_text() == told
    titles = [one.text for one in ET.fromstring(told).iter("{http://www.w3.org/2000/svg}title")]
    assert titles[0] == "The life of web-1"
    lines = run(place, "picture", "web-1", "--ascii", "--width", "90").stdout.splitlines()
    assert all(line.isascii() and len(line) <= 90 for line in lines)
    assert any("stop_failed: the hypervisor did not answer" in line for line in lines)


def test_a_fleet_is_drawn_as_it_was_and_as_it_was_known(place):
    """Late news bends the row of a machine, unless nobody knew it yet."""
    fleet = run(place, "picture", "--all").stdout
    assert all(name in fleet for name in ("web-1", "db-1", "job-2", "search-plugin"))
    assert "job-2" not in run(place, "picture").stdout
    told = [json.loads(line) for line in run(place, "events", "db-1", "-o", "jsonl").stdout.splitlines()]
    died = next(row for row in told if row["type"] == "machine.exited")
    order = ("picture", "db-1", "--at", died["at"], "--width", "100")
    assert "exited" in run(place, *order).stdout
    assert "exited" not in run(place, *order, "--known-at", str(died["position"] - 1)).stdout


def test_a_window_that_nobody_lived_in_says_so(place):
    """It is no error; nor is a log without machines."""
    assert run(place, "picture", "--from", "2001-01-01T00:00:00Z", "--to", "2001-01-02T00:00:00Z").stdout == (
        "nothing lived in that time\n"
    )
    assert run(place, "picture", url="empty.db").stdout == "no machines\n"


@pytest.mark.parametrize("order", [("--width", "9"), ("--all",), ("--svg", "."), ("--svg", "nowhere/x.svg")])
def test_a_picture_that_cannot_be_is_refused(place, order):
    """Before anything is written."""
    refused(place, "picture", "web-1", *order, code=2)


def test_letters_that_the_output_lacks_are_not_used(place):
    """An ASCII terminal gets ASCII."""
    told = run(
        place, "picture", "web-1", env={**os.environ, "EVENTVM_URL": "demo.db", "PYTHONIOENCODING": "ascii"}
    )
    assert told.stdout.isascii()
    assert "\\u" not in told.stdout


def on_a_terminal(place, *order, **environment):
    master, terminal = pty.openpty()
    env = {**os.environ, "EVENTVM_URL": "demo.db", "COLUMNS": "70", **environment}
    with subprocess.Popen([*COMMAND, *order], cwd=place, stdout=terminal, env=env):
        os.close(terminal)
        told = b""
        while some := read(master):
            told += some
    os.close(master)
    return told.decode()


def read(descriptor):
    try:
        return os.read(descriptor, 65536)
    except OSError:  # what Linux says when the other end is closed
        return b""


def test_colour_is_for_terminals_that_want_it(place):
    """NO_COLOR leaves the same picture without it."""
    dyed, plain = (
        on_a_terminal(place, "picture", "web-1"),
        on_a_terminal(place, "picture", "web-1", NO_COLOR="1"),
    )
    assert "\x1b[32m" in dyed
    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines())) <= 70


# --- lifecycles -----------------------------------------------------------------------------------------


def test_lifecycles_are_listed_with_those_that_a_log_has_recorded(place):
    """Without a log those that are built in."""
    told = json.loads(run(place, "lifecycle", "list", "-o", "json").stdout)
    assert [row["name"] for row in told] == ["vm", "hcsshim", "plugin", "microvm", "cell"]
    assert {row["name"]: row["position"] for row in told}["vm"] == 1
    assert run(place, "lifecycle", "list", url="nowhere.db").stdout.count("built in") == 5
    refused(place, "lifecycle", "list", "--log", "nowhere.db", code=2)


def test_a_lifecycle_is_shown_drawn_and_found_by_its_digest(place):
    """In tables, as the definition, as Mermaid, as SVG."""
    assert (
        json.loads(
            run(place, "lifecycle", "show", Rules(LIFECYCLES["plugin"]).digest[:8], "-o", "json").stdout
        )["name"]
        == "plugin"
    )
    assert run(place, "lifecycle", "diagram", "cell").stdout.startswith("stateDiagram-v2")
    assert "The lifecycle cell" in run(place, "lifecycle", "diagram", "cell", "--svg", "-").stdout
    assert "lifecycle list" in refused(place, "lifecycle", "show", "nothing", code=6)
    assert "has no phase" in refused(place, "lifecycle", "show", "vm", "--phase", "odd", code=2)


def test_a_definition_is_checked_row_by_row_then_law_by_law(tmp_path):
    """Each contradiction is named, not only the first."""
    told = encode(LIFECYCLES["cell"]).decode()
    (tmp_path / "cell.json").write_text(told)
    said = run(tmp_path, "lifecycle", "check", "cell.json", code=1).stdout
    assert "only the end can follow" in said
    assert "is lawful" in run(tmp_path, "lifecycle", "check", "cell.json", "--doomed", "completed").stdout
    (tmp_path / "bad.json").write_text(told.replace('"machine.started"', '"machine.startd"'))
    rows = json.loads(run(tmp_path, "lifecycle", "check", "bad.json", "-o", "json", code=1).stdout)
    assert len(rows) > 1
    assert all("unknown event type" in row["why"] or "no arrow" in row["why"] for row in rows)
    refused(tmp_path, "lifecycle", "check", "nowhere.json", code=2)
    refused(tmp_path, "lifecycle", "check", "-", code=2, input="[]")


# --- the doctor -----------------------------------------------------------------------------------------


def found(place, code=0, url="demo.db", **options):
    told = run(place, "doctor", "-o", "json", code=code, url=url, **options).stdout
    return [(row["about"], row["level"], row["what"], row["do"]) for row in json.loads(told)]


def levels(rows):
    return {about: level for about, level, _, _ in rows}


def test_a_healthy_log_is_found_so_and_left_as_it_is(place):
    """To the byte, and without a trace beside it."""
    before = {path: path.read_bytes() for path in place.iterdir()}
    rows = found(place)
    assert "wrong" not in levels(rows).values()
    assert {"sqlite", "settings", "file system", "room", "lock", "clock", "records", "orphans"} <= set(
        levels(rows)
    )
    assert {path: path.read_bytes() for path in place.iterdir()} == before


def test_where_nothing_is_there_is_nothing_wrong(tmp_path):
    """And nothing is there afterwards, not even a directory."""
    environment = {**os.environ, "EVENTVM_URL": "", "XDG_STATE_HOME": str(tmp_path / "state")}
    assert levels(found(tmp_path, env=environment))["file"] == "note"
    assert not list(tmp_path.iterdir())


def test_a_lost_log_and_a_damaged_one_are_told_apart(place, tmp_path):
    """The first lived here and is gone; the second is there, and cannot be believed."""
    for name in ("demo.db", "demo.db.lock"):
        shutil.copy(place / name, tmp_path)
    with (tmp_path / "demo.db").open("r+b") as file:
        file.seek(20_000)
        file.write(b"\xff" * 60_000)
    rows = found(tmp_path, code=1)
    assert any(level == "wrong" and "backup" in do for _, level, _, do in rows)
    (tmp_path / "demo.db").write_bytes(b"")
    assert any(about == "file" and "lived here" in what for about, _, what, _ in found(tmp_path, code=1))
    (tmp_path / "text.db").write_text("no database at all, however long it is read\n" * 30)
    assert levels(found(tmp_path, code=1, url="text.db"))["log"] == "wrong"


def test_a_guard_that_was_dropped_is_missed(place, tmp_path):
    """A log without it can be changed by anybody."""
    shutil.copy(place / "demo.db", tmp_path)
    with closing(sqlite3.connect(tmp_path / "demo.db")) as raw:
        raw.executescript("DROP TRIGGER records_are_not_updated")
    assert ("log", "wrong") in {row[:2] for row in found(tmp_path, code=1)}


TROUBLE = """
import asyncio, sys
from contextlib import suppress
import eventvm
from eventvm import EventvmError, Simulated, Spec

async def main():
    world = Simulated()
    async with eventvm.open("held.db", providers=[world], grace_seconds=0) as engine:
        mail = await engine.create("mail", Spec(provider="simulated"))
        await mail.start()
        world.script("mail", "stop", "fail")
        with suppress(EventvmError):
            await mail.stop()
        queue = await engine.create("queue", Spec(provider="simulated"))
        world.script("queue", "start", "hang")
        await queue.start(wait=False)
        print("open", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

asyncio.run(main())
"""


@pytest.fixture
def troubled(tmp_path):
    """A log that an engine holds: one of its machines is in error, another has a request open."""
    with subprocess.Popen(
        [sys.executable, "-c", TROUBLE],
        cwd=tmp_path,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as engine:
        assert engine.stdout.readline() == "open\n"
        yield tmp_path, engine
        if engine.poll() is None:
            engine.stdin.close()


def test_a_held_log_is_examined_and_who_holds_it_is_named(troubled):
    """With what each machine needs; once its engine is killed, that is seen as well."""
    place, engine = troubled
    rows = found(place, code=1, url="held.db")
    told = {about: (level, what, do) for about, level, what, do in rows}
    assert f"process {engine.pid} " in told["lock"][1]
    assert "alive" in told["lock"][1]
    assert told["machine mail"][0] == "wrong"
    assert told["machine mail"][2] == "eventvm reconcile mail"
    assert told["machine queue"][0] == "note"
    assert "start has been requested" in told["machine queue"][1]
    engine.kill()
    engine.wait()
    told = {about: what for about, _, what, _ in found(place, code=1, url="held.db")}
    assert "no engine holds it" in told["lock"]
    assert "no engine runs" in told["machine queue"]
    assert "was killed" in told["size"]


def test_a_socket_is_knocked_at(place, tmp_path):
    """One that was left behind harms nobody; one that others may use does."""
    shutil.copy(place / "demo.db", tmp_path)
    with closing(socket.socket(socket.AF_UNIX)) as door:
        door.bind(str(tmp_path / "demo.db.socket"))
        (tmp_path / "demo.db.socket").chmod(0o600)
        assert ("socket", "note") in {row[:2] for row in found(tmp_path)}
        door.listen()
        assert ("socket", "well", "demo.db.socket answers", "") in found(tmp_path)
        (tmp_path / "demo.db.socket").chmod(0o666)
        assert levels(found(tmp_path, code=1))["socket"] == "wrong"
    (tmp_path / "demo.db.socket").unlink()


@pytest.mark.parametrize("name", ["log.db", "n" * 120])
async def test_the_socket_of_a_log_with_a_long_path_is_found(tmp_path, name):
    """Where its engine has it: its name may be a hash, and no address may hold its path."""
    deep = tmp_path.joinpath(*("d" * 60 for _ in range(4)))
    deep.mkdir(parents=True)
    async with eventvm.open(deep / name):
        rows = await asyncio.to_thread(found, tmp_path, url=str(deep / name))
        assert ("socket", "well", f"{socket_of(deep / name).name} answers", "") in rows


def test_a_record_from_the_future_is_told(tmp_path):
    """Nothing else would explain why new records all have one time."""
    program = (
        "import asyncio, time; from eventvm import Engine\nfrom eventvm.logs import open_log\n"
        "from eventvm.clock import Clock\n"
        "async def main():\n"
        " async with open_log('ahead.db', clock=lambda: time.time_ns() + 3600 * 10**9) as log:\n"
        "  async with Engine(log, []).running() as engine: await engine.create('p', lifecycle='plugin')\n"
        "asyncio.run(main())"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    rows = {
        about: what for about, level, what, _ in found(tmp_path, code=1, url="ahead.db") if level == "wrong"
    }
    assert "in the future" in rows["clock"]


# --- completion -----------------------------------------------------------------------------------------

TRIED = {
    "verbs": (["eventvm", "lif"], {"lifecycle"}),
    "verbs of a group": (["eventvm", "lifecycle", ""], {"list", "show", "diagram", "check"}),
    "options": (["eventvm", "list", "--ph"], {"--phase"}),
    "choices": (["eventvm", "list", "-o", "j"], {"json", "jsonl"}),
    "machines": (["eventvm", "show", "job"], {"job-1", "job-2"}),
    "machines of another log": (["eventvm", "show", "--log", "empty.db", "job"], set()),
    "phases": (["eventvm", "list", "--phase", "Deg"], {"Degraded"}),
    "a phase behind =": (["eventvm", "list", "--phase", "=", "Deg"], {"Degraded"}),
    "lifecycles": (["eventvm", "lifecycle", "show", "micro"], {"microvm"}),
    "files": (["eventvm", "lifecycle", "check", "de"], set()),
}


@pytest.fixture(scope="module")
def script(place, tmp_path_factory):
    """What bash is given to complete with."""
    path = tmp_path_factory.mktemp("script") / "complete.bash"
    path.write_text(run(place, "completion", "bash").stdout)
    return path


@pytest.mark.parametrize("case", TRIED)
def test_bash_completes(case, script, place):
    """A real one; where it is given nothing it offers files by itself."""
    words, wanted = TRIED[case]
    told = " ".join(f"'{word}'" for word in words)
    asked = f"COMP_WORDS=({told}); COMP_CWORD={len(words) - 1}; _eventvm"
    program = f'. "{script}"; {asked}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    environment = {**os.environ, "EVENTVM_URL": "demo.db"}
    done = subprocess.run(
        ["bash", "-c", program], cwd=place, env=environment, capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) == wanted
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_take_their_script(shell, place):
    """Where they are installed."""
    told = run(place, "completion", shell).stdout
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is missing: apt install {shell}")
    done = subprocess.run([shell, "-n"], input=told, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
