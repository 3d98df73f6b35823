"""`eventvm demo`: a small fleet lives through a bad day, and the log tells what happened and why."""

import os
import tempfile
from collections.abc import Awaitable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import eventvm
from eventvm.audit.replay import differences, replayed, wrong_names
from eventvm.cli.paper import Paper
from eventvm.clock import Clock
from eventvm.engine import Engine, Handle
from eventvm.errors import BadInput, EventvmError
from eventvm.ledger import Interval
from eventvm.observation import Instant
from eventvm.providers.simulated import Script, Simulated
from eventvm.spec import Spec

GIB = 1 << 30
MINUTE_NS = 60_000_000_000
LASTS_MINUTES = 100
"""How long the story may last."""
QUERY = "SELECT position, name, type, reason FROM log"


def describe(verbs: Any) -> None:
    """Describe the verb and its options."""
    told = verbs.add_parser(
        "demo",
        help="watch a small fleet live through a bad day, told from its log",
        description="A small simulated fleet lives through the stories that eventvm exists for. It writes "
        "a real log, and ends by replaying it from position 1 and comparing.",
        epilog="example: eventvm demo --file /tmp/demo.db",
    )
    told.add_argument("--file", type=Path, help="where to write the log (default: a new temporary file)")
    told.set_defaults(run=lambda options, paper: demo(paper, options.file))


class DemoClock(Clock):
    """A clock that lets hours pass when the story says so; it begins so early that the day ends by now."""

    def __init__(self) -> None:
        super().__init__()
        self._passed_ns = -LASTS_MINUTES * MINUTE_NS

    def wall(self) -> int:
        return super().wall() + self._passed_ns

    def now(self) -> Instant:
        now = super().now()
        return Instant(now.wall + self._passed_ns, now.boot + self._passed_ns, now.boot_id)

    def pass_(self, minutes: int) -> None:
        """Let time pass."""
        self._passed_ns += minutes * MINUTE_NS


class Story:
    """Tells what is asked of the engine, and what it answers."""

    def __init__(self, paper: Paper, engine: Engine, world: Simulated, clock: DemoClock) -> None:
        self.paper = paper
        self.engine = engine
        self.world = world
        self.clock = clock

    def scene(self, title: str, *lines: str) -> None:
        """Open a scene."""
        self.paper.line()
        self.paper.line(self.paper.ink(title, "bold"))
        for line in lines:
            self.paper.line(f"  {line}")

    def wait(self, minutes: int) -> None:
        """Let time pass, and say so."""
        self.clock.pass_(minutes)
        self.paper.line(self.paper.ink(f"    ... {minutes} minutes later", "dim"))

    async def ask(self, said: str, asked: Awaitable[object], machine: Handle) -> None:
        """Send a command, and show what it came to."""
        try:
            receipt = await asked
        except EventvmError as problem:
            answer = self.paper.ink(f"{type(problem).__name__}: {problem}", "red")
        else:
            how = getattr(receipt, "how", "done")
            answer = self.paper.ink(how, "yellow" if how == "reconciled" else "green")
        self.paper.line(f"    {said:<36} {answer}")
        self.paper.line(f"    {'':<36} {machine.name} is {self.paper.phase(machine.title)}")

    async def history(self, machine: Handle) -> None:
        """Show a machine's phases, with the reason of each."""
        rows = [
            (
                _clock(change.timestamp),
                self.paper.phase(change.to),
                self.paper.ink(change.event, "dim"),
                self.paper.ink(change.reason),
            )
            for change in await machine.history()
        ]
        self.paper.table(("time", "phase", "because of", "reason"), rows)

    async def ledger(self, machine: Handle, meter: str = "compute") -> None:
        """Show a machine's intervals."""
        rows = [_row(one) for one in await machine.intervals() if one.meter == meter]
        self.paper.table(("meter", "from", "to", "length", "opened by", "closed by", "learned"), rows)


def _clock(wall: int) -> str:
    return f"{datetime.fromtimestamp(wall / 1e9, UTC):%H:%M:%S}"


