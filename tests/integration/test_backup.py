"""Backups of real files: under load, cut short, on a full disk; restored elsewhere, and drilled."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

import eventvm
from eventvm import Simulated, Spec
from eventvm.audit.replay import differences, replayed
from eventvm.errors import BadInput, Inconclusive, LogDamaged, LogHeld, LogUnavailable, NotALog
from eventvm.events import LogRestored
from eventvm.log import RESTORED
from eventvm.logs import open_log, restore, restoring, sqlite_reader
from eventvm.logs.part import written
from eventvm.logs.sqlite_reader import vacuum
from eventvm.views import Fleet

SPEC = Spec(provider="simulated", cpus=2, storage=10 << 30)
COMMAND = [sys.executable, "-m", "eventvm", "log"]


def left(path: Path) -> list[str]:
    """List what is in a directory, apart from the logs that tests make there."""
    return sorted(one.name for one in path.parent.iterdir() if not one.name.startswith("log.db"))


async def appending(log, adding, stream, acknowledged):
    version = 0
    while True:
        records = await log.append(adding(stream, version, "x", "y", "z"))
        version = records[-1].version
        acknowledged[stream] = version


# --- writing one


async def test_a_backup_under_load_holds_whole_appends_and_all_that_was_acknowledged(path, adding, replayed):
    """Sixty callers append three events at a time while three backups are written one after the other."""
    acknowledged: dict[str, int] = {}
    async with open_log(path) as log:
        callers = [asyncio.ensure_future(appending(log, adding, f"s{at}", acknowledged)) for at in range(60)]
        for name in ("one.db", "two.db", "three.db"):
            while log.tree.size < 2000:
                await log.wait(log.tree.size)
            before = dict(acknowledged)
            made = await log.backup(path.with_name(name))
            assert made.records < log.tree.size, "nobody waited for the backup"
            async with open_log(path.with_name(name), read_only=True) as copy:
                records = await replayed(copy)
                assert [one.leaf for one in records] == [one.leaf for one in await replayed(log)][
                    : len(records)
                ]
            versions = {one.stream: one.version for one in records}
            assert all(version % 3 == 0 for version in versions.values())
            assert all(versions[stream] >= version for stream, version in before.items())
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)


async def test_neither_writer_nor_readers_wait_for_a_backup(path, adding, replayed):
    """In the middle of the copy everything goes on, and the copy is of the moment that it began at."""
    reached, go = threading.Event(), threading.Event()

    def held() -> bool:
        reached.set()
        return not go.wait(60)

    async with open_log(path) as log:
        for version in range(0, 3000, 500):
            await log.append(adding("a", version, *("x" * 500 for _ in range(500))))
        part = path.with_name("part.db")
        copying = asyncio.get_running_loop().run_in_executor(None, vacuum, path, part, held)
        await asyncio.get_running_loop().run_in_executor(None, reached.wait, 60)
        await log.append(adding("a", 3000))
        assert (await log.read(after=2999)).records
        assert not copying.done()
        go.set()
        await copying
        async with open_log(part, read_only=True) as copy:
            assert len(await replayed(copy)) == 3000


async def test_a_file_that_somebody_begins_to_write_while_it_is_copied_is_copied_again(
    path, adding, monkeypatch
):
    """A file that nobody has open is read without a lock; when that was wrong, the copy is made with one."""
    monkeypatch.setattr(sqlite_reader, "OPCODES", 10)
    async with open_log(path) as log:
        await log.append(adding("a", 0))
    steps = []
    vacuum(path, path.with_name("dry.db"), lambda: steps.append(0))
    late = [len(steps) - 2]

    def written_meanwhile() -> bool:
        late[0] -= 1
        if late[0] == 0:
            with closing(sqlite3.connect(path)) as writer, writer:
                writer.execute("INSERT INTO kept VALUES ('late', 0, 1, x'00', x'00')")
        return False

    part = path.with_name("part.db")
    vacuum(path, part, written_meanwhile)
    with closing(sqlite3.connect(part)) as copy:
        assert copy.execute("SELECT view FROM kept").fetchall() == [("late",)]


async def test_the_engines_process_opens_its_file_in_no_other_way(path, elsewhere):
    """Closing a descriptor of a live file would drop SQLite's locks; an audit hook sees every open."""
    code = """
opened = []

def hook(event, arguments):
    if event == "open" and str(arguments[0]).startswith(path):
        opened.append(str(arguments[0]))

async def main():
    async with open_log(path) as log:
        await log.append(adding("a", 0))
        sys.addaudithook(hook)
        from pathlib import Path
        await log.backup(Path(path).with_name("copy.db"))
        say(opened=list(opened))
        open(path).close()
        say(opened=list(opened))
asyncio.run(main())
"""
    async with elsewhere(code) as other:
        assert (await other.says())["opened"] == []
        assert (await other.says())["opened"] == [str(path)], "the hook would have seen it"


