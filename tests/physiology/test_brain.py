"""Brain, alarm, strained heart: pressure outside the limits harms both ways, a failing heart spirals untreated."""

from __future__ import annotations

import numpy as np
import pint
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinward.physiology import brain, strain, ventilation
from twinward.physiology.brain import Brain
from twinward.physiology.meaning import check
from twinward.physiology.patient import NUMERICS, Given, Patient
from twinward.physiology.strain import Strain

UNITS: pint.UnitRegistry[float] = pint.UnitRegistry()
HEART = {"weight_kg": 80.0, "heart_failure": 0.88, "hypertension": 0.4, "extra_ml": 600.0}


def lived(MAP: float, minutes: int, h: float = 1.0, accustomed: float = 172.0) -> Brain:
    one = Brain(accustomed, h)
    for _ in range(30 * minutes):
        one.advance(MAP, 0.0, 0.0, 2.0)
    return one


def test_every_parameter_lies_in_its_believable_range() -> None:
    check(brain.VALUES, brain.PARAMETERS)
    check(strain.VALUES, strain.PARAMETERS)


def test_equations_have_units() -> None:
    mmHg = UNITS.mmHg
    lower, upper = brain.limits(172.0 * mmHg, 1.0, mmHg)
    assert lower.check("[pressure]")
    assert (lower, upper) == (129.0 * mmHg, 150.0 * mmHg)
    assert brain.flow(64.5 * mmHg, lower, upper) == pytest.approx(0.5)
    easy = 12000.0 * mmHg / UNITS.minute
    assert strain.lack(1.0, 120.0 / UNITS.minute, 150.0 * mmHg, easy) == pytest.approx(0.5)


def test_a_fall_of_a_quarter_is_borne_and_more_is_not() -> None:
    assert lived(0.76 * 172.0, 5).flow == 1.0
    assert lived(0.70 * 172.0, 5).flow < 0.97
    assert lived(172.0, 5).flow > 1.1  # beyond the upper limit
    assert lived(92.0, 5, 0.0, 92.0).flow == 1.0  # nobody else's usual pressure harms
    assert lived(92.0, 5, 0.0, 92.0).injury == 0.0


def test_doing_nothing_and_too_much_both_injure_and_slow_lowering_does_not() -> None:
    nothing, crashed = lived(172.0, 60), lived(95.0, 60)
    slow = Brain(172.0, 1.0)
    for minute in range(120):
        for _ in range(30):
            slow.advance(max(172.0 - 0.7 * minute, 120.0), 0.0, 0.0, 2.0)
    assert nothing.injury > 0.15
    assert crashed.injury > 0.15
    assert slow.injury < 0.5 * min(nothing.injury, crashed.injury)


@given(st.floats(20.0, 300.0), st.floats(0.0, 1.0), st.floats(0.0, 30.0), st.floats(0.0, 1.0))
def test_all_stay_in_bounds(MAP: float, hypoxia: float, water: float, h: float) -> None:
    one = Brain(90.0, h)
    before = 0.0
    for _ in range(50):
        one.advance(MAP, hypoxia, water, 60.0)
        assert 0.0 <= one.alarm <= 1.0
        assert before <= one.injury <= 1.0
        before = one.injury
    assert one.factors()["Rsp0"] >= 1.0


def test_work_on_poor_blood_stuns_only_a_failing_heart() -> None:
    weak, sound, rich = Strain(1.0), Strain(0.0), Strain(1.0)
    for _ in range(1800):
        weak.advance(0.8, 110.0, 160.0, 2.0)
        sound.advance(0.8, 110.0, 160.0, 2.0)
        rich.advance(0.0, 110.0, 160.0, 2.0)
    assert weak.stunned > 0.1
    assert sound.stunned == rich.stunned == 0.0
    for _ in range(1800):
        weak.advance(0.0, 80.0, 120.0, 2.0)
    assert weak.factors()["El0"] < 1.0  # an hour does not mend it


def test_lung_oedema_worsens_untreated_and_turns_under_treatment() -> None:
    start = Patient.start("adult", HEART)
    start.advance(600.0)
    kept, before = start.dump(), start.numerics()
    assert 140.0 < before["SBP"] < 175.0
    assert before["SpO2"] < 90.0
    assert before["alarm"] > 0.5
    left, helped, braked = (Patient.load(kept) for _ in range(3))
    for gift in (
        Given("posture", 1.0), Given("oxygen", 0.6, "FiO2"), Given("cpap", 8.0, "cmH2O"),
        Given("furosemide", 80.0, "mg"), Given("nitroglycerin", 100.0, "ug/min"),
    ):  # fmt: skip
        helped.give(gift)
    braked.give(Given("metoprolol", 10.0, "mg"))
    for one in (left, helped, braked):
        one.advance(1800.0)
    a, b, c = left.numerics(), helped.numerics(), braked.numerics()
    assert a["SpO2"] < before["SpO2"] < b["SpO2"]
    assert b["LAP"] < before["LAP"] - 5.0 < before["LAP"] < a["LAP"] < c["LAP"]
    assert b["HR"] < before["HR"] < a["HR"]
    assert a["stunned"] > b["stunned"]


@given(st.floats(0.5, 20.0), st.floats(5.0, 25.0), st.floats(30.0, 600.0))
def test_blood_holds_its_oxygen_at_one_pressure(content: float, capacity: float, most: float) -> None:
    P = ventilation.holding(content, capacity, 0.0031, most)
    held = capacity * ventilation.saturation(P) + 0.0031 * P
    assert most == P or held == pytest.approx(content, abs=1e-6)


def test_saturation_does_not_swing_under_much_oxygen() -> None:
    one = Patient.start("adult", {})
    one.give(Given("oxygen", 0.6, "FiO2"))
    one.advance(120.0)
    watched = one.advance(120.0)
    assert np.ptp(watched.numerics[:, list(NUMERICS).index("SpO2")]) < 0.2


def test_the_future_of_brain_and_strain_is_kept() -> None:
    one = Patient.start("adult", HEART)
    again = Patient.load(one.dump())
    one.advance(60.0)
    again.advance(60.0)
    assert one.dump() == again.dump()
    assert again.brain == one.brain
    assert again.strain == one.strain
