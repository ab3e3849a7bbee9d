"""Logistic regression by iteratively reweighted least squares, from sums over patients alone.

    loglik = sum y z - log(1 + e^z),  z = b0 + x b
    gradient = sum x (y - p),  information = sum x x' p (1 - p)
    next b = b + (information + L)^-1 (gradient - L b),  L = ridge on all but the intercept

Sums of hospitals add up to the sums of all, so the fit is that of the pooled table.
A step that makes things worse is halved. McCullagh and Nelder 1989, 2.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from twinward.errors import BadInput, Separated

Floats = npt.NDArray[np.float64]
TOLERANCE = 1e-9  # of a step, in standard deviations of the columns
MOST_HALVINGS = 30
SINGULAR = 1e-10  # least over greatest eigenvalue of the information


def size(p: int) -> int:
    """Length of what `sums` gives for p columns."""
    return 1 + (p + 1) + (p + 1) * (p + 2) // 2


def sums(x: Floats, y: Floats, beta: Floats, weight: Floats | float = 1.0) -> Floats:
    """loglik, gradient (p + 1), information (upper triangle, row by row) of n patients at `beta` (p + 1)."""
    design = np.column_stack([np.ones(len(y)), x])
    z = design @ beta
    loglik = float(np.sum(weight * (y * z - np.logaddexp(0.0, z))))
    p = probability(z)
    information = design.T @ (design * (weight * p * (1 - p))[:, None])
    return np.concatenate([[loglik], design.T @ (weight * (y - p)), information[np.triu_indices(len(beta))]])


def probability(z: Floats) -> Floats:
    half: Floats = 0.5 * (1.0 + np.tanh(0.5 * z))  # does not overflow
    return half


def full(triangle: Floats, k: int) -> Floats:
    """The symmetric (k, k) matrix of an upper triangle."""
    matrix = np.zeros((k, k))
    matrix[np.triu_indices(k)] = triangle
    return matrix + np.triu(matrix, 1).T


@dataclass(slots=True, eq=False)
class Newton:
    """Where the search stands: the best point with its sums, and the one to ask next."""

    candidate: Floats
    ridge: float = 0.0
    shrink_intercept: bool = False
    beta: Floats | None = None
    at: Floats | None = None  # sums at `beta`
    halvings: int = 0
    converged: bool = False

    def take(self, found: Floats, *, fresh: bool = False) -> None:
        """Takes the sums at `candidate`. `fresh`: over other patients than before, so nothing can be compared.

        Raises:
            Separated: the likelihood has no maximum.
            BadInput: columns that cannot be told apart, or sums that no data have.
        """
        k = len(self.candidate)
        if found[0] > 0 or np.any(np.diag(full(found[1 + k :], k)) < 0):
            raise BadInput("a hospital's sums cannot come from data")
        if self.at is not None and self.beta is not None and not fresh:
            before = self._goal(self.at, self.beta)
            if self._goal(found, self.candidate) < before - 1e-12 * abs(before):
                self._halve(self.beta)
                return
        self.beta, self.at, self.halvings = self.candidate.copy(), found, 0
        step = self._step(self.beta, found)
        self.converged = bool(np.max(np.abs(step)) < TOLERANCE)
        if not self.converged:
            self.candidate = np.add(self.beta, step, dtype=np.float64)

    def _halve(self, beta: Floats) -> None:
        self.halvings += 1
        self.candidate = np.multiply(0.5, beta + self.candidate, dtype=np.float64)
        if self.halvings > MOST_HALVINGS:  # rounding is all that is left to gain
            self.candidate, self.converged = beta.copy(), True

    def _penalty(self, k: int) -> Floats:
        penalty = np.full(k, self.ridge)
        if not self.shrink_intercept:
            penalty[0] = 0.0
        return penalty

    def _goal(self, found: Floats, beta: Floats) -> float:
        return float(found[0] - 0.5 * np.sum(self._penalty(len(beta)) * beta**2))

    def _step(self, beta: Floats, found: Floats) -> Floats:
        k = len(beta)
        penalty = self._penalty(k)
        gradient = found[1 : 1 + k] - penalty * beta
        matrix = full(found[1 + k :], k) + np.diag(penalty)
        spectrum = np.linalg.eigvalsh(matrix)
        if not np.any(beta) and spectrum[0] <= SINGULAR * spectrum[-1]:
            raise BadInput("some columns say the same as others together: leave one of them out, or state a ridge")
        if spectrum[0] <= 1e-14 * spectrum[-1] or spectrum[-1] < 1e-10:
            raise _separated()
        step = np.asarray(np.linalg.solve(matrix, gradient), np.float64)
        # far to go and next to nothing to gain: the maximum lies at infinity
        if self.ridge == 0 and 0.5 * gradient @ step < 1e-4 and np.max(np.abs(step)) > 0.1:
            raise _separated()
        return step

    def covariance(self) -> Floats:
        """Of the coefficients at the best point: the inverse of the information there."""
        if self.beta is None or self.at is None:
            raise BadInput("there is no fit yet")
        k = len(self.beta)
        return np.asarray(np.linalg.inv(full(self.at[1 + k :], k)), np.float64)

    def state(self) -> dict[str, object]:
        return {
            "candidate": self.candidate.tolist(),
            "ridge": self.ridge,
            "shrink_intercept": self.shrink_intercept,
            "beta": None if self.beta is None else self.beta.tolist(),
            "at": None if self.at is None else self.at.tolist(),
            "halvings": self.halvings,
            "converged": self.converged,
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Newton:
        made = dict(state)
        for key in ("candidate", "beta", "at"):
            made[key] = None if made[key] is None else np.array(made[key], float)
        return cls(**made)


def _separated() -> Separated:
    return Separated(
        "separation: some columns tell the outcome without error, so no finite coefficients fit best; "
        "leave such a column out, or state a ridge in settings"
    )


def fit(
    x: Floats, y: Floats, ridge: float = 0.0, *, weight: Floats | float = 1.0, shrink_intercept: bool = False
) -> Newton:
    """The whole fit on one table. Raises as `Newton.take`."""
    search = Newton(np.zeros(x.shape[1] + 1), ridge, shrink_intercept)
    for _ in range(100):
        search.take(sums(x, y, search.candidate, weight))
        if search.converged:
            break
    return search
