"""What is done to a circulation: flows into and out of it, and factors on named parameters.

A flow is on from `start_s` to `end_s`. Anything else multiplies parameters: 1 + (full - 1) strength,
coming on and going with its time constant. Factors are estimates [G], searched by hand until a case
looked as designed (docs/evidence/circulation.md has what they reach); no claim about a patient.
Times count from the start of the patient's life and are good to 0.1 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput
from twinward.physiology.circulation import BLEED, BLOOD, FLUID, PARAMETERS

MAX_FLOW_ML_MIN = 3000.0
NOREPINEPHRINE_GAIN = 6.0  # strength per share of the greatest effect; fitted to Beloeil's mean pressure
FOREVER = 1e12  # s


class Kind(StrEnum):
    HAEMORRHAGE = "haemorrhage"
    TRANSFUSION = "transfusion"
    CRYSTALLOID = "crystalloid"
    VASOPRESSOR = "vasopressor"
    BETA_BLOCKER = "beta-blocker"
    HEART_FAILURE = "heart failure"
    SEPTIC = "septic"
    HYPERTENSION = "hypertension"


FLOWS = {Kind.HAEMORRHAGE: BLEED, Kind.TRANSFUSION: BLOOD, Kind.CRYSTALLOID: FLUID}


def _each(factor: float, *symbols: str) -> dict[str, float]:
    return dict.fromkeys(symbols, factor)


# Factors at strength 1. Time constants in seconds.
FULL: dict[Kind, dict[str, float]] = {
    Kind.VASOPRESSOR: _each(2.0, "Rsp0", "Rep0", "GRsp", "GRep")
    | _each(1.2, "El0", "Er0")
    | _each(0.9, "Vsv0", "Vev0"),
    Kind.BETA_BLOCKER: _each(0.3, "GTs", "GEl", "GEr") | {"T0": 1.1},
    Kind.HEART_FAILURE: _each(0.35, "El0", "GEl") | _each(0.7, "Er0", "GEr") | _each(0.85, "Vsv0", "Vev0"),
    Kind.SEPTIC: _each(0.35, "Rsp0", "Rep0") | _each(0.25, "GRsp", "GRep") | _each(1.05, "Vsv0", "Vev0"),
    Kind.HYPERTENSION: _each(1.5, "Rsp0", "Rep0", "GRsp", "GRep")
    | _each(0.2, "Csa", "Csp", "Cep")
    | _each(0.85, "Vsv0", "Vev0")
    | {"Pn": 1.8},
}
MAX_STRENGTH: dict[Kind, float] = dict.fromkeys(FULL, 1.0) | {Kind.VASOPRESSOR: 3.0}
ONSET_S: dict[Kind, float] = {
    Kind.VASOPRESSOR: 60.0,
    Kind.BETA_BLOCKER: 300.0,
    Kind.HEART_FAILURE: 120.0,
    Kind.SEPTIC: 600.0,
    Kind.HYPERTENSION: 300.0,
}


@dataclass(frozen=True, slots=True)
class Intervention:
    kind: Kind
    start_s: float
    end_s: float = FOREVER
    rate_ml_min: float = 0.0  # flows only
    strength: float = 0.0  # factors only; 1 is the full effect
    onset_s: float | None = None  # factors only; None is the usual one

    def __post_init__(self) -> None:
        """Refuses what cannot be done.

        Raises:
            BadInput: times out of order, or a rate or strength that is missing, out of range or of the other sort.
        """
        if not 0.0 <= self.start_s < self.end_s:
            raise BadInput("an intervention starts at zero or later and ends after it starts")
        if self.kind in FLOWS:
            if not 0.0 < self.rate_ml_min <= MAX_FLOW_ML_MIN or self.strength != 0.0:
                raise BadInput(f"{self.kind}: a rate above 0 and at most {MAX_FLOW_ML_MIN:g} mL/min, and no strength")
            if self.end_s >= FOREVER:
                raise BadInput(f"{self.kind}: say when it ends")
        elif not 0.0 < self.strength <= MAX_STRENGTH[self.kind] or self.rate_ml_min != 0.0:
            raise BadInput(f"{self.kind}: a strength above 0 and at most {MAX_STRENGTH[self.kind]:g}, and no rate")
        if self.onset_s is not None and not 0.0 <= self.onset_s <= 86_400.0:
            raise BadInput("the onset takes 0 to 86400 s")

    def rows(self) -> list[list[float]]:
        """As the kernel reads them: target, start, end, value, time constant."""
        if self.kind in FLOWS:
            return [[FLOWS[self.kind], self.start_s, self.end_s, self.rate_ml_min / 60.0, 0.0]]
        tau = ONSET_S[self.kind] if self.onset_s is None else self.onset_s
        return [
            [float(PARAMETERS.index(symbol)), self.start_s, self.end_s, 1.0 + (full - 1.0) * self.strength, tau]
            for symbol, full in FULL[self.kind].items()
        ]


def schedule(interventions: Sequence[Intervention]) -> NDArray[np.float64]:
    """(n, 5) for `circulation.run`."""
    rows = [row for one in interventions for row in one.rows()]
    return np.array(rows, float).reshape(-1, 5)


def bleed(volume_ml: float, start_s: float, over_s: float) -> Intervention:
    return Intervention(Kind.HAEMORRHAGE, start_s, start_s + over_s, rate_ml_min=60.0 * volume_ml / over_s)


def norepinephrine(dose_ug_kg_min: float, weight_kg: float, start_s: float, end_s: float = FOREVER) -> Intervention:
    """Plasma level at steady state of a person of 35 (clearance 2.1 L/min per 70 kg, endogenous 0.498 ug/min), and the
    share of the greatest effect it has: C50 7.04 ug/L, exponent 1.8 (Beloeil 2005, Li 2024)."""
    if not 0.0 < dose_ug_kg_min <= 0.2:
        raise BadInput("norepinephrine: above 0 and at most 0.2 ug/kg/min; more is outside what was fitted")
    level = norepinephrine_level(dose_ug_kg_min, weight_kg)
    effect = level**1.8 / (7.04**1.8 + level**1.8)
    return Intervention(Kind.VASOPRESSOR, start_s, end_s, strength=float(NOREPINEPHRINE_GAIN * effect))


def norepinephrine_level(dose_ug_kg_min: float, weight_kg: float) -> float:
    """ug/L in plasma at steady state."""
    return float((weight_kg * dose_ug_kg_min + 0.498) / (2.1 * (weight_kg / 70.0) ** 0.75))
