"""Tamper evidence: each attack on a real file is found, at its position, or shown to need a checkpoint."""

import asyncio
import os
import random
import re
import shutil
import sqlite3
from contextlib import closing, suppress

import pytest
from msgspec.structs import replace
from tampering import SPEC, contents, goes_on, lax, lived, opened, rehash

import eventvm
from eventvm import Simulated
from eventvm.audit import rebuild
from eventvm.audit.checkpoint import anchor, read_anchor
from eventvm.audit.standing import Standing
from eventvm.audit.verify import file_verified, verified
from eventvm.errors import BadInput, EventvmError, IllegalEvent, LogDamaged, NotSigned
from eventvm.logs.sqlite import SqliteLog
from eventvm.signing.keys import generate, load, rotate, trusted
from eventvm.signing.note import PrivateKey, read_note, unsigned

FLIPS = 500 if os.environ.get("EVENTVM_THOROUGH") == "1" else 80
VICTIM = 9
"""A record in the middle: it is the first machine's, and neither its first nor its last."""


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A log that was signed and anchored while it lived; made once, copied for each attack."""
    place = tmp_path_factory.mktemp("shelf")
    generate(place / "ops.key", "ops.example.com")
    size = asyncio.run(lived(place / "log.db", place / "ops.key"))
    (place / "size").write_text(str(size))
    note = asyncio.run(file_verified(place / "log.db")).note
    anchor(place / "anchor", read_note(note))
    return place


@pytest.fixture
def place(shelf, tmp_path):
    shutil.copytree(shelf, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def path(place):
    return place / "log.db"


@pytest.fixture
def key(place):
    return place / "ops.key"


@pytest.fixture
def size(place):
    return int((place / "size").read_text())


@pytest.fixture
def keys(place):
    return trusted(place / "ops.key.pub")


def anchored(place):
    return read_anchor(place / "anchor")


async def found(path, position=None, kind=EventvmError, **known):
    """Verify, and see that what is wrong is said, with the exit code of an integrity failure."""
    with pytest.raises(kind) as caught:
        await file_verified(path, **known)
    assert caught.value.exit_code == 7, caught.value
    if position is not None:
        assert caught.value.position == position, caught.value
    return caught.value


async def missed(path, **known):
    """Verify, and see nothing wrong: this is what an attack looks like to whoever holds too little."""
    return await file_verified(path, **known)


async def test_a_log_that_nobody_has_touched_verifies(path, place, keys, size):
    """Whole, with its key and its anchor; so does the file of a log that is held, and its open log."""
    verdict = await file_verified(path, keys=keys, anchored=anchored(place))
    assert (verdict.checkpoint.size, verdict.machines) == (size, 2)
    assert verdict.signed_by == keys[-1].title
    async with eventvm.open(path, signing=place / "ops.key") as engine:
        await (await engine.machine("api-2")).stop()
        assert (await verified(engine.log, keys=keys)).checkpoint.root == engine.log.tree.root


# --- attacks on records: the file contradicts itself, and the first wrong position is named


def edit(column, value):
    def attack(connection, _):
        connection.execute(f"UPDATE records SET {column} = ? WHERE position = ?", (value, VICTIM))

    return attack


def swap(one, other, columns):
    def attack(connection, _):
        names = ", ".join(columns)
        rows = [
            connection.execute(f"SELECT {names} FROM records WHERE position = ?", (at,)).fetchone()
            for at in (other, one)
        ]
        sets = ", ".join(f"{column} = ?" for column in columns)
        for at, row in zip((one, other), rows, strict=True):
            connection.execute(f"UPDATE records SET {sets} WHERE position = ?", (*row, at))

    return attack


def delete(position):
    def attack(connection, size):
        at = position(connection, size)
        connection.execute("DELETE FROM records WHERE position = ?", (at,))

    return attack


def end_of_first(connection, _):
    """The last record of the first machine, which is not the log's."""
    query = "SELECT max(position) FROM records WHERE stream = (SELECT stream FROM records WHERE position = 2)"
    return connection.execute(query).fetchone()[0]


def renumbered(connection, size):
    delete(lambda *_: VICTIM)(connection, size)
    for at in range(VICTIM + 1, size + 1):
        connection.execute("UPDATE records SET position = ? WHERE position = ?", (at - 1, at))


