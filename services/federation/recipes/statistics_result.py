"""What is released of `statistics`: shown counts and what follows from them, for one hospital or for all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from services.federation.recipes.counts import ANSWERS, MOMENTS, TABLE, Layout, edges
from services.federation.recipes.options import binary
from services.federation.recipes.rows import Moments
from services.federation.recipes.scores import Z, wilson
from services.federation.recipes.suppression import Key
from services.federation.study import Column
from services.federation.study_words import unit_of

Row = dict[str, object]
Shown = Mapping[Key, float | None]


def place_result(layout: Layout, place: str, shown: Shown, moments: Moments) -> Row:
    """`None` wherever something is withheld."""
    measured = {column: row for row, column in enumerate(layout.measured)}
    columns: dict[str, Row] = {}
    for number, column in enumerate(layout.study.columns):
        counted = shown[place, column.name, "count"]
        row: Row = {"unit": unit_of(column), "count": counted, "missing": shown[place, column.name, "missing"]}
        if binary(layout.study, column.name):
            row |= _share(shown[place, column.name, "1"], counted)
        elif shown[place, MOMENTS, column.name] is not None:
            k = measured[number]
            row |= _mean(float(moments.mean[k]), float(moments.sd[k]), counted)
        else:
            row |= _mean(None, None, None)
        if column.name in layout.how.histograms:
            row |= _histogram(layout, place, column, shown)
        columns[column.name] = row
    tables = [
        {
            "rows": table.rows,
            "columns": table.columns,
            "answers": list(ANSWERS),
            "cells": [[shown[place, TABLE, table.rows, table.columns, i, j] for j in ANSWERS] for i in ANSWERS],
        }
        for table in layout.how.crosstabs
    ]
    return {"n": shown[place, "n"], "columns": columns, "crosstabs": tables}


def _share(ones: float | None, counted: float | None) -> Row:
    """Of a column that is 0 or 1, with its 95 % interval (Wilson)."""
    if ones is None or counted is None or not counted:
        return {"ones": ones, "share": None, "low": None, "high": None}
    low, high = wilson(ones / counted, counted)
    return {"ones": ones, "share": ones / counted, "low": low, "high": high}


def _mean(mean: float | None, sd: float | None, counted: float | None) -> Row:
    """With the mean's 95 % interval. Where the count is withheld neither interval nor further digits may tell it."""
    if mean is None or sd is None or counted == 0:
        return {"mean": None, "sd": None, "low": None, "high": None}
    if counted is None:
        return {"mean": float(f"{mean:.3g}"), "sd": float(f"{sd:.3g}"), "low": None, "high": None}
    half = Z * sd / math.sqrt(counted)
    return {"mean": mean, "sd": sd, "low": mean - half, "high": mean + half}


def _histogram(layout: Layout, place: str, column: Column, shown: Shown) -> Row:
    bounds = edges(column, layout.how.bins).tolist()
    counts = [shown[place, column.name, "bin", str(k)] for k in range(layout.how.bins)]
    below = {k: shown.get((place, column.name, "below", str(k))) for k in range(1, layout.how.bins)} | {0: 0.0}
    total = shown[place, column.name, "count"]
    quantiles = {f"{q:g}": quantile(bounds, counts, below, total, q) for q in layout.how.quantiles}
    return {"edges": bounds, "counts": counts, "quantiles": quantiles}


def quantile(
    bounds: Sequence[float],
    counts: Sequence[float | None],
    below: Mapping[int, float | None],
    total: float | None,
    q: float,
) -> float | None:
    """On a line within its bin, so at most a bin's width off.

    None where its bin, how many lie below it (`below`, by bin) or the total is withheld, or nobody is counted.
    """
    if not total:
        return None
    for k, count in enumerate(counts):
        lower = below.get(k)
        if count and lower is not None and lower < q * total <= lower + count:
            return bounds[k] + (bounds[k + 1] - bounds[k]) * (q * total - lower) / count
    return None
