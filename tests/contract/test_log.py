"""The laws of eventvm.log, over every store."""

import asyncio
import itertools
import random
import traceback

import anyio
import msgspec
import pytest

from eventvm.errors import BadInput, Closed, KeyTaken, LogDamaged, NameTaken, StaleVersion
from eventvm.events import Transitioned
from eventvm.log import PAGE, Append, Holder, Replay, Ticket
from eventvm.merkle import EMPTY, ZERO, Tree, node
from eventvm.observation import Instant
from eventvm.record import leaf_of
from eventvm.subscription import Subscription

AT = Instant(1_700_000_000_000_000_000, 1_000_000_000, "boot-1")
PATIENCE = 60
"""Seconds after which a test that hangs has failed."""


async def refused(ticket: Ticket, error: type[Exception]) -> Exception:
    with pytest.raises(error) as caught:
        await ticket
    return caught.value


# --- all or nothing ------------------------------------------------------------------------------------


async def test_an_append_is_wholly_in(log, adding, everything, said):
    records = await log.append(adding("a", 0, "one", "two", "three", actor="me", cause=0))

    assert [(r.position, r.stream, r.version, r.actor) for r in records] == [
        (1, "a", 1, "me"),
        (2, "a", 2, "me"),
        (3, "a", 3, "me"),
    ]
    assert tuple(await everything(log)) == records
    assert said(records) == ["one", "two", "three"]


async def test_a_refused_append_is_wholly_out(log, adding, everything):
    await log.append(adding("a", 0))
    before = log.tree.root

    await refused(log.append(adding("a", 0, "x", "y", claims=("web",), key="k")), StaleVersion)

    assert len(await everything(log)) == log.tree.size == 1
    assert log.tree.root == before
    assert await log.find("web") is None
    assert await log.recall("k") is None


async def test_a_refused_member_does_not_take_its_neighbours_down(log, adding, everything, said):
    await log.append(adding("held", 0, key="used", claims=("web",)))
    no_json = Append("odd", (Transitioned(at=object(), to="x"),), 0)
    tickets = [
        log.append(adding("a", 0, "a1", "a2")),
        log.append(adding("held", 7)),
        log.append(adding("b", 0, "b1")),
        log.append(adding("c", 0, key="used")),
        log.append(adding("d", 0, "d1", "d2")),
        log.append(adding("e", 0, claims=("free", "web"))),
        log.append(no_json),
        log.append(adding("odd\ud800", 0)),
        log.append(adding("f", 0, "f1", claims=("free",))),
    ]
    for ticket, error in zip(
        tickets,
        (None, StaleVersion, None, KeyTaken, None, NameTaken, BadInput, BadInput, None),
        strict=True,
    ):
        await (refused(ticket, error) if error else ticket)

    stored = await everything(log)
    assert said(stored) == ["held@0", "a1", "a2", "b1", "d1", "d2", "f1"]
    assert await log.find("free") == Holder("f", held=True)
    assert [record.position for record in stored] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("word", ["a\0b", "half \udc80"])
@pytest.mark.parametrize("field", ["stream", "actor", "key", "claims", "releases"])
async def test_a_word_that_a_store_could_not_tell_apart_is_refused(log, adding, word, field):
    value = (word,) if field in {"claims", "releases"} else word
    append = msgspec.structs.replace(adding("a", 0), **{field: value})

    await refused(log.append(append), BadInput)

    assert log.tree.size == 0


@pytest.mark.parametrize("to", [7, None, ["x"]], ids=str)
async def test_an_event_that_could_not_be_read_back_is_refused(log, to):
    await refused(log.append(Append("a", (Transitioned(at=AT, to=to),), 0)), BadInput)
    assert log.tree.size == 0


