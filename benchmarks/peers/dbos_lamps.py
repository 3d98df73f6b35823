"""dbos: durable workflows over its SQLite system database, which is given a WAL beforehand.

A command comes from outside by itself, so it is a workflow; the cheapest that there is has no step. Callers
are threads, as many as are fastest, which is one.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dbos import DBOS

from benchmarks.harness import Room
from benchmarks.load import other

PHASES: dict[str, str] = {}


@DBOS.workflow()
def switch(lamp: str) -> str:
    """Move to the other phase."""
    PHASES[lamp] = other(PHASES.get(lamp, "off"))
    return PHASES[lamp]


@DBOS.step()
def switch_in_a_step(lamp: str) -> str:
    """Move to the other phase, as a step of something longer."""
    PHASES[lamp] = other(PHASES.get(lamp, "off"))
    return PHASES[lamp]


@DBOS.workflow()
def switch_often(lamp: str, count: int) -> None:
    """Move to the other phase, so many times."""
    for _ in range(count):
        switch_in_a_step(lamp)


@contextmanager
def launched(path: Path) -> Iterator[None]:
    """Run DBOS over a SQLite file."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")  # kept in the file; its default syncs more often
    connection.close()
    DBOS(
        config={
            "name": "lamps",
            "system_database_url": f"sqlite:///{path}",
            "log_level": "ERROR",
        }
    )
    DBOS.launch()
    try:
        switch("warm")
        yield
    finally:
        DBOS.destroy()


def a_workflow_each(room: Room, *, machines: int, count: int) -> float:
    """Give commands per second, each a workflow."""

    def work() -> None:
        for at in range(count):
            switch(f"lamp-{at % machines}")

    return _worked(room, work, count)


def a_step_each(room: Room, *, count: int) -> float:
    """Give commands per second, each a step of one long workflow."""
    return _worked(room, lambda: switch_often("lamp", count), count)


def _worked(room: Room, work: Callable[[], None], count: int) -> float:
    with room.files() as directory, launched(directory / "lamps.db"):
        with room.timing(lasting=True) as timing:
            work()
        return count / timing.seconds
