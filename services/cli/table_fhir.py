"""A row of a table as the FHIR resources that a hospital would send of this patient.

The same row of the same table gives the same resources with the same ids, so sending it again
changes nothing. What cannot be read refuses its row as a whole; a refusal names the column and
never the cell.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from services.cli.table_mapping import URIS, Found, Measured, TableMapping, plain
from twinward.codes import meaning

UCUM = "http://unitsofmeasure.org"
CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
VERIFIED = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
OLDEST = 125  # years
NUMBER_BYTES = 200
Json = dict[str, object]
Row = Mapping[str, str]


class Refused(Exception):
    """A row that cannot be read: names the column and what is wrong, never what stands there."""


@dataclass(frozen=True, slots=True)
class Entry:
    full_url: str
    resource: Json


def entries(mapping: TableMapping, number: int, row: Row) -> list[Entry]:
    """Everything of row `number` (the file's first row of data is 1), the patient first.

    Raises:
        Refused: a cell that cannot be read.
    """
    patient = row[mapping.patient_column].strip() if mapping.patient_column else f"row-{number}"
    if not patient or len(patient.encode()) > NUMBER_BYTES:
        raise Refused(f"column {mapping.patient_column!r}: no usable patient number")
    day = _day(mapping, row)
    whom = f"{mapping.patient_system}\x00{patient}"
    reference: Json = {"reference": _urn(whom, "patient")}
    made = [Entry(_urn(whom, "patient"), _patient(mapping, patient, day, row))]
    # The name of a fact is of whom, when and which column: the next visit is another fact.
    for name, resource in _facts(mapping, day, row, reference):
        urn = _urn(whom, f"{mapping.name}\x00{day}\x00{name}")
        made.append(Entry(urn, {"id": urn[9:], **resource}))
    return made


def _facts(mapping: TableMapping, day: str, row: Row, patient: Json) -> Iterator[tuple[str, Json]]:
    if mapping.encounter:
        yield (
            "encounter",
            {
                "resourceType": "Encounter",
                "status": "finished",
                "class": {"system": ACT, "code": mapping.encounter},
                "subject": patient,
                "period": {"start": day, "end": day},
            },
        )
    for one in mapping.measured:
        value = _value(mapping, one, row)
        if value is not None:
            yield f"{one.column}\x00{one.code}", _observation(one, value, day, patient)
    for found in mapping.found:
        number = _number(mapping, found.column, row)
        if number is not None and found.when(number):
            yield f"{found.column}\x00{found.code}", _condition(found, day, patient)


def _urn(whom: str, what: str) -> str:
    return UUID(bytes=hashlib.sha256(f"{whom}\x00{what}".encode()).digest()[:16], version=4).urn


def _cell(mapping: TableMapping, column: str, row: Row, missing: frozenset[str] = frozenset()) -> str | None:
    text = plain(row[column])
    return None if not text or text in mapping.missing or text in missing else text


def _number(mapping: TableMapping, column: str, row: Row, missing: frozenset[str] = frozenset()) -> float | None:
    text = _cell(mapping, column, row, missing)
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        raise Refused(f"column {column!r}: not a number, and not declared as missing") from None
    if not math.isfinite(number):
        raise Refused(f"column {column!r}: not a finite number")
    return number


def _value(mapping: TableMapping, one: Measured, row: Row) -> float | None:
    if not one.values:
        return _number(mapping, one.column, row, one.missing)
    text = _cell(mapping, one.column, row, one.missing)
    if text is None:
        return None
    if text not in one.values:
        raise Refused(f"column {one.column!r}: a word that is not among its declared values")
    return one.values[text]


def _day(mapping: TableMapping, row: Row) -> str:
    if not mapping.date_column:
        return mapping.date
    text = row[mapping.date_column].strip()
    try:
        if mapping.date_format:
            return datetime.strptime(text, mapping.date_format).date().isoformat()  # noqa: DTZ007 - a day has no zone
        return date.fromisoformat(text[:10]).isoformat()
    except ValueError:
        raise Refused(f"column {mapping.date_column!r}: not a date of the declared form") from None


def _patient(mapping: TableMapping, number: str, day: str, row: Row) -> Json:
    person = mapping.person
    made: Json = {
        "resourceType": "Patient",
        "identifier": [
            {
                "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]},
                "system": mapping.patient_system,
                "value": number,
            }
        ],
    }
    if person.sex and (cell := _cell(mapping, person.sex, row)) is not None:
        if cell not in person.male | person.female:
            raise Refused(f"column {person.sex!r}: not among the declared cells of male and female")
        made["gender"] = "male" if cell in person.male else "female"
    born = _birth_year(mapping, day, row)
    if born is not None:
        made["birthDate"] = f"{born:04d}"
    return made


def _birth_year(mapping: TableMapping, day: str, row: Row) -> int | None:
    person, this_year = mapping.person, int(day[:4])
    column = person.birth_year or person.age
    said = _number(mapping, column, row) if column else None
    if said is None:
        return None
    born = int(said) if person.birth_year else this_year - int(said)
    if not this_year - OLDEST <= born <= this_year:
        raise Refused(f"column {column!r}: nobody is of that age")
    return born


def _concept(code: str, display: str) -> Json:
    alias, _, value = code.partition("|")
    return {"coding": [{"system": URIS[alias], "code": value}], **({"text": display} if display else {})}


def _observation(one: Measured, value: float, day: str, patient: Json) -> Json:
    known = meaning(one.code)
    number: float | int = int(value) if value.is_integer() else value
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": _concept(one.code, known.name if known else ""),
        "subject": patient,
        "effectiveDateTime": day,
        "valueQuantity": {"value": number, "unit": one.unit, "system": UCUM, "code": one.unit},
    }


def _condition(found: Found, day: str, patient: Json) -> Json:
    return {
        "resourceType": "Condition",
        "clinicalStatus": {"coding": [{"system": CLINICAL, "code": "active"}]},
        "verificationStatus": {"coding": [{"system": VERIFIED, "code": "confirmed"}]},
        "code": _concept(found.code, ""),
        "subject": patient,
        "onsetDateTime": day,
    }
