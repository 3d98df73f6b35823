"""Real processes as machines: who owns them, how they end, and what is left of them, which is nothing."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from functools import partial
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from process_world import (
    CANARY,
    SLEEPER,
    STUBBORN,
    ProcessContract,
    ended,
    holding,
    made,
    running_with,
    said,
    spec,
    target,
)

import eventvm
from eventvm import End, Process, errors
from eventvm.clock import boot_id
from eventvm.observation import Absent, Observed
from eventvm.providers.identity import identify
from eventvm.providers.process import Failed, SecretMissing
from eventvm.providers.process_files import HALTED, look
from eventvm.providers.rundir import LOCK, RunDirectories, take, taken
from eventvm.spec import Secret

OWNER = Path(__file__).with_name("killed_owner.py")

pytestmark = pytest.mark.usefixtures("nothing_is_left")


class TestContract(ProcessContract):
    """The laws that every provider keeps."""

    spec = spec()
    mend = staticmethod(lambda: None)

    async def blind(self, provider, target):
        started = provider.directories.of(target.id) / "started.json"
        self.mend = partial(started.write_bytes, started.read_bytes())
        started.write_text("{")

    async def seen(self, provider, target):
        """What was damaged is mended after the look, so that the machine can be removed."""
        try:
            return await super().seen(provider, target)
        finally:
            self.mend()


# --- a life ---------------------------------------------------------------------------------------------


async def test_nothing_is_made_before_the_first_machine(provider, directory):
    """A provider that nobody uses, and a probe of what is not there, leave no trace."""
    seen = await provider.probe(target())
    assert (seen.liveness, seen.exists) == ("gone", False)
    assert [id_ async for id_ in provider.discover()] == []
    assert not directory.exists()


async def test_a_machine_is_alive_until_its_process_ends_and_then_tells_how(provider):
    """Its exit code is observed, not authenticated; the evidence says when it was."""
    job = await made(
        provider, target("job", "sh", "-c", "read line < go; exit 42", directory="/"), running=False
    )
    go = provider.directories.of("job") / "go"
    os.mkfifo(go)
    job = replace(job, spec=replace(job.spec, directory=str(go.parent)))
    await provider.start(job)
    seen = await provider.probe(job)
    assert (seen.liveness, seen.exists, seen.paused, seen.name) == ("alive", True, False, "job")
    assert (seen.evidence.source, seen.evidence.incarnation, seen.end) == ("shim", 1, None)
    go.write_text("now\n")
    await ended(provider, "job")
    seen = await provider.probe(job)
    assert (seen.liveness, seen.end) == ("gone", End("crashed", Observed(code=42)))
    assert seen.end.terminal_state is None
    assert seen.evidence.when.boot_id == boot_id()


@pytest.mark.parametrize(
    ("script", "end"),
    [
        ("exit 0", End("graceful", Observed(code=0))),
        ("exit 7", End("crashed", Observed(code=7))),
        ("kill -SEGV $$", End("crashed", Observed(signal="SIGSEGV"))),
        ("kill -KILL $$", End("crashed", Observed(signal="SIGKILL"))),
        ("kill -TERM $$", End("crashed", Observed(signal="SIGTERM"))),
    ],
)
async def test_what_ends_by_itself_is_graceful_with_code_0_alone(provider, script, end):
    """A signal has a name and never a code."""
    job = await made(provider, target("job", "sh", "-c", script))
    await ended(provider, "job")
    assert (await provider.probe(job)).end == end
    assert await provider.stop(job) == end, "stop of what is gone tells the end that it had"


async def test_a_program_that_is_not_there_fails_the_start_and_leaves_nothing_running(provider):
    """The start says so; the machine is as before, and a later start of it may work."""
    job = await made(provider, target("job", "no-such-program"), running=False)
    with pytest.raises(Failed, match="cannot run no-such-program: No such file or directory"):
        await provider.start(job)
    seen = await provider.probe(job)
    assert (seen.liveness, seen.exists, seen.end) == ("gone", True, None)
    assert not taken(provider.directories.of("job") / LOCK)


async def test_a_start_of_what_runs_leaves_it_alone(provider):
    """By the machine's id: the incarnation that is asked for does not matter."""
    job = await made(provider, target())
    before = look(provider.directories.of("m1")).life
    await provider.start(job)
    await provider.start(replace(job, incarnation=2))
    assert look(provider.directories.of("m1")).life == before


