"""The handle: a machine as an application holds it, with the verbs of its lifecycle."""

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, cast, overload

from msgspec import Struct

from eventvm import commands, limits
from eventvm.commands import Command
from eventvm.engine import gate
from eventvm.engine.cells import Cell
from eventvm.engine.receipt import Receipt, receipt_of
from eventvm.engine.waiting import check_goals, meets, wait_for
from eventvm.errors import AlreadyExists, BadInput, InvalidTransition, NotFound, WaitTimeout
from eventvm.events import Event, Kind, Transitioned, Unknown
from eventvm.ledger import Entry, Interval
from eventvm.lifecycle import Lifecycle, Rules
from eventvm.machine import Machine, blank
from eventvm.observation import Instant, Liveness, Observation
from eventvm.spec import Restart, Spec
from eventvm.views import Retry, Transition, described

if TYPE_CHECKING:
    from eventvm.engine import Engine


Sent = Coroutine[Any, Any, Receipt]
"""A command that is sent when it is awaited, and gives its receipt then."""
_BEGINNINGS = (commands.Create, commands.Clone)


class Sending(TypedDict, total=False):
    """How a command is sent."""

    key: str | None
    actor: str
    wait: bool
    queue: bool


class Options(Sending, total=False):
    """What every verb takes beside its own arguments."""

    reason: str


class Making(TypedDict, total=False):
    """What the beginning of a life takes."""

    key: str | None
    reason: str
    actor: str
    wait: bool


