"""Supervision: what a machine needs that nobody commands; decided by the record alone, pure.

``supervise``  what is due now: an event, or the start that brings a machine back
``expired``    whether its time to live is over, and ``ending`` the command that ends it then
``alarm``      how long until one of them has something new to say

A machine is brought back after a crash as its spec or its lifecycle has it: an attempt is armed with its
backoff, begun when it is due, and followed by the next one, until the attempts or the budget of crashes are
used up. Each of these decisions is an event with its reason, so a restart of the engine goes on where it was.
"""

from typing import Any

from eventvm import commands, events
from eventvm.commands import Command
from eventvm.events import Event, Fault
from eventvm.lifecycle import Rules
from eventvm.machine import Machine, Upkeep
from eventvm.observation import Clean, Instant, Observed
from eventvm.retry import Policy

TTL_EXCEEDED = "ttl_exceeded"
CRASHES_USED_UP = "crash budget exhausted"
ATTEMPTS_USED_UP = "max crash recovery attempts reached"
INTERRUPTED = Fault("Interrupted", "the engine ended while it was under way")


def supervise(machine: Machine, now: Instant, *, hosted: bool = False) -> Event | commands.Start | None:
    """Say what is due; `hosted`: there is somebody here to bring such a machine back."""
    if machine.over or machine.quarantined or machine.request is not None or machine.doubted:
        return None
    if machine.overdue is not None and now.until(machine.overdue) <= 0:
        return _overdue(machine, now)
    upkeep, by_host = machine.upkeep, machine.rules.definition.recovery.phase
    if upkeep is None or not upkeep.fallen or (by_host and not (hosted and machine.phase == by_host)):
        return None
    if not _wanted(machine):
        return _call_off(machine, upkeep, now)
    if upkeep.begun and not by_host:
        return commands.Start(reason=_attempt(machine, upkeep))
    return _next_step(machine, upkeep, now)


def _next_step(machine: Machine, upkeep: Upkeep, now: Instant) -> Event | None:
    """Say how a recovery goes on: an attempt that nobody is at any more has failed."""
    if upkeep.begun:
        return failed(upkeep, INTERRUPTED, now)
    if upkeep.due is None:
        return _arm(machine, upkeep, now)
    if _left(machine, upkeep.due, now) > 0:
        return None
    return events.RestartBegun(at=now, reason=_attempt(machine, upkeep), attempt=upkeep.attempt)


def _left(machine: Machine, due: Instant, now: Instant) -> int:
    """Count what is left of a backoff; more than the longest one has means that the clock was set back."""
    left = now.until(due)
    return left if left <= machine.rules.definition.recovery.backoff.cap_seconds * 1_000_000_000 else 0


def _overdue(machine: Machine, now: Instant) -> Event:
    definition = machine.rules.definition
    deadline = definition.deadlines[machine.phase]
    reason = f"{definition.title(machine.phase)} lasted longer than {deadline.seconds:g} s"
    return events.Transitioned(at=now, reason=reason, to=deadline.to)


def _call_off(machine: Machine, upkeep: Upkeep, now: Instant) -> Event | None:
    """Leave a machine down that is not to be brought back; where nothing had begun, nothing is said."""
    told = upkeep.trying or machine.rules.definition.recovery.gives_up
    return _give_up(machine, f"restart is {policy(machine)}", now) if told else None


def _arm(machine: Machine, upkeep: Upkeep, now: Instant) -> Event:
    """Arm the next attempt, or give the machine up and say why."""
    recovery = machine.rules.definition.recovery
    window_ns = recovery.window_seconds * 1_000_000_000
    recent = [at for at in upkeep.crashes if upkeep.crashes[-1] - at < window_ns]
    if len(recent) > recovery.crashes:
        return _give_up(machine, CRASHES_USED_UP, now)
    if not recovery.backoff.can_retry(upkeep.attempt):
        return _give_up(machine, ATTEMPTS_USED_UP, now)
    next_one = Upkeep(attempt=upkeep.attempt + 1)
    due = now.after(recovery.backoff.seconds(upkeep.attempt))
    return events.RestartArmed(at=now, reason=_attempt(machine, next_one), attempt=next_one.attempt, due=due)


