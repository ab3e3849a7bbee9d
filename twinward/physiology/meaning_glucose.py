"""What every number of the further glucose models means: Dalla Man 2007, Roy-Parker 2007, options of S2008.

As meaning.py: unit, believable range, source; a value outside the range is refused.
[S] read in the source named, [M] quoted from the literature by memory, [G] an estimate of ours.
"""

from __future__ import annotations

from twinward.physiology.meaning import HOVORKA, S2008, Meaning

DALLA_MAN = "Dalla Man 2007 (IEEE TBME 54:1740), table as evabowe/Insulinpumpe system_parameters.py [S]"
DERIVED = "follows from rest at (Gb, Ib, EGPb), Dalla Man 2007; not the printed value"
BASAL = "basal values of the 2007 subjects [M]"
ROY_PARKER = "Roy and Parker 2007 (J Diabetes Sci Technol 1:323) as LoopInsighT1 [S]"
RISK = "Dalla Man 2014 (S2013), numbers of Kovatchev 2000 as LoopInsighT1 [S]; gamma is a default nobody fitted"
OURS = "estimate of ours [G]"

Row = tuple[str, str, str, float, float, str]


def _table(*rows: Row) -> dict[str, Meaning]:
    return {row[0]: Meaning(*row) for row in rows}


# The order is the order of the parameter vector in dalla_man.py.
DALLA_MAN_PARAMETERS: dict[str, Meaning] = _table(
    ("BW", "body weight", "kg", 20.0, 250.0, "78 and 91 kg, means of the 2007 subjects [M]"),
    ("VG", "distribution volume of glucose", "dL/kg", 1.0, 3.0, DALLA_MAN),
    ("k1", "plasma to tissue glucose", "1/min", 0.01, 0.25, DALLA_MAN),
    ("k2", "tissue to plasma glucose", "1/min", 0.02, 0.6, DALLA_MAN),
    ("VI", "distribution volume of insulin", "L/kg", 0.02, 0.15, DALLA_MAN),
    ("m1", "liver to plasma insulin", "1/min", 0.05, 0.9, DALLA_MAN),
    ("m2", "plasma to liver insulin", "1/min", 0.06, 0.9, DALLA_MAN),
    ("m4", "clearance of insulin outside the liver", "1/min", 0.02, 0.6, DALLA_MAN),
    ("m5", "fall of hepatic extraction with secretion", "min*kg/pmol", 0.001, 0.2, DALLA_MAN),
    ("m6", "hepatic extraction without secretion", "dimensionless", 0.3, 0.98, DERIVED),
    ("HEb", "hepatic extraction at rest", "dimensionless", 0.3, 0.9, DALLA_MAN),
    ("kmax", "greatest emptying of the stomach, and grinding", "1/min", 0.008, 0.15, DALLA_MAN),
    ("kmin", "smallest emptying of the stomach", "1/min", 0.001, 0.06, DALLA_MAN),
    ("kabs", "absorption from the gut", "1/min", 0.005, 2.5, DALLA_MAN),
    ("f", "share of eaten glucose that reaches plasma", "dimensionless", 0.5, 1.0, DALLA_MAN),
    ("b", "share of the meal at which emptying has slowed", "dimensionless", 0.4, 0.995, DALLA_MAN),
    ("d", "share of the meal at which emptying quickens again", "dimensionless", 0.005, 0.6, DALLA_MAN),
    ("kp1", "glucose production extrapolated to no glucose and no insulin", "mg/kg/min", 1.0, 25.0, DERIVED),
    ("kp2", "effect of glucose on its production", "1/min", 0.0002, 0.05, DALLA_MAN),
    ("kp3", "effect of delayed insulin on production", "mg/kg/min/(pmol/L)", 0.0005, 0.1, DALLA_MAN),
    ("kp4", "effect of portal insulin on production", "mg/kg/min/(pmol/kg)", 0.005, 0.5, DALLA_MAN),
    ("ki", "delay of insulin action on the liver", "1/min", 0.001, 0.08, DALLA_MAN),
    ("Fcns", "utilisation by brain and erythrocytes", "mg/kg/min", 0.3, 2.5, DALLA_MAN),
    ("Vm0", "utilisation at basal insulin", "mg/kg/min", 0.3, 40.0, DERIVED),
    ("Vmx", "insulin sensitivity of utilisation", "mg/kg/min/(pmol/L)", 0.003, 0.4, DALLA_MAN),
    ("Km0", "Michaelis constant of utilisation", "mg/kg", 120.0, 700.0, DALLA_MAN),
    ("p2U", "onset of insulin action on utilisation", "1/min", 0.005, 0.2, DALLA_MAN),
    ("K", "secretion while glucose rises", "pmol/kg/(mg/dL)", 0.05, 10.0, DALLA_MAN),
    ("alpha", "delay between glucose and secretion", "1/min", 0.002, 0.3, DALLA_MAN),
    ("beta", "response of secretion to glucose", "pmol/kg/min/(mg/dL)", 0.003, 1.0, DALLA_MAN),
    ("gamma", "portal vein to liver", "1/min", 0.1, 2.0, DALLA_MAN),
    ("ke1", "glomerular loss of glucose", "1/min", 0.0001, 0.005, DALLA_MAN),
    ("ke2", "renal threshold", "mg/kg", 150.0, 600.0, DALLA_MAN),
    ("Gb", "basal glucose", "mg/dL", 60.0, 250.0, BASAL),
    ("Ib", "basal plasma insulin", "pmol/L", 5.0, 400.0, BASAL),
    ("Sb", "basal secretion", "pmol/kg/min", 0.1, 20.0, DERIVED),
)

