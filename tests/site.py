"""A site without processes: its certificates, an issuer's key, tokens made to measure.

For tests of doors and channels: `site.settings("auth")` is a program of it,
`site.token(...)` any token, right or wrong.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwk, jwt

from infra.embedded.certificates import Certificates
from twinward.clock import SystemChance, SystemClock
from twinward.link.enrolment import EnrolmentAuthority
from twinward.link.permissions import audience_of
from twinward.link.tokens import TokenVerifier
from twinward.settings import ProgramSettings

PROGRAMS = (
    "auth", "ingest", "ingest-filer", "compactor", "twin", "twin-worker", "twin-jobs", "federation", "coordinator",
    "superlink", "sessions",
)  # fmt: skip
PEOPLE = ["auth", "ingest", "twin", "federation"]


def key(kid: str = "k1") -> jwk.ECKey:
    return jwk.ECKey.generate_key("P-256", {"kid": kid, "use": "sig", "alg": "ES256"})


@dataclass
class Site:
    folder: Path
    name: str = "st-test.demo"
    keys: list[Any] = field(default_factory=lambda: [key()])
    clock: SystemClock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        self.chance = SystemChance()
        Certificates(self.folder, self.name, self.clock, self.chance).ensure(PROGRAMS, ("files",))
        self.pki = self.folder / "pki"
        self.issuer = f"https://localhost/embedded/{self.name}"

    def settings(self, program: str, **more: Any) -> ProgramSettings:
        stem = self.pki / ("feeds" if program.startswith("feed/") else "programs") / program.removeprefix("feed/")
        given = {
            "site": self.name, "profile": "demo", "program": program, "listen": "127.0.0.1:0",
            "ca_file": self.pki / "ca.pem", "certificate_file": stem.with_suffix(".pem"),
            "key_file": stem.with_suffix(".key"), "database": "", "database_password_file": Path("/dev/null"),
            "issuer": self.issuer, "data_dir": self.folder,
        }  # fmt: skip
        return ProgramSettings(**{**given, **more})

    def published(self) -> dict[str, Any]:
        return {"keys": [one.as_dict(private=False) for one in self.keys]}

    def verifier(self, program: str) -> TokenVerifier:
        return TokenVerifier(self.issuer, audience_of(program), self.published, self.clock)

    def person_identity(self, sub: str) -> tuple[bytes, bytes]:
        """(key, chain) of a person, as auth would issue it."""
        private = ec.generate_private_key(ec.SECP256R1())
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(private, hashes.SHA256())
        authority = EnrolmentAuthority.of(self.pki, self.folder / "secrets", self.clock, self.chance)
        chain, _ = authority.issue(request.public_bytes(Encoding.DER), sub)
        return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), chain

    def claims(self, chain: bytes | None, **more: Any) -> dict[str, Any]:
        """Of a clinician's token, bound to the certificate in `chain`; None values are left out."""
        now = self.clock.now_ms() // 1000
        found: dict[str, Any] = {
            "iss": self.issuer, "aud": PEOPLE, "sub": "clinician", "azp": "twinward-cli", "iat": now, "exp": now + 300,
            "jti": self.chance.bytes(8).hex(), "sid": "s1", "roles": ["clinician"], "purpose": "treatment",
            "acr": "pwd",
        }  # fmt: skip
        if chain is not None:
            found["cnf"] = {"x5t#S256": thumbprint(chain)}
        found.update(more)
        return {name: value for name, value in found.items() if value is not None}

    def signed(self, claims: dict[str, Any], header: dict[str, Any] | None = None, key: Any = None) -> str:
        used = key or self.keys[0]
        return jwt.encode({"alg": "ES256", "kid": used.kid, "typ": "at+jwt", **(header or {})}, claims, used)

    def service_token(self, program: str) -> str:
        chain = self.settings(program).certificate_file.read_bytes()
        return self.signed(self.claims(chain, sub=program, azp=program, roles=[], purpose="", aud=PEOPLE[:3]))


@dataclass(frozen=True, slots=True)
class Fixed:
    """A token source that always says the same."""

    said: str

    def token(self) -> str:
        return self.said


def thumbprint(chain: bytes) -> str:
    der = x509.load_pem_x509_certificate(chain).public_bytes(Encoding.DER)
    return urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
