"""`vm`: every row of its table, with the ledger that goes with it."""

import pytest

from eventvm import commands as c
from eventvm import events
from eventvm.errors import (
    AlreadyExists,
    ForceRequired,
    Inconclusive,
    InvalidTransition,
    NotFound,
    Quarantined,
    Refused,
    SnapshotAlreadyExists,
    SnapshotNotFound,
    StillAnswers,
)
from eventvm.observation import Absent, Clean, End, Evidence, Forced, Observation, Observed
from eventvm.spec import Shape, Spec

SNAP, FORCED = c.Snapshot(snapshot="s1"), c.Destroy(force=True, reason="end of lease")
OLD = Spec(cpus=2, memory=4 << 30, storage=10 << 30)
NEW = Spec(cpus=8, memory=16 << 30, storage=40 << 30)

ROUTES = {
    "created": (),
    "running": (c.Start(),),
    "paused": (c.Start(), c.Pause()),
    "stopped": (c.Start(), c.Stop()),
    "error": (c.Start(),),
}


def reach(life, phase, *, snapshot=True):
    """Bring a machine to a phase by commands, with the snapshot s1 on its way unless told otherwise."""
    one = life("vm")
    if phase == "absent":
        return one
    one.probe = "gone"
    if phase == "creating":
        one.world = {"create": "unknown"}
        one.create()
        one.append(events.Abandoned(at=one.now, request=1))
        one.world, one.calls = {}, []
        return one
    one.create()
    if snapshot:
        one.send(SNAP)
    for wish in ROUTES["stopped" if phase == "destroyed" else phase]:
        one.send(wish)
    if phase == "error":
        one.stage(c.Stop(), stop="fail")
    if phase == "destroyed":
        one.send(c.Destroy())
    one.calls, one.probes = [], 0
    assert one.phase == phase
    return one


def dead(life, *, snapshot=False):
    """A machine in error whose interval is closed: its launch failed."""
    return reach(life, "stopped", snapshot=snapshot).stage(c.Start(), start="fail")


# --- which phase takes what ---------------------------------------------------------------------------

WISHES = {
    "create": c.Create(name="web-1", lifecycle="x"),
    "clone": c.Clone(name="web-1", lifecycle="x", source="machine/0", snapshot="s0"),
    "start": c.Start(),
    "stop": c.Stop(),
    "pause": c.Pause(),
    "resume": c.Resume(),
    "hibernate": c.Hibernate(snapshot="s2"),
    "snapshot": c.Snapshot(snapshot="s2"),
    "restore": c.Restore(snapshot="s1"),
    "rename": c.Rename(name="web-2"),
    "destroy": c.Destroy(),
    "forced destroy": FORCED,
    "use": c.Use(),
    "complete": c.Complete(code=0),
    "transition": c.Transition(to="running"),
    "force": c.Force(to="running"),
    "advance": c.AdvanceRetry(),
}
TAKES = {
    "absent": {"create", "clone"},
    "creating": {"forced destroy"},
    "created": {"start", "stop", "snapshot", "rename", "destroy", "forced destroy"},
    "running": {
        "start", "stop", "pause", "hibernate", "snapshot", "restore", "rename", "forced destroy", "use",
    },
    "paused": {"resume", "stop", "snapshot", "forced destroy"},
    "stopped": {"start", "stop", "snapshot", "restore", "rename", "destroy", "forced destroy"},
    "error": {"start", "stop", "restore", "destroy", "forced destroy"},
    "destroyed": set(),
}  # fmt: skip


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("phase", TAKES)
def test_a_phase_takes_its_commands_and_refuses_all_others_without_a_trace(life, phase, wish):
    """What a phase does not list is refused, and neither phase, ledger, generation nor history moves."""
    one = reach(life, phase)
    if wish in TAKES[phase]:
        one.send(WISHES[wish])
    else:
        with one.untouched(), pytest.raises(Refused) as refused:
            one.send(WISHES[wish])
        assert refused.value.phase == phase
        assert refused.value.machine == "web-1"


@pytest.mark.parametrize(
    ("phase", "wish", "error"),
    [
        ("absent", c.Start(), NotFound),
        ("absent", c.Stop(), NotFound),
        ("absent", c.Destroy(), NotFound),
        ("absent", c.Attest(liveness="gone", reason="r"), NotFound),
        ("created", c.Create(name="web-1", lifecycle="x"), AlreadyExists),
        ("created", c.Pause(), InvalidTransition),
        ("paused", c.Start(), InvalidTransition),
        ("destroyed", c.Start(), NotFound),
        ("destroyed", c.Destroy(), NotFound),
        ("destroyed", FORCED, NotFound),
        ("running", c.Destroy(), ForceRequired),
        ("paused", c.Destroy(), ForceRequired),
        ("creating", c.Destroy(), ForceRequired),
        ("running", SNAP, SnapshotAlreadyExists),
        ("running", c.Hibernate(snapshot="s1"), SnapshotAlreadyExists),
        ("running", c.Restore(snapshot="s9"), SnapshotNotFound),
        ("stopped", c.DeleteSnapshot(snapshot="s9"), SnapshotNotFound),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "row", None),
)
def test_a_refusal_says_what_kind_it_is(life, phase, wish, error):
    """Absent and ended ones are not found, living ones ask for force, snapshots have their own errors."""
    reach(life, phase).refuses(wish, error)


