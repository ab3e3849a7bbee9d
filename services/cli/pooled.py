"""Logistic regression over tables that lie open: what the demo holds the federated result against.

Only possible because the demo wrote the tables itself: it may put in one place what hospitals never would.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from services.cli.virtual_tables import EFFECTS, OUTCOME

Floats = npt.NDArray[np.float64]
COLUMNS = tuple(EFFECTS)
MOST_STEPS = 50


def complete(tables: Sequence[Path]) -> tuple[Floats, Floats]:
    """(x, y) of every patient without a missing cell; columns in the order of COLUMNS."""
    x: list[list[float]] = []
    y: list[float] = []
    for table in tables:
        with table.open(newline="") as source:
            for row in csv.DictReader(source):
                cells = {**row, "female": "1" if row["sex"] == "f" else "0"}
                if "?" not in cells.values():
                    x.append([float(cells[name]) for name in COLUMNS])
                    y.append(float(row[OUTCOME]))
    return np.array(x), np.array(y)


def logistic(x: Floats, y: Floats) -> Floats:
    """Maximum likelihood by Newton's method: intercept, then a coefficient a column, in its own unit."""
    mean, sd = x.mean(axis=0), x.std(axis=0)
    design = np.column_stack([np.ones(len(x)), (x - mean) / sd])
    beta = np.zeros(design.shape[1])
    for _ in range(MOST_STEPS):
        p = 1 / (1 + np.exp(-design @ beta))
        step = np.linalg.solve(design.T @ (design * (p * (1 - p))[:, None]), design.T @ (y - p))
        beta = beta + step
        if np.abs(step).max() < 1e-12:
            break
    own: Floats = np.concatenate([[beta[0] - float(beta[1:] @ (mean / sd))], beta[1:] / sd])
    return own
