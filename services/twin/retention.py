"""Which snapshots stay: hourly for 24 hours, daily for 30 days, monthly for life.

Time here is the twin's own (`state_ms`), so that a replay of old data keeps the
same ladder of places to come back to as life did.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from twinward.clock import month_of

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

LATEST = "latest"
KEEP_MS = {LATEST: 0, "hour": DAY_MS, "day": 30 * DAY_MS}


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of a stored snapshot without opening it."""

    state_ms: int
    seq: int
    kind: str


def kind_of(state_ms: int, previous_ms: int | None) -> str:
    """The rung of a snapshot at `state_ms` whose predecessor stands at `previous_ms`:
    the first of its month, of its day, of its hour, or only the latest."""
    if previous_ms is None or month_of(previous_ms) != month_of(state_ms):
        return "month"
    if previous_ms // DAY_MS != state_ms // DAY_MS:
        return "day"
    if previous_ms // HOUR_MS != state_ms // HOUR_MS:
        return "hour"
    return LATEST


def superfluous(kept: Iterable[Kept], newest: Kept) -> list[Kept]:
    """Those of `kept` that no rule keeps once `newest` is stored."""
    return [
        one
        for one in kept
        if (one.state_ms, one.seq) != (newest.state_ms, newest.seq)
        and one.kind in KEEP_MS
        and newest.state_ms - one.state_ms >= KEEP_MS[one.kind]
    ]


def stops(from_ms: int | None, first_ms: int, last_ms: int) -> list[int]:
    """Where a replay from `from_ms` (None: from the start) up to `last_ms` pauses for a
    snapshot: ends of days within the last 30 days and ends of hours within the last 24."""
    start = first_ms if from_ms is None else from_ms
    days = range(max(start, last_ms - KEEP_MS["day"]) // DAY_MS + 1, last_ms // DAY_MS + 1)
    hours = range(max(start, last_ms - KEEP_MS["hour"]) // HOUR_MS + 1, last_ms // HOUR_MS + 1)
    return sorted({day * DAY_MS for day in days} | {hour * HOUR_MS for hour in hours})
