"""What goes wrong around a hospital, each with a clear answer and nothing lost."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from joserfc import jwk, jwt

from services.cli.session import Session
from tests import invariants
from tests.hospital import Hospital
from tests.scenario.ward import Ward, patiently, until
from twinward.errors import ConsentDenied, Denied, TwinwardError, Unauthenticated, Unavailable, Unready
from twinward.link.client import channel
from twinward.record import CGM_GLUCOSE
from twinward.wire.v1 import ingest_pb2, twin_pb2, twin_pb2_grpc


@pytest.fixture(scope="module")
def ward(hospital: Hospital) -> Ward:
    made = Ward(hospital, patients=2, days=1, seed=41)
    made.admit()
    stub = made.stub()
    for rows in made.rows:
        made.put(stub, rows[:-20])
    assert patiently(lambda: made.forecast(0)).points
    return made


# Something is down ------------------------------------------------------------------


def test_auth_down_while_data_arrive(hospital: Hospital, ward: Ward) -> None:
    """Known patients are sealed as ever, new ones wait sealed; both are acknowledged, both are filed once."""
    new = Ward(hospital, patients=1, days=1, seed=42)
    stub = ward.stub()
    twins = ward.twins()
    asked = twin_pb2.ForecastRequest(patient=ward.ref(0))
    stopped = hospital.pause("auth")
    try:
        for at in range(20, 0, -5):
            rows = ward.rows[0][len(ward.rows[0]) - at :][:5]
            assert ward.put(stub, rows).counts["stored"] > 0
        new.admit_waiting(stub)
        with pytest.raises(Unavailable, match="auth"):
            twins.Forecast(asked, timeout=20)
    finally:
        hospital.resume(stopped)
    hospital.wait_healthy()
    until(lambda: patiently(ward.status).intake_waiting == 0, "what waited is filed")
    last = max(row.at_ms for row in ward.rows[0] if row.glucose is not None)
    assert patiently(lambda: ward.forecast(0)).last_reading.time_ms == last
    ward.holds()
    stored = invariants.open_store(hospital.directory).of(new.handle(0)).every().with_code(CGM_GLUCOSE)
    assert sorted(stored.effective_ms.tolist()) == [row.at_ms for row in new.rows[0] if row.glucose is not None]
    newest = max(row.at_ms for row in new.rows[0] if row.glucose is not None)
    assert patiently(lambda: new.forecast(0)).last_reading.time_ms == newest


def test_no_key_without_its_entry_when_the_ledger_cannot_be_written(hospital: Hospital, ward: Ward) -> None:
    with hospital.connect() as owner:
        before = _numbers(owner)
        owner.execute("revoke insert on ledger.entry from auth")
        try:
            with pytest.raises(TwinwardError) as refused:
                ward.forecast(1)
            assert refused.value.code in ("UNAVAILABLE", "INTERNAL")
            assert _numbers(owner) == before
            row = ward.rows[1][-1]
            assert ward.put(ward.stub(), [row]).counts["stored"] > 0  # acceptance does not wait for the ledger
        finally:
            owner.execute("grant insert on ledger.entry to auth")
    assert patiently(lambda: ward.forecast(1)).points
    ward.holds()


def _numbers(owner: Any) -> tuple[int, int]:
    return (
        owner.execute("select count(*) from vault.lease where role = 'twin'").fetchone()[0],
        owner.execute("select size from ledger.head").fetchone()[0],
    )


# Somebody who may not -----------------------------------------------------------------


@dataclass
class Said:
    said: str

    def token(self) -> str:
        return self.said


class Forger:
    """Makes tokens from a true session's: changed, and signed with a key of choice."""

    def __init__(self, hospital: Hospital, ward: Ward) -> None:
        self.hospital = hospital
        self.session: Session = hospital.session("clinician")
        self.true = self.session.token()
        header, body, _ = self.true.split(".")
        self.header, self.claims = _json(header), _json(body)
        self.request = twin_pb2.ForecastRequest(patient=ward.ref(0))

    def site_key(self) -> jwk.ECKey:
        keys = json.loads((self.hospital.directory / "secrets" / "site-idp" / "keys.json").read_text())
        every = keys["keys"] if isinstance(keys, dict) else keys
        (found,) = [one for one in every if one.get("kid") == self.header["kid"]]
        return jwk.ECKey.import_key(found)

    def token(self, key: jwk.ECKey, **changed: Any) -> str:
        return jwt.encode(self.header, {**self.claims, **changed}, key, algorithms=["ES256"])

    def ask(self, token: str, identity: tuple[bytes, bytes] | None = None) -> twin_pb2.ForecastResponse:
        reach, kept = self.session._reach, self.session._kept
        line: grpc.Channel = channel(
            f"127.0.0.1:{reach.ports['twin']}", f"twin.{reach.site}", reach.authority,
            identity or (kept.key.encode(), kept.chain.encode()), Said(token),
        )  # fmt: skip
        with line:
            answer: twin_pb2.ForecastResponse = twin_pb2_grpc.TwinStub(line).Forecast(self.request)
        return answer


