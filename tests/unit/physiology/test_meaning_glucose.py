"""The further glucose models on quantities: dimensions fit, and the scale is the kernels'."""

from __future__ import annotations

from types import FunctionType
from typing import Any, TypeAlias

import numpy as np
import pint
import pytest

from twinward.physiology import dalla_man, exercise, hovorka
from twinward.physiology import glucose as s2008
from twinward.physiology import glucose_options as options
from twinward.physiology.meaning import HOVORKA_PARAMETERS, Meaning, check
from twinward.physiology.meaning_glucose import (
    DALLA_MAN_PARAMETERS,
    DALLA_MAN_STATES,
    EXERCISE_PARAMETERS,
    EXERCISE_STATES,
    HOVORKA_CONSTANTS,
    HOVORKA_STATES,
    OPTION_PARAMETERS,
)

ureg: pint.UnitRegistry[float] = pint.UnitRegistry()
Quantity: TypeAlias = Any
TABLES = (
    DALLA_MAN_PARAMETERS, DALLA_MAN_STATES, EXERCISE_PARAMETERS, EXERCISE_STATES, HOVORKA_CONSTANTS, HOVORKA_STATES,
    OPTION_PARAMETERS,
)  # fmt: skip


def named(table: dict[str, Meaning], values: np.ndarray) -> dict[str, Quantity]:
    # mU is a unit of account of its own here; pint reads it as milli-atomic-mass.
    return {m.symbol: v * ureg(m.unit.replace("mU", "nmol")) for m, v in zip(table.values(), values, strict=True)}


def python(equation: Any) -> Any:
    return equation.py_func


def plain_emptying() -> Any:
    found = python(s2008.emptying)
    return FunctionType(found.__code__, {**found.__globals__, "tanh": python(s2008.tanh)})


def agree(found: dict[str, Quantity], table: dict[str, Meaning], dx: np.ndarray, names: tuple[str, ...]) -> None:
    for symbol, rate in found.items():
        unit = ureg(table[symbol].unit.replace("mU", "nmol")) / ureg.min
        value = rate.to(unit.units).magnitude  # raises where dimensions differ
        assert value == pytest.approx(dx[names.index(symbol)], rel=1e-9, abs=1e-12), symbol


def test_dalla_man_with_effort_has_its_dimensions_and_the_kernels_scale() -> None:
    numbers = dalla_man.person(dalla_man.TYPE_2)
    state = dalla_man.rest(numbers).x
    state[:3] = 30_000.0, 15_000.0, 5_000.0
    state[dalla_man.X], state[dalla_man.ID], state[dalla_man.Y] = 20.0, 80.0, 0.7
    state[dalla_man.IPO] *= 1.3
    state[dalla_man.BODY :] = 38.0, 0.9, 1.2, 0.5, 0.1, 1700.0
    dx = np.zeros(dalla_man.WIDE)
    dalla_man.derivative(state, numbers, 5000.0, 60_000.0, 40.0, exercise.EMPTY, dx)

    p, x = named(DALLA_MAN_PARAMETERS, numbers), named(DALLA_MAN_STATES, state[: dalla_man.BODY])
    e, q = named(EXERCISE_STATES, state[dalla_man.BODY :]), named(EXERCISE_PARAMETERS, exercise.PUBLISHED)
    found: dict[str, Quantity] = {}
    kgut = plain_emptying()(x["Qsto1"] + x["Qsto2"], 60_000 * ureg.mg, p["kmax"], p["kmin"], p["b"], p["d"])
    found["Qsto1"], found["Qsto2"], found["Qgut"] = python(s2008.absorption)(
        x["Qsto1"], x["Qsto2"], x["Qgut"], 5 * ureg("g/min"), kgut, p["kmax"], p["kabs"]
    )
    work = python(exercise.effect)(e["Gprod"], e["Gup"], e["Ggly"])
    ra = p["f"] * p["kabs"] * x["Qgut"] / p["BW"] + work
    found["Gp"], found["Gt"] = python(s2008.glucose)(
        x["Gp"], x["Gt"], x["X"], x["Id"], ra, p["kp1"] - p["kp4"] * x["Ipo"],
        *(p[name] for name in ("kp2", "kp3", "Fcns", "ke1", "ke2", "k1", "k2", "Vm0", "Vmx", "Km0")),
    )  # fmt: skip
    secreted = p["gamma"] * x["Ipo"]
    m3 = python(dalla_man.extraction)(secreted, p["m1"], p["m5"], p["m6"])
    found["Ip"], found["Il"] = python(dalla_man.insulin)(x["Ip"], x["Il"], secreted, p["m1"], p["m2"], m3, p["m4"])
    per_unit = exercise.PMOL_PER_MU * ureg("pmol/nmol")  # of our nmol that stands for mU
    found["Ip"] = found["Ip"] - (e["Ie"].to("nmol/L/min") * p["VI"]).magnitude * per_unit.magnitude * ureg(
        "pmol/kg/min"
    )
    found["X"], found["I1"], found["Id"] = python(s2008.action)(
        x["Ip"] / p["VI"], x["X"], x["I1"], x["Id"], p["Ib"], p["p2U"], p["ki"]
    )
    found["Ipo"], found["Y"] = python(dalla_man.secretion)(
        x["Gp"] / p["VG"], found["Gp"] / p["VG"], x["Y"], x["Ipo"],
        *(p[name] for name in ("Gb", "Sb", "K", "alpha", "beta", "gamma")),
    )  # fmt: skip
    assert set(found) == set(DALLA_MAN_STATES)
    agree(found, DALLA_MAN_STATES, dx, dalla_man.STATES)

    rates = python(exercise.flows)(
        e["PVO2"], e["Gprod"], e["Gup"], e["Ie"], 40.0 * ureg("dimensionless"),
        *(q[name] for name in ("a0", "a1", "a2", "a3", "a4", "a5", "a6")),
    )  # fmt: skip
    found = dict(zip(("PVO2", "Gprod", "Gup", "Ie"), rates, strict=True))
    found["Ggly"], found["A"] = q["k"], 40.0 * ureg("dimensionless")
    agree(found, EXERCISE_STATES, dx, dalla_man.STATES)
    limit = python(exercise.threshold)(40.0 * ureg("dimensionless"), q["h1"], q["h2"])
    assert limit.to("min").magnitude == pytest.approx(40 * (87.471 - 1.1521 * 40))


