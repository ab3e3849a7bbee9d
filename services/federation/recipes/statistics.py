"""Counts, means and distributions, NON-PRIVATE: the coordinator sees each hospital's counts in clear.

One round. A hospital counts its patients and says itself which of its counts may
not be shown; the coordinator adds up, and withholds more where the sum of all minus
what is shown of the hospitals would give one away (suppression.py). Least and
greatest values are single patients' and are never asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from services.federation.course import Answer, Ask, Course, Json, Step
from services.federation.recipes.counts import MOMENTS, POOLED, Layout, count
from services.federation.recipes.options import statistics_problems
from services.federation.recipes.rows import Moments, columns_of
from services.federation.recipes.statistics_result import place_result
from services.federation.recipes.suppression import Equation, Key, withheld
from services.federation.study import NON_PRIVATE, Study, enough
from services.federation.study_rules import MINIMUM_CELL
from services.federation.table import Table
from twinward.errors import BadInput, Malformed

COUNT = "count"


class Statistics:
    name = "statistics"
    privacy = NON_PRIVATE

    def check(self, study: Study) -> Sequence[str]:
        return statistics_problems(study)

    def course(self, study: Study, state: bytes | None) -> Course:
        return StatisticsCourse(study, {} if state is None else _vectors(study, state))

    def answer(self, study: Study, ask: Ask, table: Table) -> Answer:
        if ask.step != COUNT or len(ask.vector):
            raise BadInput("the recipe statistics knows no such step")
        layout = Layout.of(study)
        x = columns_of(study, table)
        x = x[~np.isnan(x[:, [column.missing == "drop" for column in study.columns]]).any(1)]
        if not enough(study, len(x)):
            raise BadInput("the cohort is too small to be counted")
        values = {("here", *key): value for key, value in count(layout, x).items()}
        fixed = frozenset({("here", "n")})
        hidden = withheld(values, layout.protected(values), layout.equations("here"), fixed=fixed)
        moments = Moments.of(x[:, layout.measured])
        counts = [values["here", *key] for key in layout.counts]
        marks = [float(("here", *key) in hidden) for key in layout.counts]
        return Answer(np.concatenate([counts, marks, moments.n, moments.mean, moments.m2]), {"n": float(len(x))})


class StatisticsCourse:
    def __init__(self, study: Study, vectors: Mapping[str, list[float]]) -> None:
        self._study = study
        self._layout = Layout.of(study)
        self._vectors = dict(vectors)  # hospital -> its answer

    def next(self) -> Step | None:
        return None if self._vectors else Step(COUNT, np.zeros(0), size=self._layout.size)

    def take(self, answers: Mapping[str, Answer]) -> Mapping[str, float]:
        if self._vectors or not answers:
            raise BadInput("nothing was asked, so nothing can be taken")
        for answer in answers.values():
            self._check(answer.vector.tolist())
        self._vectors = {site: answers[site].vector.tolist() for site in sorted(answers)}
        return {"patients": sum(vector[0] for vector in self._vectors.values())}

    def _check(self, vector: Sequence[float]) -> None:
        """Raises BadInput: counts that no patients give."""
        layout, k = self._layout, len(self._layout.counts)
        values = {("here", *key): value for key, value in zip(layout.counts, vector, strict=False)}
        whole = all(value >= 0 and value == np.round(value) for value in values.values())
        fits = whole and all(
            values[one.total] == sum(values[part] for part in one.parts) for one in layout.equations("here")
        )
        marks, moments = vector[k : 2 * k], Moments(*np.split(np.array(vector[2 * k :]), 3))
        counted = [values["here", self._study.columns[place].name, "count"] for place in layout.measured]
        if not fits or vector[0] < MINIMUM_CELL or not set(marks) <= {0.0, 1.0}:
            raise BadInput("a hospital's counts cannot come from patients")
        if moments.n.tolist() != counted or np.any(moments.m2 < 0):
            raise BadInput("a hospital's moments cannot come from patients")

    def state(self) -> bytes:
        return json.dumps(self._vectors, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    def result(self) -> Json:
        layout, sites, k = self._layout, list(self._vectors), len(self._layout.counts)
        values: dict[Key, float] = {}
        moments: dict[str, Moments] = {}
        before: set[Key] = set()
        for site, vector in self._vectors.items():
            values |= {(site, *key): value for key, value in zip(layout.counts, vector, strict=False)}
            before |= {(site, *key) for key, mark in zip(layout.counts, vector[k : 2 * k], strict=True) if mark}
            moments[site] = Moments(*np.split(np.array(vector[2 * k :]), 3))
        if not sites:
            return {"recipe": "statistics", "privacy": self._study.privacy, "finished": False}
        together = moments[sites[0]]
        for site in sites[1:]:
            together += moments[site]
        moments[POOLED] = together
        for key in layout.counts:
            values[POOLED, *key] = sum(values[site, *key] for site in sites)
        for place, found in moments.items():
            for column, n in zip(layout.measured, found.n, strict=True):
                values[place, MOMENTS, self._study.columns[column].name] = float(n)
        quantiles = {key: made for place in moments for key, made in layout.below(place, values).items()}
        values |= {key: value for key, (value, _) in quantiles.items()}
        hidden = self._withheld(sites, values, before, [equation for _, equation in quantiles.values()])
        shown = {key: None if key in hidden else value for key, value in values.items()}
        return {
            "recipe": "statistics",
            "privacy": self._study.privacy,
            "finished": True,
            "rounds": 1,
            "minimum_cell": MINIMUM_CELL,
            "withheld": len(hidden - set(quantiles)),
            "sites": {site: place_result(layout, site, shown, moments[site]) for site in sites},
            "pooled": place_result(layout, POOLED, shown, moments[POOLED]),
        }

    def _withheld(
        self, sites: Sequence[str], values: dict[Key, float], before: set[Key], more: Sequence[Equation]
    ) -> set[Key]:
        layout = self._layout
        equations = [one for place in (*sites, POOLED) for one in layout.equations(place)] + layout.across(sites)
        equations += more
        # how many patients take part is known from elsewhere; the sum over all is what was asked for
        fixed = frozenset(key for key in values if key[1:] == ("n",))
        dear = frozenset(key for key in values if key[0] == POOLED)
        return withheld(values, layout.protected(values), equations, frozenset(before), dear, fixed)


def _vectors(study: Study, state: bytes) -> dict[str, list[float]]:
    """Raises Malformed: not a state that `state` wrote."""
    try:
        found = json.loads(state)
        size = Layout.of(study).size
        return {str(site): [float(one) for one in vector] for site, vector in found.items() if len(vector) == size}
    except (ValueError, TypeError, AttributeError):
        raise Malformed("the checkpoint cannot be read: start the study again") from None
