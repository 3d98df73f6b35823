"""Limits of wishes: specs, the data of moves, and commands, whoever made them."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, get_args

import msgspec
from msgspec.structs import replace

from eventvm import commands
from eventvm.commands import Command
from eventvm.errors import BadInput
from eventvm.limits import (
    AMOUNT,
    ARGUMENT_CHARACTERS,
    ARGUMENTS,
    CONTEXT,
    CPUS,
    DATA_BYTES,
    DATA_DEPTH,
    DEVICES,
    LABEL_KEY_CHARACTERS,
    LABEL_VALUE_CHARACTERS,
    LABELS,
    NAME_CHARACTERS,
    TTL_SECONDS,
    VARIABLES,
    amount,
    choice,
    exit_code,
    flag,
    instant,
    name,
    path,
    phase,
    position,
    reason,
    refuse,
    seconds,
    text,
    word,
)
from eventvm.observation import Liveness
from eventvm.spec import Drive, Interface, RateLimit, Restart, RestoreFrom, Sandbox, Secret, Spec

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*\Z")
_LONG_INTEGER = re.compile(rb"\d{19}")

# --- the spec


def labels(value: Any, *, removable: bool = False) -> Mapping[str, str | None]:
    """Refuse labels that are too many, or that no filter could name."""
    if not isinstance(value, dict) or len(value) > LABELS:
        refuse("labels", f"at most {LABELS}, as a dict of text by text", value)
    for key_, said in value.items():
        if not isinstance(key_, str) or len(key_) > LABEL_KEY_CHARACTERS or not _LABEL.match(key_):
            refuse("label", f"a key of 1 to {LABEL_KEY_CHARACTERS} of A-Z a-z 0-9 . _ / -", key_)
        if not (removable and said is None):
            word(said, f"label {key_}", LABEL_VALUE_CHARACTERS)
    return value


def _command(value: Any, what: str) -> None:
    if not isinstance(value, tuple) or len(value) > ARGUMENTS:
        refuse(what, f"at most {ARGUMENTS} words, as a tuple", value)
    for one in value:
        text(one, f"word of the {what}", ARGUMENT_CHARACTERS)


def _variables(value: Any, what: str, rule: Callable[[Any], object]) -> None:
    if not isinstance(value, dict) or len(value) > VARIABLES:
        refuse(what, f"at most {VARIABLES} variables, as a dict", value)
    for variable, said in value.items():
        if "=" in word(variable, f"name in the {what}", least=1):
            refuse(f"name in the {what}", "one without `=`", variable)
        rule(said)


def _secret(value: Any) -> None:
    if not isinstance(value, Secret):
        refuse("secret", "a Secret that names where it is kept", "what was given")
    word(value.env, "secret's env")
    path(value.file, what="secret's file")


def _devices(value: Any, what: str, kind: type) -> None:
    if not isinstance(value, tuple) or len(value) > DEVICES or not all(type(one) is kind for one in value):
        refuse(what, f"at most {DEVICES} of {kind.__name__}, as a tuple", value)
    for one in value:
        _each(one, _DEVICE, f"{what}: ")


def _each(value: Any, rules: "Rules", of: str = "") -> None:
    """Hold each field to its rule; None only where it is the default."""
    for field in value.__struct_fields__:
        if (given := getattr(value, field)) is not None or field not in _OPTIONAL:
            rules[field](given, what=of + field)


def _restored(value: Any, what: str) -> None:
    if not isinstance(value, RestoreFrom):
        refuse(what, "a RestoreFrom", value)
    _each(value, _RESTORED)


def _sandbox(value: Any, what: str) -> None:
    if not isinstance(value, Sandbox):
        refuse(what, "a Sandbox", value)
    for field in ("writable", "hidden"):
        paths = getattr(value, field)
        if not isinstance(paths, tuple) or len(paths) > DEVICES:
            refuse(f"{what}: {field}", f"at most {DEVICES} paths, as a tuple", paths)
        for one in paths:
            path(one, what=f"{what}: {field}")
    flag(value.network, what=f"{what}: network")


def spec(value: Any, what: str = "spec") -> Spec:
    """Refuse a spec that no machine can have and no bill can count."""
    if not isinstance(value, Spec):
        refuse(what, "a Spec", value)
    _each(value, _SPEC)
    return value


Rules = dict[str, Callable[..., object]]

_OPTIONAL = frozenset({"vsock", "restore_from", "stop_grace_seconds", "sandbox"})
_DEVICE: Rules = {
    "id": word, "host_device": word, "mac": word, "path": path, "read_only": flag, "device": word,
    "bytes_per_second": amount, "operations_per_second": amount,
}  # fmt: skip
_RESTORED: Rules = {
    "machine": partial(word, least=1), "snapshot": name, "resume_immediately": flag,
    "network_overrides": partial(_devices, kind=Interface),
}  # fmt: skip
_SPEC: Rules = {
    "provider": partial(word, most=NAME_CHARACTERS), "cpus": partial(amount, most=CPUS), "memory": amount,
    "storage": amount, "command": _command, "directory": path,
    "environment": partial(_variables, rule=partial(text, what="variable", most=ARGUMENT_CHARACTERS)),
    "secrets": partial(_variables, rule=_secret), "stop_grace_seconds": seconds, "initrd": path,
    "kernel": path, "rootfs": path, "sandbox": _sandbox, "bounded": flag, "boot_args": path,
    "network": partial(_devices, kind=Interface), "drives": partial(_devices, kind=Drive),
    "vsock": partial(amount, most=CONTEXT), "rate_limits": partial(_devices, kind=RateLimit),
    "restore_from": _restored, "labels": lambda value, **_: labels(value),
    "restart": partial(choice, choices=get_args(Restart)), "ttl_seconds": partial(amount, most=TTL_SECONDS),
    "dev": flag, "disabled": flag,
}  # fmt: skip


# --- commands


def data(value: Any) -> Any:
    """Give data as it will be read back; refuse what is no JSON, or more of it than a record should hold."""
    try:
        given = msgspec.to_builtins(value)
        written = msgspec.json.encode(given)
        same = msgspec.json.decode(written) == given
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as problem:
        raise BadInput(f"data is what JSON can hold, or a msgspec Struct of it: {problem}") from problem
    if not same:
        raise BadInput("data must read back as it is: JSON knows no NaN, no infinity and no keys but text")
    if len(written) > DATA_BYTES:
        size = len(written)
        raise BadInput(f"data has at most {DATA_BYTES} bytes as JSON, this has {size}; keep it elsewhere")
    if written.count(b"[") + written.count(b"{") > DATA_DEPTH or _LONG_INTEGER.search(written):
        _refuse_odd(given, 0)
    return given


def _refuse_odd(value: Any, depth: int) -> None:
    """Refuse what other readers of JSON would stumble over."""
    if isinstance(value, dict | list | tuple):
        if depth == DATA_DEPTH:
            raise BadInput(f"data is at most {DATA_DEPTH} lists and objects deep; keep it flatter")
        for one in value.values() if isinstance(value, dict) else value:
            _refuse_odd(one, depth + 1)
    elif isinstance(value, int) and not -AMOUNT - 1 <= value <= AMOUNT:
        raise BadInput(f"an integer in data has 64 bits, not {value.bit_length() + 1}; write it as text")


_FIELDS: dict[str, Callable[[Any], object]] = {
    "reason": reason,
    "name": name,
    "lifecycle": partial(word, what="lifecycle", least=1),
    "spec": spec,
    "phase": phase,
    "source": partial(word, what="source", least=1),
    "snapshot": partial(name, what="snapshot"),
    "force": partial(flag, what="force"),
    "code": exit_code,
    "to": phase,
    "what": partial(word, what="use"),
    "liveness": partial(choice, what="liveness", choices=get_args(Liveness)),
    "at": instant,
    "labels": partial(labels, removable=True),
    "restart": partial(choice, what="restart", choices=get_args(Restart)),
    "ttl_seconds": partial(amount, what="ttl_seconds", most=TTL_SECONDS),
    "dev": partial(flag, what="dev"),
    "disabled": partial(flag, what="disabled"),
    "position": position,
    "meter": partial(word, what="meter"),
    "edge": partial(choice, what="edge", choices=("start", "stop")),
    "subject": partial(word, what="subject"),
}
"""For each field of a command: its rule."""


def _rules(kind: type) -> tuple[tuple[str, Callable[[Any], object], bool], ...]:
    """Give the rule of each field, and whether None is allowed; data is the one that is not only checked."""
    fields = (one for one in msgspec.structs.fields(kind) if one.name != "data")
    return tuple((one.name, _FIELDS[one.name], one.default is None) for one in fields)


_COMMANDS = {kind: _rules(kind) for kind in get_args(Command)}


def command(wish: Any) -> Command:
    """Give a command as it may be sent, whoever made it; refuse one that has a field out of its limits."""
    rules = _COMMANDS.get(type(wish))
    if rules is None:
        refuse("command", "one of eventvm.commands", wish)
    for field, rule, optional in rules:
        value = getattr(wish, field)
        if value is not None or not optional:
            rule(value)
    if type(wish) is commands.Transition and wish.data is not None:
        return replace(wish, data=data(wish.data))
    return wish  # type: ignore[no-any-return]  # one of those that have rules


def room_for_labels(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Refuse a change that gives a machine more labels than it may have."""
    if len(after) > max(LABELS, len(before)):
        raise BadInput(f"a machine has at most {LABELS} labels, this would make {len(after)}; take some away")
