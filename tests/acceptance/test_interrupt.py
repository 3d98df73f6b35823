"""Ctrl-C in verbs other than `run`: no traceback, nothing by halves, and who holds the log goes on."""

import fcntl
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-W", "error", "-m", "eventvm"]
HANGING = """
import asyncio
import eventvm
from eventvm import Simulated, Spec

LIVES = {
    "start": (), "stop": ("start",), "pause": ("start",), "resume": ("start", "pause"),
    "snapshot": ("start",), "destroy": ("start",),
}

async def main():
    world = Simulated()
    async with eventvm.open("log.db", providers=[world], grace_seconds=0) as engine:
        await engine.create("other", lifecycle="plugin")
        for verb, life in LIVES.items():
            machine = await engine.create(verb, Spec(provider="simulated"))
            for act in life:
                await getattr(machine, act)()
            world.always(verb, verb, "hang")
        print("open", flush=True)
        await asyncio.get_running_loop().create_future()

asyncio.run(main())
"""
ACTING = {
    "start": (), "stop": (), "pause": (), "resume": (), "snapshot": ("s",),
    "destroy": ("--force", "--reason", "r"),
}  # fmt: skip
WAITING = {
    "wait": ("other", "--for", "phase=Running"),
    "events": ("-f", "--type", "no.such"),
    "list": ("-w", "--prefix", "nobody"),
}
READING = {"log verify": (), "log replay": (), "log export": ("--to", "told"), "doctor": (), "discover": ()}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVENTVM_URL", "log.db")
    return tmp_path


@pytest.fixture
def held(place):  # noqa: ARG001  # where it is held
    """An engine in another process, in which what is asked of a machine comes to no end."""
    command = [sys.executable, "-W", "error", "-c", HANGING]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as engine:
        assert engine.stdout.readline() == "open\n"
        yield engine
        engine.kill()


def typed(*words, **options):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*COMMAND, *words], **pipes | options)


def ended(child):
    """What an interrupted command comes to: its code and what it has shown, which is no error."""
    child.send_signal(signal.SIGINT)
    shown, errors = child.communicate(timeout=60)
    assert errors == ""
    return child.returncode, shown


def requests(path="log.db"):
    """Name the machines that have a request which nothing has answered."""
    with closing(sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)) as log:
        rows = log.execute("SELECT name, type FROM log WHERE name IS NOT NULL ORDER BY position").fetchall()
    return {name for name, type_ in dict(rows).items() if type_ == "machine.requested"}


def until(true):
    """Wait for a fact."""
    while not true():
        os.sched_yield()


def reads(child):
    """Whether a process has opened the log."""
    try:
        held = [str(one.readlink()) for one in Path(f"/proc/{child.pid}/fd").iterdir()]
    except FileNotFoundError:
        return False
    return child.poll() is not None or any(one.endswith("log.db") for one in held)


@pytest.mark.usefixtures("held")
def test_a_command_that_is_under_way_is_on_the_record_and_goes_on():
    """Giving up the wait gives up nothing else: the request stands, and the engine serves others."""
    with ExitStack() as stack:
        children = {verb: stack.enter_context(typed(verb, verb, *more)) for verb, more in ACTING.items()}
        until(lambda: requests() == set(ACTING))
        assert {verb: ended(child) for verb, child in children.items()} == dict.fromkeys(ACTING, (130, ""))
    assert requests() == set(ACTING)
    with typed("label", "other", "a=b", "-o", "json") as child:
        assert json.loads(child.communicate(timeout=60)[0])["how"] == "done"


def test_who_waits_or_follows_ends_without_a_word(held):
    """And nobody else notices."""
    with ExitStack() as stack:
        children = {verb: stack.enter_context(typed(verb, *more)) for verb, more in WAITING.items()}
        for child in children.values():
            until(lambda child=child: reads(child))
        told = {verb: ended(child) for verb, child in children.items()}
    assert {verb: code for verb, (code, _) in told.items()} == dict.fromkeys(WAITING, 130)
    assert told["wait"] == (130, "")
    assert held.poll() is None


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("verb", READING)
def test_what_is_interrupted_while_it_reads_has_answered_or_leaves_nothing(verb, place):
    """Neither a part of a file nor a trace beside the log."""
    before = sorted(place.iterdir())
    with typed(*verb.split(), *READING[verb]) as child:
        until(lambda: reads(child))
        code, _ = ended(child)
    assert code in (0, 130, -signal.SIGINT)  # it may have been through, or on its way out
    assert sorted(place.iterdir()) == sorted({*before, *[place / "told"] * (place / "told").exists()})
    assert not (place / "told").exists() or (place / "told").read_text().endswith("\n")


def done(*words):
    with typed(*words) as child:
        assert child.wait(60) == 0


def test_a_command_that_is_its_own_engine_leaves_in_good_order(place):
    """What it had asked for is done and on the record, and the next one finds nothing in its way."""
    done("create", "web", "--grace", "2", "--", "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done")
    done("start", "web")
    with typed("stop", "web") as child:
        until(lambda: requests() == {"web"})
        assert ended(child) == (130, "")
    assert requests() == set()
    done("wait", "web", "--for", "phase=stopped")
    done("destroy", "web")
    assert sorted(one.name for one in place.iterdir()) == ["log.db", "log.db.lock"]


def test_an_interrupt_before_it_has_begun_has_no_words(place):
    """It is being imported, as slowly as we read of it: there is nothing to leave in good order."""
    told, tells = os.pipe()
    fcntl.fcntl(tells, fcntl.F_SETPIPE_SZ, 4096)
    command = [sys.executable, "-X", "importtime", "-m", "eventvm", "create", "web"]
    with subprocess.Popen(command, stderr=tells) as child, os.fdopen(told, "rb", 0) as words:
        os.close(tells)
        read = b""
        while b"eventvm.cli.paper" not in read:
            read += words.read(100)
        child.send_signal(signal.SIGINT)
        read += words.readall()
    assert child.returncode == -signal.SIGINT
    assert b"Traceback" not in read
    assert [*place.iterdir()] == []
