"""After SIGKILL all that was acknowledged is there, all that is there was asked for, nothing by halves."""

import asyncio
import json
import os
import random
import sqlite3
import subprocess
import sys
from collections import Counter, defaultdict
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from eventvm.errors import LogError
from eventvm.log import Replay
from eventvm.logs import open_log

THOROUGH = bool(os.environ.get("EVENTVM_THOROUGH"))
CYCLES = 120 if THOROUGH else 50
CYCLES_PER_FILE = 10
"""So that a log is recovered that was recovered before."""


class Heard:
    """What the writers of one file said that they tried, and what was acknowledged to them."""

    def __init__(self) -> None:
        self.tried: dict[str, int] = {}
        self.acked: set[str] = set()

    def take(self, lines: list[str]) -> None:
        for word, name, *size in map(str.split, lines):
            if word == "tried":
                self.tried[name] = int(size[0])
            else:
                self.acked.add(name)


@asynccontextmanager
async def killer():
    """The program that forks writers and kills them."""
    program = Path(__file__).with_name("killed_writer.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=1 << 26
    )

    async def kill(**request) -> list[str]:
        process.stdin.write(json.dumps(request).encode() + b"\n")
        await process.stdin.drain()
        return json.loads(await process.stdout.readline())

    try:
        yield kill
    finally:
        process.stdin.close()
        await process.communicate()


async def violations(path: Path, heard: Heard) -> list[str]:
    """Say all that is wrong with a log whose writers were killed."""
    try:
        async with open_log(
            path
        ) as log:  # Replay: positions dense, versions gapless, chain and root as rebuilt
            stored = [record async for page in Replay(log) for record in page]
    except LogError as problem:
        return [f"{type(problem).__name__}: {problem}"]
    found = Counter(record.event.to for record in stored)
    members = Counter(mark.split("/")[0] for mark in found.elements())
    versions = defaultdict(list)
    for record in stored:
        versions[record.stream].append(record.version)
    with closing(sqlite3.connect(path)) as raw:
        ((integrity,),) = raw.execute("PRAGMA integrity_check").fetchall()
    return [
        *(f"integrity_check says {integrity}" for _ in range(integrity != "ok")),
        *(f"{name} was acknowledged and is lost" for name in heard.acked if name not in members),
        *(f"{name} is there and was never tried" for name in members if name not in heard.tried),
        *(f"{name} is half there" for name, size in heard.tried.items() if members[name] not in (0, size)),
        *(f"{mark} is there {times} times" for mark, times in found.items() if times > 1),
        *(f"{one} has a gap" for one, seen in versions.items() if seen != [*range(1, len(seen) + 1)]),
    ]


async def test_after_sigkill_the_log_holds_what_was_acknowledged_and_nothing_by_halves(tmp_path):
    chance, acked = random.Random(CYCLES), 0
    async with killer() as kill:
        for cycle in range(CYCLES):
            if cycle % CYCLES_PER_FILE == 0:
                path, heard = tmp_path / f"{cycle}.db", Heard()
            lines = await kill(
                path=str(path), name=f"cycle{cycle}", acks=chance.randint(1, 400),
                microseconds=chance.randint(0, 3000), early=False, suicide=False,
            )  # fmt: skip
            heard.take(lines)
            assert await violations(path, heard) == [], f"cycle {cycle}, {path}"
            acked += sum(line.startswith("acked") for line in lines)
    assert acked > 20 * CYCLES, "too little was written for this to prove anything"


@pytest.mark.parametrize("early", [False, True])
async def test_an_acknowledgement_before_the_commit_would_be_caught(tmp_path, early):
    """The writer kills itself in the moment of an acknowledgement: the worst for one that came too early."""
    async with killer() as kill:
        for acks in (1, 3, 9, 20):
            path, heard = tmp_path / f"{acks}.db", Heard()
            heard.take(
                await kill(path=str(path), name="one", acks=acks, microseconds=0, early=early, suicide=True)
            )
            assert len(heard.acked) == acks
            lost = [one for one in await violations(path, heard) if "is lost" in one]
            assert bool(lost) == early


@pytest.mark.parametrize(
    ("wound", "said"),
    [
        ("DELETE FROM records WHERE position = 3", "LogDamaged: position 3 is missing"),
        ("UPDATE records SET body = body || ' ' WHERE position = 2", "not what was hashed"),
        ("UPDATE tree SET size = size + 1", "LogDamaged"),
    ],
)
async def test_a_log_that_was_harmed_would_be_caught(tmp_path, wound, said):
    path, heard = tmp_path / "log.db", Heard()
    async with killer() as kill:
        lines = await kill(path=str(path), name="a", acks=50, microseconds=0, early=False, suicide=False)
    heard.take(lines)
    assert await violations(path, heard) == []
    half = max(heard.tried, key=heard.tried.get)
    assert await violations(path, Heard()) != []
    heard.tried[half] += 1
    assert f"{half} is half there" in await violations(path, heard)
    heard.tried[half] -= 1
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("DROP TRIGGER records_are_not_deleted")
        raw.execute("DROP TRIGGER records_are_not_updated")
        raw.execute(wound)
    assert any(said in violation for violation in await violations(path, heard))
