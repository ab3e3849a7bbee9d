"""What a person's log tells about their own response to insulin.

A correction is isolated where no other bolus and no carbohydrate is logged within three hours
before and after it. When it is given the body model says what glucose would be three hours on
with and without it: the difference is the predicted effect, and what is then measured less
"without" the observed one. Meals that nobody logged spoil pairs; the slope's interval carries
that.
"""

from __future__ import annotations

import numpy as np

from services.twin import glucose_kernels as kernels
from services.twin import glucose_layout as at
from services.twin.glucose_inputs import BASAL, BOLUS, CARBS, SLOW, Event
from twinward.learning.response import Slope, response

APART = 180.0  # min, before and after
AFTER = 180  # min: when the effect is looked at
LATE = 15.0  # min: a reading later than this does not tell it
FRESH = 15.0  # min: age of the reading before a correction
UNITS_LEAST = 0.3  # IU


def note_day(log: at.Array, event: Event, day: int) -> None:
    """Counts days with both insulin and carbohydrates in the log."""
    if event.value <= 0:
        return
    if event.kind in (BASAL, BOLUS, SLOW):
        log[at.INSULIN_DAY] = day
    elif event.kind == CARBS:
        log[at.CARBS_DAY] = day
    if log[at.INSULIN_DAY] == log[at.CARBS_DAY] == day and log[at.BOTH_DAY] != day:
        log[at.BOTH_DAY] = day
        log[at.DAYS_BOTH] += 1


def without(parts: at.Parts, base: at.Array, basal: float, event: Event) -> float:
    """Glucose three hours on if `event`, about to be taken, were not; NaN where it is no isolated correction."""
    s, log = parts.scalars, parts.logbook
    now = s[at.CURSOR]
    alone = (
        event.kind == BOLUS
        and event.value >= UNITS_LEAST
        and s[at.STARTED]
        and s[at.RING_N]
        and now - s[at.LAST_T] <= FRESH
        and not (log[at.LAST_BOLUS] and now - log[at.LAST_BOLUS] < APART)
        and not (s[at.LAST_CARBS] >= 0 and now - s[at.LAST_CARBS] < APART)
    )
    return _expected(parts, base, basal) if alone else float("nan")


def note(parts: at.Parts, base: at.Array, basal: float, event: Event, expected_without: float) -> None:
    """Opens a correction after `event` was taken; another bolus or a meal closes one unseen."""
    log = parts.logbook
    if event.value <= 0 or event.kind not in (BOLUS, CARBS):
        return
    log[at.OPEN_SINCE] = 0.0
    if event.kind == BOLUS:
        log[at.LAST_BOLUS] = parts.scalars[at.CURSOR]
        if not np.isnan(expected_without):
            log[at.OPEN_SINCE] = parts.scalars[at.CURSOR]
            log[at.OPEN_WITHOUT] = expected_without
            log[at.OPEN_EFFECT] = _expected(parts, base, basal) - expected_without


def see(parts: at.Parts) -> None:
    """The newest used reading, where it tells what an open correction did."""
    s, log = parts.scalars, parts.logbook
    if not log[at.OPEN_SINCE] or s[at.LAST_T] < log[at.OPEN_SINCE] + AFTER:
        return
    if s[at.LAST_T] < log[at.OPEN_SINCE] + AFTER + LATE:
        row = parts.corrections[int(log[at.CORRECTIONS_N]) % at.CORRECTIONS]
        row[:] = log[at.OPEN_EFFECT], s[at.LAST_G] - log[at.OPEN_WITHOUT]
        log[at.CORRECTIONS_N] += 1
    log[at.OPEN_SINCE] = 0.0


def own_response(parts: at.Parts) -> Slope | None:
    """Of the last corrections, at most `CORRECTIONS`."""
    kept = parts.corrections[: min(int(parts.logbook[at.CORRECTIONS_N]), at.CORRECTIONS)]
    return response(kept[:, 0].tolist(), kept[:, 1].tolist())


def _expected(parts: at.Parts, base: at.Array, basal: float) -> float:
    """mg/dL the middle member's sensor would read three hours on with what is logged so far."""
    s = parts.scalars.copy()
    above, grams, path = np.empty(AFTER), np.empty(AFTER), np.empty(AFTER)
    kernels.inputs(s, parts.slots, int(s[at.CURSOR]), above, grams)
    kernels.central(parts.members, base, basal, above, grams, path)
    return float(path[-1])
