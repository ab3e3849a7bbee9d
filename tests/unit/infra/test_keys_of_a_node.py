"""Certificates, secrets and the directory that `init` makes."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from infra.embedded.certificates import Certificates
from infra.embedded.node import Node, init, site_id
from infra.embedded.programs import CLIENTS, FEEDS, INSTANCES, choose_ports, toml
from infra.embedded.secrets import Secrets
from infra.postgres.migrate import newest
from infra.postgres.newest import newest_file
from twinward.clock import SetClock, SystemChance, SystemClock
from twinward.errors import BadInput, Conflict, Malformed, NotFound, Unready
from twinward.ledger.note import Verifier
from twinward.record import Role
from twinward.vault import hpke
from twinward.vault.publickeys import verify_instance

SITE = "st-test.demo"
DAY_MS = 86_400_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def certificate(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


def test_a_program_is_named_by_its_certificate(folder: Path) -> None:
    certificates = Certificates(folder, SITE, SystemClock(), SystemChance())
    certificates.ensure(("auth",), ("files",))
    pki = folder / "pki"
    chain = x509.load_pem_x509_certificates((pki / "programs" / "auth.pem").read_bytes())
    names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"spiffe://{SITE}/auth"]
    assert names.get_values_for_type(x509.DNSName) == [f"auth.{SITE}", "localhost"]
    store = verification.Store([certificate(pki / "root.pem")])
    verifier = verification.PolicyBuilder().store(store).build_server_verifier(x509.DNSName("localhost"))
    assert len(verifier.verify(chain[0], chain[1:])) == 3
    feed = certificate(pki / "feeds" / "files.pem").extensions
    assert feed.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.UniformResourceIdentifier
    ) == [f"spiffe://{SITE}/feed/files"]
    assert feed.get_extension_for_class(x509.ExtendedKeyUsage).value == x509.ExtendedKeyUsage(
        [ExtendedKeyUsageOID.CLIENT_AUTH]
    )


def test_the_root_key_is_sealed(folder: Path) -> None:
    Certificates(folder, SITE, SystemClock(), SystemChance()).ensure((), ())
    sealed = (folder / "pki" / "root.key.sealed").read_bytes()
    with pytest.raises(TypeError, match="encrypted"):
        load_pem_private_key(sealed, None)
    with pytest.raises(ValueError, match=r"."):
        load_pem_private_key(sealed, b"guess")


def test_certificates_are_renewed_in_their_last_third_and_not_before(folder: Path) -> None:
    clock = SetClock(SystemClock().now_ms())
    certificates = Certificates(folder, SITE, clock, SystemChance())
    assert certificates.ensure(("auth",), ()) == ["root", "programs", "enrolment", "auth"]
    clock.ms += 19 * DAY_MS
    assert certificates.ensure(("auth",), ()) == []
    clock.ms += 2 * DAY_MS
    assert certificates.ensure(("auth",), ()) == ["auth"]
    clock.ms += 50 * DAY_MS
    assert certificates.ensure(("auth",), ()) == ["programs", "enrolment", "auth"]
    ends = certificates.expiry()
    assert ends["programs"] >= ends["programs/auth"]


def test_secrets_have_their_sizes_and_modes_and_are_made_once(folder: Path) -> None:
    secrets = Secrets(folder, SITE, SystemChance())
    secrets.ensure(tuple(Role), CLIENTS, INSTANCES)
    sizes = {"kek/epoch-1": 32, "tag.key": 32, "idx.key": 32, "feed_idx.key": 32, "aidx.key": 32, "authority.key": 32,
             "ledger.key": 32, "intake/1.seed": 96, "admit.seed": 96, "instance/ingest.key": 32}  # fmt: skip
    for name, size in sizes.items():
        assert len((folder / "secrets" / name).read_bytes()) == size, name
    files = [file for file in (folder / "secrets").rglob("*") if file.is_file()]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    before = {file: file.read_bytes() for file in files}
    secrets.ensure(tuple(Role), CLIENTS, INSTANCES)
    assert {file: file.read_bytes() for file in files} == before
    assert len({content for file, content in before.items() if len(content) == 32}) == len(
        [content for content in before.values() if len(content) == 32]
    )
    seed = (folder / "secrets" / "intake" / "1.seed").read_bytes()
    public = hpke.public_key((folder / "pki" / "intake" / "1.pub").read_bytes())
    assert hpke.open_sealed(hpke.private_key(seed), hpke.seal(public, b"x", b"i"), b"i") == b"x"


def test_instances_are_signed_by_the_authority_and_the_ledger_has_its_key(folder: Path) -> None:
    secrets = Secrets(folder, SITE, SystemChance())
    secrets.ensure((), (), INSTANCES)
    row = secrets.instance("ingest")
    authority = Ed25519PublicKey.from_public_bytes((folder / "pki" / "authority.pub").read_bytes())
    verify_instance(authority, SITE, row.id, "ingest", row.public_key, row.signature)
    assert secrets.instance("ingest") == row
    assert secrets.instance("ingest-filer").id != row.id
    assert Verifier.decode((folder / "pki" / "ledger.vkey").read_text().strip()).name == f"{SITE}/ledger"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = init(tmp_path / "deep" / "no de", "St. Anne", "demo", SystemClock(), SystemChance())
    yield made
    home = made.directory / "postgres"
    if home.is_symlink():
        shutil.rmtree(home.resolve())


def test_init_makes_what_the_design_names(node: Node) -> None:
    assert node.site == "st-anne.demo"
    for name in (
        "pki/ca.pem", "pki/root.pem", "pki/root.key.sealed", "pki/authority.pub", "pki/ledger.vkey", "pki/intake/1.pub",
        "pki/admit.pub", "secrets/enrolment.key", "secrets/pg/auth", "secrets/pg/twin_worker", "secrets/people/auditor",
        "secrets/clients/twin-worker.key", "secrets/clients/feed-files.key", "pki/feeds/observations.pem",
        *(f"pki/programs/{name}.pem" for name in (*CLIENTS, "site-idp", "node")),
    ):  # fmt: skip
        assert (node.directory / name).is_file(), name
    for folder in ("pki", "secrets", "ledger", "run", "logs", "settings"):
        assert stat.S_IMODE((node.directory / folder).stat().st_mode) == 0o700
    assert stat.S_IMODE(node.directory.stat().st_mode) & 0o066 == 0
    assert Node.open(node.directory) == node


def test_init_refuses_what_is_there_already(node: Node, tmp_path: Path) -> None:
    clock, chance = SystemClock(), SystemChance()
    with pytest.raises(Conflict, match="node already"):
        init(node.directory, "B", "demo", clock, chance)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(Conflict, match="not empty"):
        init(tmp_path / "full", "B", "demo", clock, chance)
    with pytest.raises(Unready, match="--profile demo"):
        init(tmp_path / "new", "B", "clinical", clock, chance)
    with pytest.raises(BadInput):
        init(tmp_path / "new", "B", "toy", clock, chance)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "site"),
    [("St. Anne", "st-anne.demo"), ("Hôpital Sainte-Françoise", "hopital-sainte-francoise.demo"), ("7", "7.demo")],
)
def test_site_ids_are_dns_names(name: str, site: str) -> None:
    assert site_id(name, "demo") == site


@pytest.mark.parametrize("name", ["", "...", "病院", "x" * 41])
def test_names_that_give_no_site_id(name: str) -> None:
    with pytest.raises(BadInput):
        site_id(name, "demo")


@pytest.mark.parametrize(
    "text", ["name = ", "name = 'x'", "name='a'\nsite='b'\nprofile='demo'\ntypo=1", "\x00", "[ports]\nauth='x'"]
)
def test_a_broken_node_file_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "node.toml").write_text(text)
    with pytest.raises(Malformed):
        Node.open(tmp_path)


def test_no_node_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="twinward node init"):
        Node.open(tmp_path)


def test_ports_are_distinct_and_kept_where_free() -> None:
    names = [f"p{number}" for number in range(20)]
    first = choose_ports(names, {}, {})
    assert len(set(first.values())) == 20
    assert choose_ports(names, {}, first) == first
    assert choose_ports(names, {"p3": first["p3"]}, {})["p3"] == first["p3"]


def test_toml_of_awkward_values() -> None:
    import tomllib

    values = {"path": Path('/a "b"\\c\n é'), "number": 7, "yes": True, "share": 0.5}
    assert tomllib.loads(toml(values)) == {**values, "path": str(values["path"])}


def test_the_newest_migration_is_the_head_of_the_chain() -> None:
    assert newest_file() == newest()


def test_feeds_are_clients(tmp_path: Path) -> None:
    Secrets(tmp_path, SITE, SystemChance()).ensure((), tuple(f"feed/{feed}" for feed in FEEDS), ())
    assert os.listdir(tmp_path / "secrets" / "clients")
