"""Real guests under QEMU: what they tell is believed by its MAC, and what nobody saw has no exit code."""

import asyncio
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace
from qemu_world import SECONDS, Guests, needs_qemu, processes, tiny

import eventvm
from eventvm import RestoreFrom, Spec, errors
from eventvm.observation import KILLED, LOST, Clean, End, Forced
from eventvm.provider import Source
from eventvm.providers.identity import Identity
from eventvm.providers.qemu import TINY, Qemu
from eventvm.providers.qemu.accelerator import accelerator, runs
from eventvm.providers.qemu.arguments import argv
from eventvm.providers.qemu.bridge.notes import mac_of
from eventvm.providers.qemu.bridge.wires import WORDS, WORDS_BYTES
from eventvm.providers.qemu.hints import Hints
from eventvm.providers.qemu.ladder import gone
from eventvm.providers.qemu.launch import LOG_BYTES, launch
from eventvm.providers.qemu.monitor import monitor
from eventvm.spec import Drive, Interface, RateLimit, Secret

pytestmark = needs_qemu

LIVES = int(os.environ.get("EVENTVM_QEMU_LIVES", "4"))
"""100 on request: EVENTVM_QEMU_LIVES=100 pytest tests/integration/test_qemu.py -k lives"""
AT_ONCE = 10

GRACEFUL, CRASHED = End("graceful", Forced()), End("crashed", Forced())


def pressed(termination):
    """The end of a guest that has heeded the power button."""
    return End("graceful", termination, "power button")


def killed(rung):
    """The end of a guest that has heeded nothing: by which rung."""
    return End("killed", Forced(), rung)


@pytest.fixture
async def guests(tmp_path):
    """Guests that are cleared away after the test, with all that they have brought."""
    guests = Guests(tmp_path / "qemu")
    yield guests
    await guests.clear()
    assert guests.left() == []


# --- how each end is told: every row of the table -----------------------------------------------------------


async def by_itself(guests, target):
    """Leave it alone."""


async def stop(guests, target):
    await guests.provider.stop(target)


async def stop_once_it_speaks(guests, target):
    await guests.heard(target, "3\n")
    await guests.provider.stop(target)


async def pause_and_stop(guests, target):
    await guests.provider.pause(target)
    await guests.provider.stop(target)


async def cut_short(guests, target):
    spec = replace(target.spec, stop_grace_seconds=0.05)
    await guests.provider.stop(replace(target, spec=spec))


async def freeze_and_stop(guests, target):
    os.kill(guests.pid(target), signal.SIGSTOP)
    await cut_short(guests, target)


def sends(number):
    async def send(guests, target):
        os.kill(guests.pid(target), number)

    return send


def says(command):
    async def say(guests, target):
        async with monitor(guests.run(target).path) as qmp:
            await qmp.do(command)

    return say


async def lose_the_bridge(guests, target):
    """Kill the bridge, and wait until it is gone."""
    vmm = guests.run(target).vmm()
    os.kill(vmm.bridge, signal.SIGKILL)
    await guests.until(target, lambda _: not guests.place(target).attended())


async def lose_the_bridge_and_the_vmm(guests, target):
    await lose_the_bridge(guests, target)
    os.kill(guests.pid(target), signal.SIGKILL)


async def lose_the_bridge_and_stop(guests, target):
    await lose_the_bridge(guests, target)
    await stop(guests, target)


