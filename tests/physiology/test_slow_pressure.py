"""Law 2003 (design row 14 of validation), and what its form promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinward.errors import BadInput, Malformed, NotFound
from twinward.physiology import slow_pressure as sp
from twinward.physiology.slow_pressure import AVERAGE, Course, Treatment, steady

CLASSES = [name for name in sp.FALLS if name != AVERAGE]


@pytest.mark.parametrize(("multiple", "expected"), [(1.0, (9.1, 5.5)), (0.5, (7.1, 4.4))])
def test_average_falls_of_the_abstract(multiple: float, expected: tuple[float, float]) -> None:
    """Fitted-to [S]: at the trials' usual pressure; exact."""
    fall = steady((Treatment(AVERAGE, multiple),), 154.0, 97.0)
    assert (fall.systolic, fall.diastolic) == pytest.approx(expected, abs=1e-9)


def test_ten_more_before_is_one_more_fall() -> None:
    """Fitted-to [S]: 1.0 and 1.1 mmHg per 10."""
    low, high = (steady((Treatment(AVERAGE, 1.0),), s, d) for s, d in ((154.0, 97.0), (164.0, 107.0)))
    assert high.systolic - low.systolic == pytest.approx(1.0)
    assert high.diastolic - low.diastolic == pytest.approx(1.1)


def test_three_halves_from_150_over_90() -> None:
    """The paper's conclusion, about 20/11 [M]; not put in, so a check of form. Tolerance 0.5 mmHg."""
    fall = steady((Treatment(AVERAGE, 0.5),) * 3, 150.0, 90.0)
    assert (fall.systolic, fall.diastolic) == pytest.approx((20.0, 11.0), abs=0.5)


def test_classes_lie_around_their_average() -> None:
    """Self: class values [M] against the average [S]: within 0.4 mmHg at the standard dose and half."""
    for place, expected in ((0, 7.1), (1, 9.1)):
        assert np.mean([sp.FALLS[name][place][0] for name in CLASSES]) == pytest.approx(expected, abs=0.4)


@given(st.lists(st.sampled_from(CLASSES), max_size=3, unique=True), st.floats(0.5, 2), st.floats(120, 200))
def test_effects_add_and_more_is_more(names: list[str], multiple: float, before: float) -> None:
    each = [steady((Treatment(n, multiple),), before, 90.0).systolic for n in names]
    both = steady(tuple(Treatment(n, multiple) for n in names), before, 90.0)
    assert both.systolic == pytest.approx(sum(each))
    for n in names:
        assert (
            steady((Treatment(n, 2.0),), before, 90.0).systolic
            >= steady((Treatment(n, multiple),), before, 90.0).systolic
        )
    assert both.systolic >= 0


def test_the_second_writing_agrees() -> None:
    rng = np.random.default_rng(5)
    before, multiples = rng.uniform(110, 200, 200), rng.uniform(0.5, 2, (200, 2))
    falls = np.array([f[0] for f in sp.FALLS[AVERAGE]])
    seen = sp.batch(falls, multiples, before, sp.VALUES["slope_systolic"], sp.VALUES["S_ref"])
    for k in range(200):
        given_both = tuple(Treatment(AVERAGE, float(m)) for m in multiples[k])
        assert seen[k] == pytest.approx(steady(given_both, float(before[k]), 80.0).systolic, rel=1e-12)


def test_units_pass_through() -> None:
    import pint

    u = pint.UnitRegistry()
    seen = sp.one_drug(u.Quantity(9.1, "mmHg"), 0.1, u.Quantity(164.0, "mmHg").to("kPa"), u.Quantity(154.0, "mmHg"))
    assert seen.to("mmHg").magnitude == pytest.approx(10.1)


def test_onset_in_any_pieces_and_a_snapshot_to_the_bit() -> None:
    a = Course(160.0, 100.0)
    goal = a.treat((Treatment("ace inhibitor", 1.0),))
    b = Course.load(a.dump())
    a.advance(3.0)
    assert Course.load(a.dump()).advance(4.0) == a.advance(4.0)
    assert b.advance(7.0) == pytest.approx((160.0 - a.fall[0], 100.0 - a.fall[1]), rel=1e-12)
    systolic, diastolic = a.advance(365.0)
    assert (160.0 - systolic, 100.0 - diastolic) == pytest.approx((goal.systolic, goal.diastolic), rel=1e-9)
    a.treat(())
    assert a.advance(365.0) == pytest.approx((160.0, 100.0))


def test_our_drugs_are_doses_of_their_class() -> None:
    assert sp.treatment("lisinopril", 20.0) == Treatment("ace inhibitor", 2.0)
    assert sp.treatment("metoprolol", 50.0) == Treatment("beta blocker", 0.5)
    with pytest.raises(NotFound):
        sp.treatment("fentanyl", 1.0)


def test_outside_is_flagged_or_refused() -> None:
    assert steady((Treatment("arb", 1.0),), 150.0, 95.0).flags == ()
    assert "outside validity" in steady((Treatment("arb", 1.0),), 215.0, 110.0).flags[0]
    assert steady((Treatment("arb", 1.0),), 150.0, 95.0).tag == "M"
    with pytest.raises(NotFound):
        steady((Treatment("aliskiren", 1.0),), 150.0, 95.0)
    for bad in (
        (Treatment("arb", 4.0),),
        (Treatment("arb", 1.0), Treatment("arb", 1.0)),
        (Treatment("arb", float("nan")),),
    ):
        with pytest.raises(BadInput):
            steady(bad, 150.0, 95.0)
    for s, d in ((float("nan"), 90.0), (90.0, 95.0), (400.0, 90.0)):
        with pytest.raises(BadInput):
            steady((), s, d)
    with pytest.raises(Malformed):
        Course.load(b"")
    with pytest.raises(BadInput):
        Course(150.0, 90.0).advance(-1.0)
