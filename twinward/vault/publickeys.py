"""Public keys that can be trusted: what auth signs and ingest checks before it seals.

Whoever can write to the database could offer a public key of their own and read
all that arrives from then on. So auth signs a patient's whole set, categories
included; the clear rows hold tags only, and ingest recomputes the category of
each. The signature covers the hash of each key: to use one key of a set, the
others need not be fetched.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from twinward.errors import BadInput, Tampered
from twinward.record import Handle

LABEL_SET = b"twinward/public-key-set/1\x00"
LABEL_INSTANCE = b"twinward/instance/1\x00"


@dataclass(frozen=True, slots=True, order=True)
class KeyEntry:
    """One key of a set. Validity as in the clear columns, milliseconds since 1970."""

    category: int
    month: int  # of receipt, year * 100 + month
    valid_from_ms: int
    valid_until_ms: int
    sha256: bytes  # of the 1,216-byte public key

    def encode(self) -> bytes:
        return b"".join(
            (
                self.category.to_bytes(2, "big"),
                self.month.to_bytes(4, "big"),
                self.valid_from_ms.to_bytes(8, "big"),
                self.valid_until_ms.to_bytes(8, "big"),
                self.sha256,
            )
        )


@dataclass(frozen=True, slots=True)
class KeySet:
    """What one signature covers: every key row of one `public_key_set`."""

    site: str
    handle: Handle
    version: int
    valid_until_ms: int
    entries: tuple[KeyEntry, ...]

    def encode(self) -> bytes:
        """label || u16 length, site || handle || u32 version || u64 valid until, ms || u32 count ||
        entries by category, then month: u16 category || u32 month || u64 from || u64 until || SHA-256.

        Raises:
            BadInput: a number out of range, a hash that is not 32 bytes, a key named twice.
        """
        ordered = sorted(self.entries)
        if any(len(entry.sha256) != 32 for entry in ordered):
            raise BadInput("a public key is named by its SHA-256")
        if len({(entry.category, entry.month) for entry in ordered}) != len(ordered):
            raise BadInput("a set names one key for a category and month")
        site = self.site.encode()
        try:
            return b"".join(
                (
                    LABEL_SET,
                    len(site).to_bytes(2, "big"),
                    site,
                    self.handle.bytes,
                    self.version.to_bytes(4, "big"),
                    self.valid_until_ms.to_bytes(8, "big"),
                    len(ordered).to_bytes(4, "big"),
                    *(entry.encode() for entry in ordered),
                )
            )
        except OverflowError:
            raise BadInput("a number in a key set is out of range") from None


def entry(category: int, month: int, valid_from_ms: int, valid_until_ms: int, public_key: bytes) -> KeyEntry:
    return KeyEntry(int(category), month, valid_from_ms, valid_until_ms, hashlib.sha256(public_key).digest())


def sign_set(authority: Ed25519PrivateKey, keys: KeySet) -> bytes:
    """64 bytes, Ed25519 over `keys.encode()`."""
    return authority.sign(keys.encode())


def verify_set(authority: Ed25519PublicKey, keys: KeySet, signature: bytes) -> None:
    """Raises Tampered unless `authority` signed exactly this set."""
    verify(authority, signature, keys.encode(), "a patient's public keys are not signed by this site's authority")


def instance_bytes(site: str, instance: UUID, program: str, public_key: bytes) -> bytes:
    """What the authority signs for a program that signs batches: label || u16 length, site || instance ||
    u16 length, program || 32-byte Ed25519 public key."""
    if len(public_key) != 32:
        raise BadInput("an instance key is a raw Ed25519 public key of 32 bytes")
    names = [len(name).to_bytes(2, "big") + name for name in (site.encode(), program.encode())]
    return LABEL_INSTANCE + names[0] + instance.bytes + names[1] + public_key


def sign_instance(authority: Ed25519PrivateKey, site: str, instance: UUID, program: str, public_key: bytes) -> bytes:
    return authority.sign(instance_bytes(site, instance, program, public_key))


def verify_instance(
    authority: Ed25519PublicKey, site: str, instance: UUID, program: str, public_key: bytes, signature: bytes
) -> Ed25519PublicKey:
    """The instance's key, once the authority's signature over it was checked; raises Tampered."""
    signed = instance_bytes(site, instance, program, public_key)
    verify(authority, signature, signed, "a sealing program's key is not signed by this site's authority")
    return Ed25519PublicKey.from_public_bytes(public_key)


def verify(key: Ed25519PublicKey, signature: bytes, message: bytes, refusal: str) -> None:
    """Raises Tampered with `refusal` unless `key` signed `message`."""
    try:
        key.verify(signature, message)
    except InvalidSignature:
        raise Tampered(refusal) from None
