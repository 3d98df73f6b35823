"""Windows: months and days of a zone, and the shares of intervals that lie in them."""

from datetime import UTC
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventvm import times
from eventvm.ledger import Entry, pair
from eventvm.observation import Instant
from eventvm.spec import Shape
from eventvm.windows import Window, calendar, month, overlapping, share

HOUR = 3_600_000_000_000
BERLIN = ZoneInfo("Europe/Berlin")


def counted(begin, end=None, *, boots=None, until=10_000):
    """An interval from and to wall times, by default of one boot in which no clock was set."""
    boots = boots or (begin, begin if end is None else end)
    made = {"machine": "m", "subject": "", "meter": "compute", "reason": "r", "shape": Shape()}
    known = [Entry(**made, edge="start", at=Instant(begin, boots[0], "b"), position=1, recorded_at=begin)]
    if end is not None:
        known.append(Entry(**made, edge="stop", at=Instant(end, boots[1], "b"), position=2, recorded_at=end))
    (one,) = pair(known, Instant(until, until, "b"), cut=False)
    return one


# --- the calendar ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "zone", "hours"),
    [
        ("2026-03", "Europe/Berlin", 743),
        ("2026-10", "Europe/Berlin", 745),
        ("2026-03", "America/New_York", 743),
        ("2026-11", "America/New_York", 721),
        ("2026-04", "Australia/Lord_Howe", 720.5),
        ("2026-02", "Europe/Berlin", 672),
        ("2024-02", "UTC", 696),
        ("2026-03", "UTC", 744),
    ],
)
def test_a_month_is_as_long_as_its_zone_makes_it(name, zone, hours):
    """It loses or gains what the clocks are put forward or back by."""
    one = month(*map(int, name.split("-")), ZoneInfo(zone))
    assert (one.end - one.begin, one.name) == (hours * HOUR, name)


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-10-26", 24)])
def test_the_day_of_a_change_has_another_length(day, hours):
    """From midnight to midnight by the zone's own clock."""
    begin = times.read(day, BERLIN)
    (first, *_) = calendar("day", Window(begin, begin + 48 * HOUR), BERLIN)
    assert (first.name, first.end - first.begin) == (day, hours * HOUR)


def test_a_month_begins_at_midnight_of_its_zone():
    """An hour earlier in summer than in winter, by UTC."""
    assert times.rfc3339(month(2026, 4, BERLIN).begin) == "2026-03-31T22:00:00.000000000Z"
    assert times.rfc3339(month(2026, 4, BERLIN).end) == "2026-04-30T22:00:00.000000000Z"
    assert times.rfc3339(month(2026, 12, BERLIN).end) == "2026-12-31T23:00:00.000000000Z"


def test_a_day_that_a_zone_left_out_is_no_window():
    """Samoa went from the 29th to the 31st of December 2011."""
    apia = ZoneInfo("Pacific/Apia")
    whole = Window(times.read("2011-12-29", apia), times.read("2012-01-01", apia))
    assert [one.name for one in calendar("day", whole, apia)] == ["2011-12-29", "2011-12-31"]


ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Asia/Beirut"]


@given(
    st.sampled_from(ZONES),
    st.sampled_from(["day", "month"]),
    st.integers(0, 4_000_000_000),
    st.integers(1, 20_000_000),
)
def test_days_and_months_meet_without_a_gap(zone, unit, begin, length):
    """Whatever the zone does, they cover the window and nothing twice."""
    whole = Window(begin * 10**9, (begin + length) * 10**9)
    cuts = list(calendar(unit, whole, ZoneInfo(zone)))
    assert (cuts[0].begin, cuts[-1].end) == (whole.begin, whole.end)
    assert all(one.end == other.begin for one, other in pairwise(cuts))


@pytest.mark.parametrize(
    ("one", "other", "met"),
    [
        ((0, 10), (5, 15), (5, 10)),
        ((0, 10), (10, 20), None),
        ((None, None), (5, None), (5, None)),
        ((None, 5), (3, None), (3, 5)),
        ((0, 10), (2, 3), (2, 3)),
    ],
)
def test_windows_meet_in_what_they_have_in_common(one, other, met):
    """Half open: where one ends and the other begins they do not meet."""
    found = Window(*one, "a").meets(Window(*other, "b"))
    assert found == (None if met is None else Window(*met, "a"))


# --- shares ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ((None, None), (100, 200, 100)),
        ((0, 100), None),
        ((200, 300), None),
        ((150, None), (150, 200, 50)),
        ((None, 150), (100, 150, 50)),
        ((120, 130), (120, 130, 10)),
    ],
)
def test_a_share_is_what_lies_in_the_window(window, expected):
    """Its begin, its end and its length."""
    found = share(counted(100, 200), Window(*window), 10_000)
    assert (None if found is None else (found.begin, found.end, found.ns)) == expected


def test_an_open_interval_ends_in_a_window_that_ends():
    """And goes on in one that does not."""
    one = counted(100, until=1000)
    assert share(one, Window(0, 500), 1000).end == 500
    assert share(one, Window(500), 1000).end is None
    assert share(one, Window(500), 1000).ns == 500
    assert share(one, Window(2000), 1000) is None


