"""What installed packages bring along: providers and lifecycles, found by name through entry points.

Nothing is imported before somebody names it, and then only that one, once.
"""

from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any, TypeVar

from eventvm.errors import BadEntryPoint
from eventvm.lifecycle import Lifecycle
from eventvm.provider import Provider

PROVIDERS = "eventvm.providers"
LIFECYCLES = "eventvm.lifecycles"

Offer = TypeVar("Offer", Provider, Lifecycle)


class Installed:
    """The entry points of this environment, as they were when the first of them was asked for."""

    def __init__(self) -> None:
        self._offers: dict[str, EntryPoints] = {}
        self._providers: dict[str, Provider | BadEntryPoint | None] = {}
        self._lifecycles: dict[str, Lifecycle | BadEntryPoint | None] = {}

    def names(self, group: str) -> set[str]:
        """Name what a group offers, without loading any of it."""
        return set(self._of(group).names)

    def _of(self, group: str) -> EntryPoints:
        if group not in self._offers:
            self._offers[group] = entry_points(group=group)
        return self._offers[group]

    def provider(self, name: str) -> Provider | None:
        """Give the provider of this name, made on first use; None where no package offers one."""
        return self._once(self._providers, PROVIDERS, name, _provided)

    def lifecycle(self, name: str) -> Lifecycle | None:
        """Give the lifecycle of this name; None where no package offers one."""
        return self._once(self._lifecycles, LIFECYCLES, name, _defined)

    def _once(
        self, known: dict[str, Offer | BadEntryPoint | None], group: str, name: str,
        load: Callable[[EntryPoint], Offer],
    ) -> Offer | None:  # fmt: skip
        """Load on first use; one that is broken stays broken, and is not imported again and again."""
        if name not in known:
            try:
                offer = self._offer(group, name)
                known[name] = None if offer is None else load(offer)
            except BadEntryPoint as problem:
                known[name] = problem
        found = known[name]
        if isinstance(found, BadEntryPoint):
            raise found.again()
        return found

    def _offer(self, group: str, name: str) -> EntryPoint | None:
        offers = list(self._of(group).select(name=name)) if name else []
        if len(offers) > 1:
            several = " and ".join(sorted(_origin(one) for one in offers))
            raise BadEntryPoint(group, name, f"it is offered more than once: by {several}")
        return offers[0] if offers else None


def _provided(offer: EntryPoint) -> Provider:
    """Load a provider: the object itself, or what makes it without arguments."""
    loaded = _loaded(offer)
    if isinstance(loaded, type) or not isinstance(loaded, Provider):
        loaded = _called(offer, loaded)
    if not isinstance(loaded, Provider):
        wanted = ("name", "create", "start", "stop", "snapshot", "destroy", "probe")
        lacking = ", ".join(one for one in wanted if not hasattr(loaded, one))
        raise _bad(offer, f"what it gives is no provider, it lacks {lacking}")
    return _named(offer, loaded)


def _defined(offer: EntryPoint) -> Lifecycle:
    loaded = _loaded(offer)
    if not isinstance(loaded, Lifecycle):
        raise _bad(offer, f"it is no Lifecycle, but a {type(loaded).__name__}")
    return _named(offer, loaded)


def _loaded(offer: EntryPoint) -> Any:
    try:
        return offer.load()
    except Exception as problem:
        raise _bad(offer, f"it could not be imported: {_told(problem)}") from problem


def _called(offer: EntryPoint, loaded: Any) -> Any:
    if not callable(loaded):
        raise _bad(offer, f"it is neither a provider nor what makes one, but a {type(loaded).__name__}")
    try:
        return loaded()
    except Exception as problem:
        raise _bad(offer, f"it could not be made: {_told(problem)}") from problem


def _named(offer: EntryPoint, found: Offer) -> Offer:
    """Refuse what goes by another name than the one that leads to it: the log would hold both."""
    if found.name != offer.name:
        raise _bad(offer, f"it calls itself {found.name!r}")
    return found


def _bad(offer: EntryPoint, why: str) -> BadEntryPoint:
    return BadEntryPoint(offer.group, offer.name, f"{why} ({_origin(offer)})")


def _told(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem}"


def _origin(offer: EntryPoint) -> str:
    """Say which package offers it, and from where in it."""
    package = "a package" if offer.dist is None else f"{offer.dist.name} {offer.dist.version}"
    return f"{package}, {offer.value}"
