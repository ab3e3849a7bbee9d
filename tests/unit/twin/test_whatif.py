"""Treatment plans: one chance for all, directions that must hold, refusals, and whose response it is."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from services.twin import glucose_layout as at
from services.twin import glucose_whatif as whatif
from services.twin.glucose import GlucoseTwin, LateData
from services.twin.glucose_plan import Action, Basal, Bolus, Fast, Limits, Meal, Plan, flows
from services.twin.glucose_whatif import OutsideValidity, WhatIf
from tests.unit.twin.glucose_rows import FIRST_MS, MINUTE, TWIN, lived, row
from twinward.errors import BadInput
from twinward.learning.response import Slope
from twinward.physiology import hovorka
from twinward.record import CARBOHYDRATES, CGM_GLUCOSE, INSULIN_BASAL_RATE, INSULIN_BOLUS, Measurement


@cache
def snapshot() -> bytes:
    twin = GlucoseTwin.start(TWIN, FIRST_MS, 75.0)
    twin.advance(lived())
    return twin.dump()


def twin() -> GlucoseTwin:
    return GlucoseTwin.load(snapshot())


def ask(*plans: tuple[Action, ...], minutes: int = 360, later: int = 0) -> WhatIf:
    one = twin()
    named = [Plan(f"{k}", actions) for k, actions in enumerate(plans)]
    return one.what_if(named, minutes, one.state_ms + later * MINUTE)


def effect(answer: WhatIf, k: int) -> float:
    found = answer.courses[k + 1].effect
    assert found is not None, answer.courses[k + 1].refusal
    return found.value


def test_the_same_plan_twice_is_the_same_to_the_bit_and_nothing_changes() -> None:
    one = twin()
    plan = Plan("a", (Bolus(0, 2.0), Meal(30, 20.0)))
    answer = one.what_if([plan, Plan("between", (Fast(5, 10.0),)), plan], 360, one.state_ms)
    assert answer.courses[1] == answer.courses[3]
    assert one.what_if([plan], 360, one.state_ms).courses[1] == answer.courses[1]
    assert one.dump() == snapshot()


def test_a_plan_of_nothing_is_the_reference_exactly() -> None:
    answer = ask((), (Bolus(359, 0.0),))
    for course in answer.courses:
        assert course.steps == answer.courses[0].steps
        assert course.effect == whatif.Number(0.0, 0.0, 0.0)


def test_more_insulin_lowers_more_and_more_food_raises_more_in_every_member() -> None:
    one = twin()
    body = whatif.Body(one._parts, one._persons, one._base, one._basal, one._key)
    begun = whatif._start(body, own=False)
    logged = whatif._logged(body, 240)

    def paths(*actions: Action) -> at.Array:
        return whatif._run(body, begun, 0, flows(Plan("a", actions), logged, 0, 0.01, 0.0))

    nothing = paths()
    for less, more, sign in (
        (paths(Bolus(0, 1.0)), paths(Bolus(0, 2.0)), -1),
        (paths(Fast(0, 8.0)), paths(Fast(0, 16.0)), 1),
        (paths(Basal(0, 0.4, 240)), paths(Basal(0, 0.8, 240)), -1),
    ):
        assert (sign * (less - nothing) >= -1e-6).all()
        assert (sign * (more - less) >= -1e-6).all()
        assert np.abs(more - nothing).max() > 5
    assert ((paths(Meal(0, 30.0)) - nothing)[:, :, 6:] > 0).mean() > 0.99


def test_answers_are_monotone_in_dose_and_food() -> None:
    doses = ask((Bolus(0, 0.5),), (Bolus(0, 1.0),), (Bolus(0, 2.0),), (Bolus(0, 4.0),))
    assert [effect(doses, k) for k in range(4)] == sorted((effect(doses, k) for k in range(4)), reverse=True)
    assert effect(doses, 0) < 0
    lows = [course.below_70.value for course in doses.courses if course.below_70]
    assert lows == sorted(lows)
    meals = ask((Meal(0, 10.0),), (Meal(0, 30.0),), (Meal(0, 60.0),))
    assert 0 < effect(meals, 0) < effect(meals, 1) < effect(meals, 2)
    basal = ask((Basal(0, -0.3, 300),), (Basal(0, 0.3, 300),), minutes=1440)
    assert effect(basal, 0) > 0 > effect(basal, 1)
    assert len(basal.courses[0].steps) == 48


def test_every_number_lies_in_its_interval_and_chances_in_a_hundred() -> None:
    course = ask((Bolus(0, 3.0),)).courses[1]
    assert [step.minutes for step in course.steps] == list(range(30, 361, 30))
    numbers = [n for step in course.steps for n in (step.glucose, step.effect)]
    chances = [course.below_70, course.below_54, course.above_250, course.in_range]
    for number in (*numbers, *chances, course.lowest, course.effect):
        assert number is not None
        assert number.low <= number.value <= number.high
    assert all(c is not None and c.low >= 0 and c.high <= 100 for c in chances)


def test_old_data_moves_the_start_and_past_half_an_hour_is_refused() -> None:
    now, later = ask((Bolus(0, 2.0),)), ask((Bolus(0, 2.0),), later=20)
    assert now.courses[0].steps[0].glucose != later.courses[0].steps[0].glucose
    assert any("20 min old" in note for note in later.notes)
    with pytest.raises(OutsideValidity, match="31 min old"):
        ask((), later=31)
    with pytest.raises(LateData):
        ask((), later=-16)


@pytest.mark.parametrize(
    ("actions", "minutes", "why"),
    [
        ((Bolus(0, 26.0),), 360, "at most 25 IU"),
        ((Bolus(0, 13.0), Bolus(60, 13.0)), 360, "sum to 26 IU"),
        ((Bolus(0, -1.0),), 360, "not negative"),
        ((Bolus(0, float("nan")),), 360, "finite"),
        ((Meal(0, 150.0), Fast(0, 60.0)), 360, "at most 200 g"),
        ((Meal(0, -5.0),), 360, "none is negative"),
        ((Meal(360, 5.0),), 360, "within the 360 minutes"),
        ((Bolus(-1, 5.0),), 360, "within"),
        ((Bolus(0, 1.0),), 361, "30 to 360"),
        ((Basal(0, 0.1, 60),), 1441, "30 to 1440"),
        ((Basal(0, 0.1, 60), Fast(0, 15.0)), 720, "30 to 360"),
        ((Basal(0, 11.0, 60),), 360, "at most 10 IU/h"),
        ((Basal(0, 1.0, 0),), 360, "lasts 1 minute"),
        ((Bolus(0, 0.1),) * 25, 360, "at most 24 actions"),
    ],
)
def test_a_plan_out_of_range_is_refused_with_its_reason(actions: tuple[Action, ...], minutes: int, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        ask(actions, minutes=minutes)


def test_the_number_of_plans_and_limits_are_held() -> None:
    one = twin()
    for plans in ([], [Plan("a")] * 101, [Plan("")]):
        with pytest.raises(BadInput):
            one.what_if(plans, 360, one.state_ms)
    with pytest.raises(BadInput, match="at most 1 IU"):
        one.what_if([Plan("a", (Bolus(0, 2.0),))], 360, one.state_ms, Limits(bolus_iu=1.0))


def steady(value: float, basal: float | None = None) -> GlucoseTwin:
    rows = [row(CGM_GLUCOSE, m, value, "mg/dL") for m in range(5, 481, 5)]
    if basal is not None:
        rows.insert(0, row(INSULIN_BASAL_RATE, 1, basal, "[IU]/h"))
    one = GlucoseTwin.start(TWIN, FIRST_MS, 75.0)
    one.advance(rows)
    return one


def test_very_high_glucose_no_insulin_and_no_reading_are_outside() -> None:
    for one, why in (
        (steady(410.0), "above 400"),
        (steady(150.0, 0.0), "no insulin"),
        (GlucoseTwin.start(TWIN, FIRST_MS), "no sensor"),
    ):
        with pytest.raises(OutsideValidity, match=why) as refused:
            one.what_if([Plan("a")], 360, one.state_ms)
        assert refused.value.reason == "OUTSIDE_VALIDITY"


def test_a_plan_that_stops_the_pump_for_too_long_is_refused_alone() -> None:
    one = steady(150.0, 0.8)
    plans = [Plan("off", (Basal(0, -5.0, 400),)), Plan("pause", (Basal(0, -5.0, 120),))]
    answer = one.what_if(plans, 480, one.state_ms)
    assert answer.courses[1].reason == "OUTSIDE_VALIDITY"
    assert "6 h without insulin" in answer.courses[1].refusal
    assert answer.courses[1].steps == ()
    assert answer.courses[2].effect is not None
    assert answer.courses[2].effect.value > 0


def test_bodies_that_differ_on_the_direction_say_nothing() -> None:
    reference = np.full((2, at.MEMBERS, 72), 140.0)
    apart = reference + np.array([12.0, -9.0])[:, None, None]
    course = whatif.course("a", apart, reference)
    assert course.reason == "MODELS_DISAGREE"
    assert "+12 mg/dL by S2008, -9 by Hovorka" in course.refusal
    assert course.steps == ()
    assert whatif.course("a", reference + np.array([12.0, -1.0])[:, None, None], reference).refusal == ""
    crossing = reference.copy()
    crossing[0, :, :24] += 8.0
    crossing[1, :, :24] -= 3.0
    crossing[:, :, 24:] += 20.0
    assert "at minute 30, 60, 90, 120" in whatif.course("a", crossing, reference).notes[0]


def test_a_chance_of_none_is_not_certain() -> None:
    never = whatif.chance(np.zeros((2, 60), bool))
    assert (never.value, never.low) == (0.0, 0.0)
    assert 1 < never.high < 4
    split = whatif.chance(np.repeat([[True], [False]], 60, axis=1))
    assert (split.value, split.low, split.high) == (50.0, 0.0, 100.0)


@pytest.mark.parametrize(
    ("days", "slope", "title"),
    [
        (7, Slope(0.6, 0.2, 1.0, 12, 0.95), whatif.OWN),
        (6, Slope(0.6, 0.2, 1.0, 12, 0.95), whatif.TYPICAL),
        (30, Slope(0.4, -0.1, 0.9, 12, 0.95), whatif.TYPICAL),
        (30, Slope(-0.8, -1.2, -0.4, 12, 0.95), whatif.TYPICAL),
        (30, None, whatif.TYPICAL),
    ],
)
def test_whose_response_it_is(days: float, slope: Slope | None, title: str) -> None:
    told, why = whatif.whose(days, slope)
    assert told == title
    assert f"{days:.0f} days" in why[0]


@cache
def corrected(days: int = 10) -> tuple[Measurement, ...]:
    """A Hovorka body with three meals and two isolated corrections of varied size a day."""
    p = hovorka.TYPICAL.copy()
    p[[hovorka.SIT, hovorka.SID, hovorka.SIE]] *= 0.35
    x, rate = hovorka.rest(p, 150.0)
    grams, units, rows = np.zeros(days * 1440), np.full(days * 1440, rate), []
    for day in range(days):
        at_minute = day * 1440
        for minute, eaten in ((420, 40.0), (720, 50.0), (1140, 50.0)):
            grams[at_minute + minute : at_minute + minute + int(eaten / 5)] = 5.0
            units[at_minute + minute] += eaten / 15
            rows += [row(INSULIN_BOLUS, at_minute + minute, eaten / 15, "[IU]"),
                     row(CARBOHYDRATES, at_minute + minute, eaten, "g")]  # fmt: skip
        for k, minute in enumerate((180, 940)):
            dose = (0.5, 2.5, 1.0, 3.0, 1.5)[(2 * day + k) % 5]
            units[at_minute + minute] += dose
            rows.append(row(INSULIN_BOLUS, at_minute + minute, dose, "[IU]"))
    truth = np.empty(days * 1440)
    hovorka.simulate(p, x, grams, units, np.ones(days * 1440), truth)
    rows += [row(CGM_GLUCOSE, m, round(float(truth[m - 1])), "mg/dL") for m in range(5, days * 1440, 5)]
    rows.append(row(INSULIN_BASAL_RATE, 1, rate * 60, "[IU]/h"))
    return tuple(sorted(rows, key=lambda one: one.effective_ms))


def test_a_log_with_corrections_makes_the_response_the_patients_own() -> None:
    one = GlucoseTwin.start(TWIN, FIRST_MS, 75.0)
    rows = corrected()
    week = [r for r in rows if r.effective_ms < FIRST_MS + 6 * 1440 * MINUTE]
    one.advance(week)
    early = one.what_if([Plan("a", (Bolus(0, 1.0),))], 360, one.state_ms)
    assert early.title == whatif.TYPICAL
    one.advance(rows[len(week) :])
    answer = one.what_if([Plan("a", (Bolus(0, 1.0),))], 360, one.state_ms)
    assert answer.response is not None
    assert answer.response.n >= 15
    assert answer.response.excludes_none
    assert answer.title == whatif.OWN
    own, typical = answer.courses[1].effect, early.courses[1].effect
    assert own is not None
    assert typical is not None
    assert own.high - own.low < typical.high - typical.low  # a person varies less than people do


def test_corrections_are_counted_the_same_in_pieces_and_through_a_snapshot() -> None:
    whole = GlucoseTwin.start(TWIN, FIRST_MS, 75.0)
    whole.advance(corrected(3))
    pieces = GlucoseTwin.start(TWIN, FIRST_MS, 75.0)
    for hour in range(0, 73, 5):
        first, last = FIRST_MS + hour * 60 * MINUTE, FIRST_MS + (hour + 5) * 60 * MINUTE
        pieces = GlucoseTwin.load(pieces.dump())
        pieces.advance([r for r in corrected(3) if first <= r.effective_ms < last])
    assert pieces.dump() == whole.dump()
    assert whole._parts.logbook[at.DAYS_BOTH] == 3
    assert whole._parts.logbook[at.CORRECTIONS_N] >= 4


def test_a_published_rule_only_where_glucose_is_low() -> None:
    assert ask(()).rules == ()
    low = steady(62.0)
    (rule,) = low.what_if([Plan("sugar", (Fast(0, 16.0),))], 120, low.state_ms).rules
    assert "15 to 20 g" in rule.text
    assert "Diabetes Care" in rule.citation
    assert "education and research" in rule.label


def test_every_answer_says_how_its_intervals_held_as_recorded() -> None:
    """The recorded miss is what the answer tells; a new record has to change both."""
    record = Path(__file__).parents[3] / "docs" / "evidence" / "whatif.csv"
    with record.open() as rows:
        held = [float(one["effect_band"]) for one in csv.DictReader(rows) if one["effect_band"]]
    assert (round(100 * min(held)), round(100 * max(held))) == whatif.HELD
    assert whatif.CAUTION in ask(()).notes


def test_an_effect_that_may_go_either_way_is_told_so() -> None:
    reference = np.full((2, at.MEMBERS, 72), 140.0)
    either = reference + np.linspace(-20, 30, at.MEMBERS)[:, None]
    assert "rises or falls is not certain" in whatif.course("a", either, reference).notes[0]
