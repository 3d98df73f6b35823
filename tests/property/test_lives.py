"""Laws over all lives: Hypothesis drives the whole engine, and a model of `vm` agrees with it.

A normal run lives 200 lives of 50 steps; EVENTVM_THOROUGH=1 lives many more, and EVENTVM_CHANCE=1 lives
others each time.
"""
# ruff: noqa: SLF001  # a fault is lifted by hand

import asyncio
import os
import random

import msgspec
import pytest
import simfleet
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from specs import SPEC

from eventvm.errors import EffectFailed, Refused
from eventvm.lifecycles import LIFECYCLES
from eventvm.tables import Nothing
from eventvm.testing import VirtualLoop, World

THOROUGH = os.environ.get("EVENTVM_THOROUGH") == "1"
LIVES, STEPS = (1_500 if THOROUGH else 200), 50
PLAIN = settings(
    deadline=None, database=None, derandomize="EVENTVM_CHANCE" not in os.environ, print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)  # fmt: skip


def lived(life):
    """Live a life that is made, and lived, within a loop of its own."""

    async def within():
        return await life()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(within())


# --- every profile, everything that can happen

KINDS = (
    "command", "command", "command", "command", "command", "command", "again", "fault", "mischief", "clock",
    "reconcile", "cancel", "restart",
)  # fmt: skip


class Told(simfleet.Run):
    """A run whose steps somebody else has drawn."""

    def __init__(self, told):
        super().__init__(0, len(told))
        self.told = iter(told)

    async def step(self):
        kind, details = next(self.told)
        self.random = random.Random(details)
        await getattr(self, kind)()


@settings(PLAIN, max_examples=LIVES)
@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 1 << 16)), min_size=STEPS, max_size=STEPS))
def test_the_laws_hold_in_every_life(told):
    lived(lambda: Told(told).live())


# --- vm, by an independent model: what each state makes of each wish, and None where it is refused

WISHES = (
    "start", "stop", "pause", "resume", "hibernate", "snapshot", "restore", "rename", "use", "destroy",
    "force", "die", "stop_fails", "start_fails",
)  # fmt: skip
ROWS = """
           start   stop    pause  resume hibern. snapshot restore rename  use     destroy   force     die     stop_f. start_f.
created    running created -      -      -       created  -       created -       destroyed destroyed created created failed
running    running stopped paused -      stopped running  running running running -         destroyed stopped error   running
paused     -       stopped -      running -      paused   -       -       -       -         destroyed stopped error   -
stopped    running stopped -      -      -       stopped  running stopped -       destroyed destroyed stopped stopped failed
error      running stopped -      -      -       -        running -       -       -         -         stopped error   running
failed     running stopped -      -      -       -        running -       -       destroyed destroyed failed  failed  failed
destroyed  -       -       -      -      -       -        -       -       -       -         -         destroyed -     -
"""  # noqa: E501  # a table reads as a table
"""`error` is alive after a failed stop, `failed` is dead after a failed start; both read `error`."""
MODEL = {
    state: dict(zip(WISHES, goals, strict=True))
    for state, *goals in (line.split() for line in ROWS.strip().splitlines()[1:])
}
ROUTES = {
    "created": (), "running": ("start",), "paused": ("start", "pause"), "stopped": ("start", "stop"),
    "error": ("start", "stop_fails"), "failed": ("start_fails",), "destroyed": ("destroy",),
}  # fmt: skip


class Life:
    """One vm, and the state that the model has it in."""

    def __init__(self, model, lifecycle=None):
        self.model = model
        self.state = "created"
        self.names = 0
        self.world = World()
        self.world.lifecycles = () if lifecycle is None else (lifecycle,)

    async def live(self, wishes):
        await self.world.open()
        self.vm = await self.world.engine.create("vm", SPEC)
        await self.vm.snapshot("s0")
        for wish in wishes:
            await self.wish(wish)
        await self.world.check()
        await self.world.leave()

    async def wish(self, wish):
        goal, size = self.model[self.state][wish], self.world.size
        refused = False
        try:
            await self.send(wish)
        except Refused:
            refused = True
            assert self.world.size == size, "a refusal appends nothing"
        except EffectFailed:
            assert wish.endswith("_fails")
        await self.world.quiet()
        self.world.simulated._scripts.clear()
        assert refused == (goal == "-"), f"{self.state}, {wish}"
        self.state = self.state if refused else goal
        assert self.vm.phase == {"failed": "error"}.get(self.state, self.state), f"after {wish}"

    async def send(self, wish):
        self.names += 1
        vm, new, simulated = self.vm, f"n{self.names}", self.world.simulated
        match wish:
            case "hibernate" | "snapshot" | "rename":
                await getattr(vm, wish)(new)
            case "restore":
                await vm.restore("s0")
            case "force":
                await vm.destroy(force=True)
            case "die":
                simulated.die("vm")
            case "stop_fails" | "start_fails":
                verb = wish.removesuffix("_fails")
                simulated.script(vm.name, verb, "fail")
                await getattr(vm, verb)()
            case _:
                await getattr(vm, wish)()


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("state", MODEL)
def test_the_table_is_the_model(state, wish):
    lived(lambda: Life(MODEL).live([*ROUTES[state], wish]))


def joined(parts):
    return [*parts[0], *parts[1]]


routes = st.sampled_from(list(ROUTES.values()))
walks = st.tuples(routes, st.lists(st.sampled_from(WISHES), min_size=3, max_size=20)).map(joined)


@settings(PLAIN, max_examples=1000 if THOROUGH else 200)
@given(walks)
def test_every_walk_is_the_models_walk(wishes):
    lived(lambda: Life(MODEL).live(wishes))


def contradicted(model, lifecycle=None, walks_tried=600):
    """Say whether walks tell a model from an engine."""

    @settings(PLAIN, max_examples=walks_tried, phases=[Phase.generate])
    @given(walks)
    def walk(wishes):
        lived(lambda: Life(model, lifecycle).live(wishes))

    try:
        walk()
    except BaseException:  # noqa: BLE001  # Hypothesis may raise a group of failures
        return True
    return False


@pytest.mark.parametrize(
    ("state", "wish", "wrong"),
    [
        ("running", "stop", "running"),
        ("created", "stop", "-"),
        ("paused", "stop", "-"),
        ("error", "start", "error"),
    ],
)
def test_a_model_with_one_wrong_row_is_caught(state, wish, wrong):
    assert contradicted({**MODEL, state: {**MODEL[state], wish: wrong}})


@pytest.mark.parametrize(
    ("state", "wish"), [("running", "stop"), ("stopped", "restore"), ("paused", "resume")]
)
def test_an_engine_with_one_wrong_row_is_caught(state, wish):
    table = LIFECYCLES["vm"]
    rows = {**table.rows, state: {**table.rows[state], wish: Nothing()}}
    assert contradicted(MODEL, msgspec.structs.replace(table, rows=rows))


def test_a_model_and_an_engine_that_agree_are_not_told_apart():
    assert not contradicted(MODEL, walks_tried=600 if THOROUGH else 200)
