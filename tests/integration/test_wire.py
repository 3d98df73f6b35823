"""The engine's socket: who acts through it meets the same engine, and nobody it cannot bear."""

import asyncio
import os
import socket
import stat
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

import eventvm
from eventvm import Simulated, Spec, address, errors, limits
from eventvm.clock import Clock
from eventvm.errors import (
    BadInput,
    Closed,
    EventvmError,
    KeyConflict,
    LogHeld,
    NotFound,
    OutcomeUnknown,
    Unreachable,
    WaitTimeout,
)
from eventvm.lifecycles import LIFECYCLES
from eventvm.logs import open_log
from eventvm.providers.simulated import Script
from eventvm.wire import words
from eventvm.wire.guest import Guest, whoever
from eventvm.wire.words import WIRE, Hello, Terms

SIMULATED = Spec(provider="simulated")


@pytest.fixture
def world():
    return Simulated(Clock())


@pytest.fixture(params=["held here", "held elsewhere"])
async def engine(request, path, world):
    """An engine of which nobody can tell whether it holds the file or acts through who does."""
    async with eventvm.open(path, providers=[world]) as holder:
        if request.param == "held here":
            yield holder
        else:
            async with eventvm.open(path) as guest:
                assert isinstance(guest, Guest)
                yield guest


@asynccontextmanager
async def both(path, world=None):
    """An engine that holds a file, and another that acts through it."""
    given = [] if world is None else [world]
    async with eventvm.open(path, providers=given) as holder, eventvm.open(path) as guest:
        yield holder, guest


# --- the same face --------------------------------------------------------------------------------------


async def said(asked):
    """What a command came to, whichever way: all of a receipt or of an error but the random ids."""
    try:
        receipt = await asked
    except EventvmError as problem:
        kept = {field: _plain(value) for field, value in vars(problem).items()}
        return type(problem), str(problem), problem.hint, problem.exit_code, problem.http_status, kept
    return _plain(getattr(receipt, "receipt", receipt))


def _plain(value):
    if isinstance(value, eventvm.Record):
        return value.position, type(value.event)
    told = msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value
    return {**told, "machine": ""} if isinstance(told, dict) else told


async def begun(engine, _):
    """Beginnings and the verbs of one machine, right and wrong."""
    yield await said(engine.create("web", SIMULATED, key="a", actor="me"))
    yield await said(engine.create("web", SIMULATED, key="a"))
    yield await said(engine.create("web", Spec(provider="simulated", cpus=2), key="a"))
    yield await said(engine.create("web", SIMULATED))
    yield await said(engine.create("bad name", SIMULATED))
    yield await said(engine.create("other", Spec(provider="nobody")))
    yield await said(engine.create("other", lifecycle="nothing"))
    web = await engine.machine("web")
    yield await said(web.start(key="b"))
    yield await said(web.start())
    yield await said(web.start(key="b"))
    yield await said(web.stop(key="b"))
    yield await said(web.resume())
    yield await said(web.destroy())
    yield await said(web.snapshot("one"))
    yield await said(web.snapshot("one"))
    yield await said(web.delete_snapshot("two"))
    yield await said(web.hibernate("two"))
    yield await said(web.restore("one"))
    yield await said(web.clone("copy", "one"))
    yield await said(web.clone("again", "three"))


async def ended(engine, world):
    """What is said of a machine, what nobody can tell, and ends."""
    web = await engine.machine("web")
    yield await said(web.rename("copy"))
    yield await said(web.rename("www"))
    yield await said(web.label(team="a"))
    yield await said(web.attest("gone", ""))
    yield await said(web.attest("gone", "seen"))
    yield await said(web.transition_to("stopped"))
    yield await said(web.reconcile())
    world.lie("www", "unknown")
    yield await said(web.start())
    yield await said(web.reconcile())
    world.lie("www", None)
    yield await said(web.destroy(force=True))
    yield await said(web.start())


async def failed(engine, world):
    """What the world fails to do, and what is not there."""
    world.script("frail", "start", "fail")
    world.script("frail", "stop", Script("fail", message="stuck"))
    frail = await engine.create("frail", SIMULATED)
    yield await said(frail.start())
    yield await said(frail.start(wait=False))
    yield await said(frail.wait("running", "error", timeout=5))
    yield await said(frail.stop())
    yield await said((await engine.machine("nobody")).start())
    yield await said((await engine.machine("nobody", lifecycle="hcsshim")).stop())
    yield await said(engine.machine_by_id("x"))