def test_a_length_by_boot_time_is_shared_out_by_wall_time():
    """The wall was put forward by an hour in ten seconds: nobody knows when, so each half has five."""
    one = counted(0, 3_610, boots=(0, 10))
    assert share(one, Window(0, 1805), 0).ns == 5
    assert share(one, Window(1805), 0).ns == 5


def test_what_lasted_no_wall_time_lies_where_it_began():
    """The wall was put back: its seconds are in one window, not in none and not in two."""
    one = counted(100, 50, boots=(100, 160))
    assert (one.ns, one.basis) == (60, "boot")
    assert share(one, Window(0, 100), 0) is None
    assert share(one, Window(100, 200), 0).ns == 60


@given(
    st.integers(0, 1000),
    st.integers(-50, 1000),
    st.integers(0, 2000),
    st.lists(st.integers(-10, 2100), max_size=8),
)
def test_the_shares_of_windows_that_meet_sum_up_to_the_length(begin, wall, boot, cuts):
    """To the nanosecond, whatever the clocks did in between."""
    one = counted(begin, begin + wall, boots=(0, boot))
    edges = [None, *sorted(set(cuts)), None]
    shares = [share(one, Window(*edge), 0) for edge in pairwise(edges)]
    assert sum(found.ns for found in shares if found is not None) == one.ns
    assert all(found.ns >= 0 for found in shares if found is not None)


# --- times ----------------------------------------------------------------------------------------------


@given(st.integers(-62_000_000_000 * 10**9, 250_000_000_000 * 10**9))
def test_a_time_reads_back_as_it_was_written(wall):
    """To the nanosecond."""
    assert times.read(times.rfc3339(wall)) == wall


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("1970-01-01T00:00:01Z", None, 1),
        ("1970-01-01t01:00:01+01:00", None, 1),
        ("1969-12-31 23:00:01-01:00", None, 1),
        ("1970-01-01", UTC, 0),
        ("1970-01-01T01:00", BERLIN, 0),
    ],
)
def test_a_time_is_read_with_its_offset_or_in_the_zone(text, zone, expected):
    """A date is its midnight."""
    assert times.read(text, zone) == expected * 10**9


@pytest.mark.parametrize(
    "text",
    ["", "1970-01-01", "1970-01-01T00:00:00", "1970-13-01T00:00:00Z", "1970-01-01T00:00:60Z",
     "1970-01-01T25:00:00Z", "1970-01-01T00:00:00+25:00", "yesterday", "1970-01-01T00:00:00.1234567890Z",
     "\u0661970-01-01T00:00:00Z"],
)  # fmt: skip
def test_what_is_no_time_is_refused(text):
    """A zone that nobody named is not guessed."""
    with pytest.raises(times.BadInput, match="is no time"):
        times.read(text)


@pytest.mark.parametrize(
    ("ns", "said"),
    [(0, "0s"), (1_500_000_000, "1.5s"), (59 * 10**9, "59s"), (60 * 10**9, "1m"), (3_600 * 10**9, "1h"),
     (90_061 * 10**9, "1d 1h"), (-60 * 10**9, "-1m"), (3_661 * 10**9, "1h 1m"), (86_460 * 10**9, "1d")],
)  # fmt: skip
def test_a_length_is_said_in_two_units_at_most(ns, said):
    """The larger ones."""
    assert times.length(ns) == said


@pytest.mark.parametrize(
    ("wall", "said"),
    [
        (-30_610_224_001 * 10**9, "0999-12-31T23:59:59Z"),
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00Z"),
        (120_000_000, "1970-01-01T00:00:00.120Z"),
    ],
)
def test_people_are_told_milliseconds_where_there_are_some(wall, said):
    """Programs are told all nine digits."""
    assert times.briefly(wall) == said


@pytest.mark.parametrize(
    ("begin", "end", "places"),
    [
        (0, 9, [0]), (9, 11, [0, 1]), (10, 10, [1]), (5, 99, [0, 1, 2]), (-5, -1, []), (30, 99, [2]),
        (None, 9, [0]), (20, None, [2]), (None, None, [0, 1, 2]),
    ],
)  # fmt: skip
def test_a_stretch_is_held_against_the_windows_that_it_may_meet(begin, end, places):
    """Also one that lasted no time, and lies where a window begins."""
    assert list(overlapping([Window(0, 10), Window(10, 20), Window(20)], begin, end)) == places


@given(begin=st.integers(-40, 40), lasting=st.integers(0, 60), cuts=st.sets(st.integers(-30, 30), min_size=2))
def test_no_share_lies_in_a_window_that_is_passed_over(begin, lasting, cuts):
    """Whatever is cut, by whatever windows that follow one another."""
    windows = [Window(*pair) for pair in pairwise(sorted(cuts))]
    one = counted(begin, begin + lasting)
    shares = {place for place, window in enumerate(windows) if share(one, window, begin) is not None}
    assert shares <= set(overlapping(windows, one.begin, one.end))
