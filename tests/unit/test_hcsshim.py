"""`hcsshim`: five phases, where to stop is to destroy and a failed start leaves only the way out."""

import pytest

from eventvm import commands as c
from eventvm.errors import InvalidTransition, NotFound, Refused
from eventvm.lifecycles import hcsshim
from eventvm.observation import Absent, Clean, End, Evidence, Forced, Observation

PHASES = ("not_created", "created", "running", "terminated", "invalid")
TERMINATE = {"stop": c.Stop(), "destroy": c.Destroy(), "forced destroy": c.Destroy(force=True, reason="r")}
ALL = ["stop", "disconnect", "destroy"]


def reach(life, phase):
    """Bring a machine to a phase; `invalid` is that of a failed start, `unclosed` that of a failed close."""
    one = life("hcsshim")
    if phase != "not_created":
        one.create()
    if phase == "invalid":
        one.stage(c.Start(), start="fail")
    if phase in ("running", "terminated", "unclosed"):
        one.send(c.Start())
    if phase == "terminated":
        one.send(c.Stop())
    if phase == "unclosed":
        one.stage(c.Stop(), destroy="fail")
    one.calls, one.probes = [], 0
    assert one.phase == {"unclosed": "invalid"}.get(phase, phase)
    return one


def test_create_leads_to_created_and_counts_storage(life):
    """From created on the machine stores, and does not compute yet."""
    one = life("hcsshim")
    assert one.create() == "done"
    assert (one.phase, one.booked, one.calls) == ("created", ["storage.start(boot)"], ["create"])


def test_a_failed_create_stays_not_created_and_may_be_retried(life):
    """Nothing of it is left, not even its name."""
    one = life("hcsshim")
    one.world = {"create": "fail"}
    assert one.create() == "failed"
    assert (one.phase, one.booked, one.machine.names) == ("not_created", [], ())
    one.world = {}
    assert one.create() == "done"
    assert (one.phase, one.machine.names) == ("created", ("web-1",))


@pytest.mark.parametrize("phase", ["created", "running", "terminated", "invalid"])
def test_create_is_rejected_everywhere_else(life, phase):
    """A machine is created once."""
    one = reach(life, phase)
    with one.untouched(), pytest.raises(Refused):
        one.create()


def test_start_leads_to_running_and_counts_compute(life):
    """Once."""
    one = reach(life, "created")
    assert one.send(c.Start()) == "done"
    assert (one.phase, one.booked[1:], one.calls) == ("running", ["compute.start(boot)"], ["start"])


def test_a_failed_start_is_invalid_and_computes_nothing(life):
    """Its storage goes on; only the way out is left."""
    one = reach(life, "created")
    one.world = {"start": "fail"}
    assert one.send(c.Start()) == "failed"
    assert (one.phase, one.booked) == ("invalid", ["storage.start(boot)"])


def test_start_while_running_is_nothing_and_the_provider_is_not_called(life):
    """Neither a call nor a probe."""
    one = reach(life, "running")
    with one.untouched():
        assert one.send(c.Start()) == "nothing"
    assert one.probes == 0


@pytest.mark.parametrize("phase", ["not_created", "terminated", "invalid"])
def test_start_is_rejected_elsewhere_and_the_phase_stays(life, phase):
    """A guard never poisons the phase."""
    reach(life, phase).refuses(c.Start(), InvalidTransition)


@pytest.mark.parametrize("wish", TERMINATE)
@pytest.mark.parametrize("phase", ["not_created", "terminated"])
def test_terminate_of_what_is_not_there_is_nothing(life, phase, wish):
    """To end twice, or before the beginning, is fulfilled already."""
    one = reach(life, phase)
    with one.untouched():
        assert one.send(TERMINATE[wish]) == "nothing"


