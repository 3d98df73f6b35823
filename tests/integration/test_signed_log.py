"""A signed log on a real disk: what is signed, when, and what an engine refuses to sign."""

import asyncio
import shutil
from base64 import b64decode
from pathlib import Path

import pytest
from tampering import goes_on, lived, opened, rehash

import eventvm
from eventvm import Spec
from eventvm.audit import offline
from eventvm.audit.checkpoint import anchor, read_anchor, read_checkpoint, write_checkpoint
from eventvm.audit.proof import consistency_proof, inclusion_proof
from eventvm.audit.standing import Standing
from eventvm.audit.verify import file_verified, verified
from eventvm.errors import BadInput, LogDamaged, LogUnavailable, NotSigned
from eventvm.logs import open_log, restore
from eventvm.logs.signed import notes
from eventvm.logs.sqlite import SqliteLog
from eventvm.signing.keys import SIGNING_KEY, generate, load, rotate, trusted
from eventvm.signing.note import PrivateKey, read_note, unsigned

SIGNING = "SELECT 1 FROM temp.sqlite_schema WHERE name = 'commits_are_signed'"


@pytest.fixture
def key(tmp_path):
    generate(tmp_path / "ops.key", "ops")
    return tmp_path / "ops.key"


@pytest.fixture
def keys(key):
    return trusted(f"{key}.pub")


async def head(log):
    """Give the one checkpoint beside a log."""
    (note,) = await notes(log.ask)
    return note.checkpoint.size, note.checkpoint.root


async def test_every_commit_carries_a_checkpoint_of_what_the_log_then_is(path, key, adding):
    """Of the empty log, of one record, of a whole batch; seen from elsewhere it is never behind."""
    async with open_log(path, signing=key) as log:
        assert await head(log) == (0, log.tree.root)
        for version in range(3):
            await log.append(adding("a", version))
            assert await head(log) == (version + 1, log.tree.root)
        await asyncio.gather(*(log.append(adding(f"s{at}", 0, "x", "y")) for at in range(200)))
        async with open_log(path, read_only=True) as reader:
            assert await head(reader) == (403, log.tree.root)


async def test_a_log_without_a_key_has_nothing_of_a_signature(path, key, adding, raw):
    """Neither a table nor a trigger, and nothing is called."""
    async with open_log(path.with_name("signed.db"), signing=key) as log:
        assert await log._writing.execute_fetchall(SIGNING)  # noqa: SLF001  # the connection that a trigger is on
    async with open_log(path) as log:
        await log.append(adding("a", 0))
        assert await log._writing.execute_fetchall(SIGNING) == []  # noqa: SLF001  # the connection that a trigger would be on
    assert raw("SELECT name FROM sqlite_schema WHERE name = 'checkpoints'") == []


async def test_what_cannot_be_signed_is_not_written(path, key, adding):
    """The append is refused, the log is as it was, and takes the next."""
    async with open_log(path, signing=key) as log:
        await log.append(adding("a", 0))
        before = log.tree.root
        await log._writing.create_function("eventvm_signed", 3, lambda *_: 1 / 0)  # noqa: SLF001  # as above
        with pytest.raises(LogUnavailable):
            await log.append(adding("a", 1))
        assert log.tree.root == before
        await log.append(adding("a", 1))
        assert await head(log) == (2, log.tree.root)


async def test_a_log_that_was_begun_without_a_key_is_signed_only_when_somebody_vouches_for_it(
    path, key, keys
):
    """An engine never signs what it finds; a vouched size that is not the log's vouches for nothing."""
    size = await lived(path, None)
    with pytest.raises(NotSigned) as caught:
        async with eventvm.open(path, signing=key):
            pass
    assert caught.value.position == 1
    with pytest.raises(NotSigned):
        await SqliteLog.open(path, signing=load(key), vouched=size - 1)
    await (await SqliteLog.open(path, signing=load(key), vouched=size)).close()
    await goes_on(path, key)
    assert (await file_verified(path, keys=keys)).checkpoint.size > size


async def test_a_signed_log_is_not_written_without_a_key(path, key, monkeypatch):
    """By nobody who forgot it: what they wrote would look like a forgery. Reading needs none."""
    await lived(path, key)
    before = path.read_bytes()
    with pytest.raises(NotSigned, match="would not be") as caught:
        async with eventvm.open(path):
            pass
    assert SIGNING_KEY in caught.value.hint
    assert path.read_bytes() == before
    async with open_log(path, read_only=True) as log:
        assert log.tree.size
    monkeypatch.setenv(SIGNING_KEY, str(key))
    await goes_on(path, None)


async def test_a_log_in_memory_is_not_signed(key, monkeypatch):
    """It goes with its process; a key in the environment is meant for others."""
    with pytest.raises(BadInput, match="in memory"):
        async with eventvm.open("memory:", signing=key):
            pass
    monkeypatch.setenv(SIGNING_KEY, str(key))
    async with eventvm.open("memory:") as engine:
        await engine.create("web", Spec(provider="simulated"))
        assert (await verified(engine.log)).machines == 1


