"""Verification: a log is read once from the beginning, and everything that it says or keeps has to agree.

Hashes and tree, dense positions and versions, what each lifecycle allows, the ledger, names and keys; then
what is kept beside the records, at one moment; and what checkpoints say, the only part that nobody can write
anew who can merely write the file. The first position that is wrong is named.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from msgspec import Struct

from eventvm.audit import stored
from eventvm.audit.checkpoint import Claim, check_origin, check_signed, claimed
from eventvm.audit.rebuild import SOMEBODY
from eventvm.audit.standing import Standing, Suspect
from eventvm.audit.walk import Walk
from eventvm.errors import Closed, EventvmError, LogDamaged, NotSigned
from eventvm.headway import Headway, untold
from eventvm.log import EventLog
from eventvm.logs.signed import notes, refuse_unsigned
from eventvm.record import Record
from eventvm.signing.keys import Keys
from eventvm.signing.note import Checkpoint, Note, unsigned
from eventvm.views import of_machine

PASSED = """
    SELECT position, leaf, stream, version, key FROM records WHERE position > ? AND position <= ?
    ORDER BY position LIMIT ?
"""
PASSED_AT_ONCE = 10_000
STORED, ANCHORED, KNOWN, FOLDED = "the log's key", "the anchor", "the checkpoint", "the kept view"


class Verdict(Struct, frozen=True):
    """What was found to be so."""

    checkpoint: Checkpoint
    """What the log is."""
    machines: int
    """How many of the streams that were read are machines'."""
    note: str
    """The checkpoint as its key has signed it, or as nobody has."""
    signed_by: str
    """The key that has signed it to its end, if that was asked for."""
    since: int
    """The position up to which it was known to be right."""


async def verified(
    log: EventLog, *, keys: Keys = (), anchored: Iterable[Note] = (), since: Note | None = None
) -> Verdict:
    """Verify a log, or what has come since a checkpoint; what is wrong raises with the first bad position.

    With keys it has to be signed to its end by the last of them; checkpoints in an anchor have to be its own.
    """
    path = getattr(log, "path", None)
    if path is None:
        return await _in_memory(log)
    return await file_verified(path, keys=keys, anchored=anchored, since=since)


async def file_verified(
    path: Path, *, keys: Keys = (), anchored: Iterable[Note] = (), since: Note | None = None,
    headway: Headway = untold,
) -> Verdict:  # fmt: skip
    """Verify the log in a file, which somebody else may be writing.

    What is wrong in a part is looked for once more from the beginning: it may follow from what lies before.
    """
    known = Known(keys, tuple(anchored), since)
    if since is not None:
        try:
            return await _verified(path, known, headway, whole=False)
        except EventvmError as problem:
            if problem.exit_code == LogDamaged.exit_code:
                await _verified(path, known, headway, whole=True)
            raise
    return await _verified(path, known, headway, whole=True)


async def _verified(path: Path, known: "Known", headway: Headway, *, whole: bool) -> Verdict:
    log = await _opened(path)
    try:
        return await Verification(log, known, headway, whole=whole).verdict()
    finally:
        await log.close()


async def _opened(path: Path) -> Standing:
    """Open a log; in one that contradicts itself too much for that, the first bad record is looked for."""
    try:
        return await Standing.open(path)
    except LogDamaged as problem:
        found = await _found(path)
        raise found or problem from None


async def _found(path: Path) -> LogDamaged | None:
    suspect = Suspect(path)
    try:
        with suppress(LogDamaged):
            await suspect.holds_log()
        await Walk(suspect).on()
    except LogDamaged as found:
        with suppress(EventvmError):
            return found if found.position <= await suspect.last() else None
    except Closed:
        pass  # it could not even be connected to
    finally:
        await suspect.close()
    return None


class Known(Struct, frozen=True):
    """What whoever verifies has of a log, from elsewhere."""

    keys: Keys
    anchored: tuple[Note, ...]
    since: Note | None


