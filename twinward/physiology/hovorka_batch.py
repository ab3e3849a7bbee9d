"""Hovorka 2004 for many people at once in NumPy: a second writing of the same paper, the oracle of the tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twinward.physiology.meaning import HOVORKA_PARAMETERS

Array = NDArray[np.float64]


def rates(parameters: Array, states: Array, eaten: Array, u: Array) -> Array:
    """(N, 11) per minute of `states` (N, 11); `parameters` (N, 16), `eaten` mmol/min, `u` mU/min."""
    p = dict(zip(HOVORKA_PARAMETERS, np.asarray(parameters, float).T, strict=True))
    q1, q2, s1, s2, level, x1, x2, x3, d1, d2, gs = np.asarray(states, float).T
    volume = p["VG"] * p["BW"]
    brain = p["F01"] * p["BW"] * np.minimum(q1 / volume / 4.5, 1)
    kidney = 0.003 * volume * np.clip(q1 / volume - 9, 0, None)
    liver = p["EGP0"] * p["BW"] * np.clip(1 - x3, 0, None)
    back, there = p["k12"] * q2, x1 * q1
    return np.array(
        [
            liver + d2 / p["tmaxG"] + back - there - brain - kidney,
            there - back - x2 * q2,
            u - s1 / p["tmaxI"],
            (s1 - s2) / p["tmaxI"],
            s2 / p["tmaxI"] / (p["VI"] * p["BW"]) - p["ke"] * level,
            p["ka1"] * (p["SIT"] * level - x1),
            p["ka2"] * (p["SID"] * level - x2),
            p["ka3"] * (p["SIE"] * level - x3),
            p["AG"] * eaten - d1 / p["tmaxG"],
            (d1 - d2) / p["tmaxG"],
            0.09 * (q1 - gs),
        ]
    ).T


def minute(parameters: Array, states: Array, grams: Array, units: Array) -> Array:
    """(N, 11) states a minute later; `grams` (N,) eaten, `units` (N,) U."""
    eaten, u = grams * 1000 / 180.16, units * 1000
    a = rates(parameters, states, eaten, u)
    b = rates(parameters, states + a / 2, eaten, u)
    c = rates(parameters, states + b / 2, eaten, u)
    d = rates(parameters, states + c, eaten, u)
    return np.asarray(np.maximum(states + (a + 2 * b + 2 * c + d) / 6, 0))
