"""A hospital's lines to its coordinator, over real TLS and through a real HTTP CONNECT proxy."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from services.federation.membership import Membership, MembershipFile, new_key, signing_request
from services.federation.site_api import CoordinatorCalls
from services.federation.site_joining import Joining
from services.federation.site_link import Told
from services.federation.token import read_token
from tests.unit.federation.ward import COORDINATOR, SITE, Ledger, Tokens
from twinward.clock import SystemClock
from twinward.errors import Conflict, Malformed, Unauthenticated, Unavailable
from twinward.link.caller import caller_of
from twinward.link.server import Door, serve
from twinward.link.tokens import TokenVerifier
from twinward.settings import ProgramSettings
from twinward.wire.codec.cohort import DecidedStudy
from twinward.wire.v1 import federation_pb2 as pb
from twinward.wire.v1 import federation_pb2_grpc

NAMES = pb.DESCRIPTOR.services_by_name


class Joins(federation_pb2_grpc.JoiningServicer):
    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self.used: set[str] = set()
        self.seen: list[pb.JoinRequest] = []

    def Join(self, request: pb.JoinRequest, context: grpc.ServicerContext) -> pb.JoinResponse:
        if request.secret in self.used:
            raise Conflict("this join token was used already: ask the coordinator for another")
        self.used.add(request.secret)
        self.seen.append(request)
        chain, until_ms, _ = self.tokens.authority.issue(request.signing_request, request.site)
        return pb.JoinResponse(
            certificate_chain=chain, not_after_ms=until_ms, fleet_address="fleet.test:9", bundle_key=bytes(32)
        )


class Syncs(federation_pb2_grpc.SitesServicer):
    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self.peers: list[str] = []
        self.certificates: set[bytes] = set()
        self.seen: list[pb.SyncRequest] = []
        self.states = {"ab" * 32: "running"}

    def Sync(self, request: pb.SyncRequest, context: grpc.ServicerContext) -> pb.SyncResponse:
        caller = caller_of(context)
        self.peers.append(caller.peer_id)
        self.certificates.add(caller.certificate_sha256)
        self.seen.append(request)
        return pb.SyncResponse(states=self.states, acknowledged=[one.study for one in request.decisions])

    def RenewCertificate(
        self, request: pb.RenewCertificateRequest, context: grpc.ServicerContext
    ) -> pb.RenewCertificateResponse:
        chain, until_ms, _ = self.tokens.authority.issue(request.signing_request, SITE)
        return pb.RenewCertificateResponse(certificate_chain=chain, not_after_ms=until_ms)

    def Leave(self, request: pb.LeaveRequest, context: grpc.ServicerContext) -> pb.LeaveResponse:
        return pb.LeaveResponse()


@dataclass
class Coordinator:
    tokens: Tokens
    joins: Joins = field(init=False)
    syncs: Syncs = field(init=False)

    def __post_init__(self) -> None:
        self.joins, self.syncs = Joins(self.tokens), Syncs(self.tokens)
        self._doors = [
            self._door(
                [(federation_pb2_grpc.add_JoiningServicer_to_server, self.joins, NAMES["Joining"])], enrolment=True
            ),
            self._door([(federation_pb2_grpc.add_SitesServicer_to_server, self.syncs, NAMES["Sites"])]),
        ]
        self.join, self.door = (f"127.0.0.1:{door.port}" for door in self._doors)

    def token(self, **changed: Any) -> str:
        return self.tokens.token(**{"join": self.join, "door": self.door} | changed)

    def _door(self, served: list[Any], *, enrolment: bool = False) -> Door:
        pki = self.tokens.folder / "pki"
        settings = ProgramSettings(
            site=COORDINATOR, profile="demo", program="coordinator", listen="127.0.0.1:0", ca_file=pki / "ca.pem",
            certificate_file=pki / "programs/coordinator.pem", key_file=pki / "programs/coordinator.key",
            database="", database_password_file=Path("/dev/null"), issuer="https://localhost/none",
            data_dir=self.tokens.folder,
        )  # fmt: skip
        verifier = TokenVerifier(settings.issuer, "federation", lambda: {"keys": []}, SystemClock())
        door = serve(served, settings, verifier, workers=4, enrolment=enrolment)
        door.start()
        return door

    def close(self) -> None:
        for door in self._doors:
            door.stop(0.1)


class Proxy:
    """CONNECT and nothing else; remembers where to, and every byte that went through."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.carried = bytearray()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._run, daemon=True)]
        self._threads[0].start()

    def _run(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(line,), daemon=True))
            self._threads[-1].start()

    def _serve(self, line: socket.socket) -> None:
        with line:
            head = b""
            while b"\r\n\r\n" not in head:
                head += line.recv(4096)
            method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
            self.asked.append(f"{method} {target}")
            host, _, port = target.rpartition(":")
            with socket.create_connection((host, int(port))) as there:
                line.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=self._pump, args=(there, line), daemon=True)
                back.start()
                self._pump(line, there)
                back.join()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                self.carried += data
                other.sendall(data)
        except OSError:
            pass
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # closed before
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinator]:
    made = Coordinator(Tokens(tmp_path_factory.mktemp("coordinator")))
    yield made
    made.close()


@pytest.fixture
def calls() -> Iterator[CoordinatorCalls]:
    made = CoordinatorCalls("1.0")
    yield made
    made.close()


