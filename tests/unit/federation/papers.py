"""Keys, requests and the coordinator's authority for hospitals."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption

from infra.embedded.certificates import CLIENT, Certificates, Wish
from twinward.clock import SystemChance, SystemClock


def request(curve: ec.EllipticCurve | None = None, private: ec.EllipticCurvePrivateKey | None = None) -> bytes:
    private = private or ec.generate_private_key(curve or ec.SECP256R1())
    # A name in the request is not what the certificate says.
    wanted = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "coordinator")])
    made = x509.CertificateSigningRequestBuilder().subject_name(wanted).sign(private, hashes.SHA256())
    return made.public_bytes(Encoding.DER)


def sites_authority(folder: Path, site: str) -> tuple[Path, Path]:
    """(chain, key) of an intermediate below the root of the node in `folder`."""
    made = Certificates(folder, site, SystemClock(), SystemChance())
    wish = Wish("sites", timedelta(days=90), CLIENT, path_length=0)
    made._make(wish, made._root([]), folder / "sites.pem", folder / "sites.key", NoEncryption())
    return folder / "sites.pem", folder / "sites.key"