@pytest.mark.parametrize(
    ("boot_args", "cause", "end", "source"),
    [
        pytest.param("exit=42", by_itself, End("already_exited", Clean(42)), "bridge", id="exits"),
        pytest.param("code=3 deaf", stop, pressed(Clean(3)), "bridge", id="power-button"),
        pytest.param("code=4 numb", stop, pressed(Clean(4)), "bridge", id="asked-by-the-bridge"),
        pytest.param("numb count", stop_once_it_speaks, pressed(Clean(0)), "bridge", id="asked-in-mid-life"),
        pytest.param("code=2", pause_and_stop, pressed(Clean(2)), "bridge", id="stopped-while-paused"),
        pytest.param("off", by_itself, GRACEFUL, "monitor", id="powers-off-without-a-code"),
        pytest.param("mute", stop, pressed(Forced()), "monitor", id="knows-no-bridge"),
        pytest.param("forge=7", by_itself, GRACEFUL, "monitor", id="forges-a-code"),
        pytest.param("panic", by_itself, CRASHED, "monitor", id="panics"),
        pytest.param("triple", by_itself, CRASHED, "monitor", id="triple-fault"),
        pytest.param("reset", by_itself, CRASHED, "monitor", id="resets-itself"),
        pytest.param("", sends(signal.SIGKILL), KILLED, "process", id="SIGKILL"),
        pytest.param("", sends(signal.SIGSEGV), CRASHED, "process", id="the-vmm-crashes"),
        pytest.param("", sends(signal.SIGTERM), KILLED, "monitor", id="SIGTERM"),
        pytest.param("", says("quit"), KILLED, "monitor", id="somebody-quits-it"),
        pytest.param("", says("system_reset"), KILLED, "monitor", id="somebody-resets-it"),
        pytest.param("stubborn", cut_short, killed("quit"), "monitor", id="ignores-the-power-button"),
        pytest.param("hang", cut_short, killed("quit"), "monitor", id="hangs"),
        pytest.param("", freeze_and_stop, killed("kill"), "process", id="the-vmm-hangs"),
        pytest.param("", lose_the_bridge_and_the_vmm, LOST, "process", id="nobody-saw-it"),
        pytest.param("code=5", lose_the_bridge_and_stop, pressed(Clean(5)), "bridge", id="bridge-comes-back"),
    ],
)
async def test_every_cause_is_told_as_the_end_that_it_is(guests, boot_args, cause, end, source):
    """A code by verified evidence alone; QEMU's own status, which is 0 for most of these, is no code."""
    async with guests.running(boot_args) as target:
        await cause(guests, target)
        seen = await guests.over(target)
        assert (seen.liveness, seen.end) == ("gone", end)
        assert (seen.evidence.source, seen.evidence.incarnation) == (f"qemu {source}", 1)
        assert seen.evidence.verified == isinstance(end.termination, Clean)


@pytest.mark.parametrize(
    ("boot_args", "cause", "rung"),
    [("", stop, "power button"), ("stubborn", cut_short, "quit"), ("", freeze_and_stop, "kill"),
     ("exit=1", by_itself, "")],
)  # fmt: skip
async def test_the_rung_that_worked_is_recorded(guests, boot_args, cause, rung):
    async with guests.running(boot_args) as target:
        await cause(guests, target)
        seen = await guests.over(target)
        assert guests.run(target).rung() == rung
        assert rung in seen.detail


async def test_a_guest_that_ends_before_anybody_could_watch_it_is_hinted_at_all_the_same(guests):
    """It takes an instant to end, and the launch that tells of it takes as long."""
    hints = Hints()
    async with guests.running("exit=1") as target:
        await guests.over(target)
        following = hints.follow([])
        heard = asyncio.ensure_future(anext(following))
        await asyncio.sleep(0)  # noqa: TID251  # one turn of the loop, in which it begins to listen
        hints.watch(guests.place(target))
        async with asyncio.timeout(SECONDS):
            assert await heard == target.id
        await following.aclose()


# --- exit codes: by the key of the incarnation, and by nothing else -----------------------------------------


async def test_an_exit_code_that_somebody_has_edited_is_none(guests):
    """The file is read with the key in hand: another code, or another way, does not verify."""
    async with guests.running("exit=42") as target:
        await guests.over(target)
        file = guests.run(target).path / "exit.json"
        true = json.loads(file.read_text())
        for lie in ({"code": 0}, {"via": "stop"}, {"nonce": "0" * 32}, {"incarnation": 2}):
            file.write_text(json.dumps({**true, **lie}))
            seen = await guests.provider.probe(target)
            assert (seen.end, seen.evidence.verified) == (GRACEFUL, False), lie
        file.write_text(json.dumps(true))
        assert (await guests.provider.probe(target)).end.termination == Clean(42)


