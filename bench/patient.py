"""The virtual patient beside the teaching cases' targets, and how fast it lives.

    python -m bench.patient --json        # the numbers
    python -m bench.patient --write       # also docs/evidence/patient.csv and the table of patient.md

Targets say what a case should look like. Types: target (a design target, no measurement), external
(published and not used to tune). A row is red where it is missed, and stays red.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from twinward.physiology.monitor import features
from twinward.physiology.patient import Given, Patient

EVIDENCE = Path("docs/evidence")
BEGIN, END = "<!-- table: python -m bench.patient --write -->", "<!-- end of table -->"
NE = "norepinephrine"


@dataclass(frozen=True, slots=True)
class Row:
    case: str
    what: str
    ours: float
    low: float
    high: float
    asked: str
    type: str

    @property
    def green(self) -> bool:
        return self.low <= self.ours <= self.high


def after(kept: bytes, seconds: float, *given: Given) -> Patient:
    one = Patient.load(kept)
    for what in given:
        one.give(what)
    one.advance(seconds)
    return one


def sepsis() -> list[Row]:
    one = Patient.start("adult", {"infection": 1.0})
    while one.numerics()["severity"] < 0.8:
        one.advance(60.0)
    kept, n = one.dump(), one.numerics()
    bag = after(kept, 1800.0, Given("crystalloid", 2250.0, "mL", 1800.0)).numerics()
    none = after(kept, 1800.0).numerics()
    ne = after(kept, 1800.0, Given("crystalloid", 2250.0, "mL", 1800.0), Given(NE, 0.3, "ug/kg/min")).numerics()
    ends = []
    for wait in (600.0, 5400.0):
        one = after(kept, wait)
        one.give(Given("antibiotic", 1.0, "dose"))
        one.give(Given("crystalloid", 2250.0, "mL", 1800.0))
        one.give(Given(NE, 0.3, "ug/kg/min"))
        one.advance(4 * 3600.0 - wait)
        ends.append(one.numerics())
    lost = Patient.load(kept)
    lost.advance(12 * 3600.0)
    case = "septic shock at severity 0.8"
    return [
        Row(case, "MAP, mmHg", n["MAP"], 40, 65, "< 65", "target"),
        Row(case, "heart rate, 1/min", n["HR"], 90, 140, "> 90", "target"),
        Row(case, "SVR, dyn s/cm5", n["SVR"], 200, 600, "≤ 600", "target"),
        Row(case, "output, L/min", n["output"], 4.5, 12, "normal or high", "target"),
        Row(case, "lactate, mmol/L", Patient.load(kept).laboratory()["lactate"], 2, 10, "> 2 (Sepsis-3)", "external"),
        Row(case, "temperature, °C", n["temperature"], 38, 40, "> 38", "target"),
        Row(case, "output with 30 mL/kg over without", bag["output"] / none["output"], 1.1, 2, "rises", "target"),
        Row(case, "MAP with fluid alone, mmHg", bag["MAP"], 40, 65, "norepinephrine is needed", "target"),
        Row(case, "MAP with fluid and 0.3 ug/kg/min, mmHg", ne["MAP"], 65, 100, "65-100", "target"),
        Row(case, "severity 4 h on, antibiotic at 10 min", ends[0]["severity"], 0, 0.5, "mends", "target"),
        Row(case, "severity, antibiotic 80 min later, less that", ends[1]["severity"] - ends[0]["severity"], 0.1, 1,
            "late is worse", "target"),
        Row(case, "death without treatment, h", lost.now_s / 3600 if not lost.alive else 99, 1, 12, "ends badly",
            "target"),
    ]  # fmt: skip


def bleeding(rest: bytes) -> list[Row]:
    base = Patient.load(rest).numerics()
    found = []
    for share, low, high in ((0.2, 0.75, 0.95), (0.3, 0.6, 0.85)):
        volume = share * base["blood"]
        one = Patient.load(rest)
        one.give(Given("bleed", 225.0, "mL/min"))
        while one.fluids.lost < volume:
            one.advance(2.0)
        one.give(Given("stop_bleeding"))
        one.advance(30.0)
        n = one.numerics()
        asked = "MAP 85 % at 20 %" if share == 0.2 else "SBP about 85 at 30 %"
        case = f"bleeding, {100 * share:.0f} % lost"
        if share == 0.2:
            found.append(Row(case, "MAP over rest", n["MAP"] / base["MAP"], low, high, asked, "target"))
            found.append(Row(case, "heart rate, 1/min", n["HR"], 72, 90, "about 80", "target"))
        else:
            found.append(Row(case, "systolic, mmHg", n["SBP"], 75, 95, asked, "target"))
            found.append(Row(case, "haemoglobin, g/dL", one.laboratory()["Hb"], 13.3, 14.2, "constant", "target"))
    return found


def pressure() -> list[Row]:
    kept = Patient.start("adult", {"hypertension": 1.0}).dump()
    n, case = Patient.load(kept).numerics(), "hypertensive emergency"
    one = Patient.load(kept)
    for _ in range(3):
        one.give(Given("nicardipine", 7.5, "mg/h"))
        one.advance(1200.0)
    fell = 1 - one.numerics()["MAP"] / n["MAP"]
    two = after(after(kept, 600.0, Given("labetalol", 20.0, "mg")).dump(), 600.0, Given("labetalol", 40.0, "mg"))
    return [
        Row(case, "systolic, mmHg", n["SBP"], 205, 235, "220", "target"),
        Row(case, "diastolic, mmHg", n["DBP"], 120, 140, "130", "target"),
        Row(case, "fall of MAP in 1 h on nicardipine 7.5 mg/h, %", 100 * fell, 10, 25, "at most 25", "target"),
        Row(case, "fall of MAP after labetalol 20 + 40 mg, %", 100 * (1 - two.numerics()["MAP"] / n["MAP"]), 10, 25,
            "at most 25", "target"),
    ]  # fmt: skip


def failure() -> list[Row]:
    ill = {"weight_kg": 80.0, "heart_failure": 0.88, "hypertension": 0.4, "extra_ml": 600.0}
    kept = after(Patient.start("adult", ill).dump(), 600.0).dump()  # as the case of that name begins
    one, case = Patient.load(kept), "acute heart failure, high pressure"
    n = one.numerics()
    EF = features(one.body.circulation.advance(10.0, 250)).ejection_fraction
    helped = after(kept, 600.0, Given("oxygen", 0.6, "FiO2"), Given("posture", 1.0), Given("cpap", 8.0, "cmH2O"))
    treated = after(helped.dump(), 3600.0, Given("furosemide", 80.0, "mg"), Given("nitroglycerin", 100.0, "ug/min"))
    return [
        Row(case, "LAP, mmHg", n["LAP"], 18, 35, "> 18", "target"),
        Row(case, "ejection fraction", EF, 0.1, 0.35, "< 0.35", "target"),
        Row(case, "heart rate, 1/min", n["HR"], 100, 130, "> 100", "target"),
        Row(case, "systolic, mmHg", n["SBP"], 140, 175, "150-170", "target"),
        Row(case, "SpO2 on air, %", n["SpO2"], 78, 91, "low", "target"),
        Row(case, "SpO2 with oxygen, CPAP, upright, %", helped.numerics()["SpO2"], 94, 100, "rises", "target"),
        Row(case, "LAP after an hour of nitrate and diuretic, mmHg", treated.numerics()["LAP"], 8,
            n["LAP"] - 4, "falls", "target"),
    ]  # fmt: skip


def ketoacidosis() -> list[Row]:
    one, case = Patient.start("dka", {}), "diabetic ketoacidosis"
    lab = one.laboratory()
    one.give(Given("crystalloid", 750.0, "mL/h"))
    one.give(Given("insulin_iv", 7.5, "IU/h"))
    one.advance(3600.0)
    first = one.laboratory()["glucose"]
    one.advance(2 * 3600.0)
    slope = (first - one.laboratory()["glucose"]) / 2
    return [
        Row(case, "glucose, mg/dL", lab["glucose"], 450, 600, "450-600", "target"),
        Row(case, "pH", lab["pH"], 6.9, 7.3, "< 7.3 (ADA/EASD 2024)", "external"),
        Row(case, "ketones, mmol/L", lab["ketones"], 3, 15, "≥ 3 (ADA/EASD 2024)", "external"),
        Row(case, "breaths, 1/min", one.numerics()["RR"], 20, 40, "deep and fast", "target"),
        Row(case, "fall of glucose on 0.1 U/kg/h, mg/dL/h", slope, 50, 100, "50-75, with fluids more", "target"),
    ]


def speed(rest: bytes) -> dict[str, float]:
    found = {}
    for name, hz, seconds in (("patient_x_realtime", 0, 1200.0), ("patient_x_realtime_waves", 250, 300.0)):
        one = Patient.load(rest)
        one.advance(20.0, hz)
        best = 0.0
        for _ in range(3):
            begin = time.perf_counter()
            one.advance(seconds, hz)
            best = max(best, seconds / (time.perf_counter() - begin))
        found[name] = round(best, 1)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--json", action="store_true")
    arguments.add_argument("--write", action="store_true")
    asked = arguments.parse_args()
    rest = Patient.start("adult", {}).dump()
    fast = speed(rest)
    rows = sepsis() + bleeding(rest) + pressure() + failure() + ketoacidosis()
    if asked.write:
        write(rows)
    red = [f"{row.case}: {row.what}" for row in rows if not row.green]
    print(json.dumps(fast | {"rows": len(rows), "red": red}, ensure_ascii=False, indent=None if asked.json else 1))


def write(rows: list[Row]) -> None:
    with (EVIDENCE / "patient.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([*asdict(rows[0]), "green"])
        table.writerows([*asdict(row).values(), row.green] for row in rows)
    lines = ["| case | what | ours | asked | type | |", "|---|---|---|---|---|---|"]
    for row in rows:
        state = "green" if row.green else "**red**"
        lines.append(f"| {row.case} | {row.what} | {row.ours:.4g} | {row.asked} | {row.type} | {state} |")
    path = EVIDENCE / "patient.md"
    text = path.read_text()
    before, after_ = text.split(BEGIN)[0], text.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after_}")


if __name__ == "__main__":
    main()
