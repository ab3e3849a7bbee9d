"""The glucose side of the metabolism: whose equations, insulin and glucose by vein, and what works against lows.

    type 1, DKA   S2008 (glucose_options.py)        health   Dalla Man 2007, with IV terms of ours:
                  Gp' + sugar, Ip' + iv, and secretion sees the rise that sugar makes
    added to Gp'  made by adrenaline and glucagon + spared by the brain + stress - spilt in urine   (mg/kg/min)
    adrenaline    A' = (strength wanted(G) - A) / tau, wanted 0 at 68 and 1 at 42 mg/dL (Mitrakou 1991)
    glucagon      muscle m' = -in m    body b' = in m - out b    made = most b / (b50 + b)
    brain         spared = Fsnc (1 - G / 81)+                                  (as Hovorka 2004, 4.5 mmol/L)
    awake         W' = (clear(G) - W) / tau, clear 1 at 50 (thinking slows at 49, Mitrakou 1991), 0 at 30 mg/dL [G]

Four departures from the printed models: ke1 is 0, because the kidney here has its own loss (kidney.py; S2008's is a
twentieth of a real one); lows are worked against; glucose is shown over the volume that is there, so lost water
concentrates it; and the range is left: S2008 was made for glucose below 400 mg/dL with insulin. What holds it
there is utilisation that is never negative, filtration-limited loss, and SI x 0.4 for DKA. Education only.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput
from twinward.physiology import cohort, dalla_man
from twinward.physiology import glucose as s2008
from twinward.physiology import glucose_options as options
from twinward.physiology.compiled import Scalar, compiled
from twinward.physiology.glucose_state import State

Array = NDArray[np.float64]
# Glucose below which signs begin: Mitrakou 1991, Am J Physiol 260:E67, mg/dL (SE 1 to 3) [S].
SIGNS = (
    (68.0, "adrenaline and glucagon rise"),
    (58.0, "trembling, sweating, palpitations"),
    (51.0, "hunger, dizziness, blurred vision, difficulty thinking"),
    (49.0, "thinking measurably slower"),
)
SWALLOWS = 0.5  # [G]: less awake than this, nobody swallows safely
DKA_SENSITIVITY = 0.4  # physiology.md 1b.5


def signs(glucose: float) -> list[str]:
    """What a person with this glucose (mg/dL) is expected to show; typical, not any one person."""
    return [text for below, text in SIGNS if glucose < below]


def wanted(G: Scalar, alert: Scalar, alarm: Scalar) -> Scalar:
    """Adrenal answer, 0..1."""
    return min(max((alert - G) / (alert - alarm), 0 * G / alert), 0 * G / alert + 1)


def clear(G: Scalar, dim: Scalar, out: Scalar) -> Scalar:
    """How awake a brain on this glucose comes to be: 1 clear, 0 unconscious."""
    return min(max((G - out) / (dim - out), 0 * G / dim), 0 * G / dim + 1)


def saturating(amount: Scalar, most: Scalar, half: Scalar) -> Scalar:
    return most * amount / (half + amount)


def spared(G: Scalar, below: Scalar, Fsnc: Scalar) -> Scalar:
    return Fsnc * max(1 - G / below, 0 * G / below)


@cache
def typical() -> tuple[float, ...]:
    """The 32 parameters of S2008's typical adult: medians of the logarithms of our cohort's adults."""
    adults = cohort.load().group("adult")
    index = dict(zip(s2008.PARAMETERS, range(32), strict=True))
    drawn = []
    for name in cohort.DRAWN:
        if name == "Gb":
            drawn.append(float(np.median(adults.basal)))
        elif name == "EGPb":
            p = adults.parameters
            drawn.append(float(np.median(p[:, s2008.KP1] - p[:, s2008.KP2] * p[:, s2008.VG] * adults.basal
                                         - p[:, s2008.KP3] * p[:, s2008.IB])))  # fmt: skip
        else:
            drawn.append(float(np.median(adults.parameters[:, index[name]])))
    return tuple(float(v) for v in cohort.person(np.array(drawn)))


def type_1(weight: float, glucose: float, sensitivity: float) -> State:
    """At rest on the usual basal insulin.

    Raises:
        BadInput: no state of rest with these numbers.
    """
    p = np.array(typical())
    p[s2008.BW] = weight
    p[s2008.VMX] *= sensitivity
    p[s2008.KP3] *= sensitivity
    s2008.settle(p, glucose)
    if not np.isfinite(p).all():
        raise BadInput("no state of rest with this glucose: it is above the renal threshold")
    state = options.rest(p, glucose)
    state.p[s2008.KE1] = 0.0
    return state


def healthy(weight: float, glucose: float, sensitivity: float) -> State:
    printed = dalla_man.NORMAL | {"BW": weight, "Gb": glucose}
    printed["Vmx"] *= sensitivity
    printed["kp3"] *= sensitivity
    state = dalla_man.rest(dalla_man.person(printed))
    state.p[dalla_man.KE1] = 0.0
    return state


@compiled
def finer(X: float, level: float, Ib: float, p2u: float, Vm0: float, Vmx: float, Km0: float) -> int:
    """RK4 steps of a minute: one, but under gross insulin tissue empties faster than a minute's step can follow."""
    reach = X + p2u * max(level - Ib - X, 0.0)
    return 1 + int(max(Vm0 + Vmx * reach, 0.0) / Km0)


