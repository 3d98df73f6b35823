"""Limits: a number for everything that comes from outside, and the checks that keep to it; pure.

Whatever is refused here is a BadInput whose sentence says what would be taken, and nothing has changed. Text
that people wrote (a reason) is kept verbatim, whatever it holds; `errors.plain` escapes it where it is shown.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NoReturn, TypeGuard, get_args

import msgspec
from msgspec.structs import replace

from eventvm import commands
from eventvm.commands import Command
from eventvm.errors import BadInput, Overloaded, plain
from eventvm.observation import (
    Absent,
    Clean,
    End,
    Evidence,
    Forced,
    Instant,
    Liveness,
    Manner,
    Observation,
    Observed,
)
from eventvm.spec import Drive, Interface, RateLimit, Restart, RestoreFrom, Secret, Spec

# --- words

NAME_CHARACTERS = 128
"""A name (of a machine, snapshot, provider): of `A-Z a-z 0-9 - _ . : /`, with a letter or digit."""
REASON_CHARACTERS = 1000
"""A reason; kept verbatim, and no NUL in it."""
KEY_CHARACTERS = 200
"""A key: at least one, and printable."""
ACTOR_CHARACTERS = 200
"""An actor: printable."""
PHASE_CHARACTERS = 64
"""A phase, and the title and the meters that a definition names: printable."""
WORD_CHARACTERS = 255
"""Any other word: an id, a device, a host, a meter, the source of an evidence; printable."""
PATH_CHARACTERS = 4096
"""A kernel, a root file system, boot arguments, the path of a drive, a URL; printable."""
ARGUMENTS = 1024
"""Words of a command line."""
ARGUMENT_CHARACTERS = 32_768
"""One of them, and the value of an environment variable; no NUL in it."""
VARIABLES = 256
"""Variables of an environment, and as many secrets; no `=` in their names."""
LABELS = 32
"""Labels of one machine."""
LABEL_KEY_CHARACTERS = 63
"""A label's key: of `A-Z a-z 0-9 . _ / -`, beginning with a letter or digit."""
LABEL_VALUE_CHARACTERS = 255
"""A label's value: printable, and it may be empty."""

# --- amounts

AMOUNT = 2**63 - 1
"""An amount in a spec, a size, a position."""
CPUS = AMOUNT // 1000
"""CPUs in a spec, because they are counted in thousandths."""
CONTEXT = 2**32 - 1
"""A context id on the vsock."""
DEVICES = 64
"""Network interfaces, drives and rate limits in a spec, of each kind."""
TTL_SECONDS = 3_155_760_000
"""A time to live: a hundred years."""
INSTANT_NS = 2**62
"""A clock's reading in an instant, before or after zero."""
EXIT_CODE = 2**32 - 1
"""An exit code; the smallest is -2,147,483,648."""
OPTION_SECONDS = 315_576_000
"""A deadline, a probe's or a grace's length: ten years."""

# --- data and definitions

DATA_BYTES = 65_536
"""The data of a move, as JSON; it must read back as it is."""
DATA_DEPTH = 64
"""Lists and objects within each other in the data of a move; its integers have 64 bits."""
PHASES = 256
"""Phases of a lifecycle."""
DEFINITION_BYTES = 262_144
"""A lifecycle's definition, as JSON."""

# --- what providers return

DETAIL_CHARACTERS = 500
"""The detail of an observation; what is longer is cut."""
FAULT_CHARACTERS = 500
"""What is kept of a provider's error; what is longer is cut."""
SNAPSHOTS_SEEN = 10_000
"""Snapshots that an observation names."""

# --- crowds

