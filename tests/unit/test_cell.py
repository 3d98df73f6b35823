"""`cell`: lives once, and its end is told on two axes that do not depend on each other."""

from itertools import product

import msgspec
import pytest

from eventvm import commands as c
from eventvm import events
from eventvm.errors import AlreadyExists, IllegalEvent, InvalidTransition, LogDamaged, NotFound, Refused
from eventvm.machine import evolve
from eventvm.observation import (
    Absent,
    Clean,
    End,
    Evidence,
    Forced,
    Instant,
    Observation,
    Observed,
    Termination,
)

AT = Instant(1, 1, "b")
FORCED = c.Destroy(force=True, reason="ttl_exceeded")
PHASES = ("absent", "pending", "started", "completed", "destroyed")
ROUTES = {
    "pending": (),
    "started": (c.Start(),),
    "completed": (c.Start(), c.Complete(code=3)),
    "destroyed": (c.Start(), c.Destroy()),
}


def reach(life, phase):
    """Bring a cell to a phase by commands."""
    one = life("cell")
    if phase != "absent":
        one.create()
        one.stage(*ROUTES[phase])
    assert one.phase == phase
    return one


WISHES = {
    "create": c.Create(name="web-1", lifecycle="x"),
    "start": c.Start(),
    "complete": c.Complete(code=0),
    "destroy": c.Destroy(),
    "forced destroy": FORCED,
    "stop": c.Stop(),
    "pause": c.Pause(),
    "restore": c.Restore(snapshot="s"),
    "snapshot": c.Snapshot(snapshot="s"),
    "rename": c.Rename(name="web-2"),
    "force": c.Force(to="started"),
}
LEADS = {
    ("absent", "create"): "pending",
    ("pending", "start"): "started",
    ("started", "complete"): "completed",
    **dict.fromkeys(product(("pending", "started", "completed"), ("destroy", "forced destroy")), "destroyed"),
}


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("phase", PHASES)
def test_the_table_of_phases_and_commands(life, phase, wish):
    """Each leads where the table says, or is refused without a trace."""
    one = reach(life, phase)
    if (phase, wish) in LEADS:
        one.send(WISHES[wish])
        assert one.phase == LEADS[phase, wish]
    else:
        with one.untouched(), pytest.raises(Refused):
            one.send(WISHES[wish])


@pytest.mark.parametrize(
    ("phase", "wish", "error"),
    [
        ("absent", c.Start(), NotFound),
        ("absent", c.Destroy(), NotFound),
        ("pending", c.Create(name="web-1", lifecycle="x"), AlreadyExists),
        ("started", c.Start(), InvalidTransition),
        ("completed", c.Complete(code=0), InvalidTransition),
        ("destroyed", c.Destroy(), InvalidTransition),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "row", None),
)
def test_a_refusal_says_what_kind_it_is(life, phase, wish, error):
    """A cell lives once."""
    reach(life, phase).refuses(wish, error)


def test_a_completed_command_does_not_end_the_cell(life):
    """Its authenticated code is on its own record, and compute goes on."""
    one = reach(life, "started")
    mark = len(one.booked)
    one.send(c.Complete(code=42))
    assert (one.phase, one.last.code, one.since(mark)) == ("completed", 42, [])
    assert one.counted("compute")
    assert one.machine.end is None


def test_compute_counts_from_started_to_destroyed(life):
    """And storage does not count at all."""
    one = reach(life, "pending")
    assert one.booked == []
    one.send(c.Start())
    one.send(c.Destroy())
    assert one.booked == ["compute.start(boot)", "compute.stop(stop-user)"]


def test_a_failed_boot_destroys_it_with_the_outcome_failed(life):
    """Nothing was counted, and it is over."""
    one = reach(life, "pending")
    one.world = {"start": "fail"}
    assert one.send(c.Start()) == "failed"
    assert (one.phase, one.last.outcome, one.booked) == ("destroyed", "failed", [])
    assert one.last.end.terminal_state != "clean"


