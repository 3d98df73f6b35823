"""The verbs that read a log, each as a process: what they answer."""

import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest
from terminal import shown_on_a_terminal

COMMAND = [sys.executable, "-W", "error", "-m", "eventvm"]

FORMED = {
    "list": ("list", "--all"),
    "show": ("show", "web-1"),
    "history": ("history", "web-1"),
    "explain": ("explain", "web-1"),
    "events": ("events", "web-1"),
    "ledger show": ("ledger", "show", "web-1"),
    "ledger intervals": ("ledger", "intervals", "web-1"),
    "ledger totals": ("ledger", "totals", "web-1"),
    "ledger diff": ("ledger", "diff", "web-1", "--known-at", "0", "--known-at", "10"),
    "log diff": ("log", "diff", "0", "10"),
    "log replay": ("log", "replay"),
}
DIFFERS = {"ledger diff": 1, "log diff": 1}


def run(place, *order, code=0, url="demo.db", **options):
    environment = {**os.environ, "EVENTVM_URL": url, "TZ": "America/New_York"}
    done = subprocess.run(
        [*COMMAND, *order],
        **{"capture_output": True, "cwd": place, "text": True, "timeout": 60, "env": environment} | options,
        check=False,
    )
    assert done.returncode == code, (order, done.returncode, done.stdout, done.stderr)
    return done


def refused(place, *order, code, url="demo.db"):
    """The error is one sentence, and perhaps a hint; nothing is shown."""
    done = run(place, *order, code=code, url=url)
    lines = done.stderr.splitlines()
    assert lines[0].startswith("eventvm")
    assert [line[:6] for line in lines[1:]] in ([], ["hint: "])
    assert done.stdout == ""
    return done.stderr


# --- each of them ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", FORMED)
def test_it_answers_programs_in_json(verb, place):
    """In objects, whatever it tells of."""
    told = json.loads(run(place, *FORMED[verb], "-o", "json", code=DIFFERS.get(verb, 0)).stdout)
    rows = told if isinstance(told, list) else [told]
    assert rows
    assert all(isinstance(row, dict) and row for row in rows)
    assert not list(_too_large(rows))


def _too_large(value):
    """Find integers that readers with 53 bits would misread."""
    match value:
        case dict():
            for one in value.values():
                yield from _too_large(one)
        case list():
            for one in value:
                yield from _too_large(one)
        case int() if abs(value) > 2**53:
            yield value


# --- a log that an engine holds -------------------------------------------------------------------------

ENGINE = """
import asyncio, sys
import eventvm
from eventvm import Spec

async def main():
    async with eventvm.open("held.db", grace_seconds=0) as engine:
        web = await engine.create("web-1", Spec(provider="simulated", labels={"team": "a"}))
        await web.start()
        loop = asyncio.get_running_loop()
        print("open", flush=True)
        while (line := (await loop.run_in_executor(None, sys.stdin.readline)).strip()) != "":
            await getattr(web, line)()
            print("done", flush=True)

asyncio.run(main())
"""


@pytest.fixture
def held(tmp_path):
    """An engine in another process, which is told what to do with its machine, and says when it is done."""
    with subprocess.Popen(
        [sys.executable, "-c", ENGINE], cwd=tmp_path, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as engine:

        def tell(verb):
            engine.stdin.write(f"{verb}\n")
            engine.stdin.flush()
            assert engine.stdout.readline() == "done\n"

        assert engine.stdout.readline() == "open\n"
        try:
            yield tmp_path, tell
        finally:
            engine.stdin.close()


def test_a_log_that_an_engine_holds_is_read_live(held):
    """What was recorded a moment ago is there."""
    place, tell = held
    shown = json.loads(run(place, "show", "web-1", "-o", "json", url="held.db").stdout)
    assert shown["phase"] == "running"
    tell("stop")
    shown = json.loads(run(place, "show", "web-1", "-o", "json", url="held.db").stdout)
    assert (shown["phase"], shown["came_by"]["event"]) == ("stopped", "machine.stopped")


def following(place, *order):
    return subprocess.Popen(
        [*COMMAND, *order], cwd=place, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "EVENTVM_URL": "held.db"},
    )  # fmt: skip


def interrupted(process):
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")


