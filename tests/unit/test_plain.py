"""What people wrote is shown so that it cannot steer a terminal, turn a line around or break a picture."""

import io
import re
from xml.etree import ElementTree as ET

import pytest

import eventvm
from eventvm import Spec
from eventvm.audit.cloudevents import imported
from eventvm.cli.paper import Paper
from eventvm.drawing import mermaid, table
from eventvm.errors import BadInput, NotFound, Unreachable, plain
from eventvm.lifecycle import Recorded
from eventvm.lifecycles import LIFECYCLES, plugin
from eventvm.limits import REASON_CHARACTERS
from eventvm.observation import Absent, Instant
from eventvm.picture import Band, Life, Mark, picture
from eventvm.portrait import portrait
from eventvm.tables import Arrow, Fact

HOSTILE = "\x1b[2J\x07a\nb\0\u202egnp.exe\u2028\ud800<b>&\"']]>|"
SHOWN = "\\x1b[2J\\x07a\\nb\\x00\\u202egnp.exe\\u2028\\ud800<b>&\"']]>|"


def test_what_cannot_be_printed_is_escaped_and_the_rest_is_as_it_was():
    assert plain(HOSTILE) == SHOWN
    assert plain("grüße 機械 \\x1b") == "grüße 機械 \\x1b"
    assert plain(7) == "7"


def test_every_error_shows_what_it_quotes_plain():
    """Its fields stay as they were given."""
    refused = NotFound(machine=HOSTILE, phase="x", command="look")
    assert SHOWN in str(refused)
    assert refused.machine == HOSTILE
    assert str(BadInput(HOSTILE)) == SHOWN


async def test_a_reason_is_kept_as_it_was_written_and_shown_plain():
    """In the log and in what programs read it is verbatim; an error that quotes it escapes it."""
    reason = HOSTILE.replace("\0", "").replace("\ud800", "")
    async with eventvm.open("memory:") as engine:
        machine = await engine.create("web", Spec(provider="simulated"))
        await machine.start(reason=reason)
        receipt = await machine.stop(reason=reason)
        assert machine.describe()["reason"] == reason
        assert (await machine.history())[-1].reason == reason
        assert (await engine.log.read(after=receipt.position - 1)).records[0].event.reason == reason
        with pytest.raises(Unreachable) as hopeless:
            await machine.wait("paused")
        assert plain(reason) in str(hopeless.value)
        assert hopeless.value.reason == reason


def test_a_terminal_is_not_steered():
    for colour in (False, True):
        out = io.StringIO()
        paper = Paper(out, colour=colour)
        paper.table(("a",), [(paper.ink(HOSTILE, "red"),)])
        assert re.sub("\x1b\\[[0-9;]*m|\n", "", out.getvalue()).isprintable()
        assert "\\x1b[2J" in out.getvalue()


def test_a_picture_stays_a_picture():
    """Whatever its names and phases are, the SVG is well formed and shows them as text."""
    band = Band(HOSTILE, "work", 0, 10**15, 1)
    mark = Mark(5, HOSTILE, "forced", 1, HOSTILE)
    life = Life(HOSTILE, HOSTILE, HOSTILE, HOSTILE, (band,), (), (mark,), None, over=False)
    drawn = portrait(picture([life], None, None))
    texts = [one.text or "" for one in ET.fromstring(drawn.encode()).iter()]
    assert f"The life of {SHOWN}" in texts
    assert drawn.replace("\n", "").isprintable()


def test_a_diagram_stays_a_diagram():
    """A definition that a foreign log brings was never checked here."""
    odd = Recorded(
        name="odd", initial="a", phases=("a", "b"), settled=(), ends=("b",), titles={"a": HOSTILE},
        rows={"a": {"create": Fact("machine.created")}}, arrows={"a": {"machine.created": Arrow("b")}},
    )  # fmt: skip
    lines = mermaid(odd).splitlines()
    (title,) = [line for line in lines if " as a" in line]
    assert re.fullmatch(r'    state "[^"<>]*" as a', title)
    assert all(line.isprintable() for line in (*lines, *table(odd).splitlines()))
    assert "<b>" not in table(odd)


def test_no_drawing_of_ours_is_changed_by_that():
    assert all("&lt;" not in table(one) for one in LIFECYCLES.values())
    assert plugin.name in LIFECYCLES


CODES = {"large": 2**32, "small": -(2**31) - 1, "endless": 10**5000, "flag": True, "float": 1.0, "text": "0"}


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_a_foreign_code_that_is_none_is_not_believed(code):
    """It is kept as a claim, shortened."""
    told = imported({"exitCode": code, "reason": "r" * 2000}, Instant(1, 1, "b"))
    assert isinstance(told.end.termination, Absent)
    assert told.claim.startswith("exitCode ")
    assert len(told.claim) < 200
    assert len(told.reason) == REASON_CHARACTERS
