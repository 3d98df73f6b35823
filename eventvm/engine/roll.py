"""The roll: who lives, in the order of their making, and how many are where; kept as machines move."""

from bisect import bisect_left, bisect_right

from eventvm.machine import Machine
from eventvm.views import Counts


class Roll:
    """All living machines by id, counted by lifecycle and phase and by label."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        """Sorted. Those that have left stay until they are half of it, so that leaving costs nothing."""
        self._left: set[str] = set()
        self._phases: dict[tuple[str, str], int] = {}
        self._labels: dict[tuple[str, str], int] = {}

    def __len__(self) -> int:
        return len(self._ids) - len(self._left)

    def shift(self, machine: Machine, phase: str) -> None:
        """Count a machine elsewhere, as it lives on in another phase; most moves are no more than that."""
        phases, name = self._phases, machine.rules.definition.name
        phases[name, machine.phase] -= 1
        phases[name, phase] = phases.get((name, phase), 0) + 1

    def follow(self, before: Machine, after: Machine) -> bool:
        """Let a machine enter, leave, or stand elsewhere, as one event has moved it; say if it lives on."""
        lived, lives = before.living, after.living
        if lived and lives:
            self._recount(before, after)
        elif lived:
            self._leave(before)
        elif lives:
            self.enter(after)
        return lived and lives

    def enter(self, machine: Machine) -> None:
        """Take a machine in that begins to live."""
        self._count_phase(machine, 1)
        self._count_labels(machine, 1)
        if machine.id in self._left:
            self._left.remove(machine.id)
        elif not self._ids or machine.id > self._ids[-1]:
            self._ids.append(machine.id)
        else:
            self._ids.insert(bisect_left(self._ids, machine.id), machine.id)

    def _leave(self, machine: Machine) -> None:
        self._count_phase(machine, -1)
        self._count_labels(machine, -1)
        self._left.add(machine.id)
        if 2 * len(self._left) > len(self._ids):
            self._ids = [one for one in self._ids if one not in self._left]
            self._left.clear()

    def _recount(self, before: Machine, after: Machine) -> None:
        if before.phase != after.phase:
            self._count_phase(before, -1)
            self._count_phase(after, 1)
        if before.spec is not after.spec:
            self._count_labels(before, -1)
            self._count_labels(after, 1)

    def _count_phase(self, machine: Machine, by: int) -> None:
        place = machine.rules.definition.name, machine.phase
        self._phases[place] = self._phases.get(place, 0) + by

    def _count_labels(self, machine: Machine, by: int) -> None:
        for label in machine.spec.labels.items():
            _add(self._labels, label, by)

    def after(self, id: str, count: int) -> list[str]:  # noqa: A002  # the word of the domain
        """Give the next ids after one, at most so many; none only at the end."""
        begin = bisect_right(self._ids, id)
        while some := self._ids[begin : begin + count]:
            if here := [one for one in some if one not in self._left]:
                return here
            begin += count
        return []

    def counts(self) -> Counts:
        """Say how many machines live, by lifecycle and phase and by label."""
        return Counts(_nested(self._phases), _nested(self._labels))


def _add(counts: dict[tuple[str, str], int], key: tuple[str, str], by: int) -> None:
    """Count up or down; labels come and go without end, so what is nothing is not kept."""
    if count := counts.get(key, 0) + by:
        counts[key] = count
    else:
        del counts[key]


def _nested(counts: dict[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (outer, inner), count in counts.items():
        if count:
            nested.setdefault(outer, {})[inner] = count
    return nested
