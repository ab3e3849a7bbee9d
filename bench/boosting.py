# ruff: noqa: N803  (X and Y as is usual)
"""Gradient boosting of regression trees, for the evidence alone: a baseline that no dependency of ours has.

Friedman 2001 (Ann Stat 29:1189) with squared loss, on values sorted into quantile bins; every tree is
grown to one depth, the best split by the gain of the sums. Deterministic. Not part of the product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]
BINS, DEPTH, TREES, RATE, LEAST, SHRINK = 32, 3, 150, 0.06, 20, 5.0


@njit(cache=True, nogil=True)
def _grow(
    B: np.ndarray, rest: np.ndarray, depth: int, bins: int, least: int, shrink: float, feature: np.ndarray,
    edge: np.ndarray, leaf: np.ndarray, where: np.ndarray,
) -> None:  # fmt: skip
    """One tree on the residuals `rest` (n,) of binned features `B` (n, F); `where` (n,) ends as the leaf of each."""
    n, F = B.shape
    where[:] = 0
    for level in range(depth):
        nodes = 2**level
        sums, counts = np.zeros((nodes, F, bins)), np.zeros((nodes, F, bins))
        for i in range(n):
            for j in range(F):
                sums[where[i], j, B[i, j]] += rest[i]
                counts[where[i], j, B[i, j]] += 1.0
        for node in range(nodes):
            total, size = sums[node, 0].sum(), counts[node, 0].sum()
            best, slot = 0.0, nodes - 1 + node
            feature[slot], edge[slot] = 0, bins  # all go left
            for j in range(F):
                s, c = 0.0, 0.0
                for b in range(bins - 1):
                    s += sums[node, j, b]
                    c += counts[node, j, b]
                    if c < least or size - c < least:
                        continue
                    gain = s * s / (c + shrink) + (total - s) ** 2 / (size - c + shrink) - total**2 / (size + shrink)
                    if gain > best:
                        best, feature[slot], edge[slot] = gain, j, b
        for i in range(n):
            slot = nodes - 1 + where[i]
            where[i] = 2 * where[i] + (1 if B[i, feature[slot]] > edge[slot] else 0)
    leaf_sum, leaf_n = np.zeros(2**depth), np.zeros(2**depth)
    for i in range(n):
        leaf_sum[where[i]] += rest[i]
        leaf_n[where[i]] += 1.0
    for k in range(2**depth):
        leaf[k] = leaf_sum[k] / (leaf_n[k] + shrink)


@dataclass(frozen=True, slots=True)
class Boosted:
    edges: Array  # (F, BINS - 1)
    mean: float
    features: NDArray[np.int64]  # (TREES, 2 ** DEPTH - 1)
    cuts: NDArray[np.int64]
    leaves: Array  # (TREES, 2 ** DEPTH)

    def predict(self, X: Array) -> Array:
        """(n,) for `X` (n, F)."""
        B = _binned(X, self.edges)
        answer = np.full(len(X), self.mean)
        rows = np.arange(len(X))
        for feature, cut, leaf in zip(self.features, self.cuts, self.leaves, strict=True):
            where = np.zeros(len(X), np.int64)
            for level in range(DEPTH):
                slot = 2**level - 1 + where
                where = 2 * where + (B[rows, feature[slot]] > cut[slot])
            answer += RATE * leaf[where]
        return answer


def _binned(X: Array, edges: Array) -> NDArray[np.int64]:
    return np.stack([np.searchsorted(edge, x) for edge, x in zip(edges, X.T, strict=True)], axis=1)


def fit(X: Array, y: Array) -> Boosted:
    """Trees on `X` (n, F) for `y` (n,)."""
    edges = np.quantile(X, np.linspace(0, 1, BINS + 1)[1:-1], axis=0).T.copy()
    B = _binned(X, edges)
    mean, nodes = float(y.mean()), 2**DEPTH - 1
    features, cuts = np.zeros((TREES, nodes), np.int64), np.zeros((TREES, nodes), np.int64)
    leaves, where, rest = np.zeros((TREES, nodes + 1)), np.zeros(len(y), np.int64), y - mean
    for k in range(TREES):
        _grow(B, rest, DEPTH, BINS, LEAST, SHRINK, features[k], cuts[k], leaves[k], where)
        rest -= RATE * leaves[k][where]
    return Boosted(edges, mean, features, cuts, leaves)
