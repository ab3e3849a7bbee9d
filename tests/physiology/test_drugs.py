"""Laws of every drug's kinetics, and published levels (design rows 5, 13 of validation).

Types: self = a law or our other writing; external = measured in people by others than the model's makers;
fitted-to = the numbers a model was made from.
"""

from __future__ import annotations

import csv

import numpy as np
import pint
import pytest

from bench import drugs as drugs_bench
from twinward.errors import BadInput, Malformed, NotFound
from twinward.physiology import drugs
from twinward.physiology import pharmacokinetics as pk
from twinward.physiology.drugs import Covariates
from twinward.physiology.pharmacokinetics_batch import Batch

WHO = Covariates()
EVERY = drugs.models()
ORAL = [m for m in EVERY if drugs.kinetics(m, WHO).parameters[pk.KA] > 0]


def parameters(model: str, own_release: bool = False) -> np.ndarray:
    p = drugs.kinetics(model, WHO).parameters.copy()
    if not own_release:
        p[pk.R0] = 0.0
    return p


def slowest(p: np.ndarray) -> float:
    """Minutes of the slowest half-life, by the residence in all volumes and the gut."""
    reach = p[pk.V1] + p[pk.V2] * (p[pk.Q2] > 0) + p[pk.V3] * (p[pk.Q3] > 0)
    waits = [reach / p[pk.CL]]
    waits += [p[v] / p[q] for v, q in ((pk.V2, pk.Q2), (pk.V3, pk.Q3)) if p[q] > 0]
    waits += [1 / p[pk.KA]] if p[pk.KA] > 0 else []
    return float(sum(waits))


@pytest.mark.parametrize("model", EVERY)
def test_area_is_dose_over_clearance(model: str) -> None:
    """Self; 1e-9 relative, after 60 mean residence times."""
    p = parameters(model)
    course = pk.Course.start(p, min(1440.0, slowest(p)))
    course.bolus(1000.0)
    course.advance(int(60 * slowest(p) / course.h) + 1)
    assert course.x[pk.AUC] == pytest.approx(1000.0 / p[pk.CL], rel=1e-9)


@pytest.mark.parametrize("model", ORAL)
def test_area_of_a_swallowed_dose_is_the_share_that_arrives(model: str) -> None:
    p = parameters(model)
    course = pk.Course.start(p, 60.0)
    course.swallow(1000.0)
    course.advance(int(60 * slowest(p) / 60.0) + 1)
    assert course.x[pk.AUC] == pytest.approx(p[pk.F] * 1000.0 / p[pk.CL], rel=1e-9)


@pytest.mark.parametrize("model", EVERY)
def test_double_dose_double_level_and_courses_add(model: str) -> None:
    """Self; rounding only."""
    p = parameters(model)
    one, two, later, both = (pk.Course.start(p, 0.5) for _ in range(4))
    one.bolus(100.0)
    two.bolus(200.0)
    both.bolus(100.0)
    for k in range(60):
        if k == 10:
            later.infuse(7.0)
            both.infuse(7.0)
        for course in (one, two, later, both):
            course.advance(1)
        assert two.plasma == pytest.approx(2 * one.plasma, rel=1e-12)
        assert both.plasma == pytest.approx(one.plasma + later.plasma, rel=1e-12)
        assert both.effect == pytest.approx(one.effect + later.effect, rel=1e-12)


@pytest.mark.parametrize("model", EVERY)
def test_what_went_in_is_somewhere(model: str) -> None:
    p = parameters(model, own_release=True)
    course = pk.Course.start(p, 2.0)
    there = course.x[:4].sum()
    course.bolus(500.0)
    if model in ORAL:
        course.swallow(300.0)
        there += 300.0 * p[pk.F]
    course.infuse(3.0)
    for k in range(1, 200):
        course.advance(1)
        put_in = there + 500.0 + (3.0 + p[pk.R0]) * 2.0 * k
        assert course.x[:4].sum() + course.x[pk.E] == pytest.approx(put_in, rel=1e-11)
        assert (course.x >= 0).all()


@pytest.mark.parametrize("model", EVERY)
def test_a_rate_held_long_gives_rate_over_clearance_everywhere(model: str) -> None:
    p = parameters(model, own_release=True)
    course = pk.Course.start(p, min(1440.0, slowest(p)))
    course.infuse(5.0)
    course.advance(int(60 * slowest(p) / course.h) + int(40 / p[pk.KE0] / course.h) + 2)
    level = (5.0 + p[pk.R0]) / p[pk.CL]
    assert course.plasma == pytest.approx(level, rel=1e-9)
    assert course.effect == pytest.approx(level, rel=1e-9)


