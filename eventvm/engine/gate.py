"""The gate: what every command and every sighting has to pass before it takes its turn, whoever made it."""

from typing import cast, get_args

from eventvm import commands
from eventvm.clock import Clock
from eventvm.commands import Command
from eventvm.errors import BadInput
from eventvm.ledger import later
from eventvm.limits import sightings, wishes
from eventvm.machine import ATTESTED
from eventvm.observation import Observation

Witnessed = commands.Force | commands.Attest | commands.Correct
"""Commands that somebody has to answer for."""
_WITNESSED = frozenset(get_args(Witnessed))


def admitted(command: Command, clock: Clock) -> Command:
    """Give a command as it may take its turn, or refuse it."""
    command = wishes.command(command)
    if type(command) in _WITNESSED:  # this is on every command's way, and isinstance takes longer
        _answer_for(cast("Witnessed", command), clock)
    return command


def _answer_for(command: Witnessed, clock: Clock) -> None:
    if not command.reason:
        raise BadInput(f"{command.verb} needs a reason: what makes you sure?")
    if isinstance(command, commands.Attest) and command.liveness == "unknown":
        raise BadInput("attest what you know: alive or gone")
    at = None if isinstance(command, commands.Force) else command.at
    if at is not None and later(at, clock.now()):
        raise BadInput("the instant lies in the future; give the time at which it was so")


def seen(observation: Observation) -> Observation:
    """Give what somebody tells to have seen as it may be believed; a person's word is no sighting."""
    told = sightings.observation(observation)
    if told.evidence.source == ATTESTED:
        raise BadInput("a person's word is recorded by `attest`, with a reason")
    return told
