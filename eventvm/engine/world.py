"""The world as the engine reaches it: providers by name, each call under a deadline, each probe bounded."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from eventvm import commands, limits, provider
from eventvm.clock import Clock
from eventvm.commands import Command
from eventvm.decisions import Outcome
from eventvm.engine.lanes import Lanes
from eventvm.errors import BadInput, EventvmError, Unsupported
from eventvm.events import Fault
from eventvm.installed import PROVIDERS, Installed
from eventvm.limits import sightings
from eventvm.machine import Machine
from eventvm.observation import End, Evidence, Observation, unknown
from eventvm.provider import Provider, Target, Unclear, lacks, refusal
from eventvm.spec import Spec, reshaped
from eventvm.tables import Step

BEGINS = ("start", "restore")
"""Calls that begin a new incarnation."""


class World:
    """All providers of one engine."""

    def __init__(
        self, providers: Iterable[Provider], clock: Clock, *, met: Callable[[Provider], None],
        deadline_seconds: float, probe_seconds: float, effects_at_once: int, probes_at_once: int,
    ) -> None:  # fmt: skip
        """Take the providers that were given; `met` is told of each other one when it is first named."""
        self.providers = {limits.name(one.name, "provider's name"): one for one in providers}
        self.lanes = Lanes(self.providers, effects=effects_at_once, probes=probes_at_once)
        self.installed = Installed()
        self._met = met
        self._clock = clock
        self._deadline_seconds = limits.seconds(deadline_seconds, "deadline_seconds")
        self._probe_seconds = limits.seconds(probe_seconds, "probe_seconds")

    def deadline(self, at: int, machine: Machine, command: Command, told: tuple[Step, ...]) -> int:
        """Say by when an effect has ended, however each of its calls goes."""
        patience = sum(self._patience(step, self._spec(machine, step, command)) for step in told)
        return at + int((patience + len(told) * self._probe_seconds) * 1_000_000_000)

    def _patience(self, step: Step, spec: Spec) -> float:
        """Say how long a call may take: a stop has the grace that its spec asks for beside."""
        grace = spec.stop_grace_seconds if step.call == "stop" else None
        return self._deadline_seconds + (grace or 0.0)

    def provider(self, name: str) -> Provider | None:
        """Find a provider: one that was given, else one that an installed package brings."""
        if name not in self.providers and (found := self.installed.provider(name)) is not None:
            self.lanes.open(name, found)
            self.providers[name] = found
            self._met(found)
        return self.providers.get(name)

    def check(self, machine: Machine, command: Command, steps: tuple[Step, ...]) -> None:
        """Refuse what the provider cannot do before anything is written."""
        spec = getattr(command, "spec", None) or machine.spec
        if machine.exists and spec.provider != machine.spec.provider:
            why = f"it lives with provider {machine.spec.provider!r}, not {spec.provider!r}"
            raise Unsupported(machine=machine.name, phase=machine.phase, command=command.verb, to=why)
        hand = self.provider(spec.provider)
        name = machine.name or getattr(command, "name", machine.id)
        if hand is None:
            known = ", ".join(sorted({*self.providers, *self.installed.names(PROVIDERS)})) or "none"
            missing = (
                f"there is no provider {spec.provider!r} here" if spec.provider else "no provider is named"
            )
            raise Unsupported(
                machine=name, phase=machine.phase, command=command.verb,
                to=f"{missing} (known: {known})",
            )  # fmt: skip
        for step in steps:
            if lacks(hand, step.call):
                why = f"provider {hand.name} does not support {step.call}"
                raise Unsupported(machine=name, phase=machine.phase, command=command.verb, to=why)
        if spec is not machine.spec and (why := refusal(hand, spec)):
            raise Unsupported(machine=name, phase=machine.phase, command=command.verb, to=why)

    def _hand(self, machine: Machine) -> Provider:
        hand = self.provider(machine.spec.provider)
        if hand is None:
            name = machine.spec.provider
            raise BadInput(
                f"there is no provider {name!r} here; open the log with it, or install its package"
            )
        return hand

    async def call(self, machine: Machine, step: Step, command: Any) -> Outcome:
        """Make one call of an effect under its deadline; whatever it raises is a fault, not an error."""
        begins = step.call in BEGINS or (step.call == "create" and machine.spec.restore_from is not None)
        incarnation = machine.incarnation + begins
        target = Target(machine.id, machine.name, incarnation, self._spec(machine, step, command))
        patience = self._patience(step, target.spec)
        limit = asyncio.timeout(patience)
        try:
            async with limit:
                end, size = answered(await provider.call(self._hand(machine), step.call, target, command))
        except Exception as problem:  # noqa: BLE001  # a failure of the world is an event, whatever its class
            fault, late = fault_of(problem), limit.expired()
            if late:
                fault = Fault(fault.kind, f"{step.call} did not end within {patience:g} s")
            return Outcome(self._clock.now(), fault=fault, unclear=late or isinstance(problem, Unclear))
        return Outcome(self._clock.now(), end=end, size=size)

    @staticmethod
    def _spec(machine: Machine, step: Step, command: Any) -> Spec:
        """Give the spec that a call is made with: a new shape, or no grace where a life is to end."""
        if isinstance(command, commands.Destroy):
            return replace(machine.spec, stop_grace_seconds=0.0)
        if isinstance(command, commands.Restore) and step.call == "restore" and command.spec is not None:
            return reshaped(machine.spec, command.spec)
        return machine.spec

    async def probe(self, machine: Machine) -> Observation:
        """Look at a machine; whatever keeps the look from ending well means: unknown."""
        target = Target(machine.id, machine.name, machine.incarnation, machine.spec)
        try:
            async with asyncio.timeout(self._probe_seconds):
                return sightings.observation(await self._hand(machine).probe(target))
        except TimeoutError:
            return unknown(machine.spec.provider, f"the probe did not end within {self._probe_seconds:g} s")
        except Exception as problem:  # noqa: BLE001  # unknown is an observation, not an error
            return Observation(
                "unknown", Evidence(machine.spec.provider or "nobody"), detail=fault_of(problem).message
            )


def answered(told: tuple[Any, Any]) -> tuple[End | None, int]:
    """Give what a provider says of a call; what no record can hold leaves open what became of it."""
    end, size = told
    try:
        return None if end is None else sightings.end(end), limits.amount(size, "size")
    except BadInput as problem:
        raise Unclear(f"the provider's answer is none: {problem}") from problem


def fault_of(problem: BaseException) -> Fault:
    """Shorten an error to what a record may hold, and write it so that it can be shown."""
    hint = problem.hint if isinstance(problem, EventvmError) else ""
    kind = type(problem).__name__
    message = limits.brief(problem, limits.FAULT_CHARACTERS) or kind
    return Fault(kind, limits.brief(f"{message}; {hint}" if hint else message, limits.FAULT_CHARACTERS))
