"""Kidney: filtration, urine, what glucose, ketones and furosemide drag along, creatinine.

    filtration   GFR = GFR0 ((MAP - 40) / 35)01 (1 - 2 lost)+        lost: share of blood volume
    glucose      spilt = GFR (G - L)^2 / (2 (U - L)) from L 180 to U 420 mg/dL, above U: GFR (G - (L + U) / 2)
    urine        usual (GFR/GFR0) (MAP/usual)^3 (blood/usual)^6 + solutes / 0.4 + furosemide's, at most GFR / 4
    furosemide   most E / (E50 + E) GFR / GFR0
    creatinine   V C' = GFR0 C0 - GFR C

Spilling follows filtration, so a dry patient keeps sugar: that is why fluids alone lower glucose. The threshold
goes with filtration (glomerulotubular balance taken as perfect [G]). Textbook relations [M], steepness [G]; numbers
in metabolism_meaning.py.
Valid for adults whose kidneys worked; no tubular necrosis, no diuretic resistance, no hormone of its own.
Functions take floats or pint quantities.
"""

from __future__ import annotations

from twinward.physiology.compiled import Scalar


def filtration(MAP: Scalar, lost: Scalar, GFR0: Scalar, none: Scalar, full: Scalar, slope: Scalar) -> Scalar:
    """`lost` share of the usual blood volume, negative when there is more."""
    pressed = min(max((MAP - none) / (full - none), 0 * lost), 0 * lost + 1)
    filled = max(1 - slope * max(lost, 0 * lost), 0 * lost + 0.1)
    return GFR0 * pressed * filled


def spilt(G: Scalar, GFR: Scalar, begin: Scalar, full: Scalar) -> Scalar:
    """Glucose into urine, mass per time."""
    if begin >= G:
        return 0 * GFR * G
    if full > G:
        return GFR * (G - begin) ** 2 / (2 * (full - begin))
    return GFR * (G - (begin + full) / 2)


def plain(usual: Scalar, filtered: Scalar, pressure: Scalar, filling: Scalar, n: Scalar, m: Scalar) -> Scalar:
    """Urine without solutes or drugs; `filtered`, `pressure`, `filling` over usual."""
    return usual * filtered * pressure**n * filling**m


def driven(drug: Scalar, filtered: Scalar, most: Scalar, half: Scalar) -> Scalar:
    """Urine by furosemide."""
    return most * filtered * drug / (half + drug)


def creatinine_rate(C: Scalar, GFR: Scalar, GFR0: Scalar, C0: Scalar, space: Scalar) -> Scalar:
    return (GFR0 * C0 - GFR * C) / space
