"""How fast a log is read back: folded, checked, followed."""

from collections.abc import Awaitable, Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import eventvm
from benchmarks import raw
from benchmarks.claims.peers import peer
from benchmarks.harness import Claim, Room, Size
from benchmarks.load import LAMP, looped
from benchmarks.logs import log_of
from eventvm.audit.replay import folded, replayed
from eventvm.log import EventLog
from eventvm.logs import open_log
from eventvm.views import Fleet

MACHINES = Size(10_000, quick=200)
EVENTS = Size(500_000, quick=20_000)
THEIR_MACHINES = 200
THEIR_EVENTS = Size(100_000, quick=8_000)


def _log(room: Room) -> Path:
    return log_of(room, machines=room.size(MACHINES), events=room.size(EVENTS))


def replay(room: Room) -> float:
    """Give events per second folded from position 1 into phase, history, ledger and names."""
    return looped(_replay(room, _log(room), folded))


def replay_hashed(room: Room) -> float:
    """Give the same with each leaf and the tree checked on the way."""
    return looped(_replay(room, _log(room), replayed))


async def _replay(room: Room, path: Path, fold: Callable[[EventLog], Awaitable[Fleet]]) -> float:
    async with open_log(path) as log:
        with room.timing() as timing:
            fleet = await fold(log)
        assert fleet.position == log.tree.size, "the whole log was folded"
        return log.tree.size / timing.seconds


def catch_up(room: Room) -> float:
    """Give records per second given out by a subscription that begins at position 1."""
    return looped(_catch_up(room, _log(room)))


async def _catch_up(room: Room, path: Path) -> float:
    async with eventvm.open(path, lifecycles=[LAMP]) as engine:
        end = engine.log.tree.size
        with room.timing() as timing:
            async for record in engine.events():
                if record.position == end:
                    break
        return end / timing.seconds


def verify(room: Room) -> float:
    """Give events per second of `log verify`: hashes, tree, legality and ledger."""
    return looped(_verify(room, _log(room)))


async def _verify(room: Room, path: Path) -> float:
    verified = import_module("eventvm.audit.verify").verified
    async with open_log(path) as log:
        with room.timing() as timing:
            await verified(log)
        return log.tree.size / timing.seconds


def _no_verify() -> str:
    return "" if find_spec("eventvm.audit.verify") else "not there yet"


CLAIMS = [
    Claim(
        "replay",
        "full replay of {0} events (phase, history, ledger) against a raw SELECT of them",
        0.25, replay, lambda room: raw.selected(room, _log(room)), sizes=(EVENTS,),
        beside={"each hash checked": replay_hashed},
    ),
    Claim(
        "replay-eventsourcing",
        "full replay against eventsourcing's notification log and mapper",
        3, replay,
        peer("eventsourcing_lamps", "replayed", THEIR_EVENTS, machines=THEIR_MACHINES),
        sides=("eventvm", "eventsourcing"), needs=("eventsourcing",),
    ),
    Claim(
        "rebuild-eventsourcing",
        "full replay against eventsourcing's rebuild of each aggregate",
        12, replay,
        peer("eventsourcing_lamps", "rebuilt", THEIR_EVENTS, machines=THEIR_MACHINES),
        sides=("eventvm", "eventsourcing"), needs=("eventsourcing",),
    ),
    Claim(
        "verify",
        "log verify (hashes, tree, legality, ledger) against the plain replay",
        0.25, verify, replay, sides=("verify", "replay"), absent=_no_verify,
    ),
    Claim(
        "catch-up",
        "a subscription from position 1 against a raw SELECT with each body decoded",
        0.5, catch_up, lambda room: raw.selected_and_decoded(room, _log(room)),
    ),
]  # fmt: skip
