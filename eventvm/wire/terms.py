"""Terms: what an engine was opened with, told to another process and compared."""

from collections.abc import Iterable, Iterator, Mapping
from inspect import signature
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from eventvm.clock import Clock
from eventvm.engine import Engine
from eventvm.errors import BadInput, EventvmError
from eventvm.lifecycle import Lifecycle, Rules
from eventvm.log import EventLog
from eventvm.provider import Provider
from eventvm.signing.keys import Signer, load
from eventvm.wire.words import Terms, named

OWN = ("actor", "grace_seconds")
"""Options that each process has for itself."""


def terms(
    options: Mapping[str, Any], providers: Iterable[Provider], lifecycles: Iterable[Lifecycle],
    clock: Clock | None, signing: str | Path | None,
) -> Terms:  # fmt: skip
    """Write down what an engine is opened with; a key in the environment is nobody's claim."""
    told = {**options, "reloads": sorted(options["reloads"] or ())} if "reloads" in options else options
    return Terms(
        options={name: value for name, value in told.items() if name not in OWN},
        providers={one.name: _class(one) for one in providers},
        lifecycles={one.name: Rules(one).digest for one in lifecycles},
        clock="" if clock is None else _class(clock),
        signing="" if signing is None else str(load(Path(signing)).keys[-1]),
    )


def completed(asked: Terms, log: EventLog, providers: Iterable[Provider]) -> Terms:
    """Write down what an engine has besides: the usual providers, and the key that its log is signed with."""
    signer: Signer | None = getattr(log, "signing", None)
    return replace(
        asked, providers={one.name: _class(one) for one in providers},
        signing="" if signer is None else str(signer.keys[-1]),
    )  # fmt: skip


def _class(thing: object) -> str:
    return named(type(thing))


def check(asked: Terms, own: Terms, engine: Engine) -> None:
    """Refuse who counts on an engine that was opened otherwise than this one."""
    if differences := list(_differences(asked, own, engine)):
        raise BadInput(
            f"another process holds the log, and its engine differs: {'; '.join(differences)}. "
            "Leave these out to use that engine, or close it first"
        )


def _differences(asked: Terms, own: Terms, engine: Engine) -> Iterator[str]:
    for name, value in asked.options.items():
        there = own.options.get(name, _default(name))
        if value != there:
            yield f"{name} is {there!r} there, not {value!r}"
    yield from _other_things(asked, own, engine)
    if asked.clock not in ("", own.clock or _class(Clock())):
        yield f"its clock is {own.clock or 'the usual one'}, not {asked.clock}"
    if asked.signing not in ("", own.signing):
        yield "it signs with another key" if own.signing else "it does not sign"


def _other_things(asked: Terms, own: Terms, engine: Engine) -> Iterator[str]:
    for name, kind in asked.providers.items():
        if kind != (there := own.providers.get(name) or _offered(engine, name)):
            yield f"provider {name!r} is {there or 'not'} there, not {kind}"
    digests = {one.name: Rules(one).digest for one in engine.lifecycles() if one.name in asked.lifecycles}
    for name, digest in asked.lifecycles.items():
        if digests.get(name) != digest:
            yield f"lifecycle {name!r} is {'another' if name in digests else 'not'} there"


def _default(option: str) -> Any:
    there = signature(Engine).parameters.get(option)
    return [] if option == "reloads" or there is None else there.default


def _offered(engine: Engine, name: str) -> str:
    """Say what an installed package brings under a name."""
    try:
        found = engine.provider(name)
    except EventvmError:
        return ""
    return "" if found is None else _class(found)
