"""A user's own project tests its lifecycle, provider and application with nothing but eventvm.testing."""

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "testing.md"
CONFTEST = 'pytest_plugins = ["eventvm.testing.plugin"]\n'
INI = "[pytest]\nanyio_mode = auto\nfilterwarnings = error\n"
LEASES = '''
    """A GPU slot: made, leased, given back; and the provider that keeps such slots in a directory."""

    from eventvm.lifecycle import Lifecycle
    from eventvm.observation import End, Evidence, Forced, Observation
    from eventvm.tables import Arrow, Effect, Fact, Nothing, Refuse, Step, closes, opens

    slot = Lifecycle(
        name="slot",
        initial="absent",
        phases=("absent", "idle", "leased", "retired"),
        settled=("idle", "leased", "retired"),
        ends=("retired",),
        frees=("absent", "retired"),
        active=("leased",),
        counts={"gpu": ("leased",)},
        effects={
            "make": (Step("create", "machine.created", "machine.create_failed", "exists"),),
            "lease": (Step("start", "machine.started", "machine.start_failed", "alive"),),
            "retire": (
                Step("stop"),
                Step("destroy", "machine.destroyed", "machine.destroy_failed", "absent"),
            ),
        },
        rows={
            "absent": {"create": Effect("make")},
            "idle": {"start": Effect("lease"), "destroy": Effect("retire")},
            "leased": {"start": Nothing(), "destroy": Effect("retire")},
        },
        arrows={
            "absent": {"machine.created": Arrow("idle"), "machine.create_failed": Arrow("retired")},
            "idle": {
                "machine.started": Arrow("leased", (opens("gpu"),)),
                "machine.start_failed": Arrow(),
                "machine.destroyed": Arrow("retired"),
                "machine.destroy_failed": Arrow(),
            },
            "leased": {
                "machine.exited": Arrow("idle", (closes("gpu", "stop-crash"),)),
                "machine.destroyed": Arrow("retired", (closes("gpu", "stop-user"),)),
                "machine.destroy_failed": Arrow(),
            },
        },
        found={"leased": {"gone": Fact("machine.exited")}},
    )


    class Slots:
        name = "slots"

        def __init__(self, directory):
            self.directory = directory

        def lease(self, target):
            return self.directory / f"{target.id}.lease"

        def made(self, target):
            return self.directory / f"{target.id}.slot"

        async def create(self, target):
            self.made(target).touch()

        async def start(self, target):
            if not self.lease(target).exists():
                self.lease(target).write_text(str(target.incarnation))

        async def stop(self, target):
            self.lease(target).unlink(missing_ok=True)
            return End("killed", Forced())

        async def snapshot(self, target, snapshot):
            raise NotImplementedError

        async def destroy(self, target):
            await self.stop(target)
            self.made(target).unlink(missing_ok=True)

        async def probe(self, target):
            exists, leased = self.made(target).exists(), self.lease(target).exists()
            incarnation = int(self.lease(target).read_text()) if leased else 0
            return Observation(
                "alive" if leased else "gone", Evidence(self.name, incarnation=incarnation), exists=exists
            )
'''
TESTS = """
    from contextlib import asynccontextmanager

    import pytest
    from leases import Slots, slot

    from eventvm import Spec
    from eventvm.commands import Destroy, Start, Stop
    from eventvm.errors import EffectFailed, InvalidTransition
    from eventvm.testing import check_lifecycle, given
    from eventvm.testing.contract_provider import ProviderContract


    def test_the_lifecycle_keeps_the_laws():
        check_lifecycle(slot)


    def test_a_lease_counts():
        given(slot).when(Start()).then("machine.started").then_booked("gpu.start(boot)")


    def test_a_lease_that_fails_leaves_it_idle():
        given(slot).when(Start(), start="fail").then("machine.start_failed").then_phase("idle").then_booked()


    def test_there_is_no_stopping():
        given(slot, Start()).when(Stop()).then(InvalidTransition)


    class TestSlots(ProviderContract):
        lacks = ("pause", "resume", "snapshot", "delete_snapshot", "restore", "rename", "discover", "events")
        settle_seconds = 0.01

        @pytest.fixture(autouse=True)
        def place(self, tmp_path):
            self.directory = tmp_path

        @asynccontextmanager
        async def open(self):
            yield Slots(self.directory)


    @pytest.fixture
    def eventvm_options(tmp_path):
        return {"lifecycles": [slot], "providers": [Slots(tmp_path)]}


    async def test_a_slot_is_leased_and_retired(eventvm_engine):
        one = await eventvm_engine.create("gpu-0", Spec(provider="slots"), lifecycle="slot")
        await one.start()
        assert one.phase == "leased"
        await one.destroy()
        assert one.phase == "retired"


    async def test_misfortune_is_recorded(eventvm_engine, eventvm_simulated):
        one = await eventvm_engine.create("gpu-0", Spec(provider="simulated"), lifecycle="slot")
        eventvm_simulated.script("gpu-0", "start", "fail")
        with pytest.raises(EffectFailed):
            await one.start()
        assert one.phase == "idle"
"""
VIRTUAL = """
    import pytest
    from leases import slot

    from eventvm import Spec
    from eventvm.testing import virtual


    @pytest.fixture
    def anyio_backend():
        return virtual(seed=7)


    @pytest.fixture
    def eventvm_options():
        return {"lifecycles": [slot]}


    async def test_a_lease_survives_a_crash_of_the_engine(eventvm_world):
        one = await eventvm_world.engine.create("gpu-0", Spec(provider="simulated"), lifecycle="slot")
        eventvm_world.simulated.script("gpu-0", "start", "lost")
        await one.start(wait=False)
        await eventvm_world.quiet(60)
        await eventvm_world.reopen()
        await eventvm_world.quiet(60)
        again = await eventvm_world.engine.machine("gpu-0")
        assert again.phase == "leased"
        assert eventvm_world.simulated.calls.count(("start", "gpu-0")) == 1
"""


