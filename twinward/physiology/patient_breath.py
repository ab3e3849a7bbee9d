"""Lungs of the patient: water in them, masks and posture, breaths a minute, carbon dioxide at the mouth.

    water     W' = ((LAP - 18)+ - W) / tau       tau 20 min filling, 40 min draining [G]
    shunt     0.03 + (0.015 (LAP - 18)+ + 0.012 W) (1 - 0.04 CPAP) (0.8 upright), at most 0.5 [G]
    drive     set point of PaCO2 = 40 - (3 S + 4 (1 - flow)+) a - 5 h    a = clip((HCO3 - 14) / 10, 0, 1)
              flow: output over usual; hypoxia h = clip((.93 - SaO2) / .13, 0, 1) [G]
    breaths   RR = 14 sqrt(VE / VE at rest) + (0.8 W + 6 S + 14 (1 - flow)+ + 8 h + acid) drugs, 4..45 [G]
              acid = 0.5 a minute per mmol/L of bicarbonate below 24
    heart     faster by the alarm that hypoxia and water raise [G] (brain.py)
    mouth     etCO2 = PaCO2 - 4 - 12 (1 - output / usual)+ [G]: less flow, more dead space
    veins     CPAP holds back blood: unstressed volume x (1 + 0.003 CPAP); upright x 1.05 [G]

Directions are textbook [M]; sizes are estimates. mmHg, cmH2O, L/min.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

TAU_FILL_S, TAU_DRAIN_S = 1200.0, 2400.0
SHUNT_REST, SHUNT_PER_LAP, SHUNT_PER_WATER = 0.03, 0.015, 0.012
RESTING_RR = 14.0


@dataclass(slots=True)
class Lungs:
    water: float = 0.0  # mmHg: the excess of LAP it would balance
    FiO2: float = 0.21
    cpap: float = 0.0  # cmH2O
    upright: float = 0.0  # 0..1
    RR: float = RESTING_RR
    VE0: float = 6.0  # L/min at rest
    breaths: float = 0.0  # since the start; the fraction is the phase
    flow: float = 1.0  # output over its usual value
    SaO2: float = 0.97

    @property
    def held(self) -> float:
        """Share of wet lungs that stays closed under mask and posture."""
        return (1.0 - 0.04 * min(self.cpap, 15.0)) * (1.0 - 0.2 * self.upright)

    @property
    def veins(self) -> float:
        """Factor on unstressed venous volume."""
        return (1.0 + 0.003 * self.cpap) * (1.0 + 0.05 * self.upright)

    def shunt0(self) -> float:
        return min(SHUNT_REST + SHUNT_PER_WATER * self.water * self.held, 0.5)

    def slope(self) -> float:
        return SHUNT_PER_LAP * self.held

    def set_point(self, S: float, HCO3: float) -> float:
        """mmHg of PaCO2 that breathing keeps, before it answers acids."""
        calm = min(max((HCO3 - 14.0) / 10.0, 0.0), 1.0)
        return 40.0 - (3.0 * S + 4.0 * max(1.0 - self.flow, 0.0)) * calm - 5.0 * hypoxia(self.SaO2)

    def advance(self, LAP: float, VE: float, drugs: float, S: float, HCO3: float, seconds: float) -> None:
        goal = max(LAP - 18.0, 0.0)
        tau = TAU_FILL_S if goal > self.water else TAU_DRAIN_S
        self.water += (goal - self.water) * min(seconds / tau, 1.0)
        self.breaths += seconds * self.RR / 60.0  # the rate that the waves of this exchange had
        more = 0.8 * self.water + 6.0 * S + 14.0 * max(1.0 - self.flow, 0.0) + 8.0 * hypoxia(self.SaO2)
        more += 0.5 * max(24.0 - HCO3, 0.0)
        RR = RESTING_RR * sqrt(max(VE / self.VE0, 0.0)) + more * max(drugs, 0.0)
        self.RR = min(max(RR, 4.0), 45.0)


def hypoxia(SaO2: float) -> float:
    """0 at a saturation of 93 % and above, 1 at 80 %."""
    return min(max((0.93 - SaO2) / 0.13, 0.0), 1.0)


def adrenal(flow: float) -> float:
    """0 at 80 % of the usual output and above, 1 at 40 %: how much adrenaline shock calls for."""
    return min(max((0.8 - flow) / 0.4, 0.0), 1.0)


def end_tidal(PaCO2: float, share: float) -> float:
    """mmHg; `share` is output over its usual value."""
    return max(PaCO2 - 4.0 - 12.0 * max(1.0 - share, 0.0), 2.0)
