"""Whatever is sent, by whoever made it: an error of ours or a record that reads back equal; never a crash."""
# ruff: noqa: SLF001  # whether the world was touched

import asyncio
import os
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import eventvm
from eventvm import Spec, commands
from eventvm.audit.replay import differences, replayed
from eventvm.cli.paper import Paper
from eventvm.commands import Command
from eventvm.errors import EventvmError
from eventvm.events import decode, encode
from eventvm.observation import Clean, End, Evidence, Forced, Instant, Observation, Observed
from eventvm.picture import Lives, picture
from eventvm.portrait import portrait
from eventvm.sketch import sketch
from eventvm.spec import Drive, Interface, RateLimit, RestoreFrom

EXAMPLES = 600 if os.environ.get("EVENTVM_THOROUGH") == "1" else 40
FUZZ = settings(
    deadline=None, database=None, derandomize="EVENTVM_CHANCE" not in os.environ, max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)  # fmt: skip
ODD = (
    "", "web", "a\nb", "a\n", "a\0b", "\x1b[2J\x1b]0;title\x07", "\u202egnp.exe", "\ud800", "a\udfff",
    "../../etc/passwd",
    "<script>alert(1)</script>", '"]]>&', "x" * 129, "x" * 1001, "x" * 5000, "\u2028", "\ufeff", "\N{FAMILY}",
    "'; DROP TABLE records; --", "%s{0}${x}", "\x7f", "\x85",
)  # fmt: skip
BIG = (0, 1, -1, 2**31, 2**53 + 1, 2**62, 2**63 - 1, 2**63, -(2**63), 2**64, -(2**64), 10**40, 10**4000)


def deep(levels):
    data = "bottom"
    for _ in range(levels):
        data = [data]
    return data


texts = st.sampled_from(ODD) | st.text(st.characters(codec=None), max_size=40)
integers = st.sampled_from(BIG) | st.integers()
floats = st.floats(allow_nan=True, allow_infinity=True)
atoms = (
    st.none() | st.booleans() | texts | integers | floats | st.just(1j) | st.just(b"\xff") | st.just(object())
)
jsons = st.recursive(
    atoms,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner)
        | st.dictionaries(texts | st.integers() | st.booleans(), inner, max_size=4)
    ),
    max_leaves=12,
) | st.sampled_from([64, 65, 900, 100_000]).map(deep)
instants = st.builds(Instant, integers | atoms, integers, texts)
devices = (
    st.builds(Interface, texts, texts, texts)
    | st.builds(Drive, texts, texts)
    | st.builds(RateLimit, texts, integers)
)
specs = st.builds(
    Spec,
    provider=st.sampled_from(("simulated", "")) | texts, cpus=integers, memory=st.just(1) | integers | atoms,
    kernel=texts, boot_args=texts, network=st.lists(devices, max_size=2).map(tuple),
    vsock=st.none() | integers,
    restore_from=st.none() | st.builds(RestoreFrom, texts, texts),
    labels=st.dictionaries(texts, texts | atoms, max_size=3) | jsons, restart=st.just("never") | texts,
    ttl_seconds=integers, dev=st.booleans() | atoms,
) | st.just(Spec(provider="simulated"))  # fmt: skip
USUAL = {
    "to": st.sampled_from(("Installing", "Failed", "Running")), "at": st.none() | instants, "data": jsons,
    "spec": specs, "reason": st.just("because"), "liveness": st.sampled_from(("alive", "gone")),
    "edge": st.just("start"), "position": st.integers(0, 20), "force": st.booleans(), "name": st.just("new"),
    "snapshot": st.just("s1"), "ttl_seconds": st.none() | st.integers(0, 100),
    "labels": st.dictionaries(st.sampled_from(("a", "b")), st.none() | st.just("c"), max_size=2),
}  # fmt: skip
"""For a field: what it often is, so that a good part of the commands is taken."""


def wishes(kind):
    fields = {
        one.name: st.one_of(*[USUAL.get(one.name, st.just("web"))] * 8, atoms, jsons)
        for one in msgspec.structs.fields(kind)
    }
    return st.builds(kind, **fields)


ends = st.builds(
    End, st.sampled_from(("crashed", "killed")) | texts,
    st.just(Forced()) | st.builds(Clean, integers | atoms)
    | st.builds(lambda code: Observed(code=code), integers),
)  # fmt: skip
sightings = st.builds(
    Observation, st.sampled_from(("alive", "gone")) | texts,
    st.builds(Evidence, texts, st.booleans(), integers, st.none() | instants) | atoms,
    exists=st.booleans() | atoms,
    name=st.none() | texts, snapshots=st.none() | st.lists(texts).map(tuple) | jsons,
    end=st.none() | ends | atoms, generation=integers, detail=texts | atoms,
)  # fmt: skip
sent = st.one_of(*map(wishes, Command.__args__)) | sightings
options = st.fixed_dictionaries(
    {}, optional={"key": st.sampled_from(("k1", "k2")) | texts | atoms, "actor": texts | atoms}
)


async def tried(work):
    """Take an error of ours as an answer; any other is a crash."""
    try:
        return await work()
    except EventvmError as problem:
        refused = problem
    assert str(refused).isprintable()
    return None


