"""A weak heart that works hard on poor blood loses force: supply against demand.

    lack     hypoxia (HR SBP / 12000 - 1)+            rate-pressure product, mmHg a minute: what the heart works
    stunned  M' = h 0.5 lack an hour - M / 6 h        h: strength of heart failure; M 0..0.4
    force    contractility of the left ventricle and its reflex gain x (1 - M)

Direction: oxygen demand of the heart goes with the rate-pressure product (textbook [M]), a heart short of oxygen is
stunned for hours (Braunwald and Kloner 1982 [M]). Threshold and rates are estimates [G], searched so that an untreated
lung oedema grows worse over an hour or two and can still be turned. A heart without failure has the reserve: h is 0.
No vessel is closed here, no infarct, no arrhythmia. Functions take floats or pint quantities.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twinward.physiology.compiled import Scalar
from twinward.physiology.meaning import Meaning

PARAMETERS: Mapping[str, Meaning] = {
    row[0]: Meaning(*row)
    for row in (
        ("easy", "rate-pressure product that a weak heart does easily", "mmHg/min", 8000.0, 20000.0, "[G]"),
        ("per_h", "force lost at full lack", "1/hour", 0.2, 3.0, "[G]"),
        ("back_h", "time constant of recovery", "hour", 2.0, 72.0, "Braunwald and Kloner 1982: hours to days [M]"),
        ("most", "greatest loss", "dimensionless", 0.3, 0.8, "[G]"),
    )
}
VALUES: Mapping[str, float] = {"easy": 12000.0, "per_h": 0.5, "back_h": 6.0, "most": 0.4}


def lack(hypoxia: float, HR: Scalar, SBP: Scalar, easy: Scalar) -> float:
    """0: enough oxygen for the work."""
    return hypoxia * max(float(HR * SBP / easy) - 1.0, 0.0)


@dataclass(slots=True)
class Strain:
    failure: float = 0.0
    stunned: float = 0.0

    def advance(self, hypoxia: float, HR: float, SBP: float, seconds: float) -> None:
        v, hours = VALUES, seconds / 3600.0
        lost = self.failure * v["per_h"] * lack(hypoxia, HR, SBP, v["easy"])
        self.stunned = min(max(self.stunned + (lost - self.stunned / v["back_h"]) * hours, 0.0), v["most"])

    def factors(self) -> dict[str, float]:
        return dict.fromkeys(("El0", "GEl"), 1.0 - self.stunned) if self.stunned else {}
