"""A log that stands still while it is audited, read on a connection of the auditor's own."""

from eventvm.errors import LogDamaged
from eventvm.log import PAGE
from eventvm.logs.sqlite_reader import SqliteReader
from eventvm.merkle import ZERO, Tree
from eventvm.record import Page, leaf_of

BEYOND = 1 << 62
"""A size that no log has."""


class Standing(SqliteReader):
    """A reader that believes no stream: each of its records is checked against its leaf, along the chain."""

    _above = ZERO

    async def read(self, *, stream: str | None = None, after: int = 0, limit: int = PAGE) -> Page:
        """Read a page; a stream is read from its beginning, page after page."""
        page = await super().read(stream=stream, after=after, limit=limit)
        if stream is not None:
            self._check(page, self._above if after else ZERO)
        return page

    def _check(self, page: Page, above: bytes) -> None:
        for record in page.records:
            if leaf_of(record, above) != record.leaf:
                raise LogDamaged(
                    f"the record at position {record.position} is not what was hashed",
                    position=record.position,
                )
            above = record.leaf
        self._above = above


class Suspect(Standing):
    """A log whose end cannot be believed: its records as they are there, whatever its tree says."""

    async def _refresh(self) -> None:
        self._tree = Tree(BEYOND, [ZERO])

    async def last(self) -> int:
        """Give the position of the last record that is there."""
        ((last,),) = await self.ask("SELECT coalesce(max(position), 0) FROM records")
        return int(last)
