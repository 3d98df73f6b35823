"""Events and records: what is written reads the same, and every byte of it is bound to the tree."""

import msgspec
import pytest
from anything import values
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect
from msgspec.structs import replace

from eventvm import commands, events, record
from eventvm.errors import IllegalEvent, LogDamaged, UnknownEvent
from eventvm.machine import evolve
from eventvm.observation import Instant
from eventvm.record import Record, leaf_of

AT = Instant(1, 2, "boot-1")


@pytest.mark.parametrize("tag", events.EVENTS)
def test_what_is_encoded_decodes_to_itself(tag):
    """Every event type, with every value that its fields may take; its bytes are the same each time."""

    @given(values(inspect.type_info(events.EVENTS[tag])))
    def law(event):
        body = events.encode(event)
        read = events.decode(body)
        assert (read, type(read)) == (event, type(event))
        assert events.encode(read) == body
        assert events.decode(body.decode()) == event
        assert msgspec.json.decode(body)["type"] == tag

    law()


@pytest.mark.parametrize("kind", commands.Command.__args__, ids=lambda kind: kind.verb)
def test_every_command_survives_its_request(kind):
    """The request keeps the whole wish, so that anybody can carry it out."""

    @given(values(inspect.type_info(kind)))
    def law(command):
        asked = events.Requested(at=AT, command=command, effect="e", host="h", owner="o", deadline=1)
        assert events.decode(events.encode(asked)).command == command

    law()


def test_tags_are_unique_and_written_out():
    """A noun and a past tense, never a class name."""
    assert len(events.EVENTS) == len(events.TAGS) == len(events.Event.__args__)
    for tag in events.EVENTS:
        noun, _, verb = tag.partition(".")
        assert noun in ("machine", "ledger", "lifecycle", "log")
        assert verb.islower()


def test_every_event_tells_operators_what_it_means():
    """The docstrings are the published schema."""
    for kind in events.Event.__args__:
        assert kind.__doc__.strip().endswith("."), kind


def test_a_field_may_be_added_by_a_later_release():
    """A body with a field that this release does not know still reads."""
    body = b'{"type":"machine.paused","at":{"wall":1,"boot":2,"boot_id":"boot-1"},"mood":"calm"}'
    assert events.decode(body) == events.Paused(at=AT)


# --- unknown ------------------------------------------------------------------------------------------

STRANGE = b'{"type":"machine.levitated","at":{"wall":1,"boot":2,"boot_id":"b"},"height":7}'


@pytest.mark.parametrize("body", [STRANGE, STRANGE.decode()], ids=["bytes", "text"])
def test_an_unknown_type_reads_as_unknown_with_its_bytes(body):
    """Nothing of it is lost: a view may pass it."""
    assert events.decode(body) == events.Unknown("machine.levitated", STRANGE)


def test_a_fold_stops_at_an_unknown_type_and_names_its_position(life):
    """Never skip."""
    one = life("vm")
    one.create()
    with one.untouched(), pytest.raises(UnknownEvent, match=r"machine\.levitated.*41") as stopped:
        evolve(one.machine, events.decode(STRANGE), 41)
    assert (stopped.value.tag, stopped.value.position) == ("machine.levitated", 41)


def test_a_fold_stops_at_what_cannot_happen_and_names_its_position(life):
    """An event of a known type that its phase does not know is illegal history."""
    one = life("vm")
    one.create()
    with one.untouched(), pytest.raises(IllegalEvent, match=r"created \(position 42\)") as stopped:
        evolve(one.machine, events.Resumed(at=AT), 42)
    assert stopped.value.position == 42


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"machine.paused"}',
        b'{"type":"machine.paused","at":7}',
        b'{"type":"machine.completed","at":{"wall":1,"boot":2,"boot_id":"b"},"code":"zero"}',
        b'{"at":{"wall":1,"boot":2,"boot_id":"b"}}',
        b"{}",
        b"[]",
        b'{"type":',
        b"",
        b"\xff\xfe",
    ],
    ids=repr,
)
def test_a_body_that_no_type_allows_is_damage(body):
    """A foreign error never leaves the core: the log contradicts itself, and that has one name."""
    with pytest.raises(LogDamaged):
        events.decode(body)


# --- schema versions ----------------------------------------------------------------------------------


def test_an_older_body_is_read_through_its_upcaster(monkeypatch):
    """A body of the version before is first read as that version meant it."""
    body = b'{"type":"machine.started","at":{"wall":1,"boot":2,"boot_id":"boot-1"},"boots":3}'

    def counted(fields):
        return {**fields, "incarnation": fields["boots"]}

    monkeypatch.setitem(events.UPCASTERS, ("machine.started", 0), counted)
    assert events.decode(body, 0) == events.Started(at=AT, incarnation=3)


