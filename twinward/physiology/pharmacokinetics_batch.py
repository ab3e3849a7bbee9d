"""Compartments for many people at once in NumPy: concentrations instead of amounts, RK4 instead of the exact step.

It shares no line with the compiled kernel, so agreement means something: it is the oracle of
the tests, and what to run where numba does not exist (steps well below 1/(k10+k12+k13)).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twinward.physiology.pharmacokinetics import PK_PARAMETERS

Array = NDArray[np.float64]


class Batch:
    """`parameters` (N, 10) of N people; `c` (5, N): gut (ug), central, shallow, deep, effect site (ug/L)."""

    def __init__(self, parameters: Array) -> None:
        self._p = dict(zip(PK_PARAMETERS, np.asarray(parameters, float).T, strict=True))
        p = self._p
        level = p["R0"] / p["CL"]
        self.c = np.array([0 * level, level, level * (p["Q2"] > 0), level * (p["Q3"] > 0), level])

    def rates(self, c: Array, infusion: Array) -> Array:
        """(5, N) per minute; `infusion` ug/min."""
        p = self._p
        gut, plasma, shallow, deep, effect = c
        k10, k12, k13 = p["CL"] / p["V1"], p["Q2"] / p["V1"], p["Q3"] / p["V1"]
        k21, k31 = p["Q2"] / p["V2"], p["Q3"] / p["V3"]
        returned = k21 * shallow * p["V2"] / p["V1"] + k31 * deep * p["V3"] / p["V1"]
        entering = (p["ka"] * gut + infusion + p["R0"]) / p["V1"]
        return np.array(
            [
                -p["ka"] * gut,
                entering + returned - (k10 + k12 + k13) * plasma,
                k12 * plasma * p["V1"] / p["V2"] - k21 * shallow,
                k13 * plasma * p["V1"] / p["V3"] - k31 * deep,
                p["ke0"] * (plasma - effect),
            ]
        )

    def bolus(self, amount: Array) -> None:
        self.c[1] += amount / self._p["V1"]

    def swallow(self, amount: Array) -> None:
        self.c[0] += self._p["F"] * amount

    def advance(self, minutes: float, infusion: Array, steps: int) -> Array:
        """Plasma concentration (N,) after `minutes`."""
        h = minutes / steps
        for _ in range(steps):
            a = self.rates(self.c, infusion)
            b = self.rates(self.c + h / 2 * a, infusion)
            c = self.rates(self.c + h / 2 * b, infusion)
            d = self.rates(self.c + h * c, infusion)
            self.c = self.c + h / 6 * (a + 2 * b + 2 * c + d)
        return np.asarray(self.c[1])