PAGE_RECORDS = 10_000
"""Records, or names of streams, on one page; a page has at least one."""
MACHINES_LISTED = 1000
"""Machines in one answer."""
GOALS = 64
"""Goals of one wait."""
EVENT_BYTES = 1_048_576
"""An event's body, as JSON."""
EVENTS_APPENDED = 1000
"""Events of one append; it has at least one."""
WORDS_CHARACTERS = 16_384
"""Stream, actor, key and names of one append, together."""
QUEUE_TICKETS = 65_536
"""Appends that wait to be written; the outcome of a request that is under way is always taken."""
QUEUE_BYTES = 67_108_864
"""Bytes of events that wait to be written."""
TURNS_QUEUED = 10_000
"""Commands that wait for the turn of one machine."""
WAITERS = 1_000_000
"""Waits under way in one engine."""
WAITERS_OF_MACHINE = 100_000
"""Waits under way for one machine."""
SUBSCRIPTIONS = 10_000
"""Subscriptions of one engine that somebody holds."""
OBSERVERS = 1000
"""Observers of one engine."""

_SHOWN = 80
_NAME = re.compile(r"(?=[^A-Za-z0-9]*[A-Za-z0-9])[A-Za-z0-9_.:/-]*\Z")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*\Z")
_LONG_INTEGER = re.compile(rb"\d{19}")


def shown(value: object) -> str:
    """Quote what was given, shortened, as an error may show it."""
    if isinstance(value, str):
        cut = value[:_SHOWN]
        return repr(cut) if len(cut) == len(value) else f"{cut!r}... ({len(value)} characters)"
    if isinstance(value, int) and value.bit_length() > 64:  # noqa: PLR2004  # a machine word
        return f"an integer of {value.bit_length()} bits"
    return repr(value) if isinstance(value, int | float | None) else f"a {type(value).__name__}"


def _refuse(what: str, wanted: str, value: object) -> NoReturn:
    raise BadInput(f"{what} is refused: it takes {wanted}, not {shown(value)}")


# --- words


def name(value: Any, what: str = "name", most: int = NAME_CHARACTERS) -> str:
    """Refuse a name that could not be read back safely."""
    if not isinstance(value, str) or len(value) > most or not _NAME.match(value):
        _refuse(what, f"1 to {most} of A-Z a-z 0-9 - _ . : / with a letter or digit", value)
    return value


def text(value: Any, what: str, most: int) -> str:
    """Refuse text that is too long, or that no log can hold: with a NUL or half a character."""
    if not isinstance(value, str) or len(value) > most or not (value.isprintable() or _storable(value)):
        _refuse(what, f"at most {most} characters, without NUL and without half a character", value)
    return value


def _storable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def word(value: Any, what: str, most: int = WORD_CHARACTERS, *, least: int = 0) -> str:
    """Refuse a word that is too long, or that holds what cannot be printed."""
    if not isinstance(value, str) or not least <= len(value) <= most or not value.isprintable():
        _refuse(what, f"{least} to {most} printable characters", value)
    return value


def key(value: Any) -> str:
    """Refuse a key that says nothing, or that is too long to be kept for ever."""
    return word(value, "key", KEY_CHARACTERS, least=1)


def reason(value: Any) -> str:
    """Refuse a reason that is too long to be one; a common one is seen to be one at once."""
    if type(value) is str and len(value) <= REASON_CHARACTERS and value.isprintable():
        return value
    return text(value, "reason", REASON_CHARACTERS)


def phase(value: Any) -> str:
    """Refuse what cannot name a phase; what can is seen to at once."""
    if type(value) is str and len(value) <= PHASE_CHARACTERS and value.isprintable():
        return value
    return word(value, "phase", PHASE_CHARACTERS)


actor = partial(word, what="actor", most=ACTOR_CHARACTERS)
path = partial(word, what="path", most=PATH_CHARACTERS)
identity = partial(word, what="id")


def brief(value: object, most: int) -> str:
    """Cut text from a provider to what a record may hold, on one line, whatever it said."""
    cut = " ".join(str(value)[: 4 * most].split())[:most]
    return plain(cut)[:most]


# --- amounts


def amount(value: Any, what: str, most: int = AMOUNT, least: int = 0) -> int:
    """Refuse what is no integer, or one out of its range; True is none."""
    if type(value) is not int or not least <= value <= most:
        _refuse(what, f"an integer from {least} to {most}", value)
    return value


position = partial(amount, what="position")
exit_code = partial(amount, what="exit code", most=EXIT_CODE, least=-(2**31))


