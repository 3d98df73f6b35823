"""Exports: every record written and read back to the byte, and every edit found."""

import json
from io import BytesIO

import msgspec
import pytest
from anything import values
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from eventvm import events
from eventvm.audit.forms import EXPORTED, FORMS, Scope
from eventvm.audit.taking import Others, taken
from eventvm.errors import BadExport, BadInput
from eventvm.merkle import ZERO, Tree
from eventvm.observation import Absent, Clean, Forced, Instant, Observed
from eventvm.record import Record, leaf

AT = Instant(1_700_000_000_123_456_789, 5, "b")
forms = pytest.mark.parametrize("form", FORMS)
ANY = st.sampled_from(sorted(events.EVENTS)).flatmap(
    lambda tag: values(inspect.type_info(events.EVENTS[tag]))
)


def chained(told, streams=("m-1",), key=None):
    """Records of these events in turn, each hashed after the one above it."""
    heads, records = {}, []
    for position, event in enumerate(told, start=1):
        stream = streams[position % len(streams)]
        previous, version, above = heads.get(stream, (0, 0, ZERO))
        body = events.encode(event)
        fields = {"key": key, "digest": b"d" * 32 if key else b"", "cause": position - 1, "schema": 1}
        made = leaf(position, stream, version + 1, 7 * position, "me", body, **fields, previous=above)
        records.append(
            Record(
                position, stream, version + 1, 7 * position, "me", event, body, made, previous,
                fields["key"], fields["digest"], fields["cause"], 1,
            )
        )  # fmt: skip
        heads[stream] = (position, version + 1, made)
        key = None
    return records


def written(form, records, *, whole=True, wanted=lambda _: True):
    tree = Tree()
    tree.append(record.leaf for record in records)
    made = FORMS[form](Scope("the-origin", tree.size, tree.root.hex(), whole))
    texts = [
        made.opening(),
        *(made.take(record, wanted=wanted(record)) for record in records),
        made.closing(),
    ]
    return "".join(texts).encode()


def read(data):
    return list(taken(BytesIO(data)).records())


def everything(data):
    export = taken(BytesIO(data))
    return list(export.events(AT)) if isinstance(export, Others) else list(export.records())


def refusal(data):
    with pytest.raises(BadExport) as caught:
        read(data)
    return caught.value


def moved(to):
    return events.Transitioned(at=AT, to=to)


FEW = chained([moved(f"to {at}") for at in range(6)], ("m-1", "m-2"), key="k")


# --- there and back -------------------------------------------------------------------------------------


@forms
@pytest.mark.parametrize("tag", events.EVENTS)
def test_every_record_type_is_read_back_to_the_byte(form, tag):
    """Whatever its fields hold: body, leaf, key, digest, cause, and what it follows."""

    @settings(max_examples=20)
    @given(st.lists(values(inspect.type_info(events.EVENTS[tag])), max_size=3))
    def law(told):
        records = chained(told, ("m-1", "m-2"), key="k/1")
        data = written(form, records)
        again = read(data)
        assert again == records
        assert written(form, again) == data
        assert taken(BytesIO(data)).origin == "the-origin"

    law()


@forms
def test_a_log_that_is_empty_is_exported_and_read_back(form):
    """It is the log of nothing, and not a file that was cut short."""
    assert read(written(form, [])) == []


@given(ANY)
def test_a_record_is_decoded_by_the_package_for_cloudevents(event):
    """As any reader would: with its id, time, type and data."""
    (line, last) = written("cloudevents", chained([event])).splitlines()
    told = JSONFormat().read(None, line)
    assert (told.get_id(), told.get_source()) == ("m-1/1", "/eventvm/the-origin")
    assert told.get_type() == f"dev.eventvm.{events.TAGS[type(event)]}.v1"
    assert told.get_time() is not None
    assert told.get_data() == json.loads(line)["data"]
    assert JSONFormat().read(None, last).get_type() == EXPORTED


def test_a_batch_is_one_array_of_cloudevents():
    """Each of which the package decodes."""
    batch = json.loads(written("cloudevents-batch", FEW))
    told = [JSONFormat().read(None, json.dumps(one)) for one in batch]
    assert [one.get_extension("sequence") for one in told[:-1]] == [f"{at:020d}" for at in range(1, 7)]
    assert told[-1].get_data()["records"] == 6


def test_a_batch_that_was_written_anew_is_the_same_log():
    """Whoever passed it on may have broken its lines and sorted its keys otherwise."""
    batch = json.loads(written("cloudevents-batch", FEW))
    for anew in (json.dumps(batch), json.dumps(batch, indent=4, sort_keys=True)):
        assert read(anew.encode()) == FEW


