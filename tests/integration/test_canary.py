"""A canary in every secret field: the machine has it, and nothing that is written, listed or said has it."""

import json
import logging
import os
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex

import pytest
from msgspec.structs import replace
from process_world import destroyed, running_with
from qemu_world import Guests, needs_qemu, tiny

import eventvm
from eventvm import Process, Spec
from eventvm.audit.cloudevents import exported
from eventvm.observation import Clean
from eventvm.providers.process_files import look
from eventvm.spec import Secret

CANARY = f"CANARY-{token_hex(8)}"
"""Another one in each run: runs beside each other see each other's processes."""
KEPT = "the-file-that-keeps-it"
SECONDS = 20


@pytest.fixture
def secrets(tmp_path, monkeypatch):
    """The canary wherever a secret may be kept: in the engine's environment, and in a file."""
    (tmp_path / KEPT).write_text(f"{CANARY}\n")
    monkeypatch.setenv("WHERE_IT_IS", CANARY)
    return {"BY_ENV": Secret(env="WHERE_IT_IS"), "BY_FILE": Secret(file=str(tmp_path / KEPT))}


class Processes:
    """A process that has shown that it has both, and one whose program is not there."""

    good = Spec(provider="process", command=("sh", "-c", "echo ${#BY_ENV} ${#BY_FILE}; sleep 1000; :"))
    bad = replace(good, command=("/no/such/program",))

    def __init__(self, root):
        self.provider = Process(root)

    async def proven(self, engine, machine):
        """Wait until it has told the length of what it has."""
        async for told in self.provider.follow(machine.id):
            assert told.split() == [str(len(CANARY)).encode()] * 2
            return
        raise AssertionError("it has told nothing")

    def allowed(self, machine):
        """Who may have it in its environment: the process itself, and what it runs."""
        group = look(self.provider.directories.of(machine.id)).life.process.pid
        return [pid for pid in running_with(CANARY.encode(), "environ") if os.getpgid(pid) == group]

    async def clear(self):
        await destroyed(self.provider.directories.root)


class Guest(Processes):
    """A guest that has shown that it has it by its exit code, and one whose kernel is none."""

    good = tiny("count")
    bad = tiny()

    def __init__(self, root):
        self.guests = Guests(root)
        self.provider = self.guests.provider

    async def proven(self, engine, machine):
        spec = replace(machine.machine.spec, boot_args="secret=BY_FILE")
        teller = await engine.create("teller", spec)
        started = await teller.start()
        await teller.wait("stopped", after=started.position, timeout=SECONDS)
        assert teller.machine.end.termination == Clean(ord(CANARY[0]))
        await teller.destroy()

    def allowed(self, machine):
        return []

    async def clear(self):
        await self.guests.clear()


@asynccontextmanager
async def world(kind, root):
    world = kind(root)
    try:
        yield world
    finally:
        await world.clear()


@pytest.mark.parametrize("kind", [Processes, pytest.param(Guest, marks=needs_qemu)])
async def test_a_secret_is_in_the_machine_and_nowhere_else(kind, secrets, tmp_path, caplog):
    """Not in the database, its WAL, a backup, a log, an export, a list of arguments, a view or an error."""
    caplog.set_level(logging.DEBUG)
    said = []
    async with (
        world(kind, tmp_path / "world") as here,
        eventvm.open(tmp_path / "log.db", providers=[here.provider]) as engine,
    ):
        machine = await engine.create("good", replace(here.good, secrets=secrets))
        await machine.start()
        await here.proven(engine, machine)
        said += await failures(engine, here, secrets, tmp_path)
        said += [str(machine.describe()), str(await machine.history()), str(machine.machine)]
        said += await exports(engine)
        await engine.backup(tmp_path / "backup.db")
        assert running_with(CANARY.encode(), "cmdline") == []
        assert running_with(CANARY.encode(), "environ") == here.allowed(machine)
        assert holders(tmp_path) == {KEPT}
        assert {"log.db", "log.db-wal", "backup.db", "machine.json"} <= files(tmp_path)
        await machine.destroy(force=True)
    assert holders(tmp_path) == {KEPT}
    assert CANARY not in "\n".join((*said, caplog.text))
    assert any("WHERE_IT_IS" in one for one in said), "the reference is recorded, and shows where to look"


async def failures(engine, here, secrets, tmp_path):
    """Fail in every way in which a secret is at hand, and give what was said."""
    lost = {**secrets, "LOST": Secret(file=str(tmp_path / "no-such-file"))}
    kernel = tmp_path / "kernel"
    kernel.write_bytes(b"no kernel" * 1000)
    bad = replace(here.bad, kernel=str(kernel)) if here.bad.kernel else here.bad
    told = []
    for name, spec in (("bad", replace(bad, secrets=secrets)), ("lost", replace(here.good, secrets=lost))):
        machine = await engine.create(name, spec)
        with pytest.raises(eventvm.errors.EffectFailed) as failed:
            await machine.start()
        told += [repr(failed.value), str(failed.value), failed.value.fault]
        await machine.destroy(force=True)
    return told


async def exports(engine):
    records = (await engine.log.read(limit=engine.log.tree.size)).records
    return [json.dumps(exported(record, source="/log", name="m")) for record in records]


def files(root):
    return {path.name for path in root.rglob("*") if path.is_file()}


def holders(root: Path) -> set[str]:
    """Name the files that hold the canary."""
    found = (path for path in root.rglob("*") if path.is_file())
    return {path.name for path in found if CANARY.encode() in path.read_bytes()}
