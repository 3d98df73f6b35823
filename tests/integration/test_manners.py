"""How it behaves among others: quiet, in its own loop only, and leaving in good order."""

import asyncio
import inspect
import os
import subprocess
import sys
import threading
from contextlib import suppress
from functools import partial

import pytest

import eventvm
from eventvm import Spec
from eventvm.engine import Engine, Handle
from eventvm.engine.orphans import Orphan
from eventvm.errors import Closed, WrongLoop
from eventvm.ledger import Entry
from eventvm.logs import open_log
from eventvm.observation import Evidence, Instant, Observation
from eventvm.providers.simulated import Script, Simulated
from eventvm.spec import Shape
from eventvm.subscription import Subscription
from eventvm.views import tag

SPEC = Spec(provider="simulated")
AT = Instant(1, 1, "boot")


def run(code, *arguments):
    whole = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.run(whole, capture_output=True, text=True, timeout=60, check=False)


# --- quiet

BAD_DAY = """
import asyncio, sys, eventvm
from eventvm import Spec
async def main():
    async with eventvm.open(sys.argv[1], grace_seconds=0) as engine:
        web = await engine.create("web", Spec(provider="simulated"))
        told = asyncio.Event()
        def fail(machine, change):
            told.set()
            raise ZeroDivisionError
        engine.observe(fail)
        simulated = engine._world.providers["simulated"]
        simulated.script("web", "start", "fail")
        try:
            await web.start()
        except eventvm.EventvmError:
            pass
        await web.start()
        await told.wait()
        simulated.script("web", "stop", "hang")
        await web.stop(wait=False)
asyncio.run(main())
"""


@pytest.mark.parametrize("code", ["import eventvm", BAD_DAY], ids=["imported", "used"])
def test_it_prints_nothing(code, tmp_path):
    """Not when it is imported, nor on a bad day: who wants to hear it sets up logging."""
    done = run(code, tmp_path / "log.db")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_whoever_sets_up_logging_hears_it(tmp_path):
    """Info tells of coming and going, error and above of what needs somebody."""
    done = run("import logging; logging.basicConfig(level='INFO')\n" + BAD_DAY, tmp_path / "log.db")
    assert done.stderr.startswith("INFO:eventvm:serving sqlite:")
    assert "ERROR:eventvm:an observer failed at position" in done.stderr
    assert "INFO:eventvm:left sqlite:" in done.stderr


def test_windows_is_refused_with_a_sentence():
    """At the first import, before anything that is not there is missed."""
    done = run("import sys; sys.platform = 'win32'; import eventvm")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: eventvm needs Linux or macOS: it depends on")


# --- here and nowhere else

ENTRY = Entry(
    machine="m", subject="", meter="compute", edge="start", reason="", shape=Shape(), at=AT, position=1,
    recorded_at=1,
)  # fmt: skip
ENGINE = {
    "check_here": (), "check_open": (), "machine": ("web",), "machine_by_id": ("x",), "machines": (),
    "create": ("other",), "clone": ("HANDLE", "other", "s"), "birth": ("x",), "used": ("k",),
    "submit": ("CELL", eventvm.engine.commands.Start()), "look": ("CELL",), "reconcile": (), "events": (),
    "observe": (print,), "history": ("x",), "ledger": ("x",), "every": (), "counts": (),
    "backup": ("nowhere.db",), "orphans": (), "adopt": (Orphan("simulated", "x"), "y"),
    "provider": ("simulated",),
}  # fmt: skip
HANDLE = {
    "describe": (), "create": (), "start": (), "stop": (), "pause": (), "resume": (), "hibernate": ("s",),
    "snapshot": ("s",), "delete_snapshot": ("s",), "restore": ("s",), "clone": ("other", "s"),
    "rename": ("other",), "destroy": (), "complete": (0,), "transition_to": ("x",), "force_phase": ("x", "y"),
    "use": (), "attest": ("gone", "why"), "advance_retry": (), "reset_retry": (),
    "amend": (), "label": (), "data": (dict,),
    "correct": (ENTRY, AT, "why"),
    "reconcile": (), "tell": (Observation("alive", Evidence("x")),),
    "send": (eventvm.engine.commands.Start(),),
    "wait": ("running",), "wait_exit": (), "exit_status": (), "history": (), "entries": (), "intervals": (),
}  # fmt: skip
ANYWHERE = {
    Engine: {"running", "lifecycles", "rules", "unborn"},  # begins its own life; pure; pure; pure
    Handle: {"take"},  # remembers a value that it is given
    Subscription: {"end"},  # the engine's own
}
SUBSCRIPTION = {"__aiter__": (), "__anext__": ()}


def public(kind):
    return {name for name, one in vars(kind).items() if name[0] != "_" and inspect.isfunction(one)}


def test_no_public_method_is_forgotten():
    """A new one has to choose: refused from elsewhere, or harmless anywhere."""
    assert public(Engine) == ENGINE.keys() | ANYWHERE[Engine]
    assert public(Handle) == HANDLE.keys() | ANYWHERE[Handle]
    assert public(Subscription) == ANYWHERE[Subscription]


