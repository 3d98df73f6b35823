"""Every limit has something at it that is taken, and something one beyond that is refused without a trace."""
# ruff: noqa: SLF001  # a crowd is made from within

import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import msgspec
import pytest
from msgspec import Raw
from msgspec.structs import replace

import eventvm
from eventvm import Spec, commands, limits
from eventvm.address import socket_of
from eventvm.engine import Engine
from eventvm.engine.orphans import Orphan
from eventvm.errors import BadInput, DefinitionRefused, EffectFailed, EventvmError, Overloaded, WaitTimeout
from eventvm.events import Transitioned, encode
from eventvm.lifecycle import Lifecycle, Recorded
from eventvm.lifecycle import encode as written
from eventvm.log import Append
from eventvm.logs.memory import MemoryLog
from eventvm.observation import End, Evidence, Instant, Observation, Observed
from eventvm.providers.simulated import Script, Simulated
from eventvm.spec import Drive, Interface, Secret
from eventvm.tables import Fact
from eventvm.wire.line import Line
from eventvm.wire.words import Answer, Refusal, Terms, line
from eventvm.wire.words import encode as encoded

LIMITS = {name: value for name, value in vars(limits).items() if name[0] != "_" and isinstance(value, int)}
TABLE = Path(__file__).parents[2] / "docs" / "limits.md"
AT = Instant(1, 1, "boot")
SPEC = Spec(provider="simulated")


class Held(Simulated):
    """A simulated world in which calls can be held back."""

    def __init__(self):
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()

    async def _act(self, call, target, deed):
        await self.gate.wait()
        await super()._act(call, target, deed)


class Bench:
    """An engine with a machine of each kind, and what a trial needs of them."""

    def __init__(self, engine, world, path):
        self.path = path
        self.engine = engine
        self.log = engine.log
        self.world = world
        self.made = 0
        self.mark()

    async def new(self, spec=SPEC, **options):
        self.made += 1
        machine = await self.engine.create(f"m{self.made}", spec, **options)
        self.mark()
        return machine

    async def moved(self, **options):
        """Record a move of a fresh machine that an application reports itself."""
        plugin = await self.new(Spec(), lifecycle="plugin")
        return await plugin.transition_to("Installing", **options)

    @property
    def state(self):
        return self.log.tree.size, self.log.tree.root, list(self.world.calls)

    def mark(self):
        """Remember how everything is before the wish that a trial is about."""
        self.before = self.state


@pytest.fixture(params=["memory", "sqlite"])
async def bench(request, tmp_path):
    url = "memory:" if request.param == "memory" else tmp_path / "log.db"
    world = Held()
    async with eventvm.open(url, providers=[world], grace_seconds=0) as engine:
        yield Bench(engine, world, tmp_path / "log.db")


# --- one trial for each limit: something of just this size


async def name(bench, size):
    await bench.engine.create("n" * size, SPEC)


async def reason(bench, size):
    await bench.moved(reason="r" * size)


async def key(bench, size):
    await bench.moved(key="k" * size)


async def actor(bench, size):
    await bench.moved(actor="a" * size)


def life(*phases, **more):
    ends = more.pop("ends", phases[-1:])
    return Lifecycle(
        name="odd", initial=phases[0], phases=phases, settled=phases, ends=ends,
        rows={phases[0]: {"create": Fact("machine.transitioned")}},
        moves={one: ends for one in phases if one not in ends} | more.pop("moves", {}), **more,
    )  # fmt: skip


async def phase_characters(_, size):
    life("a", "z" * size)


async def phases(_, size):
    life(*(f"p{at}" for at in range(size)))


