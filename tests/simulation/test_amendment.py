"""Amendments through the engine: in every lifecycle, phase and plight, now and after a restart."""

import asyncio

import pytest
from msgspec.structs import replace
from specs import NEW, SPEC

from eventvm import limits
from eventvm.errors import BadInput, EffectFailed, NotFound, OutcomeUnknown
from eventvm.lifecycles import LIFECYCLES
from eventvm.provider import Target


async def ended(machine):
    if machine.lifecycle.moves:
        await machine.force_phase("Uninstalled", "its host is gone")
    else:
        await machine.destroy(force=True)


@pytest.mark.parametrize("lifecycle", LIFECYCLES)
async def test_labels_are_set_and_taken_away_by_event(world, lifecycle):
    """One record each; no phase is set, nobody is called, and a restart finds them."""
    one = await world.engine.create("web", SPEC, lifecycle=lifecycle)
    calls, generation = list(world.simulated.calls), one.generation
    await one.label(team="a", old="yes")
    receipt = await one.label(team="b", old=None)
    assert (receipt.how, one.machine.spec.labels) == ("done", {"team": "b"})
    assert (one.describe()["labels"], "amend" in one.describe()["takes"]) == ({"team": "b"}, True)
    assert world.tags(one)[-2:] == ["amended", "amended"]
    assert (world.simulated.calls, one.generation) == (calls, generation)
    with world.untouched(one):
        assert (await one.label(team="b", old=None)).how == "nothing"
    await world.reopen()
    assert (await world.engine.machine("web")).machine.spec.labels == {"team": "b"}
    await world.check()


@pytest.mark.parametrize("lifecycle", LIFECYCLES)
async def test_an_amendment_with_a_key_is_made_once(world, lifecycle):
    """The same key and amendment give the same receipt, also when it changed nothing."""
    one = await world.engine.create("web", SPEC, lifecycle=lifecycle)
    wish = {"labels": {"team": "a"}, "restart": "never", "dev": True, "disabled": True}
    if lifecycle != "plugin":  # no command ends one
        wish["ttl_seconds"] = 60
    first = await one.amend(**wish, key="k1", reason="a new owner")
    nothing = await one.amend(labels={"team": "a"}, key="k2")
    await one.label(team="b")
    await world.reopen()
    one = await world.engine.machine("web")
    with world.untouched(one):
        assert replace(await one.amend(**wish, key="k1", reason="a new owner"), how="done") == first
        again = await one.amend(labels={"team": "a"}, key="k2")
    assert (nothing.how, again.position) == ("nothing", nothing.position)
    assert world.tags(one)[-3:] == ["amended", "unchanged", "amended"]


@pytest.mark.parametrize("lifecycle", LIFECYCLES)
async def test_what_is_over_is_not_amended(world, lifecycle):
    """NotFound, and nothing is written."""
    one = await world.engine.create("web", SPEC, lifecycle=lifecycle)
    await ended(one)
    assert "amend" not in one.describe()["takes"]
    await world.refuses(one.label(team="a"), NotFound, one)
    nobody = await world.engine.machine("nobody", lifecycle=lifecycle)
    await world.refuses(nobody.label(team="a"), NotFound)


async def test_what_could_not_be_read_back_is_refused(world):
    """No such value gets into the log."""
    one = await world.engine.create("web", SPEC)
    for wish in (
        {"restart": "sometimes"}, {"labels": {"team": 1}}, {"labels": {1: "a"}}, {"ttl_seconds": -1},
        {"ttl_seconds": limits.TTL_SECONDS + 1}, {"ttl_seconds": 1.5}, {"dev": "yes"},
    ):  # fmt: skip
        refused = await world.refuses(one.amend(**wish, key="k"), BadInput, one)
        assert "it takes" in str(refused)
    assert (await one.amend(ttl_seconds=10**9, key="k")).how == "done"


async def test_a_machine_in_quarantine_is_amended(world):
    """Nothing of it is trusted for that."""
    one = await world.engine.create("web", SPEC)
    await one.start()
    await one.snapshot("s1")
    world.simulated.script("web", "restore", "fail")
    with pytest.raises(EffectFailed):
        await one.restore("s1")
    await one.label(team="a")
    assert (one.machine.quarantined, one.machine.spec.labels) == (True, {"team": "a"})


async def test_a_machine_with_an_open_request_is_amended_without_a_look(world):
    """The request stays open, and a key says so for ever."""
    one = await world.engine.create("web", SPEC)
    world.simulated.script("web", "start", "unclear")
    world.simulated.script("web", "probe", "succeed", "fail", "fail")
    with pytest.raises(OutcomeUnknown):
        await one.start()
    world.simulated.probes.clear()
    request = one.machine.request
    first = await one.amend(labels={"team": "a"}, key="k")
    assert (one.machine.request, world.simulated.probes) == (request, [])
    assert (await one.amend(labels={"team": "a"}, key="k")).position == first.position
    await world.check()


async def test_an_amendment_takes_its_turn_behind_an_effect(world):
    """It neither breaks in nor is it lost."""
    one = await world.engine.create("web", SPEC)
    world.simulated.script("web", "start", "lost")
    starting = asyncio.create_task(one.start())
    await world.quiet()
    await one.label(team="a")
    assert (await starting).phase == "running"
    assert world.tags(one)[-2:] == ["started", "amended"]


async def test_labels_given_while_the_creation_is_unclear_are_there_when_it_is_made(world):
    """Recovery tells the spec as it is by then."""
    world.simulated.script("web", "create", "lost")
    world.simulated.lie("web", "unknown")
    with pytest.raises(OutcomeUnknown):
        await world.engine.create("web", SPEC)
    one = await world.engine.machine("web")
    await one.label(team="a")
    world.simulated.lie("web", None)
    await one.reconcile()
    assert (one.phase, one.machine.spec.labels) == ("created", {"team": "a"})
    await world.check()


class Remembering:
    """Keeps the spec that each restore was asked for."""

    def __init__(self, restore):
        self.restore = restore
        self.asked = []

    async def __call__(self, target: Target, source):
        self.asked.append(target.spec)
        await self.restore(target, source)


async def test_a_restore_to_a_new_shape_keeps_labels_and_policies(world, monkeypatch):
    """In the record, in memory, in the counts, and in what the provider is told."""
    one = await world.engine.create("web", SPEC)
    await one.start()
    await one.snapshot("s1")
    await one.amend(labels={"team": "a"}, restart="on-failure", ttl_seconds=500, dev=True, disabled=True)
    expires = one.machine.expires
    monkeypatch.setattr(world.simulated, "restore", remembering := Remembering(world.simulated.restore))
    await one.restore("s1", replace(NEW, labels={"team": "stale"}))
    kept = replace(NEW, labels={"team": "a"}, restart="on-failure", ttl_seconds=500, dev=True, disabled=True)
    assert (one.machine.spec, remembering.asked) == (kept, [kept])
    assert one.machine.expires == expires
    assert world.engine.counts().labels == {"team": {"a": 1}}
    await world.check()
