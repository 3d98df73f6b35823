"""Law 6 at length: of thousands of appends half are cancelled at random; each is wholly in or wholly out."""

import asyncio
import os
import random
from collections import Counter

import aiosqlite

APPENDS = 100_000 if os.environ.get("EVENTVM_THOROUGH") else 10_000


class Ledger:
    """What was tried, what was acknowledged, and what is wrong with what was stored."""

    def __init__(self) -> None:
        self.tried: dict[str, int] = {}
        self.acknowledged: set[str] = set()
        self.cancelled: set[str] = set()
        self.failed: list[Exception] = []

    def violations(self, stored: list[str]) -> list[str]:
        found = Counter(mark.split("/")[0] for mark in stored)
        doubled = [mark for mark, times in Counter(stored).items() if times > 1]
        return [
            *(f"{mark} is there {found[mark]} times" for mark in doubled),
            *(f"{one} is half there" for one, size in self.tried.items() if found[one] not in (0, size)),
            *(f"{one} was acknowledged and is lost" for one in self.acknowledged if not found[one]),
            *(f"{one} was never tried" for one in found.keys() - self.tried.keys()),
        ]


async def storm(append, appends: int, at_once: int, ticks) -> Ledger:
    """Append members of one to three marks, so many at once, and cancel half some loop ticks later."""
    chance, ledger = random.Random(appends), Ledger()
    for first in range(0, appends, at_once):
        tasks = []
        for number in range(first, first + at_once):
            marks = [f"{number}/{at}" for at in range(chance.randint(1, 3))]
            ledger.tried[f"{number}"] = len(marks)
            tasks.append(asyncio.create_task(tried(ledger, append, f"{number}", marks)))
        for task in chance.sample(tasks, at_once // 2):
            cancel_after(int(ticks(chance)), task)
        await asyncio.wait(tasks)
    return ledger


async def tried(ledger: Ledger, append, name: str, marks: list[str]) -> None:
    try:
        await append(name, marks)
    except asyncio.CancelledError:
        ledger.cancelled.add(name)
    except Exception as problem:  # noqa: BLE001  # the mutant fails in many ways
        ledger.failed.append(problem)
    else:
        ledger.acknowledged.add(name)


def cancel_after(ticks: int, task: asyncio.Task) -> None:
    if ticks:
        asyncio.get_running_loop().call_soon(cancel_after, ticks - 1, task)
    else:
        task.cancel()


async def test_each_of_thousands_of_appends_is_wholly_in_or_wholly_out(store, adding, everything, said):
    async with store.open() as log:

        async def append(name: str, marks: list[str]) -> None:
            await log.append(adding(name, 0, *marks))

        ledger = await storm(append, APPENDS, at_once=200, ticks=lambda chance: 500 ** chance.random())
        assert ledger.failed == []
        assert ledger.violations(said(await everything(log))) == []
        await log.append(adding("usable", 0))
    async with store.open() as log:
        *stored, last = await everything(log)
    assert last.stream == "usable"
    assert ledger.violations(said(stored)) == []
    assert [record.position for record in stored] == list(range(1, len(stored) + 1))
    decided_anyway = ledger.cancelled & {record.stream for record in stored}
    assert len(decided_anyway) > APPENDS // 50, "too few were cancelled in flight for this to prove anything"


class Naive:
    """The mutant: a transaction that is held across awaits, on a connection that all share, under a lock."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self.connection = connection
        self.lock = asyncio.Lock()

    async def append(self, _: str, marks: list[str]) -> None:
        async with self.lock:
            if not self.connection.in_transaction:
                await self.connection.execute("BEGIN IMMEDIATE")
            for mark in marks:
                await self.connection.execute("INSERT INTO marks VALUES (?)", (mark,))
            await self.connection.execute("COMMIT")


async def test_a_transaction_held_across_awaits_would_be_caught(tmp_path):
    async with aiosqlite.connect(tmp_path / "naive.db", isolation_level=None) as connection:
        await connection.execute("CREATE TABLE marks(mark TEXT)")
        append = Naive(connection).append
        ledger = await storm(append, 1000, at_once=5, ticks=lambda chance: 3000 ** chance.random())
        stored = [mark for (mark,) in await connection.execute_fetchall("SELECT mark FROM marks")]
    assert any("half there" in violation for violation in ledger.violations(stored))
