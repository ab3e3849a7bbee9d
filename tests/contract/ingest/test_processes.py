"""Real processes under load: kill -9 of ingest and PostgreSQL, auth that hangs."""

from __future__ import annotations

import threading
import time

import orjson
import pytest

from services.cli.session import Session
from tests.contract.ingest.ward import observation, patient
from tests.hospital import Hospital
from twinward.errors import TwinwardError
from twinward.wire.v1 import ingest_pb2, ingest_pb2_grpc


class Feed:
    """Sends until it is acknowledged, like a real one."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def send(self, *resources: dict[str, object], tries: int = 60) -> ingest_pb2.PutResponse:
        entries = [{"resource": one} for one in resources]
        payload = orjson.dumps({"resourceType": "Bundle", "type": "batch", "entry": entries})
        request = ingest_pb2.PutFhirRequest(feed="files", payload=payload, deidentified=True)
        for attempt in range(tries):
            try:
                stub = ingest_pb2_grpc.IngestStub(self._session.channel("ingest"))
                return stub.PutFhir(request, timeout=20)
            except TwinwardError:
                if attempt == tries - 1:
                    raise
                time.sleep(0.25)
        raise AssertionError("unreachable")


@pytest.fixture
def feed(hospital: Hospital) -> Feed:
    return Feed(hospital.session("data-steward"))


@pytest.mark.parametrize("victim", ["ingest", "postgres"])
def test_nothing_acknowledged_is_lost_or_doubled_over_a_kill(hospital: Hospital, feed: Feed, victim: str) -> None:
    mine = f"kill-{victim}"
    feed.send(*[patient(f"{mine}-{number}") for number in range(3)])
    acknowledged: list[str] = []
    failures: list[BaseException] = []

    def sender(which: int) -> None:
        try:
            for number in range(40):
                name = f"{mine}-{which}-{number}"
                answer = feed.send(observation(name, f"{mine}-{number % 3}"))
                assert set(answer.counts) <= {"stored", "duplicate", "intake"}, answer.counts
                acknowledged.append(name)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=sender, args=(which,)) for which in range(4)]
    for one in threads:
        one.start()
    while len(acknowledged) < 30 and not failures:
        time.sleep(0.02)
    hospital.kill(victim)
    for one in threads:
        one.join()
    assert not failures
    assert len(set(acknowledged)) == 160
    hospital.wait_healthy()
    # Sent once more, each is known: nothing was lost. Counted in the books, nothing is there twice.
    entries = [observation(name, f"{mine}-{int(name.rsplit('-', 1)[1]) % 3}") for name in acknowledged]
    _until_filed(hospital)
    assert dict(feed.send(*entries).counts) == {"duplicate": 160}
    with hospital.connect("postgres") as connection:
        twice = connection.execute("select count(*) - count(distinct key) from ingest.receipt").fetchone()
        assert twice == (0,)


def test_auth_hangs_while_a_new_patient_arrives(hospital: Hospital, feed: Feed) -> None:
    paused = hospital.pause("auth")
    try:
        answer = feed.send(patient("hang-1"), observation("hang-o", "hang-1"), tries=1)
    finally:
        hospital.resume(paused)
    assert dict(answer.counts) == {"intake": 2}
    _until_filed(hospital)
    again = feed.send(patient("hang-1"), observation("hang-o", "hang-1"))
    assert dict(again.counts) == {"duplicate": 2}


def _until_filed(hospital: Hospital) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with hospital.connect("postgres") as connection:
            row = connection.execute("select count(*) from ingest.intake where state = 'waiting'").fetchone()
        if row == (0,):
            return
        time.sleep(0.2)
    raise AssertionError("intake was not filed in time")
