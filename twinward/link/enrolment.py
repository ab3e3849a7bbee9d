"""Certificates for people: for the life of a session, useless without a bound token.

They come from the enrolment authority, an intermediate whose name constraints
exclude the site's SPIFFE ids and every host name: TLS itself refuses a
certificate of it that calls itself a program.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from twinward.clock import Chance, Clock, utc
from twinward.errors import Malformed, Unready

LIFETIME = timedelta(hours=12)
SKEW = timedelta(minutes=5)
MOST_BYTES = 8 * 1024


class EnrolmentAuthority:
    """Signs clients' certificates of people; auth holds it."""

    def __init__(self, chain: bytes, key: ec.EllipticCurvePrivateKey, clock: Clock, chance: Chance) -> None:
        self._chain = chain
        self._certificate = x509.load_pem_x509_certificate(chain)
        self._key = key
        self._clock = clock
        self._chance = chance

    @classmethod
    def of(cls, pki_dir: Path, secrets_dir: Path, clock: Clock, chance: Chance) -> Self:
        """From pki/enrolment.pem and secrets/enrolment.key.

        Raises:
            Unready: one of them cannot be read.
        """
        try:
            chain = (pki_dir / "enrolment.pem").read_bytes()
            key = load_pem_private_key((secrets_dir / "enrolment.key").read_bytes(), None)
        except (OSError, ValueError) as error:
            raise Unready("the enrolment certificate or key cannot be read", detail=str(error)) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise Unready("secrets/enrolment.key is not an elliptic curve key")
        return cls(chain, key, clock, chance)

    def issue(self, signing_request: bytes, sub: str) -> tuple[bytes, int]:
        """(certificate chain as PEM, end in ms) for a PKCS#10 request (DER) of the person `sub`.

        Of the request only the key is taken; it must be P-256 and must have signed it.

        Raises:
            Malformed: no such request.
        """
        public = _public(signing_request)
        now = utc(self._clock.now_ms())
        until = min(now + LIFETIME, self._certificate.not_valid_after_utc)
        # The subject is a pseudonym with a space in it, so that no library takes it for a host name.
        name = f"person {hashlib.sha256(sub.encode()).hexdigest()[:16]}"
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self._certificate.subject)
            .public_key(public)
            .serial_number(int.from_bytes(self._chance.bytes(19), "big") | 1)
            .not_valid_before(now - SKEW)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(Encoding.PEM) + self._chain, int(until.timestamp() * 1000)


def _public(signing_request: bytes) -> ec.EllipticCurvePublicKey:
    if len(signing_request) > MOST_BYTES:
        raise Malformed("the signing request is too long")
    try:
        request = x509.load_der_x509_csr(signing_request)
        key = request.public_key()
        valid = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm):
        raise Malformed("this is no PKCS#10 signing request") from None
    if not valid or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Malformed("the signing request must hold a P-256 key and be signed by it")
    return key


class SiteAuthority:
    """Signs the client certificates of hospitals that joined; the coordinator's program holds it.

    An intermediate of the coordinator's own root. What it names is written here and not taken from the request:
    spiffe://<coordinator>/site/<hospital>, for `hours`.
    """

    def __init__(
        self,
        chain: bytes,
        key: ec.EllipticCurvePrivateKey,
        coordinator: str,
        hours: float,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._chain = chain
        self._certificate = x509.load_pem_x509_certificate(chain)
        self._key = key
        self._coordinator = coordinator
        self._life = timedelta(hours=hours)
        self._clock = clock
        self._chance = chance

    @classmethod
    def of(
        cls, certificate_file: Path, key_file: Path, coordinator: str, hours: float, clock: Clock, chance: Chance
    ) -> Self:
        """
        Raises:
            Unready: one of the files cannot be read.
        """
        try:
            chain = certificate_file.read_bytes()
            key = load_pem_private_key(key_file.read_bytes(), None)
            x509.load_pem_x509_certificate(chain)
        except (OSError, ValueError) as error:
            raise Unready("the sites authority's certificate or key cannot be read", detail=str(error)) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise Unready(f"{key_file.name} is not an elliptic curve key")
        return cls(chain, key, coordinator, hours, clock, chance)

    def issue(self, signing_request: bytes, site: str) -> tuple[bytes, int, bytes]:
        """(certificate chain as PEM, end in ms, SHA-256 of the certificate) for a PKCS#10 request (DER).

        Raises:
            Malformed: no such request, or no P-256 key that signed it.
        """
        public = _public(signing_request)
        now = utc(self._clock.now_ms())
        until = min(now + self._life, self._certificate.not_valid_after_utc)
        name = x509.UniformResourceIdentifier(f"spiffe://{self._coordinator}/site/{site}")
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"site {site}"[:64])]))
            .issuer_name(self._certificate.subject)
            .public_key(public)
            .serial_number(int.from_bytes(self._chance.bytes(19), "big") | 1)
            .not_valid_before(now - SKEW)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([name]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(above, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        sha256 = hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
        return certificate.public_bytes(Encoding.PEM) + self._chain, int(until.timestamp() * 1000), sha256
