"""Secrets: read from where they are kept at the moment at which they are needed, and told to nobody else."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from eventvm.errors import EventvmError
from eventvm.spec import Secret


class SecretMissing(EventvmError):
    """A secret is not where its reference says."""

    hint = "put it there and start again; the reference is in the machine's spec"


def values(secrets: Mapping[str, Secret]) -> dict[str, str]:
    """Read each secret; an error names the place and never a value."""
    return {name: _value(name, secret) for name, secret in secrets.items()}


def _value(name: str, secret: Secret) -> str:
    """Read one secret; the newline that ends a file is no part of it."""
    if secret.env:
        if secret.env not in os.environ:
            raise SecretMissing(f"secret {name}: the environment variable {secret.env} is not set")
        return os.environ[secret.env]
    try:
        return Path(secret.file).read_text().removesuffix("\n")
    except (OSError, UnicodeDecodeError) as problem:
        why = getattr(problem, "strerror", None) or "it is no text"
        raise SecretMissing(f"secret {name}: {secret.file}: {why}") from None


def scrubbed(text: str, told: Iterable[str]) -> str:
    """Blot secrets out of a text, the longest first."""
    for value in sorted(filter(None, told), key=len, reverse=True):
        text = text.replace(value, "***")
    return text