async def definition_bytes(_, size):
    """Fill with moves as far as they go, and the rest with the letters of titles."""
    names = tuple(f"{at:03}{'p' * 50}" for at in range(100))
    rows = {"name": "odd", "initial": names[0], "phases": names, "settled": (), "ends": names[-1:]}
    edges = [(one, to) for one in names[:-1] for to in names]
    moves = dict.fromkeys(names[:-1], names[-1:])
    titles = dict.fromkeys(names[:10], "t")
    short = size - len(written(Recorded(**rows, moves=moves, titles=titles)))
    for one, to in [edge for edge in edges if edge[1] != names[-1]][: short // 56]:
        moves[one] += (to,)
    short = size - len(written(Recorded(**rows, moves=moves, titles=titles)))
    for one in titles:
        letters = min(short, limits.PHASE_CHARACTERS - 1)
        titles[one], short = "t" * (1 + letters), short - letters
    assert len(written(Recorded(**rows, moves=moves, titles=titles))) == size
    Lifecycle(**rows, moves=moves, titles=titles)


async def word(bench, size):
    await bench.new(replace(SPEC, network=(Interface("eth0", "t" * size),)))


async def path(bench, size):
    await bench.new(replace(SPEC, kernel="/" * size))


async def arguments(bench, size):
    await bench.new(replace(SPEC, command=("x",) * size))


async def argument(bench, size):
    await bench.new(replace(SPEC, command=("a\n" * (size // 2) + "a" * (size % 2),)))


async def variables(bench, size):
    many = {f"V{at}": "a\nb" for at in range(size)}
    await bench.new(replace(SPEC, environment=many, secrets=dict.fromkeys(many, Secret(env="HOME"))))


async def labels(bench, size):
    await bench.new(replace(SPEC, labels={f"l{at}": "" for at in range(size)}))
    machine = await bench.new(replace(SPEC, labels={f"l{at}": "" for at in range(limits.LABELS - 1)}))
    await machine.send(commands.Amend(labels={f"l{at}": "x" for at in range(size - 1, size)}))


async def label_key(bench, size):
    await bench.new(replace(SPEC, labels={"k" * size: "v"}))


async def label_value(bench, size):
    await bench.new(replace(SPEC, labels={"k": "v" * size}))


async def amount(bench, size):
    await bench.new(replace(SPEC, memory=size))


async def cpus(bench, size):
    await bench.new(replace(SPEC, cpus=size))


async def context(bench, size):
    await bench.new(replace(SPEC, vsock=size))


async def devices(bench, size):
    await bench.new(replace(SPEC, drives=tuple(Drive(f"d{at}", "/dev/null") for at in range(size))))


async def ttl(bench, size):
    await bench.new(replace(SPEC, ttl_seconds=size))


async def instant(bench, size):
    machine = await bench.new()
    for as_of in (Instant(size, 0, "b"), Instant(0, size, "b"), Instant(-size, -size, "b")):
        await machine.intervals(as_of=as_of)


async def exit_code(bench, size):
    machine = await bench.new()
    await machine.start()
    bench.mark()
    await machine.tell(Observation("gone", Evidence("x"), end=End("crashed", Observed(code=size))))
    assert machine.machine.end.termination.code == size


async def option_seconds(_, size):
    for option in ("deadline_seconds", "probe_seconds", "grace_seconds"):
        Engine(MemoryLog(), **{option: size})


async def data_bytes(bench, size):
    await bench.moved(data="d" * (size - 2))


async def data_depth(bench, size):
    data = []
    for _ in range(size - 1):
        data = [data]
    await bench.moved(data=data)


async def detail(bench, size):
    machine = await bench.new()
    bench.world._lies[machine.name] = Observation("alive", Evidence("x"), detail="d" * size)
    await machine.reconcile()
    assert len(machine.describe()["observation"]["detail"]) == min(size, limits.DETAIL_CHARACTERS)


async def fault(bench, size):
    machine = await bench.new()
    bench.world.script(machine.name, "start", Script("fail", message="m" * size))
    with pytest.raises(EffectFailed) as failed:
        await machine.start()
    assert len(failed.value.fault) == min(size, limits.FAULT_CHARACTERS)


async def snapshots_seen(bench, size):
    machine = await bench.new()
    await machine.tell(Observation("alive", Evidence("x"), snapshots=tuple(map(str, range(size)))))


async def page_records(bench, size):
    await bench.log.streams(limit=min(size, limits.PAGE_RECORDS))
    await bench.log.read(limit=size)


async def machines_listed(bench, size):
    await bench.engine.machines(limit=size)


async def goals(bench, size):
    machine = await bench.new()
    await machine.wait(*[machine.phase] * size)


def event(size):
    """Make an event whose body has so many bytes."""
    return Transitioned(at=AT, to="x" * (size - len(encode(Transitioned(at=AT, to="")))))


async def event_bytes(bench, size):
    await bench.log.append(Append("x", (event(size),), 0))


async def events_appended(bench, size):
    await bench.log.append(Append("x", (event(100),) * size, 0))


async def words(bench, size):
    await bench.log.append(Append("s" * size, (event(100),), 0))


async def filled(bench, appends):
    """Queue appends at once: all but the last are taken, whatever becomes of that one."""
    *taken, last = [bench.log.append(append) for append in appends]
    for ticket in taken:
        await ticket
    assert bench.log.tree.size == len(taken) + (last.error is None)
    bench.mark()
    await last


async def queue_tickets(bench, size):
    await filled(bench, [Append(f"s{at}", (event(100),), 0) for at in range(size)])


async def queue_bytes(bench, size):
    whole, rest = divmod(size - 1000, limits.EVENT_BYTES)
    sizes = [limits.EVENT_BYTES] * whole + [rest] + [1000]
    await filled(bench, [Append(f"s{at}", (event(one),), 0) for at, one in enumerate(sizes)])


async def turns_queued(bench, size):
    machine = await bench.new()
    bench.world.gate.clear()
    tasks = [asyncio.create_task(machine.start()) for _ in range(size)]
    await anyio.lowlevel.checkpoint()
    try:
        wish = asyncio.create_task(machine.start())
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
    finally:
        bench.world.gate.set()
        answers = await asyncio.gather(*tasks)
    assert {answer.phase for answer in answers} == {"running"}
    bench.mark()
    await wish


async def waiters(bench, size):
    machine = await bench.engine.machine((await bench.new()).name)
    bench.engine.cells.waiting = size - 1
    try:
        with suppress(WaitTimeout):
            await machine.wait("running", timeout=0.01)
    finally:
        assert bench.engine.cells.waiting == size - 1
        bench.engine.cells.waiting = 0


async def waiters_of_machine(bench, size):
    machine = await bench.engine.machine((await bench.new()).name)
    waits = dict.fromkeys(map(str, range(size - 1)))
    bench.engine.cells.waits[machine._cell] = waits
    try:
        with suppress(WaitTimeout):
            await machine.wait("running", timeout=0.01)
    finally:
        assert len(waits) == size - 1
        bench.engine.cells.waits.clear()


async def subscriptions(bench, size):
    held = [bench.engine.events() for _ in range(size)]
    assert len(held) == size


async def callers(bench, size):
    """Come, all but the last without a word."""
    silent = [await asyncio.open_unix_connection(socket_of(bench.path)) for _ in range(size - 1)]
    try:
        await (await Line.dial(bench.path, Terms())).hang_up()
    finally:
        for _, writer in silent:
            writer.close()
            await writer.wait_closed()


async def caller_requests(bench, size):
    machine = await bench.new()
    async with eventvm.open(bench.path) as guest:
        there = await guest.machine(machine.name)
        bench.world.gate.clear()
        asked = [asyncio.create_task(there.start()) for _ in range(size)]
        queues, heard = bench.engine.cells.queues, min(size, limits.CALLER_REQUESTS)
        try:
            while 1 + len(queues.get(machine._cell, ())) < heard:
                await anyio.lowlevel.checkpoint()
            for _ in range(10):
                await anyio.lowlevel.checkpoint()
            assert 1 + len(queues[machine._cell]) == heard
        finally:
            bench.world.gate.set()
            answers = await asyncio.gather(*asked)
    assert {answer.phase for answer in answers} == {"running"}


async def requests_asked(bench, size):
    async with eventvm.open(bench.path) as guest:
        waiting = dict.fromkeys(range(-size, -1))
        guest._line._asked.update(waiting)
        try:
            await guest.orphans()
        finally:
            for number in waiting:
                del guest._line._asked[number]


async def request_bytes(bench, size):
    line = await Line.dial(bench.path, Terms())
    line._writer.write(b'{"id":1,"request":{"type":"discover"}}'.ljust(size - 1) + b"\n")
    said = msgspec.json.decode(await line._reader.readline(), type=Answer | Refusal)
    await line.hang_up()
    if said.failure is not None:
        raise said.failure.raised()


async def answer_bytes(bench, size):
    def told(letters):
        return (Orphan("simulated", "x" * letters),)

    async def orphans():
        return told(size - len(written(told(0))))

    def written(found):
        return line(Answer(1, Raw(encoded(found))))

    bench.engine.orphans = orphans
    async with eventvm.open(bench.path) as guest:
        assert len(written(await guest.orphans())) == size


async def observers(bench, size):
    forgets = []
    try:
        for _ in range(size):
            forgets.append(bench.engine.observe(print))  # noqa: PERF401  # those before a refusal are forgotten
    finally:
        for forget in forgets:
            forget()


SOCKET = {
    "CALLERS": callers, "CALLER_REQUESTS": caller_requests, "REQUESTS_ASKED": requests_asked,
    "REQUEST_BYTES": request_bytes, "ANSWER_BYTES": answer_bytes,
}  # fmt: skip
"""What another process may ask of an engine, which has to hold a file for that."""
TRIALS = {
    "NAME_CHARACTERS": name, "REASON_CHARACTERS": reason, "KEY_CHARACTERS": key, "ACTOR_CHARACTERS": actor,
    "PHASE_CHARACTERS": phase_characters, "WORD_CHARACTERS": word, "PATH_CHARACTERS": path, "LABELS": labels,
    "LABEL_KEY_CHARACTERS": label_key, "LABEL_VALUE_CHARACTERS": label_value, "AMOUNT": amount, "CPUS": cpus,
    "CONTEXT": context, "DEVICES": devices, "TTL_SECONDS": ttl, "INSTANT_NS": instant,
    "EXIT_CODE": exit_code, "OPTION_SECONDS": option_seconds, "DATA_BYTES": data_bytes,
    "DATA_DEPTH": data_depth, "PHASES": phases, "DEFINITION_BYTES": definition_bytes,
    "SNAPSHOTS_SEEN": snapshots_seen, "PAGE_RECORDS": page_records, "MACHINES_LISTED": machines_listed,
    "GOALS": goals, "EVENT_BYTES": event_bytes, "EVENTS_APPENDED": events_appended, "WORDS_CHARACTERS": words,
    "QUEUE_TICKETS": queue_tickets, "QUEUE_BYTES": queue_bytes, "TURNS_QUEUED": turns_queued,
    "ARGUMENTS": arguments, "ARGUMENT_CHARACTERS": argument, "VARIABLES": variables,
    "WAITERS": waiters, "WAITERS_OF_MACHINE": waiters_of_machine, "SUBSCRIPTIONS": subscriptions,
    "OBSERVERS": observers,
} | SOCKET  # fmt: skip
CUT = {"DETAIL_CHARACTERS": detail, "FAULT_CHARACTERS": fault}
"""What a provider says is not refused for its length."""
REFUSED = [limit for limit in TRIALS if limit not in ("CALLER_REQUESTS", "ANSWER_BYTES")]
"""One who asks too much at once is heard later; what was done is not refused for its answer."""


def tried(limits_):
    """Name each limit with the stores that it is tried on."""
    stores = [(limit, store) for limit in limits_ for store in ("memory", "sqlite")]
    return [one for one in stores if one[0] not in SOCKET or one[1] == "sqlite"]


each = partial(pytest.mark.parametrize, ("limit", "bench"), indirect=["bench"])


def test_every_limit_has_a_trial():
    """A limit that nobody tries is none."""
    assert LIMITS.keys() == TRIALS.keys() | CUT.keys()


def test_every_limit_is_in_the_table():
    """With its number, and with what it is a limit of; that the table is current is a law of the house."""
    rows = [line.split(" | ") for line in TABLE.read_text().splitlines() if line.startswith("| `")]
    told = {name.strip("|` "): int(number.replace(",", "")) for name, number, _ in rows}
    assert told == LIMITS


@each(tried(LIMITS))
async def test_what_is_at_a_limit_is_taken(bench, limit):
    """And what is taken replays."""
    await {**TRIALS, **CUT}[limit](bench, LIMITS[limit])


@each(tried(REFUSED))
async def test_what_is_beyond_a_limit_is_refused(bench, limit):
    """With a sentence, at once; and what refused it appends nothing."""
    with pytest.raises((BadInput, Overloaded, DefinitionRefused)) as refused:
        await TRIALS[limit](bench, LIMITS[limit] + 1)
    assert len(str(refused.value)) < 600
    assert refused.value.http_status == (503 if isinstance(refused.value, Overloaded) else 422)
    assert bench.state == (before := bench.before)
    await bench.new()
    assert bench.state != before, "the engine goes on"


@pytest.mark.parametrize("limit", CUT)
async def test_what_a_provider_says_at_length_is_cut(bench, limit):
    await CUT[limit](bench, LIMITS[limit] + 1)


@each(tried(["CALLER_REQUESTS"]))
async def test_who_asks_too_much_at_once_is_heard_later(bench, limit):
    """None of it is lost."""
    await SOCKET[limit](bench, LIMITS[limit] + 1)


@each(tried(["ANSWER_BYTES"]))
async def test_an_answer_that_is_too_long_is_told_to_be(bench, limit):
    """What it answers was done, and whoever asked goes on."""
    with pytest.raises(EventvmError, match="it was done, and the answer takes 67,108,865 bytes"):
        await SOCKET[limit](bench, LIMITS[limit] + 1)


ODD = ("a\n", "a\nb", "a\0", "\x1b[2J", "\u202ea", "\ud800", "\u200b", "\x7f", 7, True, b"a", ["a"])


@pytest.mark.parametrize("odd", ODD, ids=ascii)
async def test_a_word_that_cannot_be_printed_is_refused_wherever_it_stands(bench, odd):
    """Names, keys, actors and labels, also of a command that was made by hand, and without a trace."""
    machine = await bench.new()
    for wish in (
        lambda: bench.engine.create(odd, SPEC), lambda: bench.engine.machine(odd),
        lambda: machine.rename(odd),
        lambda: machine.snapshot(odd), lambda: machine.start(key=odd), lambda: machine.start(actor=odd),
        lambda: machine.send(commands.Amend(labels={"a": odd})), lambda: machine.send(commands.Rename(odd)),
        lambda: bench.engine.create("other", Spec(provider="simulated", labels={"a": odd})),
    ):  # fmt: skip
        with pytest.raises(BadInput):
            await wish()
    assert bench.state == bench.before
