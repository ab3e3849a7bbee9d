"""Dalla Man 2007: glucose and insulin of people whose pancreas works, in health and in type 2 diabetes.

    glucose  Gp' = EGP + Ra - Fcns - E - k1 Gp + k2 Gt        G = Gp / VG
             Gt' = -U + k1 Gp - k2 Gt                         U = (Vm0 + Vmx X)+ Gt / (Km0 + Gt)
             EGP = (kp1 - kp2 Gp - kp3 Id - kp4 Ipo)+         E = ke1 (Gp - ke2)+
    insulin  Ip' = -(m2 + m4) Ip + m1 Il                      I = Ip / VI
             Il' = -(m1 + m3) Il + m2 Ip + S                  m3 = HE m1 / (1 - HE), HE = -m5 S + m6
             X' = p2U (I - Ib - X)    I1' = ki (I - I1)    Id' = ki (I1 - Id)
    beta     S = gamma Ipo            Ipo' = -gamma Ipo + Spo
    cells    Spo = Y + K (G')+ + Sb   Y' = -alpha (Y - max(beta (G - Gb), -Sb))
    meals    stomach and gut as in glucose.py, grinding as fast as emptying at most (kgri = kmax)

Dalla Man, Rizza, Cobelli, IEEE Trans Biomed Eng 54:1740 (2007); table as evabowe/Insulinpumpe [S].
Two departures. As printed the type 2 set does not rest at its own basal values, so Vm0, kp1, m6 and Sb
are derived from (Gb, Ib, EGPb), which are [M]; and utilisation is never negative.
Units: minute, mg, mg/kg, pmol/kg, pmol/L, mg/dL. Valid for a mixed meal or glucose by mouth in
adults at rest; effort (exercise.py) is an addition of ours. No insulin therapy, no counter-regulation.

The state is 18 numbers (12 of the body, 6 of effort) and the stomach's memory of three.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput
from twinward.physiology import exercise
from twinward.physiology.compiled import Scalar, compiled, equation
from twinward.physiology.glucose import EATING_RATE, MG_PER_G, absorption, action, eat, emptying, glucose
from twinward.physiology.glucose_state import Outside, State, outside, series
from twinward.physiology.meaning import check
from twinward.physiology.meaning_glucose import DALLA_MAN_PARAMETERS, DALLA_MAN_STATES, EXERCISE_STATES

Array = NDArray[np.float64]

MODEL = "dalla-man-2007/1"
PARAMETERS = tuple(DALLA_MAN_PARAMETERS)
STATES = tuple(DALLA_MAN_STATES) + tuple(EXERCISE_STATES)
(BW, VG, K1, K2, VI, M1, M2, M4, M5, M6, HEB, KMAX, KMIN, KABS, F, B, D, KP1, KP2, KP3, KP4, KI) = range(22)
(FCNS, VM0, VMX, KM0, P2U, K, ALPHA, BETA, GAMMA, KE1, KE2, GB, IB, SB) = range(22, 36)
(QSTO1, QSTO2, QGUT, GP, GT, IP, IL, X, I1, ID, IPO, Y) = range(12)
BODY, WIDE = 12, 18
MEMORY = 3

# As printed, with the printed Vm0, kp1 and m6 (last word: `person`).
NORMAL = {
    "BW": 78.0, "VG": 1.88, "k1": 0.065, "k2": 0.079, "VI": 0.05, "m1": 0.190, "m2": 0.484, "m4": 0.194,
    "m5": 0.0304, "m6": 0.6471, "HEb": 0.6, "kmax": 0.0558, "kmin": 0.0080, "kabs": 0.057, "f": 0.9, "b": 0.82,
    "d": 0.010, "kp1": 2.70, "kp2": 0.0021, "kp3": 0.009, "kp4": 0.0618, "ki": 0.0079, "Fcns": 1.0, "Vm0": 2.50,
    "Vmx": 0.047, "Km0": 225.59, "p2U": 0.0331, "K": 2.30, "alpha": 0.050, "beta": 0.11, "gamma": 0.5,
    "ke1": 0.0005, "ke2": 339.0, "Gb": 91.76, "Ib": 25.49, "EGPb": 1.92,
}  # fmt: skip
TYPE_2 = {
    "BW": 91.0, "VG": 1.49, "k1": 0.042, "k2": 0.071, "VI": 0.04, "m1": 0.379, "m2": 0.673, "m4": 0.269,
    "m5": 0.0526, "m6": 0.8118, "HEb": 0.6, "kmax": 0.0465, "kmin": 0.0076, "kabs": 0.023, "f": 0.9, "b": 0.68,
    "d": 0.09, "kp1": 3.09, "kp2": 0.0007, "kp3": 0.005, "kp4": 0.0786, "ki": 0.0066, "Fcns": 1.0, "Vm0": 4.65,
    "Vmx": 0.034, "Km0": 466.21, "p2U": 0.0840, "K": 0.99, "alpha": 0.013, "beta": 0.05, "gamma": 0.5,
    "ke1": 0.0007, "ke2": 269.0, "Gb": 164.18, "Ib": 54.81, "EGPb": 2.01,
}  # fmt: skip


@equation
def extraction(S: Scalar, m1: Scalar, m5: Scalar, m6: Scalar) -> Scalar:
    """m3: the liver takes less of what passes while much is secreted."""
    HE = max(m6 - m5 * S, 0 * m6)
    return HE * m1 / (1 - HE)


@equation
def insulin(Ip: Scalar, Il: Scalar, S: Scalar, m1: Scalar, m2: Scalar, m3: Scalar, m4: Scalar) -> tuple[Scalar, Scalar]:
    """Plasma and liver."""
    return -(m2 + m4) * Ip + m1 * Il, -(m1 + m3) * Il + m2 * Ip + S


@equation
def secretion(
    G: Scalar, rise: Scalar, Y: Scalar, Ipo: Scalar, Gb: Scalar, Sb: Scalar, K: Scalar, alpha: Scalar,
    beta: Scalar, gamma: Scalar,
) -> tuple[Scalar, Scalar]:  # fmt: skip
    """Portal vein and what follows glucose late; `rise` is G'."""
    Spo = Y + K * max(rise, 0 * rise) + Sb
    return Spo - gamma * Ipo, -alpha * (Y - max(beta * (G - Gb), -Sb))


