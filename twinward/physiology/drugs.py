"""The drug table: kinetics by drug and kind of patient, every number with unit, source and tag.

`drugs.csv` has a row a number. `base` is the typical value; rows of the same symbol change it
by a covariate: `linear` adds value (covariate - reference), `power` multiplies by
(covariate/reference)^value, `exp` by e^(value (covariate - reference)); `valid` is the range in which the model
was found or may be used. k10, k12, ... are rates as papers print them: CL = k10 V1, Q2 = k12 V1, V2 = Q2/k21.
`low` and `high` are what a person could have (ours [G] unless the source says); tags: [S] read in the
source, [X] computed, [M] from memory, [G] an estimate. "as AnaSim", "as stanpumpR", "as BioGears": read in
those programs' tables, not in the paper itself. Rows marked WIDENED or DISPUTED: sources disagree.

Insulin under the skin is not here: its kinetics are the glucose model's own (`pharmacodynamics.insulin`).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import exp, sqrt

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput, NotFound
from twinward.physiology.pharmacokinetics import PK_PARAMETERS, checked

Array = NDArray[np.float64]
FORMS = frozenset({"base", "linear", "power", "exp", "valid"})
TAGS = frozenset("SXMG")
RATES = ("k10", "k12", "k13", "k21", "k31")
MILLIUNITS = frozenset({"vasopressin"})  # amounts in mU where others have ug
# Into litre, minute, ug (or mU).
SCALE = {
    "L": 1.0, "L/kg": 1.0, "L/min": 1.0, "L/min/kg": 1.0, "L/min/m**2": 1.0, "1/min": 1.0, "dimensionless": 1.0,
    "ug/min": 1.0, "L/h": 1 / 60, "L/h/kg": 1 / 60, "mL/min": 1e-3, "mL/min/kg": 1e-3,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Number:
    """One row of drugs.csv."""

    model: str
    symbol: str
    form: str
    covariate: str
    value: float
    reference: float
    unit: str
    low: float
    high: float
    tag: str
    source: str


@dataclass(frozen=True, slots=True)
class Covariates:
    """Who gets the drug. kg, years, cm, mL/min, SAPS II points; `sepsis` 0 (none) .. 1 (septic shock)."""

    weight: float = 70.0
    age: float = 40.0
    height: float = 170.0
    female: bool = False
    crcl: float = 100.0
    saps2: float = 50.0
    sepsis: float = 0.0

    def __post_init__(self) -> None:
        limits = {
            "weight": (20, 300), "age": (0, 120), "height": (100, 230), "crcl": (0, 250), "saps2": (1, 163),
            "sepsis": (0, 1),
        }  # fmt: skip
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:  # also false for NaN
                raise BadInput(f"{name} must lie in {low}..{high}")

    @property
    def lean(self) -> float:
        """Lean body mass, kg (James 1976), as Schnider and Minto used it."""
        a, b = (1.07, 148.0) if self.female else (1.1, 128.0)
        return a * self.weight - b * (self.weight / self.height) ** 2

    @property
    def lean_turns(self) -> bool:
        """James's formula falls with weight in great obesity: there it means nothing."""
        a, b = (1.07, 148.0) if self.female else (1.1, 128.0)
        return self.weight > a * self.height**2 / (2 * b)

    @property
    def bsa(self) -> float:
        """Body surface, m2 (Mosteller 1987)."""
        return sqrt(self.weight * self.height / 3600)


@dataclass(frozen=True, slots=True)
class OutsideValidity:
    """A model used where nobody has looked; the answer stands but must be shown with this."""

    model: str
    covariate: str
    value: float
    low: float
    high: float
    source: str

    def __str__(self) -> str:
        return (
            f"{self.model}: {self.covariate} {self.value:g} is outside {self.low:g}..{self.high:g} "
            f"where the model holds ({self.source})"
        )


@dataclass(frozen=True, slots=True)
class Kinetics:
    model: str
    parameters: Array  # (10,) in the order of PK_PARAMETERS
    flags: tuple[OutsideValidity, ...]
    amount: str  # "ug" or "mU"


def _number(text: str) -> float:
    return float(text) if text else float("nan")


