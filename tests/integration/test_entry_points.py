"""Providers and lifecycles of installed packages, each test in a process that sees packages of its own."""

import os
import subprocess
import sys
from textwrap import dedent

import pytest

PROVIDER = """
    from eventvm.observation import Evidence, Observation
    from eventvm.tables import Arrow, Fact
    from eventvm import Lifecycle

    class Lamps:
        name = "lamps"
        made = 0

        def __init__(self):
            Lamps.made += 1
            self.lit = set()

        async def create(self, target): pass
        async def start(self, target): self.lit.add(target.id)
        async def stop(self, target): self.lit.discard(target.id)
        async def snapshot(self, target, snapshot): raise NotImplementedError
        async def destroy(self, target): pass

        async def probe(self, target):
            alive = target.id in self.lit
            return Observation("alive" if alive else "gone", Evidence("lamps"), exists=True)

        async def events(self):
            print("heeded")
            for one in self.lit:
                yield one

    ready = Lamps()

    switch = Lifecycle(
        name="switch", initial="off", phases=("off", "on", "removed"), settled=("off", "on", "removed"),
        ends=("removed",), rows={"off": {"create": Fact("machine.created")}},
        arrows={"off": {"machine.created": Arrow("off")}}, moves={"off": ("on",), "on": ("off", "removed")},
    )
"""
USE = """
    import sys
    import anyio, eventvm
    from eventvm import Simulated, Spec, errors

    LAMP = Spec(provider="lamps")

    async def main():
        async with eventvm.open("fleet.db") as engine:
"""


@pytest.fixture
def place(tmp_path):
    """Install packages in a directory, and run programs that see them."""
    return Place(tmp_path)


