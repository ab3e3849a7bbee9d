"""The site's certificate authority and every certificate of a node.

    root (10 years, key sealed)
    ├── programs  (90 days)   signs spiffe://<site>/<program>, 30 days
    ├── enrolment (90 days)   signs people's client certificates, nothing that names the site
    └── sites     (90 days)   at a coordinator: signs spiffe://<coordinator>/site/<hospital>, clients only

`ensure` makes what is missing and renews what has less than a third of its life
left, so every `node up` leaves a node that holds for weeks. In profile demo the
root's key stays on the node, sealed under a passphrase that lies beside it:
`node status` says so.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from twinward.clock import Chance, Clock, utc
from twinward.errors import Unready

ROOT_LIFE = timedelta(days=3650)
INTERMEDIATE_LIFE = timedelta(days=90)
PROGRAM_LIFE = timedelta(days=30)
SKEW = timedelta(minutes=5)
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)
_NO_ADDRESS = (
    x509.IPAddress(ipaddress.ip_network("0.0.0.0/0")),
    x509.IPAddress(ipaddress.ip_network("::/0")),
)


@dataclass(frozen=True, slots=True)
class Signed:
    """A certificate with its key; `chain` are the PEM certificates up to, not with, the root."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    chain: bytes


@dataclass(frozen=True, slots=True)
class Wish:
    """What a certificate is to be."""

    name: str
    life: timedelta
    usage: Sequence[x509.ObjectIdentifier]
    names: tuple[x509.GeneralName, ...] = ()
    path_length: int | None = None  # None: no authority
    constraints: x509.NameConstraints | None = None


