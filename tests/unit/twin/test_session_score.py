"""What the score promises: bounds, later never better, a proper rule for beliefs, and each policy in its place."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.twin import session_policies as policies
from services.twin.session_case import Critical, read_case
from services.twin.session_command import Act, Diagnose, Guess, Inject, Mode, Role
from services.twin.session_engine import Session
from services.twin.session_score import brier_credit, credit, score, target_shares
from tests.unit.twin.small_body import SmallBodies

CASE = read_case((Path(__file__).parent / "small_case.yaml").read_bytes())
BODIES = SmallBodies()


def test_policies_are_where_they_belong() -> None:
    found = {name: policies.run(CASE, make(), 1, BODIES)[1].total for name, make in policies.named(CASE).items()}
    assert found["expert"] >= 85
    assert found["inaction"] <= 25
    assert found["order-everything"] <= 60
    assert found["wrong-drug"] <= 40


def test_chance_is_below_experts_on_a_bad_day() -> None:
    experts = [
        policies.run(CASE, policies.perturbed(CASE, policies.expert(CASE), seed), 1, BODIES)[1].total
        for seed in range(20)
    ]
    chance = [policies.run(CASE, policies.random(CASE, seed), 1, BODIES)[1].total for seed in range(20)]
    assert np.median(chance) < np.percentile(experts, 10)


def test_later_is_never_better() -> None:
    totals = [
        policies.run(CASE, policies.delayed(policies.expert(CASE), minutes), 1, BODIES)[1].total
        for minutes in (0, 0.5, 1, 2, 3, 5, 8, 12, 20)
    ]
    assert all(a >= b for a, b in pairwise(totals)), totals
    assert totals[0] - totals[-1] > 40


@given(st.integers(1, 5000), st.integers(1, 5000), st.lists(st.floats(0, 20_000), min_size=2, max_size=20))
def test_credit_falls_from_one_to_nothing(within_s: int, more_s: int, late: list[float]) -> None:
    one = Critical("x", "x", 1.0, within_s, "design target", none_s=within_s + more_s)
    found = [credit(x, one) for x in sorted(late)]
    assert all(a >= b for a, b in pairwise(found))
    assert all(0.0 <= x <= 1.0 for x in found)
    assert credit(within_s, one) == 1.0
    assert credit(within_s + more_s, one) == 0.0


@settings(max_examples=100)
@given(st.lists(st.floats(0.01, 1.0), min_size=2, max_size=5), st.lists(st.floats(0.01, 1.0), min_size=2, max_size=5))
def test_saying_what_one_believes_pays_best(belief: list[float], said: list[float]) -> None:
    n = min(len(belief), len(said))
    names = [str(i) for i in range(n)]
    p = np.array(belief[:n]) / sum(belief[:n])
    q = np.array(said[:n]) / sum(said[:n])

    def expected(shares: np.ndarray) -> float:
        table = dict(zip(names, shares.tolist(), strict=True))
        return float(sum(p[i] * brier_credit(table, {names[i]}, names) for i in range(n)))

    assert expected(p) >= expected(q) - 1e-12


def test_a_prerequisite_comes_first_or_the_action_is_worth_nothing() -> None:
    session = Session.open(CASE, 1, Mode.TRAINING, BODIES)
    session.do(Act("pressor"))
    session.advance(40)
    session.do(Act("press"))
    session.advance(100)
    line = next(one for one in score(session).lines if one.id == "press")
    assert (line.points, "not done" in line.text) == (0.0, True)


def test_what_was_not_needed_gives_its_weight_to_the_others() -> None:
    session = Session.open(CASE, 1, Mode.TRAINING, BODIES)
    session.do(Act("press"))
    session.advance(90)  # the wound never takes pressure below 85
    lines = {one.id: one for one in score(session).lines if one.part == "critical"}
    assert lines["volume"].most == 0.0
    assert sum(one.most for one in lines.values()) == pytest.approx(CASE.weights.critical)


def test_harm_is_seen_when_it_is_done() -> None:
    session = Session.open(CASE, 1, Mode.TRAINING, BODIES)
    session.do(Act("gas"))
    session.advance(20)
    session.do(Act("insulin"))
    session.do(Act("insulin"))
    session.advance(60)
    harms = [one for one in score(session).lines if one.part == "harm"]
    assert [(one.id, one.points) for one in harms] == [("low_K", -25.0)]  # once, however often
    session.do(Act("fluid", {"dose": 2000.0, "over_s": 60.0}))
    session.do(Act("fluid", {"dose": 200.0, "over_s": 60.0}))
    session.advance(400)
    assert "drown" in {one.id for one in score(session).lines}


def test_infusions_and_bags_are_added_up_as_they_run() -> None:
    session = Session.open(CASE, 1, Mode.TRAINING, BODIES)
    session.do(Act("fluid", {"dose": 600.0, "over_s": 600.0}))
    session.do(Act("pressor", {"dose": 0.2}))
    session.advance(330)  # the bag runs from 30 s on, the pressor from 60 s on
    assert session.desk.totals["crystalloid"] == pytest.approx(300.0)
    assert session.desk.totals["norepinephrine"] == pytest.approx(0.2 * 270 / 60)
    session.do(Act("pressor", {"dose": 0.0}))
    session.advance(600)
    assert session.desk.totals["crystalloid"] == pytest.approx(600.0)
    assert session.desk.totals["norepinephrine"] == pytest.approx(0.2 * 300 / 60)


def test_time_not_lived_is_time_outside_unless_it_ended_well() -> None:
    session = Session.open(CASE, 1, Mode.TRAINING, BODIES)
    target = CASE.targets[0]
    assert target_shares(session, target) == (0.0, 1.0)
    session.do(Act("press"))
    session.do(Act("fluid"))
    while not session.ended:
        session.advance(2)
    assert session.ended == "well"
    assert target_shares(session, target) == (1.0, 0.0)


def test_the_dead_get_no_more_than_the_case_says() -> None:
    session = Session.open(CASE, 1, Mode.TRAINING, BODIES)
    for id in ("look", "press", "fluid"):
        session.do(Act(id))
    session.do(Diagnose((Guess("bleeding", 1.0),)))
    session.advance(200)
    session.do(Inject("worse"), Role.INSTRUCTOR)
    session.advance(1600)
    found = score(session)
    assert session.ended == "died"
    assert found.total <= CASE.weights.death_most
    assert found.part("cap") < 0.0
    assert f"{found.total:.1f} of 100" in found.explained()
