"""Sepsis on the bench's clock: pathogen and damage of inflammation.py, severity, and what it does to the body.

    one hour of the patient is 12 h of the inflammation model (CLOCK [G]): shock in one to two hours
    S = min(D / 17.4, 1)    leak, pooling and lost pressor effect: coupling.multipliers(S)
    veins, heart            1 + (full - 1) S on FULL below
    arterioles, reflex      the same, early: with S (1 + .3) / (S + .3) for S
                            searched so that S = .8 has the design's MAP and SVR, and S = .6 a MAP near 60 [G]
    antibiotic              kill = 0.8 A / (A + 0.3) 1/h of the model; A doses, half-life 4 h of the patient [G]
    source control          growth of the pathogen x (1 - 0.4 share) [G]
    fever                   set point + 2.2 s C, s = S / (S + 0.2) [G]
    set point               Pn follows mean pressure by 35 S % with 7 min (Pulse [S]; times S ours [G])

Parameters that differ from the published set (kdn 1.2, mud .06, mun .07, knd .005, kpg .6) were searched so that an
untreated infection becomes worst after three hours and one treated early mends; published, damage keeps itself for
days. Damage is never set by a script: it grows by phagocytes that pathogen calls. TEACHING ONLY (inflammation.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput
from twinward.physiology import coupling, inflammation

CLOCK = 12.0
# Factors at S = 1. Set-ups of circulation_interventions.Kind.SEPTIC are for S = 1; here shock is reached on the way.
EARLY = ("Rsp0", "Rep0", "GRsp", "GRep")
HALF_EARLY = 0.3
FULL = dict.fromkeys(("Rsp0", "Rep0"), 0.17) | dict.fromkeys(("GRsp", "GRep"), 0.3)
FULL |= (
    dict.fromkeys(("GVsv", "GVev"), 0.6) | dict.fromkeys(("Vsv0", "Vev0"), 1.04) | dict.fromkeys(("El0", "Er0"), 0.9)
)
PATHOGENS = 2.0  # 1e6/mL at strength 1
RETUNED = {"kpg": 0.6, "kdn": 1.2, "mud": 0.06, "mun": 0.07, "knd": 0.005}
KILL, HALF_DOSE = 0.8, 0.3  # 1/h of the model, doses
ANTIBIOTIC_HALF_LIFE_H = 4.0  # of the patient
ANTIBIOTIC_ONSET_H = 0.5  # of the patient: from vein to tissue
GROWTH_LEFT = 0.6  # after full source control


def _start() -> NDArray[np.float64]:
    return inflammation.HEALTHY.copy()


@dataclass(slots=True)
class Sepsis:
    x: NDArray[np.float64] = field(default_factory=_start)
    waiting: float = 0.0  # doses on their way to tissue
    antibiotic: float = 0.0  # doses in tissue
    controlled: float = 0.0  # 0..1

    def infect(self, strength: float) -> None:
        self.x[inflammation.P] = min(self.x[inflammation.P] + PATHOGENS * strength, 20.0)

    def dose(self, doses: float) -> None:
        self.waiting += doses

    def control(self, share: float) -> None:
        """The focus is opened or taken out: less grows, and most of what is there goes with it."""
        self.x[inflammation.P] *= 1.0 - 0.5 * max(share - self.controlled, 0.0)
        self.controlled = max(self.controlled, share)

    @property
    def kill(self) -> float:
        """1/h of the model."""
        return KILL * self.antibiotic / (self.antibiotic + HALF_DOSE)

    @property
    def severity(self) -> float:
        return coupling.severity(float(self.x[inflammation.D]))

    def advance(self, seconds: float) -> None:
        hours = seconds / 3600.0
        moved = self.waiting * (1.0 - exp(-hours / ANTIBIOTIC_ONSET_H))
        self.waiting -= moved
        self.antibiotic = (self.antibiotic + moved) * exp(-log(2.0) * hours / ANTIBIOTIC_HALF_LIFE_H)
        if self.x[inflammation.P] == 0.0 and self.x[inflammation.N] < 1e-9 and self.x[inflammation.D] < 1e-9:
            return
        p = PARAMETERS.copy()
        p[inflammation.KPG] *= 1.0 - (1.0 - GROWTH_LEFT) * self.controlled
        inflammation.advance(self.x, p, self.kill, 1, CLOCK * hours)

    def factors(self) -> dict[str, float]:
        """On parameters of the circulation."""
        S = self.severity
        early = S * (1.0 + HALF_EARLY) / (S + HALF_EARLY)
        return (
            {symbol: 1.0 + (full - 1.0) * (early if symbol in EARLY else S) for symbol, full in FULL.items()}
            if S
            else {}
        )

    def multipliers(self) -> Mapping[str, float]:
        return coupling.multipliers(self.severity)

    @property
    def fever(self) -> float:
        """Degrees that the set point of temperature is raised."""
        S = self.severity
        return 2.2 * S / (S + 0.2)

    def kept(self) -> dict[str, object]:
        return {"x": self.x.tolist(), "waiting": self.waiting, "antibiotic": self.antibiotic,
                "controlled": self.controlled}  # fmt: skip

    @classmethod
    def restored(cls, kept: Mapping[str, object]) -> Sepsis:
        x = np.array(kept["x"], float)
        if x.shape != inflammation.HEALTHY.shape or not np.isfinite(x).all() or (x < 0).any():
            raise BadInput("amounts of an inflammation are finite and not negative")
        rest = (float(kept[name]) for name in ("waiting", "antibiotic", "controlled"))  # type: ignore[arg-type]
        return cls(x, *rest)


PARAMETERS = inflammation.parameters(RETUNED)
