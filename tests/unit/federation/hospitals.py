"""Small hospitals whose tables are drawn: what recipes are tested on."""

from __future__ import annotations

import numpy as np

from services.federation.study import Column, Study
from services.federation.table import Table

COLUMNS = (
    Column("age", "patient|age"),
    Column("pressure", "loinc|8480-6", missing="mean", low=50.0, high=260.0),
    Column("female", "patient|female"),
)


def study(**changed: object) -> Study:
    made: dict[str, object] = {
        "title": "Drawn",
        "question": "Does it add up?",
        "author": "r-1",
        "purpose": "research",
        "recipe": "logistic",
        "rounds": 30,
        "columns": COLUMNS,
        "outcome": Column("coronary", "condition|snomed|53741008", take="present"),
        "test_fraction": 0.3,
    }
    return Study(**{**made, **changed})  # type: ignore[arg-type]


def table(seed: int, n: int = 120, age: float = 55.0, gaps: float = 0.1) -> Table:
    rng = np.random.Generator(np.random.Philox(seed))
    x = np.column_stack([rng.normal(age, 9, n), rng.normal(130, 17, n), (rng.random(n) < 0.4).astype(float)])
    z = 0.06 * (x[:, 0] - 55) + 0.02 * (x[:, 1] - 130) - 0.9 * x[:, 2]
    y = (rng.random(n) < 1 / (1 + np.exp(-z))).astype(float)
    x[rng.random(n) < gaps, 1] = np.nan
    return Table(("age", "pressure", "female"), x, y, rng.random(n))


def tables() -> dict[str, Table]:
    return {
        "north.demo": table(1),
        "south.demo": table(2, n=90, age=62.0),
        "st-anne.demo": table(3, n=200, age=49.0, gaps=0.3),
    }
