"""What audits compare: two moments, two bills, and a log under a definition that it was not written under."""

import msgspec
import pytest

from eventvm import commands as c
from eventvm import events
from eventvm.audit import moments
from eventvm.audit.changes import changed, parted, rebilled
from eventvm.audit.shadow import Shadow
from eventvm.bill import Asked, parts
from eventvm.errors import BadInput
from eventvm.lifecycle import Recorded, Rules, encode
from eventvm.lifecycles import LIFECYCLES
from eventvm.logs import open_log
from eventvm.machine import blank
from eventvm.observation import Instant
from eventvm.past import Past, Pasts
from eventvm.record import Record
from eventvm.spec import Spec
from eventvm.testing import contract_log

SECOND = 1_000_000_000


def told(life, stream="m-1"):
    """The records of a life in a log of their own, after the definition that it was lived under."""
    definition = msgspec.json.decode(encode(life.rules.definition))
    defined = events.LifecycleDefined(at=life.now, digest=life.rules.digest, definition=definition)
    first = Record(1, f"lifecycle/{life.rules.name}", 1, 0, "me", defined, b"{}", b"")
    later = [
        msgspec.structs.replace(record, position=record.position + 1, stream=stream)
        for record in life.records
    ]
    return [first, *later]


def folded(records):
    pasts = Pasts()
    for record in records:
        pasts.apply(record)
    return pasts


def lived(life, *wishes, lifecycle="vm", **world):
    one = life(lifecycle, Spec(provider="simulated"))
    one.probe = "gone"
    one.create()
    one.world = world
    for wish in wishes:
        one.tick(10)
        one.send(wish)
    return one


# --- two moments ----------------------------------------------------------------------------------------


def test_what_changed_between_two_moments_is_named_field_by_field(life):
    """And nothing that did not."""
    records = told(lived(life, c.Start(), c.Amend(labels={"team": "a"})))
    one, other = folded(records[:3]), folded(records)
    assert {change.what: (change.before, change.after) for change in changed(one, other)} == {
        "phase": ("created", "running"), "generation": (2, 3), "incarnation": (0, 1), "version": (2, 5),
        "labels": ({}, {"team": "a"}), "counting": (["storage"], ["storage", "compute"]),
    }  # fmt: skip
    assert list(changed(other, folded(records))) == []


def test_a_machine_on_one_side_only_is_one_change(life):
    """Born or not there yet."""
    records = told(lived(life))
    (born,) = changed(folded(records[:1]), folded(records))
    (gone,) = changed(folded(records), folded(records[:1]))
    assert (born.before, born.after, gone.before, gone.after) == (None, "created", "created", None)


def test_an_open_request_is_a_change(life):
    """Somebody has asked for something."""
    one = lived(life, c.Start(), start="unknown")
    records = told(one)
    changes = {change.what: change.after for change in changed(folded(records[:3]), folded(records))}
    assert changes["request"] == "start"


async def test_two_logs_part_at_the_first_record_that_is_not_the_same():
    """Or where the shorter one ends; the same logs do not part."""
    async with open_log("memory:", clock=lambda: 7) as one, open_log("memory:", clock=lambda: 7) as other:
        assert await parted(one, other) == 0
        for log in (one, other):
            await log.append(contract_log.adding("a", 0, *"xyz"))
        assert await parted(one, other) == 0
        await one.append(contract_log.adding("a", 3, "v"))
        assert (await parted(one, other), await parted(other, one)) == (4, 4)
        await other.append(contract_log.adding("a", 3, "w"))
        assert await parted(one, other) == 4


# --- two bills ------------------------------------------------------------------------------------------


def shares(life, known):
    past = Past(blank(life.machine.id, life.rules))
    for record in life.records[:known]:
        past.apply(record)
    return [part.share for part in parts([past], Asked(as_of=life.now, meter="compute"))]


def test_a_changed_line_names_the_stop_that_came_to_be_known(life):
    """It ran on, as far as was known before."""
    one = lived(life, c.Start(), c.Stop())
    one.tick(5)
    size = len(one.records)
    (line,) = rebilled(shares(one, size - 1), shares(one, size), (size - 1, size))
    assert (line.before.ns, line.after.ns, line.positions) == (15 * SECOND, 10 * SECOND, (size,))
    assert list(rebilled(shares(one, size), shares(one, size), (size, size))) == []


def test_a_line_that_came_to_be_names_the_start(life):
    """In whichever order the two are given."""
    one = lived(life, c.Start())
    one.tick(5)
    size = len(one.records)
    (line,) = rebilled(shares(one, 2), shares(one, size), (2, size))
    assert (line.before, line.after.ns, line.positions) == (None, 5 * SECOND, (size,))
    (line,) = rebilled(shares(one, size), shares(one, 2), (size, 2))
    assert (line.after, line.positions) == (None, (size,))


def test_a_corrected_line_names_the_correction(life):
    """And not the entry that it moved, which was known before."""
    one = lived(life, c.Start(), c.Stop())
    size, stop = len(one.records), one.entries[-1]
    truly = Instant(stop.at.wall - SECOND, stop.at.boot - SECOND, stop.at.boot_id)
    one.send(c.Correct(position=stop.position, meter="compute", edge="stop", at=truly, reason="late"))
    (line,) = rebilled(shares(one, size), shares(one, size + 1), (size, size + 1))
    assert line.positions == (size + 1,)
    assert line.before.ns - line.after.ns == SECOND


