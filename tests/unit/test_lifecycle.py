"""Definitions and their laws: what contradicts itself cannot be built, and what is decided can happen."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from eventvm import commands as c
from eventvm import events, lifecycle_laws
from eventvm.decisions import decide, reachable
from eventvm.errors import DefinitionRefused, IllegalEvent, InvalidTransition, NotFound, Refused
from eventvm.lifecycle import Lifecycle, Rules, arrows, encode
from eventvm.lifecycle_laws import AT, WISHES, placed
from eventvm.lifecycles import LIFECYCLES
from eventvm.machine import blank, evolve
from eventvm.observation import Evidence, Instant, Observation
from eventvm.record import Record
from eventvm.spec import Spec
from eventvm.tables import (
    ANY,
    NEUTRAL,
    Arrow,
    Ask,
    Effect,
    Fact,
    Look,
    Nothing,
    Refuse,
    Step,
    closes,
    keeps,
    opens,
)
from eventvm.testing import check_lifecycle

# --- a small lifecycle to break -----------------------------------------------------------------------


def slot(**changes):
    """A user's own lifecycle: a GPU slot with a meter of its own, started by effect and drained by moves."""
    parts = {
        "name": "gpu-slot",
        "initial": "empty",
        "phases": ("empty", "idle", "busy", "draining", "retired"),
        "settled": ("idle", "busy", "retired"),
        "ends": ("retired",),
        "frees": ("empty", "retired"),
        "faulty": ("draining",),
        "active": ("busy",),
        "titles": {"busy": "Busy"},
        "counts": {"gpu": ("busy",)},
        "may_count": {"gpu": ("draining",)},
        "effects": {
            "make": (Step("create", "machine.created", "machine.create_failed", "exists"),),
            "load": (Step("start", "machine.started", "machine.start_failed", "alive"),),
            "retire": (
                Step("stop"),
                Step("destroy", "machine.destroyed", "machine.destroy_failed", "absent"),
            ),
        },
        "rows": {
            ANY: {"attest": Fact("machine.attested")},
            "empty": {"create": Effect("make"), "start": Refuse("not_found")},
            "idle": {
                "start": Look(
                    alive=Nothing(), gone=Ask("dev", yes=Effect("load"), no=Refuse("unsupported", "load"))
                ),
                "destroy": Effect("retire"),
            },
            "busy": {"use": Nothing(), "destroy": Refuse("force_required")},
            "draining": {"destroy": Effect("retire")},
        },
        "arrows": {
            "empty": {"machine.created": Arrow("idle"), "machine.create_failed": Arrow()},
            "idle": {
                "machine.started": Arrow("busy", (opens("gpu"),)),
                "machine.start_failed": Arrow(),
                "machine.destroyed": Arrow("retired"),
                "machine.destroy_failed": Arrow(),
            },
            "busy": {"machine.exited": Arrow("idle", (closes("gpu", "stop-crash"),))},
            "draining": {
                "machine.destroyed": Arrow("retired", (closes("gpu", "stop-user"),)),
                "machine.destroy_failed": Arrow(),
            },
        },
        "moves": {"busy": ("idle", "draining"), "draining": ("idle",)},
        "needs": {"draining": "dev"},
        "found": {"busy": {"gone": Fact("machine.exited")}},
    }
    return Lifecycle(**{**parts, **{field: change(parts[field]) for field, change in changes.items()}})


def also(**more):
    """Add entries to a table."""
    return lambda table: {**table, **more}


def row(phase, **more):
    """Add entries to one row of a table of rows."""
    return lambda table: {
        **table,
        phase: {**table.get(phase, {}), **{k.replace("__", "."): v for k, v in more.items()}},
    }


def listed(phase):
    return lambda phases: (*phases, phase)


def effect(*made):
    return also(load=made)


GOOD = Step("start", "machine.started", "machine.start_failed", "alive")