async def test_the_private_key_is_in_no_file_but_its_own(path, key):
    """Neither in the log nor beside it, in text or in bytes."""
    await lived(path, key)
    coded = key.read_text().strip().split("+", 4)[4]
    seed = b64decode(coded)[1:]
    async with eventvm.open(path, signing=key) as engine:
        await (await engine.machine("api-2")).stop()
        for one in filter(Path.is_file, path.parent.iterdir()):
            assert one == key or not (seed in one.read_bytes() or coded.encode() in one.read_bytes()), one


async def test_what_an_old_key_has_signed_still_verifies_after_a_rotation(path, key, tmp_path):
    """The last key has to have signed the end: an engine that opens the log signs it."""
    await lived(path, key)
    anchor(tmp_path / "anchor", read_note((await file_verified(path)).note))
    followed = rotate(key)
    with pytest.raises(NotSigned, match="has taken the place of"):
        await file_verified(path, keys=followed)
    await goes_on(path, key)
    verdict = await file_verified(path, keys=followed, anchored=read_anchor(tmp_path / "anchor"))
    assert verdict.signed_by == followed[-1].title
    with pytest.raises(NotSigned):
        await file_verified(path, keys=followed[:1])


async def test_a_restored_log_is_signed_by_who_restores_it_with_the_key(path, key, keys, monkeypatch):
    """Its last record says that it was restored; without the key nobody has signed that."""
    size = await lived(path, key)
    backup = path.with_name("backup.db")
    async with open_log(path, read_only=True) as log:
        await log.backup(backup)
    await restore(backup, path.with_name("unsigned.db"))
    with pytest.raises(NotSigned) as caught:
        await file_verified(path.with_name("unsigned.db"), keys=keys)
    assert caught.value.position == size + 1
    monkeypatch.setenv(SIGNING_KEY, str(key))
    await restore(backup, path.with_name("signed.db"))
    assert (await file_verified(path.with_name("signed.db"), keys=keys)).checkpoint.size == size + 1


# --- verifying what goes on, and what has come since


async def test_a_log_is_verified_while_it_is_written(path, key, keys):
    """As it was at one moment near the end; neither waits for the other."""
    async with eventvm.open(path, signing=key) as engine:
        machine = await engine.create("web", Spec(provider="simulated"))
        stop = asyncio.Event()

        async def live():
            while not stop.is_set():
                await machine.start()
                await machine.stop()

        living = asyncio.ensure_future(live())
        while engine.log.tree.size < 300:
            await engine.log.wait(engine.log.tree.size)
        sizes = [(await verified(engine.log, keys=keys)).checkpoint.size for _ in range(5)]
        stop.set()
        await living
        assert sizes == sorted(sizes)
        assert sizes[-1] > 300


async def test_what_has_come_since_a_checkpoint_is_verified_alone(path, key, keys, tmp_path):
    """And is folded on top of records that are read again, each against its leaf."""
    size = await lived(path, key)
    note = read_note((await file_verified(path)).note)
    write_checkpoint(tmp_path / "last", note.written)
    await goes_on(path, key)
    verdict = await file_verified(path, keys=keys, since=read_checkpoint(tmp_path / "last"))
    assert (verdict.since, verdict.machines) == (size, 1)
    assert verdict.checkpoint == (await file_verified(path)).checkpoint


SINCE = {
    "a record that came since": ("UPDATE records SET actor = 'eve' WHERE position = {size} + 1", 1),
    "one before it, of a machine that has moved": ("UPDATE records SET actor = 'eve' WHERE position = 3", 3),
    "a leaf before it": ("UPDATE records SET leaf = zeroblob(32) WHERE position = 20", 20),
    "one before it that is gone": ("DELETE FROM records WHERE position = 20", 20),
}


@pytest.mark.parametrize("damage", SINCE)
async def test_damage_is_found_from_a_checkpoint_on(path, key, damage):
    """In what has come since, in what that follows from, and in the leaves of all; at its own position."""
    statement, position = SINCE[damage]
    size = await lived(path, key)
    since = read_note((await file_verified(path)).note)
    await goes_on(path, key)
    with opened(path) as connection:
        connection.execute(statement.format(size=size))
    with pytest.raises(LogDamaged) as caught:
        await file_verified(path, since=since)
    assert caught.value.position == (size + 1 if "+ 1" in statement else position)


async def test_a_record_that_nothing_has_come_from_since_is_left_to_the_whole_verification(path, key):
    """Its leaf is what was verified; whether its body still is what was hashed is not asked again."""
    await lived(path, key)
    since = read_note((await file_verified(path)).note)
    await goes_on(path, key)
    with opened(path) as connection:
        connection.execute("UPDATE records SET actor = 'eve' WHERE position = 20")
    await file_verified(path, since=since)
    with pytest.raises(LogDamaged) as caught:
        await file_verified(path)
    assert caught.value.position == 20


async def test_a_log_that_no_longer_reaches_its_checkpoint_is_cut_off(path, key, tmp_path):
    """Whether it is verified whole or from there."""
    size = await lived(path, key)
    shutil.copy(path, tmp_path / "old.db")
    await goes_on(path, key)
    since = read_note((await file_verified(path)).note)
    for known in ({"since": since}, {"anchored": [since]}):
        with pytest.raises(LogDamaged, match="knows it at") as caught:
            await file_verified(tmp_path / "old.db", **known)
        assert caught.value.position == size + 1