async def test_a_cancelled_backup_leaves_nothing(path, adding):
    """However far it has come; and the log goes on."""
    async with open_log(path) as log:
        for version in range(0, 5000, 500):
            await log.append(adding("a", version, *("x" * 300 for _ in range(500))))
        for ticks in (0, 1, 5, 50):
            backup = asyncio.ensure_future(log.backup(path.with_name("copy.db")))
            for _ in range(ticks):
                await anyio.lowlevel.checkpoint()
            backup.cancel()
            with pytest.raises(asyncio.CancelledError):
                await backup
            assert left(path) == []
        await log.append(adding("a", 5000))


async def test_a_backup_that_is_stopped_while_it_is_read_back_leaves_nothing(path, adding, monkeypatch):
    """Between the copy and its place stands the verification; a cancellation there leaves nothing either."""
    reading, honest = threading.Event(), sqlite_reader.verified

    async def slow(part, stopped, headway):
        reading.set()
        while not stopped():
            await anyio.lowlevel.checkpoint()
        return await honest(part, stopped, headway)

    monkeypatch.setattr(sqlite_reader, "verified", slow)
    async with open_log(path) as log:
        await log.append(adding("a", 0))
        backup = asyncio.ensure_future(log.backup(path.with_name("copy.db")))
        await asyncio.get_running_loop().run_in_executor(None, reading.wait, 60)
        backup.cancel()
        with pytest.raises(asyncio.CancelledError):
            await backup
    assert left(path) == []


async def test_a_full_disk_leaves_nothing_and_the_log_goes_on(elsewhere):
    """RLIMIT_FSIZE stands for the disk."""
    code = """
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

async def main():
    async with open_log(path) as log:
        for version in range(40):
            await log.append(adding("a", version, "x" * 5000))
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, limits[1]))
        try:
            await log.backup(Path(path).with_name("copy.db"))
        except LogUnavailable as problem:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            say(problem=str(problem), left=[str(one) for one in Path(path).parent.glob("copy*")])
        await log.append(adding("a", 40))
        await log.backup(Path(path).with_name("copy.db"))
        say(size=log.tree.size)
asyncio.run(main())
"""
    async with elsewhere(code) as other:
        said = await other.says()
        assert "could not be written" in said["problem"]
        assert "copy.db" in said["problem"]
        assert said["left"] == []
        assert (await other.says())["size"] == 41


async def test_a_killed_backup_leaves_no_destination_and_the_next_one_begins_anew(path, elsewhere):
    """What a SIGKILL leaves is the unfinished part, under its own name; nobody takes it for a backup."""
    code = """
from pathlib import Path
from eventvm.logs import sqlite_reader

async def killing(*_):
    os.kill(os.getpid(), signal.SIGKILL)
sqlite_reader.verified = killing

async def main():
    async with open_log(path) as log:
        await log.append(adding("a", 0))
        say(ready=True)
        await log.backup(Path(path).with_name("copy.db"))
asyncio.run(main())
"""
    async with elsewhere(code) as other:
        await other.says()
        assert await other.process.wait() < 0
    assert left(path) == ["copy.db.part"]
    async with open_log(path) as log:
        assert (await log.backup(path.with_name("copy.db"))).records == 1
    assert left(path) == ["copy.db"]


async def test_two_backups_to_one_place_do_not_meet(path, adding):
    """The second says that the first is under way, and takes nothing from it."""
    async with open_log(path) as log:
        await log.append(adding("a", 0))
        destination = path.with_name("copy.db")
        with written(destination, 0o600) as part:
            part.write_text("half")
            with pytest.raises(LogUnavailable, match="somebody else is writing"):
                await log.backup(destination)
            assert part.read_text() == "half"
        assert destination.read_text() == "half"


