"""Logistic regression over hospitals: equal to the pooled fit, resumable at every step, and it says when it cannot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.play import play
from services.federation.course import Answer, Ask, Course
from services.federation.recipes import RECIPES, newton, recipe_of, scores
from services.federation.study import Column, Study
from services.federation.table import Table
from tests.unit.federation.hospitals import study, table, tables
from twinward.errors import BadInput, Malformed, Separated

LOGISTIC = RECIPES["logistic"]
METHODS: dict[str, dict[str, Any]] = {
    "irls": {"method": "irls"},
    "fedavg": {"method": "fedavg", "learning_rate": 0.5, "batch": 16},
    "fedyogi": {"method": "fedyogi", "learning_rate": 0.3, "server_rate": 0.3},
}


def pooled(found: Mapping[str, Table], fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """The training patients of all in one table: missing pressure is the mean of all."""
    x = np.concatenate([one.x[one.place >= fraction] for one in found.values()])
    y = np.concatenate([one.y[one.place >= fraction] for one in found.values() if one.y is not None])
    return np.where(np.isnan(x), np.nanmean(x, axis=0), x), y


def oracle(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Another way to the maximum: gradient ascent with the fixed bound X'X/4 of the curvature (Boehning 1988)."""
    design = np.column_stack([np.ones(len(y)), (x - x.mean(0)) / x.std(0)])
    bound = np.linalg.inv(design.T @ design / 4)
    beta = np.zeros(design.shape[1])
    for _ in range(3000):
        beta = beta + bound @ (design.T @ (y - 1 / (1 + np.exp(-design @ beta))))
    p = 1 / (1 + np.exp(-design @ beta))
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ np.diag(p * (1 - p)) @ design)))
    own = beta[1:] / x.std(0)
    return np.array([beta[0] - own @ x.mean(0), *own]), errors[1:] / x.std(0)


def test_irls_is_the_pooled_fit() -> None:
    found = tables()
    result: Any = play(study(), found).result()
    estimates, errors = oracle(*pooled(found, 0.3))
    rows = result["coefficients"]
    assert result["converged"] is True
    assert [row["estimate"] for row in rows] == pytest.approx(estimates, abs=1e-6)
    assert [row["se"] for row in rows[1:]] == pytest.approx(errors, rel=1e-6)
    assert [row["unit"] for row in rows] == ["", "a", "mm[Hg]", ""]
    age = rows[1]
    assert age["odds_ratio"] == pytest.approx(np.exp(age["estimate"]))
    assert age["odds_low"] == pytest.approx(np.exp(age["estimate"] - 1.959964 * age["se"]), rel=1e-6)
    assert age["normalised"]["estimate"] == pytest.approx(age["estimate"] * age["sd"])


@pytest.mark.parametrize("method", ["fedavg", "fedyogi"])
def test_averaging_comes_near_the_pooled_fit(method: str) -> None:
    found = tables()
    result: Any = play(study(settings=METHODS[method], rounds=60), found).result()
    x, y = pooled(found, 0.3)
    best = -newton.sums(x, y, oracle(x, y)[0])[0] / len(y)
    said = np.array([row["estimate"] for row in result["coefficients"]])
    assert -newton.sums(x, y, said)[0] / len(y) - best < 0.005
    assert result["loss"][-1] < result["loss"][0]
    assert all(row["se"] is None and row["low"] is None for row in result["coefficients"])


@pytest.mark.parametrize("method", METHODS)
def test_stopped_after_every_round_it_is_the_same_to_the_bit(method: str) -> None:
    asked = study(settings=METHODS[method], rounds=8)

    def stopped(_: int, course: Course) -> Course:
        return LOGISTIC.course(asked, course.state())

    straight, resumed = play(asked, tables()), play(asked, tables(), after=stopped)
    assert straight.state() == resumed.state()
    assert json.dumps(straight.result(), sort_keys=True) == json.dumps(resumed.result(), sort_keys=True)


