"""When a twin or its sensor is not to be believed: what is watched, and the typed flags it raises.

Watched, as part of the twin's state (a replay raises the same flags): the last 72 standardised innovations of the
filter (six hours: mean, variance, correlation of neighbours), whether each of the last 200 stated intervals of each
horizon held, how long the sensor has said the same, changes faster than plasma glucose goes, values no body has,
gaps. A filter that is right makes innovations of mean 0 and variance 1 without memory; the bounds here are wide
[G], because the ensemble is not the person and one meal nobody logged must not raise them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from prometheus_client import Counter

from services.twin import glucose_layout as at
from twinward.physiology.compiled import compiled
from twinward.record import CGM_GLUCOSE, Flag, Measurement, Precision, Status

STUCK_MIN = 60.0  # the same value to the last digit; noise of a sensor alone changes it [G]
JUMP = 8.0  # mg/dL/min between readings; plasma glucose changes by less than 5 [M]
RECENT_MIN = 60.0
DAY_MIN = 1440.0
BIAS, SPREAD_MOST, SPREAD_LEAST, MEMORY = 0.75, 3.0, 0.1, 0.75
COVERED_LEAST, COVERED_MOST = 0.80, 0.99  # of 200 stated 90 % intervals; neighbours are alike, so wider than chance
LIMITS = (40.0, 400.0)  # mg/dL: where sensors stop counting, they repeat themselves
MINUTES = at.HORIZONS
LOWEST, HIGHEST = 30.0, 500.0  # mg/dL, what the model takes of a sensor (glucose_inputs.py)

UNTRUE = (Status.ENTERED_IN_ERROR, Status.CANCELLED)
UNUSABLE_BUT_RANGE = Flag.FUTURE | Flag.UNIT_UNKNOWN | Flag.UNMAPPED

RAISED = Counter("twinward_twin_alarms", "Alarms shown with an answer about a twin.", ["alarm"])


@dataclass(frozen=True, slots=True)
class Alarm:
    """`word` for programs, `text` for people, with the physiology that may stand behind it."""

    word: str
    text: str

    def __str__(self) -> str:
        return f"{self.word}: {self.text}"


@compiled
def see_reading(watch: np.ndarray, last_t: float, last_g: float, t: float, g: float) -> None:
    """A used reading (minute, mg/dL) after the one before; `last_t` 0: none."""
    if last_t <= 0.0 or g != last_g or t - last_t > at.GAP_LEAST:
        watch[at.SAME_SINCE] = t
    if last_t <= 0.0:
        return
    if t - last_t > at.GAP_LEAST:
        place = at.GAPS_AT + 2 * (int(watch[at.GAPS_N]) % at.GAPS)
        watch[place], watch[place + 1] = last_t, t
        watch[at.GAPS_N] += 1.0
    elif abs(g - last_g) > JUMP * (t - last_t):
        watch[at.JUMP_AT] = t


@compiled
def see_score(watch: np.ndarray, score: float) -> None:
    watch[at.WATCHED + int(watch[at.INNOVATIONS_N]) % at.INNOVATIONS] = score
    watch[at.INNOVATIONS_N] += 1.0


@compiled
def see_interval(watch: np.ndarray, h: int, held: bool) -> None:
    """Whether a stated interval of horizon `h` held what came."""
    ring = watch[at.HELD_AT : at.GAPS_AT].view(np.uint8)
    ring[h * at.INTERVALS + int(watch[at.INTERVALS_N + h]) % at.INTERVALS] = 1 if held else 2
    watch[at.INTERVALS_N + h] += 1.0


def see_rows(watch: at.Array, rows: Sequence[Measurement]) -> None:
    """Sensor values that no body has never become readings; that they came is kept."""
    for row in rows:
        if row.code != CGM_GLUCOSE or row.unit != "mg/dL" or row.status in UNTRUE or row.flags & UNUSABLE_BUT_RANGE:
            continue
        if row.precision is Precision.INSTANT and not LOWEST <= row.value <= HIGHEST and np.isfinite(row.value):
            watch[at.IMPOSSIBLE] = max(watch[at.IMPOSSIBLE], row.effective_ms / 60_000)


def alarms(parts: at.Parts) -> tuple[Alarm, ...]:
    """The flags that stand now, in the twin's own time."""
    s, watch = parts.scalars, parts.watch
    now = s[at.STATE_MS] / 60_000
    return (*_of_sensor(watch, s, now), *_of_filter(watch), *_of_intervals(watch))