def test_the_exact_step_and_the_second_writing_agree() -> None:
    """RK4 of concentrations with steps of 0.6 s against the exact step of amounts: 1e-8 relative."""
    p = np.array([drugs.kinetics(m, WHO).parameters for m in EVERY])
    batch = Batch(p)
    courses = [pk.Course.start(row, 0.5) for row in p]
    batch.bolus(np.full(len(EVERY), 250.0))
    batch.swallow(np.where(p[:, pk.KA] > 0, 400.0, 0.0))
    for course in courses:
        course.bolus(250.0)
        if course.p[pk.KA] > 0:
            course.swallow(400.0)
    for k in range(60):
        rate = 4.0 if 20 <= k < 40 else 0.0
        seen = batch.advance(0.5, np.full(len(EVERY), rate), 50)
        for course in courses:
            course.infuse(rate)
            course.advance(1)
        assert seen == pytest.approx([c.plasma for c in courses], rel=1e-8)
        assert batch.c[4] == pytest.approx([c.effect for c in courses], rel=1e-8, abs=1e-12)


def test_the_compiled_loop_is_the_course() -> None:
    p = parameters("propofol/schnider")
    rates = np.where(np.arange(240) < 60, 9000.0, 0.0)
    exp_gh, x, out = np.empty((pk.N, pk.N)), pk.rest(p), np.empty((240, 2))
    pk.propagator(p, 1.0, exp_gh)
    pk.simulate(exp_gh, x, p, rates, out)
    course = pk.Course.start(p, 1.0)
    for t in range(240):
        course.infuse(float(rates[t]))
        course.advance(1)
        assert (out[t, 0], out[t, 1]) == (course.plasma, course.effect)


@pytest.mark.parametrize("h", [1 / 60, 1.0, 60.0, 1440.0])
def test_the_step_has_no_error_of_its_own(h: float) -> None:
    """A day of propofol in steps of a second, a minute, an hour and a day, against ten minutes: 1e-10 relative."""
    ends = []
    for step in (10.0, h):
        course = pk.Course.start(parameters("propofol/schnider"), step)
        course.bolus(1e5)
        course.infuse(3.0)
        course.advance(round(1440 / step))
        ends.append(course.x)
    assert ends[1] == pytest.approx(ends[0], rel=1e-10)


def test_one_compartment_is_its_formula_even_where_rates_are_equal() -> None:
    """Bateman's function has 0/0 at ka = k; the propagator has not."""
    for ka in (0.02, 0.01, 0.01 + 1e-12):
        p = np.array([10.0, 1.0, 1.0, 0.1, 0.0, 0.0, 0.01, ka, 0.8, 0.0])
        course = pk.Course.start(p, 30.0)
        course.swallow(1000.0)
        course.advance(4)
        k, t = 0.01, 120.0
        if abs(ka - k) < 1e-9:
            expected = 80.0 * k * t * np.exp(-k * t)
        else:
            expected = 80.0 * ka / (ka - k) * (np.exp(-k * t) - np.exp(-ka * t))
        assert course.plasma == pytest.approx(expected, rel=1e-9)


def test_a_snapshot_has_the_same_future_to_the_bit() -> None:
    course = pk.Course.start(parameters("morphine/lotsch"), 1 / 60)
    course.bolus(4000.0)
    course.swallow(10_000.0)
    course.infuse(12.5)
    course.advance(777)
    other = pk.Course.load(course.dump())
    for c in (course, other):
        c.advance(500)
        c.infuse(0.0)
        c.bolus(100.0)
        c.advance(500)
    assert course.dump() == other.dump()
    assert course.steps == other.steps == 1777


def test_dimensions_and_scale() -> None:
    """The same equations on quantities; litres against millilitres, minutes against hours."""
    u = pint.UnitRegistry()
    p = dict(zip(pk.PK_PARAMETERS, parameters("fentanyl/shafer"), strict=True))
    amounts = (3.0, 50.0, 20.0, 9.0)
    plain = pk.flows.py_func(*amounts, 2.0, *(p[s] for s in ("V1", "V2", "V3", "CL", "Q2", "Q3", "ka")))
    q = {s: u.Quantity(p[s], pk.PK_PARAMETERS[s].unit) for s in p}
    mixed = pk.flows.py_func(
        *(u.Quantity(a, "ug").to("ng") for a in amounts),
        u.Quantity(2.0, "ug/min").to("mg/h"),
        q["V1"].to("mL"),
        q["V2"],
        q["V3"].to("dL"),
        q["CL"].to("L/h"),
        q["Q2"].to("mL/s"),
        q["Q3"],
        u.Quantity(p["ka"], "1/min").to("1/h"),
    )
    for seen, number, unit in zip(mixed, plain, ["ug/min"] * 5 + ["ug/L"], strict=True):
        assert seen.to(unit).magnitude == pytest.approx(number, rel=1e-12)
    effect = pk.effect_site.py_func(u.Quantity(4.0, "ng/mL"), u.Quantity(1.0, "ug/L"), q["ke0"])
    assert effect.to("ug/L/min").magnitude == pytest.approx(3.0 * p["ke0"])


