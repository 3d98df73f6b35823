"""The past: a machine as it was at an instant, by what the log knew."""

import msgspec
import pytest
from msgspec.structs import replace

from eventvm import commands as c
from eventvm import events
from eventvm.errors import NoSuchMachine
from eventvm.explanation import account, advice, explained, order
from eventvm.lifecycle import Rules, encode
from eventvm.lifecycles import LIFECYCLES
from eventvm.machine import blank
from eventvm.observation import Evidence, Instant, Observation
from eventvm.past import Naming, Past, Pasts, periods
from eventvm.record import Record
from eventvm.spec import Spec
from eventvm.times import exactly

SECOND = 1_000_000_000


def past(life, at=None, known=None):
    """Fold what a life has recorded, cut at an instant and at a position."""
    made = Past(blank(life.machine.id, life.rules), at)
    for record in life.records[:known]:
        made.apply(record)
    return made


def late(life):
    """A machine that died ten seconds after its start, and was found dead after a snapshot was taken."""
    one = life("vm")
    one.create()
    one.tick(10)
    one.probe = "gone"
    one.send(c.Start())
    died = one.tick(10)
    one.tick(5)
    one.send(c.Snapshot("s"))
    one.tick(100)
    one.see(Observation("gone", Evidence("probe", verified=True, when=died)))
    return one, died


def test_without_an_instant_it_is_the_machine_of_the_fold(life):
    """In every field."""
    one, _ = late(life)
    assert past(one).machine == one.machine == past(one).folded


def test_late_news_counts_from_when_it_was_so(life):
    """Asked for a moment between the death and its discovery, the machine was down."""
    one, died = late(life)
    assert past(one, died.wall - 1).machine.phase == "running"
    assert past(one, died.wall).machine.phase == "stopped"
    assert past(one, died.wall + SECOND).machine.phase == "stopped"


def test_what_was_not_known_yet_is_left_out(life):
    """Before the discovery everybody believed that it was running."""
    one, died = late(life)
    before = len(one.records) - 1
    assert past(one, died.wall + SECOND, before).machine.phase == "running"


def test_what_followed_a_change_of_phase_later_is_left_out(life):
    """The snapshot was taken after the instant, the start before."""
    one = life("vm")
    one.create()
    one.probe = "gone"
    one.send(c.Start())
    then = one.tick(5)
    one.tick(5)
    one.send(c.Snapshot("s"))
    assert past(one, then.wall).machine.snapshots == {}
    assert list(past(one).machine.snapshots) == ["s"]


def test_what_comes_after_something_later_is_later_too(life):
    """The wall was put back by an hour after a stop: the start that follows does not come before the stop."""
    one = life("vm")
    one.create()
    one.probe = "gone"
    one.send(c.Start())
    then = one.tick(600)
    one.tick(60)
    one.send(c.Stop())
    one.set_wall(-3600)
    one.send(c.Start())
    assert one.now.wall < then.wall
    assert past(one, then.wall).machine.generation == 3
    assert past(one, then.wall).machine.phase == "running"
    assert [change.to for change in past(one, then.wall).changes] == ["creating", "created", "running"]


def test_before_its_first_record_there_is_no_machine(life):
    """Not even a name."""
    one, _ = late(life)
    before = past(one, one.records[0].event.at.wall - 1)
    assert not before.was
    assert before.held == {}


def test_it_tells_which_records_brought_it_there(life):
    """Its phase, its last request, and the last sight of it."""
    one, _ = late(life)
    made = past(one)
    assert events.TAGS[type(made.came.event)] == "machine.exited"
    assert made.seen is made.came
    assert made.asked.event.command.verb == "snapshot"


def test_labels_are_told_with_the_time_that_they_were_so(life):
    """Each from its change on, the first from ever."""
    one = life("vm", Spec(labels={"team": "a"}))
    one.create()
    changed = one.tick(10)
    one.send(c.Amend(labels={"team": "b"}))
    told = list(periods(past(one).labelled))
    assert told == [(None, changed.wall, {"team": "a"}), (changed.wall, None, {"team": "b"})]


