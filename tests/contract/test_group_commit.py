"""The laws of the half that all logs share, when the store below it fails."""

import asyncio
import time

import anyio
import pytest

from eventvm.errors import Closed, CommitUnknown, KeyTaken, LogUnavailable, NameTaken, StaleVersion
from eventvm.log import Replay
from eventvm.logs import group_commit
from eventvm.logs.memory import MemoryLog


class Failing(MemoryLog):
    """A memory log whose store fails when it is told to, before or after it has taken the batch."""

    problem: BaseException | None = None

    def __init__(self) -> None:
        super().__init__(clock=time.time_ns)
        self.commits = 0
        self.before_commit = lambda: None

    async def commit(self, batch):
        self.commits += 1
        self.before_commit()
        await anyio.lowlevel.checkpoint()
        if self.problem is not None:
            raise self.problem
        await super().commit(batch)


@pytest.fixture
async def failing():
    log = Failing()
    log.begin()
    yield log
    await log.close()


async def outcomes(tickets):
    return [
        type(one).__name__ for one in await asyncio.gather(*map(awaited, tickets), return_exceptions=True)
    ]


async def awaited(ticket):
    return await ticket


async def test_nobody_hears_of_a_batch_before_it_is_durable(failing, adding):
    """Not even by a refusal: who is told that a key is taken will look for its record."""
    tickets = [failing.append(adding("a", 0, key="k", claims=("web",)))]
    tickets += [failing.append(adding("a", 0)), failing.append(adding("b", 0, key="k"))]
    tickets += [failing.append(adding("c", 0, claims=("web",)))]
    heard = []
    failing.before_commit = lambda: heard.extend(ticket.settled for ticket in tickets)

    assert await outcomes(tickets) == ["tuple", "StaleVersion", "KeyTaken", "NameTaken"]
    assert heard == [False] * 4


async def test_who_would_be_refused_for_what_was_not_committed_is_not(failing, adding):
    failing.problem = LogUnavailable("no space")
    tickets = [failing.append(adding("a", 0, key="k", claims=("web",)))]
    tickets += [failing.append(adding("b", 0, key="k", claims=("web",)))]
    assert await outcomes(tickets) == ["LogUnavailable"] * 2

    failing.problem = None
    await failing.append(adding("b", 0, key="k", claims=("web",)))


async def test_a_failed_commit_moves_nothing_and_the_log_goes_on(failing, adding, everything):
    await failing.append(adding("a", 0))
    before = failing.tree.root
    failing.problem = LogUnavailable("no space")
    with pytest.raises(LogUnavailable):
        await failing.append(adding("a", 1, "x", "y", key="k", claims=("web",)))
    assert (failing.tree.root, await everything(failing)) == (before, [failing.store.records[0]])

    failing.problem = None
    await failing.append(adding("a", 1, "x", "y", key="k", claims=("web",)))
    async for _ in Replay(failing):
        pass


async def test_after_an_unknown_commit_the_log_takes_no_more(failing, adding, everything):
    await failing.append(adding("a", 0))
    waiting = asyncio.ensure_future(failing.wait(1))
    failing.problem = CommitUnknown("the disk is gone")
    tickets = [failing.append(adding("b", 0))]
    failing.before_commit = lambda: tickets.append(failing.append(adding("c", 0)))

    with pytest.raises(CommitUnknown):
        await tickets[0]
    failing.problem = None
    with pytest.raises(CommitUnknown):
        await tickets[1]
    with pytest.raises(CommitUnknown):
        await failing.append(adding("d", 0))
    await asyncio.wait({waiting})
    with pytest.raises(CommitUnknown):
        await failing.wait(1)
    assert failing.commits == 2
    assert len(await everything(failing)) == 1


@pytest.mark.parametrize("problem", [LogUnavailable("no space"), CommitUnknown("nobody knows")])
async def test_of_a_crowd_one_half_hears_that_it_is_durable_whatever_becomes_of_the_other(
    failing, adding, everything, problem
):
    """It hears while the other half is being written, and in the order of the log."""
    heard = []
    tickets = [failing.append(adding(f"s{at:03}", 0)) for at in range(2 * group_commit.CROWD)]
    half = tickets[: group_commit.CROWD]
    for ticket in tickets:
        ticket.then(lambda heard, told: heard.append(told.append.stream), heard)

    def second_fails():
        if failing.commits == 2:
            assert heard == []
            failing.problem = problem

    failing.before_commit = second_fails
    fault = type(problem).__name__
    assert await outcomes(tickets) == ["tuple"] * len(half) + [fault] * len(half)
    assert heard == sorted(heard)
    assert [record.stream for record in await everything(failing)] == heard[: len(half)]


async def test_a_bug_in_a_store_hangs_nobody_and_is_not_swallowed(adding):
    log = Failing()
    log.begin()
    log.problem = RuntimeError("a bug")
    tickets = [log.append(adding("a", 0))]
    log.before_commit = lambda: tickets.append(log.append(adding("b", 0)))
    with anyio.fail_after(60):
        assert await outcomes(tickets) == ["CommitUnknown"]
        assert await outcomes(tickets) == ["CommitUnknown", "Closed"]
    with pytest.raises(RuntimeError, match="a bug"):
        await log.close()


async def test_cancelling_whoever_closes_the_log_does_not_reach_its_writer(failing, adding):
    release = asyncio.Event()

    async def slow(batch, commit=failing.commit):
        await release.wait()
        await commit(batch)

    failing.commit = slow
    ticket = failing.append(adding("a", 0))
    closing = asyncio.create_task(failing.close())
    await anyio.wait_all_tasks_blocked()
    closing.cancel()
    await asyncio.wait({closing})
    release.set()
    assert len(await ticket) == 1


async def test_a_batch_is_bounded(failing, adding):
    most = group_commit.BATCH_RECORDS
    sizes = []

    async def counting(batch, commit=failing.commit):
        sizes.append(len(batch.records))
        await commit(batch)

    failing.commit = counting
    tickets = [failing.append(adding(f"s{at}", 0, *"abc")) for at in range(4 * most)]
    await tickets[-1]
    assert sum(sizes) == 3 * len(tickets)
    assert max(sizes) < most + 3


async def test_forgotten_heads_are_looked_up_again(failing, adding, monkeypatch):
    monkeypatch.setattr(group_commit, "HEADS", 10)
    for version in range(3):
        await asyncio.gather(*(awaited(failing.append(adding(f"s{at}", version))) for at in range(25)))
        for at in range(25):
            with pytest.raises(StaleVersion):
                await failing.append(adding(f"s{at}", version))
    async for _ in Replay(failing):
        pass


async def test_errors_tell_their_fields(failing, adding):
    await failing.append(adding("a", 0, key="k", claims=("web",)))
    for append, error, said in (
        (adding("a", 5), StaleVersion, "stream a is at version 1, not at 5"),
        (adding("b", 0, key="k"), KeyTaken, "the key 'k' is in the log already"),
        (adding("b", 0, claims=("web",)), NameTaken, "the name 'web' is held by a"),
    ):
        with pytest.raises(error, match=said):
            await failing.append(append)
    await failing.close()
    with pytest.raises(Closed, match="open it again"):
        await failing.append(adding("b", 0))
