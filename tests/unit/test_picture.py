"""One renderer of lives: what is drawn adds up, stays in its frame, and is the same in letters and as SVG."""

import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eventvm
from eventvm import Simulated, Spec
from eventvm.cli.paper import ANSI
from eventvm.clock import Clock as HostClock
from eventvm.diagram import diagram
from eventvm.drawing import edges, short
from eventvm.lifecycles import LIFECYCLES
from eventvm.observation import Instant
from eventvm.picture import Band, Bar, Life, Lives, Mark, Pending, picture, ticks
from eventvm.portrait import WIDTH, portrait, wide
from eventvm.sketch import ASCII, UNICODE, sketch

MINUTE = 60_000_000_000
SVG = "{http://www.w3.org/2000/svg}"
NAMES = st.sampled_from(["web-1", "<b>&\"'", "x" * 90, "機械", "a\x1b[2J"])
LOOKS = st.sampled_from(["work", "rest", "flight", "fault", "gone"])
KINDS = st.sampled_from(["event", "repair", "failure", "forced"])
LENGTHS = st.sampled_from([0, 1, 999, 10**6, 10**9, 61 * 10**9, 10**13, 10**17])


@st.composite
def lives(draw):
    """A life of up to eight phases, with bars, marks and perhaps a request, of any lengths."""
    begin = at = draw(st.integers(0, 10**18))
    bands = []
    for position, length in enumerate(draw(st.lists(LENGTHS, min_size=1, max_size=8)), start=1):
        bands.append(Band(draw(NAMES), draw(LOOKS), at, at + length, position))
        at += length
    within = st.integers(begin, at)
    spans = draw(st.lists(st.tuples(within, within), max_size=3))
    bars = tuple(Bar(draw(NAMES), min(span), max(span), 7, "boot", "") for span in spans)
    marks = tuple(Mark(draw(within), draw(NAMES), draw(KINDS), 1) for _ in range(draw(st.integers(0, 30))))
    pending = Pending("stop", draw(NAMES), 1, draw(within), at + MINUTE) if draw(st.booleans()) else None
    name = draw(NAMES)
    return Life(name, "id", "vm", "x", tuple(bands), bars, marks, pending, over=draw(st.booleans()))


windows = st.none() | st.integers(0, 2 * 10**18)
shown = st.builds(picture, st.lists(lives(), max_size=4), st.none(), windows)
many = settings(max_examples=80, deadline=None, derandomize=True, database=None)


@many
@given(lives(), windows, windows)
def test_the_bands_of_a_life_tile_its_part_of_the_window(life, begin, end):
    """Each instant is shown once: no gap, no overlap, and together as long as the life is in there."""
    cut = picture([life], begin, end)
    for one in cut.lives:
        assert all(before.end == after.begin for before, after in pairwise(one.bands))
        long = min(life.bands[-1].end, cut.end) - max(life.bands[0].begin, cut.begin)
        assert sum(band.end - band.begin for band in one.bands) == long > 0
        for stretch in (*one.bands, *one.bars):
            assert cut.begin <= stretch.begin < stretch.end <= cut.end
        assert all(cut.begin <= mark.at <= cut.end for mark in one.marks)


def numbers(one, *names):
    return [float(one.get(name, 0)) for name in names]


@many
@given(shown)
def test_a_drawing_stays_in_its_frame_and_is_the_same_again(cut):
    """Rectangles, marks and words, whatever their lengths; words by how wide they usually are."""
    drawn = portrait(cut)
    assert drawn == portrait(cut)
    svg = ET.fromstring(drawn)
    width, height = map(float, svg.get("viewBox").split()[2:])
    assert width == WIDTH
    for one in svg.iter():
        kind = one.tag.rpartition("}")[2]
        if kind == "rect":
            x, y, wide, high = numbers(one, "x", "y", "width", "height")
            assert 0 <= x <= x + wide <= width + 0.1
            assert 0 <= y <= y + high <= height
        elif kind == "text":
            (x,) = numbers(one, "x")
            long = 6.0 * len(one.text)
            begin = {"start": x, "middle": x - long / 2, "end": x - long}[one.get("text-anchor")]
            assert -12 <= begin <= begin + long <= width + 12, one.text
        elif kind == "path" and (place := one.get("transform")):
            x, y = map(float, re.findall(r"[-\d.]+", place))
            assert 0 <= x <= width
            assert 0 <= y <= height