def test_events_are_followed_as_they_come(held):
    """Those that are there, then each new one; Ctrl-C ends it without a word."""
    place, tell = held
    with following(place, "events", "-f", "-o", "jsonl", "--type", "machine.st*") as process:
        seen = [json.loads(process.stdout.readline())["type"]]
        tell("stop")
        seen.append(json.loads(process.stdout.readline())["type"])
        tell("start")
        seen.append(json.loads(process.stdout.readline())["type"])
        interrupted(process)
    assert seen == ["machine.started", "machine.stopped", "machine.started"]


def test_a_list_is_shown_again_when_something_changes(held):
    """In a pipe an empty line lies between two of them."""
    place, tell = held
    with following(place, "list", "-w", "-o", "jsonl") as process:
        assert json.loads(process.stdout.readline())["phase"] == "running"
        tell("stop")
        phases = []
        while "stopped" not in phases:
            line = process.stdout.readline()
            phases += [json.loads(line)["phase"]] if line.strip() else []
        interrupted(process)
    assert set(phases) <= {"running", "stopped"}


def test_a_reader_that_goes_away_is_no_error(place):
    """`eventvm log export | head -1` says nothing; there is more to say than a pipe holds."""
    with subprocess.Popen(
        [*COMMAND, "log", "export", "--as", "cloudevents"], cwd=place,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "EVENTVM_URL": "demo.db"},
    ) as process:  # fmt: skip
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1


# --- what they answer -----------------------------------------------------------------------------------


def rows(place, *order, code=0, url="demo.db"):
    told = run(place, *order, "-o", "jsonl", code=code, url=url).stdout
    return [json.loads(line) for line in told.splitlines()]


def test_a_machine_is_shown_as_it_was_and_as_it_was_known(place):
    """db-1 died at an instant that was learned half an hour later: the seed of every quarrel about a bill."""
    died = next(row for row in rows(place, "events", "db-1") if row["type"] == "machine.exited")
    before = str(died["position"] - 1)
    (now,) = rows(place, "show", "db-1", "--at", died["at"])
    (then,) = rows(place, "show", "db-1", "--at", died["at"], "--known-at", before)
    assert (now["phase"], then["phase"]) == ("stopped", "running")
    assert now["observation"]["position"] == died["position"]


def test_late_news_name_the_event_behind_a_changed_line(place):
    """Before the news the machine was billed on; the difference and its cause are told."""
    died = next(row for row in rows(place, "events", "db-1") if row["type"] == "machine.exited")
    before, at = str(died["position"] - 1), died["recorded_at"]
    order = ("ledger", "diff", "db-1", "--meter", "compute", "--at", at, "--known-at", before)
    (line,) = rows(place, *order, "--known-at", str(died["position"]), code=1)
    assert [event["position"] for event in line["because"]] == [died["position"]]
    assert line["because"][0]["type"] == "machine.exited"
    assert int(line["difference_ns"]) == int(line["after_ns"]) - int(line["before_ns"]) < 0
    assert rows(place, *order, "--known-at", before) == []


def test_a_name_leads_to_whoever_held_it_then(place):
    """pool-7 was handed over as api-1, and another machine took its name."""
    (handed,) = rows(place, "show", "api-1")
    (renamed,) = rows(place, "events", "api-1", "--type", "machine.renamed")
    known = str(renamed["position"] - 1)
    (before,) = rows(place, "show", "pool-7", "--known-at", known)
    (after,) = rows(place, "show", "pool-7")
    assert before["id"] == handed["id"] != after["id"]
    assert "by then" in refused(place, "show", "api-1", "--known-at", known, code=6)
    assert rows(place, "show", handed["id"], "--id", "--known-at", known)[0]["name"] == "pool-7"


def test_a_bill_follows_a_machine_that_was_renamed_in_between(place):
    """A new name is no usage."""
    (renamed,) = rows(place, "events", "api-1", "--type", "machine.renamed")
    known = ("--known-at", str(renamed["position"] - 1), "--known-at", str(renamed["position"]))
    assert rows(place, "ledger", "diff", "api-1", *known) == []


def test_totals_are_decimal_strings_and_the_csv_says_the_same(place):
    """Amounts that no reader with 53 bits could hold."""
    order = ("ledger", "totals", "--by", "machine,meter,shape", "--meter", "compute")
    told = rows(place, *order, "--to", "2100-01-01T00:00:00Z", "job-2")
    table = run(place, *order, "job-2", "-o", "csv").stdout.splitlines()
    (row,) = csv.DictReader(table)
    assert {key: row[key] for key in row if key != "clocks"} == {
        key: value for key, value in told[0].items() if key != "clocks"
    }
    assert all(isinstance(told[0][key], str) for key in ("ns", "milli_cpu_ns", "milli_cpus", "storage"))