# --- create, start ------------------------------------------------------------------------------------


def test_create_leads_to_created_and_counts_storage(life):
    """The record names its definition, and only storage is counted."""
    one = life("vm")
    assert one.create() == "done"
    assert one.phase == "created"
    assert one.booked == ["storage.start(boot)"]
    assert one.entries[0].shape == OLD.shape
    assert one.entries[0].position == 2
    assert one.tags == ["machine.requested", "machine.created"]
    assert one.last.lifecycle == one.rules.digest
    assert one.calls == ["create"]


def test_creating_shows_while_the_request_is_open(life):
    """A create whose outcome is unknown is in flight, holds its name and is not settled."""
    one = life("vm")
    one.world = {"create": "unknown"}
    assert one.create() == "unknown"
    assert (one.phase, one.machine.settled, one.machine.names) == ("creating", False, ("web-1",))


def test_a_failed_create_ends_destroyed_and_frees_the_name(life):
    """Nothing of it is counted."""
    one = life("vm")
    one.world = {"create": "fail"}
    assert one.create() == "failed"
    assert one.phase == "destroyed"
    assert one.machine.names == ()
    assert one.booked == []
    one.refuses(c.Start(), NotFound)


def test_start_leads_to_running_and_counts_compute(life):
    """The first start is a boot."""
    one = reach(life, "created", snapshot=False)
    mark = len(one.booked)
    assert one.send(c.Start()) == "done"
    assert one.phase == "running"
    assert one.since(mark) == ["compute.start(boot)"]
    assert one.calls == ["start"]
    assert one.machine.incarnation == 1


def test_a_later_start_is_a_restart(life):
    """Once it has ever booted, a start is a restart."""
    one = reach(life, "stopped", snapshot=False)
    mark = len(one.booked)
    one.send(c.Start())
    assert one.since(mark) == ["compute.start(restart)"]
    assert one.machine.incarnation == 2


def test_recorded_as_started_while_an_interval_is_open_crashes_the_old_one(life):
    """Both entries stand at the same instant, and no second is counted twice."""
    one = reach(life, "running", snapshot=False)
    mark = len(one.booked)
    one.tick(60)
    one.append(events.Started(at=one.now, incarnation=2))
    assert one.phase == "running"
    assert one.since(mark) == ["compute.stop(stop-crash)", "compute.start(restart)"]
    assert one.entries[-1].at == one.entries[-2].at == one.now


def test_start_while_running_is_nothing(life):
    """Alive and recorded as such: nothing is appended and nothing is launched."""
    one = reach(life, "running")
    one.probe = "alive"
    with one.untouched():
        assert one.send(c.Start()) == "nothing"
    assert one.probes == 1


def test_the_seed_case_start_of_a_living_machine_in_error_repairs_the_record(life):
    """Process alive, interval open: one compensating event, no second start, the provider is not asked."""
    one = reach(life, "error", snapshot=False)
    mark = len(one.booked)
    one.probe = "alive"
    assert one.send(c.Start(reason="again")) == "fact"
    assert one.phase == "running"
    assert one.tags[-1] == "machine.reconciled"
    assert one.since(mark) == []
    assert one.calls == []
    assert one.counted("compute")
    assert one.machine.incarnation == 1


@pytest.mark.parametrize(
    ("phase", "booked"), [("created", "compute.start(boot)"), ("stopped", "compute.start(restart)")]
)
def test_start_of_a_living_machine_without_an_interval_opens_one(life, phase, booked):
    """Process alive, no interval open: counted from now on, by the same compensating event."""
    one = reach(life, phase, snapshot=False)
    mark = len(one.booked)
    one.probe = "alive"
    one.send(c.Start())
    assert one.phase == "running"
    assert one.tags[-1] == "machine.reconciled"
    assert one.since(mark) == [booked]
    assert one.calls == []


@pytest.mark.parametrize("phase", ["running", "error"])
def test_start_of_a_dead_machine_closes_its_interval_at_the_evidence_and_relaunches(life, phase):
    """First the death at its own time, then an ordinary start; the intervals do not overlap."""
    one = reach(life, phase, snapshot=False)
    mark = len(one.booked)
    died = one.tick(10)
    one.tick(50)
    one.probe = Observation("gone", Evidence("probe", when=died))
    assert one.send(c.Start()) == "done"
    assert one.phase == "running"
    assert one.tags[-3:] == ["machine.exited", "machine.requested", "machine.started"]
    assert one.since(mark) == ["compute.stop(stop-crash)", "compute.start(restart)"]
    assert (one.entries[-2].at, one.entries[-1].at) == (died, one.now)
    first, second = (each for each in one.intervals() if each.meter == "compute")
    assert first.end <= second.begin


def test_start_of_a_dead_machine_whose_interval_is_closed_just_launches(life):
    """An error after a failed launch has nothing to close."""
    one = dead(life)
    mark = len(one.booked)
    assert one.send(c.Start()) == "done"
    assert one.since(mark) == ["compute.start(restart)"]
    assert one.tags[-1] == "machine.started"


