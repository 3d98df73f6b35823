"""What a log's file keeps beside its records, compared with a rebuild: guards, heads, names, keys, views."""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing, suppress
from functools import cache
from typing import Any

import msgspec
from msgspec.structs import replace

from eventvm.audit.rebuild import SOMEBODY, Rebuild
from eventvm.audit.standing import Standing
from eventvm.engine.cells import VIEW, Cells
from eventvm.errors import EventvmError, LogDamaged
from eventvm.log import PAGE, Holder, Kept
from eventvm.logs.lock import Note as LockNote
from eventvm.logs.signed import LAYOUT as CHECKPOINTS
from eventvm.logs.sqlite import SCHEMA
from eventvm.logs.sqlite_reader import beside, read_holder, spellings

LAYOUT = "SELECT type, name, tbl_name, rootpage > 0, sql FROM sqlite_schema"
HEADS = """
    SELECT s.id, s.stream, h.version, h.position FROM streams s LEFT JOIN heads h ON h.stream = s.id
    WHERE s.id > ? ORDER BY s.id LIMIT ?
"""
NAMES = "SELECT name, stream, held, reserved FROM names WHERE name > ? ORDER BY name LIMIT ?"
KEYS = "SELECT k.key, k.position FROM json_each(?) wanted JOIN keys k ON k.key = wanted.value"
SPARE = """
    SELECT k.key, k.position FROM keys k LEFT JOIN records r ON r.position = k.position
    WHERE r.key IS NOT k.key ORDER BY k.key LIMIT 1
"""
KEPT = "SELECT view FROM kept WHERE part = 0 ORDER BY view"
ORIGIN = "SELECT origin FROM tree"


async def check_layout(log: Standing) -> None:
    """Compare tables and guards with those of this format: a log without them can be changed by anybody."""
    there = set(map(tuple, await log.ask(LAYOUT)))
    signed = any(name == "checkpoints" for _, name, *_ in there)
    if missing := sorted(_layout(signed=signed) - there, key=str):
        kind, name, *_ = missing[0]
        raise LogDamaged(f"the {kind} {name} is missing, or is not what this format has")
    for kind, name, *_ in there - _layout(signed=signed):
        if kind == "trigger":
            raise LogDamaged(f"the trigger {name} is none that this format has")


@cache
def _layout(*, signed: bool) -> frozenset[tuple[Any, ...]]:
    with closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(f"{SCHEMA};{CHECKPOINTS}" if signed else SCHEMA)
        return frozenset(fresh.execute(LAYOUT))


async def check_pages(log: Standing) -> None:
    """Have SQLite look at its own pages: an index that lies would hide what is there."""
    (said,), *_ = await log.ask("PRAGMA integrity_check(1)")
    if said != "ok":
        raise LogDamaged(f"{log.path} is damaged: {said}")


async def check_origin(log: Standing) -> str:
    """Give the log's origin, which the lock beside the file has to name as well."""
    ((origin,),) = await log.ask(ORIGIN)
    noted = LockNote()
    with suppress(OSError, msgspec.MsgspecError):
        noted = msgspec.json.decode(beside(log.path, ".lock").read_bytes(), type=LockNote)
    if noted.origin not in {"", origin}:
        raise LogDamaged(f"{log.path} says that it is the log {origin}; its lock says {noted.origin}")
    return str(origin)


Passed = dict[int, tuple[int, int]]
"""Version and position of the last record of each stream by its number, where records were passed over."""


async def check_heads(log: Standing, rebuild: Rebuild, passed: Passed) -> None:
    """Compare the head of each stream."""
    count = 0
    async for id_, stream, version, position in _rows(log, HEADS, 0):
        told = rebuild.heads.get(stream) or passed.get(id_)
        if told is None:
            raise LogDamaged(f"the stream {stream} is kept, and no record is in it")
        if told != (version, position):
            kept = f"kept at {position} (version {version})" if position else "not kept"
            says = f"the log says {told[1]} (version {told[0]})"
            raise LogDamaged(f"the head of {stream} is {kept}, {says}", position=told[1])
        count += 1
    ((heads,),) = await log.ask("SELECT count(*) FROM heads")
    if heads != count:
        raise LogDamaged(f"{heads} heads are kept for {count} streams")


