"""A log examined from inside, and its machines: what is open, overdue, in doubt or unknown to it."""

from collections.abc import AsyncIterator, Iterator

from eventvm.audit import stored
from eventvm.audit.finding import Finding, note, well, wrong
from eventvm.audit.standing import Standing
from eventvm.audit.streams import brief, each
from eventvm.engine.orphans import orphans, owner_of
from eventvm.errors import EventvmError
from eventvm.explanation import order
from eventvm.headway import Headway, untold
from eventvm.installed import PROVIDERS, Installed
from eventvm.logs.signed import notes
from eventvm.observation import Instant
from eventvm.past import Past, Pasts, when
from eventvm.provider import Provider, Unclear
from eventvm.providers.process import Process
from eventvm.signing.keys import named
from eventvm.times import SECOND_NS, length

SKEW_NS = 2 * SECOND_NS
"""So far ahead of the clock a record may be before it is told."""
DISCOVER_SECONDS = 5.0
KEPT = """
    SELECT view, size, (SELECT sum(length(all_.bytes)) FROM kept all_ WHERE all_.view = kept.view)
    FROM kept WHERE part = 0 ORDER BY view
"""
LAST = "SELECT recorded_at FROM records ORDER BY position DESC LIMIT 1"


async def rounds(
    log: Standing, now: Instant, *, held: bool, headway: Headway = untold
) -> AsyncIterator[Finding]:
    """Examine a log that can be opened; `held` says that an engine has it."""
    yield await _layout(log)
    yield await _clock(log, now)
    yield await _kept(log)
    yield await _signed(log)
    patients = Patients(now, held=held)
    try:
        async for pasts in _machines(log, headway):
            patients.see(pasts)
    except EventvmError as problem:
        yield wrong(
            "records", str(problem), "run `eventvm log verify`; what follows tells only of those read by then"
        )
    else:
        yield well("records", f"{log.tree.size:,}, each machine folded from its first to its last")
    for finding in patients.findings():
        yield finding
    async for finding in _orphans(log):
        yield finding


async def _layout(log: Standing) -> Finding:
    try:
        await stored.check_layout(log)
        return well("log", f"origin {await stored.check_origin(log)}, its guards are in place")
    except EventvmError as problem:
        return wrong("log", str(problem), "run `eventvm log verify`, and compare with a backup")