@pytest.mark.parametrize("phase", ["created", "running", "stopped", "error"])
def test_start_on_an_inconclusive_probe_fails_closed(life, phase):
    """Unknown is never taken for an answer: the command fails and nothing has changed."""
    one = reach(life, phase)
    one.probe = "unknown"
    one.refuses(c.Start(), Inconclusive)


@pytest.mark.parametrize("phase", ["created", "stopped", "error"])
def test_a_failed_launch_leads_to_error_and_counts_nothing(life, phase):
    """Start again is allowed from there."""
    one = dead(life) if phase == "error" else reach(life, phase, snapshot=False)
    mark = len(one.booked)
    one.world = {"start": "fail"}
    assert one.send(c.Start()) == "failed"
    assert one.phase == "error"
    assert one.since(mark) == []
    assert one.machine.failed
    one.world = {}
    assert one.send(c.Start()) == "done"


def test_a_start_of_unknown_outcome_is_not_a_success(life):
    """The request stays open, and the phase is not running."""
    one = reach(life, "created")
    mark = len(one.booked)
    one.world = {"start": "unknown"}
    assert one.send(c.Start()) == "unknown"
    assert one.phase == "created"
    assert not one.machine.settled
    assert one.since(mark) == []


# --- stop ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["running", "paused", "error"])
def test_stop_ends_the_process_and_its_interval(life, phase):
    """Stop ok, or already dead: stopped, and the open interval is closed as the user's."""
    one = reach(life, phase, snapshot=False)
    mark = len(one.booked)
    assert one.send(c.Stop()) == "done"
    assert one.phase == "stopped"
    assert one.since(mark) == ["compute.stop(stop-user)"]
    assert one.calls == ["stop"]


def test_stop_closes_only_what_is_open(life):
    """A machine in error after a failed launch has no interval to stop."""
    one = dead(life)
    mark = len(one.booked)
    one.send(c.Stop())
    assert one.phase == "stopped"
    assert one.since(mark) == []


@pytest.mark.parametrize("phase", ["created", "stopped"])
def test_stop_while_stopped_is_nothing(life, phase):
    """It is fulfilled already: not even the provider is asked."""
    one = reach(life, phase)
    with one.untouched():
        assert one.send(c.Stop()) == "nothing"
    assert one.probes == 0


@pytest.mark.parametrize("phase", ["running", "paused", "error"])
def test_a_failed_stop_leads_to_error_and_leaves_the_interval_open(life, phase):
    """The process may be alive, so its usage goes on being counted."""
    one = reach(life, phase)
    mark = len(one.booked)
    one.world = {"stop": "fail"}
    assert one.send(c.Stop()) == "failed"
    assert one.phase == "error"
    assert one.since(mark) == []
    assert one.counted("compute")


# --- clone, restore, hibernate ------------------------------------------------------------------------


def clone(life, **world):
    one = life("vm")
    one.world = world
    one.send(c.Clone(name="web-1", lifecycle=one.rules.digest, source="machine/0", snapshot="s0", spec=OLD))
    return one


def test_a_clone_runs_at_once_and_both_meters_name_the_snapshot(life):
    """Storage and compute start with the reason clone and the source snapshot."""
    one = clone(life)
    assert one.phase == "running"
    assert one.booked == ["storage.start(clone)", "compute.start(clone)"]
    assert [entry.source for entry in one.entries] == ["s0", "s0"]
    assert {entry.shape for entry in one.entries} == {OLD.shape}
    assert one.calls == ["create", "restore"]


def test_a_clone_that_cannot_be_created_leaves_nothing(life):
    """Like a failed create."""
    one = clone(life, create="fail")
    assert (one.phase, one.booked, one.machine.names) == ("destroyed", [], ())


def test_a_clone_that_cannot_be_launched_is_in_error(life):
    """It exists and stores, but it computes nothing."""
    one = clone(life, restore="fail")
    assert one.phase == "error"
    assert one.booked == ["storage.start(clone)"]


def test_restore_to_a_new_shape_stops_the_old_meters_and_starts_the_new(life):
    """All four entries say restore, stand at the same instant, and carry their own shapes."""
    one = reach(life, "running")
    mark = len(one.entries)
    one.tick(60)
    assert one.send(c.Restore(snapshot="s1", spec=NEW)) == "done"
    assert one.phase == "running"
    assert {(e.meter, e.edge, e.reason, e.shape) for e in one.entries[mark:]} == {
        ("compute", "stop", "restore", OLD.shape),
        ("storage", "stop", "restore", OLD.shape),
        ("storage", "start", "restore", NEW.shape),
        ("compute", "start", "restore", NEW.shape),
    }
    assert len(one.entries) == mark + 4
    assert {(e.at, e.source, e.position) for e in one.entries[mark:]} == {(one.now, "s1", len(one.records))}
    assert one.calls == ["stop", "restore"]
    assert one.machine.spec == NEW


@pytest.mark.parametrize("phase", ["stopped", "error"])
def test_restore_is_allowed_from_stopped_and_error(life, phase):
    """It leads to running and counts compute from there."""
    one = reach(life, phase)
    one.send(c.Restore(snapshot="s1", spec=NEW))
    assert one.phase == "running"
    assert one.booked[-1].startswith(("compute", "storage"))
    assert one.machine.counted("compute").shape == NEW.shape
    assert one.machine.counted("storage").shape == NEW.shape


