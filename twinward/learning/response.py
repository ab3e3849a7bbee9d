"""How strongly a person answers to insulin, against what was predicted of them.

Observed effects of isolated corrections are regressed on predicted ones,

    observed = a + slope * predicted + error,

by least squares with a constant: the constant takes what every correction has in common and
insulin does not do (high glucose comes down by itself), so that it is not taken for a
response. Slope 1: as predicted. Student's interval (Gosset, Biometrika 6:1, 1908).

Doses are not drawn by lot: who is higher takes more, and also has further to fall. The
slope says how well predictions fit, not what insulin causes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twinward.errors import BadInput

LEAST = 5  # corrections, below which no slope is given
SPREAD_LEAST = 1.0  # mg/dL, SD of predicted effects: equal doses tell no slope


@dataclass(frozen=True, slots=True)
class Slope:
    slope: float
    low: float
    high: float
    n: int
    coverage: float

    @property
    def excludes_none(self) -> bool:
        """Whether the person answers to insulin, in the expected direction."""
        return self.low > 0.0


def response(predicted: Sequence[float], observed: Sequence[float], coverage: float = 0.95) -> Slope | None:
    """The slope of `observed` on `predicted` effects (mg/dL); None where they do not tell one.

    Raises:
        BadInput: lengths differ, a number is not finite, or coverage is not between 0 and 1.
    """
    x, y = np.asarray(predicted, float), np.asarray(observed, float)
    if x.shape != y.shape or x.ndim != 1:
        raise BadInput("every predicted effect needs its observed one")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise BadInput("an effect is a finite number")
    if not 0.0 < coverage < 1.0:
        raise BadInput("coverage is between 0 and 1")
    n = len(x)
    if n < LEAST or float(x.std()) < SPREAD_LEAST:
        return None
    dx = x - x.mean()
    ssx = float(dx @ dx)
    slope = float(dx @ (y - y.mean())) / ssx
    rest = y - y.mean() - slope * dx
    error = float(np.sqrt(rest @ rest / (n - 2) / ssx))
    half = student(n - 2, coverage) * error
    return Slope(slope, slope - half, slope + half, n, coverage)


def student(freedom: int, coverage: float) -> float:
    """Half width, in standard errors, that covers `coverage` of Student's t with `freedom` degrees.

    By t = sqrt(freedom) tan(angle), whose density is cos(angle)^(freedom - 1).
    """
    angles = np.linspace(0.0, 0.5 * np.pi, 20_001)
    density = np.cos(angles) ** (freedom - 1)
    mass = np.concatenate(([0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))))
    return float(np.sqrt(freedom) * np.tan(np.interp(coverage, mass / mass[-1], angles)))
