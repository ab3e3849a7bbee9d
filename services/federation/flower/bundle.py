"""The code bundle: what a hospital approves when it approves code.

Flower carries code as a FAB, a zip file with a manifest. Ours holds a shim that imports this installed package,
and the SHA-256 of every source file of it: so the bundle's hash names the very code that runs, every hospital
computes it from its own installation, and another version of the code is another hash. The zip is stored, not
compressed, with fixed times, because compression differs between builds of zlib.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from twinward.errors import Unready

PUBLISHER, NAME, VERSION = "twinward", "federation", "1.0.0"
APP = f"@{PUBLISHER}/{NAME}"
SOURCES = Path(__file__).resolve().parent.parent  # services/federation
DATE = (1980, 1, 1, 0, 0, 0)  # the first a zip file can hold
SIGNED_AT = 0  # Flower signs a moment too; a fixed one, so that the same bundle has one signature
KEY_BYTES = 32

PROJECT = f"""\
[project]
name = "{NAME}"
version = "{VERSION}"
description = "Studies of hospitals: a shim around the installed services.federation"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "{PUBLISHER}"

[tool.flwr.app.components]
serverapp = "twinward_bundle.server:app"
clientapp = "twinward_bundle.client:app"

[tool.flwr.app.config]
study = ""
attempt = 0
"""
SHIM = {
    "pyproject.toml": PROJECT,
    "twinward_bundle/__init__.py": "",
    "twinward_bundle/client.py": "from services.federation.flower.client_app import app as app\n",
    "twinward_bundle/server.py": "from services.federation.flower.server_app import app as app\n",
}


def packed(files: Mapping[str, bytes]) -> bytes:
    """A FAB of `files`: the same bytes for the same files, on any machine."""
    lines = [f"{name},{hashlib.sha256(content).hexdigest()},{len(content) * 8}" for name, content in files.items()]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in {**files, ".info/CONTENT": "\n".join(lines).encode()}.items():
            entry = zipfile.ZipInfo(name, DATE)
            entry.create_system = 3  # Unix, wherever it is made
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return out.getvalue()


def sources() -> bytes:
    """SHA-256 and name of every source file of services/federation, one a line."""
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(SOURCES).as_posix()}\n"
        for file in sorted(SOURCES.rglob("*.py"))
    ]
    return "".join(lines).encode()


@functools.cache
def bundle_bytes() -> bytes:
    """The bundle of this installation, as it was when this program first asked."""
    files = {name: text.encode() for name, text in SHIM.items()}
    return packed({**files, "twinward_bundle/sources.txt": sources()})


@functools.cache
def bundle_sha256() -> bytes:
    return hashlib.sha256(bundle_bytes()).digest()


def signed(content: bytes, key: bytes) -> dict[str, str]:
    """Flower's verification records for `content`, signed by the raw Ed25519 `key`."""
    private = Ed25519PrivateKey.from_private_bytes(key)
    signature = private.sign(_message(content))
    record = {"signed_at": SIGNED_AT, "signature": base64.urlsafe_b64encode(signature).decode().rstrip("=")}
    return {key_id(private.public_key().public_bytes_raw()): json.dumps(record), "valid_license": "Valid"}


def verified(content: bytes, records: Mapping[str, str], public: bytes) -> bool:
    """Whether `records` hold the signature of the raw Ed25519 key `public` over `content`."""
    try:
        record = json.loads(records[key_id(public)])
        signature = base64.urlsafe_b64decode(record["signature"] + "==")
        Ed25519PublicKey.from_public_bytes(public).verify(signature, _message(content, int(record["signed_at"])))
    except (KeyError, TypeError, ValueError, InvalidSignature):
        return False
    return True


def trusted(public: bytes) -> dict[str, str]:
    """Flower's `trusted_entities` with the raw Ed25519 key `public` alone.

    Raises:
        Unready: it is no such key.
    """
    if len(public) != KEY_BYTES:
        raise Unready("the key of code bundles is not a raw Ed25519 key of 32 bytes: join again")
    key = Ed25519PublicKey.from_public_bytes(public)
    return {key_id(public): key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()}


def key_id(public: bytes) -> str:
    return f"fpk_{hashlib.sha256(public).hexdigest()[:16]}"


def _message(content: bytes, signed_at: int = SIGNED_AT) -> bytes:
    return signed_at.to_bytes(8, "big") + hashlib.sha256(content).digest()
