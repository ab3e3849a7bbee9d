"""Laws of the metabolism: what is conserved, what cutting and storing leave alone, directions, refusals, units.

Numbers beside the literature: test_metabolism_values.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pint
import pytest
from scipy.integrate import solve_ivp

from twinward.errors import BadInput, Malformed, Tampered, TwinwardError, Unready
from twinward.physiology import (
    dalla_man,
    electrolytes,
    ketones,
    kidney,
    metabolism_glucose,
    metabolism_meaning,
    temperature,
)
from twinward.physiology import glucose as s2008
from twinward.physiology import glucose_options as options
from twinward.physiology.metabolism import KINDS, Exchange, Metabolism
from twinward.physiology.metabolism_given import GIVABLE

ureg: pint.UnitRegistry[float] = pint.UnitRegistry()
REST = (93.0, 5.0, 5300.0, 1.0, 40.0)
# Something of everything, in a body that is not at rest.
ILL = (71.0, 4.2, 4700.0, 2.5, 31.0)


def busy(kind: str) -> Metabolism:
    one = Metabolism.start(kind, 75.0)
    for what, amount, unit, over in (
        ("insulin_iv", 5.0, "IU/h", 0.0),
        ("glucose_iv", 25.0, "g", 125.0),
        ("potassium_chloride", 20.0, "mmol/h", 0.0),
        ("crystalloid", 700.0, "mL", 1800.0),
        ("bicarbonate", 50.0, "mmol", 600.0),
        ("furosemide", 20.0, "mg", 0.0),
        ("glucagon", 1.0, "mg", 0.0),
        ("meal", 30.0, "g", 0.0),
        ("fever", 1.5, "delta_degC", 0.0),
    ):
        one.give(what, amount, unit, over)
    return one


@pytest.mark.parametrize("kind", ["healthy", "t1d"])
def test_nobody_drifts_at_rest(kind: str) -> None:
    one = Metabolism.start(kind, 75.0)
    before = one.laboratory(1.0, 40.0)
    total = one.advance(86_400.0, *REST)
    after = one.laboratory(1.0, 40.0)
    assert abs(after["glucose"] - before["glucose"]) < 0.5
    for name in ("Na", "K", "HCO3", "ketones", "creatinine", "water", "GFR"):
        assert after[name] == pytest.approx(before[name], rel=2e-3), name
    assert abs(total.plasma_ml) < 5.0
    assert total.urine_ml == pytest.approx(24 * 75.0, rel=1e-3)
    assert total.temperature == pytest.approx(37.0)
    assert total.sympathetic == 0.0
    assert total.drive == pytest.approx(1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_any_cutting_gives_the_same_bits(kind: str) -> None:
    whole, cut = busy(kind), busy(kind)
    whole.advance(1800.0, *ILL)
    left, chance = 900, np.random.Generator(np.random.Philox(3))
    while left:
        steps = min(int(chance.integers(1, 80)), left)
        cut.advance(2.0 * steps, *ILL)
        left -= steps
    assert whole.dump() == cut.dump()


@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_one_goes_on_with_the_same_bits(kind: str) -> None:
    one = busy(kind)
    one.advance(614.0, *ILL)  # in mid-minute, mid-meal, with infusions running
    again = Metabolism.load(one.dump())
    assert again.now_s == one.now_s
    assert [again.advance(2.0, *ILL) for _ in range(300)] == [one.advance(2.0, *ILL) for _ in range(300)]
    assert again.dump() == one.dump()


def test_snapshots_are_refused() -> None:
    kept = Metabolism.start("t1d", 75.0).dump()
    with pytest.raises(Tampered):
        Metabolism.load(kept[:200] + bytes([kept[200] ^ 1]) + kept[201:])
    import hashlib

    for body in (b"", b"\0\0\0\2{}", kept[:-500]):
        with pytest.raises((Malformed, Tampered)):
            Metabolism.load(body + hashlib.sha256(body).digest())


@pytest.mark.parametrize("kind", KINDS)
def test_water_and_potassium_are_only_moved(kind: str) -> None:
    one = busy(kind)
    x = one.slow
    water, potassium = x["water"] - x["water_in"] + x["water_out"], x["K_e"] + x["K_i"] - x["K_in"] + x["K_out"]
    blood, total = 5000.0, [0.0, 0.0]
    plasma, out, dry = x["plasma"], x["water_out"], 0.0
    for _ in range(240):
        dry += one.flow["insensible"]
        passed: Exchange = one.advance(60.0, 85.0, 5.0, blood, 1.0, 35.0)
        blood += passed.plasma_ml
        total[0] += passed.plasma_ml
        total[1] += passed.urine_ml
    x = one.slow
    assert x["water"] - x["water_in"] + x["water_out"] == pytest.approx(water, abs=1e-9)
    assert x["K_e"] + x["K_i"] - x["K_in"] + x["K_out"] == pytest.approx(potassium, abs=1e-8)
    # What went out of the door is what left the ledger.
    assert x["plasma"] - plasma == pytest.approx(total[0], abs=1e-6)
    assert 1000.0 * (x["water_out"] - out) == pytest.approx(total[1] + dry, abs=1e-6)
    assert x["water_in"] > 0.7
    assert x["K_in"] > 79.0


def test_sugar_that_is_given_or_lost_is_counted() -> None:
    """Law: IV glucose is all in the body within its minute, and urine takes what the kidney says."""
    a, b = Metabolism.start("dka", 75.0), Metabolism.start("dka", 75.0)
    b.give("glucose_iv", 10.0, "g")
    for one in (a, b):
        one.advance(60.0, *REST)
    both = [float(one.body.x[3] + one.body.x[4]) * 75.0 / 1000.0 for one in (a, b)]
    assert both[1] - both[0] == pytest.approx(10.0, rel=0.01)
    lost = a.slow["glucose_out"]
    spill = a.flow["glucose"]
    a.advance(60.0, *REST)
    assert a.slow["glucose_out"] - lost == pytest.approx(spill / 1000.0)


def test_more_of_it_does_more_of_it() -> None:
    """Monotone: insulin on glucose, potassium and ketones; fluid on glucose; pressure on urine; blood on filtration."""

    def after(kind: str, what: str, amount: float, unit: str, hours: float = 2.0) -> dict[str, float]:
        one = Metabolism.start(kind, 75.0)
        one.give(what, amount, unit)
        one.advance(hours * 3600.0, 90.0, 5.0, 4700.0, 1.0, 25.0)
        return dict(one.laboratory(1.0, 25.0))

    doses = [after("dka", "insulin_iv", rate, "IU/h") for rate in (0.0, 2.0, 4.0, 8.0, 16.0)]
    for name, sign in (("glucose", -1), ("K", -1), ("ketones", -1), ("HCO3", 1)):
        assert (sign * np.diff([found[name] for found in doses]) > 0).all(), name
    fluid = [after("dka", "crystalloid", rate, "mL/h")["glucose"] for rate in (0.0, 250.0, 500.0, 1000.0)]
    assert (np.diff(fluid) < 0).all()
    salt = [after("healthy", "potassium_chloride", rate, "mmol/h")["K"] for rate in (0.0, 10.0, 20.0, 40.0)]
    assert (np.diff(salt) > 0).all()
    urine = [Metabolism.start("healthy", 75.0).advance(3600.0, MAP, *REST[1:]).urine_ml for MAP in range(30, 130, 10)]
    assert (np.diff(urine) >= 0).all()
    assert urine[-1] > 1.5 * 75.0 > 10.0 * (urine[0] + 1.0)
    drug = []
    for mg in (0.0, 10.0, 20.0, 40.0, 80.0):
        one = Metabolism.start("healthy", 75.0)
        one.give("furosemide", mg, "mg")
        drug.append(one.advance(7200.0, *REST).urine_ml)
    assert (np.diff(drug) > 0).all()


def test_salts_follow_their_causes() -> None:
    """Direction: saline raises water outside cells only; water lowers sodium; acid drives potassium out."""
    saline, water, acid = (Metabolism.start("healthy", 75.0) for _ in range(3))
    cells = [one.slow["water"] - one.outside for one in (saline, water)]
    saline.give("crystalloid", 1000.0, "mL")
    water.give("water", 1000.0, "mL")
    for one in (saline, water):
        one.advance(60.0, *REST)
    assert saline.slow["water"] - saline.outside == pytest.approx(cells[0], abs=0.1)
    assert water.slow["water"] - water.outside - cells[1] == pytest.approx(2 / 3, abs=0.05)
    assert water.laboratory(1.0, 40.0)["Na"] < 138.5
    assert acid.advance(7200.0, 93.0, 5.0, 5300.0, 12.0, 40.0).K > 4.4


def test_fever_and_cooling() -> None:
    one = Metabolism.start("healthy", 75.0)
    one.give("fever", 2.0, "delta_degC")
    warm = one.advance(6 * 3600.0, *REST).temperature
    assert warm == pytest.approx(39.0, abs=0.05)
    one.give("cooling", 100.0, "W")
    assert 1.2 < warm - one.advance(6 * 3600.0, *REST).temperature < 1.5
    one.give("cooling", 0.0, "W")
    one.give("fever", 0.0, "delta_degC")
    assert one.advance(12 * 3600.0, *REST).temperature == pytest.approx(37.0, abs=0.01)


def test_wakefulness_follows_glucose_and_decides_about_drinking() -> None:
    """Direction: a low takes it within minutes, not at once, sugar by vein gives it back; nobody drowsy drinks."""
    one = Metabolism.start("t1d", 75.0)
    one.give("insulin_iv", 40.0, "IU")
    before = [one.advance(60.0, *REST).awake for _ in range(60)]
    assert before[0] == 1.0
    assert (np.diff(before) <= 0).all()
    assert before[-1] < metabolism_glucose.SWALLOWS
    for what, amount, unit in (("glucose_oral", 20.0, "g"), ("meal", 30.0, "g"), ("water", 200.0, "mL")):
        with pytest.raises(BadInput, match="swallow"):
            one.give(what, amount, unit)
    one.give("glucose_iv", 25.0, "g", 120.0)
    assert one.advance(180.0, *REST).awake < one.advance(900.0, *REST).awake > 0.9
    one.give("glucose_oral", 20.0, "g")


def test_what_is_vomited_is_lost_and_acid_speeds_the_heart() -> None:
    dry, same = Metabolism.start("dka", 75.0), Metabolism.start("dka", 75.0)
    dry.give("vomit", 500.0, "mL")
    seen = [one.advance(60.0, *REST) for one in (dry, same)]
    assert same.slow["water"] - dry.slow["water"] == pytest.approx(0.5)
    assert same.slow["K_e"] + same.slow["K_i"] - dry.slow["K_e"] - dry.slow["K_i"] == pytest.approx(6.0)
    assert same.slow["Na_e"] - dry.slow["Na_e"] == pytest.approx(30.0)
    assert 0.5 < seen[0].sympathetic <= 1.0


@pytest.mark.parametrize(
    ("what", "amount", "unit", "over"),
    [
        ("aspirin", 1.0, "g", 0.0),
        ("insulin_iv", 5.0, "mL", 0.0),
        ("insulin_iv", float("nan"), "IU", 0.0),
        ("insulin_iv", -1.0, "IU", 0.0),
        ("insulin_iv", 101.0, "IU/h", 0.0),
        ("potassium_chloride", 61.0, "mmol/h", 0.0),
        ("glucose_iv", 10.0, "g", -1.0),
        ("glucose_iv", 10.0, "g", float("inf")),
        ("fever", 1.0, "delta_degC", 60.0),
        ("insulin_sc", 4.0, "IU", 0.0),
    ],
)
def test_what_cannot_be_given(what: str, amount: float, unit: str, over: float) -> None:
    one = Metabolism.start("healthy", 75.0)
    before = one.dump()
    with pytest.raises(BadInput) as refused:
        one.give(what, amount, unit, over)
    assert len(refused.value.public) > 15
    assert one.dump() == before


def test_other_refusals() -> None:
    for wrong in (("werewolf", 75.0, {}), ("t1d", 5.0, {}), ("t1d", 75.0, {"glucose": 300.0}), ("t1d", 75.0, {"x": 1}),
                  ("healthy", float("nan"), {}), ("dka", 75.0, {"GFR0": 1e9})):  # fmt: skip
        with pytest.raises(BadInput):
            Metabolism.start(wrong[0], wrong[1], **wrong[2])
    with pytest.raises(Unready, match="three days"):
        Metabolism.start("dka", 75.0, stress=0.0)
    one = Metabolism.start("healthy", 75.0)
    for seconds, body in ((3.0, REST), (0.0, REST), (-2.0, REST), (2.0, (float("nan"), *REST[1:])),
                          (2.0, (*REST[:2], -1.0, *REST[3:]))):  # fmt: skip
        with pytest.raises(BadInput):
            one.advance(seconds, *body)
    low = Metabolism.start("healthy", 75.0)
    low.give("insulin_iv", 100.0, "IU")
    low.slow["adrenal"] = float("nan")  # a state that no equation may reach is told, not passed on
    with pytest.raises(TwinwardError):
        low.advance(120.0, *REST)


def test_a_gross_overdose_stays_a_person() -> None:
    one = Metabolism.start("t1d", 75.0)
    one.give("insulin_iv", 100.0, "IU/h")
    for _ in range(72):
        found = one.advance(300.0, *REST)
        assert 0.0 <= found.glucose < 200.0
        assert found.K > 1.0
    assert found.glucose < metabolism_meaning.VALUES["G_out"]
    assert len(one.signs()) == len(metabolism_glucose.SIGNS)
    with pytest.raises(BadInput, match="swallow"):
        one.give("glucose_oral", 20.0, "g")


def test_the_minute_is_the_models_own() -> None:
    """Without anything by vein the kernels give the bits of dalla_man.py and glucose_options.py."""
    well, ill = metabolism_glucose.healthy(75.0, 92.0, 1.0), metabolism_glucose.type_1(75.0, 110.0, 1.8)
    grams, rate = np.r_[np.full(6, 5.0), np.zeros(54)], s2008.basal_rate(ill.p)
    units = np.full(60, rate)
    x, memory, y, other = well.x.copy(), well.memory.copy(), ill.x.copy(), ill.memory.copy()
    for minute in range(60):
        metabolism_glucose.healthy_minute(x, well.p, memory, grams[minute], 0.0, 0.0)
        metabolism_glucose.type_1_minute(y, ill.p, other, grams[minute], units[minute], 0.0, 0.0)
    course = np.empty((60, 2))
    z, plate = well.x.copy(), well.memory.copy()
    dalla_man.simulate(well.p, z, plate, grams, np.zeros(60), 1, course)
    assert x == pytest.approx(z, rel=1e-12)
    z, plate, table = ill.x.copy(), ill.memory.copy(), np.zeros((60, 5))
    table[:, 0], table[:, 1] = grams, units
    options.simulate(ill.p, z, plate, table, 0, 0.0, 0.0, 300.0, 1, np.empty(60))
    assert y.tolist() == z.tolist()


@pytest.mark.parametrize(("sugar", "iv"), [(40.0, 0.0), (0.0, 50.0), (5.0, 800.0)])
def test_by_vein_against_another_integrator(sugar: float, iv: float) -> None:
    """A second writing of the IV terms, by scipy; a minute is fine enough, also under gross insulin."""
    state = metabolism_glucose.healthy(75.0, 92.0, 1.0)
    p, x, memory = state.p, state.x.copy(), state.memory.copy()

    def rates(_: float, y: np.ndarray) -> np.ndarray:
        dx = np.empty(len(y))
        dalla_man.derivative(y, p, 0.0, 0.0, 0.0, 0, dx)
        GP, IPO, VG = dalla_man.GP, dalla_man.IPO, p[dalla_man.VG]
        secreted = y[dalla_man.Y] + p[dalla_man.K] * max((dx[GP] + sugar) / VG, 0.0) + p[dalla_man.SB]
        dx[IPO] = secreted - p[dalla_man.GAMMA] * y[IPO]
        dx[GP] += sugar
        dx[dalla_man.IP] += iv
        return dx

    for _ in range(10):
        metabolism_glucose.healthy_minute(x, p, memory, 0.0, sugar, iv)
    exact = solve_ivp(rates, (0.0, 10.0), state.x, rtol=1e-9, atol=1e-9).y[:, -1]
    assert x[: dalla_man.BODY] == pytest.approx(exact[: dalla_man.BODY], rel=2e-3, abs=1e-2)


def test_the_meaning_tables() -> None:
    for table in (metabolism_meaning.PARAMETERS, metabolism_meaning.STATES, metabolism_meaning.FLOWS):
        for meaning in table.values():
            ureg.parse_units(meaning.unit)
            assert meaning.low < meaning.high, meaning.symbol
            assert meaning.source
    for row in metabolism_meaning.VALUE_ROWS:
        assert row[4] <= row[1] <= row[5], row[0]
    for row in metabolism_meaning.PARAMETERS.values():
        tagged = any(tag in row.source for tag in ("[S]", "[M]", "[G]", "csv", "physiology.md"))
        assert tagged, row.symbol
    for given in GIVABLE.values():
        ureg.parse_units(given.unit.replace("IU", "mol"))


def quantities() -> dict[str, Any]:
    return {name: metabolism_meaning.VALUES[name] * ureg(meaning.unit) if "degC" not in meaning.unit else None
            for name, meaning in metabolism_meaning.PARAMETERS.items()}  # fmt: skip


def agrees(found: Any, unit: str, plain: float) -> None:
    assert found.to(unit).magnitude == pytest.approx(plain, rel=1e-12)


def test_the_same_equations_on_quantities() -> None:
    """Dimensions and scale: the answer in the stated unit is that of the plain numbers."""
    v, w, one = quantities(), metabolism_meaning.VALUES, ureg("1")
    GFR = kidney.filtration(70 * ureg.mmHg, 0.1 * one, v["GFR0"], v["MAP_none"], v["MAP_full"], v["GFR_volume"])
    plain = kidney.filtration(70.0, 0.1, w["GFR0"], 40.0, 75.0, 2.0)
    agrees(GFR, "mL/min", plain)
    for G in (100.0, 300.0, 500.0):
        spilt = kidney.spilt(G * ureg("mg/dL"), GFR, v["G_spill"], v["G_full"])
        agrees(spilt, "mg/min", kidney.spilt(G, plain / 100.0, w["G_spill"], w["G_full"]))
    usual = v["urine0"] * v["weight"]
    agrees(kidney.plain(usual, 0.8 * one, 0.9 * one, 1.1 * one, v["urine_n"].magnitude, 6.0), "mL/min",
           kidney.plain(1.25, 0.8, 0.9, 1.1, 3.0, 6.0))  # fmt: skip
    agrees(kidney.driven(20 * ureg.mg, 0.8 * one, v["loop_most"], v["loop_50"]), "mL/min",
           kidney.driven(20.0, 0.8, w["loop_most"], w["loop_50"]))  # fmt: skip
    agrees(kidney.creatinine_rate(2 * ureg("mg/dL"), GFR, v["GFR0"], v["creatinine0"], 45 * ureg.L), "mg/dL/min",
           kidney.creatinine_rate(2.0, plain, w["GFR0"], w["creatinine0"], 45_000.0))  # fmt: skip
    volume = electrolytes.outside_cells(45 * ureg.L, 2100 * ureg.mmol, 90 * ureg.mmol, 8600 * ureg.mmol)
    agrees(volume, "L", electrolytes.outside_cells(45.0, 2100.0, 90.0, 8600.0))
    pull = electrolytes.insulin_pull(6 * one, v["K_insulin"], v["K_insulin_50"])
    kept = electrolytes.kept(v["K0"], 0.9 * one, 3.5, 1.1 * one, 1.2 * one, pull, 1.0 * one)
    rest = electrolytes.kept(4.2, 0.9, 3.5, 1.1, 1.2, float(pull.magnitude), 1.0)
    agrees(kept, "mmol/L", rest)
    agrees(electrolytes.into_cells(5 * ureg("mmol/L"), kept, volume, v["K_tau"]), "mmol/min",
           electrolytes.into_cells(5.0, rest, volume.magnitude, w["K_tau"]))  # fmt: skip
    agrees(electrolytes.excreted(1.2 * one, v["K_intake"] * v["weight"], 2.0, 3 * ureg("mL/min"), v["K_urine"]),
           "mmol/min", electrolytes.excreted(1.2, 0.9 * 75.0 / 1440.0, 2.0, 3.0, w["K_urine"]))  # fmt: skip
    most, half, Km, B0, lost = (v[n] for n in ("ketones_most", "ketones_50", "ketones_Km", "ketones0", "ketones_renal"))
    used = ketones.use_most(most, half, 2.0 * one, Km, B0, lost)
    plain = ketones.use_most(1.0, 0.27, 2.0, 1.0, 0.1, 0.04)
    agrees(used, "mmol/L/hour", plain)
    agrees(ketones.rate(5 * ureg("mmol/L"), 0.2 * one, most, half, 2.0 * one, used, Km, lost), "mmol/L/hour",
           ketones.rate(5.0, 0.2, 1.0, 0.27, 2.0, plain, 1.0, 0.04))  # fmt: skip
    change = ureg("mmol/L/hour")
    agrees(ketones.base_rate(3 * ureg("mmol/L"), 0.2 * change, 0.1 * change, 0.4 * change, v["HCO3_tau"]),
           "mmol/L/hour", ketones.base_rate(3.0, 0.2, 0.1, 0.4, 24.0))  # fmt: skip
    level = ureg("mmol/L")
    agrees(ketones.bicarbonate(v["HCO30"], v["anions"], 5 * level, B0, 2 * level, 1 * level), "mmol/L",
           ketones.bicarbonate(24.0, 1.33, 5.0, 0.1, 2.0, 1.0))  # fmt: skip
    degree = ureg.delta_degC
    warming = temperature.rate(37 * degree, 39 * degree, v["warming_tau"], 100 * ureg.W, 3.47 * 75 * ureg.kJ / degree)
    agrees(warming, "delta_degC/min", temperature.rate(37.0, 39.0, 60.0, 6.0, 3.47 * 75))
    agrees(metabolism_glucose.wanted(55 * ureg("mg/dL"), v["G_alert"], v["G_alarm"]), "1", 0.5)
    made = metabolism_glucose.saturating(0.3 * ureg.mg, v["glucagon_made"], v["glucagon_50"])
    agrees(made, "mg/kg/min", metabolism_glucose.saturating(0.3, w["glucagon_made"], w["glucagon_50"]))
    agrees(metabolism_glucose.spared(40 * ureg("mg/dL"), v["G_spare"], 1 * ureg("mg/kg/min")), "mg/kg/min",
           metabolism_glucose.spared(40.0, 81.0, 1.0))  # fmt: skip
