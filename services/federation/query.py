"""A study's question to one patient: a row of numbers out of what is stored.

A column is the records of its code in the study's period, in the study's unit,
without those outside the stated range, and of these one number (`take`). What is
left without a number is missing, and `missing` says what that means. Values are
stored in the canonical unit of their analyte; a unit that cannot be converted
makes the whole question unanswerable, because leaving the record out would change
the answer without a word.

Cost: for each patient one pass over their rows per column.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from services.federation.study import Column, Study
from services.federation.table import Table
from twinward.codes import canonical, condition_category, meaning
from twinward.record import Category, Handle, Precision, Status
from twinward.units import conversion
from twinward.vault.rows import Rows

Floats = npt.NDArray[np.float64]

PATIENT = "patient|"
CONDITION = "condition|"
MISSING = float("nan")
PLACE = b"twinward/place/1"


class Unanswerable(Exception):
    """The hospital's data cannot answer the question as it is asked: the refusal DATA. Says nothing of whom."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a patient beside measurements."""

    age: float  # years that they become in the last year of the period; NaN: unknown
    female: float  # 1 or 0; NaN: unknown
    conditions: frozenset[str]  # "snomed|53741008", of those that the study names
    sure: bool = True  # False: there may be conditions that are not known yet


@dataclass(frozen=True, slots=True)
class Period:
    """Half-open, in ms; None: open."""

    start_ms: int | None
    end_ms: int | None

    @classmethod
    def of(cls, first_month: int | None, last_month: int | None) -> Period:
        """From months (year * 100 + month), both included."""
        end = None if last_month is None else _start_ms(_following(last_month))
        return cls(None if first_month is None else _start_ms(first_month), end)

    def holds(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Mask of rows in it. A record without clinical time lies in a period that has no beginning and no end."""
        undated = rows.precision == Precision.NONE
        inside = np.ones(len(rows), dtype=np.bool_)
        if self.start_ms is not None:
            inside &= (rows.effective_ms >= self.start_ms) & ~undated
        if self.end_ms is not None:
            inside &= (rows.effective_ms < self.end_ms) & ~undated
        return inside


def _start_ms(month: int) -> int:
    return int(np.datetime64(f"{month // 100:04d}-{month % 100:02d}", "ms").astype(np.int64))


def _following(month: int) -> int:
    return month + 1 if month % 100 < 12 else month + 89


def age_in(year: int, birth_year: int | None) -> float:
    """Years that a person born in `birth_year` becomes in `year`: the index knows no day of birth."""
    if birth_year is None or birth_year > year:
        return MISSING
    return float(year - birth_year)


class Question:
    """A study's, ready to be asked of patient after patient."""

    def __init__(self, study: Study) -> None:
        """
        Raises:
            Unanswerable: it asks for what no patient here could show.
        """
        self.study = study
        self.columns = (*study.columns, *((study.outcome,) if study.outcome is not None else ()))
        self.period = Period.of(study.cohort.first_month, study.cohort.last_month)
        self.codes = tuple(canonical(code) for code in study.cohort.codes)
        named = (column.code.removeprefix(CONDITION) for column in self.columns if column.code.startswith(CONDITION))
        self.conditions = frozenset((*study.cohort.conditions, *named))
        stored = (column.code for column in self.columns if not column.code.startswith((CONDITION, PATIENT)))
        found = (meaning(code) for code in (*stored, *self.codes))
        self.measured = frozenset(int(one.category) for one in found if one is not None)
        # Of sensitive conditions the index says nothing, so that their absence would be no answer.
        if any(condition_category([code]) is not Category.CONDITIONS for code in self.conditions):
            raise Unanswerable

    def wants(self, facts: Facts) -> bool:
        """Whether what is known beside measurements lets the patient in."""
        cohort = self.study.cohort
        if cohort.conditions and facts.sure and not facts.conditions.intersection(cohort.conditions):
            return False
        if cohort.age_from is None and cohort.age_until is None:
            return True
        return (cohort.age_from or 0) <= facts.age and (cohort.age_until is None or facts.age < cohort.age_until)

    def row(self, facts: Facts, rows: Rows) -> Floats | None:
        """The patient's numbers, outcome last; NaN where missing. None: not in the cohort, or dropped.

        Raises:
            Unanswerable: a unit that cannot be converted, or something missing that may not be.
        """
        inside = rows.take(self.period.holds(rows) & (rows.status != Status.CANCELLED))
        present = {inside.codes[place] for place in np.unique(inside.code)}
        if not present.issuperset(self.codes):
            return None
        values = np.array([self._value(column, facts, inside) for column in self.columns])
        for column, value in zip(self.columns, values, strict=True):
            if not np.isnan(value):
                continue
            if column.missing == "refuse":
                raise Unanswerable
            if column.missing == "drop" or column is self.study.outcome:
                return None
        return values

    def _value(self, column: Column, facts: Facts, rows: Rows) -> float:
        if column.code.startswith(CONDITION):
            return float(column.code.removeprefix(CONDITION) in facts.conditions)
        if column.code == f"{PATIENT}female":
            return facts.female
        if column.code == f"{PATIENT}age":
            return _judged(column, facts.age)
        if column.code.startswith(PATIENT):
            raise Unanswerable
        found = rows.with_code(canonical(column.code))
        if column.take == "count":
            return _judged(column, float(len(found)))
        if column.take == "present":
            return _judged(column, float(len(found) > 0))
        found = found.take(np.isfinite(found.value))
        values = _in_unit(column, found)
        kept = _in_range(column, values)
        if not kept.any():
            return MISSING
        order = _by_time(found)
        return _above(column, TAKES[column.take](values[order][kept[order]]))


# Of values by time, shape (n,), n > 0.
TAKES: dict[str, Callable[[Floats], float]] = {
    "last": lambda values: float(values[-1]),
    "first": lambda values: float(values[0]),
    "mean": lambda values: float(values.mean()),
    "min": lambda values: float(values.min()),
    "max": lambda values: float(values.max()),
}


def _by_time(rows: Rows) -> npt.NDArray[np.intp]:
    """Order of effective time, then of receipt; what has no time comes first."""
    dated = rows.precision != Precision.NONE
    order: npt.NDArray[np.intp] = np.lexsort((rows.received_ms, rows.effective_ms, dated))
    return order


def _in_unit(column: Column, rows: Rows) -> Floats:
    """Values in the column's unit (canonical where it names none). Raises Unanswerable."""
    known = meaning(column.code)
    if known is None or not known.quantity:
        raise Unanswerable
    values = rows.value.copy()
    for place in np.unique(rows.unit):
        if rows.units[place] != known.unit:
            here = rows.unit == place
            to = conversion(column.code, rows.units[place])
            if to is None:
                raise Unanswerable
            values[here] = values[here] * to.factor + to.offset
    if column.unit:
        of = conversion(column.code, column.unit)
        if of is None:
            raise Unanswerable
        values = (values - of.offset) / of.factor
    return values


def _in_range(column: Column, values: Floats) -> npt.NDArray[np.bool_]:
    low = -np.inf if column.low is None else column.low
    high = np.inf if column.high is None else column.high
    return (values >= low) & (values <= high)


def _judged(column: Column, value: float) -> float:
    """Range and threshold for a number that is one a patient."""
    return _above(column, value) if bool(_in_range(column, np.array([value]))[0]) else MISSING


def _above(column: Column, value: float) -> float:
    return value if column.above is None or np.isnan(value) else float(value > column.above)


def place_of(handle: Handle, seed: int) -> float:
    """A patient's fixed place in [0, 1) under a study's seed: the same in every round and on every day."""
    digest = hashlib.sha256(PLACE + seed.to_bytes(8, "big", signed=True) + handle.bytes).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)