@pytest.mark.parametrize("phase", ["absent", "creating", "created", "paused"])
def test_restore_is_refused_from_elsewhere(life, phase):
    """Where there is nothing to restore, or the machine is held."""
    one = reach(life, phase)
    with one.untouched(), pytest.raises(Refused):
        one.send(c.Restore(snapshot="s1"))


@pytest.mark.parametrize("phase", ["running", "stopped", "error"])
def test_a_restore_that_fails_before_the_kill_changes_nothing(life, phase):
    """Phase, ledger and spec are as they were; only the failure is on record."""
    one = reach(life, phase)
    before, mark = one.machine, len(one.booked)
    one.world = {"stop": "fail"}
    assert one.send(c.Restore(snapshot="s1", spec=NEW)) == "failed"
    assert (one.phase, one.machine.generation, one.machine.spec) == (phase, before.generation, before.spec)
    assert one.machine.open == before.open
    assert not one.machine.quarantined
    assert one.since(mark) == []
    assert one.tags[-1] == "machine.restore_failed"


def quarantined(life):
    return reach(life, "running").stage(c.Restore(snapshot="s1", spec=NEW), restore="fail")


def test_a_restore_that_fails_after_the_kill_leads_to_error_in_quarantine(life):
    """Only the compute interval is closed, with the reason restore."""
    one = reach(life, "running")
    mark = len(one.booked)
    one.world = {"restore": "fail"}
    assert one.send(c.Restore(snapshot="s1", spec=NEW)) == "failed"
    assert one.phase == "error"
    assert one.machine.quarantined
    assert one.since(mark) == ["compute.stop(restore)"]
    assert one.counted("storage")
    assert one.machine.spec == OLD


@pytest.mark.parametrize("wish", sorted(WISHES.keys() - {"restore", "destroy", "forced destroy"}))
def test_a_quarantined_machine_takes_only_restore_destroy_and_attest(life, wish):
    """Whatever else is asked of it is refused as quarantined."""
    quarantined(life).refuses(WISHES[wish], Quarantined)


def test_a_restore_ends_the_quarantine(life):
    """What is left is replaced as a whole."""
    one = quarantined(life)
    assert one.send(c.Restore(snapshot="s1")) == "done"
    assert (one.phase, one.machine.quarantined) == ("running", False)


@pytest.mark.parametrize("call", ["stop", "restore"])
def test_a_failed_restore_leaves_the_quarantine(life, call):
    """Not before it succeeds is anything to be trusted."""
    one = quarantined(life)
    one.world = {call: "fail"}
    one.send(c.Restore(snapshot="s1"))
    assert (one.phase, one.machine.quarantined) == ("error", True)


def test_a_failed_destroy_leaves_the_quarantine(life):
    """What is left of the machine is no more to be trusted than before."""
    one = quarantined(life)
    one.world, one.probe = {"destroy": "fail"}, "gone"
    assert one.send(c.Destroy()) == "failed"
    assert (one.phase, one.machine.quarantined) == ("error", True)


@pytest.mark.parametrize("seen", ["alive", "gone", "unknown"])
def test_reconciling_a_quarantined_machine_appends_nothing(life, seen):
    """It may be looked at, but being alive does not make it healthy."""
    one = quarantined(life)
    with one.untouched():
        one.see(seen)


def test_a_quarantined_machine_nobody_can_probe_ends_by_attestation(life):
    """Attested gone, a destroy is taken although the probe stays inconclusive."""
    one = quarantined(life)
    one.probe = "unknown"
    one.refuses(FORCED, Inconclusive)
    one.send(c.Attest(liveness="gone", reason="the rack burned"))
    assert one.machine.quarantined
    one.send(FORCED)
    assert one.phase == "destroyed"


def test_hibernate_snapshots_before_it_kills(life):
    """The snapshot is durable first, then the process ends and its interval with it."""
    one = reach(life, "running", snapshot=False)
    one.size = 512
    mark = len(one.booked)
    assert one.send(c.Hibernate(snapshot="s1")) == "done"
    assert one.phase == "stopped"
    assert one.calls == ["snapshot", "stop"]
    assert one.tags[-2:] == ["machine.snapshotted", "machine.stopped"]
    assert [line for line in one.since(mark) if line.startswith("compute")] == ["compute.stop(stop-user)"]
    assert one.machine.snapshots == {"s1": 512}


def test_a_stop_that_came_from_no_snapshot_names_none(life):
    """Hibernating makes a snapshot; the interval that it ends did not begin from one."""
    one = reach(life, "running", snapshot=False)
    one.send(c.Hibernate(snapshot="s1"))
    (stop,) = (entry for entry in one.entries if entry.edge == "stop")
    assert (stop.meter, stop.source) == ("compute", "")


def test_a_hibernate_that_cannot_persist_leaves_the_machine_running(life):
    """The snapshot's name is free again, nothing is killed and nothing booked."""
    one = reach(life, "running", snapshot=False)
    mark = len(one.booked)
    one.world = {"snapshot": "fail"}
    assert one.send(c.Hibernate(snapshot="s1")) == "failed"
    assert (one.phase, one.machine.snapshots, one.calls) == ("running", {}, ["snapshot"])
    assert one.since(mark) == []
    one.world = {}
    assert one.send(c.Hibernate(snapshot="s1")) == "done"