@compiled
def derivative(
    x: np.ndarray, p: np.ndarray, eaten: float, Dose: float, effort: float, mode: int, dx: np.ndarray
) -> None:
    """Fills `dx` (18, per minute); `eaten` mg/min, `Dose` mg, `effort` % above rest, `mode` of exercise.begin."""
    kgut = emptying(x[QSTO1] + x[QSTO2], Dose, p[KMAX], p[KMIN], p[B], p[D])
    dx[QSTO1], dx[QSTO2], dx[QGUT] = absorption(x[QSTO1], x[QSTO2], x[QGUT], eaten, kgut, p[KMAX], p[KABS])
    exercise.derivative(x, BODY, effort, mode, dx)
    work = exercise.effect(x[BODY + exercise.GPROD], x[BODY + exercise.GUP], x[BODY + exercise.GGLY])
    Ra = p[F] * p[KABS] * x[QGUT] / p[BW] + work
    dx[GP], dx[GT] = glucose(
        x[GP], x[GT], x[X], x[ID], Ra, p[KP1] - p[KP4] * x[IPO], p[KP2], p[KP3], p[FCNS], p[KE1], p[KE2], p[K1],
        p[K2], p[VM0], p[VMX], p[KM0],
    )  # fmt: skip
    S = p[GAMMA] * x[IPO]
    m3 = extraction(S, p[M1], p[M5], p[M6])
    dx[IP], dx[IL] = insulin(x[IP], x[IL], S, p[M1], p[M2], m3, p[M4])
    dx[IP] -= x[BODY + exercise.IE] * exercise.PMOL_PER_MU * p[VI]
    dx[X], dx[I1], dx[ID] = action(x[IP] / p[VI], x[X], x[I1], x[ID], p[IB], p[P2U], p[KI])
    dx[IPO], dx[Y] = secretion(
        x[GP] / p[VG], dx[GP] / p[VG], x[Y], x[IPO], p[GB], p[SB], p[K], p[ALPHA], p[BETA], p[GAMMA]
    )


@compiled
def simulate(
    p: np.ndarray, x: np.ndarray, memory: np.ndarray, grams: np.ndarray, effort: np.ndarray, steps: int,
    out: np.ndarray,
) -> None:  # fmt: skip
    """One person, in place, RK4 with `steps` steps a minute: `grams` (T,) eaten and `effort` (T,) per minute;
    `out` (T, 2) plasma glucose (mg/dL) and insulin (pmol/L) at the end of each minute."""
    k1, k2, k3, k4, y = np.empty(WIDE), np.empty(WIDE), np.empty(WIDE), np.empty(WIDE), np.empty(WIDE)
    h = 1.0 / steps
    for t in range(grams.shape[0]):
        Dose = eat(x, memory, grams[t])
        eaten, u = grams[t] * MG_PER_G, effort[t]
        mode = exercise.begin(x, BODY, u)
        for _ in range(steps):
            derivative(x, p, eaten, Dose, u, mode, k1)
            for i in range(WIDE):
                y[i] = x[i] + 0.5 * h * k1[i]
            derivative(y, p, eaten, Dose, u, mode, k2)
            for i in range(WIDE):
                y[i] = x[i] + 0.5 * h * k2[i]
            derivative(y, p, eaten, Dose, u, mode, k3)
            for i in range(WIDE):
                y[i] = x[i] + h * k3[i]
            derivative(y, p, eaten, Dose, u, mode, k4)
            for i in range(WIDE):
                x[i] += h / 6.0 * (k1[i] + 2.0 * (k2[i] + k3[i]) + k4[i])
        for i in range(WIDE):  # no amount is negative; actions and Y may be
            if i != X and i != Y and x[i] < 0.0:
                x[i] = 0.0
        out[t, 0] = x[GP] / p[VG]
        out[t, 1] = x[IP] / p[VI]


