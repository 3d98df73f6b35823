"""A host that is killed between a crash and its recovery neither loses nor doubles an attempt."""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from eventvm import events
from eventvm.logs import open_log

KILLS = 24 if os.environ.get("EVENTVM_THOROUGH") else 8
PROGRAM = Path(__file__).with_name("killed_host.py")


def killed(path, journal, lines):
    """Run a host until it has said so much, and kill it."""
    whole = [sys.executable, "-W", "error", str(PROGRAM), str(path), str(journal)]
    with subprocess.Popen(whole, stdout=subprocess.PIPE, text=True) as host:
        for _ in range(lines):
            assert host.stdout.readline(), "the host ended by itself"
        host.send_signal(signal.SIGKILL)
        host.stdout.read()


async def test_a_host_that_is_killed_neither_loses_nor_doubles_an_attempt(tmp_path):
    """The attempts of each recovery count 1, 2, 3 ..., and none is begun, or loaded, a second time."""
    path, journal, chance = tmp_path / "log.db", tmp_path / "journal", random.Random(7)
    for _ in range(KILLS):
        killed(path, journal, chance.randint(1, 12))
    async with open_log(path) as log:
        records = (await log.read(limit=log.tree.size)).records
    expected, begun, crashes = 1, 0, 0
    for event in (record.event for record in records):
        match event:
            case events.Exited():
                expected, begun, crashes = 1, 0, crashes + 1
            case events.RestartArmed(attempt=attempt):
                assert attempt == expected
                expected += 1
            case events.RestartBegun(attempt=attempt):
                assert (attempt, begun) == (expected - 1, attempt - 1)
                begun = attempt
            case events.Transitioned(to="Running"):
                assert begun == expected - 1
    loads = Counter(journal.read_text().split())
    assert crashes > KILLS / 2
    assert max(loads.values()) == 1, loads