async def _clock(log: Standing, now: Instant) -> Finding:
    rows = await log.ask(LAST)
    if not rows:
        return well("clock", "no record to compare it with")
    ((recorded_at,),) = rows
    if recorded_at > now.wall + SKEW_NS:
        ahead = length((recorded_at - now.wall) // SECOND_NS * SECOND_NS)
        return wrong(
            "clock", f"the last record lies {ahead} in the future",
            "set the clock; until then new records get the time of the last one",
        )  # fmt: skip
    return well(
        "clock", f"the last record is {length((now.wall - recorded_at) // SECOND_NS * SECOND_NS)} old"
    )


async def _kept(log: Standing) -> Finding:
    views = await log.ask(KEPT)
    told = ", ".join(f"{view} at {size:,} ({length_:,} bytes)" for view, size, length_ in views)
    return well("kept views", told or "none: opening the log reads it from the beginning")


async def _signed(log: Standing) -> Finding:
    signed = await notes(log.ask)
    if signed and named(None) is None:
        return note(
            "signing",
            "the log is signed, and no key is named here",
            "name it in EVENTVM_SIGNING_KEY to write",
        )
    return well("signing", f"signed by {len(signed)} of its keys" if signed else "not signed")


def _machines(log: Standing, headway: Headway) -> AsyncIterator[Pasts]:
    size = log.tree.size

    def reach(done: int) -> None:
        headway("examining", done, size)

    return each(log, size, brief, reach)


# --- machines -------------------------------------------------------------------------------------------


class Patients:
    """The machines that live, seen one after the other; of each only what is the matter is kept."""

    def __init__(self, now: Instant, *, held: bool) -> None:
        self._now, self._held = now, held
        self._told: list[Finding] = []
        self._machines = self._living = self._troubled = 0

    def see(self, pasts: Pasts) -> None:
        """Look at one machine."""
        self._machines += len(pasts.machines)
        for past in pasts:
            if past.machine.living:
                told = list(_machine(past, self._now, held=self._held))
                self._living += 1
                self._troubled += any(one.level == "wrong" for one in told)
                self._told += told

    def findings(self) -> Iterator[Finding]:
        """Say how many there are, and what is the matter with them."""
        count = f"{self._living:,} of {self._machines:,} live"
        yield well("machines", f"{count}, {self._troubled or 'none'} in need of a person")
        yield from self._told


def _machine(past: Past, now: Instant, *, held: bool) -> Iterator[Finding]:
    """Say what is the matter with a machine, the most pressing first; nothing where all is well."""
    machine, about = past.machine, f"machine {past.machine.name}"
    title = machine.rules.definition.title(machine.phase)
    if machine.request is not None:
        yield _request(past, now, held=held)
    elif machine.quarantined:
        way = f"{order(machine)}, or " if machine.snapshots else "no snapshot of it is left: "
        yield wrong(about, f"{title}, in quarantine", f"{way}destroy it with force")
    elif machine.doubted:
        yield wrong(
            about,
            f"{title}, in doubt: the record may be behind the world",
            f"eventvm reconcile {machine.name}",
        )
    elif machine.phase in machine.rules.definition.faulty:
        since = length(max(0, now.wall - past.last_change) // SECOND_NS * SECOND_NS)
        yield wrong(about, f"{title} for {since}: {_because(past)}", _next(past))
    yield from _late(past, now, held=held)


def _because(past: Past) -> str:
    """Say what went wrong, else why somebody asked for it."""
    return past.fault or past.machine.reason or "no reason is recorded"


def _next(past: Past) -> str:
    return order(past.machine) or f"eventvm explain {past.machine.name}"


def _request(past: Past, now: Instant, *, held: bool) -> Finding:
    machine, about = past.machine, f"machine {past.machine.name}"
    assert machine.request is not None
    since = when(past.asked) if past.asked is not None else now.wall
    age = length(max(0, now.wall - since) // SECOND_NS * SECOND_NS)
    left = (machine.request.deadline - now.wall) // SECOND_NS * SECOND_NS
    what = f"{machine.request.command.verb} has been requested for {age} (#{machine.request.position})"
    if left < 0:
        return wrong(
            about, f"{what}, its deadline passed {length(-left)} ago", f"eventvm reconcile {machine.name}"
        )
    if not held:
        return note(
            about,
            f"{what}, {length(left)} left, and no engine runs",
            "the next engine looks what became of it",
        )
    return note(about, f"{what}, {length(left)} left")


def _late(past: Past, now: Instant, *, held: bool) -> Iterator[Finding]:
    machine, about = past.machine, f"machine {past.machine.name}"
    do = "look whether its engine hangs" if held else "no engine supervises it: run one"
    if machine.overdue is not None and (over := -now.until(machine.overdue)) > 0:
        yield wrong(about, f"{machine.phase} has lasted {length(over // SECOND_NS * SECOND_NS)} too long", do)
    if machine.expires is not None and (over := -now.until(machine.expires)) > 0:
        yield wrong(about, f"its time to live ended {length(over // SECOND_NS * SECOND_NS)} ago", do)


# --- what the log does not know -------------------------------------------------------------------------


async def _orphans(log: Standing) -> AsyncIterator[Finding]:
    providers = [Process(owner=owner_of(log)), *_installed(owner_of(log))]
    found = 0
    for provider in providers:
        try:
            for one in await orphans(log, [provider], DISCOVER_SECONDS):
                found += 1
                yield wrong(
                    "orphans", f"{one.provider} has {one.id}, and the log knows nothing of it",
                    f"eventvm discover --adopt {one.id} --name NAME, or --destroy {one.id}",
                )  # fmt: skip
        except Unclear as problem:
            yield note("orphans", str(problem), f"look whether {provider.name} works here")
    if not found:
        names = ", ".join(one.name for one in providers)
        yield well("orphans", f"none ({names})")


def _installed(owner: str) -> Iterator[Provider]:
    installed = Installed()
    for name in sorted(installed.names(PROVIDERS)):
        try:
            one = installed.provider(name)
        except EventvmError:
            continue  # told among the packages
        if one is not None:
            if hasattr(one, "belongs_to"):
                one.belongs_to(owner)
            yield one