def test_a_hibernate_that_cannot_kill_is_in_error_and_keeps_the_snapshot(life):
    """The compute interval stays open, for the process may be alive."""
    one = reach(life, "running", snapshot=False)
    mark = len(one.booked)
    one.world = {"stop": "fail"}
    assert one.send(c.Hibernate(snapshot="s1")) == "failed"
    assert (one.phase, tuple(one.machine.snapshots)) == ("error", ("s1",))
    assert [line for line in one.since(mark) if line.startswith("compute")] == []
    assert one.counted("compute")


# --- remove -------------------------------------------------------------------------------------------


def test_remove_of_a_running_machine_needs_force(life):
    """Unchanged, and the error says so."""
    error = reach(life, "running").refuses(c.Destroy(), ForceRequired)
    assert "force" in str(error)


@pytest.mark.parametrize("phase", ["running", "paused"])
def test_a_forced_remove_of_a_running_machine_stops_both_meters(life, phase):
    """Gone: compute as the user's, storage as removed, and the name is free."""
    one = reach(life, phase, snapshot=False)
    mark = len(one.booked)
    assert one.send(FORCED) == "done"
    assert one.phase == "destroyed"
    assert one.since(mark) == ["compute.stop(stop-user)", "storage.stop(vm-rm)"]
    assert one.calls == ["stop", "destroy"]
    assert one.machine.names == ()
    assert one.machine.open == ()


@pytest.mark.parametrize("wish", [c.Destroy(), FORCED], ids=["plain", "forced"])
@pytest.mark.parametrize("phase", ["created", "stopped"])
def test_remove_of_a_machine_that_is_down_stops_its_storage(life, phase, wish):
    """Only storage was counted."""
    one = reach(life, phase, snapshot=False)
    mark = len(one.booked)
    assert one.send(wish) == "done"
    assert one.phase == "destroyed"
    assert one.since(mark) == ["storage.stop(vm-rm)"]
    assert one.calls == ["destroy"]


def test_remove_of_a_dead_machine_in_error_closes_its_interval_as_a_crash(life):
    """Dead with its interval open: compute as a crash, storage as removed."""
    one = reach(life, "error", snapshot=False)
    mark = len(one.booked)
    assert one.send(c.Destroy()) == "done"
    assert one.phase == "destroyed"
    assert one.since(mark) == ["compute.stop(stop-crash)", "storage.stop(vm-rm)"]


def test_a_machine_found_dead_and_then_removed_was_lost_and_not_killed(life):
    """Found gone without evidence: nobody killed it, and the record does not claim it."""
    one = reach(life, "error", snapshot=False)
    one.send(c.Destroy())
    assert one.last.end == End("lost", Forced())


@pytest.mark.parametrize(("seen", "error"), [("alive", StillAnswers), ("unknown", Inconclusive)])
@pytest.mark.parametrize("wish", [c.Destroy(), FORCED], ids=["plain", "forced"])
@pytest.mark.parametrize("phase", ["created", "stopped", "error", "quarantined"])
def test_remove_is_refused_while_something_answers_or_nobody_can_tell(life, phase, wish, seen, error):
    """The record stays."""
    if (phase, wish, seen) == ("quarantined", FORCED, "alive"):
        return  # law 9: see the next test
    one = quarantined(life) if phase == "quarantined" else reach(life, phase)
    one.probe = seen
    one.refuses(wish, error)


def test_a_quarantined_machine_that_is_alive_has_a_forced_way_to_its_end(life):
    """Law 9: no other command would ever bring its process down."""
    one = quarantined(life)
    one.probe = "alive"
    assert one.send(FORCED) == "done"
    assert (one.phase, one.calls[-2:]) == ("destroyed", ["stop", "destroy"])


def test_a_failed_remove_leaves_the_record_in_error(life):
    """It may be tried again, and the meters go on until it succeeds."""
    one = reach(life, "stopped")
    mark = len(one.booked)
    one.world = {"destroy": "fail"}
    assert one.send(c.Destroy()) == "failed"
    assert one.phase == "error"
    assert one.since(mark) == []
    one.world = {}
    assert one.send(c.Destroy()) == "done"
    assert one.phase == "destroyed"


def test_a_half_created_machine_is_collected_by_force(life):
    """Its creator is gone: what there may be is destroyed, and the name is free."""
    one = reach(life, "creating")
    assert one.send(FORCED) == "done"
    assert (one.phase, one.calls, one.booked, one.machine.names) == ("destroyed", ["destroy"], [], ())


def test_destroying_frees_the_name_and_keeps_everything_else(life):
    """History, snapshots and ledger stay for ever, and destroying twice finds nothing."""
    one = reach(life, "stopped")
    records, entries = len(one.records), len(one.entries)
    one.send(c.Destroy())
    assert one.machine.names == ()
    assert one.machine.name == "web-1"
    assert one.machine.terminal
    assert len(one.records) > records
    assert len(one.entries) > entries
    assert tuple(one.machine.snapshots) == ("s1",)
    one.refuses(c.Destroy(), NotFound)


