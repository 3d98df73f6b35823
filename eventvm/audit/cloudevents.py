"""CloudEvents 1.0: a record as others read it, and a foreign claim of an end as we keep it.

`time` is when it was so, `recordedtime` when we learned it, `sequence` the position, and `causationid` the
sequence of the record that this one follows from. What does not exist is left out: a machine whose end is
neither clean nor forced has no `terminalState` key at all. Instants are RFC 3339, and integers that other
readers' 53 bits cannot hold are decimal strings.
"""

from typing import Any, get_args

import msgspec

from eventvm import events, limits
from eventvm.events import Destroyed, Outcome, Unknown
from eventvm.observation import Absent, Clean, End, Forced, Instant, Manner, Observed, Termination
from eventvm.record import Record
from eventvm.times import rfc3339
from eventvm.views import tag

PREFIX = "dev.eventvm."
LARGEST = 2**53 - 1
"""The largest integer that every JSON reader reads right."""
MANNERS: tuple[Manner, ...] = get_args(Manner)


def exported(record: Record, *, source: str, name: str) -> dict[str, Any]:
    """Write a record as a structured CloudEvent; pure, and the same to the byte each time."""
    event = record.event
    effective = record.recorded_at if isinstance(event, Unknown) else event.at.wall
    told = {
        "specversion": "1.0",
        "id": f"{record.stream}/{record.version}",
        "source": source,
        "type": f"{PREFIX}{tag(record)}.v{record.schema}",
        "subject": name,
        "time": rfc3339(effective),
        "recordedtime": rfc3339(record.recorded_at),
        "sequence": f"{record.position:020d}",
        "datacontenttype": "application/json",
        "data": _data(record),
    }
    if record.cause:
        told["causationid"] = f"{record.cause:020d}"
    if record.key is not None:
        told["correlationid"] = record.key
    return told


def _data(record: Record) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.json.decode(record.body)
    for field in ("type", "at"):
        data.pop(field, None)
    data = public(data)
    event = record.event
    if isinstance(event, events.Destroyed | events.Exited | events.Stopped) and event.end is not None:
        data |= _ending(event.end)
    return data


def public(value: Any, name: str = "") -> Any:
    """Write what other readers would misread in a form that they cannot."""
    match value:
        case dict():
            return {key: public(one, key) for key, one in value.items()}
        case list():
            return [public(one) for one in value]
        case int() if name in ("wall", "deadline"):
            return rfc3339(value)
        case int() if abs(value) > LARGEST:
            return str(value)
        case _:
            return value


def _ending(end: End) -> dict[str, Any]:
    told: dict[str, Any] = {"manner": end.manner} | ({"rung": end.rung} if end.rung else {})
    if (state := end.terminal_state) is not None:
        told["terminalState"] = state
    match end.termination:
        case Clean(code) | Observed(code=int(code)):
            told["exitCode"] = code
        case Observed(signal=signal):
            told["signal"] = signal
        case _:
            pass
    return told


def imported(data: dict[str, Any], at: Instant) -> Destroyed:
    """Take a foreign record of an end; a forced one keeps its code as a claim, never as a code."""
    state = data.get("terminalState")
    termination = _terminated(state, data.get("exitCode"), data.get("signal"))
    outcome: Outcome = "failed" if data.get("outcome") == "failed" else "succeeded"
    return Destroyed(
        at=at, reason=str(data.get("reason", ""))[: limits.REASON_CHARACTERS],
        end=End(_manner(data, termination), termination), outcome=outcome,
        claim=_claim(state, data.get("exitCode"), termination),
    )  # fmt: skip


def _terminated(state: object, code: object, signal: object) -> Termination:
    """Believe a code beside `clean`, and one beside no state at all; beside anything else there is none."""
    if limits.is_exit_code(code) and state in ("clean", None):
        return Clean(code) if state == "clean" else Observed(code=code)
    if state is None:
        return Observed(signal=signal[: limits.WORD_CHARACTERS]) if isinstance(signal, str) else Absent()
    return Forced()


def _manner(data: dict[str, Any], termination: Termination) -> Manner:
    for manner in MANNERS:
        if data.get("manner") == manner:
            return manner
    if isinstance(termination, Absent):
        return "lost"
    return "killed" if isinstance(termination, Forced) or getattr(termination, "signal", None) else "graceful"


def _claim(state: object, code: object, termination: Termination) -> str:
    if code is None or getattr(termination, "code", None) == code:
        return ""
    return f"exitCode {limits.shown(code)} beside {limits.shown(state)}"