async def test_a_record_holds_what_was_written_and_not_what_its_giver_can_still_change(store, everything):
    data = {"list": [1, 2], "tuple": (3,)}
    async with store.open() as log:
        (record,) = await log.append(Append("a", (Transitioned(at=AT, to="x", data=data),), 0))
        data["list"].append("later")
        assert record.event.data == {"list": [1, 2], "tuple": [3]}
    async with store.open() as log:
        assert await everything(log) == [record]


# --- stale writers and races ---------------------------------------------------------------------------


@pytest.mark.parametrize("expected", [0, 1, 3, 99])
async def test_a_stale_writer_is_refused_and_nothing_is_written(log, adding, everything, expected):
    await log.append(adding("a", 0, "one", "two"))

    error = await refused(log.append(adding("a", expected)), StaleVersion)

    assert (error.stream, error.expected, error.actual) == ("a", expected, 2)
    assert len(await everything(log)) == 2


async def test_a_stale_writer_is_refused_after_reopening_too(store, adding, everything):
    async with store.open() as log:
        await log.append(adding("a", 0, "one", "two"))
    async with store.open() as log:
        error = await refused(log.append(adding("a", 1)), StaleVersion)
        assert (error.expected, error.actual) == (1, 2)
        await log.append(adding("a", 2))
        assert len(await everything(log)) == 3


async def test_expected_version_0_means_that_the_stream_must_not_exist(log, adding):
    await refused(log.append(adding("a", 1)), StaleVersion)
    await log.append(adding("a", 0))
    await refused(log.append(adding("a", 0)), StaleVersion)


@pytest.mark.parametrize("at_once", [True, False])
async def test_of_fifty_racers_one_wins(log, adding, everything, at_once):
    await log.append(adding("a", 0))

    async def race(racer: int) -> bool:
        for _ in range(0 if at_once else racer % 7):
            await anyio.lowlevel.checkpoint()
        try:
            await log.append(adding("a", 1, f"racer {racer}"))
        except StaleVersion:
            return False
        return True

    won = await asyncio.gather(*map(race, range(50)))

    assert sum(won) == 1
    assert [r.event.to for r in await everything(log)] == ["a@0", f"racer {won.index(True)}"]


# --- order ---------------------------------------------------------------------------------------------


async def test_positions_are_dense_and_visible_in_order_and_versions_are_gapless(log, adding):
    streams, each, seen = 20, 25, []

    async def write(stream: str) -> None:
        for version in range(0, 2 * each, 2):
            await log.append(adding(stream, version, "x", "y"))

    async def follow() -> None:
        async for record in Subscription(log):
            seen.append(record)
            assert record.position <= log.tree.size or record.leaf  # a record is durable when it is seen
            if len(seen) == streams * each * 2:
                return

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            for name in range(streams):
                group.start_soon(write, f"s{name}")

    assert [record.position for record in seen] == list(range(1, 1 + streams * each * 2))
    for name in range(streams):
        versions = [record.version for record in seen if record.stream == f"s{name}"]
        assert versions == list(range(1, 1 + 2 * each))


async def test_each_record_names_the_record_of_its_stream_before_it(log, adding, everything):
    for at in range(5):
        await log.append(adding("a", 2 * at, "x", "y"))
        await log.append(adding("b", at))

    last: dict[str, int] = {}
    for record in await everything(log):
        assert record.previous == last.get(record.stream, 0)
        last[record.stream] = record.position


# --- pages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 7, 30, 31, 1000])
@pytest.mark.parametrize("reopened", [False, True])
async def test_a_page_never_exceeds_its_limit_and_pages_make_up_the_whole(
    store, adding, everything, limit, reopened
):
    async with store.open() as log:
        for at in range(15):
            await log.append(adding("a", at))
            await log.append(adding(f"other {at}", 0))
        if not reopened:
            await check_pages(log, everything, limit)
    if reopened:
        async with store.open() as log:
            await check_pages(log, everything, limit)


