from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ledger.vectors import public
from twinward.errors import Tampered
from twinward.ledger.proofs import check_consistency, check_inclusion, consistency, inclusion, is_subtree
from twinward.ledger.tree import Edge, leaf_hash, range_root

SIZES = st.integers(1, 260)
LEAVES = [leaf_hash(b"%d" % at) for at in range(260)]


def node(level: int, index: int) -> bytes:
    return Edge().extended(LEAVES[index << level : (index + 1) << level]).root()


def root(start: int, end: int) -> bytes:
    return range_root(start, end, node)


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)


def _check(name: str, vector: dict[str, Any]) -> None:
    proof = [_bytes(text) for text in vector["proof"] or []]
    match name.split("/")[0]:
        case "consistency":
            check_consistency(
                0, vector["size1"], vector["size2"], proof, _bytes(vector["root1"]), _bytes(vector["root2"])
            )
        case "subtreeconsistency":
            check_consistency(
                vector["start"], vector["end"], vector["size"], proof, _bytes(vector["root1"]), _bytes(vector["root2"])
            )
        case "inclusion":
            leaf, size = _bytes(vector["leafHash"]), vector["treeSize"]
            check_inclusion(leaf, vector["leafIdx"], 0, size, proof, _bytes(vector["root"]))
        case "subtreeinclusion":
            leaf, start, end = _bytes(vector["leafHash"]), vector["start"], vector["end"]
            check_inclusion(leaf, vector["leafIdx"], start, end, proof, _bytes(vector["root"]))
        case other:
            raise AssertionError(f"vectors of a sort we do not know: {other}")


def test_public_merkle_vectors() -> None:
    vectors = public("merkle/vectors.json.gz")
    assert len(vectors) >= 349
    wrong = []
    for name, vector in vectors.items():
        try:
            _check(name, vector)
            refused = False
        except Tampered:
            refused = True
        if refused != vector["wantErr"]:
            wrong.append(name)
    assert wrong == []


@given(SIZES, st.data())
def test_every_leaf_is_provably_in_its_tree(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion(index, 0, size, node)
    check_inclusion(LEAVES[index], index, 0, size, proof, root(0, size))
    with pytest.raises(Tampered):
        check_inclusion(LEAVES[index], index, 0, size, [*proof, LEAVES[0]], root(0, size))
    if size > 1:
        with pytest.raises(Tampered):
            check_inclusion(LEAVES[(index + 1) % size], index, 0, size, proof, root(0, size))


def _subtrees(size: int) -> st.SearchStrategy[tuple[int, int]]:
    ranges = [(start, end) for start in range(size) for end in range(start + 1, size + 1) if is_subtree(start, end)]
    return st.sampled_from(ranges)


@given(st.integers(1, 70), st.data())
def test_every_subtree_is_provably_part_of_the_tree(size: int, data: st.DataObject) -> None:
    start, end = data.draw(_subtrees(size))
    proof = consistency(start, end, size, node)
    check_consistency(start, end, size, proof, root(start, end), root(0, size))
    index = data.draw(st.integers(start, end - 1))
    check_inclusion(LEAVES[index], index, start, end, inclusion(index, start, end, node), root(start, end))


@given(SIZES, st.data())
def test_a_changed_proof_or_root_is_refused(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size))
    proof = consistency(0, old, size, node)
    before, after = root(0, old), root(0, size)

    def flip(value: bytes) -> bytes:
        at, bit = data.draw(st.integers(0, 31)), data.draw(st.integers(0, 7))
        return value[:at] + bytes([value[at] ^ 1 << bit]) + value[at + 1 :]

    changes: list[Callable[[], tuple[list[bytes], bytes, bytes]]] = [
        lambda: (proof, flip(before), after),
        lambda: (proof, before, flip(after)),
        lambda: ([*proof, after], before, after),
    ]
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        changes.append(lambda: ([*proof[:at], flip(proof[at]), *proof[at + 1 :]], before, after))
        changes.append(lambda: (proof[:-1], before, after))
    changed, first, second = data.draw(st.sampled_from(changes))()
    with pytest.raises(Tampered):
        check_consistency(0, old, size, changed, first, second)


@given(st.integers(-3, 400), st.integers(-3, 400), st.integers(-3, 400), st.lists(st.binary(max_size=40), max_size=12))
def test_any_proof_at_all_raises_nothing_but_tampered(start: int, end: int, size: int, proof: list[bytes]) -> None:
    with pytest.raises(Tampered):
        check_consistency(start, end, size, proof, LEAVES[0], LEAVES[1])
    with pytest.raises(Tampered):
        check_inclusion(LEAVES[0], size, start, end, proof, LEAVES[1])
