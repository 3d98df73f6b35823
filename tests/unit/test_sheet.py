"""Sheets: one renderer, and nothing that it writes steers a terminal."""

import csv
import json
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventvm.cli import sheet
from eventvm.cli.paper import ANSI, Paper
from eventvm.cli.sheet import FORMS, Column
from eventvm.lettering import columns

HOSTILE = "a\x1b[31m\x9b2J\u202e\U000e0041\n\r\0end"
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


class Terminal(StringIO):
    def isatty(self):
        return True


def shown(form, rows, nothing="nothing", out=None):
    out = out or StringIO()
    paper = Paper(out, colour=False)
    columns = (Column("what", lambda row: paper.ink(row["what"])), Column("n", lambda row: str(row["n"])))
    sheet.shown(paper, form, columns, rows, nothing)
    return out.getvalue()


ROWS = [{"what": "a", "n": 1}, {"what": "b,c", "n": None}]


def test_a_claim_is_true_or_false_in_every_form():
    """As JSON writes it."""
    assert shown("csv", [{"what": True, "n": False}]).splitlines()[1] == "true,false"


def test_each_form_shows_every_row():
    """A table for people; the others read back as they were."""
    assert shown("table", ROWS).splitlines() == ["what  n", "a     1", "b,c   None"]
    assert json.loads(shown("json", ROWS)) == ROWS
    assert [json.loads(line) for line in shown("jsonl", ROWS).splitlines()] == ROWS
    assert list(csv.reader(StringIO(shown("csv", ROWS)))) == [["what", "n"], ["a", "1"], ["b,c", ""]]


@pytest.mark.parametrize(
    ("form", "said"), [("table", "nothing\n"), ("json", "[]\n"), ("jsonl", ""), ("csv", "")]
)
def test_where_there_is_nothing_people_are_told_and_programs_get_nothing(form, said):
    """An empty list is one."""
    assert shown(form, []) == said


@pytest.mark.parametrize("form", FORMS)
@given(text=TEXTS)
def test_no_text_steers_a_terminal(form, text):
    """Whatever somebody gave as a reason: lines end where we end them, and all else is printable."""
    for hostile in (text, HOSTILE):
        told = shown(form, [{"what": hostile, "n": 1}])
        assert all(line.isprintable() for line in told.split("\n"))
        assert len(told.split("\n")) == (2 if form == "jsonl" else 3)


@given(TEXTS)
def test_what_is_escaped_in_json_reads_back_as_it_was(text):
    """Letters beyond the first plane too."""
    assert json.loads(shown("jsonl", [{"what": text, "n": 1}]))["what"] == text


def test_a_table_that_grows_has_its_heads_once():
    """What follows stands below what was shown, and as wide."""
    out = StringIO()
    columns = (Column("what", lambda row: row["what"]), Column("n", lambda row: str(row["n"])))
    told = sheet.Sheet(Paper(out, colour=False), "table", columns)
    for row in ({"what": "longer", "n": 1}, {"what": "b", "n": 2}):
        told.add(row)
        told.flush()
    told.end()
    assert out.getvalue().splitlines() == ["what    n", "longer  1", "b       2"]


def test_a_table_fits_the_terminal_and_a_pipe_gets_all(monkeypatch):
    """What gives is cut and marked; dyed or not, wide letters or not, columns stand below each other."""
    monkeypatch.setenv("COLUMNS", "30")
    rows = [{"what": "\u65e5\u672c" * 9, "n": 1}, {"what": "web", "n": 2}]
    for colour in (False, True):
        for out, most in ((Terminal(), 30), (StringIO(), 39)):
            paper = Paper(out, colour=colour)
            told = (
                Column("what", lambda row, paper=paper: paper.ink(row["what"], "bold"), gives=True),
                Column("n", lambda row: str(row["n"])),
            )
            sheet.shown(paper, "table", told, rows)
            lines = [ANSI.sub("", line) for line in out.getvalue().splitlines()]
            assert {columns(line) for line in lines} == {most}
            assert ("~" in lines[1]) is (most == 30)
            assert out.getvalue().count("\x1b[1m") == (2 if colour else 0)


def test_a_single_thing_is_shown_to_programs_in_each_form():
    """As an object, and not as a list of one."""
    for form in ("json", "jsonl"):
        out = StringIO()
        sheet.one(Paper(out, colour=False), form, ROWS[0])
        assert json.loads(out.getvalue()) == ROWS[0]
    out = StringIO()
    sheet.one(Paper(out, colour=False), "csv", ROWS[0])
    assert out.getvalue() == "what,n\na,1\n"


def test_what_is_written_to_the_byte_is_shown_plain_on_a_terminal():
    """In a pipe it is what it is."""
    for out, expected in ((StringIO(), f"{HOSTILE}\n"), (Terminal(), None)):
        Paper(out, colour=False).text(f"{HOSTILE}\n")
        if expected is None:
            assert all(line.isprintable() for line in out.getvalue().split("\n"))
        else:
            assert out.getvalue() == expected
