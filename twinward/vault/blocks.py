"""Blocks: about 500 observations, or some documents, of one bucket under one key.

Blocks of rows and of documents share a bucket and are told apart by `seq`, which is
bound: documents start at 2^30. So what a block holds needs no column of its own, and
who reads rows does not fetch documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from twinward.clock import Chance
from twinward.errors import Tampered
from twinward.record import Document, Handle
from twinward.vault import buckets, documents, manifest, rows, sealing
from twinward.vault.associated import SCHEMA_DOCUMENTS, SCHEMA_ROWS, AssociatedData, padded
from twinward.vault.manifest import BucketManifest
from twinward.vault.rows import Rows

MOST_ROWS = 500
MOST_DOCUMENTS = 500
MOST_DOCUMENT_BYTES = 256 * 1024  # of bodies in one block; a larger body has a block to itself
DOCUMENT_SEQ = 1 << 30

_MISFILED = "a stored record holds a time or count that does not belong where it is filed"


@dataclass(frozen=True, slots=True)
class Shelf:
    """One bucket of one patient: where blocks lie and what they are bound to."""

    site: str
    handle: Handle
    category: int
    tag: bytes
    version: int
    bucket: int

    @property
    def month(self) -> int:
        return buckets.month_of_bucket(self.bucket)

    def associated(self, seq: int, n: int) -> bytes:
        """What block `seq` with padded count `n` is bound to."""
        return AssociatedData(
            site=self.site,
            handle=self.handle,
            category=self.category,
            version=self.version,
            month=self.month,
            bucket=self.bucket,
            seq=seq,
            padded=n,
            schema=SCHEMA_DOCUMENTS if seq >= DOCUMENT_SEQ else SCHEMA_ROWS,
        ).encode()

    def manifest(self, blocks: Iterable[Block], items: int) -> BucketManifest:
        """What the bucket's manifest says once exactly `blocks` are stored, holding `items`."""
        ordered = sorted(blocks, key=lambda one: one.seq)
        hashed = manifest.commitments_hash(one.commitment for one in ordered)
        return BucketManifest(self.tag, self.version, self.bucket, len(ordered), items, hashed)


@dataclass(frozen=True, slots=True)
class Block:
    """A row of vault.block; `blob` may be its first 57 bytes where only the commitment matters."""

    seq: int
    n: int  # padded
    blob: bytes

    @property
    def commitment(self) -> bytes:
        return bytes(self.blob[1 + sealing.SALT_BYTES : sealing.HEADER_BYTES])


def seal_rows(shelf: Shelf, key: bytes, seq: int, of: Rows, chance: Chance) -> Block:
    n = padded(len(of))
    return Block(seq, n, sealing.seal(key, shelf.associated(seq, n), rows.encode_block(of), chance))


def seal_documents(shelf: Shelf, key: bytes, seq: int, of: Sequence[Document], chance: Chance) -> Block:
    n = padded(len(of))
    return Block(seq, n, sealing.seal(key, shelf.associated(seq, n), documents.encode_block(of), chance))


def open_rows(shelf: Shelf, key: bytes, block: Block) -> Rows:
    """The rows of a block, all of which belong into its bucket.

    Raises:
        Tampered: it does not open, or holds what does not belong there.
        Malformed, TooLarge: it opens to something we did not write.
    """
    return open_all_rows([(shelf, key, block)])


def open_all_rows(every: Sequence[tuple[Shelf, bytes, Block]]) -> Rows:
    """As `open_rows`, of many blocks (with their month keys), one after the other."""
    found, counts = rows.decode_blocks(
        [sealing.open_sealed(key, shelf.associated(block.seq, block.n), block.blob) for shelf, key, block in every]
    )
    at = 0
    for (shelf, _, block), n in zip(every, counts, strict=True):
        times, precision = found.effective_ms[at : at + n], found.precision[at : at + n]
        if padded(n) != block.n or not buckets.all_of(shelf.bucket, shelf.category, times, precision):
            raise Tampered(_MISFILED)
        at += n
    return found


def open_documents(shelf: Shelf, key: bytes, block: Block) -> list[Document]:
    """As `open_rows`, for a block of documents."""
    found = documents.decode_block(sealing.open_sealed(key, shelf.associated(block.seq, block.n), block.blob))
    filed = {buckets.bucket_of(shelf.category, one.effective_ms, one.precision) for one in found}
    if padded(len(found)) != block.n or filed != {shelf.bucket}:
        raise Tampered(_MISFILED)
    return found


def rows_into_blocks(of: Rows) -> list[Rows]:
    """By effective time, cut into parts of at most 500."""
    ordered = of.sorted()
    return [ordered.take(slice(at, at + MOST_ROWS)) for at in range(0, len(ordered), MOST_ROWS)]


def documents_into_blocks(of: Sequence[Document]) -> list[list[Document]]:
    """In their order, cut where a part has 500 documents or 256 KiB."""
    parts: list[list[Document]] = []
    size = MOST_DOCUMENT_BYTES + 1
    for one in of:
        if size + len(one.body) > MOST_DOCUMENT_BYTES or len(parts[-1]) >= MOST_DOCUMENTS:
            parts.append([])
            size = 0
        parts[-1].append(one)
        size += len(one.body)
    return parts