class Handle:
    """One machine, bound to its id; it never meets the next holder of its name.

    Each verb returns the receipt of a recorded outcome and takes `key=` (the same key gives the same receipt,
    for ever), `reason=`, `wait=False` (return once the request is durable) and `queue=False` (raise
    OperationInProgress instead of waiting for the machine's turn).
    """

    def __init__(self, engine: "Engine", name: str, rules: Rules, cell: Cell | None) -> None:
        self._engine = engine
        self._name = name
        self._rules = rules
        self._cell = cell
        self._after: int | None = None
        self.receipt: Receipt | None = None
        """The receipt of the last command through this handle."""

    # --- what it is now

    @property
    def machine(self) -> Machine:
        """The machine as the log tells it at this moment."""
        return self._cell.machine if self._cell is not None else blank("", self._rules, self._name)

    @property
    def id(self) -> str:
        """Its id, for life; empty while it does not exist."""
        return self.machine.id

    @property
    def name(self) -> str:
        """Its name at this moment."""
        return self.machine.name or self._name

    @property
    def phase(self) -> str:
        """Its phase; a machine without records reads as its lifecycle's initial phase."""
        return self._cell.machine.phase if self._cell is not None else self._rules.definition.initial

    @property
    def title(self) -> str:
        """Its phase as the original system writes it."""
        return self.lifecycle.title(self.phase)

    @property
    def lifecycle(self) -> Lifecycle:
        """The definition that it lives under."""
        return self.machine.rules.definition

    @property
    def generation(self) -> int:
        """How often an event has set its phase."""
        return self.machine.generation

    @property
    def active(self) -> bool:
        """Whether it does its work in this phase."""
        return self.phase in self.lifecycle.active

    @property
    def resting(self) -> bool:
        """Whether nothing in flight will leave this phase."""
        return self.phase in self.lifecycle.settled

    @property
    def terminal(self) -> bool:
        """Whether there is no way on."""
        return self.machine.terminal

    @property
    def snapshots(self) -> dict[str, int]:
        """Its snapshots and their sizes, in the order of their creation."""
        return dict(self.machine.snapshots)

    def describe(self) -> dict[str, Any]:
        """Describe it in plain values: phase, open request, last observation, what is being counted."""
        self._engine.check_open()
        seen = self._cell.seen if self._cell is not None else None
        return described(self.machine, self._engine.clock.now(), seen)

    @property
    def retry(self) -> Retry:
        """How often it was tried, whether it may be tried again, and after how long."""
        attempts, backoff = self.machine.attempts, self.lifecycle.retry
        return Retry(attempts, backoff.can_retry(attempts), backoff.seconds(attempts))

    # --- verbs

    async def create(self, spec: Spec | None = None, **options: Unpack[Making]) -> Receipt:
        """Begin the life of a machine that does not exist yet, under this handle's name."""
        self._engine.check_open()
        if self._cell is not None and not self.machine.over:
            raise AlreadyExists(machine=self.name, phase=self.title, command="create")
        made = await self._engine.create(self._name, spec, lifecycle=self._rules.name, **options)
        assert made.receipt is not None
        self._cell = made._cell  # noqa: SLF001  # another of our own kind
        return self.take(made.receipt)

    def take(self, receipt: Receipt) -> Receipt:
        """Remember the receipt of the last command: waiting counts from there."""
        self.receipt, self._after = receipt, receipt.position
        return receipt

    def start(self, **options: Unpack[Options]) -> Sent:
        """Run it; if it runs already although the record says otherwise, the record is repaired."""
        return self._send(commands.Start, {}, options)

    def stop(self, **options: Unpack[Options]) -> Sent:
        """End its process; what it stores stays."""
        return self._send(commands.Stop, {}, options)

    def pause(self, **options: Unpack[Options]) -> Sent:
        """Hold it still."""
        return self._send(commands.Pause, {}, options)

    def resume(self, **options: Unpack[Options]) -> Sent:
        """Let it go on."""
        return self._send(commands.Resume, {}, options)

    def hibernate(self, snapshot: str, **options: Unpack[Options]) -> Sent:
        """Take a snapshot, and end the process once that is durable."""
        return self._send(commands.Hibernate, {"snapshot": snapshot}, options)

    def snapshot(self, snapshot: str, **options: Unpack[Options]) -> Sent:
        """Capture its state under a name."""
        return self._send(commands.Snapshot, {"snapshot": snapshot}, options)

    def delete_snapshot(self, snapshot: str, **options: Unpack[Options]) -> Sent:
        """Delete a snapshot, also after the end of its life."""
        return self._send(commands.DeleteSnapshot, {"snapshot": snapshot}, options)

    def restore(self, snapshot: str, spec: Spec | None = None, **options: Unpack[Options]) -> Sent:
        """Put it back to a snapshot, in a new shape if one is given; only an amendment changes the rest.

        Labels, restart, time to live, dev and disabled stay what they are, whatever the new spec says.
        """
        return self._send(commands.Restore, {"snapshot": snapshot, "spec": spec}, options)

    async def clone(
        self, name: str, snapshot: str, spec: Spec | None = None, **options: Unpack[Making]
    ) -> "Handle":
        """Begin a new life as a copy of one of its snapshots."""
        return await self._engine.clone(self, name, snapshot, spec, **options)

    async def rename(self, name: str, **options: Unpack[Options]) -> Receipt:
        """Give it another name and free the old one."""
        self._engine.check_open()
        limits.name(name)
        holder = await self._engine.log.find(name)
        taken = holder is not None and holder.held and holder.stream != self.id
        if taken and not await self._engine.used(options.get("key")):
            raise AlreadyExists(machine=name, phase="held by another", command="rename")
        return await self._send(commands.Rename, {"name": name}, options)

    def destroy(self, *, force: bool = False, **options: Unpack[Options]) -> Sent:
        """End its life; its history, snapshots and ledger stay for ever."""
        return self._send(commands.Destroy, {"force": force}, options)

    def complete(self, code: int, **options: Unpack[Options]) -> Sent:
        """Record that the command inside it ended, with its authenticated exit code."""
        return self._send(commands.Complete, {"code": code}, options)

    def transition_to(
        self, to: str, reason: str = "", *, data: Any = None, **options: Unpack[Sending]
    ) -> Sent:
        """Record a move along one of its lifecycle's edges."""
        return self.send(commands.Transition(to=to, data=data, reason=reason), **options)

    def force_phase(self, to: str, reason: str, **options: Unpack[Sending]) -> Sent:
        """Set the phase against its lifecycle's edges; the reason is required and marked in every view."""
        return self._send(commands.Force, {"to": to}, {"reason": reason, **options})

    def use(self, what: str = "exec") -> Sent:
        """Ask whether it may be used now; refused unless it may, and never recorded."""
        return self._send(commands.Use, {"what": what}, {})

    def attest(
        self, liveness: Liveness, reason: str, *, at: Instant | None = None, **options: Unpack[Sending]
    ) -> Sent:
        """Record what a person knows of it, and settle phase and ledger by that."""
        return self._send(commands.Attest, {"liveness": liveness, "at": at}, {"reason": reason, **options})

    def advance_retry(self, **options: Unpack[Options]) -> Sent:
        """Count one more attempt."""
        return self._send(commands.AdvanceRetry, {}, options)

    def reset_retry(self, **options: Unpack[Options]) -> Sent:
        """Forget the attempts."""
        return self._send(commands.ResetRetry, {}, options)

    def amend(
        self, *, labels: dict[str, str | None] | None = None, restart: Restart | None = None,
        ttl_seconds: int | None = None, dev: bool | None = None, disabled: bool | None = None,
        **options: Unpack[Options],
    ) -> Sent:  # fmt: skip
        """Change what is said of it beside its shape, in any phase of its life; the rest stays as it is.

        A label that is set to None is taken away; a time to live counts from now on, and 0 is for ever.
        """
        fields = {
            "labels": labels or {}, "restart": restart, "ttl_seconds": ttl_seconds, "dev": dev,
            "disabled": disabled,
        }  # fmt: skip
        return self._send(commands.Amend, fields, options)

    async def label(self, /, **labels: str | None) -> Receipt:
        """Set labels, and take away those that are None; `amend` does so with a key or a reason."""
        return await self.amend(labels=labels)

    def correct(self, entry: Entry, at: Instant, reason: str, **options: Unpack[Sending]) -> Sent:
        """Correct one entry of its ledger; the entry stays, and the correction names it."""
        fields = {
            "position": entry.position, "meter": entry.meter, "edge": entry.edge,
            "subject": entry.subject, "at": at,
        }  # fmt: skip
        return self._send(commands.Correct, fields, {"reason": reason, **options})

    async def reconcile(self) -> Receipt:
        """Look at it, and repair the record if it has drifted."""
        self._engine.check_open()
        return await self._engine.look(self._born("reconcile"))

    async def tell(self, observation: Observation) -> Receipt:
        """Take what somebody else has seen of it; told twice or too late, it changes nothing."""
        self._engine.check_open()
        return await self._engine.look(self._born("tell"), gate.seen(observation))

    def _send(self, kind: type[Command], fields: dict[str, Any], options: Options) -> Sent:
        reason = options.pop("reason", "")
        return self.send(kind(**fields, reason=reason), **cast("Sending", options))

    async def send(
        self, command: Command, *,
        key: str | None = None, actor: str = "", wait: bool = True, queue: bool = True,
    ) -> Receipt:  # fmt: skip
        """Send any command of the catalogue; a life begins with `create` or `clone`."""
        if type(command) in _BEGINNINGS:
            raise BadInput("a life begins with `create` or `clone`, which see to its definition and its name")
        cell = self._cell or self._engine.unborn(self._name, self._rules)
        receipt = await self._engine.submit(
            cell, command, key=key, name=self.name if key else "", actor=actor, wait=wait, queue=queue
        )
        return self.take(receipt)

    def _born(self, verb: str) -> Cell:
        if self._cell is None:
            raise NotFound(machine=self._name, phase=self._rules.definition.title(self.phase), command=verb)
        return self._cell

    # --- waiting and reading

    async def wait(
        self,
        *goals: str,
        after: int | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # promised
    ) -> Receipt:
        """Wait for one of several phases, or `settled`, or `terminal`, passed through or present.

        It counts from `after`, else from the last receipt of this handle, and then raises Unreachable as
        soon as nothing under way leads to a goal. A wait without a receipt goes on, also before the machine
        exists.
        """
        self._engine.check_open()
        check_goals(self.machine, goals)
        limits.position(0 if after is None else after)
        after = self._after if after is None else after
        try:
            with self._engine.cells.waited_for():
                async with asyncio.timeout(limits.timeout(timeout)):
                    return await self._waited(goals, after)
        except TimeoutError:
            wanted = " or ".join(goals)
            raise WaitTimeout(f"{self.name} is {self.title}, and not {wanted}, after {timeout:g} s") from None

    async def _waited(self, goals: tuple[str, ...], after: int | None) -> Receipt:
        hopeful = after is None
        if self._cell is None:
            if meets(self.machine, goals):
                return receipt_of(self.machine, "reached")
            self._cell, after = await self._engine.birth(self._name), after or 0
        return await wait_for(self._engine.cells, self._cell, goals, after=after, hopeful=hopeful)

    async def wait_exit(
        self,
        timeout: float | None = None,  # noqa: ASYNC109  # promised
    ) -> "ExitStatus":
        """Wait for the end of its life and say how it ended; refused before it has begun."""
        self._engine.check_open()
        if self._cell is None or self.phase == self.lifecycle.initial:
            raise InvalidTransition(machine=self.name, phase=self.title, command="wait for the exit")
        await self.wait("terminal", after=0, timeout=timeout)
        return await self.exit_status()

    async def exit_status(self) -> "ExitStatus":
        """Say when its life ended and with which error; refused while it goes on."""
        self._engine.check_open()
        machine = self.machine
        if not (machine.terminal and machine.exists):
            raise InvalidTransition(machine=self.name, phase=self.title, command="read the exit status")
        event = await self._entered()
        return ExitStatus(event.at, _exit_error(machine, event.reason))

    async def _entered(self) -> Event:
        """Read the event that set the phase."""
        page = await self._engine.log.read(after=self.machine.since - 1, limit=1)
        event = page.records[0].event
        assert not isinstance(event, Unknown)
        return event

    @overload
    async def data(self, kind: type[Kind]) -> Kind | None: ...
    @overload
    async def data(self, kind: Any) -> Any: ...
    async def data(self, kind: Any) -> Any:
        """Read what was told with the move into its phase; None where that was no move or told nothing."""
        self._engine.check_open()
        event = await self._entered() if self.machine.since else None
        return event.data_as(kind) if isinstance(event, Transitioned) else None

    async def history(self, last: int | None = None) -> list[Transition]:
        """List its changes of phase, oldest first; a copy, always."""
        limits.amount(last or 0, "last")
        changes = await self._engine.history(self.id)
        last = last or self.lifecycle.history or len(changes)
        return changes[-last:]

    async def entries(self, *, known_at: int | None = None) -> list[Entry]:
        """List the entries of its ledger as they were known at a position."""
        limits.position(known_at or 0)
        return (await self._engine.ledger(self.id)).known(known_at)

    async def intervals(
        self, *, as_of: Instant | None = None, known_at: int | None = None
    ) -> tuple[Interval, ...]:
        """List the intervals of its ledger: as of an instant, as known at a position."""
        limits.position(known_at or 0)
        ledger = await self._engine.ledger(self.id)
        if as_of is None:
            return ledger.until(self._engine.clock.now(), known_at=known_at)
        return ledger.intervals(as_of=limits.instant(as_of, "as_of"), known_at=known_at)

    def __repr__(self) -> str:
        return f"<{self.lifecycle.name} {self.name!r} {self.title} {self.id}>"


class ExitStatus(Struct, frozen=True, gc=False):
    """How a life ended."""

    stopped_at: Instant
    error: str
    """Empty after a clean end; to have been closed already is clean."""


def _exit_error(machine: Machine, reason: str) -> str:
    end = machine.end
    if end is None or end.manner in ("graceful", "already_exited", "killed"):
        return ""
    return f"{end.manner}: {reason}" if reason else end.manner