# --- anchors


async def test_an_anchor_takes_each_checkpoint_once_and_mends_a_line_that_was_cut_short(path, key, tmp_path):
    """A line without an end was never acknowledged: it is passed over, and written over."""
    file = tmp_path / "anchor"
    await lived(path, key)
    first = read_note((await file_verified(path)).note)
    assert anchor(file, first)
    assert not anchor(file, first)
    file.write_text(file.read_text() + '"eventvm/half')
    assert [note.written for note in read_anchor(file)] == [first.written]
    await goes_on(path, key)
    second = read_note((await file_verified(path)).note)
    assert anchor(file, second)
    assert [note.written for note in read_anchor(file)] == [first.written, second.written]


async def test_an_anchor_without_a_key_still_knows_what_the_log_was(path, tmp_path):
    """Nobody signs it, so it is worth what its place is worth."""
    await lived(path, None)
    anchor(tmp_path / "anchor", read_note((await file_verified(path)).note))
    with opened(path) as connection:
        connection.execute("UPDATE records SET actor = 'eve' WHERE position = 5")
        rehash(connection)
    await file_verified(path)
    with pytest.raises(LogDamaged, match="the anchor"):
        await file_verified(path, anchored=read_anchor(tmp_path / "anchor"))


async def test_a_file_that_is_no_anchor_is_not_made_one(path, key, tmp_path):
    """Whatever its last line lacks: it is somebody's."""
    await lived(path, key)
    note = read_note((await file_verified(path)).note)
    for text in ("a letter to my aunt", "a letter\n", "{}", '"x'):
        (tmp_path / "letter").write_text(text)
        with pytest.raises(BadInput):
            anchor(tmp_path / "letter", note)
        assert (tmp_path / "letter").read_text() == text


@pytest.mark.parametrize("line", ["{}", '"x"', "x", "\ufffd"])
def test_an_anchor_with_a_line_that_is_none_is_refused_with_its_number(tmp_path, line):
    """Half of an anchor would be an anchor of half the log."""
    good = '"eventvm/x\\n0\\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\\n\\n"\n'
    (tmp_path / "anchor").write_text(f"{good}{line}\n{good}")
    with pytest.raises(BadInput, match="line 2"):
        read_anchor(tmp_path / "anchor")


# --- proofs of a real log


@pytest.fixture
async def standing(path, key):
    size = await lived(path, key)
    old = read_note((await file_verified(path)).note)
    await goes_on(path, key)
    log = await Standing.open(path)
    yield log, size, old
    await log.close()


async def test_every_record_of_a_log_is_proven_offline_and_says_what_it_says(standing, key):
    """The single file reads the same stream, actor and body out of the proof as the log has."""
    log, _, _ = standing
    known = offline.read_keys((key.with_name("ops.key.pub")).read_text())
    for record in (await log.read()).records:
        proven, at = offline.check_inclusion(await inclusion_proof(log, record.position), known)
        assert (proven.position, proven.stream, proven.actor) == (
            record.position,
            record.stream,
            record.actor,
        )
        assert (proven.body.encode(), proven.version) == (record.body, record.version)
        assert at.size == log.tree.size


async def test_a_proof_in_which_anything_was_changed_proves_nothing(standing, key):
    """Every line of both kinds, each with one character more, one less, and one changed."""
    log, _, old = standing
    known = offline.read_keys((key.with_name("ops.key.pub")).read_text())
    for proof in (await inclusion_proof(log, 5), await consistency_proof(log, old)):
        assert offline.check(proof, known)
        for at, letter in enumerate(proof):
            for other in (
                proof[:at] + proof[at + 1 :],
                proof[:at] + ("A" if letter != "A" else "B") + proof[at + 1 :],
            ):
                if other.rstrip("\n") != proof.rstrip("\n"):
                    with pytest.raises(offline.Wrong):
                        offline.check(other, known)
    with pytest.raises(offline.Wrong, match="none of the keys"):
        offline.check(proof, offline.read_keys(str(PrivateKey.fresh("ops").public)))


async def test_nothing_is_proven_of_a_log_that_contradicts_its_checkpoint(standing, path):
    """Neither a record that was changed, nor a position that is none, nor a log that nobody has signed."""
    log, _, old = standing
    for position in (0, -1, log.tree.size + 1):
        with pytest.raises(BadInput):
            await inclusion_proof(log, position)
    with pytest.raises(BadInput, match="not signed"):
        await consistency_proof(log, read_note(unsigned(old.checkpoint)))
    with opened(path) as connection:
        connection.execute("UPDATE records SET actor = 'eve' WHERE position = 5")
    with pytest.raises(LogDamaged) as caught:
        await inclusion_proof(log, 5)
    assert caught.value.position == 5
    with opened(path) as connection:
        rehash(connection)
    for proving in (inclusion_proof(log, 5), consistency_proof(log, old)):
        with pytest.raises(LogDamaged, match="not the one that was signed"):
            await proving
