"""Fluids beside the circulation's own equations: wounds, capillary leak, albumin. Urine and drinking: metabolism.py.

    wound       q = rate at opening x MAP / MAP at opening x (1 - 0.35 H)     H = C / (C + 10 mg/L), tranexamic acid [G]
    leak        leaked' = LEAK(S) blood (1 - leaked / 3000) - (1 - S) leaked / 6 h     (coupling.py; cap, return [G])
    albumin     into plasma 1:1; leaves it only by the leak
    crystalloid the circulation's two volumes (Hahn); in sepsis it leaves the blood (1 + S) times as fast [G]

What changes plasma is put into the veins 55 to 45 between exchanges, so blood volume is conserved to rounding:
blood = blood at the start + given - bled + refilled + crystalloid in blood + moved. Units: mL, mL/h, mmHg.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinward.physiology import circulation as c

LEAK_MOST_ML = 3000.0
LEAK_RETURN_H = 6.0
CLOT_LEVEL = 10_000.0  # ug/L of tranexamic acid: fibrinolysis is held at about 10 mg/L [M]
CLOT_MOST = 0.35
LOWEST_MOVE = 400.0  # mL that must stay in each vein


@dataclass(slots=True)
class Fluids:
    moved: float = 0.0  # plasma put into the veins so far, mL
    leaked: float = 0.0
    lost: float = 0.0
    bleeding: float = 0.0  # mL/min now
    opened_at: float = 90.0  # when it opened
    urine: float = 0.0  # mL/h now
    passed: float = 0.0  # mL of urine so far

    def wound(self, rate: float, MAP: float, tranexamic: float) -> float:
        """mL/min through open vessels now."""
        held = CLOT_MOST * tranexamic / (tranexamic + CLOT_LEVEL)
        self.bleeding = rate * min(max(MAP / self.opened_at, 0.0), 1.5) * (1.0 - held)
        return self.bleeding

    def leak(self, share_per_h: float, severity: float, blood: float, hours: float) -> float:
        """mL that plasma gets (below 0: loses) in `hours`."""
        out = share_per_h * blood * max(1.0 - self.leaked / LEAK_MOST_ML, 0.0)
        back = (1.0 - severity) * self.leaked / LEAK_RETURN_H
        self.leaked += (out - back) * hours
        return (back - out) * hours

    def into_veins(self, x: NDArray[np.float64], plasma: float) -> None:
        """Moves `plasma` mL into (below 0: out of) the veins of the circulation's state."""
        if plasma < 0.0 and min(x[c.VSV], x[c.VEV]) < LOWEST_MOVE:
            return
        x[c.VSV] += c.TO_SPLANCHNIC * plasma
        x[c.VEV] += c.TO_OTHER * plasma
        self.moved += plasma
