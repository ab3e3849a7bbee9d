"""What a drug does: a sigmoid of its level at the effect site, on parameters called by name.

    H(Ce) = Ce^g / (EC50^g + Ce^g)          Hill; Holford & Sheiner, Clin Pharmacokinet 6:429 (1981)
    multiply: parameter x (1 + Emax H)      add: parameter + Emax H

A model of the body looks its own parameters up in `TARGETS`; what it does not have it
leaves alone. Several drugs on one target multiply (add): no synergy is modelled, and `together` says so.
Every row of `effects.csv` has its tag; ranges are ours [G], wide where sources disagree. Effects
measured on stroke volume or rate are taken as effects on contractility or period: an approximation.
Valid for adults and levels of usual doses; reflexes belong to the circulation, not to these rows.
Education and research; not a medical device.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import product

from twinward.errors import BadInput, NotFound
from twinward.physiology.compiled import Scalar
from twinward.physiology.drugs import Covariates


@dataclass(frozen=True, slots=True)
class Target:
    text: str
    symbols: tuple[
        str, ...
    ] = ()  # of the circulation (Ursino) or of S2008 that are multiplied; () if none stands for it


TARGETS: Mapping[str, Target] = {
    "systemic_resistance": Target("resistance of the systemic arterioles", ("Rsp0", "Rep0", "GRsp", "GRep")),
    "contractility": Target("elastance of both ventricles", ("El0", "Er0")),
    "heart_period": Target("heart period without drive", ("T0",)),
    "unstressed_volume": Target("unstressed volume of the systemic veins", ("Vsv0", "Vev0")),
    "reflex_gain": Target("all gains of the baroreflex", ("GEl", "GEr", "GRsp", "GRep", "GVsv", "GVev", "GTs", "GTv")),
    "heart_rate_gain": Target("sympathetic gain on the heart period", ("GTs",)),
    "contractility_gain": Target("sympathetic gain on contractility", ("GEl", "GEr")),
    "mean_pressure": Target("observed, mmHg: mean arterial pressure with reflexes; for use without a circulation"),
    "respiratory_drive": Target("drive of breathing"),
    "tubular_permeability": Target("water and salt that tubules let pass"),
    "glucose_production": Target("production of glucose by the liver", ("kp1", "kp2", "kp3")),
}
CATECHOLAMINES = frozenset({"norepinephrine", "epinephrine", "phenylephrine"})
SEPTIC_LOSS = 0.5  # of a pressor's effect in full septic shock: Bellissant 2000 as AnaSim [S]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of effects.csv; `ec50` in ug/L (mU/L for vasopressin)."""

    drug: str
    target: str
    mode: str
    emax: float
    emax_low: float
    emax_high: float
    ec50: float
    ec50_low: float
    ec50_high: float
    ec50_unit: str
    gamma: float
    tag: str
    source: str


@dataclass(frozen=True, slots=True)
class Effect:
    """`value` multiplies (or, mode "add", is added to) the target; `low` and `high` bound it."""

    mode: str
    value: float
    low: float
    high: float
    tag: str
    source: str


def hill(Ce: Scalar, EC50: Scalar, g: float) -> Scalar:
    """0..1; the same on floats and on quantities. Written so that neither tiny nor huge levels overflow."""
    if not Ce > 0 * Ce:
        return 0.0
    ratio = float(EC50 / Ce)
    return 0.0 if ratio > 1e6 else 1.0 / (1.0 + ratio**g)


@cache
def table() -> tuple[Row, ...]:
    text = files("twinward.physiology").joinpath("effects.csv").read_text(encoding="utf-8")
    words = ("drug", "target", "mode", "ec50_unit", "tag", "source")
    return tuple(
        Row(**{name: (cell if name in words else float(cell)) for name, cell in row.items()})  # type: ignore[arg-type]
        for row in csv.DictReader(text.splitlines())
    )