async def test_an_exit_code_of_an_earlier_incarnation_is_none(guests):
    """Each incarnation has a key of its own, so that what was told once cannot be told again."""
    async with guests.running("exit=42") as target:
        await guests.over(target)
        first = guests.run(target)
        told = json.loads((first.path / "exit.json").read_text())
        again = replace(target, incarnation=2)
        await guests.provider.start(again)
        await guests.over(again)
        second = guests.run(again)
        assert second.secret().key != first.secret().key
        (second.path / "exit.json").write_text(json.dumps({**told, "incarnation": 2}))
        assert (await guests.provider.probe(again)).end == GRACEFUL


async def test_a_bridge_keeps_no_code_that_does_not_verify(guests):
    async with guests.running("forge=7") as target:
        await guests.over(target)
        assert not (guests.run(target).path / "exit.json").exists()


async def test_a_guest_that_is_restored_twice_tells_its_code_under_two_keys(guests):
    async with guests.running("code=3") as target:
        await guests.provider.snapshot(target, "s1")
        await guests.provider.stop(target)
        macs = {guests.run(target).exited().mac}
        for incarnation in (2, 3):
            again = replace(target, incarnation=incarnation)
            await guests.provider.restore(again, Source(target.id, "s1"))
            assert (await guests.provider.stop(again)) == pressed(Clean(3))
            macs.add(guests.run(again).exited().mac)
        assert len(macs) == 3


def test_the_mac_is_the_one_that_the_page_gives():
    """A guest's author may check against this: docs/qemu.md has the same numbers."""
    key, nonce = "00" * 31 + "01", "0f" * 16
    page = (Path(__file__).parents[2] / "docs" / "qemu.md").read_text()
    assert mac_of(key, nonce, 42, "self") in page


# --- one machine, one process -------------------------------------------------------------------------------


async def test_a_recycled_pid_is_not_the_machine_and_is_left_alone(guests):
    """A process that has the pid by now, and even sleeps, began at another tick."""
    async with guests.running() as target:
        file = guests.run(target).path / "vmm.json"
        true = file.read_text()
        await lose_the_bridge(guests, target)
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as stranger:  # noqa: ASYNC220  # at once
            file.write_text(json.dumps({**json.loads(true), "pid": stranger.pid}))
            seen = await guests.provider.probe(target)
            assert (seen.liveness, seen.end) == ("gone", LOST)
            await guests.provider.stop(target)
            assert stranger.poll() is None
            stranger.stdin.close()
        file.write_text(true)
        assert (await guests.provider.probe(target)).liveness == "alive"


async def test_a_process_of_another_boot_is_gone(guests):
    async with guests.running() as target:
        file = guests.run(target).path / "vmm.json"
        true = file.read_text()
        await lose_the_bridge(guests, target)
        file.write_text(json.dumps({**json.loads(true), "boot": "0" * 16}))
        assert (await guests.provider.probe(target)).liveness == "gone"
        file.write_text(true)


async def test_another_machine_that_answers_in_its_place_is_not_taken_for_it(guests):
    """Whoever answers on the monitor has to give the machine's own UUID."""
    async with guests.running() as target, guests.running() as other:
        socket = guests.run(target).path / "probe.sock"
        socket.unlink()
        socket.symlink_to(guests.run(other).path / "probe.sock")
        assert (await guests.provider.probe(target)).liveness == "unknown"


async def test_a_vmm_that_does_not_answer_is_unknown_and_is_not_gone(guests):
    async with guests.running() as target:
        os.kill(guests.pid(target), signal.SIGSTOP)
        assert (await guests.provider.probe(target)).liveness == "unknown"
        os.kill(guests.pid(target), signal.SIGCONT)
        assert (await guests.provider.probe(target)).liveness == "alive"