async def test_what_runs_for_a_moment_only_is_launched_once(provider, tmp_path):
    """A start does not take an end that came before it looked again for a launch that never was."""
    launches = tmp_path / "launches"
    jobs = [target(f"m{number}", "sh", "-c", f"echo {number} >> {launches}") for number in range(10)]
    async with asyncio.timeout(20):
        await asyncio.gather(*(made(provider, job) for job in jobs))
    for job in jobs:
        await ended(provider, job.id)
    assert sorted(launches.read_text().split()) == [str(number) for number in range(10)]


async def test_an_old_end_is_not_taken_for_the_end_of_a_later_life(provider):
    """The files of both lives lie in one directory, and the nonce tells them apart."""
    job = await made(provider, target())
    await provider.stop(job)
    await provider.start(replace(job, incarnation=2))
    seen = await provider.probe(job)
    assert (seen.liveness, seen.evidence.incarnation, seen.end) == ("alive", 2, None)


async def test_a_machine_ends_with_its_command_and_takes_its_descendants_along(provider, tmp_path):
    """Those that left its group and its session too: the shim adopts them, and kills them."""
    script = "setsid sleep 1001 & sleep 1002 & (setsid setsid sleep 1003 &) ; echo ready; exit 5"
    job = await made(provider, target("job", "sh", "-c", script))
    await ended(provider, "job")
    assert (await provider.probe(job)).end == End("crashed", Observed(code=5))
    assert running_with(os.fsencode(tmp_path), "environ") == []


# --- the ladder -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "end"),
    [
        (("sh", "-c", "echo ready; exec sleep 1000"), End("graceful", Observed(signal="SIGTERM"), "signal")),
        (
            ("sh", "-c", "trap 'exit 3' TERM; echo ready; sleep 1000 & wait"),
            End("graceful", Observed(code=3), "signal"),
        ),
        (STUBBORN, End("killed", Observed(signal="SIGKILL"), "kill")),
    ],
)
async def test_the_rung_that_ended_it_is_recorded(provider, command, end):
    """A later probe says the same as the stop did, because the shim wrote it down."""
    job = await made(provider, target("job", *command, stop_grace_seconds=0.3))
    await said(provider, "job", b"ready")
    assert await provider.stop(job) == end
    assert (await provider.probe(job)).end == end
    assert await provider.stop(job) == end


async def test_without_a_grace_nobody_is_asked(provider):
    """A process that would have obeyed is killed."""
    job = await made(provider, target(stop_grace_seconds=0))
    assert await provider.stop(job) == End("killed", Observed(signal="SIGKILL"), "kill")


async def test_a_stop_that_is_given_up_kills_nobody_later(provider):
    """The ladder is climbed by who asked, so a machine that a stop has left alive stays alive."""
    job = await made(provider, target("job", *STUBBORN, stop_grace_seconds=0.2))
    await said(provider, "job", b"ready")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await provider.stop(job)
    life = look(provider.directories.of("job")).life
    assert not await life.shim.ended_within(0.4)
    assert (await provider.probe(job)).liveness == "alive"


async def test_a_paused_machine_is_seen_to_be_paused_and_can_be_stopped(provider):
    """What is held still is let go to hear that it is to end."""
    job = await made(provider, target())
    await provider.pause(job)
    assert (await provider.probe(job)).paused is True
    await provider.resume(job)
    assert (await provider.probe(job)).paused is False
    await provider.pause(job)
    assert await provider.stop(job) == End("graceful", Observed(signal="SIGTERM"), "signal")
    with pytest.raises(Failed, match="no process"):
        await provider.pause(job)


# --- who it is ------------------------------------------------------------------------------------------


async def test_a_recycled_pid_fools_nobody(provider):
    """Files that name a living process with another start speak of nobody, and it is not touched."""
    job = await made(provider, target())
    await provider.stop(job)
    path = provider.directories.of("m1")
    with subprocess.Popen(SLEEPER, start_new_session=True) as stranger:  # noqa: ASYNC220
        another = identify(stranger.pid)
        for earlier in (replace(another, started=another.started - 1), replace(another, boot_id="before")):
            life = replace(look(path).life, nonce="forged", shim=earlier, process=earlier)
            (path / "started.json").write_bytes(msgspec.json.encode(life))
            seen = await provider.probe(job)
            assert (seen.liveness, seen.end) == ("gone", End("lost", Absent()))
            assert await provider.stop(job) == End("lost", Absent())
        await provider.destroy(job)
        assert another.lives()
        stranger.kill()