def test_what_cannot_be_is_refused() -> None:
    p = parameters("fentanyl/shafer")
    for k, value in ((pk.V1, -1.0), (pk.CL, float("nan")), (pk.F, 1.2), (pk.KE0, 0.0)):
        bad = p.copy()
        bad[k] = value
        with pytest.raises(BadInput):
            pk.Course.start(bad)
    course = pk.Course.start(p)
    for act in (course.bolus, course.infuse):
        for value in (-1.0, float("nan"), float("inf")):
            with pytest.raises(BadInput):
                act(value)
    with pytest.raises(BadInput):
        course.swallow(1.0)  # no kinetics by mouth
    with pytest.raises(BadInput):
        course.advance(-1)
    with pytest.raises(Malformed):
        pk.Course.load(b"no")
    with pytest.raises(Malformed):
        pk.Course.load(b"\xff" * len(course.dump()))
    with pytest.raises(NotFound):
        drugs.find("digoxin")
    with pytest.raises(BadInput):
        Covariates(weight=float("nan"))


# Published values. Ensinger 1992 as the design records it: (infused ug/kg/min, lowest, highest level ug/L).
ENSINGER = ((0.01, 0.363, 0.605), (0.06, 2.27, 3.39), (0.10, 3.61, 4.41))
# Phenylephrine after 20 min at 0.5, 1, 2, 4 ug/kg/min: Martinsson as the design records it, ug/L.
MARTINSSON = ((0.5, 2.5, 5.2), (1.0, 5.0, 13.0), (2.0, 12.0, 26.0), (4.0, 36.0, 78.0))


def held(model: str, who: Covariates, per_kg: float, minutes: int) -> float:
    course = pk.Course.start(drugs.kinetics(model, who).parameters, 1.0)
    course.infuse(per_kg * who.weight)
    course.advance(minutes)
    return course.plasma


def test_norepinephrine_levels_of_ensinger() -> None:
    """External, row 5. One of three lies within what was measured; the others miss the lower edge by 1-2 %.

    The misses are recorded as misses (red in docs/evidence/drugs.md), not moved inside by a wider check.
    """
    seen = [held("norepinephrine/healthy", Covariates(age=35.0), rate, 60) for rate, _, _ in ENSINGER]
    assert seen == pytest.approx([0.570, 2.237, 3.570], abs=2e-3)
    inside = [low <= level <= high for level, (_, low, high) in zip(seen, ENSINGER, strict=True)]
    assert inside == [True, False, False]
    assert all(level > 0.98 * low for level, (_, low, _) in zip(seen, ENSINGER, strict=True))


def test_norepinephrine_before_and_at_the_highest_rate_of_ensinger() -> None:
    """External [S, abstract]: 0.199 +- 0.075 and 7.475 +- 1.071 ug/L in eight volunteers (SD or SEM not said)."""
    who = Covariates(age=35.0)
    assert held("norepinephrine/healthy", who, 0.0, 30) == pytest.approx(0.199, abs=0.075)
    assert held("norepinephrine/healthy", who, 0.2, 30) == pytest.approx(7.475, abs=1.071)


def test_phenylephrine_levels_of_martinsson_are_a_recorded_miss() -> None:
    """External. The FDA's kinetics are 1.1-1.4 times above the highest level at three rates; our range holds all."""
    seen = [held("phenylephrine/fda", WHO, rate, 20) for rate, _, _ in MARTINSSON]
    assert seen == pytest.approx([7.33, 14.66, 29.32, 58.63], abs=0.01)
    inside = [low <= level <= high for level, (_, low, high) in zip(seen, MARTINSSON, strict=True)]
    assert inside == [False, False, False, True]
    for rate, low, high in MARTINSSON:
        levels = [drug_level({"k10": f, "k12": f, "k21": f}, rate) for f in (0.6, 1.0, 2.1)]  # within the widened prior
        assert min(levels) <= high
        assert max(levels) >= low