ALL = (
    "stream", "version", "previous", "recorded_at", "actor", "key", "digest", "cause", "schema", "body",
    "leaf",
)  # fmt: skip
STOPPED = '{"type":"machine.stopped","at":{"wall":1,"boot":1,"boot_id":"b"}}'
OTHER_NAME = "UPDATE streams SET stream = 'x' WHERE id = 2"
OPEN = {
    "1 an edited body": (edit("body", STOPPED), VICTIM),
    "1 an edited actor": (edit("actor", "eve"), VICTIM),
    "1 an edited time": (edit("recorded_at", 1), VICTIM),
    "1 a body that is none": (edit("body", "{"), VICTIM),
    "1 an edited cause": (edit("cause", 1), VICTIM),
    "1 a version of another": (edit("version", 40), VICTIM),
    "2 a record deleted in the middle": (delete(lambda *_: VICTIM), VICTIM),
    "2 and the others moved up": (renumbered, VICTIM),
    "3 the last record of a stream deleted": (delete(end_of_first), end_of_first),
    "4 two records in the other order": (swap(VICTIM, VICTIM + 1, ALL), VICTIM),
    "5 two records in each other's stream": (swap(2, 20, ["stream"]), 2),
    "a stream under another name": (lambda connection, _: connection.execute(OTHER_NAME), 2),
    "a key that was never used": (edit("key", "k"), VICTIM),
}  # fmt: skip


@pytest.mark.parametrize("attack", OPEN)
async def test_a_record_that_was_tampered_with_is_named(path, size, attack):
    """Without any key: its own hash, its stream's chain or the order of positions gives it away."""
    deed, position = OPEN[attack]
    with opened(path) as connection:
        expected = position(connection, size) if callable(position) else position
        deed(connection, size)
    await found(path, expected)


# --- attacks that compute every hash anew: only a checkpoint that is held knows


def truncated(connection, size):
    connection.execute("DELETE FROM records WHERE position > ?", (size - 2,))
    connection.execute("UPDATE names SET held = 1 WHERE name = 'web-2'")


def edited(connection, _):
    connection.execute("UPDATE records SET actor = 'eve' WHERE position = ?", (VICTIM,))


def unsigned_and(attack):
    def both(connection, size):
        attack(connection, size)
        connection.execute("DELETE FROM checkpoints")

    return both


HIDDEN = {
    "6 the tail cut off": (truncated, -1, -1),
    "6 and the checkpoint too": (unsigned_and(truncated), 1, -1),
    "7 a record edited": (edited, 1, 1),
    "7 and the checkpoint deleted": (unsigned_and(edited), 1, 1),
}
"""For each attack: the position that the log's key names, and the one that the anchor names; -1: the end."""


@pytest.mark.parametrize("attack", HIDDEN)
async def test_a_log_whose_hashes_were_all_computed_anew_is_found_by_a_checkpoint(
    path, place, keys, size, attack
):
    """By the one that its key has signed, and by the anchor; without any the mutant misses it."""
    deed, by_key, by_anchor = HIDDEN[attack]
    with opened(path) as connection:
        deed(connection, size)
        rehash(connection)
        left = connection.execute("SELECT size FROM tree").fetchone()[0]
    await found(path, left + 1 if by_key < 0 else by_key, keys=keys)
    await found(path, left + 1 if by_anchor < 0 else by_anchor, anchored=anchored(place))
    with opened(path) as connection:
        connection.execute("DELETE FROM checkpoints")
    await missed(path)


async def test_an_anchor_of_each_size_names_the_very_position(path, place, key, keys):
    """The more often a log is anchored, the closer is what was written anew."""
    for verb in ("stop", "start", "stop"):
        await goes_on(path, key, verb)
        anchor(place / "anchor", read_note((await file_verified(path)).note))
    at = read_anchor(place / "anchor")[1].checkpoint.size
    with opened(path) as connection:
        connection.execute("UPDATE records SET actor = 'eve' WHERE position = ?", (at + 2,))
        rehash(connection)
    await found(path, at + 1, keys=keys, anchored=anchored(place))


