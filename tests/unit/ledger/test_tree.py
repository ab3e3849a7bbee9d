from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinward.errors import Malformed
from twinward.ledger.tree import EMPTY_ROOT, Edge, leaf_hash, node_hash, range_root, split

# RFC 6962's own tree of eight entries, as every implementation tests it.
ENTRIES = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657",
                                            "606162636465666768696a6b6c6d6e6f")]  # fmt: skip
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


def slow_root(leaves: list[bytes]) -> bytes:
    """The definition, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    middle = split(len(leaves))
    return node_hash(slow_root(leaves[:middle]), slow_root(leaves[middle:]))


def test_roots_of_the_rfc_tree() -> None:
    edge = Edge()
    assert edge.root() == EMPTY_ROOT
    for entry, root in zip(ENTRIES, ROOTS, strict=True):
        edge = edge.extended([leaf_hash(entry)])
        assert edge.root().hex() == root


@given(st.integers(0, 300), st.integers(0, 300))
def test_an_edge_grows_the_same_in_one_step_or_two(first: int, more: int) -> None:
    leaves = [leaf_hash(b"%d" % at) for at in range(first + more)]
    edge = Edge().extended(leaves[:first])
    assert edge.extended(leaves[first:]) == Edge().extended(leaves)
    assert edge.root() == slow_root(leaves[:first])
    assert len(edge.peaks) == first.bit_count()


@given(st.integers(0, 1000))
def test_an_edge_is_read_back_as_it_was_written(size: int) -> None:
    edge = Edge().extended(leaf_hash(b"%d" % at) for at in range(size))
    assert Edge.decode(edge.encode()) == edge


@given(st.binary(max_size=200))
def test_any_bytes_are_an_edge_or_malformed(data: bytes) -> None:
    try:
        edge = Edge.decode(data)
    except Malformed:
        return
    assert edge.encode() == data


def test_an_edge_that_lost_a_peak_is_refused() -> None:
    data = Edge().extended(leaf_hash(b"%d" % at) for at in range(7)).encode()
    with pytest.raises(Malformed):
        Edge.decode(data[:-32])


@given(st.integers(1, 200))
def test_range_root_reads_complete_subtrees_only(size: int) -> None:
    leaves = [leaf_hash(b"%d" % at) for at in range(size)]

    def node(level: int, index: int) -> bytes:
        part = leaves[index << level : (index + 1) << level]
        assert len(part) == 1 << level, "asked for a subtree that is not complete"
        return slow_root(part)

    assert range_root(0, size, node) == slow_root(leaves)
