"""The engine: one log, all machines, and the hands that reach into the world.

A command goes through in engine/turns.py; what is in memory is in engine/cells.py; waiting in
engine/waiting.py; the providers are reached through engine/world.py. This module is the public face.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Unpack
from weakref import WeakSet

import anyio
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from eventvm import commands, events, limits
from eventvm.clock import Clock
from eventvm.commands import Command
from eventvm.engine.cells import Cell, Cells
from eventvm.engine.gate import admitted
from eventvm.engine.handle import Handle
from eventvm.engine.lanes import EFFECTS_AT_ONCE, PROBES_AT_ONCE
from eventvm.engine.listing import Every, Filters, Listing, Machines, wanted
from eventvm.engine.observing import Observer, observe
from eventvm.engine.orphans import (
    Orphan,
    checked_orphan,
    orphans,
    owner_of,
    remembered,
    warn_of_orphans,
)
from eventvm.engine.receipt import Receipt
from eventvm.engine.supervisor import Reload, Supervisor, heard
from eventvm.engine.turn import Turn
from eventvm.engine.turns import Turns
from eventvm.engine.waiting import give_up
from eventvm.engine.world import World
from eventvm.errors import (
    AlreadyExists,
    BadInput,
    Closed,
    EventvmError,
    Inconclusive,
    NotFound,
    OutcomeUnknown,
    SnapshotNotFound,
    Unsupported,
    WrongLoop,
)
from eventvm.installed import LIFECYCLES as OFFERED
from eventvm.installed import PROVIDERS
from eventvm.ledger import Ledger
from eventvm.lifecycle import Lifecycle, Rules, encode
from eventvm.lifecycles import DEFAULT, LIFECYCLES
from eventvm.limits import wishes
from eventvm.log import PAGE, Append, Backup, EventLog
from eventvm.observation import Observation
from eventvm.provider import Provider
from eventvm.retry import Backoff
from eventvm.shelter import sheltered
from eventvm.spec import RestoreFrom, Spec
from eventvm.subscription import Subscription
from eventvm.supervision import impossible, to_be_seen_to
from eventvm.views import Counts, Transition, of_machine, transition

__all__ = ["Engine", "Handle", "Receipt", "Report"]

logger = logging.getLogger("eventvm")

RECONCILE_AT_ONCE = 16
"""Machines that a full pass looks at side by side."""
UNWIND_SECONDS = 5.0
"""How long a provider's call may take to end once it is cancelled."""
KEEP_EVERY = 50_000
"""Records after which the living machines are kept again, so that opening stays short; more if more live."""


class Report(Struct, frozen=True):
    """What a full reconciliation found; unhealthy only if the pass itself failed."""

    looked: int
    reconciled: tuple[str, ...]
    unknown: tuple[str, ...]