DALLA_MAN_STATES: dict[str, Meaning] = _table(
    ("Qsto1", "glucose in the stomach, solid", "mg", 0.0, 1e6, DALLA_MAN),
    ("Qsto2", "glucose in the stomach, liquid", "mg", 0.0, 1e6, DALLA_MAN),
    ("Qgut", "glucose in the gut", "mg", 0.0, 1e6, DALLA_MAN),
    ("Gp", "glucose in plasma and fast tissue", "mg/kg", 0.0, 3000.0, DALLA_MAN),
    ("Gt", "glucose in slow tissue", "mg/kg", 0.0, 3000.0, DALLA_MAN),
    ("Ip", "insulin in plasma", "pmol/kg", 0.0, 1e4, DALLA_MAN),
    ("Il", "insulin in the liver", "pmol/kg", 0.0, 1e4, DALLA_MAN),
    ("X", "insulin action on utilisation", "pmol/L", -500.0, 1e5, DALLA_MAN),
    ("I1", "insulin signal, first delay", "pmol/L", 0.0, 1e5, DALLA_MAN),
    ("Id", "insulin signal on production", "pmol/L", 0.0, 1e5, DALLA_MAN),
    ("Ipo", "insulin in the portal vein", "pmol/kg", 0.0, 1e4, DALLA_MAN),
    ("Y", "secretion above basal, follows glucose late", "pmol/kg/min", -20.0, 1e3, DALLA_MAN),
)

EXERCISE_PARAMETERS: dict[str, Meaning] = _table(
    ("a0", "rise of oxygen uptake", "1/min", 0.1, 3.0, ROY_PARKER),
    ("a1", "effort to production", "mg/kg/min**2", 1e-4, 0.02, ROY_PARKER),
    ("a2", "fading of production", "1/min", 0.005, 0.5, ROY_PARKER),
    ("a3", "effort to uptake", "mg/kg/min**2", 1e-4, 0.02, ROY_PARKER),
    ("a4", "fading of uptake", "1/min", 0.005, 0.5, ROY_PARKER),
    ("a5", "effort to removal of insulin", "mU/L/min**2", 1e-4, 0.02, ROY_PARKER),
    ("a6", "fading of the removal of insulin", "1/min", 0.005, 0.5, ROY_PARKER),
    ("k", "loss of glycogenolysis once stores are low", "mg/kg/min**2", 0.0, 0.1, ROY_PARKER),
    ("T1", "recovery of stores after effort", "min", 1.0, 60.0, ROY_PARKER),
    ("h1", "threshold of stores, squared effort", "min", 0.1, 10.0, ROY_PARKER),
    ("h2", "threshold of stores, effort", "min", 10.0, 500.0, ROY_PARKER),
)

EXERCISE_STATES: dict[str, Meaning] = _table(
    ("PVO2", "oxygen uptake above rest, percent of the greatest", "dimensionless", 0.0, 100.0, ROY_PARKER),
    ("Gprod", "glucose production by effort", "mg/kg/min", 0.0, 50.0, ROY_PARKER),
    ("Gup", "glucose uptake by effort", "mg/kg/min", 0.0, 50.0, ROY_PARKER),
    ("Ie", "removal of insulin by effort", "mU/L/min", 0.0, 50.0, ROY_PARKER),
    ("Ggly", "production lost to empty stores", "mg/kg/min", 0.0, 50.0, ROY_PARKER),
    ("A", "effort since it began", "min", 0.0, 1e6, ROY_PARKER),
)

OPTION_PARAMETERS: dict[str, Meaning] = _table(
    ("gamma", "weight of hypoglycaemia on utilisation, 0: off", "dimensionless", 0.0, 5.0, RISK),
    ("amplitude", "daily swing of insulin sensitivity, 0: off", "dimensionless", 0.0, 0.6, OURS),
    ("peak", "minute of the day of greatest sensitivity", "min", 0.0, 1440.0, OURS),
)

HOVORKA_STATES: dict[str, Meaning] = _table(
    ("Q1", "glucose, accessible", "mmol", 0.0, 2e3, HOVORKA),
    ("Q2", "glucose, not accessible", "mmol", 0.0, 2e3, HOVORKA),
    ("S1", "insulin under the skin, first", "mU", 0.0, 1e6, HOVORKA),
    ("S2", "insulin under the skin, second", "mU", 0.0, 1e6, HOVORKA),
    ("I", "insulin in plasma", "mU/L", 0.0, 1e4, HOVORKA),
    ("x1", "insulin action on distribution", "1/min", 0.0, 10.0, HOVORKA),
    ("x2", "insulin action on disposal", "1/min", 0.0, 10.0, HOVORKA),
    ("x3", "insulin action on production", "dimensionless", 0.0, 100.0, HOVORKA),
    ("D1", "eaten glucose, first", "mmol", 0.0, 1e4, HOVORKA),
    ("D2", "eaten glucose, second", "mmol", 0.0, 1e4, HOVORKA),
    ("Gs", "interstitial glucose, as an amount", "mmol", 0.0, 2e3, S2008 + "; delay added by us"),
)

HOVORKA_CONSTANTS: dict[str, Meaning] = _table(
    ("kR", "renal clearance of glucose above its threshold", "1/min", 0.0005, 0.02,
     "Hovorka 2004; FR per VG BW as in the paper [M] and in several public programs [R]; LoopInsighT1 without volume"),
    ("GR", "renal threshold", "mmol/L", 7.0, 14.0, HOVORKA),
    ("GF", "below this the brain takes less", "mmol/L", 3.0, 6.0, HOVORKA),
    ("ks", "plasma to interstitial glucose", "1/min", 0.01, 0.5, OURS),
)  # fmt: skip
