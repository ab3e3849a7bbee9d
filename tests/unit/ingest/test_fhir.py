"""Reading FHIR: what is stored of an entry, and what is set aside, with which word."""

from __future__ import annotations

import math
from collections.abc import Mapping

import orjson
import pytest

from services.ingest.entry import CARE_TEAM, CONSENT, Aside, Read, Taken
from services.ingest.fhir import Reader
from services.ingest.receipts import Names
from twinward.errors import BadInput, Malformed, TooLarge
from twinward.record import (
    INSULIN_BASAL_DOSE,
    INSULIN_BASAL_RATE,
    INSULIN_BOLUS,
    Category,
    Flag,
    Precision,
    Status,
)

NOW = 1_795_000_000_000  # 2026-11-18
READER = Reader("files", Names(b"k" * 32), NOW)
UCUM = "http://unitsofmeasure.org"


def observation(**more: object) -> dict[str, object]:
    return {
        "resourceType": "Observation",
        "id": "o1",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "2339-0"}]},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2026-01-02T03:04:05+01:00",
        "valueQuantity": {"value": 7.1, "unit": "mmol/L", "system": UCUM, "code": "mmol/L"},
    } | more


def read(resource: Mapping[str, object]) -> Read:
    (one,) = READER.message(orjson.dumps(resource))
    return one


def taken(resource: Mapping[str, object]) -> Taken:
    one = read(resource)
    assert isinstance(one, Taken), one
    return one


def word(resource: Mapping[str, object]) -> str:
    one = read(resource)
    assert isinstance(one, Aside), one
    return one.word


def test_a_glucose_reading_becomes_its_document_and_one_row() -> None:
    one = taken(observation())
    (row,) = one.measurements
    assert row.code == "loinc|2339-0"
    assert row.value == pytest.approx(127.9, abs=0.05)
    assert (row.unit, row.text) == ("mg/dL", "7.1 mmol/L")
    assert row.effective_ms == 1_767_319_445_000  # 02:04:05 UTC
    assert row.received_ms == NOW
    assert (row.status, row.precision, row.flags) == (Status.FINAL, Precision.INSTANT, 0)
    assert one.category is Category.LABS
    assert one.document is not None
    assert one.document.lineage == row.lineage == one.lineage
    assert not one.who.stated


def test_the_bytes_of_an_entry_stay_as_they_came() -> None:
    head = b'{"resourceType":"Observation", "id":"o1","status":"final","code":{"text":"x"}, '
    raw = head + b'"subject":{"reference":"Patient/p1"},"valueQuantity":{"value":7.10}}'
    opening = b'{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"urn:uuid:1",  "resource":  '
    bundle = opening + raw + b" }]}"
    (one,) = READER.message(bundle)
    assert isinstance(one, Taken)
    assert one.body == raw


@pytest.mark.parametrize("code", ["85354-9", "55284-4"])
def test_blood_pressure_in_both_codes_has_two_rows(code: str) -> None:
    parts = [
        {
            "code": {"coding": [{"system": "http://loinc.org", "code": part}]},
            "valueQuantity": {"value": value, "unit": "mmHg", "system": UCUM, "code": "mm[Hg]"},
        }
        for part, value in (("8480-6", 121), ("8462-4", 79))
    ]
    panel = observation(code={"coding": [{"system": "http://loinc.org", "code": code}]}, component=parts)
    del panel["valueQuantity"]
    one = taken(panel)
    assert [(row.code, row.value, row.unit) for row in one.measurements] == [
        ("loinc|8480-6", 121, "mm[Hg]"),
        ("loinc|8462-4", 79, "mm[Hg]"),
    ]
    assert one.category is Category.VITALS
    assert not one.unmapped


def test_an_unknown_unit_is_stored_flagged_and_listed() -> None:
    one = taken(observation(valueQuantity={"value": 7.1, "unit": "gallons"}))
    (row,) = one.measurements
    assert (row.value, row.unit, row.flags) == (7.1, "gallons", Flag.UNIT_UNKNOWN)
    assert [(line.system, line.code, line.unit) for line in one.unmapped] == [("loinc", "2339-0", "gallons")]