def test_a_month_is_the_zones_and_not_the_hosts(place):
    """The host's own zone changes nothing."""
    (web,) = rows(place, "ledger", "totals", "web-1", "--meter", "compute", "--by", "month")
    (again,) = rows(
        place, "ledger", "totals", "web-1", "--meter", "compute", "--month", web["month"], "--by", "meter"
    )
    assert again["ns"] == web["ns"]


def test_explain_names_the_records_of_each_sentence(place):
    """So that each can be looked up."""
    told = rows(place, "explain", "web-1")
    known = {row["position"] for row in rows(place, "events", "web-1")}
    assert any("stop_failed" in one["text"] for one in told)
    assert {position for one in told for position in one["positions"]} <= known


def test_where_all_have_ended_a_list_says_how_they_are_shown(place):
    """And how many of those that were asked for; to a program they are no rows."""
    told = [row["name"] for row in rows(place, "list", "--all", "--prefix", "job-2")]
    assert told == ["job-2"]
    said = run(place, "list", "--prefix", "job-2").stdout
    assert said == "no living machines; 1 has ended: --all shows them\n"
    assert run(place, "list", "--prefix", "nobody").stdout == "no machines\n"
    assert rows(place, "list", "--prefix", "job-2") == []


def test_what_is_listed_can_be_narrowed(place):
    """By phase, lifecycle, label and the beginning of the name."""
    named = lambda *order: [row["name"] for row in rows(place, "list", *order)]  # noqa: E731  # said four times
    assert named("--lifecycle", "plugin") == ["search-plugin"]
    assert named("--phase", "Stopped", "--all") == ["search-plugin"]
    assert named("--prefix", "api") == ["api-1"]
    assert named("--label", "team=a") == []
    assert "job-1" in named("--all")
    assert "job-1" not in named()


# --- whole logs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["jsonl", "cloudevents", "cloudevents-batch"])
@pytest.mark.parametrize("way", ["file", "pipe"])
def test_a_log_is_exported_and_imported(form, way, place, tmp_path):
    """Through a file or a pipe, and then compared."""
    order = ("log", "export", "--as", form, "--log", str(place / "demo.db"))
    if way == "file":
        run(tmp_path, *order, "--to", "told")
        said = run(tmp_path, "log", "import", "told", "again.db").stdout
    else:
        told = run(tmp_path, *order).stdout
        said = run(tmp_path, "log", "import", "-", "again.db", input=told).stdout
    assert said.startswith("again.db: 51 records")
    assert run(tmp_path, "log", "diff", str(place / "demo.db"), "again.db").stdout == "nothing differs\n"
    run(tmp_path, "log", "replay", "--log", "again.db")


def test_an_edited_export_is_refused_with_its_line(place, tmp_path):
    """And nothing is left of it."""
    told = run(place, "log", "export").stdout.splitlines(keepends=True)
    told[6] = told[6].replace("did not answer", "did answer").replace("machine.", "machinf.", 1)
    (tmp_path / "told").write_text("".join(told))
    said = refused(tmp_path, "log", "import", "told", "again.db", code=7)
    assert said.startswith("eventvm: line 7: ")
    assert [path.name for path in tmp_path.iterdir()] == ["told"]


def test_an_import_needs_a_file_that_is_there(place, tmp_path):
    """And one that is not."""
    assert "cannot be read" in refused(tmp_path, "log", "import", "nowhere", "again.db", code=2)
    run(place, "log", "export", "--to", str(tmp_path / "told"))
    shutil.copy(place / "demo.db", tmp_path)
    assert "exists already" in refused(tmp_path, "log", "import", "told", "demo.db", code=2)
    assert "exists already" in refused(place, "log", "export", "--to", str(tmp_path / "told"), code=2)


def test_a_part_is_exported_by_machine_type_and_time(place):
    """Only what was asked for, in the order of the log."""
    order = ("log", "export", "--as", "cloudevents", "--machine", "web-1")
    told = run(place, *order, "--type", "machine.st*").stdout
    *ones, last = [json.loads(line) for line in told.splitlines()]
    tags = ["machine.started", "machine.stop_failed", "machine.stopped"]
    assert [one["type"] for one in ones] == [f"dev.eventvm.{tag}.v1" for tag in tags]
    assert (last["data"]["records"], last["data"]["whole"]) == (3, False)
    told = run(place, *order, "--since", ones[1]["time"], "--until", ones[2]["time"]).stdout
    assert [json.loads(line)["sequence"][-2:] for line in told.splitlines()[:-1]] == ["07", "08", "09"]


