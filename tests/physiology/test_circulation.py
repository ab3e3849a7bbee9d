"""Laws and published values of the circulation (design rows 1-5, 13); all rows: docs/evidence/circulation.md."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from bench import circulation as evidence
from bench import circulation_c
from twinward.physiology import circulation as c
from twinward.physiology.circulation_batch import Batch
from twinward.physiology.circulation_interventions import Intervention, Kind, bleed
from twinward.physiology.circulation_meaning import shipped
from twinward.physiology.circulation_personal import sized
from twinward.physiology.circulation_run import COLUMNS, Circulation
from twinward.physiology.monitor import features

NOTHING = np.zeros((0, 5))


@pytest.fixture(scope="module")
def rest() -> bytes:
    return Circulation.start().dump()


def test_at_rest_as_the_evidence_has_it(rest: bytes) -> None:
    """Heldt 2004 Table 4.1 and Pulse (fitted-to); one row is missed: right atrial pressure, whose zero is another."""
    red = [row.what for row in evidence.at_rest() if not row.green]
    assert red == ["right atrium, mmHg"]


def test_a_litre_lost_as_the_evidence_has_it() -> None:
    """Johnson 2013 (fitted-to, n = 6, ± SEM): stroke volume and CVP are missed and recorded as missed.
    PMC4747890 and Guyton (external)."""
    rows = evidence.bleeding(evidence.litre())
    red = {row.what: row.ours for row in rows if not row.green}
    assert red == pytest.approx(
        {
            "change of SV, %": -30.5,
            "change of CVP, mmHg": -1.30,
            "30 % lost: systolic, mmHg": 73.6,
            "1 L in 4 min: output, % of rest": 71.1,
        },
        rel=0.02,
    )


def test_the_evidence_page_is_of_this_model() -> None:
    """The committed table at rest is what the model gives now."""
    page = Path(evidence.__file__).parents[1] / "docs" / "evidence" / "circulation.csv"
    kept = {(row["part"], row["what"]): float(row["ours"]) for row in csv.DictReader(page.read_text().splitlines())}
    for row in evidence.at_rest():
        assert row.ours == pytest.approx(kept[row.part, row.what], rel=1e-4), row.what


def test_kernel_and_batch_are_the_same_equations(rest: bytes) -> None:
    """Three bodies, bleeding, transfused, infused, stiff and failing, 4 s each."""
    base = Circulation.load(rest)
    p = np.array([base.parameters] * 3)
    p[1, c.EL0] *= 0.5
    p[2, c.CSA] *= 0.6
    x = np.array([base.state] * 3)
    bleeding, given, fluid = np.array([8.0, 0.0, 0.0]), np.array([0.0, 2.0, 0.0]), np.array([0.0, 0.0, 3.0])
    batch = Batch(p, x)
    for _ in range(2000):
        batch.step(bleeding, given, fluid)
    for k in range(3):
        flows = [[target, 0.0, 60.0, rate[k], 0.0] for target, rate in
                 ((c.BLEED, bleeding), (c.BLOOD, given), (c.FLUID, fluid))]  # fmt: skip
        y = x[k].copy()
        c.run(p[k], y, np.array(flows), 0, 2000, c.STEP_S, 0, np.empty((0, 46)), np.zeros(46))
        assert batch.x[:, k] == pytest.approx(y, rel=1e-9, abs=1e-9)


def test_the_c_that_speed_is_compared_with_is_the_same_circulation(rest: bytes, tmp_path: Path) -> None:
    """Where there is a compiler; elsewhere the comparison is null and there is nothing to hold."""
    cc = circulation_c.compiler()
    assert cc is not None or circulation_c.measure()["circulation_vs_c"] is None
    if cc is not None:
        one = Circulation.load(rest)
        mine, other = one.state.copy(), one.state.copy()
        circulation_c.ours(one.parameters, mine, 5000)
        circulation_c.in_c(cc, tmp_path)(one.parameters, other, 5000)
        assert other == pytest.approx(mine, rel=1e-9, abs=1e-9)


def test_blood_is_neither_made_nor_lost(rest: bytes) -> None:
    one = Circulation.load(rest)
    before = one.blood_now_ml()
    one.advance(600.0)
    assert one.blood_now_ml() == pytest.approx(before, abs=1e-6)


def test_what_goes_in_and_out_is_what_changes(rest: bytes) -> None:
    """Also where vessels stiffen: a changed compliance keeps its volume."""
    one = Circulation.load(rest)
    before = one.blood_now_ml()
    one.schedule(
        [
            bleed(600, 10.0, 120.0),
            Intervention(Kind.CRYSTALLOID, 60.0, 240.0, rate_ml_min=150.0),
            Intervention(Kind.HYPERTENSION, 30.0, 200.0, strength=0.7),
            Intervention(Kind.TRANSFUSION, 150.0, 250.0, rate_ml_min=90.0),
        ]
    )
    one.advance(400.0)
    x = one.state
    assert x[c.GIVEN] == pytest.approx(150.0 - 600.0, abs=1e-6)
    assert x[c.VC] + x[c.VT] + x[c.URINE] == pytest.approx(450.0, abs=1e-6)
    entered = x[c.GIVEN] + x[c.REFILLED] + x[c.VC]
    assert one.blood_now_ml() == pytest.approx(before + entered, abs=1e-6)


def test_two_milliseconds_are_fine_enough(rest: bytes) -> None:
    start, means = Circulation.load(rest), {}
    for h in (0.002, 0.0005):
        x, sums = start.state.copy(), np.zeros(46)
        c.run(start.parameters, x, NOTHING, 0, round(30 / h), h, 0, np.empty((0, 46)), sums)
        means[h] = sums / 30
    flow = 36 + c.O_FLV
    assert means[0.002][c.PSA] == pytest.approx(means[0.0005][c.PSA], abs=0.01)
    assert means[0.002][flow] == pytest.approx(means[0.0005][flow], rel=1e-3)


def test_a_snapshot_has_the_same_future_bit_for_bit(rest: bytes) -> None:
    """In the middle of a bleed and an onset, after an uneven number of steps, in uneven pieces."""
    one = Circulation.load(rest)
    one.schedule([bleed(500, 3.0, 60.0), Intervention(Kind.HYPERTENSION, 5.0, 40.0, strength=0.5)])
    one.advance(17.026)
    two = Circulation.load(one.dump())
    whole = one.advance(50.0, 125)
    for piece in (0.002, 7.1, 12.898, 30.0):
        last = two.advance(piece, 125)
    assert two.dump() == one.dump()
    assert np.array_equal(last.rows, whole.rows[-len(last.rows) :])


def test_a_larger_body_has_the_same_pressures_and_more_flow() -> None:
    """Volume scales out of every equation: exact but for rounding."""
    small, large = shipped(), sized(shipped(), 5300.0 * 1.4)
    x = c.start(small, 5300.0)
    y = x.copy()
    volumes = [c.FSA, c.VEV, c.VSV, c.VLA, c.VLV, c.VRA, c.VRV, c.FPA, c.DVSV, c.DVEV, c.DVCP]
    inverse = [c.DEL, c.DER, c.DRSP, c.DREP, c.DRCP]
    y[volumes] *= 1.4
    y[inverse] /= 1.4
    for p, state in ((small, x), (large, y)):
        c.run(p, state, NOTHING, 0, 5000, c.STEP_S, 0, np.empty((0, 46)), np.zeros(46))
    y[volumes] /= 1.4
    y[inverse] *= 1.4
    assert y == pytest.approx(x, rel=1e-6, abs=1e-9)


def test_more_blood_lost_is_less_pressure_and_a_faster_heart(rest: bytes) -> None:
    seen = []
    for lost in (0.0, 500.0, 1000.0, 1500.0):
        one = Circulation.load(rest)
        if lost:
            one.schedule([bleed(lost, 0.0, 300.0)])
        one.advance(340.0)
        seen.append(features(one.advance(10.0, 250)))
    for less, more in pairwise(seen):
        assert more.mean < less.mean
        assert more.output < less.output
        assert more.heart_rate > less.heart_rate
        assert more.cvp < less.cvp


@pytest.mark.parametrize(
    ("kind", "signs"),
    [  # of mean pressure, heart rate, output, SVR
        (Kind.VASOPRESSOR, (1, -1, -1, 1)),
        (Kind.BETA_BLOCKER, (-1, -1, -1, 1)),
        (Kind.HEART_FAILURE, (-1, 1, -1, 1)),
        (Kind.SEPTIC, (-1, 1, 1, -1)),
        (Kind.HYPERTENSION, (1, 1, 1, 1)),
    ],
)
def test_each_intervention_goes_its_way_and_back(rest: bytes, kind: Kind, signs: tuple[int, ...]) -> None:
    one = Circulation.load(rest)
    before = features(one.advance(10.0, 250))
    one.schedule([Intervention(kind, 10.0, 190.0, strength=1.0, onset_s=20.0)])
    one.advance(170.0)
    during = features(one.advance(10.0, 250))
    for name, sign in zip(("mean", "heart_rate", "output", "svr"), signs, strict=True):
        assert sign * (getattr(during, name) - getattr(before, name)) > 0, name
    one.advance(390.0)
    gone = features(one.advance(10.0, 250))
    assert gone.mean == pytest.approx(before.mean, abs=0.1)
    assert gone.output == pytest.approx(before.output, rel=0.01)


def test_two_litres_of_crystalloid_stay_for_a_while(rest: bytes) -> None:
    """About a quarter is still in the vessels an hour after 2 L in 30 min (Hahn [M])."""
    one = Circulation.load(rest)
    one.schedule([Intervention(Kind.CRYSTALLOID, 0.0, 1800.0, rate_ml_min=2000 / 30)])
    one.advance(1800.0)
    full = float(one.state[COLUMNS["Vc"]])
    one.advance(1800.0)
    later = float(one.state[COLUMNS["Vc"]])
    assert 500 < later < full < 1600
