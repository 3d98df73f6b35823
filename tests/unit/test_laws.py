"""Laws of the core that a review found missing: clocks, honest ends, exits, strict and lenient folds."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from eventvm import commands as c
from eventvm import events as e
from eventvm.errors import DefinitionRefused, IllegalEvent, StillAnswers, UnknownEvent, Unsupported
from eventvm.ledger import Entry, pair
from eventvm.lifecycle import Lifecycle, Recorded, Rules, encode
from eventvm.lifecycles import LIFECYCLES
from eventvm.observation import Clean, End, Evidence, Forced, Instant, Observation
from eventvm.record import Record
from eventvm.spec import Shape, Spec
from eventvm.tables import Arrow
from eventvm.views import Fleet, Reducer, described

SECOND = 1_000_000_000
SHAPE = Shape(1000, 1 << 30, 1 << 30)

# --- clocks -------------------------------------------------------------------------------------------


def entry(position, edge, wall, boot, boot_id):
    return Entry(
        machine="m", subject="", meter="compute", edge=edge, reason="boot", shape=SHAPE,
        at=Instant(wall, boot, boot_id), position=position, recorded_at=wall,
    )  # fmt: skip


def alternating(instants):
    edges = ("start", "stop")
    return [entry(at + 1, edges[at % 2], one.wall, one.boot, one.boot_id) for at, one in enumerate(instants)]


def counted_once(intervals):
    """Check that no interval is negative, that only the last is open, and that none overlaps another."""
    assert all(each.ns >= 0 for each in intervals)
    assert all(each.stop is not None for each in intervals[:-1]), "two are open at once"
    assert all(one.begin <= one.end <= other.begin for one, other in pairwise(intervals))


@pytest.mark.parametrize("back", [0, 50, 200, 5_000])
def test_a_clock_set_back_over_a_reboot_is_counted_once_as_of_any_instant(back):
    """Before, between and after the entries: an answer, no negative length, no overlap."""
    instants = [
        Instant(1_000, 100, "a"), Instant(1_100, 200, "a"), Instant(1_150, 250, "a"),
        Instant(1_200 - back, 10, "b"), Instant(1_250 - back, 60, "b"),
    ]  # fmt: skip
    known = alternating(instants)
    for one in instants:
        for shift in (-1_000, -30, -1, 0, 1, 30, 10_000):
            as_of = Instant(one.wall + shift, max(one.boot + shift, 0), one.boot_id)
            counted_once(list(pair(known, as_of)))


def test_what_follows_an_end_that_has_not_come_yet_has_not_come_either():
    """As of an instant, an interval is open or over; it is never open beside the one after it."""
    known = alternating([Instant(100, 10, "a"), Instant(100, 50, "a"), Instant(100, 5, "b")])
    (each,) = pair(known, Instant(300, 49, "a"))
    assert (each.stop, each.ns) == (None, 39)


TICKS = st.lists(
    st.tuples(st.integers(0, 50), st.sampled_from(["on", "back", "reboot"]), st.integers(0, 200)),
    min_size=1, max_size=9,
)  # fmt: skip


@settings(max_examples=500)
@given(TICKS, st.integers(0, 8), st.integers(-60, 60), st.integers(-200, 200))
def test_every_second_is_counted_once_as_of_every_instant_whatever_the_clocks_did(ticks, at, shift, set_by):
    """Wall clocks go back, hosts boot again, and any instant may be asked about."""
    wall, boot, boots, instants = 1_000, 100, 0, []
    for seconds, what, by in ticks:
        wall, boot = wall + seconds, boot + seconds
        wall -= by if what == "back" else 0
        boot, boots = (0, boots + 1) if what == "reboot" else (boot, boots)
        instants.append(Instant(wall, boot, str(boots)))
    one = instants[at % len(instants)]
    as_of = Instant(one.wall + set_by, max(one.boot + shift, 0), one.boot_id)
    counted_once(list(pair(alternating(instants), as_of)))


# --- how it ended -------------------------------------------------------------------------------------


CLEAN = End("graceful", Clean(7))


@pytest.mark.parametrize("lifecycle", ["vm", "hcsshim", "cell", "microvm"])
@pytest.mark.parametrize(("verified", "ended"), [(False, Forced()), (True, Clean(7))])
def test_an_exit_code_that_nobody_verified_is_not_recorded(life, lifecycle, verified, ended):
    """Its manner is kept; the code is not, for want of evidence."""
    one = life(lifecycle)
    one.create()
    one.probe = "gone"
    one.send(c.Start())
    event = one.see(Observation("gone", Evidence("shim", verified=verified), end=CLEAN))
    assert event.end == End("graceful", ended)
    assert one.machine.end.terminal_state == ("clean" if verified else "forced")


@pytest.mark.parametrize(("verified", "ended"), [(False, Forced()), (True, Clean(7))])
def test_a_death_that_a_command_finds_is_held_to_the_same_evidence(life, verified, ended):
    """A start that finds it gone first records how it ended."""
    one = life("vm")
    one.create()
    one.probe = "gone"
    one.send(c.Start())
    one.probe = Observation("gone", Evidence("shim", verified=verified), exists=True, end=CLEAN)
    one.send(c.Start())
    (exited,) = [record.event for record in one.records if isinstance(record.event, e.Exited)]
    assert exited.end.termination == ended


@pytest.mark.parametrize("lifecycle", ["cell", "hcsshim"])
def test_an_end_that_the_stop_has_told_survives_a_destroy_that_tells_none(life, lifecycle):
    """Whoever ended the process knows; a later step does not know better."""
    one = life(lifecycle)
    one.create()
    one.probe = "gone"
    one.send(c.Start())
    one.end = CLEAN
    one.send(c.Destroy())
    assert one.last.end == CLEAN


def quarantined(life):
    one = life("vm")
    one.create()
    one.probe = "gone"
    one.send(c.Start())
    one.send(c.Snapshot(snapshot="s1"))
    one.stage(c.Restore(snapshot="s1"), restore="fail")
    assert one.machine.quarantined
    return one


def test_a_living_machine_in_quarantine_has_a_way_to_its_end(life):
    """A plain destroy names what is in the way; a forced one kills it first."""
    one = quarantined(life)
    one.probe = "alive"
    one.refuses(c.Destroy(), StillAnswers)
    one.send(c.Destroy(force=True))
    assert (one.phase, one.calls) == ("destroyed", ["stop", "destroy"])


# --- importing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lifecycle", ["vm", "hcsshim", "microvm", "cell"])
def test_a_machine_that_somebody_has_to_make_cannot_be_imported(life, lifecycle):
    """A phase cannot be had for the asking where creation is an effect."""
    phase = LIFECYCLES[lifecycle].active[0]
    refused = life(lifecycle)
    with refused.untouched(), pytest.raises(Unsupported, match=phase):
        refused.create(phase=phase)


@pytest.mark.parametrize("phase", LIFECYCLES["plugin"].phases)
def test_a_plugin_is_imported_in_any_phase(life, phase):
    """Nobody has to make it: its application says where it stands."""
    one = life("plugin")
    assert one.create(phase=phase) == "fact"
    assert one.phase == phase


# --- folds --------------------------------------------------------------------------------------------


def records(life, *, unknown):
    """Give the records of a vm's life, some of them of a type that nobody here knows."""
    one = life("vm")
    one.create()
    one.probe = "gone"
    one.send(c.Start())
    one.send(c.Stop())
    made = [e.LifecycleDefined(
        at=one.now, digest=one.rules.digest, definition=msgspec.json.decode(encode(one.rules.definition)),
    )]  # fmt: skip
    stream = [Record(1, "lifecycle/vm", 1, 0, "engine", made[0], e.encode(made[0]), b"")]
    for record in one.records:
        new = e.Unknown("machine.dreamt", b"{}") if record.version in unknown else record.event
        stream.append(replace(record, stream="m1", event=new, position=record.position + 1))
    return stream