def test_labels_follow_each_other_though_the_clock_was_put_back(life):
    """No time has two of them, and none lies before it began."""
    one = life("vm", Spec(labels={"team": "a"}))
    one.create()
    changed = one.tick(10).wall
    one.send(c.Amend(labels={"team": "b"}))
    one.set_wall(-3600)
    one.send(c.Amend(labels={"team": "c"}))
    told = [(begin, end) for begin, end, _ in periods(past(one).labelled)]
    assert told == [(None, changed), (changed, changed), (changed, None)]


# --- fleets ---------------------------------------------------------------------------------------------


DIGEST = Rules(LIFECYCLES["vm"]).digest
DEFINED = events.LifecycleDefined(
    at=Instant(0, 0, "b"), digest=DIGEST, definition=msgspec.json.decode(encode(LIFECYCLES["vm"]))
)


def fleet(*told, at=None):
    """Fold records of several machines, one after the other."""
    pasts, versions = Pasts(at), {}
    for position, (stream, event) in enumerate([("lifecycle/vm", DEFINED), *told], start=1):
        versions[stream] = versions.get(stream, 0) + 1
        body = events.encode(event)
        pasts.apply(Record(position, stream, versions[stream], event.at.wall, "me", event, body, b""))
    return pasts


def second(count):
    return Instant(count * SECOND, count * SECOND, "b")


def born(count, stream, name):
    asked = {"effect": "create", "host": "h", "owner": "o", "deadline": 1}
    return stream, events.Requested(at=second(count), command=c.Create(name, DIGEST), **asked)


def renamed(count, stream, name):
    return stream, events.Renamed(at=second(count), name=name)


HANDED_OVER = [born(1, "m1", "pool-7"), renamed(10, "m1", "api-1"), born(20, "m2", "pool-7")]


@pytest.mark.parametrize(
    ("name", "then", "stream"),
    [("pool-7", 5, "m1"), ("pool-7", 15, "m1"), ("pool-7", 25, "m2"), ("api-1", 15, "m1"),
     ("api-1", 25, "m1")],
)  # fmt: skip
def test_a_name_leads_to_who_held_it_then(name, then, stream):
    """Else to whoever held it last by then."""
    assert fleet(*HANDED_OVER, at=then * SECOND).named(name).machine.id == stream


@pytest.mark.parametrize(("name", "then"), [("api-1", 5), ("never", 25), ("pool-7", 0)])
def test_a_name_that_nobody_had_by_then_leads_nowhere(name, then):
    """It is an error of its own."""
    with pytest.raises(NoSuchMachine):
        fleet(*HANDED_OVER, at=then * SECOND).named(name)


def test_an_id_that_is_not_there_yet_leads_nowhere():
    """Though its records are in the log."""
    pasts = fleet(*HANDED_OVER, at=15 * SECOND)
    assert pasts.known("m1").machine.name == "api-1"
    assert [one.machine.id for one in pasts] == ["m1"]
    with pytest.raises(NoSuchMachine):
        pasts.known("m2")


def test_names_are_told_record_by_record():
    """From its record on a machine is called by its new name; what is no machine is called as its stream."""
    naming, told = Naming(), []
    for position, (stream, event) in enumerate(HANDED_OVER, start=1):
        told.append(naming.name(Record(position, stream, 1, 0, "", event, b"", b"")))
    assert told == ["pool-7", "api-1", "pool-7"]
    foreign = events.LogRestored(at=Instant(0, 0, ""), origin="o")
    assert naming.name(Record(9, "log/restored", 1, 0, "", foreign, b"", b"")) == "log/restored"


# --- in words -------------------------------------------------------------------------------------------


def sentences(life, at=None):
    made = past(life, at)
    as_of = life.now if at is None else Instant(at, 0, "")
    return [(one.text, one.positions) for one in explained(made, made.ledger.until(as_of), as_of)]