BROKEN = {
    "initial": ({"initial": lambda _: "nowhere"}, "initial", "unknown phase 'nowhere'"),
    "settled": ({"settled": listed("nowhere")}, "settled", "unknown phase 'nowhere'"),
    "ends": ({"ends": listed("nowhere")}, "ends", "unknown phase 'nowhere'"),
    "frees": ({"frees": listed("nowhere")}, "frees", "unknown phase 'nowhere'"),
    "faulty": ({"faulty": listed("nowhere")}, "faulty", "unknown phase 'nowhere'"),
    "active": ({"active": listed("nowhere")}, "active", "unknown phase 'nowhere'"),
    "titles": ({"titles": also(nowhere="N")}, "titles", "unknown phase 'nowhere'"),
    "counts": (
        {"counts": lambda t: {"gpu": (*t["gpu"], "nowhere")}},
        "counts gpu",
        "unknown phase 'nowhere'",
    ),
    "may_count": ({"may_count": also(gpu=("nowhere",))}, "may_count gpu", "unknown phase 'nowhere'"),
    "rows": ({"rows": also(nowhere={})}, "rows", "unknown phase 'nowhere'"),
    "arrows": ({"arrows": also(nowhere={})}, "arrows", "unknown phase 'nowhere'"),
    "found": ({"found": also(nowhere={})}, "found", "unknown phase 'nowhere'"),
    "needs": ({"needs": also(nowhere="dev")}, "needs", "unknown phase 'nowhere'"),
    "moves from": ({"moves": also(nowhere=("idle",))}, "moves of nowhere", "unknown phase 'nowhere'"),
    "moves to": ({"moves": also(busy=("nowhere",))}, "moves of busy", "unknown phase 'nowhere'"),
    "an arrow's goal": (
        {"arrows": row("idle", machine__start_failed=Arrow("nowhere"))},
        "arrow idle, machine.start_failed",
        "unknown phase 'nowhere'",
    ),
    "a phase twice": ({"phases": listed("idle")}, "phases", "listed twice"),
    "no way to an end": (
        {"phases": listed("limbo"), "moves": also(idle=("limbo",))},
        "phase limbo",
        "no way leads from it to an end",
    ),
    "a forgotten meter": (
        {"arrows": row("busy", machine__exited=Arrow("idle"))},
        "arrow busy, machine.exited",
        "the meter gpu",
    ),
    "a forgotten meter that may count": (
        {"arrows": row("draining", machine__destroyed=Arrow("retired"))},
        "arrow draining, machine.destroyed",
        "the meter gpu",
    ),
    "a meter forgotten on the way in": (
        {"arrows": row("idle", machine__started=Arrow("busy"))},
        "arrow idle, machine.started",
        "the meter gpu",
    ),
    "an unknown effect": (
        {"rows": row("busy", stop=Effect("fly"))},
        "row busy, stop",
        "unknown effect 'fly'",
    ),
    "an unknown effect behind a look": (
        {"rows": row("busy", stop=Look(alive=Effect("fly"), gone=Nothing()))},
        "row busy, stop",
        "unknown effect 'fly'",
    ),
    "an unknown call": (
        {"effects": effect(replace(GOOD, call="fly"))},
        "effect load",
        "knows the call 'fly'",
    ),
    "an unknown sign": ({"effects": effect(replace(GOOD, shows="omens"))}, "effect load", "shows 'omens'"),
    "an unknown refusal": (
        {"rows": row("busy", stop=Refuse("no_mood"))},
        "row busy, stop",
        "unknown refusal 'no_mood'",
    ),
    "an unknown question of a need": (
        {"needs": also(draining="mood")},
        "needs draining",
        "unknown question 'mood'",
    ),
    "an unknown question in a row": (
        {"rows": row("busy", stop=Ask("mood", yes=Nothing(), no=Nothing()))},
        "busy, stop",
        "unknown question 'mood'",
    ),
    "an unknown question in what is found": (
        {"found": row("busy", gone=Ask("mood", yes=Nothing(), no=Nothing()))},
        "busy, gone",
        "unknown question 'mood'",
    ),
    "an effect without steps": ({"effects": effect()}, "effect load", "which events tell that it worked"),
    "a last step without an event": (
        {"effects": effect(replace(GOOD, ok=None))},
        "effect load",
        "which events tell that it worked",
    ),
    "two steps with the same event": ({"effects": effect(GOOD, GOOD)}, "effect load", "the same event"),
    "an arrow for a move": (
        {"arrows": row("busy", machine__transitioned=Arrow("idle", (keeps("gpu"),)))},
        "arrow busy, machine.transitioned",
        "list it under moves",
    ),
    "an arrow for a force": (
        {"arrows": row("busy", machine__forced=Arrow("idle", (keeps("gpu"),)))},
        "arrow busy, machine.forced",
        "list it under moves",
    ),
    "an unknown event": (
        {"arrows": row("idle", machine__levitated=Arrow())},
        "arrow idle, machine.levitated",
        "unknown event type",
    ),
    "a fact that cannot happen": (
        {"rows": row("busy", stop=Fact("machine.stopped"))},
        "row busy, stop",
        "no arrow for machine.stopped",
    ),
    "a sighting that cannot happen": (
        {"found": also(idle={"gone": Fact("machine.exited")})},
        "found idle, gone",
        "no arrow for machine.exited",
    ),
    "an effect whose outcome cannot happen": (
        {"rows": row("busy", start=Effect("load"))},
        "row busy, start",
        "effect load: no arrow for machine.started from busy",
    ),
    "an unknown command": ({"rows": row("busy", fly=Nothing())}, "row busy, fly", "'fly' is none of"),
    "an unknown sighting": ({"found": row("busy", limp=Nothing())}, "found busy, limp", "'limp' is none of"),
    "a sighting that is refused": (
        {"found": row("busy", gone=Refuse())},
        "found busy, gone",
        "only be a fact",
    ),
    "an unknown event of a step": (
        {"effects": effect(replace(GOOD, failed="machine.levitated"))},
        "effect load",
        "unknown event type 'machine.levitated'",
    ),
    "a last step without a failure": (
        {"effects": effect(replace(GOOD, failed=None))},
        "effect load",
        "and that it failed",
    ),
    "a meter that counts nowhere": (
        {"arrows": row("idle", machine__start_failed=Arrow(meters=(opens("tpu"),)))},
        "arrow idle, machine.start_failed",
        "counts in no phase",
    ),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_definition_that_contradicts_itself_is_refused_and_the_row_is_named(broken):
    """It cannot be built, and the message says which row has to be mended."""
    changes, where, why = BROKEN[broken]
    with pytest.raises(DefinitionRefused) as refused:
        slot(**changes)
    assert where in refused.value.row
    assert refused.value.lifecycle == "gpu-slot"
    assert all(words in str(refused.value) for words in ("gpu-slot", where, why))


def test_an_encoded_definition_that_contradicts_itself_is_refused_as_well():
    """A recorded definition is checked like one that is written in Python."""
    body = encode(slot()).replace(b'"initial":"empty"', b'"initial":"nowhere"')
    with pytest.raises(ValueError, match="unknown phase 'nowhere'"):
        msgspec.json.decode(body, type=Lifecycle)


# --- a user's own lifecycle ---------------------------------------------------------------------------


def test_a_users_own_lifecycle_lives_like_the_built_in_ones(life):
    """Its effects, moves, questions and its own meter, with nothing but its definition."""
    one = life(slot(), Spec(cpus=1, dev=True))
    one.probe = "gone"
    one.refuses(c.Start(), NotFound)
    one.create()
    one.send(c.Start())
    assert (one.phase, one.calls, one.booked) == ("busy", ["create", "start"], ["gpu.start(boot)"])
    one.tick(30)
    one.send(c.Transition(to="draining", reason="maintenance", data={"by": 7}))
    assert (one.phase, one.counted("gpu"), one.last.data) == ("draining", True, {"by": 7})
    one.send(c.Transition(to="idle"))
    assert one.booked == ["gpu.start(boot)", "gpu.stop(stop-user)"]
    one.send(c.Start())
    one.see("gone")
    assert (one.phase, one.booked[-2:]) == ("idle", ["gpu.start(restart)", "gpu.stop(stop-crash)"])
    one.refuses(c.Transition(to="busy"), InvalidTransition)
    one.send(c.Destroy())
    assert (one.phase, one.machine.terminal, one.machine.names) == ("retired", True, ())
    assert sum(each.ns for each in one.intervals()) == 30 * 1_000_000_000


def test_a_need_bars_only_the_machines_that_do_not_meet_it(life):
    """The question is asked of the record."""
    one = life(slot(), Spec(cpus=1, dev=False))
    one.append(events.Created(at=one.now, name="web-1", lifecycle="x", spec=one.spec))
    one.append(events.Started(at=one.now, incarnation=1))
    one.refuses(c.Transition(to="draining"), InvalidTransition)


# --- laws of every lifecycle --------------------------------------------------------------------------

EVERY = pytest.mark.parametrize("definition", [*LIFECYCLES.values(), slot()], ids=lambda one: one.name)


@EVERY
@pytest.mark.parametrize("law", lifecycle_laws.LAWS, ids=lambda law: law.__name__)
def test_a_lifecycle_keeps_the_law(definition, law):
    """Each law that users hold their own definitions to."""
    law(definition)


@EVERY
def test_the_digest_changes_with_the_definition(definition):
    """It names what a machine lives under."""
    assert Rules(replace(definition, name=f"{definition.name}-2")).digest != Rules(definition).digest


ALIVE_TO_THE_END = {"cell": ("completed",)}
"""Its work is done and its end is all that is left to it, as in the original."""


@EVERY
def test_nobody_is_stuck(definition):
    """A phase in which a machine may be alive is one of work, or has a way on that does not destroy it."""
    check_lifecycle(definition, doomed=ALIVE_TO_THE_END.get(definition.name, ()))


@EVERY
def test_a_settled_or_ended_machine_reaches_nothing_by_itself_but_what_is_found(definition):
    """Without a request, only sightings can still move it."""
    rules = Rules(definition)
    for phase in definition.phases:
        if not definition.found.get(phase):
            assert reachable(placed(rules, phase)) == {phase}


# --- what cannot happen -------------------------------------------------------------------------------


@EVERY
def test_what_no_arrow_tells_of_cannot_happen(definition):
    """Every other event is illegal history, and the fold says where."""
    rules = Rules(definition)
    for phase in definition.phases:
        table = arrows(definition, phase)
        for tag, kind in events.EVENTS.items():
            if tag in table or tag in NEUTRAL or tag in ("machine.transitioned", "machine.forced"):
                continue
            fields = {
                field.name: sample(field)
                for field in msgspec.structs.fields(kind)
                if field.required
            }  # fmt: skip
            with pytest.raises(IllegalEvent) as illegal:
                evolve(placed(rules, phase), kind(**fields), 9)
            assert illegal.value.position == 9


def sample(field):
    return {"at": AT, "fault": lifecycle_laws.FAULT}.get(field.name, "x")


@EVERY
def test_a_refusal_names_the_phase_as_the_original_writes_it(definition):
    """And all its fields stay readable."""
    rules = Rules(definition)
    for phase in definition.phases:
        with pytest.raises(Refused) as refused:
            decide(placed(rules, phase, dev=False), c.Transition(to="no such phase"))
        assert refused.value.phase == refused.value.from_ == definition.title(phase)
        assert refused.value.to == "Unknown"


# --- laws over histories ------------------------------------------------------------------------------

RESULTS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(
        ("create", "start", "stop", "pause", "resume", "snapshot", "delete_snapshot", "restore", "rename",
         "disconnect", "destroy"),
        st.sampled_from(["ok", "fail", "unknown"]),
    ),
)  # fmt: skip
SIGHT = st.builds(
    Observation,
    st.sampled_from(["alive", "gone", "unknown"]),
    st.builds(Evidence, st.just("probe"), incarnation=st.integers(0, 4)),
    exists=st.sampled_from([None, True, False]),
    paused=st.sampled_from([None, True, False]),
    snapshots=st.sampled_from([None, (), ("s", "t")]),
    name=st.sampled_from([None, "n", "o"]),
)
ACTS = st.lists(st.tuples(st.sampled_from(WISHES), RESULTS, SIGHT, st.booleans()), max_size=25)


