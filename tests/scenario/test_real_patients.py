"""People who exist: the records of two participants of T1D-UOM go in by the front door and become twins.

Data: T1D-UOM, CC BY 4.0, DOI 10.5281/zenodo.15169263. Their readings are of 2023, so the questions are asked as of
then; the decisions and their entries are of now.
"""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

from tests import invariants
from tests.hospital import Hospital
from tests.scenario.ward import until
from twinward.wire.v1 import twin_pb2, twin_pb2_grpc

PEOPLE = ("2305", "2307")
TABLES = {
    "glucose": ("bg_ts", "value", "glucose", "mmol/L"),
    "bolus": ("bolus_ts", "bolus_dose", "bolus", "[IU]"),
    "nutrition": ("meal_ts", "carbs_g", "carbohydrates", "g"),
}
CONSENT = {
    "resourceType": "Consent",
    "status": "active",
    "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]},
    "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
    "policyRule": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTIN"}]},
    "provision": {
        "type": "permit",
        "purpose": [
            {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "TREAT"},
            {"system": "urn:twinward:purpose", "code": "upkeep"},
        ],
    },
}


def _table(source: Path, name: str, folder: Path) -> tuple[Path, int]:
    """The rows of PEOPLE in a file of their own, and how many hold a value."""
    _, value, _, _ = TABLES[name]
    with gzip.open(source / "cgm_t1d_uom" / f"{name}.csv.gz", "rt") as stream:
        reader = csv.DictReader(stream)
        rows = [row for row in reader if row["pid"] in PEOPLE]
        header = reader.fieldnames or []
    path = folder / f"{name}.csv"
    with path.open("w") as out:
        writer = csv.DictWriter(out, header)
        writer.writeheader()
        writer.writerows(rows)
    return path, sum(bool(row[value].strip()) for row in rows)


def _send(hospital: Hospital, path: Path, consent: Path) -> dict[str, int]:
    time, value, kind, unit = TABLES[path.stem]
    ran = hospital.twinward(
        "ingest", "files", str(path), "--yes-deidentified", "--consent", str(consent), "--care-team", "clinician",
        "--series", kind, "--time", time, "--value", value, "--unit", unit, "--time-format", "%d/%m/%Y %H:%M",
        "--time-zone", "Europe/London", "--patient-column", "pid", "--patient-system", "urn:uom", "--json",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    counts: dict[str, int] = json.loads(ran.stdout)["counts"]
    return counts


def test_participants_of_a_study_become_twins(hospital: Hospital, real_data: Path, tmp_path: Path) -> None:
    consent = tmp_path / "consent.json"
    consent.write_text(json.dumps(CONSENT))
    for name in TABLES:
        path, rows = _table(real_data, name, tmp_path)
        first = _send(hospital, path, consent)
        assert first["stored"] + first["duplicate"] >= rows
        assert first["rejected"] == first["intake"] == 0
        again = _send(hospital, path, consent)
        assert (again["stored"], again["duplicate"]) == (0, first["stored"] + first["duplicate"])
    twins = twin_pb2_grpc.TwinStub(hospital.session("clinician").channel("twin"))
    listing = twin_pb2.ListTwinsRequest()
    until(lambda: sum(one.has_twin for one in twins.ListTwins(listing).twins) == len(PEOPLE), "two twins", 90)
    for person in PEOPLE:
        request = twin_pb2.ShowTwinRequest()
        request.patient.identifier.system, request.patient.identifier.value = "urn:uom", person
        shown = twins.ShowTwin(request)
        assert shown.readings > 5_000
        assert shown.coefficients == "own"
        newest = shown.recent[-1]
        assert newest.unit == "mg/dL"
        ask = twin_pb2.ForecastRequest(patient=request.patient, as_of_ms=newest.time_ms + 120_000)
        answer = twins.Forecast(ask)
        assert [point.minutes_ahead for point in answer.points] == [30, 60, 120]
        assert all(20 < point.glucose.low < point.glucose.value < point.glucose.high < 600 for point in answer.points)
    invariants.holds(hospital.directory)