async def test_of_many_that_start_a_machine_at_once_one_launches_it(guests):
    """Each has a provider of its own, as engines in other processes have."""
    async with guests.running("exit=1") as target:
        await guests.over(target)
        again = replace(target, incarnation=2)
        rivals = [Qemu(guests.root, accelerator="tcg").start(again) for _ in range(4)]
        await asyncio.gather(*rivals, return_exceptions=True)
        await guests.over(again)
        launches = (guests.run(again).path / "console.log").read_text().count("tiny guest")
        assert launches == 1


async def test_of_many_that_hold_it_for_stopped_one_gets_the_lock(guests):
    """Engines in two processes that have both looked, and both seen it stopped."""
    async with guests.running("exit=1") as target:
        await guests.over(target)
        place, again = guests.place(target), replace(target, incarnation=2)
        command = argv(target.id, target.spec, "tcg", incoming=False)
        plan = {"secrets": {}, "ram": "", "paused": False, "console_bytes": 1 << 20}
        launches = [launch(place, again.incarnation, command, plan) for _ in range(3)]
        told = await asyncio.gather(*launches, return_exceptions=True)
        assert sorted(type(each).__name__ for each in told) == ["NoneType", "Unclear", "Unclear"]
        await guests.over(again)


async def test_no_path_is_too_long_for_its_sockets(guests):
    """A socket's path may have 108 bytes, and a state directory more."""
    guests.root /= "long-" * 30
    guests.provider = Qemu(guests.root, accelerator="tcg")
    async with guests.running("code=1") as target:
        assert (await guests.provider.probe(target)).liveness == "alive"
        assert await guests.provider.stop(target) == pressed(Clean(1))


async def test_a_guest_that_writes_much_fills_no_disk(guests):
    """Two files of a bounded size are kept of its console, and the older one goes."""
    guests.provider.console_bytes = 32
    async with guests.running("count") as target:
        directory = guests.run(target).path
        await guests.until(target, lambda _: (directory / "console.log.1").exists())
        assert (directory / "console.log.1").stat().st_size < 64


