"""Moments as people type them."""

import argparse
import time
from zoneinfo import ZoneInfo

import pytest

from eventvm.cli import moment
from eventvm.cli.ledger import _month
from eventvm.cli.moment import Moment
from eventvm.logs import open_log
from eventvm.testing import contract_log

SECOND = 1_000_000_000


def test_a_number_is_a_position():
    """Whatever stands before it."""
    assert moment.moment("42") == Moment(position=42)
    assert moment.moment("0042") == Moment(position=42)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("now", 0), ("2 hours ago", 7200), ("90s ago", 90), ("1 day ago", 86_400), ("5m ago", 300),
     ("0.5 hours ago", 1800), ("2 weeks ago", 1_209_600), ("1 min ago", 60), ("3 SECONDS AGO", 3)],
)  # fmt: skip
def test_an_age_is_counted_from_now(text, seconds):
    """In whichever unit."""
    before = time.time_ns()
    told = moment.moment(text).wall + seconds * SECOND
    assert before <= told <= time.time_ns()


def test_a_time_is_read_to_the_nanosecond():
    """With its offset."""
    assert moment.moment("1970-01-01T01:00:00.000000001+01:00") == Moment(wall=1)


@pytest.mark.parametrize(
    "text",
    ["", "-1", "yesterday", "2 fortnights ago", "1970-01-01", "12:00", "1e3", "9" * 30, "\u0664\u0662",
     "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "1" * 300 + " hours ago", "99999999 weeks ago"],
)  # fmt: skip
def test_what_is_no_moment_is_refused(text):
    """Also one that no log could hold."""
    with pytest.raises(argparse.ArgumentTypeError):
        moment.moment(text)


@pytest.mark.parametrize("name", ["", "Mars", "../etc/passwd", "/etc/passwd", "a\0b", "x" * 5000])
def test_what_is_no_zone_is_refused(name):
    """No path leads out of the zones."""
    with pytest.raises(argparse.ArgumentTypeError, match="no time zone"):
        moment.zone(name)


def test_a_zone_is_found_by_its_name():
    """As the tables of the host have it."""
    assert moment.zone("Europe/Berlin") == ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize("text", ["2026", "2026-00", "2026-13", "0001-01", "9999-12", "2026-1", "march"])
def test_what_is_no_month_is_refused(text):
    """Nor one in which no log could be."""
    with pytest.raises(argparse.ArgumentTypeError):
        _month(text)


async def test_a_moment_stands_for_a_time_and_for_a_state_of_knowledge():
    """A position for the time of its record, a time for the last position by then."""
    async with open_log("memory:", clock=iter(range(10, 100, 10)).__next__) as log:
        for version in range(3):
            await log.append(contract_log.adding("a", version))
        assert [await Moment(position=at).known(log) for at in (0, 2, 3)] == [0, 2, 3]
        assert [await Moment(wall=wall).known(log) for wall in (5, 10, 25, 99)] == [0, 1, 2, 3]
        assert await Moment(wall=7).so(log) == 7
        assert await Moment(position=2).so(log) == (await log.read()).records[1].event.at.wall
