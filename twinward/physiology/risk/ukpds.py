"""UKPDS Outcomes Model 2: yearly risk of complications and of death in type 2 diabetes.

    Weibull    H(t) = exp(lambda + beta x) t^rho                      t: years since diagnosis
    Gompertz   H(t) = exp(lambda + beta x) (exp(phi t) - 1) / phi     t: age in years
               p(t, t + T) = 1 - exp(H(t) - H(t + T))
    logistic   p = 1 / (1 + exp(-lambda - beta x))                    of one year

Hayes AJ, Leal J, Gray AM et al., Diabetologia 56:1925 (2013), supplementary tables 2 and 4-6 (ukpds.csv). Made in 5,102
people of the United Kingdom with newly found type 2 diabetes, 25 to 65 years at diagnosis, followed up to 30 years.
Scales: eGFR, SBP and heart rate per 10; HDL and LDL per 0.1 mmol/L. The wording of the splines is ambiguous
(noted by those who tabulated them); read here as continuous: eGFR60less = min(eGFR, 60)/10, eGFR60more =
(eGFR - 60)+/10, LDL35more = 10 (LDL - 3.5)+. Another reading (0 above the knot) makes the risk of heart failure jump
3.7 fold when the kidney gets better from 59.9 to 60. Both agree on the published example.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from twinward.physiology.meaning import Meaning
from twinward.physiology.risk.answer import OutsideValidity, Risk, Sex, logistic, one_of, within

TABLE = Path(__file__).with_name("ukpds.csv")
PAPER = "UKPDS-OM2: Hayes 2013 (Diabetologia 56:1925); table as COMPAR-EU diabetes model [S]"
POPULATION = "United Kingdom, type 2 diabetes found at 25-65 years"
SPLINE = "spline of eGFR or LDL read as continuous: the paper's wording is ambiguous"
BMI_GROUPS = "BMI groups of the death equations (below 18.5, 25 and above) [M]"
OTHER_AGE = "found outside 25-65 years"
COMPLICATIONS = {
    "CHF": "heart failure", "IHD": "ischaemic heart disease", "FMIMALE": "first myocardial infarction, men",
    "FMIFEMALE": "first myocardial infarction, women", "SMI": "second myocardial infarction", "FSTROKE": "first stroke",
    "SSTROKE": "second stroke", "BLIND": "blindness in one eye", "ULCER": "ulcer of the foot",
    "FAMPNOULCER": "first amputation, no ulcer before", "FAMPULCER": "first amputation after an ulcer",
    "SAMP": "second amputation", "RENALF": "renal failure",
    "DEATHNOHIST": "death in a year without event, no history", "DEATH1YEVENT": "death in the year of a first event",
    "DEATHHISTNOEVENT": "death in a year without event, with history",
    "DEATHYSEVENT": "death in the year of a further event",
}  # fmt: skip
ASSUMED = {"heart_rate": 72.0, "haemoglobin": 14.5, "white_cells": 6.8}  # [G]
NOT_KNOWN = "not known, a usual value assumed [G]: "
USES = {"HEART.R": "heart_rate", "HAEM": "haemoglobin", "WBC": "white_cells"}
HISTORIES = ("AMP", "BLIND", "CHF", "IHD", "MI", "RENAL", "STROKE", "ULCER")
EVENTS = ("AMP1", "AMP2", "IHD", "MI", "RENAL", "STROKE")

INPUTS: dict[str, Meaning] = {
    row[0]: Meaning(*row)
    for row in (
        ("diagnosed", "age at diagnosis", "year", 18.0, 90.0, "[G]; study 25..65"),
        ("duration", "time since diagnosis", "year", 0.0, 60.0, "[G]; study up to 30"),
        ("bmi", "body mass index", "kg/m**2", 14.0, 65.0, "[G]"),
        ("egfr", "glomerular filtration (MDRD)", "mL/min", 5.0, 180.0, "[G]"),
        ("hba1c", "HbA1c", "percent", 4.0, 16.0, "[G]"),
        ("hdl", "HDL cholesterol", "mmol/L", 0.3, 4.0, "[G]"),
        ("ldl", "LDL cholesterol", "mmol/L", 0.3, 10.0, "[G]"),
        ("sbp", "systolic pressure", "mmHg", 70.0, 240.0, "[G]"),
        ("heart_rate", "heart rate", "1/min", 30.0, 180.0, "[G]"),
        ("haemoglobin", "haemoglobin", "g/dL", 5.0, 22.0, "[G]"),
        ("white_cells", "white blood cells (1e9 per litre)", "1/nL", 1.0, 40.0, "[G]"),
    )
}


@dataclass(frozen=True, slots=True)
class Person:
    """Units as in INPUTS. `history` and `events`: words of HISTORIES and EVENTS (events of this year)."""

    sex: Sex
    diagnosed: float
    duration: float
    bmi: float
    egfr: float
    hba1c: float
    hdl: float
    ldl: float
    sbp: float
    heart_rate: float | None = None  # None: not known, ASSUMED stands in and the answer says so
    haemoglobin: float | None = None
    white_cells: float | None = None
    smoker: bool = False
    atrial_fibrillation: bool = False
    albuminuria: bool = False  # 50 mg/L or more
    vascular_disease: bool = False  # peripheral
    afro_caribbean: bool = False
    asian_indian: bool = False
    history: frozenset[str] = field(default_factory=frozenset)
    events: frozenset[str] = field(default_factory=frozenset)


@cache
def coefficients() -> dict[str, tuple[str, dict[str, float]]]:
    """Equation -> (form, symbol -> value)."""
    with TABLE.open() as source:
        rows = list(csv.DictReader(line for line in source if not line.startswith("#")))
    found: dict[str, tuple[str, dict[str, float]]] = {}
    for row in rows:
        found.setdefault(row["equation"], (row["form"], {}))[1][row["symbol"]] = float(row["value"])
    return found


def known(person: Person, symbol: str) -> float:
    value = getattr(person, symbol)
    return ASSUMED[symbol] if value is None else float(value)


def covariates(person: Person) -> dict[str, float]:
    """As supplementary table 2 scales them."""
    return {
        "AFRO": person.afro_caribbean,
        "INDIAN": person.asian_indian,
        "FEMALE": person.sex == "female",
        "AGE.DIAG": person.diagnosed,
        "CURR.AGE": person.diagnosed + person.duration,
        "YEAR": person.duration,
        "ATFIB": person.atrial_fibrillation,
        "BMI": person.bmi,
        "BMI1": person.bmi < 18.5,
        "BMI3": person.bmi >= 25,
        "eGFR": person.egfr / 10,
        "eGFR60less": min(person.egfr, 60) / 10,
        "eGFR60more": max(person.egfr - 60, 0) / 10,
        "HAEM": known(person, "haemoglobin"),
        "HbA1c": person.hba1c,
        "HDL": person.hdl * 10,
        "HEART.R": known(person, "heart_rate") / 10,
        "LDL": person.ldl * 10,
        "LDL35more": max(person.ldl - 3.5, 0) * 10,
        "MMALB": person.albuminuria,
        "PVD": person.vascular_disease,
        "SBP": person.sbp / 10,
        "SMOKER": person.smoker,
        "WBC": known(person, "white_cells"),
        **{f"{name}.HIST": name in person.history for name in HISTORIES},
        **{f"{name}.EVENT": name in person.events for name in EVENTS},
    }


def check(person: Person) -> None:
    """Raises:
    OutsideValidity: a value no person has, or a word we do not know.
    """
    one_of(person.sex, ("female", "male"), "sex")
    within({symbol: known(person, symbol) for symbol in INPUTS}, INPUTS, "UKPDS-OM2")
    for words, allowed in ((person.history, HISTORIES), (person.events, EVENTS)):
        for word in words:
            one_of(word, allowed, "history or event")


def _cumulative(form: str, beta: Mapping[str, float], linear: float, t: float) -> float:
    shape = beta["shape"]
    if form == "weibull":
        return math.exp(linear) * math.pow(t, shape)
    return math.exp(linear) * math.expm1(shape * t) / shape


def risk(person: Person, equation: str, years: float = 1.0) -> Risk:
    """Risk of `equation` (a key of COMPLICATIONS) within `years` of now, all else unchanged.

    Raises:
        OutsideValidity: no such equation or person; the wrong sex for an infarction; more than one
            year asked of a logistic equation, which is of one year.
    """
    check(person)
    one_of(equation, tuple(COMPLICATIONS), "equation")
    if equation in {"FMIMALE", "FMIFEMALE"} and (equation == "FMIFEMALE") != (person.sex == "female"):
        raise OutsideValidity("the equation of the first infarction is of the other sex")
    if not 0 < years <= 30:
        raise OutsideValidity("years must lie in 0..30")
    form, beta = coefficients()[equation]
    x = covariates(person)
    linear = beta["lambda"] + sum(b * x[s] for s, b in beta.items() if s not in {"lambda", "shape"})
    if form == "logistic":
        if years != 1:
            raise OutsideValidity("this equation is of one year")
        value = logistic(linear)
    else:
        now = person.duration if form == "weibull" else person.diagnosed + person.duration
        value = -math.expm1(_cumulative(form, beta, linear, now) - _cumulative(form, beta, linear, now + years))
    flags = [OTHER_AGE] if not 25 <= person.diagnosed <= 65 else []
    flags += [SPLINE] if beta.keys() & {"eGFR60less", "eGFR60more", "LDL35more"} else []
    flags += [NOT_KNOWN + name for s, name in USES.items() if s in beta and getattr(person, name) is None]
    flags += [BMI_GROUPS] if beta.keys() & {"BMI1", "BMI3"} else []
    return Risk(value, COMPLICATIONS[equation], years, POPULATION, PAPER, tuple(flags))
