"""Four active chambers and their valves.

    activation   phi = sin^2(pi t / Tsys) in systole, else 0      Tsys = Tsys0 - ksys / T
                 atria the same over 0.25 sqrt(T), beginning 0.19 sqrt(T) before the ventricles
    atrium       P = (Ed + (Es - Ed) a) (V - Vu)
    ventricle    Pmax = phi E (V - Vu) + (1 - phi) P0 (exp(kE V) - 1)      P = Pmax - kR Pmax F
    outflow      F = (Pmax - Partery)+ / (kR Pmax)                inflow  F = (Patrium - P)+ / R

Ventricles and valves: Ursino, Am J Physiol 275:H1733 (1998). Atria: Korakianitis and Shi, J
Biomech 39:1964 (2006), timing scaled with the root of the period as in Heldt 2004. Units: mmHg, mL, s.
Valid in sinus rhythm with competent valves; no dyssynchrony, no pericardium, no breathing.
"""

from __future__ import annotations

import numpy as np

from twinward.physiology.compiled import Scalar, equation

ATRIAL_SYSTOLE = 0.25  # s per sqrt(s) of period [M]
ATRIAL_LEAD = 0.19  # s per sqrt(s) of period [M]
PI = float(np.pi)


@equation
def contraction(phase: Scalar, T: Scalar, duration: Scalar) -> Scalar:
    """0..1 at `phase` (0..1) of a beat of `T` whose systole lasts `duration`."""
    if phase * T >= duration:
        return 0.0
    s = np.sin(PI * (phase * T / duration))
    return s * s


@equation
def systole(T: Scalar, Tsys0: Scalar, ksys: Scalar) -> Scalar:
    return Tsys0 - ksys / T


@equation
def atrial_phase(phase: Scalar, root: Scalar) -> Scalar:
    """Phase of the atria, ahead of the ventricles; `root` is sqrt(T / 1 s)."""
    ahead = phase + ATRIAL_LEAD / root
    return ahead - np.floor(ahead)


@equation
def atrium(V: Scalar, a: Scalar, Ed: Scalar, Es: Scalar, Vu: Scalar) -> Scalar:
    return (Ed + (Es - Ed) * a) * (V - Vu)


@equation
def ventricle(V: Scalar, phi: Scalar, E: Scalar, Vu: Scalar, P0: Scalar, kE: Scalar) -> Scalar:
    """Isometric pressure Pmax."""
    return phi * E * (V - Vu) + (1 - phi) * P0 * (np.exp(kE * V) - 1)


@equation
def outflow(Pmax: Scalar, Partery: Scalar, kR: Scalar) -> Scalar:
    if Pmax > Partery and Pmax > 0 * Pmax:
        return (Pmax - Partery) / (kR * Pmax)
    return 0 * Pmax / (kR * Partery)


@equation
def inflow(Patrium: Scalar, Pventricle: Scalar, R: Scalar) -> Scalar:
    return max(Patrium - Pventricle, 0 * Patrium) / R