async def told(engine, _):
    """A lifecycle that only tells, and the engine's own questions."""
    plugin = await engine.create("plugin", lifecycle="plugin")
    yield await said(plugin.transition_to("Installing", "asked for", data={"from": ["here"]}))
    yield await said(plugin.transition_to("Running"))
    yield await said(plugin.transition_to("Failed", data={1, 2}))
    yield await said(plugin.force_phase("Installed", ""))
    yield await said(plugin.force_phase("Installed", "lost"))
    yield await said(plugin.advance_retry())
    yield await said(plugin.reset_retry(reason="x" * 1001))
    yield await said(plugin.wait("Running", timeout=5))
    report = await engine.reconcile()
    yield report.looked, len(report.reconciled), report.unknown
    yield await engine.orphans()
    yield engine.counts()
    yield [(one.name, one.phase, one.generation) for one in await engine.machines()]
    yield [one.name async for one in engine.every(lifecycle="plugin")]
    yield [(change.from_, change.to, change.reason) for change in await plugin.history()]


async def lived(engine, world):
    """A good part of what can be asked of an engine."""
    for part in (begun, ended, failed, told):
        async for answer in part(engine, world):
            yield answer


async def test_every_answer_is_the_same_through_the_socket(tmp_path):
    """Receipts, and errors with their class, words, fields, hint and codes, over several lives."""
    here, there = Simulated(Clock()), Simulated(Clock())
    async with eventvm.open(tmp_path / "one.db", providers=[here]) as engine:
        direct = [answer async for answer in lived(engine, here)]
    async with both(tmp_path / "two.db", there) as (_, guest):
        through = [answer async for answer in lived(guest, there)]
    assert len(direct) == len(through)
    for one, other in zip(direct, through, strict=True):
        assert one == other


def _errors():
    return [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, EventvmError)]


RECEIPT = eventvm.Receipt("id", "web", 7, 3, 2, "error")
EXAMPLES = {
    "receipt": RECEIPT, "goals": ("running", "settled"), "position": 7, "line": 7, "expected": 1, "actual": 2,
    "record": None,
}  # fmt: skip


def example(kind):
    """Make an error of a class, with something in each of its fields."""
    code = kind.__init__.__code__
    names = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    if kind.__init__ is Exception.__init__ or not names:
        return kind("a sentence")
    positional = [EXAMPLES.get(name, f"the {name}") for name in names[: code.co_argcount - 1]]
    named = {name: EXAMPLES.get(name, f"the {name}") for name in names[code.co_argcount - 1 :]}
    return kind(*positional, **named)


@pytest.mark.parametrize("kind", _errors())
def test_an_error_is_the_same_on_the_other_side(kind):
    """Its class, its words, each of its fields, its hint and its codes."""
    problem = example(kind) if hasattr(kind.__init__, "__code__") else kind("a sentence")
    written = words.encode(words.failure(problem))
    again = msgspec.json.decode(written, type=words.Failure).raised()
    assert type(again) is type(problem)
    assert (str(again), vars(again)) == (str(problem), vars(problem))
    assert (again.hint, again.exit_code, again.http_status) == (
        problem.hint, problem.exit_code, problem.http_status,
    )  # fmt: skip


def test_a_bug_of_the_engine_is_told_as_one():
    """Whoever asked hears of it, and is not told that nothing happened."""
    again = words.failure(AssertionError("no")).raised()
    assert type(again) is EventvmError
    assert "AssertionError" in str(again)


# --- reading what others do -----------------------------------------------------------------------------


async def test_whoever_has_a_receipt_sees_what_it_tells(engine):
    """The phase, the history and the ledger are there as soon as the receipt is, and in every list."""
    web = await engine.create("web", SIMULATED)
    for at in range(5):
        assert (await web.start()).phase == web.phase == "running"
        assert (await web.stop()).phase == web.phase == "stopped"
        assert len(await web.history()) == 2 * at + 4
    assert [one.phase for one in await engine.machines()] == ["stopped"]
    assert len([one for one in await web.intervals() if one.meter == "compute"]) == 5


