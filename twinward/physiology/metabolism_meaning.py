"""Numbers of the metabolism: value, text, unit, believable range, source. Tags as in circulation_meaning.py.

[S] read in the source named (papers through their abstracts), [M] quoted from memory, [G] an estimate of ours,
"fitted" one of ours that was searched until the row of docs/evidence/metabolism.md it names was met.
"""

from __future__ import annotations

from twinward.physiology.meaning import Meaning

TEXTBOOK = "textbook value [M]"
ESTIMATE = "estimate [G]"
MITRAKOU = "Mitrakou 1991 (Am J Physiol 260:E67), ten volunteers, abstract [S]"
ROSENFALCK = "fitted to Rosenfalck 1992 (Diabetes Res Clin Pract 17:43), rise in 15 min [G]"
ILLUSTRATIVE = "illustrative: no validated open model of ketones was found [G]"

Row = tuple[str, float, str, str, float, float, str]

# symbol, value, text, unit, low, high, source
VALUE_ROWS: tuple[Row, ...] = (
    ("weight", 75.0, "body weight", "kg", 30.0, 250.0, ESTIMATE),
    ("glucose", 110.0, "glucose at rest", "mg/dL", 70.0, 180.0, ESTIMATE),
    ("sensitivity", 1.0, "insulin sensitivity over the typical person's", "dimensionless", 0.2, 2.5,
     "t1d 1.8: fitted to the rule of 1,800 [M]; dka 0.4: physiology.md 1b.5"),
    ("stress", 0.0, "glucose made on the order of stress hormones", "mg/kg/min", 0.0, 10.0, ESTIMATE),
    ("usual_blood", 5300.0, "blood volume in health", "mL", 2000.0, 12000.0, "circulation.csv, TBV"),
    ("usual_MAP", 93.0, "mean arterial pressure in health", "mmHg", 60.0, 140.0, "circulation.csv, at rest"),
    # kidney.py
    ("GFR0", 110.0, "filtration in health", "mL/min", 10.0, 180.0, TEXTBOOK),
    ("MAP_none", 40.0, "pressure below which nothing is filtered", "mmHg", 25.0, 60.0, TEXTBOOK),
    ("MAP_full", 75.0, "pressure above which filtration no longer rises", "mmHg", 60.0, 110.0, TEXTBOOK),
    ("GFR_volume", 2.0, "share of filtration lost per share of blood volume lost", "dimensionless", 0.0, 5.0, ESTIMATE),
    ("G_spill", 180.0, "plasma glucose that begins to appear in urine", "mg/dL", 130.0, 240.0, TEXTBOOK),
    ("G_full", 420.0, "plasma glucose above which all further glucose is lost", "mg/dL", 250.0, 600.0,
     "from a greatest reabsorption of 375 mg/min at 125 mL/min [M]; shape of the splay [G]"),
    ("urine0", 1.0, "urine at rest", "mL/kg/hour", 0.3, 2.0, TEXTBOOK),
    ("urine_n", 3.0, "steepness of urine on pressure", "dimensionless", 1.0, 8.0, ESTIMATE),
    ("urine_volume_n", 6.0, "steepness of urine on blood volume", "dimensionless", 1.0, 15.0, ESTIMATE),
    ("obligatory", 0.40, "osmolality of an osmotic diuresis", "mmol/mL", 0.28, 0.6, ESTIMATE),
    ("urine_most", 0.25, "greatest share of the filtrate that becomes urine", "dimensionless", 0.1, 0.4, ESTIMATE),
    ("Na_urine", 0.08, "sodium in the water of an osmotic diuresis", "mmol/mL", 0.02, 0.1, TEXTBOOK),
    ("Na_loop", 0.09, "sodium in the water a loop diuretic drives", "mmol/mL", 0.05, 0.14, TEXTBOOK),
    ("K_urine", 0.025, "potassium in the water of any diuresis above the usual", "mmol/mL", 0.005, 0.06, ESTIMATE),
    ("K_urine_n", 2.0, "steepness of potassium's excretion on its level", "dimensionless", 0.5, 5.0, ESTIMATE),
    ("loop_most", 22.0, "urine a loop diuretic adds at most", "mL/min", 4.0, 40.0, ESTIMATE),
    ("loop_50", 30.0, "furosemide in the body at half of that", "mg", 2.0, 60.0, ESTIMATE),
    ("loop_tau", 50.0, "time constant of losing furosemide", "min", 30.0, 400.0, TEXTBOOK),
    ("loop_lag", 8.0, "time constant of furosemide's effect", "min", 1.0, 30.0, "onset within 5 min, label [M]"),
    ("creatinine0", 0.9, "creatinine at rest", "mg/dL", 0.3, 6.0, TEXTBOOK),
    ("insensible", 0.5, "water lost by skin and lungs", "mL/kg/hour", 0.2, 1.5, TEXTBOOK),
    ("insensible_fever", 0.12, "its rise per degree of fever", "1/delta_degC", 0.0, 0.3, TEXTBOOK),
    # electrolytes.py
    ("ECF", 0.20, "extracellular water", "L/kg", 0.12, 0.32, TEXTBOOK),
    ("ICF", 0.40, "water in cells", "L/kg", 0.25, 0.5, TEXTBOOK),
    ("plasma_share", 0.20, "share of a change of extracellular water that is in plasma", "dimensionless", 0.1, 0.4,
     TEXTBOOK),
    ("refill_tau", 30.0, "time constant of filling plasma from tissue", "min", 5.0, 120.0,
     "as the circulation's refill, kr 1/1800 s [G]"),
    ("Na0", 140.0, "sodium at rest", "mmol/L", 125.0, 155.0, TEXTBOOK),
    ("Na_eaten", 1.5, "sodium eaten, and lost at rest; still lost by who eats nothing", "mmol/kg/day", 0.0, 5.0,
     ESTIMATE),
    ("Na_given", 0.154, "sodium in crystalloid (0.9 %)", "mmol/mL", 0.0, 0.16, TEXTBOOK),
    ("K0", 4.2, "potassium at rest", "mmol/L", 2.5, 7.0, TEXTBOOK),
    ("K_cells", 45.0, "potassium in cells", "mmol/kg", 25.0, 60.0, "about 50 mmol/kg in all [M]"),
    ("K_n", 3.5, "steepness of the resting level on what cells hold", "dimensionless", 1.0, 8.0,
     "200 to 400 mmol missing per 1 mmol/L [M]"),
    ("K_tau", 60.0, "time constant of exchange with cells", "min", 10.0, 240.0, "fitted to Harel 2016, 60 min [G]"),
    ("K_insulin", 0.65, "uptake by insulin, at most", "dimensionless", 0.0, 3.0, "fitted to Harel 2016, 60 min [G]"),
    ("K_insulin_50", 3.0, "insulin over basal at half of that", "dimensionless", 0.5, 20.0, ESTIMATE),
    ("K_acid", 1.5, "rise of the level kept per unit of pH below 7.4", "dimensionless", 0.0, 2.0,
     "organic acidosis: far less than the 0.6 mmol/L per 0.1 of mineral acids [M]; size [G]"),
    ("K_osmotic", 0.013, "rise of the level kept per mmol/L of tonicity", "L/mmol", 0.0, 0.02, ESTIMATE),
    ("K_adrenal", 0.15, "uptake by adrenaline, at most", "dimensionless", 0.0, 0.6, ESTIMATE),
    ("K_vomit", 0.012, "potassium in what is vomited", "mmol/mL", 0.005, 0.03, TEXTBOOK),
    ("Na_vomit", 0.06, "sodium in it", "mmol/mL", 0.02, 0.14, TEXTBOOK),
    ("K_intake", 0.9, "potassium eaten, and lost at rest", "mmol/kg/day", 0.0, 3.0, TEXTBOOK),
    ("insulin_lag", 20.0, "time constant of insulin's effect on potassium and fat", "min", 5.0, 90.0, ESTIMATE),
    # ketones.py
    ("ketones0", 0.1, "3-hydroxybutyrate at rest", "mmol/L", 0.02, 0.5, TEXTBOOK),
    ("ketones_most", 1.0, "its production without insulin", "mmol/L/hour", 0.3, 5.0, ILLUSTRATIVE),
    ("ketones_50", 0.27, "insulin over basal that halves production", "dimensionless", 0.05, 1.0, ILLUSTRATIVE),
    ("ketones_n", 2.0, "steepness of that", "dimensionless", 1.0, 4.0, ILLUSTRATIVE),
    ("ketones_Km", 1.0, "level at half of the greatest use", "mmol/L", 0.2, 5.0, ILLUSTRATIVE),
    ("ketones_renal", 0.04, "share lost in urine at usual filtration", "1/hour", 0.0, 0.3, ILLUSTRATIVE),
    ("ketones_space", 0.30, "distribution of ketones", "L/kg", 0.15, 0.6, ILLUSTRATIVE),
    ("anions", 1.33, "acid anions per 3-hydroxybutyrate", "dimensionless", 1.0, 2.0, "3:1 with acetoacetate [M]"),
    ("HCO30", 24.0, "bicarbonate at rest", "mmol/L", 18.0, 32.0, TEXTBOOK),
    ("HCO3_space", 0.50, "distribution of bicarbonate", "L/kg", 0.3, 1.0, TEXTBOOK),
    ("HCO3_tau", 24.0, "time constant of new bicarbonate by the kidney", "hour", 6.0, 96.0, ESTIMATE),
    ("lactate0", 1.0, "lactate at rest", "mmol/L", 0.3, 2.0, TEXTBOOK),
    ("PaCO20", 40.0, "arterial carbon dioxide kept at rest", "mmHg", 30.0, 60.0, TEXTBOOK),
    ("Winters", 1.2, "fall of kept carbon dioxide per lost bicarbonate", "mmHg/(mmol/L)", 0.5, 1.6, TEXTBOOK),
    ("ketones_alert", 10.0, "level at which the adrenal answer to ketoacidosis is full", "mmol/L", 3.0, 30.0,
     "catecholamines are high in ketoacidosis [M]; size [G]"),
    # metabolism_glucose.py
    ("G_alert", 68.0, "glucose below which adrenaline and glucagon rise", "mg/dL", 50.0, 85.0, MITRAKOU),
    ("G_alarm", 42.0, "glucose at which they are taken as full", "mg/dL", 20.0, 49.0,
     "lowest plateau of Mitrakou 1991 [S]; that it is full [G]"),
    ("alert", 1.0, "strength of the adrenal answer, health 1", "dimensionless", 0.0, 1.0, ESTIMATE),
    ("alert_tau", 8.0, "time constant of that answer", "min", 1.0, 60.0, ESTIMATE),
    ("alert_made", 2.5, "glucose made at the full answer", "mg/kg/min", 0.0, 6.0, ESTIMATE),
    ("G_dim", 50.0, "glucose below which wakefulness begins to go", "mg/dL", 40.0, 60.0,
     "thinking slows at 49, " + MITRAKOU),
    ("G_out", 30.0, "glucose at which it is gone, if that lasts", "mg/dL", 15.0, 39.0, ESTIMATE),
    ("awake_tau", 4.0, "time constant of losing and finding it", "min", 0.5, 30.0, ESTIMATE),
    ("G_spare", 81.0, "glucose below which the brain takes less", "mg/dL", 50.0, 100.0,
     "4.5 mmol/L, Hovorka 2004 [S]"),
    ("glucagon_in", 0.15, "absorption of glucagon from muscle", "1/min", 0.03, 0.5, "greatest level after 13 min [M]"),
    ("glucagon_out", 0.027, "loss of glucagon after intramuscular dose", "1/min", 0.01, 0.15, "half life 26 min [M]"),
    ("glucagon_50", 0.1, "glucagon in the body at half effect", "mg", 0.01, 1.0, ESTIMATE),
    ("glucagon_made", 8.0, "glucose made at full effect", "mg/kg/min", 1.0, 15.0, ROSENFALCK),
    # temperature.py
    ("set_point", 37.0, "temperature kept at rest", "degC", 36.0, 38.0, TEXTBOOK),
    ("warming_tau", 60.0, "time constant of following the set point", "min", 10.0, 300.0, ESTIMATE),
    ("heat", 3.47, "heat capacity of the body", "kJ/kg/delta_degC", 3.0, 4.2, TEXTBOOK),
)  # fmt: skip

