"""Every verb as a process: right, wrong, on an empty log, for a machine that is not there, at what is taken.

A row says what is typed and what it comes to: an exit code, or why there is no such case. In the words NAME
stands for a machine: of a verb that acts one of its own, which is in the phase that it needs. NEW stands for
a file that does not exist yet.
"""

import asyncio
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import NamedTuple

import pytest
from holding import holding
from verbs import LEAVES

import eventvm
from eventvm import Spec
from eventvm.lifecycle import encode
from eventvm.lifecycles import LIFECYCLES
from eventvm.signing.keys import SIGNING_KEY, generate

COMMAND = [sys.executable, "-W", "error", "-m", "eventvm"]

ALL = "it means the whole log"
MAKES = "it makes what it names"
WAITS = 124
NO_LOG = "it is about no log"


class Row(NamedTuple):
    """What is typed, and what it comes to: an exit code, or why there is no such case."""

    right: str
    wrong: str
    empty: int | str = 6
    missing: int | str = 6
    held: int | str = 0
    answer: int = 0
    """The exit code where all is well."""
    log: str = "fleet.db"


ACTING = {
    "create": Row("create new --lifecycle plugin", "create new --spec nothing.json", 0, MAKES),
    "run": Row("run -- echo done", "run --timeout soon -- true", 0, MAKES),
    "start": Row("start NAME", "start NAME --timeout soon"),
    "stop": Row("stop NAME", "stop NAME too much"),
    "pause": Row("pause NAME", "pause NAME --nothing"),
    "resume": Row("resume NAME", "resume NAME -o xml"),
    "snapshot": Row("snapshot NAME t", "snapshot NAME"),
    "delete-snapshot": Row("delete-snapshot NAME s", "delete-snapshot NAME"),
    "hibernate": Row("hibernate NAME t", "hibernate NAME"),
    "restore": Row("restore NAME s", "restore NAME s --memory lots"),
    "clone": Row("clone NAME copy s", "clone NAME copy"),
    "rename": Row("rename NAME renamed", "rename NAME"),
    "complete": Row("complete NAME 0", "complete NAME zero"),
    "destroy": Row("destroy NAME --force --reason r", "destroy NAME --force"),
    "transition": Row("transition NAME Installing", "transition NAME Installing --data {"),
    "force": Row("force NAME Installed --reason r", "force NAME Installed"),
    "attest": Row("attest NAME gone --reason r", "attest NAME unknown"),
    "amend": Row("amend NAME --dev", "amend NAME --restart often"),
    "label": Row("label NAME a=b", "label NAME nothing"),
    "retry advance": Row("retry advance NAME", "retry advance NAME x"),
    "retry reset": Row("retry reset NAME", "retry reset NAME --key"),
    "reconcile": Row("reconcile NAME", "reconcile NAME too"),
    "wait": Row("wait NAME --for settled --timeout 0.3", "wait NAME --for running", WAITS, WAITS),
    "discover": Row("discover", "discover --adopt one --destroy another", 0, ALL),
}
LIVES = {
    "web": ("start", "stop"), "start": (), "stop": ("start",), "pause": ("start",),
    "resume": ("start", "pause"), "snapshot": ("start",), "delete-snapshot": ("start", "snapshot"),
    "hibernate": ("start",), "restore": ("start", "snapshot"), "clone": ("start", "snapshot"), "rename": (),
    "complete": ("start",), "destroy": ("start",), "transition": (), "force": (), "attest": (), "amend": (),
    "label": (), "retry advance": (), "retry reset": (), "reconcile": ("start",), "wait": (),
}  # fmt: skip
"""What each machine of the fleet has done; all but web are those of the verb of this name."""
PROCESSES = ("pause", "resume")
"""Those that have to be there in truth, in whatever process they are looked at."""
UNDER = dict.fromkeys(("transition", "force", "retry advance", "retry reset"), "plugin") | {
    "complete": "cell"
}

