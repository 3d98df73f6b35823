"""Limits of sightings: what providers answer, and what others have seen."""

from typing import Any, get_args

from msgspec.structs import replace

from eventvm.limits import (
    DETAIL_CHARACTERS,
    SNAPSHOTS_SEEN,
    amount,
    brief,
    choice,
    exit_code,
    flag,
    instant,
    refuse,
    word,
)
from eventvm.observation import (
    Absent,
    Clean,
    End,
    Evidence,
    Forced,
    Liveness,
    Manner,
    Observation,
    Observed,
)

_LIVENESS, _MANNERS = get_args(Liveness), get_args(Manner)


def observation(seen: Any) -> Observation:
    """Give an observation as it may be believed, its detail cut; refuse one that is malformed."""
    if not isinstance(seen, Observation):
        refuse("observation", "an Observation", seen)
    choice(seen.liveness, "liveness", _LIVENESS)
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
        refuse("evidence", "an Evidence", value)
    word(value.source, "source of the evidence", least=1)
    flag(value.verified, "verified")
    amount(value.incarnation, "incarnation")
    if value.when is not None:
        instant(value.when, "evidence")


def _snapshots(value: Any) -> None:
    if not isinstance(value, tuple) or len(value) > SNAPSHOTS_SEEN:
        refuse("snapshots", f"at most {SNAPSHOTS_SEEN} names, as a tuple", value)
    for one in value:
        word(one, "snapshot")


def end(value: Any) -> End:
    """Refuse an end that no record may hold."""
    if not isinstance(value, End):
        refuse("end", "an End", value)
    choice(value.manner, "manner", _MANNERS)
    word(value.rung, "rung")
    match value.termination:
        case Clean(code=code):
            exit_code(code)
        case Observed(code=code, signal=signal):
            exit_code(code) if signal is None else word(signal, "signal")
        case Forced() | Absent():
            pass
        case other:
            refuse("termination", "clean, forced, observed or absent", other)
    return value
