"""A study's question to a patient, against the same computed the long way."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import count
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.federation.query import Facts, Period, Question, TableBuilder, Unanswerable, age_in, place_of
from services.federation.study import Cohort, Column, Study
from twinward.codes import _rows
from twinward.record import SENSITIVE, Category, Measurement, Precision, Status
from twinward.vault.rows import from_measurements

GLUCOSE, PRESSURE, HBA1C = "loinc|2345-7", "loinc|8480-6", "loinc|4548-4"
DAY_MS = 86_400_000
START_MS = 1_767_225_600_000  # 2026-01-01
END_MS = 1_772_323_200_000  # 2026-03-01
FACTS = Facts(52.0, 1.0, frozenset({"snomed|44054006"}))
_numbers = count()


def measured(value: float, at_ms: int = START_MS, code: str = GLUCOSE, unit: str = "mg/dL", **more: Any) -> Measurement:
    return Measurement(
        code, at_ms, more.pop("received_ms", at_ms), value, unit, next(_numbers).to_bytes(16, "big"), **more
    )


def study(*columns: Column, **more: Any) -> Study:
    given: dict[str, Any] = {
        "title": "t",
        "question": "q",
        "author": "p-1",
        "purpose": "research",
        "recipe": "statistics",
    }
    return Study(**given | {"columns": columns} | more)


def asked(column: Column, *rows: Measurement, facts: Facts = FACTS, **more: Any) -> float | None:
    """The column's number: None where the patient is dropped, NaN where it is left missing."""
    found = Question(study(column, **more)).row(facts, from_measurements(rows))
    return None if found is None else float(found[0])


SERIES = (
    measured(100.0, START_MS + 2 * DAY_MS),
    measured(300.0, START_MS + 3 * DAY_MS),
    measured(110.0, START_MS + DAY_MS),
    measured(140.0, START_MS + 4 * DAY_MS),
)


@pytest.mark.parametrize(
    ("take", "expected"),
    [
        ("last", 140.0),
        ("first", 110.0),
        ("mean", 162.5),
        ("min", 100.0),
        ("max", 300.0),
        ("count", 4.0),
        ("present", 1.0),
    ],
)
def test_each_take(take: Any, expected: float) -> None:
    assert asked(Column("g", GLUCOSE, take=take), *SERIES) == expected


def test_of_two_records_of_one_moment_the_one_received_later_is_the_last() -> None:
    rows = (measured(1.0, START_MS, received_ms=START_MS + 9), measured(2.0, START_MS, received_ms=START_MS + 5))
    assert asked(Column("g", GLUCOSE), *rows) == 1.0


def test_values_outside_the_stated_range_do_not_count() -> None:
    assert asked(Column("g", GLUCOSE, take="max", high=200.0), *SERIES) == 140.0
    assert asked(Column("g", GLUCOSE, take="min", low=105.0), *SERIES) == 110.0
    assert asked(Column("g", GLUCOSE, high=50.0), *SERIES) is None


def test_the_range_is_stated_in_the_columns_unit() -> None:
    value = asked(Column("g", GLUCOSE, unit="mmol/L", take="max", high=10.0), *SERIES)
    assert value == pytest.approx(140.0 / 18.016)


def test_units_are_converted_by_analyte() -> None:
    assert asked(Column("h", HBA1C, unit="mmol/mol"), measured(7.0, code=HBA1C, unit="%")) == pytest.approx(
        53.0, abs=0.1
    )
    # A value that was stored in another unit of its analyte.
    assert asked(Column("g", GLUCOSE), measured(10.0, unit="mmol/L")) == pytest.approx(180.16)


def test_a_unit_that_cannot_be_converted_is_an_answer_that_cannot_be_given() -> None:
    with pytest.raises(Unanswerable):
        asked(Column("g", GLUCOSE), measured(10.0, unit="furlong"), measured(100.0))
    with pytest.raises(Unanswerable):
        asked(Column("g", GLUCOSE, unit="kg"), measured(100.0))
    assert asked(Column("g", GLUCOSE, take="count"), measured(10.0, unit="furlong")) == 1.0


def test_missing_says_what_happens() -> None:
    with pytest.raises(Unanswerable):
        asked(Column("g", GLUCOSE, missing="refuse"))
    assert asked(Column("g", GLUCOSE, missing="drop")) is None
    assert math.isnan(asked(Column("g", GLUCOSE, missing="mean")) or 0.0)
    outcome = Column("y", PRESSURE, missing="mean")
    assert asked(Column("g", GLUCOSE), measured(100.0), outcome=outcome) is None, "an outcome is never made up"


