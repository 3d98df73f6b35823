"""Migrations, by formats of these tests alone: in one transaction, after a copy, records untouched."""

import sqlite3
from contextlib import asynccontextmanager, closing

import pytest

from eventvm.errors import LogDamaged, LogTooNew, LogTooOld, LogUnavailable
from eventvm.logs import migrating, open_log, restore, restoring
from eventvm.logs.sqlite import SqliteLog
from eventvm.logs.sqlite_reader import SqliteReader

TRUTH = "SELECT position, stream, version, recorded_at, actor, key, cause, body, leaf FROM records ORDER BY 1"

SECOND = """
CREATE TABLE marks(position INTEGER PRIMARY KEY, mark TEXT NOT NULL) STRICT;
CREATE TRIGGER marks_are_not_deleted BEFORE DELETE ON marks
BEGIN SELECT RAISE(ABORT, 'no; never'); END;
INSERT INTO marks VALUES (0, 'a;b');
"""


def third(connection):
    connection.execute("INSERT INTO marks SELECT position, 'seen' FROM records")


MIGRATIONS = (SECOND, third)


@pytest.fixture
async def old(path, adding, replayed):
    """A log of format 1 with a few records; gives them as they are stored."""
    async with open_log(path) as log:
        await log.append(adding("a", 0, "x", "y", key="k", claims=("web",)))
        await log.append(adding("b", 0))
        return await replayed(log)


@asynccontextmanager
async def opened(path, migrations=MIGRATIONS):
    log = await SqliteLog.open(path, migrations=migrations)
    log.begin()
    try:
        yield log
    finally:
        await log.close()


def spare(path, format_=1):
    return path.with_name(f"{path.name}.format-{format_}.backup")


async def test_an_older_file_is_migrated_and_its_records_are_untouched(path, old, adding, raw, replayed):
    """Bytes, leaves and root are what they were; what the new format has beside them is there."""
    truth, tree = raw(TRUTH), raw("SELECT origin, size, root, frontier FROM tree")
    async with opened(path) as log:
        assert raw("PRAGMA user_version") == [(3,)]
        assert raw("SELECT * FROM marks") == [(0, "a;b"), (1, "seen"), (2, "seen"), (3, "seen")]
        assert raw(TRUTH) == truth
        assert raw("SELECT origin, size, root, frontier FROM tree") == tree
        assert await replayed(log) == old
        await log.append(adding("a", 2))
    async with opened(path) as log:
        assert len(await replayed(log)) == 4


async def test_the_file_as_it_was_is_kept_beside_it(path, old, replayed):
    """It is a log of the older format, which the older release opens."""
    async with opened(path):
        pass
    async with open_log(spare(path), read_only=True) as log:
        assert await replayed(log) == old
    async with opened(path, (*MIGRATIONS, "CREATE TABLE fourth(x)")):
        pass
    assert spare(path, 3).exists()


@pytest.mark.parametrize("bug", [RuntimeError("odd"), sqlite3.OperationalError("disk I/O error")])
async def test_a_migration_that_fails_half_way_leaves_the_old_file_whole(path, old, raw, replayed, bug):
    """What the first of them did is undone as well; the next opening tries again, and takes the same copy."""

    def broken(connection):
        connection.execute("INSERT INTO marks VALUES (9, 'half')")
        raise bug

    with pytest.raises((RuntimeError, LogUnavailable, LogDamaged)):
        async with opened(path, (SECOND, broken)):
            pass
    assert raw("PRAGMA user_version") == [(1,)]
    assert raw("SELECT count(*) FROM sqlite_schema WHERE name = 'marks'") == [(0,)]
    async with open_log(path) as log:
        assert await replayed(log) == old
    made = spare(path).stat().st_mtime_ns
    async with opened(path):
        assert raw("PRAGMA user_version") == [(3,)]
    assert spare(path).stat().st_mtime_ns == made