@pytest.fixture
def proxy(calls: CoordinatorCalls) -> Iterator[Proxy]:
    made = Proxy()
    yield made
    made.close()


@pytest.fixture
def joining(calls: CoordinatorCalls, tmp_path: Path) -> Joining:
    file = MembershipFile(tmp_path)
    return Joining(SITE, "demo", file, calls, Ledger(), SystemClock(), lambda: None, lambda: None)


def secret(number: int) -> bytes:
    return number.to_bytes(32, "big")


TOLD = Told(7, [DecidedStudy(secret(7), "refuse", "the steward's words", 1, 2, 3, bytes(32))], 5)


def test_joined_then_heard_by_the_certificate_alone(
    coordinator: Coordinator, joining: Joining, calls: CoordinatorCalls
) -> None:
    member = joining.join(coordinator.token(secret=secret(1)), "", "admin")
    assert member.fleet_address == "fleet.test:9"
    assert coordinator.joins.seen[-1].version == "1.0"
    heard = calls.sync(member, TOLD)
    assert coordinator.syncs.peers[-1] == f"spiffe://{COORDINATOR}/site/{SITE}"
    assert heard.states == {bytes.fromhex("ab" * 32): "running"}
    assert heard.acknowledged == [secret(7)]
    said = coordinator.syncs.seen[-1]
    assert (said.life, said.after, said.decisions[0].reason) == (7, 5, "REFUSED_BY_STEWARD")
    calls.leave(member, "LEFT")


def test_a_used_token_is_refused_by_its_own_type(coordinator: Coordinator, joining: Joining) -> None:
    joining.join(coordinator.token(secret=secret(2)), "", "admin")
    with pytest.raises(Conflict, match="used already"):
        joining.join(coordinator.token(secret=secret(2)), "", "admin")


def test_nobody_else_can_stand_in_for_the_coordinator(
    coordinator: Coordinator, joining: Joining, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The token pins the authority: another one that certifies the same name is not believed."""
    other = Tokens(tmp_path_factory.mktemp("other"))
    asked = len(coordinator.joins.seen)
    with pytest.raises(Unavailable):
        joining.join(coordinator.token(secret=secret(3), authority=other.root), "", "admin")
    with pytest.raises(Unavailable):
        joining.join(coordinator.token(secret=secret(3), coordinator="another.demo"), "", "admin")
    assert len(coordinator.joins.seen) == asked
    assert joining.file.now() is None


def test_a_certificate_of_another_coordinator_opens_nothing(
    coordinator: Coordinator, joining: Joining, calls: CoordinatorCalls, tmp_path_factory: pytest.TempPathFactory
) -> None:
    member = joining.join(coordinator.token(secret=secret(4)), "", "admin")
    key = new_key()
    chain, _, _ = Tokens(tmp_path_factory.mktemp("other")).authority.issue(signing_request(key, SITE), SITE)
    heard = len(coordinator.syncs.seen)
    with pytest.raises((Unavailable, Unauthenticated)):
        calls.sync(replace(member, key=key, certificate=chain.decode()), TOLD)
    assert len(coordinator.syncs.seen) == heard


def test_a_renewed_certificate_is_used_at_once_and_the_old_one_still_opens(
    coordinator: Coordinator, joining: Joining, calls: CoordinatorCalls
) -> None:
    before = joining.join(coordinator.token(secret=secret(5)), "", "admin")
    coordinator.syncs.certificates.clear()
    calls.sync(before, TOLD)
    key = new_key()
    after = joining.renewed(before, key, calls.renew(before, signing_request(key, SITE)))
    assert after is not None
    calls.sync(after, TOLD)
    calls.sync(before, TOLD)
    assert len(coordinator.syncs.certificates) == 2


def test_everything_goes_through_the_proxy_and_nothing_of_it_can_be_read_there(
    coordinator: Coordinator, joining: Joining, calls: CoordinatorCalls, proxy: Proxy
) -> None:
    member = joining.join(coordinator.token(secret=secret(6)), proxy.address, "admin")
    calls.sync(member, TOLD)
    assert proxy.asked == [f"CONNECT {coordinator.join}", f"CONNECT {coordinator.door}"]
    calls.close()
    proxy.close()
    assert proxy.carried
    for word in (SITE.encode(), read_token(coordinator.token(secret=secret(6))).secret, b"REFUSED_BY_STEWARD"):
        assert word not in proxy.carried


def test_without_the_proxy_there_is_no_other_way(coordinator: Coordinator, joining: Joining) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    asked = len(coordinator.joins.seen)
    with pytest.raises(Unavailable):
        joining.join(coordinator.token(secret=secret(8)), address, "admin")
    assert len(coordinator.joins.seen) == asked


def test_the_machines_own_proxy_is_not_taken(
    coordinator: Coordinator, joining: Joining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("grpc_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert joining.join(coordinator.token(secret=secret(9)), "", "admin").open


def test_a_state_of_something_that_is_no_study_is_no_answer(
    coordinator: Coordinator, joining: Joining, calls: CoordinatorCalls
) -> None:
    member: Membership = joining.join(coordinator.token(secret=secret(10)), "", "admin")
    coordinator.syncs.states = {"not hex": "running"}
    with pytest.raises(Malformed):
        calls.sync(member, TOLD)
    coordinator.syncs.states = {"ab" * 32: "running"}
