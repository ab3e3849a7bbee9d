"""Deadlines, retries, pressure and shutdown, over real doors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.site import Fixed, Site
from twinward.errors import Busy, NotFound, TwinwardError, Unavailable, Unready, every_error
from twinward.link.client import channel, open_channel
from twinward.link.server import MESSAGE_BYTES, Door, serve
from twinward.link.status import from_rpc, to_status
from twinward.vault.keybook import MissingKeys
from twinward.wire.v1 import ingest_pb2, ingest_pb2_grpc

INGEST = ingest_pb2.DESCRIPTOR.services_by_name["Ingest"]
METHODS = tuple(method.name for method in INGEST.methods)


class Scripted:
    """Every method of Ingest runs `act`."""

    def __init__(self) -> None:
        self.act: Callable[[grpc.ServicerContext], None] = lambda context: None
        self.calls = 0
        for name in METHODS:
            setattr(self, name, self._answer)

    def _answer(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.calls += 1
        self.act(context)
        return ingest_pb2.PutResponse() if hasattr(request, "feed") else ingest_pb2.RedriveResponse()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def script() -> Scripted:
    return Scripted()


@pytest.fixture
def door(site: Site, script: Scripted) -> Iterator[Door]:
    made = open_door(site, script)
    yield made
    made.stop(0.1)


def open_door(site: Site, script: Scripted, listen: str = "127.0.0.1:0") -> Door:
    served = [(ingest_pb2_grpc.add_IngestServicer_to_server, script, INGEST)]
    door = serve(served, site.settings("ingest"), site.verifier("ingest"), workers=1, listen=listen)
    door.start()
    return door


@pytest.fixture
def stub(site: Site, door: Door) -> Iterator[Any]:
    with connect(site, door.port) as opened:
        yield ingest_pb2_grpc.IngestStub(opened)


def connect(site: Site, port: int, **more: Any) -> grpc.Channel:
    identity = site.person_identity("steward")
    token = site.signed(site.claims(identity[1], roles=["data-steward"], purpose="operations"))
    authority = (site.pki / "ca.pem").read_bytes()
    return channel(f"127.0.0.1:{port}", f"ingest.{site.name}", authority, identity, Fixed(token), **more)


def failing(times: int) -> Callable[[grpc.ServicerContext], None]:
    left = [times]

    def act(context: grpc.ServicerContext) -> None:
        if left[0]:
            left[0] -= 1
            raise Unavailable("the database does not answer")

    return act


def test_an_idempotent_call_is_made_again(script: Scripted, stub: Any) -> None:
    script.act = failing(2)
    stub.PutFhir(ingest_pb2.PutFhirRequest(feed="files"))
    assert script.calls == 3


def test_it_is_not_made_again_for_ever(script: Scripted, stub: Any) -> None:
    script.act = failing(100)
    with pytest.raises(Unavailable, match="database"):
        stub.PutFhir(ingest_pb2.PutFhirRequest(feed="files"))
    assert script.calls == 4


def test_another_call_is_made_once(script: Scripted, stub: Any) -> None:
    script.act = failing(1)
    with pytest.raises(Unavailable):
        stub.Redrive(ingest_pb2.RedriveRequest())
    assert script.calls == 1


def test_the_database_away_is_unavailable_and_its_text_stays(script: Scripted, stub: Any) -> None:
    def act(context: grpc.ServicerContext) -> None:
        raise psycopg.OperationalError("secret host and row")

    script.act = act
    with pytest.raises(Unavailable) as seen:
        stub.Redrive(ingest_pb2.RedriveRequest())
    assert "secret" not in repr(vars(seen.value))


def test_a_call_without_timeout_has_a_deadline(site: Site, script: Scripted, door: Door) -> None:
    go_on = threading.Event()
    script.act = lambda context: (go_on.wait(20), None)[1]
    with connect(site, door.port, deadline_s=0.3) as opened, pytest.raises(Unavailable, match="in time"):
        ingest_pb2_grpc.IngestStub(opened).Redrive(ingest_pb2.RedriveRequest())
    go_on.set()


def test_more_than_can_wait_is_sent_away(site: Site, script: Scripted, door: Door) -> None:
    """One worker and four places: of twelve calls at once some are refused as busy, none is lost."""
    go_on = threading.Event()
    script.act = lambda context: (go_on.wait(20), None)[1]

    def call(stub: Any) -> str:
        try:
            stub.Redrive(ingest_pb2.RedriveRequest())
        except Busy:
            go_on.set()
            return "busy"
        return "done"

    with connect(site, door.port) as opened, ThreadPoolExecutor(12) as pool:
        stub = ingest_pb2_grpc.IngestStub(opened)
        outcomes = [future.result() for future in [pool.submit(call, stub) for _ in range(12)]]
    assert set(outcomes) == {"busy", "done"}
    assert outcomes.count("done") >= 5


def test_a_message_over_the_limit_is_refused(stub: Any) -> None:
    stub.PutFhir(ingest_pb2.PutFhirRequest(payload=bytes(MESSAGE_BYTES - 1000)))
    with pytest.raises(Busy, match="16 MiB"):
        stub.PutFhir(ingest_pb2.PutFhirRequest(payload=bytes(MESSAGE_BYTES + 1)))


def test_calls_in_flight_end_before_the_door_closes(site: Site, script: Scripted) -> None:
    door = open_door(site, script)
    inside, go_on = threading.Event(), threading.Event()

    def act(context: grpc.ServicerContext) -> None:
        inside.set()
        go_on.wait(20)

    script.act = act
    with connect(site, door.port) as opened, ThreadPoolExecutor(2) as pool:
        call = pool.submit(ingest_pb2_grpc.IngestStub(opened).Redrive, ingest_pb2.RedriveRequest())
        assert inside.wait(10)
        stopping = pool.submit(door.stop, 10.0)
        go_on.set()
        assert call.result(10) == ingest_pb2.RedriveResponse()
        stopping.result(15)
    door.wait()


def test_a_channel_finds_a_restarted_door(site: Site, script: Scripted, door: Door) -> None:
    with connect(site, door.port) as opened:
        stub = ingest_pb2_grpc.IngestStub(opened)
        assert stub.Redrive(ingest_pb2.RedriveRequest()) == ingest_pb2.RedriveResponse()
        door.stop(0.1)
        again = open_door(site, script, f"127.0.0.1:{door.port}")
        try:
            assert isinstance(stub.PutFhir(ingest_pb2.PutFhirRequest(feed="files")), ingest_pb2.PutResponse)
        finally:
            again.stop(0.1)


def test_nobody_there_says_where_to_look(site: Site, door: Door) -> None:
    door.stop(0.1)
    with connect(site, door.port) as opened, pytest.raises(Unavailable, match="twinward node status"):
        ingest_pb2_grpc.IngestStub(opened).Redrive(ingest_pb2.RedriveRequest())


def test_a_servicer_that_aborts_by_itself_keeps_its_word(script: Scripted, stub: Any) -> None:
    script.act = lambda context: context.abort(grpc.StatusCode.NOT_FOUND, "gone")
    with pytest.raises(NotFound):
        stub.Redrive(ingest_pb2.RedriveRequest())


def test_a_future_raises_as_grpc_does(script: Scripted, stub: Any) -> None:
    script.act = failing(1)
    with pytest.raises(grpc.RpcError) as seen:
        stub.Redrive.future(ingest_pb2.RedriveRequest()).result()
    assert isinstance(from_rpc(seen.value, "ingest"), Unavailable)
    assert stub.Redrive.future(ingest_pb2.RedriveRequest()).result(10) == ingest_pb2.RedriveResponse()


def test_a_feed_puts_with_its_own_certificate(site: Site, script: Scripted, door: Door) -> None:
    source = Fixed(site.service_token("feed/files"))
    with open_channel(f"127.0.0.1:{door.port}", "ingest", site.settings("feed/files"), source) as opened:
        ingest_pb2_grpc.IngestStub(opened).PutFhir(ingest_pb2.PutFhirRequest(feed="files"))
        with pytest.raises(TwinwardError, match="feed/files"):
            ingest_pb2_grpc.IngestStub(opened).Redrive(ingest_pb2.RedriveRequest())


def test_a_refusal_that_is_not_known_by_its_reason_gets_the_type_of_its_code(script: Scripted, stub: Any) -> None:
    def refuse(context: grpc.ServicerContext) -> None:
        raise MissingKeys({})  # not made of a sentence: it cannot be made again here

    script.act = refuse
    with pytest.raises(Unready, match="public keys") as seen:
        stub.Redrive(ingest_pb2.RedriveRequest())
    assert type(seen.value) is Unready


@given(st.sampled_from(sorted(every_error())), st.text(st.characters(codec="utf-8"), max_size=80))
def test_every_error_has_a_status_with_its_reason(reason: str, public: str) -> None:
    status = to_status(every_error()[reason](public, detail="stays"))
    assert status.details == public
    assert status.code is not grpc.StatusCode.OK
    assert b"stays" not in status.trailing_metadata[0][1]
    assert reason.encode() in status.trailing_metadata[0][1]
