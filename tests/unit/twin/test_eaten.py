"""A state is continued exactly when what it has eaten is still what is stored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from services.twin.eaten import Inputs, same_food
from services.twin.model_inputs import inputs_of as inputs_of_rows
from services.twin.model_inputs import weight_at
from twinward.record import CGM_GLUCOSE, INSULIN_BOLUS, Flag, Measurement, Precision, Status
from twinward.vault.rows import from_measurements

LINEAGE = b"1" * 16
START = 1_767_225_600_000 - 12 * 3_600_000  # 2025-12-31T12:00Z: the rows cross a year's end


def inputs_of(rows: Iterable[Measurement]) -> tuple[Inputs, list[tuple[int, float]]]:
    return inputs_of_rows(from_measurements(rows))


rows = st.lists(
    st.builds(
        Measurement,
        code=st.sampled_from([CGM_GLUCOSE, INSULIN_BOLUS]),
        effective_ms=st.integers(0, 288).map(lambda n: START + n * 300_000),
        received_ms=st.integers(START, START + 10**9),
        value=st.floats(1, 400),
        unit=st.just("mg/dL"),
        lineage=st.binary(min_size=16, max_size=16),
        flags=st.sampled_from([0, int(Flag.RECEIVED_LATE), int(Flag.AT_SENSOR_LIMIT)]),
        source=st.sampled_from(["a", "b"]),
    ),
    min_size=2,
    max_size=40,
)


@given(rows, st.randoms())
def test_order_of_arrival_does_not_matter(given_rows: list[Measurement], chance: object) -> None:
    first, _ = inputs_of(given_rows)
    shuffled = list(given_rows)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    second, _ = inputs_of(replace(one, received_ms=one.received_ms + 1) for one in shuffled)
    assert first.rows.tobytes() == second.rows.tobytes()
    assert first.digests() == second.digests()


@given(rows, st.integers(0, 288))
def test_later_rows_do_not_disturb_and_earlier_ones_do(given_rows: list[Measurement], at: int) -> None:
    inputs, _ = inputs_of(given_rows)
    through = START + at * 300_000
    eaten = inputs.part(None, through).digests()
    assert same_food(eaten, inputs, through, 0)
    later = replace(given_rows[0], effective_ms=through + 1)
    assert same_food(eaten, inputs_of([*given_rows, later])[0], through, 0)
    late = replace(given_rows[0], effective_ms=through)
    assert not same_food(eaten, inputs_of([*given_rows, late])[0], through, 0)
    before = [one for one in given_rows if one.effective_ms <= through]
    if before:
        corrected = [replace(before[0], value=before[0].value + 0.5), *before[1:]]
        assert not same_food(eaten, inputs_of(corrected)[0], through, 0)


def test_months_the_lease_does_not_open_are_not_compared() -> None:
    december = Measurement(CGM_GLUCOSE, START, START, 100.0, "mg/dL", b"1" * 16)
    january = replace(december, effective_ms=START + 13 * 3_600_000)
    eaten = inputs_of([december, january])[0].digests()
    assert set(eaten) == {202512, 202601}
    assert same_food(eaten, inputs_of([january])[0], january.effective_ms, 202601)
    assert not same_food(eaten, inputs_of([january])[0], january.effective_ms, 202512)


def test_what_is_not_true_of_the_patient_is_left_out() -> None:
    good = Measurement(CGM_GLUCOSE, START, START, 100.0, "mg/dL", b"1" * 16)
    bad = [
        replace(good, status=Status.ENTERED_IN_ERROR),
        replace(good, status=Status.CANCELLED),
        replace(good, value=float("nan")),
        replace(good, flags=int(Flag.FUTURE)),
        replace(good, flags=int(Flag.UNIT_UNKNOWN)),
        replace(good, precision=Precision.DAY),
        replace(good, code="loinc|8867-4"),
    ]
    inputs, weights = inputs_of([good, *bad])
    assert len(inputs) == 1
    assert weights == []


def test_the_weight_in_force() -> None:
    weights = [(10, 70.0), (20, 80.0)]
    assert weight_at(weights, 5) == 70.0
    assert weight_at(weights, 15) == 70.0
    assert weight_at(weights, 20) == 80.0
    assert weight_at([], 20) is None