def test_names_of_attributes_are_what_cloudevents_allow():
    """Lower-case letters and digits, at most twenty, and nothing that is empty."""
    for line in written("cloudevents", FEW).splitlines():
        told = json.loads(line)
        assert all(name.isalnum() and name.islower() and len(name) <= 20 for name in told)
        assert "" not in told.values()


# --- edits ----------------------------------------------------------------------------------------------


@forms
@given(data=st.data())
@settings(max_examples=60)
def test_no_byte_can_be_changed(form, data):
    """In whatever line, to whatever else; only CloudEvents may be written otherwise, and mean the same."""
    whole = written(form, FEW)
    at = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[at]))
    edited = whole[:at] + bytes([other]) + whole[at + 1 :]
    if form == "jsonl" or not _same(whole, edited, form):
        with pytest.raises((BadExport, BadInput)):
            everything(edited)


def _same(whole, edited, form):
    try:
        if form == "cloudevents-batch":
            return json.loads(edited) == json.loads(whole)
        return [json.loads(line) for line in edited.splitlines()] == [
            json.loads(line) for line in whole.splitlines()
        ]
    except ValueError:
        return False


@pytest.mark.parametrize("form", ["cloudevents", "cloudevents-batch"])
def test_an_export_of_ours_cannot_be_passed_off_as_another_systems(form):
    """Its first record lacks what is hashed, so that all look foreign; the end says that it was whole."""
    edited = written(form, FEW).replace(b'"eventbody"', b'"otherbody"', 1)
    with pytest.raises(BadExport, match="it closes an export"):
        everything(edited)


@forms
@given(end=st.integers(0, 10_000))
@settings(max_examples=60)
def test_a_file_that_was_cut_short_is_refused(form, end):
    """Between two lines, or in the middle of one."""
    whole = written(form, FEW)
    with pytest.raises((BadExport, BadInput)):
        everything(whole[: end % len(whole.rstrip(b"\n"))])


@forms
def test_a_file_that_lost_its_last_lines_is_refused(form):
    """However many: each line by itself is what was exported."""
    lines = written(form, FEW).splitlines(keepends=True)
    for count in range(2, len(lines)):
        assert refusal(b"".join(lines[:count])).line == count + 1


LINES = {"jsonl": 0, "cloudevents": -1, "cloudevents-batch": 0}
"""What the line of position n is beyond n + 1."""


@forms
@pytest.mark.parametrize("position", [1, 3, 6])
def test_a_record_that_was_edited_is_named_by_its_line(form, position):
    """Also where the edit is no part of what is hashed."""
    lines = written(form, FEW).splitlines(keepends=True)
    at = position + LINES[form]
    lines[at] = lines[at].replace(f"to {position - 1}".encode(), b"to 9")
    assert refusal(b"".join(lines)).line == at + 1


@forms
@pytest.mark.parametrize(("edit", "beyond"), [("lost", 0), ("doubled", 1), ("swapped", 0)])
def test_a_line_that_was_lost_doubled_or_swapped_is_found(form, edit, beyond):
    """At the first line that is not the one to come."""
    lines = written(form, FEW).splitlines(keepends=True)
    at = 3 + LINES[form]
    changed = {"lost": [], "doubled": [lines[at]] * 2, "swapped": [lines[at + 1], lines[at]]}[edit]
    rest = lines[at + (2 if edit == "swapped" else 1) :]
    assert refusal(b"".join([*lines[:at], *changed, *rest])).line == at + 1 + beyond


@forms
def test_records_that_were_hashed_anew_are_not_the_log_that_was_exported(form):
    """Whoever edits a record and all the hashes after it still has the root against him."""
    last = written(form, FEW).splitlines(keepends=True)
    forged = written(form, chained([moved(f"to {at}") for at in (0, 1, 2, 3, 4, 6)], ("m-1", "m-2"), key="k"))
    ends = {"jsonl": 1, "cloudevents": 1, "cloudevents-batch": 2}[form]
    lines = forged.splitlines(keepends=True)
    if form == "jsonl":
        lines[0] = last[0]
    refused = refusal(b"".join([*lines[:-ends], *last[-ends:]]))
    assert refused.line >= 7
    assert "it closes" in str(refused)