async def test_a_recycled_pid_is_not_alive_because_somebody_holds_the_lock(provider):
    """Both have to agree: the lock, and the shim that the files name."""
    job = await made(provider, target())
    path = provider.directories.of("m1")
    life = look(path).life
    wrong = replace(life, shim=replace(life.shim, started=life.shim.started - 1))
    (path / "started.json").write_bytes(msgspec.json.encode(wrong))
    assert (await provider.probe(job)).liveness == "unknown"
    (path / "started.json").write_bytes(msgspec.json.encode(life))
    assert (await provider.probe(job)).liveness == "alive"


async def test_a_lock_that_another_holds_is_not_taken_for_life(provider):
    """Held, and nobody says who lives: unknown, and no second launch."""
    job = await made(provider, target(), running=False)
    lock = take(provider.directories.of("m1") / LOCK)
    try:
        assert (await provider.probe(job)).liveness == "unknown"
    finally:
        os.close(lock)
    assert (await provider.probe(job)).liveness == "gone"


async def test_a_shim_that_is_killed_takes_its_process_along_and_the_end_is_lost(provider):
    """Nobody saw it: no code, no signal."""
    job = await made(provider, target())
    life = look(provider.directories.of("m1")).life
    life.shim.signal(9)
    assert await life.shim.ended_within(20)
    assert await life.process.ended_within(20)
    seen = await provider.probe(job)
    assert (seen.liveness, seen.end) == ("gone", End("lost", Absent()))
    await provider.start(replace(job, incarnation=2))
    assert (await provider.probe(job)).liveness == "alive"


async def test_what_a_killed_shim_leaves_behind_is_not_called_gone(provider):
    """Its children may run on: unknown, until a stop has ended them."""
    job = await made(provider, target("job", "sh", "-c", "sleep 1000 & echo ready; wait"))
    await said(provider, "job", b"ready")
    life = look(provider.directories.of("job")).life
    life.shim.signal(9)
    assert await life.shim.ended_within(20)
    seen = await provider.probe(job)
    assert seen.liveness == "unknown"
    assert "still runs" in seen.detail
    assert await provider.stop(job) == End("lost", Absent())
    assert (await provider.probe(job)).liveness == "gone"


def halt(shim):
    """Halt a shim, and wait until it is."""
    shim.signal(signal.SIGSTOP)
    while shim.state() != HALTED:
        assert shim.lives()


async def test_a_shim_that_is_halted_makes_its_machine_unknown_and_a_stop_wakes_it(provider):
    """Nobody would hear of the end; the look is bounded and says what to do."""
    job = await made(provider, target())
    shim = look(provider.directories.of("m1")).life.shim
    halt(shim)
    async with asyncio.timeout(5):
        seen = await provider.probe(job)
    assert (seen.liveness, seen.detail) == (
        "unknown",
        f"its shim is halted, and nobody hears how it is: kill -CONT {shim.pid}",
    )
    shim.signal(signal.SIGCONT)
    assert (await provider.probe(job)).liveness == "alive"
    halt(shim)
    assert await provider.stop(job) == End("graceful", Observed(signal="SIGTERM"), "signal")


async def test_an_end_that_a_halted_shim_has_not_seen_is_neither_life_nor_gone(provider):
    """The process is dead, and only its shim can say how."""
    job = await made(provider, target())
    life = look(provider.directories.of("m1")).life
    halt(life.shim)
    life.process.signal(signal.SIGKILL)
    assert (await provider.probe(job)).liveness == "unknown"
    life.shim.signal(signal.SIGCONT)
    await ended(provider, "m1")
    assert (await provider.probe(job)).end == End("crashed", Observed(signal="SIGKILL"))


@pytest.mark.parametrize("name", ["started.json", "machine.json", "exit.json"])
async def test_files_that_make_no_sense_are_unknown(provider, name):
    """A probe that cannot read what is there says so, and does not raise."""
    job = await made(provider, target())
    path = provider.directories.of("m1") / name
    whole = path.read_bytes() if path.exists() else None
    path.write_text("{")
    seen = await provider.probe(job)
    assert seen.liveness == "unknown"
    assert name in seen.detail
    path.unlink() if whole is None else path.write_bytes(whole)
    assert (await provider.probe(job)).liveness == "alive"


