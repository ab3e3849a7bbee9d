"""Equations run on quantities: dimensions fit, and the scale is the kernel's."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeAlias

import numpy as np
import pint
import pytest

from twinward.errors import BadInput
from twinward.physiology import cohort
from twinward.physiology import glucose as s2008
from twinward.physiology.meaning import HOVORKA_PARAMETERS, S2008_PARAMETERS, S2008_STATES, SENSOR_PARAMETERS, check

ureg: pint.UnitRegistry[float] = pint.UnitRegistry()
Quantity: TypeAlias = Any
PER_MIN = {"mg": "mg/min", "mg/kg": "mg/kg/min", "pmol/kg": "pmol/kg/min", "pmol/L": "pmol/L/min"}


def quantities() -> tuple[dict[str, Quantity], dict[str, Quantity], np.ndarray, np.ndarray]:
    people = cohort.load()
    p, x = people.parameters[7].copy(), np.zeros(13)
    s2008.rest(p, people.basal[7], x)
    x[:3] = 20_000.0, 15_000.0, 5_000.0
    x[s2008.X], x[s2008.ID] = 20.0, 110.0
    named = {m.symbol: p[k] * ureg(m.unit) for k, m in enumerate(S2008_PARAMETERS.values())}
    states = {m.symbol: x[k] * ureg(m.unit) for k, m in enumerate(S2008_STATES.values())}
    return named, states, p, x


def plain_emptying() -> Callable[..., Quantity]:
    """kgut as Python runs it: with the uncompiled tanh, and without touching the module."""
    found = s2008.emptying.py_func  # type: ignore[attr-defined]
    return FunctionType(found.__code__, {**found.__globals__, "tanh": s2008.tanh.py_func})  # type: ignore[attr-defined]


def by_paper(p: dict[str, Quantity], x: dict[str, Quantity]) -> dict[str, Quantity]:
    eaten, dose = 5 * ureg("g/min"), 60 * ureg.g
    u = (2.0 * ureg("1/hour") * (6000 * ureg.pmol) / p["BW"]).to("pmol/kg/min")  # 2 U/h
    kgut = plain_emptying()(x["Qsto1"] + x["Qsto2"], dose.to("mg"), p["kmax"], p["kmin"], p["b"], p["d"])
    found = dict(
        zip(
            ("Qsto1", "Qsto2", "Qgut"),
            s2008.absorption.py_func(  # type: ignore[attr-defined]
                x["Qsto1"], x["Qsto2"], x["Qgut"], eaten.to("mg/min"), kgut, p["kmax"], p["kabs"]
            ),
            strict=True,
        )
    )
    ra = p["f"] * p["kabs"] * x["Qgut"] / p["BW"]
    names: tuple[str, ...] = ("kp1", "kp2", "kp3", "Fsnc", "ke1", "ke2", "k1", "k2", "Vm0", "Vmx", "Km0")
    found["Gp"], found["Gt"] = s2008.glucose.py_func(  # type: ignore[attr-defined]
        x["Gp"], x["Gt"], x["X"], x["Id"], ra, *(p[name] for name in names)
    )
    names = ("m1", "m2", "m4", "m30", "ka1", "ka2", "kd")
    found["Ip"], found["Il"], found["Isc1"], found["Isc2"] = s2008.insulin.py_func(  # type: ignore[attr-defined]
        x["Ip"], x["Il"], x["Isc1"], x["Isc2"], u, *(p[name] for name in names)
    )
    found["X"], found["I1"], found["Id"] = s2008.action.py_func(  # type: ignore[attr-defined]
        x["Ip"] / p["Vi"], x["X"], x["I1"], x["Id"], p["Ib"], p["p2u"], p["ki"]
    )
    found["Gs"] = s2008.interstitium.py_func(x["Gp"], x["Gs"], p["ksc"])  # type: ignore[attr-defined]
    return found


def test_every_equation_has_the_dimension_of_its_state_per_minute_and_the_kernels_scale() -> None:
    p, x, numbers, state = quantities()
    dx = np.zeros(13)
    u = 2.0 / 60 * s2008.PMOL_PER_UNIT / numbers[s2008.BW]
    s2008.derivative(state, numbers, 5.0 * s2008.MG_PER_G, u, 60.0 * s2008.MG_PER_G, 0.0, dx)
    for symbol, rate in by_paper(p, x).items():
        unit = PER_MIN[S2008_STATES[symbol].unit]
        value = rate.to(unit).magnitude  # raises where dimensions differ
        assert value == pytest.approx(dx[s2008.STATES.index(symbol)], rel=1e-9, abs=1e-12), symbol


def test_a_gram_taken_for_a_milligram_is_found() -> None:
    p, x, _, _ = quantities()
    right = s2008.absorption.py_func(  # type: ignore[attr-defined]
        x["Qsto1"], x["Qsto2"], x["Qgut"], 5 * ureg("g/min"), p["kmin"], p["kmax"], p["kabs"]
    )[0]
    assert right.to("mg/min").magnitude == pytest.approx(5000 - p["kmax"].magnitude * 20_000)
    with pytest.raises(pint.DimensionalityError):
        s2008.absorption.py_func(  # type: ignore[attr-defined]
            x["Qsto1"], x["Qsto2"], x["Qgut"], 5 * ureg("g"), p["kmin"], p["kmax"], p["kabs"]
        )


@pytest.mark.parametrize("table", [S2008_PARAMETERS, S2008_STATES, HOVORKA_PARAMETERS, SENSOR_PARAMETERS])
def test_every_number_has_unit_source_and_range(table: dict[str, object]) -> None:
    for symbol, meaning in table.items():
        assert meaning.symbol == symbol  # type: ignore[attr-defined]
        ureg.parse_units(meaning.unit)  # type: ignore[attr-defined]
        assert meaning.low < meaning.high  # type: ignore[attr-defined]
        assert meaning.source  # type: ignore[attr-defined]
        assert meaning.text  # type: ignore[attr-defined]


def test_the_whole_cohort_is_believable_and_nonsense_is_not() -> None:
    for p in cohort.load().parameters:
        check(dict(zip(s2008.PARAMETERS, p, strict=True)), S2008_PARAMETERS)
    with pytest.raises(BadInput, match="body weight"):
        check({"BW": 7.0}, S2008_PARAMETERS)
    with pytest.raises(BadInput):
        check({"Vg": float("nan")}, S2008_PARAMETERS)