async def test_what_qemu_itself_has_to_say_fills_no_disk(guests):
    """A guest can bring its messages about; whoever is the bridge keeps two files of them."""
    async with guests.running() as target:
        directory = guests.run(target).path
        with (directory / WORDS).open("wb", buffering=0) as words:
            for _ in range(3 * WORDS_BYTES // 4096):
                words.write(b"x" * 4095 + b"\n")
        await guests.until(target, lambda _: (directory / "qemu.log.1").exists())
        await guests.provider.stop(target)
        assert all(log.stat().st_size <= WORDS_BYTES + (1 << 16) for log in directory.glob("qemu.log*"))


def streams_of(pid):
    """Say what the process has for its output and for its errors."""
    return {Path(f"/proc/{pid}/fd/{stream}").readlink() for stream in (1, 2)}


async def test_qemu_goes_on_when_nobody_reads_what_it_says(guests):
    """Its bridge is gone, and the one that comes after hears it again."""
    async with guests.running("code=6") as target:
        await lose_the_bridge(guests, target)
        assert streams_of(guests.pid(target)) == {guests.run(target).path / WORDS}
        assert (await guests.provider.probe(target)).liveness == "alive"
        assert await guests.provider.stop(target) == pressed(Clean(6))


async def test_a_bridge_that_has_said_much_begins_its_file_again(guests):
    async with guests.running() as target:
        log = guests.run(target).path / "bridge.log"
        log.write_bytes(b"x" * (LOG_BYTES + 1))
        await lose_the_bridge(guests, target)
        await guests.provider.start(target)
        assert log.stat().st_size == 0


async def test_only_its_user_may_enter_what_it_keeps(guests):
    """Keys, consoles, and the memory of guests."""
    async with guests.running() as target:
        await guests.provider.snapshot(target, "s1")
        for path in (guests.root / "machines", guests.place(target).path, guests.root / "snapshots"):
            assert path.stat().st_mode & 0o077 == 0


async def test_a_start_sets_a_bridge_beside_a_machine_that_has_lost_its_own(guests):
    async with guests.running("code=6") as target:
        pid = guests.pid(target)
        await lose_the_bridge(guests, target)
        await guests.provider.start(target)
        assert (guests.place(target).attended(), guests.pid(target)) == (True, pid)
        async with monitor(guests.run(target).path) as qmp:
            await qmp.do("system_powerdown")
        assert (await guests.over(target)).end == End("graceful", Clean(6))


async def test_a_launch_that_fails_says_why_and_leaves_nothing_running(guests, tmp_path):
    kernel = tmp_path / "kernel"
    kernel.write_bytes(b"no kernel at all" * 1000)
    spec = replace(tiny(), kernel=str(kernel))
    async with guests.running("exit=1") as target:
        await guests.over(target)
        place = guests.place(target)
        place.amend(replace(place.made(), spec=spec))
        with pytest.raises(errors.EventvmError, match=r"QEMU did not start: .*kernel"):
            await guests.provider.start(replace(target, incarnation=2))
        seen = await guests.provider.probe(target)
        assert (seen.liveness, seen.evidence.incarnation) == ("gone", 1)


async def test_a_start_that_is_cancelled_leaves_nothing_running(guests):
    """Its bridge finds out before the guest runs, and takes QEMU with it."""
    async with guests.running("exit=1") as target:
        await guests.over(target)
        starting = asyncio.ensure_future(guests.provider.start(replace(target, incarnation=2)))
        for _ in range(3):
            await asyncio.sleep(0)  # noqa: TID251  # lets the start go on, and no further
        assert guests.place(target).attended()
        starting.cancel()
        await asyncio.wait({starting})
        run = await guests.place(target).settled(SECONDS)
        assert run.incarnation == 1


# --- snapshots ----------------------------------------------------------------------------------------------


async def test_a_guest_goes_on_after_its_capture_even_if_nobody_waits_for_it(guests, tmp_path):
    """The bridge lets it go on: an engine that is killed during a snapshot leaves no guest standing still."""
    async with guests.running("count") as target:
        with (tmp_path / "ram").open("wb") as file:
            async with monitor(guests.run(target).path) as qmp:
                await qmp.capture(file.fileno())
        await guests.until(target, lambda seen: seen.paused is False)


async def test_a_guest_that_was_paused_is_still_paused_after_its_capture(guests):
    async with guests.running() as target:
        await guests.provider.pause(target)
        await guests.provider.snapshot(target, "s1")
        assert (await guests.provider.probe(target)).paused is True


async def test_a_restored_guest_goes_on_where_its_snapshot_was_taken(guests):
    async with guests.running("count") as target:
        await guests.heard(target, "2\n")
        await guests.provider.snapshot(target, "s1")
        await guests.provider.stop(target)
        again = replace(target, incarnation=2)
        await guests.provider.restore(again, Source(target.id, "s1"))
        await guests.heard(again, "\n")
        console = (guests.run(again).path / "console.log").read_text()
        assert int(console.split()[0]) > 2, "it counts on, and does not begin again"


async def test_a_snapshot_whose_guest_may_write_to_a_drive_is_refused(guests, tmp_path):
    """Memory without the disk that it knows is a guest that destroys its own files."""
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    async with guests.running(drives=(Drive("data", str(disk)),)) as target:
        with pytest.raises(errors.EventvmError, match="write to data"):
            await guests.provider.snapshot(target, "s1")
        assert (await guests.provider.probe(target)).snapshots == ()


async def test_a_machine_begins_from_a_snapshot_at_once_or_when_it_is_told(guests):
    async with guests.running("code=8") as target:
        await guests.provider.snapshot(target, "s1")
        for at_once in (True, False):
            begin = RestoreFrom(target.id, "s1", resume_immediately=at_once)
            spec = Spec(provider="qemu", restore_from=begin)
            copy = replace(target, id=f"copy-{at_once}", spec=spec)
            await guests.provider.create_with_spec(copy, spec)
            seen = await guests.provider.probe(copy)
            assert (seen.liveness, seen.paused) == ("alive", not at_once)
            await guests.provider.resume(copy)
            assert await guests.provider.stop(copy) == pressed(Clean(8))


# --- what a spec may ask ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "spec"),
    [
        ("kernel", Spec(provider="qemu")),
        ("kernel", replace(tiny(), kernel="/nowhere")),
        ("initrd", tiny(initrd="/nowhere")),
        ("rootfs", tiny(rootfs="/nowhere")),
        ("boot_args", replace(tiny("x"), kernel="", rootfs=str(TINY))),
        ("memory", replace(tiny(), memory=1000)),
        ("cpus", tiny(cpus=0)),
        ("drives", tiny(drives=(Drive("data", "/nowhere"),))),
        ("drives", tiny(drives=(Drive("a,b=c", str(TINY)),))),
        ("drives", tiny(drives=(Drive("a", str(TINY)), Drive("a", str(TINY))))),
        ("network", tiny(network=(Interface("eth0", "tap0"),))),
        ("network", tiny(network=(Interface("eth0", "user", "not,a=mac"),))),
        ("rate_limits", tiny(rate_limits=(RateLimit("eth0", 1),))),
        ("secrets", tiny(secrets={"a,b": Secret(env="HOME")})),
        ("environment", tiny(environment={"a": "b"})),
        ("command", tiny(command=("true",))),
    ],
)  # fmt: skip
async def test_what_cannot_be_honoured_is_refused_naming_the_field(guests, field, spec):
    async with eventvm.open("memory:", providers=[guests.provider]) as engine:
        with pytest.raises(errors.Unsupported, match=field):
            await engine.create("web", spec)
        assert await engine.log.find("web") is None
        assert not guests.root.exists()


