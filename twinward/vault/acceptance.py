"""What one message asks the writer to keep, and what it learns afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from twinward.record import Document, Handle, Measurement
from twinward.vault import hpke


@dataclass(frozen=True, slots=True)
class SealedPart:
    """What one message brings of one patient and category."""

    handle: Handle
    category: int
    measurements: Sequence[Measurement]
    documents: Sequence[Document]

    @property
    def items(self) -> int:
        return len(self.measurements) + len(self.documents)


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof of acceptance of one resource or message. `bucket` is set by the writer where the
    parts hold something of this lineage."""

    key: bytes  # 16 bytes
    lineage: bytes  # 16 bytes
    body_hash: bytes  # 16 bytes
    handle: Handle | None
    category: int | None
    bucket: int | None


@dataclass(frozen=True, slots=True)
class IntakeItem:
    """What cannot be filed yet; `kind` is "intake" or "quarantine"."""

    feed_index: bytes | None
    reason: str
    kind: str
    items: int
    plaintext: bytes


@dataclass(frozen=True, slots=True)
class ConsentItem:
    """A Consent or CareTeam on its way to auth; `kind` is "consent" or "care_team"."""

    handle: Handle | None
    feed_index: bytes | None
    kind: str
    plaintext: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """What one message writes."""

    feed: str
    parts: Sequence[SealedPart]
    receipts: Sequence[Receipt]
    intake: Sequence[IntakeItem]
    consents: Sequence[ConsentItem]
    dropped: int
    duplicates: int
    answer_key: bytes | None
    answer_hash: bytes
    answer: Callable[[Written], bytes] | bytes


@dataclass(frozen=True, slots=True)
class Written:
    """What is durable once `write` has returned and no outer transaction is open."""

    receipt: int  # ingest.receipt_batch.id
    rows: int  # tail rows
    accepted: int  # items sealed to patients, markers of moved corrections included
    dropped: int
    refused: frozenset[Handle]  # erased, or their consent refuses the category


@dataclass(frozen=True, slots=True)
class Instance:
    """This sealing program: a row of vault.instance and its private key."""

    id: UUID
    key: Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class IntakeKeys:
    """The site's public keys for what waits."""

    key_id: int
    intake: hpke.PublicKey  # DIR/pki/intake/<key_id>.pub
    consent: hpke.PublicKey  # DIR/pki/admit.pub: consents are opened inside auth


def intake_info(site: str, key_id: int) -> bytes:
    """HPKE info of an intake item."""
    return hpke.INFO_INTAKE + key_id.to_bytes(4, "big") + site.encode()


def consent_info(site: str) -> bytes:
    """HPKE info of a consent or care team on its way to auth."""
    return hpke.INFO_INTAKE_CONSENT + site.encode()
