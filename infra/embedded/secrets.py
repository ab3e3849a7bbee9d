"""Every secret of a node that is no certificate: made once, never overwritten.

All come from the operating system through `Chance`, lie below `node/secrets`
in 0600 files, and their public halves below `node/pki`.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from twinward.clock import Chance
from twinward.ledger.note import Signer
from twinward.vault import hpke
from twinward.vault.publickeys import sign_instance

SYMMETRIC = ("kek/epoch-1", "tag.key", "idx.key", "feed_idx.key", "aidx.key")  # 32 bytes each
SIGNING = ("authority", "ledger")  # Ed25519, raw private key
SEED_BYTES = 96  # 64 ML-KEM-768 seed, 32 X25519 scalar
INTAKE_KEY_ID = 1


@dataclass(frozen=True, slots=True)
class Instance:
    """A row of vault.instance: a program that signs what it accepted."""

    id: UUID
    program: str
    public_key: bytes  # 32 bytes
    signature: bytes  # by the site's authority


class Secrets:
    """Below `node/secrets` and `node/pki`."""

    def __init__(self, node: Path, site: str, chance: Chance) -> None:
        self.secrets = node / "secrets"
        self.pki = node / "pki"
        self.site = site
        self._chance = chance

    def ensure(self, roles: tuple[str, ...], clients: tuple[str, ...], instances: tuple[str, ...]) -> None:
        """Makes what is missing: keys of the vault, passwords of demo people, clients' keys."""
        for name in SYMMETRIC:
            self._once(self.secrets / name, lambda: self._chance.bytes(32))
        for name in SIGNING:
            self._once(self.secrets / f"{name}.key", lambda: self._chance.bytes(32))
        _write(self.pki / "authority.pub", self._signing("authority.key").public_key().public_bytes_raw(), 0o644)
        _write(self.pki / "ledger.vkey", self.verifier_key().encode() + b"\n", 0o644)
        for name in (f"intake/{INTAKE_KEY_ID}", "admit"):
            self._once(self.secrets / f"{name}.seed", lambda: self._chance.bytes(SEED_BYTES))
            _write(self.pki / f"{name}.pub", hpke.public_bytes((self.secrets / f"{name}.seed").read_bytes()), 0o644)
        for program in instances:
            self._once(self.secrets / "instance" / f"{program}.key", lambda: self._chance.bytes(32))
        for role in roles:
            self._once(self.secrets / "people" / role, lambda: base64.b32encode(self._chance.bytes(15)))
        for client in clients:
            self._once(self.secrets / "clients" / f"{client.replace('/', '-')}.key", _client_key)

    def ensure_coordinator(self) -> None:
        """What only a coordinator has: who signs code bundles, and what its own programs show each other."""
        self._once(self.secrets / "bundle.key", lambda: self._chance.bytes(32))
        _write(self.pki / "bundle.pub", self._signing("bundle.key").public_key().public_bytes_raw(), 0o644)
        for name in ("control.token", "runtime.secret"):
            self._once(self.secrets / name, lambda: self._chance.bytes(32).hex().encode())

    def verifier_key(self) -> str:
        """The ledger's key in the form of C2SP signed-note: name+hash+key."""
        return Signer(f"{self.site}/ledger", (self.secrets / "ledger.key").read_bytes()).verifier.encode()

    def instance(self, program: str) -> Instance:
        """The signing identity of `program`; its id follows from its key."""
        public = self._signing(f"instance/{program}.key").public_key().public_bytes_raw()
        identity = UUID(bytes=hashlib.sha256(b"twinward/instance/1\x00" + public).digest()[:16], version=4)
        authority = self._signing("authority.key")
        return Instance(identity, program, public, sign_instance(authority, self.site, identity, program, public))

    def _signing(self, name: str) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes((self.secrets / name).read_bytes())

    def _once(self, file: Path, make: Callable[[], bytes]) -> None:
        if not file.exists():
            _write(file, make(), 0o600)


def _client_key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(file: Path, content: bytes, mode: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as out:
        out.write(content)
