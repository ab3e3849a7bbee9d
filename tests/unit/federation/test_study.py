"""A study file: what is taken, what is refused with which sentence, and that the hash is the study."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.federation.study import (
    Cohort,
    Column,
    Study,
    approval_text,
    canonical,
    categories,
    enough,
    from_canonical,
    parse,
    period,
    problems,
    sha256,
)
from services.federation.study_file import plain
from services.federation.study_rules import broken
from twinward.errors import BadInput
from twinward.record import Category

FILE = """
title = "Coronary disease from four numbers"
question = "Do age and pressure tell who has coronary disease?"
purpose = "research"
recipe = "logistic"
rounds = 12
sites = ["st-anne.demo", "north.demo"]
test_fraction = 0.25

[cohort]
age_from = 18
first_month = 201001

[[columns]]
name = "age"
code = "patient|age"

[[columns]]
name = "pressure"
code = "loinc|8480-6"
unit = "kPa"
missing = "mean"
low = 4
high = 40

[outcome]
name = "coronary"
code = "condition|snomed|53741008"
"""


def test_a_file_becomes_a_study() -> None:
    study = parse(FILE.encode(), "r-1")
    assert study.author == "r-1"
    assert [column.name for column in study.columns] == ["age", "pressure"]
    assert study.columns[1].low == 4.0
    assert study.outcome is not None
    assert study.outcome.take == "present"  # what a condition is
    assert problems(FILE.encode(), "r-1") == []


def test_the_hash_is_the_study() -> None:
    study = parse(FILE.encode(), "r-1")
    again = parse(FILE.replace("low = 4\n", "low = 4.0\n").replace("rounds = 12", "rounds   =  12").encode(), "r-1")
    assert sha256(study) == sha256(again)
    assert sha256(study) != sha256(parse(FILE.encode(), "r-2"))
    assert len({sha256(study), sha256(replace(study, seed=1)), sha256(replace(study, rounds=13))}) == 3
    # frozen: approvals that were given name these bytes
    assert sha256(study).hex() == "46a0de69ead8d137ee7ceccd5fd4edffe00723775d7ce5b96966d5d27f0971a9"


@pytest.mark.parametrize(
    ("was", "becomes", "sentence"),
    [
        ("rounds = 12", "round = 12", "round is not known here"),
        ("rounds = 12", "rounds = 12.5", "rounds must be a whole number"),
        ("rounds = 12", "rounds = true", "rounds must be a whole number"),
        ("rounds = 12", "rounds = 0", "rounds must be between 1 and 1000"),
        ('title = "Coronary', 'titel = "Coronary', "title is missing"),
        ('purpose = "research"', 'purpose = "curiosity"', 'purpose must be "research"'),
        ('recipe = "logistic"', 'recipe = "magic"', "recipe must be one of statistics, logistic"),
        ('"north.demo"', '"st-anne.demo"', "twice"),
        ('"north.demo"', '"North!"', "site ids"),
        (', "north.demo"', "", "minimum_sites asks for 2, but sites names 1"),
        ("rounds = 12", "minimum_cohort = 3", "minimum_cohort must be between 10"),
        ("rounds = 12", 'author = "me"', "author is set by the coordinator"),
        ("rounds = 12", "rounds = [", "not TOML"),
        ("rounds = 12", "deadline_s = nan", "finite"),
        ("age_from = 18", "age_from = 18\nage_until = 10", "age_from must be below age_until"),
        ("first_month = 201001", "first_month = 201013", "six digits"),
        ("first_month = 201001", 'conditions = ["snomed|1"]', "is in no table"),
        ('code = "loinc|8480-6"', 'code = "loinc|85354-9"', "is no number that a table knows"),
        ('unit = "kPa"', 'unit = "kg"', "cannot be made from mm[Hg]"),
        ("low = 4", "low = 41", "pressure.low must be below high"),
        ('name = "pressure"', 'name = "age"', "a name of its own"),
        ('name = "pressure"', 'name = "Pressure!"', "small letters"),
        ('missing = "mean"', 'missing = "guess"', "columns[2].missing must be one of refuse, drop, mean, count"),
        ('name = "coronary"', 'name = "coronary"\nmissing = "mean"', "cannot be made up"),
        ('name = "coronary"', 'name = "coronary"\nabove = 1', "is 0 or 1"),
        ("Do age", "Do \\u202eage", "cannot be shown"),
    ],
)
def test_what_is_wrong_is_said(was: str, becomes: str, sentence: str) -> None:
    assert was in FILE
    file = FILE.replace(was, becomes, 1).encode()
    found = problems(file, "r-1")
    assert any(sentence in one for one in found), found
    with pytest.raises(BadInput):
        parse(file, "r-1")


def test_everything_wrong_is_said_at_once() -> None:
    file = FILE.replace("low = 4", "low = 41").replace("rounds = 12", "rounds = 0").replace("age_from = 18", "age = 18")
    assert len(problems(file.replace("age = 18", "age_from = 200").encode(), "r-1")) == 4
    assert problems(b"\xff", "r-1") == ["the file is not UTF-8 text: save it as such"]
    assert "64 KiB" in problems(b"#" * 70_000, "r-1")[0]


def test_other_bytes_of_the_same_study_are_refused() -> None:
    study = parse(FILE.encode(), "r-1")
    text = canonical(study)
    assert from_canonical(text) == study
    found = json.loads(text)
    for other in (
        text + b" ",
        json.dumps(found).encode(),
        text.replace(b'"rounds":12', b'"rounds":12.0'),
        json.dumps({**found, "more": 1}, sort_keys=True, separators=(",", ":")).encode(),
        json.dumps({k: v for k, v in found.items() if k != "seed"}, sort_keys=True, separators=(",", ":")).encode(),
        text.replace(b'"research"', b'"treatment"'),
        b"[]",
        b"null",
        b"",
        b"[" * 100_000,
        b"\xff",
        b"x" * 200_000,
    ):
        with pytest.raises(BadInput):
            from_canonical(other)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(st.sampled_from([one.name for one in fields(Study)]), VALUES)
@settings(max_examples=300, deadline=None)
def test_whatever_stands_in_a_field_is_taken_or_refused(key: str, value: object) -> None:
    """No accepted bytes crash later, and what is accepted has one form."""
    found = json.loads(canonical(parse(FILE.encode(), "r-1")))
    try:
        text = json.dumps({**found, key: value}, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
            errors="surrogatepass"
        )
        study = from_canonical(text)
    except BadInput:
        return
    assert canonical(study) == text
    assert from_canonical(canonical(study)) == study


@given(
    st.integers(0, len(FILE)),
    st.integers(0, 30),
    st.text(max_size=12) | st.sampled_from(["[", "1e400", "=", '"', "nan"]),
)
@settings(max_examples=200, deadline=None)
def test_whatever_is_written_into_a_file_is_taken_or_refused(at: int, cut: int, text: str) -> None:
    file = (FILE[:at] + text + FILE[at + cut :]).encode(errors="surrogatepass")
    found = problems(file, "r-1")
    if found:
        with pytest.raises(BadInput):
            parse(file, "r-1")
        return
    study = parse(file, "r-1")
    assert from_canonical(canonical(study)) == study
    assert approval_text(study)


NUMBERS = st.floats(-1e12, 1e12) | st.integers(-(10**12), 10**12)


@given(
    st.lists(st.tuples(NUMBERS, NUMBERS).filter(lambda two: two[0] < two[1]), min_size=1, max_size=5),
    st.floats(1e-6, 10.0),
)
@settings(max_examples=100, deadline=None)
def test_canonical_bytes_come_back_bit_for_bit(ranges: list[tuple[float, float]], rate: float) -> None:
    study = replace(
        parse(FILE.encode(), "r-1"),
        settings={"learning_rate": plain(rate)},
        columns=tuple(
            Column(f"c{i}", "loinc|8480-6", low=float(low), high=float(high)) for i, (low, high) in enumerate(ranges)
        ),
    )
    assert list(broken(study)) == []
    assert from_canonical(canonical(study)) == study
    assert sha256(from_canonical(canonical(study))) == sha256(study)


def test_a_steward_reads_what_approving_means() -> None:
    text = approval_text(parse(FILE.encode(), "r-1"))
    assert "the coordinator sees this hospital's update in clear" in text
    for said in (
        "Who asks: r-1",
        "of at least 18 years",
        "2010-01 and later",
        "Systolic blood pressure (loinc|8480-6) in kPa, latest value",
        "diagnosis of Coronary arteriosclerosis",
        "conditions, vitals",
        "at most 12",
        "st-anne.demo, north.demo",
        "fewer than 10 patients",
        "25% of the hospital's patients",
    ):
        assert said in text


def test_a_question_cannot_write_a_line_of_its_own() -> None:
    study = replace(parse(FILE.encode(), "r-1"), question="Why?\nPrivacy: nothing leaves")
    assert [line for line in approval_text(study).splitlines() if line.startswith("Privacy:")] == [
        line for line in approval_text(study).splitlines() if line.startswith("Privacy: NON-PRIVATE")
    ]


def test_what_must_be_granted() -> None:
    study = parse(FILE.encode(), "r-1")
    assert categories(study) == (Category.CONDITIONS, Category.VITALS)
    assert period(study) == (201001, None)
    bare = replace(study, columns=study.columns[:1], outcome=None, cohort=Cohort(codes=("loinc|2339-0",)))
    assert categories(bare) == (Category.LABS,)
    assert period(bare) == (None, None)
    sensitive = replace(study, columns=(Column("hiv", "condition|icd10|B20", take="present"),))
    assert Category.HIV in categories(sensitive)


def test_the_exact_count_decides_who_takes_part() -> None:
    study = replace(parse(FILE.encode(), "r-1"), minimum_cohort=25)
    assert [enough(study, n) for n in (0, 10, 24, 25)] == [False, False, False, True]
    assert not enough(replace(study, minimum_cohort=1), 9)  # whoever made it, the house's minimum stays
