"""Check proofs of an eventvm log offline: python offline.py KEYS PROOF...

This one file needs Python and the package cryptography, nothing of eventvm: copy it to where you trust it.
KEYS is the file of public keys that `eventvm keys` keeps (its first line is the one that you have to know by
yourself), or one public key. Each PROOF is a file that `eventvm log prove` has written. The exit code is 0 if
all of them hold, 1 when one does not, 2 when something cannot be read. docs/tamper.md says what they prove.
"""

import re
import struct
import sys
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

INCLUSION = "c2sp.org/tlog-proof@v1"
CONSISTENCY = "eventvm/consistency@v1"
RECORD = struct.Struct(">BQQQQI32sIIIII")
HEAD_LINES = 3
"""A checkpoint's origin, size and root."""
NOTE_PARTS = 2
"""Its text and its signatures, with an empty line between them."""
KEY_BYTES = 33
"""A type, and a point of the curve."""


class Wrong(Exception):
    """A proof that proves nothing; the message says why."""


class Key(NamedTuple):
    """A public key."""

    name: str
    id: bytes
    point: bytes
    text: str


class Head(NamedTuple):
    """A signed checkpoint: what a log was at one size."""

    origin: str
    size: int
    root: bytes
    signed_by: str


class Record(NamedTuple):
    """What was recorded, as its canonical bytes say it."""

    position: int
    version: int
    recorded_at: int
    stream: str
    actor: str
    key: str
    body: str


# --- the tree, as in RFC 6962 and RFC 9162 -----------------------------------------------------------------


