"""Consents decide as an oracle that reads the raw JSON day by day; a deny never widens."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.auth import consent_fhir
from services.auth.consent import STEWARD, WITHDRAWAL, Answer, Question, Statement, digest, edges, judge
from tests.unit.auth.fhir_consents import ACT, LABEL, QUESTIONS, consents, decide
from twinward.errors import BadInput, Malformed, TooLarge
from twinward.record import Category, Purpose

# How much room an answer leaves: only a permit opens what the default closes.
ROOM = {Answer.DENY: 0, Answer.CLOSED: 0, Answer.SILENT: 1, Answer.PERMIT: 2}


def statement(consent: dict[str, Any], at: int, source: str = "feed:files", verified: bool = True) -> Statement:
    body = orjson.dumps(consent)
    return Statement(digest(body + bytes([at])), at, source, verified, consent_fhir.parse(body))


@settings(max_examples=500, deadline=None)
@given(consents(), st.lists(QUESTIONS, min_size=20, max_size=20))
def test_a_consent_decides_as_the_oracle(consent: dict[str, Any], questions: list[Question]) -> None:
    document = consent_fhir.parse(orjson.dumps(consent))
    for question in questions:
        assert document.answer(question) == decide(consent, question)


@settings(max_examples=100, deadline=None)
@given(st.lists(consents(), max_size=4), st.lists(QUESTIONS, min_size=10, max_size=10))
def test_several_consents_together_deny_first(several: list[dict[str, Any]], questions: list[Question]) -> None:
    statements = [statement(one, at) for at, one in enumerate(several)]
    for question in questions:
        answers = [decide(one, question) for one in several]
        expected = next((a for a in (Answer.DENY, Answer.PERMIT, Answer.CLOSED) if a in answers), Answer.SILENT)
        assert judge(statements, question).answer == expected


@settings(max_examples=150, deadline=None)
@given(consents(), st.data(), st.lists(QUESTIONS, min_size=10, max_size=10))
def test_an_added_deny_never_widens(consent: dict[str, Any], data: st.DataObject, questions: list[Question]) -> None:
    before = consent_fhir.parse(orjson.dumps(consent))
    changed = copy.deepcopy(consent)
    deny = data.draw(consents())["provision"]
    deny["type"] = "deny"
    deny.pop("provision", None)
    nodes = [changed["provision"]]
    for node in nodes:
        nodes.extend(node.get("provision", []))
    data.draw(st.sampled_from(nodes)).setdefault("provision", []).append(deny)
    after = consent_fhir.parse(orjson.dumps(changed))
    for question in questions:
        assert ROOM[after.answer(question)] <= ROOM[before.answer(question)]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(consents(), st.booleans()), max_size=3),
    consents(),
    st.lists(QUESTIONS, min_size=10, max_size=10),
)
def test_what_nobody_verified_never_widens(
    known: list[tuple[dict[str, Any], bool]], claimed: dict[str, Any], questions: list[Question]
) -> None:
    before = [statement(one, at, verified=verified) for at, (one, verified) in enumerate(known)]
    after = [*before, statement(claimed, 9, verified=False)]
    for question in questions:
        assert ROOM[judge(after, question).answer] <= ROOM[judge(before, question).answer]


@settings(max_examples=100, deadline=None)
@given(st.lists(consents(), min_size=1, max_size=3), QUESTIONS)
def test_no_answer_changes_between_two_edges(several: list[dict[str, Any]], question: Question) -> None:
    statements = [statement(one, at) for at, one in enumerate(several)]
    marks = edges(statements)
    for year in range(2020, 2025):
        for month in range(1, 13):
            at = year * 100 + month
            mark = max((m for m in marks if m <= at), default=190001)
            here, there = (
                Question(question.purpose, question.category, m, question.now_ms, question.who) for m in (at, mark)
            )
            assert judge(statements, here).answer == judge(statements, there).answer


def test_a_withdrawal_holds_until_a_steward_records_that_the_patient_permits_again() -> None:
    question = Question(Purpose.RESEARCH, Category.LABS, 202203, 1_700_000_000_000)
    permit = {"resourceType": "Consent", "id": "p", "status": "active", "provision": {"type": "permit"}}
    deny = {"resourceType": "Consent", "id": "w", "status": "active", "provision": {"type": "deny"}}
    first, withdrawn = statement(permit, 1), statement(deny, 2, WITHDRAWAL)
    assert judge([first, withdrawn], question).answer is Answer.DENY
    assert judge([first, withdrawn, statement(permit, 3, "feed:files")], question).answer is Answer.DENY
    assert judge([first, withdrawn, statement(permit, 3, STEWARD)], question).answer is Answer.PERMIT


def test_an_unverified_newer_version_that_permits_less_already_counts() -> None:
    question = Question(Purpose.TREATMENT, Category.LABS, 202203, 1_700_000_000_000)
    permit = {"resourceType": "Consent", "id": "p", "status": "active", "provision": {"type": "permit"}}
    ended = {**permit, "status": "inactive"}
    assert judge([statement(permit, 1), statement(ended, 2, verified=False)], question).answer is Answer.CLOSED


@pytest.mark.parametrize("kind", ["permit", "deny"])
@pytest.mark.parametrize(
    "element",
    [
        {"purpose": [{"system": ACT, "code": "NEVER-HEARD"}]},
        {"securityLabel": [{"system": LABEL, "code": "NEVER-HEARD"}]},
        {"class": [{"system": "http://hl7.org/fhir/resource-types", "code": "Unheard"}]},
        {"code": [{"coding": [{"system": "http://loinc.org", "code": "0-0"}]}]},
        {"data": [{"meaning": "instance", "reference": {"reference": "Observation/1"}}]},
        {"action": [{"coding": [{"system": "urn:x", "code": "transmogrify"}]}]},
        {"modifierExtension": [{"url": "urn:not", "valueBoolean": True}]},
        {"actor": [{"role": {}, "reference": {"reference": "Group/some"}}]},
    ],
)
def test_unknown_codes_deny(kind: str, element: dict[str, Any]) -> None:
    consent = {"resourceType": "Consent", "status": "active", "provision": {"type": kind, **element}}
    document = consent_fhir.parse(orjson.dumps(consent))
    for purpose in Purpose:
        answer = document.answer(Question(purpose, Category.LABS, 202203, 1_700_000_000_000, frozenset({"dr-1"})))
        assert answer is not Answer.PERMIT
        assert kind == "permit" or answer is Answer.DENY


@pytest.mark.parametrize(
    ("resource", "permits"),
    [
        ({"policyRule": {"coding": [{"system": LABEL, "code": "OPTIN"}]}}, True),
        ({"policyRule": {"coding": [{"system": LABEL, "code": "OPTOUT"}]}}, False),
        ({"policyRule": {"coding": [{"system": LABEL, "code": "PERHAPS"}]}}, False),
        ({}, False),
    ],
)
def test_without_a_type_the_policy_rule_is_the_base(resource: dict[str, Any], permits: bool) -> None:
    document = consent_fhir.parse(orjson.dumps({"resourceType": "Consent", "status": "active", **resource}))
    answer = document.answer(Question(Purpose.RESEARCH, Category.LABS, 202203, 1))
    assert answer is (Answer.PERMIT if permits else Answer.DENY)


def test_a_permit_by_type_covers_only_categories_whose_every_type_it_names() -> None:
    types = [{"system": "http://hl7.org/fhir/resource-types", "code": "Observation"}]
    consent = {"resourceType": "Consent", "status": "active", "provision": {"type": "permit", "class": types}}
    document = consent_fhir.parse(orjson.dumps(consent))

    def answer(category: Category) -> Answer:
        return document.answer(Question(Purpose.RESEARCH, category, 202203, 1))

    assert answer(Category.VITALS) is Answer.PERMIT
    assert answer(Category.LABS) is Answer.CLOSED  # DiagnosticReports lie there too
    consent["provision"]["type"] = "deny"  # type: ignore[index]
    document = consent_fhir.parse(orjson.dumps(consent))
    assert answer(Category.LABS) is Answer.DENY
    assert answer(Category.PSYCHIATRY) is Answer.DENY
    assert answer(Category.MEDS) is Answer.SILENT


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"resourceType":"Patient"}',
        b'{"resourceType":"Consent"}',
        b'{"resourceType":"Consent","status":"active","provision":[]}',
        b'{"resourceType":"Consent","status":"active","provision":7}',
        b'{"resourceType":"Consent","status":"active","provision":{"type":"permit","period":{}}}',
        b'{"resourceType":"Consent","status":"active","provision":{"type":"permit","period":{"start":"9999"}}}',
        b'{"resourceType":"Consent","status":"active","provision":{"type":"permit","dataPeriod":{"start":"nul\\u0000"}}}',
        b'{"resourceType":"Consent","status":"active","provision":{"period":{"start":"2023","end":"2022"}}}',
        b'{"resourceType":"Consent","status":"active","provision":{"purpose":{"code":"TREAT"}}}',
        b'{"resourceType":"Consent","status":"active","scope":{"coding":[{"system":'
        b'"http://terminology.hl7.org/CodeSystem/consentscope","code":"adr"}]}}',
    ],
)
def test_broken_consents_are_refused(body: bytes) -> None:
    with pytest.raises(Malformed):
        consent_fhir.parse(body)


def test_consents_beyond_the_limits_are_refused() -> None:
    deep: dict[str, Any] = {"type": "permit"}
    for _ in range(20):
        deep = {"type": "permit", "provision": [deep]}
    wide = {"type": "permit", "provision": [{"type": "deny"}] * 300}
    for provision in (deep, wide):
        with pytest.raises(TooLarge):
            consent_fhir.parse(orjson.dumps({"resourceType": "Consent", "status": "active", "provision": provision}))


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["type", "purpose", "period", "dataPeriod", "actor", "class", "code", "provision", "start"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_nonsense_raises_only_our_errors(provision: object) -> None:
    body = orjson.dumps({"resourceType": "Consent", "status": "active", "provision": provision})
    with contextlib.suppress(BadInput):
        consent_fhir.parse(body)
