"""The examples of IHE Privacy Consent on FHIR 1.1.0, transcribed from its consent.fsh.

The oracle is the text of the examples' notes ("nothing BUT the information in
that timeframe", "no token for requests beyond the purposes"), not our code.
What R4 can express by purpose, category and period must come out as the text
says; the examples about instances, authors and encounters ask for less than a
month of a category, so the answer must be the narrow side of the text.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from services.auth import consent_fhir
from services.auth.consent import Answer, Question
from twinward.record import SENSITIVE, Category, Purpose

REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
TPO = [{"system": REASON, "code": code} for code in ("TREAT", "HPAYMT", "HOPERAT")]
YEAR_2022 = {"start": "2022-01-01", "end": "2022-12-31"}
DR = [
    {
        "role": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP"}]},
        "reference": {"reference": "Practitioner/ex-practitioner"},
    }
]
PRIVILEGED = [{**DR[0], "reference": {"reference": "Group/ex-privilegedUsers"}}]


def label(*codes: str) -> list[dict[str, str]]:
    return [{"system": CONFIDENTIALITY if code in "NR" else ACT, "code": code} for code in codes]


def consent(**provision: Any) -> bytes:
    return orjson.dumps(
        {
            "resourceType": "Consent",
            "status": "active",
            "scope": {
                "coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]
            },
            "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
            "patient": {"reference": "Patient/ex-patient"},
            "dateTime": "2022-06-13",
            "performer": [{"reference": "Patient/ex-patient"}],
            "organization": [{"reference": "Organization/ex-organization"}],
            "sourceReference": {"reference": "DocumentReference/ex-documentreference"},
            "policy": [{"uri": "http://example.org/policies/basePrivacyConsentPolicy.txt"}],
            "provision": provision,
        }
    )


def ask(
    body: bytes,
    purpose: Purpose = Purpose.TREATMENT,
    category: Category = Category.LABS,
    month: int = 202206,
    on: str = "2022-07-01",
    who: str = "somebody",
) -> bool:
    """Whether the Consent alone lets it through; no default is at work."""
    now_ms = int(datetime.fromisoformat(on).replace(tzinfo=UTC).timestamp() * 1000)
    return (
        consent_fhir.parse(body).answer(Question(purpose, category, month, now_ms, frozenset({who}))) is Answer.PERMIT
    )


def shut(body: bytes, **more: Any) -> bool:
    """Whether the Consent itself says no, so that no default can open it."""
    now_ms = int(datetime.fromisoformat(more.pop("on", "2022-07-01")).replace(tzinfo=UTC).timestamp() * 1000)
    question = Question(
        more.get("purpose", Purpose.TREATMENT),
        more.get("category", Category.LABS),
        more.get("month", 202206),
        now_ms,
        frozenset({more.get("who", "somebody")}),
    )
    return consent_fhir.parse(body).answer(question) in (Answer.DENY, Answer.CLOSED)


BASIC_TREAT = consent(type="permit", purpose=TPO)


def test_basic_treat_authorizes_its_purposes_and_no_request_beyond_them() -> None:
    assert ask(BASIC_TREAT)
    assert ask(BASIC_TREAT, Purpose.OPERATIONS)
    for purpose in (Purpose.RESEARCH, Purpose.TEACHING, Purpose.UPKEEP, Purpose.PATIENT_ACCESS):
        assert not ask(BASIC_TREAT, purpose)


def test_basic_ink_and_infant_are_processed_exactly_as_basic_treat() -> None:
    infant = orjson.loads(BASIC_TREAT) | {"performer": [{"reference": "RelatedPerson/ex-mother"}]}
    for purpose in Purpose:
        assert ask(orjson.dumps(infant), purpose) == ask(BASIC_TREAT, purpose)


def test_basic_reject_is_answered_with_an_error() -> None:
    rejected = consent(type="deny", purpose=TPO)
    assert shut(rejected)
    assert shut(rejected, purpose=Purpose.OPERATIONS)


def test_basic_research_authorizes_research() -> None:
    research = consent(type="permit", purpose=[{"system": REASON, "code": "HRESCH"}])
    assert ask(research, Purpose.RESEARCH)
    assert not ask(research)


def test_expired_treat_is_basic_treat_before_its_end_and_an_error_after() -> None:
    expired = consent(type="permit", purpose=TPO, period={"end": "2022-12-31"})
    assert ask(expired, on="2022-12-31")
    assert shut(expired, on="2023-01-01")


@pytest.mark.parametrize("month", [202201, 202206, 202212])
def test_timeframe_allows_nothing_but_the_data_of_that_time(month: int) -> None:
    body = consent(type="permit", purpose=TPO, dataPeriod=YEAR_2022)
    assert ask(body, month=month)
    assert shut(body, month=202112)
    assert shut(body, month=202301)
    assert shut(body, month=0)


@pytest.mark.parametrize("month", [202201, 202206, 202212])
def test_not_timeframe_forbids_the_data_of_that_time_alone(month: int) -> None:
    body = consent(type="permit", purpose=TPO, provision=[{"type": "deny", "dataPeriod": YEAR_2022}])
    assert shut(body, month=month)
    assert ask(body, month=202112)
    assert ask(body, month=202301)


def test_purpose_authorizes_only_the_purpose_and_organization_it_names() -> None:
    foobar = [{"system": "http://example.org/policies/purposeOfUse", "code": "FooBar"}]
    organization = [{**DR[0], "reference": {"reference": "Organization/ex-org-researcher"}}]
    body = consent(type="permit", purpose=foobar, actor=organization)
    assert not any(ask(body, purpose) for purpose in Purpose)


def test_dissent_rejects_any_request_that_is_not_break_glass() -> None:
    permit = {"type": "permit", "purpose": [{"system": REASON, "code": "BTG"}], "actor": PRIVILEGED}
    body = consent(type="deny", provision=[permit])
    assert all(shut(body, purpose=purpose) for purpose in Purpose)


NARROWER = {
    "authoredby": {"meaning": "authoredby", "reference": {"reference": "Practitioner/ex-practitioner"}},
    "encounter": {"meaning": "related", "reference": {"reference": "Encounter/ex-encounter"}},
    "data": {"meaning": "instance", "reference": {"reference": "Observation/ex-alcoholUse"}},
}


@pytest.mark.parametrize("name", NARROWER)
def test_what_is_narrower_than_our_keys_is_read_on_the_narrow_side(name: str) -> None:
    assert shut(consent(type="permit", purpose=TPO, data=[NARROWER[name]]))
    forbidden = consent(type="permit", purpose=TPO, provision=[{"type": "deny", "data": [NARROWER[name]]}])
    assert shut(forbidden)


def test_advanced_normal_allows_nothing_but_normal_data() -> None:
    body = consent(type="permit", purpose=TPO, securityLabel=label("N"))
    assert ask(body)
    assert all(shut(body, category=category) for category in SENSITIVE)


def test_advanced_normal_restricted_allows_both() -> None:
    body = consent(type="permit", purpose=TPO, securityLabel=label("N", "R"))
    assert all(ask(body, category=category) for category in (Category.LABS, *SENSITIVE))


def test_advanced_normal_not_restricted_is_the_same_as_normal() -> None:
    body = consent(
        type="permit", purpose=TPO, securityLabel=label("N"), provision=[{"type": "deny", "securityLabel": label("R")}]
    )
    assert ask(body)
    assert all(shut(body, category=category) for category in SENSITIVE)


@pytest.mark.parametrize(
    ("codes", "opened"),
    [
        (("R",), SENSITIVE),
        (("PSY",), {Category.PSYCHIATRY}),
        (("PSY", "SDV"), {Category.PSYCHIATRY, Category.VIOLENCE}),
    ],
)
def test_focused_examples_open_more_for_the_one_practitioner(codes: tuple[str, ...], opened: set[Category]) -> None:
    focused = {"type": "permit", "securityLabel": label(*codes), "actor": DR}
    body = consent(type="permit", purpose=TPO, securityLabel=label("N"), provision=[focused])
    for who in ("somebody", "ex-practitioner"):
        assert ask(body, who=who)
        for category in SENSITIVE:
            assert ask(body, category=category, who=who) == (who == "ex-practitioner" and category in opened)


def test_break_glass_restricted_is_normal_for_whoever_has_not_broken_it() -> None:
    broken = {
        "type": "permit",
        "purpose": [{"system": REASON, "code": "BTG"}],
        "securityLabel": label("R"),
        "actor": PRIVILEGED,
    }
    body = consent(type="permit", purpose=TPO, securityLabel=label("N"), provision=[broken])
    assert ask(body)
    assert all(shut(body, category=category) for category in SENSITIVE)
