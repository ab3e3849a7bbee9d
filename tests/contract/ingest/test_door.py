"""The door over real gRPC with mTLS and bound tokens: who may send, in whose name, and how much."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
import orjson
import pytest

from services.ingest.api import IngestDoor, door_of
from tests.contract.ingest.ward import MRN, Ward, observation, patient
from tests.site import Fixed, Site
from twinward.errors import Conflict, Denied, Malformed, TooLarge, TwinwardError
from twinward.link.client import channel
from twinward.link.server import serve
from twinward.wire.v1 import ingest_pb2, ingest_pb2_grpc, record_pb2

Stub = ingest_pb2_grpc.IngestStub


@dataclass
class Opened:
    """The address of a standing door, and channels to it."""

    site: Site
    port: int
    channels: list[grpc.Channel] = field(default_factory=list)

    def channel_of(self, *roles: str, feed: str = "") -> grpc.Channel:
        """Of a person with these roles, or of a feed."""
        if feed:
            chosen = self.site.settings(f"feed/{feed}")
            identity = (chosen.key_file.read_bytes(), chosen.certificate_file.read_bytes())
            token = self.site.service_token(f"feed/{feed}")
        else:
            identity = self.site.person_identity("steward")
            claims = self.site.claims(identity[1], sub="steward", roles=list(roles), purpose="operations")
            token = self.site.signed(claims)
        authority = (self.site.pki / "ca.pem").read_bytes()
        opened = channel(f"127.0.0.1:{self.port}", f"ingest.{self.site.name}", authority, identity, Fixed(token))
        self.channels.append(opened)
        return opened

    def __call__(self, *roles: str, feed: str = "") -> Stub:
        return Stub(self.channel_of(*roles, feed=feed))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@contextmanager
def standing(ward: Ward, site: Site, profile: str = "demo") -> Iterator[Opened]:
    served = door_of(IngestDoor(ward.acceptor, ward.pool.connection, profile))
    door = serve([served], site.settings("ingest"), site.verifier("ingest"))
    door.start()
    opened = Opened(site, door.port)
    try:
        yield opened
    finally:
        for one in opened.channels:
            one.close()
        door.stop(0)


@pytest.fixture
def door(ward: Ward, site: Site) -> Iterator[Opened]:
    with standing(ward, site) as stub:
        yield stub


def fhir(*resources: dict[str, object], **more: object) -> ingest_pb2.PutFhirRequest:
    entries = [{"resource": one} for one in resources]
    payload = orjson.dumps({"resourceType": "Bundle", "type": "batch", "entry": entries})
    given = {"feed": "files", "payload": payload, "deidentified": True, **more}
    return ingest_pb2.PutFhirRequest(**given)  # type: ignore[arg-type]


def test_a_steward_sends_a_bundle(door: Opened) -> None:
    answer = door("data-steward").PutFhir(fhir(patient("7"), observation("o", "7"), {"resourceType": "Organization"}))
    assert dict(answer.counts) == {"stored": 2, "rejected": 1}
    assert len(answer.receipt) == 16
    assert answer.observations == 1
    assert {one.resource: dict(one.counts) for one in answer.types}["Observation"] == {"stored": 1}
    assert [(one.resource, one.reason, one.count) for one in answer.reasons] == [("Organization", "no-patient", 1)]


def test_a_series_the_lists_and_redrive(door: Opened) -> None:
    steward = door("data-steward")
    column = ingest_pb2.SeriesColumn(column="g", kind="glucose", unit="mmol/L")
    request = ingest_pb2.PutSeriesRequest(
        feed="files",
        patient=record_pb2.Identifier(system=MRN, value="7"),
        mapping=ingest_pb2.SeriesMapping(time_column="t", time_zone="UTC", columns=[column]),
        csv=b"t,g\n2026-01-02T10:00:00,5.5\nnever,5\n",
        deidentified=True,
    )
    assert dict(steward.PutSeries(request).counts) == {"stored": 1, "quarantined": 1}
    odd = observation("o", "", code={"coding": [{"system": "urn:lab", "code": "X"}]})
    steward.PutFhir(fhir(odd | {"subject": {"identifier": {"system": MRN, "value": "7"}}}))
    listed = steward.ListUnmapped(ingest_pb2.ListUnmappedRequest(page_size=1))
    assert [(one.system, one.code, one.unit, one.count) for one in listed.codes] == [("urn:lab", "X", "mg/dL", 1)]
    status = steward.IngestStatus(ingest_pb2.IngestStatusRequest())
    assert (status.quarantine, status.feeds[0].feed, status.feeds[0].quarantined) == (1, "files", 1)
    assert steward.Redrive(ingest_pb2.RedriveRequest(reason="bad-time")).items == 1


def test_a_feed_speaks_in_its_own_name_only(door: Opened, ward: Ward) -> None:
    feed = door(feed="files")
    assert dict(feed.PutFhir(fhir(patient("7"))).counts) == {"stored": 1}
    with pytest.raises(Denied, match="another feed"):
        feed.PutFhir(fhir(patient("8"), feed="observations"))
    with pytest.raises(Denied):
        feed.ListUnmapped(ingest_pb2.ListUnmappedRequest())
    assert ward.office.sql("select count(*) from vault.patient_state") == [(1,)]


@pytest.mark.parametrize("role", ["clinician", "learner", "auditor", "privacy-officer"])
def test_other_roles_may_not_send(door: Opened, role: str) -> None:
    with pytest.raises(Denied):
        door(role).PutFhir(fhir(patient("7")))


def test_a_demo_node_wants_the_declaration_and_another_does_not(ward: Ward, site: Site) -> None:
    with standing(ward, site) as demo, pytest.raises(Denied, match="de-identified"):
        demo("data-steward").PutFhir(fhir(patient("7"), deidentified=False))
    with standing(ward, site, "clinical") as real:
        assert dict(real("data-steward").PutFhir(fhir(patient("7"), deidentified=False)).counts) == {"stored": 1}


@pytest.mark.parametrize(
    ("request_", "error", "says"),
    [
        (fhir(payload=b"no fhir at all"), Malformed, "not JSON"),
        (fhir(payload=b'{"a":1}'), Malformed, "resourceType"),
        (fhir(*[{}] * 5001), TooLarge, "5000 entries"),
        (fhir(feed="nobody"), TwinwardError, "no feed of that name"),
        (fhir(idempotency_key="x" * 300), TwinwardError, "idempotency key"),
        (fhir(payload=b" " * (17 * 1024 * 1024)), TwinwardError, "."),
    ],
    ids=["text", "json", "entries", "feed", "key", "bytes"],
)
def test_refusals_say_what_to_do(
    door: Opened, request_: ingest_pb2.PutFhirRequest, error: type[TwinwardError], says: str
) -> None:
    with pytest.raises(error, match=says):
        door("data-steward").PutFhir(request_)


def test_the_same_key_with_other_bytes_conflicts(door: Opened) -> None:
    steward = door("data-steward")
    first = steward.PutFhir(fhir(patient("7"), idempotency_key="k"))
    again = steward.PutFhir(fhir(patient("7"), idempotency_key="k"))
    assert again.replayed
    assert again.receipt == first.receipt
    with pytest.raises(Conflict):
        steward.PutFhir(fhir(patient("8"), idempotency_key="k"))


def test_no_refusal_repeats_what_was_sent(door: Opened) -> None:
    secret = "Jane-Q-Canary"
    odd = observation("o1", "7", status=secret, note=[{"text": secret}]) | {secret: secret}
    time = observation("o2", "7", effectiveDateTime=secret)
    reference = observation("o3", "", subject={"reference": f"urn:uuid:{secret}"})
    answer = door("data-steward").PutFhir(fhir(patient("7"), odd, time, reference))
    assert dict(answer.counts) == {"stored": 1, "quarantined": 3}
    assert secret not in str(answer)
