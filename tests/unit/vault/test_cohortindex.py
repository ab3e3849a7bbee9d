"""An index says what arrived, never too little, and nothing of what is sensitive."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.vault.store import NOW_MS, reading
from twinward.errors import Malformed
from twinward.record import SENSITIVE, Category, Document, Measurement, Precision, Status
from twinward.vault import cohortindex, corrections, rows
from twinward.vault.cohortindex import INDEXED, MOST_KEYS, CohortIndex, Span, decode, encode, merged, of_arrival

MONTHS = st.sampled_from([0, 201912, 202001, 202006, 202112])
SPANS = st.builds(lambda a, b, n: Span(min(a, b), max(a, b), n), MONTHS, MONTHS, st.integers(1, 9))
KEYS = st.sampled_from(["loinc|2339-0", "loinc|8480-6", "snomed|1", "snomed|ä"])
INDEXES = st.builds(
    CohortIndex,
    st.one_of(st.none(), st.integers(1900, 2026)),
    st.sampled_from(cohortindex.SEXES),
    st.dictionaries(KEYS, SPANS),
    st.dictionaries(KEYS, SPANS),
    st.booleans(),
)


def resource(kind: str, effective_ms: int = 0, received_ms: int = NOW_MS, **fields: Any) -> Document:
    precision = Precision.DAY if effective_ms else Precision.NONE
    return Document(kind, effective_ms, received_ms, bytes(16), json.dumps(fields).encode(), precision)


@given(INDEXES)
def test_what_is_written_is_read(index: CohortIndex) -> None:
    assert decode(encode(index)) == index
    assert encode(decode(encode(index))) == encode(index)


@given(INDEXES, INDEXES, KEYS, MONTHS, MONTHS)
def test_merging_never_forgets(old: CohortIndex, new: CohortIndex, key: str, low: int, high: int) -> None:
    both = merged(old, new)
    for one in (old, new):
        for first, last in ((None, None), (low or None, high or None)):
            assert both.may_have_code(key, first, last) or not one.may_have_code(key, first, last)
            assert both.may_have_condition(key, first, last) or not one.may_have_condition(key, first, last)


def test_a_full_index_says_that_it_is_not_whole() -> None:
    many = CohortIndex(codes={f"loinc|{at}": Span(202001, 202001, 1) for at in range(MOST_KEYS)})
    assert merged(CohortIndex(), many).whole
    more = merged(many, CohortIndex(codes={"loinc|x": Span(202001, 202001, 1)}))
    assert not more.whole
    assert more.codes == many.codes
    assert more.may_have_code("loinc|x")
    assert len(encode(more)) < 64 * 1024


@pytest.mark.parametrize("category", sorted(set(Category) - INDEXED))
def test_other_categories_add_nothing(category: Category) -> None:
    told = of_arrival(
        category,
        [rows.from_measurements([reading(NOW_MS, 1.0, bytes(16))])],
        [resource("Patient", birthDate="1970"), resource("Condition", code={"coding": [{"code": "1"}]})],
    )
    assert told == CohortIndex()
    assert set(SENSITIVE) <= set(Category) - INDEXED


def test_markers_and_errors_add_nothing_and_months_are_the_buckets() -> None:
    of = rows.from_measurements(
        [
            reading(NOW_MS, 1.0, bytes(16)),
            Measurement("loinc|8302-2", NOW_MS, NOW_MS, 1.7, "m", bytes(16), status=Status.ENTERED_IN_ERROR),
            Measurement("loinc|2339-0", 0, NOW_MS, 1.0, "mg/dL", bytes(16), precision=Precision.NONE),
            corrections.row_marker(bytes(16), 20251101, NOW_MS),
        ]
    )
    found = of_arrival(Category.LABS, [of], [])
    assert found.codes == {"loinc|99504-3": Span(202611, 202611, 1), "loinc|2339-0": Span(0, 0, 1)}
    assert found.may_have_code("loinc|2339-0", 201001, 201012)  # without time: anywhere


def test_the_newest_patient_counts_and_leaves_what_it_does_not_say() -> None:
    papers = [
        resource("Patient", received_ms=3, gender="male"),
        resource("Patient", received_ms=2, birthDate="1970-05", gender="female"),
        resource("Patient", received_ms=1, birthDate="1950"),
    ]
    found = of_arrival(Category.IDENTITY, [], papers)
    assert (found.birth_year, found.sex) == (1970, "male")


@pytest.mark.parametrize(
    "fields",
    [
        {"birthDate": "unknown"},
        {"birthDate": 1970},
        {"birthDate": "0000-01-01"},
        {"birthDate": "１９７０"},
        {"gender": "female; drop"},
        {"gender": ["female"]},
    ],
)
def test_a_strange_patient_adds_nothing(fields: dict[str, Any]) -> None:
    assert of_arrival(Category.IDENTITY, [], [resource("Patient", **fields)]) == CohortIndex()


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"code":{"coding":{"code":"1"}}}', b'{"code":5}']
)
def test_an_unreadable_condition_adds_nothing(body: bytes) -> None:
    paper = Document("Condition", 0, 0, bytes(16), body, Precision.NONE)
    assert of_arrival(Category.CONDITIONS, [], [paper]) == CohortIndex()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"null", b"{}", b'{"v":2}', b"\xff",
        b'{"v":1,"birth_year":null,"sex":"","conditions":{},"codes":{},"whole":true,"more":1}',
        b'{"v":1,"birth_year":-1,"sex":"","conditions":{},"codes":{},"whole":true}',
        b'{"v":1,"birth_year":true,"sex":"","conditions":{},"codes":{},"whole":true}',
        b'{"v":1,"birth_year":null,"sex":"x","conditions":{},"codes":{},"whole":true}',
        b'{"v":1,"birth_year":null,"sex":"","conditions":[],"codes":{},"whole":true}',
        b'{"v":1,"birth_year":null,"sex":"","conditions":{"a":[1,2]},"codes":{},"whole":true}',
        b'{"v":1,"birth_year":null,"sex":"","conditions":{"a":[1,2,"3"]},"codes":{},"whole":true}',
    ],
)  # fmt: skip
def test_anything_else_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode(data)


def test_versions_of_the_key_are_read_together() -> None:
    first = cohortindex.to_document(CohortIndex(1961, "female", {}, {"loinc|1-8": Span(1, 1, 1)}), 1, 5)
    second = cohortindex.to_document(CohortIndex(None, "male", {}, {"loinc|1-8": Span(2, 3, 2)}), 2, 4)
    assert corrections.current_documents([first, second]) == [first, second]
    found = cohortindex.from_documents([second, first])
    assert found == CohortIndex(1961, "male", {}, {"loinc|1-8": Span(1, 3, 3)})
    assert cohortindex.from_documents([]) is None
