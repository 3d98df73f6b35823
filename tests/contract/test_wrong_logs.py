"""Deliberately wrong logs: each law of the contract has been seen to fail on one of them."""

import asyncio

import anyio.lowlevel
import pytest
from msgspec.structs import replace
from stores import Memory

from eventvm.errors import Closed, EventvmError, LogUnavailable
from eventvm.log import Holder, Ticket
from eventvm.logs.group_commit import Head, KeyUsed
from eventvm.logs.memory import MemoryLog
from eventvm.merkle import Tree
from eventvm.testing import VirtualLoop
from eventvm.testing.contract import failures, laws
from eventvm.testing.contract_log import LogContract

# --- what it accepts


class Lenient(MemoryLog):
    """Accepts a stale writer."""

    def append(self, append):
        return super().append(
            replace(append, expected_version=len(self.store.streams.get(append.stream, ())))
        )


class Amnesiac(MemoryLog):
    """Forgets the streams when it is closed."""

    def _head(self, stream):
        return Head()


class Trusting(MemoryLog):
    """Takes any word."""

    def append(self, append):
        ticket = Ticket(append)
        self._queue.append(ticket)
        self._gathered.set()
        return ticket


class Obliging(MemoryLog):
    """Makes an event readable that is not."""

    def append(self, append):
        return super().append(
            replace(append, events=tuple(replace(one, to=str(one.to)) for one in append.events))
        )


class Solidary(MemoryLog):
    """Refuses everybody's append with one."""

    async def _checked(self, tickets):
        batch = await super()._checked(tickets)
        for verdict in batch.verdicts:
            if isinstance(verdict, EventvmError):
                raise verdict
        return batch


class Staining(MemoryLog):
    """Uses a key up before anything is written."""

    def append(self, append):
        if append.key is not None:
            self.store.keys[append.key] = 1
        return super().append(append)


# --- what it writes


class Altering(MemoryLog):
    """Writes each record in another way than it should."""

    def made(self, ticket, records):
        return tuple(map(self.altered, records, ticket.append.events))

    def altered(self, record, event):
        raise NotImplementedError

    async def _checked(self, tickets):
        batch = await super()._checked(tickets)
        batch.verdicts = [
            verdict if isinstance(verdict, EventvmError) else self.made(ticket, verdict)
            for ticket, verdict in zip(batch.members, batch.verdicts, strict=True)
        ]
        made = [verdict for verdict in batch.verdicts if isinstance(verdict, tuple)]
        batch.records = [record for records in made for record in records]
        return batch


class Repeating(Altering):
    """Gives one version twice."""

    def altered(self, record, event):
        return replace(record, version=max(1, record.version - 1))


class Rootless(Altering):
    """Does not chain the records of a stream."""

    def altered(self, record, event):
        return replace(record, previous=0)


class Hashless(Altering):
    """Hashes nothing."""

    def altered(self, record, event):
        return replace(record, leaf=bytes(32))


class Trailing(Altering):
    """Believes the clock, wherever it goes."""

    def altered(self, record, event):
        return replace(record, recorded_at=self._clock())


class Sharing(Altering):
    """Keeps the event that its giver can still change."""

    def altered(self, record, event):
        return replace(record, event=event)


class Hasty(MemoryLog):
    """Acknowledges what is not durable yet."""

    async def commit(self, batch):
        for ticket, verdict in zip(batch.members, batch.verdicts, strict=True):
            ticket.settle(verdict)
        batch.members, batch.verdicts = [], []
        await asyncio.sleep(1)  # noqa: TID251  # in virtual time
        await super().commit(batch)


class Losing(MemoryLog):
    """Loses its last record when it is closed."""

    async def close(self):
        await super().close()
        if self.store.records:
            self.store.records.pop()


class Dropping(MemoryLog):
    """Drops what is queued when it is closed."""

    async def close(self):
        self._halt(Closed("too late"))
        await super().close()


class Editing(MemoryLog):
    """Edits the first record whenever it writes another."""

    async def commit(self, batch):
        await super().commit(batch)
        self.store.records[0] = replace(self.store.records[0], actor=f"after {len(self.store.records)}")


class Halving(MemoryLog):
    """Writes half of an append that nobody awaits any more."""

    def append(self, append):
        return Awaited(super().append(append))


class Told:
    """A ticket as its holder sees it."""

    def __init__(self, ticket):
        self.ticket = ticket

    def __getattr__(self, name):
        return getattr(self.ticket, name)


class Awaited(Told):
    def __await__(self):
        try:
            return (yield from self.ticket.__await__())
        except asyncio.CancelledError:
            self.ticket.bodies = self.ticket.bodies[:1]
            raise


# --- whom it tells


class Single(MemoryLog):
    """Tells the first who awaits a ticket, and nobody else."""

    def append(self, append):
        return Once(super().append(append))


