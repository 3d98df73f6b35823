"""The ledger: every second is counted once, as it was and as it was known."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from eventvm import commands as c
from eventvm import events
from eventvm.errors import CorrectionRefused
from eventvm.ledger import Entry, Ledger, pair, totals
from eventvm.observation import Evidence, Instant, Observation
from eventvm.spec import Shape, Spec

SECOND = 1_000_000_000
SHAPE = Shape(2_000, 4, 8)


def entry(position, edge, wall, boot=None, boot_id="a", **fields):
    """An entry at an instant given in nanoseconds."""
    plain = {"machine": "m", "subject": "", "meter": "compute", "reason": "r", "shape": SHAPE}
    at = Instant(wall, wall if boot is None else boot, boot_id)
    return Entry(**{**plain, **fields}, edge=edge, at=at, position=position, recorded_at=wall)


def instant(wall, boot=None, boot_id="a"):
    return Instant(wall, wall if boot is None else boot, boot_id)


def compute(intervals):
    return [each for each in intervals if each.meter == "compute"]


def running(life):
    """A machine that has run for ten seconds, after ten seconds in which it was only stored."""
    one = life("vm")
    one.create()
    one.tick(10)
    one.probe = "gone"
    one.send(c.Start())
    one.tick(10)
    return one


# --- as it was ----------------------------------------------------------------------------------------


def test_an_open_interval_is_measured_up_to_the_instant_asked(life):
    """It has no end, and its length is that of the boot clock."""
    one = running(life)
    (each,) = compute(one.intervals())
    assert (each.stop, each.end, each.ns, each.basis) == (None, None, 10 * SECOND, "boot")


def test_a_closed_interval_keeps_its_length(life):
    """However much later it is asked for."""
    one = running(life)
    stopped = one.now
    one.send(c.Stop())
    one.tick(1_000)
    (each,) = compute(one.intervals())
    assert (each.ns, each.end, each.stop.reason) == (10 * SECOND, stopped.wall, "stop-user")


def test_as_of_shows_what_was_true_then(life):
    """A stop after that instant has not happened yet."""
    one = running(life)
    then = one.tick(-5)
    one.tick(5)
    one.send(c.Stop())
    (each,) = compute(one.intervals(as_of=then))
    assert (each.stop, each.ns) == (None, 5 * SECOND)


@pytest.mark.parametrize("boot_id", ["boot-1", "boot-0"], ids=["same boot", "another boot"])
def test_as_of_does_not_show_what_began_later(life, boot_id):
    """Not even as an interval without length."""
    one = running(life)
    then = replace(one.tick(-15), boot_id=boot_id)
    one.tick(15)
    assert compute(one.intervals(as_of=then)) == []
    assert [each.meter for each in one.intervals(as_of=then)] == ["storage"]


def test_intervals_of_one_meter_follow_each_other(life):
    """Stopped and started again, the pause between them is not counted."""
    one = running(life)
    one.send(c.Stop())
    one.tick(100)
    one.send(c.Start())
    one.tick(7)
    first, second = compute(one.intervals())
    assert (first.ns, second.ns) == (10 * SECOND, 7 * SECOND)
    assert first.end < second.begin


def test_totals_are_amounts_times_time(life):
    """Thousandths of CPUs and bytes, by machine and meter."""
    one = life("vm", Spec(cpus=2, memory=5, storage=7))
    one.create()
    one.probe = "gone"
    one.send(c.Start())
    one.tick(3)
    spent = {total.meter: total for total in totals(one.intervals())}
    assert spent["compute"].milli_cpu_ns == 3 * SECOND * 2_000
    assert spent["compute"].memory_byte_ns == 3 * SECOND * 5
    assert spent["storage"].storage_byte_ns == 3 * SECOND * 7
    assert {total.machine for total in spent.values()} == {one.machine.id}


def test_a_reopened_interval_counts_each_shape_for_its_own_time(life):
    """Ten seconds of two CPUs, then five of eight."""
    one = running(life)
    one.send(c.Snapshot(snapshot="s"))
    one.send(c.Restore(snapshot="s", spec=Spec(cpus=8, memory=1, storage=1)))
    one.tick(5)
    first, second = compute(one.intervals())
    assert [(each.ns, each.shape.milli_cpus) for each in (first, second)] == [
        (10 * SECOND, 2_000),
        (5 * SECOND, 8_000),
    ]
    assert first.end == second.begin


def test_snapshots_are_subjects_of_their_own(life):
    """Their storage is neither the machine's nor another snapshot's."""
    one = running(life)
    for name, size in (("a", 3), ("b", 4)):
        one.size = size
        one.send(c.Snapshot(snapshot=name))
    one.tick(2)
    one.send(c.DeleteSnapshot(snapshot="a"))
    one.tick(2)
    sizes = {
        each.subject: (each.shape.storage, each.ns // SECOND) for each in one.intervals() if each.subject
    }
    assert sizes == {"a": (3, 2), "b": (4, 4)}


# --- as it was known ----------------------------------------------------------------------------------


def test_known_at_shows_what_was_known_then(life):
    """A death learned later is not known before its record, though it was true."""
    one = running(life)
    died = one.now
    one.tick(600)
    position = len(one.records)
    one.see(Observation("gone", Evidence("probe", when=died)))
    (before,) = compute(one.intervals(known_at=position))
    (after,) = compute(one.intervals(known_at=position + 1))
    assert (before.stop, before.ns) == (None, 610 * SECOND)
    assert (after.end, after.ns) == (died.wall, 10 * SECOND)
    assert after.stop.recorded_at - after.stop.at.wall == 600 * SECOND


def test_entries_are_found_by_the_position_that_they_follow_from(life):
    """Every entry names its record, and nothing else is booked."""
    one = running(life)
    tags = {each.position: one.tags[each.position - 1] for each in one.entries}
    assert tags == {2: "machine.created", 4: "machine.started"}


# --- corrections --------------------------------------------------------------------------------------


def stopped(life):
    one = running(life)
    one.send(c.Stop())
    one.tick(10)
    return one


def correct(one, which, seconds, **fields):
    """Correct an entry by so many seconds."""
    wrong = one.entries[which]
    truly = Instant(
        wrong.at.wall + int(seconds * SECOND), wrong.at.boot + int(seconds * SECOND), wrong.at.boot_id
    )
    wish = {"position": wrong.position, "meter": wrong.meter, "edge": wrong.edge, "subject": wrong.subject}
    return c.Correct(**{**wish, **fields}, at=truly, reason="the clock was wrong")


def test_a_correction_moves_an_entry_and_names_itself(life):
    """The entry stays; what is read is the corrected one, which says by whom."""
    one = stopped(life)
    entries = list(one.entries)
    one.send(correct(one, -1, -4))
    (each,) = compute(one.intervals())
    assert each.ns == 6 * SECOND
    assert each.stop.corrected_by == len(one.records)
    assert one.entries == entries
    assert one.tags[-1] == "ledger.corrected"


def test_before_a_correction_was_known_the_old_answer_stands(life):
    """As known at the position before it."""
    one = stopped(life)
    one.send(correct(one, -1, -4))
    (each,) = compute(one.intervals(known_at=len(one.records) - 1))
    assert (each.ns, each.stop.corrected_by) == (10 * SECOND, 0)


def test_the_last_correction_of_an_entry_holds(life):
    """It names the entry, not the correction before it."""
    one = stopped(life)
    one.send(correct(one, -1, -4))
    one.send(correct(one, -1, -2))
    assert compute(one.intervals())[0].ns == 8 * SECOND
    assert compute(one.intervals(known_at=len(one.records) - 1))[0].ns == 6 * SECOND


def test_an_interval_is_taken_back_whole_by_moving_its_stop_to_its_start(life):
    """Nothing is left to count, and the entries are still there."""
    one = stopped(life)
    one.send(correct(one, -1, -10))
    assert compute(one.intervals())[0].ns == 0


def test_a_corrected_start_moves_the_interval_that_is_still_open(life):
    """Also in the machine itself, which knows since when it counts."""
    one = running(life)
    one.send(correct(one, -1, 3))
    assert compute(one.intervals())[0].ns == 7 * SECOND
    assert one.machine.counted("compute").since == compute(one.intervals())[0].start.at


@pytest.mark.parametrize(
    "fields",
    [
        {"position": 999},
        {"position": 1},
        {"meter": "storage"},
        {"edge": "start"},
        {"subject": "s"},
        {"edge": "sideways"},
    ],
    ids=repr,
)
def test_a_correction_that_names_no_entry_is_refused(life, fields):
    """Position, meter, subject and edge must name one."""
    one = stopped(life)
    one.refuses(correct(one, -1, -1, **fields), CorrectionRefused)


@pytest.mark.parametrize(("which", "seconds"), [(-1, -11), (-3, 11), (-1, 101), (-3, 200)])
def test_a_correction_that_would_count_a_second_twice_is_refused(life, which, seconds):
    """No stop before its start, and no start before the stop of the interval before it."""
    one = running(life)
    one.send(c.Stop())
    one.tick(100)
    one.send(c.Start())
    assert one.booked[-3:] == ["compute.start(boot)", "compute.stop(stop-user)", "compute.start(restart)"]
    which = {-1: -2, -3: -3}[which]
    one.refuses(correct(one, which, seconds), CorrectionRefused)


@pytest.mark.parametrize("phase", ["created", "running", "stopped", "destroyed"])
def test_a_correction_is_taken_in_every_phase(life, phase):
    """A bill may be wrong long after the machine is gone."""
    one = life("vm")
    one.create()
    one.probe = "gone"
    path = {"created": 0, "running": 1, "stopped": 2, "destroyed": 3}[phase]
    for wish in (c.Start(), c.Stop(), c.Destroy())[:path]:
        one.tick(10)
        one.send(wish)
    one.send(correct(one, 0, 0))
    assert one.phase == phase


def test_a_clock_that_went_back_does_not_bar_other_corrections(life):
    """Only what the correction itself moves may be held against it."""
    one = running(life)
    one.set_wall(-3_600)
    one.send(c.Stop())
    one.set_wall(3_600)
    one.tick(10)
    one.send(c.Start())
    one.tick(10)
    one.send(c.Stop())
    one.send(correct(one, -1, -2))
    assert compute(one.intervals())[-1].ns == 8 * SECOND


# --- clocks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        ((100, 100), (160, 160), (60, "boot")),
        ((100, 100), (50, 160), (60, "boot")),
        ((100, 100), (900, 160), (60, "boot")),
        ((100, 100), (160, 5, "b"), (60, "wall")),
        ((100, 100), (50, 5, "b"), (0, "clamped")),
    ],
    ids=["one boot", "wall back", "wall forward", "two boots", "back over a boot"],
)
def test_a_length_is_by_boot_time_within_a_boot_and_by_wall_time_otherwise(start, stop, expected):
    """Never backwards, and it says which."""
    (each,) = pair([entry(1, "start", *start), entry(2, "stop", *stop)], instant(1_000, 1_000, "b"))
    assert (each.ns, each.basis) == expected


def test_a_wall_clock_set_back_within_a_boot_costs_nobody_a_second(life):
    """Ten seconds are ten seconds."""
    one = running(life)
    one.set_wall(-3_600)
    one.send(c.Stop())
    (each,) = compute(one.intervals(as_of=one.tick(7_200)))
    assert (each.ns, each.basis) == (10 * SECOND, "boot")


def test_a_reboot_of_the_host_is_measured_by_the_wall(life):
    """Its boot times do not compare."""
    one = running(life)
    one.reboot("boot-2")
    one.tick(5)
    one.send(c.Stop())
    (each,) = compute(one.intervals())
    assert (each.ns, each.basis) == (15 * SECOND, "wall")


def test_an_interval_that_ended_in_this_boot_has_ended_whatever_the_wall_says():
    """Asked after the wall clock was set back, a stop that lies before it by boot time has happened."""
    known = [entry(1, "start", 100), entry(2, "stop", 200)]
    (each,) = pair(known, instant(60, 210))
    assert (each.ns, each.stop) == (100, known[1])


def test_intervals_do_not_overlap_after_the_wall_was_set_back():
    """The seconds of both together are no more than have passed."""
    known = [entry(1, "start", 100), entry(2, "stop", 200), entry(3, "start", 55, 205)]
    assert sum(each.ns for each in pair(known, instant(60, 210))) == 105


def test_an_instant_before_the_one_before_it_is_clamped_to_the_order_of_the_log():
    """A stop by late evidence, a start that was told an earlier time: no second is counted twice."""
    known = [entry(1, "start", 100), entry(2, "stop", 200), entry(3, "start", 150), entry(4, "stop", 250)]
    assert sum(each.ns for each in pair(known, instant(300))) == 150


TICKS = st.lists(
    st.tuples(
        st.integers(0, 100),
        st.sampled_from(["go on", "wall back", "wall forward", "reboot"]),
        st.integers(0, 200),
    ),
    min_size=1,
    max_size=12,
)


@given(TICKS)
def test_every_second_is_counted_once_whatever_the_clocks_do(ticks):
    """Within one boot, the lengths sum up to no more than the boot time that has passed."""
    wall, boot, boots, known = 1_000, 0, 0, []
    for position, (seconds, what, by) in enumerate(ticks, start=1):
        wall, boot = wall + seconds, boot + seconds
        wall += {"wall back": -by, "wall forward": by}.get(what, 0)
        known.append(entry(position, ("start", "stop")[(position - 1) % 2], wall, boot, str(boots)))
    intervals = list(pair(known, instant(wall, boot, str(boots))))
    assert all(each.ns >= 0 for each in intervals)
    assert all(one.end <= other.begin for one, other in pairwise(intervals))
    assert sum(each.ns for each in intervals) <= boot


@given(TICKS)
def test_intervals_never_overlap_over_reboots(ticks):
    """By wall time each begins where the one before it has ended, or later; none is negative."""
    wall, boot, boots, known = 1_000, 0, 0, []
    for position, (seconds, what, by) in enumerate(ticks, start=1):
        wall, boot = wall + seconds, boot + seconds
        wall += {"wall back": -by, "wall forward": by}.get(what, 0)
        boot, boots = (0, boots + 1) if what == "reboot" else (boot, boots)
        known.append(entry(position, ("start", "stop")[(position - 1) % 2], wall, boot, str(boots)))
    intervals = list(pair(known, instant(wall + 10_000, 0, "last")))
    assert len(intervals) == (len(known) + 1) // 2
    for one in intervals:
        assert one.ns >= 0
        assert one.basis in ("boot", "wall", "clamped")
    for one, other in pairwise(intervals):
        assert one.begin <= one.end <= other.begin


def test_a_second_start_without_a_stop_is_a_bug():
    """Every start has at most one stop, and no interval is opened twice."""
    with pytest.raises(AssertionError, match="started twice"):
        list(pair([entry(1, "start", 1), entry(2, "start", 2)], instant(9)))


def test_a_ledger_is_rebuilt_from_its_entries_and_corrections(life):
    """What was kept of a fold answers as the fold does."""
    one = stopped(life)
    one.send(correct(one, -1, -4))
    again = Ledger(one.ledger.entries, one.ledger.corrections)
    assert again.intervals(as_of=one.now) == one.intervals()


def test_a_record_of_an_unknown_type_books_nothing(life):
    """A view may pass it; it is the machine's own fold that stops."""
    one = running(life)
    record = replace(one.records[-1], event=events.Unknown("machine.levitated", b"{}"))
    entries = list(one.entries)
    one.ledger.add(one.machine, record)
    assert one.entries == entries