async def forge(path, verb="stop"):
    """Append to a log as its engine would, without its key."""
    log = await SqliteLog.open(path)
    log.begin()
    try:
        async with eventvm.Engine(log, [eventvm.Simulated()]).running() as engine:
            await getattr(await engine.machine("api-2"), verb)()
    finally:
        await log.close()


async def test_8_a_forged_tail_is_not_signed(path, place, key, keys, size):
    """The verifier refuses it and the engine refuses to go on; a verifier without the key misses it."""
    await forge(path)
    await found(path, size + 1, NotSigned, keys=keys)
    with pytest.raises(NotSigned) as caught:
        async with eventvm.open(path, signing=key):
            pass
    assert caught.value.position == size + 1
    await missed(path, anchored=anchored(place))


async def test_8_a_forged_tail_is_not_laundered_by_deleting_the_checkpoint(path, key, keys):
    """An engine signs an empty log, or one that it has signed to its end; never what it finds."""
    await forge(path)
    with opened(path) as connection:
        connection.execute("DELETE FROM checkpoints")
    with pytest.raises(NotSigned):
        async with eventvm.open(path, signing=key):
            pass
    await found(path, 1, NotSigned, keys=keys)


async def test_9_an_old_copy_put_back_is_found_by_the_anchor_alone(path, place, key, keys, size):
    """It was signed once, so its key has nothing against it: a mutant that holds the key only misses it."""
    shutil.copy(path, place / "old.db")
    await goes_on(path, key)
    anchor(place / "anchor", read_note((await file_verified(path)).note))
    shutil.copy(place / "old.db", path)
    await missed(path, keys=keys)
    await found(path, size + 1, keys=keys, anchored=anchored(place))
    with pytest.raises(LogDamaged, match="knows it at"):
        anchor(place / "anchor", read_note((await file_verified(path)).note))


async def test_10_two_histories_that_one_key_has_signed_contradict_each_other(path, place, key, keys, size):
    """A split view: each is right by itself, and whoever holds a checkpoint of one finds the other."""
    fork = place / "fork.db"
    shutil.copy(path, fork)
    assert await goes_on(path, key) == await goes_on(fork, key)
    anchor(place / "anchor", read_note((await file_verified(path)).note))
    await missed(fork, keys=keys)
    await found(fork, size + 1, keys=keys, anchored=anchored(place))
    with pytest.raises(LogDamaged, match="not the one"):
        anchor(place / "anchor", read_note((await file_verified(fork)).note))


async def test_11_the_checkpoint_of_another_log_is_none(path, place, key, keys):
    """Signed by the same key, and be it at the same size: it names its log."""
    other = place / "other.db"
    await lived(other, key)
    with closing(sqlite3.connect(other)) as connection:
        notes = connection.execute("SELECT * FROM checkpoints").fetchall()
    anchor(place / "elsewhere", read_note(notes[0][1]))
    await found(path, kind=LogDamaged, keys=keys, anchored=read_anchor(place / "elsewhere"))
    with pytest.raises(LogDamaged, match="is the anchor of the log"):
        anchor(place / "elsewhere", anchored(place)[0])
    with opened(path) as connection:
        connection.executemany("REPLACE INTO checkpoints VALUES (?, ?)", notes)
    await found(path, kind=LogDamaged, keys=keys)


async def test_11_an_anchor_of_another_log_is_none_even_where_it_says_the_same(path, place, keys):
    """Nor is one that a stranger has signed: what it says may be true, and is not known from us."""
    head = anchored(place)[0].checkpoint
    other = read_note(unsigned(replace(head, origin="another")))
    await found(path, kind=LogDamaged, keys=keys, anchored=[other])
    stranger = read_note(PrivateKey.fresh(keys[0].name).signed(head))
    await found(path, kind=LogDamaged, keys=keys, anchored=[stranger])
    await missed(path, anchored=[stranger])


async def test_an_engine_does_not_open_a_log_that_is_behind_or_beside_what_its_key_has_signed(
    path, key, size
):
    """It would sign a second history; the position is the first that is missing."""
    whole = path.read_bytes()
    for deed, position in ((truncated, size - 1), (edited, 0), (renamed_log, 0)):
        path.write_bytes(whole)
        with opened(path) as connection:
            deed(connection, size)
            rehash(connection)
        with pytest.raises(LogDamaged) as caught:
            async with eventvm.open(path, signing=key):
                pass
        assert caught.value.position == position


