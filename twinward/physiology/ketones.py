"""Ketones and bicarbonate in two states: ILLUSTRATIVE [G], because no validated open model of ketosis was found.

    ketones      B' = most / (1 + (i / i50)^n) - used B / (Km + B) - renal GFR/GFR0 B    i: insulin over basal, late
    base lost    L' = anions renal GFR/GFR0 B space / space_HCO3 + diluted - L / tau - given / space_HCO3
    bicarbonate  HCO3 = HCO3_0 - anions (B - B0) - L - (lactate - lactate0)

`used` follows from rest. Ketones that are burnt give their bicarbonate back; those lost in urine do not, and saline
dilutes what there is: that part comes back over a day, so bicarbonate closes later than ketones do. For teaching;
nothing here is measured in anybody. Values: metabolism_meaning.py. Functions take floats or pint quantities.
"""

from __future__ import annotations

from twinward.physiology.compiled import Scalar

HCO3_LEAST = 2.0  # mmol/L


def suppressed(i: Scalar, half: Scalar, n: Scalar) -> Scalar:
    """Share of the greatest production."""
    return 1 / (1 + (i / half) ** n)


def use_most(most: Scalar, half: Scalar, n: Scalar, Km: Scalar, B0: Scalar, renal: Scalar) -> Scalar:
    """The use that rests at `B0` with basal insulin."""
    return (most * suppressed(0 * n + 1, half, n) - renal * B0) * (Km + B0) / B0


def rate(B: Scalar, i: Scalar, most: Scalar, half: Scalar, n: Scalar, used: Scalar, Km: Scalar, lost: Scalar) -> Scalar:
    """Of 3-hydroxybutyrate; `lost` share per time in urine."""
    return most * suppressed(i, half, n) - used * B / (Km + B) - lost * B


def base_rate(L: Scalar, anions_lost: Scalar, diluted: Scalar, given: Scalar, tau: Scalar) -> Scalar:
    """Of the bicarbonate missing; the middle three in concentration per time."""
    return anions_lost + diluted - given - L / tau


def bicarbonate(HCO30: Scalar, anions: Scalar, B: Scalar, B0: Scalar, L: Scalar, lactate: Scalar) -> Scalar:
    """`lactate` above rest."""
    return HCO30 - anions * (B - B0) - L - lactate
