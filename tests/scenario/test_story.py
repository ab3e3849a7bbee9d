"""One hospital end to end: data in, twin alive, forecast, refusal, proof. Promises after every act."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.hospital import Hospital
from tests.scenario.ward import Ward, until
from twinward.errors import BadInput, ConsentDenied, Denied, NotFound, Unready
from twinward.ledger.note import Verifier
from twinward.ledger.verify import verify
from twinward.wire.v1 import auth_pb2, record_pb2, twin_pb2


@pytest.fixture(scope="module")
def ward(hospital: Hospital) -> Ward:
    made = Ward(hospital, patients=3, days=2)
    made.admit()
    stub = made.stub()
    for rows in made.rows:
        made.put(stub, rows)
    made.holds()
    return made


def test_a_reading_becomes_a_forecast_that_says_everything(ward: Ward) -> None:
    answer = ward.forecast(0)
    last = max((row for row in ward.rows[0] if row.glucose is not None), key=lambda row: row.at_ms)
    reading = answer.last_reading
    assert (reading.time_ms, reading.value, reading.unit) == (last.at_ms, last.glucose, "mg/dL")
    assert [point.minutes_ahead for point in answer.points] == [30, 60, 120]
    for point in answer.points:
        quantity = point.glucose
        assert quantity.unit == "mg/dL"
        assert quantity.low < quantity.value < quantity.high
        assert quantity.coverage == pytest.approx(0.9, abs=0.05)
        assert "glucose-" in quantity.source
        assert 0.0 <= point.physiology_share <= 1.0
    assert reading.age_ms >= 0
    assert "virtual sensor" in reading.source
    assert answer.model_version
    assert answer.banner == "education and research; not a medical device"
    assert any("three days" in note for note in answer.notes)  # two days: the cohort's coefficients
    ward.holds()


def test_show_list_and_explain(ward: Ward) -> None:
    twins = ward.twins()
    until(lambda: sum(t.HasField("glucose") for t in twins.ListTwins(twin_pb2.ListTwinsRequest()).twins) > 1, "twins")
    listed = twins.ListTwins(twin_pb2.ListTwinsRequest())
    assert ward.handle(0).bytes in {one.handle for one in listed.twins}
    shown = twins.ShowTwin(twin_pb2.ShowTwinRequest(patient=ward.ref(0)))
    assert shown.readings == sum(row.glucose is not None for row in ward.rows[0])
    assert len(shown.recent) == 36
    assert {one.name for one in shown.parameters} >= {"insulin_sensitivity", "basal_glucose"}
    assert shown.coefficients == "cohort"
    why = twins.Explain(twin_pb2.ExplainRequest(patient=ward.ref(0), minutes_ahead=60))
    moved = why.point.glucose.value - shown.glucose.value
    assert sum(one.value for one in why.contributions) == pytest.approx(moved, abs=3.0)
    ward.holds()


def test_plans_are_compared_from_one_state(ward: Ward) -> None:
    plans = [
        twin_pb2.Plan(name="bolus", actions=[twin_pb2.PlanAction(bolus_iu=1.0)]),
        twin_pb2.Plan(actions=[twin_pb2.PlanAction(minute=10, fast_g=15.0)]),
    ]
    answer = ward.twins().WhatIf(twin_pb2.WhatIfRequest(patient=ward.ref(0), plans=plans, minutes=120))
    assert [one.name for one in answer.plans] == ["nothing more", "bolus", "plan 2"]
    assert answer.plans[1].effect.value < 0 < answer.plans[2].effect.value
    assert answer.title == "typical patient"  # two days
    for one in answer.plans:
        for quantity in (one.lowest, one.below_70, one.effect, *(point.glucose for point in one.points)):
            assert quantity.unit in ("mg/dL", "%")
            assert quantity.low <= quantity.value <= quantity.high
            assert "whatif-" in quantity.source
    assert answer.leaf
    assert answer.banner == "education and research; not a medical device"
    wrong = twin_pb2.Plan(actions=[twin_pb2.PlanAction(bolus_iu=250.0)])
    with pytest.raises(BadInput, match="at most 25 IU"):
        ward.twins().WhatIf(twin_pb2.WhatIfRequest(patient=ward.ref(0), plans=[wrong]))
    ward.holds()


def test_questions_that_make_no_sense_say_what_to_do(ward: Ward) -> None:
    twins = ward.twins()
    with pytest.raises(BadInput, match="which patient"):
        twins.Forecast(twin_pb2.ForecastRequest())
    with pytest.raises(BadInput, match="1 to 120 minutes"):
        twins.Forecast(twin_pb2.ForecastRequest(patient=ward.ref(0), minutes_ahead=[500]))
    with pytest.raises(BadInput, match="16 bytes"):
        twins.Forecast(twin_pb2.ForecastRequest(patient=record_pb2.PatientRef(handle=b"short")))
    unknown = record_pb2.PatientRef(identifier=record_pb2.Identifier(system="urn:none", value="1"))
    with pytest.raises(NotFound):
        twins.Forecast(twin_pb2.ForecastRequest(patient=unknown))


def test_teaching_needs_its_own_permit_and_stewards_see_no_twin(ward: Ward) -> None:
    asked = twin_pb2.ForecastRequest(patient=ward.ref(0))
    with pytest.raises(Denied):
        ward.twins("learner").Forecast(asked)
    with pytest.raises(Denied, match="role"):
        ward.twins("data-steward").Forecast(asked)
    ward.holds()


def test_the_auditor_sees_who_asked(ward: Ward) -> None:
    leaf = ward.forecast(0).leaf
    asked = auth_pb2.ListEntriesRequest(patient=ward.ref(0), kind="grant", page_size=500)
    entries = {entry.index: json.loads(entry.body) for entry in ward.auth("auditor").ListEntries(asked).entries}
    body = entries[leaf]
    assert (body["decision"], body["purpose"], body["act"]) == ("permit", "treatment", "forecast")
    assert body["actor"] == "clinician"
    assert body["client"].endswith("/twin")


def test_consent_withdrawn_and_the_next_read_refused(ward: Ward) -> None:
    assert ward.forecast(2).points
    done = ward.withdraw(2)
    assert done.leases_ended >= 1
    assert done.version == 2
    with pytest.raises(ConsentDenied, match="does not permit"):
        ward.forecast(2)
    handle = ward.handle(2)
    with ward.hospital.connect() as owner:
        # The compactor may file what is stored, for the hospital's own operation; it reads nothing out.
        live = owner.execute(
            "select count(*) from vault.lease where handle = %s and until > clock_timestamp() and role <> 'compactor'",
            (handle,),
        ).fetchone()
        before = owner.execute("select count(*) from twin.snapshot where handle = %s", (handle,)).fetchone()
    assert live == (0,)
    # Data go on being stored, under the new version; the twin does not go on.
    stub = ward.stub()
    late = [row for row in ward.rows[2] if row.glucose is not None][-3:]
    changed = [
        type(row)(row.at_ms, tuple("101" if cell == row.cells[2] else cell for cell in row.cells), 101.0)
        for row in late
    ]
    ward.put(stub, changed)
    with pytest.raises(ConsentDenied):
        ward.forecast(2)
    with ward.hospital.connect() as owner:
        after = owner.execute("select count(*) from twin.snapshot where handle = %s", (handle,)).fetchone()
    assert after == before
    ward.holds()


def test_a_patient_without_consent_has_data_and_no_twin(hospital: Hospital) -> None:
    ward = Ward(hospital, patients=1, days=1, seed=77)
    bundle = json.loads(ward.charts[0].read_text())
    (stated,) = [one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == "Consent"]
    bundle["entry"] = [one for one in bundle["entry"] if one["resource"]["resourceType"] != "Consent"]
    ward.charts[0].write_text(json.dumps(bundle))
    ward.admit()
    ward.put(ward.stub(), ward.rows[0])
    with pytest.raises(Unready, match="no twin yet"):
        ward.forecast(0)
    # Consent arrives: the worker looks again by itself, without a new reading.
    permit = dict(stated)
    identifier = ward.identifier(0)
    permit["patient"] = {"identifier": {"system": identifier.system, "value": identifier.value}}
    request = auth_pb2.SetConsentRequest(patient=ward.ref(0), fhir_consent=json.dumps(permit).encode())
    ward.auth("data-steward").SetConsent(request)

    def alive() -> bool:
        listed = ward.twins().ListTwins(twin_pb2.ListTwinsRequest(identifier=ward.identifier(0)))
        return any(twin.HasField("glucose") for twin in listed.twins)

    until(alive, "a twin after the consent")
    assert ward.forecast(0).points
    ward.holds()


def test_the_copied_ledger_verifies_and_a_changed_one_does_not(ward: Ward, tmp_path: Path) -> None:
    copy = tmp_path / "ledger"
    shutil.copytree(ward.hospital.directory / "ledger", copy)
    key = Verifier.decode((ward.hospital.directory / "pki" / "ledger.vkey").read_text().strip())
    report = verify(copy, key)
    assert report.ok, report.findings
    assert report.size > 10
    bundle = next((copy / "bundles").iterdir())
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    bundle.write_bytes(data)
    assert not verify(copy, key).ok
