"""PREVENT: first cardiovascular event within 10 or 30 years (American Heart Association).

    risk = 1 / (1 + exp(-sum_k beta_k x_k)),   100 sets of beta: 5 models x 2 horizons x 5 outcomes x 2 sexes

    age (age - 55)/10        non-HDL  c - 3.5           SBP   (min(SBP,110) - 110)/20, (max(SBP,110) - 130)/20
    HDL (h - 1.3)/0.3        BMI  (min(BMI,30) - 25)/5, (max(BMI,30) - 30)/5
    eGFR (min(eGFR,60) - 60)/-15, (max(eGFR,60) - 90)/-15        cholesterol in mmol/L, HbA1c - 5.3 %, ln(UACR)

Khan SS, Matsushita K, Sang Y et al., Circulation 149:430 (2024). Coefficients: prevent.csv. Made in
adults of the United States free of cardiovascular disease, 30 to 79 years; it is the risk of a *first
event*, not of an admission. Ranges are those of the reference package (preventr 0.12.0).
"""

from __future__ import annotations

import csv
import math
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

from twinward.physiology.meaning import Meaning
from twinward.physiology.risk.answer import MMOL_L_PER_MG_DL, OutsideValidity, Risk, Sex, logistic, one_of, within

Model: TypeAlias = Literal["base", "uacr", "hba1c", "sdi", "full"]
Outcome: TypeAlias = Literal["total_cvd", "ascvd", "heart_failure", "chd", "stroke"]
MODELS: tuple[Model, ...] = ("base", "uacr", "hba1c", "sdi", "full")
OUTCOMES: tuple[Outcome, ...] = ("total_cvd", "ascvd", "heart_failure", "chd", "stroke")
SEXES: tuple[Sex, ...] = ("female", "male")
YEARS = (10, 30)
TABLE = Path(__file__).with_name("prevent.csv")
PAPER = "PREVENT: Khan 2024 (Circulation 149:430); preventr 0.12.0 [S]"
POPULATION = "adults of the United States, 30-79 years, free of cardiovascular disease"
OLD_FOR_THIRTY_YEARS = "30-year risk above 59 years is extrapolated [M]"
MISSING = "model has a term for what is missing: "

INPUTS: dict[str, Meaning] = {
    row[0]: Meaning(*row, PAPER)
    for row in (
        ("age", "age", "year", 30.0, 79.0),
        ("cholesterol", "total cholesterol", "mg/dL", 130.0, 320.0),
        ("hdl", "HDL cholesterol", "mg/dL", 20.0, 100.0),
        ("sbp", "systolic pressure", "mmHg", 90.0, 180.0),
        ("bmi", "body mass index", "kg/m**2", 18.5, 39.9),
        ("egfr", "glomerular filtration (CKD-EPI 2021)", "mL/min", 15.0, 140.0),
        ("hba1c", "HbA1c", "percent", 4.5, 15.0),
        ("uacr", "urine albumin over creatinine", "mg/g", 0.1, 25000.0),
        ("sdi", "decile of the Social Deprivation Index", "dimensionless", 1.0, 10.0),
    )
}


@dataclass(frozen=True, slots=True)
class Person:
    """Units as in INPUTS; `egfr` per 1.73 m2. `None`: not known."""

    sex: Sex
    age: float
    cholesterol: float
    hdl: float
    sbp: float
    bmi: float
    egfr: float
    diabetes: bool
    smoker: bool
    bp_treated: bool
    statin: bool
    hba1c: float | None = None
    uacr: float | None = None
    sdi: int | None = None


@cache
def coefficients() -> dict[tuple[str, int, str, str], dict[str, float]]:
    """(model, years, sex, outcome) -> term -> beta, as committed."""
    with TABLE.open() as source:
        rows = list(csv.DictReader(line for line in source if not line.startswith("#")))
    found: dict[tuple[str, int, str, str], dict[str, float]] = {}
    for row in rows:
        for sex in SEXES:
            for outcome in OUTCOMES:
                beta = found.setdefault((row["model"], int(row["years"]), sex, outcome), {})
                beta[row["term"]] = float(row[f"{sex}_{outcome}"])
    return found


def terms(person: Person) -> dict[str, float]:
    """Every single term of every model; products are formed where a model names them ("age*hdl")."""
    A = (person.age - 55) / 10
    known = {"sdi": person.sdi, "acr": person.uacr, "hba1c": person.hba1c}
    above = 0.0 if person.hba1c is None else person.hba1c - 5.3
    sdi = person.sdi or 0
    return {
        "constant": 1.0,
        "age": A,
        "age_squared": A * A,
        "non_hdl": (person.cholesterol - person.hdl) * MMOL_L_PER_MG_DL - 3.5,
        "hdl": (person.hdl * MMOL_L_PER_MG_DL - 1.3) / 0.3,
        "sbp_low": (min(person.sbp, 110) - 110) / 20,
        "sbp_high": (max(person.sbp, 110) - 130) / 20,
        "bmi_low": (min(person.bmi, 30) - 25) / 5,
        "bmi_high": (max(person.bmi, 30) - 30) / 5,
        "egfr_low": (min(person.egfr, 60) - 60) / -15,
        "egfr_high": (max(person.egfr, 60) - 90) / -15,
        "diabetes": float(person.diabetes),
        "smoker": float(person.smoker),
        "bp_treated": float(person.bp_treated),
        "statin": float(person.statin),
        "sdi_middle": float(4 <= sdi <= 6),
        "sdi_high": float(sdi >= 7),
        "ln_acr": 0.0 if person.uacr is None else math.log(person.uacr),
        "hba1c_diabetes": above if person.diabetes else 0.0,
        "hba1c_no_diabetes": 0.0 if person.diabetes else above,
        **{f"{name}_missing": float(value is None) for name, value in known.items()},
    }


def check(person: Person) -> None:
    """Raises:
    OutsideValidity: the equations were not made for such a person.
    """
    one_of(person.sex, SEXES, "sex")
    given = asdict(person)
    within({s: given[s] for s in INPUTS if given[s] is not None}, INPUTS, "PREVENT")


def risk(person: Person, outcome: Outcome, years: int = 10, model: Model = "base") -> Risk:
    """Risk of a first `outcome` within `years` (10 or 30).

    Raises:
        OutsideValidity: the equations were not made for such a person, outcome, horizon or model.
    """
    check(person)
    one_of(outcome, OUTCOMES, "outcome")
    one_of(model, MODELS, "model")
    one_of(str(years), ("10", "30"), "years")
    beta = coefficients()[model, years, person.sex, outcome]
    x = terms(person)
    score = sum(b * math.prod(x[part] for part in term.split("*")) for term, b in beta.items())
    flags = [OLD_FOR_THIRTY_YEARS] if years == 30 and person.age > 59 else []
    flags += [MISSING + term.removesuffix("_missing") for term in beta if term.endswith("_missing") and x[term]]
    return Risk(logistic(score), outcome, years, POPULATION, PAPER, tuple(flags))


def daily_hazard(ten_year_risk: float) -> float:
    """First events per person and day that add up to `ten_year_risk`: -ln(1 - p) / 3650.

    A hazard of events, not of admissions: whoever plans beds has to name the share of the
    admissions that such events are (twinward/physiology/demand.py).

    Raises:
        OutsideValidity: not a probability below 1.
    """
    if not 0 <= ten_year_risk < 1:
        raise OutsideValidity("a hazard needs a risk from 0 to below 1")
    return -math.log1p(-ten_year_risk) / 3650
