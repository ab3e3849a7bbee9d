"""Oxygen, breathing and the circulation together (design 1b.8)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pint
import pytest

from twinward.errors import BadInput, Malformed, Unready
from twinward.physiology import oxygen, ventilation
from twinward.physiology.body import DEBT, LAP, SHOWN, Body
from twinward.physiology.body_meaning import BODY_PARAMETERS, BODY_STATES, BODY_VALUES
from twinward.physiology.circulation_interventions import Intervention, Kind, bleed

ureg: pint.UnitRegistry[float] = pint.UnitRegistry()
COLUMN = {name: k for k, name in enumerate(SHOWN)}


@pytest.fixture(scope="module")
def rest() -> bytes:
    return Body.start().dump()


def lost(rest: bytes, share: float, hours: float) -> tuple[Body, np.ndarray]:
    body = Body.load(rest)
    body.schedule([bleed(share * 5300, 0.0, 1200.0)])
    return body, body.advance(hours * 3600)[0]


def test_rest_is_steady_and_as_textbooks_have_it(rest: bytes) -> None:
    """Delivery about 1000 mL/min, uptake 3.5 mL/kg/min, PaCO2 40, pH 7.40, saturation 96-98 % (textbook [M])."""
    rows, _ = Body.load(rest).advance(600.0)
    last = dict(zip(SHOWN, rows[-1], strict=True))
    assert 800 < last["DO2"] < 1100
    assert last["VO2"] == pytest.approx(262.5)
    assert last["PaCO2"] == pytest.approx(40.0, abs=0.1)
    assert last["pH"] == pytest.approx(7.40, abs=0.02)
    assert 0.96 < last["SaO2"] < 0.98
    assert last["lactate"] == pytest.approx(1.0)
    assert last["debt"] == 0.0
    assert np.ptp(rows[100:, COLUMN["MAP"]]) < 1.0


def test_a_moderate_bleed_mends_itself(rest: bytes) -> None:
    body, rows = lost(rest, 0.3, 3.0)
    assert body.alive
    assert rows[-1, COLUMN["MAP"]] > rows[600, COLUMN["MAP"]] + 8
    assert rows[-1, COLUMN["Hb"]] < 12.5  # refill thins what is left


def test_a_massive_bleed_does_not_and_debt_is_what_kills(rest: bytes) -> None:
    """45 % untreated: pressure rises again for a while, then the heart fails. Crowell 1964 (dogs): LD50 120 mL/kg."""
    body, rows = lost(rest, 0.45, 6.0)
    assert not body.alive
    assert rows[:, COLUMN["MAP"]][900:4000].max() > 45
    assert rows[-1, COLUMN["factor"]] < 0.6
    assert 100 < body.slow[DEBT] / 75 < 140
    assert rows[:, COLUMN["lactate"]].max() > 4
    with pytest.raises(Unready, match="died"):
        body.advance(2.0)


def test_blood_in_time_saves(rest: bytes) -> None:
    body = Body.load(rest)
    body.schedule(
        [bleed(0.45 * 5300, 0.0, 1200.0), Intervention(Kind.TRANSFUSION, 3600.0, 5400.0, rate_ml_min=2000 / 30)]
    )
    rows, _ = body.advance(4 * 3600.0)
    assert body.alive
    assert rows[-1, COLUMN["MAP"]] > 75
    assert body.slow[DEBT] < 1.0


def test_haemoglobin_stays_in_a_bleed_and_falls_with_crystalloid(rest: bytes) -> None:
    body = Body.load(rest)
    body.schedule([bleed(500, 0.0, 120.0), Intervention(Kind.CRYSTALLOID, 240.0, 840.0, rate_ml_min=100.0)])
    before, after, thin = (body.advance(120.0)[0][-1], body.advance(120.0)[0][-1], body.advance(600.0)[0][-1])
    assert before[COLUMN["Hb"]] == pytest.approx(14.0, abs=0.1)
    assert after[COLUMN["Hb"]] == pytest.approx(14.0, abs=0.2)
    assert thin[COLUMN["Hb"]] < 12.8


def test_wet_lungs_lose_oxygen(rest: bytes) -> None:
    body = Body.load(rest)
    body.schedule(
        [
            Intervention(Kind.HEART_FAILURE, 0.0, strength=1.0),
            Intervention(Kind.TRANSFUSION, 0.0, 600.0, rate_ml_min=100.0),
        ]
    )
    rows, _ = body.advance(1800.0)
    assert body.slow[LAP] > 22
    assert rows[-1, COLUMN["SaO2"]] < rows[0, COLUMN["SaO2"]] - 0.02


def test_a_snapshot_has_the_same_future_bit_for_bit(rest: bytes) -> None:
    one = Body.load(rest)
    one.schedule([bleed(2200, 4.0, 500.0)])
    one.advance(400.0)
    two = Body.load(one.dump())
    whole, trace = one.advance(300.0, 125)
    pieces = [two.advance(seconds, 125) for seconds in (2.0, 98.0, 200.0)]
    assert np.array_equal(np.vstack([rows for rows, _ in pieces]), whole)
    assert np.array_equal(np.vstack([watched.rows for _, watched in pieces]), trace.rows)
    assert two.dump() == one.dump()


def test_refusals(rest: bytes) -> None:
    with pytest.raises(BadInput, match="no wings"):
        Body.start(wings=2.0)
    with pytest.raises(BadInput, match="haemoglobin"):
        Body.start(Hb=float("nan"))
    with pytest.raises(BadInput, match="2 s"):
        Body.load(rest).advance(1.0)
    with pytest.raises(Malformed):
        Body.load(b"PK")


def test_the_saturation_curve_and_its_inverse() -> None:
    """Severinghaus: half at 26.9 mmHg, 97 % at about 93 [M]."""
    assert ventilation.saturation(26.9) == pytest.approx(0.5, abs=0.01)
    assert ventilation.saturation(95.0) == pytest.approx(0.97, abs=0.01)
    for P in (5.0, 20.0, 27.0, 60.0, 100.0, 300.0):
        assert ventilation.pressure(ventilation.saturation(P)) == pytest.approx(P, rel=1e-6)


def test_oxygen_on_quantities() -> None:
    v: dict[str, Any] = {m.symbol: BODY_VALUES[m.symbol] * ureg(m.unit) for m in BODY_PARAMETERS.values()}
    CaO2 = oxygen.content(v["Hb"], 0.97 * ureg.dimensionless, 90 * ureg.mmHg, v["huefner"], v["dissolved"])
    assert CaO2.to("mL/dL").magnitude == pytest.approx(18.48, abs=0.01)
    DO2 = oxygen.delivery(5 * ureg("L/min"), CaO2)
    assert DO2.to("mL/min").magnitude == pytest.approx(923.9, abs=0.5)
    debt = 300 * ureg.mL
    demand = v["demand"] * v["weight"]
    VO2 = oxygen.taken(DO2, demand, debt, v["extraction"], v["repay"])
    assert VO2.to("mL/min").magnitude == pytest.approx(282.5)
    assert oxygen.failing(v["debt50"] * v["weight"], v["weight"], v["debt50"], 6.0).to("dimensionless") == 0.5
    space = v["lactate_space"] * v["weight"]
    rate = oxygen.lactate_rate(
        3 * ureg("mmol/L"), 50 * ureg("mL/min"), 0.5, v["lactate_per_O2"], space, v["lactate0"], v["lactate_tau"]
    )
    assert rate.to("mmol/L/min").magnitude == pytest.approx(0.05 * 50 / 41.25 - 0.5 * 2 / 40)


@pytest.mark.parametrize("table", [BODY_PARAMETERS, BODY_STATES])
def test_every_number_has_unit_source_and_range(table: dict[str, Any]) -> None:
    for symbol, meaning in table.items():
        assert meaning.symbol == symbol
        ureg.parse_units(meaning.unit)
        assert meaning.low < meaning.high
        assert meaning.source
    for symbol, value in BODY_VALUES.items():
        assert BODY_PARAMETERS[symbol].low <= value <= BODY_PARAMETERS[symbol].high