def test_a_failed_boot_keeps_its_cause_as_the_reason(life):
    """Verbatim, for a destroyed cell has no other field that could tell what went wrong."""
    one = reach(life, "pending")
    one.world = {"start": "fail"}
    one.send(c.Start())
    assert one.last.reason == "start broke"


@pytest.mark.parametrize("phase", ["started", "completed"])
def test_a_forced_end_carries_no_code_also_after_a_completed_command(life, phase):
    """The exit code belongs to the completed command; the end itself was forced, and succeeded."""
    one = reach(life, phase)
    one.send(FORCED)
    body = msgspec.json.decode(one.records[-1].body)
    assert (one.last.end, one.last.outcome) == (End("killed", Forced()), "succeeded")
    assert body["end"]["termination"] == {"kind": "forced"}
    assert "code" not in one.records[-1].body.decode()
    assert one.last.reason == "ttl_exceeded"


@pytest.mark.parametrize("outcome", ["succeeded", "failed"])
@pytest.mark.parametrize("end", [End("graceful", Clean(1)), End("killed", Forced())], ids=["clean", "forced"])
def test_outcome_and_terminal_state_are_independent(life, end, outcome):
    """All four combinations can be recorded, and each reads back as it was."""
    one = reach(life, "started")
    one.append(events.Destroyed(at=one.now, end=end, outcome=outcome))
    read = events.decode(one.records[-1].body)
    assert (read.end.terminal_state, read.outcome) == (end.terminal_state, outcome)
    assert one.machine.end == end


def test_a_clean_end_keeps_its_code_and_may_follow_a_failure_of_the_command(life):
    """Succeeded means that no phase failed, whatever the exit code."""
    one = reach(life, "started")
    one.end = End("graceful", Clean(9))
    one.send(c.Destroy())
    assert (one.last.end.termination.code, one.last.end.terminal_state, one.last.outcome) == (
        9,
        "clean",
        "succeeded",
    )


@pytest.mark.parametrize("phase", ["started", "completed"])
def test_a_cell_that_is_gone_is_destroyed(life, phase):
    """Lost without evidence; compute is closed as a crash at the time that the evidence supports."""
    one = reach(life, phase)
    mark, died = len(one.booked), one.tick(3)
    one.tick(10)
    one.see(Observation("gone", Evidence("probe", when=died)))
    assert (one.phase, one.last.end) == ("destroyed", End("lost", Forced()))
    assert one.since(mark) == ["compute.stop(stop-crash)"]
    assert one.entries[-1].at == died


@pytest.mark.parametrize(
    "reason",
    [
        "oom", "ttl_exceeded", "vmm_crashed", "boot_failed", "signal_killed", "init_crashed",
        "kernel_cannot_mount_root", "  Free text, verbatim:\n\tüñí ",
    ],
)  # fmt: skip
def test_a_reason_is_kept_verbatim(life, reason):
    """Known words and free text alike."""
    one = reach(life, "started")
    one.send(c.Destroy(force=True, reason=reason))
    assert events.decode(one.records[-1].body).reason == reason


def test_a_foreign_claim_of_a_code_is_text_and_never_an_exit_code(life):
    """Forced with a code: the code is kept as untrusted text beside an end that has none."""
    one = reach(life, "started")
    one.append(
        events.Destroyed(at=one.now, end=End("killed", Forced()), outcome="failed", claim="exitCode=137")
    )
    read = events.decode(one.records[-1].body)
    assert (read.claim, read.end.terminal_state) == ("exitCode=137", "forced")
    assert not hasattr(read.end.termination, "code")


def test_destroyed_happens_once(life):
    """A second one in the log is illegal, and is named with its position."""
    one = reach(life, "destroyed")
    again = events.Destroyed(at=one.now, end=End("killed", Forced()), outcome="failed")
    with one.untouched(), pytest.raises(IllegalEvent, match=r"machine\.destroyed .*position 77") as illegal:
        evolve(one.machine, again, 77)
    assert illegal.value.position == 77


