"""What may be said of a cohort: recovered where the truth is known, and not said where it is not estimable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.twin.session_cohort import done_by, pass_mark, reliability, summary
from twinward.errors import BadInput, Unready


def test_a_pass_mark_is_where_the_line_meets_borderline() -> None:
    chance = np.random.default_rng(1)
    ratings = chance.integers(1, 6, 400).astype(float)
    scores = 20.0 + 12.0 * ratings + chance.normal(0.0, 6.0, 400)
    found = pass_mark(scores, ratings, seed=3)
    assert abs(found.mark - 56.0) < 3 * found.error
    assert found.error == pytest.approx(6.0 / np.sqrt(400), rel=0.25)
    assert 0.8 < found.r2 < 0.95
    assert pass_mark(scores, ratings, seed=3) == found


@given(st.integers(0, 49))
def test_a_pass_mark_is_hidden_below_fifty(count: int) -> None:
    with pytest.raises(Unready):
        pass_mark([50.0] * count, [3.0] * count, seed=1)


def test_a_pass_mark_refuses_what_is_no_rating() -> None:
    with pytest.raises(BadInput):
        pass_mark([50.0] * 60, [6.0] * 60, seed=1)
    with pytest.raises(BadInput):
        pass_mark([float("nan")] * 60, [3.0] * 60, seed=1)
    with pytest.raises(Unready):
        pass_mark([50.0] * 60, [3.0] * 60, seed=1)


def test_reliability_recovers_known_components() -> None:
    chance = np.random.default_rng(2)
    table = 60.0 + chance.normal(0, 8, (2000, 1)) + chance.normal(0, 5, (1, 8)) + chance.normal(0, 12, (2000, 8))
    found = reliability(table)
    assert found.learner == pytest.approx(64.0, rel=0.1)
    assert found.residual == pytest.approx(144.0, rel=0.05)
    assert found.coefficient == pytest.approx(64 / (64 + 144 / 8), rel=0.05)
    assert found.summative
    assert not reliability(table[:, :4]).summative  # too few cases, however good


@settings(max_examples=30)
@given(st.integers(2, 40), st.integers(2, 9), st.integers(0, 999))
def test_reliability_lies_in_bounds_or_is_not_estimable(learners: int, cases: int, seed: int) -> None:
    table = np.random.default_rng(seed).uniform(0, 100, (learners, cases))
    if learners < 30 or cases < 4:
        with pytest.raises(Unready, match="not estimable"):
            reliability(table)
        return
    found = reliability(table)
    assert 0.0 <= found.coefficient <= 1.0
    shifted = reliability(table + 7.0)
    assert shifted.coefficient == pytest.approx(found.coefficient)


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e4)), max_size=30), st.floats(0, 1e4), st.floats(0, 1e4))
def test_more_have_done_it_later(times: list[float | None], a: float, b: float) -> None:
    assert done_by(times, min(a, b)) <= done_by(times, max(a, b)) <= 1.0


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_a_summary_is_in_order(totals: list[float]) -> None:
    found = summary(totals)
    assert found.low <= found.median <= found.high
    assert min(totals) - 1e-9 <= found.mean <= max(totals) + 1e-9


def test_without_scores_there_is_no_summary() -> None:
    with pytest.raises(Unready):
        summary([])