def test_an_unknown_code_is_restricted_until_mapped() -> None:
    one = taken(observation(code={"coding": [{"system": "urn:lab", "code": "GLUC"}], "text": "sugar of J. Doe"}))
    (row,) = one.measurements
    assert one.category is Category.RESTRICTED
    assert row.flags & Flag.UNMAPPED
    assert [(line.system, line.code, line.unit) for line in one.unmapped] == [("urn:lab", "GLUC", "mmol/L")]


def test_words_never_reach_the_list_of_unmapped_codes() -> None:
    one = taken(observation(code={"coding": [{"system": "urn:lab", "code": "sugar of J. Doé"}]}))
    assert one.unmapped[0].code == "(unreadable)"


@pytest.mark.parametrize(
    ("labels", "category"),
    [
        (["PSY"], Category.PSYCHIATRY),
        (["HIV"], Category.HIV),
        (["PSY", "HIV"], Category.RESTRICTED),
        (["HTEST-unknown"], Category.LABS),
    ],
)
def test_sensitivity_labels_decide_first(labels: list[str], category: Category) -> None:
    security = [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": label} for label in labels]
    assert taken(observation(meta={"security": security})).category is category


def test_answers_that_are_no_numbers_are_text() -> None:
    coded = observation(valueCodeableConcept={"coding": [{"system": "http://snomed.info/sct", "code": "260385009"}]})
    del coded["valueQuantity"]
    (row,) = taken(coded).measurements
    assert math.isnan(row.value)
    assert row.text == "snomed|260385009"


@pytest.mark.parametrize(
    ("status", "meant"),
    [("amended", Status.CORRECTED), ("entered-in-error", Status.ENTERED_IN_ERROR), ("registered", Status.PRELIMINARY)],
)
def test_status_changes_what_a_value_is_worth(status: str, meant: Status) -> None:
    assert taken(observation(status=status)).measurements[0].status is meant


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"status": "great"}, "invalid-Observation"),
        ({"valueString": "also"}, "one-value"),
        ({"dataAbsentReason": {"text": "?"}}, "obs-6"),
        ({"subject": {"display": "somebody"}}, "no-subject"),
        ({"subject": {"reference": "urn:uuid:nowhere"}}, "unresolved-reference"),
        ({"subject": {"reference": "Group/g"}}, "not-a-patient"),
        ({"effectiveDateTime": "yesterday"}, "bad-time"),
        ({"effectiveDateTime": "2026-02-30"}, "bad-time"),
        ({"effectiveDateTime": "1066-01-01"}, "impossible-time"),
        ({"effectiveDateTime": "2400-01-01"}, "impossible-time"),
        ({"valueQuantity": {"value": 1e300, "unit": "mg/dL"}}, "impossible-number"),
        ({"valueQuantity": {"value": 1, "code": "mg/dL"}}, "qty-3"),
        ({"valueQuantity": {"value": "7"}}, "invalid-Observation"),
        ({"valueQantity": {"value": 7}}, "invalid-Observation"),
        ({"component": [{"valueString": "x"}]}, "invalid-Observation"),
        ({"effectivePeriod": {"start": "2026-01-02", "end": "2026-01-03"}}, "one-effective"),
    ],
)
def test_what_is_set_aside_and_why(change: dict[str, object], expected: str) -> None:
    assert word(observation(**change)) == expected


def test_times_say_what_was_missing() -> None:
    day = taken(observation(effectiveDateTime="2026-01-02")).measurements[0]
    assert (day.precision, day.flags) == (Precision.DAY, 0)
    assumed = taken(observation(effectiveDateTime="2026-01-02T10:00:00")).measurements[0]
    assert assumed.flags == Flag.ZONE_ASSUMED
    ahead = taken(observation(effectiveDateTime="2027-01-02T10:00:00Z")).measurements[0]
    assert ahead.flags == Flag.FUTURE
    undated = observation()
    del undated["effectiveDateTime"]
    assert taken(undated).measurements[0].precision is Precision.NONE