VALUES = {row[0]: row[1] for row in VALUE_ROWS}
PARAMETERS = {row[0]: Meaning(row[0], *row[2:]) for row in VALUE_ROWS}

STATES = {
    row[0]: Meaning(*row, "ours")
    for row in (
        ("water", "water in the body", "L", 5.0, 200.0),
        ("Na_e", "sodium outside cells", "mmol", 200.0, 20_000.0),
        ("K_e", "potassium outside cells", "mmol", 2.0, 800.0),
        ("K_i", "potassium in cells", "mmol", 500.0, 15_000.0),
        ("plasma", "water of plasma beyond the usual, by what this model moved", "mL", -5000.0, 5000.0),
        ("crystalloid", "crystalloid given in all", "mL", 0.0, 50_000.0),
        ("ketones", "3-hydroxybutyrate in plasma", "mmol/L", 0.0, 40.0),
        ("base_lost", "bicarbonate missing beyond what ketones and lactate hold", "mmol/L", -40.0, 40.0),
        ("insulin", "insulin over basal where it moves potassium and fat", "dimensionless", 0.0, 500.0),
        ("adrenal", "adrenal answer to low glucose", "dimensionless", 0.0, 1.0),
        ("awake", "wakefulness, as glucose allows", "dimensionless", 0.0, 1.0),
        ("glucagon_m", "glucagon in muscle", "mg", 0.0, 20.0),
        ("glucagon", "glucagon in the body", "mg", 0.0, 20.0),
        ("furosemide", "furosemide in the body", "mg", 0.0, 3000.0),
        ("loop", "furosemide where it acts", "mg", 0.0, 3000.0),
        ("creatinine", "creatinine", "mg/dL", 0.05, 30.0),
        ("temperature", "core temperature", "degC", 25.0, 44.0),
        ("shift", "shift of the set point", "delta_degC", -2.0, 5.0),
        ("cooling", "heat taken from outside", "W", 0.0, 1000.0),
        ("drinking", "share of the usual intake by mouth", "dimensionless", 0.0, 5.0),
        ("eating", "share of the usual salt and potassium eaten", "dimensionless", 0.0, 5.0),
        ("basal", "share of the usual basal insulin under the skin", "dimensionless", 0.0, 5.0),
        ("plate", "carbohydrate not yet eaten", "g", 0.0, 1000.0),
        ("water_in", "water taken in all", "L", 0.0, 500.0),
        ("water_out", "water lost in all", "L", 0.0, 500.0),
        ("K_in", "potassium taken in all", "mmol", 0.0, 50_000.0),
        ("K_out", "potassium lost in all", "mmol", 0.0, 50_000.0),
        ("glucose_out", "glucose lost in urine in all", "g", 0.0, 50_000.0),
    )
}
# What goes out during a minute; worked out when it begins.
FLOWS = {
    row[0]: Meaning(*row, "ours")
    for row in (
        ("GFR", "filtration", "mL/min", 0.0, 250.0),
        ("urine", "urine", "mL/min", 0.0, 60.0),
        ("moved", "water into plasma, net", "mL/min", -500.0, 500.0),
        ("insensible", "water lost by skin and lungs", "mL/min", 0.0, 20.0),
        ("drunk", "water taken by mouth", "mL/min", 0.0, 50.0),
        ("glucose", "glucose in urine", "mg/min", 0.0, 5000.0),
        ("ketones", "ketones in urine", "mmol/min", 0.0, 20.0),
        ("Na", "sodium lost beyond intake", "mmol/min", -20.0, 20.0),
        ("K", "potassium in urine", "mmol/min", 0.0, 20.0),
        ("K_eaten", "potassium eaten", "mmol/min", 0.0, 5.0),
    )
}
