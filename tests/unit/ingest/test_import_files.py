"""Files as messages: kinds, order, cuts, and one clear sentence for what cannot be read."""

from __future__ import annotations

import gzip
from pathlib import Path

import orjson
import pytest

from services.cli import import_files
from services.cli.import_files import FHIR, LINES_OF_FHIR, SERIES, kind_of
from services.cli.import_progress import Progress
from services.cli.mapping_file import from_toml
from services.ingest.bundle import read
from twinward.errors import BadInput

PATIENT = {"resourceType": "Patient", "id": "p"}
CONSENT = {"resourceType": "Consent", "status": "active", "id": "template"}


def observation(number: int, size: int = 0) -> dict[str, object]:
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "note": "x" * size,
        "subject": {"reference": "Patient/p"},
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.json", FHIR), ("a.JSON.gz", FHIR), ("Observation.ndjson", LINES_OF_FHIR),
        ("Observation.000", LINES_OF_FHIR),
        ("Observation.001.gz", LINES_OF_FHIR), ("x.jsonl", LINES_OF_FHIR), ("cgm.csv.gz", SERIES), ("cgm.txt", SERIES),
        ("README.md", ""), ("LICENSE", ""), ("cgm.mapping.toml", ""),
    ],
)  # fmt: skip
def test_kinds_by_name(name: str, kind: str) -> None:
    assert kind_of(Path(name)) == kind


def test_patients_go_first_and_tables_only_with_their_mapping(tmp_path: Path) -> None:
    for name in (
        "Observation.ndjson",
        "Patient.ndjson",
        "b.json",
        "a.csv",
        "c.csv",
        "c.mapping.toml",
        "README.md",
        "INDEX.json",
    ):
        (tmp_path / name).write_text("x")
    names = [one.name for one in import_files.files([tmp_path])]
    assert names == ["Patient.ndjson", "Observation.ndjson", "b.json", "c.csv"]


def test_a_bundle_goes_as_it_is(tmp_path: Path) -> None:
    payload = b'{"resourceType":"Bundle","type":"batch","entry":[{"resource": {"resourceType":"Basic","v":7.10}}]}'
    file = tmp_path / "b.json.gz"
    file.write_bytes(gzip.compress(payload))
    assert [one.payload for one in import_files.messages(file)] == [payload]


def test_a_large_bundle_is_cut_and_every_part_has_the_patient(tmp_path: Path) -> None:
    entries = [{"fullUrl": "urn:uuid:1", "resource": PATIENT}]
    entries += [{"resource": observation(number)} for number in range(9_000)]
    file = tmp_path / "b.json"
    file.write_bytes(orjson.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}))
    parts = [read(one.payload) for one in import_files.messages(file)]
    assert [len(part) for part in parts] == [4_000, 4_000, 1_003]
    assert all(part[0].kind == "Patient" for part in parts)
    assert len({entry.resource["id"] for part in parts for entry in part}) == 9_001


def test_lines_are_gathered_and_cut_at_the_same_places(tmp_path: Path) -> None:
    file = tmp_path / "Observation.000"
    file.write_bytes(b"\n".join(orjson.dumps(observation(number)) for number in range(2_500)) + b"\n\n")
    first = [one.payload for one in import_files.messages(file)]
    assert [len(read(one)) for one in first] == [1_000, 1_000, 500]
    assert first == [one.payload for one in import_files.messages(file)]
    assert read(first[0])[0].body == orjson.dumps(observation(0))


def test_memory_is_bounded_by_size_too(tmp_path: Path) -> None:
    file = tmp_path / "Observation.ndjson"
    file.write_bytes(b"\n".join(orjson.dumps(observation(number, 3_000_000)) for number in range(10)))
    assert max(len(one.payload) for one in import_files.messages(file)) < 12.1 * 1024 * 1024