def said(life, *words):
    """Find the sentence that holds all these words, and give the positions that it names."""
    found = [positions for text, positions in sentences(life) if all(word in text for word in words)]
    assert len(found) == 1, sentences(life)
    return found[0]


def test_each_change_of_phase_is_explained_with_its_record(life):
    """When, from where, by which event, and why."""
    one, _ = late(life)
    assert said(one, "it went from created to running", "machine.started") == (4,)
    assert said(one, "it went from running to stopped", "unexpected-exit") == (7,)
    assert said(one, "So it is stopped") == (7,)


def test_news_that_came_late_is_said_to_have_come_late(life):
    """Learned a hundred and five seconds after it was so."""
    one, _ = late(life)
    assert said(one, "The log learned of it", "1m 45s late") == (7,)


def test_news_that_came_in_time_is_not(life):
    """There is nothing to say of it."""
    one = life("vm")
    one.create()
    assert not [text for text, _ in sentences(one) if "learned of it" in text]


def test_what_went_wrong_is_told_apart_from_why_it_was_asked_for(life):
    """Maintenance is no fault."""
    one = life("vm")
    one.create()
    one.probe = "gone"
    one.stage(c.Start())
    one.world = {"stop": "fail"}
    one.send(c.Stop(reason="maintenance"))
    fault = account(past(one), one.now)["came_by"]["fault"]
    assert fault
    assert said(one, f"(machine.stop_failed): {fault}; what had failed was asked for, because: maintenance")


def test_what_went_wrong_is_told_once(life):
    """Where nobody had said why it was asked for."""
    one = life("vm")
    one.create()
    one.probe = "gone"
    one.world = {"start": "fail"}
    one.send(c.Start())
    fault = account(past(one), one.now)["came_by"]["fault"]
    (told,) = [text for text, _ in sentences(one) if "machine.start_failed" in text]
    assert told.endswith(f"(machine.start_failed): {fault}.")


def test_an_end_is_explained_with_its_record(life):
    """What it left behind is known, or known not to be."""
    one, _ = late(life)
    assert said(one, "Its last end: ") == (7,)
    assert account(past(one), one.now)["end"]["termination"]["kind"] == "forced"


def test_the_intervals_of_a_meter_are_told_together_and_add_up(life):
    """To the nanosecond."""
    one, _ = late(life)
    one.send(c.Start())
    one.tick(3)
    whole = sum(part.ns for part in past(one).ledger.until(one.now) if part.meter == "compute")
    told = [text for text, _ in sentences(one)]
    kinds = [text.split(":")[0] for text in told if text.startswith(("compute:", "storage:"))]
    assert kinds == ["compute"] * 3 + ["storage"]
    assert f"compute: {exactly(whole)} in all." in told


@pytest.mark.parametrize(
    ("name", "log", "written"),
    [
        ("web-1", "", "eventvm start web-1"),
        ("-web", "", "eventvm start -- -web"),
        ("web-1", "my logs/a.db", "eventvm start --log 'my logs/a.db' web-1"),
    ],
)
def test_the_next_command_runs_as_it_is_printed(life, name, log, written):
    """For the log that was named, and whatever a name begins with."""
    one = life("vm")
    one.create()
    assert order(replace(one.machine, name=name), log) == written


def test_a_move_is_printed_behind_the_name_that_it_moves(life):
    """As its verb takes it."""
    one = life("plugin", Spec())
    one.create()
    assert order(one.machine) == "eventvm transition web-1 Installing"


@pytest.mark.parametrize(
    ("ns", "words"),
    [
        (0, "0s"), (1, "0.000000001s"), (60 * SECOND, "1m"), (90_061 * SECOND + 5, "1d 1h 1m 1.000000005s"),
        (3600 * SECOND + 1, "1h 0.000000001s"),
    ],
)  # fmt: skip
def test_a_length_is_told_exactly(ns, words):
    """No part of it is left out."""
    assert exactly(ns) == words


