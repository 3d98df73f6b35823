"""The worked provider keeps the laws of the port, against units whose processes are real."""

import asyncio
import importlib.util
import json
import os
import signal
import sys
from pathlib import Path

import anyio
import pytest

import eventvm
from eventvm import Spec, errors
from eventvm.clock import Clock
from eventvm.observation import KILLED, End, Observed
from eventvm.provider import Provider, Target

ROOT = Path(__file__).parents[2]
FAKES = Path(__file__).parent / "systemd"


def example(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


systemd_units = example("systemd_units")


@pytest.fixture
def units(tmp_path, monkeypatch):
    """A directory of units; what still runs at the end is ended."""
    monkeypatch.setenv("FAKE_SYSTEMD", str(tmp_path))
    monkeypatch.setenv("PATH", f"{FAKES}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    yield tmp_path
    for unit in tmp_path.glob("*.service"):
        if (pid := json.loads(unit.read_text()).get("pid")) is not None:
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def provider(units):  # noqa: ARG001  # it needs the directory
    return systemd_units.systemd()


def target(id_="0198c0de", program="sleeper", incarnation=1):
    return Target(id_, f"{program}-1", incarnation, Spec(provider="systemd", labels={"program": program}))


def calls(units, *, after=0):
    """List the calls that may change something, as their arguments."""
    lines = (units / "calls").read_text().splitlines()[after:]
    return [call for call in map(json.loads, lines) if "show" not in call]


async def seen(provider, one, liveness):
    """Look until a machine reads so."""
    with anyio.fail_after(30):
        while (look := await provider.probe(one)).liveness != liveness:
            pass
    return look


async def test_it_is_a_provider(provider):
    """It fills the port, and its unit is found from the id alone."""
    assert isinstance(provider, Provider)
    assert systemd_units.unit_of("0198") == "eventvm-0198.service"


async def test_a_probe_after_start_sees_it_and_its_incarnation(provider):
    """What was started is alive, and says which boot it is."""
    assert (await provider.probe(target())).liveness == "gone"
    await provider.create(target())
    await provider.start(target(incarnation=3))
    look = await provider.probe(target())
    assert (look.liveness, look.exists, look.evidence.incarnation) == ("alive", True, 3)


async def test_start_twice_is_start(provider, units):
    """A machine that runs is left alone: one process, one systemd-run."""
    await provider.start(target())
    before = (units / systemd_units.unit_of("0198c0de")).read_text()
    await provider.start(target(incarnation=2))
    assert (units / systemd_units.unit_of("0198c0de")).read_text() == before
    assert len(calls(units)) == 1


async def test_stop_twice_is_stop(provider):
    """The second stop finds it gone, and succeeds; so does one of what never ran."""
    await provider.stop(target())
    await provider.start(target())
    assert (await provider.stop(target())).terminal_state == "forced"
    assert (await provider.probe(target())).liveness == "gone"
    await provider.stop(target())


async def test_a_stop_that_finds_it_just_gone_is_a_stop(provider, units):
    """It ended between the look and the stop; how, nobody can tell any more."""
    await provider.start(target())
    (units / "late").touch()
    assert await provider.stop(target()) is None
    assert (await provider.probe(target())).liveness == "gone"


async def test_a_stop_that_is_denied_has_failed(provider, units):
    """What systemd said is the error, and the unit runs on."""
    await provider.start(target())
    (units / "denied").touch()
    with pytest.raises(systemd_units.Refused, match="Access denied"):
        await provider.stop(target())
    assert (await provider.probe(target())).liveness == "alive"
    (units / "denied").unlink()


async def test_destroy_twice_is_destroy(provider, units):
    """It ends what runs, and leaves no unit behind; again, and nothing happens."""
    await provider.start(target())
    await provider.destroy(target())
    assert (await provider.probe(target())).exists is False
    assert not list(units.glob("*.service"))
    await provider.destroy(target())


async def test_a_probe_never_mutates(provider, units):
    """However often it looks, at what runs, has ended, or never was: it asks for nothing but to be shown."""
    await provider.start(target())
    await provider.start(target("0198dead", "failing"))
    asked = len((units / "calls").read_text().splitlines())
    for id_ in ("0198c0de", "0198dead", "0198none"):
        await provider.probe(target(id_))
        await provider.probe(target(id_))
    assert calls(units, after=asked) == []


@pytest.mark.parametrize(
    ("program", "end"),
    [("brief", End("graceful", Observed(code=0))), ("failing", End("crashed", Observed(code=1)))],
)
async def test_an_end_that_systemd_saw_is_told_with_its_code_and_its_time(provider, program, end):
    """The probe gives the code and when it was so, stop tells the same, and the next start clears it away."""
    before = Clock().now()
    await provider.start(target(program=program))
    look = await seen(provider, target(), "gone")
    assert (look.exists, look.end, look.evidence.incarnation) == (True, end, 1)
    assert before.boot < look.evidence.when.boot < Clock().now().boot
    assert await provider.stop(target()) == end
    await provider.start(target(incarnation=2))
    assert (await provider.probe(target())).evidence.incarnation == 2
    assert await provider.destroy(target()) == KILLED


async def test_a_signal_is_told_by_its_name(provider, units):
    """A process that somebody killed has a signal and no code."""
    await provider.start(target())
    os.kill(json.loads((units / systemd_units.unit_of("0198c0de")).read_text())["pid"], signal.SIGKILL)
    assert (await seen(provider, target(), "gone")).end == End("crashed", Observed(signal="SIGKILL"))
    assert await provider.destroy(target()) == End("crashed", Observed(signal="SIGKILL"))


async def test_a_start_that_is_cancelled_leaves_the_truth_to_be_found(provider, units):
    """The call never answers although the unit runs: whoever looks sees it alive, and can end it."""
    (units / "hang").touch()
    call = asyncio.create_task(provider.start(target()))
    await seen(provider, target(), "alive")
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    assert (await provider.probe(target())).liveness == "alive"
    await provider.destroy(target())
    assert not list(units.glob("*.service"))


async def test_what_systemd_cannot_tell_is_unknown(provider, units, monkeypatch):
    """No bus, no systemctl, or a unit on its way: nobody takes that for gone, and nothing is begun on it."""
    (units / systemd_units.unit_of("0198c0de")).write_text(
        json.dumps({"LoadState": "loaded", "ActiveState": "deactivating", "SubState": "stop-sigterm"})
    )
    assert (await provider.probe(target())).liveness == "unknown"
    with pytest.raises(systemd_units.Unclear, match="deactivating"):
        await provider.start(target())
    (units / "broken").touch()
    assert "No medium found" in (await provider.probe(target())).detail
    monkeypatch.setenv("PATH", str(units))
    assert (await provider.probe(target())).liveness == "unknown"


async def test_no_shell_sees_what_a_unit_is_called_or_runs(provider, units):
    """Each call is a list of words; a description stays one of them."""
    await provider.start(Target("0198c0de", "a; touch owned", 1, target().spec))
    (call,) = calls(units)
    assert "--description=a; touch owned" in call
    assert call[-3:] == ["--", "sleep", "3600"]


async def test_a_program_that_the_host_does_not_allow_is_no_unit(provider, units):
    """The creation fails with a sentence; nothing is asked of systemd."""
    async with eventvm.open("memory:", providers=[provider]) as engine:
        with pytest.raises(errors.EffectFailed, match="label it program= one of sleeper, brief, failing"):
            await engine.create("x", Spec(provider="systemd", labels={"program": "rm"}))
    assert not (units / "calls").exists()


async def test_a_snapshot_is_refused_before_anything_is_written(provider):
    """What the provider declares unsupported is a refusal: the log is as it was."""
    async with eventvm.open("memory:", providers=[provider]) as engine:
        unit = await engine.create("x", target().spec)
        before = engine.log.tree.size
        with pytest.raises(errors.Unsupported, match="does not support snapshot"):
            await unit.snapshot("first")
        assert engine.log.tree.size == before


async def test_a_start_whose_answer_is_lost_is_found_done(units):
    """The engine gives the call up at its deadline, looks, and records a start: no second try."""
    (units / "hang").touch()
    provider = systemd_units.systemd()
    async with eventvm.open("memory:", providers=[provider], deadline_seconds=2.0) as engine:
        unit = await engine.create("x", target().spec)
        await unit.start()
        assert (unit.phase, unit.machine.incarnation) == ("running", 1)
        await unit.stop()
        await unit.destroy()
    assert sum(call[0].endswith("systemd-run") for call in calls(units)) == 1
