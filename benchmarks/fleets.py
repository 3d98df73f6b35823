"""Logs of real lives: machines that are made, run, crash, are snapshotted, corrected, renamed and destroyed.

Each life is told by the pure functions that an engine decides with, a chapter at a time, one machine after
the other; so every record is one that an engine might have written, and the log verifies.
"""

import asyncio
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from random import Random

import msgspec

from benchmarks.logs import Queue
from eventvm import commands, events
from eventvm.engine.cells import Cells
from eventvm.lifecycle import Rules
from eventvm.lifecycles import LIFECYCLES
from eventvm.log import Append, EventLog, Ticket
from eventvm.logs import open_log
from eventvm.observation import Evidence, Instant, Observation
from eventvm.spec import Spec
from eventvm.testing.life import NOON, SECOND, Life

TEAMS = ("blue", "green", "red", "amber")
SPAN_SECONDS = 90 * 86_400
"""How long a log lasts, by the clock that it is told."""
RECORDS_OF_A_CHAPTER = 1.7
LATE_SECONDS = 20
"""So long after a machine has ended by itself that is seen."""
KEYED = 0.2
"""How often an append has a key."""
LONG = 100
"""Machines with so many records each are never ended."""
ENDED, HUNG = 0.3, 0.002
"""How often a machine is destroyed between two runs, and how often nobody knows what became of a start."""
CORRECTED = 0.01
"""How often the end of a run is corrected."""
BUSY = 0.7
"""How often it is a machine's turn when all are gone round."""
VM = Rules(LIFECYCLES["vm"])


class Tale:
    """One machine, told chapter by chapter."""

    def __init__(self, number: int, random: Random, *, mortal: bool) -> None:
        spec = Spec(
            provider="simulated", cpus=random.choice((1, 2, 4, 8)), memory=random.choice((1, 4, 16)) << 30,
            storage=random.choice((10, 40, 100)) << 30,
            labels={"team": random.choice(TEAMS), "zone": f"z{random.randrange(3)}"},
        )  # fmt: skip
        self.life = Life("vm", spec, f"web-{number}")
        self.life.probe, self.life.size = "gone", 2 << 30
        self.life.machine = msgspec.structs.replace(self.life.machine, id=_id(number))
        self.stopped: Ticket | None = None
        """What its last stop was appended as."""
        self._random, self._mortal = random, mortal
        self._chapters = self._told()

    def go_on(self, now: Instant, key: str | None) -> Append | None:
        """Tell the next chapter; None where there is no more."""
        life, before = self.life, self.life.machine
        life.now = now
        life.records.clear()
        life.ledger.entries.clear()
        if next(self._chapters, None) is None:
            return None
        after = life.machine
        return Append(
            before.id, tuple(record.event for record in life.records),  # type: ignore[arg-type]
            before.version, "ops", key, sha256(key.encode()).digest() if key else b"",
            claims=tuple({*after.names} - {*before.names}), releases=tuple({*before.names} - {*after.names}),
        )  # fmt: skip

    def _told(self) -> Iterator[object]:
        life, cycle = self.life, 0
        yield life.create()
        if self._random.random() < HUNG * self._mortal:
            life.world["start"] = "unknown"
            yield life.send(commands.Start())
            return
        while True:
            cycle += 1
            for chapter in (*RUN, *(AFTERWARDS if cycle == 1 else ())):
                yield chapter(self, cycle)
            if self._random.random() < ENDED * self._mortal:
                yield life.send(commands.Destroy(reason="no longer needed"))
                return

    def hand_over(self) -> object:
        """Give it to the next team."""
        team = TEAMS.index(self.life.machine.spec.labels["team"]) + 1
        return self.life.send(commands.Amend(labels={"team": TEAMS[team % len(TEAMS)]}, reason="handed over"))

    def stop_was_earlier(self, cycle: int) -> object:
        """Correct the end of its last run, once the log has said where that stands."""
        stopped = self.stopped
        if stopped is None or not stopped.records or self._random.random() > CORRECTED:
            return self.life.send(commands.Amend(labels={"checked": str(cycle)}))
        record = stopped.records[-1]
        assert isinstance(record.event, events.Stopped)
        truly = record.event.at.after(-LATE_SECONDS)
        return self.life.append(
            events.Corrected(at=self.life.now, reason="the host's log says so", position=record.position,
                             meter="compute", edge="stop", truly=truly)
        )  # fmt: skip


def _sends(make: Callable[[int], commands.Command]) -> Callable[[Tale, int], object]:
    return lambda tale, cycle: tale.life.send(make(cycle))


def _crash(tale: Tale, _: int) -> object:
    when = tale.life.now.after(-LATE_SECONDS)
    return tale.life.see(Observation("gone", Evidence("probe", when=when)))


RUN: tuple[Callable[[Tale, int], object], ...] = (
    _sends(lambda _: commands.Start(reason="deploy")),
    _sends(lambda cycle: commands.Snapshot(f"nightly-{cycle}")),
    _sends(lambda _: commands.Stop(reason="maintenance")),
    Tale.stop_was_earlier,
    _sends(lambda _: commands.Start()),
    _crash,
    _sends(lambda _: commands.Start(reason="after a crash")),
    _sends(lambda cycle: commands.DeleteSnapshot(f"nightly-{cycle}")),
    lambda tale, _: tale.hand_over(),
    _sends(lambda _: commands.Stop(reason="done for the day")),
)
"""What happens to a machine again and again."""
AFTERWARDS: tuple[Callable[[Tale, int], object], ...] = (
    lambda tale, _: tale.life.send(commands.Rename(f"old-{tale.life.machine.name}")),
)
"""What happens to it once."""


def _id(number: int) -> str:
    """Give an id that sorts by its number, the same in each log."""
    return f"018bcfe5-6800-7{number >> 16:03x}-8000-{number:012x}"


def fleet_at(path: Path, *, machines: int, records: int, key: Path | None = None) -> None:
    """Write a log of so many machines, that has at least so many records, and keep its living beside it.

    With the file of a key it is signed.
    """
    asyncio.run(_written(path, machines, records, key))


async def _written(path: Path, machines: int, records: int, key: Path | None) -> None:
    now = [Instant(NOON, 100 * SECOND, "boot-1")]
    async with open_log(path, clock=lambda: now[0].wall, signing=key) as log:
        await log.append(Append(f"lifecycle/{VM.name}", (_definition(now[0]),), 0, "engine"))
        await _lived(log, now, machines, records)
        cells = Cells(log)
        await cells.load()
        await cells.keep()


def _definition(now: Instant) -> events.LifecycleDefined:
    return events.LifecycleDefined(
        at=now, digest=VM.digest, definition=msgspec.json.decode(events.encode(VM.definition))
    )


async def _lived(log: EventLog, now: list[Instant], machines: int, records: int) -> None:
    """Tell all machines a chapter each, pass after pass, until the log is long enough."""
    random, queue, told = Random(machines), Queue(log), 1
    mortal = records // machines < LONG
    tales = dict.fromkeys(Tale(number, random, mortal=mortal) for number in range(machines))
    step = SPAN_SECONDS * RECORDS_OF_A_CHAPTER / records
    while told < records and tales:
        for tale in [one for one in tales if random.random() < BUSY]:
            now[0] = now[0].after(step)
            append = tale.go_on(now[0], f"order-{told}" if random.random() < KEYED else None)
            if append is None:
                del tales[tale]
                continue
            ticket = await queue.put(append)
            tale.stopped = ticket if isinstance(append.events[-1], events.Stopped) else tale.stopped
            told += len(append.events)
    await queue.end()
