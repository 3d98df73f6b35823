"""The benchmark harness tells the truth: of tiny claims, what it prints is what was measured."""

import os
import re
import sqlite3
import tempfile
import threading
from contextlib import closing
from itertools import count
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from benchmarks.__main__ import main
from benchmarks.claims import CLAIMS
from benchmarks.harness import Claim, Room, Size, missing, settled
from benchmarks.load import looped, percentile
from benchmarks.logs import log_of
from benchmarks.report import Report, line
from eventvm.audit.replay import replayed
from eventvm.logs import open_log

ROOT = Path(__file__).parents[2]


@pytest.fixture
def disk():
    """A directory on a disk: the usual one for tests may be in memory, which the harness refuses."""
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-") as directory:
        yield Path(directory)


@pytest.fixture
def run(disk, capsys):
    def run(*given, claims):
        code = main(["--directory", str(disk), *given], claims)
        return code, capsys.readouterr()

    return run


def told(captured):
    """Give the lines of the claims."""
    return [line for line in captured.out.splitlines() if not line.startswith("#")]


def claim(name="one", ours=2.0, theirs=1.0, target=1.5, **more):
    figure = None if theirs is None else (lambda _: theirs)
    return Claim(name, f"what {name} says", target, lambda _: ours, figure, **more)


def in_turn(*figures):
    """Give another figure each time."""
    left = iter(figures)
    return lambda _: next(left)


# --- the verdict


def test_a_claim_that_holds_is_ok_and_the_run_succeeds(run):
    """Its line begins with ok and gives the ratio, the target and both figures."""
    code, captured = run(claims=[claim(ours=400.0, theirs=200.0)])
    (only,) = told(captured)
    assert code == 0
    assert re.match(r"ok +one +2\.00x .*at least 1\.50x +eventvm 400/s, raw SQLite 200/s$", only)


@pytest.mark.parametrize(
    "short",
    [
        claim(ours=1.4),
        claim(ours=1.6, better="lower"),
        claim(ours=1.4, theirs=None),
        claim(ours=51.0, theirs=None, target=50.0, better="lower", unit="ms"),
    ],
    ids=["ratio too low", "ratio too high", "figure too low", "figure too high"],
)
def test_a_claim_that_is_short_says_so_and_the_run_fails(run, short):
    """One claim that is short is enough, whatever the others say."""
    code, captured = run(claims=[claim("held"), short])
    assert code == 1
    assert [line.split()[0] for line in told(captured)] == ["ok", "SHORT"]


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_a_target_that_is_just_reached_is_reached(run, better):
    """At least and at most include the target."""
    code, _ = run(claims=[claim(ours=1.5, better=better)])
    assert code == 0


def test_a_claim_is_judged_by_the_median_of_its_pairs(disk):
    """Each figure is compared with the one that was measured beside it, never with another round's."""
    paired = Claim("paired", "", 3.0, in_turn(10.0, 80.0, 30.0), in_turn(10.0, 20.0, 10.0))
    result = settled(paired, Room(disk), rounds=3)
    assert result.pairs == [(10.0, 10.0), (80.0, 20.0), (30.0, 10.0)]
    assert (result.measured, result.lowest, result.highest) == (3.0, 1.0, 4.0)
    assert (result.ours, result.theirs) == (30.0, 10.0)
    assert result.verdict == "ok"


def test_ours_and_theirs_are_measured_in_turn(disk):
    """A B A B: what slows the machine for a while slows both."""
    order = disk / "order"

    def side(name):
        def bench(_):
            with order.open("a") as file:
                file.write(name)
            return 1.0

        return bench

    settled(Claim("turns", "", 1.0, side("A"), side("B"), beside={"c": side("c")}), Room(disk), rounds=3)
    assert order.read_text() == "ABABABc"


def test_what_a_pair_shares_is_measured_once_in_each_round(disk):
    """Two figures of one run come from the same run, and the next round has a run of its own."""
    runs = count(1)

    def share(_):
        return float(next(runs))

    shared = Claim("shared", "", 1.0, lambda room: room.once(share), lambda room: room.once(share))
    assert settled(shared, Room(disk), rounds=3).pairs == [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]


