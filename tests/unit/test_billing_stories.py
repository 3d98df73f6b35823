"""Bills worked out by hand: what happened, told with its times, and the seconds that follow from it."""

from zoneinfo import ZoneInfo

import pytest

from eventvm import commands as c
from eventvm import times
from eventvm.bill import Asked, Line, parts, totals
from eventvm.machine import blank
from eventvm.observation import Evidence, Instant, Observation
from eventvm.past import Past
from eventvm.spec import Shape, Spec
from eventvm.windows import Window, month

SECOND = 1_000_000_000
MINUTE, HOUR = 60, 3600
GIB = 1 << 30
BERLIN = ZoneInfo("Europe/Berlin")
SPEC = Spec(cpus=2, memory=4 * GIB, storage=10 * GIB)


class Told:
    """A life whose clock is set by the story."""

    def __init__(self, life, begun, lifecycle="vm", **fields):
        self.life = life(lifecycle, Spec(**{"cpus": 2, "memory": 4 * GIB, "storage": 10 * GIB} | fields))
        self.life.now = Instant(times.read(begun), 1000 * SECOND, "boot-1")
        self.life.probe = "gone"
        self.life.create()

    def at(self, when, *wishes, **world):
        """Let both clocks go on to a time, and send commands."""
        self.life.tick((times.read(when) - self.life.now.wall) / SECOND)
        self.life.world = world
        for wish in wishes:
            self.life.send(wish)
        self.life.world = {}
        return self

    def past(self, known=None):
        made = Past(blank(self.life.machine.id, self.life.rules))
        for record in self.life.records[:known]:
            made.apply(record)
        return made

    def asked(self, at=None, **fields):
        now = self.life.now if at is None else Instant(times.read(at), 0, "")
        return Asked(as_of=now, cut=at is not None, **fields)

    def seconds(self, meter="compute", *, known=None, **asked):
        """How many seconds of a meter are billed."""
        sums = totals([self.past(known)], self.asked(meter=meter, keys=("meter",), **asked))
        return sum(one.ns for one in sums.values()) / SECOND

    def by(self, *keys, meter="compute", **asked):
        """How many seconds are billed to what."""
        sums = totals([self.past()], self.asked(meter=meter, keys=keys, **asked))
        return {line: one.ns / SECOND for line, one in sums.items()}

    def correct(self, edge, truly, which=-1):
        """Correct an entry of the compute meter."""
        ones = [one for one in self.life.entries if (one.meter, one.edge) == ("compute", edge)]
        moved = times.read(truly) - self.life.now.wall
        at = Instant(times.read(truly), self.life.now.boot + moved, self.life.now.boot_id)
        wish = c.Correct(position=ones[which].position, meter="compute", edge=edge, at=at, reason="it was so")
        self.life.send(wish)


@pytest.fixture
def told(life):
    """Begin a story: when, and if it is no vm, what."""

    def begin(begun="2026-05-04T08:00:00Z", lifecycle="vm", **fields):
        return Told(life, begun, lifecycle, **fields)

    return begin


def ran(told, **fields):
    """A machine that is made at eight, and runs from nine to ten."""
    story = told(**fields)
    return story.at("2026-05-04T09:00:00Z", c.Start()).at("2026-05-04T10:00:00Z", c.Stop())


def window(begin, end, zone=None):
    return Window(times.read(begin, zone), times.read(end, zone))


# --- the ordinary ---------------------------------------------------------------------------------------


def test_an_hour_is_an_hour(told):
    """Compute from the start to the stop, storage from the creation on."""
    story = ran(told).at("2026-05-04T12:00:00Z")
    assert (story.seconds(), story.seconds("storage")) == (HOUR, 4 * HOUR)


def test_a_machine_that_never_ran_costs_its_storage(told):
    """Until it is destroyed."""
    story = told().at("2026-05-04T08:30:00Z", c.Destroy()).at("2026-05-04T12:00:00Z")
    assert (story.seconds(), story.seconds("storage")) == (0, 30 * MINUTE)


def test_what_still_runs_is_billed_up_to_now(told):
    """And half an hour later half an hour more."""
    story = told().at("2026-05-04T09:00:00Z", c.Start()).at("2026-05-04T09:20:00Z")
    assert story.seconds() == 20 * MINUTE
    assert story.at("2026-05-04T09:50:00Z").seconds() == 50 * MINUTE


