"""The doors of a whole running node: every RPC, from people and programs that may and may not."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor

from services.cli.session import Session
from tests.hospital import Hospital
from twinward.errors import Denied, TwinwardError, Unauthenticated, Unready
from twinward.link.access import Access, table
from twinward.link.client import channel, stream_metadata
from twinward.link.permissions import ROLES
from twinward.link.status import from_rpc
from twinward.record import Role
from twinward.wire.v1 import auth_pb2, auth_pb2_grpc, ingest_pb2, session_pb2, twin_pb2

SERVICES = {
    "Auth": "auth", "Ingest": "ingest", "Twin": "twin", "TwinWorker": "twin-worker", "TwinUpkeep": "twin",
    "TwinPriors": "twin",
    "Teaching": "sessions",
}  # fmt: skip
METHODS: list[MethodDescriptor] = [
    method
    for file in (auth_pb2, ingest_pb2, twin_pb2, session_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    if service.name in SERVICES
    for method in service.methods
]
ACCESS = table({method.containing_service for method in METHODS}, enrolment=False, streams=True)


def path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def access(method: MethodDescriptor) -> Access:
    return ACCESS[path(method)]


def call(opened: grpc.Channel, method: MethodDescriptor, **more: Any) -> Any:
    """The method with an empty request; a stream with one, read once."""
    request = message_factory.GetMessageClass(method.input_type)
    answer = message_factory.GetMessageClass(method.output_type)
    if method.server_streaming:
        if opened_with := more.pop("tokens", None):
            more["metadata"] = stream_metadata(opened_with)
        flow = opened.stream_stream(
            path(method), request_serializer=request.SerializeToString, response_deserializer=answer.FromString
        )
        try:
            return next(flow(iter([request()]), timeout=20, **more))
        except grpc.RpcError as error:
            raise from_rpc(error, "sessions") from None
    more.pop("tokens", None)
    made = opened.unary_unary(
        path(method), request_serializer=request.SerializeToString, response_deserializer=answer.FromString
    )
    return made(request(), timeout=20, **more)


def door(hospital: Hospital, method: MethodDescriptor, identity: tuple[bytes, bytes], tokens: Any) -> grpc.Channel:
    program = SERVICES[method.containing_service.name]
    authority = (hospital.directory / "pki" / "ca.pem").read_bytes()
    address = f"127.0.0.1:{hospital.node.last_ports()[program]}"
    return channel(address, f"{program}.{hospital.node.site}", authority, identity, tokens)


def identity_of(session: Session) -> tuple[bytes, bytes]:
    return session._kept.key.encode(), session._kept.chain.encode()


def program_identity(hospital: Hospital, program: str) -> tuple[bytes, bytes]:
    stem = hospital.directory / "pki" / "programs" / program
    return Path(f"{stem}.key").read_bytes(), Path(f"{stem}.pem").read_bytes()


@pytest.fixture(scope="module")
def learner(hospital: Hospital) -> Session:
    return hospital.session("learner")


@pytest.mark.parametrize("method", METHODS, ids=path)
def test_no_rpc_answers_without_a_token(hospital: Hospital, learner: Session, method: MethodDescriptor) -> None:
    with door(hospital, method, identity_of(learner), None) as opened, pytest.raises(Unauthenticated):
        call(opened, method)


@pytest.mark.parametrize("method", METHODS, ids=path)
def test_no_rpc_answers_a_token_in_other_hands(hospital: Hospital, learner: Session, method: MethodDescriptor) -> None:
    """The learner's own token under a program's certificate, and under another person's."""
    for identity in (program_identity(hospital, "node"), identity_of(hospital.session("auditor"))):
        with door(hospital, method, identity, learner) as opened, pytest.raises(Unauthenticated):
            call(opened, method, tokens=learner)


