"""What the bedside shows of a body and what its laboratory says: names, units, ranges, sources."""

from __future__ import annotations

from dataclasses import dataclass

from twinward.physiology.meaning import Meaning


@dataclass(frozen=True, slots=True)
class Shown:
    name: str
    unit: str
    text: str
    source: str  # the generating equation
    monitor: bool = True  # False: physiology behind the monitor, for "why" and for the instructor


def _shown(*rows: tuple[str, str, str, str], monitor: bool) -> dict[str, Shown]:
    return {row[0]: Shown(*row, monitor) for row in rows}


# The order is the order of the columns of Watched.numerics.
NUMERICS: dict[str, Shown] = _shown(
    ("HR", "1/min", "heart rate", "60 / T, heart period of the circulation, mean of 2 s"),
    ("SBP", "mmHg", "systolic arterial pressure", "greatest Psa of the last 4 s at 125 Hz"),
    ("DBP", "mmHg", "diastolic arterial pressure", "least Psa of the last 4 s at 125 Hz"),
    ("MAP", "mmHg", "mean arterial pressure", "running mean of Psa, 20 s (body.py)"),
    ("CVP", "mmHg", "central venous pressure", "running mean of right atrial pressure, 8 s"),
    ("SpO2", "%", "saturation of the finger", "100 SaO2 (ventilation.py)"),
    ("RR", "1/min", "breaths", "14 sqrt(VE / VE at rest) + wet lungs [G] (patient_breath.py)"),
    ("etCO2", "mmHg", "carbon dioxide at the end of a breath", "PaCO2 - 4 - 12 (1 - output over usual)+ [G]"),
    ("temperature", "degC", "core temperature", "set point and fever of sepsis.py (temperature.py)"),
    ("urine", "mL/h", "urine", "kidney.py"),
    monitor=True,
) | _shown(
    ("output", "L/min", "cardiac output", "flow through both beds, running mean 20 s (body.py)"),
    ("stroke_volume", "mL", "stroke volume", "1000 output / HR"),
    ("SVR", "dyn*s/cm**5", "systemic resistance", "80 (MAP - CVP) / output"),
    ("LAP", "mmHg", "left atrial pressure", "running mean, 20 s (body.py)"),
    ("blood", "mL", "blood volume", "sum over vessels and chambers (circulation.blood)"),
    ("lost", "mL", "blood lost since the start", "integral of bleeding"),
    ("bleeding", "mL/min", "bleeding now", "rate at opening x MAP / MAP at opening x clotting"),
    ("leaked", "mL", "plasma in tissue through leaking capillaries", "coupling.LEAK, returned as damage heals [G]"),
    ("severity", "dimensionless", "severity of sepsis", "D / 17.4 (coupling.py)"),
    ("pathogen", "1/nL", "pathogen", "Reynolds 2006 (inflammation.py)"),
    ("failing", "dimensionless", "contractility left by oxygen debt", "1 / (1 + (debt / 120)^6) (oxygen.py)"),
    ("debt", "mL/kg", "oxygen owed", "Crowell 1964 (oxygen.py)"),
    ("VE", "L/min", "ventilation", "ventilation.py"),
    ("shunt", "dimensionless", "blood that passes the lungs without oxygen", "ventilation.shunt and lung water [G]"),
    ("resistance_drugs", "dimensionless", "factor of drugs on resistance", "effects.csv"),
    ("contractility_drugs", "dimensionless", "factor of drugs on contractility", "effects.csv"),
    ("veins_drugs", "dimensionless", "factor of drugs on unstressed venous volume", "effects.csv"),
    ("breathing_drugs", "dimensionless", "factor of drugs on breathing", "effects.csv"),
    ("awake", "dimensionless", "wakefulness as glucose allows: 1 clear, below 0.5 swallows unsafely", "clear(G) [G]"),
    ("alarm", "dimensionless", "sympathetic drive by breathlessness and brain injury", "brain.py [G]"),
    ("brain_flow", "dimensionless", "cerebral blood flow over usual", "autoregulation (brain.py)"),
    ("injury", "dimensionless", "injury of the brain, illustrative", "brain.py [G]"),
    ("stunned", "dimensionless", "force a weak heart lost to work on poor blood", "strain.py [G]"),
    monitor=False,
)


