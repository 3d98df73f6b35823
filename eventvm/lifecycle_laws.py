"""The laws of a lifecycle: what every definition owes to those who live under it; pure, without an engine."""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import msgspec
from msgspec.structs import replace

from eventvm import commands as c
from eventvm import events
from eventvm.commands import Command
from eventvm.decisions import Decision, Outcome, conclude, decide, plan
from eventvm.errors import IllegalEvent, Refused
from eventvm.lifecycle import Lifecycle, Rules, answers, arrows, encode
from eventvm.machine import Machine, Open, Request, blank, evolve, steps
from eventvm.observation import Evidence, Instant, Observation
from eventvm.spec import RestoreFrom, Shape, Spec
from eventvm.tables import Answer, Effect, Fact, Look, Step, leaves

AT = Instant(1, 1, "boot-1")
FAULT = events.Fault("Broken", "it broke")
WISHES: tuple[Command, ...] = (
    c.Create(name="n", lifecycle="x"),
    c.Create(name="n", lifecycle="x", spec=Spec(restore_from=RestoreFrom("m", "s"))),
    c.Create(name="n", lifecycle="x", spec=Spec(restore_from=RestoreFrom("m", "s", resume_immediately=True))),
    c.Clone(name="n", lifecycle="x", source="m", snapshot="s"),
    c.Start(), c.Stop(), c.Pause(), c.Resume(), c.Hibernate(snapshot="h"),
    c.Snapshot(snapshot="t"), c.DeleteSnapshot(snapshot="s"), c.Restore(snapshot="s"),
    c.Restore(snapshot="s", spec=Spec(cpus=4)),
    c.Rename(name="o"), c.Destroy(), c.Destroy(force=True, reason="r"), c.Complete(code=1), c.Use(),
    c.Attest(liveness="gone", reason="r"), c.Attest(liveness="alive", reason="r"), c.AdvanceRetry(),
    c.ResetRetry(),
)  # fmt: skip
"""One of each kind of command that a row may answer; moves and forces name their goals."""
ROWS = frozenset({wish.row for wish in WISHES} | {"force", "correct"})
ONCE = ("start", "stop", "pause", "resume", "rename", "destroy", "destroy_forced", "complete", "snapshot")
"""Commands that ask for how things should be, and not for something to be done again."""
SIGHTS = tuple(Observation(liveness, Evidence("probe")) for liveness in ("alive", "gone", "unknown"))


def check_lifecycle(definition: Lifecycle, *, doomed: tuple[str, ...] = ()) -> None:
    """Hold a definition to all laws; `doomed` names phases that may be alive and that only an end follows."""
    for law, why in broken(definition, doomed=doomed):
        raise AssertionError(f"{definition.name}: {law}: {why}")