async def test_a_vsock_is_refused_where_the_host_has_none(guests):
    refused = guests.provider.refuses(tiny(vsock=3)).startswith("vsock: ")
    assert refused is not os.path.exists("/dev/vhost-vsock")  # noqa: ASYNC240, PTH110  # the kernel's own


async def test_drives_networks_and_rate_limits_are_taken(guests, tmp_path):
    disk = tmp_path / "disk,with=commas.img"
    disk.write_bytes(bytes(1 << 20))
    spec = {
        "drives": (Drive("data", str(disk), read_only=True),),
        "network": (Interface("eth0", "user", "52:54:00:12:34:56"),),
        "rate_limits": (RateLimit("data", 1 << 20, 100),),
        "cpus": 2,
    }
    async with guests.running("exit=1", **spec) as target:
        assert (await guests.over(target)).end == End("already_exited", Clean(1))


async def test_without_qemu_a_spec_that_names_it_is_refused_with_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    async with eventvm.open("memory:") as engine:
        with pytest.raises(errors.Unsupported, match="apt install qemu-system-x86"):
            await engine.create("web", tiny())


# --- secrets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["env", "file"])
async def test_a_secret_reaches_the_guest_and_nothing_else(guests, tmp_path, monkeypatch, kind):
    """The guest's exit code is its first byte; it is in no argv, environment, file or log."""
    canary = "canary-5b0a2b6f"
    (tmp_path / "secret").write_text(canary)
    monkeypatch.setenv("CANARY", canary)
    secret = Secret(env="CANARY") if kind == "env" else Secret(file=str(tmp_path / "secret"))
    spec = tiny("secret=token count", secrets={"token": secret})
    async with eventvm.open(tmp_path / "log.db", providers=[guests.provider]) as engine:
        vm = await engine.create("web", replace(spec, boot_args="count"))
        await vm.start()
        seen = b"".join(_readable(guests.root))
        await vm.destroy(force=True)
        vm = await engine.create("api", spec)
        await vm.start()
        await vm.wait("stopped", timeout=SECONDS)
        told = await ends(engine)
    assert told[-1].termination == Clean(ord("c"))
    assert b"token" in seen
    assert canary.encode() not in seen
    for file in tmp_path.glob("log.db*"):
        assert canary.encode() not in file.read_bytes()


