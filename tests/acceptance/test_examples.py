"""The worked examples of docs/examples run as programs, and say what they should."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
FAKES = ROOT / "tests" / "integration" / "systemd"

SAID = {
    "gpu_slot": (
        "gpu-0 is busy with Job(id=17, team='vision', priority=5)",
        "gpu-1 is busy with Job(id=18, team='speech', priority=0)",
        "invalid transition of gpu-0: busy to retired",
        "gpu-0: idle -> busy -> draining -> idle -> busy -> idle",
        "gpu-1: idle -> busy -> broken",
        "    gpu ",
        "    slot ",
        "vision held a GPU for 0.",
        "(stop-crash)",
    ),
    "plugin_host": (
        "broken cannot be loaded: it ended with code 1",
        "Starting -> Failed       it ended with code 1",
        "Running -> Recovering   unexpected-exit",
        "Starting -> Running      reloaded after unexpected-exit: attempt 1 of 3",
        "phases: {'Failed': 1, 'Stopped': 2}",
    ),
    "systemd_units": (
        "sleeper runs as eventvm-",
        "failing cannot snapshot: provider systemd does not support snapshot",
        "sleeper is running after ",
        ": still counting",
        "brief is stopped after 0.",
        "graceful, Observed(code=0",
        "failing is stopped after 0.",
        "crashed, Observed(code=1",
    ),
}


@pytest.fixture
def units(tmp_path):
    """A directory for the units of a small systemd; what still runs at the end is ended."""
    yield tmp_path
    for unit in tmp_path.glob("*.service"):
        if (pid := json.loads(unit.read_text()).get("pid")) is not None:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("example", SAID)
def test_an_example_runs_as_a_program_and_tells_its_story(example, units):
    """It exits with 0, warns of nothing, and leaves nothing running."""
    path = f"{FAKES}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / f"{example}.py")],
        env={**os.environ, "PATH": path, "FAKE_SYSTEMD": str(units)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for said in SAID[example]:
        assert said in done.stdout
    assert not list(units.glob("*.service"))


def test_every_example_is_run():
    """A new one has to say here what it tells."""
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SAID)


def test_without_systemd_the_example_says_so(tmp_path):
    """One sentence, and no traceback."""
    whole = [sys.executable, str(EXAMPLES / "systemd_units.py")]
    done = subprocess.run(whole, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "this host has no systemctl\n")
