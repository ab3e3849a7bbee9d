"""The ledger's search index: 16-byte HMACs in place of names.

Who reads the table sees that two entries share an actor or a patient, and not
which. Only auth holds the key.
"""

from __future__ import annotations

import hashlib
import hmac

from twinward.ledger.kinds import Kind
from twinward.record import Handle

TERM_BYTES = 16
ACTOR, PATIENT, KIND, STUDY = "actor", "patient", "kind", "study"


class Terms:
    """Turns names into terms. `key`: 32 bytes, secrets/aidx.key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, field: str, value: bytes) -> bytes:
        """HMAC-SHA-256(key, u8 length || field || value)[:16]."""
        message = len(field).to_bytes(1, "big") + field.encode() + value
        return hmac.new(self._key, message, hashlib.sha256).digest()[:TERM_BYTES]

    def actor(self, pseudonym: str) -> bytes:
        return self.of(ACTOR, pseudonym.encode())

    def patient(self, handle: Handle) -> bytes:
        return self.of(PATIENT, handle.bytes)

    def kind(self, kind: Kind) -> bytes:
        return self.of(KIND, int(kind).to_bytes(2, "big"))

    def study(self, study: bytes) -> bytes:
        return self.named(f"{STUDY}:{study.hex()}")

    def named(self, text: str) -> bytes:
        """A further term written `field:value`, such as `study:7c1e`."""
        field, _, value = text.partition(":")
        return self.of(field, value.encode())