def test_text_answers_and_cancelled_records_are_no_numbers() -> None:
    rows = (measured(float("nan"), text="high"), measured(90.0, START_MS + 5, status=Status.CANCELLED))
    assert asked(Column("g", GLUCOSE), *rows) is None
    assert asked(Column("g", GLUCOSE, take="count"), *rows) == 1.0


def test_above_makes_a_number_a_yes_or_no_and_leaves_the_missing_missing() -> None:
    assert asked(Column("g", GLUCOSE, take="max", above=200.0), *SERIES) == 1.0
    assert asked(Column("g", GLUCOSE, take="max", above=300.0), *SERIES) == 0.0
    assert math.isnan(asked(Column("g", GLUCOSE, missing="mean", above=1.0)) or 0.0)


def test_the_period_has_both_its_months_whole() -> None:
    period = Cohort(first_month=202601, last_month=202602)
    column = Column("g", GLUCOSE, take="count")
    inside = (measured(1.0, START_MS), measured(1.0, END_MS - 1))
    outside = (measured(1.0, START_MS - 1), measured(1.0, END_MS), measured(1.0, START_MS, precision=Precision.NONE))
    assert asked(column, *inside, *outside, cohort=period) == 2.0
    assert asked(column, *inside, *outside) == 5.0
    assert Period.of(202512, 202512) == Period(START_MS - 31 * DAY_MS, START_MS)


def test_what_the_index_knows() -> None:
    assert asked(Column("a", "patient|age")) == 52.0
    assert asked(Column("a", "patient|age", above=60.0)) == 0.0
    assert asked(Column("f", "patient|female")) == 1.0
    assert asked(Column("f", "patient|female"), facts=replace(FACTS, female=float("nan"))) is None
    assert asked(Column("d", "condition|snomed|44054006", take="present")) == 1.0
    assert asked(Column("d", "condition|snomed|53741008", take="present")) == 0.0
    with pytest.raises(Unanswerable):
        asked(Column("n", "patient|name"))


@pytest.mark.parametrize(
    ("cohort", "wanted"),
    [
        (Cohort(), True),
        (Cohort(conditions=("snomed|53741008", "snomed|44054006")), True),
        (Cohort(conditions=("snomed|53741008",)), False),
        (Cohort(age_from=52), True),
        (Cohort(age_from=53), False),
        (Cohort(age_until=53), True),
        (Cohort(age_until=52), False),
    ],
)
def test_who_takes_part(cohort: Cohort, wanted: bool) -> None:
    question = Question(study(Column("g", GLUCOSE), cohort=cohort))
    assert question.wants(FACTS) is wanted


def test_nobody_of_unknown_age_is_in_a_cohort_of_an_age() -> None:
    unknown = replace(FACTS, age=float("nan"))
    assert not Question(study(cohort=Cohort(age_from=0))).wants(unknown)
    assert not Question(study(cohort=Cohort(age_until=99))).wants(unknown)


def test_codes_of_the_cohort_must_exist_in_the_period() -> None:
    cohort = Cohort(codes=(PRESSURE,), first_month=202601, last_month=202602)
    there = measured(120.0, START_MS, code=PRESSURE, unit="mm[Hg]")
    before = replace(there, effective_ms=START_MS - 1)
    assert asked(Column("g", GLUCOSE), measured(99.0), there, cohort=cohort) == 99.0
    assert asked(Column("g", GLUCOSE), measured(99.0), before, cohort=cohort) is None


def test_age_in_years() -> None:
    assert age_in(2026, 1976) == 50.0
    assert math.isnan(age_in(2026, None))
    assert math.isnan(age_in(2026, 2027))


def test_a_sensitive_condition_is_no_question_for_the_index() -> None:
    code = next(
        f"{row['system']}|{row['code'].partition('-')[0]}"
        for row in _rows("conditions.csv")
        if Category[row["category"]] in SENSITIVE
    )
    for asks in (study(Column("d", f"condition|{code}", take="present")), study(cohort=Cohort(conditions=(code,)))):
        with pytest.raises(Unanswerable):
            Question(asks)


def test_a_patient_whose_conditions_are_not_all_known_may_be_in_the_cohort() -> None:
    question = Question(study(cohort=Cohort(conditions=("snomed|53741008",))))
    assert not question.wants(FACTS)
    assert question.wants(replace(FACTS, sure=False))


