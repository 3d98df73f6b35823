"""A program that is asked to end at any moment ends soon, in good order, and has lost nothing."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eventvm.log import Replay
from eventvm.logs import open_log

PROGRAM = Path(__file__).with_name("left_engine.py")
RUNS = 30 if os.environ.get("EVENTVM_THOROUGH") else 6
PATIENCE = 10
"""Seconds after which a program that was asked to end hangs."""
SIGNALS = {"term": signal.SIGTERM, "interrupt": signal.SIGINT, "cancel": None}


async def asked_to_end(path, how, seed):
    """Run the program until it is asked to end, and give the lines that it said."""
    chance = random.Random(f"{how} {seed}")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", PROGRAM, path, how, str(seed),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, limit=1 << 24,
    )  # fmt: skip
    said = []
    try:
        if SIGNALS[how] is not None:
            for _ in range(chance.randrange(1, 60)):
                said.append((await process.stdout.readline()).decode())  # noqa: PERF401  # it waits for each
            process.send_signal(SIGNALS[how])
        async with asyncio.timeout(PATIENCE):
            rest, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert (process.returncode, errors.decode()) == (0, "")
    return [*map(str.strip, said), *rest.decode().splitlines()]


@pytest.mark.parametrize("how", SIGNALS)
async def test_a_program_that_is_asked_to_end_leaves_in_good_order(tmp_path, how):
    """No thread, no lock and no -wal is left, who waited was told, and all that was acknowledged is there."""
    acked = 0
    for seed in range(RUNS):
        path = tmp_path / f"{seed}.db"
        said = await asked_to_end(path, how, seed)
        assert said[-1] == "left"
        assert "threads ['MainThread']" in said, said[-5:]
        assert said.count("heard Closed") == 2, said[-5:]
        assert not path.with_name(f"{path.name}-wal").exists()
        versions = await lasting(path)
        for _, machine, version in (line.split() for line in said if line.startswith("acked")):
            assert versions[machine] >= int(version)
            acked += 1
    assert acked > RUNS, "too little was done for this to prove anything"


async def lasting(path):
    """Open the log again, which needs its lock, verify it whole, and give each stream's last version."""
    async with open_log(path) as log:
        return {record.stream: record.version async for page in Replay(log) for record in page}
