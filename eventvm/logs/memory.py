"""A log in memory: the whole contract without a disk, for tests and for lives nobody will ask about."""

import asyncio
import time
from bisect import bisect_right, insort
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eventvm import limits
from eventvm.log import PAGE, Backup, Holder, Kept
from eventvm.logs.group_commit import Batch, GroupCommit, Head, KeyUsed, Known
from eventvm.logs.part import Stopped
from eventvm.logs.sqlite import SqliteLog
from eventvm.logs.sqlite_reader import backed_up
from eventvm.merkle import Tree
from eventvm.record import Record


class Store:
    """What a memory log holds; it outlives the log, as a file outlives its connection."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.streams: dict[str, list[Record]] = {}
        self.order: list[str] = []
        """The names of all streams, sorted."""
        self.holders: dict[str, Holder] = {}
        self.keys: dict[str, int] = {}
        self.kept: dict[str, Kept] = {}
        self.tree = Tree()

    def copy(self) -> "Store":
        """Make a store that holds what this one holds by now, without the kept views."""
        made = Store()
        made.records = list(self.records)
        made.streams = {stream: list(records) for stream, records in self.streams.items()}
        made.order = list(self.order)
        made.holders, made.keys, made.tree = dict(self.holders), dict(self.keys), self.tree.copy()
        return made

    def batch(self) -> Batch:
        """Give all that it holds as one transaction of another log."""
        batch = Batch(self.tree, 0)
        batch.records = self.records
        batch.heads = {
            stream: Head(records[-1].version, records[-1].position, records[-1].leaf)
            for stream, records in self.streams.items()
        }
        batch.names, batch.keys = self.holders, self.keys
        return batch


class MemoryLog(GroupCommit):
    """A log over a Store."""

    url = "memory:"

    def __init__(self, store: Store | None = None, clock: Callable[[], int] = time.time_ns) -> None:
        super().__init__(clock)
        self.store = store or Store()
        self._tree = self.store.tree
        if self.store.records:
            self._recorded_at = self.store.records[-1].recorded_at

    async def look(self, streams: set[str], names: set[str], keys: set[str]) -> Known:
        return Known(
            {stream: self._head(stream) for stream in streams},
            {name: self.store.holders[name] for name in names if name in self.store.holders},
            keys & self.store.keys.keys(),
        )

    def _head(self, stream: str) -> Head:
        records = self.store.streams.get(stream)
        return Head(records[-1].version, records[-1].position, records[-1].leaf) if records else Head()

    async def commit(self, batch: Batch) -> None:
        store = self.store
        if not store.keys.keys().isdisjoint(batch.keys):
            raise KeyUsed
        store.records.extend(batch.records)
        for record in batch.records:
            if record.version == 1:
                store.streams[record.stream] = []
                insort(store.order, record.stream)
            store.streams[record.stream].append(record)
        store.holders.update(batch.names)
        store.keys.update(batch.keys)
        store.tree = batch.tree

    async def load(self, stream: str | None, after: int, limit: int) -> tuple[Record, ...]:
        if stream is None:
            return tuple(self.store.records[after : after + limit])
        records = self.store.streams.get(stream, [])
        begin = bisect_right(records, after, key=lambda record: record.position)
        return tuple(records[begin : begin + limit])

    async def find(self, name: str) -> Holder | None:
        holder = self.store.holders.get(name)
        return holder if holder is not None and holder.stream else None

    async def recall(self, key: str) -> Record | None:
        position = self.store.keys.get(key)
        return None if position is None else self.store.records[position - 1]

    async def streams(self, *, after: str = "", limit: int = PAGE) -> tuple[str, ...]:
        limits.page(0, limit)
        begin = bisect_right(self.store.order, after)
        return tuple(self.store.order[begin : begin + limit])

    async def keep(self, view: str, tree: Tree, parts: Sequence[bytes]) -> None:
        self.store.kept[view] = Kept(tree.copy(), tuple(parts))

    async def kept(self, view: str, read: Callable[[bytes], Any] = bytes) -> Kept | None:
        kept = self.store.kept.get(view)
        return kept and Kept(kept.tree.copy(), tuple(map(read, kept.parts)))

    async def backup(self, destination: Path) -> Backup:
        """Write what is in memory into a SQLite file, which is a log like any other."""
        batch = self.store.copy().batch()

        def write(part: Path, _: Stopped) -> None:
            asyncio.run(_fill(part, batch))

        return await backed_up(write, destination, 0o600)

    async def close(self) -> None:
        await self.finish()


async def _fill(part: Path, batch: Batch) -> None:
    log = await SqliteLog.open(part)
    try:
        await log.commit(batch)
    finally:
        await log.close()