def renamed_log(connection, _):
    connection.execute("UPDATE tree SET origin = 'x'")


async def test_12_a_key_that_was_swapped_has_signed_for_nobody(path, place, keys):
    """Everything computed anew and signed by the attacker's own key, which calls itself ours."""
    generate(place / "eve.key", keys[0].name)
    eve = load(place / "eve.key")
    with opened(path) as connection:
        edited(connection, 0)
        rehash(connection)
        connection.execute("DELETE FROM checkpoints")
    log = await SqliteLog.open(path, signing=eve, vouched=int((place / "size").read_text()))
    await log.close()
    await missed(path, keys=eve.keys)
    await found(path, 1, NotSigned, keys=keys)


async def test_12_a_successor_that_nobody_vouched_for_is_no_key(place, key):
    """Neither one that vouches for itself, nor one with another's voucher, nor another first one."""
    public = place / "ops.key.pub"
    first = public.read_text().strip()
    rotate(key)
    _, second = public.read_text().splitlines()
    eve = PrivateKey.fresh("ops.example.com").public
    for lines in (
        [first, str(eve)],
        [first, f"{eve} {second.split()[1]}"],
        [str(eve), second],
        [first[:-1] + ("A" if first[-1] != "A" else "B")],
    ):
        public.write_text("\n".join(lines))
        with pytest.raises(BadInput):
            trusted(public)


@pytest.mark.parametrize("change", ["signature", "size", "root", "origin", "line"])
async def test_13_a_checkpoint_that_was_changed_is_forged(path, keys, size, change):
    """Whatever in it: the signature is over all of it, and there is one way to write it."""
    with closing(sqlite3.connect(path)) as connection, connection:
        ((id_, note),) = connection.execute("SELECT key, note FROM checkpoints").fetchall()
        text, _, signature = note.partition("\n\n")
        origin, _, root = text.split("\n")
        wrong = {
            "signature": f"{text}\n\n{signature[:-10]}AAAA{signature[-6:]}",
            "size": note.replace(f"\n{size}\n", f"\n0{size}\n"),
            "root": note.replace(root, root[:-2] + ("B=" if root[-2] != "B" else "C=")),
            "origin": note.replace(origin, origin[:-1] + ("0" if origin[-1] != "0" else "1")),
            "line": note.replace("\n\n", "\nmore\n\n"),
        }[change]
        connection.execute("UPDATE checkpoints SET note = ? WHERE key = ?", (wrong, id_))
    await found(path, kind=LogDamaged, keys=keys)


# --- what is kept beside the records