def known(drug: str) -> bool:
    """Whether anything is said here of what `drug` does; if not, its effects are unknown, not absent."""
    return any(row.drug == drug for row in table())


def effects(drug: str, ce: float, who: Covariates) -> Mapping[str, Effect]:
    """What `drug` at `ce` (effect site, ug/L or mU/L) does in `who`, by target.

    Raises:
        NotFound: nothing is known here of what this drug does.
        BadInput: a level that is not finite or negative.
    """
    if not known(drug):
        raise NotFound("nothing is known here of what this drug does", detail=drug)
    if not 0 <= ce < 1e9:  # also false for NaN
        raise BadInput("a drug's level is finite and not negative")
    kept = 1 - SEPTIC_LOSS * who.sepsis if drug in CATECHOLAMINES else 1.0
    found = {}
    for row in table():
        if row.drug == drug:
            found[row.target] = _effect(row, ce, kept)
    return found


def _effect(row: Row, ce: float, kept: float) -> Effect:
    start = 1.0 if row.mode == "multiply" else 0.0
    corners = [
        emax * kept * hill(ce, ec50, row.gamma)
        for emax, ec50 in product((row.emax_low, row.emax, row.emax_high), (row.ec50_low, row.ec50, row.ec50_high))
    ]
    value = start + row.emax * kept * hill(ce, row.ec50, row.gamma)
    return Effect(row.mode, value, start + min(corners), start + max(corners), row.tag, row.source)


def together(several: Iterable[Mapping[str, Effect]]) -> Mapping[str, Effect]:
    """Drugs at once: factors multiply, additions add. No synergy: opioid and hypnotic together do more than this."""
    joined: dict[str, Effect] = {}
    for one in several:
        for target, new in one.items():
            old = joined.get(target)
            if old is None:
                joined[target] = new
                continue
            if old.mode != new.mode:
                raise BadInput(f"effects on {target} are of two kinds")
            joined[target] = _join(old, new)
    return joined


def _join(a: Effect, b: Effect) -> Effect:
    tag = max(a.tag, b.tag, key="SXMG".index)  # the weaker of the two
    source = f"{a.source}; {b.source}"
    if a.mode == "add":
        return Effect("add", a.value + b.value, a.low + b.low, a.high + b.high, tag, source)
    return Effect("multiply", a.value * b.value, a.low * b.low, a.high * b.high, tag, source)


def on_parameters(found: Mapping[str, Effect]) -> dict[str, float]:
    """Factor for each parameter symbol of the circulation and S2008; what has no symbol is left out."""
    factors: dict[str, float] = {}
    for target, effect in found.items():
        for symbol in TARGETS[target].symbols:
            factors[symbol] = factors.get(symbol, 1.0) * effect.value
    return factors


@dataclass(frozen=True, slots=True)
class UnderSkin:
    """Kinetics of an insulin under the skin, as the glucose models have them."""

    name: str
    s2008: Mapping[str, float]  # symbol -> 1/min; dose enters as u (pmol/kg/min), 6000 pmol/U
    hovorka: Mapping[str, float]  # symbol -> min
    tag: str
    source: str


# The models know one rapid-acting insulin; aspart and lispro are not told apart.
RAPID = ({"kd": 0.0164, "ka1": 0.0018, "ka2": 0.0182}, {"tmaxI": 55.0})
INSULINS = {
    name: UnderSkin(name, *RAPID, "S", "mean of S2008 (simglucose 0.2.11); tmaxI of Hovorka 2004 as LoopInsighT1")
    for name in ("insulin aspart", "insulin lispro")
}


def insulin(name: str) -> UnderSkin:
    """The glucose models' kinetics of `name`.

    Raises:
        NotFound: no kinetics here (glargine, NPH, regular, inhaled: not read in a source yet).
    """
    if name not in INSULINS:
        raise NotFound("the kinetics of this insulin are not known here", detail=name)
    return INSULINS[name]