def test_what_has_appeared_meanwhile_is_not_overwritten(path):
    """A file that somebody else put there while the backup was written stays, and the part goes."""
    destination = path.with_name("copy.db")
    with pytest.raises(BadInput, match="exists already"), written(destination, 0o600):
        destination.write_text("precious")
    assert destination.read_text() == "precious"
    assert left(path) == ["copy.db"]


def test_a_file_that_sqlite_left_in_two_pieces_is_not_finished(path):
    """What is in the -wal of the part would be lost by renaming the part alone."""
    with pytest.raises(LogUnavailable, match="could not be finished"), written(path, 0o600) as part:
        part.with_name(part.name + "-wal").write_text("the last record")
    assert left(path) == []


async def test_a_damaged_log_has_no_backup(path, adding, raw):
    """The copy is read back before it takes its place: what cannot be verified is none."""
    async with open_log(path) as log:
        await log.append(adding("a", 0, "x", "y"))
    raw(
        "DROP TRIGGER records_are_not_updated",
        "UPDATE records SET actor = 'eve' WHERE position = 2",
        writable=True,
    )
    async with open_log(path, read_only=True) as log:
        with pytest.raises(LogDamaged) as caught:
            await log.backup(path.with_name("copy.db"))
    assert caught.value.position == 2
    assert left(path) == []


async def test_a_reader_backs_up_what_an_engine_writes_and_leaves_an_unused_file_alone(path, adding):
    """Read-only needs no lock; and a log that nobody has open has nothing beside it afterwards."""
    async with open_log(path) as log:
        await log.append(adding("a", 0))
        async with open_log(path, read_only=True) as reader:
            assert (await reader.backup(path.with_name("one.db"))).records == 1
    before = path.read_bytes()
    async with open_log(path, read_only=True) as reader:
        assert (await reader.backup(path.with_name("two.db"))).records == 1
    assert path.read_bytes() == before
    assert sorted(one.name for one in path.parent.iterdir()) == ["log.db", "log.db.lock", "one.db", "two.db"]


# --- restoring


@pytest.fixture
async def backed(path, adding):
    """A backup of a log that is no longer there."""
    async with open_log(path) as log:
        await log.append(adding("a", 0, "x", "y", key="k", claims=("web",)))
        await log.keep("view", log.tree, [b"folded"])
        await log.backup(path.with_name("backup.db"))
    path.unlink()
    return path.with_name("backup.db")


async def test_a_restored_log_is_the_backup_and_one_record_more(path, backed, raw, replayed):
    """It keeps its origin, so that proofs go on; it says that it was restored; what was folded is dropped."""
    with closing(sqlite3.connect(backed)) as connection:
        (origin,) = connection.execute("SELECT origin FROM tree").fetchone()
    before = backed.read_bytes()
    made = await restore(backed, path)
    assert backed.read_bytes() == before
    assert left(path) == ["backup.db"]
    assert raw("SELECT origin FROM tree") == [(origin,)]
    assert raw("SELECT count(*) FROM kept") == [(0,)]
    async with open_log(path) as log:
        assert (made.records, made.root) == (3, log.tree.root)
        records = await replayed(log)
        assert isinstance(records[-1].event, LogRestored)
        assert (records[-1].stream, records[-1].event.origin) == (RESTORED, origin)
        assert (await log.find("web")).held
        assert (await log.recall("k")).position == 1
        again = path.with_name("again.db")
        await log.backup(again)
    await restore(again, path.with_name("third.db"))
    async with open_log(path.with_name("third.db"), read_only=True) as log:
        assert [one.version for one in (await log.read(stream=RESTORED)).records] == [1, 2]


async def test_a_restore_refuses_what_is_in_its_way(path, backed, adding):
    """A file that is there, the rest of one, another log's place, and a place that an engine holds."""
    other = path.with_name("other.db")
    async with open_log(other) as log:
        await log.append(adding("a", 0))
        with pytest.raises(BadInput, match="exists already"):
            await restore(backed, other)
        other.rename(path.with_name("moved.db"))
        with pytest.raises(BadInput, match=r"other\.db-wal exists already"):
            await restore(backed, other)
        for rest in ("-wal", "-shm"):
            other.with_name(other.name + rest).unlink()
        with pytest.raises(LogHeld):
            await restore(backed, other)
    for rest in ("", "-wal", "-shm"):
        other.with_name(other.name + rest).unlink(missing_ok=True)
    with pytest.raises(BadInput, match=r"another log.*delete the lock file") as caught:
        await restore(backed, other)
    assert caught.value.exit_code == 2
    assert not other.exists()
    other.with_name("other.db.lock").unlink()
    await restore(backed, other)


