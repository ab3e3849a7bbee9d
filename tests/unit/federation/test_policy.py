"""The hospital's own file decides, and only it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from services.federation.policy import Policy, PolicyFile, load
from services.federation.study import Column, Study
from twinward.errors import BadInput, UnknownSetting

STUDY = Study(
    title="Pressure",
    question="?",
    author="p-1",
    purpose="research",
    recipe="statistics",
    sites=("a.demo", "b.demo"),
    columns=(Column("sbp", "loinc|8480-6"),),
)


def test_without_a_file_demo_allows_what_is_not_private_and_no_other_profile_does(tmp_path: Path) -> None:
    assert load(tmp_path / "none.toml", "demo").objections(STUDY) == []
    assert load(tmp_path / "none.toml", "clinical").objections(STUDY) == ["the study's privacy class is not among any"]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('recipes = ["logistic"]', "recipe"),
        ('purposes = ["teaching"]', "purpose"),
        ('privacy = ["PRIVATE"]', "privacy class"),
        ("minimum_sites = 3", "fewer than 3"),
        ("most_rounds = 5", "more than 5"),
        ('not_with = ["b.demo"]', "shared with b.demo"),
    ],
)
def test_each_rule_objects(tmp_path: Path, text: str, word: str) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(text)
    objections = load(file, "demo").objections(STUDY)
    assert len(objections) == 1
    assert word in objections[0]


def test_a_study_for_everyone_is_not_for_a_hospital_that_refuses_someone() -> None:
    policy = Policy(privacy=("NON-PRIVATE",), not_with=("b.demo",))
    assert policy.objections(replace(STUDY, sites=())) != []
    assert policy.objections(replace(STUDY, sites=("a.demo", "c.demo"))) == []


def test_the_higher_minimum_counts() -> None:
    assert Policy(minimum_cohort=25).smallest_cohort(replace(STUDY, minimum_cohort=10)) == 25
    assert Policy(minimum_cohort=25).smallest_cohort(replace(STUDY, minimum_cohort=40)) == 40


@pytest.mark.parametrize("key", ["auto_approve = true", "minimum_chohort = 50"])
def test_an_unknown_key_is_refused(tmp_path: Path, key: str) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(key)
    with pytest.raises(UnknownSetting):
        load(file, "demo")


@pytest.mark.parametrize(
    "text", ["recipes = 3", "recipes = [3]", "minimum_sites = 0", 'minimum_cohort = "many"', "a = [", "\x00"]
)
def test_what_is_no_policy_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(text)
    with pytest.raises(BadInput):
        load(file, "demo")


def test_the_environment_does_not_speak_to_the_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINWARD_MINIMUM_COHORT", "1")
    assert load(tmp_path / "none.toml", "demo").minimum_cohort == 10


def test_an_edit_counts_from_the_next_question_on(tmp_path: Path) -> None:
    file = PolicyFile(tmp_path / "policy.toml", "demo")
    assert file.now().minimum_cohort == 10
    file.path.write_text("minimum_cohort = 99")
    assert file.now().minimum_cohort == 99
