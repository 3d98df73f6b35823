"""`microvm`: strict and not idempotent; to stop is to pause."""

from itertools import product

import pytest

from eventvm import commands as c
from eventvm.errors import (
    AlreadyExists,
    InvalidTransition,
    NotFound,
    Refused,
    SnapshotAlreadyExists,
    SnapshotNotFound,
)
from eventvm.observation import End, Evidence, Forced, Observation
from eventvm.spec import RestoreFrom, Spec

INVALID = InvalidTransition
TABLE = {
    "absent": ("created", NotFound, NotFound, NotFound, NotFound, NotFound),
    "created": (AlreadyExists, "running", INVALID, "created", "destroyed", "created"),
    "running": (AlreadyExists, INVALID, "stopped", "running", "destroyed", "running"),
    "stopped": (AlreadyExists, "running", INVALID, "stopped", "destroyed", "stopped"),
    "destroyed": (AlreadyExists, INVALID, INVALID, INVALID, INVALID, INVALID),
}
WISHES = {
    "create": c.Create(name="web-1", lifecycle="x"),
    "start": c.Start(),
    "stop": c.Stop(),
    "snapshot": c.Snapshot(snapshot="s2"),
    "destroy": c.Destroy(),
    "rename": c.Rename(name="web-2"),
}
CALLS = {
    ("absent", "create"): ["create"],
    ("created", "start"): ["start"],
    ("stopped", "start"): ["resume"],
    ("running", "stop"): ["pause"],
}
ROUTES = {
    "created": (),
    "running": (c.Start(),),
    "stopped": (c.Start(), c.Stop()),
    "destroyed": (c.Start(), c.Destroy()),
}
CELLS = [
    pytest.param(phase, wish, TABLE[phase][column], id=f"{phase}-{wish}")
    for phase, (column, wish) in product(TABLE, enumerate(WISHES))
]


def reach(life, phase, *, snapshot=False):
    """Bring a machine to a phase by commands."""
    one = life("microvm")
    if phase != "absent":
        one.create()
        if snapshot:
            one.send(c.Snapshot(snapshot="s1"))
        one.stage(*ROUTES[phase])
    assert one.phase == phase
    return one


@pytest.mark.parametrize(("phase", "wish", "expected"), CELLS)
def test_the_table_of_phases_and_commands(life, phase, wish, expected):
    """Each cell leads where the table says, or is refused with its own error and no trace."""
    one = reach(life, phase)
    if isinstance(expected, str):
        assert one.send(WISHES[wish]) == "done"
        assert one.phase == expected
        assert one.calls == CALLS.get((phase, wish), [wish])
    else:
        error = one.refuses(WISHES[wish], expected)
        assert (error.machine, error.from_) == ("web-1", phase)


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("phase", TABLE)
def test_a_failed_call_leaves_the_phase_and_the_ledger(life, phase, wish):
    """The failure is on record; a failed create leaves nothing at all."""
    one = reach(life, phase)
    before, mark = one.machine, len(one.booked)
    one.world = dict.fromkeys(("create", "start", "resume", "pause", "snapshot", "destroy", "rename"), "fail")
    try:
        assert one.send(WISHES[wish]) == "failed"
    except Refused:
        return
    assert (one.phase, one.machine.generation) == (phase, before.generation)
    assert (one.machine.names, one.machine.snapshots) == (before.names, before.snapshots)
    assert one.since(mark) == []
    assert one.last.fault.kind == "Broken"


def test_an_invalid_transition_names_the_machine_from_and_to(life):
    """As readable fields and in the sentence; renaming what is destroyed would lead to renamed."""
    error = reach(life, "destroyed").refuses(c.Rename(name="web-2"), InvalidTransition)
    assert (error.machine, error.from_, error.to) == ("web-1", "destroyed", "renamed")
    assert "renamed" in str(error)


