"""How the command line begins: it imports what its verb needs, and nothing that it does not."""

import subprocess
import sys

import pytest

import eventvm

TOLD = """
import sys
from eventvm.cli import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert ended.code == 0
print(*sys.modules)
"""
ENGINE = {"eventvm.engine", "eventvm.wire", "eventvm.providers.process"}
PICTURES = {"eventvm.portrait", "eventvm.sketch"}
SLOW = {"asyncio", "msgspec", *ENGINE, *PICTURES}
SPARED = {
    "--version": SLOW,
    "list --log log.db": {*ENGINE, *PICTURES, "cryptography", "importlib.metadata", "urllib.request"},
    "create web --lifecycle plugin --log log.db": {*PICTURES, "cryptography", "urllib.request"},
    "picture --log log.db": {*ENGINE, "cryptography", "urllib.request"},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with a log."""
    where = tmp_path_factory.mktemp("start")
    begun = [sys.executable, "-m", "eventvm", "reconcile", "--log", "log.db"]
    subprocess.run(begun, cwd=where, check=True, capture_output=True)
    return where


@pytest.mark.parametrize("words", SPARED)
def test_a_verb_waits_for_nothing_that_it_does_not_need(words, place):
    """Neither for an engine where it reads, nor for pictures where it draws none."""
    done = subprocess.run(
        [sys.executable, "-c", TOLD, *words.split()], cwd=place, capture_output=True, text=True, check=True
    )
    imported = set(done.stdout.splitlines()[-1].split())
    assert "eventvm.cli" in imported
    assert SPARED[words] & imported == set()


def test_every_name_of_the_package_is_there_when_it_is_asked_for():
    """Each is imported from one place, and is shown to whoever looks around."""
    homes = {name for names in eventvm.HOMES.values() for name in names}
    assert homes | {"EventvmError", "errors"} == set(eventvm.__all__)
    assert all(getattr(eventvm, name) is not None for name in eventvm.__all__)
    assert set(eventvm.__all__) <= set(dir(eventvm))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        eventvm.nothing  # noqa: B018  # asked for, and no more