def calls(engine, handle, subscription, forget):
    """Give every public entry as a call without arguments."""
    stand_ins = {"HANDLE": handle, "CELL": handle._cell}  # noqa: SLF001  # what the engine's own faces pass
    for one, entries in ((engine, ENGINE), (handle, HANDLE), (subscription, SUBSCRIPTION)):
        for name, given in entries.items():
            arguments = [stand_ins.get(each, each) if isinstance(each, str) else each for each in given]
            yield f"{type(one).__name__}.{name}", partial(getattr(one, name), *arguments)
    yield "forget", forget


def taken(entries):
    """Name the entries that did not refuse at once, before they awaited anything."""
    odd = []
    for name, call in entries:
        try:
            called = call()
            if inspect.iscoroutine(called):
                try:
                    called.send(None)
                finally:
                    called.close()
        except WrongLoop:
            continue
        except BaseException as problem:  # noqa: BLE001  # whatever it is, it is not what was promised
            odd.append(f"{name}: {problem!r}")
        else:
            odd.append(name)
    return odd


async def taken_in_a_loop(entries):
    return taken(entries)


@pytest.fixture
async def entries(tmp_path):
    async with eventvm.open(tmp_path / "log.db") as engine:
        handle = await engine.create("web", SPEC)
        yield list(calls(engine, handle, engine.events(), engine.observe(print)))
        assert engine.log.tree.size == 3


def elsewhere(work):
    """Do something in another thread, and give what came of it."""
    told = []
    thread = threading.Thread(target=lambda: told.append(work()))
    thread.start()
    thread.join()
    return told[0]


async def test_use_from_another_thread_is_refused(entries):
    assert elsewhere(lambda: taken(entries)) == []


async def test_use_from_another_loop_is_refused(entries):
    assert elsewhere(lambda: asyncio.run(taken_in_a_loop(entries))) == []


def forked(work):
    """Do something in a forked child, and give what came of it, as text."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with suppress(BaseException):
            os.write(writing, repr(work()).encode())
        os._exit(0)
    os.close(writing)
    told = os.read(reading, 65536).decode()
    os.close(reading)
    os.waitpid(child, 0)
    return told


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # that is what is tested
async def test_use_after_a_fork_is_refused(entries):
    """In the child, inside the loop that it seems to have inherited."""
    assert forked(lambda: taken(entries)) == "[]"


async def test_where_it_was_opened_it_may_be_used(tmp_path):
    """So that the three tests above can fail."""
    async with eventvm.open(tmp_path / "log.db") as engine:
        engine.check_open()
        engine.check_here()
    engine.check_here()


# --- leaving


@pytest.mark.parametrize("where", ["memory", "sqlite"])
async def test_who_waits_hears_that_the_engine_was_left(where, tmp_path):
    """A wait, a wait for a name, a reader at the end of the log, and one in the midst of it; nobody hangs."""
    async with eventvm.open("memory:" if where == "memory" else tmp_path / "log.db") as engine:
        web = await engine.create("web", SPEC)
        waiting = await engine.machine("web")
        unborn = await engine.machine("unborn")
        live, other = engine.events(after=engine.log.tree.size), engine.events()
        await anext(other)
        tasks = [
            asyncio.ensure_future(one)
            for one in (waiting.wait("running"), unborn.wait("running"), anext(live))
        ]
        await asyncio.wait(tasks, timeout=0.05)
        assert not any(task.done() for task in tasks)
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in answers] == [Closed] * 3
    for late in (anext(other), web.start(), web.wait("running"), engine.create("late", SPEC)):
        with pytest.raises(Closed, match="open the log again"):
            await late


async def test_one_who_reads_may_stop_reading_without_the_engine_being_left(tmp_path):
    """Cancelling a reader cancels it, and is not taken for the end."""
    async with eventvm.open(tmp_path / "log.db") as engine:
        live = engine.events()
        reading = asyncio.ensure_future(anext(live))
        await asyncio.wait({reading}, timeout=0.05)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await engine.create("web", SPEC)
        assert (await anext(live)).position == 1


async def test_a_reader_ends_with_its_engine_though_the_log_goes_on(tmp_path):
    """A log that outlives its engine is still open, and yet nobody waits for what that engine would write."""
    async with open_log(tmp_path / "log.db") as log:
        async with Engine(log).running() as engine:
            live = engine.events()
            reading = asyncio.ensure_future(anext(live))
            await asyncio.wait({reading}, timeout=0.05)
            assert not reading.done()
        async with asyncio.timeout(5):
            with pytest.raises(Closed):
                await reading


async def cancelled(task):
    """Cancel a task again and again until it has ended."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.002)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_leaving_is_carried_through_however_often_it_is_cancelled(tmp_path):
    """No worker, thread, lock or -wal is left, and what was under way is on the record."""
    path, world, engines = tmp_path / "log.db", Simulated(), []
    world.always("*", "start", Script(seconds=0.05))

    async def block():
        async with eventvm.open(path, providers=[world]) as engine:
            engines.append(engine)
            web = await asyncio.shield(engine.create("web", SPEC))
            await asyncio.shield(web.start(wait=False))

    task = asyncio.ensure_future(block())
    while not world.calls[1:]:
        await asyncio.wait({task}, timeout=0.001)
    await cancelled(task)
    assert not engines[0]._turns.workers  # noqa: SLF001  # what must be gone
    assert {one.name for one in threading.enumerate()} == {"MainThread"}
    assert [one.name for one in sorted(tmp_path.iterdir())] == ["log.db", "log.db.lock"]
    async with open_log(path) as log:
        *_, last = (await log.read()).records
        assert tag(last) == "machine.started"