def is_exit_code(value: Any) -> TypeGuard[int]:
    """Say whether a foreign value can be an exit code."""
    return type(value) is int and -(2**31) <= value <= EXIT_CODE


def flag(value: Any, what: str) -> bool:
    """Refuse what is neither true nor false."""
    if not isinstance(value, bool):
        _refuse(what, "true or false", value)
    return value


def choice(value: Any, what: str, choices: tuple[str, ...]) -> str:
    """Refuse what is none of the words that there are."""
    if not isinstance(value, str) or value not in choices:
        _refuse(what, f"one of {', '.join(map(repr, choices))}", value)
    return value


def seconds(value: Any, what: str, most: float = OPTION_SECONDS) -> float:
    """Refuse what is no length of time."""
    if type(value) not in {int, float} or not 0 <= value <= most:
        _refuse(what, f"seconds from 0 to {most:g}", value)
    return float(value)


def timeout(value: Any) -> float | None:
    """Refuse a timeout that is no number; one without an end is None or infinity."""
    return None if value is None else seconds(value, "timeout", float("inf"))


def instant(value: Any, what: str = "instant") -> Instant:
    """Refuse an instant that no clock of ours will ever show."""
    if not isinstance(value, Instant):
        _refuse(what, "an Instant", value)
    amount(value.wall, f"wall time of the {what}", INSTANT_NS, -INSTANT_NS)
    amount(value.boot, f"boot time of the {what}", INSTANT_NS, -INSTANT_NS)
    word(value.boot_id, f"boot id of the {what}")
    return value


# --- the spec


def labels(value: Any, *, removable: bool = False) -> Mapping[str, str | None]:
    """Refuse labels that are too many, or that no filter could name."""
    if not isinstance(value, dict) or len(value) > LABELS:
        _refuse("labels", f"at most {LABELS}, as a dict of text by text", value)
    for key_, said in value.items():
        if not isinstance(key_, str) or len(key_) > LABEL_KEY_CHARACTERS or not _LABEL.match(key_):
            _refuse("label", f"a key of 1 to {LABEL_KEY_CHARACTERS} of A-Z a-z 0-9 . _ / -", key_)
        if not (removable and said is None):
            word(said, f"label {key_}", LABEL_VALUE_CHARACTERS)
    return value


def _command(value: Any, what: str) -> None:
    if not isinstance(value, tuple) or len(value) > ARGUMENTS:
        _refuse(what, f"at most {ARGUMENTS} words, as a tuple", value)
    for one in value:
        text(one, f"word of the {what}", ARGUMENT_CHARACTERS)


def _variables(value: Any, what: str, rule: Callable[[Any], object]) -> None:
    if not isinstance(value, dict) or len(value) > VARIABLES:
        _refuse(what, f"at most {VARIABLES} variables, as a dict", value)
    for variable, said in value.items():
        if "=" in word(variable, f"name in the {what}", least=1):
            _refuse(f"name in the {what}", "one without `=`", variable)
        rule(said)


def _secret(value: Any) -> None:
    if not isinstance(value, Secret):
        _refuse("secret", "a Secret that names where it is kept", "what was given")
    word(value.env, "secret's env")
    _path(value.file, "secret's file")


def _devices(value: Any, what: str, kind: type) -> None:
    if not isinstance(value, tuple) or len(value) > DEVICES or not all(type(one) is kind for one in value):
        _refuse(what, f"at most {DEVICES} of {kind.__name__}, as a tuple", value)
    for one in value:
        _each(one, _DEVICE, f"{what}: ")


def _each(value: Any, rules: "Rules", of: str = "") -> None:
    """Hold each field to its rule; None only where it is the default."""
    for field in value.__struct_fields__:
        if (given := getattr(value, field)) is not None or field not in _OPTIONAL:
            rules[field](given, what=of + field)


def _restored(value: Any, what: str) -> None:
    if not isinstance(value, RestoreFrom):
        _refuse(what, "a RestoreFrom", value)
    _each(value, _RESTORED)


