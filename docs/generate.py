#!/usr/bin/env python3
"""Write the documents that follow from the code, or with --check say which of them are stale.

They are docs/events.md, docs/lifecycles.md, docs/limits.md, docs/repair.svg and schemas/*.json. What they say
of an event, a command, a field or a limit is the docstring that stands beside it; only the introductions
and the authors are written here.
"""

import argparse
import ast
import inspect
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import anyio
import msgspec
from msgspec.structs import FieldInfo

import eventvm
from eventvm import Simulated, Spec, commands, events, lifecycle, limits, observation, record, spec, tables
from eventvm.drawing import arrow_in_words, gathered_arrows, grid, mermaid, phases_in_words, table
from eventvm.lifecycle import Lifecycle, Rules
from eventvm.lifecycles import LIFECYCLES
from eventvm.picture import Lives, picture
from eventvm.portrait import portrait
from eventvm.tables import MOVED, NEUTRAL, Arrow
from eventvm.testing import VirtualClock, loop_factory

ROOT = Path(__file__).resolve().parent.parent
COMMAND = "python docs/generate.py"

ASKED = "the engine, on a request"
DONE = "the engine, on an outcome"
ASKED_OR_DONE = f"{ASKED} or an outcome"
ASKED_OR_SEEN = f"{ASKED} or a sighting"
OPERATOR = "an operator"
APPLICATION = "the application"
SUPERVISOR = "the supervisor"

AUTHORS = {
    "machine.requested": ASKED,
    "machine.abandoned": ASKED,
    "machine.noted": DONE,
    "machine.unchanged": ASKED,
    "machine.created": ASKED_OR_DONE,
    "machine.create_failed": DONE,
    "machine.cloned": DONE,
    "machine.started": DONE,
    "machine.start_failed": DONE,
    "machine.stopped": DONE,
    "machine.stop_failed": DONE,
    "machine.paused": DONE,
    "machine.pause_failed": DONE,
    "machine.resumed": DONE,
    "machine.resume_failed": DONE,
    "machine.snapshotted": DONE,
    "machine.snapshot_failed": DONE,
    "machine.snapshot_deleted": DONE,
    "machine.snapshot_delete_failed": DONE,
    "machine.restored": DONE,
    "machine.restore_failed": DONE,
    "machine.restore_lost": DONE,
    "machine.renamed": ASKED_OR_DONE,
    "machine.rename_failed": DONE,
    "machine.completed": APPLICATION,
    "machine.exited": ASKED_OR_SEEN,
    "machine.reconciled": ASKED_OR_SEEN,
    "machine.destroyed": f"{ASKED}, an outcome or a sighting",
    "machine.destroy_failed": DONE,
    "machine.transitioned": APPLICATION,
    "machine.forced": f"{OPERATOR} or {APPLICATION}",
    "machine.attested": OPERATOR,
    "machine.retry_advanced": APPLICATION,
    "machine.retry_reset": f"{OPERATOR} or {APPLICATION}",
    "machine.amended": f"{OPERATOR} or {APPLICATION}",
    "machine.restart_armed": SUPERVISOR,
    "machine.restart_begun": SUPERVISOR,
    "machine.reload_failed": SUPERVISOR,
    "machine.restart_given_up": SUPERVISOR,
    "machine.doubted": "the engine, when its log was restored from a backup",
    "machine.confirmed": "the engine, on a sighting of what was in doubt",
    "ledger.corrected": OPERATOR,
    "log.restored": "whoever restored the log",
    "log.imported": "whoever imported it",
    "lifecycle.defined": "the engine, before a machine lives under it",
}
"""Who writes each event; a request that the record itself can answer needs no outcome."""
assert AUTHORS.keys() == events.EVENTS.keys(), f"say who writes {AUTHORS.keys() ^ events.EVENTS.keys()}"


# --- what the code says of itself ----------------------------------------------------------------------


Kind = type[msgspec.Struct]


class Written(msgspec.Struct, frozen=True):
    """A field as its source has it: the annotation, and the docstring below it."""

    annotation: str
    doc: str


