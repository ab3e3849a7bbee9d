"""Rows for the twin's tests."""

from __future__ import annotations

from functools import cache

from twinward.physiology import virtual
from twinward.physiology.diary import rows_of
from twinward.record import Measurement

FIRST_MS = 1_735_689_600_000
MINUTE = 60_000
TWIN = b"a twin in a test"


def row(code: str, minute: float, value: float, unit: str, **more: object) -> Measurement:
    ms = FIRST_MS + round(minute * MINUTE)
    return Measurement(code, ms, ms, value, unit, b"", **more)  # type: ignore[arg-type]


@cache
def lived(days: int = 4, number: int = 3, kind: str = "hovorka") -> tuple[Measurement, ...]:
    return tuple(rows_of(virtual.live(days, 31, number, kind), FIRST_MS))