@pytest.mark.parametrize("method", METHODS, ids=path)
def test_no_rpc_answers_a_role_without_its_permission(
    hospital: Hospital, learner: Session, method: MethodDescriptor
) -> None:
    rule = access(method)
    role = next((role for role in ROLES if rule.permission not in ROLES[role]), "learner")
    session = hospital.session(role)
    with door(hospital, method, identity_of(session), session) as opened, pytest.raises(Denied):
        call(opened, method, tokens=session)


@pytest.mark.parametrize("role", sorted(Role))
def test_every_demo_person_logs_in(hospital: Hospital, role: str) -> None:
    assert hospital.session(role).token().count(".") == 2


def test_the_site_admin_sees_the_ledger(hospital: Hospital) -> None:
    stub = auth_pb2_grpc.AuthStub(hospital.session("site-admin").channel("auth"))
    assert stub.LedgerStatus(auth_pb2.LedgerStatusRequest()).origin == f"{hospital.node.site}/ledger"


def test_a_program_on_the_health_certificate_alone_may_nothing_else(hospital: Hospital) -> None:
    method = next(method for method in METHODS if method.name == "Freshen")
    with door(hospital, method, program_identity(hospital, "twin"), None) as opened, pytest.raises(Unauthenticated):
        call(opened, method)


def test_sessions_are_shared_by_commands_and_not_with_others(hospital: Hospital) -> None:
    """Ten commands at once in one role: one session, every one answered."""
    import concurrent.futures

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: hospital.session("privacy-officer").token(), range(10)))
    assert len(set(found)) == 1
    files = list((hospital.node.run / "sessions").rglob("privacy-officer-*.json"))
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600]


def test_a_login_survives_the_identity_provider(hospital: Hospital) -> None:
    session = hospital.session("data-steward")
    session.channel("ingest")
    hospital.kill("site-idp")
    hospital.wait_healthy("site-idp")
    session._kept.ends_ms = 0  # its token is over, and the provider has forgotten its session
    session._save()
    method = next(method for method in METHODS if method.name == "IngestStatus")
    assert call(session.channel("ingest"), method) is not None


def test_wrong_roles_and_purposes_are_named(hospital: Hospital) -> None:
    for role, purpose, why in (
        ("king", None, "no role"),
        ("clinician", "fun", "no purpose"),
        ("learner", "treatment", "but for: teaching"),
    ):
        with pytest.raises(TwinwardError, match=why):
            hospital.session(role, purpose)


def test_the_command_line_on_a_running_node(hospital: Hospital) -> None:
    status = hospital.twinward("node", "status", "--json")
    assert status.returncode == 0, status.stderr
    found = json.loads(status.stdout)
    assert all(program["healthy"] for program in found["programs"])
    expected = {"postgres", "auth", "ingest", "twin", "twin-worker", "sessions"}
    assert {program["name"] for program in found["programs"]} >= expected
    assert found["separation"] == "nominal"
    assert found["lags"]["unfolded_receipts"] == 0
    again = hospital.twinward("node", "up")
    assert (again.returncode, again.stdout.strip()) == (0, "St. Test is up.")
    login = hospital.twinward("--as", "auditor", "login")
    assert login.returncode == 0
    assert "auditor" in login.stdout
    wrong = hospital.twinward("--as", "king", "login", "--json")
    assert wrong.returncode == 3
    assert json.loads(wrong.stderr)["error"] == "BAD_INPUT"
    logs = hospital.twinward("node", "logs", "auth")
    assert '"event":"started"' in logs.stdout
    assert hospital.twinward("node", "logs", "nothing").returncode == 6


def test_a_node_that_is_down_says_so(hospital: Hospital) -> None:
    hospital.down()
    began = time.monotonic()
    with pytest.raises(Unready, match="twinward node up"):
        hospital.session("clinician")
    assert time.monotonic() - began < 60
    assert hospital.twinward("node", "status", "--json").returncode == 0
    assert hospital.twinward("--as", "auditor", "login").returncode == 8
    hospital.up()
    assert hospital.session("clinician").token()