def test_added_utilisation_has_the_dimension_of_utilisation() -> None:
    more = python(options.heeded)(
        20 * ureg("pmol/L"), 150 * ureg("mg/kg"), 3.0, 4 * ureg("mg/kg/min"), 0.05 * ureg("mg/kg/min/(pmol/L)"),
        225 * ureg("mg/kg"),
    )  # fmt: skip
    assert more.to("mg/kg/min").magnitude == pytest.approx(0.05 * 20 * 3 * 150 / 375)


def test_hovorka_has_its_dimensions_and_the_kernels_scale() -> None:
    numbers = hovorka.TYPICAL
    state, _ = hovorka.rest(numbers, 200.0)
    state[[hovorka.D1, hovorka.D2]] = 120.0, 60.0
    state[hovorka.S1] *= 1.4
    state[hovorka.GS] *= 0.9
    dx = np.zeros(11)
    hovorka.derivative(state, numbers, 27.0, 30.0, dx)
    p, x = named(HOVORKA_PARAMETERS, numbers), named(HOVORKA_STATES, state)
    constants = (hovorka.RENAL_RATE, hovorka.RENAL_THRESHOLD, hovorka.BRAIN_LEAST, hovorka.SENSOR_RATE)
    c = named(HOVORKA_CONSTANTS, np.array(constants))
    check(dict(zip(HOVORKA_CONSTANTS, constants, strict=True)), HOVORKA_CONSTANTS)
    found: dict[str, Quantity] = {}
    found["Q1"], found["Q2"] = python(hovorka.glucose)(
        *(x[name] for name in ("Q1", "Q2", "x1", "x2", "x3", "D2")),
        *(p[name] for name in ("BW", "k12", "EGP0", "F01", "VG", "tmaxG")), c["kR"], c["GR"], c["GF"],
    )  # fmt: skip
    found["S1"], found["S2"], found["I"] = python(hovorka.insulin)(
        x["S1"], x["S2"], x["I"], 30 * ureg("nmol/min"), p["BW"], p["VI"], p["ke"], p["tmaxI"]
    )
    for k, name in (("1", "SIT"), ("2", "SID"), ("3", "SIE")):
        found[f"x{k}"] = python(hovorka.action)(x["I"], x[f"x{k}"], p[f"ka{k}"], p[name])
    found["D1"], found["D2"] = python(hovorka.absorption)(x["D1"], x["D2"], 27 * ureg("mmol/min"), p["AG"], p["tmaxG"])
    found["Gs"] = python(hovorka.interstitium)(x["Q1"], x["Gs"], c["ks"])
    assert set(found) == set(HOVORKA_STATES)
    agree(found, HOVORKA_STATES, dx, hovorka.STATES)


@pytest.mark.parametrize("table", TABLES)
def test_every_number_has_unit_source_and_range(table: dict[str, Meaning]) -> None:
    for symbol, meaning in table.items():
        assert meaning.symbol == symbol
        ureg.parse_units(meaning.unit.replace("mU", "nmol"))
        assert meaning.low < meaning.high
        assert any(f"[{tag}]" in meaning.source for tag in "SMGR") or "follows" in meaning.source
        assert meaning.text


def test_published_effort_is_believable() -> None:
    check(dict(zip(EXERCISE_PARAMETERS, exercise.PUBLISHED, strict=True)), EXERCISE_PARAMETERS)
