"""Proofs that a leaf is in a tree and that one tree grew out of another.

Inclusion and consistency as RFC 9162 2.1.3 and 2.1.4; both for subtrees too
(draft-ietf-plants-merkle-tree-certs 4.3 and 4.4), of which the whole tree is the
case that starts at 0. A check raises `Tampered`, so that nobody can forget to
look at its answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from twinward.errors import Tampered
from twinward.ledger.tree import EMPTY_ROOT, HASH_BYTES, Node, node_hash, range_root, split


def is_subtree(start: int, end: int) -> bool:
    """Whether [start, end) is a range that trees can prove: `start` is a multiple of
    the smallest power of two that is not below its length."""
    if not 0 <= start <= end:
        return False
    count = end - start
    return count == 0 or start % (1 << (count - 1).bit_length()) == 0


def inclusion(index: int, start: int, end: int, node: Node) -> list[bytes]:
    """Proof that leaf `index` is in the subtree [start, end)."""
    path: list[bytes] = []
    while end - start > 1:
        middle = start + split(end - start)
        if index < middle:
            path.append(range_root(middle, end, node))
            end = middle
        else:
            path.append(range_root(start, middle, node))
            start = middle
    path.reverse()
    return path


def consistency(start: int, end: int, size: int, node: Node) -> list[bytes]:
    """Proof that the subtree [start, end) is part of the tree of `size` leaves.

    With start = 0 this is the RFC's proof between the trees of `end` and `size`.
    """
    if start == end:
        return []
    return _part(start, end, 0, size, True, node)


def _part(start: int, end: int, low: int, high: int, known: bool, node: Node) -> list[bytes]:
    if (start, end) == (low, high):
        return [] if known else [range_root(low, high, node)]
    middle = low + split(high - low)
    if end <= middle:
        return [*_part(start, end, low, middle, known, node), range_root(middle, high, node)]
    if start >= middle:
        return [*_part(start, end, middle, high, known, node), range_root(low, middle, node)]
    # The subtree crosses the middle, so it starts at `low` and holds the left half whole.
    return [*_part(middle, end, middle, high, False, node), range_root(low, middle, node)]


def check_inclusion(leaf: bytes, index: int, start: int, end: int, proof: Sequence[bytes], root: bytes) -> None:
    """Refuses unless `proof` shows `leaf` (a leaf hash) at `index` of the subtree with `root`.

    Raises:
        Tampered: it does not.
    """
    _sized(leaf, root, *proof)
    if not is_subtree(start, end) or not start <= index < end:
        raise Tampered("the proof names a leaf outside its tree")
    place, last, found = index - start, end - start - 1, leaf
    for hash_ in proof:
        if last == 0:
            raise Tampered("the inclusion proof is too long")
        if place & 1 or place == last:
            found = node_hash(hash_, found)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, hash_)
        place, last = place >> 1, last >> 1
    if last != 0 or found != root:
        raise Tampered("the inclusion proof does not lead to the root")


def check_consistency(
    start: int, end: int, size: int, proof: Sequence[bytes], subtree_root: bytes, root: bytes
) -> None:
    """Refuses unless `proof` shows the subtree [start, end) inside the tree of `size` with `root`.

    Raises:
        Tampered: it does not.
    """
    _sized(*proof)
    if not is_subtree(start, end) or end > size:
        raise Tampered("the proof names no part of the tree")
    if start == end:
        # Nothing is part of everything; only the empty root stands for it.
        if proof or subtree_root != EMPTY_ROOT:
            raise Tampered("the consistency proof of an empty tree does not hold")
        return
    first, last, top = _level(start, end - 1, size - 1)
    rest = list(proof)
    if first == last:
        old = new = subtree_root
    elif rest:
        old = new = rest.pop(0)
    else:
        raise Tampered("the consistency proof is empty")
    for hash_ in rest:
        if top == 0:
            raise Tampered("the consistency proof is too long")
        if last & 1 or last == top:
            if first < last:
                old = node_hash(hash_, old)
            new = node_hash(hash_, new)
            while last and not last & 1:
                first, last, top = first >> 1, last >> 1, top >> 1
        else:
            new = node_hash(new, hash_)
        first, last, top = first >> 1, last >> 1, top >> 1
    if top != 0 or old != subtree_root or new != root:
        raise Tampered("the consistency proof does not lead from one root to the other")


def _level(first: int, last: int, top: int) -> tuple[int, int, int]:
    """Up to the level at which the proof begins: the subtree's own root where it is a
    complete node of the tree, else the right-most complete node inside it."""
    while first != last and (last == top or last & 1):
        first, last, top = first >> 1, last >> 1, top >> 1
    return first, last, top


def _sized(*hashes: bytes) -> None:
    if any(len(hash_) != HASH_BYTES for hash_ in hashes):
        raise Tampered("a proof holds something that is no SHA-256 hash")
