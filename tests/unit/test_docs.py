"""The documents follow from the code, and the drawings leave nothing out."""

import importlib.util
import json
import re
from pathlib import Path

import msgspec
import pytest

from eventvm import commands, events
from eventvm.drawing import answer_in_words, arrow_in_words, mermaid, short, table
from eventvm.lifecycle import Lifecycle, answers, arrows, encode
from eventvm.lifecycles import LIFECYCLES

SCRIPT = Path(__file__).parents[2] / "docs" / "generate.py"
SPEC = importlib.util.spec_from_file_location("generate", SCRIPT)
generate = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(generate)

every_lifecycle = pytest.mark.parametrize("one", LIFECYCLES.values(), ids=LIFECYCLES)
every_schema = pytest.mark.parametrize("path", generate.schemas())


def lines(one, title):
    """Read one table of a drawing back, as its cells."""
    section = table(one).partition(f"### {title}\n")[2].partition("### ")[0]
    rows = [line[2:-2].split(" | ") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip("`") for cell in row] for row in rows[2:]]


def phases(one, words):
    """Read a list of phases back."""
    listed = re.fullmatch(r"every phase(?: but (\S+))?", words)
    return set(one.phases) - {listed[1]} if listed else set(words.split(", "))


def drawn(one):
    """Read the transitions of a diagram back."""
    found = re.findall(r"^    (\w+) --> (\w+): (.+)$", mermaid(one), re.MULTILINE)
    return {(start, to, tag) for start, to, tags in found for tag in tags.split(", ")}


# --- the generated files -------------------------------------------------------------------------------


def test_the_generated_files_are_current():
    """What stands in docs/ and schemas/ is what the code says today."""
    late = generate.stale()
    assert not late, f"stale: {', '.join(late)}; run `{generate.COMMAND}`"


def test_a_check_names_what_is_stale_and_writing_mends_it(tmp_path, monkeypatch, capsys):
    """A check exits with 1 and names each stale file, until the documents are written."""
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    assert generate.main(["--check"]) == 1
    told = capsys.readouterr().err
    assert all(path in told for path in generate.documents())
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0


@every_schema
def test_everything_in_a_schema_is_described(path):
    """A schema describes each of its types, because operators read it."""
    schema = json.loads(generate.documents()[path])
    assert [name for name, part in schema["$defs"].items() if not part.get("description")] == []


@every_schema
def test_every_reference_in_a_schema_leads_somewhere(path):
    """A schema refers to its own parts or to the schema that lies beside it."""
    text = generate.documents()[path]
    known = {f"#/$defs/{name}" for name in json.loads(text)["$defs"]}
    beside = {Path(other).name for other in generate.schemas()}
    assert set(re.findall(r'"\$ref": "([^"]+)"', text)) <= known | beside


def test_every_event_is_documented_for_operators():
    """Each event has a docstring of its own, and the catalogue a section with it."""
    page = generate.events_page()
    for tag, kind in events.EVENTS.items():
        assert vars(kind).get("__doc__"), f"{tag} has no docstring"
        assert f"### {tag}\n\n{generate.prose(kind)}\n" in page


@pytest.mark.parametrize("kind", commands.Command.__args__, ids=lambda kind: kind.verb)
def test_every_command_is_documented(kind):
    """Each command has a docstring of its own."""
    assert vars(kind).get("__doc__")


# --- the drawings --------------------------------------------------------------------------------------


@every_lifecycle
def test_the_diagram_shows_every_phase_by_its_title(one):
    """A phase that exists is in the picture, under the name that its original system gives it."""
    picture = mermaid(one)
    for phase in one.phases:
        assert re.search(rf"\b{phase}\b", picture)
        assert re.search(rf"\b{one.title(phase)}\b", picture)


@every_lifecycle
def test_the_diagram_shows_exactly_what_sets_the_phase(one):
    """Each arrow that names its goal, each move, and nothing else, is a line of the diagram."""
    arrow = {
        (phase, arrow.to, short(tag))
        for phase in one.phases
        for tag, arrow in arrows(one, phase).items()
        if arrow.to is not None
    }
    moves = {(phase, to, "transitioned") for phase, goals in one.moves.items() for to in goals}
    assert drawn(one) == arrow | moves


@every_lifecycle
def test_the_diagram_marks_where_a_life_begins_and_ends(one):
    """The initial phase and every end carry Mermaid's mark."""
    picture = mermaid(one)
    assert f"[*] --> {one.initial}\n" in picture
    assert all(f"{end} --> [*]\n" in picture for end in one.ends)


@every_lifecycle
def test_the_tables_say_what_every_phase_answers(one):
    """Each answer of each phase can be read back from the table of commands, and no other."""
    told = {
        (phase, command, words)
        for command, where, words in lines(one, "Commands")
        for phase in phases(one, where)
    }
    assert told == {
        (phase, command, answer_in_words(answer))
        for phase in one.phases
        for command, answer in answers(one, phase).items()
    }


@every_lifecycle
def test_the_tables_say_where_every_event_leads(one):
    """Each arrow of each phase can be read back from the table of arrows, and no other."""
    told = {
        (phase, tag, to, meters)
        for tag, where, to, meters in lines(one, "Arrows")
        for phase in phases(one, where)
    }
    assert told == {
        (phase, short(tag), arrow.to or "stays", arrow_in_words(arrow))
        for phase in one.phases
        for tag, arrow in arrows(one, phase).items()
    }


@every_lifecycle
def test_the_tables_say_what_every_sighting_means(one):
    """Each sighting of each phase can be read back from the table of what is found."""
    told = {
        (phase, sight, words) for sight, where, words in lines(one, "Found") for phase in phases(one, where)
    }
    assert told == {
        (phase, sight, answer_in_words(answer))
        for phase, row in one.found.items()
        for sight, answer in row.items()
    }


@every_lifecycle
def test_the_tables_hold_every_step_in_its_order(one):
    """The calls of each effect stand in the order in which they are made."""
    told = [(name, call) for name, call, *_ in lines(one, "Effects")]
    assert told == [(name, step.call) for name, steps in sorted(one.effects.items()) for step in steps]


@every_lifecycle
def test_the_tables_hold_every_move_and_every_row_of_the_quarantine(one):
    """What an application may do by itself, and what a quarantined machine answers, is written down."""
    assert {start for start, _ in lines(one, "Moves")} == {phase for phase in one.moves if one.moves[phase]}
    assert {command for command, _ in lines(one, "Quarantine")} == set(one.quarantine)


@every_lifecycle
def test_a_recorded_definition_is_drawn_to_the_same_byte(one):
    """A drawing depends on what a definition says, not on the order in which its tables were typed."""
    recorded = msgspec.json.decode(encode(one), type=Lifecycle)
    assert (mermaid(recorded), table(recorded)) == (mermaid(one), table(one))
