"""Committed, chunked AES-256-GCM: the construction of C2SP chunked-encryption.

    sealed = 0x01 || salt (24) || commitment (32) || chunk 0 || chunk 1 || ...

Key, base nonce and commitment of a message come from HKDF-Expand-SHA-512 over the
input key with info = label || salt || associated data. Chunks hold 16 KiB, the
last one is always shorter (possibly empty), which is how an end is told from a
cut; chunk i is sealed under base nonce XOR i. The commitment makes a ciphertext
openable under one key only. Differences from the published text: our own label
and one format byte in front (https://c2sp.org/chunked-encryption, read at
6fed5b98).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from twinward.clock import Chance
from twinward.errors import BadInput, Tampered

FORMAT = 1
LABEL = b"twinward/sealed/1+AEAD_AES_256_GCM\x00"
KEY_BYTES = 32
SALT_BYTES = 24
COMMITMENT_BYTES = 32
HEADER_BYTES = 1 + SALT_BYTES + COMMITMENT_BYTES
CHUNK_BYTES = 16384
TAG_BYTES = 16

_CUT = "a sealed record is cut short or too long; restore it from a backup"
_OTHER = "a sealed record does not open; it was changed, moved or sealed under another key"


def seal(key: bytes, associated: bytes, plaintext: bytes, chance: Chance) -> bytes:
    """`plaintext` sealed under the 32-byte `key`, bound to `associated`."""
    salt = chance.bytes(SALT_BYTES)
    cipher, nonce, commitment = _derive(key, salt, associated)
    if len(plaintext) < CHUNK_BYTES:
        body = cipher.encrypt(nonce.to_bytes(12, "big"), plaintext, None)
    else:
        view = memoryview(plaintext)
        body = b"".join(
            cipher.encrypt((nonce ^ at).to_bytes(12, "big"), view[at * CHUNK_BYTES : (at + 1) * CHUNK_BYTES], None)
            for at in range(len(plaintext) // CHUNK_BYTES + 1)
        )
    return b"".join((bytes((FORMAT,)), salt, commitment, body))


def open_sealed(key: bytes, associated: bytes, sealed: bytes | memoryview) -> bytes:
    """The whole plaintext.

    Raises:
        Tampered: other key, other associated data, changed, cut or lengthened bytes.
    """
    opening = Opening.begin(key, associated, sealed)
    if opening.chunks == 1:
        return opening.chunk(0)
    return b"".join(opening.chunk(at) for at in range(opening.chunks))


def commitment_of(sealed: bytes | memoryview) -> bytes:
    """The 32 bytes that name this ciphertext and its key; manifests hash them.

    Raises:
        Tampered: too short, or another format.
    """
    if len(sealed) < HEADER_BYTES + TAG_BYTES or sealed[0] != FORMAT:
        raise Tampered(_CUT)
    return bytes(sealed[1 + SALT_BYTES : HEADER_BYTES])


@dataclass(frozen=True, slots=True)
class Opening:
    """A sealed record whose commitment was checked; opens any of its chunks.

    A chunk in the middle proves itself and its place, not that the end is there:
    ask for the last one where the length matters.
    """

    cipher: AESGCM
    nonce: int
    sealed: memoryview
    chunks: int

    @classmethod
    def begin(cls, key: bytes, associated: bytes, sealed: bytes | memoryview) -> Opening:
        commitment = commitment_of(sealed)
        view = memoryview(sealed)
        body = len(view) - HEADER_BYTES
        whole = body // (CHUNK_BYTES + TAG_BYTES)
        if body - whole * (CHUNK_BYTES + TAG_BYTES) < TAG_BYTES:
            raise Tampered(_CUT)
        cipher, nonce, expected = _derive(key, bytes(view[1 : 1 + SALT_BYTES]), associated)
        if not hmac.compare_digest(expected, commitment):
            raise Tampered(_OTHER)
        return cls(cipher, nonce, view, whole + 1)

    def chunk(self, at: int) -> bytes:
        """Plaintext bytes [at * 16 KiB, ...).

        Raises:
            Tampered: changed bytes.
            BadInput: no such chunk.
        """
        if not 0 <= at < self.chunks:
            raise BadInput(f"this record has {self.chunks} chunks")
        start = HEADER_BYTES + at * (CHUNK_BYTES + TAG_BYTES)
        try:
            return self.cipher.decrypt(
                (self.nonce ^ at).to_bytes(12, "big"), self.sealed[start : start + CHUNK_BYTES + TAG_BYTES], None
            )
        except InvalidTag:
            raise Tampered(_OTHER) from None


def _derive(key: bytes, salt: bytes, associated: bytes) -> tuple[AESGCM, int, bytes]:
    if len(key) != KEY_BYTES:
        raise BadInput(f"a sealing key has {KEY_BYTES} bytes")
    made = HKDFExpand(hashes.SHA512(), 76, LABEL + salt + associated).derive(key)
    return AESGCM(made[:32]), int.from_bytes(made[32:44], "big"), made[44:]