def _readable(root):
    """Read what others might: arguments and environments of all that works below a root, and its files."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(root):
                yield (process / "cmdline").read_bytes()
                yield (process / "environ").read_bytes()
        except OSError:
            continue
    for path in root.rglob("*"):
        if path.is_file():
            yield path.read_bytes()


async def test_a_secret_that_cannot_be_read_is_named_by_its_place(guests):
    async with guests.running("exit=1") as target:
        await guests.over(target)
        place = guests.place(target)
        place.amend(replace(place.made(), spec=tiny(secrets={"token": Secret(env="NOT_SET_AT_ALL")})))
        with pytest.raises(errors.EventvmError, match=r"token: .* NOT_SET_AT_ALL is not set"):
            await guests.provider.start(replace(target, incarnation=2))


# --- under an engine ----------------------------------------------------------------------------------------


async def ends(engine):
    """Give every end that the log tells of, in its order."""
    records = (await engine.log.read(limit=engine.log.tree.size)).records
    told = (getattr(record.event, "end", None) for record in records)
    return [end for end in told if end is not None]


async def a_life(engine, guests, name):
    """Boot, exit with 42, start, snapshot, kill, restore, power button, destroy."""
    once = await engine.create(f"{name}-once", tiny("exit=42"))
    await once.start()
    await once.wait("stopped", timeout=SECONDS * 3)
    vm = await engine.create(name, tiny("code=3"))
    await vm.start()
    await vm.snapshot("s1")
    os.kill(guests.pid(vm), signal.SIGKILL)
    await vm.wait("stopped", timeout=SECONDS * 3)
    await vm.restore("s1")
    assert (vm.phase, vm.machine.incarnation) == ("running", 2)
    await vm.stop()
    await vm.delete_snapshot("s1")
    for each in (once, vm):
        await each.destroy()


async def test_a_real_life_is_told_as_it_was(guests, tmp_path):
    async with eventvm.open(tmp_path / "log.db", providers=[guests.provider]) as engine:
        await a_life(engine, guests, "web")
        told = await ends(engine)
    assert told[:3] == [End("already_exited", Clean(42)), KILLED, pressed(Clean(3))]


async def test_many_lives_beside_each_other_all_go_well(guests, tmp_path):
    turns = asyncio.Semaphore(AT_ONCE)
    async with eventvm.open(tmp_path / "log.db", providers=[guests.provider]) as engine:

        async def live(name):
            async with turns:
                await a_life(engine, guests, name)

        await asyncio.gather(*(live(f"web-{number}") for number in range(LIVES)))
        told = await ends(engine)
    assert told.count(End("already_exited", Clean(42))) >= LIVES
    assert sum(end == KILLED for end in told) >= LIVES


async def test_a_stop_that_fails_while_the_guest_lives_is_repaired_by_a_start(guests, tmp_path):
    """The seed story: error with its interval open, then running with no second launch and no entry."""
    spec = tiny("stubborn", stop_grace_seconds=30.0)
    options = {"providers": [guests.provider]}
    async with eventvm.open(tmp_path / "log.db", **options) as engine:
        vm = await engine.create("web", spec)
        await vm.start()
        pid = guests.run(vm).vmm().pid
        in_the_way = guests.run(vm).path / "rung"
        in_the_way.mkdir()
        with pytest.raises(errors.EffectFailed, match="rung"):
            await vm.stop()
        in_the_way.rmdir()
        before = await vm.entries()
        assert (vm.phase, [entry.edge for entry in before if entry.meter == "compute"]) == (
            "error",
            ["start"],
        )
        receipt = await vm.start()
        assert (vm.phase, receipt.how) == ("running", "reconciled")
        assert await vm.entries() == before
        assert guests.run(vm).vmm().pid == pid
        assert guests.run(vm).incarnation == 1
    async with eventvm.open(tmp_path / "log.db", **options) as engine:
        vm = await engine.machine("web")
        os.kill(pid, 0)
        asking = asyncio.ensure_future(vm.stop())
        async with monitor(guests.run(vm).path, "probe") as qmp:
            await qmp.do("quit")
        await asking
        compute = [entry.edge for entry in await vm.entries() if entry.meter == "compute"]
        assert (vm.phase, compute) == ("stopped", ["start", "stop"])
        await vm.destroy()


ADOPTED = """
import asyncio, sys
import eventvm
from eventvm.providers.qemu import Qemu
sys.path.insert(0, sys.argv[3])
from qemu_world import tiny