OTHER = "(SELECT max(id) FROM streams)"
"""The machine that does nothing any more, so that only a whole verification reads its records."""
LAID_OUT = "is missing, or is not what this format has"
BESIDE = {
    "streams: one without records": ("INSERT INTO streams VALUES (77, 'x')", "the stream x is kept", 0),
    "heads: one goes back": (
        "UPDATE heads SET position = 2, version = 1 WHERE stream = 2",
        r"is kept at 2 .*, the log says 27",
        27,
    ),
    "heads: one of who does nothing any more goes back": (
        f"UPDATE heads SET position = 24, version = 12 WHERE stream = {OTHER}",
        r"is kept at 24 \(version 12\), the log says 25 \(version 13\)",
        25,
    ),
    "heads: another version": ("UPDATE heads SET version = 4 WHERE stream = 2", "is kept at 27", 27),
    "heads: one is gone": ("DELETE FROM heads WHERE stream = 2", "is not kept, the log says 27", 27),
    "heads: one too many": ("INSERT INTO heads VALUES (77, 1, 1)", "4 heads are kept for 3 streams", 0),
    "names: one of another": (
        "UPDATE names SET stream = 'x' WHERE name = 'api-2'",
        "'api-2' is kept as x's",
        8,
    ),
    "names: one let go": (
        "UPDATE names SET held = 0 WHERE name = 'api-2'",
        "'api-2' is kept as let go by",
        8,
    ),
    "names: one reserved": (
        "UPDATE names SET reserved = 'x' WHERE name = 'api-2'",
        "'api-2' is kept as .*, reserved for x",
        8,
    ),
    "names: one is gone": ("DELETE FROM names WHERE name = 'api-2'", "'api-2' is not kept", 8),
    "names: one too many": (
        "INSERT INTO names SELECT 'x', stream, 1, '' FROM streams WHERE id = 2",
        "'x' is kept as .*nobody's",
        0,
    ),
    "names: one held after the end": (
        "UPDATE names SET held = 1 WHERE name = 'web-2'",
        "'web-2' is kept as",
        25,
    ),
    "names: one of nobody": ("INSERT INTO names VALUES ('x', 'x', 1, '')", "'x' is kept as x's", 0),
    "keys: one leads elsewhere": (
        "UPDATE keys SET position = 3 WHERE key = 'start-api'",
        "'start-api' at position 4 is kept for 3",
        4,
    ),
    "keys: one is gone": ("DELETE FROM keys WHERE key = 'start-web'", "'start-web' .* is kept for none", 15),
    "keys: one too many": ("INSERT INTO keys VALUES ('x', 3)", "'x' is kept for position 3, whose record", 0),
    "tree: its frontier": (
        "UPDATE tree SET frontier = zeroblob(length(frontier))",
        "contradicts its own root",
        0,
    ),
    "tree: its root": ("UPDATE tree SET root = zeroblob(32)", "contradicts its own root", 0),
    "tree: its size": ("UPDATE tree SET size = size - 1", "holds 27 records, its tree 26", 27),
    "tree: its origin": ("UPDATE tree SET origin = 'x'", "says that it is the log x; its lock", 0),
    "tree: its origin, which nobody has signed": (
        "DELETE FROM checkpoints; UPDATE tree SET origin = 'x'",
        "says that it is the log x; its lock",
        0,
    ),
    "tree: its number": (
        "PRAGMA ignore_check_constraints = ON; UPDATE tree SET one = 33",
        "has lost its tree",
        0,
    ),
    "tree: it is gone": ("DELETE FROM tree", "has lost its tree", 0),
    "kept: a part": (
        "UPDATE kept SET bytes = zeroblob(9) WHERE part = 2",
        "machines.2 is not what was kept",
        0,
    ),
    "kept: a part is gone": ("DELETE FROM kept WHERE part = 2", "machines.2 is not what was kept", 0),
    "kept: a part by another number": (
        "UPDATE kept SET part = 77 WHERE part = 2",
        "machines.2 is not what was kept",
        0,
    ),
    "kept: the size of a part": (
        "UPDATE kept SET size = size - 1 WHERE part = 2",
        "machines.2 is not what was kept",
        0,
    ),
    "kept: its size": ("UPDATE kept SET size = size - 1", "machines.2 is not what was kept", 0),
    "checkpoints: one under another key": (
        "UPDATE checkpoints SET key = '00000000'",
        "the key 00000000 is not signed by it",
        0,
    ),
    "checkpoints: one that is none": ("UPDATE checkpoints SET note = 'x'", "cannot be read", 0),
    "checkpoints: one that ends otherwise": (
        "UPDATE checkpoints SET note = substr(note, 1, length(note) - 1) || char(11)",
        "cannot be read",
        0,
    ),
    "checkpoints: what the layout says of them": (
        """
            PRAGMA writable_schema = ON;
            UPDATE sqlite_schema SET sql = replace(sql, 'hex', 'tex') WHERE name = 'checkpoints'
        """,
        f"the table checkpoints {LAID_OUT}",
        0,
    ),
    "guards: one is gone": (
        "DROP TRIGGER records_are_not_updated",
        f"the trigger records_are_not_updated {LAID_OUT}",
        0,
    ),
    "guards: one too many": (
        "CREATE TRIGGER x AFTER INSERT ON records BEGIN DELETE FROM keys; END",
        "the trigger x is none",
        0,
    ),
    "the view for people": ("DROP VIEW log; CREATE VIEW log AS SELECT 1", f"the view log {LAID_OUT}", 0),
    "an index": ("DROP INDEX names_by_stream", f"the index names_by_stream {LAID_OUT}", 0),
}
"""For each edit beside the records: what is said of it, and the position that is named."""
ASLEEP = {"names: one held after the end", "names: one of nobody"}
"""The names of machines that have not moved are left to the next whole verification, as their bodies are."""


