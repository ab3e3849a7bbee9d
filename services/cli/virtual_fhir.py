"""A virtual life as the files a hospital would send: a FHIR R4 bundle, a sensor and pump table.

Nobody in them exists: names are numbers, dates of birth are drawn. Insulin given on the first day
stands in the bundle (MedicationAdministration), later doses in the table, so none counts twice.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np

from twinward.clock import utc
from twinward.physiology.virtual import Dose, Life

MRN_SYSTEM = "urn:oid:2.25.271828182845904523536028747135266249775"
PERSON_SYSTEM = "urn:twinward:person"  # value: the `sub` of a person's tokens
PURPOSE_SYSTEM = "urn:twinward:purpose"
ACT_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
LOINC, SNOMED, UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
DAY_MS = 86_400_000
MINUTE_MS = 60_000
Json = dict[str, object]

MAPPING = f"""\
# What the columns of the table beside this file hold (SeriesMapping, docs/formats.md)
time_column = "time"
time_zone = "UTC"
patient_column = "mrn"
patient_system = "{MRN_SYSTEM}"
device = "virtual sensor and pump"

[[columns]]
column = "glucose"
kind = "glucose"
unit = "mg/dL"

[[columns]]
column = "bolus"
kind = "bolus"
unit = "[IU]"

[[columns]]
column = "basal"
kind = "basal-rate"
unit = "[IU]/h"
duration_column = "basal_minutes"