async def live(url, told):
    async with eventvm.open(url) as engine:
        vm = await engine.create("vm", Spec(provider="simulated"))
        plugin = await engine.create("plugin", lifecycle="plugin")
        for wish, how, name, spec in told:
            before = engine.log.tree.size, engine.log.tree.root
            if await tried(lambda name=name, spec=spec: engine.create(name, spec)) is None:
                assert (engine.log.tree.size, engine.log.tree.root) == before or failed(engine)
            for machine in (vm, plugin):
                if isinstance(wish, Observation):
                    await tried(lambda machine=machine, wish=wish: machine.tell(wish))
                else:
                    await tried(lambda machine=machine, wish=wish, how=how: machine.send(wish, **how))
        root = await proven(engine)
        await shown(engine)
    return root


def failed(engine):
    """A creation that the world failed leaves records."""
    return any(name == "create" for name, _ in engine._world.providers["simulated"].calls)


async def proven(engine):
    """Replay: every body is what it reads as, every hash holds, and memory is what the log says."""
    fleet = await replayed(engine.log)
    assert differences(fleet, [one.machine for one in await engine.machines()]) == []
    after, end = 0, False
    while not end:
        page = await engine.log.read(after=after)
        for record in page.records:
            assert encode(decode(record.body)) == record.body
            assert decode(record.body) == record.event
        after, end = page.position, page.end
    return engine.log.tree.root


async def shown(engine):
    """Nothing that people see steers their terminal, and a picture is one line of XML after the other."""
    lines = []

    class Out:
        write = lines.append

    paper = Paper(Out(), colour=False)
    for machine in await engine.machines():
        paper.table(("reason",), [(paper.ink(one.reason),) for one in await machine.history()])
        assert repr(machine).isprintable()
    lives, now = Lives(), engine.clock.now()
    for record in (await engine.log.read()).records:
        lives.apply(record)
    for past in lives.pasts:
        shown = picture([lives.life(past, now)], None, None)
        assert portrait(shown).replace("\n", "").isprintable()
        lines += sketch(shown, 80)
    assert all(line.rstrip("\n").isprintable() for line in lines)


@FUZZ
@given(st.lists(st.tuples(sent, options, texts | atoms, specs | atoms), min_size=1, max_size=6))
def test_what_is_sent_is_refused_or_reads_back_as_it_was(told):
    asyncio.run(live("memory:", told))


@settings(FUZZ, max_examples=EXAMPLES // 4)
@given(st.lists(st.tuples(sent, options, texts | atoms, specs | atoms), min_size=1, max_size=6))
def test_a_file_holds_it_as_well_as_memory_does(told):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "log.db"
        root = asyncio.run(live(path, told))

        async def reopened():
            async with eventvm.open(path) as engine:
                return await proven(engine)

        assert asyncio.run(reopened()) == root


ASKED = {
    "machine": lambda engine, odd: engine.machine(odd),
    "machine of a lifecycle": lambda engine, odd: engine.machine("web", lifecycle=odd),
    "machine_by_id": lambda engine, odd: engine.machine_by_id(odd),
    "machines": lambda engine, odd: engine.machines(phase=odd, label=odd, lifecycle=odd),
    "machines after": lambda engine, odd: engine.machines(after=odd),
    "machines limit": lambda engine, odd: engine.machines(limit=odd),
    "history": lambda engine, odd: engine.history(odd),
    "ledger": lambda engine, odd: engine.ledger(odd),
    "used": lambda engine, odd: engine.used(odd),
    "create in": lambda engine, odd: engine.create("web", lifecycle=odd, phase=odd),
    "events after": lambda engine, odd: awaited(engine.events, after=odd),
    "events of": lambda engine, odd: anext(engine.events(stream=odd)),
    "observe": lambda engine, odd: awaited(engine.observe, print, machine=odd),
    "log.read": lambda engine, odd: engine.log.read(after=odd, limit=odd),
    "log.read of": lambda engine, odd: engine.log.read(stream=odd),
    "log.find": lambda engine, odd: engine.log.find(odd),
    "log.recall": lambda engine, odd: engine.log.recall(odd),
    "log.streams": lambda engine, odd: engine.log.streams(after=odd),
}


async def awaited(call, *args, **options):
    return call(*args, **options)


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("where", ["memory", "sqlite"])
def test_whatever_is_asked_is_answered_or_refused(asked, where, tmp_path):
    """With a text or an integer that nobody should send."""

    async def ask():
        async with eventvm.open("memory:" if where == "memory" else tmp_path / "log.db") as engine:
            for odd in (*ODD, *BIG, 10**5000):
                if isinstance(odd, str) or not asked.startswith("log.") or asked == "log.read":
                    async with asyncio.timeout(5):
                        await tried(lambda odd=odd: bounded(ASKED[asked](engine, odd)))
            assert engine.log.tree.size <= 1

    asyncio.run(ask())


async def bounded(asking):
    """An endless question is put for a moment."""
    task = asyncio.ensure_future(asking)
    await asyncio.wait({task}, timeout=0.05)
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
        return None
    return task.result()


@pytest.mark.parametrize("kind", [commands.Create, commands.Clone])
def test_a_life_cannot_begin_by_a_command_made_by_hand(kind):
    """Its definition would be missing from the log, and nobody could ever read it."""

    async def send():
        async with eventvm.open("memory:") as engine:
            handle = await engine.machine("web")
            more = {"source": "x", "snapshot": "s"} if kind is commands.Clone else {}
            with pytest.raises(eventvm.errors.BadInput, match="begins with"):
                await handle.send(kind(name="web", lifecycle="vm", **more))
            assert engine.log.tree.size == 0

    asyncio.run(send())