def person(printed: dict[str, float]) -> Array:
    """The 36 parameters of somebody who rests at the (Gb, Ib, EGPb) of `printed`: Vm0, kp1, m6 and Sb follow.

    Raises:
        BadInput: a value outside its believable range, or no state of rest with these values.
    """
    p = np.array([printed.get(name, 0.0) for name in PARAMETERS])
    Gpb, EGPb = p[GB] * p[VG], printed["EGPb"]
    if not 0.3 <= EGPb <= 10.0:
        raise BadInput("production at rest (EGPb) must lie in 0.3..10 mg/kg/min")
    Ipb = p[IB] * p[VI]
    Ilb = Ipb * (p[M2] + p[M4]) / p[M1]
    m3b = p[HEB] * p[M1] / (1 - p[HEB])
    p[SB] = (p[M1] + m3b) * Ilb - p[M2] * Ipb
    p[M6] = p[M5] * p[SB] + p[HEB]
    p[KP1] = EGPb + p[KP2] * Gpb + p[KP3] * p[IB] + p[KP4] * p[SB] / p[GAMMA]
    lost = p[KE1] * max(Gpb - p[KE2], 0.0)
    Gtb = (p[FCNS] - EGPb + lost + p[K1] * Gpb) / p[K2]
    if Gtb <= 0.0 or lost > 0.0:
        raise BadInput("basal glucose is no state of rest with these values")
    p[VM0] = (EGPb - p[FCNS]) * (p[KM0] + Gtb) / Gtb
    check(dict(zip(PARAMETERS, p, strict=True)), DALLA_MAN_PARAMETERS)
    p.setflags(write=False)
    return p


def rest(p: Array) -> State:
    """At basal glucose, nothing in the stomach."""
    x = np.zeros(WIDE)
    x[GP] = p[GB] * p[VG]
    EGPb = p[KP1] - p[KP2] * x[GP] - p[KP3] * p[IB] - p[KP4] * p[SB] / p[GAMMA]
    x[GT] = (p[FCNS] - EGPb + p[K1] * x[GP]) / p[K2]
    x[IP] = p[IB] * p[VI]
    x[IL] = x[IP] * (p[M2] + p[M4]) / p[M1]
    x[I1] = x[ID] = p[IB]
    x[IPO] = p[SB] / p[GAMMA]
    return State(MODEL, 0, p.copy(), x, np.zeros(MEMORY))


def drink(state: State, grams: float) -> State:
    """The same person with `grams` of glucose swallowed at once, now, on an empty stomach.

    Raises:
        BadInput: not 0..300 g, or the stomach is not empty.
    """
    if not 0.0 < grams <= 300.0 or state.x[QSTO1] + state.x[QSTO2] > 1.0:
        raise BadInput("a drink is more than 0 and at most 300 g, on an empty stomach")
    x = state.x.copy()
    x[QSTO1] += grams * MG_PER_G
    return State(MODEL, state.minute, state.p, x, np.array([grams * MG_PER_G, 0.0, 0.0]))


@dataclass(frozen=True, slots=True)
class Course:
    """What happened, minute by minute."""

    glucose: Array  # (T,) plasma, mg/dL
    insulin: Array  # (T,) plasma, pmol/L
    outside: tuple[Outside, ...]


def run(
    state: State, minutes: int, grams: Array | None = None, effort: Array | None = None, steps: int = 1
) -> tuple[State, Course]:
    """`minutes` on, from `state`, which stays as it is; `grams` (T,) eaten and `effort` (T,) % above rest.

    A drink at once is `drink`; a meal is eaten at EATING_RATE (`meal`).

    Raises:
        BadInput: an input that no person could have, or a state of another model.
    """
    if state.model != MODEL or minutes < 1 or steps < 1:
        raise BadInput(f"a run needs a state of {MODEL}, and minutes and steps of at least 1")
    eaten, work = series("grams", grams, minutes, 300.0), series("effort", effort, minutes, exercise.EFFORT_MOST)
    check(dict(zip(STATES, state.x, strict=True)), {**DALLA_MAN_STATES, **EXERCISE_STATES})
    x, memory, out = state.x.copy(), state.memory.copy(), np.empty((minutes, 2))
    simulate(state.p, x, memory, eaten, work, steps, out)
    course = Course(out[:, 0].copy(), out[:, 1].copy(), outside(out[:, 0], work))
    return State(MODEL, state.minute + minutes, state.p, x, memory), course


def meal(minutes: int, at: int, grams: float) -> Array:
    """(minutes,) g/min of `grams` eaten from minute `at` on at EATING_RATE."""
    eaten = np.zeros(minutes)
    left = grams
    for minute in range(at, minutes):
        eaten[minute] = min(EATING_RATE, left)
        left -= eaten[minute]
    return eaten
