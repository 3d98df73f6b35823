"""How fast durable commands are, against the libraries that one would use instead.

A peer is imported here, inside the process of its claim, by the name of the claim's module.
"""

from functools import partial
from importlib import import_module
from typing import Any

from benchmarks.claims.throughput import at_256, commands
from benchmarks.harness import Bench, Claim, Room, Size
from benchmarks.load import looped

MACHINES = 1_000
EVENTSOURCING = Size(10_000, quick=400)
TOGETHER = Size(50_000, quick=5_120)
UMADB = Size(20_000, quick=1_280)
EVENTSOURCE_PY = Size(5_120, quick=512)
DBOS = Size(300, quick=40)
STATEMACHINE = Size(10_000, quick=1_000)
TRANSITIONS = Size(50_000, quick=5_000)


def peer(module: str, work: str, count: Size, **options: Any) -> Bench:
    """Give a peer's figure for so many commands."""

    def bench(room: Room) -> float:
        made = getattr(import_module(f"benchmarks.peers.{module}"), work)
        figure = made(room, count=room.size(count), **options)
        return figure if isinstance(figure, float) else looped(figure)

    return bench


CLAIMS = [
    Claim(
        "eventsourcing",
        "durable commands, 256 callers, against eventsourcing, which saves a kept object after each",
        30, at_256, peer("eventsourcing_lamps", "saved_each", EVENTSOURCING, machines=MACHINES),
        sides=("eventvm", "eventsourcing"), needs=("eventsourcing",),
    ),
    Claim(
        "eventsourcing-256",
        "durable commands, 256 callers, against eventsourcing saving 256 events at once",
        2.5, at_256, peer("eventsourcing_lamps", "saved_together", TOGETHER, events=256),
        sides=("eventvm", "eventsourcing"), needs=("eventsourcing",),
    ),
    Claim(
        "umadb",
        "durable commands, 64 callers, against umadb with 64 callers",
        4, partial(commands, callers=64), peer("umadb_lamps", "appended_each", UMADB, callers=64),
        sides=("eventvm", "umadb"), needs=("umadb",),
    ),
    Claim(
        "eventsource-py",
        "durable commands, 256 callers, against eventsource-py with 256 callers",
        40, at_256, peer("eventsource_py_lamps", "saved_each", EVENTSOURCE_PY, callers=256),
        sides=("eventvm", "eventsource-py"), needs=("eventsource",),
    ),
    Claim(
        "dbos",
        "durable commands, 256 callers, against dbos, a workflow for each",
        300, at_256, peer("dbos_lamps", "a_workflow_each", DBOS, machines=MACHINES),
        sides=("eventvm", "dbos"), needs=("dbos",),
        beside={"dbos, a step of one workflow for each": peer("dbos_lamps", "a_step_each", DBOS)},
    ),
    Claim(
        "python-statemachine",
        "durable commands, 256 callers, against python-statemachine, asynchronous and in memory only",
        12, at_256, peer("statemachine_lamps", "switched", STATEMACHINE, machines=MACHINES),
        sides=("eventvm", "python-statemachine"), needs=("statemachine",),
    ),
    Claim(
        "transitions",
        "durable commands, 256 callers, against transitions' AsyncMachine, in memory only",
        4, at_256, peer("transitions_lamps", "switched", TRANSITIONS, machines=MACHINES),
        sides=("eventvm", "transitions"), needs=("transitions",),
    ),
]  # fmt: skip
