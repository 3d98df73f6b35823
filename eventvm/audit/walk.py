"""A walk through a log: the hashes of a page, what others claim of it, then what each record says."""

from collections.abc import Awaitable, Callable, Iterable, Sequence

from eventvm.audit.checkpoint import Claim
from eventvm.audit.rebuild import Rebuild
from eventvm.errors import LogDamaged
from eventvm.headway import Headway, untold
from eventvm.log import PAGE, EventLog, Replay
from eventvm.merkle import Tree
from eventvm.record import Record

Mark = Callable[[], Awaitable[None]]
"""Called when everything up to a position has been folded."""


class Walk:
    """Goes on from wherever it stands to the present end of the log, as often as it is asked to."""

    def __init__(self, log: EventLog, claims: Iterable[Claim] = (), headway: Headway = untold) -> None:
        self.log = log
        self.headway = headway
        self.rebuild = Rebuild(log)
        self.tree = Tree()
        self.claims = sorted(claims, key=lambda claim: claim.size)
        """Those that were not come to yet."""
        self.marks: dict[int, list[Mark]] = {}
        self.folded = 0
        """The position up to which all was found right."""
        self.agreed = 0
        """The last size at which somebody outside was found to be right."""

    async def on(self) -> None:
        """Go on to the end; what is wrong raises with its position, the first of all that is wrong."""
        self.claim(())  # somebody may know the log when it was empty
        try:
            await self._on(PAGE)
        except LogDamaged as problem:
            if self.tree.size != self.folded:
                raise
            await self._on(1)  # record by record: what is before the damage is judged too
            raise problem from None

    async def _on(self, limit: int) -> None:
        replay = Replay(self.log, self.tree, limit)
        try:
            async for records in replay:
                await self._page(records)
                self.headway("verifying", self.folded, replay.until)
        except LogDamaged as problem:
            if problem.position or self.tree.size != self.folded or self.folded >= replay.until:
                raise
            raise LogDamaged(str(problem), position=self.folded + 1) from problem

    async def _page(self, records: Sequence[Record]) -> None:
        self.claim([record.leaf for record in records])
        for record in records:
            await self._take(record)
        await self.seen(records)
        self.folded = self.tree.size

    async def _take(self, record: Record) -> None:
        await self.rebuild.take(record)
        if record.position in self.marks:
            for mark in self.marks.pop(record.position):
                await mark()

    async def seen(self, records: Sequence[Record]) -> None:
        """Look at records once more, all of a page together."""

    def claim(self, leaves: Sequence[bytes]) -> None:
        """Let the tree grow, and compare it with each claim on the way."""
        end = self.tree.size + len(leaves)
        while self.claims and self.claims[0].size <= end:
            claim, at = self.claims[0], self.tree.size
            self.tree.append(leaves[: claim.size - at])
            leaves = leaves[claim.size - at :]
            self._compare(claim)
            self.claims.pop(0)
        self.tree.append(leaves)

    def _compare(self, claim: Claim) -> None:
        if self.tree.root != claim.root:
            raise LogDamaged(
                f"what is between positions {self.agreed + 1} and {claim.size} is not what {claim.by} knows",
                position=self.agreed + 1,
            )
        if claim.outside:
            self.agreed = claim.size
