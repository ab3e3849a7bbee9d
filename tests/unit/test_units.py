"""Conversions against numbers from outside: published tables, official examples, pint."""

from __future__ import annotations

import math

import pint
import pytest

from twinward.codes import MEANINGS, SAME_AS, canonical, condition_category, dense, known, meaning, security_category
from twinward.record import CARBOHYDRATES, CGM_GLUCOSE, INSULIN_BASAL_DOSE, INSULIN_BASAL_RATE, INSULIN_BOLUS, Category
from twinward.units import SPELLINGS, TABLE, believable, conversion, ucum


@pytest.mark.parametrize(
    ("code", "unit", "given", "expected", "within"),
    [
        ("loinc|2339-0", "mmol/L", 7.0, 126.1, 0.05),  # diagnostic threshold: 7.0 mmol/L = 126 mg/dL
        ("loinc|99504-3", "mmol/L", 10.0, 180.2, 0.05),  # consensus time in range
        ("loinc|4548-4", "mmol/mol", 48.0, 6.5, 0.05),  # WHO threshold: 48 mmol/mol = 6.5 %
        ("loinc|59261-8", "mmol/mol", 53.0, 7.0, 0.01),  # and 53 mmol/mol = 7.0 %
        ("loinc|2160-0", "umol/L", 88.42, 1.0, 1e-9),
        ("loinc|2093-3", "mmol/L", 5.0, 193.4, 0.05),
        ("loinc|2571-8", "mmol/L", 1.7, 150.6, 0.05),  # metabolic syndrome: 1.7 mmol/L = 150 mg/dL
        ("loinc|3094-0", "mmol/L", 10.0, 28.01, 0.005),
        ("loinc|8310-5", "[degF]", 98.6, 37.0, 1e-9),
        ("loinc|29463-7", "[lb_av]", 220.0, 99.79, 0.005),
        ("loinc|8480-6", "kPa", 16.0, 120.0, 0.05),
        ("loinc|9318-7", "mg/mmol", 3.0, 26.5, 0.05),  # KDIGO: 3 mg/mmol = 30 mg/g, rounded there
        ("twinward|insulin-basal-rate", "U/h", 0.85, 0.85, 0),
    ],
)
def test_published_pairs(code: str, unit: str, given: float, expected: float, within: float) -> None:
    change = conversion(code, unit)
    assert change is not None
    assert math.isclose(change(given), expected, abs_tol=within)


def test_a_generic_conversion_would_be_wrong_for_hba1c() -> None:
    change = conversion("loinc|4548-4", "mmol/mol")
    assert change is not None
    assert change(70.0) == pytest.approx(8.56, abs=0.01)  # not 7 %


def test_definitions_agree_with_pint() -> None:
    registry: pint.UnitRegistry[float] = pint.UnitRegistry(autoconvert_offset_to_baseunit=True)
    written = {
        "mm[Hg]": "mmHg", "cm[H2O]": "cmH2O", "Cel": "degC", "[degF]": "degF", "K": "kelvin", "[lb_av]": "lb",
        "[in_i]": "inch", "[ft_i]": "foot", "/min": "1/minute", "Hz": "1/second", "ukat/L": "microkatal/liter",
    }  # fmt: skip
    compared = 0
    for (quantity, unit), change in TABLE.items():
        if (
            quantity not in {"pressure", "temperature", "mass", "length", "frequency", "flow"}
            or unit == change.canonical
        ):
            continue
        there = registry.Quantity(2.5, written.get(unit, unit)).to(written.get(change.canonical, change.canonical))
        assert change(2.5) == pytest.approx(there.magnitude, rel=2e-5), (quantity, unit)
        compared += 1
    assert compared >= 10


@pytest.mark.parametrize(
    ("written", "meant"), [("MMOL/L", "mmol/L"), (" mg/dl\u200b", "mg/dL"), ("°F", "[degF]"), ("U", "[IU]")]
)
def test_spellings_seen_in_files(written: str, meant: str) -> None:
    assert ucum(written) == meant


def test_the_tables_fit_each_other() -> None:
    for row in MEANINGS.values():
        if row.quantity:
            assert TABLE[(row.quantity, row.unit)].factor == 1, row.code
            assert row.low < row.high
        else:
            assert not row.unit
    assert set(SAME_AS.values()) <= set(MEANINGS)
    assert not set(SPELLINGS) & {unit for _, unit in TABLE}
    for change in TABLE.values():
        assert change.source
        assert change.factor > 0


def test_codes_of_the_house_are_known() -> None:
    for code in (CGM_GLUCOSE, INSULIN_BOLUS, INSULIN_BASAL_RATE, INSULIN_BASAL_DOSE, CARBOHYDRATES):
        assert meaning(code) is not None
        assert dense(code)
    assert canonical("loinc|105272-9") == CGM_GLUCOSE
    assert canonical("loinc|1-8") == "loinc|1-8"


def test_unknown_units_and_codes_are_never_guessed() -> None:
    assert conversion("loinc|2339-0", "mg") is None
    assert conversion("loinc|85354-9", "mm[Hg]") is None  # a panel has no number of its own
    assert conversion("loinc|99999-9", "mg/dL") is None
    assert known("urn:local", "x" * 500).startswith("urn:local|x")
    assert len(known("urn:local", "x" * 500)) == 120


def test_the_most_protective_category_of_a_diagnosis_wins() -> None:
    assert condition_category(["icd10|E11.9", "icd10|F11.20"]) is Category.SUBSTANCE_USE
    assert condition_category(["icd10|b20"]) is Category.HIV
    assert condition_category(["snomed|44054006"]) is Category.CONDITIONS
    assert condition_category(["snomed|1"]) is None
    assert security_category("http://terminology.hl7.org/CodeSystem/v3-ActCode", "PSY") is Category.PSYCHIATRY
    assert security_category("http://terminology.hl7.org/CodeSystem/v3-ActReason", "HTEST") is None


def test_believable_values() -> None:
    row = meaning("loinc|2339-0")
    assert row is not None
    assert believable(row, 100.0)
    assert not believable(row, 5.0)
    assert not believable(row, math.nan)