async def test_what_others_do_is_seen_in_every_process(path):
    """By a handle, a wait, a subscription, and a wait for what does not exist yet."""
    async with both(path) as (holder, guest):
        coming = asyncio.ensure_future((await guest.machine("web")).wait("running", timeout=10))
        made = await holder.create("web", SIMULATED)
        seen = await guest.machine("web")
        await made.start()
        assert (await coming).phase == "running"
        records = guest.events(after=0)
        told = [await anext(records) for _ in range(holder.log.tree.size)]
        assert [one.position for one in told] == list(range(1, len(told) + 1))
        assert (await seen.wait("running", timeout=10)).phase == "running"
        await seen.stop()
        assert made.phase == seen.phase == "stopped"


async def test_a_wait_sees_what_was_passed_through_and_what_ends_the_hope(engine):
    """As everywhere: positions, not the present; and a timeout harms nobody."""
    web = await engine.create("web", SIMULATED)
    started = await web.start()
    await web.stop()
    assert (await web.wait("running", after=started.position - 1)).position == started.position
    with pytest.raises(Unreachable):
        await web.wait("running", timeout=5)
    with pytest.raises(WaitTimeout):
        await (await engine.machine("web")).wait("running", timeout=0.01)
    assert (await web.start()).phase == "running"


async def test_who_acts_is_on_the_record(path):
    """Each process for itself, unless a command says otherwise."""
    async with both(path) as (_, guest), eventvm.open(path, actor="ann") as ann:
        web = await guest.create("web", lifecycle="plugin")
        await (await ann.machine("web")).transition_to("Installing")
        await (await ann.machine("web")).transition_to("Failed", actor="bob")
        page = await guest.log.read(stream=web.id)
        assert [record.actor for record in page.records] == [whoever(), "ann", "bob"]


# --- leaving, cancelling, dying -------------------------------------------------------------------------


async def test_a_caller_that_goes_away_cancels_nothing(path, world):
    """Neither its cancelled wait nor its closed connection ends the effect."""
    world.always("*", "start", Script(seconds=0.2))
    async with eventvm.open(path, providers=[world]) as holder:
        async with eventvm.open(path) as guest:
            web = await guest.create("web", SIMULATED)
            starting = asyncio.ensure_future(web.start(key="k"))
            await asyncio.wait([starting], timeout=0.05)
            starting.cancel()
            await asyncio.wait([starting])
        there = await holder.machine("web")
        assert (await there.wait("running", timeout=5)).phase == "running"
        assert (await there.start(key="k")).how == "repeated"


async def test_what_was_asked_by_who_is_gone_is_done(path):
    """As soon as it has been read, nobody needs to be there for it."""
    async with eventvm.open(path) as holder:
        one = await holder.create("one", lifecycle="plugin")
        raw = await Raw.come(path)
        wish = {"type": "send", "machine": one.id, "name": "one", "lifecycle": "plugin"}
        asked = (
            msgspec.json.encode({"id": 1, "request": {**wish, "command": {"type": "advance_retry"}}}) + b"\n"
        )
        raw.writer.write(asked * 5)
        raw.writer.close()
        records = holder.events(after=one.receipt.position)
        async with asyncio.timeout(10):
            told = [await anext(records) for _ in range(5)]
        assert {record.stream for record in told} == {one.id}


async def test_a_command_of_ones_own_is_hope_before_it_is_recorded(engine):
    """A wait that begins right behind it is not told that nothing is under way."""
    web = await engine.create("web", SIMULATED)
    _, reached = await asyncio.gather(web.start(), web.wait("running", timeout=5))
    assert reached.phase == "running"


async def test_what_is_under_way_when_a_guest_leaves_is_unknown_to_it(path, world):
    """It is never told as done; the engine goes on."""
    world.always("*", "start", Script(seconds=0.2))
    async with eventvm.open(path, providers=[world]) as holder:
        async with eventvm.open(path) as guest:
            web = await guest.create("web", SIMULATED)
            starting = asyncio.ensure_future(web.start())
            await asyncio.wait([starting], timeout=0.05)
        with pytest.raises(OutcomeUnknown):
            await starting
        with pytest.raises(Closed):
            await web.stop()
        assert (await (await holder.machine("web")).wait("running", timeout=5)).phase == "running"