# --- snapshots ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["created", "running", "paused", "stopped"])
def test_a_snapshot_counts_its_own_storage_and_leaves_the_phase(life, phase):
    """Its name and size are on its entry, and the machine's meters are untouched."""
    one = reach(life, phase, snapshot=False)
    generation, mark, one.size = one.machine.generation, len(one.entries), 77
    assert one.send(SNAP) == "done"
    assert (one.phase, one.machine.generation) == (phase, generation)
    (entry,) = one.entries[mark:]
    assert (entry.meter, entry.edge, entry.subject, entry.shape) == (
        "storage",
        "start",
        "s1",
        Shape(storage=77),
    )


def test_a_failed_capture_leaves_no_snapshot(life):
    """Neither ledger nor phase moves, and the name may be used again."""
    one = reach(life, "running", snapshot=False)
    mark = len(one.booked)
    one.world = {"snapshot": "fail"}
    assert one.send(SNAP) == "failed"
    assert (one.phase, one.machine.snapshots, one.since(mark)) == ("running", {}, [])
    one.world = {}
    assert one.send(SNAP) == "done"


@pytest.mark.parametrize("phase", ["created", "running", "paused", "stopped", "error", "destroyed"])
def test_deleting_a_snapshot_stops_its_storage_in_every_phase(life, phase):
    """Also of a machine whose life is over, whose snapshots keep its id."""
    one = reach(life, phase)
    mark = len(one.booked)
    assert one.counted("storage", "s1")
    assert one.send(c.DeleteSnapshot(snapshot="s1")) == "done"
    assert one.phase == phase
    assert one.since(mark) == ["snap.storage.stop(snap-rm)"]
    assert one.entries[-1].machine == one.machine.id
    one.refuses(c.DeleteSnapshot(snapshot="s1"), SnapshotNotFound)


def test_an_interrupted_delete_never_stops_twice(life):
    """Seen to be gone it is concluded once, and a second delete finds no snapshot."""
    one = reach(life, "running")
    one.world = {"delete_snapshot": "unknown"}
    assert one.send(c.DeleteSnapshot(snapshot="s1")) == "unknown"
    mark = len(one.booked)
    one.recover(Observation("alive", Evidence("probe"), snapshots=()))
    assert one.since(mark) == ["snap.storage.stop(snap-rm)"]
    one.refuses(c.DeleteSnapshot(snapshot="s1"), SnapshotNotFound)
    assert one.calls == ["delete_snapshot"]


def test_a_failed_delete_keeps_the_snapshot_and_its_storage(life):
    """It is still there as far as anybody knows."""
    one = reach(life, "running")
    mark = len(one.booked)
    one.world = {"delete_snapshot": "fail"}
    assert one.send(c.DeleteSnapshot(snapshot="s1")) == "failed"
    assert one.since(mark) == []
    assert tuple(one.machine.snapshots) == ("s1",)


def test_destroying_leaves_the_storage_of_snapshots_counting(life):
    """Only the machine's own meters end with it."""
    one = reach(life, "stopped")
    one.send(c.Destroy())
    assert [(each.meter, each.subject) for each in one.machine.open] == [("storage", "s1")]


# --- pause, rename ------------------------------------------------------------------------------------


def test_pause_and_resume_leave_the_meters(life):
    """Paused, then running again, and the interval is the same one."""
    one = reach(life, "running", snapshot=False)
    mark, counted = len(one.booked), one.machine.open
    one.send(c.Pause())
    assert one.phase == "paused"
    one.send(c.Resume())
    assert one.phase == "running"
    assert one.since(mark) == []
    assert one.machine.open == counted
    assert one.calls == ["pause", "resume"]


@pytest.mark.parametrize(
    ("phase", "wish", "call"), [("running", c.Pause(), "pause"), ("paused", c.Resume(), "resume")]
)
def test_a_failed_pause_or_resume_leaves_the_phase(life, phase, wish, call):
    """The failure is on record and nothing else has changed."""
    one = reach(life, phase, snapshot=False)
    mark, generation = len(one.booked), one.machine.generation
    one.world = {call: "fail"}
    assert one.send(wish) == "failed"
    assert (one.phase, one.machine.generation, one.since(mark)) == (phase, generation, [])


def test_rename_moves_the_name_and_nothing_else(life):
    """Phase, generation, ledger and snapshots move along unbroken."""
    one = reach(life, "running")
    before, mark = one.machine, len(one.booked)
    one.send(c.Rename(name="web-2"))
    assert one.machine.names == ("web-2",)
    assert (one.phase, one.machine.generation) == (before.phase, before.generation)
    assert (one.machine.open, one.machine.snapshots) == (before.open, before.snapshots)
    assert one.since(mark) == []


# --- found --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["running", "paused", "error"])
def test_found_dead_is_an_unexpected_exit_at_the_observed_time(life, phase):
    """Stopped, and the interval is closed as a crash when it was so, not when it was learned."""
    one = reach(life, phase, snapshot=False)
    mark = len(one.booked)
    died = one.tick(10)
    one.tick(600)
    seen = Observation("gone", Evidence("probe", when=died), generation=one.machine.generation)
    one.see(seen)
    assert (one.phase, one.machine.reason) == ("stopped", "unexpected-exit")
    assert one.since(mark) == ["compute.stop(stop-crash)"]
    assert (one.entries[-1].at, one.entries[-1].recorded_at) == (died, one.now.wall)
    assert one.last.end == End("lost", Forced())


