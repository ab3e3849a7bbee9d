"""Where a drug is: one to three compartments, an effect site, vein or gut.

    gut       Ag' = -ka Ag                                   (gets F dose)
    central   A1' = ka Ag + R - (CL + Q2 + Q3) A1/V1 + Q2 A2/V2 + Q3 A3/V3
    shallow   A2' = Q2 (A1/V1 - A2/V2)      deep  A3' = Q3 (A1/V1 - A3/V3)
    effect    Ce' = ke0 (A1/V1 - Ce)        Sheiner, Clin Pharmacol Ther 25:358 (1979)
    gone      E'  = CL A1/V1                area  AUC' = A1/V1
    R, what flows into the vein (infusion and the body's own release), holds between steps.

Mammillary models as in Gibaldi & Perrier, Pharmacokinetics (1982).
Units: minute, litre; amount in ug (drugs dosed in units: mU), so concentrations are ug/L = ng/mL (or mU/L).
Valid for linear kinetics: no saturation, no lag before absorption, no active metabolite.

Numerics. The system is linear, so a step is x(t+h) = exp(G h) x(t): exact for any h, where RK4
would need steps far below the fastest half-life (seconds) over days of the slowest. exp(G h) is made
by uniformisation: G + qI has no negative entry, so the series and its squarings add only what
is positive; no cancellation, no negative amount, no trouble where two rates are equal (as sums
of exponentials have). No library call: the same bits on one machine whatever is beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput, Malformed
from twinward.physiology.compiled import Scalar, compiled, equation
from twinward.physiology.meaning import Meaning, check

Array = NDArray[np.float64]
GIBALDI = "Gibaldi & Perrier, Pharmacokinetics, 2nd ed. (1982) [M]; ranges ours [G]"

# The order is the order of the parameter vector.
PK_PARAMETERS: dict[str, Meaning] = {
    row[0]: Meaning(*row, GIBALDI)
    for row in (
        ("V1", "central volume", "L", 0.1, 2000.0),
        ("V2", "shallow volume", "L", 0.01, 5000.0),
        ("V3", "deep volume", "L", 0.01, 5000.0),
        ("CL", "clearance", "L/min", 1e-4, 200.0),
        ("Q2", "exchange with the shallow volume", "L/min", 0.0, 30.0),
        ("Q3", "exchange with the deep volume", "L/min", 0.0, 30.0),
        ("ke0", "equilibration of the effect site", "1/min", 1e-4, 5.0),
        ("ka", "absorption from the gut", "1/min", 0.0, 2.0),
        ("F", "share of a swallowed dose that reaches the blood", "dimensionless", 0.0, 1.0),
        ("R0", "the body's own release", "ug/min", 0.0, 50.0),
    )
}
PK_STATES: dict[str, Meaning] = {
    row[0]: Meaning(*row, GIBALDI)
    for row in (
        ("Ag", "in the gut", "ug", 0.0, 1e9),
        ("A1", "in the central volume", "ug", 0.0, 1e9),
        ("A2", "in the shallow volume", "ug", 0.0, 1e9),
        ("A3", "in the deep volume", "ug", 0.0, 1e9),
        ("Ce", "concentration at the effect site", "ug/L", 0.0, 1e8),
        ("E", "eliminated so far", "ug", 0.0, 1e12),
        ("AUC", "area under the plasma concentration", "ug*min/L", 0.0, 1e12),
        ("R", "flows into the vein", "ug/min", 0.0, 1e8),
    )
}
(V1, V2, V3, CL, Q2, Q3, KE0, KA, F, R0) = range(10)
(AG, A1, A2, A3, CE, E, AUC, R) = range(8)
N = 8


@equation
def flows(
    Ag: Scalar, A1: Scalar, A2: Scalar, A3: Scalar, R: Scalar,
    V1: Scalar, V2: Scalar, V3: Scalar, CL: Scalar, Q2: Scalar, Q3: Scalar, ka: Scalar,
) -> tuple[Scalar, Scalar, Scalar, Scalar, Scalar, Scalar]:  # fmt: skip
    """Gut, central, shallow, deep, gone (amount per time) and the area's growth (concentration)."""
    C1 = A1 / V1
    to_shallow = Q2 * (C1 - A2 / V2)
    to_deep = Q3 * (C1 - A3 / V3)
    return -ka * Ag, ka * Ag + R - CL * C1 - to_shallow - to_deep, to_shallow, to_deep, CL * C1, C1


