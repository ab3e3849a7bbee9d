"""Every number of the drug tables has a unit that can be read, a source, a tag and a range around it."""

from __future__ import annotations

import numpy as np
import pint
import pytest

from twinward.errors import BadInput
from twinward.physiology import doses, drugs
from twinward.physiology import pharmacodynamics as pd
from twinward.physiology import pharmacokinetics as pk
from twinward.physiology.drugs import Covariates


def test_rows_of_kinetics_are_whole() -> None:
    registry = pint.UnitRegistry()
    registry.define("point = []")
    covariates = {"weight", "age", "height", "lean", "bsa", "crcl", "saps2"}
    for row in drugs.table():
        assert row.form in drugs.FORMS, row
        assert row.tag in drugs.TAGS, row
        assert len(row.source) > 3, row
        registry.parse_units(row.unit)
        assert row.covariate in covariates or row.form == "base", row
        if row.form == "base":
            assert row.unit in drugs.SCALE, row
            assert row.low <= row.value <= row.high, row
        elif row.form == "valid":
            assert row.low < row.high, row
        else:
            assert np.isfinite(row.value), row


def test_every_drug_has_the_least_a_model_needs() -> None:
    for model in drugs.models():
        symbols = {r.symbol for r in drugs.table() if r.model == model and r.form == "base"}
        assert {"V1", "ke0"} <= symbols
        assert symbols & {"CL", "k10"}
        assert {r.covariate for r in drugs.table() if r.model == model and r.form == "valid"} >= {"age"}
        assert drugs.validity(model, Covariates()) == ()


def test_no_row_is_there_twice() -> None:
    kinetics = [(r.model, r.symbol, r.form, r.covariate) for r in drugs.table()]
    effects = [(r.drug, r.target) for r in pd.table()]
    ranges = [(r.drug, r.route, r.indication, doses.unit(r.unit)) for r in doses.ranges()]
    for rows in (kinetics, effects, ranges):
        assert len(rows) == len(set(rows))


def test_sources_that_disagree_are_marked_and_held_by_the_range() -> None:
    fentanyl = next(r for r in drugs.table() if r.model == "fentanyl/shafer" and r.symbol == "CL" and r.form == "base")
    assert "DISPUTED" in fentanyl.source
    for per_kg in (9.0, 10.2, 15.5, 20.0, 68.0):  # mL/min/kg, as sources have it
        assert fentanyl.low <= per_kg * 70 / 1000 <= fentanyl.high
    wide = [r for r in drugs.table() if r.model == "phenylephrine/fda" and r.symbol in drugs.RATES]
    assert all("WIDENED" in r.source and r.high / r.low > 4 for r in wide)


def test_a_prior_cannot_leave_its_range() -> None:
    drugs.kinetics("fentanyl", Covariates(), {"CL": 2.0})
    with pytest.raises(BadInput):
        drugs.kinetics("fentanyl", Covariates(), {"CL": 20.0})


def test_rates_of_papers_become_volumes_and_clearances() -> None:
    p = drugs.kinetics("propofol/marsh", Covariates(weight=70.0)).parameters
    assert p[pk.CL] / p[pk.V1] == pytest.approx(0.119)
    assert p[pk.V2] / 70 == pytest.approx(0.463, rel=0.01)  # the paper prints it as well
    assert p[pk.V3] / 70 == pytest.approx(2.893, rel=0.01)


def test_the_body_s_own_norepinephrine_is_at_rest() -> None:
    course = pk.Course.start(drugs.kinetics("norepinephrine", Covariates()).parameters, 1.0)
    before = course.plasma
    course.advance(600)
    assert course.plasma == pytest.approx(before, rel=1e-12)
    assert 0.1 < before < 0.5  # ug/L


def test_units_of_vasopressin_are_milliunits() -> None:
    assert drugs.kinetics("vasopressin", Covariates()).amount == "mU"
    assert drugs.kinetics("fentanyl", Covariates()).amount == "ug"
