"""`eventvm log export` and `import`: a log as text that others read, and back to the byte."""

import argparse
from collections.abc import AsyncIterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec

from eventvm.audit.forms import FORMS, Form, Scope
from eventvm.audit.taking import Others, taken
from eventvm.cli import backup, moment, place, reading, sheet
from eventvm.cli.input import begun
from eventvm.cli.paper import Paper
from eventvm.cli.progress import Progress
from eventvm.errors import BadInput
from eventvm.log import EventLog, Replay
from eventvm.logs.importing import import_events, import_log
from eventvm.logs.part import written
from eventvm.logs.sqlite_reader import SqliteReader, read_head
from eventvm.past import when
from eventvm.record import Record
from eventvm.views import tag

MODE = 0o600


def describe(verbs: Any) -> None:
    """Describe the verbs and their options."""
    _export(verbs)
    _import(verbs)


def _export(verbs: Any) -> None:
    verb = verbs.add_parser(
        "export",
        help="write a log as JSON lines or CloudEvents, each hash checked on the way",
        description="A whole export can be imported again, to the byte. One that was narrowed by machine, "
        "type or time is for reading. Records come in the order of the log.",
        epilog="example: eventvm log export --as cloudevents --machine web-1 --since '2 hours ago'",
    )
    verb.add_argument("--as", dest="form", choices=tuple(FORMS), default="jsonl", help="(default: jsonl)")
    verb.add_argument(
        "--to", type=Path, metavar="FILE", help="a file that does not exist yet (default: the output)"
    )
    verb.add_argument(
        "--machine", action="append", default=[], metavar="NAME", help="only this one's; repeatable"
    )
    verb.add_argument(
        "--id", action="append", default=[], metavar="ID", help="only those of this id; repeatable"
    )
    verb.add_argument(
        "--type", action="append", default=[], metavar="TYPE", help="only these, `*` for any; repeatable"
    )
    verb.add_argument("--since", type=moment.moment, metavar="WHEN", help="only what was so since then")
    verb.add_argument("--until", type=moment.moment, metavar="WHEN", help="only what was so before then")
    place.describe(verb)
    sheet.describe(verb, *sheet.PLAIN)
    verb.set_defaults(run=lambda options, paper: export(paper, options))


def _import(verbs: Any) -> None:
    verb = verbs.add_parser(
        "import",
        help="make a log of an export, the same bytes, positions and hashes",
        description="What was cut short or edited is refused with its line, and nothing is left of it. "
        "CloudEvents of other systems are taken in at their own times, each marked as imported.",
        epilog="example: eventvm log import fleet.jsonl fleet-again.db",
    )
    verb.add_argument("source", metavar="SRC", help="the export; `-` for the input")
    verb.add_argument("destination", metavar="DST", type=Path, help="a file that does not exist yet")
    sheet.describe(verb, *sheet.PLAIN)
    verb.set_defaults(run=lambda options, paper: imported(paper, options))


# --- export ---------------------------------------------------------------------------------------------


async def export(paper: Paper, options: argparse.Namespace) -> int:
    """Write records out, one at a time."""
    if options.to is None and options.output != "table":
        raise BadInput("-o tells of the file that was written; name it with --to")
    async with reading.opened(options) as (log, _):
        wanted = await Wanted.asked(log, options)
        origin, replay = await _origin(log), Replay(log)
        form = FORMS[options.form](Scope(origin, replay.until, log.tree.root.hex(), wanted.all))
        if options.to is None:
            async for text in _texts(replay, form, wanted, Progress(beside=paper)):
                paper.text(text)
            return 0
        with written(options.to, MODE) as part, part.open("w", encoding="utf-8", newline="") as file:
            async for text in _texts(replay, form, wanted, Progress()):
                file.write(text)
    _say(paper, options, form)
    return 0


async def _origin(log: EventLog) -> str:
    assert isinstance(log, SqliteReader), "only a file is opened read-only"
    return (await read_head(log)).origin


async def _texts(replay: Replay, form: Form, wanted: "Wanted", progress: Progress) -> AsyncIterator[str]:
    """Write the log as it is now; what is appended meanwhile is not in it."""
    yield form.opening()
    with progress:
        async for records in replay:
            for record in records:
                if text := form.take(record, wanted=wanted(record)):
                    yield text
            progress.tell("exporting", records[-1].position, replay.until)
    yield form.closing()


def _say(paper: Paper, options: argparse.Namespace, form: Form) -> None:
    size = options.to.stat().st_size
    if options.output == "table":
        paper.line(f"{paper.ink(options.to)}: {form.records:,} records, {size:,} bytes")
        return
    told = {"path": str(options.to), "as": options.form, "records": form.records, "bytes": size}
    sheet.one(paper, options.output, told | msgspec.to_builtins(form.scope))


class Wanted:
    """Which records are exported."""

    def __init__(self, streams: set[str], types: list[str], since: int | None, until: int | None) -> None:
        self._streams = streams
        self._types = types
        self._since = since
        self._until = until

    @classmethod
    async def asked(cls, log: EventLog, options: argparse.Namespace) -> "Wanted":
        """Look up what the options name."""
        now = reading.present()
        streams = {
            (await reading.machine(log, now, name, by_id=by_id, brief=True)).machine.id
            for names, by_id in ((options.machine, False), (options.id, True))
            for name in names
        }
        since, until = [None if one is None else await one.so(log) for one in (options.since, options.until)]
        return cls(streams, options.type, since, until)

    @property
    def all(self) -> bool:
        """Whether every record is."""
        return not self._streams and not self._types and self._since is None and self._until is None

    def __call__(self, record: Record) -> bool:
        return self.all or (
            (not self._streams or record.stream in self._streams)
            and (not self._types or any(fnmatchcase(tag(record), one) for one in self._types))
            and (self._since is None or when(record) >= self._since)
            and (self._until is None or when(record) < self._until)
        )


# --- import ---------------------------------------------------------------------------------------------


async def imported(paper: Paper, options: argparse.Namespace) -> int:
    """Take an export in, and say what was written."""
    with begun(options.source) as file, Progress() as progress:
        export, path = taken(file), options.destination
        if isinstance(export, Others):
            made = await import_events(export, path, headway=progress.tell)
        else:
            made = await import_log(export, path, progress.tell)
    backup.say(paper, options.output, made)
    return 0
