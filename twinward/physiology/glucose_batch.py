"""S2008 for many people at once in NumPy: a second writing of the same paper.

It shares no line with the compiled kernel, so agreement means something: it is the
oracle of the tests, and what to run where numba does not exist.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twinward.physiology.meaning import S2008_PARAMETERS

Array = NDArray[np.float64]


class Batch:
    """`parameters` (N, 32), `states` (N, 13) of N people; steps all together."""

    def __init__(self, parameters: Array, states: Array) -> None:
        self._p = dict(zip(S2008_PARAMETERS, np.asarray(parameters, float).T, strict=True))
        self.x = np.array(states, float).T
        people = self.x.shape[1]
        self._before = np.zeros(people)  # mg in the stomach when the meal began
        self._meal = np.zeros(people)  # mg of this meal
        self._eating = np.zeros(people, bool)

    def rates(self, x: Array, eaten: Array, u: Array) -> Array:
        """(13, N) per minute; `eaten` mg/min, `u` pmol/kg/min."""
        p = self._p
        q1, q2, gut, gp, gt, ip, act, i1, i2, il, s1, s2, gs = x
        dose = self._before + self._meal
        safe = np.where(dose > 0, dose, 1.0)
        q = q1 + q2
        bend = np.tanh(2.5 * (q - p["b"] * safe) / (safe * (1 - p["b"]))) - np.tanh(2.5 * (q / (safe * p["d"]) - 1))
        kgut = np.where(dose > 0, p["kmin"] + 0.5 * (p["kmax"] - p["kmin"]) * (bend + 2), p["kmax"])
        appearing = p["f"] * p["kabs"] * gut / p["BW"]
        produced = np.clip(p["kp1"] - p["kp2"] * gp - p["kp3"] * i2, 0, None)
        lost = p["ke1"] * np.clip(gp - p["ke2"], 0, None)
        used = np.clip(p["Vm0"] + p["Vmx"] * act, 0, None) * gt / (p["Km0"] + gt)
        level = ip / p["Vi"]
        return np.array(
            [
                eaten - p["kmax"] * q1,
                p["kmax"] * q1 - kgut * q2,
                kgut * q2 - p["kabs"] * gut,
                produced + appearing - p["Fsnc"] - lost - p["k1"] * gp + p["k2"] * gt,
                p["k1"] * gp - p["k2"] * gt - used,
                p["m1"] * il + p["ka1"] * s1 + p["ka2"] * s2 - (p["m2"] + p["m4"]) * ip,
                p["p2u"] * (level - p["Ib"] - act),
                p["ki"] * (level - i1),
                p["ki"] * (i1 - i2),
                p["m2"] * ip - (p["m1"] + p["m30"]) * il,
                u - (p["ka1"] + p["kd"]) * s1,
                p["kd"] * s1 - p["ka2"] * s2,
                p["ksc"] * (gp - gs),
            ]
        )

    def minute(self, grams: Array, units: Array, steps: int = 1) -> Array:
        """Steps one minute; `grams` (N,) eaten, `units` (N,) U infused. Sensor glucose (N,) in mg/dL."""
        begins = (grams > 0) & ~self._eating
        self._before = np.where(begins, self.x[0] + self.x[1], self._before)
        self._meal = np.where(begins, 0.0, self._meal) + 1000 * grams
        self._eating = grams > 0
        u = units * 6000 / self._p["BW"]
        h = 1 / steps
        for _ in range(steps):
            a = self.rates(self.x, 1000 * grams, u)
            b = self.rates(self.x + h / 2 * a, 1000 * grams, u)
            c = self.rates(self.x + h / 2 * b, 1000 * grams, u)
            d = self.rates(self.x + h * c, 1000 * grams, u)
            self.x = self.x + h / 6 * (a + 2 * b + 2 * c + d)
        floor = np.zeros((13, 1))
        floor[6] = -np.inf
        self.x = np.maximum(self.x, floor)
        return np.asarray(self.x[12] / self._p["Vg"])