def spec(value: Any, what: str = "spec") -> Spec:
    """Refuse a spec that no machine can have and no bill can count."""
    if not isinstance(value, Spec):
        _refuse(what, "a Spec", value)
    _each(value, _SPEC)
    return value


Rules = dict[str, Callable[..., object]]

_OPTIONAL = frozenset({"vsock", "restore_from", "stop_grace_seconds"})
_path = partial(word, most=PATH_CHARACTERS)
_DEVICE: Rules = {
    "id": word, "host_device": word, "mac": word, "path": _path, "read_only": flag, "device": word,
    "bytes_per_second": amount, "operations_per_second": amount,
}  # fmt: skip
_RESTORED: Rules = {
    "machine": partial(word, least=1), "snapshot": name, "resume_immediately": flag,
    "network_overrides": partial(_devices, kind=Interface),
}  # fmt: skip
_SPEC: Rules = {
    "provider": partial(word, most=NAME_CHARACTERS), "cpus": partial(amount, most=CPUS), "memory": amount,
    "storage": amount, "command": _command, "directory": _path,
    "environment": partial(_variables, rule=partial(text, what="variable", most=ARGUMENT_CHARACTERS)),
    "secrets": partial(_variables, rule=_secret), "stop_grace_seconds": seconds, "initrd": _path,
    "kernel": _path, "rootfs": _path, "boot_args": _path,
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
        _refuse("command", "one of eventvm.commands", wish)
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


def definition(name_: Any, phases: tuple[Any, ...], words: Iterable[Any], written: bytes) -> None:
    """Refuse a lifecycle that is too large, or whose words could not be shown."""
    name(name_)
    amount(len(phases), "number of phases", PHASES, 1)
    for one in (*phases, *words):
        word(one, "word of the definition", PHASE_CHARACTERS)
    amount(len(written), "size in bytes", DEFINITION_BYTES)


# --- what providers return, and what others have seen


def observation(seen: Any) -> Observation:
    """Give an observation as it may be believed, its detail cut; refuse one that is malformed."""
    if not isinstance(seen, Observation):
        _refuse("observation", "an Observation", seen)
    choice(seen.liveness, "liveness", get_args(Liveness))
    _evidence(seen.evidence)
    for field in ("exists", "paused"):
        if (said := getattr(seen, field)) is not None:
            flag(said, field)
    if seen.name is not None:
        word(seen.name, "name")
    if seen.end is not None:
        end(seen.end)
    if seen.snapshots is not None:
        _snapshots(seen.snapshots)
    amount(seen.generation, "generation")
    return replace(seen, detail=brief(seen.detail, DETAIL_CHARACTERS)) if seen.detail else seen


def _evidence(value: Any) -> None:
    if not isinstance(value, Evidence):
        _refuse("evidence", "an Evidence", value)
    word(value.source, "source of the evidence", least=1)
    flag(value.verified, "verified")
    amount(value.incarnation, "incarnation")
    if value.when is not None:
        instant(value.when, "evidence")


def _snapshots(value: Any) -> None:
    if not isinstance(value, tuple) or len(value) > SNAPSHOTS_SEEN:
        _refuse("snapshots", f"at most {SNAPSHOTS_SEEN} names, as a tuple", value)
    for one in value:
        word(one, "snapshot")


def end(value: Any) -> End:
    """Refuse an end that no record may hold."""
    if not isinstance(value, End):
        _refuse("end", "an End", value)
    choice(value.manner, "manner", get_args(Manner))
    match value.termination:
        case Clean(code=code):
            exit_code(code)
        case Observed(code=code, signal=signal):
            exit_code(code) if signal is None else word(signal, "signal")
        case Forced() | Absent():
            pass
        case other:
            _refuse("termination", "clean, forced, observed or absent", other)
    return value


# --- crowds


def page(after: Any, limit: Any) -> None:
    """Refuse a page that begins nowhere, or that is larger than a page."""
    amount(after, "after")
    amount(limit, "limit", PAGE_RECORDS, 1)


def room(taken: int, most: int, what: str) -> None:
    """Refuse one more of what is bounded."""
    if taken >= most:
        raise Overloaded(f"{most:,} {what}")