async def test_a_migration_that_is_killed_leaves_the_old_file_whole(path, elsewhere, raw, replayed):
    """SIGKILL in the middle of the transaction: a reader sees the old format, the next engine begins anew."""
    code = """
from pathlib import Path
from eventvm.logs.sqlite import SqliteLog

def killing(connection):
    connection.execute("CREATE TABLE half(x)")
    connection.execute("INSERT INTO half SELECT randomblob(9000) FROM records a, records b")
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    async with open_log(path) as log:
        for version in range(50):
            await log.append(adding("a", version))
    say(ready=True)
    await SqliteLog.open(Path(path), migrations=(killing,))
asyncio.run(main())
"""
    async with elsewhere(code) as other:
        await other.says()
        assert await other.process.wait() < 0
    async with open_log(path, read_only=True) as log:
        assert len(await replayed(log)) == 50
    assert raw("PRAGMA user_version") == [(1,)]
    async with opened(path) as log:
        assert len(await replayed(log)) == 50
    assert raw("SELECT count(*) FROM sqlite_schema WHERE name = 'half'") == [(0,)]


@pytest.mark.usefixtures("old")
async def test_the_copy_is_made_before_anything_is_changed(path):
    """At the time of the first statement the copy is whole and in its place."""
    sizes = []

    def looking(_):
        with closing(sqlite3.connect(spare(path))) as copy:
            sizes.extend(copy.execute("SELECT size FROM tree").fetchone())

    async with opened(path, (looking,)):
        assert sizes == [3]


@pytest.mark.usefixtures("old")
async def test_another_copy_in_the_way_is_refused_and_nothing_is_migrated(path, raw):
    """Nothing is ever overwritten; the message says what to do."""
    other = path.with_name("other.db")
    async with open_log(other):
        pass
    other.rename(spare(path))
    before = spare(path).read_bytes()
    with pytest.raises(LogUnavailable, match="move it away first"):
        async with opened(path, MIGRATIONS):
            pass
    assert spare(path).read_bytes() == before
    assert raw("PRAGMA user_version") == [(1,)]


@pytest.mark.parametrize(
    "harm",
    [
        "DROP TRIGGER records_are_not_updated; UPDATE records SET body = replace(body, 'x', 'z');",
        "DROP TRIGGER records_are_not_deleted; DELETE FROM records WHERE position = 3;",
        "UPDATE tree SET size = 0;",
        "DROP TRIGGER records_are_not_updated; UPDATE records SET leaf = zeroblob(32) WHERE position = 3;",
    ],
)
async def test_a_migration_that_touches_a_record_is_undone(path, old, raw, replayed, harm):
    """Every leaf is computed again, and the tree over them has to be the one from before."""
    with pytest.raises(LogDamaged):
        async with opened(path, (harm,)):
            pass
    assert raw("PRAGMA user_version") == [(1,)]
    async with open_log(path) as log:
        assert await replayed(log) == old


@pytest.mark.usefixtures("old")
async def test_a_newer_file_is_refused_untouched(path):
    """By the writer and by the reader, before any copy is made."""
    async with opened(path):
        pass
    spare(path).unlink()
    before = path.read_bytes()
    for opening in (open_log(path), open_log(path, read_only=True), opened(path, (SECOND,))):
        with pytest.raises(LogTooNew, match="has format 3"):
            async with opening:
                pass
    assert path.read_bytes() == before
    assert not list(path.parent.glob("*.backup"))


@pytest.mark.usefixtures("old")
async def test_an_older_file_is_not_read_before_it_is_migrated(path):
    """A reader changes nothing, so it says what does."""
    before = path.read_bytes()
    with pytest.raises(LogTooOld, match="has format 1; this release reads 3") as caught:
        await (await SqliteReader.open(path, newest=3)).close()
    assert "open it once with an engine" in caught.value.hint
    assert path.read_bytes() == before


@pytest.mark.usefixtures("old")
async def test_a_backup_of_an_older_format_is_migrated_while_it_is_restored(path, monkeypatch):
    """The backup itself is the copy: nothing more is left beside the new log."""
    backup = path.with_name("backup.db")
    async with open_log(path) as log:
        await log.backup(backup)

    class Newer(SqliteLog):
        @classmethod
        async def open(cls, path, **options):
            return await SqliteLog.open(path, migrations=MIGRATIONS, **options)

    monkeypatch.setattr(restoring, "SqliteLog", Newer)
    await restore(backup, path.with_name("new.db"))
    assert sorted(one.name for one in path.parent.glob("*backup*")) == ["backup.db"]
    async with opened(path.with_name("new.db")) as log:
        assert log.tree.size == 4


def test_a_script_is_taken_apart_where_its_statements_end():
    """Not at a semicolon in a trigger or in a text."""
    assert len(list(migrating._statements(SECOND))) == 3  # noqa: SLF001