def _of_sensor(watch: at.Array, s: at.Array, now: float) -> list[Alarm]:
    found = []
    same = s[at.LAST_T] - watch[at.SAME_SINCE]
    if watch[at.SAME_SINCE] > 0 and same >= STUCK_MIN and LIMITS[0] < s[at.LAST_G] < LIMITS[1]:
        found.append(
            Alarm(
                "SENSOR_STUCK",
                f"the sensor has said the same for {same:.0f} min; glucose and its noise never stand still",
            )
        )
    if watch[at.JUMP_AT] > 0 and now - watch[at.JUMP_AT] <= RECENT_MIN:
        found.append(
            Alarm(
                "SENSOR_JUMP",
                "a change faster than plasma glucose goes: pressure on the sensor, a new one, or a wrong value",
            )
        )
    if watch[at.IMPOSSIBLE] > 0 and now - watch[at.IMPOSSIBLE] <= DAY_MIN:
        found.append(Alarm("IMPOSSIBLE_VALUE", "a sensor value that no body has came within a day; it was not used"))
    return found


def _of_filter(watch: at.Array) -> list[Alarm]:
    n = int(watch[at.INNOVATIONS_N])
    if n < at.INNOVATIONS:
        return []
    ring = np.roll(watch[at.WATCHED : at.HELD_AT], -(n % at.INNOVATIONS))
    mean, variance = float(ring.mean()), float(ring.var())
    found = []
    if abs(mean) > BIAS:
        way = "higher" if mean > 0 else "lower"
        why = (
            "unlogged carbohydrates, less insulin action"
            if mean > 0
            else "unlogged insulin, exercise, more insulin action"
        )
        found.append(Alarm("INNOVATION_BIAS", f"for hours glucose has been {way} than the body model expects: {why}"))
    if not SPREAD_LEAST <= variance <= SPREAD_MOST:
        more = variance > SPREAD_MOST
        why = "a noisy sensor or unlogged meals and insulin" if more else "a sensor that smooths what it sees"
        found.append(
            Alarm(
                "INNOVATION_SPREAD",
                f"surprises are {'larger' if more else 'smaller'} than the model's own noise: {why}",
            )
        )
    if variance > 1e-9:
        memory = float(np.mean((ring[1:] - mean) * (ring[:-1] - mean)) / variance)
        if memory > MEMORY and variance > 1.0:
            found.append(
                Alarm(
                    "INNOVATION_MEMORY",
                    "one surprise follows the other: absorption or insulin action differs from the model",
                )
            )
    return found


def _of_intervals(watch: at.Array) -> list[Alarm]:
    found = []
    for h, minutes in enumerate(MINUTES):
        share = coverage(watch, h)
        if share is not None and not COVERED_LEAST <= share <= COVERED_MOST:
            word = "COVERAGE_LOW" if share < COVERED_LEAST else "COVERAGE_HIGH"
            found.append(
                Alarm(word, f"of the last 200 intervals for {minutes} min {share:.0%} held what came; 90 % were stated")
            )
    return found


def coverage(watch: at.Array, h: int) -> float | None:
    """Share of the last 200 stated intervals of horizon `h` that held; None before there are as many."""
    if watch[at.INTERVALS_N + h] < at.INTERVALS:
        return None
    ring = watch[at.HELD_AT : at.GAPS_AT].view(np.uint8)[h * at.INTERVALS : (h + 1) * at.INTERVALS]
    return float(np.mean(ring == 1))


def gaps(watch: at.Array) -> list[tuple[int, int]]:
    """The last gaps of more than an hour between readings: from and to, ms; oldest first."""
    n = int(watch[at.GAPS_N])
    places = (at.GAPS_AT + 2 * (k % at.GAPS) for k in range(max(n - at.GAPS, 0), n))
    return [(round(watch[k] * 60_000), round(watch[k + 1] * 60_000)) for k in places]


def counted(found: Sequence[Alarm]) -> tuple[Alarm, ...]:
    """`found`, and the metric knows that they were shown."""
    for one in found:
        RAISED.labels(one.word).inc()
    return tuple(found)
