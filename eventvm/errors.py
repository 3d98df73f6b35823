"""All that eventvm raises on purpose, each with its HTTP status, its exit code and often a hint.

A refusal is raised by ``decide`` and has changed nothing. A failure of the world is an event first
and an exception second. A bug is an assertion and never one of these.
"""

from typing import Any, ClassVar


def plain(text: object) -> str:
    """Write text so that it cannot steer a terminal or turn a line around: the unprintable is escaped."""
    words = str(text)
    if words.isprintable():
        return words
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in words)


class EventvmError(Exception):
    """The root of everything that eventvm raises on purpose; whatever it quotes, it shows plain."""

    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    hint: str = ""

    def __str__(self) -> str:
        return plain(super().__str__())


# --- refusals: the command was not taken, and nothing at all has changed ---------------------------


class Refused(EventvmError):
    """The command is not taken in this phase; nothing has changed and nothing was written."""

    code: ClassVar[str] = "refused"
    http_status = 409
    exit_code = 5
    sentence: ClassVar[str] = "{machine} is {phase}: {command} is refused"
    leading_nowhere: ClassVar[str] = ""
    """The sentence where a command leads to no phase by name."""

    def __init__(self, *, machine: str, phase: str, command: str, to: str = "", hint: str = "") -> None:
        """Keep the fields; the message is made from them."""
        self.machine = machine
        self.phase = self.from_ = phase
        self.command = command
        self.to = to
        self.hint = hint or self.hint
        sentence = self.sentence if to or not self.leading_nowhere else self.leading_nowhere
        super().__init__(sentence.format(machine=machine, phase=phase, command=command, to=to))


class InvalidTransition(Refused):
    """The lifecycle has no such way from here."""

    code = "invalid_transition"
    sentence = "invalid transition of {machine}: {phase} to {to} ({command})"
    leading_nowhere = "invalid transition of {machine}: {phase} does not take {command}"


class NotFound(Refused):
    """There is no such machine, or its life is over."""

    code = "not_found"
    http_status = 404
    exit_code = 6
    sentence = "no living machine {machine}: {command} found it {phase}"
    hint = "its history stays readable; `create` begins a new life under a free name"


class AlreadyExists(Refused):
    """The machine exists, or its name is held by another."""

    code = "already_exists"
    sentence = "{machine} already exists and is {phase}: {command} is refused"
    hint = "choose another name, or look at the machine that holds this one"


class ForceRequired(Refused):
    """The machine is alive; ending it needs an explicit force."""

    code = "force_required"
    sentence = "{machine} is {phase}: {command} needs force, because it would end a living machine"
    hint = "stop it first, or repeat with force"


class StillAnswers(Refused):
    """The record says that the machine is down, yet something of it still answers."""

    code = "still_answers"
    sentence = "{machine} is recorded as {phase}, yet it still answers: {command} is refused"
    hint = "reconcile it to bring the record up to date, then stop it"


class Inconclusive(Refused):
    """Nobody can tell whether the machine lives; unknown is never taken for an answer."""

    code = "inconclusive"
    http_status = 503
    sentence = "{machine} is {phase} and its probe was inconclusive: {command} is refused"
    hint = "try again when the provider answers, or attest what you know with a reason"


class Quarantined(Refused):
    """What is left of the machine is not to be trusted until it is restored or destroyed."""

    code = "quarantined"
    sentence = "{machine} is {phase} and quarantined: {command} is refused"
    hint = "only reconcile, attest, amend, restore and destroy are taken"


class Unsupported(Refused):
    """The provider or the lifecycle cannot do this at all."""

    code = "unsupported"
    http_status = 501
    sentence = "{machine} cannot {command}: {to}"


class SnapshotAlreadyExists(Refused):
    """Snapshot names are unique for one machine."""

    code = "snapshot_already_exists"
    sentence = "{machine} already has a snapshot named {to}: {command} is refused"


class SnapshotNotFound(Refused):
    """The machine has no snapshot of this name."""

    code = "snapshot_not_found"
    http_status = 404
    exit_code = 6
    sentence = "{machine} has no snapshot named {to}: {command} is refused"


class CorrectionRefused(Refused):
    """The correction names no entry of this ledger, or would count a second twice."""

    code = "correction_refused"
    http_status = 422
    sentence = "the ledger of {machine} refuses this correction: {to}"


REFUSALS: dict[str, type[Refused]] = {
    refusal.code: refusal
    for refusal in (
        InvalidTransition,
        NotFound,
        AlreadyExists,
        ForceRequired,
        StillAnswers,
        Inconclusive,
        Quarantined,
        Unsupported,
        SnapshotAlreadyExists,
        SnapshotNotFound,
    )
}
"""The refusals that a lifecycle's table may name."""


class BadInput(EventvmError, ValueError):
    """What was given is malformed; the message says what would be taken."""

    http_status = 422
    exit_code = 2