class Verification(Walk):
    """One verification of the log in a file."""

    def __init__(self, log: Standing, known: Known, headway: Headway, *, whole: bool) -> None:
        super().__init__(log, headway=headway)
        self._file = log
        self._keys = known.keys
        self._anchored = known.anchored
        self._since = known.since
        self._whole = whole
        self._passed: stored.Passed = {}
        self._keyed = 0
        """How many of the records that were passed over have a key."""

    async def verdict(self) -> Verdict:
        """Verify, and say what was found."""
        await self._prepare()
        if self._since is not None and not self._whole:
            await self._skip(self._since.checkpoint.size)
        await self.on()
        await self._file.hold()
        await self.on()
        await self._stored()
        return await self._said()

    async def seen(self, records: Sequence[Record]) -> None:
        await stored.check_keys(
            self._file, [(one.key, one.position) for one in records if one.key is not None]
        )

    async def _prepare(self) -> None:
        """Gather, at one moment, what others say that the log is or was."""
        await self._file.hold()
        self._origin = await stored.check_origin(self._file)
        kept = await notes(self._file.ask)
        views = await stored.kept_views(self._file)
        await self._file.release()
        known = [self._since] if self._since is not None else []
        for given, by in ((kept, STORED), (self._anchored, ANCHORED), (known, KNOWN)):
            check_origin(given, self._origin, by)
            self.claims += [claimed(note, by, outside=by != STORED) for note in given]
        check_signed(self._anchored, self._keys, ANCHORED)
        self.claims += [
            Claim(one.tree.size, one.tree.root, f"{FOLDED} {view}") for view, one in views.items()
        ]
        self.claims.sort(key=lambda claim: claim.size)
        for view, one in views.items():
            mark = partial(stored.check_kept, self._file, view, one, self.rebuild, whole=self._whole)
            self.marks.setdefault(one.tree.size, []).append(mark)

    async def _skip(self, size: int) -> None:
        """Let leaves pass whose records were verified before; the checkpoint says if they are the same."""
        while self.tree.size < size:
            rows = await self._file.ask(PASSED, (self.tree.size, size, PASSED_AT_ONCE))
            if not rows:
                break
            await self._pass(rows)
            self.headway("reading leaves", self.tree.size, size)
        self.folded = self.tree.size
        self.rebuild.before = SOMEBODY
        await self.rebuild.define()

    async def _pass(self, rows: Sequence[tuple[int, bytes, int, int, str | None]]) -> None:
        for place, (position, *_) in enumerate(rows, start=self.tree.size + 1):
            if position != place:
                raise LogDamaged(f"position {place} is missing", position=place)
        self.claim([leaf for _, leaf, *_ in rows])
        self._passed.update({stream: (version, position) for position, _, stream, version, _ in rows})
        used = [(key, position) for position, *_, key in rows if key is not None]
        await stored.check_keys(self._file, used)
        self._keyed += len(used)

    async def _stored(self) -> None:
        """Compare what is kept beside the records."""
        log, rebuild = self._file, self.rebuild
        if self.claims:
            claim = self.claims[0]
            raise LogDamaged(
                f"the log ends at {self.tree.size}; {claim.by} knows it at {claim.size}",
                position=self.tree.size + 1,
            )
        await stored.check_heads(log, rebuild, self._passed)
        await stored.check_names(log, rebuild, whole=self._whole)
        await stored.check_spare_keys(log, self._keyed + rebuild.keyed)
        await stored.check_layout(log)
        await stored.check_pages(log)

    async def _said(self) -> Verdict:
        head = Checkpoint(self._origin, self.tree.size, self.tree.root)
        kept, signed_by = await notes(self._file.ask), ""
        if self._keys:
            signed_by = self._signed(head, kept)
        written = next((note.written for note in kept if note.checkpoint == head), unsigned(head))
        machines = sum(map(of_machine, self.rebuild.heads))
        known = self._since.checkpoint.size if self._since is not None else 0
        return Verdict(head, machines, written, signed_by, known)

    def _signed(self, head: Checkpoint, kept: list[Note]) -> str:
        newest = self._keys[-1]
        if (by := refuse_unsigned(head, kept, self._keys)) not in {None, newest}:
            raise NotSigned(
                f"{newest.title} has taken the place of {by and by.title}, and has not signed yet"
            )
        return by.title if by is not None else ""


class MemoryWalk(Walk):
    """A walk through a log that has no file: what it keeps is asked for through its port."""

    async def seen(self, records: Sequence[Record]) -> None:
        for record in records:
            found = await self.log.recall(record.key) if record.key is not None else record
            if found is None or found.position != record.position:
                raise LogDamaged(f"the key {record.key!r} leads elsewhere", position=record.position)

    async def names(self) -> None:
        """Compare whose each name is."""
        for name, told in self.rebuild.names.items():
            if await self.log.find(name) != (told if told.stream else None):
                raise LogDamaged(f"the name {name!r} is {told.stream}'s, and the log says otherwise")


async def _in_memory(log: EventLog) -> Verdict:
    walk = MemoryWalk(log)
    await walk.on()
    await walk.names()
    head = Checkpoint("memory", walk.tree.size, walk.tree.root)
    return Verdict(head, sum(map(of_machine, walk.rebuild.heads)), unsigned(head), "", 0)