def test_a_hospital_that_goes_and_comes_back_does_not_bend_the_fit() -> None:
    def present(number: int, sites: Sequence[str]) -> Sequence[str]:
        return [site for site in sites if not (number in (4, 5) and site == "north.demo")]

    found = tables()
    straight: Any = play(study(), found).result()
    bent: Any = play(study(), found, present=present).result()
    assert bent["converged"] is True
    assert [row["estimate"] for row in bent["coefficients"]] == pytest.approx(
        [row["estimate"] for row in straight["coefficients"]], abs=1e-6
    )


def test_sums_do_not_depend_on_who_came_first() -> None:
    def turned(_: int, sites: Sequence[str]) -> Sequence[str]:
        return list(reversed(sites))

    assert play(study(), tables()).state() == play(study(), tables(), present=turned).state()


def separated(found: dict[str, Table]) -> dict[str, Table]:
    """Whoever is above 60 has the disease, and nobody else."""
    return {site: replace(one, y=(one.x[:, 0] > 60).astype(float)) for site, one in found.items()}


def test_separation_is_refused_by_its_name() -> None:
    with pytest.raises(Separated, match=r"leave such a column out, or state a ridge"):
        play(study(rounds=100), separated(tables()))


def test_quasi_separation_is_refused_too() -> None:
    """No woman has the disease; among men nothing is certain."""
    found = {s: replace(t, y=np.where(t.x[:, 2] == 1, 0.0, t.y)) for s, t in tables().items() if t.y is not None}
    with pytest.raises(Separated):
        play(study(rounds=100), found)


def test_a_ridge_answers_where_data_are_separated() -> None:
    result: Any = play(study(settings={"ridge": 1}), separated(tables())).result()
    assert result["converged"] is True
    assert all(np.isfinite(row["estimate"]) and row["se"] is None for row in result["coefficients"])


def test_one_class_everywhere_is_refused() -> None:
    with pytest.raises(Separated):
        play(study(rounds=100), {site: replace(one, y=np.ones(len(one))) for site, one in tables().items()})


def test_columns_that_say_the_same_are_refused() -> None:
    columns = (Column("age", "patient|age"), Column("again", "patient|age"))
    found = {
        site: Table(("age", "again"), np.column_stack([one.x[:, 0], 2 * one.x[:, 0] + 1]), one.y, one.place)
        for site, one in tables().items()
    }
    with pytest.raises(BadInput, match="say the same as others"):
        play(study(columns=columns), found)


def test_a_column_that_never_changes_is_refused() -> None:
    found = {site: replace(one, x=np.where([False, False, True], 1.0, one.x)) for site, one in tables().items()}
    with pytest.raises(BadInput, match="female is the same for every patient"):
        play(study(), found)


def test_scores_are_the_hospitals_own() -> None:
    found = tables()
    result: Any = play(study(), found).result()
    beta = np.array([row["estimate"] for row in result["coefficients"]])
    means = [row["mean"] for row in result["coefficients"][1:]]
    all_p, all_y = [], []
    for site, one in found.items():
        assert one.y is not None
        held = one.place < 0.3
        x = np.where(np.isnan(one.x[held]), means, one.x[held])
        p, y = newton.probability(beta[0] + x @ beta[1:]), one.y[held]
        shown = result["evaluation"]["sites"][site]["federated"]
        assert shown["n"] == held.sum()
        assert shown["accuracy"] == pytest.approx(np.mean((p >= 0.5) == y))
        assert shown["brier"] == pytest.approx(np.mean((p - y) ** 2))
        pairs = p[y == 1][:, None] - p[y == 0][None]
        if shown["auc"] is not None:
            assert shown["auc"] == pytest.approx(np.mean((pairs > 0) + 0.5 * (pairs == 0)))
        all_p.append(p)
        all_y.append(y)
    p, y = np.concatenate(all_p), np.concatenate(all_y)
    together = result["evaluation"]["pooled"]["federated"]
    assert together["brier"] == pytest.approx(np.mean((p - y) ** 2))
    assert together["accuracy"] == pytest.approx(np.mean((p >= 0.5) == y))
    assert abs(together["auc"] - scores.auc(p, y)) <= together["auc_bins"] + 1e-12
    own = newton.fit(scores.logit(p)[:, None], y)
    assert own.beta is not None
    assert together["slope"] == pytest.approx(own.beta[1], rel=0.02)
    assert all(shown["local"]["n"] == shown["federated"]["n"] for shown in result["evaluation"]["sites"].values())


