"""What a machine should be, as a command line says it: a file, and options that say more."""

import argparse
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
from msgspec.structs import replace

from eventvm.errors import BadInput, plain
from eventvm.spec import Restart, Sandbox, Spec

SPEC_BYTES = 1 << 20
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def describe_process(verb: Any) -> None:
    """Describe the options of a machine that is a process."""
    verb.add_argument("--grace", type=seconds, metavar="T", help="how long a stop asks before it kills")
    verb.add_argument(
        "--sandbox", action="store_true",
        help="it may read the files here, write below the current directory alone, and reach no network",
    )  # fmt: skip


def describe(verb: Any) -> None:
    """Describe the options of any machine."""
    verb.add_argument("--spec", metavar="FILE", help="what it should be, as JSON; other options say more")
    verb.add_argument("--provider", help="who carries it out (default: process, where there is a COMMAND)")
    verb.add_argument("--cpus", type=int, metavar="N", help="how many CPUs it has")
    verb.add_argument("--memory", type=size, metavar="SIZE", help="how much memory: 512M, 4G")
    verb.add_argument("--storage", type=size, metavar="SIZE", help="how much storage: 512M, 4G")
    verb.add_argument(
        "--env", type=pair, action="append", default=[], metavar="NAME=VALUE", help="repeatable"
    )
    describe_said(verb)
    describe_process(verb)


def describe_said(verb: Any) -> None:
    """Describe what may be said of a machine at any time."""
    verb.add_argument(
        "--label", type=pair, action="append", default=[], metavar="KEY=VALUE", help="repeatable"
    )
    verb.add_argument(
        "--restart", choices=[one for one in get_args(Restart) if one], help="when it runs again"
    )
    verb.add_argument(
        "--ttl", type=seconds, metavar="T", help="how long it may live (90s, 5m, 2h; 0: for ever)"
    )


def describe_command(verb: Any) -> None:
    """Let what follows `--` be the command that a process runs."""
    verb.takes_command = True
    verb.usage = f"{verb.prog} [OPTION ...] NAME [-- COMMAND ...]"


def seconds(text: str) -> float:
    """Read a length of time."""
    if (told := re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)) is None:
        raise argparse.ArgumentTypeError(f"a length of time is 90, 90s, 5m or 2h, not {text!r}")
    return float(told[1]) * _SECONDS[told[2]]


def size(text: str) -> int:
    """Read an amount of bytes."""
    if (told := re.fullmatch(r"(\d{1,18})([KMGT]?)", text)) is None:
        raise argparse.ArgumentTypeError(f"a size is 1048576, 512M or 4G, not {text!r}")
    return int(told[1]) * _BYTES[told[2]]


def sized(amount: int) -> str:
    """Write an amount of bytes as it may be given."""
    fits = [unit for unit, one in _BYTES.items() if amount and amount % one == 0]
    unit = fits[-1] if fits else ""
    return f"{amount // _BYTES[unit]}{unit or ' bytes'}"


def pair(text: str) -> tuple[str, str]:
    """Read a name and its value."""
    name, said, value = text.partition("=")
    if not (name and said):
        raise argparse.ArgumentTypeError(f"it is given as NAME=VALUE, not as {text!r}")
    return name, value


def walls(options: argparse.Namespace) -> Sandbox | None:
    """Give what a process in a sandbox may write to."""
    return Sandbox(writable=(str(Path.cwd()),)) if options.sandbox else None


def asked(options: argparse.Namespace, base: Spec | None = None) -> Spec | None:
    """Put a spec together from what it is so far, if it is; None where nothing was said."""
    written = _written(options.spec) if options.spec else base or Spec()
    said = {name: value for name, value in _said(options, written).items() if value not in (None, {}, ())}
    return replace(written, **said) if said or options.spec else None


def _said(options: argparse.Namespace, written: Spec) -> dict[str, Any]:
    command = tuple(getattr(options, "command", ()))
    process = {"command": command, "directory": str(Path.cwd())} if command else {}
    provider = options.provider or (command and not written.provider and "process") or None
    labels, environment = dict(options.label), dict(options.env)
    return process | {
        "provider": provider, "cpus": options.cpus, "memory": options.memory, "storage": options.storage,
        "labels": labels and {**written.labels, **labels}, "restart": options.restart,
        "environment": environment and {**written.environment, **environment},
        "ttl_seconds": None if options.ttl is None else int(options.ttl),
        "stop_grace_seconds": options.grace, "sandbox": walls(options),
    }  # fmt: skip


def _written(path: str) -> Spec:
    try:
        with Path(path).open("rb") as file:
            return msgspec.json.decode(file.read(SPEC_BYTES), type=Spec)
    except (OSError, msgspec.MsgspecError) as problem:
        why = getattr(problem, "strerror", None) or problem
        raise BadInput(f"{plain(path)} holds no spec: {why}") from problem