def drug_level(scale: dict[str, float], per_kg: float) -> float:
    course = pk.Course.start(drugs.kinetics("phenylephrine", WHO, scale).parameters, 1.0)
    course.infuse(per_kg * WHO.weight)
    course.advance(20)
    return course.plasma


@pytest.mark.parametrize(("model", "hours", "tolerance"), [("lisinopril", 7.0, 0.1), ("metoprolol", 1.5, 0.1)])
def test_peaks_by_mouth_are_those_they_were_made_from(model: str, hours: float, tolerance: float) -> None:
    """Fitted-to: absorption was chosen to meet the label's time of peak."""
    course = pk.Course.start(drugs.kinetics(model, WHO).parameters, 1.0)
    course.swallow(10_000.0)
    levels = []
    for _ in range(900):
        course.advance(1)
        levels.append(course.plasma)
    assert (1 + int(np.argmax(levels))) / 60 == pytest.approx(hours, abs=tolerance)


def test_half_life_of_metformin_from_its_own_label_is_a_recorded_miss() -> None:
    """External: V/F, F and renal clearance of one label give 11.9 h; the same label states 6.2 h."""
    p = drugs.kinetics("metformin", WHO).parameters
    assert np.log(2) * p[pk.V1] / p[pk.CL] / 60 == pytest.approx(11.9, abs=0.1)


def test_schnider_and_minto_at_their_reference_people() -> None:
    """Fitted-to: the covariate terms vanish where the papers centre them."""
    who = Covariates(weight=77.0, age=53.0, height=177.0)
    p = drugs.kinetics("propofol", who).parameters
    assert p[pk.V2] == pytest.approx(18.9)
    assert p[pk.Q2] == pytest.approx(1.29)
    assert p[pk.CL] == pytest.approx(1.89 - 0.0681 * (who.lean - 59))
    young, old = (drugs.kinetics("remifentanil", Covariates(age=a)).parameters for a in (25.0, 80.0))
    assert young[pk.CL] > old[pk.CL]
    assert young[pk.KE0] > old[pk.KE0]


def test_outside_its_people_a_model_says_so() -> None:
    assert drugs.validity("propofol/schnider", Covariates(age=53.0)) == ()
    found = drugs.validity("propofol/schnider", Covariates(age=85.0))
    assert [f.covariate for f in found] == ["age"]
    assert "outside" in str(found[0])
    heavy = drugs.validity("propofol/schnider", Covariates(weight=160.0, height=165.0, female=True))
    assert {f.covariate for f in heavy} == {"weight"}
    assert len(heavy) == 2  # beyond the volunteers, and where lean mass turns over
    assert [f.covariate for f in drugs.validity("metformin", Covariates(crcl=35.0))] == ["crcl"]


def test_a_drawn_person_is_the_seed_s_and_the_band_holds_what_was_measured() -> None:
    """Self: bands of 60 people hold Martinsson's and Ensinger's ranges in part at every rate."""
    first, again = (drugs.draw("fentanyl", WHO, np.random.default_rng(3)).parameters for _ in range(2))
    assert (first == again).all()
    for model, minutes, published in (("phenylephrine/fda", 20, MARTINSSON), ("norepinephrine/healthy", 60, ENSINGER)):
        chance = np.random.default_rng(11)
        people = [drugs.draw(model, WHO, chance).parameters for _ in range(60)]
        for rate, low, high in published:
            levels = []
            for p in people:
                course = pk.Course.start(p, float(minutes))
                course.infuse(rate * WHO.weight)
                course.advance(1)
                levels.append(course.plasma)
            assert any(low <= level <= high for level in levels)


@pytest.mark.parametrize("model", EVERY)
def test_everyone_who_can_be_drawn_is_believable(model: str) -> None:
    chance = np.random.default_rng(1)
    for _ in range(40):
        pk.checked(drugs.draw(model, WHO, chance).parameters)


def test_the_evidence_page_is_what_the_command_writes() -> None:
    rows = list(csv.reader((drugs_bench.FOLDER / "drugs.csv").read_text(encoding="utf-8").splitlines()))[1:]
    found = [[row.group, *(cell.strip("*") for cell in drugs_bench.shown(row))] for row in drugs_bench.every()]
    assert rows == found
    assert [row[1] for row in rows if row[6] == "red"][:2] == [
        "plasma at 0.06 ug/kg/min, 70 kg, 35 years",
        "plasma at 0.1 ug/kg/min, 70 kg, 35 years",
    ]