def live(life, definition, acts):
    """Live through some acts, however often they are refused."""
    one = life(definition, Spec(cpus=2, dev=True), name="n")
    one.create()
    for wish, world, seen, moves in acts:
        one.tick()
        one.world, one.probe = world, seen
        if one.machine.request is not None:
            one.recover(seen)
        if one.machine.request is not None:
            one.append(events.Abandoned(at=one.now, request=one.machine.request.position))
        one.see(seen)
        ways = one.rules.definition.moves.get(one.phase)
        move = c.Transition(to=ways[one.now.wall // 10**9 % len(ways)]) if ways else wish
        attempt(one, move if moves else wish)
    return one


def attempt(one, wish):
    before = (one.machine, len(one.records), len(one.calls))
    try:
        one.send(wish)
    except Refused:
        reported = one.tags[before[1] :]
        assert reported in ([], ["machine.exited"]), "a refusal appends nothing; a death on the way is a fact"
        if not reported:
            assert before == (one.machine, len(one.records), len(one.calls))


@EVERY
def test_folding_the_history_gives_the_machine_and_its_ledger(life, definition):
    """Replay from the first record: phase, ledger, snapshots, names, retries and generation are identical."""

    @given(ACTS)
    def law(acts):
        one = live(life, definition, acts)
        again = life(msgspec.json.decode(encode(definition), type=Lifecycle), name="n")
        again.machine = replace(again.machine, rules=one.rules)
        for record in one.records:
            assert isinstance(record, Record)
            again.now = Instant(record.recorded_at, 0, "")
            again.append(events.decode(record.body), record.actor)
        assert again.machine == one.machine
        assert again.entries == one.entries

    law()


@EVERY
def test_each_meter_counts_in_its_phases_and_in_no_others(life, definition):
    """Counted where the table counts, not where it does not, and either where it may."""

    @given(ACTS)
    def law(acts):
        one = live(life, definition, acts)
        machine = blank("machine/1", one.rules, "n")
        for record in one.records:
            machine = evolve(machine, record.event, record.position)
            for meter, phases in definition.counts.items():
                if machine.phase not in definition.may_count.get(meter, ()):
                    counted = machine.counted(meter) is not None
                    assert counted == (machine.phase in phases), (meter, machine.phase)

    law()


@EVERY
def test_every_start_has_at_most_one_stop(life, definition):
    """Entries alternate and begin with a start, and what is left open is what the machine counts."""

    @given(ACTS)
    def law(acts):
        one = live(life, definition, acts)
        edges = {}
        for entry in one.entries:
            edges.setdefault((entry.meter, entry.subject), []).append(entry.edge)
        for each in edges.values():
            assert each[0] == "start"
            assert all(first != second for first, second in pairwise(each))
        still = {subject for subject, each in edges.items() if each[-1] == "start"}
        assert still == {(each.meter, each.subject) for each in one.machine.open}
        assert sum(each.stop is None for each in one.intervals(as_of=one.tick())) == len(still)

    law()


@EVERY
def test_the_generation_counts_the_events_that_set_the_phase(life, definition):
    """The version counts all of them, and the position is that of the last."""

    @given(ACTS)
    def law(acts):
        one = live(life, definition, acts)
        machine, sets = blank("machine/1", one.rules, "n"), 0
        for record in one.records:
            after = evolve(machine, record.event, record.position)
            sets += after.since == record.position
            assert after.phase == machine.phase or after.since == record.position
            machine = after
        assert (machine.generation, machine.version, machine.position) == (
            sets,
            len(one.records),
            len(one.records),
        )

    law()


# --- meters by profile --------------------------------------------------------------------------------

METERS = {
    "vm": (
        {"running", "paused"}, {"error"}, {"created", "running", "paused", "stopped", "error"},
    ),
    "hcsshim": ({"running"}, {"invalid"}, {"created", "running", "invalid"}),
    "plugin": ({"Running", "Degraded"}, set(), set()),
    "microvm": ({"running", "stopped"}, set(), {"created", "running", "stopped"}),
    "cell": ({"started", "completed"}, set(), set()),
}  # fmt: skip


@pytest.mark.parametrize("name", METERS)
def test_the_meters_of_each_profile(name):
    """Where compute counts, where it goes on if it did before, and where storage counts."""
    definition = LIFECYCLES[name]
    compute, may, storage = METERS[name]
    assert set(definition.counts.get("compute", ())) == compute
    assert set(definition.may_count.get("compute", ())) == may
    assert set(definition.counts.get("storage", ())) == storage
    assert definition.may_count.get("storage") is None
    assert definition.counts.keys() <= {"compute", "storage"}


@EVERY
def test_an_unknown_phase_reads_unknown(definition):
    """Whatever it is, and never as an error."""
    for strange in ("", "nowhere", None, 3, ("a",), b"x"):
        assert definition.title(strange) == "Unknown"