def test_few_held_out_are_withheld_and_cannot_be_taken_by_subtracting() -> None:
    found = tables() | {"tiny.demo": table(9, n=24), "sick.demo": table(4, n=120)}
    sick = found["sick.demo"]
    found["sick.demo"] = replace(sick, y=(np.arange(120) % 20 != 0).astype(float))
    result: Any = play(study(), found).result()
    sites = result["evaluation"]["sites"]
    assert sites["tiny.demo"]["federated"] is None  # fewer than 10 were held out
    assert sites["sick.demo"]["federated"]["positives"] is None  # fewer than 10 without the disease
    assert sites["sick.demo"]["federated"]["auc"] is None
    hidden = [s for s, shown in sites.items() if shown["federated"] and shown["federated"]["positives"] is None]
    negatives = 0
    for site in hidden:
        y, place = found[site].y, found[site].place
        assert y is not None
        negatives += int(np.sum(y[place < 0.3] == 0))
    assert len(hidden) >= 2
    assert negatives >= 10
    total = sum(shown["federated"]["n"] for shown in sites.values() if shown["federated"])
    assert result["evaluation"]["pooled"]["federated"]["n"] == total  # nobody withheld is in it
    for group in result["evaluation"]["pooled"]["groups"]:
        assert 10 <= group["positives"] <= group["n"] - 10


def test_nobody_held_out_ends_without_evaluation() -> None:
    result: Any = play(study(test_fraction=0.0), tables()).result()
    assert result["finished"] is True
    assert result["evaluation"] is None


def test_rounds_run_out_before_the_end_of_the_search() -> None:
    result: Any = play(study(rounds=4), tables()).result()
    assert result["finished"] is True
    assert result["converged"] is False
    assert result["evaluation"]["pooled"]["federated"]["n"] > 0


@pytest.mark.parametrize(
    "changed",
    [
        {"names": ("pressure", "age", "female")},
        {"x": np.zeros((120, 2))},
        {"y": None},
        {"y": np.full(120, 2.0)},
        {"place": np.zeros(3)},
        {"place": np.zeros(120)},  # everybody is held out
        {"x": np.full((120, 3), np.nan)},
    ],
    ids=["names", "width", "no outcome", "no binary outcome", "places", "all held out", "all missing"],
)
def test_a_table_that_cannot_answer_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        LOGISTIC.answer(study(), Ask(b"", 1, "moments", np.zeros(0)), replace(table(1), **changed))


def test_what_is_missing_is_treated_as_the_study_says() -> None:
    one = table(1)
    refusing = replace(
        study(), columns=(study().columns[0], replace(study().columns[1], missing="refuse"), study().columns[2])
    )
    with pytest.raises(BadInput, match="pressure is missing"):
        LOGISTIC.answer(refusing, Ask(b"", 1, "moments", np.zeros(0)), one)
    dropping = replace(study(), columns=tuple(replace(column, missing="drop") for column in study().columns))
    n = LOGISTIC.answer(dropping, Ask(b"", 1, "moments", np.zeros(0)), one).numbers["n"]
    assert n == np.sum((one.place >= 0.3) & ~np.isnan(one.x[:, 1]))


