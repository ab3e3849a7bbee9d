"""Numbers of oxygen and breathing: value, unit, source, believable range. Tags as in circulation_meaning.py."""

from __future__ import annotations

from twinward.physiology.meaning import Meaning

CROWELL = "Crowell and Smith 1964 (J Appl Physiol 19:313), dogs [S]; shape [G]"
SEVERINGHAUS = "Severinghaus 1979 (J Appl Physiol 46:599) [M]"
TEXTBOOK = "textbook value [M]"
ESTIMATE = "estimate [G]"

# symbol, value, text, unit, low, high, source
_ROWS: tuple[tuple[str, float, str, str, float, float, str], ...] = (
    ("weight", 75.0, "body weight", "kg", 30.0, 250.0, ESTIMATE),
    ("Hb", 14.0, "haemoglobin at the start", "g/dL", 5.0, 20.0, TEXTBOOK),
    ("Hb_given", 13.5, "haemoglobin of blood that is given", "g/dL", 5.0, 25.0, ESTIMATE),
    ("huefner", 1.34, "oxygen a gram of haemoglobin carries", "mL/g", 1.3, 1.4, TEXTBOOK),
    ("dissolved", 0.0031, "oxygen dissolved", "mL/dL/mmHg", 0.0025, 0.0035, TEXTBOOK),
    ("demand", 3.5, "oxygen needed at rest", "mL/kg/min", 2.0, 8.0, TEXTBOOK),
    ("extraction", 0.7, "greatest extraction", "dimensionless", 0.4, 0.9, TEXTBOOK),
    ("repay", 15.0, "time constant of repaying oxygen debt", "min", 2.0, 60.0, ESTIMATE),
    ("debt50", 120.0, "debt that halves contractility and reflex gain", "mL/kg", 60.0, 200.0, CROWELL),
    ("debt_n", 6.0, "steepness of that effect", "dimensionless", 1.0, 12.0, CROWELL),
    ("lactate_per_O2", 0.05, "lactate formed for a missing mL of oxygen", "mmol/mL", 0.005, 0.25, ESTIMATE),
    ("lactate0", 1.0, "lactate at rest", "mmol/L", 0.3, 6.0, TEXTBOOK),
    ("lactate_space", 0.55, "distribution of lactate", "L/kg", 0.3, 0.7, TEXTBOOK),
    ("lactate_tau", 40.0, "time constant of clearing lactate at usual output", "min", 10.0, 180.0, ESTIMATE),
    ("refill_most", 750.0, "fluid that tissue can lend to blood", "mL", 100.0, 2500.0, ESTIMATE),
    ("beats", 20.0, "time constant of what is meant by some beats", "s", 2.0, 120.0, ESTIMATE),
    ("fatal", 20.0, "mean arterial pressure that ends life", "mmHg", 5.0, 40.0, ESTIMATE),
    ("FiO2", 0.21, "inspired oxygen", "dimensionless", 0.1, 1.0, TEXTBOOK),
    ("barometer", 760.0, "air pressure", "mmHg", 400.0, 800.0, TEXTBOOK),
    ("vapour", 47.0, "water vapour pressure", "mmHg", 40.0, 55.0, TEXTBOOK),
    ("RQ", 0.8, "respiratory quotient", "dimensionless", 0.65, 1.2, TEXTBOOK),
    ("dead", 0.3, "dead space of a breath", "dimensionless", 0.1, 0.8, TEXTBOOK),
    ("PaCO2", 40.0, "arterial carbon dioxide kept at rest", "mmHg", 30.0, 60.0, TEXTBOOK),
    ("CO2_drive", 2.0, "ventilation per mmHg of carbon dioxide", "L/min/mmHg", 0.2, 6.0, TEXTBOOK),
    ("CO2_tau", 4.0, "time constant of carbon dioxide stores", "min", 1.0, 20.0, ESTIMATE),
    ("Winters", 1.2, "fall of kept carbon dioxide per lost bicarbonate", "mmHg/(mmol/L)", 0.5, 1.6, TEXTBOOK),
    ("HCO3", 24.0, "bicarbonate at rest", "mmol/L", 18.0, 32.0, TEXTBOOK),
    ("acids", 0.0, "bicarbonate used up by other acids than lactate", "mmol/L", -30.0, 40.0, ESTIMATE),
    ("breathing", 1.0, "share of usual breathing that drugs leave", "dimensionless", 0.0, 1.5, ESTIMATE),
    ("VE_most", 60.0, "greatest ventilation", "L/min", 10.0, 150.0, ESTIMATE),
    ("shunt0", 0.03, "shunt at rest", "dimensionless", 0.0, 0.6, TEXTBOOK),
    ("shunt_slope", 0.015, "shunt per mmHg of left atrial pressure above 18", "1/mmHg", 0.0, 0.1, ESTIMATE),
    ("LAP_wet", 18.0, "left atrial pressure at which lungs become wet", "mmHg", 12.0, 25.0, TEXTBOOK),
    ("shunt_most", 0.5, "greatest shunt", "dimensionless", 0.1, 0.8, ESTIMATE),
)

BODY_PARAMETERS = {row[0]: Meaning(row[0], *row[2:]) for row in _ROWS}
BODY_VALUES = {row[0]: row[1] for row in _ROWS}

BODY_STATES = {
    row[0]: Meaning(*row, "ours")
    for row in (
        ("Hb_g", "haemoglobin in the blood", "g", 0.0, 2500.0),
        ("debt", "oxygen owed", "mL", 0.0, 60_000.0),
        ("lactate", "lactate in plasma", "mmol/L", 0.0, 60.0),
        ("PaCO2", "arterial carbon dioxide", "mmHg", 5.0, 200.0),
        ("SaO2", "arterial saturation", "dimensionless", 0.0, 1.0),
        ("PaO2", "arterial oxygen", "mmHg", 0.0, 700.0),
        ("MAP", "mean arterial pressure, over some beats", "mmHg", 0.0, 400.0),
        ("Q", "flow through tissue, over some beats", "L/min", 0.0, 40.0),
        ("LAP", "left atrial pressure, over some beats", "mmHg", -20.0, 200.0),
        ("died", "time of death, -1 for the living", "s", -1.0, 1e12),
    )
}
