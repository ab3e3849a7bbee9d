"""Which patients of a hospital's table count, who is held out, and how columns are normalised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.federation.study import Column, Study
from services.federation.study_rules import MINIMUM_CELL
from services.federation.table import Table
from twinward.errors import BadInput

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """n patients; NaN only in columns that the federated mean fills."""

    x: Floats  # (n, p), the study's units
    y: Floats  # (n,), 0 or 1

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Of each of p columns, over observed values. Adding two is exact up to rounding (Chan et al. 1979)."""

    n: Floats
    mean: Floats
    m2: Floats  # sum of squared distances from the mean

    @classmethod
    def of(cls, x: Floats) -> Moments:
        seen = ~np.isnan(x)
        n = seen.sum(0).astype(float)
        mean = np.where(seen, x, 0.0).sum(0) / np.maximum(n, 1)
        return cls(n, mean, (np.where(seen, x - mean, 0.0) ** 2).sum(0))

    def __add__(self, other: Moments) -> Moments:
        n = self.n + other.n
        apart = other.mean - self.mean
        share = other.n / np.maximum(n, 1)
        return Moments(n, self.mean + apart * share, self.m2 + other.m2 + apart**2 * self.n * share)

    @property
    def sd(self) -> Floats:
        """Sample standard deviation; 0 for fewer than two values."""
        return np.sqrt(self.m2 / np.maximum(self.n - 1, 1))


def values(column: Column, x: Floats) -> Floats:
    """The column's values; what lies outside the stated range counts as missing."""
    if column.above is not None or column.take in ("count", "present"):
        return np.where(np.isfinite(x), x, np.nan)  # the range was the value's, and is no longer seen
    outside = np.zeros(len(x), bool)
    if column.low is not None:
        outside |= x < column.low
    if column.high is not None:
        outside |= x > column.high
    return np.where(outside | ~np.isfinite(x), np.nan, x)


def columns_of(study: Study, table: Table) -> Floats:
    """(n, p), checked. Raises BadInput: another study's table, or a value missing that must not be."""
    x = np.asarray(table.x, float)
    if table.names != tuple(column.name for column in study.columns) or x.shape != (len(table), len(study.columns)):
        raise BadInput("the table does not have the study's columns")
    found = np.empty_like(x)
    for place, column in enumerate(study.columns):
        found[:, place] = values(column, x[:, place])
        if column.missing == "refuse" and np.isnan(found[:, place]).any():
            raise BadInput(f"{column.name} is missing for some patients, and the study refuses that")
    return found


def usable(study: Study, table: Table) -> tuple[Rows, Rows]:
    """Patients to learn from, and those held out.

    Raises:
        BadInput: no such table, an outcome that is not 0 or 1, or too few to learn from.
    """
    x = columns_of(study, table)
    if study.outcome is None or table.y is None or table.y.shape != (len(x),) or table.place.shape != (len(x),):
        raise BadInput("the table has no outcome")
    y = np.asarray(table.y, float)
    known = np.isfinite(y)
    if study.outcome.missing == "refuse" and not known.all():
        raise BadInput("the outcome is missing for some patients, and the study refuses that")
    if not np.isin(y[known], (0.0, 1.0)).all():
        raise BadInput("the outcome must be 0 or 1")
    dropping = [place for place, column in enumerate(study.columns) if column.missing != "mean"]
    keep = known & ~np.isnan(x[:, dropping]).any(1)
    held = table.place < study.test_fraction
    learn, judge = (Rows(x[keep & chosen], y[keep & chosen]) for chosen in (~held, held))
    if len(learn) < MINIMUM_CELL:
        raise BadInput(f"fewer than {MINIMUM_CELL} patients are left to learn from")
    return learn, judge


def normalised(x: Floats, mean: Floats, sd: Floats) -> Floats:
    """Distances from the mean in standard deviations; what is missing is the mean."""
    scaled: Floats = (np.where(np.isnan(x), mean, x) - mean) / sd
    return scaled
