"""The twin as a function of its rows: pieces, order, late data, snapshots."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.twin import glucose_features
from services.twin import glucose_kernels as kernels
from services.twin import glucose_layout as at
from services.twin.glucose import GlucoseTwin, warm
from services.twin.glucose_answers import LateData
from tests.unit.twin.glucose_rows import FIRST_MS, MINUTE, TWIN, lived, row
from twinward.errors import Malformed, TwinwardError, Unready
from twinward.learning import chance, conformal, ensemble, regression
from twinward.physiology import glucose as s2008
from twinward.record import (
    CARBOHYDRATES,
    CGM_GLUCOSE,
    INSULIN_BASAL_DOSE,
    INSULIN_BASAL_RATE,
    INSULIN_BOLUS,
    Flag,
    Measurement,
    Status,
)

CODES = (CGM_GLUCOSE, INSULIN_BOLUS, INSULIN_BASAL_RATE, INSULIN_BASAL_DOSE, CARBOHYDRATES, "loinc|41653-7")


def fed(rows: tuple[Measurement, ...] | list[Measurement], name: bytes = TWIN) -> GlucoseTwin:
    twin = GlucoseTwin.start(name, FIRST_MS, 75.0)
    twin.advance(rows)
    return twin


def instants(rows: tuple[Measurement, ...]) -> list[list[Measurement]]:
    """Rows of the same millisecond stay together: they are one step of the state."""
    grouped: dict[int, list[Measurement]] = {}
    for one in rows:
        grouped.setdefault(one.effective_ms, []).append(one)
    return list(grouped.values())


def test_one_by_one_in_pieces_or_at_once_is_the_same_bits() -> None:
    rows = lived()
    whole = fed(rows).dump()
    single = GlucoseTwin.start(TWIN, FIRST_MS, 75.0)
    for instant in instants(rows):
        single.advance(instant)
    assert single.dump() == whole
    assert fed(rows).dump() == whole


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(1, 900), max_size=6), st.randoms(use_true_random=False))
def test_any_cut_and_any_order_within_a_call_is_the_same_bits(cuts: list[int], shuffled: object) -> None:
    rows = lived(3)
    steps = instants(rows)
    twin, before = GlucoseTwin.start(TWIN, FIRST_MS, 75.0), 0
    for cut in [*sorted(cuts), len(steps)]:
        piece = [one for instant in steps[before:cut] for one in instant]
        shuffled.shuffle(piece)  # type: ignore[attr-defined]
        twin.advance(piece)
        before = max(before, cut)
    assert twin.dump() == fed(rows).dump()


def test_a_snapshot_in_the_middle_of_a_meal_goes_on_as_if_nothing_had_been() -> None:
    rows = lived()
    meals = [one.effective_ms for one in rows if one.code == CARBOHYDRATES and one.value > 40]
    cut = meals[3] + 3 * MINUTE
    early, late = [r for r in rows if r.effective_ms <= cut], [r for r in rows if r.effective_ms > cut]
    kept = fed(early)
    assert kept._flat[at.CARBS_WAITING] > 0
    restored = GlucoseTwin.load(kept.dump())
    assert restored.dump() == kept.dump()
    now = kept.state_ms + 20 * MINUTE
    assert restored.forecast([30, 60, 120], now) == kept.forecast([30, 60, 120], now)
    kept.advance(late)
    restored.advance(late)
    assert restored.dump() == kept.dump() == fed(rows).dump()


def test_late_data_are_told_and_a_replay_is_the_state_of_data_in_order() -> None:
    rows = lived()
    missing = next(r for r in rows[400:] if r.code == INSULIN_BOLUS)
    without = [r for r in rows if r is not missing]
    twin = fed(without)
    before = twin.dump()
    with pytest.raises(LateData) as refused:
        twin.advance([missing])
    assert refused.value.earliest_ms == missing.effective_ms
    assert twin.dump() == before
    early = [r for r in without if r.effective_ms < missing.effective_ms]
    late = [r for r in without if r.effective_ms >= missing.effective_ms]
    snapshot = GlucoseTwin.load(fed(early).dump())
    snapshot.advance([missing, *late])
    assert snapshot.dump() == fed(rows).dump() != before


def test_twins_draw_their_own_noise() -> None:
    rows = lived(2)
    assert not np.array_equal(fed(rows)._parts.members, fed(rows, b"another twin....")._parts.members)


def test_what_is_not_true_or_not_read_changes_nothing() -> None:
    rows = lived(1)
    last = rows[-1].effective_ms
    odd = [
        row(CGM_GLUCOSE, 100.5, 55.0, "mg/dL", status=Status.ENTERED_IN_ERROR),
        row(CGM_GLUCOSE, 101.5, 55.0, "mg/dL", flags=int(Flag.FUTURE)),
        row(CGM_GLUCOSE, 102.5, 5.0, "mmol/L"),
        row(CGM_GLUCOSE, 103.5, float("nan"), "mg/dL"),
        row(INSULIN_BOLUS, 105.5, -4.0, "[IU]"),
        row("loinc|8867-4", 106.5, 80.0, "/min"),
    ]
    mixed = sorted([*rows, *odd], key=lambda one: one.effective_ms)
    assert fed(mixed).dump() == fed(rows).dump()
    assert fed(rows).state_ms == last


def test_close_readings_are_counted_and_only_one_in_five_minutes_is_used() -> None:
    readings = [row(CGM_GLUCOSE, k, 120.0 + k % 3, "mg/dL") for k in range(1, 301)]
    twin = fed(readings)
    assert twin.readings == 300
    assert twin._flat[at.THINNED] == pytest.approx(300 * 0.75, abs=2)
    assert len(twin.recent()) == 36
    assert twin.forecast([30], twin.state_ms).points[0].median == pytest.approx(121, abs=12)


@pytest.mark.parametrize("step", [1, 3, 5, 7, 15])
def test_sensors_of_any_pace_learn_and_forecast(step: int) -> None:
    minutes = range(0, 5 * 1440, step)
    twin = fed([row(CGM_GLUCOSE, 1 + m, 140 + 40 * np.sin(m / 90), "mg/dL") for m in minutes])
    assert twin.coefficients == "own"
    truth = 140 + 40 * np.sin((minutes[-1] + 30) / 90)
    point = twin.forecast([30], twin.state_ms).points[0]
    assert point.low - 1 <= truth <= point.high + 1
    assert abs(point.median - truth) < 15


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(CODES),
            st.floats(0, 9000),
            st.floats(-10, 700),
            st.integers(0, 86_400),
        ),
        max_size=60,
    )
)  # fmt: skip
def test_gaps_and_nonsense_leave_every_number_finite(found: list[tuple[str, float, float, int]]) -> None:
    units = {CGM_GLUCOSE: "mg/dL", INSULIN_BASAL_RATE: "[IU]/h", CARBOHYDRATES: "g", "loinc|41653-7": "mg/dL"}
    rows = [row(code, m, v, units.get(code, "[IU]"), duration_s=d) for code, m, v, d in found]
    twin = fed(sorted(rows, key=lambda one: one.effective_ms))
    assert np.isfinite(twin._flat).all()
    now = twin.state_ms + 1
    try:
        answer = twin.forecast([1, 30, 45, 120], max(now, FIRST_MS))
    except TwinwardError as refused:
        pytest.fail(refused.public)
    assert answer.points or answer.notes
    for point in answer.points:
        assert 0 < point.low <= point.median <= point.high <= 600
    assert GlucoseTwin.load(twin.dump()).dump() == twin.dump()


def test_after_warming_no_patient_waits_for_a_compiler() -> None:
    """With and without a weight, young and old, restored: every kernel keeps the one signature it was warmed with."""

    def signatures() -> dict[str, int]:
        modules = (kernels, glucose_features, chance, conformal, ensemble, regression, s2008)
        found = ((f"{m.__name__}.{name}", getattr(m, name)) for m in modules for name in dir(m))
        return {name: len(each.signatures) for name, each in found if hasattr(each, "signatures")}

    warm()
    before = signatures()
    for weight in (None, 75.0):
        twin = GlucoseTwin.start(TWIN, FIRST_MS, weight)
        twin.advance(lived())
        twin = GlucoseTwin.load(twin.dump())
        twin.forecast([10, 30], twin.state_ms + 30 * MINUTE)
        twin.explain(30, twin.state_ms)
    assert signatures() == before
    assert before["services.twin.glucose_kernels.announce"] == 1


def test_a_damaged_or_foreign_dump_is_refused() -> None:
    good = fed(lived(1)).dump()
    for bad in (b"", b"nonsense", good[:100], good[:-5], good[:200] + b"\0" + good[201:], b"X" + good[1:]):
        with pytest.raises(Malformed):
            GlucoseTwin.load(bad)
    other = good.replace(GlucoseTwin.MODEL_VERSION.encode(), b"glucose-s2008-arx-0")
    with pytest.raises(Unready):
        GlucoseTwin.load(other)
