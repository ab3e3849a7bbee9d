"""Rows of a week whose body is known, for tests of refits."""

from __future__ import annotations

from functools import cache

import numpy as np

from bench.recovery import matched
from twinward.record import CARBOHYDRATES, CGM_GLUCOSE, INSULIN_BOLUS, Measurement, Precision

MINUTE_MS = 60_000


@cache
def known_days(first_ms: int, days: int = 6, number: int = 1) -> tuple[tuple[Measurement, ...], np.ndarray]:
    """(rows in order of time, the true four logarithms)."""
    block, truth = matched(3, number, days)
    made: list[tuple[int, str, float, str]] = [
        (5 * (k + 1), CGM_GLUCOSE, float(np.clip(value, 40.0, 400.0)), "mg/dL")
        for k, value in enumerate(block.sensor)
        if np.isfinite(value)
    ]
    made += [(int(k), INSULIN_BOLUS, float(block.above[k]), "[IU]") for k in np.flatnonzero(block.above > 0)]
    edges = np.flatnonzero(np.diff(np.concatenate([[0.0], (block.grams > 0).astype(float), [0.0]])))
    made += [
        (int(first), CARBOHYDRATES, float(block.grams[first:last].sum()), "g")
        for first, last in zip(edges[::2], edges[1::2], strict=True)
    ]
    rows = [
        Measurement(
            code, first_ms + minute * MINUTE_MS, first_ms + minute * MINUTE_MS, value, unit,
            (number * 1_000_000 + place + 1).to_bytes(16, "big"), precision=Precision.INSTANT,
        )
        for place, (minute, code, value, unit) in enumerate(sorted(made))
    ]  # fmt: skip
    return tuple(rows), truth
