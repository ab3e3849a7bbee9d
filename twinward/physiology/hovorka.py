"""Hovorka 2004: a second opinion on glucose and insulin in type 1 diabetes.

    Q1' = -F01c - x1 Q1 + k12 Q2 - FR + D2/tmaxG + EGP0 BW (1 - x3)+        G = Q1 / (VG BW)
    Q2' = x1 Q1 - (k12 + x2) Q2
    S1' = u - S1/tmaxI      S2' = (S1 - S2)/tmaxI      I' = S2/(tmaxI VI BW) - ke I
    xi' = -kai xi + kai Si I                 D1' = AG D - D1/tmaxG      D2' = (D1 - D2)/tmaxG
    F01c = F01 BW min(G/4.5, 1)              FR = 0.003 (G - 9)+ VG BW

Hovorka et al., Physiol Meas 25:905 (2004); numbers as LoopInsighT1 Cambridge.ts [S]. FR is per VG BW as
the paper has it [M] and as several public programs have it [R]; LoopInsighT1 leaves the volume out, which
loses a twelfth as much at 75 kg. Production is never negative (departure). Valid for meals and insulin
in adults with type 1 diabetes at rest; meanings and ranges in meaning.py and meaning_glucose.py.
Units: minute, mmol, mU, kg. A sensor compartment with the delay of S2008 is added. The truth of our trials, because a
filter that is judged by its own equations is flattered.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput
from twinward.physiology.compiled import Scalar, compiled, equation
from twinward.physiology.glucose_state import Outside, State, outside, series
from twinward.physiology.meaning import HOVORKA_PARAMETERS, check
from twinward.physiology.meaning_glucose import HOVORKA_STATES

Array = NDArray[np.float64]

MODEL = "hovorka-2004/1"
PARAMETERS = tuple(HOVORKA_PARAMETERS)
STATES = tuple(HOVORKA_STATES)
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
RENAL_RATE, RENAL_THRESHOLD, BRAIN_LEAST = 0.003, 9.0, 4.5  # 1/min, mmol/L, mmol/L


@equation
def glucose(
    Q1: Scalar, Q2: Scalar, x1: Scalar, x2: Scalar, x3: Scalar, D2: Scalar, BW: Scalar, k12: Scalar, EGP0: Scalar,
    F01: Scalar, VG: Scalar, tmaxG: Scalar, kR: Scalar, GR: Scalar, GF: Scalar,
) -> tuple[Scalar, Scalar]:  # fmt: skip
    """Q1' and Q2'."""
    G = Q1 / (VG * BW)
    F01c = F01 * BW * min(G / GF, 1.0)
    FR = kR * max(G - GR, 0.0 * GR) * VG * BW
    EGP = EGP0 * BW * max(1.0 - x3, 0.0)
    return -F01c - x1 * Q1 + k12 * Q2 - FR + D2 / tmaxG + EGP, x1 * Q1 - (k12 + x2) * Q2


@equation
def insulin(
    S1: Scalar, S2: Scalar, level: Scalar, u: Scalar, BW: Scalar, VI: Scalar, ke: Scalar, tmaxI: Scalar
) -> tuple[Scalar, Scalar, Scalar]:
    """S1', S2' and I'; `level` is I."""
    return u - S1 / tmaxI, (S1 - S2) / tmaxI, S2 / (tmaxI * VI * BW) - ke * level


@equation
def action(level: Scalar, x: Scalar, ka: Scalar, S: Scalar) -> Scalar:
    """xi'."""
    return ka * (S * level - x)


@equation
def absorption(D1: Scalar, D2: Scalar, eaten: Scalar, AG: Scalar, tmaxG: Scalar) -> tuple[Scalar, Scalar]:
    """D1' and D2'; `eaten` in amount per time."""
    return AG * eaten - D1 / tmaxG, (D1 - D2) / tmaxG


@equation
def interstitium(Q1: Scalar, Gs: Scalar, ks: Scalar) -> Scalar:
    return ks * (Q1 - Gs)


