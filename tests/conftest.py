"""What every test run has in common: a thorough one lets nothing be skipped."""

import os

import pytest

pytest_plugins = ["eventvm.testing.plugin"]

THOROUGH = os.environ.get("EVENTVM_THOROUGH") == "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Turn a skip into a failure where everything is said to be installed."""
    report = yield
    if THOROUGH and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, but a thorough run skips nothing: {report.longrepr}"
    return report
