"""What auditors are given: CloudEvents, foreign claims, a reducer that passes what it does not know."""

import json

import msgspec
import pytest

from eventvm import commands, events
from eventvm.audit.cloudevents import exported, imported, rfc3339
from eventvm.lifecycle import Rules, encode
from eventvm.lifecycles import LIFECYCLES
from eventvm.observation import Absent, Clean, End, Forced, Instant, Observed
from eventvm.record import Record
from eventvm.spec import Spec
from eventvm.views import Reducer, Transition

AT = Instant(1_700_000_000_123_456_789, 5, "b")
ENDS = {
    "clean": (End("graceful", Clean(7)), {"terminalState": "clean", "exitCode": 7, "manner": "graceful"}),
    "forced": (End("killed", Forced()), {"terminalState": "forced", "manner": "killed"}),
    "observed code": (End("crashed", Observed(code=3)), {"exitCode": 3, "manner": "crashed"}),
    "observed signal": (
        End("killed", Observed(signal="SIGKILL")),
        {"signal": "SIGKILL", "manner": "killed"},
    ),
    "absent": (End("lost", Absent()), {"manner": "lost"}),
}


def record(event, position=1, **fields):
    return Record(position, "m-1", position, AT.wall + 1, "me", event, events.encode(event), b"", **fields)


def destroyed(end):
    return events.Destroyed(at=AT, reason="oom", end=end, outcome="succeeded")


@pytest.mark.parametrize("end", ENDS)
def test_an_exported_end_has_only_the_keys_that_are_true(end):
    """cell row, CloudEvents: no `terminalState` where there is none, no exit code in a forced end."""
    ended, expected = ENDS[end]
    data = exported(record(destroyed(ended)), source="/eventvm/log", name="cell-1")["data"]
    told = {key: data[key] for key in ("terminalState", "exitCode", "signal", "manner") if key in data}
    assert told == expected


def test_an_exported_record_is_a_cloudevent():
    """The required attributes are there, `time` is when it was so, and the sequence sorts as text."""
    told = exported(
        record(destroyed(ENDS["forced"][0]), position=7, key="k", cause=6), source="/log", name="c"
    )
    assert told["specversion"] == "1.0"
    assert told["type"] == "dev.eventvm.machine.destroyed.v1"
    assert (told["source"], told["subject"], told["id"]) == ("/log", "c", "m-1/7")
    assert told["time"] == "2023-11-14T22:13:20.123456789Z"
    assert told["recordedtime"] == "2023-11-14T22:13:20.123456790Z"
    assert told["sequence"] == "00000000000000000007"
    assert (told["causationid"], told["correlationid"]) == ("00000000000000000006", "k")
    assert all(name.isalnum() and name.islower() and len(name) <= 20 for name in told)


def test_the_export_is_deterministic_to_the_byte():
    """Pure: the same record is the same text each time."""
    one = record(destroyed(ENDS["clean"][0]))
    texts = {json.dumps(exported(one, source="/log", name="c")) for _ in range(3)}
    assert len(texts) == 1


@pytest.mark.parametrize("wall", [0, 1, 999_999_999, -1, 253_402_300_799_999_999_999])
def test_an_instant_is_written_to_the_nanosecond(wall):
    """RFC 3339 with nine digits, also at the edges."""
    written = rfc3339(wall)
    assert written.endswith(f".{wall % 1_000_000_000:09d}Z")


@pytest.mark.parametrize("code", [0, 137, -1])
def test_a_foreign_forced_end_with_a_code_keeps_it_as_a_claim(code):
    """cell row: imported as forced, the code untrusted text and never an exit code."""
    taken = imported({"terminalState": "forced", "exitCode": code, "reason": "oom", "outcome": "failed"}, AT)
    assert taken.end.termination == Forced()
    assert str(code) in taken.claim
    assert (taken.reason, taken.outcome) == ("oom", "failed")
    assert events.decode(events.encode(taken)) == taken


def test_a_foreign_clean_end_keeps_its_code():
    """Nothing is claimed beside what is believed."""
    taken = imported({"terminalState": "clean", "exitCode": 3}, AT)
    assert (taken.end.termination, taken.claim) == (Clean(3), "")


ODD = [
    ({"terminalState": "clean"}, Forced()),
    ({"terminalState": "clean", "exitCode": True}, Forced()),
    ({"terminalState": 7, "exitCode": []}, Forced()),
    ({"exitCode": True}, Absent()),
    ({}, Absent()),
]


