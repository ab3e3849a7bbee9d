"""Acute inflammation: pathogen, phagocytes, damage and the body's own brake, in four states.

    P'  = kpg P (1 - P/Pinf) - kpm sm P / (mum + kmp P) - kpn f(N) P - kill P
    N'  = snr R / (munr + R) - mun N                      R = f(knn N + knp P + knd D)
    D'  = kdn f(N)^6 / (xdn^6 + f(N)^6) - mud D
    CA' = sc + kcn F / (1 + F) - muc CA                   F = f(N + kcnd D)          f(v) = v / (1 + (CA/Cinf)^2)
    CRP' = ksyn IL6 / (EC50 + IL6) - kel CRP              a read-out of N; it acts back on nothing

Reynolds, Rubin, Clermont, Day, Vodovotz, Ermentrout, J Theor Biol 242:220 (2006); Day et al., ibid. 242:237; numbers as
BioModels BIOMD0000000714. Hour; P in 1e6/mL, the other states without unit ("N-units" in the paper). RK4, step 0.05 h.
`kill` (1/h) is an antibiotic and ours: a first-order loss of the pathogen, 0 by default. CRP: elimination .0365/h
(half-life 19 h); what drives it is no measured IL-6 but N scaled, and its synthesis is an estimate [G].

A qualitative model, fitted to no patient, and nothing in it is measured in one: TEACHING ONLY, never personalised.
Three ends: health, aseptic (pathogen gone, damage stays), septic (pathogen stays).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput
from twinward.physiology import kept
from twinward.physiology.compiled import Scalar, compiled, equation
from twinward.physiology.meaning import Meaning, check

Array: TypeAlias = NDArray[np.float64]
Regime: TypeAlias = Literal["health", "aseptic", "septic"]
TEACHING_ONLY = True
STEP_H = 0.05
CLASSIFY_AFTER_H = 600.0  # at 300 h a P0 of 1 has not settled (D 0.04)
SEVERE_DAMAGE = 17.4  # D of the aseptic state
GONE = 1e-9  # 1e-3 germs per mL: too few to come back [G]

REYNOLDS = "Reynolds 2006 (J Theor Biol 242:220) as BIOMD0000000714 [S]"
OURS = "[G]"
U = "dimensionless"
PARAMETERS: dict[str, Meaning] = {
    row[0]: Meaning(*row)
    for row in (
        ("kpg", "growth of the pathogen", "1/h", 0.02, 2.0, REYNOLDS),
        ("Pinf", "most pathogen the tissue carries", "1/nL", 1.0, 100.0, REYNOLDS),
        ("kpm", "killing by the local response", "1/h", 0.0, 10.0, REYNOLDS),
        ("sm", "source of the local response", "1/h", 0.0, 0.1, REYNOLDS),
        ("mum", "decay of the local response", "1/h", 1e-5, 0.1, REYNOLDS),
        ("kmp", "local response used up by pathogen", "nL/h", 0.0, 0.2, REYNOLDS),
        ("kpn", "killing by phagocytes", "1/h", 0.1, 20.0, REYNOLDS),
        ("snr", "source of resting phagocytes", "1/h", 0.005, 1.0, REYNOLDS),
        ("munr", "decay of resting phagocytes", "1/h", 0.01, 1.0, REYNOLDS),
        ("mun", "decay of activated phagocytes", "1/h", 0.005, 0.5, REYNOLDS),
        ("knn", "activation by phagocytes", "1/h", 0.0, 0.2, REYNOLDS),
        ("knp", "activation by pathogen", "nL/h", 0.0, 2.0, REYNOLDS),
        ("knd", "activation by damage", "1/h", 0.0, 0.3, REYNOLDS),
        ("kdn", "most damage by phagocytes", "1/h", 0.01, 5.0, REYNOLDS),
        ("xdn", "phagocytes at half damage", U, 0.005, 1.0, REYNOLDS),
        ("mud", "repair of damage", "1/h", 0.001, 0.5, REYNOLDS),
        ("Cinf", "strength of the brake", U, 0.05, 5.0, REYNOLDS),
        ("sc", "source of the brake", "1/h", 0.0, 0.2, REYNOLDS),
        ("kcn", "brake called by phagocytes and damage", "1/h", 0.0, 0.5, REYNOLDS),
        ("kcnd", "damage over phagocytes in calling the brake", U, 1.0, 500.0, REYNOLDS),
        ("muc", "decay of the brake", "1/h", 0.01, 1.0, REYNOLDS),
        ("il6", "IL-6 per activated phagocyte", "pg/mL", 1.0, 1e5, OURS),
        ("ec50", "IL-6 at half synthesis of CRP", "pg/mL", 1.0, 1e4, OURS),
        ("ksyn", "most synthesis of CRP", "mg/L/h", 0.1, 100.0, OURS),
        ("kel", "elimination of CRP", "1/h", 0.01, 0.1, "half-life 19 h [S by physiology.md 2c]"),
    )
}
STATES: dict[str, Meaning] = {
    row[0]: Meaning(*row)
    for row in (
        ("P", "pathogen (1e6 per mL)", "1/nL", 0.0, 100.0, REYNOLDS),
        ("N", "activated phagocytes", U, 0.0, 20.0, REYNOLDS),
        ("D", "damage", U, 0.0, 1000.0, REYNOLDS),
        ("CA", "anti-inflammatory mediators", U, 0.0, 20.0, REYNOLDS),
        ("CRP", "C-reactive protein", "mg/L", 0.0, 2000.0, OURS),
    )
}
INPUTS: dict[str, Meaning] = {"kill": Meaning("kill", "antibiotic killing", "1/h", 0.0, 10.0, OURS)}

NAMES = tuple(PARAMETERS)
(KPG, PINF, KPM, SM, MUM, KMP, KPN, SNR, MUNR, MUN, KNN, KNP, KND) = range(13)
(KDN, XDN, MUD, CINF, SC, KCN, KCND, MUC, IL6, EC50, KSYN, KEL) = range(13, 25)
(P, N, D, CA, CRP) = range(5)
TYPICAL: Array = np.array(
    [0.3, 20.0, 0.6, 0.005, 0.002, 0.01, 1.8, 0.08, 0.12, 0.05, 0.01, 0.1, 0.02, 0.35, 0.06, 0.02, 0.28, 0.0125, 0.04,
     48.0, 0.1, 1000.0, 100.0, 10.0, 0.0365]
)  # fmt: skip
HEALTHY: Array = np.array([0.0, 0.0, 0.0, 0.125, 0.0])  # CA = sc / muc


@equation
def braked(v: Scalar, level: Scalar, Cinf: Scalar) -> Scalar:
    """f(v): what is left of `v` under the brake."""
    return v / (1 + (level / Cinf) ** 2)


@equation
def pathogen(
    p: Scalar, fN: Scalar, kpg: Scalar, Pinf: Scalar, kpm: Scalar, sm: Scalar, mum: Scalar, kmp: Scalar, kpn: Scalar,
    kill: Scalar,
) -> Scalar:  # fmt: skip
    return kpg * p * (1 - p / Pinf) - kpm * sm * p / (mum + kmp * p) - kpn * fN * p - kill * p


@equation
def phagocytes(n: Scalar, R: Scalar, snr: Scalar, munr: Scalar, mun: Scalar) -> Scalar:
    return snr * R / (munr + R) - mun * n


@equation
def damage(d: Scalar, fN: Scalar, kdn: Scalar, xdn: Scalar, mud: Scalar) -> Scalar:
    return kdn * fN**6 / (xdn**6 + fN**6) - mud * d


@equation
def brake(level: Scalar, F: Scalar, sc: Scalar, kcn: Scalar, muc: Scalar) -> Scalar:
    return sc + kcn * F / (1 + F) - muc * level


@equation
def protein(crp: Scalar, IL6: Scalar, ksyn: Scalar, ec50: Scalar, kel: Scalar) -> Scalar:
    return ksyn * IL6 / (ec50 + IL6) - kel * crp


@compiled
def derivative(x: np.ndarray, p: np.ndarray, kill: float, dx: np.ndarray) -> None:
    """Fills `dx` (5, per hour)."""
    fN = braked(x[N], x[CA], p[CINF])
    R = braked(p[KNN] * x[N] + p[KNP] * x[P] + p[KND] * x[D], x[CA], p[CINF])
    F = braked(x[N] + p[KCND] * x[D], x[CA], p[CINF])
    dx[P] = pathogen(x[P], fN, p[KPG], p[PINF], p[KPM], p[SM], p[MUM], p[KMP], p[KPN], kill)
    dx[N] = phagocytes(x[N], R, p[SNR], p[MUNR], p[MUN])
    dx[D] = damage(x[D], fN, p[KDN], p[XDN], p[MUD])
    dx[CA] = brake(x[CA], F, p[SC], p[KCN], p[MUC])
    dx[CRP] = protein(x[CRP], p[IL6] * x[N], p[KSYN], p[EC50], p[KEL])


@compiled
def advance(x: np.ndarray, p: np.ndarray, kill: float, steps: int, h: float) -> None:
    """`steps` of RK4 of `h` hours in place; no state falls below 0 and what is `GONE` stays gone."""
    k1, k2, k3, k4, y = np.empty(5), np.empty(5), np.empty(5), np.empty(5), np.empty(5)
    for _ in range(steps):
        derivative(x, p, kill, k1)
        for i in range(5):
            y[i] = x[i] + 0.5 * h * k1[i]
        derivative(y, p, kill, k2)
        for i in range(5):
            y[i] = x[i] + 0.5 * h * k2[i]
        derivative(y, p, kill, k3)
        for i in range(5):
            y[i] = x[i] + h * k3[i]
        derivative(y, p, kill, k4)
        for i in range(5):
            x[i] = max(x[i] + h / 6.0 * (k1[i] + 2.0 * (k2[i] + k3[i]) + k4[i]), 0.0)
        if x[P] < GONE:
            x[P] = 0.0


def parameters(changes: Mapping[str, float] | None = None) -> Array:
    """The published set with `changes` by symbol.

    Raises:
        BadInput: an unknown symbol, or a value outside its believable range.
    """
    p = TYPICAL.copy()
    for symbol, value in (changes or {}).items():
        if symbol not in PARAMETERS:
            raise BadInput(f"inflammation has no parameter {symbol}")
        p[NAMES.index(symbol)] = value
    check(dict(zip(NAMES, p.tolist(), strict=True)), PARAMETERS)
    return p


def start(pathogens: float) -> Array:
    """A healthy state into which `pathogens` (1e6/mL) came.

    Raises:
        BadInput: not a number of pathogens.
    """
    check({"P": pathogens}, STATES)
    x = HEALTHY.copy()
    x[P] = pathogens
    return x


def run(x: Array, p: Array, hours: float, kill: float = 0.0) -> Array:
    """The state after `hours` (a multiple of STEP_H), a new array (5,).

    Raises:
        BadInput: a state, time or killing outside the model.
    """
    check(dict(zip(STATES, x.tolist(), strict=True)), STATES)
    check({"kill": kill}, INPUTS)
    steps = round(hours / STEP_H) if np.isfinite(hours) else -1
    if steps < 0 or abs(steps * STEP_H - hours) > 1e-6:
        raise BadInput(f"hours must be a multiple of {STEP_H:g} and not negative")
    after = np.array(x, float)
    advance(after, p, kill, steps, STEP_H)
    return after


def regime(x: Array) -> Regime:
    """Which end a settled state is; ask at CLASSIFY_AFTER_H or later."""
    if x[P] >= 1e-3:
        return "septic"
    return "health" if x[D] < 1e-2 else "aseptic"


def outcome(p: Array, pathogens: float, hours: float = CLASSIFY_AFTER_H) -> Regime:
    """The end that `pathogens` lead to without treatment.

    Raises:
        BadInput: asked before the states have settled, or a number outside the model.
    """
    if not hours >= CLASSIFY_AFTER_H:
        raise BadInput(f"an end shows after {CLASSIFY_AFTER_H:g} hours, not before")
    return regime(run(start(pathogens), p, hours))


class Snapshot(kept.Snapshot):
    """All there is of a run: model and version, then 30 float64. Restored, its future is bit-identical."""

    MODEL = b"reynolds-2006/1\0"
    STATES = STATES
    PARAMETERS = PARAMETERS