def _row(one: Interval) -> tuple[str, ...]:
    minutes, seconds = divmod(one.ns // 1_000_000_000, 60)
    stop = one.stop
    return (
        one.meter,
        _clock(one.begin),
        _clock(one.end) if one.end is not None else "open",
        f"{minutes}m{seconds:02d}s",
        one.start.reason,
        stop.reason if stop is not None else "",
        _clock(stop.recorded_at) if stop is not None else "",
    )


async def failed_stop(story: Story) -> None:
    """Tell the seed case: a stop that fails while the process lives, and the start that repairs it."""
    story.scene(
        "1. A stop that fails while the machine is alive",
        "The hypervisor does not answer a stop. Is the machine down? Nobody knows, so the record says error,",
        "and its usage goes on being counted, because it may be running. A later start looks first: it is",
        "alive. So nothing is launched, nothing is billed twice; one compensating event repairs the record.",
    )
    web = await story.engine.create("web-1", Spec(provider="simulated", cpus=2, memory=2 * GIB))
    await story.ask("web.start()", web.start(), web)
    story.wait(10)
    story.world.script("web-1", "stop", Script("fail", message="the hypervisor did not answer"))
    await story.ask("web.stop()", web.stop(), web)
    story.wait(5)
    await story.ask("web.start()", web.start(), web)
    story.wait(20)
    await story.ask("web.stop()", web.stop(), web)
    launches = sum(call == ("start", "web-1") for call in story.world.calls)
    story.paper.line(f"    launched {launches} time; one compute interval, opened once and closed once:")
    await story.history(web)
    await story.ledger(web)


async def late_crash(story: Story) -> None:
    """Tell of a crash that is found later, and closed at the time that the evidence supports."""
    story.scene(
        "2. A crash that is found later",
        "The machine dies while nobody looks. It is found 15 minutes later, with evidence of when it died:",
        "the interval closes at that time, and the entry says when it was learned.",
    )
    database = await story.engine.create("db-1", Spec(provider="simulated", cpus=4, memory=8 * GIB))
    await database.start()
    story.wait(30)
    died = story.clock.now()
    story.wait(15)
    story.world.die("db-1", at=died)
    await story.ask("the provider hints, the engine looks", database.wait("stopped", timeout=5), database)
    await story.history(database)
    await story.ledger(database)


async def forced_end(story: Story) -> None:
    """Tell of an end that nobody saw, beside one whose code was authenticated."""
    story.scene(
        "3. A forced end has no exit code",
        "Two jobs end. One reported its code through the authenticated bridge: clean, with a code. The other",
        "had to be killed: forced, and no code exists for it - not 0, not 137, not -1.",
    )
    rows = []
    for name, code in (("job-1", 0), ("job-2", None)):
        job = await story.engine.create(name, Spec(provider="simulated"), lifecycle="cell")
        await job.start()
        story.clock.pass_(3)
        if code is None:
            story.world.script(name, "stop", Script("fail", message="the guest does not answer"))
            await job.destroy(force=True, reason="ttl_exceeded")
        else:
            story.world.die(name, code=code, manner="graceful")
            await job.wait("destroyed", timeout=5)
        end = job.machine.end
        assert end is not None
        rows.append(
            (name, story.paper.phase(job.phase), str(end.terminal_state), end.manner, str(end.termination))
        )
    story.paper.table(("job", "phase", "terminal state", "manner", "termination"), rows)


async def rename(story: Story) -> None:
    """Tell of a warm machine that is handed over under a new name."""
    story.scene(
        "4. A warm machine is handed over",
        "It was started ahead of demand as pool-7. The customer's name moves onto it; its history, snapshots",
        "and the open interval move along, and the old name is free at once.",
    )
    pooled = await story.engine.create("pool-7", Spec(provider="simulated"), lifecycle="microvm")
    await pooled.start()
    story.clock.pass_(2)
    await story.ask('pooled.rename("api-1")', pooled.rename("api-1"), pooled)
    again = await story.engine.create("pool-7", Spec(provider="simulated"), lifecycle="microvm")
    story.paper.line(f"    pool-7 is another machine now: {again.id[-12:]}, and api-1 is {pooled.id[-12:]}")
    await story.ledger(pooled)


async def plugin_day(story: Story) -> None:
    """Tell of a plugin's bad day: degraded, crashed, refused, forced."""
    story.scene(
        "5. A plugin's bad day",
        "Its host reports its moves. A move that the lifecycle does not have is refused and leaves no trace;",
        "an operator's force is recorded with its reason and marked in every view.",
    )
    plugin = await story.engine.create("search-plugin", lifecycle="plugin")
    for phase in ("Installing", "Installed", "Validating", "Starting", "Running"):
        await plugin.transition_to(phase, "installed by its user" if phase == "Installing" else "")
    story.clock.pass_(8)
    await plugin.transition_to("Degraded", "three slow answers in a row")
    before = story.engine.log.tree.size
    await story.ask('plugin.transition_to("Installed")', plugin.transition_to("Installed"), plugin)
    story.paper.line(f"    the log is as long as before: {story.engine.log.tree.size == before}")
    await plugin.transition_to("Recovering", "its process exited")
    await story.ask(
        'plugin.force_phase("Stopped", ...)', plugin.force_phase("Stopped", "its files are gone"), plugin
    )
    await story.history(plugin)


async def comeback(story: Story) -> None:
    """Tell of an engine that comes back and finds a request whose outcome nobody recorded."""
    story.scene(
        "6. The engine goes away in the middle of a start, and comes back",
        "The request was durable before the call. The new engine does not repeat the call: it looks.",
    )
    cache = await story.engine.machine("cache-1")
    story.paper.line(f"    before: {story.paper.ink('start requested, no outcome recorded', 'yellow')}")
    await cache.wait("running", timeout=5)
    launches = sum(call == ("start", "cache-1") for call in story.world.calls)
    story.paper.line(f"    after:  cache-1 is {story.paper.phase(cache.phase)}, launched {launches} time")
    await story.history(cache)


async def interrupt(story: Story) -> None:
    """Leave a start in the middle: the deed is done, its outcome not recorded."""
    cache = await story.engine.create("cache-1", Spec(provider="simulated"))
    story.world.script("cache-1", "start", "lost")
    await cache.start(wait=False)


async def demo(paper: Paper, file: Path | None) -> int:
    """Tell the whole day on a fresh log, then replay it from position 1 and compare."""
    path = file or Path(tempfile.mkdtemp(prefix="eventvm-demo-")) / "demo.db"
    _refuse_taken(path)
    clock = DemoClock()
    world = Simulated(clock)
    paper.line(f"A fleet of simulated machines, recorded in {paper.ink(path)}")
    async with eventvm.open(path, providers=[world], clock=clock, actor="demo", grace_seconds=0) as engine:
        story = Story(paper, engine, world, clock)
        for told in (failed_stop, late_crash, forced_end, rename, plugin_day, interrupt):
            await told(story)
    async with eventvm.open(path, providers=[world], clock=clock, actor="demo") as engine:
        story = Story(paper, engine, world, clock)
        await comeback(story)
        return await compare(story, path)


def _refuse_taken(path: Path) -> None:
    if os.path.lexists(path):
        raise BadInput(f"{path} exists already; the demo writes a fresh log, so name another file")


async def compare(story: Story, path: Path) -> int:
    """Replay the file from position 1 and compare it with what the engine holds."""
    fleet = await replayed(story.engine.log)
    machines = [handle.machine for handle in await story.engine.machines()]
    wrong = differences(fleet, machines)
    wrong += [f"the name {name} leads elsewhere" async for name in wrong_names(story.engine.log, fleet)]
    paper, tree = story.paper, story.engine.log.tree
    story.scene(
        "The proof",
        f"Replayed {tree.size} records from position 1, every hash checked: {len(machines)} machines, "
        f"{sum(map(len, fleet.histories.values()))} changes of phase,",
        f"{sum(len(one.entries) for one in fleet.ledgers.values())} ledger entries. "
        f"Tree root {tree.root.hex()[:16]}.",
    )
    for difference in wrong:
        paper.line(f"  {paper.ink(difference, 'red')}")
    verdict = "differs from the log" if wrong else "is what the log says, in every field"
    paper.line(f"  The living state {paper.ink(verdict, 'red' if wrong else 'green', 'bold')}.")
    paper.line(f"  Look at it yourself: sqlite3 {paper.ink(path)} {QUERY!r}")
    return 1 if wrong else 0
