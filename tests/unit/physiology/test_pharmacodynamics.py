"""Effects by name: bounded, monotone, none at zero, what is not known is said."""

from __future__ import annotations

import numpy as np
import pint
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinward.errors import BadInput, NotFound
from twinward.physiology import cohort, drugs
from twinward.physiology import glucose as s2008
from twinward.physiology import pharmacodynamics as pd
from twinward.physiology.drugs import Covariates

WHO = Covariates()
ACTING = sorted({row.drug for row in pd.table()})


def test_rows_are_whole() -> None:
    for row in pd.table():
        assert row.drug in drugs.drugs()
        assert row.target in pd.TARGETS
        assert row.mode in ("multiply", "add")
        assert row.tag in drugs.TAGS
        assert row.source
        assert row.emax_low <= row.emax <= row.emax_high
        assert 0 < row.ec50_low <= row.ec50 <= row.ec50_high
        assert row.ec50_unit == f"{drugs.amount_unit(row.drug)}/L"
        if row.mode == "multiply":
            assert row.emax_low >= -1  # a factor is never negative


@pytest.mark.parametrize("drug", ACTING)
def test_nothing_at_zero_and_bounded_at_any_level(drug: str) -> None:
    for effect in pd.effects(drug, 0.0, WHO).values():
        assert effect.value == effect.low == effect.high == (1.0 if effect.mode == "multiply" else 0.0)
    for row in pd.table():
        if row.drug == drug:
            most = pd.effects(drug, 1e8, WHO)[row.target]
            start = 1.0 if row.mode == "multiply" else 0.0
            assert most.value == pytest.approx(start + row.emax, abs=1e-3 * abs(row.emax))


@given(st.sampled_from(ACTING), st.floats(0, 1e5), st.floats(0, 1e5))
def test_more_drug_more_effect_and_the_range_holds_it(drug: str, a: float, b: float) -> None:
    less, more = (pd.effects(drug, level, WHO) for level in sorted((a, b)))
    for target, effect in more.items():
        start = 1.0 if effect.mode == "multiply" else 0.0
        assert abs(effect.value - start) >= abs(less[target].value - start) - 1e-12
        assert effect.low <= effect.value <= effect.high


def test_half_the_effect_at_ec50_and_septic_vessels_answer_half() -> None:
    """Beloeil 2005 as AnaSim: 98.7 mmHg, 7.04 ug/L. Bellissant 2000 as AnaSim: half."""
    assert pd.effects("norepinephrine", 7.04, WHO)["mean_pressure"].value == pytest.approx(98.7 / 2)
    septic = pd.effects("norepinephrine", 7.04, Covariates(sepsis=1.0))["mean_pressure"]
    assert septic.value == pytest.approx(98.7 / 4)
    assert pd.effects("milrinone", 150.0, Covariates(sepsis=1.0)) == pd.effects("milrinone", 150.0, WHO)


def test_levels_with_units() -> None:
    u = pint.UnitRegistry()
    assert pd.hill(u.Quantity(7.04, "ng/mL"), u.Quantity(7.04, "ug/L"), 1.8) == pytest.approx(0.5)
    assert pd.hill(u.Quantity(7.04, "ug/mL"), u.Quantity(7.04, "ug/L"), 1.8) > 0.99


def test_what_is_not_known_is_not_nothing() -> None:
    assert not pd.known("rocuronium")
    for drug in ("rocuronium", "digoxin"):
        with pytest.raises(NotFound):
            pd.effects(drug, 1.0, WHO)
    for level in (-1.0, float("nan"), float("inf")):
        with pytest.raises(BadInput):
            pd.effects("propofol", level, WHO)


def test_drugs_together() -> None:
    a, b = pd.effects("propofol", 3000.0, WHO), pd.effects("norepinephrine", 5.0, WHO)
    both = pd.together([a, b])
    key = "systemic_resistance"
    assert both[key].value == pytest.approx(a[key].value * b[key].value)
    assert both[key].low <= both[key].value <= both[key].high
    assert both[key].tag == "X"  # the weaker of the two
    assert both["mean_pressure"] == b["mean_pressure"]
    assert pd.together([]) == {}


def test_insulin_is_the_glucose_model_s() -> None:
    """Aspart and lispro lie within what our cohort has; others are refused, not guessed."""
    people = cohort.load()
    for name in ("insulin aspart", "insulin lispro"):
        link = pd.insulin(name)
        for symbol, value in link.s2008.items():
            column = people.parameters[:, s2008.PARAMETERS.index(symbol)]
            assert column.min() <= value <= column.max()
    for name in ("insulin glargine", "insulin nph"):
        with pytest.raises(NotFound):
            pd.insulin(name)


def test_area_of_insulin_is_dose_over_its_clearance() -> None:
    """The glucose model's insulin is linear: an extra unit's area, in any person of the cohort; 0.5 % at 1 min."""
    people = cohort.load()
    for k in (0, 40, 110):
        p = people.parameters[k].copy()
        for symbol, value in pd.insulin("insulin aspart").s2008.items():
            p[s2008.PARAMETERS.index(symbol)] = value
        levels = []
        for extra in (0.0, 1.0):
            x, memory, work = np.zeros(13), np.zeros(3), np.empty((5, 13))
            s2008.rest(p, people.basal[k], x)
            level = []
            for t in range(2000):
                units = s2008.basal_rate(p) + (extra if t == 0 else 0.0)
                s2008.minute(x, p, memory, 0.0, units * s2008.PMOL_PER_UNIT / p[s2008.BW], 0.0, 1, work)
                level.append(x[s2008.IP] / p[s2008.VI])
            levels.append(np.array(level))
        out = p[s2008.M2] + p[s2008.M4] - p[s2008.M1] * p[s2008.M2] / (p[s2008.M1] + p[s2008.M30])
        clearance = out * p[s2008.VI] * p[s2008.BW]  # L/min
        assert (levels[1] - levels[0]).sum() == pytest.approx(s2008.PMOL_PER_UNIT / clearance, rel=5e-3)


def test_factors_for_a_circulation() -> None:
    factors = pd.on_parameters(pd.effects("norepinephrine", 7.04, WHO))
    assert set(factors) == {"Rsp0", "Rep0", "GRsp", "GRep", "El0", "Er0", "Vsv0", "Vev0"}  # no observed pressure
    assert factors["Rsp0"] == pytest.approx(1 + 3.5 / (1 + (4.8 / 7.04) ** 1.9))
    both = pd.on_parameters(pd.effects("propofol", 3210.0, WHO))
    assert both["GRsp"] == pytest.approx(0.75 * 0.65)  # vessels and reflex
    assert both["Rsp0"] == pytest.approx(0.75)
    assert set(pd.on_parameters(pd.effects("metformin", 800.0, WHO))) <= set(s2008.PARAMETERS)
    for target in pd.TARGETS.values():
        assert target.text
    for row in pd.table():
        assert row.mode == "multiply" or not pd.TARGETS[row.target].symbols
