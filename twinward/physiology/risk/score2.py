"""SCORE2, SCORE2-OP and SCORE2-Diabetes: cardiovascular events within 10 years in Europe.

    linear = sum_k beta_k x_k [- mean]        uncalibrated = 1 - S^exp(linear)
    risk = 1 - exp(-exp(scale1 + scale2 ln(-ln(1 - uncalibrated))))      scales by sex and risk region

SCORE2 (40-69 y) and SCORE2-OP (70-89 y): SCORE2 working group, Eur Heart J 42:2439 and 42:2455 (2021), fatal and
non-fatal events, people without cardiovascular disease and without diabetes. SCORE2-Diabetes (40-69 y, type 2
diabetes without cardiovascular disease): Eur Heart J 44:2544 (2023). Units: year, mmHg, mmol/L, mmol/mol,
mL/min/1.73 m2. Coefficients of SCORE2-OP and its four regions as the authors' own Stata program has them; the
package RiskScorescvd uses other scales there (-0.61, 0.89), which we do not follow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from twinward.physiology.meaning import Meaning
from twinward.physiology.risk.answer import OutsideValidity, Risk, Sex, one_of, recalibrated, within

Region: TypeAlias = Literal["low", "moderate", "high", "very_high"]
REGIONS: tuple[Region, ...] = ("low", "moderate", "high", "very_high")
SCORE2 = "SCORE2 2021 (Eur Heart J 42:2439); numbers as RiskScorescvd R/11, R/15 [S]"
OLDER = "SCORE2-OP 2021 (Eur Heart J 42:2455); numbers as the authors' Stata program score2oprisk [S]"
DIABETES = "SCORE2-Diabetes 2023 (Eur Heart J 44:2544); numbers as RiskScorescvd R/15 [S]"
OUTCOME = "fatal or non-fatal cardiovascular event"
FAR_FROM_CHARTS = "outside the span of the printed charts (SBP 100-179 mmHg, non-HDL 3.0-6.9 mmol/L) [M]"

# Ages are the papers'; the other ranges are what we let through [G], flagged where the charts end.
INPUTS: dict[str, Meaning] = {
    row[0]: Meaning(*row)
    for row in (
        ("age", "age", "year", 40.0, 89.0, SCORE2),
        ("sbp", "systolic pressure", "mmHg", 80.0, 220.0, "[G]"),
        ("cholesterol", "total cholesterol", "mmol/L", 2.0, 12.0, "[G]"),
        ("hdl", "HDL cholesterol", "mmol/L", 0.4, 4.0, "[G]"),
    )
}
DIABETES_INPUTS: dict[str, Meaning] = {
    **INPUTS,
    **{
        row[0]: Meaning(*row)
        for row in (
            ("age", "age", "year", 40.0, 69.99, DIABETES),
            ("diagnosed", "age at diagnosis of diabetes", "year", 15.0, 69.99, "[G]"),
            ("hba1c", "HbA1c", "mmol/mol", 20.0, 150.0, "[G]"),
            ("egfr", "glomerular filtration", "mL/min", 10.0, 150.0, "[G]"),
        )
    },
}

# age, smoker, SBP, total cholesterol, HDL, and each of the last four times age
MIDDLE: dict[Sex, tuple[float, ...]] = {
    "male": (0.3742, 0.6012, 0.2777, 0.1458, -0.2698, -0.0755, -0.0255, -0.0281, 0.0426),
    "female": (0.4648, 0.7744, 0.3131, 0.1002, -0.2606, -0.1088, -0.0277, -0.0226, 0.0613),
}
OLD: dict[Sex, tuple[float, ...]] = {
    "male": (
        0.0633767915, 0.3523957899, 0.0094362177, 0.0849594156, -0.3563571842,
        -0.0247205945, -0.0004794522, 0.0073336663, 0.0091317857,
    ),
    "female": (
        0.0789191229, 0.4921147010, 0.0101993091, 0.0604939598, -0.3040280248,
        -0.0255496313, -0.0004404728, -0.0009121461, 0.0153779923,
    ),
}  # fmt: skip
OLD_MEAN: dict[Sex, float] = {"male": 0.09285225, "female": 0.2287676}
SURVIVAL: dict[Sex, float] = {"male": 0.9605, "female": 0.9776}
OLD_SURVIVAL: dict[Sex, float] = {"male": 1 - 0.24235298, "female": 1 - 0.19178759}
SCALES: dict[tuple[Region, Sex], tuple[float, float]] = {
    ("low", "male"): (-0.5699, 0.7476),
    ("low", "female"): (-0.7380, 0.7019),
    ("moderate", "male"): (-0.1565, 0.8009),
    ("moderate", "female"): (-0.3143, 0.7701),
    ("high", "male"): (0.3207, 0.9360),
    ("high", "female"): (0.5710, 0.9369),
    ("very_high", "male"): (0.5836, 0.8294),
    ("very_high", "female"): (0.9412, 0.8329),
}
OLD_SCALES: dict[tuple[Region, Sex], tuple[float, float]] = {
    ("low", "male"): (-0.343484, 1.193038),
    ("low", "female"): (-0.516054, 1.007238),
    ("moderate", "male"): (0.005320, 1.248514),
    ("moderate", "female"): (-0.101044, 1.099621),
    ("high", "male"): (0.084305, 1.151902),
    ("high", "female"): (0.375720, 1.089031),
    ("very_high", "male"): (0.045959, 0.703625),
    ("very_high", "female"): (0.379293, 0.691530),
}
# As MIDDLE, then: diabetes, diabetes x age, age at diagnosis, HbA1c, eGFR, eGFR squared, HbA1c x age, eGFR x age
WITH_DIABETES: dict[Sex, tuple[float, ...]] = {
    "male": (
        0.5368, 0.4774, 0.1322, 0.1102, -0.1087, -0.0672, -0.0268, -0.0181, 0.0095,
        0.6457, -0.0983, -0.0998, 0.0955, -0.0591, 0.0058, -0.0134, 0.0115,
    ),
    "female": (
        0.6624, 0.6139, 0.1421, 0.1127, -0.1568, -0.1122, -0.0167, -0.0200, 0.0186,
        0.8096, -0.1272, -0.1180, 0.1173, -0.0640, 0.0062, -0.0196, 0.0169,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Person:
    """Years, mmHg, mmol/L."""

    sex: Sex
    age: float
    smoker: bool
    sbp: float
    cholesterol: float
    hdl: float


@dataclass(frozen=True, slots=True)
class Diabetes:
    """Age at diagnosis (years), HbA1c (mmol/mol), eGFR (mL/min/1.73 m2)."""

    diagnosed: float
    hba1c: float
    egfr: float


def _features(age: float, smoker: bool, sbp: float, cholesterol: float, hdl: float) -> tuple[float, ...]:
    own = (float(smoker), sbp, cholesterol, hdl)
    return (age, *own, *(age * value for value in own))


def _middle(person: Person) -> tuple[float, ...]:
    return _features(
        (person.age - 60) / 5,
        person.smoker,
        (person.sbp - 120) / 20,
        person.cholesterol - 6,
        (person.hdl - 1.3) / 0.5,
    )


def _dot(beta: tuple[float, ...], x: tuple[float, ...]) -> float:
    return sum(b * value for b, value in zip(beta, x, strict=True))


def _flags(person: Person) -> tuple[str, ...]:
    inside = 100 <= person.sbp < 180 and 3.0 <= person.cholesterol - person.hdl < 7.0
    return () if inside else (FAR_FROM_CHARTS,)


def _check(person: Person, region: Region, table: dict[str, Meaning], equation: str) -> None:
    one_of(person.sex, ("female", "male"), "sex")
    one_of(region, REGIONS, "risk region")
    given = {"age": person.age, "sbp": person.sbp, "cholesterol": person.cholesterol, "hdl": person.hdl}
    within(given, table, equation)
    if person.hdl >= person.cholesterol:
        raise OutsideValidity("HDL cholesterol is a part of total cholesterol")


def risk(person: Person, region: Region) -> Risk:
    """SCORE2 below 70 years, SCORE2-OP from 70 on; people without diabetes.

    Raises:
        OutsideValidity: age outside 40..89, or a value no person has.
    """
    _check(person, region, INPUTS, "SCORE2")
    where = f"Europe, {region.replace('_', ' ')} risk region, without cardiovascular disease or diabetes"
    if person.age < 70:
        linear = _dot(MIDDLE[person.sex], _middle(person))
        value = recalibrated(linear, SURVIVAL[person.sex], *SCALES[region, person.sex])
        return Risk(value, OUTCOME, 10, f"{where}, 40-69 years", SCORE2, _flags(person))
    x = _features(person.age - 73, person.smoker, person.sbp - 150, person.cholesterol - 6, person.hdl - 1.4)
    linear = _dot(OLD[person.sex], x) - OLD_MEAN[person.sex]
    value = recalibrated(linear, OLD_SURVIVAL[person.sex], *OLD_SCALES[region, person.sex])
    return Risk(value, OUTCOME, 10, f"{where}, 70-89 years", OLDER, _flags(person))


def with_diabetes(person: Person, diabetes: Diabetes, region: Region) -> Risk:
    """SCORE2-Diabetes.

    Raises:
        OutsideValidity: age outside 40..69, diagnosis after the present age, or a value no person has.
    """
    _check(person, region, DIABETES_INPUTS, "SCORE2-Diabetes")
    own = {"diagnosed": diabetes.diagnosed, "hba1c": diabetes.hba1c, "egfr": diabetes.egfr}
    within(own, DIABETES_INPUTS, "SCORE2-Diabetes")
    within(
        {"diagnosed": diabetes.diagnosed},
        {"diagnosed": Meaning("diagnosed", "age at diagnosis of diabetes", "year", 15, person.age, DIABETES)},
        "SCORE2-Diabetes",
    )
    A = (person.age - 60) / 5
    glycated, filtration = (diabetes.hba1c - 31) / 9.34, (math.log(diabetes.egfr) - 4.5) / 0.15
    more = (1.0, A, (diabetes.diagnosed - 50) / 5, glycated, filtration, filtration**2, glycated * A, filtration * A)
    linear = _dot(WITH_DIABETES[person.sex], (*_middle(person), *more))
    value = recalibrated(linear, SURVIVAL[person.sex], *SCALES[region, person.sex])
    where = (
        f"Europe, {region.replace('_', ' ')} risk region, type 2 diabetes without cardiovascular disease, 40-69 years"
    )
    return Risk(value, OUTCOME, 10, where, DIABETES, _flags(person))
