"""The cohort index of a patient, kept as records are filed (twinward/vault/cohortindex.py).

It is a bucket like any other, of category cohort-index in the pseudo-period: its block is
replaced in the transaction that files what it speaks of, under the same head. An index
for each key version, made of that version's rows alone: whoever kept the keys of before a
withdrawal reads nothing of what came after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.compactor.filing import Arrival, Filed
from twinward.clock import Chance
from twinward.errors import Incomplete, Malformed
from twinward.record import Category
from twinward.vault import blocks, cohortindex
from twinward.vault.blocks import DOCUMENT_SEQ, Block, Shelf
from twinward.vault.cohortindex import CohortIndex
from twinward.vault.lease import Lease
from twinward.vault.manifest import BucketManifest


def additions(arrived: Mapping[Shelf, Arrival], lease: Lease) -> dict[Shelf, CohortIndex]:
    """Index shelf -> what the arrivals of its key version add to it; every version that something arrived for."""
    found: dict[Shelf, CohortIndex] = {}
    tag = lease.tags[Category.COHORT_INDEX]
    for shelf, arrival in arrived.items():
        own = Shelf(shelf.site, shelf.handle, Category.COHORT_INDEX, tag, shelf.version, 0)
        new = cohortindex.of_arrival(shelf.category, arrival.rows, arrival.documents)
        found[own] = cohortindex.merged(found.get(own, CohortIndex()), new)
    return found


def file(
    shelf: Shelf,
    key: bytes,
    new: CohortIndex,
    stored: Sequence[Block],
    old: BucketManifest | None,
    now_ms: int,
    chance: Chance,
) -> Filed | None:
    """The index with `new` in it; None where it says all of that already.

    Raises:
        Incomplete: `stored` is not what `old` says.
        Tampered, Malformed: the stored index does not open.
    """
    if old != (shelf.manifest(stored, 1) if stored else None):
        raise Incomplete("stored records of a patient are not complete; restore them from a backup")
    index = new
    if stored:
        before = cohortindex.from_documents(blocks.open_documents(shelf, key, stored[-1]))
        if before is None or len(stored) != 1:
            raise Malformed("where a patient's cohort index should be is something else")
        index = cohortindex.merged(before, new)
        if index == before:
            return None
    document = cohortindex.to_document(index, shelf.version, now_ms)
    made = blocks.seal_documents(shelf, key, DOCUMENT_SEQ, [document], chance)
    return Filed(shelf, [made], [block.seq for block in stored], shelf.manifest([made], 1), 0)