@cache
def table() -> tuple[Number, ...]:
    text = files("twinward.physiology").joinpath("drugs.csv").read_text(encoding="utf-8")
    return tuple(
        Number(
            row["model"], row["symbol"], row["form"], row["covariate"], _number(row["value"]),
            _number(row["reference"]), row["unit"], _number(row["low"]), _number(row["high"]), row["tag"],
            row["source"],
        )
        for row in csv.DictReader(text.splitlines())
    )  # fmt: skip


@cache
def models() -> tuple[str, ...]:
    """Every model, as "drug/kind"; the first of a drug is its usual one."""
    return tuple(dict.fromkeys(row.model for row in table()))


def drugs() -> tuple[str, ...]:
    return tuple(dict.fromkeys(model.partition("/")[0] for model in models()))


def find(name: str) -> str:
    """The model called `name` ("propofol/marsh"), or a drug's usual one ("propofol").

    Raises:
        NotFound: no such drug here.
    """
    for model in models():
        if name in (model, model.partition("/")[0]):
            return model
    raise NotFound("this drug is not in the table", detail=name)


def amount_unit(model: str) -> str:
    return "mU" if model.partition("/")[0] in MILLIUNITS else "ug"


def kinetics(name: str, who: Covariates, scale: Mapping[str, float] | None = None) -> Kinetics:
    """Parameters of `name` in `who`; `scale` multiplies typical values (symbol -> factor), as a prior draws them.

    Raises:
        NotFound: no such drug.
        BadInput: a scaled value leaves its believable range, or a parameter leaves what a person can have.
    """
    model = find(name)
    rows = [row for row in table() if row.model == model]
    values: dict[str, float] = {}
    for row in rows:
        if row.form == "base":
            typical = row.value * (scale or {}).get(row.symbol, 1.0)
            if not row.low <= typical <= row.high:
                raise BadInput(f"{row.symbol} of {model} must lie in {row.low:g}..{row.high:g} {row.unit}")
            values[row.symbol] = typical * SCALE[row.unit]
    for row in rows:  # additions first, then factors
        if row.form == "linear":
            values[row.symbol] += row.value * (getattr(who, row.covariate) - row.reference)
    for row in rows:
        if row.form == "power":
            values[row.symbol] *= (getattr(who, row.covariate) / row.reference) ** row.value
        elif row.form == "exp":
            values[row.symbol] *= exp(row.value * (getattr(who, row.covariate) - row.reference))
    return Kinetics(model, checked(_vector(values)), validity(model, who), amount_unit(model))


def _vector(values: dict[str, float]) -> Array:
    v = {"V2": 1.0, "V3": 1.0, "Q2": 0.0, "Q3": 0.0, "ka": 0.0, "F": 0.0, "R0": 0.0} | values
    if "k10" in v:
        v["CL"] = v["k10"] * v["V1"]
    for volume, flow, out, back in (("V2", "Q2", "k12", "k21"), ("V3", "Q3", "k13", "k31")):
        if out in v:
            v[flow] = v[out] * v["V1"]
            v[volume] = v[flow] / v[back]
    return np.array([v[symbol] for symbol in PK_PARAMETERS])


def draw(name: str, who: Covariates, chance: np.random.Generator) -> Kinetics:
    """One person of those `name` could be about.

    Each typical value is log-normal, about as wide as from its low to its high, drawn again where it falls
    outside. No correlations are known here: bands come out rather too wide than too narrow.
    """
    scale: dict[str, float] = {}
    for row in table():
        if row.model == find(name) and row.form == "base":
            spread = np.log(row.high / row.low) / (2 * 1.96)
            factor = float(np.exp(spread * chance.standard_normal()))
            while not row.low <= row.value * factor <= row.high:
                factor = float(np.exp(spread * chance.standard_normal()))
            scale[row.symbol] = factor
    return kinetics(name, who, scale)


def validity(name: str, who: Covariates) -> tuple[OutsideValidity, ...]:
    """What about `who` the model was not made for; empty where it holds."""
    model = find(name)
    rows = [row for row in table() if row.model == model]
    found = [
        OutsideValidity(model, row.covariate, float(getattr(who, row.covariate)), row.low, row.high, row.source)
        for row in rows
        if row.form == "valid" and not row.low <= getattr(who, row.covariate) <= row.high
    ]
    if who.lean_turns and any(row.covariate == "lean" for row in rows):
        most = (1.07 / 296 if who.female else 1.1 / 256) * who.height**2
        found.append(
            OutsideValidity(model, "weight", who.weight, 20.0, most, "James's lean mass falls with weight above")
        )
    return tuple(found)
