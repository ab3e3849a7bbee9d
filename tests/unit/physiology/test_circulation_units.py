"""Every equation of the circulation on quantities with units: dimensions and scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pint
import pytest

from twinward.physiology import circulation as c
from twinward.physiology import circulation_reflex as reflex
from twinward.physiology import heart
from twinward.physiology.circulation_meaning import (
    CIRCULATION_INPUTS,
    CIRCULATION_PARAMETERS,
    CIRCULATION_STATES,
    shipped,
)

ureg: pint.UnitRegistry[float] = pint.UnitRegistry()
MMHG, ML, S = ureg.mmHg, ureg.mL, ureg.s
Quantity = Any


def plain(equation: Any) -> Any:
    return equation.py_func


def other(q: Quantity) -> Quantity:
    """The same quantity in SI base units: an equation that hides a factor gives another answer."""
    return q.to_base_units()


@pytest.fixture
def p() -> dict[str, Quantity]:
    return {m.symbol: v * ureg(m.unit) for m, v in zip(CIRCULATION_PARAMETERS.values(), shipped(), strict=True)}


@pytest.fixture
def x() -> dict[str, Quantity]:
    state = c.start(shipped(), 5300.0)
    return {m.symbol: v * ureg(m.unit) for m, v in zip(CIRCULATION_STATES.values(), state, strict=True)}


def agree(equation: Any, unit: str, *arguments: Quantity) -> None:
    """Units come out right, and the number is the same whatever units went in."""
    found, again = plain(equation)(*arguments), plain(equation)(*(other(a) for a in arguments))
    found, again = (v if isinstance(v, tuple) else (v,) for v in (found, again))
    for one, two, name in zip(found, again, unit.split("|"), strict=True):
        assert ureg.Quantity(one).to(name).magnitude == pytest.approx(ureg.Quantity(two).to(name).magnitude, rel=1e-9)


def test_the_heart(p: dict[str, Quantity], x: dict[str, Quantity]) -> None:
    T, phi = 0.86 * S, 0.7 * ureg.dimensionless
    agree(heart.systole, "s", T, p["Tsys0"], p["ksys"])
    agree(heart.contraction, "dimensionless", 0.2 * ureg.dimensionless, T, 0.4 * S)
    agree(heart.atrium, "mmHg", x["Vla"], phi, p["Elad"], p["Elas"], p["Vula"])
    agree(heart.ventricle, "mmHg", x["Vlv"], phi, p["El0"] + x["dEl"], p["Vulv"], p["P0lv"], p["kElv"])
    agree(heart.outflow, "mL/s", 120 * MMHG, x["Psa"], p["kRlv"])
    agree(heart.outflow, "mL/s", 20 * MMHG, x["Psa"], p["kRlv"])
    agree(heart.inflow, "mL/s", 9 * MMHG, 8 * MMHG, p["Rmi"])


def test_the_vessels(p: dict[str, Quantity], x: dict[str, Quantity]) -> None:
    filling = 90 * ML / S
    agree(c.large_vessel, "mmHg/s|mL/s**2", x["Psa"], x["Fsa"], x["Psp"], filling, p["Csa"], p["Rsa"], p["Lsa"])
    agree(c.large_vessel, "mmHg/s|mL/s**2", x["Ppa"], x["Fpa"], x["Ppp"], filling, p["Cpa"], p["Rpa"], p["Lpa"])
    agree(c.arterioles, "mmHg/s", x["Fsa"], filling / 3, filling / 2, p["Csp"], p["Cep"])
    unstressed = p["Vsv0"] + x["dVsv"] + 0.6 * x["dVcp"]
    agree(c.vein, "mmHg", x["Vsv"], unstressed, p["Csv"])
    agree(c.flow, "mL/s", x["Psp"], 6 * MMHG, p["Rsp0"] + x["dRsp"] + x["dRcp"])
    agree(c.period, "s", p["T0"], x["dTs"], x["dTv"], 0.3 * S)


def test_the_reflexes(p: dict[str, Quantity], x: dict[str, Quantity]) -> None:
    agree(reflex.receptor, "mmHg/s", x["Psa"], 30 * MMHG / S, x["Pcs"], p["taup"], p["tauz"])
    agree(reflex.sinus, "1/s", x["Pcs"], p["Pn"], p["ka"], p["fmin"], p["fmax"])
    fcs = 25 / S
    agree(reflex.sympathetic, "1/s", fcs, p["fesinf"], p["fes0"], p["kes"])
    agree(reflex.vagal, "1/s", fcs, p["fev0"], p["fevinf"], p["fcs0"], p["kev"])
    agree(reflex.drive, "dimensionless", x["s2"], p["fesmin"], 1 / S)
    agree(reflex.low_pressure, "mmHg", 5 * MMHG, p["Pset"], 5 * MMHG)
    agree(reflex.refill, "mL/s", -300 * ML, 20 * ML, p["krf"], p["frf"])
    agree(reflex.crystalloid, "mL/s|mL/s|mL/s", 300 * ML, 90 * ML, 1 * ML / S, p["k12"], p["k21"], p["k10"])
    delta, late = 2 * MMHG, 1.2 * ureg.dimensionless
    gains = (("GEl", "dEl"), ("GEr", "dEr"), ("GRsp", "dRsp"), ("GRep", "dRep"), ("GVsv", "dVsv"), ("GVev", "dVev"))
    for gain, drive in (*gains, ("GTs", "dTs")):
        agree(c.towards, f"({CIRCULATION_STATES[drive].unit})/s", p[gain] * late, x[drive], 8 * S)
    agree(c.towards, "s/s", p["GTv"] * 4 / S, x["dTv"], 1.5 * S)
    agree(c.towards, "mL/s", p["Gcv"] * delta, x["dVcp"], 20 * S)
    agree(c.towards, "mmHg*s/mL/s", p["Gcr"] * delta, x["dRcp"], 8 * S)


def test_a_wrong_unit_is_refused(p: dict[str, Quantity], x: dict[str, Quantity]) -> None:
    with pytest.raises(pint.DimensionalityError):
        plain(c.vein)(x["Psa"], p["Vsv0"], p["Csv"])
    with pytest.raises(pint.DimensionalityError):
        plain(reflex.refill)(-300 * ML / S, 20 * ML, p["krf"], p["frf"])


@pytest.mark.parametrize("table", [CIRCULATION_PARAMETERS, CIRCULATION_STATES, CIRCULATION_INPUTS])
def test_every_number_has_unit_source_and_range(table: dict[str, Any]) -> None:
    for symbol, meaning in table.items():
        assert meaning.symbol == symbol
        ureg.parse_units(meaning.unit)
        assert meaning.low < meaning.high
        assert meaning.source
        assert meaning.text


def test_what_ships_is_believable_and_says_where_it_is_from() -> None:
    for value, meaning in zip(shipped(), CIRCULATION_PARAMETERS.values(), strict=True):
        assert meaning.low <= value <= meaning.high, meaning.symbol
        assert any(tag in meaning.source for tag in ("[S]", "[X]", "[M]", "[G]"))
    assert np.isfinite(shipped()).all()
