"""`eventvm log replay`: everything rebuilt from position 1, and compared with what is kept beside the log."""

import argparse
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

from eventvm.audit.replay import differences, wrong_names
from eventvm.cli import place, reading, sheet
from eventvm.cli.paper import Paper
from eventvm.cli.progress import Progress
from eventvm.engine.cells import Cells
from eventvm.headway import Headway
from eventvm.log import EventLog, Replay
from eventvm.logs.sqlite_reader import SqliteReader
from eventvm.machine import Machine
from eventvm.record import Record
from eventvm.views import Census, Fleet

KEYS = "SELECT key, position FROM keys WHERE key > ? AND position <= ? ORDER BY key LIMIT 1000"
AGAIN = 5
"""How often a name is looked at again that a living engine may just have moved."""


def describe(verbs: Any) -> None:
    """Describe the verb and its options."""
    verb = verbs.add_parser(
        "replay",
        help="rebuild everything from position 1, and compare",
        description="Every hash is checked on the way. Then what is kept beside the records - names, keys, "
        "the view that an engine opens with - is compared with what they say: 0 the same, 1 not.",
        epilog="example: eventvm log replay --log fleet.db",
    )
    place.describe(verb)
    sheet.describe(verb, *sheet.PLAIN)
    verb.set_defaults(run=lambda options, paper: replay(paper, options))


async def replay(paper: Paper, options: argparse.Namespace) -> int:
    """Rebuild, compare, and say what differs."""
    async with reading.opened(options) as (log, _):
        with Progress() as progress:
            rebuilt = Rebuilt(log, progress.tell)
            await rebuilt.catch_up()
            wrong = [difference async for difference in rebuilt.differences()]
    fleet = rebuilt.fleet
    told = {
        "records": fleet.position, "machines": len(fleet.machines),
        "changes": fleet.changes, "entries": fleet.entries,
        "root": rebuilt.root, "differences": wrong,
    }  # fmt: skip
    if options.output == "table":
        _say(paper, told)
    else:
        sheet.one(paper, options.output, told)
    return 1 if wrong else 0


def _say(paper: Paper, told: dict[str, Any]) -> None:
    paper.line(
        f"replayed {told['records']:,} records, every hash checked: {told['machines']:,} machines, "
        f"{told['changes']:,} changes of phase, {told['entries']:,} ledger entries"
    )
    paper.line(f"root {told['root']}")
    for difference in told["differences"]:
        paper.line(paper.ink(difference, "red"))
    if not told["differences"]:
        paper.line(paper.ink("what is kept beside the log is what its records say", "green"))


class Rebuilt:
    """All views, folded again."""

    def __init__(self, log: EventLog, headway: Headway) -> None:
        self._log = log
        self._headway = headway
        self.fleet = Census()
        self._born: dict[str, int] = {}
        self._keys = Keys()
        self._replay: Replay | None = None
        self.root = ""

    async def catch_up(self) -> None:
        """Fold what the log holds by now and was not folded yet."""
        self._replay = Replay(self._log, self._replay.tree if self._replay else None)
        async for records in self._replay:
            for record in records:
                self._fold(record)
            self._headway("replaying", self.fleet.position, self._replay.until)
        self.root = self._replay.tree.root.hex()

    def _fold(self, record: Record) -> None:
        self.fleet.apply(record)
        if record.version == 1:
            self._born[record.stream] = record.position
        if record.key is not None:
            self._keys.add(record.key, record.position)

    async def differences(self) -> AsyncIterator[str]:
        """Say what is kept beside the log and is not what its records say."""
        size, kept = self.fleet.position, self._keys.sum
        async for difference in self._in_the_view(size):
            yield difference
        if (await self._kept_keys(size)).sum != kept:
            yield "the keys are not those that the records were appended with"
        for name in await self._wrong_names():
            yield f"the name {name} leads elsewhere"

    async def _in_the_view(self, size: int) -> AsyncIterator[str]:
        """Compare what an engine would open with; where it is further on, with what was so by then."""
        cells = Opening(self._log, self._headway)
        await cells.load()
        await self.catch_up()
        machines = [cell.machine for cell in cells.living.values()]
        for difference in differences(await self._by_then(machines), machines):
            yield difference
        for id_, truth in self.fleet.machines.items():
            if truth.living and id_ not in cells.living and self._born[id_] <= size:
                yield f"{truth.name} lives, and an engine would not know of it"

    async def _by_then(self, machines: list[Machine]) -> Fleet:
        """Fold each machine up to where the other one of it stands."""
        then, alone = Fleet(), Cells(self._log)
        alone.definitions = self.fleet.definitions
        for machine in machines:
            truth = self.fleet.machines.get(machine.id)
            if truth is not None:
                same = truth.position == machine.position
                then.machines[machine.id] = (
                    truth if same else await alone.read(machine.id, until=machine.position)
                )
        return then

    async def _kept_keys(self, size: int) -> "Keys":
        """Read the table of keys, up to a position."""
        assert isinstance(self._log, SqliteReader), "only a file is opened read-only"
        keys, last = Keys(), ""
        while rows := await self._log.ask(KEYS, (last, size)):
            for key, position in rows:
                keys.add(key, position)
            last = rows[-1][0]
            self._headway("comparing keys", keys.count, self._keys.count)
        return keys

    async def _wrong_names(self) -> list[str]:
        """List names that lead elsewhere; what a living engine has just moved is looked at again."""
        for _ in range(AGAIN):
            wrong = [name async for name in wrong_names(self._log, self.fleet, self._headway)]
            if not wrong or self._log.tree.size == self.fleet.position:
                break
            await self.catch_up()
        return wrong


class Opening(Cells):
    """What an engine would open with, and how far that has come."""

    def __init__(self, log: EventLog, headway: Headway) -> None:
        super().__init__(log)
        self._headway = headway

    async def _apply(self, record: Record) -> None:
        await super()._apply(record)
        self._headway("opening", record.position, self._log.tree.size)


class Keys:
    """A sum over keys and their positions, the same in whatever order they come."""

    def __init__(self) -> None:
        self.sum = 0
        self.count = 0

    def add(self, key: str, position: int) -> None:
        """Take one more."""
        self.count += 1
        self.sum = (self.sum + int.from_bytes(sha256(f"{position} {key}".encode()).digest())) % 2**256
