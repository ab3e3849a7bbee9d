"""What a twin believes before it knows its person: both regressions as our cohort taught them.

`glucose_prior.csv` is written by `python -m bench.prior` from simulated people; a row per
horizon and name. Nothing in it comes from a patient. The constants below that
`python -m bench.choose` varies were chosen on simulated people and the first two thirds of
T1D-UOM; the others are estimates.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from services.twin import glucose_layout as at

PATH = Path(__file__).with_name("glucose_prior.csv")

# How large a feature usually is: a penalty on scaled coefficients. mg/dL, U, g, mg/kg/min, no unit.
SCALES = np.array(
    [0.3, 50.0, *(5.0 * k for k in range(1, 12)), 2.0, 2.0, 15.0, 15.0, *[1.0] * 10, 20.0, 10.0, 20.0, 20.0]
)
# Outcomes that shrinking a scaled coefficient is worth: sensor and log, clock and bends, body.
STRENGTHS = np.array([40.0] * 17 + [300.0] * 12 + [4000.0] * 2)
SPREAD_STRENGTH = 100.0
START_SPREAD = (16.0, 26.0, 38.0)  # mg/dL, where there is no prior file yet
START_FACTORS = 2.5  # sigmas to each side
# Per horizon: misses allowed, weight of a high miss, floor in mg/dL, reach in sigmas (twinward/learning/conformal.py).
START_STEERING = np.array([[0.12, 1.5, 54.0, 4.0]] * 3)
# Simulated days are more regular than lived ones: their errors times this are a beginner's [G].
LIVED = 1.3


@dataclass(frozen=True, slots=True)
class Prior:
    beta: at.Array  # (3, FEATURES)
    gamma: at.Array  # (3, SPREAD) mg/dL
    penalty: at.Array  # (FEATURES,)
    spread_penalty: at.Array  # (SPREAD,)


def blank() -> Prior:
    """Believes that glucose stays where it is."""
    gamma = np.zeros((3, at.SPREAD))
    gamma[:, 0] = START_SPREAD
    return Prior(np.zeros((3, at.FEATURES)), gamma, STRENGTHS * SCALES**2, np.full(at.SPREAD, SPREAD_STRENGTH))


@cache
def prior() -> Prior:
    found = blank()
    if PATH.exists():
        for horizon, name, *values in csv.reader(PATH.read_text().splitlines()):
            {"beta": found.beta, "gamma": found.gamma}[name][int(horizon)] = [float(value) for value in values]
        found.gamma[:] *= LIVED
    return found
