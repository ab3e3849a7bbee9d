"""A coordinator's directory beside a hospital's: its programs, ports, keys, and who signs hospitals' certificates."""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from infra.embedded.node import Node, init
from infra.embedded.programs import COORDINATOR, HOSPITAL, KINDS, choose_ports, listeners, settings_of, write_settings
from services.federation.settings import CoordinatorSettings, RoundsSettings, SiteSettings, SuperlinkSettings
from tests.hospital import removed
from twinward.clock import SystemChance, SystemClock, utc
from twinward.errors import Conflict, Malformed
from twinward.link.access import spiffe_id
from twinward.settings import load

CLOCK, CHANCE = SystemClock(), SystemChance()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("coordinator")
    made = init(folder / "c", "Registry", "demo", CLOCK, CHANCE, COORDINATOR)
    yield made
    removed(made.directory)


def written(node: Node) -> Path:
    programs = node.kind.programs
    ports = choose_ports(listeners(programs), node.ports, {}, node.listen_host)
    write_settings(programs, node.place(ports, CHANCE), node.further)
    return node.directory / "settings"


def test_settings_are_those_the_programs_take(node: Node) -> None:
    folder = written(node)
    coordinator = load(CoordinatorSettings, folder / "coordinator.toml", {})
    superlink = load(SuperlinkSettings, folder / "superlink.toml", {})
    rounds = load(RoundsSettings, folder / "rounds.toml", {})
    assert coordinator.fleet_address == superlink.fleet_listen
    assert coordinator.control_address == superlink.control_listen
    assert rounds.runtime_address == superlink.runtime_listen
    assert rounds.listen == ""
    assert superlink.database == ""
    assert "user=coordinator" in rounds.database
    assert len({coordinator.listen, coordinator.join_listen, superlink.listen, superlink.fleet_listen}) == 4
    for file in (
        coordinator.control_token_file, coordinator.site_authority_file, coordinator.site_authority_key_file,
        coordinator.bundle_public_file, superlink.bundle_key_file, superlink.runtime_secret_file,
        *(one.service_key_file or Path() for one in (coordinator, superlink, rounds)),
        *(one.certificate_file for one in (coordinator, superlink, rounds)),
    ):  # fmt: skip
        assert file.is_file(), file
    bundle = Ed25519PrivateKey.from_private_bytes(superlink.bundle_key_file.read_bytes()).public_key()
    assert bundle.public_bytes_raw() == coordinator.bundle_public_file.read_bytes()


def test_a_hospital_has_the_federation_program_and_nothing_of_a_coordinator(tmp_path: Path) -> None:
    node = init(tmp_path / "h", "St. Anne", "demo", CLOCK, CHANCE)
    try:
        assert load(SiteSettings, written(node) / "federation.toml", {}).policy_file == node.directory / "policy.toml"
        assert node.kind is KINDS[HOSPITAL]
        assert node.noun == "node"
        assert not [name for name in ("pki/sites.pem", "secrets/bundle.key") if (node.directory / name).exists()]
        with pytest.raises(Conflict, match="twinward node up"):
            init(node.directory, "B", "demo", CLOCK, CHANCE, COORDINATOR)
    finally:
        removed(node.directory)


def test_secrets_are_private_and_made_once(node: Node) -> None:
    files = [file for file in (node.directory / "secrets").rglob("*") if file.is_file()]
    before = {file: file.read_bytes() for file in files}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    node.renew(CLOCK, CHANCE)
    assert {file: file.read_bytes() for file in files} == before
    tokens = {(node.directory / "secrets" / name).read_text() for name in ("control.token", "runtime.secret")}
    assert len(tokens) == 2
    assert all(len(bytes.fromhex(token)) == 32 for token in tokens)
    again = Node.open(node.directory)
    assert again == node
    assert again.kind_name == COORDINATOR
    assert again.noun == "coordinator"


