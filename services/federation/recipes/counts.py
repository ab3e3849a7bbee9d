"""What `statistics` counts: one list of counts for a study, and the equations between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.federation.course import Floats
from services.federation.recipes.options import StatisticsOptions, binary, options
from services.federation.recipes.suppression import Equation, Key
from services.federation.study import Column, Study
from services.federation.study_rules import MINIMUM_CELL
from twinward.errors import BadInput

POOLED = ""  # the place of all hospitals together; no hospital is called so
ANSWERS = ("0", "1", "missing")
N: Key = ("n",)
TABLE, MOMENTS = "#table", "#moments"  # no column is called so


@dataclass(frozen=True, slots=True)
class Layout:
    """Names of the counts, in the order in which they travel, and of the columns that have a mean."""

    study: Study
    how: StatisticsOptions
    counts: tuple[Key, ...]
    measured: tuple[int, ...]  # places of columns with mean and spread

    @classmethod
    def of(cls, study: Study) -> Layout:
        how = options(StatisticsOptions, study)
        counts: list[Key] = [N]
        for column in study.columns:
            counts += [(column.name, "count"), (column.name, "missing")]
            if binary(study, column.name):
                counts += [(column.name, "0"), (column.name, "1")]
            if column.name in how.histograms:
                counts += [(column.name, "bin", str(k)) for k in range(how.bins)]
        for table in how.crosstabs:
            counts += [(TABLE, table.rows, table.columns, i, j) for i in ANSWERS for j in ANSWERS]
        measured = tuple(k for k, column in enumerate(study.columns) if not binary(study, column.name))
        return cls(study, how, tuple(dict.fromkeys(counts)), measured)

    @property
    def size(self) -> int:
        """Of an answer: each count, whether it is withheld, and three numbers a measured column."""
        return 2 * len(self.counts) + 3 * len(self.measured)

    def equations(self, place: str) -> list[Equation]:
        """Between the counts of one place."""
        found: list[Equation] = []
        for column in self.study.columns:
            name = column.name
            found.append(Equation((place, "n"), self._keys(place, [(name, "count"), (name, "missing")])))
            if binary(self.study, name):
                found.append(Equation((place, name, "count"), self._keys(place, [(name, "0"), (name, "1")])))
            if name in self.how.histograms:
                bins = [(name, "bin", str(k)) for k in range(self.how.bins)]
                found.append(Equation((place, name, "count"), self._keys(place, bins)))
        for table in self.how.crosstabs:
            head: Key = (TABLE, table.rows, table.columns)
            for i in ANSWERS:
                found.append(Equation((place, table.rows, i), self._keys(place, [(*head, i, j) for j in ANSWERS])))
                found.append(Equation((place, table.columns, i), self._keys(place, [(*head, j, i) for j in ANSWERS])))
        return found

    def below(self, place: str, values: Mapping[Key, float]) -> dict[Key, tuple[float, Equation]]:
        """A quantile tells how many lie in the bins before its own: counts too, by (place, column, "below", bin).

        `values` has the bins of the place.
        """
        found: dict[Key, tuple[float, Equation]] = {}
        for name in self.how.histograms:
            bins = self._keys(place, [(name, "bin", str(k)) for k in range(self.how.bins)])
            for q in self.how.quantiles:
                k = bin_of([values[key] for key in bins], q)
                if k:
                    total: Key = (place, name, "below", str(k))
                    found[total] = sum(values[key] for key in bins[:k]), Equation(total, bins[:k])
        return found

    def across(self, sites: Sequence[str]) -> list[Equation]:
        """Between the hospitals' counts and those of all."""
        keys = [*self.counts, *((MOMENTS, self.study.columns[k].name) for k in self.measured)]
        return [Equation((POOLED, *key), tuple((site, *key) for site in sites)) for key in keys]

    def protected(self, values: dict[Key, float]) -> set[Key]:
        """Counts that are never shown: 1 to 9, and 0 where it says of everybody in a group what they are not."""
        return {key for key, value in values.items() if 0 < value < MINIMUM_CELL or (value == 0 and _telling(key))}

    @staticmethod
    def _keys(place: str, keys: Sequence[Key]) -> tuple[Key, ...]:
        return tuple((place, *key) for key in keys)


def _telling(key: Key) -> bool:
    """Whether a count of nobody says something of everybody: an answer that is known, not a bin or what is missing."""
    return key[2:] in (("0",), ("1",)) or (key[1] == TABLE and "missing" not in key[4:])


def bin_of(counts: Sequence[float], q: float) -> int:
    """The bin in which the quantile lies; 0 where there is nobody."""
    wanted, below = q * sum(counts), 0.0
    for k, count in enumerate(counts):
        below += count
        if count and below >= wanted:
            return k
    return 0


def edges(column: Column, bins: int) -> Floats:
    """Of a histogram over the stated range; the last bin holds its upper end."""
    if column.low is None or column.high is None:
        raise BadInput("a histogram needs low and high")
    return np.linspace(column.low, column.high, bins + 1)


def count(layout: Layout, x: Floats) -> dict[Key, float]:
    """Every count of a table (n, p) of checked values."""
    study = layout.study
    found: dict[Key, float] = {N: float(len(x))}
    answers: dict[str, Floats] = {}
    for place, column in enumerate(study.columns):
        values = x[:, place]
        gone = np.isnan(values)
        found[column.name, "missing"] = float(gone.sum())
        found[column.name, "count"] = float(len(x) - gone.sum())
        if binary(study, column.name):
            if not np.isin(values[~gone], (0.0, 1.0)).all():
                raise BadInput(f"{column.name} must be 0 or 1")
            answers[column.name] = np.where(gone, 2.0, values)
            for answer in (0, 1):
                found[column.name, str(answer)] = float(np.sum(answers[column.name] == answer))
        if column.name in layout.how.histograms:
            numbers, _ = np.histogram(values[~gone], edges(column, layout.how.bins))
            found |= {(column.name, "bin", str(k)): float(number) for k, number in enumerate(numbers)}
    for table in layout.how.crosstabs:
        for i, row in enumerate(ANSWERS):
            for j, col in enumerate(ANSWERS):
                both = (answers[table.rows] == i) & (answers[table.columns] == j)
                found[TABLE, table.rows, table.columns, row, col] = float(both.sum())
    return found
