"""Signed notes and keys: written as C2SP writes them, read in one way only."""

import os
import stat

import pytest

from eventvm.audit import offline
from eventvm.errors import BadInput
from eventvm.signing import keys
from eventvm.signing.keys import generate, load, named, public_file, rotate, trusted
from eventvm.signing.note import (
    Checkpoint,
    PrivateKey,
    encoded,
    read_note,
    read_private,
    read_public,
    signer,
    unsigned,
)

NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
SAID = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
SIGNED = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
HEAD = Checkpoint("11111111-2222-3333-4444-555555555555", 7, bytes(range(32)))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ops.key"


def test_the_known_key_has_signed_the_known_note():
    """The example that implementations of signed notes share: id, encoding and signature are theirs."""
    key = read_public(NEUMANN)
    assert (str(key), key.id.hex()) == (NEUMANN, "c74f20a3")
    raw = offline.unbased(SIGNED)
    assert raw[:4] == key.id
    assert key.has_signed(SAID, raw[4:])
    assert not key.has_signed(SAID + "\n", raw[4:])
    assert offline.has_signed(offline.read_key(NEUMANN), SAID, raw[4:])


def test_a_checkpoint_is_written_as_it_is_read():
    """Three lines, an empty one, and the signature."""
    key = PrivateKey.fresh("ops.example.com")
    note = read_note(key.signed(HEAD))
    assert note.checkpoint == HEAD
    assert signer(note, (key.public,)) == key.public
    lines = note.written.split("\n")
    assert lines[:4] == [f"eventvm/{HEAD.origin}", "7", encoded(HEAD.root), ""]
    assert lines[4].startswith("\N{EM DASH} ops.example.com ")
    assert read_note(unsigned(HEAD)).signatures == ()
    assert signer(read_note(unsigned(HEAD)), (key.public,)) is None


def test_the_newest_key_that_has_signed_is_given_and_others_are_passed_over():
    """Witnesses may add lines of their own; a line that a known key has not made spoils the note."""
    old, new, witness = (PrivateKey.fresh(name) for name in ("a", "b", "w"))
    lines = [one.signed(HEAD).split("\n\n")[1] for one in (new, witness, old)]
    note = read_note(f"{HEAD.text}\n{''.join(lines)}")
    assert signer(note, (old.public, new.public)) == new.public
    assert signer(note, (old.public,)) == old.public
    assert signer(note, (PrivateKey.fresh("a").public,)) is None
    forged = f"\N{EM DASH} a {encoded(old.public.id + new.signature(HEAD.text))}\n"
    with pytest.raises(BadInput, match="is not over this checkpoint"):
        signer(read_note(f"{HEAD.text}\n{forged}"), (old.public,))


GOOD = PrivateKey.fresh("ops").signed(HEAD)
ROOT = encoded(HEAD.root)


@pytest.mark.parametrize(
    "wrong",
    {
        "nothing": "",
        "no empty line": GOOD.replace("\n\n", "\n"),
        "another system's": GOOD.replace("eventvm/", "example.com/"),
        "no origin": GOOD.replace(HEAD.origin, ""),
        "a size with a sign": GOOD.replace("\n7\n", "\n+7\n"),
        "a size with a zero before it": GOOD.replace("\n7\n", "\n07\n"),
        "a size in other digits": GOOD.replace("\n7\n", "\n\N{ARABIC-INDIC DIGIT SEVEN}\n"),
        "a size without end": GOOD.replace("\n7\n", f"\n{'7' * 5000}\n"),
        "a root with a blank": GOOD.replace(ROOT, f"{ROOT[:5]} {ROOT[5:]}"),
        "a root written in another way": GOOD.replace(ROOT, ROOT[:-2] + chr(ord(ROOT[-2]) + 1) + "="),
        "no root": GOOD.replace(ROOT, ""),
        "one line more": GOOD.replace("\n\n", "\nmore\n\n"),
        "another dash": GOOD.replace("\N{EM DASH}", "-"),
        "a signature that is none": GOOD[:-4] + "\n",
        "a line behind": GOOD + "more\n",
    }.items(),
    ids=lambda one: one[0],
)
def test_what_is_not_exactly_a_checkpoint_is_none(wrong):
    """There is one way to write one, so nothing can be changed in it and still be read."""
    assert wrong[1] != GOOD
    with pytest.raises(BadInput):
        read_note(wrong[1])


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "\x1b[31m", "a\N{NO-BREAK SPACE}b", "x" * 201])
def test_a_key_has_a_name_that_a_note_can_hold(path, name):
    """Neither blanks nor a plus nor what steers a terminal; nothing is written."""
    with pytest.raises(BadInput):
        generate(path, name)
    assert list(path.parent.iterdir()) == []