class Place:
    def __init__(self, path):
        self.path = path

    def install(self, package, *, offers, code=PROVIDER, group="providers"):
        """Write what an installer would: a module, and the metadata of its distribution."""
        (self.path / f"{package}.py").write_text(dedent(code))
        info = self.path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "".join(f"{name} = {value}\n" for name, value in offers.items())
        (info / "entry_points.txt").write_text(f"[eventvm.{group}]\n{lines}")

    def remove(self, package):
        (self.path / f"{package}.py").unlink()
        (self.path / f"{package}-1.0.dist-info" / "entry_points.txt").unlink()

    def run(self, body):
        """Run the body within an open engine over `fleet.db`, and give what it printed."""
        code = dedent(USE) + "".join(f"        {line}\n" for line in dedent(body).splitlines())
        whole = [sys.executable, "-W", "error", "-c", f"{code}\nanyio.run(main)"]
        done = subprocess.run(
            whole, cwd=self.path, env={**os.environ, "PYTHONPATH": str(self.path)},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


def test_a_provider_of_an_installed_package_is_found_by_its_name(place):
    """A machine names it, and lives with it; its hints are heeded from then on."""
    place.install("bright", offers={"lamps": "bright:Lamps"})
    told = place.run("""
        lamp = await engine.create("lamp", LAMP)
        await lamp.start()
        await anyio.sleep(0)
        print(lamp.phase, (await lamp.reconcile()).how)
    """)
    assert told == ["heeded", "running nothing"]


def test_a_machine_that_only_reports_is_looked_at_by_the_provider_that_it_names(place):
    """Its creation calls nobody; the first look finds the provider."""
    place.install("bright", offers={"lamps": "bright:Lamps"})
    told = place.run("""
        plugin = await engine.create("p", LAMP, lifecycle="plugin", phase="Running")
        print("bright" in sys.modules)
        await plugin.reconcile()
        print([change.to for change in await plugin.history()][:2])
    """)
    assert [line for line in told if line != "heeded"] == ["False", "['Running', 'Recovering']"]


def test_it_may_be_offered_as_an_object(place):
    """What is a provider already is not called."""
    place.install("bright", offers={"lamps": "bright:ready"})
    told = place.run("""
        await engine.create("lamp", LAMP)
        print(sys.modules["bright"].Lamps.made)
    """)
    assert told[-1] == "1"


def test_nothing_is_imported_before_a_machine_names_it_and_then_once(place):
    """Importing and opening load nothing; naming one does not load the other; twice named is once made."""
    place.install("bright", offers={"lamps": "bright:Lamps"})
    place.install("broken", offers={"other": "broken:Other"}, code="raise RuntimeError('loaded')")
    told = place.run("""
        print("bright" in sys.modules)
        await engine.create("lamp-1", LAMP)
        await engine.create("lamp-2", LAMP)
        print(sys.modules["bright"].Lamps.made, "broken" in sys.modules)
    """)
    assert [line for line in told if line != "heeded"] == ["False", "2 False"]  # one is `ready`


def test_a_lifecycle_of_an_installed_package_is_found_by_its_name(place):
    """It is a value, and goes by the name that leads to it; one of ours is not replaced."""
    offers = dict.fromkeys(("switch", "dimmer", "vm"), "bright:switch")
    place.install("bright", offers=offers, group="lifecycles")
    told = place.run("""
        switch = await engine.create("switch", lifecycle="switch")
        await switch.transition_to("on")
        print(switch.phase, (await engine.create("web", Spec(provider="simulated"))).lifecycle.name)
        for wrong in ("dimmer", "unheard-of"):
            try:
                await engine.create("x", lifecycle=wrong)
            except errors.EventvmError as problem:
                print(type(problem).__name__, problem)
    """)
    assert told[0] == "on vm"
    assert told[1].startswith("BadEntryPoint the entry point 'dimmer' of eventvm.lifecycles cannot be used")
    assert "it calls itself 'switch' (bright 1.0, bright:switch)" in told[1]
    assert told[2].endswith("there is cell, dimmer, hcsshim, microvm, plugin, switch, vm")


BROKEN = {
    "an import that fails": (
        "raise RuntimeError('no licence')",
        "could not be imported: RuntimeError: no licence",
    ),
    "a name that is not there": ("", "could not be imported: AttributeError"),
    "a maker that fails": ("def lamps(): raise OSError('no bus')", "could not be made: OSError: no bus"),
    "something else": ("lamps = 7", "neither a provider nor what makes one, but a int"),
    "half a provider": (
        "class lamps: name = 'lamps'",
        "is no provider, it lacks create, start, stop, snapshot",
    ),
    "another name": (f"{dedent(PROVIDER)}\nclass lamps(Lamps): name = 'torches'", "calls itself 'torches'"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_one_is_refused_at_creation_and_nothing_is_written(place, fault):
    """The error names the package and what to do; nothing is imported again, and nothing written."""
    code, why = BROKEN[fault]
    place.install("dark", offers={"lamps": "dark:lamps"}, code=f"print('imported')\n{code}")
    told = place.run("""
        for _ in range(2):
            try:
                await engine.create("lamp", LAMP)
            except errors.BadEntryPoint as problem:
                print(problem, "-", problem.hint)
        print(engine.log.tree.size, (await engine.create("lamp", Spec(provider="simulated"))).phase)
    """)
    assert told[0] == "imported"
    assert why in told[1]
    assert "(dark 1.0, dark:lamps) - mend or remove the package" in told[1]
    assert told[2:] == [told[1], "0 created"]


def test_a_bound_of_an_installed_provider_is_kept_to(place):
    """Its places are made when it is found: a bound that lets nobody in is refused unwritten."""
    code = f"{dedent(PROVIDER)}\nclass Shut(Lamps): at_once = 0"
    place.install("bright", offers={"lamps": "bright:Shut"}, code=code)
    told = place.run("""
        try:
            await engine.create("lamp", LAMP)
        except errors.BadInput as problem:
            print(problem, engine.log.tree.size)
    """)
    assert told == ["at_once of provider lamps is a number from 1 on, not 0 0"]


def test_two_of_one_name_are_refused_and_both_are_named(place):
    """Nobody chooses between them; one that is given wins over both."""
    place.install("bright", offers={"lamps": "bright:Lamps", "simulated": "bright:Lamps"})
    place.install("dark", offers={"lamps": "dark:Lamps"})
    told = place.run("""
        try:
            await engine.create("lamp", LAMP)
        except errors.BadEntryPoint as problem:
            print(problem)
        await engine.create("web", Spec(provider="simulated"))
        print("bright" in sys.modules)
    """)
    assert "offered more than once: by bright 1.0, bright:Lamps and dark 1.0, dark:Lamps" in told[0]
    assert told[1] == "False"


@pytest.mark.parametrize("loss", ["gone", "broken"])
def test_machines_whose_provider_is_lost_read_as_before_and_probe_as_unknown(place, loss):
    """Phase and history are there, a look is inconclusive, a command is refused unwritten."""
    place.install("bright", offers={"lamps": "bright:Lamps"})
    place.run("await (await engine.create('lamp', LAMP)).start()")
    if loss == "gone":
        place.remove("bright")
    else:
        (place.path / "bright.py").write_text("raise RuntimeError('no licence')")
    told = place.run("""
        lamp, size = await engine.machine("lamp"), engine.log.tree.size
        print(lamp.phase, [change.to for change in await lamp.history()])
        for verb in (lamp.reconcile, lamp.stop):
            try:
                await verb()
            except errors.EventvmError as problem:
                print(type(problem).__name__)
        print(engine.log.tree.size == size, (await engine.reconcile()).unknown == (lamp.id,))
    """)
    lost = "Unsupported" if loss == "gone" else "BadEntryPoint"
    assert told == ["running ['creating', 'created', 'running']", "Inconclusive", lost, "True True"]


def test_the_provider_of_living_machines_is_found_again_at_opening(place):
    """Its hints are heeded without anybody naming it."""
    place.install("bright", offers={"lamps": "bright:Lamps"})
    place.run("await engine.create('lamp', LAMP)")
    assert place.run("await anyio.sleep(0)") == ["heeded"]
