"""What a blood pressure and a heart rate tell about a circulation, and what they do not.

    blood volume  Nadler 1962 (Surgery 51:224) from sex, height and weight: V / 5300 mL scales every volume and
                  compliance, its inverse every resistance and elastance; pressures and times stay as they were
    fitted        systemic resistance, arterial compliance (Csa, Csp, Cep jointly), T0: three numbers from three
    assumed       the baroreflex set point follows the person's usual mean pressure (it resets in hypertension)

Everything else is a typical response: two people with the same three numbers bleed alike here. Adults only:
there is no set for children.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput
from twinward.physiology import circulation as c
from twinward.physiology.circulation_meaning import CIRCULATION_PARAMETERS, shipped
from twinward.physiology.circulation_run import TYPICAL_BLOOD_ML, Circulation
from twinward.physiology.meaning import check
from twinward.physiology.monitor import features

Array = NDArray[np.float64]
ADULT_YEARS = 18
PERSONAL = ("Rsp0", "Rep0", "GRsp", "GRep", "Csa", "Csp", "Cep", "T0")
ASSUMED = ("Pn",)
WITH_VOLUME = (
    *("Csa", "Csp", "Cep", "Csv", "Cev", "Cpa", "Cpp", "Cpv", "Vusp", "Vuep", "Vupp", "Vupv", "Vula", "Vura"),
    *("Vulv", "Vurv", "GVsv", "GVev", "Vsv0", "Vev0", "Gcv"),
)
AGAINST_VOLUME = (
    *("Rsa", "Rsv", "Rev", "Rpa", "Rpp", "Rpv", "Lsa", "Lpa", "Elad", "Elas", "Erad", "Eras", "Rmi", "Rtr"),
    *("kElv", "kErv", "kRlv", "kRrv", "GEl", "GEr", "GRsp", "GRep", "El0", "Er0", "Rsp0", "Rep0", "Gcr"),
)
TYPICAL_MEAN, TYPICAL_PULSE, TYPICAL_RATE = 92.7, 38.9, 69.8  # what the typical circulation has at rest [X]
MEAN_SHARE = 0.286  # of the pulse, above diastolic, in mean pressure [X]
NEAR = np.array([0.5, 0.5, 0.3])  # mmHg, mmHg, per minute: near enough
MOST_TRIES = 14
RANGES = {"systolic": (90.0, 200.0), "diastolic": (45.0, 120.0), "heart rate": (45.0, 120.0)}


@dataclass(frozen=True, slots=True)
class Person:
    age_years: float
    sex: Literal["female", "male"]
    height_cm: float
    weight_kg: float


@dataclass(frozen=True, slots=True)
class Personal:
    circulation: Circulation  # at rest, time zero
    blood_ml: float
    personal: tuple[str, ...]  # parameters the measurements determined
    scaled: tuple[str, ...]  # parameters that follow body size alone
    assumed: tuple[str, ...]
    typical: tuple[str, ...]  # everybody's
    reached: tuple[float, float, float]  # systolic, diastolic, heart rate of the model


def nadler_ml(sex: Literal["female", "male"], height_cm: float, weight_kg: float) -> float:
    """Blood volume [M]."""
    a, b, k = (0.3669, 0.03219, 0.6041) if sex == "male" else (0.3561, 0.03308, 0.1833)
    return 1000.0 * (a * (height_cm / 100.0) ** 3 + b * weight_kg + k)


def sized(p: Array, blood_ml: float) -> Array:
    """`p` for a body of this much blood: same pressures and times, flows in proportion."""
    s = blood_ml / TYPICAL_BLOOD_ML
    q = p.copy()
    q[[c.PARAMETERS.index(symbol) for symbol in WITH_VOLUME]] *= s
    q[[c.PARAMETERS.index(symbol) for symbol in AGAINST_VOLUME]] /= s
    return q


def personalise(person: Person, systolic: float, diastolic: float, heart_rate: float) -> Personal:
    """The typical circulation, made to rest at this person's blood pressure and heart rate.

    Raises:
        BadInput: under 18, a body or measurements out of range, or a combination the model cannot take on.
    """
    base, blood_ml = _typical(person, systolic, diastolic, heart_rate)
    aim = np.array([systolic, diastolic, heart_rate])
    mean = diastolic + MEAN_SHARE * (systolic - diastolic)
    usual = shipped()[c.PN] + mean - TYPICAL_MEAN
    guess = np.array(
        [
            np.log(mean / TYPICAL_MEAN),
            np.log(TYPICAL_PULSE / (systolic - diastolic)),
            60 / heart_rate - 60 / TYPICAL_RATE,
        ]
    )

    def tried(v: Array) -> tuple[Circulation, Array]:
        p = base.copy()
        p[[c.RSP0, c.REP0, c.GRSP, c.GREP]] *= np.exp(v[0])
        p[[c.CSA, c.CSP, c.CEP]] *= np.exp(v[1])
        p[c.T0] += v[2]
        p[c.PN] = usual
        try:
            check(dict(zip(c.PARAMETERS, p.tolist(), strict=True)), CIRCULATION_PARAMETERS)
        except BadInput as error:
            raise BadInput("this blood pressure and heart rate are outside the model", detail=error.public) from error
        one = Circulation.start(p, blood_ml)
        seen = features(Circulation(p, one.state.copy(), blood_ml).advance(12.0, 250))
        return one, np.array([seen.systolic, seen.diastolic, seen.heart_rate]) - aim

    one, reached = _solved(tried, guess)
    typical = set(c.PARAMETERS) - set(PERSONAL) - set(ASSUMED) - set(WITH_VOLUME) - set(AGAINST_VOLUME)
    size = [s for s in c.PARAMETERS if s in (*WITH_VOLUME, *AGAINST_VOLUME) and s not in PERSONAL]
    found = (float(reached[0] + systolic), float(reached[1] + diastolic), float(reached[2] + heart_rate))
    return Personal(
        one, blood_ml, PERSONAL, tuple(size), ASSUMED, tuple(s for s in c.PARAMETERS if s in typical), found
    )


def _typical(person: Person, systolic: float, diastolic: float, heart_rate: float) -> tuple[Array, float]:
    if not person.age_years >= ADULT_YEARS:
        raise BadInput("a personal circulation is for adults of 18 and more: there is no set for children")
    if not (person.age_years <= 120 and 120 <= person.height_cm <= 230 and 30 <= person.weight_kg <= 250):
        raise BadInput("age at most 120, height 120..230 cm, weight 30..250 kg")
    values = {"systolic": systolic, "diastolic": diastolic, "heart rate": heart_rate}
    for name, value in values.items():
        low, high = RANGES[name]
        if not low <= value <= high:
            raise BadInput(f"{name} must lie in {low:g}..{high:g}")
    if not 20.0 <= systolic - diastolic <= 100.0:
        raise BadInput("systolic less diastolic must lie in 20..100 mmHg")
    blood_ml = nadler_ml(person.sex, person.height_cm, person.weight_kg)
    if not 2500.0 <= blood_ml <= 8000.0:
        raise BadInput("the blood volume of this body is outside what was checked")
    return sized(shipped(), blood_ml), blood_ml


def _solved(tried: Callable[[Array], tuple[Circulation, Array]], guess: Array) -> tuple[Circulation, Array]:
    """Broyden's method: a Jacobian by differences once, then one settling per try."""
    v, (one, miss) = guess, tried(guess)
    steps = np.diag([0.05, 0.05, 0.02])
    J = np.column_stack([(tried(v + step)[1] - miss) / step.max() for step in steps])
    for _ in range(MOST_TRIES):
        if bool((np.abs(miss) < NEAR).all()):
            return one, miss
        move = np.clip(-np.linalg.solve(J, miss), -0.4, 0.4)
        v = v + move
        before = miss
        one, miss = tried(v)
        J += np.outer(miss - before - J @ move, move) / (move @ move)
    raise BadInput("no circulation of this model rests at this blood pressure and heart rate")
