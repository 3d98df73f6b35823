"""Export and import on real files: the same log again, or nothing."""

import asyncio
import json
import shutil
import sqlite3
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest

import eventvm
from eventvm import Spec
from eventvm.audit.forms import FORMS, Scope
from eventvm.audit.replay import differences, replayed, wrong_names
from eventvm.audit.taking import taken
from eventvm.errors import BadExport, BadInput
from eventvm.log import Replay
from eventvm.logs import open_log, restore
from eventvm.logs.importing import import_events, import_log
from eventvm.logs.sqlite_reader import read_head

GOLDEN = Path(__file__).parents[1] / "golden" / "0.1.0.db"
forms = pytest.mark.parametrize("form", FORMS)
TABLES = {
    "records": "SELECT r.*, s.stream FROM records r JOIN streams s ON s.id = r.stream ORDER BY position",
    "heads": "SELECT s.stream, version, position FROM heads h JOIN streams s ON s.id = h.stream ORDER BY 1",
    "names": "SELECT * FROM names WHERE stream <> '' OR reserved <> '' ORDER BY name",
    "keys": "SELECT * FROM keys ORDER BY key",
    "tree": "SELECT * FROM tree",
}
"""What a log is made of; only the numbers of its streams are nobody's business."""


async def exported(path, form="jsonl"):
    async with open_log(path, read_only=True) as log:
        head = await read_head(log)
        made = FORMS[form](Scope(head.origin, head.tree.size, head.tree.root.hex(), whole=True))
        text = [made.opening()]
        async for page in Replay(log):
            text += [made.take(record) for record in page]
        return "".join([*text, made.closing()]).encode()


def rows(path):
    with closing(sqlite3.connect(path)) as raw:
        told = {table: raw.execute(query).fetchall() for table, query in TABLES.items()}
    told["records"] = [row[:1] + row[2:] for row in told["records"]]
    return told


@pytest.fixture
async def lived(tmp_path):
    """A log with every event of a release, a backup's mark, and a rename that an engine has left open."""
    shutil.copy(GOLDEN, tmp_path / "golden.db")
    await restore(tmp_path / "golden.db", tmp_path / "lived.db")
    world = eventvm.Simulated()
    async with eventvm.open(tmp_path / "lived.db", providers=[world], grace_seconds=0) as engine:
        warm = await engine.create("warm-7", Spec(provider="simulated"), lifecycle="microvm", key="warm")
        await warm.start()
        world.script("warm-7", "rename", "lost")
        await warm.rename("customer-1", wait=False)
    return tmp_path / "lived.db"


@forms
async def test_what_was_imported_is_the_same_log(form, lived, tmp_path):
    """Every row: bytes, positions, hashes, names, keys, the tree and what the log is called."""
    data = await exported(lived, form)
    made = await import_log(taken(BytesIO(data)), tmp_path / "again.db")
    assert rows(tmp_path / "again.db") == rows(lived)
    assert await exported(tmp_path / "again.db", form) == data
    assert made.records == len(rows(lived)["records"])
    async with open_log(tmp_path / "again.db", read_only=True) as log:
        fleet = await replayed(log)
        assert [name async for name in wrong_names(log, fleet)] == []


async def test_an_engine_goes_on_with_what_was_imported(lived, tmp_path):
    """It opens with the same machines, and its keys are remembered."""
    await import_log(taken(BytesIO(await exported(lived))), tmp_path / "again.db")
    async with eventvm.open(tmp_path / "again.db") as engine:
        warm = await engine.machine("warm-7")
        assert differences(await replayed(engine.log), [warm.machine]) == []
        again = await engine.create("warm-7", Spec(provider="simulated"), lifecycle="microvm", key="warm")
        assert again.id == warm.id


@forms
async def test_an_edited_file_leaves_nothing(form, lived, tmp_path):
    """Neither the log, nor a part of it, nor its lock."""
    data = (await exported(lived, form)).replace(b"golden/start", b"golden/stort", 1)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(BadExport):
        await import_log(taken(BytesIO(data)), tmp_path / "again.db")
    assert sorted(tmp_path.iterdir()) == before


async def test_a_file_that_exists_is_never_imported_into(lived):
    """Whatever it holds."""
    data = await exported(lived)
    with pytest.raises(BadInput, match="exists already"):
        await import_log(taken(BytesIO(data)), lived)
    assert await exported(lived) == data


