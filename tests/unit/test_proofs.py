"""Proofs of the hash tree: made by the package, checked by the one file that shares nothing with it."""

import ast
import random
import sys
from pathlib import Path

import pytest

from eventvm import merkle
from eventvm.audit import offline
from eventvm.audit.offline import consistent, included

MOST = 128
HASHED = [merkle.leaf(number.to_bytes(2, "big")) for number in range(128)]
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
KNOWN = [merkle.leaf(bytes.fromhex(one)) for one in LEAVES]
A = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
B = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
C = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
D = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
E = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
F = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"


def root(leaves):
    tree = merkle.Tree()
    tree.append(leaves)
    return tree.root


ROOT = [root(HASHED[:size]) for size in range(129)]
KNOWN_ROOT = [root(KNOWN[:size]) for size in range(9)]
INCLUSIONS = {
    (0, 8): [A, B, C], (5, 8): [D, E, KNOWN_ROOT[4].hex()], (2, 3): [KNOWN_ROOT[2].hex()],
    (1, 5): [KNOWN_ROOT[1].hex(), B, D], (0, 1): [],
}  # fmt: skip
CONSISTENCIES = {(1, 1): [], (1, 8): [A, B, C], (6, 8): [F, E, KNOWN_ROOT[4].hex()], (2, 5): [B, D]}


def nodes(ranges, leaves=HASHED, pages=7):
    """Fold what a proof is made of, the leaves coming in pages."""
    passing = merkle.Nodes(ranges)
    for at in range(0, len(leaves), pages):
        passing.take(leaves[at : at + pages])
    return passing.roots


@pytest.mark.parametrize("place", INCLUSIONS)
def test_the_known_leaves_have_the_known_inclusion_proofs(place):
    """The test vectors that every implementation of RFC 6962 shares."""
    index, size = place
    proof = nodes(merkle.inclusion(index, size), KNOWN)
    assert [one.hex() for one in proof] == INCLUSIONS[place]
    assert included(KNOWN[index], index, size, proof, KNOWN_ROOT[size])


@pytest.mark.parametrize("sizes", CONSISTENCIES)
def test_the_known_leaves_have_the_known_consistency_proofs(sizes):
    """The test vectors that every implementation of RFC 6962 shares."""
    proof = nodes(merkle.consistency(*sizes), KNOWN)
    assert [one.hex() for one in proof] == CONSISTENCIES[sizes]
    old, new = (KNOWN_ROOT[size] for size in sizes)
    assert consistent(*sizes, proof, old, new)


def mutations(proof, chance):
    """Change a proof in every way that is no proof: each node, one too few, one too many, another order."""
    for at, one in enumerate(proof):
        bit = chance.randrange(256)
        flipped = bytearray(one)
        flipped[bit // 8] ^= 1 << bit % 8
        yield [*proof[:at], bytes(flipped), *proof[at + 1 :]]
        yield [*proof[:at], *proof[at + 1 :]]
        yield [*proof[:at], one, one, *proof[at + 1 :]]
    yield [*proof, merkle.ZERO]
    yield [merkle.ZERO, *proof]
    for at in range(len(proof) - 1):
        yield [*proof[:at], proof[at + 1], proof[at], *proof[at + 2 :]]


@pytest.mark.parametrize("size", range(1, MOST + 1))
def test_every_leaf_of_every_tree_is_proven_and_no_mutation_is(size):
    """Whatever the size; another leaf, another place, another size and another root are no more proven."""
    chance = random.Random(size)
    for index in range(size):
        proof = nodes(merkle.inclusion(index, size), HASHED[:size], 64)
        leaf = HASHED[index]
        assert included(leaf, index, size, proof, ROOT[size])
        assert not any(included(leaf, index, size, other, ROOT[size]) for other in mutations(proof, chance))
        assert not included(HASHED[(index + 1) % 128], index, size, proof, ROOT[size])
        assert not included(leaf, index ^ 1, size, proof, ROOT[size])
        assert not included(leaf, index + size, size, proof, ROOT[size])
        assert not included(leaf, -1, size, proof, ROOT[size])
        assert not included(leaf, index, size, proof, ROOT[size - 1])


@pytest.mark.parametrize("second", range(MOST + 1))
def test_every_tree_is_shown_to_begin_every_larger_one_and_no_mutation_is(second):
    """From size 0 on; with either root changed, or the sizes turned around, nothing is shown."""
    chance = random.Random(second)
    for first in range(second + 1):
        proof = nodes(merkle.consistency(first, second), HASHED[:second], 64)
        old, new = ROOT[first], ROOT[second]
        assert consistent(first, second, proof, old, new)
        assert not any(consistent(first, second, other, old, new) for other in mutations(proof, chance))
        assert not consistent(first, second, proof, ROOT[first + 1] if first < 128 else ROOT[0], new)
        assert first == 0 or not consistent(first, second, proof, old, ROOT[second - 1])
        assert first == second or not consistent(second, first, proof, new, old)


def test_the_empty_tree_begins_every_other_and_only_it():
    """There is nothing to prove, so whatever is offered as a proof is none."""
    assert consistent(0, 5, [], merkle.EMPTY, ROOT[5])
    assert not consistent(0, 5, [], ROOT[1], ROOT[5])
    assert not consistent(0, 5, [ROOT[5]], merkle.EMPTY, ROOT[5])


def test_a_node_of_the_tree_cannot_be_passed_off_as_a_leaf():
    """A proof that is one node short would fit the inner node; its prefix gives it away."""
    proof = nodes(merkle.inclusion(0, 4), HASHED[:4])
    inner = merkle.node(HASHED[0], HASHED[1])
    assert included(inner, 0, 2, proof[1:], ROOT[4])  # a tree of two such leaves, which nobody has signed
    assert not included(inner, 0, 4, proof[1:], ROOT[4])


def test_a_proof_needs_no_more_than_the_leaves_once_in_order():
    """What has not passed yet cannot be asked for."""
    passing = merkle.Nodes(merkle.inclusion(0, 4))
    passing.take(HASHED[:3])
    with pytest.raises(AssertionError, match="all leaves have passed"):
        _ = passing.roots


def test_the_offline_verifier_imports_nothing_but_python_and_cryptography():
    """Whoever does not trust us reads one file, and runs it elsewhere."""
    tree = ast.parse(Path(offline.__file__).read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [one.name for one in node.names] if isinstance(node, ast.Import)
            else [node.module or "."] if isinstance(node, ast.ImportFrom)
            else []
        )
    }  # fmt: skip
    assert imported - sys.stdlib_module_names == {"cryptography"}
    assert not {"importlib", "runpy", "subprocess"} & imported
