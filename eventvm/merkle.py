"""The hash tree of RFC 6962, pure: leaves in, a frontier of perfect subtrees, a root out."""

from collections.abc import Iterable
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
