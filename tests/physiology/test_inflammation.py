"""Regimes, laws and dimensions of inflammation, virus and their coupling (design rows 8 and 13)."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pint
import pytest

from twinward.errors import BadInput, Malformed
from twinward.physiology import coupling, inflammation, virus
from twinward.physiology.inflammation_batch import SYMBOLS, Batch

ureg: pint.UnitRegistry[float] = pint.UnitRegistry()
ureg.define("TCID50 = [infectivity]")
ureg.define("cell = [cell]")
Quantity: TypeAlias = Any
DOSES = (0.05, 0.25, 0.5, 1.0, 1.5, 2.0, 4.0, 8.0)
ENDS = {"H": "health", "A": "aseptic", "S": "septic"}


# --- inflammation


@pytest.mark.parametrize(
    ("growth", "row"), [(0.3, "HHHHAAAA"), (0.4, "HHHAAAAA"), (0.5, "HHHAAAAA"), (0.6, "HHSSSSSS")]
)
def test_the_dose_decides_between_the_three_ends(growth: float, row: str) -> None:
    """Self: the rows of the design for .3, .4, .5; .6 shows the septic end. At 600 h."""
    p = inflammation.parameters({"kpg": growth})
    assert [inflammation.outcome(p, dose) for dose in DOSES] == [ENDS[letter] for letter in row]


def test_the_aseptic_state_is_the_one_of_the_design() -> None:
    """Self: N .635, D 17.40, CA .523."""
    x = inflammation.run(inflammation.start(8.0), inflammation.parameters(), 600)
    assert x[:4] == pytest.approx([0.0, 0.635, 17.40, 0.523], abs=5e-3)
    dx = np.empty(5)
    inflammation.derivative(x, inflammation.parameters(), 0.0, dx)
    assert np.abs(dx).max() < 1e-4


def test_health_is_a_state_of_rest_and_damage_of_one_has_not_settled_at_300_hours() -> None:
    p = inflammation.parameters()
    assert np.array_equal(inflammation.run(inflammation.HEALTHY, p, 100)[:3], np.zeros(3))
    assert inflammation.run(inflammation.HEALTHY, p, 100)[3] == pytest.approx(0.125, abs=1e-12)
    assert inflammation.run(inflammation.start(1.0), p, 300)[inflammation.D] > 0.01
    with pytest.raises(BadInput, match="600"):
        inflammation.outcome(p, 1.0, 300)


def test_the_kernel_agrees_with_the_second_writing_and_with_a_tenth_of_the_step() -> None:
    p = inflammation.parameters({"kpg": 0.55})
    states = np.array([inflammation.start(dose) for dose in (0.0, *DOSES)])
    ours = np.array([inflammation.run(x, p, 96, 0.05) for x in states])
    assert ours == pytest.approx(Batch(np.tile(p, (9, 1)), states).run(96, kill=0.05), abs=1e-9)
    fine = states[5].copy()
    inflammation.advance(fine, p, 0.05, 19200, 0.005)
    assert ours[5] == pytest.approx(fine, abs=1e-5)
    assert SYMBOLS == inflammation.NAMES


def test_an_antibiotic_in_time_saves_and_a_late_one_leaves_the_damage() -> None:
    p = inflammation.parameters({"kpg": 0.6})

    def treated(after_h: float, kill: float) -> str:
        return inflammation.regime(
            inflammation.run(inflammation.run(inflammation.start(1.0), p, after_h), p, 600, kill)
        )

    assert [treated(1, 0.0), treated(1, 0.5), treated(24, 0.5)] == ["septic", "health", "aseptic"]


def test_crp_follows_with_a_half_life_of_nineteen_hours() -> None:
    """The elimination of the design; synthesis is an estimate."""
    p = inflammation.parameters()
    x = inflammation.HEALTHY.copy()
    x[inflammation.CRP] = 100.0
    assert inflammation.run(x, p, 19)[inflammation.CRP] == pytest.approx(50.0, rel=2e-3)
    ill = inflammation.run(inflammation.start(8.0), p, 600)
    assert 100 < ill[inflammation.CRP] < 300


def by_paper(x: np.ndarray, p: np.ndarray, kill: float) -> dict[str, Quantity]:
    k = {m.symbol: v * ureg(m.unit) for m, v in zip(inflammation.PARAMETERS.values(), p, strict=True)}
    s = {m.symbol: v * ureg(m.unit) for m, v in zip(inflammation.STATES.values(), x, strict=True)}
    braked = inflammation.braked.py_func  # type: ignore[attr-defined]
    fN = braked(s["N"], s["CA"], k["Cinf"])
    R = braked(k["knn"] * s["N"] + k["knp"] * s["P"] + k["knd"] * s["D"], s["CA"], k["Cinf"])
    F = braked(s["N"] + k["kcnd"] * s["D"], s["CA"], k["Cinf"])
    names = ("kpg", "Pinf", "kpm", "sm", "mum", "kmp", "kpn")
    return {
        "P": inflammation.pathogen.py_func(s["P"], fN, *(k[n] for n in names), kill * ureg("1/h")),  # type: ignore[attr-defined]
        "N": inflammation.phagocytes.py_func(s["N"], R, k["snr"], k["munr"], k["mun"]),  # type: ignore[attr-defined]
        "D": inflammation.damage.py_func(s["D"], fN, k["kdn"], k["xdn"], k["mud"]),  # type: ignore[attr-defined]
        "CA": inflammation.brake.py_func(s["CA"], F, k["sc"], k["kcn"], k["muc"]),  # type: ignore[attr-defined]
        "CRP": inflammation.protein.py_func(s["CRP"], k["il6"] * s["N"], k["ksyn"], k["ec50"], k["kel"]),  # type: ignore[attr-defined]
    }


def test_every_equation_has_the_dimension_of_its_state_per_hour() -> None:
    p = inflammation.parameters()
    x, dx = np.array([2.0, 0.4, 3.0, 0.3, 50.0]), np.empty(5)
    inflammation.derivative(x, p, 0.2, dx)
    for number, (symbol, rate) in enumerate(by_paper(x, p, 0.2).items()):
        found = rate.to(f"({inflammation.STATES[symbol].unit}) / hour").magnitude  # raises where dimensions differ
        assert found == pytest.approx(dx[number], rel=1e-9), symbol


def test_a_snapshot_of_an_infection_has_the_same_future_to_the_last_bit() -> None:
    p = inflammation.parameters({"kpg": 0.55, "mud": 0.03})
    x = inflammation.run(inflammation.start(1.5), p, 20)
    again = inflammation.Snapshot.unpack(inflammation.Snapshot(x, p).pack())
    one, other = inflammation.run(x, p, 50, 0.3), inflammation.run(again.state, again.parameters, 50, 0.3)
    assert one.tobytes() == other.tobytes()
    good = inflammation.Snapshot(x, p).pack()
    for bad in (b"", good[:-8], good.replace(b"/1", b"/2")):
        with pytest.raises(Malformed):
            inflammation.Snapshot.unpack(bad)
    x[0] = np.nan
    with pytest.raises(BadInput):
        inflammation.Snapshot.unpack(inflammation.Snapshot(x, p).pack())


def test_nonsense_is_refused() -> None:
    p = inflammation.parameters()
    for changes in ({"kpg": -1.0}, {"kpg": float("nan")}, {"speed": 1.0}):
        with pytest.raises(BadInput):
            inflammation.parameters(changes)
    for hours in (-1.0, 0.01, float("nan"), float("inf")):
        with pytest.raises(BadInput):
            inflammation.run(inflammation.HEALTHY, p, hours)
    for kill in (-0.1, 11.0, float("nan")):
        with pytest.raises(BadInput):
            inflammation.run(inflammation.HEALTHY, p, 1, kill)
    with pytest.raises(BadInput):
        inflammation.start(-1.0)


@pytest.mark.parametrize(
    "table",
    [inflammation.PARAMETERS, inflammation.STATES, inflammation.INPUTS, virus.PARAMETERS, virus.STATES,
     virus.INPUTS, coupling.MULTIPLIERS],
)  # fmt: skip
def test_every_number_has_unit_source_and_range(table: dict[str, Any]) -> None:
    for symbol, meaning in table.items():
        assert meaning.symbol == symbol
        ureg.parse_units(meaning.unit)
        assert meaning.low < meaning.high
        assert meaning.source
        assert meaning.text


# --- virus


@pytest.mark.parametrize(("name", "expected"), [("plain", 20.3), ("eclipse", 21.8)])
def test_reproduction_of_both_sets(name: Any, expected: float) -> None:
    """External: the design's 20.3; the abstract of Baccam 2006 says about 22."""
    assert virus.reproduction(virus.SETS[name]) == pytest.approx(expected, abs=0.05)