async def test_a_cancelled_restore_leaves_nothing(path, backed, monkeypatch):
    """While the copy is verified, too; neither a log nor its lock."""
    reading, honest = threading.Event(), restoring.checked

    async def slow(log, stopped, headway):
        reading.set()
        while not stopped():
            await anyio.lowlevel.checkpoint()
        return await honest(log, stopped, headway)

    monkeypatch.setattr(restoring, "checked", slow)
    restored = asyncio.ensure_future(restore(backed, path.with_name("new.db")))
    await asyncio.get_running_loop().run_in_executor(None, reading.wait, 60)
    restored.cancel()
    with pytest.raises(asyncio.CancelledError):
        await restored
    assert left(path) == ["backup.db"]


async def test_what_is_no_backup_is_refused_untouched(path):
    """A text, nothing, and a damaged backup: the destination does not come to be."""
    source = path.with_name("backup.db")
    with pytest.raises(NotALog, match="nothing to restore"):
        await restore(source, path)
    source.write_text("a letter to my aunt, longer than the header of a database has to be" * 30)
    with pytest.raises(NotALog):
        await restore(source, path)
    assert left(path) == ["backup.db"]


async def test_a_damaged_backup_is_not_restored(path, backed):
    """Every hash is checked before the log takes its place."""
    connection = sqlite3.connect(backed)
    connection.executescript("DROP TRIGGER records_are_not_updated; UPDATE records SET actor = 'eve'")
    connection.close()
    with pytest.raises(LogDamaged):
        await restore(backed, path)
    assert not path.exists()
    assert left(path) == ["backup.db"]


async def test_a_killed_restore_leaves_no_log_that_does_not_know_that_it_was_restored(
    path, backed, elsewhere
):
    """The record that says so is written before the file takes its place."""
    code = """
from pathlib import Path
from eventvm.logs import restoring
from eventvm.logs.sqlite import SqliteLog

async def killing(self):
    os.kill(os.getpid(), signal.SIGKILL)
SqliteLog.forget = killing

async def main():
    say(ready=True)
    await restoring.restore(Path(path).with_name("backup.db"), path)
asyncio.run(main())
"""
    async with elsewhere(code) as other:
        await other.says()
        assert await other.process.wait() < 0
    assert not path.exists()
    made = await restore(backed, path)
    assert made.records == 3
    assert left(path) == ["backup.db"]


# --- the drill


async def lived(engine, name, *verbs):
    machine = await engine.create(name, SPEC)
    for verb in verbs:
        await getattr(machine, verb)()
    return machine


async def drilled(path, world):
    """A log, its backup, and a world that went on for a day; gives the machines and what became of them."""
    async with eventvm.open(path, providers=[world]) as engine:
        same = await lived(engine, "same", "start")
        stopped = await lived(engine, "stopped", "start")
        started = await lived(engine, "started")
        crashed = await lived(engine, "crashed", "start")
        again = await lived(engine, "again", "start")
        gone = await lived(engine, "gone", "start")
        await engine.backup(path.with_name("backup.db"))
        await stopped.stop()
        await started.start()
        world.die("crashed")
        await crashed.wait("stopped", timeout=5)
        world.die("again")
        await again.wait("stopped", timeout=5)
        await again.start()
        await gone.stop()
        await gone.destroy()
        later = await lived(engine, "later", "start")
    truth = {same: "running", stopped: "stopped", started: "running", crashed: "stopped", again: "running",
             gone: "destroyed"}  # fmt: skip
    await restore(path.with_name("backup.db"), path.with_name("restored.db"))
    world.calls.clear()
    return {machine.id: phase for machine, phase in truth.items()}, later.id


async def settled(engine):
    while any(cell.machine.doubted for cell in engine.cells.living.values()):
        await engine.log.wait(engine.log.tree.size)


