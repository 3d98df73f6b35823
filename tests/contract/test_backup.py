"""A backup of any log is a log: the same records, the same names and keys, the same tree."""

import asyncio

import anyio
import pytest

from eventvm.errors import BadInput
from eventvm.log import Replay
from eventvm.logs import open_log


async def filled(log, adding):
    await log.append(adding("a", 0, "x", "y", "z", key="k", claims=("web",)))
    await log.append(adding("b", 0, reserves=("next",)))
    await log.append(adding("a", 3, releases=("web",)))


async def test_a_backup_is_the_log_that_it_was_made_of(store, adding, tmp_path):
    """Every record, name, key and the tree, byte for byte; and it can be written to."""
    copy = tmp_path / "copy.db"
    async with store.open() as log:
        await filled(log, adding)
        made = await log.backup(copy)
        assert (made.path, made.records, made.root) == (str(copy), 5, log.tree.root)
        assert made.size_bytes == copy.stat().st_size
        async with open_log(copy) as other:
            assert [one async for page in Replay(other) for one in page] == [
                one async for page in Replay(log) for one in page
            ]
            assert await other.find("web") == await log.find("web")
            assert (await other.recall("k")).position == 1
            assert await other.streams() == await log.streams()
            await other.append(adding("b", 1))
        assert log.tree.size == 5


async def test_what_is_appended_meanwhile_is_in_the_backup_wholly_or_not_at_all(store, adding, tmp_path):
    """The copy is of one moment, and its tree is the tree of that moment."""
    async with store.open() as log:
        await log.append(adding("a", 0))
        backup = asyncio.ensure_future(log.backup(tmp_path / "copy.db"))
        await anyio.lowlevel.checkpoint()
        for version in range(1, 301, 3):
            await log.append(adding("a", version, "x", "y", "z"))
        made = await backup
        assert made.records % 3 == 1
        async with open_log(tmp_path / "copy.db", read_only=True) as copy:
            kept = [one async for page in Replay(copy) for one in page]
        assert kept == list((await log.read(limit=1000)).records[: made.records])


async def test_a_backup_of_nothing_is_an_empty_log(store, tmp_path):
    """A log without records has a backup without records."""
    async with store.open() as log:
        made = await log.backup(tmp_path / "copy.db")
        assert (made.records, made.root) == (0, log.tree.root)


async def test_a_backup_never_overwrites(store, tmp_path):
    """What is there already is refused and stays as it is; so is the rest of a file that was there."""
    for name in ("copy.db", "copy.db-wal", "copy.db-journal"):
        there = tmp_path / name
        there.write_text("precious")
        async with store.open() as log:
            with pytest.raises(BadInput, match="exists already"):
                await log.backup(tmp_path / "copy.db")
        assert there.read_text() == "precious"
        there.unlink()
    assert not list(tmp_path.glob("copy*"))


async def test_a_backup_into_no_directory_is_refused(store, tmp_path):
    """The message says what to create."""
    async with store.open() as log:
        with pytest.raises(BadInput, match="create it first"):
            await log.backup(tmp_path / "nowhere" / "copy.db")
