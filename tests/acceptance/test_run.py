"""`eventvm run`, as a process: what goes in and comes out, how it ends, and what the log tells afterwards."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

COMMAND = [sys.executable, "-W", "error", "-m", "eventvm", "run"]
CANARY = "CANARY-4f1d"


@pytest.fixture
def home(tmp_path):
    """A user's directories; whatever runs in them at the end is ours, and ended."""
    yield tmp_path
    for lock in tmp_path.glob("state/eventvm/processes/*/*"):
        assert not lock.exists(), f"{lock} was left behind"


@pytest.fixture
def environment(home):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EVENTVM_")}
    return {**clean, "XDG_STATE_HOME": str(home / "state"), "SECRET_OF_MINE": CANARY}


@pytest.fixture
def run(home, environment):
    def run(*arguments, cwd=home):
        whole = [*COMMAND, *arguments]
        return subprocess.run(
            whole, env=environment, cwd=cwd, capture_output=True, text=True, timeout=60, check=False
        )

    return run


def told(home, column="type"):
    """Read a column of the log, as anybody can."""
    with closing(sqlite3.connect(home / "state" / "eventvm" / "eventvm.db")) as log:
        rows = log.execute(
            f"SELECT {column} FROM log WHERE type LIKE 'machine.%' ORDER BY position"
        ).fetchall()
    return [value for (value,) in rows]


def test_output_and_exit_code_pass_through_on_a_fresh_machine(run, home):
    """No configuration; stdout and stderr stay apart; afterwards the log tells the whole life."""
    done = run("--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert told(home) == [
        "machine.requested", "machine.created", "machine.requested", "machine.started", "machine.exited",
        "machine.requested", "machine.destroyed",
    ]  # fmt: skip
    assert '"code":3' in told(home, "body")[4]
    asked = {one for one in told(home, "actor") if one != "engine"}
    assert len(asked) == 1
    assert told(home, "actor").count("engine") == 1  # who saw its end


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bwrap is missing: apt install bubblewrap")
def test_in_a_sandbox_it_writes_where_it_stands_and_its_true_end_is_recorded(run, home):
    """Nowhere else, and an end by a signal is one, though the sandbox itself has a code for it."""
    work = home / "work"
    work.mkdir()
    done = run(
        "--sandbox", "--", "sh", "-c", "touch here; touch /etc/eventvm-was-here || kill -9 $$", cwd=work
    )
    assert done.returncode == 137
    assert (work / "here").exists()
    assert '"signal":"SIGKILL"' in told(home, "body")[4]


ENDS = [("exit 0", 0), ("exit 42", 42), ("kill -9 $$", 137), ("kill -TERM $$", 143), ("exit 255", 255)]


@pytest.mark.parametrize(("script", "code"), ENDS)
def test_a_code_is_the_commands_own_or_128_and_its_signal(run, script, code):
    """As a shell would say it."""
    assert run("--", "sh", "-c", script).returncode == code


def test_much_output_passes_whole(run):
    """More than any pipe holds."""
    done = run("--", sys.executable, "-c", "print('x' * 3_000_000)")
    assert len(done.stdout) == 3_000_001


def test_a_command_that_is_not_there_is_one_sentence(run, home):
    """127 as in a shell, no traceback; the failed start is recorded and nothing is left."""
    done = run("--", "no-such-program")
    assert done.returncode == 127
    assert done.stderr == "eventvm: cannot run no-such-program: No such file or directory\n"
    assert told(home)[-3:] == ["machine.start_failed", "machine.requested", "machine.destroyed"]


def test_a_timeout_stops_it_with_124(run, home):
    """The stop is on the record, with its reason."""
    done = run("--timeout", "0.3", "--", "sleep", "60")
    assert done.returncode == 124
    assert "its time was over" in told(home, "reason")


def test_the_directory_and_the_environment_are_the_callers(run, home):
    """The values of the environment reach the command, and nothing that is written down."""
    done = run("--", "sh", "-c", "pwd; echo $SECRET_OF_MINE")
    assert done.stdout == f"{home}\n{CANARY}\n"
    for path in home.rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path


