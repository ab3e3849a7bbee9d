"""Proof of who sealed a tail row: row hashes, a chain per patient, a signed root per commit.

Anybody can seal to a public key, so a row alone proves nothing. The sealing program
signs one root per commit over the hashes of its rows and the counts; each row names
its batch and its place in it. The chain runs over all rows of a patient in order of
seq: a row that was removed or exchanged breaks it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from twinward.errors import Tampered
from twinward.record import Handle
from twinward.vault import publickeys

LABEL_ROW = b"twinward/tail-hash/1\x00"
LABEL_CHAIN = b"twinward/tail-chain/1\x00"
LABEL_BATCH = b"twinward/receipt-batch/1\x00"
HASH_BYTES = 16


@dataclass(frozen=True, slots=True)
class TailRow:
    """A row of vault.tail. `place` is its place among the rows of batch `receipt`."""

    handle: Handle
    seq: int
    tag: bytes
    version: int
    received_month: int
    n: int  # padded
    receipt: int
    place: int
    blob: bytes

    def hash(self) -> bytes:
        """SHA-256(label || handle || u64 seq || 8 tag || u32 version || u32 month || u32 n || SHA-256(blob)),
        first 16 bytes."""
        place = b"".join(
            (
                LABEL_ROW,
                self.handle.bytes,
                self.seq.to_bytes(8, "big"),
                self.tag,
                self.version.to_bytes(4, "big"),
                self.received_month.to_bytes(4, "big"),
                self.n.to_bytes(4, "big"),
            )
        )
        return hashlib.sha256(place + hashlib.sha256(self.blob).digest()).digest()[:HASH_BYTES]


def next_chain(chain: bytes, seq: int, row_hash: bytes) -> bytes:
    """SHA-256(label || 32 chain || u64 seq || 16 row hash): the chain after row `seq`."""
    return hashlib.sha256(LABEL_CHAIN + chain + seq.to_bytes(8, "big") + row_hash).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What an instance signs: a row of ingest.receipt_batch without root and signature."""

    site: str
    id: int
    feed: str
    instance: UUID
    at_ms: int
    accepted: int  # true count of items sealed to patients
    dropped: int
    duplicates: int
    intake: int
    quarantined: int
    rows: bytes  # 16-byte hashes of the tail rows, in order of place

    def root(self) -> bytes:
        """SHA-256(label || u16 length, site || u64 id || u16 length, feed || 16 instance || u64 at, ms ||
        u64 each of accepted, dropped, duplicates, intake, quarantined || row hashes)."""
        counts = (self.accepted, self.dropped, self.duplicates, self.intake, self.quarantined)
        names = [len(name).to_bytes(2, "big") + name for name in (self.site.encode(), self.feed.encode())]
        return hashlib.sha256(
            b"".join(
                (
                    LABEL_BATCH,
                    names[0],
                    self.id.to_bytes(8, "big"),
                    names[1],
                    self.instance.bytes,
                    self.at_ms.to_bytes(8, "big"),
                    *(count.to_bytes(8, "big") for count in counts),
                    self.rows,
                )
            )
        ).digest()

    def row_hash(self, place: int) -> bytes:
        """The hash that the instance signed for the row at `place`; raises Tampered where there is none."""
        found = self.rows[place * HASH_BYTES : (place + 1) * HASH_BYTES]
        if place < 0 or len(found) != HASH_BYTES:
            raise Tampered("a stored row names a place that its batch does not have")
        return found


def sign(instance: Ed25519PrivateKey, root: bytes) -> bytes:
    """64 bytes, Ed25519 over label || root."""
    return instance.sign(LABEL_BATCH + root)


def verify(batch: Batch, root: bytes, signature: bytes, instances: Mapping[UUID, Ed25519PublicKey]) -> None:
    """Raises Tampered unless a known instance signed exactly this batch."""
    instance = instances.get(batch.instance)
    if instance is None or batch.root() != root:
        raise Tampered("a batch of accepted data is not what a sealing program of this site signed")
    refusal = "a batch of accepted data is not signed by the program it names"
    publickeys.verify(instance, signature, LABEL_BATCH + root, refusal)


def verified_rows(rows: Sequence[TailRow], signed: Mapping[int, Batch]) -> None:
    """Raises Tampered unless every row is the one at its place in its (verified) batch."""
    for row in rows:
        batch = signed.get(row.receipt)
        if batch is None or batch.row_hash(row.place) != row.hash():
            raise Tampered("a stored row is not the one that was accepted")
