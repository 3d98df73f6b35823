"""Laws of names and keys."""

import asyncio

import anyio.lowlevel

from eventvm.errors import KeyTaken, NameTaken
from eventvm.log import Holder
from eventvm.testing.contract import law, refused
from eventvm.testing.contract_log.subject import LogLaws, adding, everything


class Names(LogLaws):
    """A name has one holder; a key is remembered for ever."""

    @law()
    async def test_a_reserved_name_is_kept_free_and_leads_to_nobody(self) -> None:
        """Law 8: nobody else may take it, nobody is found by it, and its last holder still is."""
        async with self.open() as log:
            await log.append(adding("old", 0, claims=("web",)))
            await log.append(adding("old", 1, releases=("web",)))
            await log.append(adding("new", 0, reserves=("web", "api")))
            assert await log.find("api") is None
            assert await log.find("web") == Holder("old", held=False, reserved="new")
            for other in (adding("third", 0, claims=("web",)), adding("third", 0, reserves=("api",))):
                await refused(log.append(other), NameTaken)
            await log.append(adding("new", 1, releases=("web",), claims=("api",)))
            assert await log.find("web") == Holder("old", held=False)
            assert await log.find("api") == Holder("new", held=True)
            await log.append(adding("third", 0, claims=("web",)))
            assert await log.find("web") == Holder("third", held=True)

    @law()
    async def test_a_name_has_one_holder_until_it_is_released(self) -> None:
        async with self.open() as log:
            await log.append(adding("a", 0, claims=("web",)))
            error = await refused(log.append(adding("b", 0, claims=("web",))), NameTaken)
            assert (error.name, error.holder) == ("web", "a")
            await log.append(adding("a", 1, claims=("web",)))
        async with self.open() as log:
            await refused(log.append(adding("b", 0, claims=("web",))), NameTaken)
            await log.append(adding("a", 2, releases=("web",)))
            assert await log.find("web") == Holder("a", held=False)
        async with self.open() as log:
            assert await log.find("web") == Holder("a", held=False)
            await log.append(adding("b", 0, claims=("web",)))
            assert await log.find("web") == Holder("b", held=True)
            assert await log.find("nobody") is None

    @law()
    async def test_a_name_can_be_released_and_claimed_in_one_batch(self) -> None:
        async with self.open() as log:
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

    @law()
    async def test_of_fifty_streams_that_race_for_a_name_one_holds_it(self) -> None:
        async with self.open() as log:

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

    @law()
    async def test_a_name_is_not_released_by_who_does_not_hold_it(self) -> None:
        async with self.open() as log:
            await log.append(adding("a", 0, claims=("web",)))
            await log.append(adding("b", 0, releases=("web", "never")))
            assert await log.find("web") == Holder("a", held=True)
            assert await log.find("never") is None
            await refused(log.append(adding("c", 0, claims=("web",))), NameTaken)

    @law()
    async def test_a_key_is_remembered_for_ever(self) -> None:
        async with self.open() as log:
            first, second = await log.append(adding("a", 0, "x", "y", key="k", digest=b"d" * 32))
            assert (first.key, first.digest, second.key, second.digest) == ("k", b"d" * 32, None, b"")
            assert await log.recall("k") == first
            await refused(log.append(adding("a", 2, key="k")), KeyTaken)
        async with self.open() as log:
            assert await log.recall("k") == first
            error = await refused(log.append(adding("b", 0, key="k")), KeyTaken)
            assert error.key == "k"
            assert await log.recall("other") is None

    @law()
    async def test_one_key_is_used_once_even_within_a_batch(self) -> None:
        async with self.open() as log:
            tickets = [log.append(adding(f"s{at}", 0, key="k")) for at in range(10)]
            await tickets[0]
            for ticket in tickets[1:]:
                await refused(ticket, KeyTaken)
            assert len(await everything(log)) == 1

    @law()
    async def test_a_used_key_takes_no_neighbour_down(self) -> None:
        async with self.open() as log:
            for stream in ("a", "b", "c"):
                await log.append(adding(stream, 0, key=f"made {stream}"))
            for round_ in range(1, 4):
                used = log.append(adding("a", round_, key="made b"))
                fresh = log.append(adding("b", round_, key=f"moved b {round_}"))
                plain = log.append(adding("c", round_))
                again = log.append(adding("c", round_ + 1, key=f"moved b {round_}"))
                assert (await refused(used, KeyTaken)).key == "made b"
                assert (await fresh)[0].version == (await plain)[0].version == round_ + 1
                assert (await refused(again, KeyTaken)).key == f"moved b {round_}"
                assert await log.append(adding("a", round_, key=f"moved a {round_}"))
            assert len(await everything(log)) == 3 + 3 * 3

    @law()
    async def test_keys_that_are_asked_for_at_once_are_answered_each(self) -> None:
        """Also where some who ask do not stay for the answer."""
        async with self.open() as log:
            made = {
                f"k{at}": (await log.append(adding(f"s{at}", 0, key=f"k{at}")))[0] for at in range(0, 40, 2)
            }
            asking = {key: asyncio.ensure_future(log.recall(key)) for key in (f"k{at}" for at in range(40))}
            await anyio.lowlevel.checkpoint()
            left = [asking[key] for key in ("k0", "k7", "k30") if asking[key].cancel()]
            await asyncio.wait(asking.values())
            for key, asked in asking.items():
                assert asked in left or asked.result() == made.get(key)
