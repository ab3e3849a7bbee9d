"""The real files of the data folder: every entry is answered for, and twice is once."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import orjson
import pytest

from services.ingest.answer import Answer
from services.ingest.bundle import read
from services.ingest.mapping import Column, Mapping
from tests.contract.ingest.ward import Ward
from twinward.errors import Malformed

STORED = ("stored", "corrected", "duplicate")


def _sum(answers: list[Answer]) -> Counter[str]:
    return sum((Counter(one.counts) for one in answers), Counter())


def _synthea(folder: Path) -> list[bytes]:
    return [gzip.decompress(one.read_bytes()) for one in sorted((folder / "interop/synthea-r4-smart").glob("*.gz"))]


def test_the_synthea_bundles(ward: Ward, real_data: Path) -> None:
    payloads = _synthea(real_data)
    entries = sum(len(orjson.loads(payload)["entry"]) for payload in payloads)
    first = _sum([ward.acceptor.fhir("files", "", payload) for payload in payloads])
    assert (len(payloads), entries) == (50, 15_428)
    assert first == {"stored": 15_276, "rejected": 152}  # the rest: 76 organisations, 76 practitioners
    assert ward.office.sql("select count(*) from vault.patient_state") == [(50,)]
    stored = ward.stored()
    assert ward.counts()["accepted"] == stored.items
    assert len(stored.documents) == 15_276
    # Byte for byte: what lies sealed is what stood in the files.
    bodies = Counter(one.body for _, _, one in stored.documents)
    kept = Counter(
        e.body for payload in payloads for e in read(payload) if e.kind not in {"Organization", "Practitioner"}
    )
    assert bodies == kept
    again = _sum([ward.acceptor.fhir("files", "", payload) for payload in payloads])
    assert again == {"duplicate": 15_276, "rejected": 152}
    assert ward.counts()["accepted"] == stored.items
    assert not ward.waiting()
    unmapped = ward.office.sql("select system, code, unit, count from ingest.unmapped order by count desc limit 2")
    assert unmapped == [("loinc", "72514-3", "{score}", 418), ("loinc", "72166-2", "", 412)]


def test_the_official_examples(ward: Ward, real_data: Path) -> None:
    files = sorted((real_data / "interop/hl7-fhir-r4-examples").glob("*.json"), key=lambda one: one.name)
    answers, refused, entries = [], [], 0
    for file in files:
        payload = file.read_bytes()
        try:
            entries += len(read(payload))
            answers.append(ward.acceptor.fhir("files", "", payload))
        except Malformed:
            refused.append(file.name)
    counts = _sum(answers)
    assert len(files) == 261
    assert len(refused) == 3  # two bundles of type message, one batch-response
    assert counts.total() == entries
    reasons = Counter(
        {one.reason: one.count for answer in answers for one in answer.reasons if one.result == "rejected"}
    )
    assert set(reasons) <= {"no-patient", "not-a-patient"}
    while ward.file().filed:
        pass
    left = {(kind, reason) for kind, state, reason in ward.waiting() if state == "waiting"}
    assert left == {
        ("intake", "unknown-patient"),
        ("quarantine", "no-subject"),
        ("quarantine", "subject-changed"),  # one id stands for two patients' records in the examples
        ("quarantine", "no-resource"),
        ("quarantine", "no-identifier"),
        ("quarantine", "unresolved-reference"),
    }
    before = ward.stored().essence()
    again = []
    for file in files:
        if file.name not in refused:
            again.append(ward.acceptor.fhir("files", "", file.read_bytes()))
    while ward.file().filed:
        pass
    assert ward.stored().essence() == before
    assert set(_sum(again)) == {"duplicate", "rejected"}


def test_t1d_uom_by_a_declared_mapping(ward: Ward, real_data: Path) -> None:
    folder = real_data / "cgm_t1d_uom"
    columns = {
        "glucose": ("bg_ts", Column("value", "glucose", "mmol/L")),
        "bolus": ("bolus_ts", Column("bolus_dose", "bolus", "[IU]")),
        "nutrition": ("meal_ts", Column("carbs_g", "carbohydrates", "g")),
    }
    sent = 0
    counts: Counter[str] = Counter()
    for name, (time, column) in columns.items():
        mapping = Mapping(time, (column,), "%d/%m/%Y %H:%M", "Europe/London", "pid", "urn:uom")
        lines = gzip.decompress((folder / f"{name}.csv.gz").read_bytes()).splitlines(keepends=True)[:8_001]
        answer = ward.acceptor.series("files", "", b"".join(lines), mapping, None)
        counts += Counter(answer.counts)
        sent += len(lines) - 1
    assert set(counts) <= {"stored", "quarantined"}
    stored = ward.stored()
    assert counts["stored"] == len(stored.measurements)
    assert sent - 200 < counts.total() <= sent  # rows without a value say nothing
    glucose = [row for _, _, row in stored.measurements if row.code == "loinc|99504-3"]
    assert len(glucose) == 8_000
    assert all(30 < row.value < 450 for row in glucose)


@pytest.mark.parametrize("name", ["Observation", "Patient", "Condition"])
def test_bulk_lines(ward: Ward, real_data: Path, name: str) -> None:
    lines = gzip.decompress((real_data / f"interop/synthea-ndjson/{name}.ndjson.gz").read_bytes()).splitlines()
    answer = ward.put(*lines)
    assert sum(answer.counts.values()) == len(lines)
    assert set(answer.counts) == {"Patient": {"stored"}}.get(name, {"intake"})