@dataclass
class TableBuilder:
    """Collects rows; `table` puts patients in the order of their handles, so that it is the same every time."""

    question: Question
    _rows: dict[Handle, Floats] = field(default_factory=dict)

    def add(self, handle: Handle, facts: Facts, rows: Rows) -> None:
        """Raises Unanswerable."""
        made = self.question.row(facts, rows)
        if made is not None:
            self._rows[handle] = made

    def table(self) -> tuple[Table, tuple[Handle, ...]]:
        study = self.question.study
        handles = tuple(sorted(self._rows))
        every = _stacked([self._rows[handle] for handle in handles], len(self.question.columns))
        width = len(study.columns)
        names = tuple(column.name for column in study.columns)
        outcome = every[:, width].copy() if study.outcome is not None else None
        place = np.array([place_of(handle, study.seed) for handle in handles], dtype=np.float64)
        return Table(names, every[:, :width].copy(), outcome, place), handles


def _stacked(rows: Sequence[Floats], width: int) -> Floats:
    return np.stack(rows) if rows else np.empty((0, width), dtype=np.float64)


def root_of(handles: Iterable[Handle]) -> bytes:
    """What commits to a cohort: SHA-256 over the handles in order, 32 bytes."""
    return hashlib.sha256(b"".join(handle.bytes for handle in handles)).digest()