class Engine:
    """Machines over one log; opened by `eventvm.open`."""

    def __init__(  # each is a choice that only the opener can make
        self,
        log: EventLog,
        providers: Iterable[Provider] = (),
        lifecycles: Iterable[Lifecycle] = (),
        *,
        clock: Clock | None = None,
        actor: str = "engine",
        host: str = "local",
        deadline_seconds: float = 60.0,
        probe_seconds: float = 5.0,
        grace_seconds: float = 5.0,
        effects_at_once: int = EFFECTS_AT_ONCE,
        probes_at_once: int = PROBES_AT_ONCE,
        reloads: Mapping[str, Reload] | None = None,
    ) -> None:
        self.log = log
        self.clock = clock or Clock()
        self.actor = limits.actor(actor)
        self.cells = Cells(log)
        self._world = World(
            providers, self.clock, met=self._greet, deadline_seconds=deadline_seconds,
            probe_seconds=probe_seconds, effects_at_once=effects_at_once, probes_at_once=probes_at_once,
        )  # fmt: skip
        self._known = {**LIFECYCLES, **{one.name: one for one in lifecycles}}
        self._rules: dict[str, Rules] = {}
        self._loop = asyncio.get_running_loop()
        self._grace_seconds = limits.seconds(grace_seconds, "grace_seconds")
        limits.word(host, "host")
        self._discover_seconds = deadline_seconds
        self._supervisor = Supervisor(
            self.cells, self.clock, reloads or {}, handle_of=self._handle, deadline_seconds=deadline_seconds
        )
        self._turns = Turns(
            log, self.cells, self._world, self.clock, self._supervisor,
            host=host, owner=f"{host}/{self.clock.id()}",
        )  # fmt: skip
        self._tasks: set[asyncio.Task[None]] = set()
        self._observers: set[asyncio.Task[None]] = set()
        self._subscriptions: WeakSet[Subscription] = WeakSet()
        self._defining: dict[str, asyncio.Task[None]] = {}
        self._kept = 0
        self._closed = False
        for lifecycle in reloads or ():
            self.rules(lifecycle)  # a name that nobody knows would bring nothing back

    # --- opening and leaving

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Engine"]:
        """Load, recover, serve; at the end let effects finish, and leave machines alive."""
        await self.cells.load()
        self._kept = self.log.tree.size
        try:
            restored = await self._turns.doubts.raise_all(self.actor)
            self._recover()
            if restored:
                self._employ(self._settle())
            for provider in self._world.providers.values():
                self._heed(provider)
            self._meet({cell.machine.spec.provider for cell in self.cells.living.values()})
            logger.info("serving %s: %d living machines", self.log.url, len(self.cells.living))
            yield self
        finally:
            await sheltered(self._leave())
            logger.info("left %s at position %d; machines stay as they are", self.log.url, self.log.tree.size)

    def _recover(self) -> None:
        """Look at what a former engine left open, and at what may have died unseen; go on supervising."""
        for cell in list(self.cells.living.values()):
            machine = cell.machine
            if machine.request is not None and not machine.doubted:
                future = self._turns.submit(self._turns.turn(cell, None, actor=self.actor))
                future.add_done_callback(heard)
            elif to_be_seen_to(machine):
                self._supervisor.look(cell)
            self._supervisor.attend(cell, at_last=True)

    def _greet(self, provider: Provider) -> None:
        """Tell the provider of an installed package whose its machines are, and follow its hints."""
        if hasattr(provider, "belongs_to"):
            provider.belongs_to(owner_of(self.log))
        self._heed(provider)

    def _heed(self, provider: Provider) -> None:
        """Follow a provider's hints, if it gives any."""
        if hasattr(provider, "events") and not self._closed:
            self._employ(self._follow(provider))

    def _meet(self, names: Iterable[str]) -> None:
        """Find installed providers by name; without its own, a machine is unknown."""
        for name in names:
            try:
                self._world.provider(name)
            except EventvmError as problem:
                logger.warning("machines that live with %s cannot be looked at: %s", name, problem)

    async def _settle(self) -> None:
        """Look at every machine in doubt, and say what the world has besides."""
        try:
            await self._look_at([cell for cell in self.cells.living.values() if cell.machine.doubted])
        except EventvmError as problem:
            logger.warning("machines stay in doubt, and the next command to each looks first: %s", problem)
        await warn_of_orphans(self.log, self._world.providers.values(), self._discover_seconds)

    async def _leave(self) -> None:
        """Refuse what comes, end who waits, let effects finish, cancel what is left; machines stay alive."""
        self._closed = True
        give_up(self.cells)
        for one in self._subscriptions:
            one.end()
        self._supervisor.close()
        for task in self._tasks:
            task.cancel()
        await self._let_finish()
        self._turns.close()
        await self._unwind()
        await self._keep()

    async def _unwind(self) -> None:
        """Cancel what is left, and wait for it; a provider that does not heed this is left behind."""
        for worker in self._turns.workers:
            worker.cancel()
        until = self._loop.time() + UNWIND_SECONDS
        while (left := self._left()) and (seconds := until - self._loop.time()) > 0:
            await asyncio.wait(left, timeout=seconds)
        if left:
            logger.error("%d calls of providers do not end although they were cancelled", len(left))

    def _left(self) -> set[asyncio.Task[None]]:
        return {*self._turns.workers} | self._tasks | self._supervisor.reloads

    async def _let_finish(self) -> None:
        """Give the effects that are under way, and those behind them, a time of grace."""
        until = self._loop.time() + self._grace_seconds
        workers = self._turns.workers
        while workers and (left := until - self._loop.time()) > 0:
            await asyncio.wait(set(workers), timeout=left)

    def _employ(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def check_open(self) -> None:
        """Refuse use from elsewhere, and after the end."""
        if self._closed or _running_loop() is not self._loop:
            self.check_here()
            raise Closed

    def check_here(self) -> None:
        """Refuse use from another event loop, thread or process."""
        if _running_loop() is not self._loop:  # in a forked child none is running: asyncio forgets it
            raise WrongLoop("this engine belongs to another event loop, thread or process")

    # --- machines

    async def machine(self, name: str, *, lifecycle: str | None = None) -> Handle:
        """Give a handle by name; of a machine that does not exist yet, too, in the lifecycle named."""
        self.check_open()
        limits.name(name)
        holder = await self.log.find(name)
        cell = None if holder is None else await self.cells.cell(holder.stream)
        other = lifecycle is not None and cell is not None and cell.machine.rules.name != lifecycle
        if cell is None or (other and cell.machine.over):
            return Handle(self, name, self.rules(lifecycle or DEFAULT), None)
        if other:
            raise BadInput(
                f"{name} is a {cell.machine.rules.name}, not a {lifecycle}; leave the lifecycle out"
            )
        return self._handle(cell)

    async def machine_by_id(self, id: str) -> Handle:  # noqa: A002  # the word of the domain
        """Give a handle by id."""
        self.check_open()
        limits.identity(id)
        if not of_machine(id) or not (await self.log.read(stream=id, limit=1)).records:
            raise NotFound(machine=id, phase="unknown", command="look up")
        return self._handle(await self.cells.cell(id))

    async def machines(
        self, *, after: str | Handle = "", limit: int = PAGE, ended: bool = True, **filters: Unpack[Filters]
    ) -> Machines:
        """Give a page of the fleet in the order of making, after one of them; ended ones too, if wanted.

        The list says in its `after` where the next page begins, and None at the end. Whoever is wanted all
        the while is on exactly one page, whatever happens to the fleet between them.
        """
        self.check_open()
        one = wanted(self._definitions(), filters)
        return await Listing(self.cells, self.log, self._handle).page(one, after, limit, ended=ended)

    def every(self, *, ended: bool = True, **filters: Unpack[Filters]) -> Every:
        """Go through the machines, `async for`, page by page in the order of their making."""
        self.check_open()
        return Every(lambda after, limit: self.machines(after=after, limit=limit, ended=ended, **filters))

    def counts(self) -> Counts:
        """Say how many machines live, by lifecycle and phase and by label, at no cost but the answer's."""
        self.check_open()
        return self.cells.roll.counts()

    def _definitions(self) -> Iterable[Lifecycle]:
        """Give every lifecycle that a machine here may live under."""
        return (*(rules.definition for rules in self.cells.definitions), *self._known.values())

    def _handle(self, cell: Cell) -> Handle:
        return Handle(self, cell.machine.name, cell.machine.rules, cell)

    async def create(  # the options of a verb
        self, name: str, spec: Spec | None = None, *, lifecycle: str = DEFAULT, phase: str = "",
        key: str | None = None, reason: str = "", actor: str = "", wait: bool = True,
    ) -> Handle:  # fmt: skip
        """Begin a life under a free name, and give its handle."""
        self.check_open()
        if key is not None:
            limits.key(key)
        rules = self.rules(lifecycle)
        if limits.phase(phase) and phase not in rules.definition.phases:
            raise BadInput(f"{lifecycle} has no phase {phase!r}; it has {', '.join(rules.definition.phases)}")
        command = commands.Create(name, rules.digest, spec or Spec(), phase, reason=reason)
        begin = wishes.spec(command.spec).restore_from
        if begin is not None and not await self.used(key):
            await self._check_source(begin)
        return await self._begin(rules, command, key=key, actor=actor, wait=wait)

    async def clone(  # the options of a verb
        self, source: Handle, name: str, snapshot: str, spec: Spec | None = None, *,
        key: str | None = None, reason: str = "", actor: str = "", wait: bool = True,
    ) -> Handle:  # fmt: skip
        """Begin a life as a copy of a snapshot, and run at once."""
        self.check_open()
        if key is not None:
            limits.key(key)
        origin = source.machine
        limits.name(snapshot, "snapshot")
        if snapshot not in origin.snapshots and not await self.used(key):
            raise SnapshotNotFound(machine=source.name, phase=source.title, command="clone", to=snapshot)
        command = commands.Clone(
            name, origin.rules.digest, origin.id, snapshot, spec or origin.spec, reason=reason
        )
        return await self._begin(origin.rules, command, key=key, actor=actor, wait=wait)

    async def _check_source(self, begin: RestoreFrom) -> None:
        """Refuse a snapshot that no record tells of."""
        try:
            source = await self.machine_by_id(begin.machine)
        except NotFound:
            raise NotFound(machine=begin.machine, phase="unknown", command="create") from None
        if begin.snapshot not in source.snapshots:
            raise SnapshotNotFound(
                machine=source.name, phase=source.title, command="create", to=begin.snapshot
            )

    async def _begin(
        self, rules: Rules, command: commands.Create | commands.Clone, *,
        key: str | None, actor: str, wait: bool,
    ) -> Handle:  # fmt: skip
        wishes.command(command)
        cell = self.unborn(command.name, rules)
        if not await self.used(key):
            _check_supervision(rules, command)
            await self._check_free(command.name, command.verb)
            self._turns.check(cell.machine, command)
        await self._define(rules)
        receipt = await self.submit(cell, command, key=key, name=command.name, actor=actor, wait=wait)
        handle = self._handle(await self.cells.cell(receipt.machine))
        handle.take(receipt)
        return handle

    async def _check_free(self, name: str, verb: str) -> None:
        """Say early, and with the holder's phase, that a name is taken; the log decides in any case."""
        holder = await self.log.find(name)
        if holder is not None and holder.held:
            machine = (await self.cells.cell(holder.stream)).machine
            raise AlreadyExists(
                machine=name, phase=machine.rules.definition.title(machine.phase), command=verb
            )

    def unborn(self, name: str, rules: Rules) -> Cell:
        """Make a cell for a machine that has no records."""
        return self.cells.unborn(self.clock.id(), rules, name)

    async def birth(self, name: str) -> Cell:
        """Wait until a machine of this name exists."""
        while True:
            self.check_open()
            waiting = self.cells.named.setdefault(name, self._loop.create_future())
            if (holder := await self.log.find(name)) is not None:
                return await self.cells.cell(holder.stream)
            await asyncio.shield(waiting)

    async def used(self, key: str | None) -> bool:
        """Say whether a key is in the log already: what it led to then holds, whatever is so by now."""
        self.check_open()
        return key is not None and await self.log.recall(limits.key(key)) is not None

    # --- lifecycles

    def lifecycles(self) -> tuple[Lifecycle, ...]:
        """Give the definitions that come with eventvm, and those that this engine was given."""
        return tuple(self._known.values())

    def rules(self, lifecycle: str) -> Rules:
        """Give the definition that new machines of this name will live under."""
        if (known := self._rules.get(limits.name(lifecycle, "lifecycle"))) is None:
            installed = self._world.installed
            definition = self._known.get(lifecycle) or installed.lifecycle(lifecycle)
            if definition is None:
                there = ", ".join(sorted({*self._known, *installed.names(OFFERED)}))
                raise BadInput(f"no lifecycle {lifecycle!r}; there is {there}")
            known = self._rules[lifecycle] = Rules(definition)
        return known

    async def _define(self, rules: Rules) -> None:
        """Have the log record a definition before the first machine that lives under it."""
        if rules.digest in self.cells.definitions:
            return
        task = self._defining.get(rules.digest)
        if task is None:
            task = self._defining[rules.digest] = self._loop.create_task(self._record_definition(rules))
            task.add_done_callback(_heard)
        await asyncio.shield(task)

    async def _record_definition(self, rules: Rules) -> None:
        stream = f"lifecycle/{rules.name}"
        version, after, end = 0, 0, False
        while not end:
            page = await self.log.read(stream=stream, after=after)
            version = page.records[-1].version if page.records else version
            after, end = page.position, page.end
        definition = msgspec.json.decode(encode(rules.definition))
        event = events.LifecycleDefined(at=self.clock.now(), digest=rules.digest, definition=definition)
        try:
            await self.log.append(Append(stream, (event,), version, self.actor))
        finally:
            del self._defining[rules.digest]
        self.cells.definitions.add(rules.digest, rules.definition)

    # --- commands

    def submit(  # the options of a verb
        self, cell: Cell, command: Command, *, key: str | None = None, name: str = "", actor: str = "",
        wait: bool = True, queue: bool = True,
    ) -> asyncio.Future[Receipt]:  # fmt: skip
        """Let a command take its turn; its receipt is to come, and cancelling that cancels nothing."""
        self.check_open()
        if self.cells.queues:
            self._turns.check_room(cell)
        command = admitted(command, self.clock)
        turn = Turn(cell, command, asyncio.Future(loop=self._loop))
        turn.actor = limits.actor(actor) if actor else self.actor
        turn.wait = wait
        if key is not None:
            self._turns.keyed(turn, limits.key(key), name)
        if self.log.tree.size - self._kept > max(KEEP_EVERY, len(self.cells.living)):
            self._kept = self.log.tree.size
            self._employ(self._keep())
        return self._turns.submit(turn, queue=queue)

    async def _keep(self) -> None:
        try:
            await self.cells.keep()
        except (EventvmError, OverflowError) as problem:  # an older log may hold integers without end
            logger.warning("the living machines were not kept, opening will take longer: %s", problem)

    async def look(self, cell: Cell, observation: Observation | None = None) -> Receipt:
        """Look at one machine, or take what somebody has seen of it, and repair the record."""
        self.check_open()
        self._turns.check_room(cell)
        turn = self._turns.turn(cell, None, actor=self.actor)
        turn.observation = observation
        return await self._turns.submit(turn)

    async def reconcile(self) -> Report:
        """Look at every living machine, each in its own turn; what has crashed is the supervisor's then."""
        self.check_open()
        return await self._look_at([cell for cell in self.cells.living.values() if not cell.machine.over])

    async def _look_at(self, cells: list[Cell]) -> Report:
        """Look at many machines, some of them at a time."""
        found: dict[str, list[str]] = {"reconciled": [], "unknown": []}
        todo = iter(cells)

        async def look() -> None:
            for cell in todo:
                # A machine that somebody is at work on, and be it only half made, is left to its creator.
                turn = self.cells.turns.get(cell)
                if turn is None or turn.worker is None:
                    found.setdefault(await self._found(cell), []).append(cell.machine.id)

        try:
            async with anyio.create_task_group() as tasks:
                for _ in range(min(RECONCILE_AT_ONCE, len(cells))):
                    tasks.start_soon(look)
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        return Report(len(cells), tuple(sorted(found["reconciled"])), tuple(sorted(found["unknown"])))

    def provider(self, name: str) -> Provider | None:
        """Give a provider by name, as it was given or as an installed package brings it."""
        self.check_open()
        return self._world.provider(name)

    async def orphans(self) -> tuple[Orphan, ...]:
        """List the machines that a provider has and the log does not know, as after a restore.

        Providers of installed packages are asked too, those whose machines nobody here has named yet.
        """
        self.check_open()
        self._meet(self._world.installed.names(PROVIDERS))
        return await orphans(self.log, self._world.providers.values(), self._discover_seconds)

    async def adopt(
        self, orphan: Orphan, name: str, spec: Spec | None = None, *, lifecycle: str = DEFAULT,
        reason: str = "found without a record", actor: str = "",
    ) -> Handle:  # fmt: skip
        """Take a machine that the log does not know into it, look at it, and record how it is.

        One that nobody can look at stays in doubt: each command to it looks first.
        """
        checked_orphan(orphan, await self.orphans())
        provider = self._world.provider(orphan.provider)
        assert provider is not None, "it has just said what it has"
        known = spec or await remembered(provider, orphan.id)
        rules = self.rules(lifecycle)
        wish = commands.Create(name, rules.digest, replace(known, provider=orphan.provider), reason=reason)
        wishes.command(wish)
        await self._check_free(name, "adopt")
        await self._define(rules)
        cell = self.cells.unborn(orphan.id, rules, name)
        handle = self._handle(cell)
        handle.take(await self._turns.adopt(cell, wish, orphan, actor=limits.actor(actor) or self.actor))
        return handle

    async def _found(self, cell: Cell) -> str:
        """Look at one of many, and say what that came to."""
        try:
            return (await self.look(cell)).how
        except (Inconclusive, OutcomeUnknown):
            return "unknown"

    async def _follow(self, provider: Any) -> None:
        """Take a provider's hints, for ever: each makes the engine look for itself."""
        backoff, failures = Backoff(), 0
        while True:
            failures = 0 if await self._hinted(provider) else failures + 1
            await asyncio.sleep(backoff.seconds(failures))

    async def _hinted(self, provider: Any) -> bool:
        """Follow one stream of hints to its end, and say whether it gave any."""
        gave = False
        try:
            async for id_ in provider.events():
                gave = True
                self._hear(id_)
        except Exception:
            logger.exception("provider %s gives no hints for a while", provider.name)
        return gave

    def _hear(self, id: str) -> None:  # noqa: A002  # the word of the domain
        """Look at a machine because of a hint, unless a look is on its way already."""
        cell = self.cells.held(id)
        if cell is not None and not cell.machine.terminal and not self._turns.looks(cell):
            turn = self._turns.turn(cell, None, actor=self.actor)
            self._turns.submit(turn).add_done_callback(heard)

    # --- reading

    async def backup(self, path: str | Path) -> Backup:
        """Write a verified copy of the log into a new file, while everything goes on."""
        self.check_open()
        return await self.log.backup(Path(path))

    def events(self, *, after: int = 0, stream: str | None = None) -> Subscription:
        """Follow the records after a position: those that are there, then the live ones, for ever."""
        self.check_open()
        limits.position(after)
        limits.identity(stream or "")
        limits.room(len(self._subscriptions), limits.SUBSCRIPTIONS, "subscriptions")
        one = Subscription(self.log, after=after, stream=stream, check=self.check_open)
        self._subscriptions.add(one)
        return one

    def observe(self, observer: Observer, *, machine: str | None = None) -> Callable[[], None]:
        """Call an observer once for each transition from now on, in order; give what ends that.

        It reads the log at its own pace: if it is slow, fails or calls the engine itself, nobody is harmed.
        """
        self.check_open()
        limits.identity(machine or "")
        limits.room(len(self._observers), limits.OBSERVERS, "observers")
        records = Subscription(self.log, after=self.log.tree.size, stream=machine)
        task = self._employ(observe(self.cells, records, observer, self._handle_of))
        self._observers.add(task)
        task.add_done_callback(self._observers.discard)

        def forget() -> None:
            self.check_here()
            task.cancel()

        return forget

    async def _handle_of(self, id: str) -> Handle:  # noqa: A002  # the word of the domain
        return self._handle(await self.cells.cell(id))

    async def history(self, id: str) -> list[Transition]:  # noqa: A002  # the word of the domain
        """List every change of a machine's phase."""
        self.check_open()
        limits.identity(id)
        changes = [transition(*life) async for life in self.cells.lived(id)]
        return [change for change in changes if change is not None]

    async def ledger(self, id: str) -> Ledger:  # noqa: A002  # the word of the domain
        """Fold the ledger of a machine."""
        self.check_open()
        limits.identity(id)
        return await self.cells.ledger(id)


_running_loop = asyncio._get_running_loop  # noqa: SLF001  # documented for such use; it gives None, not an error


def _check_supervision(rules: Rules, command: commands.Create | commands.Clone) -> None:
    """Refuse what a spec asks of the supervisor and its lifecycle has no way to give."""
    if why := impossible(rules, command.spec.restart, command.spec.ttl_seconds):
        phase = rules.definition.title(rules.definition.initial)
        raise Unsupported(machine=command.name, phase=phase, command=command.verb, to=why)


def _heard(task: "asyncio.Task[None]") -> None:
    """Take note of an error whose every hearer was cancelled."""
    if not task.cancelled():
        task.exception()
