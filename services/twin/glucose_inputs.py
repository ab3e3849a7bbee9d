"""Rows to events: what the glucose model reads of a record, and how a dose becomes a flow.

- sensor glucose is what everything is fitted to; blood glucose (fingerstick, laboratory)
  is a second sensor of plasma for the ensemble, never a lag of the regression;
- carbohydrates are eaten at 5 g/min, as in S2008;
- a bolus flows over its duration, at least a minute;
- a basal rate holds for its duration, else until the next one, at most 24 h: what a pump
  did after that is not known;
- a long-acting injection flows evenly from 1 h to 25 h after it [G]: flat for glargine and
  degludec, too flat for NPH;
- the ensemble is driven by insulin above the person's own usual basal rate (running mean
  over three days of what is known), because the body of the model is at rest at its own
  basal: a person without an insulin log is then a person at usual basal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.twin import glucose_layout as at
from twinward.record import (
    CARBOHYDRATES,
    CGM_GLUCOSE,
    INSULIN_BASAL_DOSE,
    INSULIN_BASAL_RATE,
    INSULIN_BOLUS,
    Flag,
    Measurement,
    Precision,
    Status,
)

BASAL, BOLUS, SLOW, CARBS, FINGERSTICK, SENSOR = range(6)  # at the same instant in this order
REFIT_CODES = (
    *(f"twinward|refit-{name}" for name in ("SI", "Gb", "meal", "skin")),
    *(f"twinward|refit-sd-{name}" for name in ("SI", "Gb", "meal", "skin")),
    "twinward|refit-end",
)
REFIT_END = SENSOR + len(REFIT_CODES)
KINDS = {
    INSULIN_BASAL_RATE: (BASAL, "[IU]/h", 0.0, 35.0),
    INSULIN_BOLUS: (BOLUS, "[IU]", 0.0, 100.0),
    INSULIN_BASAL_DOSE: (SLOW, "[IU]", 0.0, 300.0),
    CARBOHYDRATES: (CARBS, "g", 0.0, 500.0),
    "loinc|2339-0": (FINGERSTICK, "mg/dL", 20.0, 600.0),
    "loinc|2345-7": (FINGERSTICK, "mg/dL", 20.0, 600.0),
    "loinc|41653-7": (FINGERSTICK, "mg/dL", 20.0, 600.0),
    CGM_GLUCOSE: (SENSOR, "mg/dL", 30.0, 500.0),
}
# What no feed can send: refits of the twin itself (refit.py). Logarithms, deviations of them, how many.
OWN_KINDS = {code: (SENSOR + 1 + k, "1", -3.0, 5.0) for k, code in enumerate(REFIT_CODES)}
TAKEN = {**KINDS, **OWN_KINDS}
UNUSABLE = Flag.FUTURE | Flag.UNIT_UNKNOWN | Flag.UNMAPPED | Flag.OUT_OF_RANGE
UNTRUE = (Status.ENTERED_IN_ERROR, Status.CANCELLED)
RATE_HOLDS_MIN = 1440.0
SLOW_FROM_MIN, SLOW_TO_MIN = 60.0, 1500.0


@dataclass(frozen=True, slots=True, order=True)
class Event:
    time_ms: int
    kind: int
    value: float
    duration_min: float


def events(rows: Sequence[Measurement]) -> list[Event]:
    """What the model reads, in an order that depends on nothing but the rows themselves."""
    found = []
    for row in rows:
        known = TAKEN.get(row.code)
        if known is None or row.precision is not Precision.INSTANT or row.status in UNTRUE or row.flags & UNUSABLE:
            continue
        kind, unit, low, high = known
        if row.unit == unit and low <= row.value <= high:
            found.append(Event(row.effective_ms, kind, float(row.value), row.duration_s / 60))
    return sorted(found)


def apply_input(s: at.Array, slots: at.Array, event: Event) -> None:
    """Puts a dose or a meal where the coming minutes will find it."""
    now = s[at.CURSOR]
    if event.kind == CARBS:
        s[at.CARBS_WAITING] += event.value
        if event.value > 0:
            s[at.LAST_CARBS] = now
            s[at.MEALS] += 1
        return
    s[at.LAST_INSULIN] = now
    s[at.DOSES] += 1
    if event.kind == BASAL:
        s[at.BASAL_RATE] = event.value / 60.0
        s[at.BASAL_UNTIL] = now + (event.duration_min or RATE_HOLDS_MIN)
    elif event.kind == BOLUS:
        minutes = max(round(event.duration_min), 1)
        _put(slots, now, (event.value / minutes, now, now + minutes, 0.0))
    else:
        _put(slots, now, (event.value / (SLOW_TO_MIN - SLOW_FROM_MIN), now + SLOW_FROM_MIN, now + SLOW_TO_MIN, 1.0))


def _put(slots: at.Array, now: float, slot: tuple[float, float, float, float]) -> None:
    """Into a free slot; where none is, what ends soonest is given up: it has acted most."""
    slots[int(np.argmin(np.where(slots[:, 2] <= now, -1.0, slots[:, 2])))] = slot