READING = {
    "list": Row("list --all", "list --at yesterday", 0, ALL),
    "show": Row("show NAME", "show NAME --known-at 2026-13-01T00:00:00Z"),
    "history": Row("history NAME", "history NAME --at 99999999"),
    "explain": Row("explain NAME", "explain NAME --known-at -1"),
    "picture": Row("picture NAME", "picture NAME --from 2026-01-02T00:00:00Z --to 2026-01-01T00:00:00Z"),
    "events": Row("events NAME", "events NAME --after x"),
    "ledger show": Row("ledger show NAME", "ledger show NAME --month 2026-13"),
    "ledger intervals": Row("ledger intervals NAME", "ledger intervals --from 2026-01-02 --to 2026-01-01"),
    "ledger totals": Row("ledger totals NAME", "ledger totals NAME --by colour"),
    "ledger diff": Row(
        "ledger diff NAME --known-at 0 --known-at 10", "ledger diff NAME --known-at 1", 2, 6, 1, answer=1
    ),
    "log diff": Row("log diff 0 10", "log diff 0 fleet.db", 2, ALL, 1, answer=1),
    "log replay": Row("log replay", "log replay -o xml", 0, ALL),
    "log export": Row("log export", "log export --as yaml", 0, ALL),
    "log shadow": Row("log shadow --lifecycle plugin.json", "log shadow --lifecycle text", 0, ALL),
    "log verify": Row("log verify --key ops.key.pub", "log verify --key text", 0, ALL, log="signed.db"),
    "log prove": Row("log prove 3", "log prove nine", 2, ALL, log="signed.db"),
    "log checkpoint": Row("log checkpoint", "log checkpoint --log text", 0, ALL),
    "doctor": Row("doctor", "doctor -o xml", 0, ALL),
    "lifecycle list": Row("lifecycle list", "lifecycle list --log nowhere.db", 0, ALL),
    "lifecycle show": Row("lifecycle show NAME", "lifecycle show vm --phase odd", 0),
    "lifecycle diagram": Row("lifecycle diagram NAME", "lifecycle diagram vm --svg .", 0),
}
WRITING = {
    "demo": Row("demo --file NEW", "demo --file", NO_LOG, NO_LOG, NO_LOG),
    "log import": Row("log import told NEW", "log import nothing NEW", NO_LOG, ALL, NO_LOG),
    "log backup": Row("log backup NEW", "log backup .", 0, ALL),
    "log restore": Row("log restore fleet.db NEW", "log restore text NEW", NO_LOG, ALL, NO_LOG),
    "log anchor": Row("log anchor NEW", "log anchor text", 0, ALL),
    "log sign": Row("log sign --signing ops.key", "log sign", 0, ALL, 1, log="bare.db"),
    "keys generate": Row("keys generate --key NEW", "keys generate --key NEW --name 'a b'", *[NO_LOG] * 3),
    "keys rotate": Row("keys rotate --key old.key", "keys rotate --key text", *[NO_LOG] * 3),
    "keys show": Row("keys show --key ops.key", "keys show --key nothing", *[NO_LOG] * 3),
    "lifecycle check": Row("lifecycle check plugin.json", "lifecycle check text", *[NO_LOG] * 3),
    "completion": Row("completion bash", "completion tcsh", *[NO_LOG] * 3),
}
ROWS = ACTING | READING | WRITING
UNREAD = {verb: 2 for verb in READING if not verb.startswith("lifecycle")} | {"doctor": 0}
UNACTED = {verb: 6 for verb, row in ACTING.items() if row.empty == 6}
NOWHERE = UNREAD | UNACTED
"""What it comes to where there is no log at all; there is none afterwards."""


def own(verb):
    """Name the machine, or the lifecycle, that a verb is about."""
    if verb.startswith("lifecycle"):
        return "vm"
    return verb.replace(" ", "-") if verb in LIVES else "web"


async def lived(path, key=None):
    """Have a fleet live in a log, each machine as far as its verb needs it."""
    async with eventvm.open(path, signing=key) as engine:
        for verb, life in LIVES.items():
            under = UNDER.get(verb, "vm")
            machine = await engine.create(
                own(verb), None if under == "plugin" else spec(verb), lifecycle=under
            )
            for act in life:
                await (machine.snapshot("s") if act == "snapshot" else getattr(machine, act)())


def spec(verb):
    if verb in PROCESSES:
        return Spec(provider="process", command=("sleep", "600"))
    return Spec(provider="simulated")


async def begun(place):
    """Write every log that a row is about."""
    await lived(place / "fleet.db")
    await lived(place / "held.db", place / "ops.key")
    async with eventvm.open_log(place / "empty.db"):
        pass


