"""Intervals that keep their promise by watching themselves.

An interval is the forecast and so many times `sigma`, what an error of this forecast usually
is (a regression of its own says so), below and above it:

    low = middle - q_below sigma        high = middle + q_above sigma

Both factors are running quantiles of what was missed: online gradient of the pinball loss, as
in adaptive conformal inference (Gibbs and Candes 2021; Angelopoulos, Candes and Tibshirani
2023). One pair per horizon, so that a few hundred outcomes are enough, starting from what a
cohort taught. On top of that the outer bands of outcomes, which are rare and are what matters,
get their own care, because an interval that is right for everyone misses most who go low:
  - where the forecast stands less than `reach` sigmas above a `floor`, the low end goes down to
    the floor. The floor is a running quantile of low outcomes; the reach grows with every
    low outcome that was missed;
  - a miss above weighs more for high outcomes while fewer than `HIGH_AIM` of them are covered;
  - what that care covers too much, `rate` gives back to the ordinary forecasts.
Neither side is ever more than `UNEVEN` times the other. Deterministic; the state is a
handful of numbers. Constants: `python -m bench.choose`.
"""

from __future__ import annotations

import numpy as np

from twinward.physiology.compiled import compiled

AIM = 0.90
STEP, STEP_FRESH, FRESH = 0.02, 0.05, 40.0  # of a factor per miss; large until FRESH outcomes are seen
FACTOR_LEAST, FACTOR_MOST = 1.0, 6.0
UNEVEN = 2.5
STEADY, STEADY_STEP = 0.925, 0.0005  # overall coverage that `rate` steers to, above AIM by what the bands need
RATE_LEAST, RATE_MOST = 0.08, 0.22
LOW_AIM, REACH_STEP, REACH_LEAST, REACH_MOST = 0.92, 0.15, 1.0, 5.0
RAMP = 4.0  # how steeply the care for lows ends beyond the reach
FLOOR_SHARE, FLOOR_STEP = 0.03, 1.0  # of low outcomes below the floor; in the unit of the forecast
HIGH_AIM, WEIGHT_STEP, WEIGHT_MOST = 0.86, 0.02, 6.0
BELOW, ABOVE, SEEN = range(3)  # columns of `factors`
RATE, WEIGHT, FLOOR, REACH = range(4)  # columns of `steering`


@compiled
def reset(factors: np.ndarray) -> None:
    """After a change of what is forecast with: steps of `factors` (3,) are large again."""
    factors[SEEN] = 0.0


@compiled
def below(middle: float, sigma: float, factors: np.ndarray, steering: np.ndarray, near: float) -> float:
    """How far the low end stands below the middle; the care for lows ends above `near`."""
    far = (middle - steering[FLOOR]) / sigma
    far -= (RAMP + 1.0) * max(far - steering[REACH], (middle - near) / sigma, 0.0)
    return float(sigma * min(max(factors[BELOW], far, factors[ABOVE] / UNEVEN), UNEVEN * factors[ABOVE]))


@compiled
def above(sigma: float, factors: np.ndarray) -> float:
    """How far the high end stands above the middle."""
    return float(sigma * max(factors[ABOVE], factors[BELOW] / UNEVEN))


@compiled
def learn(
    factors: np.ndarray, steering: np.ndarray, middle: float, sigma: float, low: float, high: float, y: float,
    lowest: float, highest: float,
) -> None:  # fmt: skip
    """One outcome `y` of the interval low..high about `middle` with `sigma`.

    Outcomes below `lowest` and above `highest` are the outer bands.
    """
    missed = 1.0 if y < low or y > high else 0.0
    steering[RATE] = min(max(steering[RATE] + STEADY_STEP * (1.0 - missed - STEADY), RATE_LEAST), RATE_MOST)
    alpha = steering[RATE] / 2.0
    step = STEP + (STEP_FRESH - STEP) * FRESH / (FRESH + factors[SEEN])
    # The factor below goes on learning what it would be without the care for lows.
    under = 1.0 if y < middle - factors[BELOW] * sigma else 0.0
    over = 0.0
    if y > high:
        over = steering[WEIGHT] if y > highest else 1.0
    factors[BELOW] = min(max(factors[BELOW] + step * (under - alpha), FACTOR_LEAST), FACTOR_MOST)
    factors[ABOVE] = min(max(factors[ABOVE] + step * (over - alpha), FACTOR_LEAST), FACTOR_MOST)
    factors[SEEN] += 1.0
    if y < lowest:
        steering[REACH] += REACH_STEP * (missed - 1.0 + LOW_AIM)
        steering[REACH] = min(max(steering[REACH], REACH_LEAST), REACH_MOST)
        steering[FLOOR] += FLOOR_STEP * (FLOOR_SHARE - (1.0 if y < steering[FLOOR] else 0.0))
        steering[FLOOR] = min(max(steering[FLOOR], 0.6 * lowest), lowest)
    if y > highest:
        weight = steering[WEIGHT] * np.exp(WEIGHT_STEP * (missed - 1.0 + HIGH_AIM))
        steering[WEIGHT] = min(max(weight, 1.0), WEIGHT_MOST)
