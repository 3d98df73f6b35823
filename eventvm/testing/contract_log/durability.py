"""Laws of what remains: reopening, the hash tree, damage, kept views."""

import itertools
import re
from collections.abc import Callable
from typing import Any

import msgspec

from eventvm.errors import LogDamaged
from eventvm.log import EventLog, Kept, Replay
from eventvm.merkle import EMPTY, ZERO, Tree, node
from eventvm.record import leaf_of
from eventvm.testing.contract import law, refused
from eventvm.testing.contract_log.subject import AT, LogLaws, adding, everything

CHANGES: tuple[dict[str, Any], ...] = (
    {"body": b'{"type":"machine.transitioned","at":[1,1,"b"],"to":"lie"}'}, {"actor": "liar"},
    {"recorded_at": 7}, {"leaf": bytes(32)}, {"cause": 3}, {"version": 9}, {"previous": 2},
)  # fmt: skip


class Told:
    """A wall clock that goes on by what it was told, and then stands still."""

    def __init__(self, *steps: int) -> None:
        self.now = AT.wall
        self._steps = itertools.chain(steps, itertools.repeat(0))

    def __call__(self) -> int:
        self.now += next(self._steps)
        return self.now


class Durability(LogLaws):
    """A reopened log is the same log, and nothing in it can be changed."""

    @law()
    async def test_a_reopened_log_is_the_same_log(self) -> None:
        async with self.open() as log:
            for at in range(20):
                await log.append(
                    adding(f"s{at % 3}", 2 * (at // 3), "über 1", "two 💾", actor="me",
                           key=f"key {at}", digest=bytes([at]) * 32, cause=at, claims=(f"name {at}",))
                )  # fmt: skip
            await log.append(adding("s0", 14, releases=("name 0",)))
            await log.keep("view", log.tree, [b"part one", b"", bytes(5000)])
            before = await inventory(log)
        for _ in range(2):
            async with self.open() as log:
                assert await inventory(log) == before

    @law(needs="assaults")
    async def test_nothing_can_be_updated_or_deleted(self) -> None:
        async with self.open() as log:
            for at in range(3):
                await log.append(adding("a", at))
            before = await everything(log)

        for assault in self.assaults():
            assert re.search(self.protests, protest(assault))

        async with self.open() as log:
            assert await everything(log) == before
            async for _ in Replay(log):
                pass

    @law()
    async def test_recorded_at_never_goes_back_when_the_clock_does(self) -> None:
        ticking = Told(5, -1000, 2, 0, -(10**15), 1, 2 * 10**15, 1)
        async with self.open(clock=ticking) as log:
            for version in range(4):
                await log.append(adding("a", version))
        async with self.open(clock=ticking) as log:
            for version in range(4, 8):
                await log.append(adding("a", version))
            times = [record.recorded_at for record in await everything(log)]

        assert times == sorted(times)
        assert times[0] == times[5] < times[6] < times[7]

    @law()
    async def test_every_record_is_a_leaf_and_the_root_is_that_of_a_rebuilt_tree(self) -> None:
        async with self.open() as log:
            assert log.tree.root == EMPTY
            leaves: list[bytes] = []
            for at in range(23):
                records = await log.append(adding(f"s{at % 4}", 2 * (at // 4), "x", "y", key=f"k{at}"))
                leaves += [record.leaf for record in records]
                assert (log.tree.size, log.tree.root) == (len(leaves), rfc6962(leaves))

            above: dict[str, bytes] = {}
            for record in await everything(log):
                assert record.leaf == leaf_of(record, above.get(record.stream, ZERO))
                above[record.stream] = record.leaf
        async with self.open() as log:
            assert (log.tree.size, log.tree.root) == (46, rfc6962(leaves))

    @law(limit=[1, 3, 1000])
    async def test_a_replay_gives_every_record_once_from_any_tree_on(self, limit: int) -> None:
        async with self.open() as log:
            trees = [log.tree.copy()]
            for at in range(8):
                await log.append(adding(f"s{at % 3}", 2 * (at // 3), "x", "y"))
                trees.append(log.tree.copy())
            whole = await everything(log)

            for tree in trees:
                replayed = [record async for page in Replay(log, tree, limit) for record in page]
                assert replayed == whole[tree.size :]

    @law(needs="tamper", position=[1, 4, 6], change=CHANGES)
    async def test_a_replay_stops_at_the_first_record_that_is_not_what_was_hashed(
        self, position: int, change: dict[str, Any]
    ) -> None:
        await written(self)
        self.tamper(position, **change)
        async with self.open() as log:
            damage = await refused(replayed(log), LogDamaged)
        assert damage.position == position

    @law(needs="lose", position=[1, 3])
    async def test_a_replay_stops_where_a_record_is_missing(self, position: int) -> None:
        await written(self)
        self.lose(position)
        async with self.open() as log:
            damage = await refused(replayed(log), LogDamaged)
            assert damage.position == position
            await refused(log.read(), LogDamaged)

    @law()
    async def test_a_replay_refuses_a_tree_that_the_log_does_not_continue(self) -> None:
        await written(self)
        async with self.open() as log:
            other = Tree()
            other.append([bytes(32)])
            await refused(replayed(log, other), LogDamaged)
            longer = log.tree.copy()
            longer.append([bytes(32)])
            await refused(replayed(log, longer), LogDamaged)

    @law()
    async def test_a_view_is_given_back_as_it_was_kept(self) -> None:
        async with self.open() as log:
            assert await log.kept("view") is None
            await log.keep("view", log.tree, [])
            assert (await whole(log, "view")).parts == ()
            await log.append(adding("a", 0, "x", "y", "z"))
            tree, parts = log.tree.copy(), [bytes([at]) * 100 * at for at in range(12)]
            await log.keep("view", tree, parts)
            await log.keep("another", tree, [b"other"])
            await log.append(adding("a", 3))
        async with self.open() as log:
            kept = await whole(log, "view")
            assert (kept.tree.size, kept.tree.root, kept.parts) == (3, tree.root, tuple(parts))
            assert (await whole(log, "another")).parts == (b"other",)
            assert [len(page) async for page in Replay(log, kept.tree)] == [1]


async def whole(log: EventLog, view: str) -> Kept:
    """Give a view that must be there."""
    kept = await log.kept(view)
    assert kept is not None, f"the view {view} is gone"
    return kept


async def inventory(log: EventLog) -> tuple[object, ...]:
    """Give all that a log holds, to be compared with what it holds after reopening."""
    kept = await whole(log, "view")
    return (
        (log.tree.size, log.tree.root, log.tree.frontier),
        [msgspec.structs.astuple(record) for record in await everything(log)],
        [await log.find(f"name {at}") for at in range(21)],
        [await log.recall(f"key {at}") for at in range(21)],
        await log.streams(),
        (kept.tree.size, kept.tree.frontier, kept.parts),
    )


def protest(assault: Callable[[], object]) -> str:
    """Try to change the log, and give what it says to that."""
    try:
        assault()
    except Exception as refusal:  # noqa: BLE001  # each store refuses in its own way
        return str(refusal)
    raise AssertionError("a record can be changed")


def rfc6962(leaves: list[bytes]) -> bytes:
    """Give the tree's root as RFC 6962 defines it, by recursion."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else EMPTY
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return node(rfc6962(leaves[:split]), rfc6962(leaves[split:]))


async def written(subject: LogLaws) -> None:
    """Write a1 b1 a2 a3 b2 a4."""
    async with subject.open() as log:
        await log.append(adding("a", 0))
        await log.append(adding("b", 0))
        await log.append(adding("a", 1, "x", "y"))
        await log.append(adding("b", 1))
        await log.append(adding("a", 3))


async def replayed(log: EventLog, tree: Tree | None = None) -> None:
    """Replay a log from a tree on, each leaf checked."""
    async for _ in Replay(log, tree, 2):
        pass
