"""A virus in the airway that runs out of target cells.

    T' = -beta T V      E' = beta T V - k E      I' = k E - delta I      V' = (1 - block) p I - c V
    without eclipse phase (k = 0) E stays empty and I' = beta T V - delta I
    R0 = beta p T0 / (c delta);  at the end  ln(T0/Tend) = R0 (1 - Tend/T0) + beta V0 / c   (exact, both forms)

Target-cell-limited models of Baccam, Beauchemin, Macken, Hayden, Perelson, J Virol 80:7590 (2006), influenza A in
volunteers. Day; cells; TCID50/mL. RK4, step 0.005 d. `block` (0..1) is an antiviral that stops a share of the
production, ours [G]. No immune response, one infection, adults: TEACHING ONLY, nothing in it is measured in a
patient. Set "plain" read in a source [S]; set "eclipse" from memory [M], but its R0 (21.8), eclipse (6 h) and
half-life of virus (3.2 h) meet the paper's abstract (about 22, 6 h, 3 h).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput
from twinward.physiology import kept
from twinward.physiology.compiled import Scalar, compiled, equation
from twinward.physiology.meaning import Meaning, check

Array: TypeAlias = NDArray[np.float64]
TEACHING_ONLY = True
STEP_D = 0.005
BACCAM = "Baccam 2006 (J Virol 80:7590); plain set [S], eclipse set [M]"

PARAMETERS: dict[str, Meaning] = {
    row[0]: Meaning(*row, BACCAM)
    for row in (
        ("T0", "target cells", "cell", 1e5, 1e11),
        ("V0", "virus at infection", "TCID50/mL", 1e-6, 1e6),
        ("beta", "infection", "mL/TCID50/day", 1e-9, 1e-1),
        ("k", "end of the eclipse phase, 0: no such phase", "1/day", 0.0, 24.0),
        ("delta", "death of infected cells", "1/day", 0.05, 24.0),
        ("p", "production", "TCID50/mL/day/cell", 1e-6, 1e3),
        ("c", "clearance of virus", "1/day", 0.05, 48.0),
    )
}
STATES: dict[str, Meaning] = {
    row[0]: Meaning(*row, BACCAM)
    for row in (
        ("T", "target cells", "cell", 0.0, 1e11),
        ("E", "infected, not yet producing", "cell", 0.0, 1e11),
        ("I", "producing cells", "cell", 0.0, 1e11),
        ("V", "free virus", "TCID50/mL", 0.0, 1e12),
    )
}
INPUTS: dict[str, Meaning] = {"block": Meaning("block", "production stopped", "dimensionless", 0.0, 1.0, "[G]")}
NAMES = tuple(PARAMETERS)
(T0, V0, BETA, K, DELTA, PRODUCTION, CLEARANCE) = range(7)
TARGET, ECLIPSE, PRODUCING, VIRUS = range(4)
SETS: dict[Literal["plain", "eclipse"], Array] = {
    "plain": np.array([4e8, 1.4e-2, 8.8e-6, 0.0, 2.6, 3e-2, 2.0]),
    "eclipse": np.array([4e8, 7.5e-2, 3.2e-5, 4.0, 5.2, 4.6e-2, 5.2]),
}


@equation
def infection(cells: Scalar, virus: Scalar, beta: Scalar) -> Scalar:
    return beta * cells * virus


@equation
def shedding(producing: Scalar, virus: Scalar, p: Scalar, c: Scalar, block: Scalar) -> Scalar:
    return (1 - block) * p * producing - c * virus


@compiled
def derivative(x: np.ndarray, q: np.ndarray, block: float, dx: np.ndarray) -> None:
    """Fills `dx` (4, per day)."""
    new = infection(x[TARGET], x[VIRUS], q[BETA])
    ripe = q[K] * x[ECLIPSE] if q[K] > 0.0 else new
    dx[TARGET] = -new
    dx[ECLIPSE] = new - ripe
    dx[PRODUCING] = ripe - q[DELTA] * x[PRODUCING]
    dx[VIRUS] = shedding(x[PRODUCING], x[VIRUS], q[PRODUCTION], q[CLEARANCE], block)


@compiled
def advance(x: np.ndarray, q: np.ndarray, block: float, steps: int, h: float) -> None:
    """`steps` of RK4 of `h` days in place."""
    k1, k2, k3, k4, y = np.empty(4), np.empty(4), np.empty(4), np.empty(4), np.empty(4)
    for _ in range(steps):
        derivative(x, q, block, k1)
        for i in range(4):
            y[i] = x[i] + 0.5 * h * k1[i]
        derivative(y, q, block, k2)
        for i in range(4):
            y[i] = x[i] + 0.5 * h * k2[i]
        derivative(y, q, block, k3)
        for i in range(4):
            y[i] = x[i] + h * k3[i]
        derivative(y, q, block, k4)
        for i in range(4):
            x[i] = max(x[i] + h / 6.0 * (k1[i] + 2.0 * (k2[i] + k3[i]) + k4[i]), 0.0)


def rates(x: Array, q: Array, block: float = 0.0) -> Array:
    """(4, M) per day for states (4, M) and parameters (7, M) in NumPy: a second writing, the oracle."""
    cells, hidden, producing, virus = x
    caught = q[2] * cells * virus
    leaving = np.where(q[3] > 0, q[3] * hidden, caught)
    return np.array(
        [-caught, caught - leaving, leaving - q[4] * producing, q[5] * producing * (1 - block) - q[6] * virus]
    )


def reproduction(q: Array) -> float:
    """R0: producing cells that one of them makes while all cells are targets."""
    return float(q[BETA] * q[PRODUCTION] * q[T0] / (q[CLEARANCE] * q[DELTA]))


def start(q: Array) -> Array:
    """The state (4,) at infection.

    Raises:
        BadInput: a parameter outside its believable range.
    """
    check(dict(zip(NAMES, q.tolist(), strict=True)), PARAMETERS)
    return np.array([q[T0], 0.0, 0.0, q[V0]])


def run(x: Array, q: Array, days: float, block: float = 0.0) -> Array:
    """The state after `days` (a multiple of STEP_D), a new array (4,).

    Raises:
        BadInput: a state, parameter, time or block outside the model.
    """
    check(dict(zip(NAMES, q.tolist(), strict=True)), PARAMETERS)
    check(dict(zip(STATES, x.tolist(), strict=True)), STATES)
    check({"block": block}, INPUTS)
    steps = round(days / STEP_D) if np.isfinite(days) else -1
    if steps < 0 or abs(steps * STEP_D - days) > 1e-6:
        raise BadInput(f"days must be a multiple of {STEP_D:g} and not negative")
    after = np.array(x, float)
    advance(after, q, block, steps, STEP_D)
    return after


class Snapshot(kept.Snapshot):
    """All there is of a run: model and version, then 11 float64. Restored, its future is bit-identical."""

    MODEL = b"baccam-2006/1\0"
    STATES = STATES
    PARAMETERS = PARAMETERS
