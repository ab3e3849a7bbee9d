"""Tables of patients: what a mapping may say, what becomes of a row, and that no refusal tells a cell."""

from __future__ import annotations

import csv
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from services.auth.consent import Answer, Question
from services.auth.consent_fhir import parse
from services.cli import table_mapping
from services.cli.import_files import consent_template
from services.cli.ingest_table import Refusals, messages
from services.cli.table_mapping import rule
from services.ingest.fhir import Reader, Taken
from services.ingest.receipts import Names
from twinward.errors import BadInput, Malformed
from twinward.record import SENSITIVE, Category, Purpose

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
UCI = EXAMPLES / "heart-uci.mapping.toml"
SECRET = "4711-Erika"

PLAIN = """
name = "trial"
patient_system = "urn:test"
patient_column = "id"
missing = ["?", "-9"]
date_column = "seen"
[patient]
age = "age"
sex = "sex"
male = ["m"]
female = ["f"]
[[observation]]
column = "sys"
code = "loinc|8480-6"
unit = "mm[Hg]"
[[observation]]
column = "pain"
code = "twinward|chest-pain-type"
unit = "1"
values = { typical = 1, none = 4 }
[[condition]]
column = "num"
code = "snomed|53741008"
when = "in [1, 2]"
[encounter]
class = "AMB"
"""
HEADER = "id,seen,age,sex,sys,pain,num\n"


def mapping(folder: Path, text: str = PLAIN, system: str = "") -> table_mapping.TableMapping:
    file = folder / "m.mapping.toml"
    file.write_text(text)
    return table_mapping.read(file, system)


def bundles(folder: Path, table: str, text: str = PLAIN, added: tuple[bytes, ...] = ()) -> tuple[list[bytes], Refusals]:
    file = folder / "t.csv"
    file.write_text(table)
    refusals = Refusals()
    return [one.payload for one in messages(file, mapping(folder, text), added, refusals)], refusals


def resources(payloads: list[bytes]) -> list[dict[str, object]]:
    return [entry["resource"] for payload in payloads for entry in orjson.loads(payload)["entry"]]


def taken(payloads: list[bytes]) -> Iterator[Taken]:
    """As the ingest door reads them; anything it would set aside fails."""
    reader = Reader("files", Names(b"n" * 32), 1_800_000_000_000)
    for payload in payloads:
        for read in reader.message(payload):
            assert isinstance(read, Taken), read
            yield read


def test_a_row_becomes_a_patient_with_what_is_declared(tmp_path: Path) -> None:
    payloads, refusals = bundles(tmp_path, HEADER + "p1,2020-05-06,61.0, f ,144,typical,1.0\n")
    patient, encounter, pressure, pain, condition = resources(payloads)
    assert refusals.rows == 0
    assert (patient["gender"], patient["birthDate"]) == ("female", "1959")
    assert encounter["period"] == {"start": "2020-05-06", "end": "2020-05-06"}
    assert pressure["valueQuantity"] == {"value": 144, "unit": "mm[Hg]", "system": "http://unitsofmeasure.org",
                                         "code": "mm[Hg]"}  # fmt: skip
    assert pain["valueQuantity"]["value"] == 1  # type: ignore[index]
    assert condition["code"] == {"coding": [{"system": "http://snomed.info/sct", "code": "53741008"}]}
    found = list(taken(payloads))
    assert Counter(one.resource for one in found) == {
        "Patient": 1, "Encounter": 1, "Observation": 2, "Condition": 1
    }  # fmt: skip
    assert not [one for one in found if one.unmapped or one.category is Category.RESTRICTED]


def test_missing_cells_make_nothing_and_a_second_visit_makes_other_facts(tmp_path: Path) -> None:
    table = HEADER + "p1,2020-05-06,?,?,-9.0,,0\np1,2021-05-06,62,f,150,none,2\n"
    found = resources(bundles(tmp_path, table)[0])
    assert Counter(str(one["resourceType"]) for one in found) == {
        "Patient": 1, "Encounter": 2, "Observation": 2, "Condition": 1
    }  # fmt: skip
    assert len({one["id"] for one in found if "id" in one}) == 5
    assert "birthDate" not in found[0]


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    table = HEADER + "".join(f"p{n},2020-05-06,50,m,{100 + n},none,0\n" for n in range(1500))
    first, again = bundles(tmp_path, table)[0], bundles(tmp_path, table)[0]
    assert first == again
    assert len(first) > 2


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        (f"p2,2020-05-06,61,f,{SECRET},none,0", "sys"),
        (f"p2,2020-05-06,61,{SECRET},120,none,0", "sex"),
        (f"p2,2020-05-06,{SECRET},f,120,none,0", "age"),
        ("p2,2020-05-06,400,f,120,none,0", "age"),
        ("p2,2020-05-06,61,f,nan,none,0", "sys"),
        (f"p2,2020-05-06,61,f,120,{SECRET},0", "pain"),
        (f"p2,{SECRET},61,f,120,none,0", "seen"),
        (f"p2,2020-05-06,61,f,120,none,{SECRET}", "num"),
        (" ,2020-05-06,61,f,120,none,0", "id"),
        (f"p2,2020-05-06,61,f,120,none,0,{SECRET}", "cells"),
    ],
)
def test_a_row_that_cannot_be_read_is_refused_with_its_number_and_never_its_cells(
    tmp_path: Path, cells: str, column: str
) -> None:
    good = "p{},2020-05-06,61,f,120,none,0\n"
    payloads, refusals = bundles(tmp_path, HEADER + good.format(1) + cells + "\n" + good.format(3))
    (sentence,) = refusals.sentences()
    assert column in sentence
    assert "row 2" in sentence
    assert SECRET not in sentence
    assert len([one for one in resources(payloads) if one["resourceType"] == "Patient"]) == 2


