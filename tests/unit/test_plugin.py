"""`plugin`: fourteen phases and forty-one edges, along which an application moves itself."""

from itertools import product

import pytest

from eventvm import commands as c
from eventvm.errors import InvalidTransition, Refused
from eventvm.lifecycles import plugin
from eventvm.observation import Evidence, Observation
from eventvm.retry import Backoff
from eventvm.spec import Spec

EDGES = {
    "Uninstalled": {"Installing"},
    "Installing": {"Installed", "Failed"},
    "Installed": {"Building", "Validating", "Uninstalling", "Stopped"},
    "Building": {"Validating", "BuildFailed", "Failed"},
    "BuildFailed": {"Building", "Failed", "Uninstalling"},
    "Validating": {"Starting", "Failed", "Installed"},
    "Starting": {"Running", "Failed", "Degraded"},
    "Running": {"Stopping", "Degraded", "Failed", "Recovering", "Validating"},
    "Degraded": {"Recovering", "Stopping", "Failed"},
    "Recovering": {"Validating", "Failed"},
    "Stopping": {"Stopped", "Failed"},
    "Stopped": {"Validating", "Starting", "Uninstalling", "Installed"},
    "Failed": {"Validating", "Building", "Uninstalling", "Installed"},
    "Uninstalling": {"Uninstalled", "Failed"},
}
PAIRS = [pytest.param(a, b, id=f"{a}-{b}") for a, b in product(EDGES, EDGES)]
ACTIVE = {"Running", "Degraded"}


def at(life, phase, *, dev=True):
    """A plugin whose state is imported at a phase."""
    one = life("plugin", Spec(cpus=1, dev=dev), name="plug-1")
    one.create(phase=phase)
    assert one.phase == phase
    return one


def test_the_table_has_forty_one_edges_and_refuses_the_other_pairs():
    """Fourteen phases make 196 pairs."""
    allowed = [pair for pair in product(EDGES, EDGES) if plugin.allows(*pair)]
    assert (len(EDGES), len(allowed), len(EDGES) ** 2 - len(allowed)) == (14, 41, 155)
    assert not any(plugin.allows(phase, phase) for phase in EDGES)


@pytest.mark.parametrize(("phase", "to"), PAIRS)
def test_a_transition_is_taken_along_an_edge_and_refused_elsewhere(life, phase, to):
    """Refused it names from, to and the machine, and nothing has changed; the pure function agrees."""
    one = at(life, phase)
    wish = c.Transition(to=to, reason="because", data={"n": 1})
    assert plugin.allows(phase, to) == (to in EDGES[phase])
    if to in EDGES[phase]:
        generation = one.machine.generation
        assert one.send(wish) == "fact"
        assert (one.phase, one.machine.generation) == (to, generation + 1)
        assert (one.last.to, one.last.reason, one.last.data) == (to, "because", {"n": 1})
        assert one.tags[-1] == "machine.transitioned"
        assert one.calls == []
    else:
        error = one.refuses(wish, InvalidTransition)
        assert "invalid transition" in str(error)
        assert all(word in str(error) for word in (phase, to, "plug-1"))
        assert (error.machine, error.from_, error.to) == ("plug-1", phase, to)


@pytest.mark.parametrize("phase", EDGES)
def test_a_transition_to_no_phase_at_all_reads_unknown(life, phase):
    """It is an invalid transition like any other."""
    error = at(life, phase).refuses(c.Transition(to="Sleeping"), InvalidTransition)
    assert error.to == "Unknown"


@pytest.mark.parametrize(
    ("phase", "to"), [(a, b) for a, goals in EDGES.items() for b in goals if b in ("Building", "BuildFailed")]
)
def test_building_is_for_machines_under_development(life, phase, to):
    """Not marked dev, a machine is not moved there."""
    at(life, phase, dev=False).refuses(c.Transition(to=to), InvalidTransition)


@pytest.mark.parametrize(("phase", "to"), PAIRS)
def test_force_sets_any_phase_also_the_same(life, phase, to):
    """Without validation, but recorded: each force is a generation of its own."""
    one = at(life, phase)
    generation = one.machine.generation
    assert one.send(c.Force(to=to, reason="force: adopted at start")) == "fact"
    assert (one.phase, one.machine.generation, one.tags[-1]) == (to, generation + 1, "machine.forced")
    assert one.machine.reason == "force: adopted at start"
    assert one.counted("compute") == (to in ACTIVE)


def test_force_to_no_phase_at_all_is_refused(life):
    """It reads Unknown, and changes nothing."""
    error = at(life, "Running").refuses(c.Force(to="Sleeping", reason="r"), InvalidTransition)
    assert "Unknown" in str(error)


@pytest.mark.parametrize("phase", EDGES)
def test_a_known_state_is_imported_by_create(life, phase):
    """Recorded with its phase, and counted if it is at work."""
    one = at(life, phase)
    assert (one.tags, one.last.phase) == (["machine.created"], phase)
    assert one.booked == (["compute.start(boot)"] if phase in ACTIVE else [])
    assert one.machine.names == ("plug-1",)


def test_an_import_into_no_phase_at_all_is_refused(life):
    """What is decided must be able to happen, so it is refused before anything is written."""
    one = life("plugin")
    with one.untouched(), pytest.raises(Refused):
        one.create(phase="Sleeping")