@equation
def effect_site(C1: Scalar, Ce: Scalar, ke0: Scalar) -> Scalar:
    return ke0 * (C1 - Ce)


@compiled
def derivative(x: np.ndarray, p: np.ndarray, dx: np.ndarray) -> None:
    """Fills `dx` (8, per minute)."""
    dx[AG], dx[A1], dx[A2], dx[A3], dx[E], dx[AUC] = flows(
        x[AG], x[A1], x[A2], x[A3], x[R], p[V1], p[V2], p[V3], p[CL], p[Q2], p[Q3], p[KA]
    )
    dx[CE] = effect_site(x[A1] / p[V1], x[CE], p[KE0])
    dx[R] = 0.0


@compiled
def propagator(p: np.ndarray, h: float, out: np.ndarray) -> None:
    """Fills `out` (8, 8) with exp(G h); column j of G is the derivative at the unit state j."""
    g, one, dx = np.zeros((N, N)), np.zeros(N), np.zeros(N)
    for j in range(N):
        one[:] = 0.0
        one[j] = 1.0
        derivative(one, p, dx)
        for i in range(N):
            g[i, j] = dx[i]
    q = 0.0
    for i in range(N):
        q = max(q, -g[i, i])
    halvings = 0
    while q * h / 2.0**halvings > 0.5:
        halvings += 1
    small = h / 2.0**halvings
    for i in range(N):
        g[i, i] += q
        if g[i, i] < 0.0:  # rounding of q - q
            g[i, i] = 0.0
    term, total, work = np.eye(N), np.eye(N), np.zeros((N, N))
    for k in range(1, 60):
        multiply(term, g, work)
        largest = 0.0
        for i in range(N):
            for j in range(N):
                term[i, j] = work[i, j] * small / k
                total[i, j] += term[i, j]
                if total[i, j] > 0.0:
                    largest = max(largest, term[i, j] / total[i, j])
        if largest < 1e-18:
            break
    shrink = np.exp(-q * small)
    for i in range(N):
        for j in range(N):
            total[i, j] *= shrink
    stay(total)
    for _ in range(halvings):
        multiply(total, total, work)
        total[:] = work
        stay(total)
    out[:] = total


@compiled
def stay(a: np.ndarray) -> None:
    """What is gone, its area, and the inflow keep their value without rounding: 1 is exact for them."""
    a[E, E] = a[AUC, AUC] = a[R, R] = 1.0