def hospital_certificate(node: Node, uri: str, names: tuple[x509.GeneralName, ...] = ()) -> tuple[bytes, bytes]:
    """(key, chain) as the program `coordinator` would sign it."""
    authority = (node.directory / "pki" / "sites.pem").read_bytes()
    signer = load_pem_private_key((node.directory / "secrets" / "sites.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    now = utc(CLOCK.now_ms())
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.load_pem_x509_certificate(authority).subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=24))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri), *names]), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), (
        made.public_bytes(Encoding.PEM) + authority
    )


class Naming(health.HealthServicer):
    seen = ""

    def Check(
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        self.seen = spiffe_id(context)
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


@pytest.mark.parametrize(
    ("uri", "names", "admitted"),
    [
        ("spiffe://registry.demo/site/st-anne.demo", (), True),
        ("spiffe://other.demo/site/st-anne.demo", (), False),
        ("spiffe://registry.demo/site/st-anne.demo", (x509.DNSName("auth.registry.demo"),), False),
    ],
)
def test_the_sites_authority_names_hospitals_of_this_coordinator_and_no_host(
    node: Node, uri: str, names: tuple[x509.GeneralName, ...], admitted: bool
) -> None:
    pki = node.directory / "pki"
    door, servicer = grpc.server(ThreadPoolExecutor(1)), Naming()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, door)
    stem = pki / "programs" / "coordinator"
    pair = (Path(f"{stem}.key").read_bytes(), Path(f"{stem}.pem").read_bytes())
    root = (pki / "ca.pem").read_bytes()
    port = door.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair], root, require_client_auth=True))
    door.start()
    key, chain = hospital_certificate(node, uri, names)
    try:
        with grpc.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(root, key, chain)) as to:
            if admitted:
                health_pb2_grpc.HealthStub(to).Check(health_pb2.HealthCheckRequest(), timeout=10)
            else:
                with pytest.raises(grpc.RpcError) as refused:
                    health_pb2_grpc.HealthStub(to).Check(health_pb2.HealthCheckRequest(), timeout=10)
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert servicer.seen == (uri if admitted else "")
    finally:
        door.stop(None)


def test_another_public_host_gives_the_superlink_a_new_certificate(node: Node) -> None:
    file = node.directory / "node.toml"
    before = file.read_text()
    superlink, auth = (node.directory / "pki" / "programs" / f"{name}.pem" for name in ("superlink", "auth"))
    first = superlink.read_bytes(), auth.read_bytes()
    file.write_text(before.replace("# listen_host", "listen_host").replace("# public_host", "public_host"))
    try:
        changed = Node.open(node.directory)
        changed.renew(CLOCK, CHANCE)
        assert auth.read_bytes() == first[1]
        assert superlink.read_bytes() != first[0]
        names = x509.load_pem_x509_certificate(superlink.read_bytes()).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
        assert "coordinator.example.org" in names.value.get_values_for_type(x509.DNSName)
        found = {p.name: settings_of(p, changed.place(dict.fromkeys(listeners(changed.kind.programs), 7), CHANCE))
                 for p in changed.kind.programs}  # fmt: skip
        assert found["coordinator"]["listen"] == found["coordinator"]["join_listen"] == "0.0.0.0:7"
        assert found["coordinator"]["fleet_address"] == "coordinator.example.org:7"
        assert found["superlink"]["control_listen"] == found["auth"]["listen"] == "127.0.0.1:7"
    finally:
        file.write_text(before)


@pytest.mark.parametrize(
    "more", ["kind = 'shop'", "listen_host = '0.0.0.0'", "kind = 'coordinator'\npublic_host = 'a:b/c'",
             "kind = 'coordinator'\nlisten_host = 4"]
)  # fmt: skip
def test_a_node_file_with_a_wrong_kind_or_host_is_one_sentence(tmp_path: Path, more: str) -> None:
    text = f"name='a'\nsite='a.demo'\nprofile='demo'\n{more}"
    tomllib.loads(text)
    (tmp_path / "node.toml").write_text(text)
    with pytest.raises(Malformed):
        Node.open(tmp_path)