@pytest.mark.parametrize("wish", TERMINATE)
@pytest.mark.parametrize(
    ("phase", "calls", "booked"),
    [
        ("created", ALL[1:], ["storage.stop(vm-rm)"]),
        ("running", ALL, ["compute.stop(stop-user)", "storage.stop(vm-rm)"]),
        ("invalid", ALL, ["storage.stop(vm-rm)"]),
        ("unclosed", ALL, ["compute.stop(stop-user)", "storage.stop(vm-rm)"]),
    ],
)
def test_terminate_goes_through_its_calls_in_order(life, phase, calls, booked, wish):
    """The provider's terminate is skipped for a machine that was never started."""
    one = reach(life, phase)
    mark = len(one.booked)
    assert one.send(TERMINATE[wish]) == "done"
    assert (one.phase, one.calls, one.since(mark)) == ("terminated", calls, booked)
    assert one.machine.open == ()


@pytest.mark.parametrize(
    ("phase", "broken"),
    [
        ("created", ["disconnect"]),
        ("running", ["stop"]),
        ("running", ["disconnect"]),
        ("running", ["stop", "disconnect"]),
        ("invalid", ["stop", "disconnect"]),
    ],
)
def test_errors_of_terminate_and_disconnect_are_recorded_and_swallowed(life, phase, broken):
    """Each is noted with its call, and the machine is terminated all the same."""
    one = reach(life, phase)
    records = len(one.records)
    one.world = dict.fromkeys(broken, "fail")
    assert one.send(c.Stop()) == "done"
    assert one.phase == "terminated"
    noted = [record.event for record in one.records[records:] if record.event.__class__.__name__ == "Noted"]
    assert [(event.call, event.fault.message) for event in noted] == [
        (call, f"{call} broke") for call in broken
    ]


@pytest.mark.parametrize("phase", ["created", "running", "invalid"])
def test_a_failed_close_is_invalid_with_its_cause_and_may_be_retried(life, phase):
    """The retry that fails leads to invalid again, the one that works to terminated."""
    one = reach(life, phase)
    mark = len(one.booked)
    one.world = {"destroy": "fail"}
    for _ in range(2):
        assert one.send(c.Stop()) == "failed"
        assert (one.phase, one.last.fault.message) == ("invalid", "destroy broke")
    assert one.since(mark) == []
    one.world = {}
    assert one.send(c.Stop()) == "done"
    assert one.phase == "terminated"


def test_an_unclosed_machine_goes_on_computing(life):
    """Compute counts in invalid after a start, for the process may be alive."""
    one = reach(life, "unclosed")
    assert one.counted("compute")
    assert one.counted("storage")


@pytest.mark.parametrize(
    ("phase", "booked"),
    [
        ("running", ["compute.stop(stop-crash)", "storage.stop(vm-rm)"]),
        ("unclosed", ["compute.stop(stop-crash)", "storage.stop(vm-rm)"]),
        ("invalid", ["storage.stop(vm-rm)"]),
    ],
)
def test_a_machine_that_exits_by_itself_is_terminated(life, phase, booked):
    """From running and from invalid, at the time of the exit, told once."""
    one = reach(life, phase)
    mark, exited = len(one.booked), one.tick(3)
    one.tick(60)
    seen = Observation("gone", Evidence("shim", verified=True, when=exited), end=End("graceful", Clean(3)))
    one.see(seen)
    assert (one.phase, one.since(mark)) == ("terminated", booked)
    assert {entry.at for entry in one.entries[mark:]} == {exited}
    with one.untouched():
        one.see(seen)


def test_an_exit_that_races_with_terminate_is_exactly_one_transition(life):
    """Seen while the terminate is under way, it is the terminate's own business."""
    one = reach(life, "running")
    one.world = {"disconnect": "unknown"}
    one.send(c.Stop())
    generation = one.machine.generation
    with one.untouched():
        one.see("gone")
    one.recover(Observation("gone", Evidence("probe"), exists=False))
    assert (one.phase, one.machine.generation) == ("terminated", generation + 1)
    with one.untouched():
        one.see("gone")


WISHES = {
    "create": c.Create(name="web-1", lifecycle="x"),
    "start": c.Start(),
    "pause": c.Pause(),
    "resume": c.Resume(),
    "hibernate": c.Hibernate(snapshot="s"),
    "snapshot": c.Snapshot(snapshot="s"),
    "rename": c.Rename(name="web-2"),
    "restore": c.Restore(snapshot="s"),
    "use": c.Use(),
    "complete": c.Complete(code=0),
    "transition": c.Transition(to="running"),
    "force": c.Force(to="running"),
    "attest": c.Attest(liveness="gone"),
}