[[columns]]
column = "carbohydrates"
kind = "carbohydrates"
unit = "g"
"""


@dataclass(frozen=True, slots=True)
class Chart:
    """One virtual patient with dates."""

    life: Life
    number: int
    seed: int
    first_ms: int  # midnight before the first reading
    clinician: str  # `sub` of who treats them
    purposes: Sequence[str]  # beyond treatment and upkeep: teaching, research

    @property
    def mrn(self) -> str:
        return f"V{self.seed:04d}-{self.number:04d}"


def _time(ms: int) -> str:
    return utc(ms).strftime("%Y-%m-%dT%H:%M:%SZ")


def _urn(chart: Chart, what: str) -> str:
    """The same entry has the same name whenever it is written."""
    digest = hashlib.sha256(f"{chart.mrn}|{what}".encode()).digest()[:16]
    return UUID(bytes=digest, version=4).urn


def _concept(system: str, code: str, display: str) -> Json:
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}


def _quantity(value: float, unit: str) -> Json:
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}


def bundle(chart: Chart) -> Json:
    """The FHIR R4 collection bundle of one patient."""
    patient: Json = {"reference": _urn(chart, "patient")}
    entries: list[tuple[str, Json]] = [
        ("patient", _patient(chart)),
        ("practitioner", _practitioner(chart)),
        ("careteam", _care_team(chart, patient)),
        ("consent", _consent(chart, patient)),
        ("encounter", _encounter(chart, patient)),
        ("condition", _condition(chart, patient)),
        *_observations(chart, patient),
        ("request", _request(chart, patient)),
        *((f"dose-{k}", _given(chart, patient, dose)) for k, dose in enumerate(_first_day(chart))),
    ]
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "timestamp": _time(chart.first_ms + len(chart.life.sensor) * 5 * MINUTE_MS),
        "entry": [
            {"fullUrl": _urn(chart, name), "resource": {"id": _urn(chart, name)[9:], **resource}}
            for name, resource in entries
        ],
    }


def _first_day(chart: Chart) -> list[Dose]:
    return [dose for dose in chart.life.boluses if dose.minute < 1440]


def _draw(chart: Chart) -> np.random.Generator:
    """What is drawn besides the life: date of birth, sex, blood pressure."""
    return np.random.Generator(np.random.Philox(key=np.array([chart.seed, 1_000_000 + chart.number], np.uint64)))


def _patient(chart: Chart) -> Json:
    chance = _draw(chart)
    born = utc(chart.first_ms - int(chance.uniform(20, 70) * 365.25 * DAY_MS))
    return {
        "resourceType": "Patient",
        "identifier": [
            {
                "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]},
                "system": MRN_SYSTEM,
                "value": chart.mrn,
            }
        ],
        "active": True,
        "name": [{"text": f"Virtual patient {chart.number:04d}"}],
        "gender": ("female", "male")[int(chance.integers(2))],
        "birthDate": born.strftime("%Y-%m-%d"),
    }


def _practitioner(chart: Chart) -> Json:
    return {"resourceType": "Practitioner", "identifier": [{"system": PERSON_SYSTEM, "value": chart.clinician}]}


def _care_team(chart: Chart, patient: Json) -> Json:
    member = {"identifier": {"system": PERSON_SYSTEM, "value": chart.clinician}, "type": "Practitioner"}
    return {
        "resourceType": "CareTeam",
        "status": "active",
        "subject": patient,
        "period": {"start": _time(chart.first_ms)},
        "participant": [{"member": member}],
    }


def _consent(chart: Chart, patient: Json) -> Json:
    permitted = [{"system": PURPOSE_SYSTEM, "code": code} for code in ("upkeep", *chart.purposes)]
    return {
        "resourceType": "Consent",
        "status": "active",
        "scope": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]
        },
        "category": [_concept(LOINC, "59284-0", "Patient consent")],
        "patient": patient,
        "dateTime": _time(chart.first_ms),
        "policyRule": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTIN"}]},
        "provision": {"type": "permit", "purpose": [{"system": ACT_REASON, "code": "TREAT"}, *permitted]},
    }


def _encounter(chart: Chart, patient: Json) -> Json:
    return {
        "resourceType": "Encounter",
        "status": "finished",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "subject": patient,
        "period": {"start": _time(chart.first_ms + 9 * 3_600_000), "end": _time(chart.first_ms + 10 * 3_600_000)},
    }


def _condition(chart: Chart, patient: Json) -> Json:
    chance = _draw(chart)
    years = float(chance.uniform(1, 18))
    return {
        "resourceType": "Condition",
        "clinicalStatus": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]
        },
        "verificationStatus": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-ver-status", "code": "confirmed"}]
        },
        "code": _concept(SNOMED, "46635009", "Type 1 diabetes mellitus"),
        "subject": patient,
        "onsetDateTime": utc(chart.first_ms - int(years * 365.25 * DAY_MS)).strftime("%Y-%m-%d"),
    }


def _observation(chart: Chart, patient: Json, kind: str, code: Json, **value: object) -> Json:
    return {
        "resourceType": "Observation",
        "status": "final",
        "category": [{"coding": [{"system": CATEGORY, "code": kind}]}],
        "code": code,
        "subject": patient,
        "effectiveDateTime": _time(chart.first_ms + 9 * 3_600_000 + 600_000),
        **value,
    }


def _observations(chart: Chart, patient: Json) -> list[tuple[str, Json]]:
    """HbA1c (from mean glucose: ADAG, Nathan, Diabetes Care 31:1473), weight and blood pressure."""
    chance = _draw(chart)
    hba1c = (float(chart.life.truth.mean()) + 46.7) / 28.7
    systolic = float(np.clip(122 + 12 * chance.standard_normal(), 95, 170))
    diastolic = float(np.clip(0.62 * systolic + 4 * chance.standard_normal(), 50, 105))
    pressure = [
        {"code": _concept(LOINC, code, name), "valueQuantity": _quantity(round(value), "mm[Hg]")}
        for code, name, value in (
            ("8480-6", "Systolic blood pressure", systolic),
            ("8462-4", "Diastolic blood pressure", diastolic),
        )
    ]
    a1c = _concept(LOINC, "4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood")
    weight = _concept(LOINC, "29463-7", "Body weight")
    panel = _concept(LOINC, "85354-9", "Blood pressure panel with all children optional")
    return [
        ("hba1c", _observation(chart, patient, "laboratory", a1c, valueQuantity=_quantity(round(hba1c, 1), "%"))),
        (
            "weight",
            _observation(
                chart, patient, "vital-signs", weight, valueQuantity=_quantity(round(chart.life.weight, 1), "kg")
            ),
        ),
        ("pressure", _observation(chart, patient, "vital-signs", panel, component=pressure)),
    ]


def _insulin() -> Json:
    return _concept(RXNORM, "51428", "insulin aspart, human")


def _request(chart: Chart, patient: Json) -> Json:
    return {
        "resourceType": "MedicationRequest",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": _insulin(),
        "subject": patient,
        "authoredOn": _time(chart.first_ms),
        "dosageInstruction": [{"text": f"Pump, basal {chart.life.basal_rate:.2f} U/h, bolus with meals"}],
    }


def _given(chart: Chart, patient: Json, dose: Dose) -> Json:
    return {
        "resourceType": "MedicationAdministration",
        "status": "completed",
        "medicationCodeableConcept": _insulin(),
        "subject": patient,
        "effectiveDateTime": _time(chart.first_ms + dose.minute * MINUTE_MS),
        "dosage": {"dose": _quantity(dose.units, "[IU]")},
    }


def table(chart: Chart) -> str:
    """The sensor and pump table, CSV with a header."""
    life = chart.life
    cells: dict[int, dict[str, object]] = {}

    def put(minute: int, **found: object) -> None:
        cells.setdefault(minute, {}).update(found)

    for k, value in enumerate(life.sensor):
        put(5 * (k + 1), glucose=round(float(value)))
    for dose in life.boluses:
        if dose.minute >= 1440:
            put(dose.minute, bolus=cells.get(dose.minute, {}).get("bolus", 0) + dose.units)  # type: ignore[operator]
    for meal in life.meals:
        put(meal.minute, carbohydrates=cells.get(meal.minute, {}).get("carbohydrates", 0) + meal.grams)  # type: ignore[operator]
    for minute in range(0, 5 * len(life.sensor), 360):
        put(minute, basal=round(life.basal_rate, 3), basal_minutes=360)
    columns = ("time", "mrn", "glucose", "bolus", "basal", "basal_minutes", "carbohydrates")
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    for minute, found in sorted(cells.items()):
        writer.writerow({"time": _time(chart.first_ms + minute * MINUTE_MS), "mrn": chart.mrn, **found})
    return file.getvalue()
