"""How well twins forecast ShanghaiT1DM/T2DM: `python -m bench.skill_shanghai --write`, last third of each record.

Zhao et al. 2023 (Sci Data 10:35; CC BY 4.0), half of its people, `$TWINWARD_DATA/cgm_shanghai`. A reading
every 15 min; insulin and diet as logged in hospital. How the log becomes rows, all of it [G]:

- pump boluses and rates as they stand; "temporarily suspend" is a rate of 0;
- regular and rapid insulin under the skin is a bolus; degludec, detemir, glargine a long-acting dose;
  premixed insulin is split as its name says (30 % bolus of 70/30 and 30R, half of 50R), the rest flows as a
  long-acting dose, which is too flat for NPH;
- insulin in an infusion bag is left out: its rate is not logged;
- diet is free text with weights: the longest word of `shanghai_foods.csv` that occurs in a line tells its carbohydrates
  per 100 g as eaten; other food has none. "Data not available" is a meal nobody weighed: no row;
- fingersticks are the filter's second sensor;
- oral agents are not read. Times without a zone are taken as UTC. Weight from the clinical summary.

Most of these people make insulin of their own; the twin's body does not, and says so in its notes.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import re
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from pathlib import Path

from bench import skill, skill_limits
from services.twin.glucose import warm
from twinward.record import (
    CARBOHYDRATES,
    CGM_GLUCOSE,
    INSULIN_BASAL_DOSE,
    INSULIN_BASAL_RATE,
    INSULIN_BOLUS,
    Measurement,
)

FINGERSTICK = "loinc|41653-7"
SLOW = ("degludec", "detemir", "glargine")
MIXED = {"70/30": 0.3, "30r": 0.3, "m30": 0.3, "50r": 0.5}  # share that acts at once
PART = re.compile(r"\s*(?P<food>[^\d]+?)\s*(?P<amount>\d+(?:\.\d+)?)\s*(?:g|ml)\b", re.IGNORECASE)
DOSE = re.compile(r"(?P<name>.*?),?\s*(?P<units>\d+(?:\.\d+)?)\s*IU\s*$", re.IGNORECASE)
BEGIN, END = "<!-- table: python -m bench.skill_shanghai --write -->", "<!-- end of Shanghai -->"


def folder() -> Path:
    return Path(os.environ.get("TWINWARD_DATA", "../shared/data")) / "cgm_shanghai"


@cache
def foods() -> dict[str, float]:
    """g of carbohydrates per 100 g, by word; longest word first."""
    with Path(__file__).with_name("shanghai_foods.csv").open(newline="") as file:
        rows = {row["word"]: float(row["carbohydrates"]) for row in csv.DictReader(file)}
    return dict(sorted(rows.items(), key=lambda item: -len(item[0])))


def carbohydrates(diet: str) -> float:
    """g in a free-text diet; 0 where nothing in it has any, or nothing is weighed."""
    total = 0.0
    for line in re.split(r"[\n;]|,(?=\s*[A-Za-z])", diet.replace("\xa0", " ")):
        found = PART.match(line)
        if found:
            name = found["food"].lower()
            total += (
                next((share for word, share in foods().items() if word in name), 0.0) * float(found["amount"]) / 100
            )
    return total


def doses(text: str) -> list[tuple[str, float]]:
    """(code, units) of one subcutaneous entry."""
    found = DOSE.match(text.replace("\xa0", " "))
    if not found:
        return []
    name, units = found["name"].lower(), float(found["units"])
    if any(word in name for word in SLOW):
        return [(INSULIN_BASAL_DOSE, units)]
    for word, share in MIXED.items():
        if word in name:
            return [(INSULIN_BOLUS, share * units), (INSULIN_BASAL_DOSE, (1 - share) * units)]
    return [(INSULIN_BOLUS, units)]


def rows_of(lines: list[dict[str, str]], unweighed: bool = False) -> list[Measurement]:
    """Everything of one record that the twin reads; `unweighed`: food without weight as 0 g, to know when it was."""
    rows: list[Measurement] = []
    for line in lines:
        ms = int(datetime.fromisoformat(line["time"]).replace(tzinfo=UTC).timestamp() * 1000)
        told: list[tuple[str, float, str]] = []
        if line["cgm_mgdl"]:
            told.append((CGM_GLUCOSE, float(line["cgm_mgdl"]), "mg/dL"))
        if line["cbg_mgdl"]:
            told.append((FINGERSTICK, float(line["cbg_mgdl"]), "mg/dL"))
        told += [(code, units, "[IU]") for code, units in doses(line["ins_sc"])]
        if line["bolus_iu"] and float(line["bolus_iu"]) > 0:
            told.append((INSULIN_BOLUS, float(line["bolus_iu"]), "[IU]"))
        if line["basal_iuh"]:
            rate = 0.0 if line["basal_iuh"].startswith("temporarily") else float(line["basal_iuh"])
            told.append((INSULIN_BASAL_RATE, rate, "[IU]/h"))
        grams = carbohydrates(line["diet"]) if line["diet"] else 0.0
        if grams >= 1 or (unweighed and line["diet"]):
            told.append((CARBOHYDRATES, grams, "g"))
        rows += [Measurement(code, ms, ms, value, unit, b"", source="shanghai") for code, value, unit in told]
    return sorted(rows, key=lambda row: row.effective_ms)


def weights() -> dict[str, float]:
    found = {}
    for name in ("summary_T1DM.csv", "summary_T2DM.csv"):
        with (folder() / name).open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file):
                try:
                    found[row["Patient Number"].strip()] = float(row["Weight (kg)"])
                except ValueError:
                    continue
    return found


def records(unweighed: bool = False) -> list[skill_limits.Record]:
    kilograms = weights()
    with gzip.open(folder() / "cgm.csv.gz", "rt", newline="") as file:
        lines = sorted(csv.DictReader(file), key=lambda line: (line["cohort"], line["record"], line["time"]))
    return [
        skill_limits.Record(name, name.split("_")[0], cohort, rows_of(list(group), unweighed), kilograms.get(name))
        for (cohort, name), group in groupby(lines, key=lambda line: (line["cohort"], line["record"]))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="docs/evidence/skill.md and skill-shanghai.csv")
    arguments = parser.parse_args()
    warm()
    rows, traces = skill_limits.judged(records())
    names = list(dict.fromkeys(row["patient"] for row in rows))
    parts = []
    for cohort, title in (("T2DM", "ShanghaiT2DM"), ("T1DM", "ShanghaiT1DM")):
        mine = [row for row in rows if row["group"] == cohort]
        seen = [trace for name, trace in zip(names, traces, strict=True) if any(row["patient"] == name for row in mine)]
        parts.append(skill_limits.markdown(title, mine, skill_limits.lows_of(seen)))
    text = "\n".join(parts)
    print(text)
    if arguments.write:
        skill_limits.write_rows(skill.EVIDENCE / "skill-shanghai.csv", rows)
        skill_limits.fill(skill.EVIDENCE / "skill.md", BEGIN, END, text)


if __name__ == "__main__":
    main()
