"""The slope of observed against predicted effects, on numbers that are known and on simulated people."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from twinward.errors import BadInput
from twinward.learning.response import LEAST, response, student
from twinward.physiology import cohort, hovorka
from twinward.physiology import glucose as s2008


@pytest.mark.parametrize(
    ("freedom", "coverage", "published"),
    [(1, 0.95, 12.706), (4, 0.95, 2.776), (10, 0.95, 2.228), (30, 0.9, 1.697), (100, 0.99, 2.626)],
)
def test_students_interval_is_the_tabled_one(freedom: int, coverage: float, published: float) -> None:
    assert student(freedom, coverage) == pytest.approx(published, abs=2e-3)


def test_a_line_is_found_whatever_all_corrections_have_in_common() -> None:
    predicted = [-10.0, -25.0, -40.0, -60.0, -30.0, -50.0]
    found = response(predicted, [-20.0 + 0.7 * each for each in predicted])
    assert found is not None
    assert (found.slope, found.low, found.high, found.n) == pytest.approx((0.7, 0.7, 0.7, 6))
    assert found.excludes_none


def test_the_interval_covers_as_often_as_it_says() -> None:
    chance = np.random.Generator(np.random.Philox(5))
    held = 0
    for _ in range(400):
        x = chance.uniform(-80, -10, 9)
        found = response(x.tolist(), (0.5 * x + 25 * chance.standard_normal(9)).tolist())
        assert found is not None
        held += found.low <= 0.5 <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_too_little_tells_nothing() -> None:
    assert response([], []) is None
    assert response([-10.0, -20.0, -30.0, -40.0][: LEAST - 1], [-1.0] * (LEAST - 1)) is None
    assert response([-30.0] * 20, list(range(20))) is None


@pytest.mark.parametrize("wrong", [([1.0], []), ([np.nan] * 5, [1.0] * 5), ([[1.0]], [[1.0]])])
def test_what_is_no_pair_of_effects_is_refused(wrong: tuple[Any, Any]) -> None:
    with pytest.raises(BadInput):
        response(*wrong)


def hovorka_effect(p: Any, units: float, minutes: int = 180) -> float:
    """mg/dL three hours after a correction at rest, in a body that is not the predicting one."""
    x, rate = hovorka.rest(p, 170.0)
    ends = []
    for given in (0.0, units):
        dose, out = np.full(minutes, rate), np.empty(minutes)
        dose[0] += given
        hovorka.simulate(p, x.copy(), np.zeros(minutes), dose, np.ones(minutes), out)
        ends.append(out[-1])
    return float(ends[1] - ends[0])


def s2008_effect(units: float, minutes: int = 180) -> float:
    p, basal = cohort.typical()
    p, x, ends = p.copy(), np.zeros(13), []
    s2008.rest(p, basal, x)
    for given in (0.0, units):
        dose, out = np.full(minutes, s2008.basal_rate(p)), np.empty(minutes)
        dose[0] += given
        s2008.simulate(p, x.copy(), np.zeros(3), np.zeros(minutes), dose, 1, out)
        ends.append(out[-1])
    return float(ends[1] - ends[0])


def test_on_simulated_people_the_slope_orders_sensitivity_and_noise_hides_it() -> None:
    """Truth is Hovorka, prediction S2008: slopes are not 1, but rise with the person's sensitivity."""
    doses = [0.3, 0.5, 0.8, 1.0, 1.2, 0.6, 0.9, 0.4, 1.1, 0.7]
    predicted = [s2008_effect(units) for units in doses]
    slopes = []
    for factor in (0.25, 0.5, 1.0):
        p = hovorka.TYPICAL.copy()
        p[[hovorka.SIT, hovorka.SID, hovorka.SIE]] *= factor
        observed = [hovorka_effect(p, units) for units in doses]
        found = response(predicted, observed)
        assert found is not None
        assert found.excludes_none
        slopes.append(found.slope)
    assert slopes[0] < slopes[1] < slopes[2]
    noise = 60 * np.random.Generator(np.random.Philox(1)).standard_normal(10)
    hidden = response(predicted, (np.array(predicted) + noise).tolist())
    assert hidden is not None
    assert not hidden.excludes_none
