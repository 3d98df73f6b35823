"""The laws of lifecycles have each been seen to fail on a definition that is deliberately wrong."""

import msgspec
import pytest

from eventvm.lifecycle import Recorded
from eventvm.lifecycle_laws import LAWS
from eventvm.lifecycles import LIFECYCLES
from eventvm.tables import ANY, Arrow, Effect, Fact, Nothing
from eventvm.testing import check_lifecycle

CELL = LIFECYCLES["cell"]


def wrong(**changes):
    """A cell with something wrong; a recorded definition is not checked when it is made."""
    return Recorded(**{**msgspec.structs.asdict(CELL), **changes})


def also(table, phase, **row):
    """Add entries to one row of a table of the cell."""
    rows = getattr(CELL, table)
    return {table: {**rows, phase: {**rows.get(phase, {}), **row}}}


LIMBO = {"phases": (*CELL.phases, "limbo")}
UNNAMED = {phase: row for phase, row in CELL.rows.items() if phase != ANY}
BOOTS = {"machine.started": Arrow("started"), "machine.destroyed": Arrow("destroyed")}
BROKEN = {
    "every_phase_has_a_row": (wrong(**LIMBO, rows=UNNAMED), "limbo"),
    "every_row_is_a_command": (wrong(**also("rows", "started", fly=Nothing())), "fly"),
    "encode_then_decode_is_the_identity": (wrong(phases=list(CELL.phases)), "another definition"),
    "every_phase_has_a_way_to_its_end": (wrong(**LIMBO), "limbo"),
    "every_phase_can_be_reached": (
        wrong(**LIMBO, moves={"limbo": ("destroyed",)}), "nothing leads to limbo",
    ),
    "whatever_is_decided_can_happen": (
        wrong(**also("rows", "started", stop=Fact("machine.stopped"))), "machine.stopped cannot happen",
    ),
    "deciding_twice_decides_nothing": (
        wrong(**also("rows", "started", start=Effect("boot")), **also("arrows", "started", **BOOTS)),
        "start of pending leads to started",
    ),
    "whatever_is_planned_can_happen": (
        wrong(**also("arrows", "pending", **{"machine.reconciled": Arrow()})), "news for ever",
    ),
}  # fmt: skip


@pytest.mark.parametrize("law", BROKEN)
def test_a_wrong_definition_is_caught_and_the_law_is_named(law):
    """The complaint names the lifecycle, the law, and what is in the way."""
    definition, complaint = BROKEN[law]
    with pytest.raises(AssertionError) as caught:
        check_lifecycle(definition, doomed=("completed",))
    assert str(caught.value).startswith(f"cell: {law.replace('_', ' ')}: ")
    assert complaint in str(caught.value)


def test_a_phase_that_only_its_end_can_follow_has_to_be_named():
    """Alive and without work, it looks like one that somebody forgot."""
    with pytest.raises(AssertionError, match="nobody is stuck: from completed only the end can follow"):
        check_lifecycle(CELL)
    check_lifecycle(CELL, doomed=("completed",))


def test_every_law_has_been_seen_to_fail():
    """A law that cannot fail is none."""
    assert {law.__name__ for law in LAWS} == set(BROKEN)