async def test_two_engines_never_both_start_one_machine(provider, directory, tmp_path):
    """Of many that start it at once, one launches; all are content."""
    launches = tmp_path / "launches"
    job = target("job", "sh", "-c", f"echo $$ >> {launches}; exec sleep 1000")
    await provider.create(job)
    await asyncio.gather(*(Process(directory).start(replace(job, incarnation=n)) for n in range(1, 13)))
    assert (await provider.probe(job)).liveness == "alive"
    await provider.stop(job)
    assert len(launches.read_text().split()) == 1


@pytest.mark.parametrize("ticks", [0, 1, 2, 3, 5, 8, 20])
async def test_a_cancelled_start_leaves_what_the_next_probe_describes_truly(provider, ticks):
    """What is called gone stays gone, and what is called alive can be stopped."""
    job = await made(provider, target(), running=False)
    starting = asyncio.ensure_future(provider.start(job))
    for _ in range(ticks):
        await asyncio.sleep(0)  # noqa: TID251  # one turn of the loop, not a while
    starting.cancel()
    await asyncio.wait({starting})
    seen = await provider.probe(job)
    assert seen.liveness in ("alive", "gone")
    await provider.stop(job)
    assert (await provider.probe(job)).liveness == "gone"
    await provider.start(replace(job, incarnation=2))
    assert (await provider.probe(job)).evidence.incarnation == 2


async def test_destroying_twice_is_destroying(provider):
    """A machine that runs is killed first; the second time there is nothing to do."""
    job = await made(provider, target())
    assert await provider.destroy(job) == End("killed", Observed(signal="SIGKILL"), "kill")
    assert await provider.destroy(job) is None
    assert (await provider.probe(job)).exists is False
    with pytest.raises(Failed, match="never made"):
        await provider.start(job)


async def test_an_id_that_leads_elsewhere_is_refused(directory):
    """Directories are pure functions of ids, so an id is never a path."""
    for id_ in ("..", "a/b", "", ".gone-x", "x" * 200):
        with pytest.raises(errors.BadInput):
            RunDirectories(directory).of(id_)


async def test_a_renamed_machine_is_found_by_its_id_and_tells_its_new_name(provider):
    job = await made(provider, target())
    await provider.rename(job, "other")
    seen = await provider.probe(job)
    assert (seen.liveness, seen.name) == ("alive", "other")


async def test_fifty_machines_at_once(provider):
    """Each is started, hinted at when it ends, and removed."""
    jobs = [target(f"m{n}", "sh", "-c", f"exit {n}") for n in range(50)]
    await asyncio.gather(*(made(provider, job) for job in jobs))
    heard = set()
    async with asyncio.timeout(30):
        async for id_ in provider.events():
            heard.add(id_)
            if len(heard) == 50:
                break
    ends = [(await provider.probe(job)).end.termination for job in jobs]
    assert ends == [Observed(code=n) for n in range(50)]
    await asyncio.gather(*(provider.destroy(job) for job in jobs))


# --- what it writes -------------------------------------------------------------------------------------


async def test_what_it_writes_can_be_followed_to_its_end(provider):
    """Both streams, whole and in order."""
    script = "for i in $(seq 2000); do echo line $i; done; echo oops >&2"
    await made(provider, target("job", "sh", "-c", script))
    out = b"".join([chunk async for chunk in provider.follow("job")])
    assert out.split(b"\n")[:-1] == [b"line %d" % n for n in range(1, 2001)]
    assert b"".join([chunk async for chunk in provider.follow("job", "stderr")]) == b"oops\n"


async def test_logs_are_bounded_and_keep_the_end(directory):
    """A machine that writes for ever fills two files of a known size, and is not held up."""
    provider = Process(directory, log_bytes=100_000)
    job = await made(provider, target("job", "sh", "-c", "yes | head -c 5000000; echo; echo the end"))
    await ended(provider, "job")
    log = provider.log("job")
    sizes = [path.stat().st_size for path in (log, log.with_name("stdout.log.1"))]
    assert max(sizes) <= 100_000
    assert log.read_bytes().endswith(b"the end\n")
    assert (await provider.probe(job)).end == End("graceful", Observed(code=0))


