"""A number of ours beside the band it should lie in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    part: str
    what: str
    ours: float
    low: float
    high: float
    published: str
    type: str  # external (never used for fitting), fitted-to, self (our own promise or an identity)

    @property
    def green(self) -> bool:
        return self.low <= self.ours <= self.high