def broken(definition: Lifecycle, *, doomed: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Name each law that a definition breaks, and say where."""
    for law in (*LAWS, partial(nobody_is_stuck, doomed=doomed)):
        try:
            law(definition)
        except (AssertionError, IllegalEvent) as problem:
            name = (law.func if isinstance(law, partial) else law).__name__.replace("_", " ")
            yield name, str(problem)


def every_phase_has_a_row(definition: Lifecycle) -> None:
    """Of answers, or of moves: nobody stands in a phase of which nothing is said."""
    for phase in definition.phases:
        assert answers(definition, phase) or definition.moves.get(phase) or phase in definition.ends, phase


def every_row_is_a_command(definition: Lifecycle) -> None:
    """A row under another name could never be asked for."""
    rows = {command for row in definition.rows.values() for command in row} | set(definition.quarantine)
    assert rows <= ROWS, f"no command asks for {', '.join(sorted(rows - ROWS))}"


def encode_then_decode_is_the_identity(definition: Lifecycle) -> None:
    """A definition holds no callables, so the log can record it and replay it."""
    body = encode(definition)
    again = msgspec.json.decode(body, type=type(definition))
    assert again == definition, "it reads back as another definition"
    assert Rules(again).digest == Rules(definition).digest, "its digest changes"


def every_phase_has_a_way_to_its_end(definition: Lifecycle) -> None:
    """And nothing comes after a terminal one."""
    rules = Rules(definition)
    for phase in definition.phases:
        assert set(definition.ends) & rules.possible(phase), phase
    for phase in definition.terminal:
        assert rules.possible(phase) == {phase}, f"{phase} is terminal, and goes on"


def every_phase_can_be_reached(definition: Lifecycle) -> None:
    """A phase that nothing leads to is part of no life."""
    never = set(definition.phases) - Rules(definition).possible(definition.initial)
    assert not never, f"nothing leads to {', '.join(sorted(never))}"


def nobody_is_stuck(definition: Lifecycle, *, doomed: tuple[str, ...] = ()) -> None:
    """A phase in which a machine may be alive is one of work, or has a way on that does not destroy it."""
    for phase in _living(definition) - {*definition.active, *definition.ends, *doomed}:
        ways = set(definition.moves.get(phase, ()))
        for answer in (*answers(definition, phase).values(), *definition.found.get(phase, {}).values()):
            ways.update(_targets(definition, phase, answer))
        assert ways - {phase, *definition.ends}, f"from {phase} only the end can follow"


def _living(definition: Lifecycle) -> set[str]:
    living = {phase for phase, row in definition.found.items() if row.keys() & {"alive", "gone"}}
    for table in (definition.counts, definition.may_count):
        living.update(table.get("compute", ()))
    return living


def _targets(definition: Lifecycle, phase: str, answer: Answer) -> Iterator[str]:
    """Give the phases that an answer leads to when all goes well."""
    for final in leaves(answer):
        if isinstance(final, Fact) and (arrow := arrows(definition, phase).get(final.event)):
            yield arrow.to or phase
        elif isinstance(final, Effect):
            at = phase
            for step in definition.effects[final.name]:
                along = arrows(definition, at).get(step.ok or "")
                at = (along and along.to) or at
            yield at


# --- what is decided can happen ------------------------------------------------------------------------


def placed(
    rules: Rules, phase: str, *, counting: bool = True, attested: str = "", quarantined: bool = False,
    dev: bool = True,
) -> Machine:  # fmt: skip
    """Put a machine into a phase, with all that a table might ask of it."""
    definition = rules.definition
    counted = tuple(
        Open(meter, "", AT, Shape(), 1)
        for meter, phases in definition.counts.items()
        if phase in phases or (counting and phase in definition.may_count.get(meter, ()))
    )
    return replace(
        blank("machine/1", rules, "n"), phase=phase, version=3, position=3, generation=2, holds=True,
        spec=Spec(dev=dev), snapshots={"s": 1}, open=counted, attested=attested, quarantined=quarantined,
        booted=True, incarnation=2,
    )  # fmt: skip


def placings(rules: Rules) -> Iterator[Machine]:
    """Put machines into every phase, in every way that a table can tell apart."""
    for phase in rules.definition.phases:
        for counting in (True, False):
            for attested in ("", "gone"):
                yield placed(rules, phase, counting=counting, attested=attested)
        if rules.definition.quarantine and phase in rules.definition.faulty:
            yield placed(rules, phase, counting=False, quarantined=True)


def whatever_is_decided_can_happen(definition: Lifecycle) -> None:
    """In every phase, for every command and observation: it is refused, or each of its outcomes folds."""
    moves = [move for to in definition.phases for move in (c.Transition(to=to), c.Force(to=to))]
    for machine in placings(Rules(definition)):
        for command in (*WISHES, *moves):
            for seen in (None, *SIGHTS):
                with suppress(Refused):
                    decision = decide(machine, command, seen)
                    assert seen is None or not isinstance(decision, Look), "a look leads to another look"
                    happened(machine, decision, command)


def happened(machine: Machine, decision: Decision, command: Command) -> Machine:
    """Fold whatever a decision comes to when all goes well, failures tried on the way."""
    if isinstance(decision, Fact):
        made = conclude(_asked(machine, command), Step("create", decision.event, decision.event), Outcome(AT))
        assert made is not None
        return evolve(machine, made, machine.position + 1)
    if isinstance(decision, Effect):
        asked = events.Requested(
            at=AT, command=command, effect=decision.name, host="h", owner="o", deadline=1
        )  # fmt: skip
        return _carried(evolve(machine, asked, machine.position + 1))
    return machine


def _asked(machine: Machine, command: Command) -> Machine:
    """Let a fact be the outcome of a request, as `conclude` makes it."""
    return replace(machine, request=Request(1, command, "", "h", "o", 1))


def _carried(machine: Machine) -> Machine:
    """Try every step both ways, and go on as if it had worked."""
    for step in steps(machine):
        failed = conclude(machine, step, Outcome(AT, fault=FAULT))
        assert failed is not None
        after = evolve(machine, failed, machine.position + 1)
        assert (after.request is None) == (step.failed is not None), f"a failed {step.call} leaves it open"
        done = conclude(machine, step, Outcome(AT))
        machine = machine if done is None else evolve(machine, done, machine.position + 1)
    assert machine.request is None, "the last step closes the request"
    return machine


def deciding_twice_decides_nothing(definition: Lifecycle) -> None:
    """What is fulfilled is not done again: asked twice, a wish is refused, or there is nothing to do."""
    for machine in placings(Rules(definition)):
        for command in WISHES:
            if command.row in ONCE:
                for seen in (None, *SIGHTS):
                    _only_once(machine, command, seen)


def _only_once(machine: Machine, command: Command, seen: Observation | None) -> None:
    with suppress(Refused):
        decision = decide(machine, command, seen)
        if isinstance(decision, Look) or (isinstance(decision, Fact) and decision.again):
            return
        after = happened(machine, decision, command)
        again = decide(after, command, _now(after) if isinstance(decision, Effect) else seen or _now(after))
        assert not isinstance(again, Effect), (
            f"{command.verb} of {machine.phase} leads to {after.phase}, and there to {again}"
        )


def _now(machine: Machine) -> Observation:
    """Say what is seen of a machine whose effect went well."""
    alive, gone, _ = SIGHTS
    return alive if machine.phase in machine.rules.definition.active else gone


def whatever_is_planned_can_happen(definition: Lifecycle) -> None:
    """And once it has happened, the same sighting is no news."""
    for machine in placings(Rules(definition)):
        for seen in SIGHTS:
            event = plan(machine, seen, AT)
            if event is not None:
                assert seen.liveness != "unknown", f"{machine.phase}: unknown is taken for an answer"
                after = evolve(machine, event, machine.position + 1)
                assert plan(after, seen, AT) is None, f"{machine.phase}: {seen.liveness} is news for ever"


LAWS = (
    every_phase_has_a_row,
    every_row_is_a_command,
    encode_then_decode_is_the_identity,
    every_phase_has_a_way_to_its_end,
    every_phase_can_be_reached,
    whatever_is_decided_can_happen,
    deciding_twice_decides_nothing,
    whatever_is_planned_can_happen,
)
"""The laws that every lifecycle is held to."""