@pytest.fixture(scope="module")
def longer(shelf, tmp_path_factory):
    """The log after one thing more, and what it was known to be before that."""
    place = tmp_path_factory.mktemp("longer")
    shutil.copytree(shelf, place, dirs_exist_ok=True)
    note = read_note(asyncio.run(file_verified(place / "log.db")).note)
    assert asyncio.run(goes_on(place / "log.db", place / "ops.key")) == note.checkpoint.size + 2 == 27
    return place, note


@pytest.mark.parametrize("part", [False, True], ids=["whole", "part"])
@pytest.mark.parametrize("edit_", BESIDE)
async def test_what_is_kept_beside_the_records_is_compared_with_a_rebuild(longer, tmp_path, edit_, part):
    """Each table, as anybody edits it with sqlite3: the sentence names it, whole or from a checkpoint on."""
    place, note = longer
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)
    path, known = tmp_path / "log.db", {"since": note} if part else {}
    await missed(path, **known)
    deed, said, position = BESIDE[edit_]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(deed)
    if part and edit_ in ASLEEP:
        await missed(path, **known)
    else:
        assert re.search(said, str(await found(path, position, **known)))


TYPES = {
    "records: no version": ("UPDATE records SET version = NULL WHERE position = 5", 5),
    "records: a word for the one before": ("UPDATE records SET previous = 'x' WHERE position = 1", 1),
    "records: bytes for an actor": ("UPDATE records SET actor = x'61' WHERE position = 6", 6),
    "records: no body": ("UPDATE records SET body = NULL WHERE position = 7", 7),
    "streams: bytes": ("UPDATE streams SET stream = x'61' WHERE id = 2", 2),
    "heads: no version": ("UPDATE heads SET version = NULL WHERE stream = 2", 12),
    "names: of nothing": ("UPDATE names SET stream = NULL WHERE name = 'api-2'", 8),
    "keys: to nowhere": ("UPDATE keys SET position = NULL WHERE key = 'start-api'", 4),
    "tree: bytes for an origin": ("UPDATE tree SET origin = x'61'", 0),
    "tree: a word for its size": ("UPDATE tree SET size = 'x'", 0),
    "tree: no frontier": ("UPDATE tree SET frontier = NULL", 0),
    "kept: no digest": ("UPDATE kept SET digest = NULL", 0),
    "kept: a word for a part": ("UPDATE kept SET bytes = 'x' WHERE part = 2", 0),
    "checkpoints: no note": ("UPDATE checkpoints SET note = NULL", 0),
    "checkpoints: no key": ("UPDATE checkpoints SET key = NULL", 0),
}
"""Values of types that SQLite lets nobody write, as a flipped bit makes them, and the position named."""


@pytest.mark.parametrize("edit_", TYPES)
async def test_a_value_of_another_type_is_damage(path, edit_):
    """Nothing but LogDamaged, and where it is."""
    deed, position = TYPES[edit_]
    with lax(path) as connection:
        connection.execute(deed)
    await found(path, position)


def test_every_table_beside_the_records_is_edited(path):
    """A new one has to be thought of."""
    with closing(sqlite3.connect(path)) as connection:
        tables = {
            name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        }
    assert tables - {"records"} == {edit_.partition(":")[0] for edit_ in BESIDE if ":" in edit_} - {"guards"}


async def test_names_that_were_reserved_or_let_go_since_a_checkpoint_are_right(tmp_path):
    """Whoever held one before it, and whether that came to anything or not."""
    path, world = tmp_path / "log.db", Simulated()
    async with eventvm.open(path, providers=[world]) as engine:
        for name in ("a", "b", "c"):
            await (await engine.create(name, SPEC, lifecycle="microvm")).start()
        await (await engine.machine("a")).rename("free")
    note = read_note((await file_verified(path)).note)
    for name, to, fault in (("b", "a", "fail"), ("b", "a", "hang"), ("c", "d", "fail")):
        async with eventvm.open(path, providers=[world], grace_seconds=0) as engine:
            world.script(name, "rename", fault)
            with suppress(EventvmError):
                await (await engine.machine(name)).rename(to, wait=fault == "fail")
            await missed(path, since=note)
    async with eventvm.open(path, providers=[world]) as engine:
        await engine.reconcile()
        await (await engine.machine("c")).destroy(force=True)
    await missed(path, since=note)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE names SET held = 1 - held WHERE name = 'c'")
    await found(path, since=note)


