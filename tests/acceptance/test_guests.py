"""Guests as a user meets them: found and ended from the command line, and drawn from their log."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree as ET

import anyio
import pytest

from eventvm import Spec, Target
from eventvm.providers.qemu import Qemu
from eventvm.providers.qemu.places import machines

DOCS = Path(__file__).parents[2] / "docs"
THERE = shutil.which("qemu-system-x86_64") is not None and find_spec("qemu") is not None
pytestmark = pytest.mark.skipif(
    not THERE, reason="QEMU is missing: apt install qemu-system-x86, and pip install 'eventvm[qemu]'"
)

CREATED = """
import sys
import anyio, eventvm
from eventvm import Spec
from eventvm.providers.qemu import TINY

async def main():
    async with eventvm.open(sys.argv[1]) as engine:
        guest = await engine.create("web", Spec(provider="qemu", kernel=str(TINY), memory=8 << 20))
        await guest.start()
        print(guest.id)

anyio.run(main)
"""


@pytest.fixture
def environment(tmp_path):
    """A home of its own, in which no guest is left whatever a test has done."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EVENTVM_")}
    yield {**clean, "XDG_STATE_HOME": str(tmp_path / "state")}
    anyio.run(cleared, tmp_path / "state" / "eventvm" / "qemu")


async def cleared(root):
    provider = Qemu(root)
    for id_ in list(machines(root).ids()):
        await provider.destroy(Target(id_, "guest", 1, Spec(provider="qemu")))


@pytest.fixture
def told(tmp_path, environment):
    """Run a program in a home without any configuration, and give what it says."""

    def run(*arguments):
        whole = [sys.executable, "-W", "error", *map(str, arguments)]
        done = subprocess.run(
            whole, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


def test_a_guest_that_no_log_knows_is_found_adopted_and_ended(told, tmp_path):
    """Its log is lost and it runs on; nothing names its provider but the package that brings it."""
    id_ = told("-c", CREATED, tmp_path / "first.db").strip()
    nothing = "nothing runs that the log does not know\n"
    assert told("-m", "eventvm", "discover") == nothing, "its own log is there to know it"
    for path in tmp_path.glob("first.db*"):
        path.unlink()
    assert [line.split() for line in told("-m", "eventvm", "discover").splitlines()[1:]] == [["qemu", id_]]
    adopted = told("-m", "eventvm", "discover", "--adopt", id_, "--name", "found")
    assert adopted == "found is running\n"
    assert told("-m", "eventvm", "discover") == nothing
    told("-c", ENDED, tmp_path / "state" / "eventvm" / "eventvm.db")
    assert list(machines(tmp_path / "state" / "eventvm" / "qemu").ids()) == []


ENDED = """
import sys
import anyio, eventvm

async def main():
    async with eventvm.open(sys.argv[1]) as engine:
        guest = await engine.machine("found")
        assert guest.machine.spec.kernel, "it was adopted as it was made"
        await guest.destroy(force=True)

anyio.run(main)
"""


def texts(picture):
    return [one.text for one in ET.parse(picture).iter("{http://www.w3.org/2000/svg}text")]


def test_the_picture_is_drawn_from_the_log_of_a_real_life(told, tmp_path):
    """Quicker than the one on the page, and the same story."""
    told(DOCS / "life.py", "--pace", "0.02", "--file", tmp_path / "life.svg")
    marks = {
        "created as web-1", "started (incarnation 1)", "snapshotted 'before'",
        "exited (killed, forced, no exit code)", "restored (incarnation 2)",
        "stopped (power button: exit code 3, authenticated)",
    }  # fmt: skip
    for picture in (tmp_path / "life.svg", DOCS / "life.svg"):
        assert marks <= set(texts(picture))