async def main():
    async with eventvm.open(sys.argv[1], providers=[Qemu(sys.argv[2], accelerator="tcg")]) as engine:
        vm = await engine.create("web", tiny(sys.argv[4]))
        await vm.start()
        print("started", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def killed_engine(guests, tmp_path):
    """Run a guest by an engine of another process, and kill that engine."""

    def kill(boot_args):
        program = [sys.executable, "-c", ADOPTED, tmp_path / "log.db", guests.root, Path(__file__).parent]
        with subprocess.Popen([*program, boot_args], stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout.readline() == "started\n"
            other.kill()

    return kill


async def test_a_new_engine_adopts_the_guest_of_one_that_was_killed(guests, killed_engine, tmp_path):
    killed_engine("code=9")
    async with eventvm.open(tmp_path / "log.db", providers=[guests.provider]) as engine:
        vm = await engine.machine("web")
        assert (await vm.reconcile()).how == "nothing"
        await vm.stop()
        assert (await ends(engine))[-1] == pressed(Clean(9))
        await vm.destroy()


async def test_an_exit_while_no_engine_runs_is_learned_with_its_true_code(guests, killed_engine, tmp_path):
    """The bridge hears, verifies, persists and acknowledges; the next engine has only to look."""
    killed_engine("code=9")
    (directory,) = (guests.root / "machines").glob("*/1")
    async with monitor(directory) as qmp:
        await qmp.do("system_powerdown")
    note = json.loads((directory / "vmm.json").read_text())
    assert await gone(Identity(note["pid"], note["start"], note["boot"]), SECONDS)
    async with eventvm.open(tmp_path / "log.db", providers=[guests.provider]) as engine:
        vm = await engine.machine("web")
        await vm.reconcile()
        assert (vm.phase, (await ends(engine))[-1]) == ("stopped", End("graceful", Clean(9)))
        await vm.destroy()


async def test_a_launch_whose_engine_is_killed_half_way_leaves_nothing_running(guests, tmp_path):
    """Before the guest runs the bridge looks whether anybody still waits."""
    program = ADOPTED.replace('print("started", flush=True)', "").replace(
        "await vm.start()",
        'asyncio.ensure_future(vm.start()); await asyncio.sleep(0.03); print("x", flush=True)',
    )
    arguments = [tmp_path / "log.db", guests.root, Path(__file__).parent, ""]
    with subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE) as other:  # noqa: ASYNC220
        other.stdout.readline()
        other.kill()
    async with eventvm.open(tmp_path / "log.db", providers=[guests.provider]) as engine:
        vm = await engine.machine("web")
        await guests.place(vm).settled(SECONDS)
        await vm.wait("settled", timeout=SECONDS)
        assert (vm.phase == "running") == bool(processes(guests.root))
        await vm.destroy(force=True)


# --- the accelerator, and the tiny guest --------------------------------------------------------------------


async def test_kvm_is_used_only_where_a_guest_runs_under_it():
    proven = os.access("/dev/kvm", os.R_OK | os.W_OK) and await runs("kvm")
    assert await accelerator() == ("kvm" if proven else "tcg")
    assert await runs("tcg")
    assert not await runs("an accelerator that nobody has")


def test_the_tiny_guest_was_built_from_the_sources_that_are_there():
    """Whoever changes a source builds again: eventvm/providers/qemu/guest/build."""
    for line in (TINY.parent / "tiny.sources").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((TINY.parent / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is missing: apt install gcc libc6-dev")
async def test_the_tiny_guest_that_is_built_afresh_lives_the_same_life(guests, tmp_path):
    subprocess.run([TINY.parent / "build", tmp_path], check=True)  # noqa: ASYNC221
    assert (tmp_path / "tiny.sources").read_bytes() == (TINY.parent / "tiny.sources").read_bytes()
    async with guests.running("exit=42", kernel=str(tmp_path / "tiny.elf")) as target:
        assert (await guests.over(target)).end == End("already_exited", Clean(42))