def test_a_line_that_its_neighbour_moved_names_the_correction_of_that(life):
    """After a reboot with a clock that was behind, the second start waits for the first stop."""
    one = lived(life, c.Start())
    one.tick(100)
    one.send(c.Stop())
    one.reboot("boot-2")
    one.set_wall(-50)
    one.send(c.Start())
    one.tick(100)
    size, stop = len(one.records), [entry for entry in one.entries if entry.edge == "stop"][-1]
    truly = Instant(stop.at.wall - 60 * SECOND, stop.at.boot - 60 * SECOND, stop.at.boot_id)
    one.send(c.Correct(position=stop.position, meter="compute", edge="stop", at=truly, reason="late"))
    lines = list(rebilled(shares(one, size), shares(one, size + 1), (size, size + 1)))
    assert [line.after.ns - line.before.ns for line in lines] == [-60 * SECOND, 0]
    assert lines[1].before.begin - lines[1].after.begin == 50 * SECOND
    assert [line.positions for line in lines] == [(size + 1,), (size + 1,)]


# --- under another definition ---------------------------------------------------------------------------


def shadowed(definition, records):
    shadow = Shadow(Rules(definition))
    found = [illegal for record in records if (illegal := shadow.apply(record)) is not None]
    return found, list(shadow.stuck()), shadow.records


def altered(name, **changes):
    """A lifecycle with some of its tables changed, and not checked as a whole."""
    raw = msgspec.json.decode(encode(LIFECYCLES[name]))
    for field, alter in changes.items():
        alter(raw[field])
    return msgspec.convert(raw, type=Recorded)


@pytest.mark.parametrize("name", sorted(LIFECYCLES))
def test_the_definition_that_it_was_lived_under_forbids_nothing(life, name):
    """Whatever the lifecycle."""
    one = lived(life, lifecycle=name)
    found, stuck, records = shadowed(LIFECYCLES[name], told(one))
    assert (found, stuck, records) == ([], [], len(one.records))


def test_a_record_that_the_other_definition_forbids_is_named(life):
    """Each one of them by itself: the shadow goes on from where the machine was in truth."""
    one = lived(life, c.Start(), c.Stop(), c.Start(), c.Stop())
    definition = altered("vm", arrows=lambda arrows: arrows["running"].pop("machine.stopped"))
    found, stuck, _ = shadowed(definition, told(one))
    stops = [record.position + 1 for record in one.records if isinstance(record.event, events.Stopped)]
    assert [illegal.position for illegal in found] == stops
    assert {(illegal.phase, illegal.event, illegal.name) for illegal in found} == {
        ("running", "machine.stopped", "web-1")
    }
    assert stuck == []


def test_what_follows_a_forbidden_record_is_judged_by_itself(life):
    """One move is forbidden, and those after it are as legal as they were."""
    path = ("Installing", "Installed", "Validating", "Starting", "Running")
    one = lived(life, *map(c.Transition, path), lifecycle="plugin")
    definition = altered("plugin", moves=lambda moves: moves["Installing"].remove("Installed"))
    found, _, _ = shadowed(definition, told(one))
    assert [(illegal.phase, illegal.event) for illegal in found] == [("Installing", "machine.transitioned")]


def test_an_effect_that_is_not_there_any_more_is_named(life):
    """The request asks for it; what follows is judged without it."""
    one = lived(life, c.Start())
    asked = next(
        record for record in one.records if getattr(record.event, "effect", "") not in ("", "create")
    )
    definition = altered("vm", effects=lambda effects: effects.pop(asked.event.effect))
    found, _, _ = shadowed(definition, told(one))
    assert [(illegal.position, illegal.event) for illegal in found] == [
        (asked.position + 1, "machine.requested")
    ]


def test_a_living_machine_in_a_phase_that_is_none_is_stuck(life):
    """Wherever its records have led it."""
    one = lived(life, c.Start(), c.Pause())
    definition = altered("vm", phases=lambda phases: phases.remove("paused"))
    _, (stuck,), _ = shadowed(definition, told(one))
    assert (stuck.machine, stuck.phase, stuck.why) == ("m-1", "paused", "its phase is no phase of it")


def test_a_living_machine_that_can_only_be_destroyed_is_stuck(life):
    """A way to its end is no way on; the ended machine beside it is none's concern."""

    def nothing_but_the_end(rows):
        rows["running"] = {
            name: rows["running"][name] for name in rows["running"] if name.startswith("destroy")
        }
        rows["*"] = {}

    definition = altered("vm", rows=nothing_but_the_end)
    _, (stuck,), _ = shadowed(definition, told(lived(life, c.Start())))
    assert stuck.why == "nothing leads on that does not end it"
    assert shadowed(definition, told(lived(life, c.Destroy())))[1] == []


def test_machines_of_other_lifecycles_are_let_be(life):
    """Only those that live under the one of this name are tried."""
    assert shadowed(LIFECYCLES["plugin"], told(lived(life, c.Start())))[2] == 0


# --- moments --------------------------------------------------------------------------------------------


async def test_what_was_known_by_a_time_is_a_position():
    """The last that was recorded by then: of several at one time, all."""
    now = iter([10, 20, 20, 30, 30, 30, 40])
    async with open_log("memory:", clock=lambda: next(now)) as log:
        for version in range(7):
            await log.append(contract_log.adding("a", version))
        known = [await moments.known_by(log, wall) for wall in (9, 10, 19, 20, 29, 30, 39, 40, 99)]
    assert known == [0, 1, 1, 3, 3, 6, 6, 7, 7]


async def test_a_position_beyond_the_end_is_refused():
    """And one before the beginning too."""
    async with open_log("memory:") as log:
        await log.append(contract_log.adding("a", 0))
        assert (await moments.record_at(log, 1)).position == 1
        assert await moments.so_at(log, 1) == (await log.read()).records[0].event.at.wall
        for position in (0, 2, -1):
            with pytest.raises(BadInput, match=f"no position {position}"):
                await moments.record_at(log, position)