def test_a_strict_fold_stops_at_an_unknown_first_event(life):
    """It names the type and its position, also where a machine should begin."""
    definition, unknown, *_ = records(life, unknown={1})
    fleet = Fleet()
    fleet.apply(definition)
    with pytest.raises(UnknownEvent) as stopped:
        fleet.apply(unknown)
    assert (stopped.value.tag, stopped.value.position) == ("machine.dreamt", unknown.position)


def test_a_reducer_ignores_a_stream_that_begins_with_what_it_does_not_know(life):
    """Nothing in it can be judged; its cursor moves all the same, and no machine is made up."""
    stream, reducer = records(life, unknown={1}), Reducer()
    assert [reducer.apply(record) for record in stream] == ["applied"] + ["ignored"] * (len(stream) - 1)
    assert (reducer.cursor, reducer.fleet.machines) == (stream[-1].position, {})


def test_a_reducer_ignores_what_no_longer_fits_after_something_unknown(life):
    """Without the start, which it could not read, the stop of a created machine fits nowhere."""
    stream, reducer = records(life, unknown={4}), Reducer()
    told = [reducer.apply(record) for record in stream]
    tags = ["definition", *(type(record.event).__name__ for record in stream[1:])]
    assert told[tags.index("Unknown")] == told[tags.index("Stopped")] == "ignored"
    assert reducer.fleet.machines["m1"].phase == "created"


