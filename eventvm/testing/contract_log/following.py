"""Laws of following a log: who waits is woken, who subscribes misses nothing."""

import asyncio
from typing import Any

import anyio
import anyio.lowlevel

from eventvm.log import PAGE, EventLog
from eventvm.record import Page, Record
from eventvm.subscription import Subscription
from eventvm.testing.contract import law
from eventvm.testing.contract_log.subject import LogLaws, adding, everything, mark


class Counting:
    """A log that counts what it hands out."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.wait = log.wait
        self.handed = 0

    async def read(self, **asked: Any) -> Page:
        """Read as the log does."""
        page = await self._log.read(**asked)
        self.handed += len(page.records)
        return page


class Following(LogLaws):
    """A reader at the end hears of what comes."""

    @law()
    async def test_positions_are_dense_and_visible_in_order_and_versions_are_gapless(self) -> None:
        async with self.open() as log:
            streams, each = 20, 25
            seen: list[Record] = []

            async def write(stream: str) -> None:
                for version in range(0, 2 * each, 2):
                    await log.append(adding(stream, version, "x", "y"))

            async def follow() -> None:
                async for record in Subscription(log):
                    seen.append(record)
                    assert record.position <= log.tree.size, "a record is durable when it is seen"
                    if len(seen) == streams * each * 2:
                        return

            async with anyio.create_task_group() as group:
                group.start_soon(follow)
                for name in range(streams):
                    group.start_soon(write, f"s{name}")

            assert [record.position for record in seen] == list(range(1, 1 + streams * each * 2))
            for name in range(streams):
                versions = [record.version for record in seen if record.stream == f"s{name}"]
                assert versions == list(range(1, 1 + 2 * each))

    @law()
    async def test_wait_returns_at_once_when_there_is_more(self) -> None:
        async with self.open() as log:
            await log.append(adding("a", 0))
            await log.wait(0)

    @law()
    async def test_wait_wakes_a_reader_at_the_end(self) -> None:
        async with self.open() as log:
            woken: list[tuple[Record, ...]] = []

            async def read() -> None:
                await log.wait(0)
                woken.append((await log.read()).records)

            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(read)
                await anyio.wait_all_tasks_blocked()
                assert not woken
                records = await log.append(adding("a", 0))

            assert woken == [records] * 10

    @law()
    async def test_a_wake_up_is_not_lost_in_a_race(self) -> None:
        """A reader that asks again and again, at every distance from the commits, always comes to the end."""
        async with self.open() as log:

            async def follow(patience: int) -> None:
                after = 0
                while after < 100:
                    page = await log.read(after=after, limit=3)
                    after = page.position
                    for _ in range(patience):
                        await anyio.lowlevel.checkpoint()
                    if not page.records:
                        await log.wait(after)

            async with anyio.create_task_group() as group:
                for patience in range(12):
                    group.start_soon(follow, patience)
                for version in range(100):
                    await log.append(adding("a", version))

    @law()
    async def test_a_cancelled_wait_harms_nobody(self) -> None:
        async with self.open() as log:
            async with anyio.create_task_group() as group:
                group.start_soon(log.wait, 0)
                await anyio.wait_all_tasks_blocked()
                group.cancel_scope.cancel()
            await log.append(adding("a", 0))
            await log.wait(0)

    @law(stream=[None, "s1"], after=[0, 1, 700, 1500])
    async def test_a_subscription_never_misses_doubles_or_reorders(
        self, stream: str | None, after: int
    ) -> None:
        """It catches up with 1,500 records while another 500 are being written, and then goes on live."""
        async with self.open() as log:
            for at in range(15):
                await log.append(adding(f"s{at % 3}", 100 * (at // 3), *map(str, range(100))))
        async with self.open() as log:
            seen: list[Record] = []

            async def follow() -> None:
                subscription = Subscription(log, after=after, stream=stream)
                async for record in subscription:
                    assert subscription.position == record.position
                    seen.append(record)
                    if mark(record) == "last":
                        return

            async with anyio.create_task_group() as group:
                group.start_soon(follow)
                for at in range(500):
                    await log.append(adding(f"s{at % 3}", 500 + at // 3))
                await log.append(adding("s1", 667, "last"))
            whole = await everything(log, stream=stream)

        assert seen == [record for record in whole if record.position > after]

    @law()
    async def test_a_subscription_can_be_cancelled_anywhere_and_gone_on_with(self) -> None:
        async with self.open() as log:
            seen: list[int] = []

            async def follow(subscription: Subscription) -> None:
                async for record in subscription:
                    seen.append(record.position)  # noqa: PERF401  # what was seen before the cancellation counts

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

    @law()
    async def test_a_slow_subscriber_holds_one_page_and_delays_nobody(self) -> None:
        async with self.open() as log:
            counting: Any = Counting(log)
            taken, subscription = 0, Subscription(counting)
            for at in range(12):
                await log.append(adding("a", 500 * at, *map(str, range(500))))
                taken += 1
                assert (await anext(subscription)).position == taken
                assert counting.handed - taken <= PAGE
            while taken < log.tree.size:
                taken += 1
                assert (await anext(subscription)).position == taken
                assert counting.handed - taken <= PAGE