def test_what_is_kept_stays(run, home, environment):
    """With --keep the machine is there after its command has ended, under its name."""
    assert run("--keep", "--name", "mine", "--", "true").returncode == 0
    assert told(home)[-1] == "machine.exited"
    again = run("--name", "mine", "--", "true")
    assert again.returncode == 5
    assert "mine already exists" in again.stderr
    assert "Traceback" not in again.stderr
    code = (
        "import anyio, eventvm\n"
        "async def main():\n"
        f"    async with eventvm.open({str(home / 'state/eventvm/eventvm.db')!r}) as engine:\n"
        "        await (await engine.machine('mine')).destroy()\n"
        "anyio.run(main)\n"
    )
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)


WRONG = [(("--timeout", "soon", "--", "true"), 2), (("--provider", "nobody", "--", "true"), 5), ((), 2)]


@pytest.mark.parametrize(("arguments", "code"), WRONG)
def test_wrong_input_is_one_sentence(run, arguments, code):
    """It says what would be taken, and exits with the code of its kind."""
    done = run(*arguments)
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_what_the_log_does_not_know_is_discovered_and_adopted_or_ended(run, home, environment):
    """A log that was lost leaves its machines; each comes back into a log by an event, as it was made."""
    for name in ("one", "two"):
        assert run("--keep", "--name", name, "--", "sh", "-c", "exit 4").returncode == 4
    for path in (home / "state" / "eventvm").glob("eventvm.db*"):
        path.unlink()

    def discover(*arguments):
        whole = [*COMMAND[:-1], "discover", *arguments]
        return subprocess.run(
            whole, env=environment, cwd=home, capture_output=True, text=True, timeout=60, check=True
        ).stdout

    other = str(home / "other.db")
    assert run("--keep", "--name", "three", "--log", other, "--", "true").returncode == 0
    ids = [line.split()[1] for line in discover().splitlines()[1:]]
    assert len(ids) == 2
    assert "found is " in discover("--adopt", ids[0], "--name", "found")
    assert [line.split()[1] for line in discover().splitlines()[1:]] == ids[1:]
    assert "is destroyed" in discover("--destroy", ids[1], "--reason", "nobody knows it")
    assert discover() == "nothing runs that the log does not know\n"
    (home / "other.db").unlink()
    assert "process" in discover(), "what belongs to another log is an orphan once that is gone"
    discover("--destroy", discover().splitlines()[1].split()[1])
    assert '"exit 4"' in told(home, "body")[0]
    assert "nobody knows it" in told(home, "reason")
    code = (
        "import anyio, eventvm\n"
        "async def main():\n"
        f"    async with eventvm.open({str(home / 'state/eventvm/eventvm.db')!r}) as engine:\n"
        "        await (await engine.machine('found')).destroy(force=True)\n"
        "anyio.run(main)\n"
    )
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)


TRAPS = "trap 'echo asked; exit 7' TERM; echo ready; while :; do sleep 0.05; done"
STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.05; done"


def interrupted(home, environment, script, times, *options):
    whole = [*COMMAND, *options, "--", "sh", "-c", script]
    with subprocess.Popen(whole, env=environment, cwd=home, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        for _ in range(times):
            child.send_signal(signal.SIGINT)
            if times > 1:
                wait_for_stop(home)
        return child.wait(60), child.stdout.read()


def wait_for_stop(home):
    """Wait until the log says that a stop is wanted."""
    while "interrupted" not in told(home, "reason"):
        pass


def test_an_interrupt_stops_gracefully(home, environment):
    """The command is asked, says its last word, and its code passes through."""
    assert interrupted(home, environment, TRAPS, 1) == (7, "asked\n")
    assert told(home)[-1] == "machine.destroyed"


def test_a_second_interrupt_forces(home, environment):
    """What does not heed the first is ended by the second, without waiting for the grace."""
    code, _ = interrupted(home, environment, STUBBORN, 2, "--grace", "60")
    assert code == 137
    assert "interrupted twice" in told(home, "reason")