@many
@given(shown, st.integers(40, 200), st.sampled_from([UNICODE, ASCII]))
def test_a_sketch_is_no_wider_than_asked_and_colour_adds_nothing(cut, width, letters):
    """Its lines steer no terminal; with ASCII letters they are ASCII."""
    lines = [*sketch(cut, width, letters)]
    assert all(len(line) <= width for line in lines)
    assert all(line.isprintable() for line in lines)
    assert letters is UNICODE or all(line.isascii() for line in lines)
    dyed = sketch(cut, width, letters, lambda text, *_: f"\x1b[1m{eventvm.errors.plain(text)}\x1b[0m")
    assert [ANSI.sub("", line).rstrip() for line in dyed] == [line.rstrip() for line in lines]


@given(st.integers(0, 10**18), LENGTHS)
def test_the_axis_has_round_instants_and_not_too_many(begin, length):
    """From milliseconds to years."""
    found = [at for at, _ in ticks(begin, begin + length + 1)]
    assert len(found) <= 8
    assert all(begin <= at <= begin + length + 1 for at in found)
    assert len({after - before for before, after in pairwise(found)}) <= 1


# --- a real one -----------------------------------------------------------------------------------------


class Clock(HostClock):
    """A clock that goes as it is told to, backwards too."""

    passed = 0

    def wall(self):
        return MINUTE + self.passed

    def now(self):
        return Instant(self.wall(), self.passed, "boot")


@pytest.fixture
async def told():
    """A life with a failed stop, its repair, a clock that is put back, a forced end, and an open request."""
    clock = Clock()
    world = Simulated(clock)
    async with eventvm.open("memory:", providers=[world], clock=clock, grace_seconds=0) as engine:
        web = await engine.create("web-1", Spec(provider="simulated"))
        await web.start()
        clock.passed += 10 * MINUTE
        world.script("web-1", "stop", "fail")
        with pytest.raises(eventvm.EventvmError):
            await web.stop()
        clock.passed += 2 * MINUTE
        await web.start()
        clock.passed -= 5 * MINUTE
        await web.stop()
        clock.passed += 20 * MINUTE
        await web.start()
        clock.passed += MINUTE
        world.script("web-1", "stop", "lost")
        await web.stop(wait=False)
        job = await engine.create("job", Spec(provider="simulated"), lifecycle="cell")
        await job.start()
        world.script("job", "stop", "fail")
        await job.destroy(force=True, reason="its time was over")
        return (await engine.log.read()).records, clock


def life_of(told, at=None, name="web-1"):
    records, clock = told
    lives = Lives(at)
    for record in records:
        lives.apply(record)
    return lives.life(lives.pasts.named(name), clock.now())


async def test_what_happened_is_marked_as_what_it_was(told):
    """A failure, a repair, and each boot with its number; bars say which boot they belong to."""
    life = life_of(told)
    marks = [(mark.text, mark.kind) for mark in life.marks]
    assert ("stop_failed", "failure") in marks
    assert ("reconciled", "repair") in marks
    assert ("started (incarnation 2)", "event") in marks
    assert [bar.incarnation for bar in life.bars if bar.row == "compute"] == [1, 2]
    assert life.pending is not None
    assert life.pending.verb == "stop"
    drawn = portrait(picture([life], None, None))
    assert "stop requested" in drawn
    assert any("stop requested" in line for line in sketch(picture([life], None, None), 100))


async def test_a_forced_end_is_marked_with_what_nobody_knows(told):
    """It has no exit code, and a reason."""
    mark = life_of(told, name="job").marks[-1]
    assert (mark.kind, mark.reason) == ("forced", "its time was over")
    assert mark.text.endswith("forced, no exit code)")


async def test_a_clock_that_goes_back_makes_no_band_begin_before_another(told):
    """It is held still instead."""
    bands = life_of(told).bands
    assert [band.begin for band in bands] == sorted(band.begin for band in bands)
    assert all(before.end == after.begin for before, after in pairwise(bands))
    assert (bands[0].begin, bands[-1].end) == (MINUTE, told[1].wall())


async def test_an_instant_of_the_past_ends_the_picture(told):
    """What came later is neither drawn nor marked, nor counted."""
    life = life_of(told, at=5 * MINUTE)
    assert life.bands[-1].phase == life.phase == "running"
    assert life.bands[-1].end == 5 * MINUTE
    assert [mark.text for mark in life.marks] == ["created as web-1", "started (incarnation 1)"]
    assert [bar.ns for bar in life.bars if bar.row == "compute"] == [4 * MINUTE]
    assert life.pending is None


async def test_a_machine_that_is_about_to_be_is_drawn_with_what_is_under_way():
    """Though no change of its phase has come yet."""
    clock = Clock()
    world = Simulated(clock)
    async with eventvm.open("memory:", providers=[world], clock=clock, grace_seconds=0) as engine:
        world.script("new", "create", "lost")
        await engine.create("new", Spec(provider="simulated"), lifecycle="microvm", wait=False)
        clock.passed += MINUTE
        life = life_of(((await engine.log.read()).records, clock), name="new")
    assert [(band.phase, band.end - band.begin) for band in life.bands] == [(life.phase, MINUTE)]
    assert life.pending is not None
    assert life.pending.verb == "create"