async def test_a_log_that_is_older_than_the_world_ends_with_the_right_phases(path):
    """Stopped, started, crashed, restarted, destroyed and made after the backup; nothing is called at all."""
    world = Simulated()
    truth, later = await drilled(path, world)
    async with eventvm.open(path.with_name("restored.db"), providers=[world]) as engine:
        await settled(engine)
        machines = {id_: await engine.machine_by_id(id_) for id_ in truth}
        assert {id_: machine.phase for id_, machine in machines.items()} == truth
        assert world.calls == []
        assert [one.id for one in await engine.orphans()] == [later]
        for machine in machines.values():
            for meter in ("compute", "storage"):
                whole = [one for one in await machine.intervals() if one.meter == meter]
                assert all(one.end <= other.begin for one, other in pairwise(whole))
                assert (whole[-1].stop is None) is (meter in {one.meter for one in machine.machine.open})
            if not machine.terminal:
                await machine.start()
        starts = [name for call, name in world.calls if call == "start"]
        assert sorted(starts) == ["crashed", "stopped"]
        again = next(machine for machine in machines.values() if machine.name == "again")
        assert again.machine.incarnation == 2
        fleet = await replayed(engine.log)
        assert differences(fleet, [one.machine for one in machines.values()]) == []


async def test_the_same_with_a_world_that_does_not_answer_does_nothing(path):
    """Every machine stays in doubt, every start is refused, no call is made; then the world answers."""
    world = Simulated()
    truth, _ = await drilled(path, world)
    world.always("*", "probe", "fail")
    async with eventvm.open(path.with_name("restored.db"), providers=[world]) as engine:
        size = engine.log.tree.size
        for id_ in truth:
            with pytest.raises(Inconclusive):
                await (await engine.machine_by_id(id_)).start()
        assert engine.log.tree.size == size
        assert world.calls == []
    world.always("*", "probe", None)
    async with eventvm.open(path.with_name("restored.db"), providers=[world]) as engine:
        await settled(engine)
        assert {id_: (await engine.machine_by_id(id_)).phase for id_ in truth} == truth
        assert world.calls == []


async def test_a_backup_under_load_is_the_fleet_that_was_then(path):
    """Phase, history and ledger of the restored log are those of the first log at the backup's end."""
    stop = asyncio.Event()

    async def live(engine, name):
        machine = await engine.create(name, SPEC)
        while not stop.is_set():
            await machine.start()
            await machine.stop()

    async with eventvm.open(path) as engine:
        lives = [asyncio.ensure_future(live(engine, f"web-{at}")) for at in range(20)]
        while engine.log.tree.size < 500:
            await engine.log.wait(engine.log.tree.size)
        made = await engine.backup(path.with_name("backup.db"))
        stop.set()
        await asyncio.gather(*lives)
        then = Fleet()
        async for record in engine.events():
            then.apply(record)
            if record.position == made.records:
                break
    await restore(path.with_name("backup.db"), path.with_name("restored.db"))
    async with open_log(path.with_name("restored.db"), read_only=True) as log:
        fleet = await replayed(log)
    assert fleet.position == made.records + 1
    assert differences(fleet, then.machines.values()) == []
    assert fleet.histories == then.histories
    assert {id_: one.entries for id_, one in fleet.ledgers.items()} == {
        id_: one.entries for id_, one in then.ledgers.items()
    }


# --- the command line


def command(*arguments, **environment):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


async def test_the_command_line_backs_up_under_a_running_engine_and_restores(path):
    """It says what was written: records, bytes, root and seconds."""
    async with eventvm.open(path) as engine:
        await lived(engine, "web", "start")
        done = await asyncio.to_thread(command, "backup", path.with_name("one.db"), "--log", path)
        root = engine.log.tree.root.hex()
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first.startswith(f"{path.with_name('one.db')}: 5 records, ")
    assert second == f"root {root}"
    done = command("backup", path.with_name("two.db"), EVENTVM_URL=str(path))
    assert done.returncode == 0
    done = command("restore", path.with_name("one.db"), path.with_name("new.db"))
    assert done.stdout.startswith(f"{path.with_name('new.db')}: 6 records, ")


def test_the_command_line_says_in_one_sentence_what_is_wrong(path):
    """With the exit code of the error's class, and a hint where somebody can act."""
    assert command("backup", path.with_name("one.db"), EVENTVM_URL="").returncode == 2
    done = command("backup", path.with_name("one.db"), "--log", path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"eventvm: {path} does not exist")
    path.touch()
    done = command("restore", path, path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