def test_a_pause_is_billed_as_running(told):
    """Its process holds its memory."""
    story = told().at("2026-05-04T09:00:00Z", c.Start()).at("2026-05-04T09:10:00Z", c.Pause())
    story.at("2026-05-04T09:40:00Z", c.Resume()).at("2026-05-04T10:00:00Z", c.Stop())
    assert story.seconds() == HOUR


def test_a_stopped_microvm_is_billed_on(told):
    """Its stop is a pause: the process stays until it is destroyed."""
    story = told(lifecycle="microvm").at("2026-05-04T09:00:00Z", c.Start())
    story.at("2026-05-04T09:10:00Z", c.Stop()).at("2026-05-04T09:30:00Z", c.Destroy(force=True))
    assert story.seconds() == 30 * MINUTE


def test_amounts_are_the_shape_times_the_time(told):
    """Two CPUs, four and ten GiB for an hour, and ten GiB for another."""
    story = ran(told)
    (compute,) = totals([story.past()], story.asked(meter="compute", keys=("meter",))).values()
    assert compute.milli_cpu_ns == 2000 * HOUR * SECOND
    assert compute.memory_byte_ns == 4 * GIB * HOUR * SECOND
    assert compute.clocks == {"boot"}


# --- troubles -------------------------------------------------------------------------------------------


def found_dead(told):
    """It died at half past nine, and that was found at ten past ten."""
    story = told().at("2026-05-04T09:00:00Z", c.Start()).at("2026-05-04T09:30:00Z")
    died = story.life.now
    story.at("2026-05-04T10:10:00Z")
    story.life.see(Observation("gone", Evidence("probe", verified=True, when=died)))
    return story


def test_late_news_shorten_the_bill_to_what_was_so(told):
    """Thirty minutes, and not seventy; asked for a quarter to ten, it was down already."""
    story = found_dead(told)
    assert story.seconds() == 30 * MINUTE
    assert story.seconds(at="2026-05-04T09:45:00Z") == 30 * MINUTE
    assert story.seconds(at="2026-05-04T09:15:00Z") == 15 * MINUTE


def test_before_the_news_the_bill_was_longer(told):
    """As it was known before the last record, it still ran."""
    story = found_dead(told)
    assert story.seconds(known=len(story.life.records) - 1) == 70 * MINUTE


def test_a_crash_is_not_billed_until_it_is_started_again(told):
    """Half an hour, a gap, ten minutes."""
    story = found_dead(told).at("2026-05-04T10:20:00Z", c.Start()).at("2026-05-04T10:30:00Z", c.Stop())
    assert story.seconds() == 40 * MINUTE


def test_a_stop_that_fails_does_not_stop_the_bill(told):
    """It may run on; it ends with the stop that succeeds."""
    story = told().at("2026-05-04T09:00:00Z", c.Start()).at("2026-05-04T09:30:00Z", c.Stop(), stop="fail")
    story.life.probe = "alive"
    story.at("2026-05-04T10:00:00Z", c.Stop())
    assert (story.life.phase, story.seconds()) == ("stopped", HOUR)


def test_what_a_person_attests_ends_the_bill_then(told):
    """Nobody else could tell when the host burnt down."""
    story = told().at("2026-05-04T09:00:00Z", c.Start()).at("2026-05-04T09:25:00Z")
    burnt = story.life.now
    story.at("2026-05-04T11:00:00Z", c.Attest(liveness="gone", at=burnt, reason="the host burnt down"))
    assert story.seconds() == 25 * MINUTE


# --- corrections ----------------------------------------------------------------------------------------


def test_a_correction_of_the_stop_shortens_the_bill(told):
    """And what was known before it is still known to have been billed."""
    story = ran(told)
    before = len(story.life.records)
    story.at("2026-05-05T00:00:00Z").correct("stop", "2026-05-04T09:45:00Z")
    assert story.seconds() == 45 * MINUTE
    assert story.seconds(known=before) == HOUR


def test_a_correction_of_the_start_lengthens_the_bill(told):
    """It had begun to run at half past eight."""
    story = ran(told)
    story.at("2026-05-05T00:00:00Z").correct("start", "2026-05-04T08:30:00Z")
    assert story.seconds() == 90 * MINUTE