class Once(Told):
    def __await__(self):
        ticket, self.ticket = self.ticket, None
        return ticket.__await__()


class Coupled(MemoryLog):
    """Lets whoever leaves a ticket take the others along."""

    def append(self, append):
        return Common(super().append(append))


class Common(Told):
    common = None

    def __await__(self):
        self.common = self.common or asyncio.ensure_future(self.settled())
        return self.common.__await__()

    async def settled(self):
        return await self.ticket


class Uncalled(MemoryLog):
    """Never calls back."""

    def append(self, append):
        return Mute(super().append(append))


class Mute(Told):
    def then(self, callback):
        pass

    def __await__(self):
        return self.ticket.__await__()


class Deaf(MemoryLog):
    """Never wakes who waits at the end."""

    def _wake(self):
        pass


class Sleepy(MemoryLog):
    """Waits for the next record, also when there is one."""

    async def wait(self, after):
        await super().wait(self.tree.size)


class Brittle(MemoryLog):
    """Breaks when a wait is cancelled."""

    async def wait(self, after):
        try:
            await super().wait(after)
        except asyncio.CancelledError:
            self._halt(Closed("a wait was cancelled"))
            raise


class Open(MemoryLog):
    """Never closes."""

    async def close(self):
        pass


# --- what it reads


class Lavish(MemoryLog):
    """Gives all that there is on one page."""

    async def read(self, *, limit=1000, **asked):
        return await super().read(limit=1_000_000, **asked)


class Circling(MemoryLog):
    """Says that reading goes on where it began."""

    async def read(self, *, after=0, **asked):
        return replace(await super().read(after=after, **asked), position=after)


class Skipping(MemoryLog):
    """Leaves out what follows position 3."""

    async def read(self, *, after=0, **asked):
        page = await super().read(after=after, **asked)
        return replace(page, records=page.records[1:]) if after == 3 else page


class Doubling(MemoryLog):
    """Gives the first record of a page twice."""

    async def read(self, *, limit=1000, **asked):
        page = await super().read(limit=limit, **asked)
        return replace(page, records=(*page.records[:1], *page.records)[:limit])


class Giving(MemoryLog):
    """Gives each record once, whoever has got it."""

    given = 0

    async def read(self, *, stream=None, after=0, limit=1000):
        page = await super().read(stream=stream, after=max(after, self.given), limit=limit)
        self.given = page.position
        await asyncio.sleep(0)  # noqa: TID251  # where a cancellation may strike
        return page


class Unsorted(MemoryLog):
    """Lists the streams as they came."""

    async def streams(self, **asked):
        return tuple(self.store.streams)


class Hiding(MemoryLog):
    """Reads what it remembers, and not what is there."""

    async def commit(self, batch):
        await super().commit(batch)
        self.store.remembered = list(self.store.records)

    async def load(self, stream, after, limit):
        return tuple(self.store.remembered[after : after + limit])


class Anything(bytes):
    """Equal to all."""

    def __eq__(self, _):
        return True

    def __ne__(self, _):
        return False

    __hash__ = None


class Yielding(MemoryLog):
    """Calls any tree its own."""

    @property
    def tree(self):
        return Agreeing(self._tree.size, self._tree.frontier)


class Agreeing(Tree):
    root = Anything()


class Careless(MemoryLog):
    """Drops what was kept."""

    async def kept(self, view, read=bytes):
        return None


# --- names and keys


class Generous(MemoryLog):
    """Lets two hold a name."""

    def append(self, append):
        self.store.holders.clear()
        return super().append(append)


class Grasping(MemoryLog):
    """Never releases a name."""

    def append(self, append):
        return super().append(replace(append, releases=()))


class Meek(MemoryLog):
    """Lets anybody release a name."""

    def append(self, append):
        for name in append.releases:
            self.store.holders[name] = Holder("a", held=False)
        return super().append(append)


class Unreserved(MemoryLog):
    """Keeps no name free."""

    def append(self, append):
        return super().append(replace(append, reserves=()))


class Forgetful(MemoryLog):
    """Forgets every key."""

    def append(self, append):
        return super().append(replace(append, key=None))


class Offended(MemoryLog):
    """Refuses everybody's append for one key that was used before."""

    async def commit(self, batch):
        try:
            await super().commit(batch)
        except KeyUsed as used:
            raise LogUnavailable(str(used)) from used


class Muddled(MemoryLog):
    """Answers who asked last."""

    asked = ""

    async def recall(self, key):
        self.asked = key
        await anyio.lowlevel.checkpoint()
        return await super().recall(self.asked)


