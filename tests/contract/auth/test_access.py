"""Who may call what, tried over the wire for every RPC that auth has.

The table is written by hand from vault.md 6 and compared with the contract: a
new RPC without a line here fails the first test.
"""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.contract.auth.running import AUTH, ENROLMENT, Running
from tests.site import PROGRAMS, Fixed
from tests.unit.auth.office import SITE
from twinward.errors import BadInput, Denied, TwinwardError, Unauthenticated
from twinward.ledger.kinds import Kind
from twinward.link.client import channel, with_person
from twinward.record import Role
from twinward.wire.v1 import auth_pb2, auth_pb2_grpc

READERS = {"clinician", "learner", "instructor", "researcher"}
# RPC -> (roles that may call it themselves, roles that may through another program, programs for themselves)
ACCESS: dict[str, tuple[set[str], set[str], set[str]]] = {
    "Grant": (set(), READERS, set()),
    "ListPatients": (set(), READERS, set()),
    "GrantUpkeep": (set(), set(), {"twin-worker", "twin-jobs"}),
    "GrantCompaction": (set(), set(), {"compactor"}),
    "ExtendCompaction": (set(), set(), {"compactor"}),
    "SealManifests": (set(), set(), {"compactor"}),
    "Admit": (set(), set(), {"ingest", "ingest-filer"}),
    "GrantIntake": (set(), set(), {"ingest-filer"}),
    "ReportUse": (set(), set(), {"twin", "twin-worker", "twin-jobs", "compactor", "ingest-filer", "federation"}),
    "DecideStudy": (set(), {"data-steward"}, set()),
    "StudyDecisions": (set(), set(), {"federation"}),
    "GrantCohort": (set(), set(), {"federation"}),
    "EnterRound": (set(), set(), {"federation"}),
    "RecordAct": (set(), set(), {"twin", "federation", "coordinator", "superlink", "sessions"}),
    "ReturnLease": (set(), set(), {"twin", "twin-worker", "twin-jobs", "compactor", "ingest-filer", "federation"}),
    "ShowConsent": ({"clinician", "data-steward", "privacy-officer"}, set(), set()),
    "SetConsent": ({"data-steward", "privacy-officer"}, set(), set()),
    "WithdrawConsent": ({"data-steward", "privacy-officer"}, set(), set()),
    "ListEntries": ({"privacy-officer", "auditor"}, set(), set()),
    "LedgerStatus": ({"privacy-officer", "auditor", "site-admin"}, set(), set()),
}

# Through which program people come, where it is not the twin.
THROUGH = {"DecideStudy": "federation"}


def test_every_rpc_has_its_line_in_the_table() -> None:
    assert set(ACCESS) == {method.name for method in AUTH.methods}
    assert [method.name for method in ENROLMENT.methods] == ["IssueCertificate"]


@pytest.mark.parametrize("rpc", ACCESS)
def test_people_reach_what_their_role_allows(running: Running, rpc: str) -> None:
    allowed = {role.value for role in Role if running.lets_in(running.person(role.value), rpc)}
    assert allowed == ACCESS[rpc][0]


@pytest.mark.parametrize("rpc", ACCESS)
def test_people_through_a_program(running: Running, rpc: str) -> None:
    over = running.program(THROUGH.get(rpc, "twin"))
    allowed = {r.value for r in Role if running.lets_in(over, rpc, with_person(running.token(r.value)))}
    assert allowed == ACCESS[rpc][1]


@pytest.mark.parametrize("rpc", ACCESS)
def test_no_other_program_may_forward_a_person(running: Running, rpc: str) -> None:
    token = running.token("data-steward" if rpc in THROUGH else "clinician")
    for name in set(PROGRAMS) - {THROUGH.get(rpc, "twin")}:
        with pytest.raises(TwinwardError) as caught:
            running.call(running.program(name), rpc, with_person(token))
        assert isinstance(caught.value, Denied | Unauthenticated)


@pytest.mark.parametrize("rpc", ACCESS)
def test_programs_reach_what_they_may_for_themselves(running: Running, rpc: str) -> None:
    allowed = {name for name in PROGRAMS if running.lets_in(running.program(name), rpc)}
    assert allowed == ACCESS[rpc][2]


@pytest.mark.parametrize("rpc", ACCESS)
def test_nobody_comes_in_without_a_good_token(running: Running, rpc: str) -> None:
    chain = running.identities.setdefault("clinician", running.site.person_identity("clinician"))[1]
    past = running.site.clock.now_ms() // 1000 - 1000
    wrong = {
        "expired": running.site.signed(running.site.claims(chain, iat=past - 100, exp=past)),
        "of another site": running.site.signed(running.site.claims(chain, iss="https://elsewhere/embedded/x")),
        "for others": running.site.signed(running.site.claims(chain, aud=["ingest"])),
        "unbound": running.site.signed(running.site.claims(None)),
        "nonsense": "no.token.atall",
    }
    for token in wrong.values():
        with pytest.raises(Unauthenticated):
            running.call(running.person("clinician", token), rpc)


def test_refused_tokens_become_one_leaf_a_source_and_minute(running: Running) -> None:
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            running.call(running.person("auditor", "no.token.atall"), "ListEntries")
    before = len(running.office.kinds())
    sources = running.refusals.write(everything=True)
    assert 1 <= sources < 5
    assert set(running.office.kinds()[before:]) == {Kind.TOKEN_REFUSALS}


def test_enrolment_takes_a_first_token_and_gives_a_certificate_that_works(running: Running) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(private, hashes.SHA256())
    first = running.site.signed(running.site.claims(None, sub="auditor", roles=["auditor"]))
    authority = running.site.settings("auth").ca_file.read_bytes()
    with channel(running.enrol, f"auth.{SITE}", authority, None, Fixed(first)) as over:
        stub = auth_pb2_grpc.EnrolmentStub(over)
        issued = stub.IssueCertificate(
            auth_pb2.IssueCertificateRequest(signing_request=request.public_bytes(Encoding.DER))
        )
        with pytest.raises(BadInput):
            stub.IssueCertificate(auth_pb2.IssueCertificateRequest(signing_request=b"junk"))
    assert running.office.kinds()[-1] == Kind.LOGIN
    key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    bound = running.site.signed(running.site.claims(issued.certificate_chain, sub="auditor", roles=["auditor"]))
    with channel(running.address, f"auth.{SITE}", authority, (key, issued.certificate_chain), Fixed(bound)) as over:
        status = running.call(over, "LedgerStatus")
    assert status.size > 0
    assert status.verifier_key == (running.site.pki / "ledger.vkey").read_text().strip()
    assert "programs/auth" in status.certificate_expiry


def test_a_bound_token_does_not_enrol(running: Running) -> None:
    authority = running.site.settings("auth").ca_file.read_bytes()
    with (
        channel(running.enrol, f"auth.{SITE}", authority, None, Fixed(running.token("clinician"))) as over,
        pytest.raises(Unauthenticated),
    ):
        auth_pb2_grpc.EnrolmentStub(over).IssueCertificate(auth_pb2.IssueCertificateRequest())