class DefinitionRefused(EventvmError, ValueError):
    """A lifecycle definition contradicts itself; the message names the row."""

    http_status = 422
    exit_code = 2

    def __init__(self, lifecycle: str, row: str, why: str) -> None:
        """Keep the row that has to be mended."""
        self.lifecycle = lifecycle
        self.row = row
        super().__init__(f"lifecycle {lifecycle!r}, {row}: {why}")


class BadEntryPoint(EventvmError):
    """An installed package offers something under this name that cannot be used."""

    hint = "mend or remove the package and open the log again, or give eventvm.open an object of this name"

    def __init__(self, group: str, name: str, why: str) -> None:
        """Keep the group and the name that were asked for."""
        self.group = group
        self.name = name
        self.why = why
        super().__init__(f"the entry point {name!r} of {group} cannot be used: {why}")

    def again(self) -> "BadEntryPoint":
        """Make the same error afresh, with the same cause: one exception is raised once."""
        same = BadEntryPoint(self.group, self.name, self.why)
        same.__cause__ = self.__cause__
        return same


class WrongData(EventvmError, ValueError):
    """The data that was recorded with a move does not fit the type that it is read as."""

    hint = "give fields that came later a default, or read the record as the type that it was written with"

    def __init__(self, move: str, kind: str, why: str) -> None:
        """Keep the move and the type."""
        self.move = move
        self.kind = kind
        super().__init__(f"the data of {move} is no {kind}: {why}")


# --- outcomes: the command was taken, and the world answered otherwise -----------------------------


class EffectFailed(EventvmError):
    """The effect was tried and failed; the failure is recorded and the receipt points at it."""

    http_status = 502
    hint = "`show` names the last observation and the next safe command"

    def __init__(self, receipt: Any, fault: str) -> None:
        """Keep the receipt of the recorded failure."""
        self.receipt = receipt
        self.fault = fault
        super().__init__(f"{receipt.name} is {receipt.phase}: {fault}")


class OutcomeUnknown(EventvmError):
    """Nobody knows what became of the effect; its request stays open and the next command probes first."""

    http_status = 504
    hint = "reconcile when the provider answers, or attest what you know with a reason"

    def __init__(self, receipt: Any, fault: str) -> None:
        """Keep the receipt of the request that is still open."""
        self.receipt = receipt
        self.fault = fault
        super().__init__(f"the outcome for {receipt.name} ({receipt.phase}) is unknown: {fault}")


class OperationInProgress(EventvmError):
    """Another request for this machine is open."""

    http_status = 409
    exit_code = 5
    hint = "wait for it, or use force to abandon it"

    def __init__(self, machine: str, request: str, position: int) -> None:
        """Keep the position of the request that is in the way."""
        self.machine = machine
        self.request = request
        self.position = position
        super().__init__(f"{machine}: {request} (requested at position {position}) is under way")


class KeyConflict(EventvmError):
    """This key was used for another command; a key belongs to one command for ever."""

    http_status = 409
    exit_code = 5
    hint = "a new attempt needs a new key"

    def __init__(self, key: str, position: int) -> None:
        """Keep the position that holds the key."""
        self.key = key
        self.position = position
        super().__init__(f"key {key!r} was used for another command at position {position}")


# --- waiting --------------------------------------------------------------------------------------


class Unreachable(EventvmError):
    """Nothing that is under way can lead to what is waited for."""

    http_status = 409
    exit_code = 4

    def __init__(self, *, machine: str, phase: str, goals: tuple[str, ...], record: Any) -> None:
        """Keep the record that ended the hope."""
        self.machine = machine
        self.phase = phase
        self.goals = goals
        self.record = record
        self.reason = getattr(getattr(record, "event", None), "reason", "")
        ended = f" since position {record.position}" if record is not None else ""
        because = f" ({self.reason})" if self.reason else ""
        super().__init__(
            f"{machine} is {phase}{ended}{because}: nothing under way leads to {' or '.join(goals)}"
        )


class WaitTimeout(EventvmError, TimeoutError):
    """The wait took longer than its caller allowed; the machine is unharmed."""

    http_status = 408
    exit_code = 124


# --- the log --------------------------------------------------------------------------------------


class LogError(EventvmError):
    """Something about the log itself."""

    http_status = 503


class StaleVersion(LogError):
    """The stream has moved on since the writer looked; nothing was written."""

    http_status = 412
    exit_code = 5

    def __init__(self, stream: str, expected: int, actual: int) -> None:
        """Keep both versions."""
        self.stream = stream
        self.expected = expected
        self.actual = actual
        super().__init__(f"stream {stream} is at version {actual}, not at {expected}")


class NameTaken(LogError):
    """Another stream holds this name."""

    http_status = 409
    exit_code = 5

    def __init__(self, name: str, holder: str) -> None:
        """Keep the holder's stream."""
        self.name = name
        self.holder = holder
        super().__init__(f"the name {name!r} is held by {holder}")