async def test_when_the_holder_leaves_its_guests_are_told_and_one_of_them_may_hold(path):
    """Waits and subscriptions end with Closed, answers that were due arrive, and the log can be opened."""
    async with eventvm.open(path) as holder:
        taking = eventvm.open(path)
        guest = await taking.__aenter__()
        web = await guest.create("web", SIMULATED)
        waiting = asyncio.ensure_future((await guest.machine("web")).wait("running"))
        reading = asyncio.ensure_future(anext(guest.events(after=holder.log.tree.size)))
        await asyncio.wait([waiting, reading], timeout=0.05)
    for one in (waiting, reading, web.start()):
        with pytest.raises(Closed):
            await one
    await taking.__aexit__(None, None, None)
    async with eventvm.open(path) as engine:
        assert not isinstance(engine, Guest)
        assert (await (await engine.machine("web")).start()).phase == "running"
    assert not address.socket_of(path).exists()


async def test_who_comes_while_the_holder_leaves_holds_the_log_next(path, world):
    """It waits until what is under way has ended, and finds it so."""
    world.always("*", "start", Script(seconds=0.3))
    taking = eventvm.open(path, providers=[world])
    holder = await taking.__aenter__()
    await (await holder.create("web", SIMULATED)).start(wait=False)
    leaving = asyncio.ensure_future(taking.__aexit__(None, None, None))
    await asyncio.wait([leaving], timeout=0.05)
    async with eventvm.open(path, providers=[world]) as engine:
        assert not isinstance(engine, Guest)
        assert (await engine.machine("web")).phase == "running"
    await leaving


def held(path):
    """Another process that holds the log."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", str(Path(__file__).with_name("held_engine.py")), str(path)],
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"open\n"
    return process


@pytest.mark.parametrize("answers", [0, 1, 7, 40])
async def test_a_holder_that_is_killed_has_told_nobody_of_what_is_not_so(path, answers):
    """Whatever was answered is in the log; the rest is unknown or refused, and its key may be asked again."""
    process = held(path)
    with process:
        async with eventvm.open(path) as guest:
            one = await guest.create("one", lifecycle="plugin")
            asked = {f"k{at}": asyncio.ensure_future(one.advance_retry(key=f"k{at}")) for at in range(60)}
            while len(left := [one for one in asked.values() if not one.done()]) > 60 - answers:
                await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            process.kill()
            told = await asyncio.gather(*asked.values(), return_exceptions=True)
    assert all(isinstance(one, eventvm.Receipt | OutcomeUnknown | Closed) for one in told), told
    async with eventvm.open(path) as engine:
        again = await engine.machine("one")
        for key, answer in zip(asked, told, strict=True):
            receipt = await again.advance_retry(key=key)
            if isinstance(answer, eventvm.Receipt):
                assert (receipt.how, receipt.position) == ("repeated", answer.position)
        assert again.retry.attempts == 60


async def test_a_hundred_processes_at_once_are_served(path):
    """Each gets its own answers, and every command is carried out once."""
    async with eventvm.open(path) as holder:
        await holder.create("one", lifecycle="plugin")

        async def act(at):
            line = await Raw.come(path)
            return await line.told(at, f"k{at}")

        told = await asyncio.gather(*map(act, range(100)))
        assert sorted(one["version"] for one in told) == list(range(2, 102))
        assert (await holder.machine("one")).retry.attempts == 100


# --- the hostile ----------------------------------------------------------------------------------------


class Raw:
    """A connection of somebody who may not keep to the words."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    @classmethod
    async def come(cls, path, *, greet=True):
        raw = cls(*await asyncio.open_unix_connection(str(address.socket_of(path))))
        if greet:
            raw.writer.write(words.line(Hello(WIRE, "0", Terms())))
            assert b"welcome" in await raw.reader.readline()
        return raw

    async def told(self, number, key):
        wish = {"type": "advance_retry"}
        send = {
            "type": "send", "machine": "", "name": "one", "lifecycle": "plugin", "command": wish, "key": key
        }  # fmt: skip
        async with eventvm.open_log(
            self.writer.get_extra_info("peername")[: -len(".socket")], read_only=True
        ) as log:
            send["machine"] = (await log.find("one")).stream
        self.writer.write(msgspec.json.encode({"id": number, "request": send}) + b"\n")
        answer = msgspec.json.decode(await self.reader.readline())
        self.writer.close()
        assert answer["id"] == number
        return answer["answer"]

    async def ended(self):
        """What it is told last."""
        told = await self.reader.read()
        self.writer.close()
        return told


