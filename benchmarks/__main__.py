"""Speed as ratios, measured side by side in one run: `python -m benchmarks`."""

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import aiosqlite

import eventvm
from eventvm.audit.replay import replayed
from eventvm.lifecycle import Lifecycle
from eventvm.logs import open_log
from eventvm.tables import ANY, Arrow, Fact

LAMP = Lifecycle(
    name="lamp",
    initial="off",
    phases=("off", "on", "broken"),
    settled=("off", "on"),
    ends=("broken",),
    moves={"off": ("on", "broken"), "on": ("off", "broken")},
    rows={"off": {"create": Fact("machine.created")}, ANY: {"attest": Fact("machine.attested")}},
    arrows={"off": {"machine.created": Arrow("off")}},
)
BODY = (
    '{"type":"machine.transitioned","to":"on","at":{"wall":1763692059000000000,"boot":2885146683249,'
    '"boot_id":"4252ba39d04e4209"},"reason":"bench"}'
)


TUNED = (
    "PRAGMA page_size = 8192",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 4000",
    """CREATE TABLE records(
        position INTEGER PRIMARY KEY, machine INTEGER NOT NULL, version INTEGER NOT NULL,
        recorded_at INTEGER NOT NULL, actor TEXT NOT NULL, body TEXT NOT NULL, leaf BLOB NOT NULL,
        UNIQUE(machine, version)) STRICT""",
)
"""A peer's table, with the settings that the log has."""


def raw(path: Path, count: int) -> float:
    """Insert the same columns by executemany in one transaction."""
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in TUNED:
        connection.execute(statement)
    rows = [(at + 1, at % 256, at // 256, time.time_ns(), "bench", BODY, bytes(32)) for at in range(count)]
    begun = time.perf_counter()
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    connection.execute("COMMIT")
    rate = count / (time.perf_counter() - begun)
    connection.close()
    return rate


async def one_by_one(path: Path, count: int, callers: int) -> float:
    """Execute and commit each command through aiosqlite, callers taking turns at a lock."""
    async with aiosqlite.connect(path, isolation_level=None) as connection:
        for statement in TUNED:
            await connection.execute(statement)
        lock, place = asyncio.Lock(), iter(range(count))

        async def caller() -> None:
            for at in place:
                async with lock:
                    row = (at + 1, at % 256, at // 256, time.time_ns(), "bench", BODY, bytes(32))
                    await connection.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", row)

        begun = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(callers)))
        return count / (time.perf_counter() - begun)


async def commands(path: Path, count: int, callers: int) -> float:
    """Send durable one-event commands through the public API."""
    async with eventvm.open(path, lifecycles=[LAMP]) as engine:
        lamps = [await engine.create(f"lamp-{at}", lifecycle="lamp") for at in range(callers)]

        async def caller(lamp: eventvm.Handle) -> None:
            for _ in range(count // callers):
                await lamp.transition_to("on" if lamp.phase == "off" else "off", "bench")

        begun = time.perf_counter()
        await asyncio.gather(*map(caller, lamps))
        return count // callers * callers / (time.perf_counter() - begun)


async def replay(path: Path, count: int, callers: int) -> float:
    """Fold a log from position 1 into every view, each hash checked."""
    await commands(path, count, callers)
    async with open_log(path) as log:
        begun = time.perf_counter()
        await replayed(log)
        return log.tree.size / (time.perf_counter() - begun)


def sent(count: int, callers: int) -> Callable[[Path], float]:
    """Give the benchmark of so many commands from so many callers."""
    return lambda path: asyncio.run(commands(path, count, callers))


def measured(bench: Callable[[Path], float], runs: int) -> float:
    """Run on a fresh file each time and give the median."""
    rates = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as directory:
            rates.append(bench(Path(directory) / "bench.db"))
    return statistics.median(rates)


def main() -> None:
    """Print one line for each claim."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="smaller sizes, for a smoke test")
    quick = options.parse_args().quick
    size, runs = (20_000, 1) if quick else (100_000, 3)
    rates = {
        "raw executemany, one transaction": measured(lambda path: raw(path, size), runs),
        "aiosqlite, a commit per command, 256 callers": measured(
            lambda path: asyncio.run(one_by_one(path, size // 10, 256)), runs
        ),
    }
    for callers in (1, 16, 256, 4096):
        rates[f"eventvm commands, {callers} callers"] = measured(
            sent(size // 20 if callers == 1 else size, callers), runs
        )
    rates["eventvm full replay"] = measured(lambda path: asyncio.run(replay(path, size, 256)), runs)
    base = rates["raw executemany, one transaction"]
    single = rates["aiosqlite, a commit per command, 256 callers"]
    for name, rate in rates.items():
        told = f"{rate:10,.0f}/s   {rate / base:5.2f} of raw   {rate / single:5.1f}x one by one"
        print(f"{name:48} {told}")  # noqa: T201  # its purpose


if __name__ == "__main__":
    main()