async def check_pages(log, everything, limit):
    whole = await everything(log, limit=limit)
    assert [record.position for record in whole] == list(range(1, 31))
    stream = await everything(log, stream="a", limit=limit)
    assert [record.version for record in stream] == list(range(1, 16))
    assert stream == [record for record in whole if record.stream == "a"]


async def test_a_page_says_where_to_go_on_and_whether_the_log_ended(log, adding):
    await log.append(adding("a", 0, "1", "2", "3"))
    await log.append(adding("b", 0))

    page = await log.read(limit=2)
    assert (len(page.records), page.position, page.end) == (2, 2, False)
    page = await log.read(after=2)
    assert (len(page.records), page.position, page.end) == (2, 4, True)
    page = await log.read(after=4)
    assert (page.records, page.position, page.end) == ((), 4, True)
    page = await log.read(after=9)
    assert (page.records, page.position, page.end) == ((), 9, True)

    page = await log.read(stream="a", limit=2)
    assert (len(page.records), page.position, page.end) == (2, 2, False)
    page = await log.read(stream="a", after=2)
    assert (len(page.records), page.position, page.end) == (1, 4, True)
    page = await log.read(stream="nobody")
    assert (page.records, page.position, page.end) == ((), 4, True)


async def test_streams_are_listed_in_order_and_in_pages(log, adding):
    names = [f"s{at:02}" for at in range(25)]
    for name in random.sample(names, 25):
        await log.append(adding(name, 0))

    assert await log.streams() == tuple(names)
    assert await log.streams(limit=10) == tuple(names[:10])
    assert await log.streams(after="s09", limit=10) == tuple(names[10:20])
    assert await log.streams(after="s24") == ()


async def test_what_was_read_once_reads_the_same_for_ever(store, adding, everything):
    read: list[list] = []
    async with store.open() as log:
        for at in range(4):
            await log.append(adding("a", 3 * at, "x", "y", "z", key=f"k{at}", digest=bytes(32)))
            read.append(await everything(log))
    async with store.open() as log:
        await log.append(adding("a", 12))
        read.append(await everything(log))

    for earlier, later in itertools.pairwise(read):
        assert later[: len(earlier)] == earlier


# --- waiting -------------------------------------------------------------------------------------------


async def test_wait_returns_at_once_when_there_is_more(log, adding):
    await log.append(adding("a", 0))
    with anyio.fail_after(PATIENCE):
        await log.wait(0)


async def test_wait_wakes_a_reader_at_the_end(log, adding):
    woken = []

    async def read() -> None:
        await log.wait(0)
        woken.append((await log.read()).records)

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            assert not woken
            records = await log.append(adding("a", 0))

    assert woken == [records] * 10


async def test_a_wake_up_is_not_lost_in_a_race(log, adding):
    """A reader that asks again and again, at every distance from the commits, always comes to the end."""

    async def follow(patience: int) -> None:
        after = 0
        while after < 100:
            page = await log.read(after=after, limit=3)
            after = page.position
            for _ in range(patience):
                await anyio.lowlevel.checkpoint()
            if not page.records:
                await log.wait(after)

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            for patience in range(12):
                group.start_soon(follow, patience)
            for version in range(100):
                await log.append(adding("a", version))


async def test_a_cancelled_wait_harms_nobody(log, adding):
    async with anyio.create_task_group() as group:
        group.start_soon(log.wait, 0)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    with anyio.fail_after(PATIENCE):
        await log.append(adding("a", 0))
        await log.wait(0)


# --- cancelling and closing ----------------------------------------------------------------------------


async def test_a_cancelled_append_leaves_the_log_usable_and_whole(log, adding, everything, said):
    for ticks in range(30):

        async def append(ticks: int = ticks) -> None:
            await log.append(adding(f"s{ticks}", 0, f"{ticks} a", f"{ticks} b"))

        task = asyncio.create_task(append())
        for _ in range(ticks):
            await anyio.lowlevel.checkpoint()
        task.cancel()
        await asyncio.wait({task})
        await log.append(adding("after", ticks, f"after {ticks}"))

    stored = said(await everything(log))
    for ticks in range(30):
        assert stored.count(f"after {ticks}") == 1
        assert (stored.count(f"{ticks} a"), stored.count(f"{ticks} b")) in {(0, 0), (1, 1)}