@dataclass(frozen=True, slots=True)
class Measured:
    name: str
    unit: str
    text: str
    low: float  # reference range of adults, textbook values [M]
    high: float
    source: str


LABORATORY: dict[str, Measured] = {
    row[0]: Measured(*row)
    for row in (
        ("glucose", "mg/dL", "glucose", 70.0, 100.0, "metabolism"),
        ("lactate", "mmol/L", "lactate", 0.5, 2.0, "oxygen.py, and sepsis [G]"),
        ("pH", "dimensionless", "arterial pH", 7.35, 7.45, "Henderson-Hasselbalch (ventilation.py)"),
        ("PaCO2", "mmHg", "arterial carbon dioxide", 35.0, 45.0, "ventilation.py"),
        ("PaO2", "mmHg", "arterial oxygen", 75.0, 100.0, "ventilation.py"),
        ("HCO3", "mmol/L", "bicarbonate", 22.0, 26.0, "24 less lactate and other acids"),
        ("BE", "mmol/L", "base excess", -2.0, 2.0, "Van Slyke: HCO3 - 24.4 + 14.8 (pH - 7.4) [M]"),
        ("K", "mmol/L", "potassium", 3.5, 5.0, "metabolism"),
        ("Na", "mmol/L", "sodium", 135.0, 145.0, "metabolism"),
        ("Hb", "g/dL", "haemoglobin", 12.0, 17.0, "haemoglobin in the blood over its volume (body.py)"),
        ("creatinine", "mg/dL", "creatinine", 0.6, 1.2, "metabolism (kidney.py)"),
        ("ketones", "mmol/L", "beta-hydroxybutyrate", 0.0, 0.6, "metabolism"),
        ("CRP", "mg/L", "C-reactive protein", 0.0, 5.0, "inflammation.py on the bench's clock [G]"),
        ("SaO2", "%", "arterial saturation", 94.0, 99.0, "ventilation.py"),
    )
}

# Values of start: meaning and usual value.
_VALUES: tuple[tuple[str, float, str, str, float, float, str], ...] = (
    (
        "weight_kg",
        75.0,
        "weight: doses, oxygen, urine; the circulation stays the typical one",
        "kg",
        40.0,
        180.0,
        "[G]",
    ),
    ("age", 40.0, "age: kinetics only", "year", 18.0, 95.0, "[G]"),
    ("height_cm", 175.0, "height: kinetics only", "cm", 140.0, 210.0, "[G]"),
    ("female", 0.0, "1 for a woman: kinetics only", "dimensionless", 0.0, 1.0, "[G]"),
    ("blood_ml", 5300.0, "blood volume", "mL", 3500.0, 8000.0, "circulation_run.py"),
    ("extra_ml", 0.0, "retained (or, below 0, lost) volume before time zero", "mL", -2500.0, 2500.0, "[G]"),
    ("Hb", 14.0, "haemoglobin", "g/dL", 5.0, 20.0, "body_meaning.py"),
    ("hypertension", 0.0, "strength: resistance, stiff arteries, set point", "dimensionless", 0.0, 1.0, "Kind [G]"),
    ("heart_failure", 0.0, "strength: weak ventricles", "dimensionless", 0.0, 1.0, "Kind [G]"),
    ("infection", 0.0, "pathogen in tissue; 1 is 2e6 per mL", "dimensionless", 0.0, 3.0, "sepsis.py [G]"),
    ("infected_h", 0.0, "hours of infection before time zero", "hour", 0.0, 24.0, "sepsis.py [G]"),
    ("HCO3", 24.0, "bicarbonate", "mmol/L", 18.0, 32.0, "body_meaning.py"),
)
VALUES: dict[str, Meaning] = {row[0]: Meaning(row[0], *row[2:]) for row in _VALUES}
USUAL: dict[str, float] = {row[0]: row[1] for row in _VALUES}
