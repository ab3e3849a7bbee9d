"""Three hospitals' tables for a study, of people who do not exist.

The effects below are invented for demonstration: they are in the order of what is known of coronary
disease and are nobody's measurement. Hospitals differ in whom they see (age, sex, how ill), not in
the effects: that is what a study of all of them can find and one of them alone hardly can.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.cli.virtual_fhir import ACT_REASON, LOINC, PURPOSE_SYSTEM, Json
from twinward.errors import BadInput

LABEL = "Synthetic: nobody in this table exists; effects are invented for demonstration (twinward virtual tables)."
COLUMNS = ("number", "seen", "age", "sex", "systolic", "cholesterol", "st_depression", "disease")
OUTCOME = "disease"
# Logit of disease: a step of each column's unit below, from the middle; "intercept" is the hospital's own mix.
EFFECTS = {"age": 0.05, "female": -1.1, "systolic": 0.018, "cholesterol": 0.006, "st_depression": 0.75}
MIDDLE = {"age": 58.0, "female": 0.0, "systolic": 132.0, "cholesterol": 225.0, "st_depression": 1.0}
MISSING = 0.02  # share of cells that nobody filled in
YEAR = 2025

MAPPING = """\
# {label}
name = "virtual-clinic"
patient_system = "urn:twinward:virtual:{slug}"
patient_column = "number"
missing = ["?"]
date_column = "seen"

[patient]
age = "age"
sex = "sex"
male = ["m"]
female = ["f"]

[[observation]]
column = "age"
code = "loinc|30525-0"
unit = "a"

[[observation]]
column = "systolic"
code = "loinc|8480-6"
unit = "mm[Hg]"

[[observation]]
column = "cholesterol"
code = "loinc|2093-3"
unit = "mg/dL"

[[observation]]
column = "st_depression"
code = "twinward|exercise-st-depression"
unit = "mm"

[[condition]]
column = "disease"
code = "snomed|53741008"
when = "== 1"

[encounter]
class = "AMB"
"""


@dataclass(frozen=True, slots=True)
class Clinic:
    """Whom a hospital sees."""

    name: str
    patients: int
    age: float  # mean, years
    female: float  # share
    cholesterol: float  # mean, mg/dL
    intercept: float  # logit of disease at the middle of everything

    @property
    def slug(self) -> str:
        return self.name.lower().replace(". ", "-").replace(" ", "-")


CLINICS = (
    Clinic("St. Anne", 150, 57.0, 0.42, 224.0, -0.2),
    Clinic("St. Brice", 135, 64.0, 0.30, 236.0, 0.5),
    Clinic("St. Clare", 140, 52.0, 0.55, 214.0, -0.7),
)


def consent() -> Json:
    """A FHIR Consent to treatment and research, to be added for every patient of a table."""
    codes = [{"system": ACT_REASON, "code": "TREAT"}, {"system": PURPOSE_SYSTEM, "code": "research"}]
    scope = {"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}
    return {
        "resourceType": "Consent",
        "status": "active",
        "scope": {"coding": [scope]},
        "category": [{"coding": [{"system": LOINC, "code": "59284-0"}]}],
        "policyRule": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTIN"}]},
        "provision": {"type": "permit", "purpose": codes},
    }


def rows(clinic: Clinic, number: int, seed: int) -> list[dict[str, str]]:
    """The patients of hospital `number`; the same arguments give the same people."""
    chance = np.random.Generator(np.random.Philox(key=np.array([seed, 2_000_000 + number], np.uint64)))
    made = []
    for patient in range(1, clinic.patients + 1):
        found = {
            "age": round(float(np.clip(clinic.age + 9 * chance.standard_normal(), 30, 88))),
            "female": float(chance.random() < clinic.female),
            "systolic": round(float(np.clip(132 + 17 * chance.standard_normal(), 90, 210))),
            "cholesterol": round(float(np.clip(clinic.cholesterol + 44 * chance.standard_normal(), 120, 420))),
            "st_depression": round(float(np.clip(chance.exponential(1.0), 0, 6)), 1),
        }
        logit = clinic.intercept + sum(EFFECTS[name] * (found[name] - MIDDLE[name]) for name in EFFECTS)
        ill = chance.random() < 1 / (1 + math.exp(-logit))
        day = f"{YEAR}-{int(chance.integers(1, 13)):02d}-{int(chance.integers(1, 29)):02d}"
        cells = {
            "number": f"{clinic.slug}-{seed}-{patient:04d}", "seen": day, "age": f"{found['age']}",
            "sex": "f" if found["female"] else "m", OUTCOME: str(int(ill)),
            **{name: f"{found[name]}" for name in ("systolic", "cholesterol", "st_depression")},
        }  # fmt: skip
        for name in ("systolic", "cholesterol", "st_depression"):
            if chance.random() < MISSING:
                cells[name] = "?"
        made.append(cells)
    return made


def text(found: Sequence[dict[str, str]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return file.getvalue()


def write(directory: Path, seed: int) -> list[Path]:
    """<hospital>.csv with its mapping for every clinic, and consent.json; the tables' paths, in order.

    Raises:
        BadInput: the directory cannot be written.
    """
    tables = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "README").write_text(LABEL + "\n")
        (directory / "consent.json").write_text(json.dumps(consent(), indent=1) + "\n")
        for number, clinic in enumerate(CLINICS):
            table = directory / f"{clinic.slug}.csv"
            table.write_text(text(rows(clinic, number, seed)))
            mapping = MAPPING.format(label=LABEL, slug=clinic.slug)
            (directory / f"{clinic.slug}.mapping.toml").write_text(mapping)
            tables.append(table)
    except OSError as error:
        raise BadInput("the directory cannot be written; name one of your own", detail=str(error)) from None
    return tables
