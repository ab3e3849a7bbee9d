"""FINDRISC: points for type 2 diabetes within 10 years, from eight questions.

Lindstroem & Tuomilehto, Diabetes Care 26:725 (2003); points and bands of the official form (0..26 points). The bands
over-predict today. HUNT followed 47,804 Norwegians without diabetes (20 years or older, 2006-08) for 10 years:
13.5 % (95 % interval 12.5..14.5) with 15 points or more became diabetic, where the form says 33-50 %; 1.5 %
below 11 (negative predictive value 98.5 %); 2.8 % below 15 (Joelle et al., BMJ Open Diab Res Care 7:e000769,
2019, abstract). Between, 11..14 points, follows from the abstract: sensitivity 73 % and specificity 67 % at 11,
38 % and 90 % at 15, incidence 4.0 %: (.73 - .38) .040 / ((.73 - .38) .040 + (.90 - .67) .960) = 6.0 %.
So the answer is what HUNT measured; the form's number stands beside it, marked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from twinward.physiology.meaning import Meaning
from twinward.physiology.risk.answer import Risk, Sex, one_of, within

Family: TypeAlias = Literal["none", "distant", "close"]
FORM = "FINDRISC form: Lindstroem & Tuomilehto 2003 (Diabetes Care 26:725) [S: official form]"
HUNT = "HUNT validation: Joelle 2019 (BMJ Open Diab Res Care 7:e000769) [S: abstract]"
OVER_PREDICTS = "over-predicts: the form's 33-50 % at 15 points and more were 13.5 % in HUNT"
GROUPS = "HUNT's abstract tells three groups: the share of the group, not of the person"
DERIVED = "derived from HUNT's sensitivity and specificity at 11 and 15 points"
FAMILY: dict[Family, int] = {"none": 0, "distant": 3, "close": 5}
BANDS = ((6, 0.01), (11, 0.04), (14, 1 / 6), (20, 1 / 3), (26, 0.5))  # up to points: risk on the form
# Points from .. to, what HUNT measured, flags
MEASURED: tuple[tuple[int, int, float, tuple[str, ...]], ...] = (
    (0, 10, 0.015, (GROUPS,)),
    (11, 14, 0.060, (GROUPS, DERIVED)),
    (15, 26, 0.135, (GROUPS,)),
)

INPUTS: dict[str, Meaning] = {
    row[0]: Meaning(*row)
    for row in (
        ("age", "age", "year", 20.0, 110.0, HUNT),
        ("bmi", "body mass index", "kg/m**2", 12.0, 80.0, "[G]"),
        ("waist", "waist", "cm", 40.0, 220.0, "[G]"),
    )
}


@dataclass(frozen=True, slots=True)
class Person:
    """Years, kg/m2, cm. `family`: "close" a parent, sibling or child, "distant" a grandparent, aunt,
    uncle or first cousin."""

    sex: Sex
    age: float
    bmi: float
    waist: float
    active: bool  # 30 minutes a day
    vegetables: bool  # every day
    bp_drugs: bool  # ever, regularly
    high_glucose: bool  # ever
    family: Family


@dataclass(frozen=True, slots=True)
class Diabetes:
    points: int
    measured: Risk  # what HUNT saw in people with such points
    official: Risk  # what the form says


def points(person: Person) -> int:
    """0..26.

    Raises:
        OutsideValidity: not an adult, or a value no person has.
    """
    one_of(person.sex, ("female", "male"), "sex")
    one_of(person.family, tuple(FAMILY), "family")
    within({"age": person.age, "bmi": person.bmi, "waist": person.waist}, INPUTS, "FINDRISC")
    wide, wider = (94, 102) if person.sex == "male" else (80, 88)
    age = 4 if person.age >= 65 else 3 if person.age >= 55 else 2 if person.age >= 45 else 0
    bmi = 3 if person.bmi > 30 else 1 if person.bmi >= 25 else 0
    waist = 4 if person.waist > wider else 3 if person.waist >= wide else 0
    habits = 2 * (not person.active) + (not person.vegetables)
    return age + bmi + waist + habits + 2 * person.bp_drugs + 5 * person.high_glucose + FAMILY[person.family]


def risk(person: Person) -> Diabetes:
    """Raises:
    OutsideValidity: not an adult, or a value no person has.
    """
    total = points(person)
    first, last, share, flags = next(row for row in MEASURED if total <= row[1])
    group = f"adults of Nord-Troendelag with {first} to {last} points"
    measured = Risk(share, "drug-treated diabetes", 10, group, HUNT, flags)
    value = next(share for most, share in BANDS if total <= most)
    official = Risk(value, "type 2 diabetes", 10, "Finland, 35-64 years in 1987", FORM, (OVER_PREDICTS,))
    return Diabetes(total, measured, official)