class Certificates:
    """Everything below `node/pki` that has an X.509 certificate."""

    def __init__(
        self, node: Path, site: str, clock: Clock, chance: Chance, *, sites: bool = False, public_host: str = ""
    ) -> None:
        """`sites`: with an authority for hospitals that join; `public_host`: what they call this machine."""
        self.pki = node / "pki"
        self.secrets = node / "secrets"
        self.site = site
        self._sites = sites
        self._public_host = public_host
        self._clock = clock
        self._chance = chance

    def ensure(self, programs: Sequence[str], feeds: Sequence[str]) -> list[str]:
        """Makes and renews; returns the names of what is new.

        Raises:
            Unready: a file that should be there cannot be read.
        """
        for folder in (self.pki, self.pki / "programs", self.pki / "feeds", self.secrets):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        new: list[str] = []
        root = self._root(new)
        signer = self._intermediate("programs", root, BOTH, None, new)
        self._intermediate("enrolment", root, CLIENT, self._no_programs(), new)
        if self._sites:
            self._intermediate("sites", root, CLIENT, self._clients_of_this_site(), new)
        bundle = root.certificate.public_bytes(Encoding.PEM) + signer.certificate.public_bytes(Encoding.PEM)
        _put(self.pki / "ca.pem", bundle, 0o644)
        for program in programs:
            self._leaf(self.pki / "programs" / program, self._program(program), signer, new)
        for feed in feeds:
            self._leaf(self.pki / "feeds" / feed, self._feed(feed), signer, new)
        return new

    def expiry(self) -> dict[str, datetime]:
        """Name -> end of every certificate."""
        files = [self.pki / "root.pem", self.pki / "programs.pem", self.pki / "enrolment.pem", self.pki / "sites.pem"]
        files += sorted((self.pki / "programs").glob("*.pem")) + sorted((self.pki / "feeds").glob("*.pem"))
        found = {}
        for file in files:
            if file.exists():
                name = str(file.relative_to(self.pki)).removesuffix(".pem")
                found[name] = x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc
        return found

    def _program(self, program: str) -> Wish:
        names: tuple[x509.GeneralName, ...] = (
            x509.UniformResourceIdentifier(f"spiffe://{self.site}/{program}"),
            x509.DNSName(f"{program}.{self.site}"),  # what grpcio lets a client insist on
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        )
        if self._public_host and program == "superlink":  # Flower's client insists on the name that it was given
            names = tuple(dict.fromkeys((*names, _host(self._public_host))))
        return Wish(program, PROGRAM_LIFE, BOTH, names)

    def _feed(self, feed: str) -> Wish:
        names = (x509.UniformResourceIdentifier(f"spiffe://{self.site}/feed/{feed}"),)
        return Wish(f"feed {feed}", PROGRAM_LIFE, CLIENT, names)

    def _no_programs(self) -> x509.NameConstraints:
        """The enrolment authority may name no SPIFFE id of the site and no host."""
        return x509.NameConstraints(
            permitted_subtrees=None,
            excluded_subtrees=[
                x509.UniformResourceIdentifier(self.site),
                x509.DNSName(""),
                *_NO_ADDRESS,
            ],
        )

    def _clients_of_this_site(self) -> x509.NameConstraints:
        """The sites' authority may name SPIFFE ids of this coordinator and no host. That it names hospitals
        only is its owner's word, the program `coordinator`; for a program's name a service token is needed too."""
        return x509.NameConstraints(
            permitted_subtrees=[x509.UniformResourceIdentifier(self.site)],
            excluded_subtrees=[x509.DNSName(""), *_NO_ADDRESS],
        )

    def _root(self, new: list[str]) -> Signed:
        certificate_file, key_file = self.pki / "root.pem", self.pki / "root.key.sealed"
        passphrase_file = self.secrets / "root.passphrase"
        if not certificate_file.exists():
            _put(passphrase_file, self._chance.bytes(24).hex().encode(), 0o600)
            wish = Wish(f"{self.site} root", ROOT_LIFE, (), path_length=1)
            self._make(wish, None, certificate_file, key_file, BestAvailableEncryption(passphrase_file.read_bytes()))
            new.append("root")
        return _load(certificate_file, key_file, passphrase_file.read_bytes(), above=b"", is_root=True)

    def _intermediate(
        self,
        name: str,
        root: Signed,
        usage: Sequence[x509.ObjectIdentifier],
        constraints: x509.NameConstraints | None,
        new: list[str],
    ) -> Signed:
        certificate_file, key_file = self.pki / f"{name}.pem", self.secrets / f"{name}.key"
        if self._due(certificate_file):
            wish = Wish(f"{self.site} {name}", INTERMEDIATE_LIFE, usage, path_length=0, constraints=constraints)
            self._make(wish, root, certificate_file, key_file, NoEncryption())
            new.append(name)
        return _load(certificate_file, key_file, None, above=b"")

    def _leaf(self, stem: Path, wish: Wish, signer: Signed, new: list[str]) -> None:
        certificate_file, key_file = stem.with_name(stem.name + ".pem"), stem.with_name(stem.name + ".key")
        if self._due(certificate_file, wish.names):
            self._make(wish, signer, certificate_file, key_file, NoEncryption())
            new.append(wish.name)

    def _due(self, file: Path, names: tuple[x509.GeneralName, ...] = ()) -> bool:
        """Missing, near its end, or without a name that it has to bear by now."""
        if not file.exists():
            return True
        found = x509.load_pem_x509_certificate(file.read_bytes())
        if names and not set(names) <= set(_names_of(found)):
            return True
        life = found.not_valid_after_utc - found.not_valid_before_utc
        return found.not_valid_after_utc - utc(self._clock.now_ms()) < life / 3

    def _make(
        self, wish: Wish, signer: Signed | None, file: Path, key_file: Path, encryption: KeySerializationEncryption
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        now = utc(self._clock.now_ms())
        until = now + wish.life
        if signer is not None:
            until = min(until, signer.certificate.not_valid_after_utc)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wish.name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if signer is None else signer.certificate.subject)
            .public_key(key.public_key())
            .serial_number(int.from_bytes(self._chance.bytes(19), "big") | 1)
            .not_valid_before(now - SKEW)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(wish.path_length is not None, wish.path_length), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(_key_usage(authority=wish.path_length is not None), critical=True)
        )
        if wish.usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage(wish.usage), critical=False)
        if wish.names:
            builder = builder.add_extension(x509.SubjectAlternativeName(wish.names), critical=False)
        if wish.constraints is not None:
            builder = builder.add_extension(wish.constraints, critical=True)
        if signer is not None:
            above = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key())
            builder = builder.add_extension(above, critical=False)
        certificate = builder.sign(key if signer is None else signer.key, hashes.SHA256())
        # The key first: a certificate without its key would be taken for finished.
        _put(key_file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption), 0o600)
        _put(file, certificate.public_bytes(Encoding.PEM) + (b"" if signer is None else signer.chain), 0o644)


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _names_of(certificate: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _load(file: Path, key_file: Path, passphrase: bytes | None, above: bytes, *, is_root: bool = False) -> Signed:
    try:
        pem = file.read_bytes()
        key = load_pem_private_key(key_file.read_bytes(), passphrase)
    except (OSError, ValueError) as error:
        raise Unready(f"{file.name} or {key_file.name} cannot be read", detail=str(error)) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Unready(f"{key_file.name} is not an elliptic curve key")
    return Signed(x509.load_pem_x509_certificate(pem), key, above if is_root else pem)


def _put(file: Path, content: bytes, mode: int) -> None:
    """Writes beside and renames: a reader sees the old or the new file."""
    half = file.with_name(f".{file.name}.new")
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    half.chmod(mode)
    half.rename(file)