def test_of_two_corrections_the_later_one_holds(told):
    """Between them, the first one did."""
    story = ran(told)
    story.at("2026-05-05T00:00:00Z").correct("stop", "2026-05-04T09:45:00Z")
    between = len(story.life.records)
    story.correct("stop", "2026-05-04T09:50:00Z")
    assert (story.seconds(), story.seconds(known=between)) == (50 * MINUTE, 45 * MINUTE)


def test_a_correction_moves_seconds_into_another_month(told):
    """It ran on until two in the morning of June."""
    story = told("2026-05-31T20:00:00Z").at("2026-05-31T22:00:00Z", c.Start())
    story.at("2026-05-31T23:00:00Z", c.Stop()).at("2026-06-02T00:00:00Z")
    june = month(2026, 6, ZoneInfo("UTC"))
    assert story.seconds(window=june) == 0
    story.correct("stop", "2026-06-01T02:00:00Z")
    assert story.seconds(window=june) == 2 * HOUR


# --- other shapes, names and labels ---------------------------------------------------------------------


def test_a_resize_is_billed_in_both_shapes(told):
    """Half an hour of two CPUs and half an hour of eight come to five CPU hours."""
    story = told().at("2026-05-04T09:00:00Z", c.Start(), c.Snapshot("s"))
    story.at("2026-05-04T09:30:00Z", c.Restore("s", Spec(cpus=8, memory=16 * GIB, storage=10 * GIB)))
    story.at("2026-05-04T10:00:00Z", c.Stop())
    shapes = {line.shape.milli_cpus: seconds for line, seconds in story.by("shape").items()}
    assert shapes == {2000: 30 * MINUTE, 8000: 30 * MINUTE}
    (whole,) = totals([story.past()], story.asked(meter="compute", keys=("meter",))).values()
    assert whole.milli_cpu_ns == 5 * 1000 * HOUR * SECOND


def test_a_restore_costs_nobody_a_second(told):
    """The interval before it ends where the one after it begins."""
    story = told().at("2026-05-04T09:00:00Z", c.Start(), c.Snapshot("s"))
    story.at("2026-05-04T09:20:00Z", c.Restore("s")).at("2026-05-04T10:00:00Z", c.Stop())
    assert story.seconds() == HOUR


def test_a_snapshot_is_billed_by_its_own_size_beyond_the_machine(told):
    """Three GiB from nine to eleven; the machine was destroyed at ten."""
    story = told()
    story.life.size = 3 * GIB
    story.at("2026-05-04T09:00:00Z", c.Snapshot("s")).at("2026-05-04T10:00:00Z", c.Destroy())
    story.at("2026-05-04T11:00:00Z", c.DeleteSnapshot("s")).at("2026-05-04T12:00:00Z")
    lines = story.by("subject", "shape", meter="storage")
    own = Line(subject="s", shape=Shape(storage=3 * GIB))
    assert lines == {Line(shape=SPEC.shape): 2 * HOUR, own: 2 * HOUR}


def test_a_rename_does_not_break_the_bill(told):
    """One interval, of one machine."""
    story = told(lifecycle="microvm").at("2026-05-04T09:00:00Z", c.Start())
    story.at("2026-05-04T09:30:00Z", c.Rename("api-1")).at("2026-05-04T10:00:00Z", c.Destroy(force=True))
    (part,) = parts([story.past()], story.asked(meter="compute"))
    assert (part.share.ns, part.past.machine.name) == (HOUR * SECOND, "api-1")


def test_a_machine_that_is_handed_over_is_billed_to_each_while_it_was_theirs(told):
    """Team a until twenty past nine, team b afterwards."""
    story = told(labels={"team": "a"}).at("2026-05-04T09:00:00Z", c.Start())
    story.at("2026-05-04T09:20:00Z", c.Amend(labels={"team": "b"})).at("2026-05-04T10:00:00Z", c.Stop())
    assert story.by("label:team") == {Line(labels=("a",)): 20 * MINUTE, Line(labels=("b",)): 40 * MINUTE}
    assert story.seconds(labels=("team=a",)) == 20 * MINUTE
    assert story.seconds(labels=("team",)) == HOUR
    assert story.seconds(labels=("team=c",)) == 0


# --- clocks and calendars -------------------------------------------------------------------------------


