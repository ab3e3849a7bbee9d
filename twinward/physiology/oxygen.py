"""Oxygen: what the blood brings, what the body takes, what it owes, and what that costs.

    content    CaO2 = 1.34 Hb SaO2 + 0.0031 PaO2                 delivery  DO2 = Q CaO2
    taken      VO2 = min(demand + debt / repay, extraction DO2)  owed      debt' = demand - VO2
    effect     f(debt) = 1 / (1 + (debt / weight / 120)^6) on contractility and reflex gain
    lactate    L' = 0.05 (demand - VO2)+ / space - (L - L0) Q / (Q0 tau)

The debt's scale: dogs survive 100 mL/kg, half die at 120 (Crowell and Smith, J Appl Physiol 19:313, 1964); the
shape and all of lactate's rates are estimates of ours [G]. Units: mL/dL, g/dL, L/min, mL/min, min, mmol/L.
Valid for adults at rest; no fever, no shivering, no carbon monoxide, no organ of its own.
"""

from __future__ import annotations

from typing import Any

Number = Any  # a float, or a pint quantity where a test proves dimensions


def content(Hb: Number, SaO2: Number, PaO2: Number, huefner: Number, dissolved: Number) -> Number:
    """mL of oxygen in a dL of blood."""
    return huefner * Hb * SaO2 + dissolved * PaO2


def delivery(Q: Number, CaO2: Number) -> Number:
    """mL/min from `Q` in dL/min and `CaO2` in mL/dL."""
    return Q * CaO2


def taken(DO2: Number, demand: Number, debt: Number, extraction: Number, repay: Number) -> Number:
    """mL/min: what is needed and something for the debt, if so much can be had."""
    return min(demand + debt / repay, extraction * DO2)


def failing(debt: Number, weight: Number, debt50: Number, n: float) -> Number:
    """1 at rest, 0.5 at `debt50`: factor on contractility and reflex gain."""
    return 1 / (1 + (debt / weight / debt50) ** n)


def lactate_rate(
    lactate: Number, missing: Number, share: Number, per_O2: Number, space: Number, L0: Number, tau: Number
) -> Number:
    """mmol/L/min; `missing` mL/min of oxygen, `share` output over its usual value (the liver's flow), `space` L."""
    return per_O2 * missing / space - share * (lactate - L0) / tau