@pytest.mark.parametrize(
    ("step", "vector"),
    [("train", np.zeros(3)), ("train", np.zeros(10)), ("evaluate", np.full(10, np.nan)), ("guess", np.ones(10))],
)
def test_an_ask_that_cannot_be_is_refused(step: str, vector: np.ndarray) -> None:
    with pytest.raises(BadInput):
        LOGISTIC.answer(study(), Ask(b"", 1, step, vector), table(1))


@pytest.mark.parametrize(
    ("rounds", "answer"),
    [
        (0, Answer(np.zeros(9), {"n": 9})),
        (0, Answer(np.zeros(9), {"n": 50.5})),
        (0, Answer(np.zeros(9), {"n": float("nan")})),
        (0, Answer(np.full(9, -1.0), {"n": 50})),
        (1, Answer(np.full(newton.size(3), 1.0), {"n": 50})),
        (1, Answer(np.full(newton.size(3), -1.0), {"n": 50})),
        (1, Answer(np.zeros(newton.size(3)), {})),
        (-1, Answer(np.full(2 * scores.SIZE, 0.5), {})),
        (-1, Answer(np.zeros(2 * scores.SIZE), {"federated_n": 3, "federated_accuracy": 1.0})),
        (-1, Answer(np.zeros(2 * scores.SIZE), {"federated_n": 30, "federated_accuracy": 1.0, "federated_auc": 7.0})),
        (-1, Answer(np.zeros(2 * scores.SIZE), {"local_n": 30, "local_accuracy": 1.0, "local_positives": 3})),
    ],
)
def test_answers_that_no_patients_give_are_refused_and_change_nothing(rounds: int, answer: Answer) -> None:
    course = _until(study(), rounds)
    before = course.state()
    with pytest.raises(BadInput):
        course.take({"north.demo": answer})
    assert course.state() == before


def _until(asked: Study, rounds: int) -> Course:
    """A course after so many rounds; -1: before its last."""
    found, course = tables(), LOGISTIC.course(asked, None)
    for number in range(1, 100):
        step = course.next()
        assert step is not None
        if number > rounds >= 0 or (rounds < 0 and step.name == "evaluate"):
            return course
        ask = Ask(b"", number, step.name, step.vector)
        course.take({site: LOGISTIC.answer(asked, ask, one) for site, one in found.items()})
    raise AssertionError


def test_a_loss_that_ran_away_is_refused() -> None:
    asked = study(settings=METHODS["fedavg"])
    course = _until(asked, 1)
    with pytest.raises(BadInput):
        course.take({"north.demo": Answer(np.zeros(4), {"n": 50, "loss": float("inf")})})
    json.loads(course.state())


def test_a_broken_checkpoint_is_refused() -> None:
    for state in (b"", b"[]", b'{"step":"moments","more":1}', b"\xff"):
        with pytest.raises(Malformed):
            LOGISTIC.course(study(), state)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"settings": {"method": "magic"}}, "settings.method must be one of irls, fedavg, fedyogi"),
        ({"settings": {"metod": "irls"}}, "settings.metod is not known here"),
        ({"settings": {"learning_rate": -1}}, "settings.learning_rate must be between"),
        ({"settings": {"method": "fedavg", "ridge": 1}}, "settings.ridge is for the method irls"),
        ({"outcome": None}, "outcome is missing"),
        ({"outcome": Column("pressure_2", "loinc|8480-6")}, "outcome must be 0 or 1"),
        ({"columns": (Column("age", "patient|age", missing="count"),)}, "age.missing: count is for statistics"),
        ({"rounds": 2}, "rounds must be at least 3"),
    ],
)
def test_what_is_wrong_with_a_study_is_said(changed: dict[str, Any], sentence: str) -> None:
    assert any(sentence in one for one in LOGISTIC.check(study(**changed)))
    assert LOGISTIC.check(study()) == []


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(BadInput):
        recipe_of(study(recipe="magic"))
