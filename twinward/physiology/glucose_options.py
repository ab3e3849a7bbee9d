"""S2008 with what the published simulator leaves out, each off until asked for.

    IV glucose     Gp' + rate                       IV insulin   Ip' + rate
    low glucose    U = (Vm0 + Vmx X (1 + gamma risk))+ Gt / (Km0 + Gt)
                   risk = 10 (ln(G)^1.084 - 5.381)^2 for 60 <= G < Gb, as at 60 below that
    time of day    Vmx and kp3 times 1 + amplitude cos(2 pi (t - peak) / 1440); kp1 keeps rest at rest
    effort         Roy-Parker, exercise.py

The core is the kernel of glucose.py, called and not copied, so that nothing slows when all is off and a run
without options has the same bits. Risk: Dalla Man, J Diabetes Sci Technol 8:26 (2014) as LoopInsighT1
[S]; gamma 1.509 is its default, nobody fitted it, and at 60 mg/dL it makes insulin ten times as
strong. Two departures: the risk is that of lows only (the printed one is not zero between 112.5 mg/dL
and a higher Gb), and utilisation stays non-negative. Time of day: cosine of our own [G].
Units and validity otherwise as glucose.py. The state is 19 numbers (13 of the body, 6 of effort) and
the stomach's memory of three.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput
from twinward.physiology import exercise
from twinward.physiology import glucose as s2008
from twinward.physiology.compiled import Scalar, compiled, equation
from twinward.physiology.glucose_state import Outside, State, outside, series
from twinward.physiology.meaning import S2008_PARAMETERS, S2008_STATES, check
from twinward.physiology.meaning_glucose import EXERCISE_STATES, OPTION_PARAMETERS

Array = NDArray[np.float64]

MODEL = "uva-padova-s2008/1"
STATES = tuple(S2008_STATES) + tuple(EXERCISE_STATES)
BODY, WIDE = 13, 19
RISK_ALPHA, RISK_BETA, RISK_LOWEST = 1.084, 5.381, 60.0  # the last in mg/dL
RISK_GAMMA = 1.509  # the published default, where the option is wanted
GB = 32  # behind the 32 parameters of S2008: basal glucose, which the core does not need


@dataclass(frozen=True, slots=True)
class Options:
    gamma: float = 0.0  # weight of the risk of lows; RISK_GAMMA is the published default
    amplitude: float = 0.0  # share by which insulin sensitivity swings over a day
    peak: float = 300.0  # min after midnight: greatest sensitivity


@dataclass(frozen=True, slots=True)
class Inputs:
    """Per minute, (T,) each; None is nothing."""

    grams: Array | None = None  # g eaten
    units: Array | None = None  # U under the skin
    iv_glucose: Array | None = None  # g into a vein
    iv_insulin: Array | None = None  # U into a vein
    effort: Array | None = None  # % of the greatest oxygen uptake above rest


@equation
def risk(level: Scalar, basal: Scalar) -> Scalar:
    """Of lows; `level` and `basal` are numbers in mg/dL, because the paper takes their logarithm."""
    if level >= basal:
        return 0.0
    bend = np.log(max(level, RISK_LOWEST)) ** RISK_ALPHA - RISK_BETA
    return 10.0 * min(bend, 0.0) ** 2


@equation
def heeded(X: Scalar, Gt: Scalar, more: Scalar, Vm0: Scalar, Vmx: Scalar, Km0: Scalar) -> Scalar:
    """Utilisation that `more` (gamma risk) adds."""
    return (max(Vm0 + Vmx * X * (1 + more), 0 * Vm0) - max(Vm0 + Vmx * X, 0 * Vm0)) * Gt / (Km0 + Gt)


@compiled
def derivative(
    x: np.ndarray, p: np.ndarray, eaten: float, u: float, Dose: float, sugar: float, iv: float, gamma: float,
    effort: float, mode: int, dx: np.ndarray,
) -> None:  # fmt: skip
    """Fills `dx` (19, per minute); as glucose.derivative, `sugar` mg/kg/min and `iv` pmol/kg/min into plasma."""
    exercise.derivative(x, BODY, effort, mode, dx)
    work = exercise.effect(x[BODY + exercise.GPROD], x[BODY + exercise.GUP], x[BODY + exercise.GGLY])
    s2008.derivative(x, p, eaten, u, Dose, sugar, dx)
    dx[s2008.GP] += work
    dx[s2008.IP] += iv - x[BODY + exercise.IE] * exercise.PMOL_PER_MU * p[s2008.VI]
    if gamma > 0.0:
        more = gamma * risk(x[s2008.GP] / p[s2008.VG], p[GB])
        dx[s2008.GT] -= heeded(x[s2008.X], x[s2008.GT], more, p[s2008.VM0], p[s2008.VMX], p[s2008.KM0])


@compiled
def at_this_hour(p: np.ndarray, minute: int, amplitude: float, peak: float, q: np.ndarray) -> None:
    """Fills `q` (33) with `p` as sensitive as at that minute of the day."""
    factor = 1.0 + amplitude * np.cos(2.0 * np.pi * (minute - peak) / 1440.0)
    for k in range(p.shape[0]):
        q[k] = p[k]
    q[s2008.VMX] = p[s2008.VMX] * factor
    q[s2008.KP3] = p[s2008.KP3] * factor
    q[s2008.KP1] = p[s2008.KP1] + p[s2008.IB] * (q[s2008.KP3] - p[s2008.KP3])


@compiled
def simulate(
    p: np.ndarray, x: np.ndarray, memory: np.ndarray, inputs: np.ndarray, first: int, gamma: float, amplitude: float,
    peak: float, steps: int, out: np.ndarray,
) -> None:  # fmt: skip
    """One person, in place; `inputs` (T, 5) as the fields of Inputs, `first` minute of data time, `out` (T,) sensor
    glucose in mg/dL."""
    k1, k2, k3, k4, y = np.empty(WIDE), np.empty(WIDE), np.empty(WIDE), np.empty(WIDE), np.empty(WIDE)
    q = np.empty(p.shape[0])
    h = 1.0 / steps
    for t in range(inputs.shape[0]):
        at_this_hour(p, first + t, amplitude, peak, q)
        eaten, effort = inputs[t, 0] * s2008.MG_PER_G, inputs[t, 4]
        u = inputs[t, 1] * s2008.PMOL_PER_UNIT / p[s2008.BW]
        sugar = inputs[t, 2] * s2008.MG_PER_G / p[s2008.BW]
        iv = inputs[t, 3] * s2008.PMOL_PER_UNIT / p[s2008.BW]
        Dose = s2008.eat(x, memory, inputs[t, 0])
        mode = exercise.begin(x, BODY, effort)
        for _ in range(steps):
            derivative(x, q, eaten, u, Dose, sugar, iv, gamma, effort, mode, k1)
            for i in range(WIDE):
                y[i] = x[i] + 0.5 * h * k1[i]
            derivative(y, q, eaten, u, Dose, sugar, iv, gamma, effort, mode, k2)
            for i in range(WIDE):
                y[i] = x[i] + 0.5 * h * k2[i]
            derivative(y, q, eaten, u, Dose, sugar, iv, gamma, effort, mode, k3)
            for i in range(WIDE):
                y[i] = x[i] + h * k3[i]
            derivative(y, q, eaten, u, Dose, sugar, iv, gamma, effort, mode, k4)
            for i in range(WIDE):
                x[i] += h / 6.0 * (k1[i] + 2.0 * (k2[i] + k3[i]) + k4[i])
        for i in range(WIDE):
            if i != s2008.X and x[i] < 0.0:
                x[i] = 0.0
        out[t] = x[s2008.GS] / p[s2008.VG]


def rest(p: Array, Gb: float) -> State:
    """Somebody with the 32 parameters `p` at basal glucose `Gb` (mg/dL), minute 0 of a day.

    Raises:
        BadInput: a parameter outside its believable range.
    """
    check(dict(zip(s2008.PARAMETERS, p, strict=True)), S2008_PARAMETERS)
    if not 60.0 <= Gb <= 250.0:
        raise BadInput("basal glucose must lie in 60..250 mg/dL")
    x = np.zeros(WIDE)
    s2008.rest(p, Gb, x[:BODY])
    return State(MODEL, 0, np.append(p, Gb), x, np.zeros(s2008.MEMORY))


def run(
    state: State, minutes: int, inputs: Inputs, options: Options | None = None, steps: int = 1
) -> tuple[State, Array, tuple[Outside, ...]]:
    """(the state then, (T,) sensor glucose in mg/dL, what to say beside it); `state` stays as it is.

    Raises:
        BadInput: an input or option that no person could have, or a state of another model.
    """
    options = options or Options()
    if state.model != MODEL or minutes < 1 or steps < 1:
        raise BadInput(f"a run needs a state of {MODEL}, and minutes and steps of at least 1")
    check({name: getattr(options, name) for name in OPTION_PARAMETERS}, OPTION_PARAMETERS)
    check(dict(zip(STATES, state.x, strict=True)), {**S2008_STATES, **EXERCISE_STATES})
    table = np.column_stack(
        [
            series("grams", inputs.grams, minutes, 300.0),
            series("units", inputs.units, minutes, 100.0),
            series("glucose into a vein", inputs.iv_glucose, minutes, 50.0),
            series("insulin into a vein", inputs.iv_insulin, minutes, 100.0),
            series("effort", inputs.effort, minutes, exercise.EFFORT_MOST),
        ]
    )
    x, memory, out = state.x.copy(), state.memory.copy(), np.empty(minutes)
    simulate(state.p, x, memory, table, state.minute, options.gamma, options.amplitude, options.peak, steps, out)
    return State(MODEL, state.minute + minutes, state.p, x, memory), out, outside(out, table[:, 4])
