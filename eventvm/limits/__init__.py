"""Limits: a number for everything that comes from outside, and the checks that keep to it; pure.

Whatever is refused here is a BadInput whose sentence says what would be taken, and nothing has changed. Text
that people wrote (a reason) is kept verbatim, whatever it holds; `errors.plain` escapes it where it is shown.
"""

import re
from collections.abc import Iterable
from functools import partial
from typing import Any, NoReturn, TypeGuard

from eventvm.errors import BadInput, Overloaded, plain
from eventvm.observation import Instant

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

# --- through the socket of an engine

CALLERS = 1000
"""Processes that use another one's engine at the same time."""
CALLER_REQUESTS = 1000
"""Requests of one of them that are under way; it is heard again once one of these is answered."""
REQUESTS_ASKED = 100_000
"""Requests of one process that wait for the answers of another one's engine."""
REQUEST_BYTES = 2_097_152
"""A request to another process's engine, as a line of JSON."""
ANSWER_BYTES = 67_108_864
"""An answer of it; it was done, and what a longer one would tell is in the log."""

_SHOWN = 80
_NAME = re.compile(r"(?=[^A-Za-z0-9]*[A-Za-z0-9])[A-Za-z0-9_.:/-]*\Z")


def shown(value: object) -> str:
    """Quote what was given, shortened, as an error may show it."""
    if isinstance(value, str):
        cut = value[:_SHOWN]
        return repr(cut) if len(cut) == len(value) else f"{cut!r}... ({len(value)} characters)"
    if isinstance(value, int) and value.bit_length() > 64:  # noqa: PLR2004  # a machine word
        return f"an integer of {value.bit_length()} bits"
    return repr(value) if isinstance(value, int | float | None) else f"a {type(value).__name__}"


def refuse(what: str, wanted: str, value: object) -> NoReturn:
    """Say what would be taken, and what was given."""
    raise BadInput(f"{what} is refused: it takes {wanted}, not {shown(value)}")


# --- words


def name(value: Any, what: str = "name", most: int = NAME_CHARACTERS) -> str:
    """Refuse a name that could not be read back safely."""
    if not isinstance(value, str) or len(value) > most or not _NAME.match(value):
        refuse(what, f"1 to {most} of A-Z a-z 0-9 - _ . : / with a letter or digit", value)
    return value


def text(value: Any, what: str, most: int) -> str:
    """Refuse text that is too long, or that no log can hold: with a NUL or half a character."""
    if not isinstance(value, str) or len(value) > most or not (value.isprintable() or _storable(value)):
        refuse(what, f"at most {most} characters, without NUL and without half a character", value)
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
        refuse(what, f"{least} to {most} printable characters", value)
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
        refuse(what, f"an integer from {least} to {most}", value)
    return value


position = partial(amount, what="position")
exit_code = partial(amount, what="exit code", most=EXIT_CODE, least=-(2**31))


def is_exit_code(value: Any) -> TypeGuard[int]:
    """Say whether a foreign value can be an exit code."""
    return type(value) is int and -(2**31) <= value <= EXIT_CODE


def flag(value: Any, what: str) -> bool:
    """Refuse what is neither true nor false."""
    if not isinstance(value, bool):
        refuse(what, "true or false", value)
    return value


def choice(value: Any, what: str, choices: tuple[str, ...]) -> str:
    """Refuse what is none of the words that there are."""
    if not isinstance(value, str) or value not in choices:
        refuse(what, f"one of {', '.join(map(repr, choices))}", value)
    return value


def seconds(value: Any, what: str, most: float = OPTION_SECONDS) -> float:
    """Refuse what is no length of time."""
    if type(value) not in {int, float} or not 0 <= value <= most:
        refuse(what, f"seconds from 0 to {most:,}", value)
    return float(value)


def timeout(value: Any) -> float | None:
    """Refuse a timeout that is no number; one without an end is None or infinity."""
    return None if value is None else seconds(value, "timeout", float("inf"))


def instant(value: Any, what: str = "instant") -> Instant:
    """Refuse an instant that no clock of ours will ever show."""
    if not isinstance(value, Instant):
        refuse(what, "an Instant", value)
    amount(value.wall, f"wall time of the {what}", INSTANT_NS, -INSTANT_NS)
    amount(value.boot, f"boot time of the {what}", INSTANT_NS, -INSTANT_NS)
    word(value.boot_id, f"boot id of the {what}")
    return value


def definition(name_: Any, phases: tuple[Any, ...], words: Iterable[Any], written: bytes) -> None:
    """Refuse a lifecycle that is too large, or whose words could not be shown."""
    name(name_)
    amount(len(phases), "number of phases", PHASES, 1)
    for one in (*phases, *words):
        word(one, "word of the definition", PHASE_CHARACTERS)
    amount(len(written), "size in bytes", DEFINITION_BYTES)


# --- crowds


def page(after: Any, limit: Any) -> None:
    """Refuse a page that begins nowhere, or that is larger than a page."""
    amount(after, "after")
    amount(limit, "limit", PAGE_RECORDS, 1)


def room(taken: int, most: int, what: str) -> None:
    """Refuse one more of what is bounded."""
    if taken >= most:
        raise Overloaded(f"{most:,} {what}")
