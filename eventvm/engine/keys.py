"""Keys: what an earlier use of a key has led to, read back from the log."""

from eventvm import events
from eventvm.engine.cells import Cells
from eventvm.engine.receipt import Receipt
from eventvm.engine.turn import Turn, digest
from eventvm.errors import EffectFailed, EventvmError, OutcomeUnknown
from eventvm.events import Failure, Unknown
from eventvm.machine import Machine, by_attestation
from eventvm.record import Record
from eventvm.views import tag


async def digest_then(cells: Cells, turn: Turn, record: Record) -> bytes:
    """Digest the command under the name that the machine had when the key was used."""
    if record.version == 1 or record.stream != turn.cell.machine.id:
        return turn.digest
    before = await cells.read(record.stream, until=record.position - 1)
    return digest(before.name, turn.command, before.rules.name)


async def outcome(cells: Cells, asked: Record) -> tuple[Machine, Record]:
    """Find the record that closed what a key asked for, or the last that was told with it."""
    found: tuple[Machine, Record] | None = None
    async for _, record, machine in cells.lived(asked.stream):
        if found is not None and not _belongs(record, found[1], asked):
            break
        if found is not None or (record.position >= asked.position and _closed(machine, asked)):
            found = machine, record
    assert found is not None, "what a key asked for is closed by now"
    return found


def failure(receipt: Receipt, machine: Machine, asked: Record, closing: Record) -> EventvmError | None:
    """Say again what a key's first caller was told of an outcome that was no success."""
    event = closing.event
    if isinstance(event, events.Abandoned):
        return OutcomeUnknown(receipt, f"it was abandoned: {event.reason}")
    if isinstance(event, Failure):
        return EffectFailed(receipt, event.fault.message)
    if isinstance(asked.event, events.Requested):
        effect = machine.rules.definition.effects[asked.event.effect]
        if tag(closing) in {step.failed for step in effect}:
            return EffectFailed(receipt, closing.event.reason)  # type: ignore[union-attr]
    return None


def _closed(machine: Machine, asked: Record) -> bool:
    return machine.request is None or machine.request.position != asked.position


def _belongs(record: Record, last: Record, asked: Record) -> bool:
    """Say whether a record was told in one append with an attestation."""
    event = record.event
    return (
        isinstance(asked.event, events.Attested)
        and not isinstance(event, events.Attested | Unknown)
        and (record.position, record.recorded_at) == (last.position + 1, asked.recorded_at)
        and (isinstance(event, events.Abandoned) or by_attestation(event))
    )