def test_a_consent_is_added_for_every_patient(tmp_path: Path) -> None:
    file = tmp_path / "b.json"
    entries = [{"fullUrl": "urn:uuid:1", "resource": PATIENT}, {"resource": observation(1)}]
    file.write_bytes(orjson.dumps({"resourceType": "Bundle", "type": "batch", "entry": entries}))
    (one,) = import_files.messages(file, (orjson.dumps(CONSENT),))
    added = read(one.payload)[-1].resource
    assert added["patient"] == {"reference": "urn:uuid:1"}
    assert added["id"] != "template"
    alone = tmp_path / "Patient-p.json"
    alone.write_bytes(orjson.dumps(PATIENT))
    (one,) = import_files.messages(alone, (orjson.dumps(CONSENT),))
    assert [entry.resource.get("patient") for entry in read(one.payload)] == [None, {"reference": "Patient/p"}]


def test_a_table_is_cut_with_its_header_and_never_inside_a_cell(tmp_path: Path) -> None:
    mapping = tmp_path / "t.mapping.toml"
    mapping.write_text(
        'time_column = "t"\npatient_column = "p"\npatient_system = "urn:x"\n'
        '[[columns]]\ncolumn = "g"\nkind = "glucose"\nunit = "mg/dL"\n'
    )
    said = from_toml(mapping, None)
    file = tmp_path / "t.csv"
    row = '7,2026-01-01T00:00:00Z,100,"a note\nover two lines"\n'
    file.write_text("exported by X\np,t,g,note\n" + row * 150_000)
    parts = [one.payload for one in import_files.series(file, said.columns)]
    assert len(parts) == 2
    assert all(part.startswith(b"p,t,g,note\n") and part.endswith(b'two lines"\n') for part in parts)
    added = (orjson.dumps(CONSENT), import_files.care_team_template(["clinician"]))
    consent, team = (entry.resource for entry in read(import_files.series_additions(added, parts[0], said)))
    assert consent["patient"] == team["subject"] == {"identifier": {"system": "urn:x", "value": "7"}}
    assert consent["id"] != team["id"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", b"", "is empty"),
        ("a.json.gz", gzip.compress(b"x" * 100_000, mtime=0)[:60], "cut off or damaged"),
        ("a.json.gz", b"\x1f\x8bgarbage", "cut off or damaged"),
        ("a.ndjson", b"", "is empty"),
        ("a.ndjson", b"\x89PNG\r\n\x1a\n", "no NDJSON"),
        ("a.ndjson", b"[{}]", "no NDJSON"),
        ("a.ndjson", b"{" + b" " * (9 * 1024 * 1024), "more than 8 MiB"),
        ("a.json", b" " * (51 * 1024 * 1024), "send it as NDJSON"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(BadInput, match=says):
        list(import_files.messages(file))


def test_paths_that_are_not_there_or_hold_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is not there"):
        import_files.files([tmp_path / "nowhere"])
    with pytest.raises(BadInput, match="nothing to send"):
        import_files.files([tmp_path])
    (tmp_path / "x.docx").write_text("x")
    with pytest.raises(BadInput, match="no kind that can be read"):
        import_files.files([tmp_path / "x.docx"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("time_column = 7", "must be a text"),
        ("tme_column = 't'", "unknown key"),
        ("columns = 3", r"\[\[columns\]\]"),
        ("[[columns]]\nkolumn = 'g'", "unknown key"),
        ("= 3", "not TOML"),
        ("time_column = 't'", "whose rows"),
        ("time_column = 't'\npatient = 'x'", "SYSTEM"),
        ("patient = 'a|b'\npatient_column = 'p'", "not both"),
    ],
)
def test_a_wrong_mapping_says_what_to_write(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "m.toml"
    file.write_text(text)
    with pytest.raises(BadInput, match=says):
        from_toml(file, None)


def test_progress_is_kept_until_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    file = tmp_path / "a.ndjson"
    file.write_text("{}")
    one = Progress.of(tmp_path, "files", [file])
    one.note(file, 3)
    assert Progress.of(tmp_path, "files", [file]).sent(file) == 3
    assert Progress.of(tmp_path, "other", [file]).sent(file) == 0
    file.write_text("{ }")
    assert Progress.of(tmp_path, "files", [file]).sent(file) == 0  # it changed: all of it again
    one.finished()
    assert Progress.of(tmp_path, "files", [file]).done == {}
