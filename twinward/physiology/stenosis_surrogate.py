"""The loss of a plane narrowing at once: a Gaussian process over the flows that were solved beforehand.

    ln(loss / plane law) = mean + g(1 / area ratio, length, ln Re, eccentricity) + noise
    g ~ GP with exp(-1/2 sum (d_i / l_i)^2); lengths, strength and noise by greatest marginal likelihood, found once
        (python -m bench.stenosis --fit) and kept in `stenosis_kernel.csv`
    leave-one-out  y_i - [K^-1 y]_i / [K^-1]_ii (Rasmussen and Williams 2006, eq. 5.12)

Trained on `stenosis.csv` (bench/stenosis.py made it). The uncertainty joins the process's own and what the same
geometries on a finer lattice showed. Outside the table's ranges nothing is answered.
**Plane (2-D), steady, laminar**: education and research only, 2-D; no number of a patient's vessel.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from twinward.errors import BadInput
from twinward.physiology.stenosis import plane_loss
from twinward.physiology.stenosis_flow import SOLVER, Narrowing

Array = NDArray[np.float64]
LABEL = "education/research; 2-D or axisymmetric"
RANGES = {"area ratio": (0.4, 0.9), "length": (1.0, 3.0), "Reynolds number": (5.0, 100.0), "eccentricity": (0.0, 1.0)}
Z90 = 1.645


@dataclass(frozen=True, slots=True)
class Loss:
    """In rho U^2 / 2 of the whole channel, beyond the straight channel's own."""

    value: float
    low: float  # 90 % interval
    high: float
    law: float  # the plane law, for comparison
    geometries: int
    label: str = LABEL
    source: str = f"Gaussian process over flows of {SOLVER}"

    def pressure(self, density: float, velocity: float) -> tuple[float, float, float]:
        """Value, low, high as a pressure, in the units of density x velocity^2."""
        head = density * velocity**2 / 2
        return self.value * head, self.low * head, self.high * head


@dataclass(frozen=True, slots=True)
class Surrogate:
    x: Array  # (n, 4) scaled
    y: Array  # (n,) ln(loss / law)
    mean: float
    lengths: Array
    strength: float
    noise: float
    lattice: float  # relative, of the finer lattice's answers
    left_out: int  # geometries without a steady flow

    def covariance(self, other: Array) -> Array:
        d = (self.x[:, None] - other[None]) / self.lengths
        return np.asarray(self.strength**2 * np.exp(-0.5 * (d**2).sum(-1)))

    def factor(self) -> tuple[Array, bool]:
        K = self.covariance(self.x) + self.noise**2 * np.eye(len(self.y))
        found: tuple[Array, bool] = cho_factor(K, lower=True)
        return found

    def leave_one_out(self) -> Array:
        """Relative error of each geometry's loss, predicted from all others: (n,)."""
        inverse = cho_solve(self.factor(), np.eye(len(self.y)))
        return np.asarray(np.expm1(-(inverse @ (self.y - self.mean)) / np.diag(inverse)))

    def loss(self, one: Narrowing) -> Loss:
        """Raises BadInput: outside the ranges of the table."""
        for (name, (low, high)), value in zip(RANGES.items(), one.values, strict=True):
            if not low <= value <= high:
                raise BadInput(f"{name} must lie in {low:g}..{high:g}: nothing was solved outside, so nothing is said")
        k = self.covariance(scaled(np.array([one.values])))[:, 0]
        factor = self.factor()
        at = self.mean + float(k @ cho_solve(factor, self.y - self.mean))
        variance = max(self.strength**2 - float(k @ cho_solve(factor, k)), 0.0) + self.noise**2
        wide = Z90 * float(np.sqrt(variance + self.lattice**2))
        law = plane_loss(one)
        value = law * float(np.exp(at))
        return Loss(value, value * float(np.exp(-wide)), value * float(np.exp(wide)), law, len(self.y))


def scaled(values: Array) -> Array:
    """(n, 4) area ratio, length, Reynolds number, eccentricity -> about 0..1 each."""
    a, s, r, e = values.T
    low, high = np.log(RANGES["Reynolds number"])
    return np.column_stack([(1 / a - 1 / 0.9) / (1 / 0.4 - 1 / 0.9), (s - 1) / 2, (np.log(r) - low) / (high - low), e])


def rows(kind: str) -> list[dict[str, str]]:
    """Of `stenosis.csv`: kind `table` or `check`; also those without a steady flow."""
    text = resources.files(__package__).joinpath("stenosis.csv").read_text()
    return [row for row in csv.DictReader(text.splitlines()) if row["kind"] == kind and row["solver"] == SOLVER]


def narrowing(row: dict[str, str]) -> Narrowing:
    return Narrowing(*(float(row[name]) for name in ("area_ratio", "length", "reynolds", "eccentricity")))


def lattice_error() -> float:
    """Root mean square of ln(loss, coarse / fine) over the geometries solved twice."""
    fine = {row["case"]: float(row["loss"]) for row in rows("check") if row["outcome"] == "steady"}
    apart = [np.log(float(row["loss"]) / fine[row["case"]])
             for row in rows("table") if row["outcome"] == "steady" and row["case"] in fine]  # fmt: skip
    return float(np.sqrt(np.mean(np.square(apart))))


def unlikely(v: Array, x: Array, y: Array) -> float:
    """Negative logarithm of the marginal likelihood at logarithms of lengths, strength and noise."""
    one = Surrogate(x, y, float(y.mean()), np.exp(v[:4]), float(np.exp(v[4])), float(np.exp(v[5])), 0.0, 0)
    factor = one.factor()
    centred = y - one.mean
    return float(0.5 * centred @ cho_solve(factor, centred) + np.log(np.diag(factor[0])).sum())


def data() -> tuple[Array, Array]:
    """Scaled geometries (n, 4) and ln(loss / law) (n,) of the steady flows."""
    used = [row for row in rows("table") if row["outcome"] == "steady"]
    ones = [narrowing(row) for row in used]
    y = np.array([np.log(float(row["loss"]) / plane_loss(one)) for row, one in zip(used, ones, strict=True)])
    return scaled(np.array([one.values for one in ones])), y


KERNEL = (
    "length of 1 / area ratio",
    "length of length",
    "length of ln Re",
    "length of eccentricity",
    "strength",
    "noise",
)


def best(x: Array, y: Array) -> Array:
    """The six numbers of KERNEL with the greatest marginal likelihood."""
    bounds = [(np.log(0.1), np.log(20.0))] * 4 + [(np.log(0.02), np.log(5.0)), (np.log(1e-3), np.log(0.3))]
    start = np.log([0.6, 0.9, 1.0, 0.9, 0.2, 0.013])
    found = minimize(unlikely, start, (x, y), method="L-BFGS-B", bounds=bounds, options={"maxiter": 60})
    return np.asarray(np.exp(found.x))


@lru_cache(maxsize=1)
def surrogate() -> Surrogate:
    """Of the shipped table; the same table gives the same numbers."""
    every, (x, y) = rows("table"), data()
    used = [row for row in every if row["outcome"] == "steady"]
    text = resources.files(__package__).joinpath("stenosis_kernel.csv").read_text()
    kernel = [float(row["value"]) for row in csv.DictReader(text.splitlines())]
    left = len(every) - len(used)
    return Surrogate(x, y, float(y.mean()), np.array(kernel[:4]), kernel[4], kernel[5], lattice_error(), left)