async def test_a_log_that_cannot_be_written_holds_nobody_up(provider):
    """The bytes are lost and counted; the machine goes on to its end."""
    job = await made(provider, target("job", "sh", "-c", "yes | head -c 300000"), running=False)
    provider.log("job").symlink_to("/dev/full")
    await provider.start(job)
    await ended(provider, "job")
    seen = await provider.probe(job)
    assert seen.end == End("graceful", Observed(code=0))
    assert "300000 bytes of logs were lost" in seen.detail


# --- its environment ------------------------------------------------------------------------------------


async def test_it_gets_a_clean_environment_and_what_the_spec_says(provider, monkeypatch):
    """Of the engine's own variables only those that every program needs."""
    monkeypatch.setenv("EVENTVM_SOMETHING", "private")
    job = target(
        "job",
        "sh",
        "-c",
        "env; pwd; ls -l /proc/self/fd | wc -l",
        environment={"COLOUR": "red"},
        directory="/tmp",
    )
    await made(provider, job)
    told = (await said(provider, "job", b"/tmp\n")).decode()
    assert "COLOUR=red" in told
    assert "EVENTVM_SOMETHING" not in told


def kept_secret(directory):
    secret = directory / "secret"
    secret.write_text(f"{CANARY}-file\n")
    return secret


async def test_a_secret_reaches_the_process_and_nothing_else(provider, tmp_path, monkeypatch, caplog):
    """No database, WAL, log, run directory, argv or error holds it; the process has it."""
    caplog.set_level(logging.DEBUG)
    secret = kept_secret(tmp_path)
    monkeypatch.setenv("OUR_TOKEN", f"{CANARY}-env")
    script = 'printf %s "$BY_ENV" | sha256sum; printf %s "$BY_FILE" | sha256sum; echo ready; exec sleep 1000'
    kept = {"BY_ENV": Secret(env="OUR_TOKEN"), "BY_FILE": Secret(file=str(secret))}
    async with eventvm.open(tmp_path / "log.db", providers=[provider]) as engine:
        job = await engine.create("job", spec("sh", "-c", script, secrets=kept))
        await job.start()
        told = (await said(provider, job.id, b"ready")).decode()
        assert all(sha256(f"{CANARY}-{one}".encode()).hexdigest() in told for one in ("env", "file"))
        bad = await engine.create("bad", spec("no-such-program", secrets=kept))
        with pytest.raises(errors.EffectFailed):
            await bad.start()
        life = look(provider.directories.of(job.id)).life
        assert running_with(CANARY.encode(), "cmdline") == []
        assert running_with(CANARY.encode(), "environ") == [life.process.pid]
        await bad.destroy(force=True)
        found = holding(CANARY.encode(), tmp_path)
        assert {"log.db", "log.db-wal", "machine.json", "started.json", "stdout.log"} <= set(found)
        assert [name for name, held in found.items() if held] == ["secret"]
    assert CANARY not in caplog.text


async def test_an_error_that_would_tell_a_secret_is_blotted_out(provider, monkeypatch):
    """Whatever the shim says of a failed launch."""
    monkeypatch.setenv("OUR_TOKEN", CANARY)
    job = target("job", f"/no/{CANARY}", secrets={"A": Secret(env="OUR_TOKEN")})
    with pytest.raises(Failed, match=r"cannot run /no/\*\*\*: No such file") as failed:
        await made(provider, job)
    assert CANARY not in str(failed.value)


async def test_a_secret_that_is_missing_fails_the_start_by_its_reference(provider, monkeypatch):
    """Nothing is launched, and nothing of another secret is told."""
    monkeypatch.setenv("OUR_TOKEN", CANARY)
    here = Secret(env="OUR_TOKEN")
    for gone, words in ((Secret(env="NOT_SET"), "NOT_SET is not set"), (Secret(file="/no/file"), "/no/file")):
        job = await made(provider, target("job", secrets={"A": here, "B": gone}), running=False)
        with pytest.raises(SecretMissing, match=f"secret B: .*{words}") as missing:
            await provider.start(job)
        assert CANARY not in str(missing.value)
        assert (await provider.probe(job)).liveness == "gone"


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"command": ()}, "command"),
        ({"command": ("",)}, "command"),
        ({"directory": "/no/such/place"}, "directory"),
        ({"directory": "relative"}, "directory"),
        ({"environment": {"A": "1"}, "secrets": {"A": Secret(env="X")}}, "secrets"),
        ({"kernel": "/boot/vmlinuz"}, "kernel"),
    ],
)
async def test_what_a_process_cannot_have_is_refused_at_create_by_its_field(provider, bad, field):
    """A refusal: nothing is appended and nothing is made."""
    async with eventvm.open("memory:", providers=[provider]) as engine:
        size = engine.log.tree.size
        with pytest.raises(errors.Unsupported, match=field):
            await engine.create("job", replace(spec(), **bad))
        assert engine.log.tree.size == size
    assert [id_ async for id_ in provider.discover()] == []


