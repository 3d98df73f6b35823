"""A log that is opened read-only follows whoever writes it, and leaves no trace."""

import anyio
import pytest

from eventvm.errors import BadInput, Closed, LogHeld, LogUnavailable, NotALog
from eventvm.log import Holder, Replay
from eventvm.logs import open_log
from eventvm.subscription import Subscription

PATIENCE = 60
"""Seconds after which a test that hangs has failed."""

WRITER = """
async def main():
    async with open_log(path) as log:
        say(open=True)
        while (line := await told()) != "close":
            for _ in range(int(line)):
                await log.append(adding("a", log.tree.size, "x"))
            say(size=log.tree.size)
    say(closed=True)
asyncio.run(main())
"""


async def test_a_reader_follows_a_writer_in_another_process(path, elsewhere):
    async with elsewhere(WRITER) as writer:
        await writer.says()
        with anyio.fail_after(PATIENCE):
            async with open_log(path, read_only=True) as log:
                assert log.tree.size == 0
                subscription = Subscription(log)
                for expected in (1, 21, 521):
                    await writer.tell(str(expected - log.tree.size))
                    while subscription.position < expected:
                        assert (await anext(subscription)).position == subscription.position
                    assert await writer.says() == {"size": expected}
                    await log.wait(
                        expected - 1
                    )  # a page may hold more than the tree did when it was asked for
                    assert log.tree.size == expected
                async with anyio.create_task_group() as group:
                    group.start_soon(log.wait, 521)
                    await writer.tell("1")
                assert log.tree.size == 522
                assert sum([len(page) async for page in Replay(log)]) == 522


async def test_a_reader_of_a_log_that_nobody_writes_follows_the_next_writer(path, elsewhere, adding):
    async with open_log(path) as log:
        await log.append(adding("a", 0))
    before = {one.name: one.read_bytes() for one in path.parent.iterdir()}
    with anyio.fail_after(PATIENCE):
        async with open_log(path, read_only=True) as log:
            assert len((await log.read()).records) == 1
            assert {one.name: one.read_bytes() for one in path.parent.iterdir()} == before
            for size in (6, 11):
                async with elsewhere(WRITER) as writer:
                    await writer.says()
                    await writer.tell("5")
                    await log.wait(size - 1)
                    assert log.tree.size == size
                    await writer.says()
                    await writer.tell("close")
                    await writer.says()
                page = await log.read(stream="a")
                assert ([record.version for record in page.records], page.position) == (
                    [*range(1, size + 1)],
                    size,
                )


async def test_a_reader_in_the_writers_own_process_sees_what_it_writes(path, adding):
    async with open_log(path) as log, open_log(path, read_only=True) as reader:
        for version in range(5):
            records = await log.append(adding("a", version, claims=(f"n{version}",), key=f"k{version}"))
            assert (await reader.read(after=version)).records == records
            assert await reader.find(f"n{version}") == Holder("a", held=True)
            assert await reader.recall(f"k{version}") == records[0]
            assert (reader.tree.size, reader.tree.root) == (log.tree.size, log.tree.root)
        await log.keep("view", log.tree, [b"part"])
        assert (await reader.kept("view")).parts == (b"part",)
        assert await reader.streams() == ("a",)
        assert reader.url == log.url


async def test_reading_takes_no_lock_and_leaves_no_trace(path, adding, replayed):
    async with open_log(path) as log:
        await log.append(adding("a", 0))
    path.with_name("log.db.lock").unlink()
    before = {one.name: one.stat().st_mtime_ns for one in path.parent.iterdir()}
    path.parent.chmod(0o500)
    async with open_log(path, read_only=True) as one, open_log(path, read_only=True) as two:
        assert await replayed(one) == await replayed(two)
    path.parent.chmod(0o700)
    assert {one.name: one.stat().st_mtime_ns for one in path.parent.iterdir()} == before


async def test_a_reader_refuses_every_append_with_a_sentence(path, adding):
    async with open_log(path) as log, open_log(path, read_only=True) as reader:
        with pytest.raises(
            LogUnavailable, match="is open read-only; append through the engine that holds it"
        ):
            await reader.append(adding("a", 0))
        await reader.keep("view", reader.tree, [b"dropped at once"])
        assert await reader.kept("view") is None
        assert log.tree.size == 0
        with pytest.raises(LogHeld):
            async with open_log(path):
                pass


@pytest.mark.parametrize("content", [None, b""])
async def test_where_there_is_nothing_a_reader_says_so_and_creates_nothing(path, content):
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NotALog, match="does not exist or is empty: there is nothing to read"):
        async with open_log(path, read_only=True):
            pass
    assert [one.name for one in path.parent.iterdir()] == ([] if content is None else ["log.db"])


async def test_a_log_in_memory_has_no_readers():
    with pytest.raises(BadInput, match="cannot be opened read-only"):
        async with open_log("memory:", read_only=True):
            pass


async def test_a_reader_that_was_closed_says_so(path, adding):
    async with open_log(path) as log:
        await log.append(adding("a", 0))
        async with open_log(path, read_only=True) as reader:
            pass
    with pytest.raises(Closed):
        await reader.read()
    with pytest.raises(Closed):
        await reader.wait(0)


async def test_a_reader_whose_file_is_taken_away_says_so(path, adding):
    async with open_log(path) as log:
        await log.append(adding("a", 0))
    async with open_log(path, read_only=True) as reader:
        path.unlink()
        with pytest.raises(LogUnavailable, match="No such file"):
            await reader.read()
