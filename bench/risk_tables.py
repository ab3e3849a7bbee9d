"""Makes the coefficient tables that the product ships, from the data folder.

    TWINWARD_DATA=... python -m bench.risk_tables

prevent.csv: one row per term, one column per sex and outcome, of the ten PREVENT tables.
ukpds.csv: the non-zero coefficients of UKPDS-OM2, one row each. Numbers are copied as they
are; the names of terms are ours.
"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "twinward" / "physiology" / "risk"
DATA = Path(os.environ.get("TWINWARD_DATA", ROOT.parent / "shared" / "data")) / "physiology"

PREVENT_HEAD = """\
# Coefficients of the PREVENT equations (log odds). Source: Khan SS et al., Circulation 2024;149:430-449, supplement,
# as tabulated in martingmayer/preventr 0.12.0 (MIT licence), R/sysdata.rda. Numbers are facts of the paper; no code
# of the package is used. Made by `python -m bench.risk_tables`. Do not edit.
"""
UKPDS_HEAD = """\
# Coefficients of the UKPDS Outcomes Model 2. Source: Hayes AJ et al., Diabetologia 2013;56:1925-1933, supplementary
# tables 4-6, as tabulated by icorroramos/COMPAR-EU_diabetes_model (input/*.csv). Numbers are facts of the paper; no
# code is used. Made by `python -m bench.risk_tables`. Do not edit.
"""
TERMS = {
    "Age, per 10 years": "age",
    "Age, 10 years": "age",
    "Age squared": "age_squared",
    "non-HDL-C per 1 mmol/L": "non_hdl",
    "HDL-C per 0.3 mmol/L": "hdl",
    "SBP <110 per 20 mmHg": "sbp_low",
    "SBP ≥110 per 20 mmHg": "sbp_high",
    "Diabetes": "diabetes",
    "Current smoking": "smoker",
    "BMI <30, per 5 kg/m2": "bmi_low",
    "BMI 30+, per 5 kg/m2": "bmi_high",
    "eGFR <60, per -15 ml": "egfr_low",
    "eGFR 60+, per -15 ml": "egfr_high",
    "Anti-hypertensive use": "bp_treated",
    "Statin use": "statin",
    "Treated SBP ≥110 mm Hg per 20 mm Hg": "bp_treated*sbp_high",
    "Treated non-HDL-C": "statin*non_hdl",
    "Age per 10yr * non-HDL-C per 1 mmol/L": "age*non_hdl",
    "Age per 10yr * HDL-C per 0.3 mmol/L": "age*hdl",
    "Age per 10yr * SBP ≥110 mm Hg per 20 mmHg": "age*sbp_high",
    "Age per 10yr * diabetes": "age*diabetes",
    "Age per 10yr * current smoking": "age*smoker",
    "Age per 10yr * BMI 30+ per 5 kg/m2": "age*bmi_high",
    "Age per 10yr * eGFR <60, per -15 ml": "age*egfr_low",
    "SDI decile categories 4-6 vs. 1-3": "sdi_middle",
    "SDI decile categories 7-10 vs. 1-3": "sdi_high",
    "Missing SDI": "sdi_missing",
    "ln-ACR, mg/g, per 1 ln unit": "ln_acr",
    "Missing ACR/PCR/Dipstick": "acr_missing",
    "HbA1c in DM, per 1%": "hba1c_diabetes",
    "HbA1c no DM, per 1%": "hba1c_no_diabetes",
    "Missing HbA1c": "hba1c_missing",
    "Constant": "constant",
}
WEIBULL, GOMPERTZ, LOGISTIC = "weibull", "gompertz", "logistic"
FORMS = {
    "ULCER": LOGISTIC, "DEATHNOHIST": GOMPERTZ, "DEATH1YEVENT": LOGISTIC, "DEATHHISTNOEVENT": GOMPERTZ,
    "DEATHYSEVENT": LOGISTIC,
}  # fmt: skip


def prevent() -> None:
    tables = json.loads((DATA / "prevent_coefficients.json").read_text())
    equations = [name for name in tables["base_10yr"] if name != "terms"]
    with (OUT / "prevent.csv").open("w", newline="") as sink:
        sink.write(PREVENT_HEAD)
        rows = csv.writer(sink, lineterminator="\n")
        rows.writerow(["model", "years", "term", *equations])
        for name, table in tables.items():
            model, years = name.removesuffix("yr").split("_")
            for k, term in enumerate(table["terms"]):
                rows.writerow([model, years, TERMS[term], *(table[equation][k] for equation in equations)])


def ukpds() -> None:
    with (OUT / "ukpds.csv").open("w", newline="") as sink:
        sink.write(UKPDS_HEAD)
        rows = csv.writer(sink, lineterminator="\n")
        rows.writerow(["equation", "form", "symbol", "value"])
        for group in ("macrovascular", "microvascular", "mortality"):
            table = list(csv.reader((DATA / f"UKPDS_{group}_coef.csv").read_text().splitlines()))
            for column, equation in enumerate(table[0][1:], 1):
                for line in table[1:]:
                    if float(line[column]) or line[0] in {"lambda", "ro", "phi"}:
                        symbol = "shape" if line[0] in {"ro", "phi"} else line[0]
                        rows.writerow([equation, FORMS.get(equation, WEIBULL), symbol, line[column]])


if __name__ == "__main__":
    prevent()
    ukpds()