def test_upcasters_follow_one_another_version_by_version(monkeypatch):
    """Each knows only the next version."""
    monkeypatch.setattr(events, "SCHEMA", 4)
    monkeypatch.setitem(events.UPCASTERS, ("machine.started", 1), lambda f: {**f, "incarnation": 1})
    monkeypatch.setitem(
        events.UPCASTERS, ("machine.started", 3), lambda f: {**f, "incarnation": f["incarnation"] + 5}
    )
    body = b'{"type":"machine.started","at":{"wall":1,"boot":2,"boot_id":"boot-1"}}'
    assert events.decode(body, 1) == events.Started(at=AT, incarnation=6)


def test_an_older_body_without_an_upcaster_reads_as_it_is():
    """Most versions change most events not at all."""
    body = events.encode(events.Paused(at=AT))
    assert events.decode(body, 0) == events.Paused(at=AT)


def test_an_older_body_of_an_unknown_type_is_unknown():
    """Its version does not help."""
    assert events.decode(STRANGE, 0) == events.Unknown("machine.levitated", STRANGE)


def test_a_body_of_a_newer_version_is_unknown():
    """Though its tag looks familiar, nobody here knows what it means."""
    body = events.encode(events.Paused(at=AT))
    assert events.decode(body, events.SCHEMA + 1) == events.Unknown("machine.paused", body)


# --- the leaf -----------------------------------------------------------------------------------------

BODY = events.encode(events.Paused(at=AT))
SAMPLE = Record(
    5, "machine/1", 2, 1_700, "alice", events.Paused(at=AT), BODY, b"", key="k", digest=bytes(32), cause=3
)  # fmt: skip
CHANGED = {
    "position": 6,
    "stream": "machine/2",
    "version": 3,
    "recorded_at": 1_701,
    "actor": "bob",
    "body": BODY + b" ",
    "key": "l",
    "digest": b"\x01" * 32,
    "cause": 4,
    "schema": 2,
}
DERIVED = {"event", "leaf", "previous"}
ZERO, ONE = bytes(32), b"\x01" * 32


def test_every_field_of_a_record_is_hashed_or_follows_from_others():
    """A field that is added must say here which of the two it is."""
    assert CHANGED.keys() | DERIVED == set(Record.__struct_fields__)


@pytest.mark.parametrize("field", CHANGED)
def test_the_leaf_changes_with_every_field(field):
    """Nothing of a record can be altered without its leaf."""
    assert leaf_of(replace(SAMPLE, **{field: CHANGED[field]}), ZERO) != leaf_of(SAMPLE, ZERO)


def test_the_leaf_changes_with_the_record_before_it_in_the_stream():
    """The chain of a stream is bound into the tree."""
    assert leaf_of(SAMPLE, ONE) != leaf_of(SAMPLE, ZERO)


def test_the_leaf_does_not_depend_on_how_the_body_would_be_encoded_today():
    """It is over the stored bytes, never over a re-encoding."""
    assert leaf_of(replace(SAMPLE, event=events.Resumed(at=AT)), ZERO) == leaf_of(SAMPLE, ZERO)


NAMES = st.text(max_size=6)
RECORDS = st.builds(
    Record,
    position=st.integers(1, 3),
    stream=NAMES,
    version=st.integers(1, 3),
    recorded_at=st.integers(0, 3),
    actor=NAMES,
    event=st.just(SAMPLE.event),
    body=st.binary(max_size=6),
    leaf=st.just(b""),
    key=st.none() | st.text(min_size=1),
    digest=st.binary(max_size=6),
    cause=st.integers(0, 3),
    schema=st.integers(1, 2),
)


@given(RECORDS, RECORDS)
def test_two_records_share_a_leaf_only_if_they_are_the_same(one, other):
    """No text can move from one field into its neighbour unseen."""
    assert (leaf_of(one, ZERO) == leaf_of(other, ZERO)) == (one == other)


@given(st.text(max_size=8), st.integers(0, 8))
def test_neighbouring_texts_are_kept_apart(text, cut):
    """The same letters, divided otherwise between stream and actor, are another leaf."""
    left = leaf_of(replace(SAMPLE, stream=text[:cut], actor=text[cut:]), ZERO)
    right = leaf_of(replace(SAMPLE, stream=text, actor=""), ZERO)
    assert (left == right) == (text[cut:] == "")


def test_the_canonical_bytes_begin_with_their_format():
    """So that another format can be told apart for ever."""
    assert record.FORMAT == 1
