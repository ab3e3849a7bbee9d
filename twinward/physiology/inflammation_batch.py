"""Reynolds 2006 for many people at once in NumPy: a second writing of the paper.

It shares no line with the compiled kernel: the oracle of the tests, and what to run where
numba does not exist.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SYMBOLS = (
    "kpg", "Pinf", "kpm", "sm", "mum", "kmp", "kpn", "snr", "munr", "mun", "knn", "knp", "knd", "kdn", "xdn", "mud",
    "Cinf", "sc", "kcn", "kcnd", "muc", "il6", "ec50", "ksyn", "kel",
)  # fmt: skip


class Batch:
    """`parameters` (M, 25), `states` (M, 5) of M people; steps all together."""

    def __init__(self, parameters: Array, states: Array) -> None:
        self._p = dict(zip(SYMBOLS, np.asarray(parameters, float).T, strict=True))
        self.x = np.array(states, float).T

    def rates(self, x: Array, kill: float) -> Array:
        """(5, M) per hour."""
        k = self._p
        germs, cells, harm, calm, crp = x
        damp = 1 / (1 + np.square(calm / k["Cinf"]))
        active = cells * damp
        call = (k["knn"] * cells + k["knp"] * germs + k["knd"] * harm) * damp
        pull = (cells + k["kcnd"] * harm) * damp
        sixth = np.power(active / k["xdn"], 6)
        il6 = k["il6"] * cells
        return np.array(
            [
                germs * (k["kpg"] - k["kpg"] * germs / k["Pinf"] - k["kpn"] * active - kill)
                - k["kpm"] * k["sm"] / (k["mum"] / np.where(germs > 0, germs, np.inf) + k["kmp"]) * (germs > 0),
                k["snr"] * call / (k["munr"] + call) - k["mun"] * cells,
                k["kdn"] * sixth / (1 + sixth) - k["mud"] * harm,
                k["sc"] + k["kcn"] * pull / (1 + pull) - k["muc"] * calm,
                k["ksyn"] * il6 / (k["ec50"] + il6) - k["kel"] * crp,
            ]
        )

    def run(self, hours: float, h: float = 0.05, kill: float = 0.0) -> Array:
        """(M, 5) after `hours`."""
        for _ in range(round(hours / h)):
            a = self.rates(self.x, kill)
            b = self.rates(self.x + h / 2 * a, kill)
            c = self.rates(self.x + h / 2 * b, kill)
            d = self.rates(self.x + h * c, kill)
            self.x = np.maximum(self.x + h / 6 * (a + 2 * b + 2 * c + d), 0)
            self.x[0] = np.where(self.x[0] < 1e-9, 0.0, self.x[0])
        return self.x.T
