"""`twinward ingest` against a real door; only the login is a stand-in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest

from services.cli.ingest import group
from services.cli.output import Output, finish
from tests.contract.ingest.test_door import standing
from tests.contract.ingest.ward import MRN, Ward, observation, patient
from tests.site import Site


@dataclass
class LoggedIn:
    """Options of the command line whose session is already there."""

    node: Path
    opened: grpc.Channel
    out: Output

    def session(self, role: str) -> LoggedIn:
        return self

    def channel(self, program: str) -> grpc.Channel:
        return self.opened


class Command:
    def __init__(self, folder: Path, opened: grpc.Channel, capsys: pytest.CaptureFixture[str]) -> None:
        self._options = LoggedIn(folder, opened, Output(as_json=True))
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, Any, str]:
        """(exit code, the JSON document, stderr)."""
        code = finish(
            lambda: group.main(list(arguments), obj=self._options, standalone_mode=False), lambda: self._options.out
        )
        told = self._capsys.readouterr()
        return code, json.loads(told.out) if told.out else None, told.err


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def command(
    ward: Ward, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with standing(ward, site) as stub:
        yield Command(tmp_path, stub.channel_of("data-steward"), capsys)


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """A folder as people have it: a bundle, lines, a table with its mapping, and a broken file."""
    folder = tmp_path / "records"
    folder.mkdir()
    entries = [{"resource": patient("7")}, {"resource": observation("o1", "7")}]
    (folder / "a.json").write_bytes(orjson.dumps({"resourceType": "Bundle", "type": "batch", "entry": entries}))
    (folder / "Patient.ndjson").write_bytes(orjson.dumps(patient("8")))
    (folder / "cgm.csv").write_text("p,t,g\n7,2026-01-01T00:00:00Z,100\n8,2026-01-01T00:05:00Z,Low\n8,never,1\n")
    (folder / "cgm.mapping.toml").write_text(
        f'time_column = "t"\npatient_column = "p"\npatient_system = "{MRN}"\n'
        '[[columns]]\ncolumn = "g"\nkind = "glucose"\nunit = "mg/dL"\n'
    )
    return folder


def test_a_folder_goes_in_and_every_entry_is_answered_for(command: Command, records: Path, ward: Ward) -> None:
    code, told, _ = command(str(records), "--yes-deidentified")
    assert code == 0
    assert told["counts"] == {
        "stored": 5, "corrected": 0, "duplicate": 0, "intake": 0, "quarantined": 1, "dropped": 0, "rejected": 0,
    }  # fmt: skip
    assert told["entries"] == 6
    assert sum(sum(counts.values()) for counts in told["types"].values()) == 6
    assert [one["reason"] for one in told["reasons"]] == ["bad-time"]
    before = ward.stored().essence()
    _, told, _ = command(str(records), "--yes-deidentified")
    assert (told["counts"]["duplicate"], told["counts"]["stored"]) == (6, 0)
    assert ward.stored().essence() == before


def test_one_broken_file_does_not_stop_the_others(command: Command, records: Path) -> None:
    (records / "b.json").write_bytes(b"\x89PNG")
    code, told, said = command(str(records), "--yes-deidentified")
    assert code == 3
    assert list(told["refused_files"]) == ["b.json"]
    assert told["counts"]["stored"] == 5
    assert "1 of 4 files" in said


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", b"hello", "not JSON"),
        ("a.json", b'{"resourceType":"Bundle","type":"history"}', "transaction, batch or collection"),
        ("a.csv", b"t,g\n1,2\n", "--mapping"),
    ],
)
def test_a_file_that_cannot_be_taken_is_one_sentence(
    command: Command, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    code, told, said = command(str(tmp_path / name), "--yes-deidentified")
    assert (code, told) == (3, None)
    assert says in said


def test_columns_declared_on_the_command_line(command: Command, tmp_path: Path, ward: Ward) -> None:
    (tmp_path / "x.csv").write_text("when,mmol\n01/02/2026 10:00,5.5\n")
    code, told, _ = command(
        str(tmp_path / "x.csv"), "--yes-deidentified", "--series", "glucose", "--time", "when", "--value", "mmol",
        "--unit", "mmol/L", "--time-format", "%d/%m/%Y %H:%M", "--time-zone", "Europe/London", "--patient", f"{MRN}|7",
    )  # fmt: skip
    assert (code, told["values"]) == (0, 1)
    ((_, _, row),) = ward.stored().measurements
    assert row.value == pytest.approx(99.09, abs=0.01)


def test_a_consent_for_everybody(command: Command, records: Path, ward: Ward, tmp_path: Path) -> None:
    said = {
        "resourceType": "Consent",
        "status": "active",
        "scope": {"coding": [{"code": "patient-privacy"}]},
        "category": [{"coding": [{"code": "59284-0"}]}],
        "policyRule": {"coding": [{"code": "OPTIN"}]},
        "provision": {"type": "permit"},
    }
    (tmp_path / "consent.json").write_bytes(orjson.dumps(said))
    code, told, _ = command(str(records), "--yes-deidentified", "--consent", str(tmp_path / "consent.json"))
    assert code == 0
    assert told["types"]["Consent"]["stored"] == 4  # by reference and by number: two of each patient
    assert ward.office.sql("select distinct kind from vault.intake_consent") == [("consent",)]


def test_status_unmapped_and_redrive(command: Command, tmp_path: Path) -> None:
    odd = observation("o", "7", code={"coding": [{"system": "urn:lab", "code": "X"}]})
    bad = observation("o2", "7", status="great")
    entries = [{"resource": one} for one in (patient("7"), odd, bad)]
    (tmp_path / "a.json").write_bytes(orjson.dumps({"resourceType": "Bundle", "type": "batch", "entry": entries}))
    command(str(tmp_path / "a.json"), "--yes-deidentified")
    code, told, _ = command("unmapped")
    assert (code, [one["code"] for one in told]) == (0, ["X"])
    code, told, _ = command("status")
    assert (told["quarantine"], told["feeds"][0]["accepted"]) == (1, 3)
    code, told, _ = command("redrive", "--reason", "invalid-Observation")
    assert (code, told) == (0, {"items": 1})


def test_an_interrupted_import_goes_on_where_it_was(command: Command, tmp_path: Path, ward: Ward) -> None:
    lines = [patient("7"), *(observation(f"o{number}", "7") for number in range(2_100))]
    (tmp_path / "all.ndjson").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    from services.cli.import_progress import Progress

    ward.put(*lines[:1_000])
    Progress.of(tmp_path, "files", [tmp_path / "all.ndjson"]).note(tmp_path / "all.ndjson", 1)
    code, told, _ = command(str(tmp_path / "all.ndjson"), "--yes-deidentified")
    assert code == 0
    assert (told["skipped_messages"], told["entries"]) == (1, 1_101)
    assert len(ward.stored().documents) == 2_101