def test_each_interval_is_explained_with_both_its_records(life):
    """And by which clock it was measured."""
    one, _ = late(life)
    assert said(one, "compute: 10s", "boot clock", "(boot)", "(stop-crash)") == (4, 7)
    assert said(one, "storage: 2m 5s", "still being counted") == (2,)


def test_a_correction_is_explained_beside_its_interval(life):
    """The entry that it moved, and itself."""
    one, _ = late(life)
    stop = one.entries[-1]
    one.send(
        c.Correct(position=stop.position, meter="compute", edge="stop", at=one.now, reason="it lived on")
    )
    assert said(one, "compute: its stop at position 7 was moved", "correction") == (7, 8)
    assert said(one, "compute: 1m 55s") == (4, 7)


def test_an_open_request_is_told_with_who_asked_and_what_is_left(life):
    """Thirty seconds, ten of which have passed; then that it is overdue."""
    one = life("vm")
    one.create()
    one.world = {"start": "unknown"}
    one.probe = "gone"
    one.send(c.Start())
    one.tick(10)
    assert said(one, "A request is open: start, asked for by alice, 20s left") == (3,)
    told = account(past(one), one.now)["request"]
    assert (told["command"], told["actor"], told["owner"], told["seconds_left"]) == (
        "start",
        "alice",
        "engine-1",
        20,
    )
    one.tick(25)
    assert said(one, "its deadline passed 5s ago") == (3,)


@pytest.mark.parametrize(
    ("stage", "next_one"),
    [("absent", ""), ("created", "start"), ("running", ""), ("stopped", "start"), ("paused", "resume"),
     ("error", "reconcile"), ("dead", "start"), ("open", "reconcile"), ("destroyed", "")],
)  # fmt: skip
def test_the_next_safe_command_destroys_nothing(life, stage, next_one):
    """It leads on, or looks where nobody knows; where all is well there is none."""
    one = life("vm", Spec(provider="simulated"))
    one.probe = "gone"
    ways = {
        "absent": [], "created": [c.Start()][:0], "running": [c.Start()], "stopped": [c.Start(), c.Stop()],
        "paused": [c.Start(), c.Pause()], "error": [c.Start()], "dead": [], "open": [],
        "destroyed": [c.Destroy()],
    }  # fmt: skip
    if stage != "absent":
        one.create()
    one.stage(*ways[stage])
    if stage == "error":
        one.world = {"stop": "fail"}
        one.send(c.Stop())
    if stage in ("open", "dead"):
        one.world = {"start": "unknown" if stage == "open" else "fail"}
        one.send(c.Start())
    assert advice(one.machine) == next_one


def test_a_machine_in_quarantine_is_to_be_restored(life):
    """What is left of it is not to be trusted."""
    one = life("vm")
    one.create()
    one.probe = "gone"
    one.stage(c.Start(), c.Snapshot("s"))
    one.world = {"restore": "fail"}
    one.send(c.Restore("s"))
    assert one.machine.quarantined
    assert (advice(one.machine), order(one.machine)) == ("restore s", "eventvm restore web-1 s")
    assert said(one, "in quarantine")


def test_a_plugin_is_led_on_by_its_own_moves(life):
    """Its application reports them."""
    one = life("plugin", Spec())
    one.create()
    assert advice(one.machine).startswith("transition ")


def test_an_account_says_how_the_phase_came_about_and_what_was_seen(life):
    """In values that every JSON reader reads right."""
    one, _ = late(life)
    one.tick(60)
    told = account(past(one), one.now)
    assert (told["came_by"]["position"], told["came_by"]["event"]) == (7, "machine.exited")
    assert told["came_by"]["at"] != told["came_by"]["recorded_at"]
    assert (told["observation"]["source"], told["observation"]["verified"]) == ("probe", True)
    assert told["observation"]["age_seconds"] == 165
    assert told["snapshots"] == {"s": "0"}
