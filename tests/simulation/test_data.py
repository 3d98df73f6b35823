"""What an application tells with its moves, and how it reads it back as types of its own."""

import msgspec
import pytest
from msgspec import Struct

from eventvm import errors
from eventvm.events import Transitioned
from eventvm.observation import Instant
from eventvm.views import Fleet


class Job(Struct, frozen=True):
    id: int
    team: str
    priority: int = 0


class Begun(Struct, frozen=True, tag="begun"):
    by: str


class Ended(Struct, frozen=True, tag="ended"):
    code: int


async def installing(world, data=None):
    plugin = await world.engine.create("p", lifecycle="plugin")
    await plugin.transition_to("Installing", "asked for", data=data)
    return plugin


async def test_data_reads_back_as_the_type_that_it_was_told_as(world):
    """From the history, the record, the handle, an observer and a fold of the whole log: the same value."""
    heard = []
    world.engine.observe(lambda _, change: heard.append(change.data_as(Job)))
    plugin = await installing(world, Job(17, "vision", 5))
    (created, change), records = (
        await plugin.history(),
        (await world.engine.log.read(stream=plugin.id)).records,
    )
    fleet = Fleet()
    for record in (await world.engine.log.read()).records:
        fleet.apply(record)
    read = [
        change.data_as(Job), records[-1].event.data_as(Job), await plugin.data(Job),
        fleet.histories[plugin.id][-1].data_as(Job),
    ]  # fmt: skip
    assert read == [Job(17, "vision", 5)] * 4
    assert created.data_as(Job) is None
    await world.quiet()
    assert heard == [None, Job(17, "vision", 5)]


async def test_an_older_shape_reads_with_the_defaults_of_today(world):
    """A field that came later is its default; one that went is passed over; a new engine reads it too."""
    await installing(world, {"id": 17, "team": "vision", "queue": "night"})
    await world.reopen()
    plugin = await world.engine.machine("p")
    assert await plugin.data(Job) == Job(17, "vision", 0)


async def test_data_that_does_not_fit_says_where_and_why(world):
    """The error names the move, its position, the type and the field; the machine is unharmed."""
    plugin = await installing(world, {"id": "seventeen", "team": "vision"})
    (*_, change) = await plugin.history()
    with pytest.raises(errors.WrongData, match=r"the move to Installing at position 3 is no Job: .*`\$.id`"):
        change.data_as(Job)
    with pytest.raises(errors.WrongData, match="the data of the move to Installing is no Job") as wrong:
        await plugin.data(Job)
    assert isinstance(wrong.value, errors.EventvmError)
    assert "default" in wrong.value.hint
    assert plugin.phase == "Installing"


async def test_moves_that_tell_different_things_read_as_a_union(world):
    """Tagged structs find their own type."""
    plugin = await installing(world, Begun("ann"))
    await plugin.transition_to("Failed", data=Ended(3))
    told = [change.data_as(Begun | Ended) for change in await plugin.history()]
    assert told == [None, Begun("ann"), Ended(3)]


async def test_a_phase_that_no_move_has_told_of_has_no_data(world):
    """Before the first record, after a creation, after a silent move and after a force there is none."""
    assert await (await world.engine.machine("p", lifecycle="plugin")).data(Job) is None
    plugin = await installing(world)
    assert await plugin.data(Job) is None
    await plugin.transition_to("Installed", data=Job(1, "vision"))
    assert await plugin.data(Job) == Job(1, "vision")
    await plugin.force_phase("Running", "it runs, I see it")
    assert await plugin.data(Job) is None


async def test_what_is_told_in_a_phase_does_not_outlive_it_and_other_records_do_not_hide_it(world):
    """A count of attempts is no move: the data of the phase is still that of the move into it."""
    plugin = await installing(world, Job(1, "vision"))
    await plugin.advance_retry()
    assert await plugin.data(Job) == Job(1, "vision")


def test_a_told_value_is_part_of_the_event_and_of_nothing_else():
    """The typed way back adds nothing to the record: its JSON is what it was."""
    event = Transitioned(at=Instant(1, 2, "b"), to="busy", data={"id": 1})
    assert msgspec.json.decode(msgspec.json.encode(event)) == {
        "type": "machine.transitioned", "at": {"wall": 1, "boot": 2, "boot_id": "b"}, "to": "busy",
        "data": {"id": 1},
    }  # fmt: skip
