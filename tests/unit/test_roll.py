"""The roll of the living: sorted whatever comes and goes, and counted as if counted anew."""
# ruff: noqa: SLF001  # what it holds is its own

import random
from itertools import count

from msgspec.structs import replace

from eventvm.engine.roll import Roll
from eventvm.lifecycle import Rules
from eventvm.lifecycles import LIFECYCLES
from eventvm.machine import blank
from eventvm.spec import Spec
from eventvm.views import counted

RULES = [Rules(LIFECYCLES[name]) for name in ("vm", "plugin")]
SPECS = [Spec(), Spec(labels={"team": "a"}), Spec(labels={"team": "b", "rack": "7"})]


def moved(chance, machine):
    """Draw what a next record makes of a machine: born, moved, relabelled, over, or back again."""
    phases = machine.rules.definition.phases
    return replace(
        machine, version=machine.version + 1, phase=chance.choice(phases), spec=chance.choice(SPECS),
        holds=chance.random() < 0.7, name="web",
    )  # fmt: skip


def paged(roll, count):
    """Go through the roll page by page."""
    listed = []
    while page := roll.after(listed[-1] if listed else "", count):
        assert len(page) <= count
        listed += page
    return listed


def test_the_roll_agrees_with_a_recount_after_every_move():
    """Ids in order, each once; counts by phase and label; whoever is over is on neither."""
    chance = random.Random(7)
    machines, roll, ids = {}, Roll(), count()
    for _ in range(3_000):
        if len(machines) < 40 or chance.random() < 0.1:
            id_ = f"{chance.randrange(10_000):05}-{next(ids)}"
            machines[id_] = blank(id_, chance.choice(RULES))
        id_ = chance.choice(list(machines))
        after = moved(chance, machines[id_])
        roll.follow(machines[id_], after)
        machines[id_] = after
        living = sorted(one.id for one in machines.values() if one.living)
        assert roll.counts() == counted(machines.values())
        assert len(roll) == len(living) == roll.counts().living
        assert paged(roll, chance.randint(1, 9)) == living


def test_the_roll_forgets_whoever_has_left():
    """What it holds is at most twice what lives."""
    roll, rules = Roll(), RULES[0]
    here = [replace(blank(f"{at:04}", rules), version=1, phase="created", holds=True) for at in range(1000)]
    for one in here:
        roll.enter(one)
    for left, one in enumerate(here, start=1):
        roll.follow(one, replace(one, version=2, phase="destroyed", holds=False))
        assert len(roll._ids) <= 2 * (len(here) - left)
    assert roll.counts() == counted(())
