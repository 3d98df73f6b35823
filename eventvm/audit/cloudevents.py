"""CloudEvents 1.0: a record as others read it, and a foreign claim of an end as we keep it.

`time` is when it was so, `recordedtime` when we learned it, `sequence` the position. What does not exist is
left out: a machine whose end is neither clean nor forced has no `terminalState` key at all.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from eventvm import events
from eventvm.events import Destroyed, Outcome, Unknown
from eventvm.observation import Clean, End, Forced, Instant, Observed, Termination
from eventvm.record import Record
from eventvm.views import tag

PREFIX = "dev.eventvm."
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(wall: int) -> str:
    """Write nanoseconds since 1970 as RFC 3339, to the nanosecond."""
    seconds, ns = divmod(wall, 1_000_000_000)
    return f"{EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.{ns:09d}Z"


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
        told["causationid"] = str(record.cause)
    if record.key is not None:
        told["correlationid"] = record.key
    return told


def _data(record: Record) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.json.decode(record.body)
    for field in ("type", "at"):
        data.pop(field, None)
    event = record.event
    if isinstance(event, events.Destroyed | events.Exited | events.Stopped) and event.end is not None:
        data |= _ending(event.end)
    return data


def _ending(end: End) -> dict[str, Any]:
    told: dict[str, Any] = {"manner": end.manner}
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
    state, code = data.get("terminalState"), data.get("exitCode")
    termination: Termination = Clean(code) if state == "clean" and type(code) is int else Forced()
    claim = "" if code is None or isinstance(termination, Clean) else f"exitCode {code!r} beside {state!r}"
    outcome: Outcome = "failed" if data.get("outcome") == "failed" else "succeeded"
    end = End("graceful" if state == "clean" else "killed", termination)
    return Destroyed(at=at, reason=str(data.get("reason", "")), end=end, outcome=outcome, claim=claim[:200])
