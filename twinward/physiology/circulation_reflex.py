"""What keeps the circulation steady: baroreflex, cardiopulmonary reflex, refill from tissue.

    sinus        taup Pcs' = P + tauz P' - Pcs        z = (Pcs - Pn) / ka
                 fcs = (fmin + fmax e^z) / (1 + e^z)
    sympathetic  fes = fesinf + (fes0 - fesinf) exp(-kes fcs)
    vagal        fev = (fev0 + fevinf e^y) / (1 + e^y)     y = (fcs - fcs0) / kev
    effector     tau d' = G ln(fes(t - D) - fesmin + 1)+ - d       heart period, vagal: tau d' = G fev - d
    low pressure delta = 5 atan((Pra - Pset) / 5)     tau d' = G delta - d
    refill       q = krf (frf lost - refilled)
    crystalloid  Vc' = fluid - (k12 + k10) Vc + k21 Vt     Vt' = k12 Vc - k21 Vt

Ursino, Am J Physiol 275:H1733 (1998). Low-pressure reflex: Heldt 2004, Tables 3.2-3.3. Crystalloid:
Hahn, Anesthesiology 113:470 (2010), constants from memory. Units: mmHg, mL, s.
Departures: a delay D is a chain of three stages of D / 3 (an Erlang distribution), so that all of the
past is in the state; the vagal delay of 0.2 s is left out; the low-pressure volume drive goes 60 to
40 to splanchnic and other veins, its resistance drive is added to both beds.
"""

from __future__ import annotations

import numpy as np

from twinward.physiology.compiled import Scalar, equation

TAU_E, TAU_R, TAU_V, TAU_TS, TAU_TV = 8.0, 6.0, 20.0, 2.0, 1.5  # s, Ursino [S]
FAST, SLOW = 3 / 2.0, 3 / 5.0  # 1/s: stages of the delays of 2 s and 5 s
TAU_CV, TAU_CR = 20.0, 8.0  # s, low-pressure reflex, Heldt [S]


@equation
def receptor(P: Scalar, dP: Scalar, Pcs: Scalar, taup: Scalar, tauz: Scalar) -> Scalar:
    return (P + tauz * dP - Pcs) / taup


@equation
def sinus(Pcs: Scalar, Pn: Scalar, ka: Scalar, fmin: Scalar, fmax: Scalar) -> Scalar:
    """Firing of the sinus nerve."""
    e = np.exp(min((Pcs - Pn) / ka, 30.0))
    return (fmin + fmax * e) / (1 + e)


@equation
def sympathetic(fcs: Scalar, fesinf: Scalar, fes0: Scalar, kes: Scalar) -> Scalar:
    return fesinf + (fes0 - fesinf) * np.exp(-kes * fcs)


@equation
def vagal(fcs: Scalar, fev0: Scalar, fevinf: Scalar, fcs0: Scalar, kev: Scalar) -> Scalar:
    e = np.exp((fcs - fcs0) / kev)
    return (fev0 + fevinf * e) / (1 + e)


@equation
def drive(late: Scalar, fesmin: Scalar, unit: Scalar) -> Scalar:
    """What delayed firing does to an effector; `unit` is one spike per second."""
    return np.log(max((late - fesmin) / unit, 0.0) + 1)


@equation
def low_pressure(Pra: Scalar, Pset: Scalar, width: Scalar) -> Scalar:
    """delta; `width` is 5 mmHg."""
    return width * np.arctan((Pra - Pset) / width)


@equation
def refill(given: Scalar, refilled: Scalar, krf: Scalar, frf: Scalar) -> Scalar:
    return krf * (-frf * given - refilled)


@equation
def crystalloid(
    Vc: Scalar, Vt: Scalar, fluid: Scalar, k12: Scalar, k21: Scalar, k10: Scalar
) -> tuple[Scalar, Scalar, Scalar]:
    """Change of crystalloid in blood, tissue, urine."""
    crossing = k12 * Vc - k21 * Vt
    passed = k10 * Vc
    return fluid - crossing - passed, crossing, passed