def test_a_percentile_is_a_value_that_was_measured():
    """No more than that part of the values lies below it, and the last one is the highest there is."""
    values = [float(value) for value in range(1, 101)]
    assert percentile(values, 0.5) == 51.0
    assert percentile(values, 0.99) == 100.0
    assert percentile([7.0], 0.99) == 7.0


# --- what cannot be measured


def broken(_):
    raise OSError("no space left on the disk")


def test_a_claim_that_fails_is_broken_and_the_run_fails(run):
    """It says why, and the claims after it are measured."""
    code, captured = run(claims=[Claim("bad", "", 1.0, broken), claim()])
    assert code == 1
    first, second = told(captured)
    assert "BROKEN" in first
    assert "OSError: no space left on the disk" in first
    assert second.startswith("ok")


def test_a_claim_whose_process_dies_is_broken(disk):
    """Whatever ended it, this process goes on."""
    result = settled(Claim("dead", "", 1.0, lambda _: os._exit(3)), Room(disk), rounds=1)
    assert (result.verdict, result.why) == ("BROKEN", "its process died")


def test_a_claim_that_hangs_is_ended(disk):
    """Its time is bounded, and so is that of a run."""
    hanging = Claim("hung", "", 1.0, lambda _: threading.Event().wait())
    result = settled(hanging, Room(disk), rounds=1, seconds=0.2)
    assert (result.verdict, result.why) == ("BROKEN", "took more than 0.2 s and was ended")


def test_a_missing_peer_is_loud(run, disk):
    """Nothing is measured, the run fails, and it says what to install."""
    measured = disk / "measured"
    needy = Claim("needy", "", 0.0, lambda _: float(measured.write_text("")), needs=("no_such_peer",))
    code, captured = run(claims=[claim(), needy])
    assert code == 1
    assert captured.out == ""
    assert re.search(r"no_such_peer: not installed.*pip install .*bench", captured.err)
    assert not measured.exists()


def test_a_peer_that_no_chosen_claim_needs_may_be_missing(run):
    """`--only` asks for no more than it measures."""
    needy = claim("needy", needs=("no_such_peer",))
    assert missing([needy, claim()]) == ["no_such_peer"]
    code, captured = run("--only", "one", claims=[claim(needs=("json",)), needy])
    assert code == 0
    assert told(captured)[0].startswith("ok")


def test_what_is_not_there_yet_is_skipped_with_a_reason_and_is_not_short(run):
    """A line says so; the same goes for what takes too long for this run."""
    absent = claim("absent", ours=0.0, absent=lambda: "not there yet")
    code, captured = run(claims=[absent, claim("long", ours=0.0, full=True)])
    assert code == 0
    assert told(captured) == [
        "skipped absent                not there yet: what absent says",
        "skipped long                  too long for this run: --full: what long says",
    ]


def writing(synchronous):
    """Measure something that a connection with this setting is open in."""

    def bench(room):
        with room.files() as directory, closing(sqlite3.connect(directory / "some.db")) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            with room.timing(lasting=True) as timing:
                connection.execute("CREATE TABLE some(thing)")
        return timing.seconds

    return bench


@pytest.mark.parametrize(
    ("bench", "verdict"), [("FULL", "ok"), ("NORMAL", "BROKEN"), (None, "BROKEN")], ids=str
)
def test_what_is_said_to_be_durable_is_asked_whether_it_is(disk, bench, verdict):
    """A connection that would lose a commit, or no connection at all, is not measured as durable."""

    def nothing(room):
        with room.timing(lasting=True):
            return 1.0

    lasting = Claim("lasting", "", 0.0, nothing if bench is None else writing(bench))
    assert settled(lasting, Room(disk), rounds=1).verdict == verdict


@pytest.mark.skipif(not Path("/dev/shm").exists(), reason="needs /dev/shm, which Linux has")
def test_a_directory_in_memory_is_refused(capsys):
    """Durability costs nothing there, so nothing that is measured would be true."""
    assert main(["--directory", "/dev/shm"], [claim()]) == 2
    assert "in memory" in capsys.readouterr().err