# --- with an engine -------------------------------------------------------------------------------------


async def test_the_seed_story_on_a_real_process(provider, tmp_path):
    """A stop fails while it lives: error, interval open; start repairs and launches nothing; stop closes."""
    launches = tmp_path / "launches"
    async with eventvm.open(tmp_path / "log.db", providers=[provider]) as engine:
        job = await engine.create("job", spec("sh", "-c", f"echo $$ >> {launches}; exec sleep 1000"))
        await job.start()
        path = provider.directories.of(job.id)
        process = look(path).life.process
        (path / "control").rename(path / "aside")
        with pytest.raises(errors.EffectFailed, match="does not listen"):
            await job.stop()
        assert job.phase == "error"
        assert process.lives()
        (compute,) = [one for one in await job.intervals() if one.meter == "compute"]
        assert compute.stop is None
        entries = await job.entries()
        (path / "aside").rename(path / "control")
        receipt = await job.start()
        assert (job.phase, receipt.how) == ("running", "reconciled")
        assert look(path).life.process == process
        assert await job.entries() == entries
        await job.stop()
        stops = [one for one in await job.entries() if one.meter == "compute" and one.edge == "stop"]
        assert (job.phase, len(stops)) == ("stopped", 1)
        assert len(launches.read_text().split()) == 1
        await job.destroy()


async def test_a_new_engine_adopts_the_machine_of_a_killed_one_and_learns_its_exit_code(
    provider, directory, tmp_path
):
    """SIGKILL of the engine harms no machine; the code comes as a hint, without a reconcile."""
    go = tmp_path / "go"
    os.mkfifo(go)
    whole = [sys.executable, OWNER, tmp_path / "log.db", directory, "sh", "-c", f"read x < {go}; exit 7"]
    with subprocess.Popen(whole, stdout=subprocess.PIPE, text=True) as owner:  # noqa: ASYNC220
        id_ = owner.stdout.readline().strip()
        owner.kill()
        owner.stdout.read()
    life = look(directory / id_).life
    assert life.shim.lives()
    async with eventvm.open(tmp_path / "log.db", providers=[provider]) as engine:
        job = await engine.machine("job")
        await job.reconcile()
        assert (job.phase, look(directory / id_).life) == ("running", life)
        go.write_text("now\n")
        await job.wait("stopped", timeout=20)
        assert job.machine.end == End("crashed", Observed(code=7))
        await job.destroy()


async def test_what_ended_while_no_engine_was_there_is_learned_when_one_comes(provider, tmp_path):
    """And billed to the instant at which it ended."""
    async with eventvm.open(tmp_path / "log.db", providers=[provider]) as engine:
        job = await engine.create("job", spec())
        await job.start()
    path = provider.directories.of(job.id)
    os.killpg(look(path).life.process.pid, 9)
    await ended(provider, job.id)
    async with eventvm.open(tmp_path / "log.db", providers=[provider]) as engine:
        job = await engine.machine("job")
        await job.wait("stopped", timeout=20)
        (compute,) = [one for one in await job.intervals() if one.meter == "compute"]
        assert compute.stop.at == look(path).exit.at
        await job.destroy()


async def test_what_the_log_does_not_know_is_found(provider):
    """A machine whose creation was never written is an orphan, whose directory says what it was made for."""
    await made(provider, target("orphan"), running=False)
    async with eventvm.open("memory:", providers=[provider]) as engine:
        assert [(one.provider, one.id) for one in await engine.orphans()] == [("process", "orphan")]
    assert look(provider.directories.of("orphan")).made.spec == spec()