def test_the_remembered_set_meets_the_papers_abstract() -> None:
    """External: eclipse about 6 h, producing about 5 h, lifetime about 11 h, half-life of virus about 3 h."""
    q = virus.SETS["eclipse"]
    eclipse, producing = 24 / q[virus.K], 24 / q[virus.DELTA]
    assert (eclipse, producing) == pytest.approx((6, 5), abs=0.5)
    assert eclipse + producing == pytest.approx(11, abs=0.5)
    assert 24 * np.log(2) / q[virus.CLEARANCE] == pytest.approx(3, abs=0.5)


@pytest.mark.parametrize("name", ["plain", "eclipse"])
def test_the_final_size_law_holds(name: Any) -> None:
    """ln(T0/Tend) = R0 (1 - Tend/T0) + beta V0 / c, exact once all virus is gone."""
    q = virus.SETS[name]
    end = virus.run(virus.start(q), q, 60)
    left = end[virus.TARGET] / q[virus.T0]
    expected = virus.reproduction(q) * (1 - left) + q[virus.BETA] * q[virus.V0] / q[virus.CLEARANCE]
    assert np.log(1 / left) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["plain", "eclipse"])
def test_below_one_there_is_no_outbreak_and_above_one_there_is(name: Any) -> None:
    for block, breaks_out in ((0.0, True), (0.99, False)):
        q = virus.SETS[name]
        left = virus.run(virus.start(q), q, 30, block)[virus.TARGET] / q[virus.T0]
        assert (left < 0.5) == breaks_out == ((1 - block) * virus.reproduction(q) > 1)


