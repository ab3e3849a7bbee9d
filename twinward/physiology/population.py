"""The population prior that is shipped, and people drawn from it: who exists, who was refused and why.

    ln(person) = ln(middle adult) + L z,  z standard normal, L L' = covariance of the shipped people within their group
                 (cohort.csv, itself drawn around published means: bench/cohort.py), 25 numbers (cohort.DRAWN)
    kept       : who passes `cohort.refusal`: every parameter in its believable range, a state of rest, no more than
                 700 mg/dL after two days without insulin

What tells one person from another here, beside age and weight, are four numbers (those that readings can identify):
SI, Gb, meal and skin, each over the middle adult's but Gb (mg/dL). For education and research; not a medical device.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput
from twinward.physiology import cohort
from twinward.physiology import glucose as s2008

Array = NDArray[np.float64]
FOUR = ("SI", "Gb", "meal", "skin")  # factor, mg/dL, factor, factor
_OF = {"SI": ("Vmx", "kp3"), "meal": ("kabs", "kmax"), "skin": ("ka1", "ka2", "kd")}
TRIES_MOST = 200
AGE_MEAN, AGE_SD, AGE_LEAST, AGE_MOST = 43.0, 15.0, 18.0, 85.0  # years, adults with type 1 diabetes [G]
FEMALE = 0.45  # share [G]
_STREAM = 4_000_000  # apart from the streams of virtual.py's lives
ADULT = "adult"
KG_LEAST, KG_MOST = 40.0, 180.0  # what the whole body (patient_tables.VALUES) is started with


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who could exist."""

    seed: int
    index: int
    drawn: Array  # (25,) as cohort.DRAWN
    parameters: Array  # (32,) of S2008
    basal: float  # mg/dL
    age: float  # years
    female: bool
    height_cm: float
    refused: tuple[str, ...]  # why the draws before this one could not exist

    @property
    def weight(self) -> float:
        """kg."""
        return float(self.parameters[s2008.BW])

    def four(self) -> Mapping[str, float]:
        """By the names of FOUR."""
        ratio = {name: float(v) for name, v in zip(cohort.DRAWN, self.drawn / prior().middle, strict=True)}
        found = {name: float(np.exp(np.mean([np.log(ratio[one]) for one in of]))) for name, of in _OF.items()}
        return {name: self.basal if name == "Gb" else found[name] for name in FOUR}


@dataclass(frozen=True, slots=True)
class Prior:
    """Of the logarithms of cohort.DRAWN, adults."""

    middle: Array  # (25,) geometric means
    covariance: Array  # (25, 25)

    def four_sd(self) -> Mapping[str, float]:
        """SD of the logarithm of each of FOUR."""
        place = {name: k for k, name in enumerate(cohort.DRAWN)}
        found = {}
        for name in FOUR:
            weights = np.zeros(len(cohort.DRAWN))
            of = _OF.get(name, (name,))
            weights[[place[one] for one in of]] = 1.0 / len(of)
            found[name] = float(np.sqrt(weights @ self.covariance @ weights))
        return found


@cache
def prior() -> Prior:
    """The middle is that of cohort.toml, the covariance that of the shipped people. Raises Tampered."""
    people = cohort.load()
    about = tomllib.loads((cohort.FOLDER / "cohort.toml").read_text())["geometric_mean_adult"]
    rows = np.log(np.array([_drawn(p, basal) for p, basal in zip(people.parameters, people.basal, strict=True)]))
    groups = sorted({name.split("-")[0] for name in people.names})
    of = np.array([name.split("-")[0] for name in people.names])
    away = np.concatenate([rows[of == one] - rows[of == one].mean(0) for one in groups])
    covariance = away.T @ away / (len(away) - len(groups))
    return Prior(np.array([about[name] for name in cohort.DRAWN]), covariance)


def _drawn(p: Array, basal: float) -> Array:
    at = {name: float(v) for name, v in zip(s2008.PARAMETERS, p, strict=True)}
    EGPb = p[s2008.KP1] - p[s2008.KP2] * p[s2008.VG] * basal - p[s2008.KP3] * p[s2008.IB]
    return np.array([{"Gb": basal, "EGPb": EGPb}.get(name, at.get(name, 0.0)) for name in cohort.DRAWN])