@pytest.mark.parametrize("wish", WISHES)
def test_terminated_is_terminal(life, wish):
    """Only to end it again is taken, as nothing."""
    one = reach(life, "terminated")
    assert one.machine.terminal
    with one.untouched(), pytest.raises(Refused):
        one.send(WISHES[wish])


@pytest.mark.parametrize("seen", ["alive", "gone", "unknown"])
@pytest.mark.parametrize("phase", ["not_created", "created", "terminated"])
def test_a_sighting_changes_nothing_where_nothing_runs(life, phase, seen):
    """Neither before the start nor after the end."""
    one = reach(life, phase)
    with one.untouched():
        one.see(seen)


@pytest.mark.parametrize("wish", sorted(WISHES.keys() - {"attest"}))
def test_only_terminate_leads_out_of_invalid(life, wish):
    """Every other command is refused there; an exit, reconcile and attest lead on as well."""
    one = reach(life, "invalid")
    with one.untouched(), pytest.raises(Refused):
        one.send(WISHES[wish])


def test_an_invalid_machine_that_is_alive_is_reconciled(life):
    """Found alive it runs again, by one event."""
    one = reach(life, "unclosed")
    mark = len(one.booked)
    one.see("alive")
    assert (one.phase, one.since(mark), one.tags[-1]) == ("running", [], "machine.reconciled")


@pytest.mark.parametrize(("liveness", "phase"), [("gone", "terminated"), ("alive", "running")])
def test_a_word_settles_an_invalid_machine(life, liveness, phase):
    """When no probe ever will."""
    one = reach(life, "unclosed")
    one.send(c.Attest(liveness=liveness, reason="seen by eye"))
    assert one.phase == phase


def test_attest_of_a_machine_that_is_not_there_is_not_found(life):
    """There is nothing to speak of."""
    reach(life, "not_created").refuses(c.Attest(liveness="gone", reason="r"), NotFound)


@pytest.mark.parametrize("phase", ["created", "running", "invalid"])
def test_an_exit_status_exists_only_in_terminated(life, phase):
    """Before the end there is none, at the end there is the one that was seen."""
    one = reach(life, phase)
    assert one.machine.end is None
    one.end = End("graceful", Clean(4))
    one.send(c.Stop())
    assert one.machine.end == End("graceful", Clean(4))


@pytest.mark.parametrize(
    ("phase", "end"), [("created", End("graceful", Absent())), ("running", End("killed", Forced()))]
)
def test_an_end_that_nobody_saw_has_no_code(life, phase, end):
    """A machine that never ran had no exit; one that we ended was forced."""
    one = reach(life, phase)
    one.send(c.Stop())
    assert one.machine.end == end


@pytest.mark.parametrize("what", ["update", "stats", "exec"])
@pytest.mark.parametrize("phase", PHASES)
def test_update_stats_and_exec_are_guards(life, phase, what):
    """Taken while running, refused elsewhere, and never a change."""
    one = reach(life, phase)
    if phase == "running":
        with one.untouched():
            assert one.send(c.Use(what=what)) == "nothing"
    else:
        one.refuses(c.Use(what=what), InvalidTransition)


def test_the_name_is_not_free_after_the_end(life):
    """A terminated machine still holds it."""
    assert reach(life, "terminated").machine.names == ("web-1",)


@pytest.mark.parametrize(
    ("phase", "title"),
    [
        ("not_created", "NotCreated"),
        ("created", "Created"),
        ("running", "Running"),
        ("terminated", "Terminated"),
        ("invalid", "Invalid"),
        ("paused", "Unknown"),
        ("", "Unknown"),
        (7, "Unknown"),
        (None, "Unknown"),
    ],
)
def test_phases_print_as_in_the_original(phase, title):
    """And whatever is no phase reads Unknown, never as an error."""
    assert hcsshim.title(phase) == title


def test_a_machine_without_records_is_not_created(life):
    """The zero value."""
    assert life("hcsshim").phase == "not_created"