@pytest.mark.parametrize("phase", ["created", "running", "stopped"])
def test_snapshot_names_are_unique_and_listed_in_order(life, phase):
    """A second one of the same name is refused by its own error."""
    one = reach(life, phase)
    for name in ("b", "a", "c"):
        one.send(c.Snapshot(snapshot=name))
    assert tuple(one.machine.snapshots) == ("b", "a", "c")
    error = one.refuses(c.Snapshot(snapshot="a"), SnapshotAlreadyExists)
    assert error.to == "a"


@pytest.mark.parametrize("phase", ["created", "running", "stopped", "destroyed"])
def test_an_unknown_snapshot_cannot_be_deleted(life, phase):
    """It is not found."""
    error = reach(life, phase).refuses(c.DeleteSnapshot(snapshot="s9"), SnapshotNotFound)
    assert error.to == "s9"


# --- create with a spec -------------------------------------------------------------------------------


def restored(life, *, resume, **world):
    source = RestoreFrom("machine/0", "s0", resume_immediately=resume)
    one = life("microvm", Spec(cpus=2, restore_from=source))
    one.world = world
    one.create()
    return one


@pytest.mark.parametrize(
    ("resume", "phase", "reason"), [(False, "stopped", "restore"), (True, "running", "clone")]
)
def test_a_machine_created_from_a_snapshot_runs_when_resumed_at_once(life, resume, phase, reason):
    """Otherwise it is stopped, with its process alive and counted; to the provider it is one call."""
    one = restored(life, resume=resume)
    assert (one.phase, one.calls) == (phase, ["create"])
    assert one.booked == [f"compute.start({reason})", f"storage.start({reason})"]
    assert {each.source for each in one.entries} == {"s0"}


@pytest.mark.parametrize("resume", [False, True])
def test_a_create_from_a_snapshot_that_fails_leaves_nothing(life, resume):
    """It is one create, so neither a machine nor its name nor its storage is left."""
    one = restored(life, resume=resume, create="fail")
    assert (one.phase, one.machine.names, one.machine.open) == ("absent", (), ())


# --- rename -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["created", "running", "stopped"])
def test_a_rename_moves_snapshots_history_and_the_open_interval(life, phase):
    """Unbroken, and the old name is free again."""
    one = reach(life, phase, snapshot=True)
    before, records = one.machine, list(one.records)
    one.send(c.Rename(name="web-2"))
    assert one.machine.names == ("web-2",)
    assert (one.machine.open, one.machine.snapshots) == (before.open, before.snapshots)
    assert one.records[: len(records)] == records
    assert one.machine.generation == before.generation


@pytest.mark.parametrize("phase", ["created", "running", "stopped"])
def test_a_rename_to_its_own_name_is_nothing(life, phase):
    """Zero events, and the provider is not called."""
    one = reach(life, phase)
    with one.untouched():
        assert one.send(c.Rename(name="web-1")) == "nothing"


def test_a_rename_under_way_reserves_the_new_name_and_holds_the_old_one(life):
    """Nobody finds the machine by a name that it never had, and both are as before when it fails."""
    one = reach(life, "running")
    one.world = {"rename": "unknown"}
    one.send(c.Rename(name="web-2"))
    assert (one.machine.names, one.machine.claims) == (("web-1",), "web-2")
    one.recover(Observation("alive", Evidence("probe"), name="web-1"))
    assert (one.machine.names, one.machine.claims) == (("web-1",), "")
    assert one.tags[-1] == "machine.rename_failed"


def test_an_interrupted_rename_that_happened_is_concluded(life):
    """The provider knows it by its new name."""
    one = reach(life, "running")
    one.world = {"rename": "unknown"}
    one.send(c.Rename(name="web-2"))
    one.recover(Observation("alive", Evidence("probe"), name="web-2"))
    assert (one.machine.names, one.calls) == (("web-2",), ["rename"])


