"""What every risk equation answers with, and how it refuses.

A risk is a share of a named population over a named time: without both it means nothing,
so they travel with the number. Outside the range an equation was made for there is no
number at all; where a range is wider than the evidence, the answer carries a flag.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from twinward.errors import BadInput
from twinward.physiology.meaning import Meaning

Sex: TypeAlias = Literal["female", "male"]
MMOL_L_PER_MG_DL = 0.02586  # cholesterol


class OutsideValidity(BadInput):
    """The equation was not made for such a person."""

    reason = "OUTSIDE_VALIDITY"


@dataclass(frozen=True, slots=True)
class Risk:
    """A probability (0..1) of `outcome` within `horizon_years`, for people like `population`."""

    value: float
    outcome: str
    horizon_years: float
    population: str
    source: str
    flags: tuple[str, ...] = ()


def within(values: Mapping[str, float], table: Mapping[str, Meaning], equation: str) -> None:
    """Refuses what `equation` was not made for.

    Raises:
        OutsideValidity: a value is not finite or outside its range in `table`.
    """
    for symbol, value in values.items():
        meaning = table[symbol]
        if not meaning.low <= value <= meaning.high:  # also false for NaN
            raise OutsideValidity(
                f"{equation} is made for {meaning.text} in {meaning.low:g}..{meaning.high:g} {meaning.unit}"
            )


def one_of(word: str, allowed: tuple[str, ...], what: str) -> None:
    """Raises:
    OutsideValidity: `word` is not one of `allowed`.
    """
    if word not in allowed:
        raise OutsideValidity(f"{what} must be one of {', '.join(allowed)}")


def logistic(score: float) -> float:
    return 1.0 / (1.0 + math.exp(-score)) if score >= 0 else math.exp(score) / (1.0 + math.exp(score))


def recalibrated(linear: float, survival: float, scale1: float, scale2: float) -> float:
    """SCORE2 family: Cox risk 1 - S^exp(linear), then cloglog(risk) -> scale1 + scale2 cloglog(risk)."""
    cloglog = linear + math.log(-math.log(survival))  # ln(-ln(1 - risk)) without forming the risk
    return -math.expm1(-math.exp(scale1 + scale2 * cloglog))
