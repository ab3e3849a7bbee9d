"""Ridge regression that forgets nothing it needs and keeps no rows: sufficient statistics.

    beta = (A + L)^-1 (b + L prior),  A = sum x x', b = sum x y,  L = penalty on scaled features

The prior is what a population taught; with few rows the answer is the prior, with many
it is the person's own. Solved by our own Cholesky: a linear algebra library may choose
another order of summation on another day, and a replay has to give the same bits.
"""

from __future__ import annotations

import numpy as np

from twinward.physiology.compiled import compiled


@compiled
def take(A: np.ndarray, b: np.ndarray, x: np.ndarray, y: float) -> None:
    """Adds one row `x` (F,) with target `y` to `A` (F, F; lower triangle) and `b` (F,)."""
    F = x.shape[0]
    for i in range(F):
        b[i] += x[i] * y
        for j in range(i + 1):
            A[i, j] += x[i] * x[j]


@compiled
def solve(A: np.ndarray, b: np.ndarray, penalty: np.ndarray, prior: np.ndarray, beta: np.ndarray) -> None:
    """Fills `beta` (F,); `penalty` (F,) must be positive, which makes the system positive definite."""
    F = b.shape[0]
    L = np.zeros((F, F))
    for i in range(F):
        for j in range(i + 1):
            total = A[i, j]
            if i == j:
                total += penalty[i]
            for k in range(j):
                total -= L[i, k] * L[j, k]
            if i == j:
                L[i, i] = np.sqrt(max(total, 1e-12 * penalty[i]))
            else:
                L[i, j] = total / L[j, j]
    z = np.empty(F)
    for i in range(F):
        total = b[i] + penalty[i] * prior[i]
        for k in range(i):
            total -= L[i, k] * z[k]
        z[i] = total / L[i, i]
    for i in range(F - 1, -1, -1):
        total = z[i]
        for k in range(i + 1, F):
            total -= L[k, i] * beta[k]
        beta[i] = total / L[i, i]


@compiled
def predict(beta: np.ndarray, x: np.ndarray) -> float:
    total = 0.0
    for i in range(x.shape[0]):
        total += beta[i] * x[i]
    return total