def test_the_name_is_not_free_after_the_end(life):
    """Unless it was renamed away."""
    assert reach(life, "destroyed").machine.names == ("web-1",)


# --- meters -------------------------------------------------------------------------------------------


def test_compute_goes_on_while_stopped(life):
    """The process stays alive, so a stop and a start book nothing."""
    one = reach(life, "running")
    mark = len(one.booked)
    one.send(c.Stop())
    assert one.counted("compute")
    one.send(c.Start())
    assert one.since(mark) == []
    assert one.booked == ["storage.start(boot)", "compute.start(boot)"]


@pytest.mark.parametrize("wish", [c.Destroy(), c.Destroy(force=True, reason="r")], ids=["plain", "forced"])
@pytest.mark.parametrize(
    ("phase", "booked"),
    [
        ("created", ["storage.stop(vm-rm)"]),
        ("running", ["compute.stop(stop-user)", "storage.stop(vm-rm)"]),
        ("stopped", ["compute.stop(stop-user)", "storage.stop(vm-rm)"]),
    ],
)
def test_destroy_ends_both_meters_and_keeps_the_snapshots(life, phase, booked, wish):
    """The snapshots go on until each is deleted."""
    one = reach(life, phase, snapshot=True)
    mark = len(one.booked)
    one.send(wish)
    assert (one.phase, one.since(mark)) == ("destroyed", booked)
    assert [(each.meter, each.subject) for each in one.machine.open] == [("storage", "s1")]
    one.send(c.DeleteSnapshot(snapshot="s1"))
    assert one.booked[-1] == "snap.storage.stop(snap-rm)"


# --- the machine's own exit ---------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["running", "stopped"])
def test_its_own_exit_destroys_it_and_keeps_its_snapshots(life, phase):
    """Manner already exited, compute closed as a crash at the time of the exit."""
    one = reach(life, phase, snapshot=True)
    mark, exited = len(one.booked), one.tick(4)
    one.tick(60)
    end = End("already_exited", Forced())
    one.see(Observation("gone", Evidence("shim", when=exited), end=end))
    assert (one.phase, one.last.end) == ("destroyed", end)
    assert one.since(mark) == ["compute.stop(stop-crash)", "storage.stop(vm-rm)"]
    assert {entry.at for entry in one.entries[mark:]} == {exited}
    assert tuple(one.machine.snapshots) == ("s1",)


def test_found_gone_without_evidence_it_was_lost(life):
    """Forced, without a code, and told once."""
    one = reach(life, "running")
    one.see("gone")
    assert one.last.end == End("lost", Forced())
    with one.untouched():
        one.see("gone")


def test_the_exit_of_a_machine_that_was_paused_and_resumed_is_news(life):
    """A resume is no boot: it is still the first incarnation, and its death is seen."""
    one = reach(life, "stopped")
    one.send(c.Start())
    one.see(Observation("gone", Evidence("shim", incarnation=1)))
    assert one.phase == "destroyed"


@pytest.mark.parametrize("seen", ["alive", "unknown"])
@pytest.mark.parametrize("phase", ["absent", "running", "stopped", "destroyed"])
def test_a_sighting_that_is_no_news_changes_nothing(life, phase, seen):
    """Any number of times."""
    one = reach(life, phase)
    with one.untouched():
        one.see(seen)
        one.see(seen)


def test_an_attested_death_ends_it(life):
    """When no probe ever will."""
    one = reach(life, "running")
    one.send(c.Attest(liveness="gone", reason="seen dead"))
    assert (one.phase, one.machine.open) == ("destroyed", ())


def test_an_attested_death_of_a_created_machine_opens_the_forced_way_out(life):
    """It had no process to lose, but its destroy no longer asks the provider."""
    one = reach(life, "created")
    one.send(c.Attest(liveness="gone", reason="host is scrap"))
    one.send(c.Destroy(force=True, reason="r"))
    assert (one.phase, one.calls) == ("destroyed", [])
