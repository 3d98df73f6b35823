"""Amendments: what is said of a machine beside its shape, and that it stays where nobody amends it."""

import pytest
from msgspec.structs import replace

from eventvm import commands, events, limits
from eventvm.decisions import Outcome, fact
from eventvm.errors import BadInput, NotFound
from eventvm.lifecycles import LIFECYCLES
from eventvm.spec import SAID, Spec, reshaped

SPEC = Spec(labels={"team": "a"}, restart="never", ttl_seconds=60, dev=True, disabled=True)


@pytest.fixture(params=LIFECYCLES)
def made(life, request):
    """Give a machine of each lifecycle, of which everything is said that can be said."""
    one = life(request.param, SPEC)
    one.create()
    return one


def test_an_amendment_changes_what_it_names_and_nothing_else(made):
    """It is one fact; phase, generation, meters and the rest of the spec stay."""
    before, booked = made.machine, len(made.entries)
    assert made.send(commands.Amend(labels={"team": "b", "rack": "7"}, dev=False)) == "fact"
    labels = {"team": "b", "rack": "7"}
    assert made.machine.spec == replace(before.spec, labels=labels, dev=False)
    kept = replace(made.machine, spec=before.spec, version=before.version, position=before.position)
    assert kept == before
    assert made.entries[booked:] == []
    assert made.calls == (["create"] if "create" in made.calls else [])


def test_a_label_that_is_set_to_nothing_is_taken_away(made):
    """Taking away what is not there is fulfilled already."""
    assert made.send(commands.Amend(labels={"team": None})) == "fact"
    assert made.machine.spec.labels == {}
    assert made.send(commands.Amend(labels={"team": None})) == "nothing"


@pytest.mark.parametrize(
    "wish",
    [
        commands.Amend(),
        commands.Amend(labels={"team": "a", "other": None}),
        commands.Amend(restart="never", dev=True, disabled=True),
    ],
)
def test_an_amendment_that_changes_nothing_appends_nothing(made, wish):
    """It is so already."""
    with made.untouched():
        assert made.send(wish) == "nothing"


@pytest.mark.parametrize("made", ["vm", "hcsshim", "microvm", "cell"], indirect=True)
def test_a_time_to_live_counts_from_the_amendment_on_even_when_it_is_the_same(made):
    """60 seconds more are a change each time; for ever is one only once."""
    made.tick(50)
    assert made.send(commands.Amend(ttl_seconds=60)) == "fact"
    assert made.machine.expires == made.now.after(60)
    assert made.send(commands.Amend(ttl_seconds=0)) == "fact"
    assert (made.machine.expires, made.machine.spec.ttl_seconds) == (None, 0)
    with made.untouched():
        assert made.send(commands.Amend(ttl_seconds=0)) == "nothing"


def test_a_machine_that_was_never_made_has_nothing_to_amend(life):
    """NotFound, in each lifecycle."""
    for name in LIFECYCLES:
        life(name).refuses(commands.Amend(labels={"team": "a"}), NotFound)


def test_a_machine_has_as_many_labels_as_the_limit_and_no_more(made):
    """What a former release has made of too many may still be set anew and taken away."""
    made.send(commands.Amend(labels={f"l{at}": "" for at in range(limits.LABELS - 1)}))
    assert len(made.machine.spec.labels) == limits.LABELS
    made.refuses(commands.Amend(labels={"one": "more"}), BadInput)
    assert made.send(commands.Amend(labels={"one": "more", "team": None})) == "fact"
    many = {f"l{at}": "" for at in range(limits.LABELS + 2)}
    made.append(events.Amended(at=made.now, labels=many))
    assert made.send(commands.Amend(labels={"l0": "x", "l1": None})) == "fact"


def test_a_restore_to_another_spec_keeps_what_is_said_of_the_machine(life):
    """The record holds the whole spec: the new shape, and what was said last."""
    one = life("vm", SPEC)
    one.create()
    one.probe = "gone"
    one.send(commands.Start())
    one.send(commands.Snapshot(snapshot="s1"))
    one.send(commands.Amend(labels={"team": "b"}, restart="always"))
    assert one.send(commands.Restore(snapshot="s1", spec=Spec(cpus=8, kernel="new"))) == "done"
    said = {field: getattr(one.machine.spec, field) for field in SAID}
    assert one.machine.spec == Spec(cpus=8, kernel="new", **said)
    assert (said["labels"], said["restart"], said["ttl_seconds"]) == ({"team": "b"}, "always", 60)
    assert isinstance(one.last, events.Restored)
    assert one.last.spec == one.machine.spec


def test_every_field_of_a_spec_is_said_of_the_machine_or_is_its_shape():
    """A field that an amendment can change is one that a restore keeps."""
    amendable = set(commands.Amend.__struct_fields__) - {"reason"}
    assert amendable == set(SAID)
    assert reshaped(SPEC, Spec(cpus=9)) == replace(SPEC, cpus=9)


def test_what_was_amended_while_it_was_being_made_is_not_lost_when_it_is_made(life):
    """The creation's outcome tells the spec as it is by then."""
    one = life("vm", SPEC)
    one.world["create"] = "unknown"
    one.create()
    one.append(events.Amended(at=one.now, labels={"team": "b"}))
    made = fact(one.machine, "machine.created", one.machine.request.command, Outcome(one.now))
    one.append(made)
    assert (one.phase, one.machine.spec) == ("created", replace(SPEC, labels={"team": "b"}))