def test_a_damaged_log_is_not_exported_whole(place, tmp_path):
    """Its hashes are checked on the way."""
    shutil.copy(place / "demo.db", tmp_path / "bad.db")
    with sqlite3.connect(tmp_path / "bad.db") as raw:
        raw.executescript(
            "DROP TRIGGER records_are_not_updated; UPDATE records SET actor = 'eve' WHERE position = 20"
        )
    raw.close()
    for order in (("log", "export", "--to", "told"), ("log", "replay")):
        assert "position 20" in run(tmp_path, *order, code=7, url="bad.db").stderr
    assert not (tmp_path / "told").exists()


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("UPDATE names SET stream = (SELECT stream FROM names WHERE name = 'db-1') WHERE name = 'web-1'",
         "the name web-1 leads elsewhere"),
        ("INSERT INTO keys VALUES ('forged', 3)", "the keys are not"),
    ],
)  # fmt: skip
def test_a_replay_finds_what_is_kept_beside_the_log_and_is_wrong(damage, found, place, tmp_path):
    """Names and keys; the records themselves are as they were."""
    shutil.copy(place / "demo.db", tmp_path / "bad.db")
    with sqlite3.connect(tmp_path / "bad.db") as raw:
        raw.execute(damage)
    raw.close()
    told = run(tmp_path, "log", "replay", code=1, url="bad.db").stdout
    assert found in told
    assert json.loads(run(tmp_path, "log", "replay", "-o", "jsonl", code=1, url="bad.db").stdout)[
        "differences"
    ]


# --- under another definition ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def definitions(place):
    """Every definition that the log has recorded, by its name, as text: each is changed in its own way."""
    told = rows(place, "events", "--type", "lifecycle.defined")
    return {row["data"]["definition"]["name"]: json.dumps(row["data"]["definition"]) for row in told}


def test_under_its_own_definition_every_record_is_legal(place, definitions, tmp_path):
    """And nobody is stuck."""
    for name in ("vm", "plugin", "cell", "microvm"):
        (tmp_path / "same.json").write_text(definitions[name])
        done = run(place, "log", "shadow", "--lifecycle", str(tmp_path / "same.json"))
        assert "are legal under it" in done.stdout


def test_a_definition_without_a_move_that_was_made_is_caught(place, definitions, tmp_path):
    """The record is listed with its position and why; the machine goes on from where it was in truth."""
    changed = json.loads(definitions["plugin"])
    changed["moves"]["Running"].remove("Degraded")
    (tmp_path / "next.json").write_text(json.dumps(changed))
    (row,) = rows(place, "log", "shadow", "--lifecycle", str(tmp_path / "next.json"), code=1)
    (made,) = [one for one in rows(place, "events", "search-plugin") if one["data"].get("to") == "Degraded"]
    assert (row["finding"], row["position"], row["phase"]) == ("illegal", made["position"], "Running")


@pytest.mark.parametrize(
    ("text", "why"),
    [("{", "no JSON"), ("{}", "no lifecycle"), ('{"name": 1}', "no lifecycle"), ("", "no JSON")],
)
def test_what_is_no_definition_is_refused(text, why, place, tmp_path):
    """One that contradicts itself is refused with its row."""
    (tmp_path / "bad.json").write_text(text)
    assert why in refused(place, "log", "shadow", "--lifecycle", str(tmp_path / "bad.json"), code=2)
    refused(place, "log", "shadow", "--lifecycle", "nowhere.json", code=2)


def test_a_definition_that_contradicts_itself_is_refused_with_its_row(place, definitions, tmp_path):
    """As it would be when an engine opened with it."""
    changed = json.loads(definitions["plugin"])
    changed["moves"]["Running"].append("Flying")
    (tmp_path / "bad.json").write_text(json.dumps(changed))
    said = refused(place, "log", "shadow", "--lifecycle", str(tmp_path / "bad.json"), code=2)
    assert "moves of Running: unknown phase 'Flying'" in said


# --- on a terminal --------------------------------------------------------------------------------------


def test_a_table_is_in_colour_on_a_terminal(place):
    """And without any where NO_COLOR says so."""
    for environment, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        told = {**environment, "EVENTVM_URL": "demo.db"}
        shown = shown_on_a_terminal([*COMMAND, "list"], told, cwd=place)
        assert (b"\x1b[" in shown) is coloured
