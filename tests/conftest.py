"""What every test run has in common: a thorough one lets nothing be skipped, and none leaves anything."""

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))  # tests are no package: what they share is found so

from leftovers import groups, left

pytest_plugins = ["eventvm.testing.plugin"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell has put the run into the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what is interrupted here has to hear of it

THOROUGH = os.environ.get("EVENTVM_THOROUGH") == "1"

settings.register_profile(
    "patient",  # how fast this machine is just now is no law
    deadline=None,
    max_examples=100 if THOROUGH else 40,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("patient")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Use one worker more than there are cores: many tests wait for a process that they have started."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Turn a skip into a failure where everything is said to be installed."""
    report = yield
    if THOROUGH and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, but a thorough run skips nothing: {report.longrepr}"
    return report


@pytest.fixture(scope="session", autouse=True)
def nothing_outlives_the_run(tmp_path_factory):
    """Give the run a home of its own, and fail it if anything of a machine is left there at its end."""
    home, before = tmp_path_factory.getbasetemp(), [*groups()]
    (home / "tmp").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(home / "tmp"))
        patch.setenv("XDG_STATE_HOME", str(home / "state"))
        yield
        assert [one for one in left(home) if one not in before] == [], "the run has left something behind"