@compiled
def multiply(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    for i in range(N):
        for j in range(N):
            s = 0.0
            for k in range(N):
                s += a[i, k] * b[k, j]
            out[i, j] = s


@compiled
def step(exp_gh: np.ndarray, x: np.ndarray, work: np.ndarray) -> None:
    """One exact step in place; `work` (8,)."""
    for i in range(N):
        s = 0.0
        for k in range(N):
            s += exp_gh[i, k] * x[k]
        work[i] = s
    x[:] = work


@compiled
def simulate(exp_gh: np.ndarray, x: np.ndarray, p: np.ndarray, rates: np.ndarray, out: np.ndarray) -> None:
    """In place, one exact step for each of `rates` (T,) ug/min; `out` (T, 2) plasma and effect site, ug/L, after it."""
    work = np.empty(N)
    for t in range(rates.shape[0]):
        x[R] = rates[t] + p[R0]
        step(exp_gh, x, work)
        out[t, 0] = x[A1] / p[V1]
        out[t, 1] = x[CE]


def rest(p: Array) -> Array:
    """State (8,) before any dose: the body's own release at its steady state, area and losses from zero."""
    x = np.zeros(N)
    C = p[R0] / p[CL]
    x[A1], x[A2], x[A3], x[CE], x[R] = C * p[V1], C * p[V2] * (p[Q2] > 0), C * p[V3] * (p[Q3] > 0), C, p[R0]
    return x


def checked(p: Array) -> Array:
    """`p` (10,), or a refusal of what no drug in a person could be."""
    if np.shape(p) != (len(PK_PARAMETERS),):
        raise Malformed(f"a drug has {len(PK_PARAMETERS)} kinetic parameters")
    check(dict(zip(PK_PARAMETERS, (float(v) for v in p), strict=True)), PK_PARAMETERS)
    return np.array(p, np.float64)


@dataclass(slots=True)
class Course:
    """One drug in one person over time, on a grid of `h` minutes (the step is exact: h only says when doses may
    change). The state is all there is: `dump` and `load` give a bit-identical future."""

    p: Array  # (10,)
    h: float  # minutes
    x: Array = field(default_factory=lambda: np.zeros(N))
    steps: int = 0  # since the start
    rate: float = 0.0  # ug/min, infused now
    _exp: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.p = checked(self.p)
        if not 1e-4 <= self.h <= 1440.0:
            raise BadInput("a step must lie in 0.0001..1440 min")
        if np.shape(self.x) != (N,) or not np.isfinite(self.x).all() or (np.asarray(self.x) < 0).any():
            raise BadInput("amounts of a drug are finite and not negative")
        if self.steps < 0:
            raise BadInput("steps are counted from zero")
        self.x = np.array(self.x, np.float64)
        self._exp = np.empty((N, N))
        propagator(self.p, self.h, self._exp)
        self.infuse(self.rate)

    @classmethod
    def start(cls, p: Array, h: float = 1 / 60) -> Course:
        return cls(p, h, rest(checked(p)))

    def bolus(self, amount: float) -> None:
        """`amount` ug into the vein at once."""
        self.x[A1] += _amount(amount)

    def swallow(self, amount: float) -> None:
        """`amount` ug by mouth; the share 1 - F never arrives."""
        if self.p[KA] <= 0 or self.p[F] <= 0:
            raise BadInput("this drug has no kinetics by mouth here")
        self.x[AG] += self.p[F] * _amount(amount)

    def infuse(self, rate: float) -> None:
        """`rate` ug/min into the vein from now on."""
        self.rate = _amount(rate)
        self.x[R] = self.rate + self.p[R0]

    def advance(self, steps: int) -> None:
        if steps < 0:
            raise BadInput("time does not go back")
        work = np.empty(N)
        for _ in range(steps):
            step(self._exp, self.x, work)
        self.steps += steps

    @property
    def plasma(self) -> float:
        return float(self.x[A1] / self.p[V1])

    @property
    def effect(self) -> float:
        return float(self.x[CE])

    def dump(self) -> bytes:
        return np.concatenate([self.p, [self.h, self.steps, self.rate], self.x]).astype("<f8").tobytes()

    @classmethod
    def load(cls, snapshot: bytes) -> Course:
        size = len(PK_PARAMETERS)
        if len(snapshot) != 8 * (size + 3 + N):
            raise Malformed("not a snapshot of a drug's course")
        v = np.frombuffer(snapshot, "<f8").astype(np.float64)
        if not np.isfinite(v).all():
            raise Malformed("not a snapshot of a drug's course")
        return cls(v[:size], float(v[size]), v[size + 3 :], int(v[size + 1]), float(v[size + 2]))


def _amount(value: float) -> float:
    if not 0 <= value < 1e9:  # also false for NaN
        raise BadInput("an amount of a drug is finite and not negative")
    return float(value)
