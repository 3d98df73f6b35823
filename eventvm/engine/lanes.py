"""Lanes: how many turns reach into the world of one provider at once, first come first served.

Rules:

* A turn takes one place, before its first look or its request, and keeps it until it ends. So nobody waits
  for a place while holding one, what a command has seen is not old when it acts on it, and the deadline of a
  request counts the work and not the queue.
* A provider has three lanes, each with places of its own: for commands, for looks that nobody commanded, and
  for what breaks in, which therefore never waits behind commands that hang.
* A turn of the supervisor's that looks first and then commands gives its place back before it lines up anew.
* A machine has one turn at a time, so it holds one place at most, and lines up again for each command.
"""

from asyncio import Semaphore
from collections.abc import Mapping

from eventvm.engine.turn import Turn
from eventvm.errors import BadInput
from eventvm.provider import Provider

EFFECTS_AT_ONCE = 64
"""Commands at one provider, unless it says otherwise by its `at_once`."""
PROBES_AT_ONCE = 64
"""Looks at one provider that no command asks for."""


class Lanes:
    """The places at all providers of one engine."""

    def __init__(self, providers: Mapping[str, Provider], *, effects: int, probes: int) -> None:
        probes = _bound("probes_at_once", probes)
        default = _bound("effects_at_once", effects)
        self._lanes: dict[str, dict[str, Semaphore]] = {}
        for name, provider in providers.items():
            own = _bound(f"at_once of provider {name}", getattr(provider, "at_once", default))
            sizes = {"commands": own, "intrusions": own, "looks": probes}
            self._lanes[name] = {lane: Semaphore(size) for lane, size in sizes.items()}

    async def enter(self, turn: Turn) -> None:
        """Wait for a place at the turn's provider; one that has its place keeps it."""
        lanes = self._lanes.get(_provider_of(turn))
        if lanes is not None and turn.place is not (place := lanes[_lane_of(turn)]):
            turn.leave()
            await place.acquire()
            turn.place = place


def _bound(what: str, number: object) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise BadInput(f"{what} is a number from 1 on, not {number!r}")
    return number


def _provider_of(turn: Turn) -> str:
    """Name who carries the turn out; what is not made yet lives where its spec says."""
    machine = turn.cell.machine
    spec = machine.spec if machine.exists else getattr(turn.command, "spec", machine.spec)
    return spec.provider


def _lane_of(turn: Turn) -> str:
    if turn.command is None:
        return "looks"
    return "intrusions" if turn.intrusive else "commands"