async def test_a_place_where_another_log_lived_is_refused(lived, tmp_path):
    """Its lock tells; the log that lived there is accepted again."""
    data = await exported(lived)
    async with open_log(tmp_path / "other.db"):
        pass
    (tmp_path / "other.db").unlink()
    with pytest.raises(BadInput, match="another log"):
        await import_log(taken(BytesIO(data)), tmp_path / "other.db")
    await import_log(taken(BytesIO(data)), tmp_path / "again.db")
    (tmp_path / "again.db").unlink()
    await import_log(taken(BytesIO(data)), tmp_path / "again.db")


async def test_an_import_that_is_cancelled_leaves_nothing(lived, tmp_path):
    """Wherever it is: here after its first record, before anything is written."""
    export = taken(BytesIO(await exported(lived)))
    before = sorted(tmp_path.iterdir())

    async def cancelled():
        importing.cancel()

    class Halting:
        origin = export.origin

        def records(self):
            for record in export.records():
                if record.position == 2:
                    asyncio.run_coroutine_threadsafe(cancelled(), loop).result(60)
                yield record

    loop = asyncio.get_running_loop()
    importing = asyncio.ensure_future(import_log(Halting(), tmp_path / "again.db"))
    with pytest.raises(asyncio.CancelledError):
        await importing
    assert sorted(tmp_path.iterdir()) == before


async def test_many_streams_are_imported_in_many_batches(tmp_path, adding, monkeypatch):
    """A stream goes on batches after it began, and after it was forgotten."""
    monkeypatch.setattr("eventvm.logs.sqlite.HEADS", 100)
    monkeypatch.setattr("eventvm.logs.group_commit.HEADS", 100)
    async with open_log(tmp_path / "log.db") as log:
        tickets = [log.append(adding(f"x/{at}", 0, "a")) for at in range(3000)]
        tickets += [log.append(adding(f"x/{at}", 1, "b", key=f"k{at}")) for at in range(3000)]
        for ticket in tickets:
            await ticket
    await import_log(taken(BytesIO(await exported(tmp_path / "log.db"))), tmp_path / "again.db")
    assert rows(tmp_path / "again.db") == rows(tmp_path / "log.db")


# --- of other systems -----------------------------------------------------------------------------------


def sang(source, id_, **fields):
    return {"specversion": "1.0", "id": id_, "source": source, "type": "com.example.sang", **fields}


async def test_foreign_events_are_imported_in_their_order_at_their_own_times(tmp_path):
    """One stream for each source; recorded now, by `import`."""
    told = [
        sang("/a", "1", time="2020-01-01T00:00:00Z"),
        sang("/b", "1", time="2019-01-01T00:00:00Z", data={"terminalState": "forced", "exitCode": 137}),
        sang("/a", "2", time="2020-01-01T00:00:01Z"),
    ]
    made = await import_events(taken(BytesIO(json.dumps(told).encode())), tmp_path / "theirs.db")
    assert made.records == 3
    async with open_log(tmp_path / "theirs.db", read_only=True) as log:
        records = (await log.read()).records
    assert [record.stream for record in records] == ["foreign//a", "foreign//b", "foreign//a"]
    assert [record.event.at.wall // 10**9 for record in records] == [1577836800, 1546300800, 1577836801]
    assert {record.actor for record in records} == {"import"}
    assert all(record.recorded_at > record.event.at.wall for record in records)
    assert b"137" not in records[1].body.replace(b"exitCode 137 beside", b"")


async def test_a_log_with_foreign_events_is_a_log_like_any_other(tmp_path):
    """An engine opens it, and it is exported and imported to the byte."""
    data = json.dumps(sang("/a", "1", data=[1, {"x": None}], theirs=7)).encode() + b"\n"
    await import_events(taken(BytesIO(data)), tmp_path / "theirs.db")
    async with eventvm.open(tmp_path / "theirs.db") as engine:
        await engine.create("web", Spec(provider="simulated"))
    await import_log(taken(BytesIO(await exported(tmp_path / "theirs.db"))), tmp_path / "again.db")
    assert rows(tmp_path / "again.db") == rows(tmp_path / "theirs.db")


@pytest.mark.parametrize(
    "line",
    [b'{"specversion":"1.0"}\n', b"{", json.dumps(sang("/a", "3", data="x" * 2_000_000)).encode() + b"\n",
     json.dumps(sang("\0", "3")).encode() + b"\n"],
    ids=["no event", "cut short", "too large", "a source that is no text"],
)  # fmt: skip
async def test_a_foreign_file_with_one_bad_line_imports_nothing(line, tmp_path):
    """It is named, and all before it is gone."""
    good = b"".join(json.dumps(sang("/a", str(at))).encode() + b"\n" for at in range(2))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(BadExport) as caught:
        await import_events(taken(BytesIO(good + line)), tmp_path / "theirs.db")
    assert caught.value.line == 3
    assert sorted(tmp_path.iterdir()) == before
