"""`eventvm start`, `stop` and all the other verbs that act: each a row of a table.

They act through the engine that holds the log; where there is none, this process is it for as long as the
verb runs, and machines stay alive afterwards.
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec

from eventvm import commands
from eventvm.cli import moment, place, shape, sheet
from eventvm.cli.paper import Paper
from eventvm.cli.seat import seated
from eventvm.commands import Command
from eventvm.engine import Engine, Handle, Receipt
from eventvm.errors import BadInput, NoSuchMachine, WaitTimeout
from eventvm.lifecycles import DEFAULT
from eventvm.machine import Machine
from eventvm.observation import Instant
from eventvm.wire.guest import whoever


class Argument(NamedTuple):
    """A word of a command beside the machine's name: the field that it fills, and what it is."""

    field: str
    help: str
    read: Callable[[str], Any] = str
    choices: tuple[str, ...] | None = None


SNAPSHOT = Argument("snapshot", "the name of the snapshot")
PHASE = Argument("to", "the phase, by its name in the lifecycle")


class Verb(NamedTuple):
    """A command of the catalogue as a verb of the command line."""

    name: str
    does: str
    example: str
    wish: type[Command]
    arguments: tuple[Argument, ...] = ()
    forced: bool = False
    """Whether it is forced, so that it needs a reason."""


VERBS = (
    Verb("start", "run a machine", "start web-1 --key deploy-42/web-1", commands.Start),
    Verb("stop", "end a machine's process; what it stores stays", "stop web-1", commands.Stop),
    Verb("pause", "hold a machine still", "pause web-1", commands.Pause),
    Verb("resume", "let a paused machine go on", "resume web-1", commands.Resume),
    Verb(
        "snapshot", "capture a machine's state under a name", "snapshot web-1 before-upgrade",
        commands.Snapshot, (SNAPSHOT,),
    ),
    Verb(
        "delete-snapshot", "delete a snapshot, also after the end of its machine's life",
        "delete-snapshot web-1 before-upgrade", commands.DeleteSnapshot, (SNAPSHOT,),
    ),
    Verb(
        "hibernate", "take a snapshot, and end the process once that is durable", "hibernate web-1 night",
        commands.Hibernate, (SNAPSHOT,),
    ),
    Verb(
        "rename", "give a machine another name and free the old one", "rename web-1 web-2", commands.Rename,
        (Argument("name", "its name from now on"),),
    ),
    Verb(
        "complete", "record that the command inside a machine has ended", "complete job-1 0",
        commands.Complete, (Argument("code", "its exit code", int),),
    ),
    Verb(
        "force", "set a phase against the lifecycle's edges; marked in every view",
        "force web Installed --reason 'the record was lost'", commands.Force, (PHASE,), forced=True,
    ),
)  # fmt: skip
"""The verbs that are a command and its words, and nothing else."""


def describe(verbs: Any) -> None:
    """Describe the verbs and their options."""
    _create(verbs)
    for verb in VERBS:
        _sent(verbs, verb, _worded(verb))
    _restore(verbs)
    _clone(verbs)
    _destroy(verbs)
    _transition(verbs)
    _attest(verbs)
    _amend(verbs)
    _label(verbs)
    _retry(verbs)
    _reconcile(verbs)


Wish = Callable[[argparse.Namespace, Machine], Command]
"""Makes a command of what was said, for a machine as it is."""


def _worded(verb: Verb) -> Wish:
    """Make a command of nothing but its words."""
    names = tuple(one.field for one in verb.arguments)
    return lambda options, _: verb.wish(
        **{name: getattr(options, name) for name in names}, reason=options.reason
    )


def _sent(verbs: Any, verb: Verb, wish: Wish) -> Any:
    """Describe a verb that sends one command to one machine."""

    async def act(engine: Engine, options: argparse.Namespace) -> Receipt:
        machine = await there(engine, options)
        return await machine.send(wish(options, machine.machine), **sending(options))

    described = _verb(verbs, verb.name, verb.does, verb.example, act, forced=verb.forced)
    for one in verb.arguments:
        described.add_argument(
            one.field, metavar=one.field.upper(), help=one.help, type=one.read, choices=one.choices
        )
    return described