@pytest.mark.parametrize("name", ["plain", "eclipse"])
def test_the_virus_kernel_agrees_with_the_second_writing(name: Any) -> None:
    q = virus.SETS[name]
    x, dx = np.array([3e8, 2e6, 4e6, 2e4]), np.empty(4)
    virus.derivative(x, q, 0.3, dx)
    assert dx == pytest.approx(virus.rates(x[:, None], q[:, None], 0.3)[:, 0], rel=1e-12)
    fine = virus.start(q)
    virus.advance(fine, q, 0.0, 6000, virus.STEP_D / 10)
    assert virus.run(virus.start(q), q, 3) == pytest.approx(fine, rel=1e-4)
    again = virus.Snapshot.unpack(virus.Snapshot(x, q).pack())
    assert virus.run(again.state, again.parameters, 2).tobytes() == virus.run(x, q, 2).tobytes()


def test_the_virus_has_dimensions_and_refusals() -> None:
    q = virus.SETS["plain"]
    k = {m.symbol: v * ureg(m.unit) for m, v in zip(virus.PARAMETERS.values(), q, strict=True)}
    s = {m.symbol: v * ureg(m.unit) for m, v in zip(virus.STATES.values(), (3e8, 0.0, 4e6, 2e4), strict=True)}
    new = virus.infection.py_func(s["T"], s["V"], k["beta"])  # type: ignore[attr-defined]
    assert new.to("cell/day").magnitude == pytest.approx(3e8 * 2e4 * 8.8e-6)
    virus.shedding.py_func(s["I"], s["V"], k["p"], k["c"], 0.2).to("TCID50/mL/day")  # type: ignore[attr-defined]
    wrong = q.copy()
    wrong[virus.CLEARANCE] = np.nan
    for ask in (
        lambda: virus.start(wrong),
        lambda: virus.run(virus.start(q), q, 0.001),
        lambda: virus.run(virus.start(q), q, 1, 1.5),
        lambda: virus.run(-virus.start(q), q, 1),
    ):
        with pytest.raises(BadInput):
            ask()
    with pytest.raises(Malformed):
        virus.Snapshot.unpack(b"123")


# --- coupling


def test_no_severity_changes_nothing_and_full_severity_is_the_design() -> None:
    none, full = coupling.multipliers(0.0), coupling.multipliers(1.0)
    assert list(none.values()) == [1.0, 0.0, 0.0, 0.0, 1.0]
    assert list(full.values()) == pytest.approx([0.55, 20.0, 0.067, 0.06, 0.5])
    for S in np.linspace(0, 1, 11):
        for name, value in coupling.multipliers(float(S)).items():
            assert coupling.MULTIPLIERS[name].low - 1e-12 <= value <= coupling.MULTIPLIERS[name].high + 1e-12
    assert coupling.severity(inflammation.SEVERE_DAMAGE) == coupling.severity(100.0) == 1.0


def test_severity_follows_damage_hour_by_hour() -> None:
    p = inflammation.parameters({"kpg": 0.6})
    found, x = coupling.course(inflammation.start(8.0), p, 48)
    assert found.shape == (49,)
    assert found[0] == 0.0
    assert np.all(np.diff(found) >= 0)
    assert found[-1] == coupling.severity(float(x[inflammation.D]))
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(BadInput):
            coupling.multipliers(wrong)
    with pytest.raises(BadInput):
        coupling.severity(float("nan"))


def test_all_three_say_that_they_are_for_teaching() -> None:
    for module in (inflammation, virus, coupling):
        assert module.TEACHING_ONLY
        assert module.__doc__ is not None
        assert "TEACHING ONLY" in module.__doc__
