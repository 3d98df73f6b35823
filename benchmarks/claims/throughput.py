"""How fast durable commands are, against what SQLite itself can store."""

from functools import partial

from benchmarks import raw
from benchmarks.harness import Claim, Room, Size
from benchmarks.load import looped, switched, switched_by_key
from benchmarks.logs import copied
from benchmarks.provided import effected
from benchmarks.smallest import Program, smallest, statements
from eventvm.engine.lanes import EFFECTS_AT_ONCE

MACHINES = Size(10_000, quick=5_000)
COMMANDS = Size(100_000, quick=10_000)
ALONE = Size(5_000, quick=500)
EFFECTS = Size(20_000, quick=2_000)


def commands(room: Room, *, callers: int, count: Size = COMMANDS, uvloop: bool = False) -> float:
    """Give eventvm's commands per second: one event each, durable, over a fleet that is at work."""
    machines = room.size(MACHINES)
    with copied(room, machines=machines) as log:
        sent = switched(room, log, callers=callers, machines=machines, count=room.size(count))
        return looped(sent, fast=uvloop)


def cold_commands(room: Room, *, callers: int, count: Size = MACHINES) -> float:
    """Give the same for the first command of each machine since the log was opened."""
    machines = room.size(MACHINES)
    with copied(room, machines=machines) as log:
        some = min(machines, room.size(count))
        return looped(switched(room, log, callers=callers, machines=some, count=some, cold=True))


def keyed_commands(room: Room, *, callers: int) -> float:
    """Give the same where each command has a key of its own."""
    machines = room.size(MACHINES)
    with copied(room, machines=machines) as log:
        return looped(
            switched_by_key(room, log, callers=callers, machines=machines, count=room.size(COMMANDS))
        )


def smallest_program(room: Room, program: Program = smallest) -> float:
    """Give commands per second of a program without an engine, 256 callers."""
    machines, count = room.size(MACHINES), room.size(COMMANDS)
    with room.files() as directory:
        return looped(program(room, directory / "log.db", callers=256, machines=machines, count=count))


def rows_at_once(room: Room) -> float:
    """Give raw SQLite's rows per second, in one transaction."""
    return raw.in_one_transaction(room, machines=room.size(MACHINES), count=room.size(COMMANDS))


def rows_each(room: Room) -> float:
    """Give raw SQLite's rows per second, a transaction for each."""
    return raw.row_by_row(room, machines=room.size(MACHINES), count=room.size(ALONE))


def through_aiosqlite(room: Room) -> float:
    """Give aiosqlite's rows per second, each executed and committed, for 256 callers."""
    work = raw.one_by_one(room, machines=room.size(MACHINES), callers=256, count=room.size(ALONE))
    return looped(work)


def effects(room: Room, *, at_once: int = 256) -> float:
    """Give commands per second that start or stop a simulated machine: a request and its outcome."""
    return looped(effected(room, callers=256, count=room.size(EFFECTS), at_once=at_once))


at_256 = partial(commands, callers=256)

CLAIMS = [
    Claim(
        "commands-256",
        "durable commands, 256 callers over {0} machines, against raw executemany in one transaction",
        0.30, at_256, rows_at_once, sizes=(MACHINES,), needs=("uvloop",),
        beside={
            "each with a key": partial(keyed_commands, callers=256),
            "each the first since opening": partial(cold_commands, callers=256),
            "on uvloop": partial(commands, callers=256, uvloop=True),
            "the smallest program": smallest_program,
            "its statements alone": partial(smallest_program, program=statements),
        },
    ),
    Claim(
        "commands-4096",
        "durable commands, 4096 callers, against raw executemany in one transaction",
        0.30, partial(commands, callers=4096), rows_at_once,
    ),
    Claim(
        "commands-16",
        "durable commands, 16 callers, against raw transactions of one row",
        3.5, partial(commands, callers=16), rows_each,
    ),
    Claim(
        "commands-1",
        "durable commands, 1 caller, against raw transactions of one row",
        0.5, partial(commands, callers=1, count=ALONE), rows_each,
        beside={"each the first since opening": partial(cold_commands, callers=1, count=ALONE)},
    ),
    Claim(
        "one-by-one",
        "durable commands, 256 callers, against one execute and commit for each through aiosqlite",
        25, at_256, through_aiosqlite, sides=("eventvm", "aiosqlite"),
    ),
    Claim(
        "effects",
        "commands with an effect (request and outcome, with a deadline) against commands of one event",
        0.30, effects, at_256, sides=("with an effect", "one event"),
        beside={f"{EFFECTS_AT_ONCE} at the provider at once": partial(effects, at_once=EFFECTS_AT_ONCE)},
    ),
]  # fmt: skip
