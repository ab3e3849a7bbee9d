"""The virtual clinics' tables and the open fit that the demo holds the federated one against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest

from services.auth.consent import Answer, Question
from services.auth.consent_fhir import parse
from services.cli import pooled, table_mapping, virtual_tables
from services.cli.import_files import consent_template, mapping_file
from services.cli.ingest_table import Refusals, messages
from services.cli.virtual_tables import CLINICS, EFFECTS
from twinward.record import Category, Purpose


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return virtual_tables.write(tmp_path_factory.mktemp("tables"), 1)


def test_the_same_seed_writes_the_same_people_and_another_seed_others(tables: list[Path], tmp_path: Path) -> None:
    again, other = virtual_tables.write(tmp_path / "a", 1), virtual_tables.write(tmp_path / "b", 2)
    assert [one.read_bytes() for one in tables] == [one.read_bytes() for one in again]
    assert all(one.read_bytes() != two.read_bytes() for one, two in zip(tables, other, strict=True))


def test_tables_are_labelled_and_go_in_as_they_are(tables: list[Path]) -> None:
    assert "nobody in this table exists" in (tables[0].parent / "README").read_text()
    for table, clinic in zip(tables, CLINICS, strict=True):
        assert "invented" in mapping_file(table).read_text()
        refusals = Refusals()
        payloads = [one.payload for one in messages(table, table_mapping.read(mapping_file(table)), (), refusals)]
        kinds = [entry["resource"]["resourceType"] for one in payloads for entry in orjson.loads(one)["entry"]]
        assert refusals.rows == 0
        assert kinds.count("Patient") == kinds.count("Encounter") == clinic.patients
        assert 20 < kinds.count("Condition") < clinic.patients - 20


def test_the_consent_permits_research(tables: list[Path]) -> None:
    document = parse(consent_template(tables[0].parent / "consent.json"))
    for category in (Category.LABS, Category.VITALS, Category.CONDITIONS, Category.PROCEDURES):
        assert document.answer(Question(Purpose.RESEARCH, category, 202506, 0)) is Answer.PERMIT


def test_hospitals_see_different_people(tables: list[Path]) -> None:
    ages = [pooled.complete([one])[0][:, 0].mean() for one in tables]
    assert ages[1] > ages[0] > ages[2]


def test_the_pooled_fit_is_the_maximum_and_finds_the_invented_effects(tables: list[Path]) -> None:
    x, y = pooled.complete(tables)
    beta = pooled.logistic(x, y)
    design = np.column_stack([np.ones(len(x)), x])
    score = design.T @ (y - 1 / (1 + np.exp(-design @ beta)))
    assert np.abs(score / np.abs(design).sum(axis=0)).max() < 1e-10
    assert np.sign(beta[1:]).tolist() == np.sign(list(EFFECTS.values())).tolist()
