"""Laws and published values of Dalla Man 2007, Roy-Parker 2007, Hovorka 2004 and the options of S2008.

Types of oracle: external (another's measurement or program), self (our own run of the printed equations, so
that only a change is seen), law.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from bench import beside_c
from twinward.errors import BadInput, Malformed, Tampered
from twinward.physiology import cohort, dalla_man, exercise, hovorka, hovorka_batch
from twinward.physiology import glucose as s2008
from twinward.physiology import glucose_options as options
from twinward.physiology.dalla_man_batch import Batch
from twinward.physiology.glucose_state import Outside, State

SETS = (dalla_man.NORMAL, dalla_man.TYPE_2)
HOUR_AT_40 = np.r_[np.full(60, 40.0), np.zeros(180)]


def healthy() -> State:
    return dalla_man.rest(dalla_man.person(dalla_man.NORMAL))


def type_1(k: int = 5) -> tuple[State, float]:
    people = cohort.load()
    p = people.parameters[k]
    return options.rest(p, float(people.basal[k])), s2008.basal_rate(p)


def day(rate: float) -> options.Inputs:
    grams, units = np.zeros(1440), np.full(1440, rate)
    for minute, meal in ((420, 45), (720, 70), (1080, 80)):
        grams[minute : minute + meal // 5] = 5.0
        units[minute] += meal / 10
    return options.Inputs(grams, units)


def test_78_g_of_glucose_in_health() -> None:
    """Row 7, self: peak 157.3 mg/dL at 66 min, 132.9 at 120 min, insulin 254 pmol/L at 98 min."""
    _, course = dalla_man.run(dalla_man.drink(healthy(), 78.0), 240)
    assert course.glucose.max() == pytest.approx(157.3, abs=0.05)
    assert abs(int(course.glucose.argmax()) + 1 - 66) <= 1
    assert course.glucose[119] == pytest.approx(132.9, abs=0.05)
    assert course.insulin.max() == pytest.approx(254, abs=1.0)
    assert abs(int(course.insulin.argmax()) + 1 - 98) <= 1
    assert course.outside == ()


@pytest.mark.parametrize(
    ("printed", "expected"), [(dalla_man.NORMAL, (2.513, 2.702, 0.6469)), (dalla_man.TYPE_2, (4.619, 3.035, 0.794))]
)
def test_derived_parameters(printed: dict[str, float], expected: tuple[float, ...]) -> None:
    """Self; printed are 2.50, 2.70, .6471 and 4.65, 3.09, .8118."""
    p = dalla_man.person(printed)
    assert p[[dalla_man.VM0, dalla_man.KP1, dalla_man.M6]] == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize("printed", SETS)
def test_nobody_drifts_at_rest(printed: dict[str, float]) -> None:
    """Row 13, law: below 0.5 mg/dL in 24 h."""
    p = dalla_man.person(printed)
    _, course = dalla_man.run(dalla_man.rest(p), 1440)
    assert np.abs(course.glucose - p[dalla_man.GB]).max() < 0.5
    assert np.abs(course.insulin - p[dalla_man.IB]).max() < 0.05


def test_the_printed_type_2_set_does_not_rest() -> None:
    """Why the parameters are derived: as printed it leaves its basal glucose."""
    p = dalla_man.person(dalla_man.TYPE_2)
    state = dalla_man.rest(p)
    p = p.copy()
    p[[dalla_man.VM0, dalla_man.KP1, dalla_man.M6]] = 4.65, 3.09, 0.8118
    _, course = dalla_man.run(replace(state, p=p), 1440)
    assert np.abs(course.glucose - p[dalla_man.GB]).max() > 2.0


@pytest.mark.parametrize("printed", SETS)
@pytest.mark.parametrize("effort", [0.0, 40.0, 70.0])
def test_kernel_and_batch_are_the_same_equations(printed: dict[str, float], effort: float) -> None:
    state = dalla_man.rest(dalla_man.person(printed))
    grams, work = dalla_man.meal(360, 30, 67.0), np.zeros(360)
    work[120:200] = effort
    _, course = dalla_man.run(state, 360, grams, work)
    batch = Batch(state.p[None], state.x[None])
    seen = np.array([batch.minute(grams[t : t + 1], work[t : t + 1])[:, 0] for t in range(360)])
    assert seen[:, 0] == pytest.approx(course.glucose, rel=1e-9)
    assert seen[:, 1] == pytest.approx(course.insulin, rel=1e-9)


def test_one_minute_is_fine_enough() -> None:
    for printed in SETS:
        state, grams = dalla_man.rest(dalla_man.person(printed)), dalla_man.meal(360, 10, 67.0)
        coarse, fine = (dalla_man.run(state, 360, grams, steps=steps)[1] for steps in (1, 16))
        assert np.abs(coarse.glucose - fine.glucose).max() < 0.05
        assert np.abs(coarse.insulin / fine.insulin - 1).max() < 0.01


def test_type_2_is_higher_for_longer_with_a_weak_first_phase() -> None:
    """Direction: Dalla Man 2007 figures."""
    courses = [dalla_man.run(dalla_man.drink(dalla_man.rest(dalla_man.person(p)), 78.0), 420)[1] for p in SETS]
    assert courses[1].glucose.max() > courses[0].glucose.max() + 80
    assert courses[1].glucose.argmax() > courses[0].glucose.argmax() + 30
    rise = [course.insulin[29] / course.insulin[0] for course in courses]
    assert rise[1] < 0.7 * rise[0]


def test_insulin_that_is_secreted_is_cleared() -> None:
    """Law: over a long time secretion is what liver and periphery take; at rest to the last digit."""
    p = dalla_man.person(dalla_man.NORMAL)
    x = dalla_man.rest(p).x
    m3 = p[dalla_man.HEB] * p[dalla_man.M1] / (1 - p[dalla_man.HEB])
    cleared = p[dalla_man.M4] * x[dalla_man.IP] + m3 * x[dalla_man.IL]
    assert cleared == pytest.approx(p[dalla_man.SB], rel=1e-12)


# Effort -----------------------------------------------------------------------------------------


def test_effort_by_its_closed_form() -> None:
    """Law: after an hour at u the linear states are their exact solution (PVO2 taken as there at once)."""
    state, _ = dalla_man.run(healthy(), 60, None, np.full(60, 30.0))
    x = state.x[dalla_man.BODY :]
    for value, rise, fade in ((x[1], 0.00158, 0.056), (x[2], 0.00195, 0.0485), (x[3], 0.00125, 0.075)):
        delayed = 30 * rise * ((1 - np.exp(-fade * 60)) / fade - (np.exp(-fade * 60) - np.exp(-48)) / (0.8 - fade))
        assert value == pytest.approx(delayed, rel=1e-4)
    assert x[exercise.A] == pytest.approx(1800.0)


def test_stores_give_out_at_the_published_threshold() -> None:
    """Self: 40 % lasts 87.471 - 1.1521 * 40 = 41.4 min, 60 % lasts 18.3 min."""
    for effort, lasts in ((40.0, 41.4), (60.0, 18.3)):
        before, _ = dalla_man.run(healthy(), int(lasts), None, np.full(int(lasts), effort))
        after, _ = dalla_man.run(before, 10, None, np.full(10, effort))
        assert before.x[dalla_man.BODY + exercise.GGLY] == 0
        assert after.x[dalla_man.BODY + exercise.GGLY] == pytest.approx(0.0108 * 9, abs=0.011)


def test_effort_lowers_glucose_and_insulin_the_more_the_longer() -> None:
    _, still = dalla_man.run(healthy(), 240)
    _, hour = dalla_man.run(healthy(), 240, None, HOUR_AT_40)
    _, harder = dalla_man.run(healthy(), 240, None, HOUR_AT_40 * 1.5)
    assert -12 < (hour.glucose - still.glucose)[59] < -2
    assert harder.glucose.min() < hour.glucose.min()
    assert hour.insulin[59] < 0.7 * still.insulin[59]
    assert abs(hour.glucose[-1] - still.glucose[-1]) < 3  # over three hours later
    for k in (0, 5, 60, 99):
        state, rate = type_1(k)
        falls = []
        for minutes in (0, 60, 120):
            effort = np.zeros(180)
            effort[:minutes] = 40.0
            _, out, _ = options.run(state, 180, options.Inputs(units=np.full(180, rate), effort=effort))
            falls.append(out.min())
        assert falls[0] > falls[1] > falls[2]


def test_too_long_or_impossible_effort_is_said() -> None:
    _, course = dalla_man.run(healthy(), 150, None, np.full(150, 30.0))
    assert Outside.LONG_EFFORT in course.outside
    with pytest.raises(BadInput, match="effort"):
        dalla_man.run(healthy(), 10, None, np.full(10, 90.0))


# Options of S2008 -------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0, 41, 101])
def test_without_options_every_bit_is_the_core_kernels(k: int) -> None:
    state, rate = type_1(k)
    inputs = day(rate)
    after, out, _ = options.run(state, 1440, inputs)
    x, memory, core = state.x[:13].copy(), np.zeros(3), np.empty(1440)
    s2008.simulate(state.p[:32], x, memory, inputs.grams, inputs.units, 1, core)  # type: ignore[arg-type]
    assert out.tobytes() == core.tobytes()
    assert after.x[:13].tobytes() == x.tobytes()
    assert after.memory.tobytes() == memory.tobytes()


def test_glucose_into_a_vein_arrives_at_once() -> None:
    """25 g into 1.9 dL/kg of 70 kg is about 190 mg/dL were it at once; distribution takes about half."""
    state, rate = type_1()
    _, out, _ = options.run(
        state, 60, options.Inputs(units=np.full(60, rate), iv_glucose=np.r_[np.full(5, 5.0), np.zeros(55)])
    )
    rise = out.max() - out[0]
    at_once = 25_000 / (state.p[s2008.VG] * state.p[s2008.BW])
    assert 0.4 * at_once < rise < at_once
    assert out[:20].argmax() > 5


def test_insulin_into_a_vein_acts_sooner_than_under_the_skin() -> None:
    state, rate = type_1()
    given = np.zeros(240)
    given[0] = 3.0
    _, skin, _ = options.run(state, 240, options.Inputs(units=rate + given))
    _, vein, _ = options.run(state, 240, options.Inputs(units=np.full(240, rate), iv_insulin=given))
    assert vein[30] < skin[30] - 5


def test_a_low_makes_insulin_stronger_and_only_a_low() -> None:
    state, rate = type_1(0)
    calm = options.Options(gamma=options.RISK_GAMMA)
    units = np.full(300, rate)
    _, level, _ = options.run(state, 300, options.Inputs(units=units), calm)
    assert level == pytest.approx(np.full(300, state.p[options.GB]), abs=0.5)
    units[0] += 3.0
    _, plain, _ = options.run(state, 300, options.Inputs(units=units))
    _, feared, said = options.run(state, 300, options.Inputs(units=units), calm)
    assert plain.min() < 112
    assert feared.min() < plain.min()
    assert Outside.LOW in said
    risk = options.risk.py_func  # type: ignore[attr-defined]
    assert risk(60.0, 120.0) == risk(40.0, 120.0) == pytest.approx(5.96, abs=0.02)
    assert risk(113.0, 150.0) == risk(150.0, 150.0) == 0


def test_time_of_day_changes_what_a_dose_does_and_not_rest() -> None:
    state, rate = type_1()
    daily = options.Options(amplitude=0.25, peak=0.0)
    _, still, _ = options.run(state, 1440, options.Inputs(units=np.full(1440, rate)), daily)
    assert np.abs(still - state.p[options.GB]).max() < 0.5
    falls = []
    for hour in (0, 12):
        units = np.full(300, rate)
        units[0] += 3.0
        moment = replace(state, minute=hour * 60)
        falls.append(state.p[options.GB] - options.run(moment, 300, options.Inputs(units=units), daily)[1].min())
    assert falls[0] > 1.1 * falls[1]


# States -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [65, 131, 200])
def test_a_state_that_was_stored_goes_on_with_the_same_bits(cut: int) -> None:
    """Cut in a meal, in effort, after both; hidden memory and stores included."""
    grams, effort = dalla_man.meal(300, 60, 80.0), np.zeros(300)
    effort[100:190] = 50.0
    whole, course = dalla_man.run(healthy(), 300, grams, effort)
    part, first = dalla_man.run(healthy(), cut, grams[:cut], effort[:cut])
    again = State.load(part.dump(), dalla_man.MODEL)
    last, second = dalla_man.run(again, 300 - cut, grams[cut:], effort[cut:])
    assert last.dump() == whole.dump()
    assert np.r_[first.glucose, second.glucose].tobytes() == course.glucose.tobytes()

    state, rate = type_1()
    inputs = options.Inputs(grams, np.full(300, rate), effort=effort)
    daily = options.Options(gamma=1.0, amplitude=0.2)
    parts = [
        options.Inputs(inputs.grams[s], inputs.units[s], effort=inputs.effort[s])  # type: ignore[index]
        for s in (slice(0, cut), slice(cut, 300))
    ]
    one, _, _ = options.run(state, 300, inputs, daily)
    half, _, _ = options.run(state, cut, parts[0], daily)
    two, _, _ = options.run(State.load(half.dump(), options.MODEL), 300 - cut, parts[1], daily)
    assert one.dump() == two.dump()

    body, rate = hovorka.resting(hovorka.TYPICAL, 120.0)
    given = np.full(300, rate)
    one, _, _ = hovorka.run(body, 300, grams, given)
    half, _, _ = hovorka.run(body, cut, grams[:cut], given[:cut])
    two, _, _ = hovorka.run(State.load(half.dump(), hovorka.MODEL), 300 - cut, grams[cut:], given[cut:])
    assert one.dump() == two.dump()


def test_what_is_no_state_is_refused() -> None:
    dump = healthy().dump()
    with pytest.raises(Tampered):
        State.load(dump[:200] + bytes([dump[200] ^ 1]) + dump[201:], dalla_man.MODEL)
    with pytest.raises(Malformed):
        State.load(b"nothing", dalla_man.MODEL)
    with pytest.raises(BadInput, match="dalla-man"):
        State.load(dump, hovorka.MODEL)
    with pytest.raises(BadInput):
        hovorka.run(healthy(), 5)
    spoilt = healthy()
    spoilt.x[dalla_man.GP] = float("nan")
    with pytest.raises(BadInput, match="Gp"):
        dalla_man.run(spoilt, 5)


@pytest.mark.parametrize("change", [{"VG": -1.0}, {"Ib": float("nan")}, {"EGPb": 20.0}, {"Gb": 240.0}, {"k1": 0.001}])
def test_people_who_cannot_be_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        dalla_man.person({**dalla_man.TYPE_2, **change})
    with pytest.raises(BadInput):
        dalla_man.run(healthy(), 3, np.array([1.0, float("nan"), 0.0]))
    with pytest.raises(BadInput):
        dalla_man.run(healthy(), 3, np.array([1.0, -1.0, 0.0]))


# Hovorka ----------------------------------------------------------------------------------------


def test_hovorka_kernel_and_batch_are_the_same_equations() -> None:
    chance = np.random.Generator(np.random.Philox(11))
    people = hovorka.TYPICAL * np.exp(hovorka.SPREAD * chance.standard_normal((6, 16)))
    starts = [hovorka.rest(p, 180.0) for p in people]
    states = np.array([x for x, _ in starts])
    grams, doses = dalla_man.meal(400, 30, 90.0), np.zeros(400)
    doses[200] = 6.0
    units = np.array([rate + doses for _, rate in starts])
    seen = np.empty((6, 400))
    for t in range(400):
        states = hovorka_batch.minute(people, states, np.full(6, grams[t]), units[:, t])
        seen[:, t] = states[:, 10] / (people[:, hovorka.VG] * people[:, hovorka.BW]) * 18.016
    for k, (x, _) in enumerate(starts):
        out = np.empty(400)
        hovorka.simulate(people[k], x, grams, units[k], np.ones(400), out)
        assert seen[k] == pytest.approx(out, rel=1e-9)
    assert seen.max() > 9 * 18.016  # the kidney took part


def test_c_that_is_timed_beside_ours_is_the_same_equations() -> None:
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler here")
    answer = beside_c.compare(1)  # refuses when they are more than 1e-9 mg/dL apart
    assert answer["glucose_vs_c"] is not None


def test_no_compiler_is_a_null_and_not_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside_c.shutil, "which", lambda name: None)
    assert beside_c.compare(1)["glucose_vs_c"] is None
