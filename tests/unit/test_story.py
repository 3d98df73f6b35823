"""A story tells a row of a table in one line, and says plainly what is wrong with it."""

import pytest

from eventvm.commands import Attest, Create, Destroy, Start, Stop, Transition
from eventvm.errors import BadInput, ForceRequired, InvalidTransition, NotFound, StillAnswers
from eventvm.events import Abandoned, StartFailed, Stopped, Transitioned
from eventvm.lifecycles import cell, plugin, vm
from eventvm.observation import Clean, End, Evidence, Instant, Observation
from eventvm.testing import absent, given

CLEAN = End("graceful", Clean(3))
GONE = Attest(liveness="gone", reason="r")

TOLD = {
    "stop": lambda: given("vm", Start()).when(Stop()).then("machine.stopped").then_phase("stopped"),
    "calls": lambda: given(vm, Start()).when(Stop()).then_called("stop"),
    "stop fails": lambda: given(vm, Start()).when(Stop(), stop="fail").then("machine.stop_failed"),
    "stop fails: the phase": lambda: given(vm, Start()).when(Stop(), stop="fail").then_phase("error"),
    "stop fails: the ledger": lambda: given(vm, Start()).when(Stop(), stop="fail").then_booked(),
    "start fails": lambda: given(vm).when(Start(), start="fail").then(StartFailed).then_phase("error"),
    "start": lambda: given(vm).when(Start()).then_booked("compute.start(boot)").then_says(incarnation=1),
    "start is unclear": lambda: given(vm).when(Start(), start="unknown").then().then_open("launch"),
    "start runs already": lambda: given(vm, Start()).when(Start(), seen="alive").then().then_called(),
    "found gone": lambda: given(vm, Start()).when(seen="gone").then("machine.exited"),
    "found gone: the ledger": lambda: (
        given(vm, Start()).when(seen="gone").then_booked("compute.stop(stop-crash)")
    ),
    "cannot tell": lambda: given(vm, Start()).when(seen="unknown").then(),
    "force": lambda: given(vm, Start()).when(Destroy()).then(ForceRequired),
    "absent": lambda: absent(vm).when(Start()).then(NotFound).then_phase("absent"),
    "create": lambda: absent(cell).when(Create(name="c", lifecycle="x")).then("machine.created"),
    "a move": lambda: given(plugin, phase="Running").when(Transition(to="Stopping")).then(Transitioned),
    "no move": lambda: (
        given(plugin, phase="Running").when(Transition(to="Installed")).then(InvalidTransition)
    ),
    "passed over": lambda: (
        given(cell, Start()).when(Destroy(), stop="fail").then("machine.noted", "machine.destroyed")
    ),
    "an end": lambda: given(vm, Start()).when(Stop(), end=CLEAN).then_says(end=CLEAN),
    "attested": lambda: given(vm, Start()).after(10).when(GONE).then("machine.attested", "machine.exited"),
}


@pytest.mark.parametrize("row", TOLD)
def test_a_row_of_a_table_is_a_line(row):
    """What a phase makes of a command, an outcome or a sight."""
    assert TOLD[row]().refused is None


def test_what_was_unclear_is_concluded_by_what_is_seen():
    """The request stays open until a look can tell."""
    story = given(vm).when(Start(), start="unknown").then_open("launch")
    story.when(seen="unknown").then().then_open("launch")
    story.when(seen="alive").then("machine.started").then_open().then_phase("running")


def test_a_past_may_be_told_by_events():
    """An event is recorded as it stands, and the clock is the story's own."""
    story = given(vm, Start()).when(Stop(), stop="unknown").then_open("kill")
    now = story.life.now
    story.when(Abandoned(at=now, request=story.life.machine.request.position)).then("machine.abandoned")
    story.when(Stopped(at=now, end=None)).then_phase("stopped")


WRONG = {
    "facts": lambda: given(vm, Start()).when(Stop(), stop="fail").then("machine.stopped"),
    "too little": lambda: given(vm).when(Start()).then(),
    "a refusal that is none": lambda: given(vm).when(Start()).then(InvalidTransition),
    "another refusal": lambda: given(vm, Start()).when(Destroy()).then(StillAnswers),
    "no refusal": lambda: absent(vm).when(Start()).then("machine.started"),
    "a phase": lambda: given(vm).then_phase("running"),
    "a field": lambda: given(vm).when(Start()).then_says(incarnation=2),
    "the ledger": lambda: given(vm).when(Start()).then_booked(),
    "the calls": lambda: given(vm).when(Start()).then_called("stop"),
    "an open request": lambda: given(vm).when(Start()).then_open("start"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_story_that_is_not_true_fails(wrong):
    """Each thing that can be said has been seen to be false."""
    with pytest.raises(AssertionError):
        WRONG[wrong]()


def test_a_failure_shows_what_was_expected_what_came_and_the_row_of_the_table():
    """Whoever reads it need not look the table up."""
    with pytest.raises(AssertionError) as caught:
        given(vm, Start(), name="db-1").when(Stop(), stop="fail").then("machine.stopped")
    assert str(caught.value).splitlines() == [
        "what follows of vm db-1, running, when stop (stop: fail):",
        "  expected  machine.stopped",
        "  actual    machine.stop_failed",
        "  row       running, stop: effect kill",
    ]


def test_a_failed_move_shows_the_moves_that_there_are():
    """And a refusal's own sentence."""
    with pytest.raises(AssertionError) as caught:
        given("plugin", phase="Stopping").when(Transition(to="Running")).then("machine.transitioned")
    told = str(caught.value)
    assert "InvalidTransition" in told
    assert "moves of Stopping: Stopped, Failed" in told


def test_a_refusal_that_nobody_expected_is_raised_before_the_story_goes_on():
    """A row that is never looked at proves nothing."""
    story = given(vm, Start()).when(Destroy())
    with pytest.raises(ForceRequired):
        story.when(Stop())
    with pytest.raises(ForceRequired):
        story.then_phase("running")


@pytest.mark.parametrize("comes_to", [{"stopp": "fail"}, {"stop": "fails"}], ids=str)
def test_a_word_that_the_world_does_not_know_is_refused(comes_to):
    """A story with a slip in it would prove nothing."""
    with pytest.raises(BadInput):
        given(vm, Start()).when(Stop(), **comes_to)


def test_a_past_that_is_refused_is_no_past():
    """What is given must have happened."""
    with pytest.raises(ForceRequired):
        given(vm, Start(), Destroy())


def test_a_sight_that_is_late_changes_nothing():
    """An observation is taken whole: its incarnation counts."""
    late = Observation("gone", Evidence("probe", incarnation=1, when=Instant(1, 1, "b")))
    given(vm, Start(), Stop(), Start()).when(seen=late).then()


SENSELESS = {
    "no lifecycle 'vms'; there is cell": lambda: given("vms"),
    "phase is refused": lambda: given("plugin", phase="running"),
    "command is refused": lambda: given(vm).when("start"),
    "command is refused: it": lambda: given(vm, "start"),
}


@pytest.mark.parametrize("sentence", SENSELESS)
def test_a_story_that_cannot_be_told_is_refused_with_a_sentence(sentence):
    """A word that is none is no failure of what is tried."""
    with pytest.raises(BadInput, match=sentence):
        SENSELESS[sentence]()
