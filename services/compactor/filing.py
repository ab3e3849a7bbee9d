"""Opened tail of one patient, sorted into buckets and merged with what lies there.

Pure but for the sealing: takes what is stored, gives what will be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from twinward.clock import Chance
from twinward.errors import Incomplete
from twinward.record import Document
from twinward.vault import blocks, buckets, corrections, rows
from twinward.vault.blocks import DOCUMENT_SEQ, Block, Shelf
from twinward.vault.contents import Contents
from twinward.vault.manifest import BucketManifest
from twinward.vault.rows import Rows


@dataclass
class Arrival:
    """What the tail brings for one bucket."""

    rows: list[Rows] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)

    @property
    def items(self) -> int:
        return sum(len(part) for part in self.rows) + len(self.documents)


@dataclass(frozen=True, slots=True)
class Filed:
    """The new state of one bucket: `added` replace those of `removed` that have their seq."""

    shelf: Shelf
    added: Sequence[Block]
    removed: Sequence[int]
    manifest: BucketManifest
    superseded: int


def arrivals(found: Iterable[tuple[Shelf, Contents]]) -> dict[Shelf, Arrival]:
    """Shelf -> arrival; the shelves given have bucket 0 and stand for category and version."""
    sorted_in: dict[Shelf, Arrival] = {}
    for place, contents in found:
        for bucket, part in _by_bucket(place.category, contents.rows):
            sorted_in.setdefault(_shelf(place, bucket), Arrival()).rows.append(part)
        for document in contents.documents:
            bucket = buckets.bucket_of(place.category, document.effective_ms, document.precision)
            sorted_in.setdefault(_shelf(place, bucket), Arrival()).documents.append(document)
    return sorted_in


def _shelf(place: Shelf, bucket: int) -> Shelf:
    return Shelf(place.site, place.handle, place.category, place.tag, place.version, bucket)


def _by_bucket(category: int, of: Rows) -> list[tuple[int, Rows]]:
    filed = buckets.buckets_of(category, of.effective_ms, of.precision)
    numbers = np.unique(filed).tolist()
    if len(numbers) == 1:
        return [(numbers[0], of)]
    return [(number, of.take(filed == number)) for number in numbers]


def file(
    shelf: Shelf, key: bytes, arrival: Arrival, stored: Sequence[Block], old: BucketManifest | None, chance: Chance
) -> Filed:
    """Merges an arrival with the open (last) block of its kind.

    `stored` are all blocks of the bucket in order of seq, the last of each kind whole, of the
    others at least the header.

    Raises:
        Incomplete: `stored` is not what `old` says.
        Tampered, Malformed: an open block does not open.
    """
    before = 0 if old is None else old.n
    if old != (shelf.manifest(stored, before) if stored else None):
        raise Incomplete("stored records of a patient are not complete; restore them from a backup")
    of_rows = [block for block in stored if block.seq < DOCUMENT_SEQ]
    of_documents = [block for block in stored if block.seq >= DOCUMENT_SEQ]
    added: list[Block] = []
    removed: list[int] = []
    superseded = 0
    if arrival.rows:
        superseded = _file_rows(shelf, key, rows.concat(arrival.rows), of_rows, added, removed, chance)
    if arrival.documents:
        _file_documents(shelf, key, arrival.documents, of_documents, added, removed, chance)
    kept = {block.seq: block for block in stored}
    kept.update({block.seq: block for block in added})
    made = shelf.manifest(kept.values(), before + arrival.items)
    return Filed(shelf, added, removed, made, superseded)


def _file_rows(
    shelf: Shelf, key: bytes, new: Rows, stored: Sequence[Block], added: list[Block], removed: list[int], chance: Chance
) -> int:
    seq, known = 1, rows.no_rows()
    if stored:
        last = stored[-1]
        known = blocks.open_rows(shelf, key, last)
        seq = last.seq
        if len(known) >= blocks.MOST_ROWS:
            seq, known = seq + 1, rows.no_rows()
        else:
            removed.append(seq)
    merged = rows.concat([known, new])
    for number, part in enumerate(blocks.rows_into_blocks(merged)):
        added.append(blocks.seal_rows(shelf, key, seq + number, part, chance))
    return _history(merged) - _history(known)


def _history(of: Rows) -> int:
    """Rows that a newer version makes history."""
    return int(np.count_nonzero(~corrections.newest(of)))


def _file_documents(
    shelf: Shelf,
    key: bytes,
    new: Sequence[Document],
    stored: Sequence[Block],
    added: list[Block],
    removed: list[int],
    chance: Chance,
) -> None:
    seq, known = DOCUMENT_SEQ, list[Document]()
    if stored:
        last = stored[-1]
        known = blocks.open_documents(shelf, key, last)
        seq = last.seq
        if not _open(known):
            seq, known = seq + 1, []
        else:
            removed.append(seq)
    for number, part in enumerate(blocks.documents_into_blocks([*known, *new])):
        added.append(blocks.seal_documents(shelf, key, seq + number, part, chance))


def _open(known: Sequence[Document]) -> bool:
    """Whether a block of documents takes more: half full is full enough to be left alone."""
    size = sum(len(one.body) for one in known)
    return len(known) < blocks.MOST_DOCUMENTS and size < blocks.MOST_DOCUMENT_BYTES // 2


def months_of(arrived: Mapping[Shelf, Arrival]) -> dict[bytes, tuple[int, ...]]:
    """Tag -> months whose block keys are needed."""
    found: dict[bytes, set[int]] = {}
    for shelf in arrived:
        found.setdefault(shelf.tag, set()).add(shelf.month)
    return {tag: tuple(sorted(months)) for tag, months in found.items()}