async def test_an_index_that_lies_is_found(path, keys):
    """Whoever looks a name up by its machine would be told another."""
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = 'names_by_stream'"
        ((page,),) = connection.execute(query).fetchall()
        ((stream,),) = connection.execute("SELECT stream FROM names WHERE name = 'api-2'").fetchall()
        ((size,),) = connection.execute("PRAGMA page_size").fetchall()
    whole = bytearray(path.read_bytes())
    at = whole.index(stream.encode(), (page - 1) * size)
    assert at < page * size
    whole[at] = ord("f")
    path.write_bytes(whole)
    await found(path, 0, LogDamaged, keys=keys)


@pytest.mark.parametrize("part", [False, True], ids=["whole", "part"])
async def test_a_kept_view_that_is_whole_and_untrue_is_found(longer, tmp_path, part):
    """Its seal is no secret: what it says is compared with the machines at its position."""
    place, note = longer
    path = tmp_path / "log.db"
    shutil.copy(place / "log.db", path)
    log = await SqliteLog.open(path)
    kept = await log.kept("machines.2")
    changed = tuple(one.replace(b"stopped", b"running") for one in kept.parts)
    assert changed != kept.parts
    await log.keep("machines.2", kept.tree, changed)
    await log.close()
    assert "kept view" in str(await found(path, 27, since=note if part else None))


# --- records that are hashed and signed as they should be, and say what nobody may say


FORGED = {
    "an event that cannot happen": ("body", '"type":"machine.stopped"', '"type":"machine.resumed"'),
    "a time that goes back": ("recorded_at", None, 5),
    "a cause that comes later": ("cause", None, 4000),
    "a digest without a key": ("digest", None, b"x"),
    "a lifecycle that was never defined": ("body", '"lifecycle":"', '"lifecycle":"x'),
    "a definition that is not what its digest names": ("body", '"initial":"', '"initial":"x'),
    "a stop that stops nothing": ("body", '"type":"machine.started"', '"type":"machine.stopped"'),
    "a name that another holds": ("body", '"name":"web"', '"name":"api-2"'),
}


@pytest.mark.parametrize("forgery", FORGED)
async def test_a_record_that_is_hashed_well_and_illegal_is_named(path, forgery):
    """Who computes all hashes anew still has to keep the laws."""
    column, old, new = FORGED[forgery]
    with opened(path) as connection:
        change = "replace(body, :old, :new)" if old else ":new"
        which = "instr(body, :old)" if old else "position = 8"
        at = connection.execute(f"SELECT min(position) FROM records WHERE {which}", {"old": old}).fetchone()[
            0
        ]
        connection.execute(
            f"UPDATE records SET {column} = {change} WHERE position = {at}", {"old": old, "new": new}
        )
        rehash(connection)
        connection.execute("DELETE FROM checkpoints")
    await found(path, at, IllegalEvent)


async def test_a_correction_of_what_is_not_in_the_ledger_is_named(path, key):
    """Hashed as it should be, and naming no entry, or a time beyond the next one."""
    async with eventvm.open(path, signing=key) as engine:
        api = await engine.machine("api-2")
        entry = next(one for one in (await engine.ledger(api.id)).entries if one.meter == "compute")
        truly = replace(entry.at, boot=entry.at.boot + 1)
        at = (await api.correct(entry, truly, "late")).position
    await missed(path)
    wrong = {
        "another position": (f'"position":{entry.position},', '"position":1,'),
        "beyond the next entry": (f'"boot":{truly.boot},', '"boot":9223372036854775807,'),
    }
    for what, change in wrong.items():
        forged = shutil.copy(path, path.with_name(f"{what}.db"))
        with opened(forged) as connection:
            update = "UPDATE records SET body = replace(body, ?, ?) WHERE position = ?"
            connection.execute(update, (*change, at))
            rehash(connection)
            connection.execute("DELETE FROM checkpoints")
        await found(forged, at, IllegalEvent)


