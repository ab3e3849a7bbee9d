"""Intervals that keep their promise by watching themselves.

Each end of an interval is a running quantile of what was missed, one pair per context:
online gradient of the pinball loss, as in adaptive conformal inference (Gibbs and Candes
2021; Angelopoulos, Candes and Tibshirani 2023). On top of that the outer bands of outcomes,
which are rare and are what matters, get their own care, because an interval that is right
for everyone misses most of those who go low:
  - where the forecast stands below a `reach`, the low end goes down to a `floor`; both are
    running quantiles over the low outcomes (of the forecasts made for them, and of themselves);
  - a miss above weighs more for high outcomes while fewer than `HIGH_AIM` of them are covered.
Deterministic; the state is a handful of numbers.
"""

from __future__ import annotations

import numpy as np

from twinward.physiology.compiled import compiled

AIM = 0.90
STEP, STEP_FRESH, FRESH = 0.01, 0.2, 40.0  # of the width per miss; large until FRESH outcomes are seen
FLOOR_SHARE, REACH_SHARE = 0.03, 0.97  # of low outcomes: below the floor, forecast below the reach
FLOOR_STEP, REACH_STEP = 2.0, 5.0  # in the unit of the forecast
HIGH_AIM, WEIGHT_STEP, WEIGHT_MOST = 0.86, 0.02, 6.0
BELOW, ABOVE, SEEN = range(3)  # columns of a context's width
RATE, WEIGHT, FLOOR, REACH = range(4)  # columns of `steering`: misses allowed, and the three above


@compiled
def reset(widths: np.ndarray) -> None:
    """After a change of what is forecast with: steps of `widths` (contexts, 3) are large again."""
    widths[:, SEEN] = 0.0


@compiled
def low_end(middle: float, below: float, steering: np.ndarray) -> float:
    low = middle - below
    if middle < steering[REACH]:
        low = min(low, steering[FLOOR])
    return low


@compiled
def learn(
    width: np.ndarray, steering: np.ndarray, middle: float, low: float, high: float, y: float, lowest: float,
    highest: float,
) -> None:  # fmt: skip
    """One outcome `y` of the interval low..high about `middle`, made in the context of `width` (3,).

    Outcomes below `lowest` and above `highest` are the outer bands.
    """
    alpha = steering[RATE] / 2.0
    step = STEP + (STEP_FRESH - STEP) * FRESH / (FRESH + width[SEEN])
    # The floor has its own quantile; the width goes on learning what it would be without it.
    plain = low if low > steering[FLOOR] else max(low, middle - width[BELOW])
    below = 1.0 if y < plain else 0.0
    above = 0.0
    if y > high:
        above = steering[WEIGHT] if y > highest else 1.0
    scale = step * (width[BELOW] + width[ABOVE]) / 2.0
    width[BELOW] = min(max(width[BELOW] + scale * (below - alpha), 4.0), 300.0)
    width[ABOVE] = min(max(width[ABOVE] + scale * (above - alpha), 4.0), 300.0)
    width[SEEN] += 1.0
    if y < lowest:
        steering[FLOOR] += FLOOR_STEP * (FLOOR_SHARE - (1.0 if y < steering[FLOOR] else 0.0))
        steering[FLOOR] = min(max(steering[FLOOR], 0.55 * lowest), lowest)
        steering[REACH] += REACH_STEP * (REACH_SHARE - (1.0 if middle < steering[REACH] else 0.0))
    if y > highest:
        missed = 1.0 if y > high or y < low else 0.0
        weight = steering[WEIGHT] * np.exp(WEIGHT_STEP * (missed - 1.0 + HIGH_AIM))
        steering[WEIGHT] = min(max(weight, 1.0), WEIGHT_MOST)
