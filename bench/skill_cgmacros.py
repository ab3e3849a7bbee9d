"""How well twins forecast CGMacros: `python -m bench.skill_cgmacros --write`, last third of each record.

Gutierrez-Osuna et al. 2025 (PhysioNet, CC BY 4.0), subjects 1-22, `$TWINWARD_DATA/cgm_cgmacros`: health,
pre-diabetes and type 2 (HbA1c below 5.7, below 6.5, else), no insulin logged, meals with carbohydrates, two
sensors worn at once. Each sensor is a record of its own, both of one person a block.

The file has a row a minute, with values on straight lines between readings; a twin that read those would
see the future. Only the readings are taken: every fifth minute (Dexcom) or fifteenth (Libre) of the phase in which
the line bends; a reading on a line is one as well. Carbohydrates are the grams of the meal times the share
eaten. Times without a zone are taken as UTC. Weight is in pounds.

The twin's body has no insulin of its own: for these people the physiology is wrong by construction, the twin
says in its notes that it is a model of type 1 diabetes, and the regression has to carry the forecast.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import numpy as np

from bench import skill, skill_limits
from services.twin.glucose import warm
from twinward.record import CARBOHYDRATES, CGM_GLUCOSE, Measurement

SENSORS = {"Libre GL": 15, "Dexcom GL": 5}
KG_PER_POUND = 0.45359237
BEGIN, END = "<!-- table: python -m bench.skill_cgmacros --write -->", "<!-- end of CGMacros -->"


def folder() -> Path:
    return Path(os.environ.get("TWINWARD_DATA", "../shared/data")) / "cgm_cgmacros"


def readings(minutes: np.ndarray, values: np.ndarray, every: int) -> np.ndarray:
    """Indices of true readings in a series filled a minute apart (NaN: nothing).

    The phase is found anew on each unbroken stretch: a sensor that was started again has another.
    """
    kept: list[int] = []
    there = np.flatnonzero(np.isfinite(values))
    for run in np.split(there, np.flatnonzero(np.diff(minutes[there]) != 1) + 1):
        if len(run) < 3:
            continue
        bend = np.abs(np.diff(values[run], 2))
        phases = (minutes[run][1:-1]) % every
        phase = int(np.argmax([bend[phases == k].sum() for k in range(every)]))
        kept += [int(i) for i in run if minutes[i] % every == phase]
    return np.array(kept, int)


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def records() -> list[skill_limits.Record]:
    with (folder() / "bio.csv").open(newline="") as file:
        people = {int(row["subject"]): row for row in csv.DictReader(file)}
    found = []
    with gzip.open(folder() / "cgmacros_1min.csv.gz", "rt", newline="") as file:
        for pid, group in groupby(csv.DictReader(file), key=lambda line: line["pid"]):
            lines = list(group)
            person = people[int(pid)]
            a1c = float(person["A1c PDL (Lab)"])
            state = "health" if a1c < 5.7 else "pre-diabetes" if a1c < 6.5 else "type 2"
            weight = float(person["Body weight"]) * KG_PER_POUND
            times = np.array([_ms(line["Timestamp"]) for line in lines])
            meals = [
                Measurement(CARBOHYDRATES, int(ms), int(ms), grams, "g", b"", source="cgmacros")
                for ms, line in zip(times, lines, strict=True)
                if line["Carbs"] and (grams := float(line["Carbs"]) * _share(line["Amount Consumed"])) > 0
            ]
            for column, every in SENSORS.items():
                values = np.array([float(line[column] or "nan") for line in lines])
                rows = [
                    Measurement(CGM_GLUCOSE, int(times[i]), int(times[i]), float(values[i]), "mg/dL", b"")
                    for i in readings(times // 60_000, values, every)
                ]
                kind = column.split()[0]
                first, last = rows[0].effective_ms, rows[-1].effective_ms
                rows += [meal for meal in meals if first <= meal.effective_ms <= last]
                rows.sort(key=lambda row: row.effective_ms)
                found.append(skill_limits.Record(f"{pid}-{kind}", pid, f"{kind}/{state}", rows, weight))
    return found


def _share(text: str) -> float:
    """Of a meal that was eaten; all where nothing is said."""
    try:
        percent = float(text)
    except ValueError:
        return 1.0
    return min(max(percent, 0.0), 100.0) / 100.0 if percent > 0 else 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="docs/evidence/skill.md and skill-cgmacros.csv")
    arguments = parser.parse_args()
    warm()
    rows, traces = skill_limits.judged(records())
    names = list(dict.fromkeys(row["patient"] for row in rows))
    parts = []
    for kind in ("Dexcom", "Libre"):
        mine = [row for row in rows if row["group"].startswith(kind)]
        seen = [trace for name, trace in zip(names, traces, strict=True) if name.endswith(kind)]
        parts.append(skill_limits.markdown(f"CGMacros, {kind}", mine, skill_limits.lows_of(seen)))
        parts.append(by_state(kind, mine))
    text = "\n".join(parts)
    print(text)
    if arguments.write:
        skill_limits.write_rows(skill.EVIDENCE / "skill-cgmacros.csv", rows)
        skill_limits.fill(skill.EVIDENCE / "skill.md", BEGIN, END, text)


def by_state(kind: str, rows: list[skill.Row]) -> str:
    """A sentence: RMSE of the twin and of ARX at 60 min by state of health."""
    told = []
    for state in ("health", "pre-diabetes", "type 2"):
        mine = [row for row in rows if row["group"] == f"{kind}/{state}" and row["minutes"] == 60]
        if mine:
            twin, arx = (float(np.sqrt(np.mean([row[f"rmse_{who}"] ** 2 for row in mine]))) for who in ("twin", "arx"))
            told.append(f"{state} ({len(mine)}) {twin:.1f} / {arx:.1f}")
    return f"RMSE at 60 min, twin / ARX, by state: {', '.join(told)}.\n"


if __name__ == "__main__":
    main()
