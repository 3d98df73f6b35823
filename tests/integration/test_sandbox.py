"""Processes in a sandbox: what they cannot reach, how they are asked, and how their end is told."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace
from process_world import ProcessContract, ended, made, running_with, said, spec, target

import eventvm
from eventvm import End, Sandbox, errors
from eventvm.observation import Absent, Observed
from eventvm.provider import refusal
from eventvm.providers import sandbox as sandboxes
from eventvm.providers.process import Failed
from eventvm.providers.process_files import look

OWNER = Path(__file__).with_name("killed_owner.py")
SEALED = Sandbox()

pytestmark = [
    pytest.mark.usefixtures("nothing_is_left"),
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bwrap is missing: apt install bubblewrap"),
]


def sealed(*command, id_="job", **more):
    return target(id_, *command, sandbox=more.pop("sandbox", SEALED), **more)


class TestContract(ProcessContract):
    """The laws that every provider keeps hold in a sandbox too."""

    spec = spec(sandbox=SEALED)


def words_of(pid):
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]


def devices():
    """Name the network devices of this host."""
    return [line.split()[0] for line in Path("/proc/net/dev").read_text().splitlines()]


# --- how it ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "end"),
    [
        ("exit 0", End("graceful", Observed(code=0))),
        ("exit 7", End("crashed", Observed(code=7))),
        ("exit 137", End("crashed", Observed(code=137))),
        ("kill -KILL $$", End("crashed", Observed(signal="SIGKILL"))),
        ("kill -TERM $$", End("crashed", Observed(signal="SIGTERM"))),
        ("kill -SEGV $$", End("crashed", Observed(signal="SIGSEGV"))),
    ],
)
async def test_a_code_above_128_is_a_code_and_a_signal_is_a_signal(provider, script, end):
    """Bubblewrap tells both as the same number; what the kernel told inside is recorded."""
    job = await made(provider, sealed("sh", "-c", script))
    await ended(provider, "job")
    assert (await provider.probe(job)).end == end


@pytest.mark.parametrize(
    ("script", "end"),
    [
        ("echo ready; exec sleep 1000", End("graceful", Observed(signal="SIGTERM"), "signal")),
        (
            "trap 'exit 3' TERM; echo ready; sleep 1000 & wait",
            End("graceful", Observed(code=3), "signal"),
        ),
        (
            "trap '' TERM; echo ready; while :; do sleep 1000; done",
            End("killed", Observed(signal="SIGKILL"), "kill"),
        ),
    ],
)
async def test_the_ladder_reaches_the_command_and_not_its_walls(provider, script, end):
    """A signal to the sandbox itself would end it without asking anybody."""
    job = await made(provider, sealed("sh", "-c", script, stop_grace_seconds=0.3))
    await said(provider, "job", b"ready")
    assert await provider.stop(job) == end
    assert (await provider.probe(job)).end == end


async def test_a_paused_command_is_seen_to_be_paused_and_still_hears_the_stop(provider):
    job = await made(provider, sealed())
    await provider.pause(job)
    assert (await provider.probe(job)).paused is True
    assert await provider.stop(job) == End("graceful", Observed(signal="SIGTERM"), "signal")


async def test_a_sandbox_whose_walls_are_killed_takes_its_command_along(provider):
    """Whoever does that has killed the command; the code of the walls is never taken for its own."""
    job = await made(provider, sealed("sh", "-c", "echo ready; exec sleep 1000"))
    await said(provider, "job", b"ready")
    os.kill(look(provider.directories.of("job")).life.process.pid, signal.SIGTERM)
    await ended(provider, "job")
    assert (await provider.probe(job)).end == End("crashed", Observed(signal="SIGKILL"))


async def test_a_shim_that_is_killed_leaves_no_sandbox_behind(provider, tmp_path):
    job = await made(provider, sealed("sh", "-c", "setsid sleep 1001 & echo ready; wait"))
    await said(provider, "job", b"ready")
    life = look(provider.directories.of("job")).life
    life.shim.signal(9)
    assert await life.shim.ended_within(20)
    await provider.stop(job)
    assert (await provider.probe(job)).end == End("lost", Absent())
    assert running_with(os.fsencode(tmp_path), "environ") == []


async def test_a_machine_ends_with_its_command_and_takes_its_descendants_along(provider, tmp_path):
    """Those in sessions of their own too: they end with the first process of the sandbox."""
    script = "setsid sleep 1001 & sleep 1002 & (setsid setsid sleep 1003 &) ; echo ready; exit 5"
    job = await made(provider, sealed("sh", "-c", script))
    await ended(provider, "job")
    assert (await provider.probe(job)).end == End("crashed", Observed(code=5))
    assert running_with(os.fsencode(tmp_path), "environ") == []


async def test_a_program_that_is_not_there_fails_the_start_by_the_same_words(provider):
    job = await made(provider, sealed("no-such-program"), running=False)
    with pytest.raises(Failed, match="cannot run no-such-program: No such file or directory"):
        await provider.start(job)
    assert (await provider.probe(job)).liveness == "gone"


async def test_a_sandbox_that_does_not_come_up_fails_the_start_by_its_own_words(provider, tmp_path):
    """Its directory is hidden: nothing runs somewhere else instead."""
    (tmp_path / "hidden").mkdir()
    job = await made(provider, sealed("true", directory=str(tmp_path / "hidden")), running=False)
    with pytest.raises(Failed, match=r"[Cc]an't chdir to"):
        await provider.start(job)
    assert (await provider.probe(job)).liveness == "gone"


async def test_a_new_engine_adopts_it_and_learns_its_true_end(provider, directory, tmp_path):
    """The engine is killed, and later the command, by a signal that its walls would tell as a code."""
    whole = [sys.executable, OWNER, tmp_path / "log.db", directory, "--sandbox", "sleep", "1000"]
    with subprocess.Popen(whole, stdout=subprocess.PIPE, text=True) as owner:  # noqa: ASYNC220
        id_ = owner.stdout.readline().strip()
        owner.kill()
        owner.stdout.read()
    async with eventvm.open(tmp_path / "log.db", providers=[provider]) as engine:
        job = await engine.machine("job")
        await job.reconcile()
        assert job.phase == "running"
        ours = running_with(os.fsencode(tmp_path), "environ")
        os.kill(next(pid for pid in ours if words_of(pid) == ["sleep", "1000"]), signal.SIGSEGV)
        await job.wait("stopped", timeout=20)
        assert job.machine.end == End("crashed", Observed(signal="SIGSEGV"))
        await job.destroy()
    assert not (directory / id_).exists()


# --- what it cannot reach -------------------------------------------------------------------------------


async def answers(provider, script, **more):
    """Run a script in a sandbox, and give what it says, line by line."""
    await made(provider, sealed("sh", "-c", f"{{ {script}; }} 2>&1", **more))
    return b"".join([chunk async for chunk in provider.follow("job")]).decode().splitlines()


async def test_it_reads_the_host_and_writes_nothing_but_what_is_named(provider, tmp_path):
    (tmp_path / "mine").mkdir()
    script = (
        f"touch {tmp_path}/mine/new && echo new; cat /etc/passwd > /dev/null && echo read; touch /etc/new"
    )
    told = await answers(provider, script, sandbox=Sandbox(writable=(str(tmp_path / "mine"),)))
    assert told[:2] == ["new", "read"]
    assert "Read-only" in told[2]
    assert (tmp_path / "mine" / "new").exists()


async def test_what_is_hidden_is_empty_even_where_all_around_may_be_written(provider, tmp_path):
    private = tmp_path / "private"
    private.mkdir()
    (private / "key").write_text("secret")
    inside = Sandbox(hidden=(str(private),), writable=(str(tmp_path / "beside"),))
    (tmp_path / "beside").mkdir()
    assert await answers(provider, f"ls -A {private}; echo end", sandbox=inside) == ["end"]


async def test_neither_other_machines_nor_the_hosts_sockets_are_shown(provider, directory, tmp_path):
    """A pipe or a socket can be written to through a mount that is read-only."""
    assert (await answers(provider, "ls /run", sandbox=Sandbox())) == ["eventvm.py"]
    await provider.destroy(sealed("true"))
    everything = Sandbox(writable=(str(tmp_path),))
    assert await answers(provider, f"ls -A {directory}; echo end", sandbox=everything) == ["end"]


async def test_it_sees_no_process_and_no_network_of_the_host_and_has_no_privilege(provider):
    processes, devices, privileges = await answers(
        provider, "ls /proc | grep -c '^[0-9]'; grep -c : /proc/net/dev; grep CapEff /proc/self/status"
    )
    assert int(processes) < 10
    assert devices == "1", "the loopback"
    assert privileges.split() == ["CapEff:", "0000000000000000"]


async def test_with_a_network_it_has_the_hosts_own(provider):
    told = await answers(provider, "cat /proc/net/dev", sandbox=Sandbox(network=True))
    assert [line.split()[0] for line in told] == devices()


async def test_nothing_of_the_shims_is_open_inside(provider):
    """No lock, no log, no pipe to the shim: three streams, and the directory that lists them."""
    told = await answers(provider, "ls /proc/self/fd")
    assert told == ["0", "1", "2", "3"]


# --- where it cannot be had -----------------------------------------------------------------------------


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """A host that has these programs, and no others; what was tried on this one is forgotten."""

    def on(**programs):
        for name, text in programs.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / name).chmod(0o700)
        monkeypatch.setenv("PATH", str(tmp_path))

    yield on
    sandboxes._unusable.cache_clear()  # noqa: SLF001  # what was found out here is of no other host


async def test_a_host_without_it_refuses_at_create_and_says_what_to_install(provider, elsewhere):
    elsewhere()
    async with eventvm.open("memory:", providers=[provider]) as engine:
        size = engine.log.tree.size
        with pytest.raises(errors.Unsupported, match="sandbox: bwrap is missing: apt install bubblewrap"):
            await engine.create("job", spec(sandbox=SEALED))
        assert engine.log.tree.size == size
    assert [id_ async for id_ in provider.discover()] == []


async def test_a_host_where_it_does_not_work_refuses_at_create_by_its_own_words(provider, elsewhere):
    """In many a container the program is there, and may not do what it is for."""
    elsewhere(bwrap="echo 'bwrap: No permissions to create new namespace' >&2; exit 1")
    why = provider.refuses(spec(sandbox=SEALED))
    assert why == "sandbox: bwrap does not work here: No permissions to create new namespace"


@pytest.mark.parametrize("path", ["relative", "/no/such/place"])
async def test_a_path_that_is_not_there_is_refused_by_name(provider, path):
    for bad in (Sandbox(writable=(path,)), Sandbox(hidden=(path,))):
        assert f"sandbox: {path}" in provider.refuses(spec(sandbox=bad))


async def test_a_provider_that_would_drop_it_refuses_it_by_name():
    """It is never dropped in silence."""
    from eventvm.providers.qemu import Qemu  # noqa: PLC0415  # an extra

    assert "sandbox" in refusal(Qemu(), replace(spec(), provider="qemu", sandbox=SEALED))


@pytest.mark.parametrize(
    "bad", ["yes", Sandbox(writable="/tmp"), Sandbox(hidden=(1,)), Sandbox(network="yes")]
)
async def test_what_is_no_sandbox_is_refused(provider, bad):
    async with eventvm.open("memory:", providers=[provider]) as engine:
        with pytest.raises(errors.BadInput, match="sandbox"):
            await engine.create("job", spec(sandbox=bad))
