"""A fleet under everything that can happen to it: the laws hold after every crash, and at the end.

EVENTVM_SEEDS sets how many seeds are lived through, EVENTVM_SEED replays one, EVENTVM_THOROUGH=1 takes many.
"""
# a mutant is made from within

import os
import subprocess
import sys
from pathlib import Path

import pytest
import simfleet

from eventvm.engine.effects import Effects
from eventvm.engine.scribe import Scribe
from eventvm.engine.supervisor import Supervisor
from eventvm.errors import LogDamaged
from eventvm.testing import Disk

THOROUGH = os.environ.get("EVENTVM_THOROUGH") == "1"
SEEDS = int(os.environ.get("EVENTVM_SEEDS", "700" if THOROUGH else "200"))
ONE = os.environ.get("EVENTVM_SEED")
BATCH = 10
BATCHES = [[int(ONE)]] if ONE else [list(range(at, min(at + BATCH, SEEDS))) for at in range(0, SEEDS, BATCH)]


@pytest.mark.parametrize("seeds", BATCHES, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_the_laws_hold_whatever_happens(seeds):
    for seed in seeds:
        try:
            simfleet.run(seed)
        except BaseException as broken:
            broken.add_note(f"replay it: EVENTVM_SEED={seed} python -m pytest {Path(__file__)} -k laws")
            raise


def test_one_seed_is_one_history_in_any_process():
    seeds = ["3", "14", "15", "92"]
    told = []
    for hash_seed in ("0", "4242"):
        ran = subprocess.run(
            [sys.executable, simfleet.__file__, *seeds],
            env={**os.environ, "PYTHONHASHSEED": hash_seed}, check=True, capture_output=True, text=True,
        )  # fmt: skip
        told.append(ran.stdout.split())
    assert told[0] == told[1]
    assert len(set(told[0][1::2])) == len(seeds), "another seed is another history"


# --- mutants: each breaks one law, and the fleet has to notice


def caught(disk=Disk, seeds=range(30)):
    """Say whether one of the seeds notices."""
    for seed in seeds:
        try:
            simfleet.run(seed, disk=disk)
        except (AssertionError, TimeoutError, LogDamaged):
            return True
    return False


class Hasty(Disk):
    """Publishes a batch before it is durable."""

    async def commit(self, batch):
        self._move(batch)
        batch.members.clear()
        batch.verdicts.clear()
        await super().commit(batch)


class Forgetful(Disk):
    """Forgets every key."""

    async def recall(self, key):
        return None

    async def commit(self, batch):
        self.store.keys.clear()
        await super().commit(batch)


class Doubling(Disk):
    """Gives the observers and readers of a page its first record twice."""

    async def load(self, stream, after, limit):
        records = await super().load(stream, after, limit)
        return records if stream is None else (*records[:1], *records)


@pytest.mark.parametrize("mutant", [Hasty, Forgetful, Doubling])
def test_a_log_that_breaks_its_promise_is_caught(mutant):
    assert caught(mutant)


def test_an_engine_that_moves_a_cell_before_its_record_is_durable_is_caught(monkeypatch):
    honest = Scribe.append

    def hasty(self, turn, told, then, **options):
        machine = turn.cell.machine
        honest(self, turn, told, then, **options)
        if turn.pending is not None and machine.exists and turn.command is not None:
            turn.answer(simfleet.early(machine))

    monkeypatch.setattr(Scribe, "append", hasty)
    assert caught()


def test_an_engine_that_starts_before_its_request_is_durable_is_caught(monkeypatch):
    honest = Effects.carry_out

    async def hasty(self, turn, effect):
        machine = turn.cell.machine
        if machine.exists:
            await self._world.call(machine, machine.rules.definition.effects[effect.name][0], turn.command)
        await honest(self, turn, effect)

    monkeypatch.setattr(Effects, "carry_out", hasty)
    assert caught()


def test_an_engine_that_repeats_what_was_interrupted_is_caught(monkeypatch):
    async def blindly(self, turn):
        if turn.cell.machine.request is not None:
            turn.asked = turn.cell.machine.request.position
            await self._steps(turn)

    monkeypatch.setattr(Effects, "resume", blindly)
    assert caught()


def test_a_supervisor_that_never_wakes_is_caught(monkeypatch):
    monkeypatch.setattr(Supervisor, "_set", lambda *_: None)
    assert caught()


def test_a_supervisor_that_forgets_a_reload_is_caught(monkeypatch):
    async def forgetful(self, cell):
        await self._brought_back(cell)

    monkeypatch.setattr(Supervisor, "_reload", forgetful)
    assert caught()
