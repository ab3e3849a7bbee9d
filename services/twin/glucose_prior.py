"""What a twin believes before it knows its person: both regressions as our cohort taught them.

`glucose_prior.csv` is written by `python -m bench.prior` from simulated people; a row per
horizon and name. Nothing in it comes from a patient. The constants below that
`python -m bench.choose` varies were chosen on simulated people and the first two thirds of
T1D-UOM; the others are estimates.
"""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from services.twin import glucose_layout as at
from services.twin.glucose_kernels import PRIOR_SD
from twinward.learning.identify import NAMES

PATH = Path(__file__).with_name("glucose_prior.csv")

FORMAT = "twinward-prior-1"
VERSION = "cohort-1"  # raised whenever the file or a constant below changes
LABEL = "as shipped: a simulated cohort of adults with type 1 diabetes"
PROVENANCE = (
    "twinward/physiology/cohort.csv, days lived by bench/prior.py; deviations of the logarithms are estimates; "
    "no patient's data"
)

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
    """`version` and `sha256` (of the file it came in) say which one it is."""

    beta: at.Array  # (3, FEATURES)
    gamma: at.Array  # (3, SPREAD) mg/dL
    penalty: at.Array  # (FEATURES,)
    spread_penalty: at.Array  # (SPREAD,)
    population: at.Array  # (THETAS, 2): mean and deviation of log SI, Gb, meal, skin over the typical adult
    sigmas: float = START_FACTORS  # to each side, of an interval that has learned nothing yet
    version: str = VERSION
    label: str = LABEL
    provenance: str = PROVENANCE
    sha256: bytes = bytes(32)

    @property
    def name(self) -> str:
        return named(self.version, self.sha256)


def named(version: str, sha256: bytes) -> str:
    """What a twin says it started from: the version and the first eight digits of the file's SHA-256."""
    return f"{version} ({sha256.hex()[:8]})"


def blank() -> Prior:
    """Believes that glucose stays where it is."""
    gamma = np.zeros((3, at.SPREAD))
    gamma[:, 0] = START_SPREAD
    population = np.column_stack([np.zeros(at.THETAS), PRIOR_SD])
    return Prior(
        np.zeros((3, at.FEATURES)), gamma, STRENGTHS * SCALES**2, np.full(at.SPREAD, SPREAD_STRENGTH), population
    )


def file_of(prior: Prior) -> bytes:
    """The file of a prior (docs/formats.md); numbers as they are, to the last digit."""
    rows = [{"beta": prior.beta[h].tolist(), "gamma": prior.gamma[h].tolist()} for h in range(3)]
    body = {
        "format": FORMAT,
        "version": prior.version,
        "label": prior.label,
        "provenance": prior.provenance,
        "logarithms": {
            name: {"mean": mean, "sd": sd} for name, (mean, sd) in zip(NAMES, prior.population.tolist(), strict=True)
        },
        "regression": dict(zip(map(str, at.HORIZONS), rows, strict=True)),
        "interval": {"sigmas": prior.sigmas},
    }
    return json.dumps(body, indent=1, ensure_ascii=False).encode() + b"\n"


@cache
def prior() -> Prior:
    """The one that is shipped."""
    found = blank()
    if PATH.exists():
        for horizon, name, *values in csv.reader(PATH.read_text().splitlines()):
            {"beta": found.beta, "gamma": found.gamma}[name][int(horizon)] = [float(value) for value in values]
        found.gamma[:] *= LIVED
    return replace(found, sha256=hashlib.sha256(file_of(found)).digest())