@pytest.fixture
def project(tmp_path):
    """A user's project: a lifecycle, a provider, and tests of both."""
    files = {"conftest.py": CONFTEST, "pytest.ini": INI, "leases.py": LEASES, "test_leases.py": TESTS,
             "test_virtual.py": VIRTUAL}  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).write_text(dedent(text))
    return tmp_path


def suite(project, *options):
    """Run the user's suite as the user does."""
    whole = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rfE", *options]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    clean["COLUMNS"] = "300"
    return subprocess.run(
        whole, cwd=project, capture_output=True, text=True, check=False, timeout=120, env=clean
    )


def change(project, old, new):
    """Break the user's program."""
    program = project / "leases.py"
    text = program.read_text()
    assert old in text
    program.write_text(text.replace(old, new))


def test_a_users_project_is_tested_with_nothing_but_the_kit(project):
    """Its laws, rows, contract and engine pass, in real and in virtual time."""
    done = suite(project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


def test_the_tests_that_the_docs_show_pass(tmp_path):
    """Its conftest, its test of an application, and its contract of a log."""
    blocks = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    conftest, application, log = (
        next(block for block in blocks if word in block)
        for word in ("pytest_plugins", "eventvm_simulated", "LogContract")
    )
    for name, text in {"conftest.py": conftest, "pytest.ini": INI, "test_application.py": application,
                       "test_log.py": log}.items():  # fmt: skip
        (tmp_path / name).write_text(text)
    done = suite(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout


BROKEN = {
    "a start that starts again": (
        "if not self.lease(target).exists():", "if True:", "test_start_leaves_alone_what_runs_already",
    ),
    "a destroy that leaves it": (
        "self.made(target).unlink(missing_ok=True)", "pass",
        "test_destroy_twice_is_destroy_and_nothing_is_left",
    ),
    "a probe that raises": (
        "int(self.lease(target).read_text()) if leased else 0", "int(self.lease(target).read_text())",
        "test_a_probe_of_what_is_not_there_says_so_and_makes_nothing",
    ),
}  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
def test_a_users_broken_provider_fails_and_the_law_is_named(project, broken):
    """The name of the failed test is the law."""
    old, new, law = BROKEN[broken]
    change(project, old, new)
    done = suite(project, "-k", "TestSlots")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"FAILED test_leases.py::TestSlots::{law}" in done.stdout


def test_a_users_broken_lifecycle_fails_and_the_law_is_named(project):
    """A lease that is taken twice."""
    change(project, '"leased": {"start": Nothing()', '"leased": {"start": Effect("lease")')
    change(project, '"machine.exited": Arrow("idle"', (
        '"machine.started": Arrow("leased", (opens("gpu"),)), "machine.start_failed": Arrow(),'
        ' "machine.exited": Arrow("idle"'
    ))  # fmt: skip
    done = suite(project, "-k", "laws")
    assert done.returncode == 1
    assert "slot: deciding twice decides nothing: start of idle leads to leased" in done.stdout


UNLAWFUL = """
    import pytest

    from eventvm import Spec
    from eventvm.provider import Target
    from eventvm.testing import virtual

    SPEC = Spec(provider="simulated")


    async def test_reaching_into_the_world(eventvm_engine, eventvm_simulated):
        web = await eventvm_engine.create("web", SPEC)
        await eventvm_simulated.start(Target(web.id, "web", 1, SPEC))


    async def test_knowing_better_than_the_log(eventvm_engine):
        web = await eventvm_engine.create("web", SPEC)
        cell = await eventvm_engine.cells.cell(web.id)
        cell.machine = type(cell.machine)(web.id, cell.machine.rules, "running")


    class TestInVirtualTime:
        @pytest.fixture
        def anyio_backend(self):
            return virtual()

        async def test_reaching_into_the_world(self, eventvm_world):
            web = await eventvm_world.engine.create("web", SPEC)
            await eventvm_world.simulated.start(Target(web.id, "web", 1, SPEC))

        async def test_a_name_for_somebody_else(self, eventvm_world):
            await eventvm_world.engine.create("web", SPEC)
            eventvm_world.store.holders.clear()
"""
CAUGHT = {
    "test_unlawful.py::test_reaching_into_the_world": "intent before effect: start of web without a durable",
    "test_unlawful.py::test_knowing_better_than_the_log": "replay equals live: ",
    "test_unlawful.py::TestInVirtualTime::test_reaching_into_the_world": "start of web without a durable",
    "test_unlawful.py::TestInVirtualTime::test_a_name_for_somebody_else": "a name has one holder: web leads",
}


@pytest.fixture(scope="module")
def unlawful(tmp_path_factory):
    """What a suite says whose tests pass, and leave an engine behind that breaks a law."""
    directory = tmp_path_factory.mktemp("unlawful")
    for name, text in {"conftest.py": CONFTEST, "pytest.ini": INI, "test_unlawful.py": UNLAWFUL}.items():
        (directory / name).write_text(dedent(text))
    return suite(directory, "--tb=line")


@pytest.mark.parametrize("test", CAUGHT)
def test_a_test_that_leaves_a_broken_law_behind_has_an_error_at_its_end(unlawful, test):
    """It has passed; its fixture says which law does not hold."""
    (told,) = [line for line in unlawful.stdout.splitlines() if line.startswith(f"ERROR {test}")]
    assert "4 passed, 4 errors" in unlawful.stdout
    assert CAUGHT[test] in told


def test_the_kit_needs_pytest_for_its_plugin_alone():
    """Everything else can be imported where pytest is not installed."""
    code = """
import sys
sys.modules["pytest"] = None
import eventvm.testing, eventvm.testing.contract_log, eventvm.testing.contract_provider
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
