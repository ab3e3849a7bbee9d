"""Which of a resource's versions is true now.

All rows of one version share lineage and time of receipt. The version received
last is current; earlier ones are history. A version that moved to another bucket
or category leaves a marker where the older one lies, so that a reader of the old
bucket alone is not told the old value.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from twinward.record import Document, Measurement, Status
from twinward.vault import buckets, documents, rows
from twinward.vault.rows import Rows


def row_marker(lineage: bytes, old_bucket: int, received_ms: int) -> Measurement:
    """A row for `old_bucket` that makes older rows of `lineage` history there."""
    effective_ms, precision = buckets.start_of(old_bucket)
    return Measurement(
        rows.SUPERSEDED, effective_ms, received_ms, float("nan"), "", lineage, status=Status.CORRECTED,
        precision=precision,
    )  # fmt: skip


def document_marker(lineage: bytes, old_bucket: int, received_ms: int) -> Document:
    """As `row_marker`, for the documents of the bucket."""
    effective_ms, precision = buckets.start_of(old_bucket)
    return Document(documents.SUPERSEDED, effective_ms, received_ms, lineage, b"", precision)


def current(of: Rows) -> Rows:
    """The rows that are true now: no history, no markers, nothing entered in error."""
    keep = of.status != Status.ENTERED_IN_ERROR
    markers = [place for place, code in enumerate(of.codes) if code == rows.SUPERSEDED]
    if markers:
        keep &= ~np.isin(of.code, markers)
    keep &= newest(of)
    return of if bool(keep.all()) else of.take(keep)


def newest(of: Rows) -> npt.NDArray[np.bool_]:
    """Mask, shape (n,): rows of the version of their lineage that was received last."""
    if len(of) == 0:
        return np.zeros(0, dtype=np.bool_)
    halves = np.ascontiguousarray(of.lineage).view("<u8")
    first, second = halves[:, 0], halves[:, 1]
    ordered = np.sort(first)
    if not bool(np.any(ordered[1:] == ordered[:-1])):  # every lineage once: the usual case, and quick
        return np.ones(len(of), dtype=np.bool_)
    order = np.lexsort((of.received_ms, second, first))
    ends = np.flatnonzero((np.diff(first[order]) != 0) | (np.diff(second[order]) != 0))
    group = np.zeros(len(of), dtype=np.int64)
    group[ends + 1] = 1
    group = np.cumsum(group)
    latest = of.received_ms[order][np.append(ends, len(of) - 1)]
    mask = np.empty(len(of), dtype=np.bool_)
    mask[order] = of.received_ms[order] == latest[group]
    return mask


def current_documents(of: Iterable[Document]) -> list[Document]:
    """The documents that are true now, in their order."""
    every = list(of)
    latest: dict[bytes, int] = {}
    for one in every:
        latest[one.lineage] = max(one.received_ms, latest.get(one.lineage, one.received_ms))
    return [one for one in every if one.received_ms == latest[one.lineage] and one.resource != documents.SUPERSEDED]