async def test_however_often_a_machine_is_corrected_its_stream_is_read_once_more(tmp_path, monkeypatch):
    """And the corrections are judged one after the other, each by those before it."""
    path, reads, honest = tmp_path / "log.db", [], Standing.read

    async def counted(self, *, stream=None, **others):
        if stream is not None:
            reads.append(stream)
        return await honest(self, stream=stream, **others)

    async with eventvm.open(path, providers=[Simulated()]) as engine:
        web = await engine.create("web", SPEC)
        await web.start()
        await web.stop()
        start, stop = [one for one in (await engine.ledger(web.id)).entries if one.meter == "compute"]
        for later in (5, 9, 1, 7):
            await web.correct(start, replace(start.at, boot=start.at.boot + later), "late")
        at = (await web.correct(stop, replace(stop.at, boot=stop.at.boot - 1), "early")).position
    monkeypatch.setattr(Standing, "read", counted)
    await missed(path)
    assert reads == [web.id]
    with opened(path) as connection:
        truly = f'"boot":{stop.at.boot - 1},', f'"boot":{start.at.boot + 6},'
        update = "UPDATE records SET body = replace(body, ?, ?) WHERE position = ?"
        connection.execute(update, (*truly, at))
        rehash(connection)
    await found(path, at, IllegalEvent)


@pytest.mark.parametrize("fault", ["twice", "thrice", "never", "no stop"])
async def test_a_fold_that_would_count_a_second_twice_is_found(path, monkeypatch, fault):
    """The ledger's law is not taken from the fold that keeps it: it is checked on what that gives."""
    honest = rebuild.entries

    def faulty(machine, record):
        told = honest(machine, record)
        kept = tuple(one for one in told if one.edge == "start" or fault != "no stop")
        return {"twice": told * 2, "thrice": told * 3, "never": (), "no stop": kept}[fault]

    monkeypatch.setattr(rebuild, "entries", faulty)
    await found(path, kind=IllegalEvent)


# --- bit flips


def wrong_at(before, after):
    """Give where a fault may be said to be: at the first record that reads otherwise, if there is one.

    Else it is in what stands beside the records: at one that this tells of, at the first, or nowhere.
    Of damaged pages no two queries read the same: nobody can say where that is.
    """
    records = {one[1]: row for one, (row, *_) in before.items() if one[0] == "record"}
    if before["pages"] != after["pages"]:
        return range(len(records) + 2)
    wrong = [
        position for position in records if before["record", position] != after.get(("record", position))
    ]
    readable = isinstance(after["record", 1][0], tuple)
    return {min(wrong)} if wrong and readable else {0, 1, *told_of(before, after, records)}


def told_of(before, after, records):
    """Give the positions of the records that what has changed of heads, keys, names and types tells of."""
    changed = {one: set(before[one]) - set(after[one]) for one in ("heads", "keys", "names", "types")}
    yield from (position for _, _, position in changed["heads"])
    yield from (position for _, position in changed["keys"])
    yield from (position for position, *_ in changed["types"])
    yield from (min(size, len(records)) + 1 for _, _, size, *_ in after["tree"] if isinstance(size, int))
    streams = {holder for _, holder, *_ in changed["names"]}
    yield from (position for position, row in records.items() if row[-1] in streams)


def harmless(before, after):
    """Tell if all that is gone is a view that was kept: as good as one whose writing was broken off."""
    return {**before, "kept": None} == {**after, "kept": None} and set(after["kept"]) < set(before["kept"])


async def test_a_flipped_bit_anywhere_in_the_file_is_found_at_its_position(path, place, keys, size):
    """As many random bits as change anything that can be read; what changes nothing is not looked for."""
    chance, whole = random.Random(6962), path.read_bytes()
    before, flips = contents(path), 0
    assert len([one for one in before if one[0] == "record"]) == size
    while flips < FLIPS:
        at, bit = chance.randrange(len(whole)), chance.randrange(8)
        flipped = bytearray(whole)
        flipped[at] ^= 1 << bit
        path.write_bytes(flipped)
        if (after := contents(path)) != before and not harmless(before, after):
            flips += 1
            with pytest.raises(EventvmError) as caught:
                await file_verified(path, keys=keys, anchored=anchored(place))
            position = getattr(caught.value, "position", 0)
            assert position in wrong_at(before, after), (at, bit, caught.value)