HOSTILE = {
    "garbage": b"\x00\xff garbage\n",
    "JSON of something else": b'{"id": 1}\n',
    "a list": b"[" * 5000 + b"\n",
    "a number that is none": b'{"id": 1e999, "request": {}}\n',
}


@pytest.mark.parametrize("line", HOSTILE)
@pytest.mark.parametrize("greet", [True, False])
async def test_garbage_ends_its_own_connection_alone(path, line, greet):
    """It is told why, and another process goes on."""
    async with both(path) as (_, guest):
        raw = await Raw.come(path, greet=greet)
        raw.writer.write(HOSTILE[line])
        assert b"refusal" in await raw.ended()
        assert (await guest.create("web", SIMULATED)).phase == "created"


async def test_a_line_without_an_end_is_refused_once_it_is_too_long(path):
    """The engine holds no more of it than one line may have."""
    async with both(path) as (_, guest):
        raw = await Raw.come(path)
        raw.writer.write(b"x" * (limits.REQUEST_BYTES + 70_000))
        assert b"refusal" in await raw.ended()
        assert (await guest.create("web", SIMULATED)).phase == "created"


async def test_half_a_line_is_no_command(path):
    """Who goes away in the middle of a line has asked for nothing."""
    async with both(path) as (holder, guest):
        raw = await Raw.come(path)
        raw.writer.write(b'{"id": 1, "request": {"type": "look_at_all"')
        raw.writer.close()
        await raw.writer.wait_closed()
        assert (await guest.create("web", SIMULATED)).phase == "created"
        assert len(await holder.machines()) == 1


async def test_a_request_that_nobody_knows_is_answered_and_the_next_is_taken(path):
    """It is a BadInput of its own number."""
    async with eventvm.open(path):
        raw = await Raw.come(path)
        raw.writer.write(b'{"id": 5, "request": {"type": "explode"}}\n')
        answer = words.read_answer(await raw.reader.readline())
        assert (answer.id, answer.failure.kind) == (5, "eventvm.errors.BadInput")
        raw.writer.write(b'{"id": 6, "request": {"type": "discover"}}\n')
        assert words.read_answer(await raw.reader.readline()).id == 6
        raw.writer.close()


async def test_who_never_listens_delays_nobody(path, monkeypatch):
    """Its requests are taken up to a bound; others are answered, and the engine can be left."""
    monkeypatch.setattr("eventvm.wire.door.FAREWELL_SECONDS", 0.1)
    async with both(path) as (_, guest):
        raw = await Raw.come(path)
        ask = b'{"id": 1, "request": {"type": "explode", "x": "' + b"x" * 200 + b'"}}\n'
        raw.writer.write(ask * 20_000)
        assert (await guest.create("web", SIMULATED)).phase == "created"
    raw.writer.close()


async def test_a_caller_has_only_so_much_under_way(path, world, monkeypatch):
    """What it asks beyond that is not heard before something of it is answered."""
    monkeypatch.setattr(limits, "CALLER_REQUESTS", 2)
    world.always("*", "start", Script(seconds=0.05))
    async with both(path, world) as (_, guest):
        machines = [await guest.create(name, SIMULATED) for name in ("a", "b", "c")]
        begun = guest.log.tree.size
        await asyncio.gather(*(one.start() for one in machines))
        page = await guest.log.read(after=begun)
    kinds = [type(record.event).__name__ for record in page.records]
    assert kinds[:3] == ["Requested", "Requested", "Started"]


async def test_another_release_is_refused_in_a_sentence(path):
    """Where the words have another version."""
    async with eventvm.open(path):
        raw = await Raw.come(path, greet=False)
        raw.writer.write(words.line(Hello(WIRE + 1, "9.9", Terms())))
        assert b"use the same release" in await raw.ended()