async def test_what_is_queued_is_written_before_the_log_closes(store, adding, everything):
    async with store.open() as log:
        tickets = [log.append(adding(f"s{at}", 0)) for at in range(3000)]
    assert [len(await ticket) for ticket in tickets] == [1] * 3000
    async with store.open() as log:
        assert len(await everything(log)) == 3000


async def test_a_closed_log_says_so(store, adding):
    async with store.open() as log:
        await log.append(adding("a", 0))
        waiting = asyncio.create_task(log.wait(1))
        following = asyncio.ensure_future(anext(Subscription(log, after=1)))
        await anyio.wait_all_tasks_blocked()
        await log.close()
        with anyio.fail_after(PATIENCE):
            await asyncio.wait({waiting})
            with pytest.raises(Closed):
                await following
            with pytest.raises(Closed):
                await log.wait(1)
        await refused(log.append(adding("a", 1)), Closed)


# --- tickets -------------------------------------------------------------------------------------------


async def test_a_settled_ticket_can_be_awaited_many_times(log, adding):
    ticket = log.append(adding("a", 0, "x", "y"))
    first = await ticket
    assert await ticket == await ticket == first
    assert await asyncio.gather(*(one_of(ticket) for _ in range(10))) == [first] * 10

    stale = log.append(adding("a", 0))
    errors = [await refused(stale, StaleVersion) for _ in range(30)]
    assert len({id(error) for error in errors}) == 1
    assert len(list(traceback.walk_tb(errors[0].__traceback__))) < 6, "a refusal grows with each who hears it"


@pytest.mark.parametrize("ticks", range(6))
async def test_a_ticket_can_be_awaited_by_many_and_left_by_some(log, adding, ticks):
    ticket = log.append(adding("a", 0))
    tasks = [asyncio.create_task(one_of(ticket)) for _ in range(10)]
    for _ in range(ticks):
        await anyio.lowlevel.checkpoint()
    left = [task.cancel() for task in tasks[::2]]
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert [isinstance(result, asyncio.CancelledError) for result in results[::2]] == left
    assert all(result == ticket.records for result in results[1::2])


async def test_a_ticket_calls_back_once_whenever_it_is_asked_to(log, adding):
    called = []
    early = log.append(adding("a", 0))
    early.then(called.append)
    late = log.append(adding("b", 0))
    await late
    late.then(called.append)
    assert called == [early, late]


async def one_of(ticket: Ticket):
    return await ticket


# --- reopening -----------------------------------------------------------------------------------------


