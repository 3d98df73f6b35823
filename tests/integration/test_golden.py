"""The golden log of each release replays to the same views, for ever."""

import importlib.util
import json
import shutil
from pathlib import Path

import msgspec
import pytest

from eventvm.audit.replay import replayed, wrong_names
from eventvm.logs import open_log
from eventvm.record import leaf_of

GOLDEN = Path(__file__).parents[1] / "golden"
SPEC = importlib.util.spec_from_file_location("golden_make", GOLDEN / "make.py")
make = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(make)

releases = pytest.mark.parametrize("release", sorted(path.stem for path in GOLDEN.glob("*.db")))


@releases
async def test_a_golden_log_replays_to_the_views_of_its_release(release, tmp_path):
    """Phases, histories, ledgers, names and the tree's root are what they were on the day of the release."""
    path = shutil.copy(GOLDEN / f"{release}.db", tmp_path / "golden.db")
    async with open_log(path) as log:
        told = make.told(await replayed(log), log)
    then = json.loads((GOLDEN / f"{release}.json").read_bytes())
    now = json.loads(msgspec.json.encode(told))
    for id_, machine in then["machines"].items():  # what a later release tells beside it was not asked then
        now["machines"][id_] = {field: now["machines"][id_][field] for field in machine}
    for id_, changes in then["histories"].items():
        now["histories"][id_] = [{field: one[field] for field in changes[0]} for one in now["histories"][id_]]
    assert now == then


@releases
async def test_no_byte_of_a_golden_log_reads_differently(release, tmp_path):
    """Each record's stored bytes still hash to its stored leaf."""
    path = shutil.copy(GOLDEN / f"{release}.db", tmp_path / "golden.db")
    async with open_log(path) as log:
        last = {}
        for record in (await log.read(limit=log.tree.size + 1)).records:
            assert leaf_of(record, last.get(record.stream, bytes(32))) == record.leaf
            last[record.stream] = record.leaf


@releases
async def test_every_name_of_a_golden_log_leads_where_its_records_say(release, tmp_path):
    """The table of names is what a replay finds, and a name that leads elsewhere would be told."""
    path = shutil.copy(GOLDEN / f"{release}.db", tmp_path / "golden.db")
    async with open_log(path) as log:
        fleet = await replayed(log)
        assert [name async for name in wrong_names(log, fleet)] == []
        fleet.names["web-2"] = "somebody else"
        assert [name async for name in wrong_names(log, fleet)] == ["web-2"]


def test_there_is_a_golden_log():
    """At least one release is guarded."""
    assert list(GOLDEN.glob("*.db"))