@pytest.mark.parametrize(("uid", "in_"), [(0, True), (1000, True), (1001, False), (-1, False)])
def test_only_its_user_and_root_may_come_in(uid, in_):
    """Whatever the file's mode may have become."""
    assert address.trusted(uid, 1000) is in_


def test_the_kernel_tells_whose_the_other_end_is():
    """This process is at both."""
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert address.owner(one) == os.geteuid()


# --- the file -------------------------------------------------------------------------------------------


async def test_nobody_but_its_user_reaches_the_socket(path):
    """It is 0600 whatever the umask says, and gone when the engine is left."""
    before = os.umask(0)
    try:
        async with eventvm.open(path):
            mode = address.socket_of(path).stat().st_mode
            assert stat.S_ISSOCK(mode)
            assert stat.S_IMODE(mode) == 0o600
    finally:
        os.umask(before)
    assert not address.socket_of(path).exists()


async def test_the_socket_of_an_engine_that_was_killed_is_replaced(path):
    """By who takes the lock, and by nobody else."""
    with held(path) as process:
        process.kill()
    assert address.socket_of(path).exists()
    async with open_log(path):
        pass
    assert address.socket_of(path).exists()
    async with both(path) as (_, guest):
        assert (await guest.create("web", SIMULATED)).phase == "created"


@pytest.mark.parametrize("name", ["log.db", "n" * 120])
async def test_a_path_too_long_for_an_address_is_reached_all_the_same(tmp_path, name):
    """However deep the directory and however long the name."""
    deep = tmp_path.joinpath(*("d" * 60 for _ in range(4)))
    deep.mkdir(parents=True)
    async with both(deep / name) as (_, guest):
        assert isinstance(guest, Guest)
        assert (await guest.create("web", SIMULATED)).phase == "created"


async def test_a_file_in_the_sockets_place_is_left_alone(path, caplog, monkeypatch):
    """The engine serves its own process, and says so; another is told who holds the log."""
    monkeypatch.setattr("eventvm.wire.PATIENCE_SECONDS", 0.1)
    address.socket_of(path).write_text("mine")
    async with eventvm.open(path) as engine:
        assert "no other process can act" in caplog.text
        assert (await engine.create("web", SIMULATED)).phase == "created"
        with pytest.raises(LogHeld):
            async with eventvm.open(path):
                pass
    assert address.socket_of(path).read_text() == "mine"


# --- options --------------------------------------------------------------------------------------------


class Other(Simulated):
    """A world of another kind under the same name."""


MINE = msgspec.structs.replace(LIFECYCLES["plugin"], name="mine", history=7)
DIFFERENT = {
    "deadline_seconds": {"deadline_seconds": 5.0},
    "provider": {"providers": [Other()]},
    "lifecycle": {"lifecycles": [MINE]},
    "reloads": {"reloads": {"plugin": print}},
}


@pytest.mark.parametrize("option", DIFFERENT)
async def test_an_option_that_the_holder_has_otherwise_is_refused_by_name(path, option):
    """Never passed over in silence."""
    async with eventvm.open(path):
        with pytest.raises(BadInput, match=option):
            async with eventvm.open(path, **DIFFERENT[option]):
                pass


async def test_a_second_process_of_the_same_program_is_welcome(path):
    """The same options are no difference, nor is the default; the holder's lifecycles are known to all."""
    same = {"lifecycles": [MINE], "deadline_seconds": 9.0}
    async with (
        eventvm.open(path, providers=[Simulated()], **same),
        eventvm.open(path, providers=[Simulated()], probe_seconds=5, **same) as second,
        eventvm.open(path, grace_seconds=1) as third,
    ):
        assert isinstance(second, Guest)
        made = await third.create("web", lifecycle="mine")
        assert made.lifecycle.history == 7
        assert (await second.machine("web")).lifecycle.name == "mine"


async def test_a_key_is_one_key_through_every_face(path):
    """Used here, repeated there, and in conflict everywhere."""
    async with both(path) as (holder, guest):
        one = await holder.create("one", lifecycle="plugin", key="k")
        assert (await guest.create("one", lifecycle="plugin", key="k")).id == one.id
        with pytest.raises(KeyConflict):
            await guest.create("two", lifecycle="plugin", key="k")
        with pytest.raises(NotFound):
            await (await guest.machine("two")).stop(key="new")
