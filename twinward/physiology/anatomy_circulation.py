"""From measured anatomy to parameters of the circulation, each with its rule, its error and its source.

    unstressed volume   Vu  = typical x EDV / typical EDV                                    [G]
    stiffness           kE  = typical x typical EDV / EDV: the same pressures fill a larger chamber     [G]
    elastance           Ees ~ .9 SBP / ESV (zero unstressed volume) [M]; in the model, whose ventricle has one,
                        Emax = typical x [SBP / (ESV - Vu)] / the same of the typical heart
    atria               Ed, Es = typical x typical volume / volume; Vu in proportion          [G]
    aorta               Csa = typical x (D / typical D)^2 for the same distensibility [G], or by Bramwell-Hill from
                        a pulse wave velocity: C per length = A / (rho c^2)
    valves              the opening between labels is an annulus; no effective area follows from it: an area that is
                        flowed through is asked for, or the share of the annulus that opens

Kelly and Chen for .9 SBP (Chen 2001, J Am Coll Cardiol 38:2028) [M]; Bramwell and Hill 1922 [M]. What was not measured
stays typical and is listed so. Labels that no person has looked at are refused.
Education and research; not a medical device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinward.errors import BadInput, NotFound, Unready
from twinward.physiology import circulation as c
from twinward.physiology.anatomy import LABEL, Labelled, opening, vessel, volume
from twinward.physiology.circulation_meaning import CIRCULATION_PARAMETERS, shipped
from twinward.physiology.meaning import Meaning, check

Array = NDArray[np.float64]
# The typical circulation at rest, volumes when its left ventricle is fullest [X] (a test holds it), and diameters of
# an adult's aorta [M].
TYPICAL = {"lv_edv": 130.9, "lv_esv": 60.4, "rv_edv": 131.5, "la": 42.9, "ra": 22.7, "systolic": 120.5}
AORTA_MM = {"ascending": 32.0, "descending": 25.0, "abdominal": 21.0}
MEASURED = {
    "lv_edv": Meaning("EDV", "left ventricle, full", "mL", 40.0, 500.0, "labels"),
    "lv_esv": Meaning("ESV", "left ventricle, emptied", "mL", 10.0, 400.0, "labels"),
    "rv_edv": Meaning("RVEDV", "right ventricle, full", "mL", 40.0, 500.0, "labels"),
    "la": Meaning("LA", "left atrium", "mL", 15.0, 400.0, "labels"),
    "ra": Meaning("RA", "right atrium", "mL", 15.0, 400.0, "labels"),
    "aorta_mm": Meaning("D", "diameter of the aorta", "mm", 10.0, 60.0, "labels"),
    "systolic": Meaning("SBP", "systolic pressure", "mmHg", 80.0, 220.0, "cuff"),
    "pulse_wave_m_s": Meaning("c", "pulse wave velocity of the aorta", "m/s", 3.0, 20.0, "measured elsewhere"),
}
CHAMBER_LABELS = {"lv_edv": "heart_ventricle_left", "rv_edv": "heart_ventricle_right", "la": "heart_atrium_left",
                  "ra": "heart_atrium_right"}  # fmt: skip
TYPICAL_PULSE_WAVE_M_S = 7.0  # of an adult about 45 [M]
ERROR_EES = 0.2  # relative, of .9 SBP as end-systolic pressure and of no unstressed volume [G]


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What was measured: name in MEASURED -> (value, error)."""

    values: dict[str, tuple[float, float]]
    mitral_annulus_cm2: tuple[float, float] | None
    aortic_annulus_cm2: tuple[float, float] | None
    source: str


@dataclass(frozen=True, slots=True)
class Derived:
    symbol: str
    text: str
    unit: str
    typical: float
    value: float
    error: float
    rule: str


@dataclass(frozen=True, slots=True)
class Fitted:
    parameters: Array  # (75,), for Circulation.start
    derived: tuple[Derived, ...]
    typical: tuple[str, ...]  # parameters that stayed everybody's
    ees_mmhg_ml: tuple[float, float] | None  # .9 SBP / ESV and its error
    source: str
    label: str = LABEL


def measure(full: Labelled, emptied: Labelled | None = None) -> Anatomy:
    """Chambers, annuli and aorta of a volume at end of diastole, and the left ventricle of one at end of systole.

    Raises:
        Unready: labels that no person has looked at.
        BadInput: nothing in it that a circulation can use.
    """
    for seen in (full, emptied):
        if seen is not None and not seen.confirmed:
            raise Unready("these labels need a human check: look at " + "; ".join(seen.why) + "; then confirm them")
    values: dict[str, tuple[float, float]] = {}
    for name, label in CHAMBER_LABELS.items():
        if label in full.names.values():
            _put(values, name, full, label)
    if emptied is not None:
        _put(values, "lv_esv", emptied, CHAMBER_LABELS["lv_edv"])
    try:
        aorta = vessel(full, "aorta")
        values["aorta_mm"] = (aorta.diameter_mm, aorta.error_mm)
    except NotFound:
        pass
    if not values:
        raise BadInput("these labels name no chamber and no aorta: nothing the circulation can use")
    return Anatomy(values, _annulus(full, "heart_atrium_left"), _annulus(full, "aorta"), full.source)


def _put(values: dict[str, tuple[float, float]], name: str, seen: Labelled, label: str) -> None:
    try:
        found = volume(seen, label)
    except NotFound:
        return
    values[name] = (found.ml, found.error_ml)