@compiled
def derivative(x: np.ndarray, p: np.ndarray, eaten: float, u: float, dx: np.ndarray) -> None:
    """Fills `dx` (11, per minute); `eaten` mmol/min, `u` mU/min."""
    dx[Q1], dx[Q2] = glucose(
        x[Q1], x[Q2], x[X1], x[X2], x[X3], x[D2], p[BW], p[K12], p[EGP0], p[F01], p[VG], p[TMAXG], RENAL_RATE,
        RENAL_THRESHOLD, BRAIN_LEAST,
    )  # fmt: skip
    dx[S1], dx[S2], dx[INSULIN] = insulin(x[S1], x[S2], x[INSULIN], u, p[BW], p[VI], p[KE], p[TMAXI])
    dx[X1] = action(x[INSULIN], x[X1], p[KA1], p[SIT])
    dx[X2] = action(x[INSULIN], x[X2], p[KA2], p[SID])
    dx[X3] = action(x[INSULIN], x[X3], p[KA3], p[SIE])
    dx[D1], dx[D2] = absorption(x[D1], x[D2], eaten, p[AG], p[TMAXG])
    dx[GS] = interstitium(x[Q1], x[GS], SENSOR_RATE)


@compiled
def minute(x: np.ndarray, p: np.ndarray, eaten: float, u: float, work: np.ndarray) -> None:
    """One minute of RK4 in place; `eaten` mmol/min, `u` mU/min, `work` (5, 11) scratch."""
    k1, k2, k3, k4, y = work[0], work[1], work[2], work[3], work[4]
    derivative(x, p, eaten, u, k1)
    for i in range(11):
        y[i] = x[i] + 0.5 * k1[i]
    derivative(y, p, eaten, u, k2)
    for i in range(11):
        y[i] = x[i] + 0.5 * k2[i]
    derivative(y, p, eaten, u, k3)
    for i in range(11):
        y[i] = x[i] + k3[i]
    derivative(y, p, eaten, u, k4)
    for i in range(11):
        x[i] = max(x[i] + (k1[i] + 2.0 * (k2[i] + k3[i]) + k4[i]) / 6.0, 0.0)


@compiled
def simulate(
    p: np.ndarray, x: np.ndarray, grams: np.ndarray, units: np.ndarray, sensitivity: np.ndarray, out: np.ndarray
) -> None:
    """One person, in place: `grams` and `units` (T,) per minute; `sensitivity` (T,) multiplies all three
    insulin sensitivities; `out` (T,) sensor glucose in mg/dL."""
    work = np.empty((5, 11))
    q = p.copy()
    for t in range(grams.shape[0]):
        for j in (SIT, SID, SIE):
            q[j] = p[j] * sensitivity[t]
        minute(x, q, grams[t] * MMOL_PER_G, units[t] * 1000.0, work)
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


def resting(p: Array, basal: float) -> tuple[State, float]:
    """As `rest`, as a state that can be dumped, with everything checked.

    Raises:
        BadInput: a parameter outside its believable range, or a basal glucose outside 60..250 mg/dL.
    """
    check(dict(zip(PARAMETERS, p, strict=True)), HOVORKA_PARAMETERS)
    if not 60.0 <= basal <= 250.0:
        raise BadInput("basal glucose must lie in 60..250 mg/dL")
    x, rate = rest(p, basal)
    return State(MODEL, 0, p.copy(), x, np.zeros(0)), rate


def run(
    state: State, minutes: int, grams: Array | None = None, units: Array | None = None
) -> tuple[State, Array, tuple[Outside, ...]]:
    """(the state then, (T,) sensor glucose in mg/dL, what to say beside it); `state` stays as it is.

    Raises:
        BadInput: an input that no person could have, or a state of another model.
    """
    if state.model != MODEL or minutes < 1:
        raise BadInput(f"a run needs a state of {MODEL} and at least a minute")
    check(dict(zip(STATES, state.x, strict=True)), HOVORKA_STATES)
    x, out = state.x.copy(), np.empty(minutes)
    eaten, given = series("grams", grams, minutes, 300.0), series("units", units, minutes, 100.0)
    simulate(state.p, x, eaten, given, np.ones(minutes), out)
    return State(MODEL, state.minute + minutes, state.p, x, state.memory), out, outside(out)