Act = Callable[[Engine, argparse.Namespace], Awaitable[Receipt | None]]


def _verb(verbs: Any, name: str, does: str, example: str, act: Act, *, forced: bool = False) -> Any:
    """Describe what every verb takes that acts on one machine."""
    verb = verbs.add_parser(
        name, help=does, description=f"{does[0].upper()}{does[1:]}.", epilog=f"example: eventvm {example}"
    )
    verb.add_argument(
        "machine", metavar="NAME", help="the machine that holds this name, else the last that did"
    )
    verb.add_argument("--id", action="store_true", help="NAME is a machine's id")
    describe_acting(verb, forced=forced)
    verb.set_defaults(run=lambda options, paper: acted(paper, options, act))
    return verb


def describe_acting(verb: Any, *, forced: bool = False) -> None:
    """Describe how a command is sent, and how its receipt is shown."""
    verb.add_argument("--key", help="asked again with it, the same command gives the same receipt, for ever")
    why = "why, for the record" + ("; required, because it is forced" if forced else "")
    verb.add_argument("--reason", default="", required=forced, help=why)
    verb.add_argument("--actor", default=whoever(), help="who wants it, for the record (default: you)")
    verb.add_argument(
        "--timeout", type=shape.seconds, metavar="T", help="wait so long for the outcome (90, 90s, 5m, 2h)"
    )
    verb.add_argument(
        "--no-wait", dest="wait", action="store_false", help="return once the request is durable"
    )
    sheet.describe(verb, "table", "json", "jsonl")
    place.describe(verb)


def sending(options: argparse.Namespace) -> dict[str, Any]:
    """Say how a command is sent."""
    return {"key": options.key, "actor": options.actor, "wait": options.wait}


async def there(engine: Engine, options: argparse.Namespace) -> Handle:
    """Find the machine that was named; nothing but its creation makes one of a name."""
    if options.id:
        return await engine.machine_by_id(options.machine)
    found = await engine.machine(options.machine)
    if not found.machine.exists:
        raise NoSuchMachine(options.machine)
    return found


async def acted(paper: Paper, options: argparse.Namespace, act: Act, *, makes: bool = False) -> int:
    """Send one command, and show its receipt."""
    async with seated(options, "" if makes else options.machine) as seat:
        try:
            async with asyncio.timeout(options.timeout):
                receipt = await seat.do(lambda engine: act(engine, options))
        except TimeoutError:
            raise late(options) from None
        if receipt is not None:
            shown(paper, options.output, receipt)
    return 0


def late(options: argparse.Namespace) -> WaitTimeout:
    """Say that the outcome is not there in time; giving up the wait gives up nothing else."""
    problem = WaitTimeout(f"{options.machine}: no outcome within {options.timeout:g} s")
    problem.hint = f"`eventvm show {options.machine}` tells what is under way"
    return problem


HOW = {
    "done": "", "nothing": ": nothing to do", "reconciled": ": the record was repaired",
    "repeated": ": as this key was answered before", "requested": ": requested, and under way",
    "reached": "",
}  # fmt: skip


def shown(paper: Paper, form: str, receipt: Receipt) -> None:
    """Show a receipt."""
    if form == "table":
        at = paper.ink(f"  #{receipt.position}", "dim")
        name = paper.ink(receipt.name or receipt.machine, "bold")
        paper.line(f"{name} is {paper.phase(receipt.phase)}{HOW[receipt.how]}{at}")
    else:
        sheet.one(paper, form, msgspec.to_builtins(receipt))


# --- beginnings -----------------------------------------------------------------------------------------


def _create(verbs: Any) -> None:
    verb = verbs.add_parser(
        "create",
        help="begin the life of a machine",
        description="Begin the life of a machine under a free name. With a COMMAND it is a process; `eventvm "
        "start` runs it.",
        epilog="example: eventvm create web-1 --label team=a -- python -m http.server",
    )
    verb.add_argument("machine", metavar="NAME", help="a name that no machine holds")
    verb.add_argument("--lifecycle", default=DEFAULT, help=f"what it lives under (default: {DEFAULT})")
    verb.add_argument("--phase", default="", help="the phase that it is known to be in already")
    shape.describe(verb)
    describe_acting(verb)
    shape.describe_command(verb)
    verb.set_defaults(run=lambda options, paper: create(paper, options))


