"""What this hospital holds of the coordinator it joined: one file, so that every change is one rename.

Where it stands decides what it opens:

    leaf 0     the coordinator let us in, our ledger does not say so yet: opens nothing
    joined     the link and Flower's processes run
    leaving    a person said so: opens nothing any more, only the rest of leaving is done
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from services.federation import privatefile
from twinward.errors import BadInput, Malformed, Unready

NAME = "membership.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """PEM as text; the private keys never leave this file and what is made of it for the SuperNode."""

    coordinator: str  # its site id
    door_address: str  # host:port
    fleet_address: str  # host:port of its SuperLink
    authority: str  # who may have signed the coordinator's certificate
    proxy: str  # host:port of an HTTP CONNECT proxy; empty: none
    certificate: str  # chain of ours
    key: str = field(repr=False)
    node_key: str = field(repr=False)  # what the SuperNode signs with
    bundle_key: str  # Ed25519, hex: who signs code bundles
    issued_ms: int  # of the certificate: half of its life later it is renewed
    until_ms: int
    leaf: int = 0  # of `site_join`; 0: not entered yet
    leaving: bool = False

    @property
    def open(self) -> bool:
        return self.leaf > 0 and not self.leaving

    @property
    def renew_ms(self) -> int:
        return (self.issued_ms + self.until_ms) // 2

    @property
    def identity(self) -> tuple[bytes, bytes]:
        """(key, chain) as PEM."""
        return self.key.encode(), self.certificate.encode()


class MembershipFile:
    """Thread-safe. The file is written before anybody sees the new value."""

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            Unready: there is a file and it cannot be read.
        """
        self._file = folder / NAME
        self._lock = threading.Lock()
        self._now = self._read()

    def now(self) -> Membership | None:
        with self._lock:
            return self._now

    def put(self, new: Membership) -> Membership:
        with self._lock:
            privatefile.put(self._file, orjson.dumps(asdict(new)))
            self._now = new
            return new

    def remove(self) -> None:
        with self._lock:
            privatefile.remove(self._file)
            self._now = None

    def _read(self) -> Membership | None:
        try:
            found = orjson.loads(self._file.read_bytes())
            known = {one.name for one in fields(Membership)}
            return Membership(**found) if isinstance(found, dict) and found.keys() == known else self._unreadable()
        except FileNotFoundError:
            return None
        except (OSError, orjson.JSONDecodeError):
            return self._unreadable()

    def _unreadable(self) -> Membership | None:
        raise Unready(
            f"{NAME} in the folder of the federation program cannot be read: put it back from a backup, "
            "or remove it and join again with a fresh token"
        )


def new_key() -> str:
    """A P-256 key for a certificate, PEM."""
    return _pem(ec.generate_private_key(ec.SECP256R1()))


def new_node_key() -> str:
    """A P-384 key, as Flower's nodes sign with, PEM."""
    return _pem(ec.generate_private_key(ec.SECP384R1()))


def public_of(key: str) -> bytes:
    """SubjectPublicKeyInfo, PEM."""
    return _private(key).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def signing_request(key: str, site: str) -> bytes:
    """PKCS#10, DER. The coordinator takes the key of it and writes the names itself."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, site[:64])])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(_private(key), hashes.SHA256())
    return request.public_bytes(Encoding.DER)


def checked_chain(chain: bytes, key: str) -> str:
    """The chain as text, when its first certificate is of `key`. What the coordinator sends is not believed.

    Raises:
        Malformed: it is no certificate, or one of another key.
    """
    try:
        certificate = x509.load_pem_x509_certificate(chain)
        text = chain.decode("ascii")
    except ValueError:
        raise Malformed("the coordinator's answer holds no certificate: ask its operator") from None
    if certificate.public_key() != _private(key).public_key():
        raise Malformed("the coordinator answered with a certificate of another key: ask its operator")
    return text


def _private(key: str) -> ec.EllipticCurvePrivateKey:
    found = load_pem_private_key(key.encode(), None)
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise BadInput("this key is not of an elliptic curve")
    return found


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