def test_an_unexpected_exit_reads_so_whatever_the_probe_adds(life):
    """A probe's sentence for people does not take the place of the reason."""
    one = reach(life, "running")
    one.see(Observation("gone", Evidence("probe"), detail="no process 4711"))
    assert one.machine.reason == "unexpected-exit"


@pytest.mark.parametrize("phase", ["running", "error"])
def test_found_dead_twice_is_told_once(life, phase):
    """The second telling finds the record right."""
    one = reach(life, phase)
    one.see("gone")
    with one.untouched():
        one.see("gone")


@pytest.mark.parametrize(
    "late",
    [
        lambda m: Observation("gone", Evidence("probe"), generation=m.generation - 1),
        lambda m: Observation("gone", Evidence("probe", incarnation=m.incarnation - 1)),
    ],
    ids=["generation", "incarnation"],
)
def test_late_news_is_old_news(life, late):
    """A look begun at an earlier generation, or speaking of an earlier boot, changes nothing."""
    one = reach(life, "stopped").stage(c.Start())
    assert (one.phase, one.machine.incarnation) == ("running", 2)
    with one.untouched():
        one.see(late(one.machine))


def test_an_error_that_counts_nothing_has_nothing_to_close(life):
    """Found dead applies to error only while its interval is open."""
    one = dead(life)
    with one.untouched():
        one.see("gone")


@pytest.mark.parametrize("phase", TAKES)
def test_unknown_changes_nothing_in_any_phase(life, phase):
    """Liveness has three values, and unknown is not one of the other two."""
    one = reach(life, phase)
    with one.untouched():
        one.see("unknown")


@pytest.mark.parametrize(
    ("phase", "seen"),
    [
        ("created", "gone"),
        ("running", "alive"),
        ("paused", "alive"),
        ("stopped", "gone"),
        ("destroyed", "gone"),
        ("destroyed", "alive"),
        ("creating", "alive"),
        ("creating", "gone"),
    ],
)
def test_reconciling_a_record_that_is_right_appends_nothing(life, phase, seen):
    """Any number of times."""
    one = reach(life, phase)
    with one.untouched():
        one.see(seen)
        one.see(seen)


@pytest.mark.parametrize(
    ("phase", "booked"),
    [
        ("created", ["compute.start(boot)"]),
        ("stopped", ["compute.start(restart)"]),
        ("error", []),
        ("dead", ["compute.start(restart)"]),
    ],
)
def test_found_alive_is_running_again_by_one_event(life, phase, booked):
    """The ledger effect is that of the same case under start, and a second look adds nothing."""
    one = dead(life) if phase == "dead" else reach(life, phase, snapshot=False)
    mark, records = len(one.booked), len(one.records)
    one.see("alive")
    one.see("alive")
    assert (one.phase, one.tags[records:]) == ("running", ["machine.reconciled"])
    assert one.since(mark) == booked
    assert one.calls == []


def test_an_open_request_is_not_reconciled_behind_its_back(life):
    """While a stop is under way, a sighting is its business."""
    one = reach(life, "running")
    one.world = {"stop": "unknown"}
    one.send(c.Stop())
    with one.untouched():
        one.see("gone")


# --- attest -------------------------------------------------------------------------------------------


def test_attest_gone_settles_phase_and_ledger_at_the_attested_time(life):
    """Unverified, with the actor on the record, and only as true as its word."""
    one = reach(life, "error", snapshot=False)
    mark, died = len(one.booked), one.tick(5)
    one.tick(60)
    one.send(c.Attest(liveness="gone", at=died, reason="pulled the plug"))
    assert one.phase == "stopped"
    assert one.since(mark) == ["compute.stop(stop-crash)"]
    assert one.entries[-1].at == died
    assert one.tags[-2:] == ["machine.attested", "machine.exited"]
    assert (one.records[-2].event.reason, one.records[-2].actor) == ("pulled the plug", "alice")
    assert not one.last.evidence.verified


def test_attest_alive_makes_the_machine_running_again(life):
    """A person saw it, so the record is repaired."""
    one = reach(life, "error", snapshot=False)
    one.send(c.Attest(liveness="alive", reason="it answers me"))
    assert (one.phase, one.tags[-1]) == ("running", "machine.reconciled")


def test_attest_settles_a_stop_of_unknown_outcome(life):
    """The request that nobody could conclude is concluded by the word."""
    one = reach(life, "running", snapshot=False)
    mark = len(one.booked)
    one.world = {"stop": "unknown"}
    one.send(c.Stop())
    one.send(c.Attest(liveness="gone", reason="seen dead"))
    assert (one.phase, one.machine.request) == ("stopped", None)
    assert one.since(mark) == ["compute.stop(stop-user)"]


def test_later_evidence_corrects_an_attestation(life):
    """Attested gone, yet seen alive: running again, and the word no longer opens any door."""
    one = reach(life, "error", snapshot=False)
    one.send(c.Attest(liveness="gone", reason="surely"))
    one.see("alive")
    assert (one.phase, one.machine.attested) == ("running", "")


def test_an_attested_machine_may_be_removed_though_no_probe_answers(life):
    """Law nine: there is always a way to the end."""
    one = reach(life, "error", snapshot=False)
    one.send(c.Attest(liveness="gone", reason="host is scrap"))
    one.probe = "unknown"
    one.send(c.Destroy())
    assert one.phase == "destroyed"
    assert one.booked[-1] == "storage.stop(vm-rm)"
    one.refuses(c.Destroy(), NotFound)