def test_a_key_is_in_a_file_that_only_its_owner_reads(path):
    """Whatever the umask; the public one may be shown; neither is ever overwritten."""
    before = os.umask(0)
    try:
        (public,) = generate(path, "ops")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert trusted(public_file(path)) == (public,) == trusted(str(public))
    assert load(path).key.public == public
    texts = path.read_text(), public_file(path).read_text()
    with pytest.raises(BadInput, match="exists already"):
        generate(path, "ops")
    path.unlink()
    with pytest.raises(BadInput, match="exists already"):
        generate(path, "ops")
    assert not path.exists()
    assert texts[1] == public_file(path).read_text()


def test_a_key_that_others_can_read_is_not_used(path):
    """It may be theirs by now."""
    generate(path, "ops")
    path.chmod(0o640)
    with pytest.raises(BadInput, match="chmod 600"):
        load(path)


@pytest.mark.parametrize(("begin", "end"), [(0, 0), (0, -6), (1, None), (14, None)])
def test_a_private_key_that_is_not_what_was_written_is_refused_and_not_shown(path, begin, end):
    """The error quotes nothing of it."""
    generate(path, "ops")
    secret = path.read_text()
    path.write_text(secret[begin:end])
    with pytest.raises(BadInput) as caught:
        load(path)
    assert secret.split("+", 4)[4][:8] not in str(caught.value)


@pytest.mark.parametrize("name", ["o", "op", "ops", "oops"])
def test_a_private_key_that_is_given_for_a_public_one_is_refused_and_not_shown(path, name):
    """Whoever takes one file for the other does not find the secret in a log of what they did."""
    generate(path, name)
    secret = path.read_text().strip()
    for read, refusal in (
        (trusted, BadInput),
        (lambda file: offline.read_keys(file.read_text()), offline.Wrong),
    ):
        with pytest.raises(refusal) as refused:
            read(path)
        assert not any(secret[at : at + 8] in str(refused.value) for at in range(len(secret) - 8))


def test_the_environment_names_a_file_and_never_a_key(path, monkeypatch):
    """What is named takes precedence; an empty word names none."""
    generate(path, "ops")
    monkeypatch.setenv(keys.SIGNING_KEY, str(path))
    assert named().key.public == load(path).key.public
    monkeypatch.setenv(keys.SIGNING_KEY, "")
    assert named() is None
    monkeypatch.setenv(keys.SIGNING_KEY, path.read_text().strip())
    with pytest.raises(BadInput):
        named()


def test_who_trusts_the_first_key_can_follow_to_the_last(path):
    """Each signs that the next one follows; the offline verifier reads the same file."""
    (first,) = generate(path, "ops")
    rotate(path)
    followed = rotate(path, "ops-2027")
    assert followed[0] == first
    assert [key.name for key in followed] == ["ops", "ops", "ops-2027"]
    assert load(path).key.public == followed[-1] == trusted(public_file(path))[-1]
    assert load(path).keys == followed
    known = offline.read_keys(public_file(path).read_text())
    assert [one.text for one in known] == list(map(str, followed))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(one.name for one in path.parent.iterdir()) == ["ops.key", "ops.key.pub"]


class Cut(Exception):
    """The process ends here."""


@pytest.mark.parametrize("step", ["_write", "_replace", "_sync"])
def test_a_rotation_that_is_cut_short_is_taken_up_again(path, monkeypatch, step):
    """Wherever it stops there is a key that signs, and the next rotation ends what was begun."""
    generate(path, "ops")

    def cut(*_):
        raise Cut

    with monkeypatch.context() as broken:
        broken.setattr(keys, step, cut)
        with pytest.raises(Cut):
            rotate(path)
    assert load(path).key.public in trusted(public_file(path))
    followed = rotate(path)
    assert load(path).key.public == followed[-1]
    assert not path.with_name("ops.key.new").exists()


def test_the_statement_of_a_succession_is_no_checkpoint():
    """What a key signs for one purpose cannot be shown for another."""
    old, new = PrivateKey.fresh("a"), PrivateKey.fresh("b")
    text = keys.succession(old.public, new.public)
    with pytest.raises(BadInput):
        read_note(f"{text}\n\N{EM DASH} a {encoded(old.public.id + old.signature(text))}\n")


def test_a_private_key_is_read_as_it_is_written():
    """As Go's signed notes write it."""
    key = PrivateKey.fresh("ops")
    assert key.secret.startswith("PRIVATE+KEY+ops+")
    assert read_private(key.secret).public == key.public
    other = PrivateKey.fresh("ops")
    with pytest.raises(BadInput):
        read_private(key.secret.replace(key.public.id.hex(), other.public.id.hex()))
