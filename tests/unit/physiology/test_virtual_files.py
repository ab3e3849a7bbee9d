"""`twinward virtual generate`: bundles and tables that say the same as the life behind them."""

from __future__ import annotations

import csv
import json
import tomllib
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from services.cli.virtual import end_of, generate, group, latest
from twinward.clock import SetClock, SystemClock
from twinward.errors import BadInput

UNTIL = "2026-11-22T12:00:00Z"
TYPES = {
    "Patient",
    "Practitioner",
    "CareTeam",
    "Consent",
    "Encounter",
    "Condition",
    "Observation",
    "MedicationRequest",
    "MedicationAdministration",
}


def test_the_same_arguments_write_the_same_bytes(tmp_path: Path) -> None:
    first = generate(tmp_path / "a", 2, 3, 4, UNTIL)
    second = generate(tmp_path / "b", 2, 3, 4, UNTIL)
    assert [path.name for path in first] == [
        f"patient-000{n}{suffix}" for n in (1, 2) for suffix in (".json", ".csv", ".mapping.toml")
    ]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_a_bundle_holds_what_a_twin_and_its_door_need(tmp_path: Path) -> None:
    generate(tmp_path, 1, 3, 4, UNTIL, clinician="someone", purposes=("teaching",))
    bundle = json.loads((tmp_path / "patient-0001.json").read_text())
    entries = [entry["resource"] for entry in bundle["entry"]]
    assert {entry["resourceType"] for entry in entries} == TYPES
    urls = [entry["fullUrl"] for entry in bundle["entry"]]
    assert len(set(urls)) == len(urls)
    patient = urls[[entry["resourceType"] for entry in entries].index("Patient")]
    for entry in entries:
        subject = entry.get("subject") or entry.get("patient")
        assert subject is None or subject["reference"] == patient
    consent = next(entry for entry in entries if entry["resourceType"] == "Consent")
    purposes = {coding["code"] for coding in consent["provision"]["purpose"]}
    assert purposes == {"TREAT", "upkeep", "teaching"}
    team = next(entry for entry in entries if entry["resourceType"] == "CareTeam")
    assert team["participant"][0]["member"]["identifier"]["value"] == "someone"
    codes = {entry["code"]["coding"][0]["code"] for entry in entries if entry["resourceType"] == "Observation"}
    assert codes == {"4548-4", "29463-7", "85354-9"}


def test_table_and_mapping_fit_and_no_dose_counts_twice(tmp_path: Path) -> None:
    generate(tmp_path, 1, 3, 4, UNTIL)
    mapping = tomllib.loads((tmp_path / "patient-0001.mapping.toml").read_text())
    rows = list(csv.DictReader((tmp_path / "patient-0001.csv").read_text().splitlines()))
    for column in mapping["columns"]:
        assert column["column"] in rows[0]
        assert any(row[column["column"]] for row in rows)
    assert mapping["time_column"] in rows[0]
    assert {row[mapping["patient_column"]] for row in rows} == {"V0004-0001"}
    assert rows[-1]["time"] == UNTIL
    assert len([row for row in rows if row["glucose"]]) == 3 * 288 + 144
    bundle = json.loads((tmp_path / "patient-0001.json").read_text())
    given = [
        entry["resource"]["effectiveDateTime"]
        for entry in bundle["entry"]
        if entry["resource"]["resourceType"] == "MedicationAdministration"
    ]
    told = {row["time"] for row in rows if row["bolus"]}
    assert given
    assert told
    assert not told & set(given)


def test_arguments_out_of_range_are_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        end_of("yesterday")
    with pytest.raises(BadInput):
        generate(tmp_path, 0, 3, 4, UNTIL)
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(BadInput):
        generate(blocked / "below", 1, 1, 4, UNTIL)
    run = CliRunner().invoke(group, ["generate", str(tmp_path / "c"), "--until", "nonsense"])
    assert run.exit_code == 1
    assert "ISO 8601" in run.output
    run = CliRunner().invoke(
        group, ["generate", str(tmp_path / "c"), "--until", UNTIL, "--patients", "1", "--days", "1"]
    )
    assert run.exit_code == 0, run.output
    assert "3 files" in run.output


def test_without_until_the_data_end_now(tmp_path: Path) -> None:
    assert latest(SetClock(1_795_348_799_000)) == "2026-11-22T11:55:00+00:00"
    assert latest(SetClock(1_795_348_800_000)) == "2026-11-22T12:00:00+00:00"
    begun = SystemClock().now_ms() / 1000
    done = CliRunner().invoke(group, ["generate", str(tmp_path), "--patients", "1", "--days", "1"])
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader((tmp_path / "patient-0001.csv").read_text().splitlines()))
    assert begun - 300 <= datetime.fromisoformat(rows[-1]["time"]).timestamp() <= begun + 120