# --- the command


def test_a_name_that_no_claim_has_is_a_usage_error(run, capsys):
    """It exits with 2, and names those that there are."""
    with pytest.raises(SystemExit) as exited:
        run("--only", "nonsense", claims=[claim("one"), claim("two")])
    assert exited.value.code == 2
    assert re.search("nonsense.*one.*two", capsys.readouterr().err)


def test_only_those_that_are_named_are_measured(run):
    """`--only` is repeatable, and the order stays that of the table."""
    three = [claim("one"), claim("two"), claim("three")]
    _, captured = run("--only", "three", "--only", "one", claims=three)
    assert [line.split()[1] for line in told(captured)] == ["one", "three"]


def test_the_list_measures_nothing(run):
    """It says each claim with its target, in the sizes that a run would have."""
    listing = Claim("big", "{0} of them", 0.5, broken, sizes=(Size(100_000, quick=1_500),))
    code, captured = run("--list", claims=[listing])
    assert (code, captured.out) == (0, "big                   at least 0.50: 100k of them\n")
    assert "1.5k of them" in run("--list", "--quick", claims=[listing])[1].out


def test_the_json_is_what_was_printed(run, disk):
    """Each printed line can be made again from it."""
    file = disk / "figures.json"
    three = [claim(beside={"beside": lambda _: 7.0}), claim("short", ours=1.0), Claim("bad", "", 1.0, broken)]
    _, captured = run("--json", str(file), claims=three)
    report = msgspec.json.decode(file.read_bytes(), type=Report)
    assert [line(result) for result in report.claims] == told(captured)
    assert report.machine in captured.out
    assert report.claims[0].beside == {"beside": 7.0}


def test_the_picture_shows_each_claim_that_was_measured(run, disk):
    """It is whole XML, for light and for dark pages, and has no point for what could not be measured."""
    file = disk / "figures.svg"
    claims = [claim("commands-256", ours=9e4, theirs=3e5, target=0.25), Claim("bad", "", 1.0, broken)]
    run("--plot", str(file), claims=claims)
    picture = ET.parse(file).getroot()
    texts = {element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {"commands-256", "eventvm, 256 callers", "90,000", "0.30x"} <= texts
    assert "bad" not in texts
    assert "prefers-color-scheme: dark" in file.read_text()


def test_a_profile_names_the_lines_that_took_the_time(run):
    """Where the time goes is told of our side alone, by stage and by line."""

    def spinning(room):
        with room.timing() as timing:
            sum(value * value for value in range(1_000_000))
        return 1_000_000 / timing.seconds

    code, captured = run("--profile", "spin", claims=[Claim("spin", "", 0.0, spinning, broken)])
    assert code == 0
    assert re.search(r"test_benchmarks\.py:\d+ <genexpr>", captured.out)
    assert "the loop" in captured.out


def test_nothing_is_left_behind(run, disk):
    """The files of a run are gone at its end, also when a claim has failed."""

    def littering(room):
        (room.directory / "litter").write_text("")
        return broken(room)

    run(claims=[Claim("litter", "", 1.0, littering)])
    assert list(disk.iterdir()) == []


# --- the real claims


def test_every_claim_has_a_name_of_its_own():
    """`--only` would otherwise measure two."""
    names = [claim.name for claim in CLAIMS]
    assert len(names) == len(set(names))


def test_a_log_that_is_written_fast_is_a_real_one(disk):
    """Every hash of it holds, and it has the lamps and at least the events that were asked for."""

    async def read():
        async with open_log(path) as log:
            return await replayed(log)

    path = log_of(Room(disk), machines=3, events=400)
    fleet = looped(read())
    assert fleet.position >= 400
    assert sorted(machine.name for machine in fleet.machines.values()) == ["lamp-0", "lamp-1", "lamp-2"]
    assert {machine.phase for machine in fleet.machines.values()} == {"off"}
