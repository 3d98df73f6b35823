"""The hash tree of RFC 6962."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventvm import merkle

LEAVES = [
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
ENTRIES = st.lists(st.binary(max_size=40), max_size=70)


def naive(entries):
    """The definition of RFC 6962, section 2.1, word for word."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    split = 1
    while split * 2 < len(entries):
        split *= 2
    return sha256(b"\x01" + naive(entries[:split]) + naive(entries[split:])).digest()


def grown(entries):
    tree = merkle.Tree()
    tree.append(map(merkle.leaf, entries))
    return tree


@pytest.mark.parametrize("size", range(1, 9))
def test_the_known_leaves_have_the_known_roots(size):
    """The test vectors that every implementation of RFC 6962 shares."""
    assert grown([bytes.fromhex(one) for one in LEAVES[:size]]).root.hex() == ROOTS[size - 1]


def test_the_empty_tree_has_the_hash_of_nothing():
    """And no frontier."""
    assert merkle.Tree().root == merkle.EMPTY == sha256(b"").digest()
    assert merkle.Tree().packed == b""


@given(ENTRIES)
def test_the_root_is_that_of_the_definition(entries):
    """The frontier is only a faster way to the same hash."""
    assert grown(entries).root == naive(entries)


@given(ENTRIES, st.lists(st.integers(0, 70)))
def test_the_root_does_not_depend_on_the_batches(entries, cuts):
    """One by one or all at once."""
    tree, at = merkle.Tree(), 0
    for cut in [*sorted(cut for cut in cuts if cut <= len(entries)), len(entries)]:
        tree.append(merkle.leaf(entry) for entry in entries[at:cut])
        at = cut
        assert tree.root == naive(entries[:cut])
        assert tree.size == cut


@given(ENTRIES, ENTRIES)
def test_a_stored_frontier_grows_like_the_tree_it_came_from(before, after):
    """Thirty-two bytes for each bit of the size are all that has to be kept."""
    tree = grown(before)
    assert len(tree.packed) == 32 * len(before).bit_count()
    again = merkle.unpacked(tree.size, tree.packed)
    again.append(map(merkle.leaf, after))
    assert again.root == naive(before + after)


@given(ENTRIES)
def test_a_copy_grows_on_its_own(entries):
    """What is tried on the copy does not show in the original."""
    tree = grown(entries)
    copy = tree.copy()
    copy.append([merkle.leaf(b"more")])
    assert tree.root == naive(entries)
    assert copy.root == naive([*entries, b"more"])


def test_a_frontier_that_does_not_fit_its_size_is_a_bug():
    """One subtree for each bit, neither more nor fewer."""
    with pytest.raises(AssertionError, match="one subtree for each bit"):
        merkle.Tree(3, [merkle.ZERO])


def test_a_leaf_cannot_be_taken_for_a_node():
    """Their prefixes differ."""
    left, right = merkle.leaf(b"a"), merkle.leaf(b"b")
    assert merkle.leaf(left + right) != merkle.node(left, right)
