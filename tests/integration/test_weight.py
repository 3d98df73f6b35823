"""A verb that promises constant memory takes no more of a log that is ten times as long."""

import subprocess
import sys

import pytest

from benchmarks.fleets import fleet_at
from benchmarks.weigh import PEAK

RECORDS, MACHINES, TIMES = 2_500, 100, 10
MEGABYTES = 7
"""It grows by less, with pages and chance; who gathers the machines of a log, or their entries, by more."""
VERBS = {
    "show of the past": "show web-1 --at 2023-12-30T00:00:00Z",
    "events": "events -o jsonl",
    "ledger show": "ledger show",
    "ledger totals": "ledger totals",
    "log diff": "log diff 2000 now",
    "log export": "log export",
    "doctor": "doctor",
}
GROWN = (
    PEAK
    + """
import sys
from eventvm.cli import main

def peak(log):
    try:
        main([*sys.argv[3:], "--log", log])
    except SystemExit as ended:
        assert ended.code in (0, 1), ended.code
    return kilobytes()

short, long = map(peak, sys.argv[1:3])
sys.stderr.write(f"GREW {(long - short) / 1024}")
"""
)


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Two logs, one of which has so many times the machines and the records of the other."""
    place = tmp_path_factory.mktemp("weight")
    for name, size in (("short", 1), ("long", TIMES)):
        fleet_at(place / f"{name}.db", machines=size * MACHINES, records=size * RECORDS)
    return [place / "short.db", place / "long.db"]


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_takes_no_more_memory_of_a_longer_log(verb, logs):
    """It reads the short one, then the long one, in one process: its peak stays about where it was."""
    order = [sys.executable, "-c", GROWN, *map(str, logs), *VERBS[verb].split()]
    done = subprocess.run(order, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert float(done.stderr.partition("GREW ")[2]) < MEGABYTES, done.stderr