@pytest.mark.parametrize("phase", ["pending", "started", "completed"])
def test_an_attested_death_settles_every_living_phase(life, phase):
    """By itself, or by the forced destroy that no longer asks the provider."""
    one = reach(life, phase)
    one.send(c.Attest(liveness="gone", reason="host is scrap"))
    if one.phase != "destroyed":
        one.send(FORCED)
    assert (one.phase, one.calls, one.machine.open) == ("destroyed", [], ())


def test_a_pending_cell_that_is_alive_is_started(life):
    """Its start was not recorded, and its compute counts from now on."""
    one = reach(life, "pending")
    one.see("alive")
    assert (one.phase, one.booked) == ("started", ["compute.start(boot)"])


def test_the_name_is_free_after_the_end(life):
    """Each cell has an id of its own."""
    assert reach(life, "destroyed").machine.names == ()


# --- how an end is recorded, for every profile --------------------------------------------------------

ENDS = {
    "verified code, after a stop": (End("graceful", Clean(0)), "clean", {"kind": "clean", "code": 0}),
    "verified code, already over": (End("already_exited", Clean(3)), "clean", {"kind": "clean", "code": 3}),
    "bridge broke, we killed it": (End("killed", Forced()), "forced", {"kind": "forced"}),
    "powered off, no verified code": (End("graceful", Forced()), "forced", {"kind": "forced"}),
    "panicked, no verified code": (End("crashed", Forced()), "forced", {"kind": "forced"}),
    "found gone, no evidence": (End("lost", Forced()), "forced", {"kind": "forced"}),
    "own process, exit seen": (End("graceful", Observed(code=0)), None, {"kind": "observed", "code": 0}),
    "own process, crash seen": (End("crashed", Observed(code=1)), None, {"kind": "observed", "code": 1}),
    "own process, killed by signal": (
        End("killed", Observed(signal="SIGKILL")), None, {"kind": "observed", "signal": "SIGKILL"},
    ),
    "own process, crashed by signal": (
        End("crashed", Observed(signal="SIGSEGV")), None, {"kind": "observed", "signal": "SIGSEGV"},
    ),
    "own process, shim gone too": (End("lost", Absent()), None, {"kind": "absent"}),
}  # fmt: skip


@pytest.mark.parametrize("row", ENDS)
def test_each_end_is_written_and_read_as_its_row_says(row):
    """The manner beside the termination; no key stands where there is nothing to say."""
    end, state, termination = ENDS[row]
    body = msgspec.json.decode(msgspec.json.encode(end))
    assert end.terminal_state == state
    assert body == {"manner": end.manner, "termination": termination}
    assert msgspec.convert(body, End) == end


def test_a_forced_end_has_no_field_that_could_hold_a_code():
    """Not 0, not 137, not -1: it cannot be represented."""
    assert Forced.__struct_fields__ == ()
    with pytest.raises(TypeError):
        Forced(137)
    with pytest.raises(TypeError):
        Forced(code=0)
    with pytest.raises(AttributeError):
        Forced().code = 0


@pytest.mark.parametrize("code", [0, 137, -1, None])
@pytest.mark.parametrize("kind", ["forced", "absent"])
def test_reading_a_forced_end_with_a_code_is_refused(kind, code):
    """On the wire and in the log alike, where it is damage."""
    body = {"kind": kind, "code": code}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(body, Termination)
    destroyed = {
        "type": "machine.destroyed", "at": {"wall": 1, "boot": 1, "boot_id": "b"}, "outcome": "failed",
        "end": {"manner": "killed", "termination": body},
    }  # fmt: skip
    with pytest.raises(LogDamaged):
        events.decode(msgspec.json.encode(destroyed))


@pytest.mark.parametrize("fields", [{}, {"code": 1, "signal": "SIGTERM"}, {"code": 0, "signal": ""}])
def test_an_observed_end_has_either_a_code_or_a_signal(fields):
    """Neither none nor both, in Python and on the wire."""
    with pytest.raises(ValueError, match="either a code or a signal"):
        Observed(**fields)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"kind": "observed", **fields}, Termination)


def test_a_clean_end_needs_its_code():
    """Verified, so it is known."""
    with pytest.raises(TypeError):
        Clean()
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"kind": "clean"}, Termination)
