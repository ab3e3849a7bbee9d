"""T1D-UOM as rows of the house: what `bench.skill` reads.

CC BY 4.0, DOI 10.5281/zenodo.15169263; the folder is `$TWINWARD_DATA/cgm_t1d_uom` (default
../shared/data). Times are local without a zone and taken as UTC; mmol/L becomes mg/dL.
Basal "R" is a pump's rate in U/h until the next entry, "L" a long-acting injection in U.
"""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from twinward.record import (
    CARBOHYDRATES,
    CGM_GLUCOSE,
    INSULIN_BASAL_DOSE,
    INSULIN_BASAL_RATE,
    INSULIN_BOLUS,
    Measurement,
)

MG_PER_MMOL = 18.016
PEOPLE = ("2301", "2302", "2303", "2304", "2305", "2306", "2307", "2308", "2309")


def folder() -> Path:
    return Path(os.environ.get("TWINWARD_DATA", "../shared/data")) / "cgm_t1d_uom"


def _rows(name: str, person: str) -> Iterator[dict[str, str]]:
    with gzip.open(folder() / f"{name}.csv.gz", "rt", newline="") as file:
        yield from (row for row in csv.DictReader(file) if row["pid"] == person)


def _ms(text: str) -> int | None:
    for form in ("%d/%m/%Y %H:%M", "%d/%m/%Y %H:%M:%S"):
        try:
            return int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp() * 1000)
        except ValueError:
            continue
    return None


def _one(code: str, when: str, value: str, unit: str, scale: float = 1.0) -> list[Measurement]:
    ms = _ms(when)
    if ms is None or not value:
        return []
    return [Measurement(code, ms, ms, float(value) * scale, unit, b"", source="t1d-uom")]


def rows_of(person: str) -> list[Measurement]:
    """Everything of one participant that the twin reads, in order of time.

    Only the time in which insulin or meals were logged, where they were: a twin of a person
    whose log begins in the middle would be judged on half a record.
    """
    glucose = [
        m
        for row in _rows("glucose", person)
        for m in _one(CGM_GLUCOSE, row["bg_ts"], row["value"], "mg/dL", MG_PER_MMOL)
    ]
    inputs: list[Measurement] = []
    for row in _rows("bolus", person):
        inputs += _one(INSULIN_BOLUS, row["bolus_ts"], row["bolus_dose"], "[IU]")
    for row in _rows("basal", person):
        rapid = row["insulin_kind"] == "R"
        code, unit = (INSULIN_BASAL_RATE, "[IU]/h") if rapid else (INSULIN_BASAL_DOSE, "[IU]")
        inputs += _one(code, row["basal_ts"], row["basal_dose"], unit)
    for row in _rows("nutrition", person):
        inputs += _one(CARBOHYDRATES, row["meal_ts"], row["carbs_g"], "g")
    if inputs:
        boluses = sorted(m.effective_ms for m in inputs if m.code == INSULIN_BOLUS)
        first = max(boluses[0], min(m.effective_ms for m in glucose))
        last = boluses[-1]
        glucose = [m for m in glucose if first <= m.effective_ms <= last]
        inputs = [m for m in inputs if first <= m.effective_ms <= last]
    return sorted(glucose + inputs, key=lambda m: m.effective_ms)
