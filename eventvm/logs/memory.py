"""A log in memory: the whole contract without a disk, for tests and for lives nobody will ask about."""

import time
from bisect import bisect_right
from collections.abc import Callable, Sequence

from eventvm import limits
from eventvm.log import PAGE, Holder, Kept
from eventvm.logs.group_commit import Batch, GroupCommit, Head, Known
from eventvm.merkle import Tree
from eventvm.record import Record


class Store:
    """What a memory log holds; it outlives the log, as a file outlives its connection."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.streams: dict[str, list[Record]] = {}
        self.holders: dict[str, Holder] = {}
        self.keys: dict[str, int] = {}
        self.kept: dict[str, Kept] = {}
        self.tree = Tree()


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
        store.records.extend(batch.records)
        for record in batch.records:
            store.streams.setdefault(record.stream, []).append(record)
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
        return tuple(sorted(name for name in self.store.streams if name > after)[:limit])

    async def keep(self, view: str, tree: Tree, parts: Sequence[bytes]) -> None:
        self.store.kept[view] = Kept(tree.copy(), tuple(parts))

    async def kept(self, view: str) -> Kept | None:
        kept = self.store.kept.get(view)
        return kept and Kept(kept.tree.copy(), kept.parts)

    async def close(self) -> None:
        await self.finish()