def test_an_attested_machine_that_answers_after_all_is_not_removed(life):
    """Evidence outweighs the word."""
    one = reach(life, "error", snapshot=False)
    one.send(c.Attest(liveness="gone", reason="surely"))
    one.probe = "alive"
    one.refuses(c.Destroy(), StillAnswers)


# --- how the end is recorded --------------------------------------------------------------------------


def test_a_machine_that_never_ran_ends_without_a_kill(life):
    """There was no exit to see."""
    one = reach(life, "created")
    one.send(c.Destroy())
    assert (one.last.end, one.last.outcome) == (End("graceful", Absent()), "succeeded")


def test_a_forced_remove_is_a_forced_end(life):
    """We killed it, so there is no exit code."""
    one = reach(life, "running")
    one.send(FORCED)
    assert one.last.end == End("killed", Forced())
    assert one.last.end.terminal_state == "forced"


@pytest.mark.parametrize("end", [End("graceful", Clean(0)), End("crashed", Observed(signal="SIGSEGV"))])
def test_the_end_that_was_seen_is_the_end_that_destroyed_tells(life, end):
    """Whether the stop saw it or an observation did."""
    one = reach(life, "running")
    one.see(Observation("gone", Evidence("shim", verified=True), end=end))
    assert one.last.end == end
    one.send(c.Destroy())
    assert one.last.end == end


def test_a_new_boot_forgets_the_last_end(life):
    """What the first incarnation exited with says nothing of the second."""
    one = reach(life, "running")
    one.see(Observation("gone", Evidence("shim", verified=True), end=End("graceful", Clean(7))))
    one.send(c.Start())
    assert one.machine.end is None
    one.send(FORCED)
    assert one.last.end == End("killed", Forced())


def test_the_outcome_is_failed_once_any_phase_failed(life):
    """Whatever the exit code, and however well it went afterwards."""
    one = dead(life)
    one.send(c.Start())
    one.end = End("graceful", Clean(0))
    one.send(c.Stop())
    one.send(c.Destroy())
    assert (one.last.outcome, one.last.end.terminal_state) == ("failed", "clean")


# --- recover ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "wish", "call", "seen", "expected"),
    [
        ("absent", None, "create", Observation("gone", Evidence("p"), exists=True), "created"),
        ("absent", None, "create", Observation("gone", Evidence("p"), exists=False), "destroyed"),
        ("created", c.Start(), "start", Observation("alive", Evidence("p")), "running"),
        ("created", c.Start(), "start", Observation("gone", Evidence("p")), "error"),
        ("running", c.Stop(), "stop", Observation("gone", Evidence("p")), "stopped"),
        ("running", c.Stop(), "stop", Observation("alive", Evidence("p")), "error"),
        ("running", c.Pause(), "pause", Observation("alive", Evidence("p"), paused=True), "paused"),
        ("running", c.Pause(), "pause", Observation("alive", Evidence("p"), paused=False), "running"),
        ("stopped", c.Destroy(), "destroy", Observation("gone", Evidence("p"), exists=False), "destroyed"),
        ("stopped", c.Destroy(), "destroy", Observation("gone", Evidence("p"), exists=True), "error"),
        ("running", FORCED, "stop", Observation("gone", Evidence("p"), exists=False), "destroyed"),
        (
            "running",
            c.Restore(snapshot="s1"),
            "restore",
            Observation("alive", Evidence("p", incarnation=2)),
            "running",
        ),
        ("running", c.Restore(snapshot="s1"), "restore", Observation("gone", Evidence("p")), "error"),
        (
            "running",
            c.Restore(snapshot="s1"),
            "stop",
            Observation("alive", Evidence("p", incarnation=1)),
            "running",
        ),
    ],
    ids=lambda value: getattr(value, "row", None) or getattr(value, "liveness", None) or str(value),
)
def test_an_interrupted_effect_is_concluded_by_what_can_be_seen(life, phase, wish, call, *, seen, expected):
    """Never by calling again."""
    one = reach(life, phase)
    one.world = {call: "unknown"}
    assert (one.create() if wish is None else one.send(wish)) == "unknown"
    calls = list(one.calls)
    one.recover(seen)
    assert (one.phase, one.machine.request, one.calls) == (expected, None, calls)


@pytest.mark.parametrize("wish", [c.Stop(), c.Restore(snapshot="s1"), FORCED, c.Hibernate(snapshot="s2")])
def test_an_interrupted_effect_stays_open_while_nobody_can_tell(life, wish):
    """Unknown is never success, and it is never failure either."""
    one = reach(life, "running")
    one.world = dict.fromkeys(("stop", "snapshot"), "unknown")
    one.send(wish)
    with one.untouched():
        assert one.recover(Observation("unknown", Evidence("probe"))) is None


def test_a_restore_is_not_concluded_by_a_witness_that_cannot_tell_the_incarnation(life):
    """Alive, but the old process or the new one: nobody knows, so the request stays open."""
    one = reach(life, "running")
    one.world = {"restore": "unknown"}
    one.send(c.Restore(snapshot="s1", spec=NEW))
    with one.untouched():
        assert one.recover(Observation("alive", Evidence("probe"))) is None
