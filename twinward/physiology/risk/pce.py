"""Pooled Cohort Equations: first hard atherosclerotic event within 10 years, United States.

    risk = 1 - S^exp(sum_k beta_k x_k - mean),   x: logarithms of age, cholesterol, HDL, treated or untreated SBP
                                                 and their products with ln(age); smoking, diabetes

Goff DC et al., Circulation 129:S49 (2014), table A; numbers as preventr R/other_models.R. Units: year, mg/dL, mmHg.
For 40-79 years without cardiovascular disease, separately for Black and for White people. Known to
overestimate in people of today; PREVENT is its successor: shown for comparison.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from twinward.physiology.meaning import Meaning
from twinward.physiology.risk.answer import Risk, Sex, one_of, within

Group: TypeAlias = Literal["black", "white"]
PAPER = "PCE: Goff 2014 (Circulation 129:S49); numbers as preventr 0.12.0 R/other_models.R [S]"
OUTCOME = "first myocardial infarction, coronary death or stroke"
OVERESTIMATES = "overestimates in people of today; PREVENT is the successor"

INPUTS: dict[str, Meaning] = {
    row[0]: Meaning(*row)
    for row in (
        ("age", "age", "year", 40.0, 79.0, PAPER),
        ("cholesterol", "total cholesterol", "mg/dL", 130.0, 320.0, "span of the published calculator [M]"),
        ("hdl", "HDL cholesterol", "mg/dL", 20.0, 100.0, "span of the published calculator [M]"),
        ("sbp", "systolic pressure", "mmHg", 90.0, 200.0, "span of the published calculator [M]"),
    )
}


@dataclass(frozen=True, slots=True)
class Person:
    """Years, mg/dL, mmHg."""

    sex: Sex
    group: Group
    age: float
    cholesterol: float
    hdl: float
    sbp: float
    bp_treated: bool
    smoker: bool
    diabetes: bool


@dataclass(frozen=True, slots=True)
class Coefficients:
    """`sbp` and `age_sbp`: (untreated, treated)."""

    survival: float
    mean: float
    age: float
    cholesterol: float
    hdl: float
    sbp: tuple[float, float]
    smoker: float
    diabetes: float
    age_squared: float = 0.0
    age_cholesterol: float = 0.0
    age_hdl: float = 0.0
    age_sbp: tuple[float, float] = (0.0, 0.0)
    age_smoker: float = 0.0


TABLE: dict[tuple[Sex, Group], Coefficients] = {
    ("female", "white"): Coefficients(
        0.9665, -29.1817, -29.799, 13.540, -13.578, (1.957, 2.019), 7.574, 0.661,
        age_squared=4.884, age_cholesterol=-3.114, age_hdl=3.149, age_smoker=-1.665,
    ),
    ("female", "black"): Coefficients(
        0.9533, 86.6081, 17.114, 0.940, -18.920, (27.820, 29.291), 0.691, 0.874,
        age_hdl=4.475, age_sbp=(-6.087, -6.432),
    ),
    ("male", "white"): Coefficients(
        0.9144, 61.1816, 12.344, 11.853, -7.990, (1.764, 1.797), 7.837, 0.658,
        age_cholesterol=-2.664, age_hdl=1.769, age_smoker=-1.795,
    ),
    ("male", "black"): Coefficients(0.8954, 19.5425, 2.469, 0.302, -0.307, (1.809, 1.916), 0.549, 0.645),
}  # fmt: skip


def risk(person: Person) -> Risk:
    """Raises:
    OutsideValidity: the equations were not made for such a person.
    """
    one_of(person.sex, ("female", "male"), "sex")
    one_of(person.group, ("black", "white"), "group")
    given = {"age": person.age, "cholesterol": person.cholesterol, "hdl": person.hdl, "sbp": person.sbp}
    within(given, INPUTS, "PCE")
    beta = TABLE[person.sex, person.group]
    age, cholesterol, hdl, sbp = (math.log(value) for value in given.values())
    treated = int(person.bp_treated)
    score = (
        (beta.age + beta.age_squared * age) * age
        + (beta.cholesterol + beta.age_cholesterol * age) * cholesterol
        + (beta.hdl + beta.age_hdl * age) * hdl
        + (beta.sbp[treated] + beta.age_sbp[treated] * age) * sbp
        + (beta.smoker + beta.age_smoker * age) * person.smoker
        + beta.diabetes * person.diabetes
    )
    value = -math.expm1(math.log(beta.survival) * math.exp(score - beta.mean))
    population = f"{person.group} adults of the United States, 40-79 years, free of cardiovascular disease"
    return Risk(value, OUTCOME, 10, population, PAPER, (OVERESTIMATES,))