def test_a_plugin_without_records_reads_uninstalled(life):
    """And creating it says nothing else."""
    one = life("plugin")
    assert one.phase == "Uninstalled"
    one.create()
    assert (one.phase, one.machine.exists) == ("Uninstalled", True)


@pytest.mark.parametrize("phase", EDGES)
def test_resting_and_active_are_the_originals(life, phase):
    """Resting includes Running; terminal means no way on, which no phase of a plugin is."""
    one = at(life, phase)
    assert one.machine.settled == (phase in {"Running", "Stopped", "Failed", "BuildFailed", "Uninstalled"})
    assert (phase in plugin.active) == (phase in ACTIVE)
    assert not one.machine.terminal


# --- meters -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "booked"),
    [
        (("Starting", "Running"), ["compute.start(boot)"]),
        (("Starting", "Degraded"), ["compute.start(boot)"]),
        (("Running", "Degraded"), ["compute.start(boot)"]),
        (("Running", "Stopping"), ["compute.start(boot)", "compute.stop(stop-user)"]),
        (("Running", "Failed"), ["compute.start(boot)", "compute.stop(stop-crash)"]),
        (("Running", "Recovering"), ["compute.start(boot)", "compute.stop(stop-crash)"]),
        (("Degraded", "Recovering"), ["compute.start(boot)", "compute.stop(stop-crash)"]),
        (
            ("Running", "Recovering", "Validating", "Starting", "Running"),
            ["compute.start(boot)", "compute.stop(stop-crash)", "compute.start(restart)"],
        ),
    ],
    ids="-".join,
)
def test_compute_counts_while_running_or_degraded(life, path, booked):
    """The first time is a boot, later ones are restarts; storage is not counted at all."""
    one = at(life, path[0])
    for to in path[1:]:
        one.send(c.Transition(to=to))
    assert one.booked == booked


# --- deaths -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "to", "booked"),
    [
        ("Running", "Recovering", ["compute.stop(stop-crash)"]),
        ("Degraded", "Recovering", ["compute.stop(stop-crash)"]),
        ("Stopping", "Stopped", []),
        ("Installing", "Failed", []),
        ("Building", "Failed", []),
        ("Validating", "Failed", []),
        ("Starting", "Failed", []),
        ("Uninstalling", "Failed", []),
    ],
)
def test_a_death_leads_where_the_phase_says(life, phase, to, booked):
    """At the time of the death, told once."""
    one = at(life, phase)
    mark, died = len(one.booked), one.tick(2)
    one.tick(9)
    seen = Observation("gone", Evidence("process", when=died), generation=one.machine.generation)
    one.see(seen)
    assert (one.phase, one.since(mark), one.last.at) == (to, booked, died)
    with one.untouched():
        one.see(seen)


@pytest.mark.parametrize("phase", sorted(plugin.settled))
def test_an_unknown_sighting_changes_nothing(life, phase):
    """Unknown never ages into gone."""
    one = at(life, phase)
    with one.untouched():
        one.see("unknown")


def test_the_end_may_be_left_again(life):
    """Uninstalled is the end of its life, and Installing a way on."""
    one = at(life, "Uninstalling")
    one.send(c.Transition(to="Uninstalled"))
    assert one.machine.names == ()
    one.send(c.Transition(to="Installing"))
    assert one.phase == "Installing"


@pytest.mark.parametrize("wish", [c.Start(), c.Stop(), c.Destroy(), c.Pause(), c.Snapshot(snapshot="s")])
@pytest.mark.parametrize("phase", EDGES)
def test_a_plugin_takes_no_verb_of_a_machine(life, phase, wish):
    """It is moved by its application, so these are invalid transitions."""
    at(life, phase).refuses(wish, InvalidTransition)


# --- retry --------------------------------------------------------------------------------------------


def test_the_backoff_doubles_from_one_second_to_a_minute():
    """After k advances 2, 4, 8, 16, 32; a sixth gives the cap."""
    backoff = Backoff()
    assert backoff.seconds(0) == 1
    assert [backoff.seconds(k) for k in range(1, 6)] == [2, 4, 8, 16, 32]
    assert backoff.seconds(6) == 60
    assert backoff.seconds(10_000) == 60


def test_five_attempts_are_the_limit():
    """Four may be followed by another, five may not."""
    assert [Backoff().can_retry(k) for k in (0, 4, 5, 6)] == [True, True, False, False]


def test_the_crash_backoff_is_two_four_eight_and_at_most_thirty():
    """The same value with other numbers."""
    crash = Backoff(first_seconds=2, cap_seconds=30, attempts=3)
    assert [crash.seconds(k) for k in range(6)] == [2, 4, 8, 16, 30, 30]
    assert [crash.can_retry(k) for k in (2, 3)] == [True, False]


def test_retries_are_recorded_and_reset_forgets_them(life):
    """They are a fold of the log, and they move neither phase nor generation."""
    one = at(life, "Failed")
    generation, seconds = one.machine.generation, []
    for _ in range(6):
        one.send(c.AdvanceRetry())
        seconds.append(Backoff().seconds(one.machine.attempts))
    assert seconds == [2, 4, 8, 16, 32, 60]
    assert (one.phase, one.machine.generation) == ("Failed", generation)
    one.send(c.ResetRetry(reason="by hand"))
    assert (one.machine.attempts, Backoff().seconds(one.machine.attempts)) == (0, 1)
    assert one.tags[-1] == "machine.retry_reset"
