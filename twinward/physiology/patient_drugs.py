"""Drugs in one body: each has its course (pharmacokinetics), its level at the effect site acts (effects.csv).

One path from dose to circulation: infusion or injection -> Course -> Ce -> Hill -> factor on a target -> parameters
(`pharmacodynamics.TARGETS`). What this computes is `on_parameters(together(effects(...)))` without its bounds, because
it runs every 2 s; a test holds the two together. The body's own release of a hormone has its effect in the resting
body already: factors are relative to rest. In sepsis catecholamines lose a share of their effect (coupling.PRESSOR).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from twinward.physiology import pharmacodynamics as pd
from twinward.physiology.drugs import Covariates, kinetics
from twinward.physiology.patient_giving import Running
from twinward.physiology.pharmacokinetics import Course

STEP_S = 2.0


@cache
def acting(drug: str) -> tuple[pd.Row, ...]:
    """Rows of effects.csv that act on parameters; an observed pressure is not one."""
    return tuple(row for row in pd.table() if row.drug == drug and row.target != "mean_pressure")


@dataclass(slots=True)
class Drugs:
    who: Covariates
    courses: dict[str, Course] = field(default_factory=dict)
    rest: dict[str, float] = field(default_factory=dict)  # level at the effect site before any dose

    def course(self, drug: str) -> Course:
        if drug not in self.courses:
            self.courses[drug] = Course.start(kinetics(drug, self.who).parameters, STEP_S / 60.0)
            self.rest[drug] = self.courses[drug].effect
        return self.courses[drug]

    def inject(self, drug: str, amount: float) -> None:
        self.course(drug).bolus(amount)

    def advance(self, running: Running, now_s: float) -> None:
        """Two seconds."""
        for drug, course in self.courses.items():
            course.infuse(running.per_minute(drug, now_s, STEP_S))
            course.advance(1)

    def targets(self, pressor: float = 1.0) -> dict[str, float]:
        """Factor on each target; `pressor` is the share of their effect that catecholamines keep."""
        found: dict[str, float] = {}
        for drug, course in self.courses.items():
            kept = pressor if drug in pd.CATECHOLAMINES else 1.0
            for row in acting(drug):
                rest = pd.hill(self.rest[drug], row.ec50, row.gamma) if self.rest[drug] else 0.0
                effect = row.emax * kept * (pd.hill(course.effect, row.ec50, row.gamma) - rest)
                found[row.target] = found.get(row.target, 1.0) * (1.0 + effect)
        return found

    def level(self, drug: str) -> float:
        """At the effect site, ug/L or mU/L; 0 where it was never given."""
        return self.courses[drug].effect if drug in self.courses else 0.0

    def kept(self) -> dict[str, object]:
        return {
            "courses": {drug: base64.b64encode(course.dump()).decode() for drug, course in self.courses.items()},
            "rest": self.rest,
        }

    @classmethod
    def restored(cls, who: Covariates, kept: Mapping[str, Mapping[str, str]]) -> Drugs:
        courses = {drug: Course.load(base64.b64decode(text)) for drug, text in kept["courses"].items()}
        return cls(who, courses, {drug: float(level) for drug, level in kept["rest"].items()})


def on_symbols(targets: Mapping[str, float]) -> dict[str, float]:
    """Factor for each parameter symbol of the circulation."""
    factors: dict[str, float] = {}
    for target, factor in targets.items():
        for symbol in pd.TARGETS[target].symbols:
            factors[symbol] = factors.get(symbol, 1.0) * factor
    return factors
