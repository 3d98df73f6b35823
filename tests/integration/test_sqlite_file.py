"""The SQLite log and its file: what is refused untouched, what is found out, what goes on after a failure."""

import asyncio
import os
import random
import socket
import sqlite3
import sys
import time
from contextlib import AsyncExitStack, suppress

import anyio
import pytest

from eventvm.errors import (
    BadInput,
    CommitUnknown,
    LogDamaged,
    LogError,
    LogHeld,
    LogTooNew,
    LogUnavailable,
    NotALog,
)
from eventvm.log import Replay
from eventvm.logs import open_log
from eventvm.logs import sqlite as sqlite_module
from eventvm.logs.sqlite import SqliteLog, Writer
from eventvm.logs.sqlite_reader import PARTS
from eventvm.subscription import Subscription

PATIENCE = 60
"""Seconds after which a test that hangs has failed."""


@pytest.fixture
async def written(path, adding):
    """A log of 40 records that nobody has open."""
    async with open_log(path) as log:
        for at in range(20):
            await log.append(adding(f"s{at % 3}", 2 * (at // 3), f"mark {at}", "x", key=f"k{at}"))
        await log.append(adding("s2", 12, claims=("web",)))
    return path


def around(path) -> dict[str, bytes]:
    """All the files beside the log, byte for byte."""
    return {one.name: one.read_bytes() for one in sorted(path.parent.iterdir())}


# --- one engine ----------------------------------------------------------------------------------------


async def test_a_second_engine_in_this_process_is_refused_and_told_who_holds_the_log(path, adding):
    async with open_log(path) as log:
        with pytest.raises(LogHeld, match=rf"{path.name} is held by process {os.getpid()} on ") as caught:
            async with open_log(path):
                pass
        assert socket.gethostname() in caught.value.holder
        await log.append(adding("a", 0))
    async with open_log(path) as log:
        assert log.tree.size == 1


async def test_a_second_engine_in_another_process_is_refused_and_told_who_holds_the_log(
    path, elsewhere, adding
):
    code = """
async def main():
    try:
        async with open_log(path): say(refused=None)
    except LogHeld as problem:
        say(refused=str(problem), hint=problem.hint)
asyncio.run(main())
"""
    async with open_log(path) as log:
        async with elsewhere(code) as other:
            said = await other.says()
        assert f"process {os.getpid()} on {socket.gethostname()} since 20" in said["refused"]
        assert "read-only" in said["hint"]
        await log.append(adding("a", 0))


async def test_the_log_of_an_engine_that_was_killed_can_be_opened(path, elsewhere, replayed):
    code = """
async def main():
    async with open_log(path) as log:
        await log.append(adding("a", 0, "x", "y"))
        say(pid=os.getpid())
        await told()
asyncio.run(main())
"""
    async with elsewhere(code) as other:
        pid = (await other.says())["pid"]
        with pytest.raises(LogHeld, match=f"process {pid} on"):
            async with open_log(path):
                pass
        other.process.kill()
        await other.process.wait()
        async with open_log(path) as log:
            assert len(await replayed(log)) == 2


# --- what is no log of ours ----------------------------------------------------------------------------


def not_a_database(path):
    path.write_bytes(b"Dear diary, " * 1000)


def of_somebody_else(path, *pragmas):
    with sqlite3.connect(path) as connection:
        for pragma in pragmas:
            connection.execute(pragma)
        connection.execute("CREATE TABLE theirs(x)")
        connection.execute("INSERT INTO theirs VALUES (1)")
    connection.close()


def of_somebody_else_in_wal_mode(path):
    of_somebody_else(path, "PRAGMA journal_mode = WAL")


def marked_by_somebody_else(path):
    of_somebody_else(path, "PRAGMA application_id = 1234")


def of_a_newer_release(path):
    of_somebody_else(path, f"PRAGMA application_id = {0x65766D31}", "PRAGMA user_version = 99")


def of_somebody_who_was_killed(path):
    """A foreign database whose -wal still holds what was committed: opening it to write would move that."""
    living = sqlite3.connect(path, isolation_level=None)
    living.execute("PRAGMA journal_mode = WAL")
    living.execute("CREATE TABLE theirs(x)")
    living.execute("PRAGMA wal_checkpoint")
    living.execute("INSERT INTO theirs VALUES (1)")
    left = {one: one.read_bytes() for one in path.parent.glob("log.db*") if not one.name.endswith("-shm")}
    living.close()
    for one, content in left.items():
        one.write_bytes(content)


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (not_a_database, NotALog, "is not a SQLite database; choose another file"),
        (of_somebody_else, NotALog, "but not a log of eventvm; choose another file"),
        (of_somebody_else_in_wal_mode, NotALog, "but not a log of eventvm"),
        (of_somebody_who_was_killed, NotALog, "but not a log of eventvm"),
        (marked_by_somebody_else, NotALog, "but not a log of eventvm"),
        (of_a_newer_release, LogTooNew, "has format 99; this release knows 1"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_a_file_that_is_no_log_is_refused_untouched(path, read_only, make, error, said):
    make(path)
    before = around(path)
    with pytest.raises(error, match=said):
        async with open_log(path, read_only=read_only):
            pass
    assert around(path) == before


@pytest.mark.parametrize(
    "url", ["nats://here", "memory:x", "sqlite:", "", "sqlite:/nowhere/at/all.db", "/tmp"]
)
async def test_what_names_no_file_is_refused_with_a_sentence(url):
    with pytest.raises(BadInput, match=r"use a path|names no file|create it first"):
        async with open_log(url):
            pass


async def test_a_url_opens_the_log_again(path, adding, monkeypatch):
    async with open_log(path) as log:
        await log.append(adding("a", 0))
        url = log.url
    for again in (url, str(path), f"sqlite://{path}", f"sqlite:{path}"):
        async with open_log(again) as log:
            assert log.tree.size == 1
    monkeypatch.chdir(path.parent)
    odd = path.with_name("what? 100%#.db")
    path.rename(odd)
    path.with_name("log.db.lock").unlink()
    async with open_log(odd.name) as log, open_log(odd.name, read_only=True) as reader:
        assert log.tree.size == reader.tree.size == 1


# --- damage --------------------------------------------------------------------------------------------


async def test_an_empty_file_where_a_log_lived_is_refused_untouched(written):
    written.write_bytes(b"")
    before = around(written)
    with pytest.raises(LogDamaged, match=r"lived here: its -wal may be lost\. Restore a backup, or delete"):
        async with open_log(written):
            pass
    assert around(written).keys() == before.keys()
    assert written.read_bytes() == b""


async def test_a_log_that_has_vanished_is_not_begun_anew(written):
    written.unlink()
    with pytest.raises(LogDamaged, match="lived here"):
        async with open_log(written):
            pass
    assert not written.exists()


async def test_a_log_whose_wal_was_lost_before_its_first_checkpoint_is_refused(path, elsewhere):
    code = """
async def main():
    async with open_log(path) as log:
        await log.append(adding("a", 0))
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    async with elsewhere(code) as other:
        await other.process.wait()
    wal, shm = path.with_name("log.db-wal"), path.with_name("log.db-shm")
    kept = wal.read_bytes()
    wal.unlink()
    shm.unlink()
    with pytest.raises(LogDamaged, match="lived here"):
        async with open_log(path):
            pass
    wal.write_bytes(kept)
    async with open_log(path) as log:
        assert log.tree.size == 1


async def test_a_flipped_byte_in_a_body_is_found_at_its_position(written, replayed):
    content = written.read_bytes()
    for mark, position in ((b"mark 0", 1), (b"mark 7", 15), (b"mark 19", 39)):
        at = content.index(mark)
        for byte in (b"M", b"\xff", b"\0", b'"'):
            written.write_bytes(content[:at] + byte + content[at + 1 :])
            for read_only in (True, False):
                async with open_log(written, read_only=read_only) as log:
                    with pytest.raises(LogDamaged, match=f"position {position}") as caught:
                        await replayed(log)
                    assert caught.value.position == position


async def test_whatever_bit_flips_the_records_are_the_same_or_the_log_is_refused(written, replayed):
    """The file's own check misses most of these; the hashes miss none."""
    async with open_log(written) as log:
        truth = await replayed(log)
    content, chance = written.read_bytes(), random.Random(7)
    refused = unseen = 0
    for _ in range(300):
        at = chance.randrange(len(content))
        written.write_bytes(
            content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]
        )
        try:
            async with open_log(written, read_only=True) as log:
                found = await replayed(log)
        except LogError:
            refused += 1
        else:
            assert found == truth
            unseen += 1
    assert refused > 20
    assert unseen > 20


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(
    ("wound", "said"),
    [
        ("DELETE FROM tree", "has lost its tree"),
        ("UPDATE tree SET frontier = substr(frontier, 1, 32)", "contradicts its own root"),
        ("UPDATE tree SET root = zeroblob(32)", "contradicts its own root"),
        ("UPDATE tree SET size = 40", "holds 41 records, its tree 40"),
        ("UPDATE tree SET size = 42", "holds 41 records, its tree 42"),
        ("DROP TABLE tree", "is damaged: no such table"),
        ("DELETE FROM records WHERE position > 30", "holds 30 records, its tree 41"),
    ],
)
async def test_a_tree_that_is_not_that_of_the_records_is_refused_untouched(
    written, raw, read_only, wound, said
):
    raw("DROP TRIGGER records_are_not_deleted", wound, writable=True)
    before = written.read_bytes()
    with pytest.raises(LogDamaged, match=said) as caught:
        async with open_log(written, read_only=read_only):
            pass
    assert "backup" in caught.value.hint
    assert written.read_bytes() == before


async def test_a_file_cut_short_is_refused(written, replayed):
    content = written.read_bytes()
    for length in (50, 8192, len(content) // 2, len(content) - 8192):
        written.write_bytes(content[:length])
        with pytest.raises(LogError):
            async with open_log(written) as log:
                await replayed(log)
        assert written.read_bytes() == content[:length]


@pytest.mark.parametrize(
    "wound",
    [
        "UPDATE kept SET bytes = x'00' WHERE part = 1",
        "UPDATE kept SET size = 2",
        "DELETE FROM kept WHERE part = 3",
        "DELETE FROM kept WHERE part = 0",
        "UPDATE kept SET view = 'view' WHERE view = 'other' AND part = 7",
        "UPDATE kept SET bytes = CASE part WHEN 1 THEN x'74776f' ELSE x'6f6e65' END WHERE part IN (1, 2)",
    ],
)
async def test_a_kept_view_that_is_not_whole_is_dropped(path, adding, raw, wound):
    async with open_log(path) as log:
        await log.append(adding("a", 0))
        await log.keep("view", log.tree, [b"one", b"two", b"three"])
        await log.keep("other", log.tree, [b"%d" % part for part in range(9)])
        assert (await log.kept("view")).parts == (b"one", b"two", b"three")
    raw(wound, writable=True)
    read = []
    async with open_log(path) as log:
        assert await log.kept("view", read.append) is None
        assert read == [], "nothing is read of a view that is not whole"


async def test_a_view_that_is_kept_anew_while_it_is_read_is_dropped(path, adding, raw):
    """The parts of two views are never put together."""
    read = []

    def another(part):
        if not read:
            raw(f"UPDATE kept SET size = 2 WHERE part > {PARTS}", writable=True)
        read.append(part)

    async with open_log(path) as log:
        await log.append(adding("a", 0))
        await log.keep("view", log.tree, [b"%d" % part for part in range(2 * PARTS)])
        assert await log.kept("view", another) is None
    assert 0 < len(read) < 2 * PARTS


@pytest.mark.parametrize("count", [PARTS - 1, PARTS, 3 * PARTS + 1])
async def test_a_view_of_any_number_of_parts_is_given_back_whole(path, adding, count):
    parts = tuple(b"%d" % part for part in range(count))
    async with open_log(path) as log:
        await log.append(adding("a", 0))
        await log.keep("view", log.tree, parts)
        assert (await log.kept("view")).parts == parts


async def test_a_view_that_was_kept_beyond_the_end_is_dropped(path, adding):
    async with open_log(path) as log:
        await log.append(adding("a", 0))
        ahead = log.tree.copy()
        ahead.append([bytes(32)])
        await log.keep("view", ahead, [b"from another world"])
        assert await log.kept("view") is None


@pytest.mark.parametrize("steps", [*range(0, 12, 3), 40, 400])
async def test_wherever_keeping_a_view_is_broken_off_one_whole_view_is_left(path, adding, steps):
    """The one before, or the new one; and the next is kept as if nothing had been."""
    first, second, third = ([b"%d %d" % (which, part) for part in range(50)] for which in range(3))
    async with open_log(path) as log:
        await log.append(adding("a", 0))
        await log.keep("view", log.tree, first)
        await log.append(adding("a", 1))
        keeping = asyncio.create_task(log.keep("view", log.tree, second))
        for _ in range(steps):
            await anyio.lowlevel.checkpoint()
        keeping.cancel()
        await asyncio.wait({keeping})
    async with open_log(path) as log:
        kept = await log.kept("view")
        assert kept.parts in {tuple(first), tuple(second)}
        assert kept.tree.size == 1 + (kept.parts == tuple(second))
        await log.append(adding("a", 2))
        await log.keep("view", log.tree, third)
        assert (await log.kept("view")).parts == tuple(third)


# --- what the file promises ----------------------------------------------------------------------------


async def test_the_pragmas_that_durability_depends_on_read_back(path):
    async with open_log(path) as log:
        for name, value in (("journal_mode", "wal"), ("synchronous", 2), ("page_size", 8192)):
            assert await log._writing.execute_fetchall(f"PRAGMA {name}") == [(value,)]  # noqa: SLF001
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await log._reading.execute("DELETE FROM names")  # noqa: SLF001


async def test_a_file_that_does_not_keep_what_durability_needs_is_refused(path, monkeypatch):
    monkeypatch.setitem(sqlite_module.PRAGMAS, "synchronous", 7)
    with pytest.raises(LogUnavailable, match="SQLite keeps synchronous at 0, eventvm needs 7"):
        async with open_log(path):
            pass


@pytest.mark.usefixtures("written")
async def test_the_view_log_reads_well_in_the_sqlite3_shell(raw):
    rows = raw("SELECT position, recorded, name, version, type, body FROM log WHERE position IN (1, 41)")
    (position, recorded, name, version, type_, body), last = rows
    assert (position, name, version, type_) == (1, "s0", 1, "machine.transitioned")
    assert recorded.startswith("20")
    assert '"to":"mark 0"' in body
    assert last[2] == "web"
    assert raw("PRAGMA integrity_check") == [("ok",)]


async def test_a_log_that_was_closed_leaves_nothing_but_its_file_and_its_lock(written):
    assert around(written).keys() == {"log.db", "log.db.lock"}
    assert not written.with_name("log.db.lock").stat().st_mode & 0o077


async def test_a_page_that_is_read_while_a_batch_lands_is_not_read_twice(path, adding):
    """Between the commit in the writer's thread and its news, a reader sees more than the log knows."""
    pages = []

    class Peeking(SqliteLog):
        async def commit(self, batch):
            await super().commit(batch)
            pages.append((self.tree.size, await self.read(stream="a", after=1), await self.read(after=0)))

    log = await Peeking.open(path)
    log.begin()
    await log.append(adding("a", 0))
    await log.append(adding("a", 1))
    for known, stream, whole in pages[1:]:
        assert known == 1
        assert [record.position for record in stream.records] == [2]
        assert stream.position == 2
        assert whole.position == whole.records[-1].position
    subscription = Subscription(log, after=1, stream="a")
    assert (await anext(subscription)).position == 2
    await log.close()


async def test_readers_wait_while_the_log_is_reopened(path, adding, monkeypatch):
    async with open_log(path) as log:
        await log.append(adding("a", 0, claims=("web",)))
        failing(monkeypatch, sqlite3.OperationalError("disk I/O error"), after_commit=True)
        ticket = log.append(adding("a", 1))
        found = []

        async def ask() -> None:
            while not ticket.settled:
                found.append((await log.find("web")).stream)
                found.append(await log.recall("k") or "a")
                await log.keep("view", log.tree, [])

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(ask)
        assert len(await ticket) == 1
        assert set(found) == {"a"}


async def test_a_damaged_record_fails_nobody_who_asks_for_another_at_the_same_time(path, adding, raw):
    async with open_log(path) as log:
        for at in range(3):
            await log.append(adding(f"s{at}", 0, key=f"k{at}"))
    update = "UPDATE records SET body = '{' WHERE position = 2"
    raw("DROP TRIGGER records_are_not_updated", update, writable=True)
    async with open_log(path, read_only=True) as log:
        asked = (log.recall(f"k{at}") for at in range(3))
        first, damaged, third = await asyncio.gather(*asked, return_exceptions=True)
        assert (first.position, third.position) == (1, 3)
        assert isinstance(damaged, LogDamaged)
        assert damaged.position == 2


async def test_what_no_key_can_be_fails_nobody_who_asks_at_the_same_time(path, adding):
    async with open_log(path) as log:
        (made,) = await log.append(adding("a", 0, key="k"))
        asked = ("other", "k", "half a character \ud800", "k")
        none, found, refused, again = await asyncio.gather(*map(log.recall, asked), return_exceptions=True)
        assert (none, found, again) == (None, made, made)
        assert isinstance(refused, BadInput)


async def test_commits_go_on_beside_a_task_that_never_lets_the_loop_idle(path, adding):
    """SQLite's thread needs the interpreter too: it gets it within 250 of the task's turns, all in all."""
    turns, done = 0, False

    async def spin() -> None:
        nonlocal turns
        while not done:
            turns += 1
            until = time.perf_counter() + 200e-6
            while time.perf_counter() < until:
                pass
            await anyio.lowlevel.checkpoint()

    commits, patience = 40, 250
    async with open_log(path) as log:
        spinning = asyncio.create_task(spin())
        for at in range(commits):
            ticket = log.append(adding("a", at))
            while not ticket.settled:
                await anyio.lowlevel.checkpoint()
                assert turns < commits * patience, f"commit {at} waits for the interpreter"
        done = True
        await spinning


# --- commits that fail ---------------------------------------------------------------------------------


def failing(monkeypatch, problem: Exception, *, after_commit: bool, times: int = 1) -> None:
    """Have the next appends raise, before or after their COMMIT has happened."""
    left = [times]
    truly = Writer.executemany

    def executemany(self, name, work, /):
        if name != "append" or not left[0]:
            return truly(self, name, work)
        left[0] -= 1
        if after_commit:
            truly(self, name, work)
        raise problem

    monkeypatch.setattr(Writer, "executemany", executemany)


@pytest.mark.parametrize("problem", [sqlite3.OperationalError("disk I/O error"), OverflowError("too large")])
async def test_a_commit_that_raised_but_is_in_the_file_is_answered_as_committed(
    path, adding, replayed, monkeypatch, problem
):
    async with open_log(path) as log:
        await log.append(adding("a", 0))
        failing(monkeypatch, problem, after_commit=True)
        tickets = [log.append(adding("a", 1, "x", "y", key="k", claims=("web",))), log.append(adding("b", 0))]
        assert [len(await ticket) for ticket in tickets] == [2, 1]
        await log.append(adding("a", 3))
        await log.append(adding("b", 1))
        assert [record.position for record in await replayed(log)] == [1, 2, 3, 4, 5, 6]
        assert (await log.find("web")).held


@pytest.mark.parametrize("problem", [sqlite3.OperationalError("database or disk is full"), ValueError("odd")])
async def test_a_commit_that_raised_and_is_not_in_the_file_is_unavailable_and_the_log_goes_on(
    path, adding, replayed, monkeypatch, problem
):
    async with open_log(path) as log:
        await log.append(adding("a", 0))
        failing(monkeypatch, problem, after_commit=False)
        with pytest.raises(LogUnavailable, match="could not be written") as caught:
            await log.append(adding("b", 0, "x", "y", key="k", claims=("web",)))
        assert "send the command again" in caught.value.hint
        assert len(await replayed(log)) == 1
        await log.append(adding("b", 0, "x", "y", key="k", claims=("web",)))
        assert len(await replayed(log)) == 3


async def test_a_commit_that_raised_on_a_file_that_cannot_be_reopened_is_unknown(path, adding, monkeypatch):
    away = path.with_name("elsewhere.db")
    async with open_log(path) as log:
        await log.append(adding("a", 0))
        failing(monkeypatch, sqlite3.OperationalError("disk I/O error"), after_commit=True)
        monkeypatch.setattr(sqlite_module, "connect_reader", unreachable)
        tickets = [log.append(adding("a", 1))]
        with pytest.raises(CommitUnknown, match=r"it could not be reopened: .*") as caught:
            await tickets[0]
        assert "open the log again" in caught.value.hint
        for ask in (log.find("web"), log.read(stream="a"), log.keep("view", log.tree, []), log.wait(1)):
            with pytest.raises(CommitUnknown):
                await ask
        with pytest.raises(CommitUnknown):
            await log.append(adding("b", 0))
    monkeypatch.undo()
    assert not away.exists()
    async with open_log(path) as log:
        assert log.tree.size == 2


async def unreachable(path, **_):
    raise OSError(5, f"{path} is gone")


async def test_a_log_that_somebody_else_has_written_takes_no_more(path, adding, raw):
    async with open_log(path) as log:
        await log.append(adding("a", 0))
        raw("UPDATE tree SET size = 7", writable=True)
        with pytest.raises(CommitUnknown):
            await log.append(adding("a", 1))
        with pytest.raises(CommitUnknown):
            await log.append(adding("a", 1))


@pytest.mark.skipif(sys.platform != "linux", reason="fails syncs by seccomp, which only Linux has")
@pytest.mark.parametrize("watched", [False, True])
async def test_after_a_failed_sync_the_answer_is_what_a_crash_leaves(path, elsewhere, replayed, watched):
    """A reader in another process keeps the WAL's index alive, so reopening does not look at the disk."""
    code = """
import ctypes, platform, struct

class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]

def fail_syncs():
    "Let each fdatasync of this thread alone fail with EIO; reconnecting brings another thread."
    number = {"x86_64": 75, "aarch64": 83}[platform.machine()]
    code = b"".join(struct.pack("HBBI", *step) for step in (
        (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050005), (0x06, 0, 0, 0x7FFF0000)))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, ctypes.byref(Program(4, code)), 0, 0) == 0, os.strerror(ctypes.get_errno())

async def main():
    async with open_log(path) as log:
        await log.append(adding("a", 0, "x", "y"))
        say(open=True)
        await told()
        await log._writing._execute(fail_syncs)
        try:
            said = len(await log.append(adding("b", 0, "x", "y", "z")))
        except LogUnavailable as problem:
            said = str(problem)
        say(said=said)
        await told()
asyncio.run(main())
"""
    async with elsewhere(code) as writer, AsyncExitStack() as stack:
        await writer.says()
        reader = await stack.enter_async_context(open_log(path, read_only=True)) if watched else None
        await writer.tell()
        said = (await writer.says())["said"]
        writer.process.kill()
        await writer.process.wait()
        if reader is not None:
            await reader.close()
        path.with_name("log.db-shm").unlink()
        async with open_log(path) as log:
            streams = {record.stream for record in await replayed(log)}
    assert ("disk I/O error" in str(said)) == watched
    assert streams == ({"a"} if watched else {"a", "b"})


async def test_a_full_disk_refuses_appends_and_the_log_goes_on_when_there_is_space(
    path, elsewhere, replayed, adding
):
    """RLIMIT_FSIZE stands for the disk; its soft limit is lowered and lifted while the log is open."""
    code = """
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, unlimited[1]))

async def append(log, version, acknowledged):
    try:
        await log.append(adding("a", version, f"{version}", "x" * 9000, "y"))
    except LogUnavailable as problem:
        return str(problem)
    acknowledged.append(version)

async def main():
    async with open_log(path) as log:
        acknowledged, problems = [], []
        for _ in range(3):
            await append(log, log.tree.size, acknowledged)
            limit(os.path.getsize(path + "-wal") + 40_000)
            for _ in range(12):
                problems.append(await append(log, log.tree.size, acknowledged))
            limit(unlimited[0])
            assert await append(log, log.tree.size, acknowledged) is None
        say(acknowledged=acknowledged, problems=[one for one in problems if one], size=log.tree.size)
asyncio.run(main())
"""
    async with elsewhere(code) as other:
        said = await other.says()
    assert len(said["problems"]) >= 6
    assert all("could not be written" in problem for problem in said["problems"])
    async with open_log(path) as log:
        records = await replayed(log)
        assert len(records) == said["size"] == 3 * len(said["acknowledged"])
        assert [int(record.event.to) for record in records[::3]] == said["acknowledged"]
        assert len(await log.append(adding("a", len(records)))) == 1


async def test_a_directory_that_cannot_be_written_is_refused_with_a_sentence(tmp_path):
    there = tmp_path / "log.db"
    (tmp_path / "log.db.lock").mkdir()
    with pytest.raises(LogUnavailable, match="cannot be locked"):
        async with open_log(there):
            pass
    assert not there.exists()


async def test_a_file_that_cannot_be_opened_is_refused_with_a_sentence(tmp_path):
    there = tmp_path / "log.db"
    there.symlink_to(tmp_path / "nowhere" / "log.db")
    with pytest.raises(LogUnavailable, match="unable to open"):
        async with open_log(there):
            pass


async def test_opening_can_be_cancelled_anywhere(written, replayed):
    """No lock, no connection and no thread is left behind."""
    for ticks in range(40):
        opening = asyncio.create_task(SqliteLog.open(written))
        for _ in range(ticks):
            await anyio.lowlevel.checkpoint()
        opening.cancel()
        with suppress(asyncio.CancelledError):
            await (await opening).close()
    with anyio.fail_after(PATIENCE):
        async with open_log(written) as log:
            assert len(await replayed(log)) == 41
            assert [len(page) async for page in Replay(log, limit=40)] == [40, 1]