def test_a_table_is_the_same_in_whatever_order_patients_come() -> None:
    question = Question(study(Column("g", GLUCOSE), outcome=Column("y", PRESSURE), seed=3))
    handles = [UUID(int=number) for number in (9, 2, 7)]
    rows = {
        handle: from_measurements(
            [measured(float(handle.int)), measured(float(handle.int) * 2, code=PRESSURE, unit="mm[Hg]")]
        )
        for handle in handles
    }
    tables = []
    for order in (handles, handles[::-1]):
        builder = TableBuilder(question)
        for handle in order:
            builder.add(handle, FACTS, rows[handle])
        tables.append(builder.table())
    (one, first), (other, second) = tables
    assert first == second == tuple(sorted(handles))
    assert one.names == ("g",)
    assert one.x[:, 0].tolist() == other.x[:, 0].tolist() == [2.0, 7.0, 9.0]
    assert one.y is not None
    assert one.y.tolist() == [4.0, 14.0, 18.0]
    assert one.place.tolist() == other.place.tolist()


def test_an_empty_table_has_its_shape() -> None:
    table, handles = TableBuilder(Question(study(Column("g", GLUCOSE)))).table()
    assert (table.x.shape, table.y, handles) == ((0, 1), None, ())


def test_places_are_spread_and_depend_on_the_seed() -> None:
    handles = [UUID(int=number) for number in range(4000)]
    places = np.array([place_of(handle, 1) for handle in handles])
    assert places.min() >= 0.0
    assert places.max() < 1.0
    assert abs((places < 0.2).mean() - 0.2) < 0.03
    assert place_of(handles[0], 1) != place_of(handles[0], 2)


# The long way ----------------------------------------------------------------------

TIMES = st.integers(START_MS - 3 * DAY_MS, END_MS + 3 * DAY_MS)
VALUES = st.one_of(st.floats(1.0, 500.0), st.just(float("nan")))
STORED = {GLUCOSE: "mg/dL", PRESSURE: "mm[Hg]"}
RECORDS = st.lists(
    st.tuples(
        st.sampled_from([GLUCOSE, PRESSURE]), TIMES, st.integers(0, 1000), VALUES, st.sampled_from(list(Status)),
        st.sampled_from(list(Precision)), st.sampled_from(["canonical", "mmol/L"]),
    ),
    max_size=30,
)  # fmt: skip
EDGE = st.one_of(st.none(), st.floats(1.0, 500.0))
COLUMNS = st.builds(
    Column,
    name=st.just("g"),
    code=st.just(GLUCOSE),
    unit=st.sampled_from(["", "mg/dL", "mmol/L"]),
    take=st.sampled_from(["last", "first", "mean", "min", "max", "count", "present"]),
    missing=st.sampled_from(["drop", "mean"]),
    low=EDGE,
    high=EDGE,
    above=EDGE,
)
MONTHS = st.sampled_from([None, 202601, 202602])


def the_long_way(column: Column, cohort: Cohort, rows: list[Measurement]) -> float | None:
    kept = []
    for row in rows:
        dated = row.precision is not Precision.NONE
        if row.code != column.code or row.status is Status.CANCELLED:
            continue
        if cohort.first_month and (
            not dated or row.effective_ms < (START_MS, START_MS + 31 * DAY_MS)[cohort.first_month == 202602]
        ):
            continue
        if cohort.last_month and (
            not dated or row.effective_ms >= (START_MS + 31 * DAY_MS, END_MS)[cohort.last_month == 202602]
        ):
            continue
        kept.append(row)

    def within(value: float) -> bool:
        return (column.low is None or value >= column.low) and (column.high is None or value <= column.high)

    if column.take in ("count", "present"):
        found = [float(len(kept) if column.take == "count" else bool(kept))]
    else:
        kept.sort(key=lambda row: (row.precision is not Precision.NONE, row.effective_ms, row.received_ms))
        found = []
        for row in kept:
            value = row.value * 18.016 if row.unit == "mmol/L" else row.value
            found.append(value / 18.016 if column.unit == "mmol/L" else value)
    found = [value for value in found if not math.isnan(value) and within(value)]
    if not found:
        return None if column.missing == "drop" else float("nan")
    value = {
        "last": found[-1], "first": found[0], "mean": sum(found) / len(found), "min": min(found), "max": max(found),
    }.get(column.take, found[0])  # fmt: skip
    return value if column.above is None else float(value > column.above)


@given(records=RECORDS, column=COLUMNS, first=MONTHS, last=MONTHS)
def test_the_table_equals_the_long_way(records: list[Any], column: Column, first: int | None, last: int | None) -> None:
    rows = [
        measured(
            value, at, code, STORED[code] if code == PRESSURE or unit == "canonical" else unit,
            received_ms=at + late, status=status, precision=precision,
        )
        for code, at, late, value, status, precision, unit in records
    ]  # fmt: skip
    cohort = Cohort(first_month=first, last_month=last)
    expected = the_long_way(column, cohort, rows)
    found = asked(column, *rows, cohort=cohort)
    if expected is None or found is None:
        assert expected is found is None
    else:
        assert found == pytest.approx(expected, rel=1e-12, nan_ok=True)