CAUGHT = {
    "test_a_cancelled_append_leaves_the_log_usable_and_whole": Halving,
    "test_a_cancelled_wait_harms_nobody": Brittle,
    "test_a_closed_log_says_so": Open,
    "test_a_key_is_remembered_for_ever": Forgetful,
    "test_a_name_can_be_released_and_claimed_in_one_batch": Grasping,
    "test_a_name_has_one_holder_until_it_is_released": Generous,
    "test_a_name_is_not_released_by_who_does_not_hold_it": Meek,
    "test_a_page_never_exceeds_its_limit_and_pages_make_up_the_whole": Lavish,
    "test_a_page_says_where_to_go_on_and_whether_the_log_ended": Circling,
    "test_a_record_holds_what_was_written_and_not_what_its_giver_can_still_change": Sharing,
    "test_a_refused_append_is_wholly_out": Staining,
    "test_a_refused_member_does_not_take_its_neighbours_down": Solidary,
    "test_a_reopened_log_is_the_same_log": Losing,
    "test_a_replay_gives_every_record_once_from_any_tree_on": Skipping,
    "test_a_replay_refuses_a_tree_that_the_log_does_not_continue": Yielding,
    "test_a_replay_stops_at_the_first_record_that_is_not_what_was_hashed": Hiding,
    "test_a_replay_stops_where_a_record_is_missing": Hiding,
    "test_a_reserved_name_is_kept_free_and_leads_to_nobody": Unreserved,
    "test_a_settled_ticket_can_be_awaited_many_times": Single,
    "test_a_slow_subscriber_holds_one_page_and_delays_nobody": Lavish,
    "test_a_stale_writer_is_refused_after_reopening_too": Amnesiac,
    "test_a_stale_writer_is_refused_and_nothing_is_written": Lenient,
    "test_a_subscription_can_be_cancelled_anywhere_and_gone_on_with": Giving,
    "test_a_subscription_never_misses_doubles_or_reorders": Doubling,
    "test_a_ticket_calls_back_once_whenever_it_is_asked_to": Uncalled,
    "test_a_ticket_can_be_awaited_by_many_and_left_by_some": Coupled,
    "test_a_used_key_takes_no_neighbour_down": Offended,
    "test_a_view_is_given_back_as_it_was_kept": Careless,
    "test_a_wake_up_is_not_lost_in_a_race": Sleepy,
    "test_a_word_that_a_store_could_not_tell_apart_is_refused": Trusting,
    "test_an_append_is_wholly_in": Hasty,
    "test_an_event_that_could_not_be_read_back_is_refused": Obliging,
    "test_each_record_names_the_record_of_its_stream_before_it": Rootless,
    "test_every_record_is_a_leaf_and_the_root_is_that_of_a_rebuilt_tree": Hashless,
    "test_expected_version_0_means_that_the_stream_must_not_exist": Lenient,
    "test_keys_that_are_asked_for_at_once_are_answered_each": Muddled,
    "test_of_fifty_racers_one_wins": Lenient,
    "test_of_fifty_streams_that_race_for_a_name_one_holds_it": Generous,
    "test_one_key_is_used_once_even_within_a_batch": Forgetful,
    "test_positions_are_dense_and_visible_in_order_and_versions_are_gapless": Repeating,
    "test_recorded_at_never_goes_back_when_the_clock_does": Trailing,
    "test_streams_are_listed_in_order_and_in_pages": Unsorted,
    "test_wait_returns_at_once_when_there_is_more": Sleepy,
    "test_wait_wakes_a_reader_at_the_end": Deaf,
    "test_what_is_queued_is_written_before_the_log_closes": Dropping,
    "test_what_was_read_once_reads_the_same_for_ever": Editing,
}


class Judged(Memory, LogContract):
    def loop(self):
        return VirtualLoop()


class Unguarded(Judged):
    """A store that lets its records be changed."""

    def assaults(self):
        yield self.store.records.pop


def judged(mutant):
    """Make the contract of a wrong log."""
    return type("Judged", (Judged,), {"kind": mutant})


@pytest.mark.parametrize(("law", "mutant"), CAUGHT.items(), ids=list(CAUGHT))
def test_a_wrong_log_is_caught_by_the_law_that_it_breaks(law, mutant):
    assert failures(judged(mutant), law).keys() == {law}


def test_a_store_whose_records_can_be_changed_is_caught():
    law = "test_nothing_can_be_updated_or_deleted"
    assert str(failures(Unguarded, law)[law]) == "a record can be changed"


def test_every_law_of_the_contract_has_been_seen_to_fail():
    assert set(laws(Judged)) == {*CAUGHT, "test_nothing_can_be_updated_or_deleted"}


def test_what_cannot_be_damaged_is_held_to_no_law_of_damage():
    sealed = type("Sealed", (LogContract,), {"open": Judged.open})
    assert set(laws(Judged)) - set(laws(sealed)) == {
        "test_nothing_can_be_updated_or_deleted",
        "test_a_replay_stops_at_the_first_record_that_is_not_what_was_hashed",
        "test_a_replay_stops_where_a_record_is_missing",
    }
