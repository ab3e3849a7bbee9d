"""Roy-Parker 2007: what an hour of effort does to glucose and insulin, for any of the glucose models.

    PVO2'  = a0 (u - PVO2)            oxygen uptake above rest, % of the greatest
    Gprod' = a1 PVO2 - a2 Gprod       Gup' = a3 PVO2 - a4 Gup       Ie' = a5 PVO2 - a6 Ie
    A'     = u, 0 at rest             ATH = -h1 u^2 + h2 u
    Ggly'  = k while A >= ATH, 0 before, -Ggly/T1 at rest
    plasma glucose gains (Gprod - Ggly)+ - Gup, plasma insulin loses Ie

Roy and Parker, J Diabetes Sci Technol 1:323 (2007); numbers as LoopInsighT1 RoyParker2007.ts [S]. The
paper adds these terms to the minimal model of Bergman; here they join S2008 (glucose_options.py) and
Dalla Man 2007 (dalla_man.py), a combination nobody has published [G].
One departure: stores that are empty cannot take glucose back, hence (Gprod - Ggly)+ [G].
Units: minute, % of the greatest oxygen uptake, mg/kg/min, mU/L/min. Valid for steady, moderate effort of
up to two hours, 0..75 % above rest (beyond that ATH is negative); no sprint, no adrenaline, no late
lows in the night after. Six states behind those of the body; nothing flows back to them.
"""

from __future__ import annotations

import numpy as np

from twinward.physiology.compiled import Scalar, compiled, equation
from twinward.physiology.meaning_glucose import EXERCISE_PARAMETERS, EXERCISE_STATES

PARAMETERS = tuple(EXERCISE_PARAMETERS)
STATES = tuple(EXERCISE_STATES)
(PVO2, GPROD, GUP, IE, GGLY, A) = range(6)
WIDE = 6
A0, A1, A2, A3, A4, A5, A6 = 0.8, 0.00158, 0.056, 0.00195, 0.0485, 0.00125, 0.075
K, T1, H1, H2 = 0.0108, 6.0, 1.1521, 87.471
PUBLISHED = np.array([A0, A1, A2, A3, A4, A5, A6, K, T1, H1, H2])
EFFORT_MOST = 75.0  # % above rest; the threshold of the stores is below zero from 75.9 on
PMOL_PER_MU = 6.0  # as S2008: 6000 pmol a unit
RESTING, WORKING, EMPTY = 0, 1, 2


@equation
def flows(
    PVO2: Scalar, Gprod: Scalar, Gup: Scalar, Ie: Scalar, u: Scalar, a0: Scalar, a1: Scalar, a2: Scalar,
    a3: Scalar, a4: Scalar, a5: Scalar, a6: Scalar,
) -> tuple[Scalar, Scalar, Scalar, Scalar]:  # fmt: skip
    """PVO2', Gprod', Gup', Ie'."""
    return a0 * (u - PVO2), a1 * PVO2 - a2 * Gprod, a3 * PVO2 - a4 * Gup, a5 * PVO2 - a6 * Ie


@equation
def threshold(u: Scalar, h1: Scalar, h2: Scalar) -> Scalar:
    """ATH: effort (% min) after which the stores no longer keep up."""
    return h2 * u - h1 * u**2


@equation
def effect(Gprod: Scalar, Gup: Scalar, Ggly: Scalar) -> Scalar:
    """What effort adds to plasma glucose, mg/kg/min."""
    return max(Gprod - Ggly, 0 * Gprod) - Gup


@compiled
def begin(x: np.ndarray, first: int, u: float) -> int:
    """Notes what the coming minute is; `first` is where the six states begin in `x`."""
    if u <= 0.0:
        x[first + A] = 0.0
        return RESTING
    if x[first + A] >= threshold(u, H1, H2):
        return EMPTY
    return WORKING


@compiled
def derivative(x: np.ndarray, first: int, u: float, mode: int, dx: np.ndarray) -> None:
    """Fills `dx[first : first + 6]`, per minute; `u` % above rest, `mode` from `begin`."""
    dx[first + PVO2], dx[first + GPROD], dx[first + GUP], dx[first + IE] = flows(
        x[first + PVO2], x[first + GPROD], x[first + GUP], x[first + IE], u, A0, A1, A2, A3, A4, A5, A6
    )
    dx[first + A] = u
    if mode == EMPTY:
        dx[first + GGLY] = K
    elif mode == WORKING:
        dx[first + GGLY] = 0.0
    else:
        dx[first + GGLY] = -x[first + GGLY] / T1