def _attempt(machine: Machine, upkeep: Upkeep) -> str:
    of = machine.rules.definition.recovery.backoff.attempts
    return f"{machine.reason or 'crashed'}: attempt {upkeep.attempt} of {of}"


def _give_up(machine: Machine, reason: str, now: Instant) -> Event:
    """Leave it where it is, or move it to where its lifecycle has such machines; no edge holds the last."""
    to = machine.rules.definition.recovery.gives_up
    if not to:
        return events.RestartGivenUp(at=now, reason=reason)
    told: Any = events.ForcedPhase if reason == ATTEMPTS_USED_UP else events.Transitioned
    return told(at=now, reason=reason, to=to)  # type: ignore[no-any-return]


def failed(upkeep: Upkeep, fault: Fault, now: Instant) -> Event:
    """Say that an attempt failed without a change of phase."""
    return events.ReloadFailed(at=now, fault=fault, attempt=upkeep.attempt)


def brought_back(machine: Machine, now: Instant) -> tuple[Event, ...]:
    """Say along which phases a machine goes that its host has brought back."""
    assert machine.upkeep is not None
    reason = f"reloaded after {_attempt(machine, machine.upkeep)}"
    return tuple(
        events.Transitioned(at=now, reason=reason, to=to) for to in machine.rules.definition.recovery.path
    )


def under_way(machine: Machine) -> bool:
    """Say whether an attempt is under way; who takes the machine on from where it lay has replaced it."""
    by_host = machine.rules.definition.recovery.phase
    return machine.upkeep is not None and machine.upkeep.begun and by_host in ("", machine.phase)


def coming_back(machine: Machine) -> bool:
    """Say whether a machine that has crashed is still to be brought back, as far as the record can tell."""
    upkeep = machine.upkeep
    if upkeep is None or not upkeep.fallen:
        return False
    by_start = not machine.rules.definition.recovery.phase
    return under_way(machine) or upkeep.due is not None or (by_start and _wanted(machine))


def to_be_seen_to(machine: Machine) -> bool:
    """Say whether a death that nobody was there to see would have to be made good."""
    if not machine.spec.provider or machine.request is not None or machine.doubted:
        return False
    return policy(machine) != "never" and "gone" in machine.rules.definition.found.get(machine.phase, {})


def policy(machine: Machine) -> Policy:
    """Say when a machine is brought back: as its spec has it, or else its lifecycle."""
    return (
        "never" if machine.spec.disabled else machine.spec.restart or machine.rules.definition.recovery.policy
    )


def _wanted(machine: Machine) -> bool:
    wanted = policy(machine)
    ended = machine.end.termination if machine.end is not None else None
    succeeded = isinstance(ended, Clean | Observed) and ended.code == 0
    return wanted == "always" or (wanted == "on-failure" and not succeeded)


def expired(machine: Machine, now: Instant) -> bool:
    """Say whether a machine's time to live is over."""
    return machine.expires is not None and now.until(machine.expires) <= 0


def ending(machine: Machine) -> Command | None:
    """Give the command that ends a machine whose time is over; None where nothing can."""
    row = machine.rules.ending(machine.phase)
    return commands.Destroy(force=row == "destroy_forced", reason=TTL_EXCEEDED) if row else None


def alarm(machine: Machine, now: Instant) -> int | None:
    """Say in how many nanoseconds the next thing will be due; None: nothing ever will be by itself.

    What is due already, and cannot be done as things stand, waits for a record and not for an alarm.
    """
    if machine.over:
        return None
    moments = [now.until(one) for one in (machine.expires, machine.overdue) if one is not None]
    if machine.upkeep is not None and machine.upkeep.due is not None:
        moments.append(_left(machine, machine.upkeep.due, now))
    return min((left for left in moments if left > 0), default=None)


def impossible(rules: Rules, restart: str | None, ttl_seconds: int | None) -> str:
    """Name what a spec asks of supervision that its lifecycle cannot give; empty where there is nothing."""
    if restart not in (None, "", "never") and not rules.recovers:
        return f"restart={restart!r}: nothing brings a {rules.name} back after it has ended"
    if ttl_seconds and not rules.ends_by_command:
        return f"ttl_seconds={ttl_seconds}: no command ends a {rules.name}"
    return ""