def administration(**more: object) -> dict[str, object]:
    return {
        "resourceType": "MedicationAdministration",
        "id": "m1",
        "status": "completed",
        "subject": {"reference": "Patient/p1"},
        "medicationCodeableConcept": {
            "coding": [
                {"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "86009", "display": "insulin lispro"}
            ]
        },
        "effectiveDateTime": "2026-01-02T08:00:00Z",
        "dosage": {"dose": {"value": 4.5, "unit": "U", "system": UCUM, "code": "[IU]"}},
    } | more


def test_insulin_given_becomes_a_dose() -> None:
    (row,) = taken(administration()).measurements
    assert (row.code, row.value, row.unit, row.duration_s) == (INSULIN_BOLUS, 4.5, "[IU]", 0)
    lantus = {
        "coding": [
            {"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "285018", "display": "Lantus 100 UNT/ML"}
        ]
    }
    (row,) = taken(administration(medicationCodeableConcept=lantus)).measurements
    assert row.code == INSULIN_BASAL_DOSE
    rate = administration(
        effectivePeriod={"start": "2026-01-02T08:00:00Z", "end": "2026-01-02T09:30:00Z"},
        dosage={"rateRatio": {"numerator": {"value": 1.7, "code": "[IU]", "system": UCUM, "unit": "U"},
                              "denominator": {"value": 2, "code": "h", "system": UCUM, "unit": "h"}}},
    )  # fmt: skip
    del rate["effectiveDateTime"]
    (row,) = taken(rate).measurements
    assert (row.code, row.value, row.unit, row.duration_s) == (INSULIN_BASAL_RATE, 0.85, "[IU]/h", 5400)


def test_what_was_not_given_makes_no_row() -> None:
    assert taken(administration(status="not-done")).measurements == []
    paracetamol = {"coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "198440"}]}
    assert taken(administration(medicationCodeableConcept=paracetamol)).measurements == []


def test_references_resolve_inside_the_bundle_only() -> None:
    patient = {
        "resourceType": "Patient",
        "id": "x",
        "identifier": [
            {"system": "http://hl7.org/fhir/sid/us-ssn", "value": "999", "type": {"coding": [{"code": "SS"}]}},
            {"system": "urn:mrn", "value": "7", "type": {"coding": [{"code": "MR"}]}},
        ],
    }
    entries = [
        {"resource": observation(subject={"reference": "urn:uuid:1"})},
        {"fullUrl": "urn:uuid:1", "resource": patient},
    ]
    reads = READER.message(orjson.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}))
    first, second = reads
    assert isinstance(first, Taken)
    assert isinstance(second, Taken)
    assert first.who == second.who
    assert first.who.stated
    assert first.who.names == (("urn:mrn", "7"), ("urn:twinward:feed:files:Patient", "x"))
    assert second.approval == "identity"
    assert second.category is Category.IDENTITY


def test_the_same_number_in_two_feeds_is_two_patients_and_a_url_is_one() -> None:
    other = Reader("observations", Names(b"k" * 32), NOW)
    (there,) = other.message(orjson.dumps(observation()))
    here = taken(observation())
    assert isinstance(there, Taken)
    assert there.who != here.who
    url = observation(subject={"reference": "https://ehr.example/fhir/Patient/p1"})
    (there,) = other.message(orjson.dumps(url))
    assert isinstance(there, Taken)
    assert there.who == taken(url).who


def test_care_team_members_carry_their_numbers_and_the_bytes_stay() -> None:
    nurse = {"resourceType": "Practitioner", "id": "n", "identifier": [{"system": "urn:staff", "value": "n-1"}]}
    team = {
        "resourceType": "CareTeam",
        "id": "t",
        "subject": {"reference": "Patient/p1"},
        "participant": [{"member": {"reference": "urn:uuid:n"}}],
    }
    entries = [{"fullUrl": "urn:uuid:n", "resource": nurse}, {"resource": team}]
    _, one = READER.message(orjson.dumps({"resourceType": "Bundle", "type": "batch", "entry": entries}))
    assert isinstance(one, Taken)
    assert (one.kind, one.approval, one.category) == (CARE_TEAM, "care_team", None)
    assert orjson.loads(one.body) == team
    assert orjson.loads(one.said)["participant"][0]["member"]["identifier"] == {"system": "urn:staff", "value": "n-1"}


def test_a_consent_goes_to_auth_and_nowhere_else() -> None:
    one = taken(
        {
            "resourceType": "Consent",
            "id": "c",
            "status": "active",
            "scope": {"coding": [{"code": "patient-privacy"}]},
            "category": [{"coding": [{"code": "59284-0"}]}],
            "policyRule": {"coding": [{"code": "OPTIN"}]},
            "patient": {"reference": "Patient/p1"},
        }
    )
    assert (one.kind, one.document, one.category) == (CONSENT, None, None)


def test_one_bad_entry_does_not_stop_the_others() -> None:
    bundle = b'{"resourceType":"Bundle","type":"batch","entry":[%s]}' % b",".join(
        [
            b'{"resource":' + orjson.dumps(observation()) + b"}",
            b'{"resource":{"resourceType":"Observation"}}',
            b'"what"',
            b'{"resource":7}',
            b'{"request":{"method":"DELETE","url":"Patient/1"}}',
            b'{"resource":{"resourceType":"Organization","name":"x"}}',
        ]
    )
    reads = READER.message(bundle)
    assert [one.word if isinstance(one, Aside) else "taken" for one in reads] == [
        "taken", "invalid-Observation", "not-an-entry", "no-type", "no-resource", "no-patient",
    ]  # fmt: skip


def test_two_versions_in_one_message_are_received_in_their_order() -> None:
    entries = [{"resource": observation(meta={"versionId": str(number)})} for number in (1, 2)]
    first, second = READER.message(orjson.dumps({"resourceType": "Bundle", "type": "batch", "entry": entries}))
    assert isinstance(first, Taken)
    assert isinstance(second, Taken)
    assert first.lineage == second.lineage
    assert first.key != second.key
    assert second.measurements[0].received_ms == first.measurements[0].received_ms + 1


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"", Malformed),
        (b"   ", Malformed),
        (b"MSH|^~\\&|", Malformed),
        (b"\x89PNG\r\n", Malformed),
        (b'{"resourceType":"Observation"', Malformed),
        (b"[]", Malformed),
        (b'{"a":1}', Malformed),
        (b'{"resourceType":"Bundle"}', Malformed),
        (b'{"resourceType":"Bundle","type":"history","entry":[]}', Malformed),
        (b'{"resourceType":"Bundle","type":"batch","entry":' + b"[" * 100_000 + b"]" * 100_000 + b"}", TooLarge),
        (b'{"resourceType":"Bundle","type":"batch","entry":[' + b"{}," * 5_000 + b"{}]}", TooLarge),
        (b" " * (50 * 1024 * 1024 + 1), TooLarge),
    ],
)
def test_what_is_no_message_is_refused_whole(payload: bytes, error: type[BadInput]) -> None:
    with pytest.raises(error) as raised:
        READER.message(payload)
    assert raised.value.public


@pytest.mark.parametrize(
    "body",
    [
        b'{"resourceType":"Observation","valueQuantity":{"value":NaN}}',
        b'{"resourceType":"Observation","x":"\xff"}',
        b'{"resourceType":"Basic","x":' + b"[" * 70 + b"]" * 70 + b"}",
    ],
)
def test_broken_or_deep_resources_become_words(body: bytes) -> None:
    try:
        (one,) = READER.message(b'{"resourceType":"Bundle","type":"batch","entry":[{"resource":' + body + b"}]}")
    except Malformed:
        return
    assert isinstance(one, Aside)
    assert one.word in {"not-json", "too-deep"}
