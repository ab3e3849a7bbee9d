"""Dalla Man 2007 with effort, for many people at once in NumPy: a second writing of the same papers.

It shares no line with the compiled kernels: the oracle of the tests, and what to run where numba
does not exist.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twinward.physiology.meaning_glucose import DALLA_MAN_PARAMETERS

Array = NDArray[np.float64]


class Batch:
    """`parameters` (N, 36), `states` (N, 18) of N people; steps all together."""

    def __init__(self, parameters: Array, states: Array) -> None:
        self._p = dict(zip(DALLA_MAN_PARAMETERS, np.asarray(parameters, float).T, strict=True))
        self.x = np.array(states, float).T
        people = self.x.shape[1]
        self._before = np.zeros(people)
        self._meal = np.zeros(people)
        self._eating = np.zeros(people, bool)

    def rates(self, x: Array, eaten: Array, effort: Array, empty: Array) -> Array:
        """(18, N) per minute; `eaten` mg/min, `effort` % above rest, `empty` whether the stores are."""
        p = self._p
        q1, q2, gut, gp, gt, ip, il, act, i1, i2, portal, y, vo2, made, taken, removed, lacking, _ = x
        dose = self._before + self._meal
        safe = np.where(dose > 0, dose, 1.0)
        q = q1 + q2
        bend = np.tanh(2.5 * (q / safe - p["b"]) / (1 - p["b"])) - np.tanh(2.5 * (q / safe / p["d"] - 1))
        kgut = np.where(dose > 0, p["kmin"] + 0.5 * (p["kmax"] - p["kmin"]) * (bend + 2), p["kmax"])
        production = np.clip(p["kp1"] - p["kp2"] * gp - p["kp3"] * i2 - p["kp4"] * portal, 0, None)
        work = np.clip(made - lacking, 0, None) - taken
        lost = p["ke1"] * np.clip(gp - p["ke2"], 0, None)
        dgp = production + p["f"] * p["kabs"] * gut / p["BW"] + work - p["Fcns"] - lost - p["k1"] * gp + p["k2"] * gt
        used = np.clip(p["Vm0"] + p["Vmx"] * act, 0, None) * gt / (p["Km0"] + gt)
        secreted = p["gamma"] * portal
        share = np.clip(p["m6"] - p["m5"] * secreted, 0, None)
        wanted = np.maximum(p["beta"] * (gp / p["VG"] - p["Gb"]), -p["Sb"])
        resting = effort <= 0
        return np.array(
            [
                eaten - p["kmax"] * q1,
                p["kmax"] * q1 - kgut * q2,
                kgut * q2 - p["kabs"] * gut,
                dgp,
                p["k1"] * gp - p["k2"] * gt - used,
                p["m1"] * il - (p["m2"] + p["m4"]) * ip - 6 * p["VI"] * removed,
                p["m2"] * ip + secreted - il * p["m1"] / (1 - share),  # m1 + m3 = m1 / (1 - HE)
                p["p2U"] * (ip / p["VI"] - p["Ib"] - act),
                p["ki"] * (ip / p["VI"] - i1),
                p["ki"] * (i1 - i2),
                y + p["K"] * np.clip(dgp, 0, None) / p["VG"] + p["Sb"] - secreted,
                p["alpha"] * (wanted - y),
                0.8 * (effort - vo2),
                0.00158 * vo2 - 0.056 * made,
                0.00195 * vo2 - 0.0485 * taken,
                0.00125 * vo2 - 0.075 * removed,
                np.where(resting, -lacking / 6, np.where(empty, 0.0108, 0.0)),
                np.where(resting, 0.0, effort),
            ]
        )

    def minute(self, grams: Array, effort: Array, steps: int = 1) -> Array:
        """Steps one minute; `grams` (N,) eaten, `effort` (N,) % above rest. (2, N): mg/dL and pmol/L."""
        begins = (grams > 0) & ~self._eating
        self._before = np.where(begins, self.x[0] + self.x[1], self._before)
        self._meal = np.where(begins, 0.0, self._meal) + 1000 * grams
        self._eating = grams > 0
        self.x[17] = np.where(effort > 0, self.x[17], 0.0)
        empty = self.x[17] >= effort * (87.471 - 1.1521 * effort)
        h = 1 / steps
        for _ in range(steps):
            a = self.rates(self.x, 1000 * grams, effort, empty)
            b = self.rates(self.x + h / 2 * a, 1000 * grams, effort, empty)
            c = self.rates(self.x + h / 2 * b, 1000 * grams, effort, empty)
            d = self.rates(self.x + h * c, 1000 * grams, effort, empty)
            self.x = self.x + h / 6 * (a + 2 * b + 2 * c + d)
        floor = np.zeros((18, 1))
        floor[[7, 11]] = -np.inf
        self.x = np.maximum(self.x, floor)
        return np.array([self.x[3] / self._p["VG"], self.x[5] / self._p["VI"]])
