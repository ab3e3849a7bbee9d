"""RFC 6962 hashing and the right edge of a growing tree.

The right edge is all that a log needs to grow: the roots of the complete
subtrees its size is made of, the largest first, one for each bit of the size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from twinward.errors import Malformed

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
MOST = 1 << 62  # entries; far beyond use, keeps every size in a signed 64-bit column

# Hash of the complete subtree number `index` of 2**level leaves.
Node = Callable[[int, int], bytes]


def leaf_hash(entry: bytes) -> bytes:
    """Hash of a leaf (RFC 6962 2.1); the 0x00 keeps leaves and nodes apart."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def split(n: int) -> int:
    """The largest power of two smaller than `n` (n > 1): where RFC 6962 divides a tree."""
    return 1 << ((n - 1).bit_length() - 1)


def range_root(start: int, end: int, node: Node) -> bytes:
    """Merkle tree hash of the leaves [start, end), read from complete subtrees.

    `start` must be a multiple of the smallest power of two that holds the range,
    as it is for every range that a proof names.
    """
    count = end - start
    if count == 0:
        return EMPTY_ROOT
    if count & (count - 1) == 0 and start % count == 0:
        level = count.bit_length() - 1
        return node(level, start >> level)
    middle = start + split(count)
    return node_hash(range_root(start, middle, node), range_root(middle, end, node))


@dataclass(frozen=True, slots=True)
class Edge:
    """The right edge of a tree of `size` leaves; `peaks` largest first, 32 bytes each."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def extended(self, leaves: Iterable[bytes]) -> Edge:
        """The edge after appending `leaves` (leaf hashes); two hashes a leaf on average."""
        size, peaks = self.size, list(self.peaks)
        for leaf in leaves:
            joined, bit = leaf, size
            while bit & 1:
                joined = node_hash(peaks.pop(), joined)
                bit >>= 1
            peaks.append(joined)
            size += 1
        return Edge(size, tuple(peaks))

    def root(self) -> bytes:
        """Merkle tree hash of the whole tree, 32 bytes."""
        if not self.peaks:
            return EMPTY_ROOT
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root

    def encode(self) -> bytes:
        """u64be size, then the peaks, 32 bytes each."""
        return self.size.to_bytes(8, "big") + b"".join(self.peaks)

    @staticmethod
    def decode(data: bytes) -> Edge:
        """Raises Malformed where `data` is no edge."""
        if len(data) < 8:
            raise Malformed("a ledger's right edge is cut short")
        size = int.from_bytes(data[:8], "big")
        if size > MOST or len(data) != 8 + HASH_BYTES * size.bit_count():
            raise Malformed("a ledger's right edge does not fit its size")
        peaks = tuple(data[at : at + HASH_BYTES] for at in range(8, len(data), HASH_BYTES))
        return Edge(size, peaks)
