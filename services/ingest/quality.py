"""Marks on readings of a series. A mark never deletes: the twin weighs, the record keeps.

Sources: sensor ranges as manufacturers state them (Dexcom G6/G7 and FreeStyle Libre 3
report 40 to 400 mg/dL, Libre 2 to 500); physiological rate limit of interstitial
glucose 10 mg/dL/min (sensors flag above about 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from twinward.codes import meaning
from twinward.record import CGM_GLUCOSE, Flag, Measurement
from twinward.units import believable

SENSOR_LOW, SENSOR_HIGH = 40.0, 400.0  # mg/dL; at or beyond: a limit, not a value
FASTEST = 10.0  # mg/dL a minute
NEAR_MS = 20 * 60_000  # readings further apart say nothing about a rate


def out_of_range(code: str, value: float) -> int:
    """`Flag.OUT_OF_RANGE` where no living person has this canonical value."""
    found = meaning(code)
    return 0 if found is None or believable(found, value) else int(Flag.OUT_OF_RANGE)


def marked(readings: Sequence[Measurement]) -> list[Measurement]:
    """Sensor readings in order of time with limits and impossible jumps marked."""
    made: list[Measurement] = []
    before: Measurement | None = None
    for reading in readings:
        if reading.code != CGM_GLUCOSE:
            made.append(reading)
            continue
        flags = reading.flags
        if reading.value <= SENSOR_LOW or reading.value >= SENSOR_HIGH:
            flags |= Flag.AT_SENSOR_LIMIT
        if before is not None and _jumps(before, reading):
            flags |= Flag.SUSPECT_RATE
        made.append(reading if flags == reading.flags else replace(reading, flags=int(flags)))
        if not flags & Flag.OUT_OF_RANGE:
            before = reading
    return made


def _jumps(before: Measurement, reading: Measurement) -> bool:
    apart_ms = reading.effective_ms - before.effective_ms
    return 0 < apart_ms <= NEAR_MS and abs(reading.value - before.value) > FASTEST * max(apart_ms / 60_000, 1)