def _annulus(seen: Labelled, other: str) -> tuple[float, float] | None:
    try:
        found = opening(seen, CHAMBER_LABELS["lv_edv"], other)
    except NotFound:
        return None
    return found.area_mm2 / 100.0, found.error_mm2 / 100.0


def compliance_factor(diameter_mm: float, segment: str = "abdominal", pulse_wave_m_s: float | None = None) -> float:
    """Factor on Csa: area over the typical area, and Bramwell-Hill where a pulse wave velocity is known.

    Raises:
        BadInput: an unknown segment or a value no adult has.
    """
    if segment not in AORTA_MM:
        raise BadInput(f"the segment of the aorta is one of {', '.join(AORTA_MM)}")
    check({"aorta_mm": diameter_mm}, MEASURED)
    area = (diameter_mm / AORTA_MM[segment]) ** 2
    if pulse_wave_m_s is None:
        return area
    check({"pulse_wave_m_s": pulse_wave_m_s}, MEASURED)
    return area * (TYPICAL_PULSE_WAVE_M_S / pulse_wave_m_s) ** 2


def opened(annulus_cm2: float, share: float) -> float:
    """Effective area of a valve that opens a `share` of its annulus: what the caller believes, not what CT shows."""
    if not 0.05 <= share <= 1.0:
        raise BadInput("the share of an annulus that opens must lie in 0.05..1")
    return annulus_cm2 * share


def fit(
    seen: Anatomy, systolic_mmHg: float | None = None, segment: str = "abdominal", pulse_wave_m_s: float | None = None
) -> Fitted:
    """Parameters of this anatomy; what was not measured stays typical.

    Raises:
        BadInput: a value no adult has, an emptied ventricle without a pressure, or one as large as the full one.
    """
    check({name: value for name, (value, _) in seen.values.items()}, MEASURED)
    p, typical = shipped(), shipped()
    rules: dict[int, tuple[float, str]] = {}  # parameter -> relative error, rule
    has = seen.values

    def scale(symbols: Sequence[int], factor: float, error: float, rule: str) -> None:
        for k in symbols:
            p[k] *= factor
            rules[k] = (error, rule)

    for name, volumes_, stiff in (
        ("lv_edv", [c.VULV], [c.KELV]),
        ("rv_edv", [c.VURV], [c.KERV]),
        ("la", [c.VULA], [c.ELAD, c.ELAS]),
        ("ra", [c.VURA], [c.ERAD, c.ERAS]),
    ):
        if name in has:
            ratio, error = has[name][0] / TYPICAL[name], has[name][1] / has[name][0]
            scale(volumes_, ratio, error, f"x volume / {TYPICAL[name]:g} mL [G]")
            scale(stiff, 1 / ratio, error, f"x {TYPICAL[name]:g} mL / volume [G]")
    ees = _elastance(seen, systolic_mmHg, p, typical, scale)
    if "aorta_mm" in has:
        d, error = has["aorta_mm"]
        factor = compliance_factor(d, segment, pulse_wave_m_s)
        rule = f"x (D / {AORTA_MM[segment]:g} mm)^2" + (" and Bramwell-Hill [M]" if pulse_wave_m_s else " [G]")
        scale([c.CSA], factor, 2 * error / d, rule)
    check(dict(zip(c.PARAMETERS, p.tolist(), strict=True)), CIRCULATION_PARAMETERS)
    derived = tuple(_row(k, typical, p, *rules[k]) for k in sorted(rules))
    rest = tuple(symbol for k, symbol in enumerate(c.PARAMETERS) if k not in rules)
    return Fitted(p, derived, rest, ees, seen.source)


def _elastance(
    seen: Anatomy,
    systolic: float | None,
    p: Array,
    typical: Array,
    scale: Callable[[Sequence[int], float, float, str], None],
) -> tuple[float, float] | None:
    if "lv_esv" not in seen.values:
        return None
    if systolic is None:
        raise BadInput("contractility follows from the emptied ventricle and the systolic pressure: give both")
    check({"systolic": systolic}, MEASURED)
    esv, error = seen.values["lv_esv"]
    if "lv_edv" in seen.values and esv >= 0.95 * seen.values["lv_edv"][0]:
        raise BadInput("the emptied ventricle is as large as the full one: are these two moments of one beat?")
    if esv - p[c.VULV] < 5.0:
        raise BadInput("the emptied ventricle is hardly larger than its unstressed volume: no elastance follows")
    mine = systolic / (esv - p[c.VULV])
    usual = TYPICAL["systolic"] / (TYPICAL["lv_esv"] - typical[c.VULV])
    relative = float(np.hypot(error / (esv - p[c.VULV]), ERROR_EES))
    scale([c.EL0, c.GEL], mine / usual, relative, "x SBP / (ESV - Vu) over the typical heart's [M]")
    return 0.9 * systolic / esv, 0.9 * systolic / esv * float(np.hypot(error / esv, ERROR_EES))


def _row(k: int, typical: Array, p: Array, error: float, rule: str) -> Derived:
    meaning = CIRCULATION_PARAMETERS[c.PARAMETERS[k]]
    return Derived(
        meaning.symbol, meaning.text, meaning.unit, float(typical[k]), float(p[k]), abs(float(p[k])) * error, rule
    )