def node(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees."""
    return sha256(b"\x01" + left + right).digest()


def included(leaf: bytes, index: int, size: int, proof: list[bytes], root: bytes) -> bool:
    """Say whether a proof leads from a leaf at an index to the root of a tree."""
    if not 0 <= index < size:
        return False
    at, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            found = node(sibling, found)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            found = node(found, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and found == root


def consistent(first: int, second: int, proof: list[bytes], old: bytes, new: bytes) -> bool:
    """Say whether a proof shows that the tree of one size begins that of another."""
    if first in {0, second}:
        return not proof and old == (new if first else sha256(b"").digest())
    if first > second or not proof:
        return False
    path = proof if first & (first - 1) else [old, *proof]
    at, last = first - 1, second - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            before, after = node(sibling, before), node(sibling, after)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            after = node(after, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and before == old and after == new


# --- keys and notes, as C2SP writes them ---------------------------------------------------------------


def unbased(text: str) -> bytes:
    """Read base64, in the one way in which bytes are written."""
    try:
        raw = b64decode(text, validate=True)
    except ValueError:
        raise Wrong(f"{len(text)} letters that should be base64 are not") from None
    if b64encode(raw).decode() != text:
        raise Wrong(f"{len(text)} letters that should be base64 are not")
    return raw


def read_key(text: str) -> Key:
    """Read a public key: NAME+ID+BASE64."""
    name, id_, coded = (*text.split("+", 2), "", "")[:3]
    raw = unbased(coded)
    id_of = sha256(name.encode() + b"\n" + raw).digest()[:4]
    if raw[:1] != b"\x01" or len(raw) != KEY_BYTES or id_of.hex() != id_ or not name:
        raise Wrong("it is no public key")
    return Key(name, id_of, raw[1:], text)


def read_keys(text: str) -> list[Key]:
    """Read public keys, one in each line, each but the first signed by the one before it."""
    keys: list[Key] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        written, _, vouched = line.partition(" ")
        key = read_key(written)
        if keys:
            proof, statement = unbased(vouched), f"eventvm key succession v1\n{keys[-1].text}\n{written}\n"
            if proof[:4] != keys[-1].id or not has_signed(keys[-1], statement, proof[4:]):
                raise Wrong(f"the key {key.name} is not signed by the one before it")
        keys.append(key)
    if not keys:
        raise Wrong("there is no public key")
    return keys


def has_signed(key: Key, text: str, signature: bytes) -> bool:
    """Say whether a signature is a key's over a text."""
    try:
        Ed25519PublicKey.from_public_bytes(key.point).verify(signature, text.encode())
    except InvalidSignature:
        return False
    return True


def read_head(text: str, signatures: str, keys: list[Key]) -> Head:
    """Read a checkpoint, if one of the keys has signed it."""
    lines = text.split("\n")
    if len(lines) != HEAD_LINES or not re.fullmatch("0|[1-9][0-9]*", lines[1]):
        raise Wrong("its checkpoint is none")
    signed_by = ""
    for line in filter(None, signatures.split("\n")):
        dash, name, coded = (*line.split(" "), "", "", "")[:3]
        raw = unbased(coded)
        for key in keys:
            if (dash, name, raw[:4]) == ("\N{EM DASH}", key.name, key.id):
                if not has_signed(key, f"{text}\n", raw[4:]):
                    raise Wrong(f"the signature of {key.name} is not over its checkpoint")
                signed_by = f"{key.name}+{key.id.hex()}"
    if not signed_by:
        raise Wrong("none of the keys has signed its checkpoint")
    return Head(lines[0], int(lines[1]), unbased(lines[2]), signed_by)


# --- proofs ----------------------------------------------------------------------------------------------


def check(proof: str, keys: list[Key]) -> str:
    """Check a proof, and say in a sentence what it proves."""
    if proof.startswith(f"{INCLUSION}\n"):
        record, head = check_inclusion(proof, keys)
        return (
            f"position {record.position} of {head.origin} (signed at {head.size} by {head.signed_by}) is "
            f"version {record.version} of {record.stream}, recorded at {record.recorded_at} by "
            f"{record.actor!r}: {record.body}"
        )
    old, new = check_consistency(proof, keys)
    return (
        f"the first {old.size} records of {new.origin} are the same in both checkpoints, signed by "
        f"{old.signed_by} at {old.size} and by {new.signed_by} at {new.size}"
    )


def check_inclusion(proof: str, keys: list[Key]) -> tuple[Record, Head]:
    """Give the record that a proof proves, and the log that it is in."""
    about, *note = proof.split("\n\n")
    kind, *lines = about.split("\n")
    if (
        kind != INCLUSION
        or len(note) != NOTE_PARTS
        or [line[:6] for line in lines[:2]] != ["extra ", "index "]
    ):
        raise Wrong("it is no proof that a record is in a log")
    head, canonical, index = read_head(note[0], note[1], keys), unbased(lines[0][6:]), lines[1][6:]
    record = read_record(canonical)
    if index != str(record.position - 1):
        raise Wrong(f"it proves the index {index}, and shows position {record.position}")
    path = [unbased(line) for line in lines[2:]]
    if not included(sha256(b"\x00" + canonical).digest(), record.position - 1, head.size, path, head.root):
        raise Wrong(f"position {record.position} is not in the log that was signed")
    return record, head


def check_consistency(proof: str, keys: list[Key]) -> tuple[Head, Head]:
    """Give the older and the newer checkpoint of which a proof shows that one log begins the other."""
    about, *notes = proof.split("\n\n")
    kind, *lines = about.split("\n")
    if kind != CONSISTENCY or len(notes) != 2 * NOTE_PARTS:
        raise Wrong("it is no proof")
    old, new = read_head(notes[0], notes[1], keys), read_head(notes[2], notes[3], keys)
    if old.origin != new.origin:
        raise Wrong(f"its checkpoints are of two logs, {old.origin} and {new.origin}")
    if not consistent(old.size, new.size, [unbased(line) for line in lines], old.root, new.root):
        raise Wrong(f"the log at {new.size} does not begin with the log at {old.size}")
    return old, new


def read_record(canonical: bytes) -> Record:
    """Read the canonical bytes of a record (docs/log-format.md)."""
    if len(canonical) < RECORD.size:
        raise Wrong("its record is cut short")
    format_, position, version, at, _, _, _, *lengths = RECORD.unpack(canonical[: RECORD.size])
    if format_ != 1 or len(canonical) != RECORD.size + sum(lengths):
        raise Wrong("its record is not what canonical bytes are")
    parts, begin = [], RECORD.size
    for length in lengths:
        parts.append(canonical[begin : begin + length])
        begin += length
    stream, actor, key, _, body = (part.decode(errors="backslashreplace") for part in parts)
    return Record(position, version, at, stream, actor, key, body)


def main(arguments: list[str]) -> int:
    """Check proofs, one after the other, and say of each whether it holds."""
    if not arguments[1:]:
        sys.stderr.write("usage: python offline.py KEYS PROOF...\n")
        return 2
    code = 0
    try:
        source = arguments[0]
        keys = read_keys(Path(source).read_text() if Path(source).exists() else source)
        for name in arguments[1:]:
            proof = Path(name).read_text()
            try:
                say(f"{name}: {check(proof, keys)}")
            except Wrong as problem:
                say(f"{name}: WRONG: {problem}")
                code = 1
    except (OSError, ValueError, Wrong) as problem:
        sys.stderr.write(f"offline.py: {problem}\n")
        return 2
    return code


def say(text: str) -> None:
    """Write a line that cannot steer a terminal."""
    sys.stdout.write(text.encode("unicode_escape").decode().replace("\\\\", "\\") + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
