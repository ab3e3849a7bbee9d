"""A narrow valve in the beating circulation: its identities, its limits, and the direction of what it changes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from twinward.errors import BadInput
from twinward.physiology import circulation as c
from twinward.physiology import stenosis, valve
from twinward.physiology.circulation_interventions import bleed
from twinward.physiology.circulation_run import Circulation
from twinward.physiology.valve import WIDE, Valves


@pytest.fixture(scope="module")
def rest() -> Circulation:
    return Circulation.start()


def test_a_wide_valve_is_no_valve(rest: Circulation) -> None:
    """Without quadratic losses the kernel is the circulation's own, step for step."""
    other, mine = rest.state.copy(), rest.state.copy()
    c.run(rest.parameters, other, np.zeros((0, 5)), 0, 5000, c.STEP_S, 0, np.empty((0, 46)), np.zeros(46))
    valve.beats(rest.parameters, mine, 0.0, 0.0, 5000, c.STEP_S, 0, np.empty((0, 46)))
    assert mine == pytest.approx(other, rel=1e-9, abs=1e-9)


def test_no_blood_is_lost_in_a_valve(rest: Circulation) -> None:
    _, state = valve.at_rest(rest, Valves(aortic=0.7, mitral=1.5), settle_s=60.0)
    assert c.blood(state, rest.parameters) == pytest.approx(rest.blood_now_ml(), abs=1e-6)


@pytest.mark.parametrize("area", [0.5, 0.8, 1.5, 3.5])
def test_the_area_comes_back_from_gradient_and_flow(rest: Circulation, area: float) -> None:
    """4 v^2 and continuity exactly; Gorlin's constant, which has a discharge in it, within 10 %."""
    seen, _ = valve.at_rest(rest, Valves(aortic=area), settle_s=60.0)
    assert stenosis.effective_area_cm2(seen.rms_flow, seen.mean_gradient) == pytest.approx(area, rel=1e-9)
    assert stenosis.gorlin_cm2(seen.mean_flow, seen.mean_gradient) == pytest.approx(area, rel=0.1)
    assert seen.peak_gradient == pytest.approx(stenosis.bedside_mmHg(seen.peak_velocity), rel=1e-9)


def test_the_narrower_the_worse(rest: Circulation) -> None:
    found = [valve.at_rest(rest, Valves(aortic=a), settle_s=120.0)[0] for a in (3.5, 2.0, 1.0, 0.6)]
    for better, worse in pairwise(found):
        assert worse.mean_gradient > better.mean_gradient
        assert worse.lv_systolic > better.lv_systolic
        assert worse.stroke_volume < better.stroke_volume
        assert worse.systolic < better.systolic
        assert worse.esv > better.esv
    # severe by the guidelines: below 1 cm2, above 40 mmHg or 4 m/s at a normal flow
    assert found[2].mean_gradient == pytest.approx(40, abs=8)
    assert found[2].peak_velocity == pytest.approx(4.0, abs=0.5)


def test_a_narrow_mitral_valve_dams_the_lungs(rest: Circulation) -> None:
    wide, narrow = (valve.at_rest(rest, Valves(mitral=a), settle_s=120.0)[0] for a in (5.0, 1.0))
    assert narrow.la_mean > wide.la_mean + 2
    assert narrow.mitral_gradient > 5
    assert narrow.output < wide.output


def test_what_if(rest: Circulation) -> None:
    before = rest.state.copy()
    answer = valve.what_if(rest, "aortic", 0.8, 1.6)
    rows = {one.what: one for one in answer.changes}
    assert rows["mean_gradient"].after < 0.5 * rows["mean_gradient"].before
    assert rows["lv_systolic"].after < rows["lv_systolic"].before - 20
    assert rows["stroke_volume"].after > rows["stroke_volume"].before
    for one in answer.changes:
        assert one.before_range[0] <= one.before <= one.before_range[1]
        assert one.after_range[0] <= one.after <= one.after_range[1]
        assert one.unit
    assert "not a medical device" in answer.label
    assert rest.state == pytest.approx(before, abs=0)  # asking changes nothing
    assert valve.what_if(rest, "aortic", 0.8, 1.6) == answer


def test_refusals(rest: Circulation) -> None:
    with pytest.raises(BadInput, match="opens wider"):
        valve.what_if(rest, "aortic", 1.6, 0.8)
    with pytest.raises(BadInput, match="one of aortic, mitral"):
        valve.what_if(rest, "pulmonary", 1.0, 2.0)
    for area in (0.1, float("nan"), 9.0):
        with pytest.raises(BadInput, match="aortic valve"):
            Valves(aortic=area)
    busy = Circulation.load(rest.dump())
    busy.schedule([bleed(200, busy.now_s, 60.0)])
    with pytest.raises(BadInput, match="at rest"):
        valve.at_rest(busy, Valves())
    assert Valves().aortic == WIDE
    assert all(valve.VALVES[which].low <= area <= valve.VALVES[which].high for which, area in valve.REPAIRS.values())
