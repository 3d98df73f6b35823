"""Laws of writing: all or nothing, stale writers and races, cancelling and closing."""

import asyncio
from typing import Any

import anyio
import anyio.lowlevel
import msgspec

from eventvm.errors import BadInput, Closed, KeyTaken, NameTaken, StaleVersion
from eventvm.events import Transitioned
from eventvm.log import Append, Holder
from eventvm.subscription import Subscription
from eventvm.testing.contract import law, refused
from eventvm.testing.contract_log.subject import AT, LogLaws, adding, everything, said

ODD: Any = object()
"""What has no bytes."""


class Appends(LogLaws):
    """An append is wholly in or wholly out."""

    @law()
    async def test_an_append_is_wholly_in(self) -> None:
        async with self.open() as log:
            records = await log.append(adding("a", 0, "one", "two", "three", actor="me", cause=0))

            assert [(r.position, r.stream, r.version, r.actor) for r in records] == [
                (1, "a", 1, "me"),
                (2, "a", 2, "me"),
                (3, "a", 3, "me"),
            ]
            assert tuple(await everything(log)) == records
            assert said(records) == ["one", "two", "three"]

    @law()
    async def test_a_refused_append_is_wholly_out(self) -> None:
        async with self.open() as log:
            await log.append(adding("a", 0))
            before = log.tree.root

            await refused(log.append(adding("a", 0, "x", "y", claims=("web",), key="k")), StaleVersion)

            assert len(await everything(log)) == log.tree.size == 1
            assert log.tree.root == before
            assert await log.find("web") is None
            assert await log.recall("k") is None

    @law()
    async def test_a_refused_member_does_not_take_its_neighbours_down(self) -> None:
        async with self.open() as log:
            await log.append(adding("held", 0, key="used", claims=("web",)))
            no_json = Append("odd", (Transitioned(at=ODD, to="x"),), 0)
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

    @law(word=["a\0b", "half \udc80"], field=["stream", "actor", "key", "claims", "releases"])
    async def test_a_word_that_a_store_could_not_tell_apart_is_refused(self, word: str, field: str) -> None:
        async with self.open() as log:
            value: Any = (word,) if field in {"claims", "releases"} else word
            append = msgspec.structs.replace(adding("a", 0), **{field: value})

            await refused(log.append(append), BadInput)

            assert log.tree.size == 0

    @law(to=[7, None, ["x"]])
    async def test_an_event_that_could_not_be_read_back_is_refused(self, to: Any) -> None:
        async with self.open() as log:
            await refused(log.append(Append("a", (Transitioned(at=AT, to=to),), 0)), BadInput)
            assert log.tree.size == 0

    @law()
    async def test_a_record_holds_what_was_written_and_not_what_its_giver_can_still_change(self) -> None:
        data: dict[str, Any] = {"list": [1, 2], "tuple": (3,)}
        async with self.open() as log:
            (record,) = await log.append(Append("a", (Transitioned(at=AT, to="x", data=data),), 0))
            data["list"].append("later")
            assert isinstance(record.event, Transitioned)
            assert record.event.data == {"list": [1, 2], "tuple": [3]}
        async with self.open() as log:
            assert await everything(log) == [record]

    @law(expected=[0, 1, 3, 99])
    async def test_a_stale_writer_is_refused_and_nothing_is_written(self, expected: int) -> None:
        async with self.open() as log:
            await log.append(adding("a", 0, "one", "two"))

            error = await refused(log.append(adding("a", expected)), StaleVersion)

            assert (error.stream, error.expected, error.actual) == ("a", expected, 2)
            assert len(await everything(log)) == 2

    @law()
    async def test_a_stale_writer_is_refused_after_reopening_too(self) -> None:
        async with self.open() as log:
            await log.append(adding("a", 0, "one", "two"))
        async with self.open() as log:
            error = await refused(log.append(adding("a", 1)), StaleVersion)
            assert (error.expected, error.actual) == (1, 2)
            await log.append(adding("a", 2))
            assert len(await everything(log)) == 3

    @law()
    async def test_expected_version_0_means_that_the_stream_must_not_exist(self) -> None:
        async with self.open() as log:
            await refused(log.append(adding("a", 1)), StaleVersion)
            await log.append(adding("a", 0))
            await refused(log.append(adding("a", 0)), StaleVersion)

    @law(at_once=[True, False])
    async def test_of_fifty_racers_one_wins(self, at_once: bool) -> None:
        async with self.open() as log:
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
            assert said(await everything(log)) == ["a@0", f"racer {won.index(True)}"]

    @law()
    async def test_a_cancelled_append_leaves_the_log_usable_and_whole(self) -> None:
        async with self.open() as log:
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

    @law()
    async def test_what_is_queued_is_written_before_the_log_closes(self) -> None:
        async with self.open() as log:
            tickets = [log.append(adding(f"s{at}", 0)) for at in range(3000)]
        assert [len(await ticket) for ticket in tickets] == [1] * 3000
        async with self.open() as log:
            assert len(await everything(log)) == 3000

    @law()
    async def test_a_closed_log_says_so(self) -> None:
        async with self.open() as log:
            await log.append(adding("a", 0))
            waiting = asyncio.create_task(log.wait(1))
            following = asyncio.ensure_future(anext(Subscription(log, after=1)))
            await anyio.wait_all_tasks_blocked()
            await log.close()
            await asyncio.wait({waiting})
            await refused(following, Closed)
            await refused(log.wait(1), Closed)
            await refused(log.append(adding("a", 1)), Closed)
