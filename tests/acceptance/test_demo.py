"""`eventvm demo`, as a process."""

import sqlite3
import subprocess
import sys

from terminal import shown_on_a_terminal

COMMAND = [sys.executable, "-m", "eventvm"]


def demo(*arguments, check=False):
    whole = [*COMMAND, "demo", *arguments]
    return subprocess.run(whole, capture_output=True, text=True, timeout=60, check=check)


def test_the_demo_tells_every_story_and_proves_itself(tmp_path):
    """It ends by replaying its file, exits with 0, and is plain in a pipe."""
    done = demo("--file", str(tmp_path / "demo.db"), check=True)
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert "is what the log says, in every field" in done.stdout
    assert "launched 1 time; one compute interval" in done.stdout
    for story in ("1. A stop", "2. A crash", "3. A forced end", "4. A warm", "5. A plugin", "6. The engine"):
        assert story in done.stdout


def test_the_demo_leaves_a_log_that_a_shell_can_read(tmp_path):
    """The file is whole, and its `log` view tells the seed story in plain columns."""
    path = tmp_path / "demo.db"
    demo("--file", str(path), check=True)
    log = sqlite3.connect(path)
    told = [row for (row,) in log.execute("SELECT type FROM log WHERE name = 'web-1' ORDER BY position")]
    log.close()
    seed = ["machine.stop_failed", "machine.reconciled", "machine.requested", "machine.stopped"]
    assert told[-5:] == ["machine.requested", *seed][-5:]


def test_the_demo_is_in_colour_on_a_terminal(tmp_path):
    """On a terminal phases have colours; NO_COLOR takes them away."""
    for environment, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        path = tmp_path / f"{coloured}.db"
        shown = shown_on_a_terminal([*COMMAND, "demo", "--file", str(path)], environment)
        assert (b"\x1b[" in shown) is coloured


def test_a_broken_pipe_is_quiet(tmp_path):
    """When the reader goes away, so does the demo, without a word."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*COMMAND, "demo", "--file", str(tmp_path / "demo.db")], **pipes) as child:
        child.stdout.close()
        assert child.stderr.read() == b""
        child.wait(60)


def test_help_names_every_verb_with_an_example():
    """`--help` teaches."""
    done = demo("--help", check=True)
    assert "example: eventvm demo" in done.stdout