async def check_names(log: Standing, rebuild: Rebuild, *, whole: bool) -> None:
    """Compare whose each name is; in part, those of the machines that the rebuild has met."""
    left = dict(rebuild.names)
    async for name, *holder in _rows(log, NAMES, ""):
        kept, told = read_holder(*holder), left.pop(name, None)
        if told is not None and told.stream == SOMEBODY.stream:
            told = replace(told, stream=kept.stream)
        if kept != told and (told or whole or (kept.held and kept.stream in rebuild.heads)):
            raise LogDamaged(
                f"the name {name!r} is kept as {_holder(kept)}, the log says {_holder(told)}",
                position=rebuild.named.get(name, 0),
            )
    for name, told in left.items():
        raise LogDamaged(
            f"the name {name!r} is not kept, the log says {_holder(told)}",
            position=rebuild.named.get(name, 0),
        )


def _holder(holder: Holder | None) -> str:
    """Say whose a name is."""
    if holder is None:
        return "nobody's"
    stream = holder.stream or "nobody"
    told = f"{stream}'s" if holder.held or not holder.stream else f"let go by {stream}"
    return f"{told}, reserved for {holder.reserved}" if holder.reserved else told


async def check_keys(log: Standing, used: Sequence[tuple[str, int]]) -> None:
    """Compare where some keys are said to have been used."""
    if not used:
        return
    wanted = msgspec.json.encode([key for key, _ in used]).decode()
    kept = dict(await log.ask(KEYS, (wanted,)))
    for key, position in used:
        if (found := kept.get(key)) != position:
            raise LogDamaged(
                f"the key {key!r} at position {position} is kept for {found or 'none'}", position=position
            )


async def check_spare_keys(log: Standing, keyed: int) -> None:
    """See that no key is kept that no record has; all that records have were found already."""
    ((kept,),) = await log.ask("SELECT count(*) FROM keys")
    if kept == keyed:
        return
    for key, position in await log.ask(SPARE):
        raise LogDamaged(f"the key {key!r} is kept for position {position}, whose record has another or none")
    raise LogDamaged(f"{kept} keys are kept, the log has {keyed}")


async def kept_views(log: Standing) -> dict[str, Kept]:
    """Read the views that were kept, each whole; one whose writing was broken off has no part 0."""
    views = {}
    for (view,) in await log.ask(KEPT):
        if (kept := await _kept(log, view)) is None:
            raise LogDamaged(f"the kept view {view} is not what was kept")
        views[view] = kept
    return views


async def _kept(log: Standing, view: str) -> Kept | None:
    try:
        return await log.kept_as(view)
    except (AssertionError, ValueError):
        return None


async def check_kept(log: Standing, view: str, kept: Kept, rebuild: Rebuild, *, whole: bool) -> None:
    """Compare the living machines as they were kept with what they are at the same position.

    In part, only those that the rebuild has met.
    """
    if view not in spellings(VIEW):
        return
    cells = Cells(log)
    try:
        await cells.unpack(map(cells.reading(), kept.parts))
    except (EventvmError, msgspec.MsgspecError, ValueError) as problem:
        raise LogDamaged(f"the kept view {view} cannot be read: {problem}") from problem
    known = cells.living.keys() | rebuild.living.keys()
    for id_ in known if whole else known & rebuild.heads.keys():
        one, told = cells.living.get(id_), rebuild.living.get(id_)
        if one is None or one.machine != told:
            raise LogDamaged(f"the kept view {view} has another {id_} than the log", position=kept.tree.size)


async def _rows(log: Standing, query: str, after: Any) -> AsyncIterator[tuple[Any, ...]]:
    """Give the rows of a table page by page, in the order of their first column."""
    while rows := await log.ask(query, (after, PAGE)):
        for row in rows:
            yield tuple(row)
        after = rows[-1][0]
