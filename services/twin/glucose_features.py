"""What the regressions see: of the last two hours, of what still acts, of the clock, of the body.

Two regressions per horizon: one of the change of glucose, one of the size of the first
one's error ("spread"). Part of the kernels, see glucose_kernels.py.
"""

from __future__ import annotations

import numpy as np

from services.twin import glucose_layout as at
from twinward.physiology.compiled import compiled

GAP = 22.0  # min: readings further apart than this are not joined by a line
USUAL = 140.0  # mg/dL: from here level enters products
RISEN, FALLEN = 200.0, 90.0  # mg/dL: beyond these glucose turns back by itself


@compiled
def value_at(ring: np.ndarray, count: int, t: float) -> float:
    """The used readings at minute `t`, on a line between neighbours; NaN over a gap."""
    size = ring.shape[0]
    later_t, later_v = np.nan, np.nan
    for back in range(1, min(count, size) + 1):
        k = (count - back) % size
        if ring[k, 0] <= t:
            if ring[k, 0] == t or np.isnan(later_t):
                return float(ring[k, 1]) if ring[k, 0] == t else np.nan
            if later_t - ring[k, 0] > GAP:
                return np.nan
            return float(ring[k, 1] + (later_v - ring[k, 1]) * (t - ring[k, 0]) / (later_t - ring[k, 0]))
        later_t, later_v = ring[k, 0], ring[k, 1]
    return np.nan


@compiled
def features(s: np.ndarray, ring: np.ndarray, x: np.ndarray) -> bool:
    """Fills `x` (at.SHARED,), what every horizon uses; False where a lag had to be guessed.

    The day is the data's own (UTC where rows name no zone): a person's habits keep their hours.
    """
    count = int(s[at.RING_N])
    t, g = s[at.LAST_T], s[at.LAST_G]
    whole = True
    x[0] = 1.0
    x[1] = g - 120.0
    before = g
    for lag in range(1, 12):
        value = value_at(ring, count, t - 5.0 * lag)
        if np.isnan(value):
            whole = False
            value = before
        x[1 + lag] = g - value
        before = value
    x[13], x[14] = s[at.INSULIN_A], s[at.INSULIN_B]
    x[15], x[16] = s[at.CARBS_A], s[at.CARBS_B]
    angle = 2.0 * np.pi * (t / 1440.0 - np.floor(t / 1440.0))
    for k in range(at.RHYTHMS):
        x[at.CLOCK + 2 * k] = np.sin((k + 1) * angle)
        x[at.CLOCK + 2 * k + 1] = np.cos((k + 1) * angle)
    level = (g - USUAL) / 50.0
    x[at.BENDS] = level * x[at.CLOCK]
    x[at.BENDS + 1] = level * x[at.CLOCK + 1]
    x[at.BENDS + 2] = max(g - RISEN, 0.0)
    x[at.BENDS + 3] = max(FALLEN - g, 0.0)
    return whole


@compiled
def gather(row: np.ndarray, h: int, x: np.ndarray) -> None:
    """All features of one horizon from an issued row."""
    for k in range(at.SHARED):
        x[k] = row[3 + k]
    for k in range(at.OWN_FEATURES):
        x[at.SHARED + k] = row[3 + at.SHARED + h * at.ANSWER + k]


@compiled
def spread_features(middle: float, x: np.ndarray, v: np.ndarray) -> None:
    """Fills `v` (at.SPREAD,): what the size of an error depends on, each of the order of one."""
    v[0] = 1.0
    v[1] = (min(middle, 250.0) - USUAL) / 50.0  # few have seen enough beyond to say more
    v[2] = abs(x[2] + x[3] + x[4]) / 15.0  # mg/dL in the last quarter of an hour
    v[3] = max(x[13] + x[14], 0.0) / 3.0  # U
    v[4] = max(x[15] + x[16], 0.0) / 20.0  # g
    for k in range(4):
        v[5 + k] = x[at.CLOCK + k]
