"""Chance without a state: normal numbers that are a function of who, when and which.

A filter that keeps a generator forgets its past once data arrive late. Here a draw is
Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC 2011) of a key and a counter, so replaying
the same minutes gives the same bits, in whatever pieces they are replayed.
"""

from __future__ import annotations

import hashlib

import numpy as np

from twinward.physiology.compiled import compiled

_LOW = np.uint64(0xFFFFFFFF)
_THIRTY_TWO = np.uint64(32)
_MULTIPLY_0 = np.uint64(0xD2511F53)
_MULTIPLY_1 = np.uint64(0xCD9E8D57)
_WEYL_0 = np.uint64(0x9E3779B9)
_WEYL_1 = np.uint64(0xBB67AE85)


def key_of(*parts: bytes) -> tuple[int, int]:
    """Two 32-bit words from what a stream of draws belongs to (a twin and its model's version)."""
    digest = hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()
    return int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:8], "big")


@compiled
def philox(key0: int, key1: int, c0: int, c1: int, c2: int, c3: int, out: np.ndarray) -> None:
    """Fills `out` (4, uint64) with four 32-bit words; all inputs are taken modulo 2^32."""
    k0, k1 = np.uint64(key0) & _LOW, np.uint64(key1) & _LOW
    x0, x1 = np.uint64(c0) & _LOW, np.uint64(c1) & _LOW
    x2, x3 = np.uint64(c2) & _LOW, np.uint64(c3) & _LOW
    for _ in range(10):
        a = _MULTIPLY_0 * x0
        b = _MULTIPLY_1 * x2
        x0, x1, x2, x3 = (b >> _THIRTY_TWO) ^ x1 ^ k0, b & _LOW, (a >> _THIRTY_TWO) ^ x3 ^ k1, a & _LOW
        k0 = (k0 + _WEYL_0) & _LOW
        k1 = (k1 + _WEYL_1) & _LOW
    out[0], out[1], out[2], out[3] = x0, x1, x2, x3


@compiled
def normals(key0: int, key1: int, minute: int, member: int, block: int, words: np.ndarray, out: np.ndarray) -> None:
    """Fills `out` (4,) with standard normal numbers (Box-Muller); `words` is (4, uint64) scratch."""
    philox(key0, key1, minute, minute >> 32, member, block, words)
    for pair in range(2):
        u = (np.float64(words[2 * pair]) + 0.5) / 4294967296.0
        angle = 2.0 * np.pi * ((np.float64(words[2 * pair + 1]) + 0.5) / 4294967296.0)
        radius = np.sqrt(-2.0 * np.log(u))
        out[2 * pair] = radius * np.cos(angle)
        out[2 * pair + 1] = radius * np.sin(angle)