def test_a_fault_is_seen_however_short_it_was():
    """A column that is shared shows it."""
    bands = (
        Band("up", "work", 0, 10**9, 1), Band("broken", "fault", 10**9, 10**9 + 5, 2),
        Band("up", "work", 10**9 + 5, 10**10, 3),
    )  # fmt: skip
    life = Life("w", "i", "vm", "up", bands, (), (), None, over=False)
    lines = list(sketch(picture([life], None, None), 60))
    assert any(UNICODE.looks["fault"] in line and line.startswith("phase") for line in lines)
    boxes = list(ET.fromstring(portrait(picture([life], None, None))).iter(f"{SVG}rect"))
    drawn = [box for box in boxes if box.get("class") in ("work", "fault") and box.get("height") == "34"]
    assert drawn[-1].get("class") == "fault"
    assert float(drawn[-1].get("width")) > 2


def test_what_must_be_seen_is_drawn_over_what_happened_beside_it():
    """Though it came first."""
    bands = (Band("up", "work", 0, 10**9, 1),)
    marks = (Mark(10**8, "exited", "forced", 2), Mark(10**8, "started", "event", 3))
    drawn = portrait(picture([Life("w", "i", "vm", "up", bands, (), marks, None, over=False)], None, None))
    assert drawn.index('class="mark event"') < drawn.index('class="mark forced"')


def test_a_label_of_a_failure_says_what_went_wrong():
    """And of all else what it was."""
    bands = (Band("up", "work", 0, 10**9, 1),)
    marks = (Mark(0, "stop_failed", "failure", 2, "no answer"), Mark(10**9 // 2, "stopped", "event", 3, "me"))
    drawn = portrait(picture([Life("w", "i", "vm", "up", bands, (), marks, None, over=False)], None, None))
    assert ">stop_failed: no answer<" in drawn
    assert ">stopped<" in drawn


@pytest.mark.parametrize("letter", ["W", "i", "\u65e5"])
def test_words_too_long_for_their_room_are_cut(letter):
    """Broad letters sooner than narrow ones."""
    words = letter * 500
    bands = (Band("up", "work", 0, 10**9, 1),)
    bar = Bar(words, 0, 10**9, 10**9, "boot", "")
    mark = Mark(0, words, "event", 2)
    drawn = portrait(
        picture([Life(words, "i", "vm", "up", bands, (bar,), (mark,), None, over=False)], None, None)
    )
    texts = [text.text for text in ET.fromstring(drawn).iter(f"{SVG}text")]
    cut = [text for text in texts if letter * 5 in text]
    assert len(cut) == 3
    assert all(text.endswith("\N{HORIZONTAL ELLIPSIS}") and wide(text) <= 800 for text in cut)


def test_a_forced_end_is_marked_on_the_row_of_a_fleet():
    """In both."""
    bands = (Band("up", "work", 0, 100, 1), Band("gone", "gone", 100, 200, 2))
    mark = Mark(100, "destroyed", "forced", 2)
    lives = [Life(name, name, "vm", "gone", bands, (), (mark,), None, over=False) for name in "ab"]
    cut = picture(lives, None, None)
    assert portrait(cut).count('class="mark forced"') == 3
    assert sum(UNICODE.kinds["forced"] in line for line in sketch(cut, 80)) == 3


def test_a_life_that_is_over_is_shown_up_to_its_end():
    """And a little of what came after, not all the time that has passed since."""
    bands = (Band("up", "work", 0, 2400, 1), Band("gone", "gone", 2400, 10**9, 2))
    lives = [Life("a", "a", "vm", "gone", bands, (), (), None, over=over) for over in (True, False)]
    assert [picture([life], None, None).end for life in lives] == [2501, 10**9]


@pytest.mark.parametrize("name", LIFECYCLES)
def test_a_diagram_names_every_way_and_stays_in_its_frame(name):
    """Each pair of phases once, with all events that lead along it."""
    one = LIFECYCLES[name]
    drawn = diagram(one)
    assert drawn == diagram(one)
    svg = ET.fromstring(drawn)
    words = [text.text for text in svg.iter(f"{SVG}text")]
    for (_, to), tags in edges(one).items():
        assert f"{', '.join(map(short, tags))} → {one.title(to)}" in words
    assert {one.title(phase) for phase in one.phases} <= set(words)
    width, height = map(float, svg.get("viewBox").split()[2:])
    for rect in svg.iter("{http://www.w3.org/2000/svg}rect"):
        x, y, wide, high = numbers(rect, "x", "y", "width", "height")
        assert 0 <= x <= x + wide <= width
        assert 0 <= y <= y + high <= height
