"""eventsourcing: aggregates saved through its own SQLite recorder, by an Application."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from benchmarks.harness import Room
from benchmarks.load import REASON, other

PAGE = 1000
"""Notifications selected at once; more of them is no faster."""


class Lamp(Aggregate):
    """A lamp, as its aggregates are written."""

    @event("Created")
    def __init__(self) -> None:
        self.phase = "off"

    @event("Switched")
    def switch(self, to: str, reason: str) -> None:
        """Move to the other phase."""
        self.phase = to


@contextmanager
def application(path: Path) -> Iterator[Application[Any]]:
    """Open an application over a SQLite file, with the settings that the library chooses."""
    app: Application[Any] = Application(
        env={"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(path)}
    )
    try:
        yield app
    finally:
        app.close()


def _lamps(app: Application[Any], count: int) -> list[Lamp]:
    lamps = [Lamp() for _ in range(count)]
    app.save(*lamps)
    return lamps


def _switch(lamp: Lamp) -> None:
    lamp.switch(other(lamp.phase), REASON)


def saved_each(room: Room, *, machines: int, count: int) -> float:
    """Give commands per second: the object is kept, and saved after each; nothing is ever loaded."""
    with room.files() as directory, application(directory / "lamps.db") as app:
        lamps = _lamps(app, machines)
        with room.timing(lasting=True) as timing:
            for at in range(count):
                lamp = lamps[at % machines]
                _switch(lamp)
                app.save(lamp)
        return count / timing.seconds


def saved_together(room: Room, *, events: int, count: int) -> float:
    """Give events per second: so many of one aggregate in each save, which is its fastest way."""
    with room.files() as directory, application(directory / "lamps.db") as app:
        lamps = _lamps(app, count // events)
        with room.timing(lasting=True) as timing:
            for lamp in lamps:
                for _ in range(events):
                    _switch(lamp)
                app.save(lamp)
        return len(lamps) * events / timing.seconds


@contextmanager
def history(room: Room, *, machines: int, count: int) -> Iterator[tuple[Application[Any], list[Lamp]]]:
    """Lend an application in which so many lamps have lived through so many events in all."""
    with room.files() as directory, application(directory / "lamps.db") as app:
        lamps = _lamps(app, machines)
        for lamp in lamps:
            for _ in range(count // machines - 1):
                _switch(lamp)
            app.save(lamp)
        yield app, lamps


def replayed(room: Room, *, machines: int, count: int) -> float:
    """Give events per second: its notification log from the start, each decoded by its mapper."""
    with history(room, machines=machines, count=count) as (app, _):
        read = 0
        with room.timing() as timing:
            while page := app.recorder.select_notifications(start=read + 1, limit=PAGE):
                for notification in page:
                    app.mapper.to_domain_event(notification)
                read += len(page)
        return read / timing.seconds


def rebuilt(room: Room, *, machines: int, count: int) -> float:
    """Give events per second: each aggregate got back from its repository, which caches none."""
    with history(room, machines=machines, count=count) as (app, lamps):
        with room.timing() as timing:
            for lamp in lamps:
                app.repository.get(lamp.id)
        return count // machines * machines / timing.seconds
