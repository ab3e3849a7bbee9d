"""Counts over hospitals: right where they are shown, and no withheld one follows from what is shown."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.play import play
from services.federation.course import Answer, Ask
from services.federation.recipes import RECIPES
from services.federation.recipes.counts import POOLED, Layout, bin_of, count
from services.federation.recipes.statistics import StatisticsCourse
from services.federation.recipes.statistics_result import quantile
from services.federation.recipes.suppression import Equation, Key, withheld
from services.federation.study import Column, Study
from services.federation.table import Table
from tests.unit.federation.hospitals import study as logistic_study
from tests.unit.federation.hospitals import tables
from twinward.errors import BadInput, Malformed

STATISTICS = RECIPES["statistics"]
COLUMNS = (
    Column("age", "patient|age", low=20.0, high=100.0, missing="count"),
    Column("pressure", "loinc|8480-6", low=50.0, high=210.0, missing="count"),
    Column("female", "patient|female", missing="count"),
    Column("coronary", "condition|snomed|53741008", take="present", missing="count"),
)
SETTINGS: dict[str, object] = {
    "histograms": ["age", "pressure"],
    "bins": 4,
    "quantiles": [0.25, 0.5],
    "crosstabs": [{"rows": "female", "columns": "coronary"}],
}


def study(**changed: Any) -> Study:
    made = {"recipe": "statistics", "columns": COLUMNS, "outcome": None, "test_fraction": 0.0, "settings": SETTINGS}
    return logistic_study(**{**made, **changed})


def with_outcome(found: dict[str, Table]) -> dict[str, Table]:
    names = tuple(column.name for column in COLUMNS)
    return {
        site: Table(names, np.column_stack([one.x, one.y]), None, one.place)
        for site, one in found.items()
        if one.y is not None
    }


def test_shown_numbers_are_those_of_the_tables() -> None:
    found = with_outcome(tables())
    result: Any = play(study(), found).result()
    x = np.concatenate([one.x for one in found.values()])
    pooled = result["pooled"]
    assert pooled["n"] == len(x)
    age = pooled["columns"]["age"]
    assert (age["count"], age["unit"]) == (len(x), "a")
    assert age["mean"] == pytest.approx(x[:, 0].mean())
    assert age["sd"] == pytest.approx(x[:, 0].std(ddof=1))
    shown = [(k, c) for k, c in enumerate(age["counts"]) if c is not None]
    assert len(shown) >= 2
    for k, number in shown:
        assert number == np.histogram(x[:, 0], age["edges"])[0][k]
    pressure = pooled["columns"]["pressure"]
    assert pressure["missing"] == np.isnan(x[:, 1]).sum()
    assert pressure["mean"] == pytest.approx(np.nanmean(x[:, 1]))
    female = pooled["columns"]["female"]
    assert female["share"] == pytest.approx(x[:, 2].mean())
    assert pooled["crosstabs"][0]["cells"][1][1] == np.sum((x[:, 2] == 1) & (x[:, 3] == 1))
    north = result["sites"]["north.demo"]["columns"]["age"]
    assert north["mean"] == pytest.approx(found["north.demo"].x[:, 0].mean())
    assert "min" not in json.dumps(result).replace("minimum_cell", "")


def test_values_outside_the_stated_range_are_missing() -> None:
    found = with_outcome(tables())
    one = found["north.demo"].x
    one[:15, 0] = 140.0
    result: Any = play(study(settings={}), found).result()
    assert result["sites"]["north.demo"]["columns"]["age"]["missing"] == 15
    assert result["sites"]["north.demo"]["columns"]["age"]["mean"] == pytest.approx(one[15:, 0].mean())


def test_who_misses_something_is_left_out_where_the_study_says_so() -> None:
    found = with_outcome(tables())
    columns = (COLUMNS[0], replace(COLUMNS[1], missing="drop"), *COLUMNS[2:])
    result: Any = play(study(columns=columns), found).result()
    whole = sum(int((~np.isnan(one.x[:, 1])).sum()) for one in found.values())
    assert result["pooled"]["n"] == whole
    assert result["pooled"]["columns"]["pressure"]["missing"] == 0


def determined(keys: set[Key], equations: Iterable[Equation], hidden: set[Key]) -> set[Key]:
    """Which of `keys` somebody works out who knows everything shown: elimination in exact fractions."""
    order = sorted(hidden)
    rows = []
    for equation in equations:
        row = {order.index(key): Fraction(0) for key, _ in equation if key in hidden}
        for key, sign in equation:
            if key in hidden:
                row[order.index(key)] += int(sign)
        rows.append({k: v for k, v in row.items() if v})
    reduced: dict[int, dict[int, Fraction]] = {}
    for row in rows:
        for pivot in sorted(set(row) & set(reduced)):
            if pivot in row:
                row = _minus(row, reduced[pivot], row[pivot])
        if not row:
            continue
        pivot = min(row)
        row = {k: v / row[pivot] for k, v in row.items()}
        for other, existing in list(reduced.items()):
            if pivot in existing:
                reduced[other] = _minus(existing, row, existing[pivot])
        reduced[pivot] = row
    alone = {order[pivot] for pivot, row in reduced.items() if len(row) == 1}
    return keys & alone


def _minus(row: dict[int, Fraction], other: dict[int, Fraction], times: Fraction) -> dict[int, Fraction]:
    left = {k: row.get(k, Fraction(0)) - times * other.get(k, Fraction(0)) for k in row.keys() | other.keys()}
    return {k: v for k, v in left.items() if v}


@st.composite
def drawn_tables(draw: st.DrawFn) -> dict[str, Table]:
    seed = draw(st.integers(0, 2**31))
    rng = np.random.Generator(np.random.Philox(seed))
    found = {}
    for k in range(draw(st.integers(1, 4))):
        n = draw(st.integers(10, 90))
        share, gaps = draw(st.sampled_from([0.02, 0.2, 0.5, 1.0])), draw(st.sampled_from([0.0, 0.05, 0.4]))
        x = np.column_stack([rng.normal(60, 15, n), rng.normal(130, 30, n), *(rng.random((2, n)) < share)])
        x[rng.random((n, 4)) < gaps] = np.nan
        found[f"s{k}.demo"] = Table(tuple(column.name for column in COLUMNS), x, None, rng.random(n))
    return found


@given(drawn_tables())
@settings(max_examples=20, deadline=None)
def test_no_withheld_count_follows_from_what_is_shown(found: dict[str, Table]) -> None:
    asked = study()
    layout = Layout.of(asked)
    course = play(asked, found)
    assert isinstance(course, StatisticsCourse)
    result: Any = course.result()
    values: dict[Key, float] = {}
    for site, one in found.items():
        x = one.x.copy()
        for place, column in enumerate(COLUMNS[:2]):
            x[:, place] = np.where((x[:, place] < column.low) | (x[:, place] > column.high), np.nan, x[:, place])
        values |= {(site, *key): value for key, value in count(layout, x).items()}
    for key in layout.counts:
        values[POOLED, *key] = sum(values[site, *key] for site in found)
    shown = {
        (site, *key)
        for site in [POOLED, *found]
        for key in layout.counts
        if cell(result["pooled"] if site == POOLED else result["sites"][site], key) is not None
    }
    equations = [one for site in [POOLED, *found] for one in layout.equations(site)] + layout.across(list(found))
    equations = [one for one in equations if one.total in values]
    for site in [POOLED, *found]:  # a quantile that is shown tells how many lie below its bin
        place = result["pooled"] if site == POOLED else result["sites"][site]
        for name in ("age", "pressure"):
            for q in (0.25, 0.5):
                if place["columns"][name]["quantiles"][f"{q:g}"] is not None:
                    counts = [values[site, name, "bin", str(k)] for k in range(4)]
                    total: Key = (site, name, "below", str(bin_of(counts, q)))
                    parts = tuple((site, name, "bin", str(k)) for k in range(bin_of(counts, q)))
                    equations.append(Equation(total, parts))
                    values[total] = sum(counts[: bin_of(counts, q)])
                    shown.add(total)
    small = {key for key, value in values.items() if 0 < value < 10}
    assert not small & shown
    hidden = set(values) - shown
    assert determined(small & hidden, equations, hidden) == set()
    for equation in equations:  # nor are the withheld parts of a shown total few together
        parts = [part for part in equation.parts if part in hidden]
        if equation.total in shown and set(parts) & small:  # those of a quantile included
            assert sum(values[part] for part in parts) >= 10
    for key in shown:
        if key[2:3] == ("below",):
            continue
        place = result["pooled"] if key[0] == POOLED else result["sites"][key[0]]
        assert cell(place, key[1:]) == values[key]


def cell(place: Any, key: Key) -> float | None:
    """The count that a result shows under a key."""
    if key == ("n",):
        return place["n"]
    if key[0] == "#table":
        return place["crosstabs"][0]["cells"]["01m".index(key[3][0])]["01m".index(key[4][0])]
    column = place["columns"][key[0]]
    if key[1] == "bin":
        return column["counts"][int(key[2])]
    if key[1] == "0":  # not shown by itself, but follows
        return None if column["count"] is None or column["ones"] is None else column["count"] - column["ones"]
    return column[{"1": "ones"}.get(key[1], key[1])]


def test_the_brute_force_finds_what_a_lone_withheld_count_gives_away() -> None:
    total = Equation(("a", "n"), (("a", "x"), ("a", "y"), ("a", "z")))
    assert determined({("a", "x")}, [total], {("a", "x")}) == {("a", "x")}
    assert determined({("a", "x")}, [total], {("a", "x"), ("a", "y")}) == set()
    values = {("a", "n"): 60.0, ("a", "x"): 4.0, ("a", "y"): 16.0, ("a", "z"): 40.0}
    assert withheld(values, {("a", "x")}, [total], fixed=frozenset({("a", "n")})) == {("a", "x"), ("a", "y")}


def test_a_mean_of_few_is_withheld_and_does_not_follow_from_the_others() -> None:
    found = with_outcome(tables())
    found["north.demo"].x[4:, 1] = np.nan
    result: Any = play(study(settings={}), found).result()
    hidden = [site for site, place in result["sites"].items() if place["columns"]["pressure"]["mean"] is None]
    assert "north.demo" in hidden
    assert len(hidden) >= 2 or result["pooled"]["columns"]["pressure"]["mean"] is None
    for place in (result["pooled"], *result["sites"].values()):
        if place["columns"]["pressure"]["count"] is None:
            assert place["columns"]["pressure"]["low"] is None  # the interval's width would tell the count


def test_the_hospital_itself_marks_what_may_not_be_shown() -> None:
    found = with_outcome(tables())
    one = found["north.demo"]
    one.x[:, 3] = 0.0
    one.x[:3, 3] = 1.0
    layout = Layout.of(study())
    answer = STATISTICS.answer(study(), Ask(b"", 1, "count", np.zeros(0)), one)
    k = len(layout.counts)
    marks = dict(zip(layout.counts, answer.vector[k : 2 * k], strict=True))
    assert marks["coronary", "1"] == 1
    assert marks["coronary", "0"] == 1 or marks["coronary", "count"] == 1
    assert marks[("n",)] == 0


def test_it_goes_on_from_its_state() -> None:
    found = with_outcome(tables())
    straight = play(study(), found)
    resumed = play(study(), found, after=lambda _, course: STATISTICS.course(study(), course.state()))
    assert straight.state() == resumed.state()
    assert straight.result() == resumed.result()
    assert resumed.next() is None
    for state in (b"", b"[]", b'{"a":1}'):
        with pytest.raises(Malformed):
            STATISTICS.course(study(), state)


def test_counts_that_no_patients_give_are_refused() -> None:
    found = with_outcome(tables())
    good = STATISTICS.answer(study(), Ask(b"", 1, "count", np.zeros(0)), found["north.demo"]).vector
    k = len(Layout.of(study()).counts)
    for place, value in (
        (0, 5.0),
        (1, good[1] + 1),
        (3, -1.0),
        (2, 0.5),
        (k, 0.5),
        (len(good) - 1, -4.0),
        (2 * k, 3.0),
    ):
        bad = good.copy()
        bad[place] = value
        course = STATISTICS.course(study(), None)
        with pytest.raises(BadInput):
            course.take({"north.demo": Answer(bad), "south.demo": Answer(good)})
        assert course.state() == b"{}"


def test_what_cannot_be_counted_is_refused() -> None:
    one = with_outcome(tables())["north.demo"]
    few = replace(one, x=one.x[:9], place=one.place[:9])
    ask = Ask(b"", 1, "count", np.zeros(0))
    for table, asked in ((few, ask), (one, Ask(b"", 1, "guess", np.zeros(0))), (one, Ask(b"", 1, "count", np.ones(1)))):
        with pytest.raises(BadInput):
            STATISTICS.answer(study(), asked, table)
    one.x[0, 2] = 0.5
    with pytest.raises(BadInput, match="female must be 0 or 1"):
        STATISTICS.answer(study(), ask, one)


def test_quantiles_lie_within_a_bin_of_the_true_ones() -> None:
    rng = np.random.Generator(np.random.Philox(1))
    drawn = rng.normal(60, 10, 5000)
    counts, bounds = np.histogram(drawn, np.linspace(0, 120, 25))
    below = {k: float(counts[:k].sum()) for k in range(24)}
    for q in (0.05, 0.5, 0.9):
        said = quantile(bounds.tolist(), counts.tolist(), below, 5000.0, q)
        assert said is not None
        assert abs(said - np.quantile(drawn, q)) < 5.0
        k = bin_of(counts.tolist(), q)
        assert bounds[k] <= said <= bounds[k + 1]
        assert quantile(bounds.tolist(), counts.tolist(), {**below, k: None}, 5000.0, q) is None
        assert quantile(bounds.tolist(), counts.tolist(), below, None, q) is None
    assert quantile([0.0, 1.0], [0.0], {0: 0.0}, 0.0, 0.5) is None


def test_a_quantile_is_shown_though_the_ends_are_withheld() -> None:
    result: Any = play(study(settings={**SETTINGS, "bins": 8}), with_outcome(tables())).result()
    age = result["pooled"]["columns"]["age"]
    assert None in age["counts"]
    x = np.concatenate([one.x[:, 0] for one in tables().values()])
    assert age["quantiles"]["0.5"] == pytest.approx(np.median(x), abs=10)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"settings": {"histogram": ["age"]}}, "settings.histogram is not known here"),
        ({"settings": {"histograms": ["female"]}}, "with low and high stated"),
        ({"settings": {"histograms": ["age", "age"]}}, "names a column twice"),
        ({"settings": {"bins": 1}}, "settings.bins"),
        ({"settings": {"quantiles": [0.5]}}, "come from histograms"),
        ({"settings": {"crosstabs": [{"rows": "age", "columns": "female"}]}}, "that are 0 or 1"),
        ({"settings": {"crosstabs": [{"rows": "female", "columns": "female"}]}}, "two different columns"),
        ({"settings": {"crosstabs": [{"rows": "female"}]}}, "settings.crosstabs[1].columns is missing"),
        ({"outcome": Column("x", "patient|female")}, "outcome: statistics has none"),
        ({"test_fraction": 0.2}, "holds nobody out"),
        ({"columns": (replace(COLUMNS[0], missing="mean"),), "settings": {}}, "age.missing"),
    ],
)
def test_what_is_wrong_with_a_study_is_said(changed: dict[str, Any], sentence: str) -> None:
    found = STATISTICS.check(study(**changed))
    assert any(sentence in one for one in found), found
    assert STATISTICS.check(study()) == []