@cache
def written(module: str) -> dict[str, dict[str, Written]]:
    """Read the fields of every class of a module, with the bare strings that describe them."""
    tree = ast.parse(inspect.getsource(import_module(module)))
    return {node.name: dict(_annotated(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _annotated(node: ast.ClassDef) -> Iterator[tuple[str, Written]]:
    for line, below in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            yield line.target.id, Written(ast.unparse(line.annotation).replace("'", '"'), _string(below))


def _string(node: ast.stmt | None) -> str:
    match node:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return inspect.cleandoc(text)
        case _:
            return ""


def field_of(kind: Kind, name: str) -> Written:
    """Find a field where it was written: in the class itself or in a base."""
    found = (written(base.__module__)[base.__name__].get(name) for base in _bases(kind))
    return next(field for field in found if field is not None)


def _bases(kind: Kind) -> Iterator[type]:
    return (base for base in kind.__mro__ if base.__module__.startswith("eventvm."))


def prose(described: object) -> str:
    """Give the whole docstring."""
    return inspect.getdoc(described) or ""


def promise(described: object) -> str:
    """Give the first paragraph of a docstring, on one line."""
    return " ".join(prose(described).split("\n\n")[0].split())


STRUCTS: dict[str, Kind] = {
    name: kind
    for module in (commands, events, lifecycle, observation, record, spec, tables)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
}
"""Every value of the core, by the name that its schema has."""


# --- schemas -------------------------------------------------------------------------------------------


def schemas() -> dict[str, str]:
    """Write the JSON Schema of everything that leaves or enters as JSON."""
    return {
        "schemas/events.json": schema("events", events.Event),
        "schemas/commands.json": schema("commands", commands.Command),
        "schemas/lifecycle.json": schema("lifecycle", Lifecycle),
        "schemas/record.json": schema("record", _plain_record(), events.Unknown),
    }


def schema(name: str, described: object, *others: Kind) -> str:
    """Write one JSON Schema with every docstring in its place; what others it refers to come along."""
    roots, parts = msgspec.json.schema_components((described, *others), ref_template="#/$defs/{name}")
    for part, body in parts.items():
        _describe(STRUCTS[part], body["properties"])
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"eventvm/{name}.json",
        "$defs": parts,
        "description": promise(import_module(f"eventvm.{name}")),
        **roots[0],
    }
    return json.dumps(document, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def _describe(kind: Kind, properties: dict[str, Any]) -> None:
    for name, body in properties.items():
        if name != kind.__struct_config__.tag_field and (doc := field_of(kind, name).doc):
            body["description"] = doc
        if kind is record.Record and name == "event":
            body["anyOf"] = [{"$ref": "events.json"}, {"$ref": "#/$defs/Unknown"}]


def _plain_record() -> Kind:
    """Copy Record with an event of any kind: a union that holds Unknown has no schema."""
    fields = msgspec.structs.fields(record.Record)
    loose = [(one.name, Any if one.name == "event" else one.type, one.default) for one in fields]
    return msgspec.defstruct("Record", loose, namespace={"__doc__": record.Record.__doc__})


# --- docs/lifecycles.md --------------------------------------------------------------------------------

GENERATED = f"<!-- Generated by `{COMMAND}` from the code. Do not edit. -->"

LIFECYCLES_INTRO = """
# The lifecycles

A lifecycle is data: tables that say what each phase makes of each command, event and observation.
These are the five that come with eventvm, drawn from the very tables that the engine interprets.

How to read them:

* A **command** comes to an effect, to an event at once, to nothing (it is fulfilled already) or to
  a refusal, which changes nothing. `look` means that the world is probed first, and the answer then
  depends on what was seen; a question such as `compute_open?` is put to the record itself.
  `destroy_forced` is `destroy` with force.
* An **effect** is a chain of calls to the provider. Each step's event is durable before the next
  step begins. What an observation shows of a step tells, after a crash, whether it happened;
  nothing is ever called again blindly.
* An **arrow** says where an event leads and what becomes of each meter. `keeps`: it goes on as it
  was. `opens`: an interval begins, and one that is still open is closed as a crash at the same
  instant. `ensures`: an interval begins unless one is open. `closes`: the open interval ends, if
  there is one. `reopens`: it ends, and another begins in the new shape. In brackets stands the
  reason that the ledger gives; `boot` reads `restart` once the machine has ever booted and `clone`
  in a clone, and `stop` reads `stop-user` while a request is open and `stop-crash` otherwise.
* Requests, notes, attestations, retries and corrections may stand in every phase and keep it,
  unless an arrow is listed; they are left out of the diagrams, and so is `machine.forced`, which
  leads anywhere.
"""


def lifecycles_page() -> str:
    """Write docs/lifecycles.md."""
    return "\n".join((GENERATED, LIFECYCLES_INTRO, *map(_lifecycle, LIFECYCLES.values())))


def _lifecycle(one: Lifecycle) -> str:
    module = import_module(f"eventvm.lifecycles.{one.name}")
    heading = f"## {one.name}\n\n{prose(module)}\n"
    return f"{heading}\n```mermaid\n{mermaid(one)}```\n\n{table(one)}"


# --- docs/events.md ------------------------------------------------------------------------------------

EVENTS_INTRO = f"""
# The events

An event is a fact, in the past tense: something that became true of a machine. The log keeps events
and nothing else; the phase, the history, the ledger and every page are folded from them. An event
is never changed and never deleted. What turns out to be wrong is put right by another event.

In the log an event is JSON, and its `type` is its tag. Three things never change once they were
released: a tag, the default of a field, and the meaning of either. A field may be added, with a
default, and older records then read as if they had been written with it. Anything else is a new
schema version. This release writes version {events.SCHEMA}; every record carries the version that
it was written in, and upcasters lead an older body to today's form, one version at a time, while it
is read. The stored bytes stay as they are.

A tag that this release does not know reads as *Unknown*: it was written by a newer release. Whoever
folds a machine from its records stops there, and names the position, because a phase that is
guessed is worse than none. A view for people or an export says *Ignored* and goes on behind it. A
tag that is known, with a body that its type forbids, is neither: the log is damaged.

How each profile answers commands, and by which calls, is in [lifecycles.md](lifecycles.md); the
same events as JSON Schema are in [schemas/events.json](../schemas/events.json).
"""

COMMON_INTRO = "## What every event carries\n\nIts `type`, which is the tag, and:\n"
OVERVIEW_INTRO = """## Overview

*Sets the phase* says whether the event raises the machine's generation, which counts the events that
set its phase, also to the same one. *Own fields* leaves out those that every event carries.
"""
EACH_INTRO = "## Event by event\n"
VALUES_INTRO = "## Values\n\nWhat the fields above are made of.\n"

ALIASES: dict[str, Any] = {
    "Command": commands.Command,
    "Liveness": observation.Liveness,
    "Manner": observation.Manner,
    "Outcome": events.Outcome,
    "Termination": observation.Termination,
}
"""The types of fields that are a choice between others."""

NOTES = {
    "machine.created": "With `phase` it leads to that phase instead, and what counts there begins.\n",
}
"""What a table of arrows cannot say of an event."""

Cells = tuple[str, ...]


def events_page() -> str:
    """Write docs/events.md."""
    common = f"{COMMON_INTRO}\n{_fields(events.Happened, shared=True)}"
    sections = (_event(tag, kind) for tag, kind in events.EVENTS.items())
    parts = (common, _overview(), EACH_INTRO, *sections, VALUES_INTRO, *_values())
    return "\n".join((GENERATED, EVENTS_INTRO, *parts))


def _overview() -> str:
    columns = ("Event", "What it says", "Own fields", "Written by", "Profiles", "Sets the phase")
    return f"{OVERVIEW_INTRO}\n{grid(columns, map(_summary, events.EVENTS))}"


def _summary(tag: str) -> Cells:
    kind = events.EVENTS[tag]
    own = (f"`{one.name}: {field_of(kind, one.name).annotation}`" for one in _own(kind))
    link = f"[{tag}](#{tag.replace('.', '')})"
    return link, promise(kind), ", ".join(own), AUTHORS[tag], _profiles(tag), _sets_phase(tag)


def _profiles(tag: str) -> str:
    return _names([name for name, one in LIFECYCLES.items() if occurs(one, tag)])


def _names(profiles: list[str]) -> str:
    """List profiles, or say in a word that it is all of them or none."""
    if len(profiles) == len(LIFECYCLES):
        return "every profile"
    return ", ".join(profiles) or "none"


def _sets_phase(tag: str) -> str:
    sets = {row[2] == RAISED for one in LIFECYCLES.values() for row in consequences(one, tag)}
    return "sometimes" if len(sets) > 1 else "yes" if True in sets else "no"


def occurs(one: Lifecycle, tag: str) -> bool:
    """Say whether an event can stand in a life of this lifecycle."""
    return any(True for _ in consequences(one, tag))


RAISED, KEPT = "+1", "same"


def consequences(one: Lifecycle, tag: str) -> Iterator[Cells]:
    """Give what an event does in a lifecycle: where, the next phase, the generation, the meters."""
    if tag in MOVED:
        yield from _moves(one, tag)
        return
    rest = list(one.phases)
    for name, arrow, phases in gathered_arrows(one):
        if name == tag:
            rest = [phase for phase in rest if phase not in phases]
            yield _consequence(one, phases, arrow)
    if tag in NEUTRAL and rest:
        yield _consequence(one, rest, Arrow())


def _consequence(one: Lifecycle, phases: list[str], arrow: Arrow) -> Cells:
    raised = KEPT if arrow.to is None else RAISED
    return phases_in_words(one, phases), arrow.to or "stays", raised, arrow_in_words(arrow)


def _moves(one: Lifecycle, tag: str) -> Iterator[Cells]:
    """Give what the moves of a lifecycle do, for all goals at once that do the same to the meters."""
    rules = Rules(one)
    goals: dict[str, list[str]] = {}
    for goal in _goals(one, tag):
        goals.setdefault(arrow_in_words(rules.move(one.initial, goal, forced=True)), []).append(goal)
    where = "every phase" if tag == "machine.forced" else "where its moves allow"
    for meters, same in goals.items():
        yield where, phases_in_words(one, same), RAISED, meters


def _goals(one: Lifecycle, tag: str) -> list[str]:
    if tag == "machine.forced":
        return list(one.phases) if any("force" in row for row in one.rows.values()) else []
    listed = {goal for goals in one.moves.values() for goal in goals}
    return [phase for phase in one.phases if phase in listed]


def _event(tag: str, kind: Kind) -> str:
    fields = _fields(kind) if _own(kind) else "It has no fields of its own.\n"
    parts = (f"### {tag}\n\n{prose(kind)}\n", f"Written by {AUTHORS[tag]}.\n", fields, _effects(tag))
    return "\n".join((*parts, NOTES[tag]) if tag in NOTES else parts)


def _effects(tag: str) -> str:
    same: dict[tuple[Cells, ...], list[str]] = {}
    for name, one in LIFECYCLES.items():
        if rows := tuple(consequences(one, tag)):
            same.setdefault(rows, []).append(name)
    if not same:
        return "It belongs to no machine's life: it stands in a stream of its own.\n"
    lines = ((_names(profiles), *row) for rows, profiles in same.items() for row in rows)
    return grid(("Profile", "In", "Next phase", "Generation", "Meters"), lines)


def _own(kind: Kind) -> list[FieldInfo]:
    """Give the fields that not every event carries."""
    common = set(events.Happened.__struct_fields__)
    return [one for one in msgspec.structs.fields(kind) if one.name not in common]


def _fields(kind: Kind, *, shared: bool = False) -> str:
    listed = msgspec.structs.fields(kind) if shared else _own(kind)
    return grid(("Field", "Type", "Default", "Meaning"), (_field(kind, one) for one in listed))


def _field(kind: Kind, one: FieldInfo) -> Cells:
    source = field_of(kind, one.name)
    default = "required" if one.required else f"`{_default(one)}`"
    return f"`{one.name}`", f"`{source.annotation}`", default, " ".join(source.doc.split())


def _default(one: FieldInfo) -> str:
    made = one.default if one.default is not msgspec.NODEFAULT else one.default_factory()
    return msgspec.json.encode(made).decode()


def _values() -> Iterator[str]:
    _, parts = msgspec.json.schema_components([events.Event])
    told = {*events.TAGS, *get_args(commands.Command)}
    for name in sorted(parts):
        if (kind := STRUCTS[name]) not in told:
            fields = _fields(kind, shared=True) if kind.__struct_fields__ else "It has no fields.\n"
            yield f"### {name}\n\n{prose(kind)}\n\n{fields}"
    yield f"### Words\n\n{grid(('Type', 'One of'), _words())}"


def _words() -> Iterator[Cells]:
    for name, meant in ALIASES.items():
        members = (one if isinstance(one, str) else one.__name__ for one in get_args(meant))
        yield f"`{name}`", ", ".join(f"`{member}`" for member in members)


# --- docs/limits.md ------------------------------------------------------------------------------------

LIMITS_INTRO = """
# The limits

Everything that comes from outside has a limit, and the limit is a number in `eventvm.limits`. What is beyond
it is refused with a sentence that says what would be taken: a `BadInput`, or an `Overloaded` (503) where the
limit is room for so many at once and it is full. Nothing was written then, and what was taken is not lost.

The same checks hold for a verb, for a command that was made by hand and sent, for what `tell` is given and
for what a provider answers. A provider is not an application that could mend its call: a probe that breaks a
limit counts as *unknown*, an answer that no record can hold leaves the outcome open until somebody looks,
and what is only too long is cut.

"""

LIMITS_REST = """
## Hostile text

* A name, a key, an actor and every other word is printable, so no newline, control, bidi or zero-width
  character is in it. The pattern of a name holds for the whole of it: a newline at its end is refused, too.
* A reason is kept verbatim, whatever its author put in; only a NUL and half a character (a lone surrogate)
  are refused. `describe`, records and exports hold it as it is: whoever prints them escapes them.
  `eventvm.errors.plain` does that. The command line, the pictures and the message of every error use it, so
  no escape sequence reaches a terminal through them.
* What a provider says in an error is written on one line, what cannot be printed escaped, and cut. It is in
  the log for ever: a provider must not put secrets there.

## Numbers and JSON

* Every integer that a command, a spec or an observation brings has a range within 64 bits; `True` is no
  integer. Instants have 63 bits, so that adding to one does not leave 64.
* The data of a move is what JSON can hold and gives back as it was: no NaN, no infinity, no keys but text,
  no half characters, no integers beyond 64 bits, and no deeper than the table says.
* A record's bytes are made once, when it is queued. They are what is stored, what is hashed and what every
  reader reads; nobody can change them by changing what was given. A body in which a key stands twice can
  only have been written by another program; it hashes as it stands, and the last value is read.
"""


def limits_page() -> str:
    """Write docs/limits.md."""
    told = grid(("Limit", "At most", "Of what"), _limits())
    return f"{GENERATED}\n{LIMITS_INTRO}{told}{LIMITS_REST}"


def _limits() -> Iterator[Cells]:
    body = ast.parse(inspect.getsource(limits)).body
    for line, below in pairwise(body):
        match line:
            case ast.Assign(targets=[ast.Name(id=name)]) if name.isupper() and (meant := _string(below)):
                yield f"`{name}`", f"{getattr(limits, name):,}", meant
            case _:
                pass


# --- the files -----------------------------------------------------------------------------------------


# --- the picture ------------------------------------------------------------------------------------


async def repair() -> str:
    """Live the story of a repaired record in virtual time, and draw it from its log."""
    clock = VirtualClock()
    world = Simulated(clock)
    async with eventvm.open("memory:", providers=[world], clock=clock) as engine:
        web = await engine.create("web-1", Spec(provider="simulated", cpus=2))
        await anyio.sleep(240)
        await web.start()
        await anyio.sleep(600)
        world.script("web-1", "stop", "fail")
        with suppress(eventvm.EventvmError):
            await web.stop()
        await anyio.sleep(300)
        await web.start()
        await anyio.sleep(1200)
        await web.stop()
        await anyio.sleep(180)
        lives = Lives()
        for record in (await engine.log.read()).records:
            lives.apply(record)
        return portrait(picture([lives.life(lives.pasts.named("web-1"), clock.now())], None, None))


def documents() -> dict[str, str]:
    """Give every generated file by its path in the repository."""
    return {
        "docs/events.md": events_page(),
        "docs/lifecycles.md": lifecycles_page(),
        "docs/limits.md": limits_page(),
        "docs/repair.svg": anyio.run(repair, backend_options={"loop_factory": loop_factory()}),
        **schemas(),
    }


def stale() -> list[str]:
    """Name the generated files that are not as the code would have them."""
    return [path for path, text in documents().items() if not _reads(ROOT / path, text)]


def _reads(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


def write() -> None:
    """Write every generated file."""
    for path, text in documents().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Write the documents, or check them and name those that are stale."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing and name what is stale")
    if not parser.parse_args(arguments).check:
        write()
        return 0
    if late := stale():
        print(f"stale: {', '.join(late)}; run `{COMMAND}`", file=sys.stderr)  # noqa: T201  # a script
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