def test_a_reducer_passes_any_number_of_unknown_events_in_one_stream(life):
    """The second is no worse than the first."""
    stream, reducer = records(life, unknown={3, 4, 5}), Reducer()
    told = [reducer.apply(record) for record in stream]
    assert told[4:7] == ["ignored"] * 3
    assert reducer.cursor == stream[-1].position


def test_a_reducer_does_not_excuse_what_never_fitted(life):
    """An illegal event in a stream without anything unknown is damage, not the future."""
    stream, reducer = records(life, unknown=()), Reducer()
    del stream[3:5]
    with pytest.raises(IllegalEvent):
        [reducer.apply(record) for record in stream]


def test_a_fold_believes_a_recorded_definition_that_today_would_refuse():
    """History never depends on today's code, and that is the check of definitions as well."""
    fields = msgspec.structs.asdict(LIFECYCLES["vm"])
    running = {**fields["arrows"]["running"], "machine.dreamt": Arrow("nowhere")}
    recorded = Recorded(**{**fields, "arrows": {**fields["arrows"], "running": running}})
    with pytest.raises(DefinitionRefused):
        Lifecycle(**msgspec.structs.asdict(recorded))
    definition = msgspec.json.decode(encode(recorded))
    told = e.LifecycleDefined(at=Instant(1, 1, "a"), digest="odd", definition=definition)
    fleet = Fleet()
    assert fleet.apply(Record(1, "lifecycle/vm", 1, 0, "", told, b"", b"")) == "applied"
    assert fleet.definitions["odd"].definition == Rules(recorded).definition


# --- what people read ---------------------------------------------------------------------------------


def test_a_description_of_a_machine_in_error_says_what_to_do_next(life):
    """The fault, the commands that it takes, and that a look comes first."""
    one = life("vm", Spec(provider="simulated"))
    one.create()
    one.probe = "gone"
    one.stage(c.Start(), start="fail")
    seen = Observation("gone", Evidence("probe"), detail="no process")
    told = described(one.machine, one.now, seen)
    assert (told["phase"], told["next"]) == ("error", "reconcile")
    assert told["reason"] == "start broke"
    assert {"start", "stop", "destroy", "attest"} <= set(told["takes"])
    assert not {"create", "snapshot", "pause"} & set(told["takes"])
    assert told["observation"]["detail"] == "no process"
