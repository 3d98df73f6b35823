"""The hash tree of RFC 6962, pure: leaves in, a frontier of perfect subtrees, a root out."""

from collections.abc import Iterable, Sequence
from hashlib import sha256

EMPTY = sha256(b"").digest()
"""The root of the tree without leaves."""
ZERO = bytes(32)
"""Stands for the hash of a stream's record before its first."""


def leaf(canonical: bytes) -> bytes:
    """Hash one entry; the prefix keeps a leaf from being taken for a node."""
    return sha256(b"\x00" + canonical).digest()


def node(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees."""
    return sha256(b"\x01" + left + right).digest()


def grow(size: int, frontier: list[bytes], leaves: Iterable[bytes]) -> int:
    """Append leaves to a frontier in place and return the new size.

    The frontier holds the roots of the perfect subtrees from left to right, one for each bit that is
    set in the size; a new leaf merges with as many of them as the size has trailing ones.
    """
    for one in leaves:
        merged, carry = one, size
        while carry & 1:
            merged = sha256(b"\x01" + frontier.pop() + merged).digest()
            carry >>= 1
        frontier.append(merged)
        size += 1
    return size


def root(frontier: list[bytes]) -> bytes:
    """Fold the frontier, from right to left, into the root of the whole tree."""
    if not frontier:
        return EMPTY
    merged = frontier[-1]
    for left in reversed(frontier[:-1]):
        merged = node(left, merged)
    return merged


class Tree:
    """A tree that only grows; it remembers its frontier, never its leaves."""

    __slots__ = ("frontier", "size")

    def __init__(self, size: int = 0, frontier: Iterable[bytes] = ()) -> None:
        self.size = size
        self.frontier = list(frontier)
        assert size.bit_count() == len(self.frontier), "one subtree for each bit of the size"

    def append(self, leaves: Iterable[bytes]) -> None:
        """Take more leaves."""
        self.size = grow(self.size, self.frontier, leaves)

    def copy(self) -> "Tree":
        """Make a tree that grows on its own."""
        return Tree(self.size, self.frontier)

    @property
    def root(self) -> bytes:
        """The root over all that was appended."""
        return root(self.frontier)

    @property
    def packed(self) -> bytes:
        """The frontier as one byte string, as it is stored."""
        return b"".join(self.frontier)


def unpacked(size: int, frontier: bytes) -> Tree:
    """Read a stored frontier back."""
    return Tree(size, [frontier[at : at + 32] for at in range(0, len(frontier), 32)])


# --- proofs ----------------------------------------------------------------------------------------------


def inclusion(index: int, size: int) -> list[range]:
    """Name the leaves under each node of the proof that a leaf is in a tree, the lowest first."""
    assert 0 <= index < size, "a leaf has a place in its tree"
    begin, end, proof = 0, size, []
    while end - begin > 1:
        split = _split(begin, end)
        if index < split:
            proof.append(range(split, end))
            end = split
        else:
            proof.append(range(begin, split))
            begin = split
    return proof[::-1]


def consistency(first: int, second: int) -> list[range]:
    """Name the leaves under each node of the proof that the tree of one size begins that of another."""
    assert 0 <= first <= second, "a tree only grows"
    if first in {0, second}:
        return []
    begin, end, proof = 0, second, []
    while first != end:
        split = _split(begin, end)
        if first <= split:
            proof.append(range(split, end))
            end = split
        else:
            proof.append(range(begin, split))
            begin = split
    return [*([range(begin, end)] if begin else []), *proof[::-1]]


def _split(begin: int, end: int) -> int:
    """Say where the left subtree ends: it is the largest perfect one that leaves a rest."""
    return begin + (1 << (end - begin - 1).bit_length() - 1)


class Nodes:
    """The nodes over some ranges of leaves, folded while all leaves pass by once, in order."""

    def __init__(self, ranges: Iterable[range]) -> None:
        self._trees = [(leaves, Tree()) for leaves in ranges]
        self.size = 0
        """How many leaves have passed."""

    def take(self, leaves: Sequence[bytes]) -> None:
        """Let leaves pass."""
        for wanted, tree in self._trees:
            begin, end = max(wanted.start - self.size, 0), max(wanted.stop - self.size, 0)
            tree.append(leaves[begin:end])
        self.size += len(leaves)

    @property
    def roots(self) -> list[bytes]:
        """The nodes, in the order in which their ranges were given."""
        assert all(tree.size == len(wanted) for wanted, tree in self._trees), "all leaves have passed"
        return [tree.root for _, tree in self._trees]