@pytest.mark.parametrize(
    ("table", "kind"),
    [("", BadInput), (HEADER, Malformed), ("id,sys\n1,2\n", BadInput), (HEADER + 'p1,"x\n', Malformed)],
)
def test_a_file_that_is_no_such_table_is_one_sentence(tmp_path: Path, table: str, kind: type[BadInput]) -> None:
    with pytest.raises(kind):
        bundles(tmp_path, table)
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(BadInput):
        list(messages(tmp_path / "t.csv", mapping(tmp_path), (), Refusals()))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name", "typo", "typo"),
        ('unit = "mm[Hg]"', 'unit = "kg"', "no unit"),
        ("loinc|8480-6", "loinc|0-0", "no table knows"),
        ("snomed|53741008", "snomed|1", "no table knows"),
        ("in [1, 2]", "__import__('os')", "comparison"),
        ("in [1, 2]", "in [1, x]", "list"),
        ('male = ["m"]', 'male = ["f"]', "male"),
        ('date_column = "seen"', "", "date"),
        ('date_column = "seen"', 'date = "soon"', "day"),
        ('patient_system = "urn:test"', "", "patient_system"),
        ('class = "AMB"', 'class = "walk in"', "class"),
        ("[[condition]]", "[condition]", "two brackets"),
        ('column = "sys"', "", "needs column"),
        ('missing = ["?", "-9"]', "missing = [9]", "list of texts"),
        ('missing = ["?", "-9"]', 'columns = ["id", "id"]', "once"),
        ('missing = ["?", "-9"]', 'columns = ["id"]', "not among columns"),
        ("typical = 1", "typical = 'a'", "stand for"),
    ],
)
def test_a_mapping_that_cannot_work_says_why(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in PLAIN
    with pytest.raises(BadInput, match=said):
        mapping(tmp_path, PLAIN.replace(old, new, 1))


@pytest.mark.parametrize(
    ("text", "yes", "no"),
    [("> 0", 1, 0), (">= 2", 2, 1), ("< -1.5", -2, -1), ("<= 3", 3, 4), ("== 1", 1, 2), ("!= 1", 2, 1),
     ("in [1, 3]", 3, 2)],
)  # fmt: skip
def test_rules(text: str, yes: float, no: float) -> None:
    assert rule(text)(yes)
    assert not rule(text)(no)


def test_the_ready_consent_permits_research_of_everything_ordinary() -> None:
    document = parse(consent_template(EXAMPLES / "consent-research.json"))
    for purpose in (Purpose.RESEARCH, Purpose.TREATMENT):
        for category in Category:
            for month in (0, 198807, 202611):
                asked = Question(purpose, category, month, 1_800_000_000_000)
                assert (document.answer(asked) is Answer.PERMIT) == (category not in SENSITIVE)
    assert document.answer(Question(Purpose.TEACHING, Category.LABS, 0, 0)) is not Answer.PERMIT


HOSPITALS = {"cleveland": (303, 139), "hungarian": (294, 106), "switzerland": (123, 115), "va": (200, 149)}


@pytest.mark.parametrize("hospital", HOSPITALS)
def test_the_uci_heart_tables(hospital: str, real_data: Path) -> None:
    """Patients and diseased of every hospital as the data's own description counts them (heart-disease.names)."""
    file = real_data / "heart_uci" / f"processed.{hospital}.data"
    refusals = Refusals()
    added = (consent_template(EXAMPLES / "consent-research.json"),)
    payloads = [one.payload for one in messages(file, table_mapping.read(UCI), added, refusals)]
    found = list(taken(payloads))
    counts = Counter(one.resource for one in found)
    assert refusals.sentences() == []
    assert (counts["Patient"], counts["Condition"]) == HOSPITALS[hospital]
    assert counts["Consent"] == counts["Patient"]
    with file.open() as lines:
        rows = list(csv.reader(lines))
    cells = sum(
        cell not in ("?", "-9", "-9.0") and not (column in (3, 4) and float(cell) == 0)
        for row in rows
        for column, cell in enumerate(row)
        if column not in (1, 13)
    )
    assert counts["Observation"] == cells
    assert not [one for one in found if one.unmapped or one.category in SENSITIVE]


def test_the_example_mapping_is_toml_of_all_fourteen_columns() -> None:
    found = tomllib.loads(UCI.read_text())
    assert len(found["columns"]) == 14
    assert table_mapping.read(UCI, "urn:mine").patient_system == "urn:mine"
    assert table_mapping.read(UCI).named == set(found["columns"])
