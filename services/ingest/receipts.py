"""Names of what came in: receipt keys, lineages and patients' index numbers.

All are HMAC-SHA-256 under the feed index key, first 16 bytes, over length-prefixed
parts with a label of their own: the database can tell that the same thing came
again, and not what it was (vault.md 3).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass


def _joined(label: str, parts: tuple[str | bytes, ...]) -> bytes:
    encoded = [part if isinstance(part, bytes) else part.encode("utf-8", "replace") for part in (label, *parts)]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


@dataclass(frozen=True, slots=True)
class Names:
    """`key` is DIR/secrets/feed_idx.key: 32 bytes."""

    key: bytes

    def _mac(self, label: str, *parts: str | bytes) -> bytes:
        return hmac.digest(self.key, _joined(label, parts), "sha256")[:16]

    def receipt(self, source: str, kind: str, number: str, version: bytes) -> bytes:
        """Key of one version of one resource; `version` is its own or the SHA-256 of its bytes."""
        return self._mac("twinward/receipt/1", source, kind, number, version)

    def lineage(self, source: str, kind: str, number: str) -> bytes:
        """The same resource in all its versions."""
        return self._mac("twinward/lineage/1", source, kind, number)

    def reading(self, source: str, patient: bytes, device: str, code: str, at_ms: int) -> bytes:
        """Lineage of one row of a series: the same device, code and time is the same reading."""
        return self._mac("twinward/reading/1", source, patient, device, code, at_ms.to_bytes(8, "big", signed=True))

    def waiting(self, receipt: bytes) -> bytes:
        """Key of the same thing while it lies in intake or quarantine: sent again, it is not kept twice."""
        return self._mac("twinward/waiting/1", receipt)

    def bad(self, source: str, digest: bytes) -> bytes:
        """Key of an entry that lies in quarantine, by the hash of its bytes (`body_hash`)."""
        return self._mac("twinward/bad/1", source, digest)

    def message(self, feed: str, payload_hash: bytes) -> bytes:
        """What a sender without an idempotency key gets as receipt."""
        return self._mac("twinward/message/1", feed, payload_hash)

    def answer(self, feed: str, idempotency_key: str) -> bytes:
        return self._mac("twinward/answer/1", feed, idempotency_key)


def body_hash(body: bytes) -> bytes:
    """SHA-256 of the bytes as they came, first 16."""
    return hashlib.sha256(body).digest()[:16]
