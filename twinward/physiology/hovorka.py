"""Hovorka 2004: a second opinion on glucose and insulin in type 1 diabetes.

    Q1' = -F01c - x1 Q1 + k12 Q2 - FR + D2/tmaxG + EGP0 BW (1 - x3)+        G = Q1 / (VG BW)
    Q2' = x1 Q1 - (k12 + x2) Q2
    S1' = u - S1/tmaxI      S2' = (S1 - S2)/tmaxI      I' = S2/(tmaxI VI BW) - ke I
    xi' = -kai xi + kai Si I                 D1' = AG D - D1/tmaxG      D2' = (D1 - D2)/tmaxG
    F01c = F01 BW min(G/4.5, 1)              FR = 0.003 (G - 9)+ VG BW

Hovorka et al., Physiol Meas 25:905 (2004); numbers as LoopInsighT1. Units: minute, mmol, mU,
kg. A sensor compartment with the delay of S2008 is added. The truth of our trials, because a
filter that is judged by its own equations is flattered.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from twinward.physiology.compiled import compiled
from twinward.physiology.meaning import HOVORKA_PARAMETERS

Array = NDArray[np.float64]

PARAMETERS = tuple(HOVORKA_PARAMETERS)
BW, K12, KA1, KA2, KA3, SIT, SID, SIE, EGP0, F01, VG, VI, KE, TMAXI, TMAXG, AG = range(16)
Q1, Q2, S1, S2, INSULIN, X1, X2, X3, D1, D2, GS = range(11)
TYPICAL = np.array(
    [75.0, 0.066, 0.006, 0.06, 0.03, 51.2e-4, 8.2e-4, 520e-4, 0.0161, 0.0097, 0.16, 0.12, 0.138, 55.0, 40.0, 0.8]
)
# Between people, SD of the logarithm [G]; absorption and sensitivities differ most.
SPREAD = np.array([0.15, 0.2, 0.2, 0.2, 0.2, 0.35, 0.35, 0.35, 0.1, 0.1, 0.08, 0.08, 0.08, 0.2, 0.25, 0.0])
MMOL_PER_G = 1000.0 / 180.16
MG_DL_PER_MMOL_L = 18.016
SENSOR_RATE = 0.09  # 1/min


@compiled
def derivative(x: np.ndarray, p: np.ndarray, eaten: float, u: float, dx: np.ndarray) -> None:
    """Fills `dx` (11, per minute); `eaten` mmol/min, `u` mU/min."""
    G = x[Q1] / (p[VG] * p[BW])
    F01c = p[F01] * p[BW] * min(G / 4.5, 1.0)
    FR = 0.003 * max(G - 9.0, 0.0) * p[VG] * p[BW]
    EGP = p[EGP0] * p[BW] * max(1.0 - x[X3], 0.0)
    dx[Q1] = -F01c - x[X1] * x[Q1] + p[K12] * x[Q2] - FR + x[D2] / p[TMAXG] + EGP
    dx[Q2] = x[X1] * x[Q1] - (p[K12] + x[X2]) * x[Q2]
    dx[S1] = u - x[S1] / p[TMAXI]
    dx[S2] = (x[S1] - x[S2]) / p[TMAXI]
    dx[INSULIN] = x[S2] / (p[TMAXI] * p[VI] * p[BW]) - p[KE] * x[INSULIN]
    dx[X1] = p[KA1] * (p[SIT] * x[INSULIN] - x[X1])
    dx[X2] = p[KA2] * (p[SID] * x[INSULIN] - x[X2])
    dx[X3] = p[KA3] * (p[SIE] * x[INSULIN] - x[X3])
    dx[D1] = p[AG] * eaten - x[D1] / p[TMAXG]
    dx[D2] = (x[D1] - x[D2]) / p[TMAXG]
    dx[GS] = SENSOR_RATE * (x[Q1] - x[GS])


@compiled
def simulate(
    p: np.ndarray, x: np.ndarray, grams: np.ndarray, units: np.ndarray, sensitivity: np.ndarray, out: np.ndarray
) -> None:
    """One person, in place: `grams` and `units` (T,) per minute; `sensitivity` (T,) multiplies all three
    insulin sensitivities; `out` (T,) sensor glucose in mg/dL."""
    k1, k2, k3, k4, y = np.empty(11), np.empty(11), np.empty(11), np.empty(11), np.empty(11)
    q = p.copy()
    for t in range(grams.shape[0]):
        for j in (SIT, SID, SIE):
            q[j] = p[j] * sensitivity[t]
        eaten, u = grams[t] * MMOL_PER_G, units[t] * 1000.0
        derivative(x, q, eaten, u, k1)
        for i in range(11):
            y[i] = x[i] + 0.5 * k1[i]
        derivative(y, q, eaten, u, k2)
        for i in range(11):
            y[i] = x[i] + 0.5 * k2[i]
        derivative(y, q, eaten, u, k3)
        for i in range(11):
            y[i] = x[i] + k3[i]
        derivative(y, q, eaten, u, k4)
        for i in range(11):
            x[i] = max(x[i] + (k1[i] + 2.0 * (k2[i] + k3[i]) + k4[i]) / 6.0, 0.0)
        out[t] = x[GS] / (p[VG] * p[BW]) * MG_DL_PER_MMOL_L


def rest(p: Array, basal: float) -> tuple[Array, float]:
    """(state (11,), U/min) that stay at `basal` mg/dL."""
    G = basal / MG_DL_PER_MMOL_L
    q1 = G * p[VG] * p[BW]

    def surplus(level: float) -> float:
        x1, x2, x3 = p[SIT] * level, p[SID] * level, p[SIE] * level
        q2 = x1 * q1 / (p[K12] + x2)
        renal = 0.003 * max(G - 9.0, 0.0) * p[VG] * p[BW]
        used = p[F01] * p[BW] * min(G / 4.5, 1.0) + renal
        return float(p[EGP0] * p[BW] * max(1 - x3, 0.0) - used - x1 * q1 + p[K12] * q2)

    level = _root(surplus, 0.0, 60.0)
    x = np.zeros(11)
    x[Q1] = x[GS] = q1
    x[X1], x[X2], x[X3] = p[SIT] * level, p[SID] * level, p[SIE] * level
    x[Q2] = x[X1] * q1 / (p[K12] + x[X2])
    x[INSULIN] = level
    rate = p[KE] * level * p[VI] * p[BW]  # mU/min
    x[S1] = x[S2] = rate * p[TMAXI]
    return x, rate / 1000.0


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    for _ in range(80):
        middle = 0.5 * (low + high)
        if f(middle) > 0:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)