def _json(part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def test_tokens_that_are_refused(hospital: Hospital, ward: Ward) -> None:
    forger = Forger(hospital, ward)
    site, now = forger.site_key(), hospital.clock.now_ms() // 1000
    assert patiently(lambda: forger.ask(forger.token(site))).points  # the forger's hand is good: the control
    other = jwk.ECKey.generate_key("P-256", {"kid": forger.header["kid"]})
    elsewhere = f"https://localhost/embedded/{forger.session._reach.site.replace('st-test', 'st-other')}"
    refused = {
        "expired": forger.token(site, iat=now - 400, exp=now - 100),
        "of another site": forger.token(other, iss=elsewhere),
        "signed by another key": forger.token(other),
        "another issuer's name": forger.token(site, iss=elsewhere),
        "for another audience": forger.token(site, aud=["console"]),
        "too long": forger.token(site, iat=now, exp=now + 86_400),
        "unsigned": ".".join([*forger.true.split(".")[:2], ""]),
        "no token at all": "",
    }
    let_in, sentences = [], set()
    for what, token in refused.items():
        try:
            forger.ask(token)
        except Unauthenticated as refusal:
            sentences.add(refusal.public)
        else:
            let_in.append(what)
    assert not let_in
    assert all("log in" in sentence for sentence in sentences)


def test_a_stolen_token_opens_nothing_with_another_certificate(hospital: Hospital, ward: Ward) -> None:
    forger = Forger(hospital, ward)
    learner = hospital.session("learner")
    learner.token()
    thief = (learner._kept.key.encode(), learner._kept.chain.encode())
    with pytest.raises(Unauthenticated):
        forger.ask(forger.true, thief)


def _send(ward: Ward, feed: str, kinds: set[str], key: str) -> ingest_pb2.PutResponse:
    """The chart's entries of `kinds` (with the Patient they are about) through `feed`."""
    bundle = json.loads(ward.charts[0].read_text())
    wanted = {"Patient", "Practitioner", *kinds}
    bundle["entry"] = [one for one in bundle["entry"] if one["resource"]["resourceType"] in wanted]
    request = ingest_pb2.PutFhirRequest(
        feed=feed, idempotency_key=key, payload=json.dumps(bundle).encode(), deidentified=True
    )
    answer: ingest_pb2.PutResponse = ward.stub().PutFhir(request)
    return answer


def test_a_forged_care_team_on_an_observations_feed_changes_nothing(hospital: Hospital) -> None:
    ward = Ward(hospital, patients=1, days=1, seed=43)
    _send(ward, "files", {"Consent", "Observation"}, "without a care team")
    ward.put(ward.stub(), ward.rows[0])
    with pytest.raises(Denied):
        ward.forecast(0)
    answer = _send(ward, "observations", {"CareTeam"}, "forged")
    assert any(problem.resource == "CareTeam" and "approved" in problem.reason for problem in answer.problems)
    with pytest.raises(Denied):
        ward.forecast(0)
    _send(ward, "files", {"CareTeam"}, "from the approved feed")  # the control
    assert patiently(lambda: ward.forecast(0)).points
    ward.holds()


def test_a_forged_consent_on_an_observations_feed_makes_no_twin(hospital: Hospital) -> None:
    ward = Ward(hospital, patients=1, days=1, seed=44)
    _send(ward, "files", {"CareTeam", "Observation"}, "without a consent")
    ward.put(ward.stub(), ward.rows[0])
    with pytest.raises((Unready, ConsentDenied)):
        ward.forecast(0)
    _send(ward, "observations", {"Consent"}, "forged consent")
    with pytest.raises((Unready, ConsentDenied)):
        ward.forecast(0)
    with hospital.connect() as owner:
        snapshots = owner.execute("select count(*) from twin.snapshot where handle = %s", (ward.handle(0),)).fetchone()
    assert snapshots == (0,)
    ward.holds()