async def ended(path, key=None):
    """End what still runs."""
    async with eventvm.open(path, signing=key) as engine:
        for verb in PROCESSES:
            await (await engine.machine(own(verb))).destroy(force=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with logs that have lived, an empty one, keys, a definition, and what is none of them."""
    where = tmp_path_factory.mktemp("verbs")
    for key in ("ops.key", "old.key"):
        generate(where / key, "ops")
    (where / "plugin.json").write_bytes(encode(LIFECYCLES["plugin"]))
    (where / "text").write_text("a letter to my aunt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(where / "state"))
        asyncio.run(begun(where))
        shutil.copy(where / "fleet.db", where / "bare.db")
        shutil.copy(where / "held.db", where / "signed.db")
        (where / "told").write_text(typed(where, "log export", "fleet.db").stdout)
        yield where
        asyncio.run(ended(where / "fleet.db"))
        asyncio.run(ended(where / "held.db", where / "ops.key"))


@pytest.fixture(scope="module")
def held(place):
    """Another process that holds a log."""
    with holding("held.db", cwd=place, env={**os.environ, SIGNING_KEY: "ops.key"}):
        yield place


def typed(place, words, log, name="", new="new"):
    """Type words, and give what they come to."""
    known = {key: value for key, value in os.environ.items() if not key.startswith("EVENTVM_")}
    said = [{"NAME": name, "NEW": str(new)}.get(word, word) for word in shlex.split(words)]
    return subprocess.run(
        [*COMMAND, *said], cwd=place, capture_output=True, text=True, timeout=60, check=False,
        env=known | {"EVENTVM_URL": log},
    )  # fmt: skip


def answers(done, code):
    """It says something, and nothing goes wrong."""
    assert (done.returncode, done.stderr) == (code, ""), done
    assert done.stdout


def refuses(done, code):
    """It says one sentence, perhaps a hint, and shows nothing."""
    assert (done.returncode, done.stdout) == (code, ""), done
    first, *more = done.stderr.splitlines()
    assert first.startswith("eventvm"), done.stderr
    assert [line[:6] for line in more] in ([], ["hint: "]), done.stderr
    assert done.stderr.replace("\n", "").isprintable()


def comes_to(row, code, done):
    (answers if code in (0, row.answer) else refuses)(done, code)


def files(place):
    """Read all files but those that somebody else may be writing to."""
    named = [path for path in place.iterdir() if path.is_file() and not path.name.startswith("held.db")]
    return {path: path.read_bytes() for path in named}


def records(log):
    """Read what a log says; beside its records an engine that comes and goes may tidy."""
    with closing(sqlite3.connect(log)) as raw:
        return raw.execute("SELECT * FROM records ORDER BY position").fetchall()


STRIDE = 1 if os.environ.get("EVENTVM_THOROUGH") == "1" else 3
"""What is right is tried of each verb; the rest, in a normal run, of each third."""


def having(case):
    """Verbs for which there is such a case."""
    known = [verb for verb in ROWS if isinstance(getattr(ROWS[verb], case), int)]
    return pytest.mark.parametrize("verb", known[::STRIDE])


def test_every_verb_has_a_row():
    """And every row a verb; a case that there is not says why."""
    assert set(ROWS) == set(LEAVES)
    for verb, row in ROWS.items():
        assert row.right.startswith(verb)
        assert row.wrong.startswith(verb)
        assert all(isinstance(one, int) or one for one in (row.empty, row.missing, row.held))
        assert isinstance(row.missing, int) == ("NAME" in row.right), verb


@pytest.mark.parametrize("verb", ROWS)
def test_what_is_right_is_answered(verb, place, tmp_path):
    """And a reader leaves everything as it is, to the byte."""
    before, row = files(place), ROWS[verb]
    answers(typed(place, row.right, row.log, own(verb), tmp_path / "new"), row.answer)
    assert verb not in READING or files(place) == before


@pytest.mark.parametrize("verb", list(ROWS)[::STRIDE])
def test_what_is_wrong_is_refused(verb, place, tmp_path):
    """Before anything is done."""
    before, row = files(place), ROWS[verb]
    refuses(typed(place, row.wrong, row.log, own(verb), tmp_path / "new"), 2)
    assert (files(place), [*tmp_path.iterdir()]) == (before, [])


@having("empty")
def test_an_empty_log_holds_no_machine_and_is_no_error(verb, place, tmp_path):
    """What needs a machine, or a record, says that it is not there."""
    for name in ("empty.db", "ops.key", "ops.key.pub", "plugin.json"):
        shutil.copy(place / name, tmp_path)
    row = ROWS[verb]
    comes_to(row, row.empty, typed(tmp_path, row.right, "empty.db", own(verb)))


@having("missing")
def test_a_machine_that_is_not_there_is_named(verb, place):
    """Whatever was wanted of it."""
    row = ROWS[verb]
    before = records(place / row.log)
    done = typed(place, row.right, row.log, "nobody")
    comes_to(row, row.missing, done)
    assert row.missing == 0 or "nobody" in done.stderr
    assert records(place / row.log) == before


@having("held")
def test_a_log_that_another_process_holds_is_read_and_acted_upon(verb, held, tmp_path):
    """By its engine; only to sign what is in it takes the log itself."""
    row = ROWS[verb]
    comes_to(row, row.held, typed(held, row.right, "held.db", own(verb), tmp_path / "new"))


@pytest.mark.parametrize("verb", [verb for verb in ROWS if "NEW" in ROWS[verb].right])
def test_a_file_that_is_there_is_left_alone(verb, place, tmp_path):
    """Nothing of it is lost to what was to be written."""
    (tmp_path / "new").write_text("precious")
    refuses(typed(place, ROWS[verb].right, ROWS[verb].log, "", tmp_path / "new"), 2)
    assert files(tmp_path) == {tmp_path / "new": b"precious"}


@pytest.mark.parametrize("verb", list(NOWHERE)[::STRIDE])
def test_a_log_that_is_not_there_is_refused_and_not_made(verb, place, tmp_path):
    """Nothing is read from it, and no machine can be in it."""
    for name in ("ops.key.pub", "plugin.json"):
        shutil.copy(place / name, tmp_path)
    before, row = files(tmp_path), ROWS[verb]
    comes_to(row, NOWHERE[verb], typed(tmp_path, row.right, "nowhere.db", own(verb)))
    assert files(tmp_path) == before