@compiled
def healthy_minute(x: np.ndarray, p: np.ndarray, memory: np.ndarray, grams: float, sugar: float, iv: float) -> None:
    """One minute of RK4 in place; `sugar` mg/kg/min and `iv` pmol/kg/min into plasma."""
    wide = x.shape[0]
    k, y, begin, total = np.empty(wide), np.empty(wide), np.empty(wide), np.empty(wide)
    Dose = s2008.eat(x, memory, grams)
    level = (x[dalla_man.IP] + iv) / p[dalla_man.VI]
    steps = finer(x[dalla_man.X], level, p[dalla_man.IB], p[dalla_man.P2U], p[dalla_man.VM0], p[dalla_man.VMX],
                  p[dalla_man.KM0])  # fmt: skip
    h = 1.0 / steps
    for _ in range(steps):
        begin[:] = x
        y[:] = x
        total[:] = 0.0
        for stage in range(4):
            dalla_man.derivative(y, p, grams * s2008.MG_PER_G, Dose, 0.0, 0, k)
            rise = k[dalla_man.GP] / p[dalla_man.VG]
            k[dalla_man.GP] += sugar
            k[dalla_man.IPO] += p[dalla_man.K] * (max(k[dalla_man.GP] / p[dalla_man.VG], 0.0) - max(rise, 0.0))
            k[dalla_man.IP] += iv
            weight = 1.0 / 3.0 if stage == 1 or stage == 2 else 1.0 / 6.0
            step = h if stage == 2 else 0.5 * h
            for i in range(wide):
                total[i] += weight * h * k[i]
                y[i] = begin[i] + step * k[i]
        for i in range(wide):
            x[i] += total[i]
            if i != dalla_man.X and i != dalla_man.Y and x[i] < 0.0:
                x[i] = 0.0


@compiled
def type_1_minute(
    x: np.ndarray, p: np.ndarray, memory: np.ndarray, grams: float, units: float, sugar: float, iv: float
) -> None:
    """As `healthy_minute`; `units` U under the skin, by the kernel of glucose_options.py."""
    inputs = np.zeros((1, 5))
    inputs[0, 0], inputs[0, 1] = grams, units
    inputs[0, 2] = sugar * p[s2008.BW] / s2008.MG_PER_G
    inputs[0, 3] = iv * p[s2008.BW] / s2008.PMOL_PER_UNIT
    level = (x[s2008.IP] + iv) / p[s2008.VI]
    steps = finer(x[s2008.X], level, p[s2008.IB], p[s2008.P2U], p[s2008.VM0], p[s2008.VMX], p[s2008.KM0])
    options.simulate(p, x, memory, inputs, 0, 0.0, 0.0, 300.0, steps, np.empty(1))