async def create(paper: Paper, options: argparse.Namespace) -> int:
    """Begin a life; what it should be is read before a log is opened, or made."""
    spec = shape.asked(options)

    async def act(engine: Engine, options: argparse.Namespace) -> Receipt | None:
        made = await engine.create(
            options.machine, spec, lifecycle=options.lifecycle, phase=options.phase, reason=options.reason,
            **sending(options),
        )  # fmt: skip
        return made.receipt

    return await acted(paper, options, act, makes=True)


def _clone(verbs: Any) -> None:
    async def act(engine: Engine, options: argparse.Namespace) -> Receipt | None:
        source = await there(engine, options)
        made = await engine.clone(
            source, options.name, options.snapshot, shape.asked(options, source.machine.spec),
            reason=options.reason,
            **sending(options),
        )  # fmt: skip
        return made.receipt

    does = "begin a life as a copy of a machine's snapshot, and run at once"
    verb = _verb(verbs, "clone", does, "clone web-1 web-2 before-upgrade", act)
    verb.add_argument("name", metavar="NEW", help="the name of the copy")
    verb.add_argument("snapshot", metavar="SNAPSHOT", help=SNAPSHOT.help)
    shape.describe(verb)


# --- commands that take more than words -----------------------------------------------------------------


def _restore(verbs: Any) -> None:
    def wish(options: argparse.Namespace, machine: Machine) -> Command:
        spec = shape.asked(options, machine.spec)
        return commands.Restore(snapshot=options.snapshot, spec=spec, reason=options.reason)

    verb = Verb(
        "restore", "put a machine back to a snapshot, in a new shape if one is given",
        "restore web-1 before-upgrade --memory 4G", commands.Restore, (SNAPSHOT,),
    )  # fmt: skip
    shape.describe(_sent(verbs, verb, wish))


def _destroy(verbs: Any) -> None:
    def wish(options: argparse.Namespace, _: Machine) -> Command:
        return commands.Destroy(force=options.force, reason=options.reason)

    does = "end a machine's life; its history, snapshots and ledger stay for ever"
    verb = _sent(verbs, Verb("destroy", does, "destroy web-1 --force --reason hung", commands.Destroy), wish)
    verb.add_argument("--force", action="store_true", help="also while it is alive; needs a --reason")
    destroy = verb.get_default("run")
    verb.set_defaults(run=lambda options, paper: destroy(_answered_for(options), paper))


def _answered_for(options: argparse.Namespace) -> argparse.Namespace:
    if options.force and not options.reason:
        raise BadInput("a forced end needs a --reason: it ends what may be alive")
    return options


def _transition(verbs: Any) -> None:
    def wish(options: argparse.Namespace, _: Machine) -> Command:
        return commands.Transition(to=options.to, data=options.data, reason=options.reason)

    verb = Verb(
        "transition", "record a move along one of the lifecycle's edges",
        "transition web Installing --reason 'asked for'", commands.Transition, (PHASE,),
    )  # fmt: skip
    _sent(verbs, verb, wish).add_argument("--data", type=_json, metavar="JSON", help="what it tells beside")


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.MsgspecError as problem:
        raise argparse.ArgumentTypeError(f"it is no JSON: {problem}") from None


def _attest(verbs: Any) -> None:
    def wish(options: argparse.Namespace, _: Machine) -> Command:
        at = None if options.at is None else Instant(options.at, 0, "")
        return commands.Attest(liveness=options.liveness, at=at, reason=options.reason)

    verb = Verb(
        "attest", "record what you know of a machine, where no probe will ever tell",
        "attest web-1 gone --at '2 hours ago' --reason 'its host has burnt down'", commands.Attest,
        (Argument("liveness", "how it is", choices=("alive", "gone")),), forced=True,
    )  # fmt: skip
    _sent(verbs, verb, wish).add_argument(
        "--at", type=moment.wall, metavar="TIME", help="when it was so: a time, or an age (default: now)"
    )


