"""Sealing to somebody who is not there: HPKE with a hybrid of ML-KEM-768 and X25519.

Ingest seals to a patient's public key and can open nothing. Whoever records the
ciphertexts today must break both problems later. The library takes no associated
data, so label and associated data go into `info`, which the key schedule binds.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from twinward.errors import BadInput, Tampered

SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)

SEED_BYTES = 96  # 64 ML-KEM-768 seed (d || z), 32 X25519 scalar
PUBLIC_BYTES = 1216  # 1,184 ML-KEM-768 encapsulation key, 32 X25519
OVERHEAD_BYTES = 1136  # 1,120 encapsulation, 16 tag

# What a ciphertext is for. One of these begins `info`; nothing else is sealed with this suite.
INFO_TAIL = b"twinward/tail-row/1\x00"
INFO_INTAKE = b"twinward/intake/1\x00"
INFO_INTAKE_CONSENT = b"twinward/intake-consent/1\x00"
INFO_ADMIT = b"twinward/admit/1\x00"

PrivateKey = MLKEM768X25519PrivateKey
PublicKey = MLKEM768X25519PublicKey


def private_key(seed: bytes) -> PrivateKey:
    """The key pair of a 96-byte seed.

    Raises:
        BadInput: another length.
    """
    if len(seed) != SEED_BYTES:
        raise BadInput(f"the seed of a key pair has {SEED_BYTES} bytes")
    return MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(seed[:64]), X25519PrivateKey.from_private_bytes(seed[64:])
    )


def public_bytes(seed: bytes) -> bytes:
    """1,216 bytes: ML-KEM-768 encapsulation key || X25519 public key, of a 96-byte seed."""
    if len(seed) != SEED_BYTES:
        raise BadInput(f"the seed of a key pair has {SEED_BYTES} bytes")
    lattice = MLKEM768PrivateKey.from_seed_bytes(seed[:64]).public_key().public_bytes_raw()
    return lattice + X25519PrivateKey.from_private_bytes(seed[64:]).public_key().public_bytes_raw()


def public_key(data: bytes) -> PublicKey:
    """The public key in `data`.

    Raises:
        BadInput: not 1,216 bytes, or no key at all.
    """
    if len(data) != PUBLIC_BYTES:
        raise BadInput(f"a public key has {PUBLIC_BYTES} bytes")
    try:
        return MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(data[:1184]), X25519PublicKey.from_public_bytes(data[1184:])
        )
    except ValueError:
        raise BadInput("these bytes are no public key") from None


def seal(to: PublicKey, plaintext: bytes, info: bytes) -> bytes:
    """Ciphertext of len(plaintext) + 1,136 bytes; `info` is label || associated data."""
    return SUITE.encrypt(plaintext, to, info=info)


def open_sealed(private: PrivateKey, ciphertext: bytes, info: bytes) -> bytes:
    """The plaintext.

    Raises:
        Tampered: other key, other `info`, or changed bytes.
    """
    try:
        return SUITE.decrypt(ciphertext, private, info=info)
    except (InvalidTag, ValueError):
        raise Tampered("a sealed row does not open; it was changed, moved or sealed to another key") from None
