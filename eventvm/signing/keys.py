"""Key files: a private key that only its owner reads, and beside it the public keys that it has followed.

The public file holds a line for each key, the oldest first. Behind a successor stands a signature of the key
before it, so whoever trusts the first line can follow to the last.
"""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from eventvm.errors import BadInput, EventvmError
from eventvm.signing.note import PrivateKey, PublicKey, decoded, encoded, read_private, read_public

Keys = tuple[PublicKey, ...]
"""Public keys that follow each other, the newest last."""

SIGNING_KEY = "EVENTVM_SIGNING_KEY"
"""The environment's word for the file of the key that signs: a reference, never the key itself."""
OTHERS = stat.S_IRWXG | stat.S_IRWXO
KEY_FILE_BYTES = 1 << 20


class Signer:
    """A key at work: it signs, and knows which keys it has followed."""

    def __init__(self, key: PrivateKey, keys: Keys) -> None:
        self.key = key
        self.keys = keys


def public_file(path: Path) -> Path:
    """Name the file beside a private key that may be shown to anybody."""
    return path.with_name(path.name + ".pub")


def generate(path: Path, name: str) -> Keys:
    """Make a key in a file that does not exist yet: it and its public file come into being, or neither.

    The private key takes its name last. What was cut short before has signed nothing, and is begun anew.
    """
    key, part, public = PrivateKey.fresh(name), _part(path), public_file(path)
    with _alone(path):
        _refuse_taken(path, "a key is never overwritten")
        _forget(path)
        _refuse_taken(public, "move it away, or rotate its key")
        try:
            _write(part, key.secret + "\n", 0o600)
            _replace(public, f"{key.public}\n", 0o644)
            part.rename(path)
        except BaseException:
            _forget(path)
            raise
        _sync(path.parent)
    return (key.public,)


def _forget(path: Path) -> None:
    """Take away what is there of a key that has never taken its name."""
    part, public = _part(path), public_file(path)
    with suppress(BadInput):
        if _text(public) == f"{_private(part).public}\n":
            public.unlink()
            _sync(path.parent)  # before nobody can tell any more whose it was
    for one in (part, _part(public)):
        one.unlink(missing_ok=True)


def rotate(path: Path, name: str = "") -> Keys:
    """Put a new key in the place of the old one, which signs that it follows, and is gone.

    What is cut short is taken up again: the new key is kept aside until the public file names it.
    """
    with _alone(path):
        old, aside = load(path), path.with_name(path.name + ".new")
        if not aside.exists():
            _replace(aside, PrivateKey.fresh(name or old.key.public.name).secret + "\n", 0o600)
        new = _private(aside).public
        if new != old.keys[-1]:
            before = old.key.public
            vouched = encoded(before.id + old.key.signature(succession(before, new)))
            _replace(public_file(path), f"{_text(public_file(path))}{new} {vouched}\n", 0o644)
        aside.rename(path)
        _sync(path.parent)
    return trusted(public_file(path))


def succession(before: PublicKey, after: PublicKey) -> str:
    """Write what a key signs when another takes its place; it cannot be read as a checkpoint."""
    return f"eventvm key succession v1\n{before}\n{after}\n"


def load(path: Path) -> Signer:
    """Read a private key and those that it has followed."""
    key, keys = _private(path), trusted(public_file(path))
    if key.public not in keys:
        raise BadInput(f"{public_file(path)} does not name the key in {path}")
    return Signer(key, keys)


def named(path: str | Path | None = None) -> Signer | None:
    """Read the key in the file that is named here or in the environment; None where neither names any."""
    where = path or os.environ.get(SIGNING_KEY)
    return load(Path(where)) if where else None


def _private(path: Path) -> PrivateKey:
    text = _text(path)
    if path.stat().st_mode & OTHERS:
        raise BadInput(f"{path} can be read by others than its owner: chmod 600 it, or make a new key")
    try:
        return read_private(text.strip())
    except BadInput as problem:
        raise BadInput(f"{path} cannot be used: {problem}") from None


def trusted(source: str | Path) -> Keys:
    """Read public keys: one as a word, or all that a file holds, each vouched for by the one before it."""
    if isinstance(source, str) and "+" in source and not os.path.lexists(source):
        return (read_public(source),)
    path = Path(source)
    lines = [line.split() for line in _text(path).splitlines() if line.strip()]
    if not lines:
        raise BadInput(f"{path} holds no public key")
    keys: list[PublicKey] = []
    for number, words in enumerate(lines, start=1):
        try:
            keys.append(_following(keys, *words))
        except (BadInput, TypeError) as problem:
            raise BadInput(f"{path}, line {number}: {problem}") from None
    return tuple(keys)


def _following(keys: list[PublicKey], text: str, vouched: str = "") -> PublicKey:
    key = read_public(text)
    if keys:
        before, raw = keys[-1], decoded(vouched)
        if raw[:4] != before.id or not before.has_signed(succession(before, key), raw[4:]):
            raise BadInput(f"{key.title} is not vouched for by {before.title}")
    return key


# --- files -----------------------------------------------------------------------------------------------


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(KEY_FILE_BYTES).decode()
    except UnicodeDecodeError:
        raise BadInput(f"{path} holds no key") from None
    except (OSError, ValueError) as problem:
        why = getattr(problem, "strerror", None) or problem
        raise BadInput(f"{path} cannot be read ({why}); `eventvm keys generate` makes a key") from None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Be the only one who makes keys in a directory; what the file system refuses is said in a sentence."""
    try:
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with suppress(OSError):  # another host's file system may lock no directory
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as problem:
        if isinstance(problem, EventvmError):
            raise
        why = getattr(problem, "strerror", None) or problem
        raise BadInput(f"{path} cannot be written: {why}") from None


def _refuse_taken(path: Path, instead: str) -> None:
    if os.path.lexists(path):
        raise BadInput(f"{path} exists already: {instead}")


def _part(path: Path) -> Path:
    """Name the file that is to take a name once it is whole."""
    return path.with_name(path.name + ".part")


def _write(path: Path, text: str, mode: int) -> None:
    """Write a file anew, on the disk before anybody relies on it."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    _sync(path.parent)


def _replace(path: Path, text: str, mode: int) -> None:
    """Write a file whole or not at all."""
    _write(_part(path), text, mode)
    _part(path).rename(path)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
