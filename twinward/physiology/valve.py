"""A narrow valve in the beating circulation, and what its replacement would change.

    across a valve      dP = 4 v^2, v = F / EOA     i.e. dP = K F^2, K = 4e-4 / EOA^2   (mmHg, mL/s, cm2)
    aortic, open        Pmax - kR Pmax F - K F^2 = Psa      solved for F; left ventricular pressure Pmax - kR Pmax F
    mitral, open        Pla - Plv = Rmi F + K F^2

The circulation (circulation.py) knows a linear valve. Each moment this file works out the linear resistance with which
that kernel gives the flow of the narrow valve, so that equations, reflexes and states are the same ones. Pressure that
recovers behind the valve, inertia of the blood in it and leaks are left out; a valve that leaks is refused, not
approximated. Hatle, Brubakk, Tromsdal and Angelsen, Br Heart J 40:131 (1978) for 4 v^2 [M].
Steady state: the reflexes settle, months of growing muscle do not happen. Education and research; not a medical device.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput
from twinward.physiology import circulation as c
from twinward.physiology.circulation_run import SETTLING_S, STEPS_PER_S, Circulation, believable
from twinward.physiology.compiled import Scalar, compiled, equation
from twinward.physiology.heart import (
    ATRIAL_SYSTOLE,
    atrial_phase,
    atrium,
    contraction,
    systole,
    ventricle,
)
from twinward.physiology.meaning import Meaning, check

Array = NDArray[np.float64]
LABEL = "education and research; not a medical device"
SOURCE = "4 v^2 and continuity in the circulation of Ursino 1998; typical adult where nothing is personal"
K_OF = 4e-4  # mmHg (s/mL)^2 cm^4: 4 v^2 with v in m/s from mL/s and cm2
WIDE = 1e3  # cm2: no valve at all
WATCHED_S = 12.0
AREA_ERROR = 0.1  # of an effective area, one standard deviation [G]

VALVES = {
    "aortic": Meaning("EOA aortic", "effective area of the aortic valve", "cm**2", 0.4, 6.0,
                      "0.4 hardly compatible with life, 3-4 healthy; severe below 1 (guidelines) [M]"),
    "mitral": Meaning("EOA mitral", "effective area of the mitral valve", "cm**2", 0.5, 8.0,
                      "4-6 healthy; severe at 1.5 and below (guidelines) [M]"),
}  # fmt: skip
# What a new or repaired valve opens to; a named choice, not a promise. Typical published means [M].
REPAIRS = {
    "surgical aortic prosthesis": ("aortic", 1.6),
    "transcatheter aortic prosthesis": ("aortic", 1.8),
    "mitral balloon valvotomy": ("mitral", 2.0),
    "healthy aortic valve": ("aortic", 3.5),
    "healthy mitral valve": ("mitral", 5.0),
}


class Doubt(StrEnum):
    CONGESTION = "left atrial pressure above 35 mmHg: lungs would flood, here they do not"
    PRESSURE = "mean arterial pressure outside 40-160 mmHg"


@equation
def narrow_flow(Pmax: Scalar, Pa: Scalar, kR: Scalar, K: Scalar) -> Scalar:
    """Flow through a narrow outlet; Pmax > Pa. The root without cancellation, also as K -> 0."""
    b = kR * Pmax
    d = Pmax - Pa
    return 2 * d / (b + (b * b + 4 * K * d) ** 0.5)


@compiled
def linear(x: np.ndarray, p: np.ndarray, Kao: float, Kmi: float, q: np.ndarray) -> float:
    """Fills `q` with `p`, kRlv and Rmi changed for this moment; the pressure of the left ventricle (mmHg)."""
    q[:] = p
    T = c.period(p[c.T0], x[c.DTS], x[c.DTV], c.SHORTEST_BEAT)
    root = np.sqrt(T)
    phase = x[c.BEAT] - np.floor(x[c.BEAT])
    phi = contraction(phase, T, systole(T, p[c.TSYS0], p[c.KSYS]))
    Pl = ventricle(x[c.VLV], phi, p[c.EL0] + x[c.DEL], p[c.VULV], p[c.P0LV], p[c.KELV])
    if Pl > x[c.PSA] and Pl > 0.0:
        F = narrow_flow(Pl, x[c.PSA], p[c.KRLV], Kao)
        q[c.KRLV] = (Pl - x[c.PSA]) / (Pl * F)
        Plv: float = Pl - p[c.KRLV] * Pl * F
        return Plv
    a = contraction(atrial_phase(phase, root), T, ATRIAL_SYSTOLE * root)
    Pla = atrium(x[c.VLA], a, p[c.ELAD], p[c.ELAS], p[c.VULA])
    if Pla > Pl:
        d = Pla - Pl
        F = 2 * d / (p[c.RMI] + np.sqrt(p[c.RMI] * p[c.RMI] + 4 * Kmi * d))
        q[c.RMI] = d / F
    closed: float = Pl
    return closed


@compiled
def beats(p: np.ndarray, x: np.ndarray, Kao: float, Kmi: float, steps: int, h: float, every: int,
          out: np.ndarray) -> None:  # fmt: skip
    """`steps` RK4 steps in place. Every `every`-th (0: never) a row of `out`: state, SEEN with the true Plv."""
    k1, k2, k3, k4, y, q = np.empty(36), np.empty(36), np.empty(36), np.empty(36), np.empty(36), np.empty(75)
    seen, unseen = np.empty(10), np.empty(10)
    row = 0
    for s in range(steps):
        Plv = linear(x, p, Kao, Kmi, q)
        c.derivative(x, q, 0.0, 0.0, 0.0, k1, seen)
        if every > 0 and s % every == 0:
            seen[c.O_PLV] = Plv
            out[row, :36] = x
            out[row, 36:] = seen
            row += 1
        y[:] = x + 0.5 * h * k1
        linear(y, p, Kao, Kmi, q)
        c.derivative(y, q, 0.0, 0.0, 0.0, k2, unseen)
        y[:] = x + 0.5 * h * k2
        linear(y, p, Kao, Kmi, q)
        c.derivative(y, q, 0.0, 0.0, 0.0, k3, unseen)
        y[:] = x + h * k3
        linear(y, p, Kao, Kmi, q)
        c.derivative(y, q, 0.0, 0.0, 0.0, k4, unseen)
        x += h / 6.0 * (k1 + 2.0 * (k2 + k3) + k4)


@dataclass(frozen=True, slots=True)
class Valves:
    """Effective orifice areas, cm2. WIDE is the circulation as it ships."""

    aortic: float = WIDE
    mitral: float = WIDE

    def __post_init__(self) -> None:
        """Raises BadInput: an area no adult has."""
        for name, area in (("aortic", self.aortic), ("mitral", self.mitral)):
            if area != WIDE:
                check({name: area}, VALVES)


@dataclass(frozen=True, slots=True)
class Seen:
    """Over whole beats at rest. Gradients mmHg while the valve is open, velocity m/s, flows mL/s and L/min."""

    mean_gradient: float
    peak_gradient: float
    peak_velocity: float
    mean_flow: float
    rms_flow: float
    lv_systolic: float
    systolic: float
    diastolic: float
    mean_pressure: float
    heart_rate: float
    stroke_volume: float
    output: float
    edv: float
    esv: float
    la_mean: float
    mitral_gradient: float


@dataclass(frozen=True, slots=True)
class Change:
    """One quantity before and after, with what an error of the areas (two standard deviations) would make of it."""

    what: str
    unit: str
    before: float
    after: float
    before_range: tuple[float, float]
    after_range: tuple[float, float]


UNITS = {
    "mean_gradient": "mmHg", "peak_gradient": "mmHg", "peak_velocity": "m/s", "lv_systolic": "mmHg",
    "systolic": "mmHg", "diastolic": "mmHg", "mean_pressure": "mmHg", "heart_rate": "1/min", "stroke_volume": "mL",
    "output": "L/min", "edv": "mL", "esv": "mL", "la_mean": "mmHg", "mitral_gradient": "mmHg",
}  # fmt: skip


def at_rest(one: Circulation, valves: Valves, settle_s: float = SETTLING_S) -> tuple[Seen, Array]:
    """What the circulation comes to with these valves, and its state then; `one` stays as it is.

    Raises:
        BadInput: something is being done to the circulation (schedule): a what-if of a valve is at rest.
        Unready: it left what the model can describe.
    """
    if len(one.events):
        raise BadInput("a what-if of a valve starts from a circulation at rest, with nothing being given to it")
    x, p = one.state.copy(), one.parameters
    Kao, Kmi = K_OF / valves.aortic**2, K_OF / valves.mitral**2
    beats(p, x, Kao, Kmi, round(settle_s * STEPS_PER_S), c.STEP_S, 0, np.empty((0, 46)))
    believable(x)
    rows = np.empty((round(WATCHED_S * STEPS_PER_S), 46))
    y = x.copy()
    beats(p, y, Kao, Kmi, len(rows), c.STEP_S, 1, rows)
    believable(y)
    return _seen(rows, valves), x


def _seen(rows: Array, valves: Valves) -> Seen:
    begins = np.flatnonzero(np.diff(np.floor(rows[:, c.BEAT]))) + 1
    rows = rows[begins[0] : begins[-1]]
    beats_, seconds = len(begins) - 1, (begins[-1] - begins[0]) / STEPS_PER_S
    F, Plv, Pla = rows[:, 36 + c.O_FLV], rows[:, 36 + c.O_PLV], rows[:, 36 + c.O_PLA]
    open_ = F > 0
    gradient = np.where(open_, Plv - rows[:, c.PSA], 0.0)
    filling = Pla > Plv
    rate = float(60 * beats_ / seconds)
    stroke = float(F.sum() / STEPS_PER_S / beats_)
    return Seen(
        mean_gradient=float(gradient[open_].mean()),
        peak_gradient=float(gradient.max()),
        peak_velocity=float(F.max()) / valves.aortic / 100.0,
        mean_flow=float(F[open_].mean()),
        rms_flow=float(np.sqrt((F[open_] ** 2).mean())),
        lv_systolic=float(Plv.max()),
        systolic=float(rows[:, c.PSA].max()),
        diastolic=float(rows[:, c.PSA].min()),
        mean_pressure=float(rows[:, c.PSA].mean()),
        heart_rate=rate,
        stroke_volume=stroke,
        output=stroke * rate / 1000.0,
        edv=float(rows[:, c.VLV].max()),
        esv=float(rows[:, c.VLV].min()),
        la_mean=float(Pla.mean()),
        mitral_gradient=float((Pla - Plv)[filling].mean()),
    )


@dataclass(frozen=True, slots=True)
class WhatIf:
    valve: str
    before_cm2: float
    after_cm2: float
    changes: tuple[Change, ...]
    doubts: tuple[Doubt, ...]
    source: str
    label: str = LABEL


def what_if(one: Circulation, valve: str, before_cm2: float, after_cm2: float, *, source: str = SOURCE) -> WhatIf:
    """The valve replaced or repaired: everything else the same, reflexes settled.

    The ranges move each area by two standard deviations of its error; they hold no other uncertainty.

    Raises:
        BadInput: an unknown valve, or an area no adult has, or one that is not larger afterwards.
    """
    if valve not in VALVES:
        raise BadInput(f"valve must be one of {', '.join(VALVES)}")
    if not after_cm2 > before_cm2:
        raise BadInput("a repaired valve opens wider than before; turn the two areas round, or ask for another repair")
    found = {when: _around(one, valve, area) for when, area in (("before", before_cm2), ("after", after_cm2))}
    changes = []
    for what, unit in UNITS.items():
        (b, *bs), (a, *as_) = ([getattr(seen, what) for seen in found[when]] for when in ("before", "after"))
        changes.append(Change(what, unit, b, a, (min(b, *bs), max(b, *bs)), (min(a, *as_), max(a, *as_))))
    doubts = []
    for seen in (found["before"][0], found["after"][0]):
        doubts += [Doubt.CONGESTION] if seen.la_mean > 35 else []
        doubts += [Doubt.PRESSURE] if not 40 <= seen.mean_pressure <= 160 else []
    return WhatIf(valve, before_cm2, after_cm2, tuple(changes), tuple(dict.fromkeys(doubts)), source)


def _around(one: Circulation, valve: str, area: float) -> list[Seen]:
    meaning = VALVES[valve]
    check({valve: area}, VALVES)
    areas = [area, *(min(max(area * (1 + k * AREA_ERROR), meaning.low), meaning.high) for k in (-2, 2))]
    return [at_rest(one, replace(Valves(), **{valve: a}))[0] for a in areas]