def _amend(verbs: Any) -> None:
    def wish(options: argparse.Namespace, _: Machine) -> Command:
        return commands.Amend(
            labels={**dict(options.label), **dict.fromkeys(options.unlabel)}, restart=options.restart,
            ttl_seconds=None if options.ttl is None else int(options.ttl), dev=options.dev,
            disabled=options.disabled, reason=options.reason,
        )  # fmt: skip

    does = "change what is said of a machine beside its shape; the rest stays as it is"
    verb = _sent(verbs, Verb("amend", does, "amend web-1 --label team=b --ttl 2h", commands.Amend), wish)
    shape.describe_said(verb)
    verb.add_argument(
        "--unlabel", action="append", default=[], metavar="KEY", help="take it away; repeatable"
    )
    for flag, told in (("dev", "under development"), ("disabled", "not to be run")):
        verb.add_argument(f"--{flag}", action=argparse.BooleanOptionalAction, help=f"whether it is {told}")


def _label(verbs: Any) -> None:
    def wish(options: argparse.Namespace, _: Machine) -> Command:
        return commands.Amend(labels=dict(options.labels), reason=options.reason)

    does = "set labels of a machine, and take away those that end in `-`"
    verb = _sent(verbs, Verb("label", does, "label web-1 team=b stage-", commands.Amend), wish)
    verb.add_argument("labels", nargs="+", type=_labelled, metavar="LABEL", help="KEY=VALUE, or KEY-")


def _labelled(text: str) -> tuple[str, str | None]:
    return (text[:-1], None) if text.endswith("-") and "=" not in text else shape.pair(text)


def _retry(verbs: Any) -> None:
    does = "count an attempt of a machine, or forget them"
    group = verbs.add_parser(
        "retry", help=does, description=f"{does.capitalize()}.", epilog="example: eventvm retry advance web"
    )
    asked = group.add_subparsers(dest="retry_verb", metavar="VERB", required=True)
    for name, does, wish in (
        ("advance", "count one more attempt, and double the backoff", commands.AdvanceRetry),
        ("reset", "forget the attempts, as a person's retry does", commands.ResetRetry),
    ):
        verb = Verb(name, does, f"retry {name} web", wish)
        _sent(asked, verb, _worded(verb))


# --- reconciliation -------------------------------------------------------------------------------------


def _reconcile(verbs: Any) -> None:
    verb = verbs.add_parser(
        "reconcile",
        help="look at a machine, or at all, and repair the record where it has drifted",
        description="Look at a machine, or at every living one, and append at most one compensating event to "
        "each. Nothing is started or stopped.",
        epilog="example: eventvm reconcile web-1",
    )
    verb.add_argument(
        "machine", nargs="?", default="", metavar="NAME", help="which (default: every living one)"
    )
    verb.add_argument("--id", action="store_true", help="NAME is a machine's id")
    verb.add_argument("--timeout", type=shape.seconds, metavar="T", help="wait so long (90, 90s, 5m, 2h)")
    sheet.describe(verb, "table", "json", "jsonl")
    place.describe(verb)
    verb.set_defaults(run=lambda options, paper: reconcile(paper, options))


async def reconcile(paper: Paper, options: argparse.Namespace) -> int:
    """Look at one machine, or at all of them."""

    async def one(engine: Engine, options: argparse.Namespace) -> Receipt | None:
        return await (await there(engine, options)).reconcile()

    async def every(engine: Engine, options: argparse.Namespace) -> None:
        report = await engine.reconcile()
        if options.output != "table":
            sheet.one(paper, options.output, msgspec.to_builtins(report))
            return
        paper.line(f"looked at {report.looked}, repaired {len(report.reconciled)}")
        for id_ in report.reconciled:
            repaired = await engine.machine_by_id(id_)
            paper.line(f"{paper.ink(repaired.name, 'bold')} is {paper.phase(repaired.title)}")
        for id_ in report.unknown:
            unclear = await engine.machine_by_id(id_)
            paper.line(f"{paper.ink(unclear.name, 'bold')} could not be told")

    return await acted(paper, options, one if options.machine else every, makes=not options.machine)