async def test_a_reopened_log_is_the_same_log(store, adding, everything):
    async with store.open() as log:
        for at in range(20):
            await log.append(
                adding(f"s{at % 3}", 2 * (at // 3), "über 1", "two 💾", actor="me",
                       key=f"key {at}", digest=bytes([at]) * 32, cause=at, claims=(f"name {at}",))
            )  # fmt: skip
        await log.append(adding("s0", 14, releases=("name 0",)))
        await log.keep("view", log.tree, [b"part one", b"", bytes(5000)])
        before = await inventory(log, everything)
    for _ in range(2):
        async with store.open() as log:
            assert await inventory(log, everything) == before


async def inventory(log, everything):
    kept = await log.kept("view")
    return (
        (log.tree.size, log.tree.root, log.tree.frontier),
        [msgspec.structs.astuple(record) for record in await everything(log)],
        [await log.find(f"name {at}") for at in range(21)],
        [await log.recall(f"key {at}") for at in range(21)],
        await log.streams(),
        (kept.tree.size, kept.tree.frontier, kept.parts),
    )


async def test_nothing_can_be_updated_or_deleted(store, adding, everything):
    async with store.open() as log:
        for at in range(3):
            await log.append(adding("a", at))
        before = await everything(log)

    for assault in store.assaults():
        with pytest.raises(Exception, match=r"never|immutable|moved on|read-only"):
            assault()

    async with store.open() as log:
        assert await everything(log) == before
        async for _ in Replay(log):
            pass


async def test_recorded_at_never_goes_back_when_the_clock_does(store, adding, everything, ticking):
    ticking.steps = iter([5, -1000, 2, 0, -(10**15), 1, 2 * 10**15, 1])
    async with store.open(clock=ticking) as log:
        for version in range(4):
            await log.append(adding("a", version))
    async with store.open(clock=ticking) as log:
        for version in range(4, 8):
            await log.append(adding("a", version))
        times = [record.recorded_at for record in await everything(log)]

    assert times == sorted(times)
    assert times[0] == times[5] < times[6] < times[7]


# --- names and keys ------------------------------------------------------------------------------------


async def test_a_name_has_one_holder_until_it_is_released(store, adding):
    async with store.open() as log:
        await log.append(adding("a", 0, claims=("web",)))
        error = await refused(log.append(adding("b", 0, claims=("web",))), NameTaken)
        assert (error.name, error.holder) == ("web", "a")
        await log.append(adding("a", 1, claims=("web",)))
    async with store.open() as log:
        await refused(log.append(adding("b", 0, claims=("web",))), NameTaken)
        await log.append(adding("a", 2, releases=("web",)))
        assert await log.find("web") == Holder("a", held=False)
    async with store.open() as log:
        assert await log.find("web") == Holder("a", held=False)
        await log.append(adding("b", 0, claims=("web",)))
        assert await log.find("web") == Holder("b", held=True)
        assert await log.find("nobody") is None


async def test_a_name_can_be_released_and_claimed_in_one_batch(log, adding):
    await log.append(adding("a", 0, claims=("web",)))
    tickets = [
        log.append(adding("a", 1, releases=("web",), claims=("api",))),
        log.append(adding("b", 0, claims=("web",))),
        log.append(adding("c", 0, claims=("web",))),
    ]
    await tickets[0]
    await tickets[1]
    await refused(tickets[2], NameTaken)
    assert await log.find("web") == Holder("b", held=True)
    assert await log.find("api") == Holder("a", held=True)


async def test_of_fifty_streams_that_race_for_a_name_one_holds_it(log, adding):
    async def race(racer: int) -> bool:
        for _ in range(racer % 5):
            await anyio.lowlevel.checkpoint()
        try:
            await log.append(adding(f"s{racer}", 0, claims=("web",)))
        except NameTaken:
            return False
        return True

    won = await asyncio.gather(*map(race, range(50)))
    assert sum(won) == 1
    assert await log.find("web") == Holder(f"s{won.index(True)}", held=True)
    assert log.tree.size == 1


async def test_a_name_is_not_released_by_who_does_not_hold_it(store, adding):
    async with store.open() as log:
        await log.append(adding("a", 0, claims=("web",)))
        await log.append(adding("b", 0, releases=("web", "never")))
        assert await log.find("web") == Holder("a", held=True)
        assert await log.find("never") is None
        await refused(log.append(adding("c", 0, claims=("web",))), NameTaken)


async def test_a_key_is_remembered_for_ever(store, adding):
    async with store.open() as log:
        first, *_ = await log.append(adding("a", 0, "x", "y", key="k", digest=b"d" * 32))
        assert (first.key, first.digest, _[0].key, _[0].digest) == ("k", b"d" * 32, None, b"")
        assert await log.recall("k") == first
        await refused(log.append(adding("a", 2, key="k")), KeyTaken)
    async with store.open() as log:
        assert await log.recall("k") == first
        error = await refused(log.append(adding("b", 0, key="k")), KeyTaken)
        assert error.key == "k"
        assert await log.recall("other") is None


async def test_one_key_is_used_once_even_within_a_batch(log, adding, everything):
    tickets = [log.append(adding(f"s{at}", 0, key="k")) for at in range(10)]
    await tickets[0]
    for ticket in tickets[1:]:
        await refused(ticket, KeyTaken)
    assert len(await everything(log)) == 1


# --- the tree ------------------------------------------------------------------------------------------


def rfc6962(leaves: list[bytes]) -> bytes:
    """The tree's root as RFC 6962 defines it, by recursion."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else EMPTY
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return node(rfc6962(leaves[:split]), rfc6962(leaves[split:]))


async def test_every_record_is_a_leaf_and_the_root_is_that_of_a_rebuilt_tree(store, adding, everything):
    async with store.open() as log:
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
    async with store.open() as log:
        assert (log.tree.size, log.tree.root) == (46, rfc6962(leaves))


@pytest.mark.parametrize("limit", [1, 3, 1000])
async def test_a_replay_gives_every_record_once_from_any_tree_on(store, adding, everything, limit):
    async with store.open() as log:
        trees = [log.tree.copy()]
        for at in range(8):
            await log.append(adding(f"s{at % 3}", 2 * (at // 3), "x", "y"))
            trees.append(log.tree.copy())
        whole = await everything(log)

        for tree in trees:
            replayed = [record async for page in Replay(log, tree, limit) for record in page]
            assert replayed == whole[tree.size :]


@pytest.mark.parametrize(
    "change",
    [{"body": b'{"type":"machine.transitioned","at":[1,1,"b"],"to":"lie"}'}, {"actor": "liar"},
     {"recorded_at": 7}, {"leaf": bytes(32)}, {"cause": 3}, {"version": 9}, {"previous": 2}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
@pytest.mark.parametrize("position", [1, 4, 6])
async def test_a_replay_stops_at_the_first_record_that_is_not_what_was_hashed(
    store, adding, position, change
):
    await written(store, adding)
    store.tamper(position, **change)
    async with store.open() as log:
        with pytest.raises(LogDamaged) as caught:
            await replayed(log)
    assert caught.value.position == position


@pytest.mark.parametrize("position", [1, 3])
async def test_a_replay_stops_where_a_record_is_missing(store, adding, position):
    await written(store, adding)
    store.lose(position)
    async with store.open() as log:
        with pytest.raises(LogDamaged) as caught:
            await replayed(log)
        assert caught.value.position == position
        with pytest.raises(LogDamaged):
            await log.read()


async def test_a_replay_refuses_a_tree_that_the_log_does_not_continue(store, adding):
    await written(store, adding)
    async with store.open() as log:
        other = Tree()
        other.append([bytes(32)])
        with pytest.raises(LogDamaged):
            await replayed(log, other)
        longer = log.tree.copy()
        longer.append([bytes(32)])
        with pytest.raises(LogDamaged):
            await replayed(log, longer)


async def written(store, adding) -> None:
    """Write a1 b1 a2 a3 b2 a4."""
    async with store.open() as log:
        await log.append(adding("a", 0))
        await log.append(adding("b", 0))
        await log.append(adding("a", 1, "x", "y"))
        await log.append(adding("b", 1))
        await log.append(adding("a", 3))


async def replayed(log, tree=None) -> None:
    async for _ in Replay(log, tree, 2):
        pass


# --- kept views ----------------------------------------------------------------------------------------


async def test_a_view_is_given_back_as_it_was_kept(store, adding):
    async with store.open() as log:
        assert await log.kept("view") is None
        await log.keep("view", log.tree, [])
        assert (await log.kept("view")).parts == ()
        await log.append(adding("a", 0, "x", "y", "z"))
        tree, parts = log.tree.copy(), [bytes([at]) * 100 * at for at in range(12)]
        await log.keep("view", tree, parts)
        await log.keep("another", tree, [b"other"])
        await log.append(adding("a", 3))
    async with store.open() as log:
        kept = await log.kept("view")
        assert (kept.tree.size, kept.tree.root, kept.parts) == (3, tree.root, tuple(parts))
        assert (await log.kept("another")).parts == (b"other",)
        assert [len(page) async for page in Replay(log, kept.tree)] == [1]


# --- subscriptions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [None, "s1"])
@pytest.mark.parametrize("after", [0, 1, 700, 1500])
async def test_a_subscription_never_misses_doubles_or_reorders(store, adding, everything, stream, after):
    """It catches up with 1,500 records while another 500 are being written, and then goes on live."""
    async with store.open() as log:
        for at in range(15):
            await log.append(adding(f"s{at % 3}", 100 * (at // 3), *map(str, range(100))))
    async with store.open() as log:
        seen = []

        async def follow() -> None:
            subscription = Subscription(log, after=after, stream=stream)
            async for record in subscription:
                assert subscription.position == record.position
                seen.append(record)
                if record.event.to == "last":
                    return

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                group.start_soon(follow)
                for at in range(500):
                    await log.append(adding(f"s{at % 3}", 500 + at // 3))
                await log.append(adding("s1", 667, "last"))
        whole = await everything(log, stream=stream)

    assert seen == [record for record in whole if record.position > after]


async def test_a_subscription_can_be_cancelled_anywhere_and_gone_on_with(log, adding):
    seen = []

    async def follow(subscription: Subscription) -> None:
        async for record in subscription:
            seen.append(record.position)  # what was seen before the cancellation counts  # noqa: PERF401  # what was seen before the cancellation counts

    after = 0
    for version in range(40):
        subscription = Subscription(log, after=after)
        task = asyncio.create_task(follow(subscription))
        ticket = log.append(adding("a", version))
        for _ in range(version):
            await anyio.lowlevel.checkpoint()
        task.cancel()
        await asyncio.wait({task})
        await ticket
        after = subscription.position
    rest = Subscription(log, after=after)
    while rest.position < 40:
        seen.append((await anext(rest)).position)

    assert seen == list(range(1, 41))


async def test_a_slow_subscriber_holds_one_page_and_delays_nobody(log, adding):
    class Counting:
        """The log, counting what it hands out."""

        handed = 0

        async def read(self, **asked):
            page = await log.read(**asked)
            self.handed += len(page.records)
            return page

        wait = log.wait

    counting, taken = Counting(), 0
    subscription = Subscription(counting)
    for at in range(12):
        await log.append(adding("a", 500 * at, *map(str, range(500))))
        taken += 1
        assert (await anext(subscription)).position == taken
        assert counting.handed - taken <= PAGE
    while taken < log.tree.size:
        taken += 1
        assert (await anext(subscription)).position == taken
        assert counting.handed - taken <= PAGE


async def test_a_reserved_name_is_kept_free_and_leads_to_nobody(log, adding):
    """Law 8: nobody else may take it, nobody is found by it, and its last holder still is."""
    await log.append(adding("old", 0, claims=("web",)))
    await log.append(adding("old", 1, releases=("web",)))
    await log.append(adding("new", 0, reserves=("web", "api")))
    assert await log.find("api") is None
    assert (await log.find("web")).stream == "old"
    for other in (adding("third", 0, claims=("web",)), adding("third", 0, reserves=("api",))):
        await refused(log.append(other), NameTaken)
    await log.append(adding("new", 1, releases=("web",), claims=("api",)))
    found = await log.find("web"), await log.find("api")
    assert [(one.stream, one.held, one.reserved) for one in found] == [("old", False, ""), ("new", True, "")]
    await log.append(adding("third", 0, claims=("web",)))
    assert (await log.find("web")).stream == "third"
