"""Real doors, real channels, real certificates: who gets in, and what a refusal looks like on the other side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.site import Fixed, Site
from twinward.errors import (
    Busy,
    ConsentDenied,
    Denied,
    LeaseEnded,
    TwinwardError,
    Unauthenticated,
    Unavailable,
    Unready,
)
from twinward.link.caller import Caller, caller_of
from twinward.link.client import channel, open_channel, with_person
from twinward.link.server import Door, serve
from twinward.wire.v1 import auth_pb2, auth_pb2_grpc, twin_pb2, twin_pb2_grpc

TWIN = twin_pb2.DESCRIPTOR.services_by_name["Twin"]
AUTH = auth_pb2.DESCRIPTOR.services_by_name["Auth"]
ENROLMENT = auth_pb2.DESCRIPTOR.services_by_name["Enrolment"]
SECRET = "Mrs Example, 1950-01-01"


class Twin(twin_pb2_grpc.TwinServicer):
    def __init__(self) -> None:
        self.callers: list[Caller] = []
        self.raises: Exception | None = None

    def ListTwins(self, request: twin_pb2.ListTwinsRequest, context: grpc.ServicerContext) -> Any:
        self.callers.append(caller_of(context))
        if self.raises is not None:
            raise self.raises
        return twin_pb2.ListTwinsResponse(banner="ok")


class Auth(auth_pb2_grpc.AuthServicer):
    def __init__(self) -> None:
        self.callers: list[Caller] = []

    def Grant(self, request: auth_pb2.GrantRequest, context: grpc.ServicerContext) -> Any:
        self.callers.append(caller_of(context))
        return auth_pb2.GrantResponse()

    def GrantUpkeep(self, request: auth_pb2.GrantUpkeepRequest, context: grpc.ServicerContext) -> Any:
        self.callers.append(caller_of(context))
        return auth_pb2.GrantUpkeepResponse()


class Enrolment(auth_pb2_grpc.EnrolmentServicer):
    def IssueCertificate(self, request: auth_pb2.IssueCertificateRequest, context: grpc.ServicerContext) -> Any:
        person = caller_of(context).person
        assert person is not None
        return auth_pb2.IssueCertificateResponse(certificate_chain=person.sub.encode())


@contextmanager
def opened(door: Door) -> Iterator[str]:
    door.start()
    try:
        yield f"127.0.0.1:{door.port}"
    finally:
        door.stop(0.2)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def refusals() -> list[tuple[str, str]]:
    return []


@pytest.fixture(scope="module")
def twin() -> Twin:
    return Twin()  # type: ignore[abstract] # the other methods answer UNIMPLEMENTED


@pytest.fixture(scope="module")
def auth() -> Auth:
    return Auth()  # type: ignore[abstract]


@pytest.fixture(scope="module")
def twin_address(site: Site, twin: Twin, refusals: list[tuple[str, str]]) -> Iterator[str]:
    served = [(twin_pb2_grpc.add_TwinServicer_to_server, twin, TWIN)]
    door = serve(
        served,
        site.settings("twin"),
        site.verifier("twin"),
        refused_token=lambda source, why: refusals.append((source, why)),
    )
    with opened(door) as address:
        yield address


@pytest.fixture(scope="module")
def auth_address(site: Site, auth: Auth) -> Iterator[str]:
    served = [(auth_pb2_grpc.add_AuthServicer_to_server, auth, AUTH)]
    with opened(serve(served, site.settings("auth"), site.verifier("auth"))) as address:
        yield address


@pytest.fixture(scope="module")
def clinician(site: Site) -> tuple[bytes, bytes]:
    return site.person_identity("clinician")


def as_person(site: Site, address: str, identity: tuple[bytes, bytes], token: str, program: str = "twin") -> Any:
    authority = (site.pki / "ca.pem").read_bytes()
    return channel(address, f"{program}.{site.name}", authority, identity, Fixed(token))


def list_twins(open_channel: grpc.Channel) -> twin_pb2.ListTwinsResponse:
    with open_channel:
        return twin_pb2_grpc.TwinStub(open_channel).ListTwins(twin_pb2.ListTwinsRequest())


def test_a_person_with_a_bound_token_gets_in(
    site: Site, twin_address: str, twin: Twin, clinician: tuple[bytes, bytes]
) -> None:
    token = site.signed(site.claims(clinician[1]))
    assert list_twins(as_person(site, twin_address, clinician, token)).banner == "ok"
    caller = twin.callers[-1]
    assert caller.program is None
    assert caller.person is not None
    assert (caller.person.sub, caller.person.roles, caller.person.purpose) == (
        "clinician",
        ("clinician",),
        "treatment",
    )
    assert caller.token == token
    assert len(caller.certificate_sha256) == 32


def test_a_token_in_somebody_elses_hands_is_refused_and_counted(
    site: Site, twin_address: str, clinician: tuple[bytes, bytes], refusals: list[tuple[str, str]]
) -> None:
    thief = site.person_identity("thief")
    with pytest.raises(Unauthenticated):
        list_twins(as_person(site, twin_address, thief, site.signed(site.claims(clinician[1]))))
    assert refusals[-1] == ("ipv4:127.0.0.1", "binding")


def test_an_unbound_token_opens_nothing(site: Site, twin_address: str, clinician: tuple[bytes, bytes]) -> None:
    with pytest.raises(Unauthenticated):
        list_twins(as_person(site, twin_address, clinician, site.signed(site.claims(None))))


def test_a_role_without_the_permission_is_denied(site: Site, twin_address: str, clinician: tuple[bytes, bytes]) -> None:
    token = site.signed(site.claims(clinician[1], roles=["auditor"]))
    with pytest.raises(Denied, match=r"twin\.read"):
        list_twins(as_person(site, twin_address, clinician, token))


def test_two_tokens_in_one_call_are_refused(site: Site, twin_address: str, clinician: tuple[bytes, bytes]) -> None:
    token = site.signed(site.claims(clinician[1]))
    with as_person(site, twin_address, clinician, token) as opened_channel, pytest.raises(Unauthenticated):
        twin_pb2_grpc.TwinStub(opened_channel).ListTwins(
            twin_pb2.ListTwinsRequest(), metadata=(("authorization", f"Bearer {token}"),)
        )


def test_no_token_says_what_to_do(site: Site, twin_address: str, clinician: tuple[bytes, bytes]) -> None:
    authority = (site.pki / "ca.pem").read_bytes()
    with pytest.raises(Unauthenticated, match="twinward login"):
        list_twins(channel(twin_address, f"twin.{site.name}", authority, clinician, None))


def test_no_certificate_gets_no_connection(site: Site, twin_address: str, clinician: tuple[bytes, bytes]) -> None:
    authority = (site.pki / "ca.pem").read_bytes()
    token = site.signed(site.claims(clinician[1]))
    with pytest.raises(Unavailable):
        list_twins(channel(twin_address, f"twin.{site.name}", authority, None, Fixed(token)))


def test_the_channel_insists_on_the_program(site: Site, twin_address: str, clinician: tuple[bytes, bytes]) -> None:
    """Another program of the same site at the address: no call is made."""
    token = site.signed(site.claims(clinician[1]))
    with pytest.raises(Unavailable):
        list_twins(as_person(site, twin_address, clinician, token, program="auth"))


def test_a_program_hands_a_person_on(site: Site, auth_address: str, auth: Auth, clinician: tuple[bytes, bytes]) -> None:
    token = site.signed(site.claims(clinician[1]))
    with open_channel(auth_address, "auth", site.settings("twin"), Fixed(site.service_token("twin"))) as to_auth:
        auth_pb2_grpc.AuthStub(to_auth).Grant(auth_pb2.GrantRequest(), metadata=with_person(token))
    caller = auth.callers[-1]
    assert caller.program == "twin"
    assert caller.person is not None
    assert caller.person.sub == "clinician"
    assert caller.token == token
    assert caller.peer_id == f"spiffe://{site.name}/twin"


@pytest.mark.parametrize(
    ("program", "claims", "error"),
    [
        ("compactor", {}, Denied),  # no forwarder of this method
        ("twin", {"azp": "another-app"}, Unauthenticated),  # not an application that twin may speak for
        ("twin", {"aud": ["twin"]}, Unauthenticated),
        ("twin", {"roles": ["site-admin"]}, Denied),
        ("twin", {"sub": "twinward-cli"}, Unauthenticated),  # a service token in a person's place
    ],
)
def test_forwarding_has_its_rules(
    site: Site,
    auth_address: str,
    clinician: tuple[bytes, bytes],
    program: str,
    claims: dict[str, Any],
    error: type[TwinwardError],
) -> None:
    token = site.signed(site.claims(clinician[1], **claims))
    source = Fixed(site.service_token(program))
    with open_channel(auth_address, "auth", site.settings(program), source) as to_auth, pytest.raises(error):
        auth_pb2_grpc.AuthStub(to_auth).Grant(auth_pb2.GrantRequest(), metadata=with_person(token))


def test_people_reach_a_forwarded_method_only_through_its_programs(
    site: Site, auth_address: str, clinician: tuple[bytes, bytes]
) -> None:
    token = site.signed(site.claims(clinician[1]))
    with as_person(site, auth_address, clinician, token, "auth") as direct, pytest.raises(Denied, match="only through"):
        auth_pb2_grpc.AuthStub(direct).Grant(auth_pb2.GrantRequest())


def test_a_program_calls_for_itself_where_it_may(site: Site, auth_address: str, auth: Auth) -> None:
    source = Fixed(site.service_token("twin-worker"))
    with open_channel(auth_address, "auth", site.settings("twin-worker"), source) as to_auth:
        auth_pb2_grpc.AuthStub(to_auth).GrantUpkeep(auth_pb2.GrantUpkeepRequest())
    assert auth.callers[-1].program == "twin-worker"
    assert auth.callers[-1].person is None
    source = Fixed(site.service_token("twin"))
    with open_channel(auth_address, "auth", site.settings("twin"), source) as to_auth, pytest.raises(Denied):
        auth_pb2_grpc.AuthStub(to_auth).GrantUpkeep(auth_pb2.GrantUpkeepRequest())


def test_a_stolen_service_token_is_worth_nothing(site: Site, auth_address: str) -> None:
    source = Fixed(site.service_token("twin-worker"))
    with open_channel(auth_address, "auth", site.settings("twin"), source) as to_auth, pytest.raises(Unauthenticated):
        auth_pb2_grpc.AuthStub(to_auth).GrantUpkeep(auth_pb2.GrantUpkeepRequest())


def test_a_person_certificate_that_calls_itself_a_program_fails_in_tls(site: Site, auth_address: str) -> None:
    """Whoever holds the enrolment key still cannot become a program: name constraints."""
    secrets = site.folder / "secrets"
    signer = load_pem_private_key((secrets / "enrolment.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    chain = (site.pki / "enrolment.pem").read_bytes()
    issuer = x509.load_pem_x509_certificate(chain)
    private = ec.generate_private_key(ec.SECP256R1())
    forged = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.subject)
        .public_key(private.public_key())
        .serial_number(7)
        .not_valid_before(issuer.not_valid_before_utc)
        .not_valid_after(issuer.not_valid_after_utc)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{site.name}/twin-worker")]), True
        )
        .sign(signer, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    token = site.signed(site.claims(forged, sub="twin-worker", azp="twin-worker"))
    with (
        as_person(site, auth_address, (pem, forged + chain), token, "auth") as to_auth,
        pytest.raises(Unavailable),
    ):
        auth_pb2_grpc.AuthStub(to_auth).GrantUpkeep(auth_pb2.GrantUpkeepRequest())


def test_enrolment_takes_a_first_token_and_nothing_else(site: Site, clinician: tuple[bytes, bytes]) -> None:
    served = [(auth_pb2_grpc.add_EnrolmentServicer_to_server, Enrolment(), ENROLMENT)]
    door = serve(served, site.settings("auth"), site.verifier("auth"), enrolment=True)
    authority = (site.pki / "ca.pem").read_bytes()
    with opened(door) as address:
        first = channel(
            address, f"auth.{site.name}", authority, None, Fixed(site.signed(site.claims(None, aud=["auth"])))
        )
        with first:
            answer = auth_pb2_grpc.EnrolmentStub(first).IssueCertificate(auth_pb2.IssueCertificateRequest())
        assert answer.certificate_chain == b"clinician"
        for token in (site.signed(site.claims(clinician[1])), site.service_token("twin")):
            with (
                channel(address, f"auth.{site.name}", authority, None, Fixed(token)) as other,
                pytest.raises(Unauthenticated),
            ):
                auth_pb2_grpc.EnrolmentStub(other).IssueCertificate(auth_pb2.IssueCertificateRequest())


@pytest.mark.parametrize(
    "error",
    [ConsentDenied("the consent says no"), LeaseEnded("the lease is over"), Busy("later"), Unready("first do this")],
)
def test_our_errors_cross_the_wire_as_themselves(
    site: Site, twin_address: str, twin: Twin, clinician: tuple[bytes, bytes], error: TwinwardError
) -> None:
    twin.raises = type(error)(error.public, detail=SECRET)
    try:
        with pytest.raises(type(error)) as seen:
            list_twins(as_person(site, twin_address, clinician, site.signed(site.claims(clinician[1]))))
    finally:
        twin.raises = None
    assert type(seen.value) is type(error)
    assert seen.value.public == error.public
    assert SECRET not in repr(vars(seen.value))


def test_the_unexpected_is_a_number_and_nothing_of_its_text(
    site: Site, twin_address: str, twin: Twin, clinician: tuple[bytes, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    twin.raises = RuntimeError(SECRET)
    try:
        with pytest.raises(TwinwardError, match=r"internal error \d+") as seen:
            list_twins(as_person(site, twin_address, clinician, site.signed(site.claims(clinician[1]))))
    finally:
        twin.raises = None
    written = "".join(capfd.readouterr())
    assert SECRET not in str(seen.value)
    assert SECRET not in written


def test_health_needs_a_certificate_and_no_token(site: Site, auth_address: str) -> None:
    with open_channel(auth_address, "auth", site.settings("compactor"), None) as to_auth:
        answer = health_pb2_grpc.HealthStub(to_auth).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_an_address_in_use_is_one_sentence(site: Site, twin_address: str) -> None:
    with pytest.raises(Unready, match="taken"):
        serve([], site.settings("twin", listen=twin_address), site.verifier("twin"))
