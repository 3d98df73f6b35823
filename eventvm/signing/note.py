"""Checkpoints as C2SP writes them: a signed note of a log's origin, the size of its tree and its root; pure.

A note is a text, an empty line, and a line for each signature. What stands in it is believed only after a key
that is trusted was found to have signed it.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from hashlib import sha256
from importlib import import_module
from typing import Any

from msgspec import Struct

from eventvm.errors import BadInput, plain
from eventvm.limits import shown

ED25519 = b"\x01"
"""What marks a key and its signatures as Ed25519 in a signed note."""
DASH = "\N{EM DASH} "
PRIVATE = "PRIVATE+KEY+"
ORIGIN = "eventvm/"
"""Stands before a log's own origin, so that no other system's checkpoint has the same."""
NAME_CHARACTERS = 200
POINT_BYTES = 32


class Checkpoint(Struct, frozen=True):
    """What a log is at one size: whoever has it can tell whether a log still begins like that."""

    origin: str
    """The log's, as its tree keeps it."""
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """Write what is signed."""
        return f"{ORIGIN}{self.origin}\n{self.size}\n{encoded(self.root)}\n"


class Signature(Struct, frozen=True):
    """One line below a note: who says that they signed it, and the proof."""

    name: str
    id: bytes
    proof: bytes


class Note(Struct, frozen=True):
    """A checkpoint and its signatures, none of which is believed yet."""

    checkpoint: Checkpoint
    signatures: tuple[Signature, ...]
    written: str
    """All of it, verbatim."""


class PublicKey(Struct, frozen=True):
    """What tells whether a key has signed."""

    name: str
    point: bytes

    @property
    def id(self) -> bytes:
        """The four bytes that name it in a signature."""
        return sha256(self.name.encode() + b"\n" + ED25519 + self.point).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{encoded(ED25519 + self.point)}"

    @property
    def title(self) -> str:
        """Name it for people."""
        return f"{plain(self.name)}+{self.id.hex()}"

    def has_signed(self, text: str, proof: bytes) -> bool:
        """Say whether a proof is this key's over a text."""
        try:
            _ed25519().Ed25519PublicKey.from_public_bytes(self.point).verify(proof, text.encode())
        except _invalid():
            return False
        return True


class PrivateKey:
    """What signs; it is in one file, and never in a log."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._seed = seed
        self._key = _ed25519().Ed25519PrivateKey.from_private_bytes(seed)
        self.public = PublicKey(name, self._key.public_key().public_bytes_raw())

    @classmethod
    def fresh(cls, name: str) -> "PrivateKey":
        """Make a key that nobody has seen."""
        return cls(checked_name(name), _ed25519().Ed25519PrivateKey.generate().private_bytes_raw())

    @property
    def secret(self) -> str:
        """Write it as its file holds it."""
        public = self.public
        return f"{PRIVATE}{public.name}+{public.id.hex()}+{encoded(ED25519 + self._seed)}"

    def signature(self, text: str) -> bytes:
        """Sign a text."""
        proof: bytes = self._key.sign(text.encode())
        return proof

    def signed(self, checkpoint: Checkpoint) -> str:
        """Write a checkpoint as a signed note."""
        public, text = self.public, checkpoint.text
        return f"{text}\n{DASH}{public.name} {encoded(public.id + self.signature(text))}\n"


def _ed25519() -> Any:
    try:
        return import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
    except ImportError:
        raise BadInput("signatures need the package cryptography: pip install 'eventvm[audit]'") from None


def _invalid() -> Any:
    return import_module("cryptography.exceptions").InvalidSignature


# --- reading ---------------------------------------------------------------------------------------------


def encoded(value: bytes) -> str:
    """Write bytes as base64."""
    return b64encode(value).decode()


def decoded(text: str) -> bytes:
    """Read base64, in the one way in which bytes are written; what is refused is not shown."""
    try:
        value = b64decode(text, validate=True)
    except (NotBase64, ValueError):
        value = b""
    if not value or encoded(value) != text:
        raise BadInput(f"{len(text)} letters that should be base64 are not")
    return value


def checked_name(name: str) -> str:
    """Refuse what no note could tell from what stands beside it."""
    if not name or len(name) > NAME_CHARACTERS or "+" in name or not name.isprintable() or " " in name:
        raise BadInput(f"a key cannot be named {name!r}: it takes letters without blanks and without a +")
    return name


def read_public(text: str) -> PublicKey:
    """Read a public key as `eventvm keys show` writes it."""
    if text.strip().startswith(PRIVATE):
        raise BadInput("it is a private key: give the public one, which stands in the file beside it (.pub)")
    name, id_, coded = (*text.strip().split("+", 2), "", "")[:3]
    raw = decoded(coded)
    key = PublicKey(checked_name(name), raw[1:])
    if raw[:1] != ED25519 or len(key.point) != POINT_BYTES or key.id.hex() != id_:
        raise BadInput(f"{shown(text)} is no public key: NAME+ID+BASE64, as `eventvm keys show` prints it")
    return key


def read_private(text: str) -> PrivateKey:
    """Read a private key as its file holds it; what it says is never shown."""
    name, id_, coded = (*text.strip().removeprefix(PRIVATE).split("+", 2), "", "")[:3]
    try:
        seed = decoded(coded)
        key = PrivateKey(checked_name(name), seed[1:])
    except (BadInput, ValueError):
        raise BadInput("it holds no private key that eventvm has written") from None
    if seed[:1] != ED25519 or key.public.id.hex() != id_:
        raise BadInput("it holds a private key that is not the one that it says")
    return key


def read_note(written: str) -> Note:
    """Read a note, signed or not; nothing in it is believed by that."""
    text, empty, below = written.rpartition("\n\n")
    origin, size, root = (*text.split("\n", 2), "", "")[:3]
    *lines, unended = below.split("\n")
    if not empty or unended or not origin.removeprefix(ORIGIN) or not origin.startswith(ORIGIN):
        raise BadInput("it is no checkpoint of a log: ORIGIN, SIZE and ROOT, an empty line, signatures")
    if not re.fullmatch("0|[1-9][0-9]{0,17}", size):
        raise BadInput(f"{size!r} is no size of a tree")
    checkpoint = Checkpoint(origin.removeprefix(ORIGIN), int(size), decoded(root))
    return Note(checkpoint, tuple(map(_signature, lines)), written)


def _signature(line: str) -> Signature:
    name, _, rest = line.removeprefix(DASH).partition(" ")
    if not line.startswith(DASH) or not name:
        raise BadInput(f"{line!r} is no signature")
    raw = decoded(rest)
    return Signature(name, raw[:4], raw[4:])


def unsigned(checkpoint: Checkpoint) -> str:
    """Write a checkpoint that nobody signs: it is worth what the place is worth where it is kept."""
    return f"{checkpoint.text}\n"


def signer(note: Note, keys: tuple[PublicKey, ...]) -> PublicKey | None:
    """Give the newest of these keys, which are from old to new, that has signed a note.

    A signature that a known key is said to have made and has not makes the whole note worthless.
    """
    found = None
    for key in keys:
        for one in note.signatures:
            if (one.name, one.id) == (key.name, key.id):
                if not key.has_signed(note.checkpoint.text, one.proof):
                    raise BadInput(f"the signature of {key.title} is not over this checkpoint")
                found = key
    return found