@cache
def person(seed: int, index: int) -> Person:
    """Person `index` of the series `seed`: the same arguments, the same person.

    Raises:
        BadInput: a seed or index below 0 or too large.
    """
    if not 0 <= seed < 2**63 or not 0 <= index < 1_000_000:
        raise BadInput("a virtual person is named by a seed of at least 0 and an index of 0 to 999999")
    chance = np.random.Generator(np.random.Philox(key=np.array([seed, _STREAM + index], np.uint64)))
    law = prior()
    refused: list[str] = []
    root = np.linalg.cholesky(law.covariance)
    for _ in range(TRIES_MOST):
        drawn = law.middle * np.exp(root @ chance.standard_normal(len(law.middle)))
        p, basal = cohort.person(drawn), float(drawn[cohort.DRAWN.index("Gb")])
        why = cohort.refusal(p, basal) or ("" if KG_LEAST <= p[s2008.BW] <= KG_MOST else "weight")
        if not why:
            p.setflags(write=False)
            age = float(np.clip(AGE_MEAN + AGE_SD * chance.standard_normal(), AGE_LEAST, AGE_MOST))
            female = bool(chance.random() < FEMALE)
            height = float(np.clip((166.0 if female else 179.0) + 7.0 * chance.standard_normal(), 145.0, 205.0))
            return Person(seed, index, drawn, p, basal, float(round(age)), female, float(round(height)), tuple(refused))
        refused.append(why)
    raise BadInput("the prior gave nobody who could exist; this is a defect of the prior")


@dataclass(frozen=True, slots=True)
class Row:
    """One of FOUR, or age or weight, over the people of a cohort; beside it what the prior says before refusals."""

    name: str
    unit: str
    low: float  # 5 %
    median: float
    high: float  # 95 %
    prior_low: float
    prior_median: float
    prior_high: float


def report(people: Sequence[Person]) -> tuple[list[Row], Mapping[str, int]]:
    """(a row a number, how many draws were refused for what). Raises BadInput: nobody."""
    if not people:
        raise BadInput("a cohort has at least one person")
    law, sd = prior(), prior().four_sd()
    weight = cohort.DRAWN.index("BW")
    middle = {"SI": 1.0, "Gb": float(law.middle[cohort.DRAWN.index("Gb")]), "meal": 1.0, "skin": 1.0,
              "weight": float(law.middle[weight]), "age": AGE_MEAN}  # fmt: skip
    spread = {**sd, "weight": float(np.sqrt(law.covariance[weight, weight]))}
    every = [{**one.four(), "weight": one.weight, "age": one.age} for one in people]
    units = {"Gb": "mg/dL", "weight": "kg", "age": "year"}
    rows = []
    for name in (*FOUR, "weight", "age"):
        low, median, high = np.percentile([one[name] for one in every], [5, 50, 95]).tolist()
        wide = 1.645 * spread.get(name, 0.0)
        bounds = (float(middle[name] * np.exp(-wide)), float(middle[name] * np.exp(wide)))
        if name == "age":
            bounds = (max(AGE_MEAN - 1.645 * AGE_SD, AGE_LEAST), AGE_MEAN + 1.645 * AGE_SD)
        rows.append(Row(name, units.get(name, "x middle adult"), low, median, high, bounds[0], middle[name], bounds[1]))
    return rows, dict(Counter(why for one in people for why in one.refused).most_common())


def text(people: Sequence[Person]) -> str:
    """A CSV: who, age (years), female, height (cm), then cohort.DRAWN in the units of meaning.py."""
    lines = [",".join(("person", "age", "female", "height_cm", *cohort.DRAWN))]
    for one in people:
        about = (f"{one.seed}:{one.index}", f"{one.age:g}", str(int(one.female)), f"{one.height_cm:g}")
        lines.append(",".join((*about, *(f"{value:.7g}" for value in one.drawn))))
    return "\n".join(lines) + "\n"
