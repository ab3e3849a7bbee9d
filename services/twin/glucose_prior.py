"""What a twin believes before it knows its person: regression and widths learned on our cohort.

`glucose_prior.csv` is written by `python -m bench.prior` from simulated people; a row per
horizon and name. Nothing in it comes from a patient.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from services.twin import glucose_layout as at

PATH = Path(__file__).with_name("glucose_prior.csv")

# How large a feature usually is: a penalty on scaled coefficients. mg/dL, U, g, mg/kg/min.
SCALES = np.array([0.3, 50.0, *(5.0 * k for k in range(1, 12)), 2.0, 2.0, 15.0, 15.0, 5.0, 0.5, 20.0, 20.0])
STRENGTH = 40.0  # outcomes that the prior is worth, per scaled feature
START_WIDTHS = (28.0, 45.0, 65.0)  # mg/dL, where there is no prior file yet
# Per horizon: misses allowed (what floors and weights add brings coverage back to 90 %), weight of a
# high miss, floor and reach in mg/dL (twinward/learning/conformal.py). Chosen once on T1D-UOM.
START_STEERING = np.array([[0.10, 1.0, 58.0, 105.0], [0.18, 2.0, 55.0, 155.0], [0.18, 2.0, 55.0, 180.0]])


@dataclass(frozen=True, slots=True)
class Prior:
    beta: at.Array  # (3, FEATURES)
    widths: at.Array  # (3, CONTEXTS, 2) mg/dL
    penalty: at.Array  # (FEATURES,)


def blank() -> Prior:
    """Believes that glucose stays where it is."""
    widths = np.zeros((3, at.CONTEXTS, 2)) + np.array(START_WIDTHS)[:, None, None]
    return Prior(np.zeros((3, at.FEATURES)), widths, STRENGTH * SCALES**2)


@cache
def prior() -> Prior:
    found = blank()
    if PATH.exists():
        for horizon, name, *values in csv.reader(PATH.read_text().splitlines()):
            {"beta": found.beta, "below": found.widths[:, :, 0], "above": found.widths[:, :, 1]}[name][int(horizon)] = [
                float(value) for value in values
            ]
    return found