class KeyTaken(LogError):
    """A record with this key is in the log already."""

    http_status = 409
    exit_code = 5

    def __init__(self, key: str) -> None:
        """Keep the key."""
        self.key = key
        super().__init__(f"the key {key!r} is in the log already")


class LogHeld(LogError):
    """Another engine holds this log."""

    hint = "one file has one engine: use that one, stop it, or open the log read-only"

    def __init__(self, path: str, holder: str) -> None:
        """Keep who holds it."""
        self.path = path
        self.holder = holder
        super().__init__(f"{path} is held by {holder}")


class NotALog(LogError):
    """The file is not an eventvm log."""

    exit_code = 2
    hint = "name the file of a log with --log, or in EVENTVM_URL; a log begins with its first machine"


class LogTooNew(LogError):
    """The file was written by a newer release."""

    exit_code = 2
    hint = "upgrade eventvm; the file was not touched"


class LogTooOld(LogError):
    """The file was written by an older release, and only reading it does not bring it up to date."""

    exit_code = 2
    hint = "open it once with an engine: it keeps a copy beside the file, then migrates it"


class LogDamaged(LogError):
    """The log contradicts its own hashes."""

    exit_code = 7
    hint = "keep the file as it is and restore the last good backup beside it"

    def __init__(self, message: str, *, position: int = 0) -> None:
        """Keep the first bad position, 0 when it is not one record's."""
        self.position = position
        super().__init__(message)


class NotSigned(LogError):
    """The log is not signed to its end by the key that was named."""

    exit_code = 7
    hint = (
        "look with `eventvm log verify` whether what nobody signed is what it should be; "
        "`eventvm log sign` then vouches for it"
    )

    def __init__(self, message: str, *, position: int = 0, hint: str = "") -> None:
        """Keep the first position that no signature covers."""
        self.position = position
        self.hint = hint or self.hint
        super().__init__(message)


class NetworkFilesystem(LogError):
    """The file lies on a file system of another host, where locks and shared memory promise nothing."""

    exit_code = 2
    hint = (
        "put the log on a local disk; if you know that this one keeps locks and mapped memory as a local "
        "disk does, set EVENTVM_NETWORK_FILESYSTEM=allow"
    )


class Overloaded(LogError):
    """There is no more room for this; nothing that was taken is lost, and nothing of this was."""

    hint = "wait until some of it is done, and try again"

    def __init__(self, what: str) -> None:
        """Keep what there is no more room for."""
        self.what = what
        super().__init__(f"there is room for {what}, and all of it is taken")


class LogUnavailable(LogError):
    """The log could not be written; nothing of the refused append is in it."""

    hint = "mend the cause (see the message) and send the command again"


class CommitUnknown(LogError):
    """A commit failed and the log could not be reopened to look whether it happened."""

    hint = "open the log again and look: it knows"


class UnknownEvent(LogError):
    """A fold met an event type that this release does not know; it stops rather than skip."""

    exit_code = 7
    hint = "the log was written by a newer release: upgrade eventvm"

    def __init__(self, tag: str, *, position: int = 0) -> None:
        """Keep where it stands."""
        self.tag = tag
        self.position = position
        super().__init__(f"unknown event type {tag!r} at position {position}")


class IllegalEvent(LogError):
    """A record says what its lifecycle cannot do."""

    exit_code = 7

    def __init__(self, message: str, *, position: int = 0) -> None:
        """Keep where it stands."""
        self.position = position
        super().__init__(f"{message} (position {position})" if position else message)


class BadExport(LogError):
    """A file that was to be imported is not what was exported; nothing of it was taken in."""

    exit_code = 7
    http_status = 422
    hint = "nothing was imported; export it again, or get an unbroken copy"

    def __init__(self, line: int, why: str) -> None:
        """Keep the line, counted from 1."""
        self.line = line
        self.why = why
        super().__init__(f"line {line}: {why}")


class NoSuchMachine(EventvmError):
    """The log tells of no machine of this name, as far as it was asked."""

    http_status = 404
    exit_code = 6
    hint = "`eventvm list --all` names every machine that there is; `--id` takes an id"

    def __init__(self, name: str) -> None:
        """Keep what was asked for."""
        self.name = name
        super().__init__(f"the log tells of no machine {name!r}")


class NoSuchLifecycle(EventvmError):
    """No lifecycle of this name is built in, installed or recorded."""

    http_status = 404
    exit_code = 6
    hint = "`eventvm lifecycle list` names every lifecycle that there is"

    def __init__(self, name: str) -> None:
        """Keep what was asked for."""
        self.name = name
        super().__init__(f"there is no lifecycle {name!r}")


class WrongLoop(EventvmError, RuntimeError):
    """The engine was used from another event loop, another thread or after a fork."""

    hint = "use it where it was opened; from synchronous code through anyio's portal"


class Closed(EventvmError, RuntimeError):
    """The engine was left; open the log again."""

    http_status = 503

    def __init__(self, message: str = "this engine was left; open the log again") -> None:
        """Say what was closed."""
        super().__init__(message)
