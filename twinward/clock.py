"""The only place that asks the machine for the time or for chance.

Everything else takes a `Clock` or a `Chance` as an argument, so that a test
decides what now is and a replay gives the same answer.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds, only for differences."""
        ...


class SystemClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass
class SetClock:
    """A clock that stands where it was put: tests and the story's fast day."""

    ms: int

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


class Chance(Protocol):
    def bytes(self, n: int) -> bytes:
        """`n` random bytes."""
        ...


class SystemChance:
    """Keys, salts and identifiers come from the operating system."""

    def bytes(self, n: int) -> bytes:
        return os.urandom(n)


def utc(ms: int) -> datetime:
    """The aware UTC datetime of `ms` milliseconds since 1970-01-01."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def month_of(ms: int) -> int:
    """UTC month of `ms` as year * 100 + month."""
    at = utc(ms)
    return at.year * 100 + at.month
