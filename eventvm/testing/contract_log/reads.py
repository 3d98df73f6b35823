"""Laws of reading: dense positions, gapless versions, bounded pages."""

import itertools
import random

from eventvm.log import EventLog
from eventvm.record import Record
from eventvm.testing.contract import law
from eventvm.testing.contract_log.subject import LogLaws, adding, everything


class Reads(LogLaws):
    """What was read once reads the same for ever."""

    @law()
    async def test_each_record_names_the_record_of_its_stream_before_it(self) -> None:
        async with self.open() as log:
            for at in range(5):
                await log.append(adding("a", 2 * at, "x", "y"))
                await log.append(adding("b", at))

            last: dict[str, int] = {}
            for record in await everything(log):
                assert record.previous == last.get(record.stream, 0)
                last[record.stream] = record.position

    @law(limit=[1, 2, 7, 30, 31, 1000], reopened=[False, True])
    async def test_a_page_never_exceeds_its_limit_and_pages_make_up_the_whole(
        self, limit: int, reopened: bool
    ) -> None:
        async with self.open() as log:
            for at in range(15):
                await log.append(adding("a", at))
                await log.append(adding(f"other {at}", 0))
            if not reopened:
                await check_pages(log, limit)
        if reopened:
            async with self.open() as log:
                await check_pages(log, limit)

    @law()
    async def test_a_page_says_where_to_go_on_and_whether_the_log_ended(self) -> None:
        async with self.open() as log:
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

    @law()
    async def test_streams_are_listed_in_order_and_in_pages(self) -> None:
        async with self.open() as log:
            names = [f"s{at:02}" for at in range(25)]
            for name in random.sample(names, 25):
                await log.append(adding(name, 0))

            assert await log.streams() == tuple(names)
            assert await log.streams(limit=10) == tuple(names[:10])
            assert await log.streams(after="s09", limit=10) == tuple(names[10:20])
            assert await log.streams(after="s24") == ()

    @law()
    async def test_what_was_read_once_reads_the_same_for_ever(self) -> None:
        read: list[list[Record]] = []
        async with self.open() as log:
            for at in range(4):
                await log.append(adding("a", 3 * at, "x", "y", "z", key=f"k{at}", digest=bytes(32)))
                read.append(await everything(log))
        async with self.open() as log:
            await log.append(adding("a", 12))
            read.append(await everything(log))

        for earlier, later in itertools.pairwise(read):
            assert later[: len(earlier)] == earlier


async def check_pages(log: EventLog, limit: int) -> None:
    """Read thirty records and a stream of fifteen in pages of a limit."""
    whole = await everything(log, limit=limit)
    assert [record.position for record in whole] == list(range(1, 31))
    stream = await everything(log, stream="a", limit=limit)
    assert [record.version for record in stream] == list(range(1, 16))
    assert stream == [record for record in whole if record.stream == "a"]