def test_a_wall_clock_that_is_put_back_costs_nothing(told):
    """An hour passed, whatever the wall says."""
    story = told().at("2026-05-04T09:00:00Z", c.Start()).at("2026-05-04T09:30:00Z")
    story.life.set_wall(-2 * HOUR)
    story.at("2026-05-04T08:00:00Z", c.Stop())
    assert story.seconds() == HOUR


def test_what_took_no_time_on_the_wall_is_billed_on_its_day(told):
    """Though nothing that was counted lies beyond it."""
    story = told().at("2026-05-04T09:00:00Z", c.Start())
    story.life.set_wall(-2 * HOUR)
    story.at("2026-05-04T08:00:00Z", c.Stop())
    assert story.by("day") == {Line(window="2026-05-04"): HOUR}


def test_over_a_reboot_of_the_host_the_wall_clock_counts(told):
    """And the bill says so."""
    story = told().at("2026-05-04T09:00:00Z", c.Start()).at("2026-05-04T09:30:00Z")
    story.life.reboot("boot-2")
    story.at("2026-05-04T10:00:00Z", c.Stop())
    (whole,) = totals([story.past()], story.asked(meter="compute", keys=("meter",))).values()
    assert (whole.ns, whole.clocks) == (HOUR * SECOND, {"wall"})


def all_day(told, begun, ended):
    """A machine that runs for days."""
    return told(begun).at(begun, c.Start()).at(ended, c.Stop())


def test_the_day_on_which_clocks_go_forward_has_twenty_three_hours(told):
    """It ran through the whole of it, in Berlin."""
    story = all_day(told, "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z")
    days = {line.window: seconds / HOUR for line, seconds in story.by("day", zone=BERLIN).items()}
    assert days == {"2026-03-28": 11, "2026-03-29": 23, "2026-03-30": 14}


def test_the_day_on_which_clocks_go_back_has_twenty_five_hours(told):
    """The hour that came twice is billed twice, because it was there twice."""
    story = all_day(told, "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z")
    days = {line.window: seconds / HOUR for line, seconds in story.by("day", zone=BERLIN).items()}
    assert days == {"2026-10-24": 10, "2026-10-25": 25, "2026-10-26": 13}


def test_the_hours_of_a_change_by_the_clock_on_the_wall(told):
    """From half past one to half past three it is one hour in March, and in October it is three."""
    spring = all_day(told, "2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00")
    autumn = all_day(told, "2026-10-25T01:30:00+02:00", "2026-10-25T03:30:00+01:00")
    assert (spring.seconds(), autumn.seconds()) == (HOUR, 3 * HOUR)


def test_a_month_with_a_change_is_billed_in_its_own_length(told):
    """743 hours in March, 745 in October, in Berlin."""
    story = all_day(told, "2026-02-01T00:00:00Z", "2026-12-01T00:00:00Z")
    assert story.seconds(window=month(2026, 3, BERLIN)) == 743 * HOUR
    assert story.seconds(window=month(2026, 10, BERLIN)) == 745 * HOUR


def test_a_month_belongs_to_its_zone(told):
    """What ran from eleven to one at night, by UTC, was in April already in Berlin."""
    story = all_day(told, "2026-03-31T23:00:00Z", "2026-04-01T01:00:00Z")
    assert story.seconds(window=month(2026, 3, ZoneInfo("UTC"))) == HOUR
    assert story.seconds(window=month(2026, 3, BERLIN)) == 0
    assert story.seconds(window=month(2026, 4, BERLIN)) == 2 * HOUR


def test_days_are_told_apart_as_far_as_anything_was_counted(told):
    """Though the window goes on for years."""
    story = ran(told)
    days = story.by("day", window=window("1970-01-01T00:00:00Z", "2100-01-01T00:00:00Z"))
    assert days == {Line(window="2026-05-04"): HOUR}
    assert story.by("month", window=window("1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z")) == {}


def test_a_window_is_half_open(told):
    """A stop at its first instant is not in it, and a start at its end neither."""
    story = ran(told)
    assert story.seconds(window=window("2026-05-04T10:00:00Z", "2026-05-04T11:00:00Z")) == 0
    assert story.seconds(window=window("2026-05-04T08:00:00Z", "2026-05-04T09:00:00Z")) == 0
    assert story.seconds(window=window("2026-05-04T09:00:00Z", "2026-05-04T09:00:01Z")) == 1
