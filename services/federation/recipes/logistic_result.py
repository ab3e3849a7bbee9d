"""What may be released of a logistic study: coefficients in its units, scores with enough patients behind them.

Numbers of patients below 10 are withheld, and so are those from which one could be
taken by subtracting: see `_hidden`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from services.federation.course import Floats
from services.federation.recipes import scores
from services.federation.recipes.newton import Newton
from services.federation.study import Study
from services.federation.study_rules import MINIMUM_CELL
from services.federation.study_words import unit_of

Row = dict[str, object]


def coefficients(
    study: Study, mean: Sequence[float], sd: Sequence[float], beta: Sequence[float], search: Newton | None
) -> list[Row]:
    """Intercept first. Per unit of the column and per standard deviation; intervals for the unpenalised fit only."""
    if not beta:
        return []
    k = len(beta)
    back = np.diag([1.0, *(1 / np.array(sd))])  # normalised -> the study's units
    back[0, 1:] = -np.array(mean) / np.array(sd)
    normalised = np.array(beta)
    own = back @ normalised
    errors = _errors(search, np.eye(k)), _errors(search, back)
    rows: list[Row] = []
    for place, name in enumerate(["intercept", *(column.name for column in study.columns)]):
        column = study.columns[place - 1] if place else None
        rows.append(
            {
                "name": name,
                "unit": unit_of(column) if column else "",
                **_estimate(own[place], errors[1], place, odds=place > 0),
                "normalised": _estimate(normalised[place], errors[0], place, odds=place > 0),
                "mean": mean[place - 1] if place else None,
                "sd": sd[place - 1] if place else None,
            }
        )
    return rows


def _errors(search: Newton | None, back: Floats) -> Floats | None:
    if search is None or search.ridge or search.at is None:
        return None
    answer: Floats = np.sqrt(np.diag(back @ search.covariance() @ back.T))
    return answer


def _estimate(value: float, errors: Floats | None, place: int, *, odds: bool) -> Row:
    error = None if errors is None else float(errors[place])
    low, high = (None, None) if error is None else (value - scores.Z * error, value + scores.Z * error)
    row: Row = {"estimate": float(value), "se": error, "low": low, "high": high}
    if odds:
        row["odds_ratio"], row["odds_low"], row["odds_high"] = (_exp(one) for one in (value, low, high))
    return row


def _exp(value: float | None) -> float | None:
    return None if value is None else math.exp(min(max(value, -700.0), 700.0))


def evaluation(
    numbers: Mapping[str, Mapping[str, float]], histograms: Mapping[str, Sequence[float]], *, local: bool
) -> Row | None:
    """Scores per hospital and over all, of the model of all and of each hospital's own."""
    if not numbers:
        return None
    vectors = {site: np.array(found) for site, found in histograms.items()}
    hidden = _hidden({site: vector[: scores.SIZE] for site, vector in vectors.items()})
    parts = {"federated": slice(0, scores.SIZE)}
    if local:
        parts["local"] = slice(scores.SIZE, 2 * scores.SIZE)
    sites: dict[str, Row] = {}
    for site, found in numbers.items():
        sites[site] = {}
        for who in parts:
            shown = scores.from_numbers(who, found)
            if shown and site in hidden:
                shown["positives"] = None
            sites[site][who] = shown or None
        if local:
            sites[site]["local_ridge"] = found.get("local_ridge")
    pooled: Row = {}
    for who, part in parts.items():
        total = np.sum([vector[part] for vector in vectors.values()], axis=0)
        shown = scores.pooled(total)
        pooled[who] = shown or None
        if who == "federated":
            pooled["groups"] = scores.groups(total)
    return {"sites": sites, "pooled": pooled, "minimum_cell": MINIMUM_CELL}


def _hidden(histograms: Mapping[str, Floats]) -> set[str]:
    """Hospitals whose number of positives is not shown: those with fewer than 10 of a class, and as many more,
    smallest first, as it takes until the hidden ones together have 10 of each (else all minus the shown tells)."""
    counts = {
        site: (float(found[: scores.BINS].sum()), float(found[scores.BINS : 2 * scores.BINS].sum()))
        for site, found in histograms.items()
    }
    counts = {site: both for site, both in counts.items() if sum(both)}
    hidden = {site for site, both in counts.items() if min(both) < MINIMUM_CELL}
    rest = sorted((site for site in counts if site not in hidden), key=lambda site: (sum(counts[site]), site))
    while hidden and rest and min(sum(counts[site][k] for site in hidden) for k in (0, 1)) < MINIMUM_CELL:
        hidden.add(rest.pop(0))
    return hidden
