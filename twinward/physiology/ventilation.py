"""Breathing: carbon dioxide kept near its set point, oxygen through lungs that may be wet.

    set point    P0 = 40 - 1.2 (24 - HCO3)       HCO3 = 24 - (lactate - 1)       (Winters, respiratory compensation)
    ventilation  VE = VE(P0) + 2 (PaCO2 - P0)    VE(P) = 0.863 VCO2 / ((1 - dead) P)
    stores       PaCO2' = (0.863 VCO2 / ((1 - dead) VE) - PaCO2) / tau
    alveolus     PAO2 = FiO2 (PB - 47) - PaCO2 / RQ
    shunt        s = 0.03 + 0.015 (LAP - 18)+    CaO2 = Cc' - s / (1 - s) VO2 / (10 Q)
    saturation   S = 1 / (23400 / (P^3 + 150 P) + 1)    (Severinghaus 1979)

Textbook relations [M]; slope of the shunt and stores are estimates [G]. Units: mmHg, L/min, mL/min, min.
Valid for adults who breathe by themselves; no ventilator, no hypoxic drive, no shift of the saturation curve.
"""

from __future__ import annotations

import math

PER_VCO2 = 0.863  # mmHg L / mL: body temperature and pressure from standard, by barometer
MIN_VENTILATION = 0.5  # L/min


def saturation(P: float) -> float:
    """Share of haemoglobin with oxygen at `P` mmHg."""
    return 1.0 / (23400.0 / (P * P * P + 150.0 * P) + 1.0) if P > 0.0 else 0.0


def pressure(S: float) -> float:
    """mmHg at which `S` of haemoglobin has oxygen: the inverse of `saturation`, by Cardano; S is at most 0.9999."""
    q = 23400.0 * min(S, 0.9999) / (1.0 - min(S, 0.9999))  # P^3 + 150 P = q
    root = math.sqrt((q / 2.0) ** 2 + 50.0**3)
    return float(math.copysign(1.0, q) * (root + q / 2.0) ** (1 / 3) - (root - q / 2.0) ** (1 / 3))


def holding(content: float, capacity: float, dissolved: float, most: float) -> float:
    """mmHg, 0 to `most`, at which blood holds `content` mL/dL: by halving, as both parts rise with pressure."""
    low, high = 0.0, most
    for _ in range(40):
        P = 0.5 * (low + high)
        if capacity * saturation(P) + dissolved * P < content:
            low = P
        else:
            high = P
    return high


def shunt(LAP: float, s0: float, slope: float, wet: float, most: float) -> float:
    return min(s0 + slope * max(LAP - wet, 0.0), most)


def alveolar(FiO2: float, barometer: float, vapour: float, PaCO2: float, RQ: float) -> float:
    return max(FiO2 * (barometer - vapour) - PaCO2 / RQ, 1.0)


def arterial(end_capillary: float, s: float, VO2: float, Q: float) -> float:
    """Content (mL/dL) after a share `s` of the output passed by the lungs; never below nothing."""
    return max(end_capillary - s / (1.0 - s) * VO2 / (10.0 * Q), 0.0)


def bicarbonate(lactate: float, HCO3: float, lactate0: float) -> float:
    return max(HCO3 - (lactate - lactate0), 2.0)


def set_point(HCO3: float, normal: float, PaCO2: float, Winters: float) -> float:
    return max(PaCO2 - Winters * (normal - HCO3), 12.0)


def needed(VCO2: float, PaCO2: float, dead: float) -> float:
    """L/min that keep carbon dioxide at `PaCO2`."""
    return PER_VCO2 * VCO2 / ((1.0 - dead) * PaCO2)


def ventilation(VCO2: float, PaCO2: float, kept: float, dead: float, drive: float, most: float) -> float:
    """L/min."""
    return min(max(needed(VCO2, kept, dead) + drive * (PaCO2 - kept), MIN_VENTILATION), most)


def pH(HCO3: float, PaCO2: float) -> float:
    return 6.1 + math.log10(HCO3 / (0.0301 * PaCO2))
