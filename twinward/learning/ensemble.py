"""Ensemble Kalman filter: Evensen, Ocean Dynamics 53:343 (2003), with perturbed observations.

Rows of `Z` (N, W) are members, columns what is not known. Deterministic given the draws.
"""

from __future__ import annotations

import numpy as np

from twinward.physiology.compiled import compiled


@compiled
def observe(Z: np.ndarray, gain_of: np.ndarray, h: np.ndarray, y: float, variance: float, draws: np.ndarray) -> float:
    """Moves members towards an observation, in place; returns the innovation's standard score.

    `h` (N,) what each member expects, `y` what was seen with error `variance`, `draws` (N,)
    standard normal, `gain_of` (W,) 1 for columns that take part, 0 for those that stay,
    between the two where a correlation is believed only in part.
    """
    N, W = Z.shape
    middle = h.mean()
    spread = 0.0
    for i in range(N):
        spread += (h[i] - middle) ** 2
    total = spread / (N - 1) + variance
    shift = np.empty(N)
    for i in range(N):
        shift[i] = y + np.sqrt(variance) * draws[i] - h[i]
    for j in range(W):
        if gain_of[j] == 0.0:
            continue
        mean = 0.0
        for i in range(N):
            mean += Z[i, j]
        mean /= N
        covariance = 0.0
        for i in range(N):
            covariance += (Z[i, j] - mean) * (h[i] - middle)
        gain = gain_of[j] * covariance / (N - 1) / total
        for i in range(N):
            Z[i, j] += gain * shift[i]
    return float((y - middle) / np.sqrt(total))


@compiled
def inflate(Z: np.ndarray, first: int, last: int, factor: float) -> None:
    """Spreads columns first..last-1 about their means by `factor`: a finite ensemble grows too sure."""
    N = Z.shape[0]
    for j in range(first, last):
        mean = 0.0
        for i in range(N):
            mean += Z[i, j]
        mean /= N
        for i in range(N):
            Z[i, j] = mean + factor * (Z[i, j] - mean)


@compiled
def jitter(Z: np.ndarray, first: int, last: int, keep: float, draws: np.ndarray) -> None:
    """Liu and West (2001): fresh values for parameters without changing their mean or variance.

    Each is drawn towards the mean by `keep` and gets noise of what is lost; `draws` (N, last - first).
    """
    N = Z.shape[0]
    fresh = np.sqrt(1.0 - keep * keep)
    for j in range(first, last):
        mean = 0.0
        for i in range(N):
            mean += Z[i, j]
        mean /= N
        variance = 0.0
        for i in range(N):
            variance += (Z[i, j] - mean) ** 2
        sd = np.sqrt(variance / (N - 1))
        for i in range(N):
            Z[i, j] = mean + keep * (Z[i, j] - mean) + fresh * sd * draws[i, j - first]