@forms
def test_what_goes_on_after_its_end_is_refused(form):
    """A second end too."""
    whole = written(form, FEW)
    with pytest.raises(BadExport, match="goes on after its end"):
        read(whole + whole.splitlines(keepends=True)[-1])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"\n", "not what is written"),
        (b"[]", "nothing is in it"),
        (b"{}\n", "no CloudEvent"),
        (b"[1]", "not what is written"),
        (b"\xff\n", "not what is written"),
        (b'["\xff"]', "no UTF-8"),
        (b"[" * 100_000, "no JSON"),
        (b'{"a":' * 100_000 + b"\n", "not what is written"),
        (b'{"eventvm":"log"}\n', "not what is written"),
        (b"{}", "cut short"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_export_at_all_is_refused_with_its_line(data, why):
    """In one sentence."""
    with pytest.raises(BadExport, match=why) as caught:
        everything(data)
    assert caught.value.line == 1


def test_a_line_without_an_end_is_not_read_into_memory(monkeypatch):
    """What is longer than any export's line is refused."""
    monkeypatch.setattr("eventvm.audit.taking.LINE_BYTES", 1000)
    for begun in (b"x", b"[" + b" " * 10 + b'"x'):
        with pytest.raises(BadExport, match="too long"):
            list(taken(BytesIO(begun + b"x" * 200_000)).records())


def test_an_export_of_a_newer_release_is_refused():
    """It says so, and not that it was edited."""
    with pytest.raises(BadInput, match="form 2; this release reads 1"):
        taken(BytesIO(written("jsonl", FEW).replace(b'"form":1', b'"form":2')))


def test_json_lines_of_a_part_cannot_be_imported():
    """They are for reading."""
    with pytest.raises(BadInput, match="a part of a log"):
        taken(BytesIO(written("jsonl", FEW, whole=False)))


# --- of others ------------------------------------------------------------------------------------------


def foreign(**fields):
    told = {"specversion": "1.0", "id": "1", "source": "/theirs", "type": "com.example.sang"} | fields
    data = json.dumps({name: value for name, value in told.items() if value is not None}).encode()
    ((line, event),) = taken(BytesIO(data + b"\n")).events(AT)
    assert line == 1
    return event


def test_a_foreign_event_keeps_its_own_time_and_is_marked_as_imported():
    """Its time belongs to no boot of ours; what it says is kept as it was said."""
    event = foreign(time="2020-01-01T01:00:00.000000001+01:00", subject="s", data={"x": [1]}, theirs="t")
    assert event.at == Instant(1_577_836_800_000_000_001, 0, "")
    assert (event.kind, event.source, event.subject, event.data) == (
        "com.example.sang", "/theirs", "s", {"x": [1]}
    )  # fmt: skip
    assert event.extensions == {"theirs": "t"}
    assert msgspec.json.decode(events.encode(event))["type"] == "log.imported"


def test_a_foreign_event_without_a_time_is_of_now():
    """The wall's, and of no boot."""
    assert foreign().at == Instant(AT.wall, 0, "")


@pytest.mark.parametrize(
    ("data", "termination", "claim"),
    [
        ({"terminalState": "forced", "exitCode": 137, "vm": 1}, Forced(), "exitCode 137 beside 'forced'"),
        ({"terminalState": "clean", "exitCode": 3, "vm": 1}, Clean(3), ""),
        ({"exitCode": 3, "manner": "crashed", "vm": 1}, Observed(code=3), ""),
        ({"exitCode": "x", "vm": 1}, Absent(), "exitCode 'x' beside None"),
    ],
)
def test_a_foreign_forced_end_has_no_exit_code_once_it_is_imported(data, termination, claim):
    """Its code is a claim: untrusted text, and nowhere in the data."""
    event = foreign(data=data)
    assert (event.end.termination, event.claim, event.data) == (termination, claim, {"vm": 1})


@pytest.mark.parametrize(
    "fields",
    [{"specversion": "0.3"}, {"id": None}, {"id": ""}, {"source": 7}, {"type": ""}, {"time": "noon"}],
    ids=repr,
)
def test_what_is_no_cloudevent_is_refused(fields):
    """With its line."""
    with pytest.raises(BadExport, match="no CloudEvent"):
        foreign(**fields)


@pytest.mark.parametrize("form", ["cloudevents", "cloudevents-batch"])
def test_a_part_of_a_log_is_another_systems_events(form):
    """Its records cannot have the same positions, so they are taken in as what was told."""
    data = written(form, FEW, whole=False, wanted=lambda record: record.stream == "m-1")
    told = [event for _, event in taken(BytesIO(data)).events(AT)]
    assert [event.id for event in told] == ["m-1/1", "m-1/2", "m-1/3"]
    assert {event.at for event in told} == {Instant(AT.wall, 0, "")}


@pytest.mark.parametrize("line", [0, 3])
def test_a_part_that_lost_a_line_is_found_by_its_end(line):
    """The end says how many there were."""
    lines = written("cloudevents", FEW, whole=False).splitlines(keepends=True)
    del lines[line]
    with pytest.raises(BadExport, match="an export of 6 events"):
        list(taken(BytesIO(b"".join(lines))).events(AT))
