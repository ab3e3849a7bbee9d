"""What every number of the glucose models means: unit, source and believable range.

A range is what a person could have, not what one study found: a value outside it is a
mistake or another species, and is refused. Sources: [S] read in the source named, [M]
quoted from the literature by memory, [G] an estimate of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twinward.errors import BadInput

S2008 = "UVA/Padova S2008: Dalla Man 2007 (IEEE TBME 54:1740), Kovatchev 2009; numbers as simglucose 0.2.11 [S]"
HOVORKA = "Hovorka 2004 (Physiol Meas 25:905) as LoopInsighT1 [S]"
VETTORETTI = "Vettoretti 2019 (Sensors 19:5320) [S]"


@dataclass(frozen=True, slots=True)
class Meaning:
    symbol: str
    text: str
    unit: str  # as pint reads it
    low: float
    high: float
    source: str


def _table(source: str, rows: tuple[tuple[str, str, str, float, float], ...]) -> dict[str, Meaning]:
    return {row[0]: Meaning(*row, source) for row in rows}


# The order is the order of the parameter vector in glucose.py.
S2008_PARAMETERS: dict[str, Meaning] = _table(
    S2008,
    (
        ("BW", "body weight", "kg", 20.0, 250.0),
        ("kabs", "absorption from the gut", "1/min", 0.005, 2.5),
        ("kmax", "greatest emptying of the stomach", "1/min", 0.008, 0.15),
        ("kmin", "smallest emptying of the stomach", "1/min", 0.001, 0.06),
        ("b", "share of the meal at which emptying has slowed", "dimensionless", 0.4, 0.995),
        ("d", "share of the meal at which emptying quickens again", "dimensionless", 0.03, 0.6),
        ("Vg", "distribution volume of glucose", "dL/kg", 1.0, 3.0),
        ("Vi", "distribution volume of insulin", "L/kg", 0.02, 0.15),
        ("Vmx", "insulin sensitivity of utilisation", "mg/kg/min/(pmol/L)", 0.003, 0.4),
        ("Km0", "Michaelis constant of utilisation", "mg/kg", 120.0, 500.0),
        ("k2", "tissue to plasma glucose", "1/min", 0.02, 0.6),
        ("k1", "plasma to tissue glucose", "1/min", 0.01, 0.25),
        ("p2u", "onset of insulin action on utilisation", "1/min", 0.005, 0.15),
        ("m1", "liver to plasma insulin", "1/min", 0.05, 0.9),
        ("m2", "plasma to liver insulin", "1/min", 0.06, 0.9),
        ("m4", "clearance of insulin outside the liver", "1/min", 0.02, 0.4),
        ("m30", "clearance of insulin by the liver", "1/min", 0.07, 1.4),
        ("ki", "delay of insulin action on the liver", "1/min", 0.001, 0.08),
        ("kp1", "glucose production extrapolated to no glucose and no insulin", "mg/kg/min", 1.5, 25.0),
        ("kp2", "effect of glucose on its production", "1/min", 0.0005, 0.05),
        ("kp3", "insulin sensitivity of production", "mg/kg/min/(pmol/L)", 0.0005, 0.1),
        ("f", "share of eaten glucose that reaches plasma", "dimensionless", 0.5, 1.0),
        ("ke1", "glomerular loss of glucose", "1/min", 0.0001, 0.005),
        ("ke2", "renal threshold", "mg/kg", 200.0, 600.0),
        ("Fsnc", "utilisation by brain and erythrocytes", "mg/kg/min", 0.3, 2.5),
        ("Vm0", "utilisation at basal insulin", "mg/kg/min", 0.3, 40.0),
        ("kd", "dissociation of insulin under the skin", "1/min", 0.003, 0.08),
        ("ksc", "plasma to interstitial glucose", "1/min", 0.01, 0.5),
        ("ka1", "absorption of non-monomeric insulin", "1/min", 0.0002, 0.03),
        ("ka2", "absorption of monomeric insulin", "1/min", 0.002, 0.12),
        ("u2ss", "insulin infusion that keeps basal glucose", "pmol/kg/min", 0.1, 8.0),
        ("Ib", "basal plasma insulin", "pmol/L", 20.0, 400.0),
    ),
)

S2008_STATES: dict[str, Meaning] = _table(
    S2008,
    (
        ("Qsto1", "glucose in the stomach, solid", "mg", 0.0, 1e6),
        ("Qsto2", "glucose in the stomach, liquid", "mg", 0.0, 1e6),
        ("Qgut", "glucose in the gut", "mg", 0.0, 1e6),
        ("Gp", "glucose in plasma and fast tissue", "mg/kg", 0.0, 3000.0),
        ("Gt", "glucose in slow tissue", "mg/kg", 0.0, 3000.0),
        ("Ip", "insulin in plasma", "pmol/kg", 0.0, 1e4),
        ("X", "insulin action on utilisation", "pmol/L", -500.0, 1e5),
        ("I1", "insulin signal, first delay", "pmol/L", 0.0, 1e5),
        ("Id", "insulin signal on production", "pmol/L", 0.0, 1e5),
        ("Il", "insulin in the liver", "pmol/kg", 0.0, 1e4),
        ("Isc1", "non-monomeric insulin under the skin", "pmol/kg", 0.0, 1e5),
        ("Isc2", "monomeric insulin under the skin", "pmol/kg", 0.0, 1e5),
        ("Gs", "interstitial glucose", "mg/kg", 0.0, 3000.0),
    ),
)

HOVORKA_PARAMETERS: dict[str, Meaning] = _table(
    HOVORKA,
    (
        ("BW", "body weight", "kg", 20.0, 250.0),
        ("k12", "non-accessible to accessible glucose", "1/min", 0.01, 0.3),
        ("ka1", "deactivation of action on distribution", "1/min", 0.001, 0.05),
        ("ka2", "deactivation of action on disposal", "1/min", 0.005, 0.3),
        ("ka3", "deactivation of action on production", "1/min", 0.005, 0.2),
        ("SIT", "sensitivity of distribution", "1/min/(mU/L)", 2e-4, 3e-2),
        ("SID", "sensitivity of disposal", "1/min/(mU/L)", 5e-5, 8e-3),
        ("SIE", "sensitivity of production", "1/(mU/L)", 3e-3, 0.4),
        ("EGP0", "glucose production without insulin", "mmol/kg/min", 0.005, 0.04),
        ("F01", "utilisation that needs no insulin", "mmol/kg/min", 0.003, 0.03),
        ("VG", "distribution volume of glucose", "L/kg", 0.08, 0.3),
        ("VI", "distribution volume of insulin", "L/kg", 0.05, 0.3),
        ("ke", "elimination of insulin", "1/min", 0.05, 0.4),
        ("tmaxI", "time of greatest insulin absorption", "min", 20.0, 150.0),
        ("tmaxG", "time of greatest glucose appearance", "min", 15.0, 120.0),
        ("AG", "share of eaten glucose that reaches plasma", "dimensionless", 0.5, 1.0),
    ),
)

SENSOR_PARAMETERS: dict[str, Meaning] = _table(
    VETTORETTI,
    (
        ("a0", "gain at insertion", "dimensionless", 0.5, 1.5),
        ("a1", "drift of the gain", "1/day", -0.1, 0.1),
        ("a2", "curvature of the gain", "1/day**2", -0.02, 0.02),
        ("b0", "offset", "mg/dL", -40.0, 50.0),
        ("phi1", "noise, weight of 5 min ago", "dimensionless", 0.0, 2.0),
        ("phi2", "noise, weight of 10 min ago", "dimensionless", -1.0, 1.0),
        ("sigma", "noise, innovation", "mg/dL", 0.1, 12.0),
    ),
)


def check(values: Mapping[str, float], table: Mapping[str, Meaning]) -> None:
    """Refuse what no person could have.

    Raises:
        BadInput: a value is not finite or outside the believable range of `table`.
    """
    for symbol, value in values.items():
        meaning = table[symbol]
        if not meaning.low <= value <= meaning.high:  # also false for NaN
            raise BadInput(f"{meaning.text} ({symbol}) must lie in {meaning.low:g}..{meaning.high:g} {meaning.unit}")
