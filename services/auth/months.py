"""Months as numbers: year * 100 + month, UTC; 0 is the pseudo-period 0000-00.

The key tree divides time into months, so a decision about time is a decision
about months: a permit covers the months that lie wholly inside it, a deny every
month that it touches.
"""

from __future__ import annotations

from datetime import UTC, datetime

from twinward.clock import month_of

UNDATED = 0
FIRST = 190001  # nothing clinical is older; ingest quarantines it
LAST = 999912


def following(month: int) -> int:
    return month + 1 if month % 100 < 12 else month + 89


def preceding(month: int) -> int:
    return month - 1 if month % 100 > 1 else month - 89


def start_ms(month: int) -> int:
    """Milliseconds since 1970 of the first instant of `month`."""
    return int(datetime(month // 100, month % 100, 1, tzinfo=UTC).timestamp() * 1000)


def wholly_inside(from_ms: int | None, until_ms: int | None) -> tuple[int, int]:
    """First and last month that lie wholly in [from, until); first > last where none does."""
    first, last = FIRST, LAST
    if from_ms is not None:
        first = month_of(from_ms)
        if start_ms(first) < from_ms:
            first = following(first)
    if until_ms is not None:
        last = preceding(month_of(until_ms))
    return first, last


def touched(from_ms: int | None, until_ms: int | None) -> tuple[int, int]:
    """First and last month that share an instant with [from, until)."""
    first = FIRST if from_ms is None else month_of(from_ms)
    last = LAST if until_ms is None else month_of(until_ms - 1)
    return first, last