@pytest.mark.parametrize(("data", "expected"), ODD)
def test_whatever_a_foreign_record_says_it_becomes_a_fact_or_a_claim(data, expected):
    """Bad input never crashes the import, and never becomes a code."""
    taken = imported(data, AT)
    assert taken.end.termination == expected
    assert bool(taken.claim) == ("exitCode" in data)


@pytest.mark.parametrize("end", ENDS)
def test_an_end_survives_its_export_and_import(end):
    """What we write, we read back: manner and termination."""
    ended = ENDS[end][0]
    data = exported(record(destroyed(ended)), source="/log", name="c")["data"]
    assert imported(data, AT).end == ended


def test_what_53_bits_cannot_hold_is_exported_as_text():
    """Instants are RFC 3339 and large amounts decimal strings."""
    create = commands.Create("c", "d", Spec(memory=1 << 60))
    asked = events.Requested(at=AT, command=create, effect="create", host="h", owner="o", deadline=AT.wall)
    data = exported(record(asked), source="/log", name="c")["data"]
    assert data["command"]["spec"]["memory"] == str(1 << 60)
    assert data["deadline"] == rfc3339(AT.wall)


def lived():
    """Give a cell's life: its definition, and a record of every type that its engine writes."""
    definition = msgspec.json.decode(encode(LIFECYCLES["cell"]))
    digest = Rules(LIFECYCLES["cell"]).digest
    create = commands.Create("cell-1", digest)
    asked = {"host": "h", "owner": "o", "deadline": 1}
    fault = events.Fault("Failed", "no")
    told = [
        events.Requested(at=AT, command=create, effect="create", **asked),
        events.Created(at=AT, name="cell-1", lifecycle=digest),
        events.Requested(at=AT, command=commands.Start(), effect="boot", **asked),
        events.Started(at=AT, incarnation=1),
        events.Completed(at=AT, code=3),
        events.Unchanged(at=AT, command=commands.Start()),
        events.Requested(at=AT, command=commands.Destroy(), effect="end", **asked),
        events.Noted(at=AT, call="stop", fault=fault),
        events.DestroyFailed(at=AT, fault=fault),
        events.Attested(at=AT, liveness="gone"),
        events.Requested(at=AT, command=commands.Destroy(force=True), effect="end", **asked),
        events.Abandoned(at=AT, request=12),
        destroyed(ENDS["forced"][0]),
    ]
    defined = events.LifecycleDefined(at=AT, digest=digest, definition=definition)
    first = Record(1, "lifecycle/cell", 1, AT.wall, "me", defined, events.encode(defined), b"")
    return [first, *(record(event, position) for position, event in enumerate(told, start=2))]


def test_every_type_that_the_engine_writes_moves_the_reducer():
    """cell row: a renamed type would otherwise freeze a projection silently."""
    reducer = Reducer()
    for one in lived():
        before = reducer.fleet.machines.get(one.stream)
        assert reducer.apply(one) == "applied"
        if one.stream == "m-1":
            assert reducer.fleet.machines["m-1"] != before
    assert reducer.fleet.machines["m-1"].phase == "destroyed"


def test_an_unknown_type_is_ignored_and_the_cursor_still_advances():
    """cell row: Applied or Ignored; what follows is applied as if nothing had been there."""
    reducer = Reducer()
    told = lived()
    for one in told[:4]:
        reducer.apply(one)
    strange = Record(99, "m-1", 5, AT.wall, "me", events.Unknown("machine.sang", b"{}"), b"{}", b"")
    before = reducer.fleet.machines["m-1"]
    assert reducer.apply(strange) == "ignored"
    assert reducer.cursor == 99
    assert reducer.fleet.machines["m-1"] == before
    assert reducer.apply(told[4]) == "applied"


def test_a_transition_reads_in_json_as_the_original_wrote_it():
    """plugin row: from, to, reason, timestamp keep their names; more may follow."""
    written = msgspec.to_builtins(Transition("Running", "Failed", "it fell", 5, 9, "machine.transitioned"))
    assert list(written)[:4] == ["from", "to", "reason", "timestamp"]


def test_folding_every_record_of_a_life_again_gives_the_same_machine():
    """A fold has no memory of its own."""
    reducers = [Reducer(), Reducer()]
    for reducer in reducers:
        for one in lived():
            reducer.apply(one)
    assert reducers[0].fleet.machines == reducers[1].fleet.machines
